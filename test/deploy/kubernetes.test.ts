import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { version } from "../../package.json";
import { command as consoles } from "../../src/cli/consoles.ts";
import { command as serve } from "../../src/cli/serve.ts";
import { loadConsoles } from "../../src/config/consoles.ts";

const ROOT = join(import.meta.dir, "..", "..");
const read = (path: string) => Bun.file(join(ROOT, path)).text();

type Named = { readonly name: string };
type Manifest = {
  readonly ConfigMap: { readonly data: Record<string, string> };
  readonly Deployment: {
    readonly metadata: Named;
    readonly spec: {
      readonly selector: { readonly matchLabels: Record<string, string> };
      readonly template: {
        readonly metadata: { readonly labels: Record<string, string> };
        readonly spec: {
          readonly containers: ReadonlyArray<{
            readonly image: string;
            readonly args: readonly string[];
            readonly env: ReadonlyArray<Named & { readonly value?: string }>;
            readonly volumeMounts: ReadonlyArray<Named & { readonly mountPath: string }>;
            readonly securityContext: object;
            readonly startupProbe: object; readonly readinessProbe: object; readonly livenessProbe: object;
          }>;
          readonly volumes: ReadonlyArray<Named & {
            readonly secret?: { readonly secretName: string; readonly items: ReadonlyArray<{ readonly path: string }> };
            readonly configMap?: { readonly optional: boolean };
          }>;
          readonly securityContext: { readonly runAsUser: number };
        };
      };
    };
  };
  readonly Service: { readonly metadata: Named; readonly spec: { readonly selector: Record<string, string>; readonly ports: readonly object[] } };
};

async function manifest(): Promise<Manifest> {
  const documents = parseAllDocuments(await read("deploy/kubernetes/router.yaml"), { strict: true, uniqueKeys: true });
  if ("empty" in documents) throw new Error("the manifest is empty");
  expect(documents.flatMap(({ errors, warnings }) => [...errors, ...warnings])).toEqual([]);
  const objects = documents.map((document) => document.toJS() as { readonly kind: string });
  return Object.fromEntries(objects.map((object) => [object.kind, object])) as unknown as Manifest;
}

/** Variables that the program reads: those that routes.yaml names and those that `serve --help` lists. */
async function variables(): Promise<ReadonlySet<string>> {
  const inFile = [...(await read("routes.yaml")).matchAll(/\$\{([A-Z_0-9]+)/g)].map(([, name]) => name!);
  return new Set([...inFile, ...(serve.spec.environment ?? []).flatMap(([names]) => names.split(", "))]);
}

/** The objects of deploy/kubernetes/consoles.yaml by kind. */
async function consolesManifest(): Promise<Record<string, any>> {
  const documents = parseAllDocuments(await read("deploy/kubernetes/consoles.yaml"), { strict: true, uniqueKeys: true });
  if ("empty" in documents) throw new Error("the manifest is empty");
  expect(documents.flatMap(({ errors, warnings }) => [...errors, ...warnings])).toEqual([]);
  return Object.fromEntries(documents.map((document) => document.toJS() as { kind: string }).map((object) => [object.kind, object]));
}

describe("kubernetes manifest of consoles", () => {
  test("gives its service account the two console subresources and nothing else", async () => {
    const { ServiceAccount, ClusterRole, ClusterRoleBinding, Deployment } = await consolesManifest();
    expect(ClusterRole.rules).toEqual([
      { apiGroups: ["subresources.kubevirt.io"], resources: ["virtualmachineinstances/vnc", "virtualmachineinstances/console"], verbs: ["get"] },
    ]);
    expect(ClusterRoleBinding.roleRef.name).toBe(ClusterRole.metadata.name);
    expect(ClusterRoleBinding.subjects[0].name).toBe(ServiceAccount.metadata.name);
    expect(Deployment.spec.template.spec.serviceAccountName).toBe(ServiceAccount.metadata.name);
  });

  test("runs consoles without root or privileges, and asks /healthz", async () => {
    const { spec } = (await consolesManifest())["Deployment"].spec.template;
    expect(spec.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532 });
    const [container] = spec.containers;
    expect(container.securityContext).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } });
    expect(container.args).toEqual(["consoles"]);
    expect(container.image).toBe(`route-gateway:${version}`);
    for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"]) expect(container[probe].httpGet).toEqual({ path: "/healthz", port: "http" });
    expect(loadConsoles({ env: { SECRET_KEY: "x".repeat(32), KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" } }).http.port).toBe(container.ports[0].containerPort);
  });

  test("names only variables that consoles reads", async () => {
    const text = await read("deploy/kubernetes/consoles.yaml");
    const known = consoles.spec.environment?.flatMap(([names]) => names.split(", ")) ?? [];
    const commented = [...text.matchAll(/^ *# ([A-Z_]+): /gm)].map(([, name]) => name!);
    expect(commented.length).toBeGreaterThan(3);
    expect([...commented, ...text.matchAll(/--from-literal=([A-Z_]+)=/g).map(([, name]) => name!)].filter((name) => !known.includes(name))).toEqual([]);
  });
});

describe("kubernetes manifest", () => {
  test("has the names, labels and port of the router that it replaces", async () => {
    const { Deployment, Service } = await manifest();
    expect(Deployment.metadata.name).toBe("router-od");
    expect(Deployment.spec.selector.matchLabels).toEqual({ name: "router-od" });
    expect(Deployment.spec.template.metadata.labels).toMatchObject({ name: "router-od", run: "router-od", type: "router-od" });
    expect(Service.metadata.name).toBe("http-router");
    expect(Service.spec.selector).toEqual({ run: "router-od" });
    expect(Service.spec.ports).toEqual([{ name: "http", protocol: "TCP", port: 80, targetPort: 80, nodePort: 30443 }]);
  });

  test("names only variables that the program reads, in env and in the config map, commented ones included", async () => {
    const { ConfigMap, Deployment } = await manifest();
    const known = await variables();
    const names = [...Deployment.spec.template.spec.containers[0]!.env.map(({ name }) => name), ...Object.keys(ConfigMap.data)];
    const commented = [...(await read("deploy/kubernetes/router.yaml")).matchAll(/^ *# ([A-Z_]+): /gm)].map(([, name]) => name!);
    expect(names).toContain("JWT_DESKTOP_SIGNING_PUBLIC_KEY");
    expect(commented).toContain("ROUTE_ALLOWED_TARGETS");
    expect([...names, ...commented].filter((name) => !known.has(name))).toEqual([]);
  });

  test("mounts every key where its variable looks for it", async () => {
    const { volumes, containers } = (await manifest()).Deployment.spec.template.spec;
    const files = containers[0]!.volumeMounts.flatMap(({ name, mountPath }) =>
      (volumes.find((volume) => volume.name === name)?.secret?.items ?? []).map(({ path }) => `${mountPath}/${path}`));
    const wanted = containers[0]!.env.filter(({ name }) => name.startsWith("JWT_")).map(({ value }) => value!);
    expect(wanted).toHaveLength(2);
    expect(files.toSorted()).toEqual(wanted.toSorted());
    expect(volumes.map(({ secret }) => secret?.secretName).filter(Boolean).toSorted()).toEqual(
      ["abcdesktopjwtdesktoppayload", "abcdesktopjwtdesktopsigning"]);
  });

  test("runs without root, privileges or a writable file system, and starts without the optional table", async () => {
    const { securityContext, containers, volumes } = (await manifest()).Deployment.spec.template.spec;
    expect(securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: "RuntimeDefault" } });
    expect(containers[0]!.securityContext).toEqual({
      allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] },
    });
    expect(containers[0]!.args).toEqual(["serve"]);
    expect(volumes.find(({ name }) => name === "routes")!.configMap!.optional).toBe(true);
  });

  test("asks /healthz in every probe", async () => {
    const { startupProbe, readinessProbe, livenessProbe } = (await manifest()).Deployment.spec.template.spec.containers[0]!;
    for (const probe of [startupProbe, readinessProbe, livenessProbe]) {
      expect(probe).toMatchObject({ httpGet: { path: "/healthz", port: "http" } });
    }
  });

  test("runs the image of this version", async () => {
    expect((await manifest()).Deployment.spec.template.spec.containers[0]!.image).toBe(`route-gateway:${version}`);
  });
});

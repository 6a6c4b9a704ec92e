// The stand-in for pyos behind /API: authenticates, creates desktops and hands out desktop tokens, in the order of the
// platform's own workflow. It holds the two users' passwords in the source: it is a demo, bound to loopback only.
//
//   POST /API/auth/login                     {user, password}      -> {userToken}
//   POST /API/composer/launchdesktop         Bearer user token     -> {desktopToken}, once the pod is ready
//   GET  /API/composer/progress              Bearer user token     -> what launchdesktop is doing
//   POST /API/composer/refreshdesktoptoken   Bearer user token     -> {desktopToken}
//   POST /API/composer/stopdesktop           Bearer user token
//   GET  /API/consoles                       Bearer user token     -> {machines}: all of them, and whose they are
//   POST /API/consoles/token                 Bearer user token     -> {consoleToken} for one's own machines
//   GET  /API/version
//
// Every answer is {status, result} or {status, message}.

import { Hono, type Context, type MiddlewareHandler } from "hono";
import { SignJWT, generateKeyPair, jwtVerify } from "jose";
import type { Cluster } from "./cluster.ts";
import type { Pod } from "./pod.ts";
import { DEMO_NAMESPACE, type MachineEntry, MACHINES } from "./vm/machines.ts";

export type ControlPlaneOptions = {
  readonly cluster: Cluster;
  readonly version: string;
  /** A desktop token for the pod at `host`, good for `ttlS` seconds. */
  readonly mintToken: (host: string, ttlS: number) => string | Promise<string>;
  /** A console token for `vms` of the demo's namespace. */
  readonly mintConsoleToken: (user: string, vms: readonly string[], ttlS: number) => string;
  readonly desktopTokenTtlS?: number;
  readonly pollIntervalMs?: number;
};

export type ControlPlane = { readonly port: number; stop(): Promise<void> };

/** The demo's users, and their passwords. */
const PASSWORDS: Readonly<Record<string, string>> = { alice: "alice", bob: "bob" };

/** Short, so that one sees the refresh at work. */
export const DESKTOP_TOKEN_TTL_S = 60;
const CONSOLE_TOKEN_TTL_S = 600;
const USER_TOKEN_TTL = "12h";
const POLL_INTERVAL_MS = 250;
const BODY_LIMIT_BYTES = 64 * 1024;
/** Shorter than the router's patience with launchdesktop, longer than any pod takes. */
const POD_DEADLINE_MS = 30_000;

/** Starts it on a free loopback port. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const userTokens = await createUserTokens();
  const app = controlPlaneApp(options, userTokens);
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    reusePort: false,
    development: false,
    idleTimeout: 60,
    maxRequestBodySize: BODY_LIMIT_BYTES,
    fetch: app.fetch,
  });
  return { port: server.port!, stop: () => server.stop(true) };
}

type UserTokens = { mint(user: string): Promise<string>; verify(token: string): Promise<string> };

/** The user tokens have keys of their own: nothing that the router trusts can be made with them. */
async function createUserTokens(): Promise<UserTokens> {
  const { privateKey, publicKey } = await generateKeyPair("RS256");
  return {
    mint: (user) =>
      new SignJWT({ sub: user }).setProtectedHeader({ alg: "RS256" }).setIssuedAt().setExpirationTime(USER_TOKEN_TTL)
        .sign(privateKey),
    async verify(token) {
      const { payload } = await jwtVerify(token, publicKey, { algorithms: ["RS256"], requiredClaims: ["exp", "sub"] });
      return payload.sub!;
    },
  };
}

function controlPlaneApp(options: ControlPlaneOptions, userTokens: UserTokens): Hono<{ Variables: { user: string } }> {
  const app = new Hono<{ Variables: { user: string } }>();
  const desktops = new Desktops(options);

  app.onError((failure, context) => fail(context, 500, failure.message));
  app.notFound((context) => fail(context, 404, "no such call"));
  app.get("/API/version", (context) => succeed(context, { product: "route-gateway demo", version: options.version }));
  app.post("/API/auth/login", async (context) => {
    const user = await authenticate(context.req.raw);
    if (!user) return fail(context, 401, "unknown user or wrong password");
    return succeed(context, { user, userToken: await userTokens.mint(user) });
  });

  const authorize = authorizer(userTokens);
  app.use("/API/composer/*", authorize);
  app.use("/API/consoles/*", authorize);
  app.post("/API/composer/launchdesktop", async (context) =>
    succeed(context, await desktops.launch(context.get("user"))));
  app.get("/API/composer/progress", (context) => succeed(context, desktops.progress(context.get("user"))));
  app.post("/API/composer/refreshdesktoptoken", async (context) => {
    const token = await desktops.refresh(context.get("user"));
    return token ? succeed(context, token) : fail(context, 404, "no desktop: create one first");
  });
  app.post("/API/composer/stopdesktop", async (context) => {
    await options.cluster.delete(context.get("user"));
    return succeed(context, { stopped: true });
  });

  app.get("/API/consoles", (context) =>
    succeed(context, { namespace: DEMO_NAMESPACE, machines: MACHINES.map(describeMachine) }));
  app.post("/API/consoles/token", (context) => {
    const user = context.get("user");
    const vms = MACHINES.filter(({ owner }) => owner === user).map(({ name }) => name);
    const consoleToken = options.mintConsoleToken(user, vms, CONSOLE_TOKEN_TTL_S);
    return succeed(context, { consoleToken, vms, expiresInS: CONSOLE_TOKEN_TTL_S });
  });
  return app;
}

function authorizer(userTokens: UserTokens): MiddlewareHandler<{ Variables: { user: string } }> {
  return async (context, next) => {
    const token = context.req.header("authorization")?.match(/^Bearer (\S+)$/i)?.[1];
    const user = token && await userTokens.verify(token).catch(() => null);
    if (!user) return fail(context, 401, "log in first");
    context.set("user", user);
    return next();
  };
}

function describeMachine({ name, owner, about, look }: MachineEntry) {
  return { name, owner, about, state: look === null ? "Stopped" : "Running" };
}

async function authenticate(request: Request): Promise<string | null> {
  const body = await request.json().catch(() => null) as { user?: unknown; password?: unknown } | null;
  const user = String(body?.user ?? "").trim().toLowerCase();
  return Object.hasOwn(PASSWORDS, user) && PASSWORDS[user] === body?.password ? user : null;
}

function succeed(context: Context, result: object): Response {
  return context.json({ status: 200, result }, 200, { "Cache-Control": "no-store" });
}

function fail(context: Context, status: 401 | 404 | 500, message: string): Response {
  return context.json({ status, message }, status, { "Cache-Control": "no-store" });
}

type DesktopToken = { readonly desktopToken: string; readonly expiresInS: number };
type Step = { readonly atMs: number; readonly text: string };

/** What the users' desktops are doing; the pods themselves are the cluster's. */
class Desktops {
  readonly #steps = new Map<string, Step[]>();

  constructor(private readonly options: ControlPlaneOptions, private readonly now: () => number = Date.now) {}

  /** Steps 2 of the workflow, from "create desktop" to the desktop token. */
  async launch(user: string): Promise<DesktopToken> {
    const startedAtMs = this.now();
    const steps: Step[] = [];
    this.#steps.set(user, steps);
    const tell = (text: string) => steps.push({ atMs: this.now() - startedAtMs, text });
    tell(`user token of ${user} verified`);
    this.options.cluster.create(user);
    tell(`pod of ${user} created`);
    const pod = await this.#whenReady(user, tell);
    tell(`${user}'s pod: I'm ready`);
    const token = await this.#token(pod);
    tell("pod address encrypted, desktop token signed");
    return token;
  }

  async #whenReady(user: string, tell: (text: string) => void): Promise<Pod> {
    const deadlineMs = this.now() + POD_DEADLINE_MS;
    while (this.now() < deadlineMs) {
      if (!this.options.cluster.has(user)) throw new Error("the desktop was stopped before it was ready");
      tell(`is ${user}'s pod ready?`);
      const pod = this.options.cluster.readyPod(user);
      if (pod) return pod;
      await Bun.sleep(this.options.pollIntervalMs ?? POLL_INTERVAL_MS);
    }
    throw new Error(`the pod of "${user}" did not get ready within ${POD_DEADLINE_MS / 1000} s`);
  }

  progress(user: string): { steps: readonly Step[] } {
    return { steps: this.#steps.get(user) ?? [] };
  }

  async refresh(user: string): Promise<DesktopToken | null> {
    const pod = this.options.cluster.readyPod(user);
    return pod && this.#token(pod);
  }

  async #token(pod: Pod): Promise<DesktopToken> {
    const ttlS = this.options.desktopTokenTtlS ?? DESKTOP_TOKEN_TTL_S;
    return { desktopToken: await this.options.mintToken(pod.address, ttlS), expiresInS: ttlS };
  }
}

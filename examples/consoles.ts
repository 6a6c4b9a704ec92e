// A program that serves VM consoles beside its own work: `kubectl proxy` in one terminal, and in another
//
//   SECRET_KEY=$(openssl rand -hex 32) bun examples/consoles.ts
//
// In a cluster, set WS_REMOTE_URL to the API's wss:// address; the pod's service account is used then.

import { WebsocketProxy } from "route";

const remoteUrl = process.env.WS_REMOTE_URL ?? "ws://localhost:8001";

const proxy = new WebsocketProxy({
  remoteUrl,
  apiPath: "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{vmi_name}/vnc",
  localDevMode: remoteUrl.startsWith("ws://"),
  secretKey: process.env.SECRET_KEY ?? "",
});

// A thread of its own: whatever this program computes, consoles go on.
await proxy.runInThread(process.env.HOST ?? "127.0.0.1", Number(process.env.PORT ?? 5001));
console.log(`consoles at ${proxy.url}/TOKEN/VM`);

process.once("SIGINT", async () => {
  await proxy.stopThread();
  console.log("stopped");
});

import { afterAll, beforeAll, expect, test } from "bun:test";
import { Pod } from "../support/pod.ts";
import { TestRouter } from "../support/router.ts";
let pod: Pod, router: TestRouter;
beforeAll(async () => { pod = new Pod(); router = await TestRouter.start({ env: pod.env }); });
afterAll(async () => { await router.stop(); pod.stop(); });
test("healthz", async () => { const r = await fetch(router.url("/healthz")); expect(r.status).toBe(200); expect(await r.text()).toBe("OK\n"); });
test("spawner", async () => {
  const r = await fetch(router.url("/spawner/x?a=b"), { headers: { authorization: `Bearer ${router.token()}` } });
  const t = await r.text(); console.log(r.status, t, Object.fromEntries(r.headers)); expect(r.status).toBe(200);
  const p = await fetch(router.url("/spawner/x?a=b"), { method: "POST", body: "hello", headers: { abcauthorization: `Bearer ${router.token()}` } });
  console.log(p.status, await p.text());
});
test("ws", async () => {
  const ws = new WebSocket(`ws://127.0.0.1:${router.port}/websockify?jwt_token=${router.token()}`);
  const got = await new Promise((res, rej) => { ws.onopen = () => ws.send("hi"); ws.onmessage = (e) => res(e.data); ws.onclose = (e) => rej(new Error("closed " + e.code)); ws.onerror=(e)=>console.log(e) });
  expect(got).toBe("hi"); ws.close(4001, "bye");
  await pod.until(() => pod.open.size === 1 || pod.open.size===0);
  console.log(router.lines);
});

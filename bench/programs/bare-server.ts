// Program: what Bun.serve does when nothing is done: one handler, one constant body, no log. `bare-server.ts PORT BYTES`.
// No proxy written for this runtime answers from memory faster than this.

const [port, bytes] = process.argv.slice(2).map(Number) as [number, number];
const body = Buffer.alloc(bytes, "a");
const headers = { "content-type": "text/html" };

Bun.serve({ hostname: "127.0.0.1", port, development: false, reusePort: false, fetch: () => new Response(body, { headers }) });

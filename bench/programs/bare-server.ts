// Program: what Bun.serve does when there is nothing to do: one handler, one constant body, no log. A pod that is killed in the middle
// of its work, and the ceiling of whatever is written for this runtime. `bare-server.ts PORT TYPE BODY [KEYFILE CERTFILE]`.

const [port, type = "", text = "", keyFile, certFile] = process.argv.slice(2);
const body = Buffer.from(text);
const headers = { "content-type": type };

const tls = keyFile === undefined || certFile === undefined ? {} : { tls: { key: Bun.file(keyFile), cert: Bun.file(certFile) } };

Bun.serve({ hostname: "127.0.0.1", port: Number(port), development: false, reusePort: false, ...tls, fetch: () => new Response(body, { headers }) });

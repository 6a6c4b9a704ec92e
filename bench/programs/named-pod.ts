// Program: a pod that answers everything with its name. `named-pod.ts PORT NAME`. It is killed in the middle of its work.

const [port, name] = process.argv.slice(2);
const headers = { "content-type": "text/plain" };

Bun.serve({ hostname: "127.0.0.1", port: Number(port), development: false, reusePort: false, fetch: () => new Response(name, { headers }) });

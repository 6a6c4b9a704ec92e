// The service manager's end of NOTIFY_SOCKET, in Python: Bun speaks no AF_UNIX datagrams.

// Binds a datagram socket as the service manager does ("@": an abstract name), says so, and prints a JSON line for each
// datagram: its text and the kernel's monotonic clock.
const RECEIVER = `
import json, socket, sys, time
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("\\0" + name[1:] if name.startswith("@") else name)
print("bound", flush=True)
while True:
    print(json.dumps([s.recv(4096).decode(), time.monotonic_ns() // 1000]), flush=True)
`;

/** @param socket a path, or `@` and an abstract name */
export async function receive(socket: string) {
  const process = Bun.spawn(["python3", "-c", RECEIVER, socket], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const lines = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  const line = async () => {
    while (!rest.includes("\n")) {
      const { value, done } = await lines.read();
      if (done) throw new Error("the receiver ended");
      rest += value;
    }
    const end = rest.indexOf("\n");
    const first = rest.slice(0, end);
    rest = rest.slice(end + 1);
    return first;
  };
  if (await line() !== "bound") throw new Error("the receiver is not bound");
  const datagram = async () => JSON.parse(await line()) as [text: string, clockMicroseconds: number];
  const text = async () => (await datagram())[0];
  return { datagram, text, stop: () => { process.kill(); return process.exited; } };
}

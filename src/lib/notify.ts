// Tells the service manager how the program is doing: the sd_notify protocol (systemd, s6, podman, ...), one datagram to the
// AF_UNIX socket that NOTIFY_SOCKET names. Neither node:dgram nor Bun.udpSocket speaks AF_UNIX (Bun 1.4.5), so the
// calls go to libc directly; there is no child process. Without NOTIFY_SOCKET nothing is opened and nothing is sent.
//
// A message that cannot be sent is reported as false and otherwise ignored: being watched must never stop the program.

import { dlopen, FFIType, ptr } from "bun:ffi";

type Environment = Readonly<Record<string, string | undefined>>;

/** Sends `state`, one or more lines of `NAME=value` as sd_notify(3) lists them: "READY=1". False when nothing was sent. */
export function notify(state: string, environment: Environment = process.env): boolean {
  const socket = environment.NOTIFY_SOCKET;
  return socket !== undefined && sendDatagram(socket, state);
}

/** A reload begins; `notify("READY=1")` is its end. The clock value is what Type=notify-reload asks for. */
export function notifyReloading(environment: Environment = process.env): boolean {
  if (environment.NOTIFY_SOCKET === undefined) return false;
  return notify(`RELOADING=1\nMONOTONIC_USEC=${monotonicMicroseconds()}`, environment);
}

/**
 * Says "still alive" twice per watchdog period, if the manager asked for that (WatchdogSec=): a process whose event loop
 * hangs goes silent and is restarted. The result ends it.
 */
export function keepAlive(environment: Environment = process.env, pid: number = process.pid): () => void {
  const intervalMs = watchdogIntervalMs(environment, pid);
  if (intervalMs === null) return () => {};
  notify("WATCHDOG=1", environment);
  const timer = setInterval(() => notify("WATCHDOG=1", environment), intervalMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** Half of the period after which the manager would kill us, or null when no watchdog is set for this process. */
export function watchdogIntervalMs(environment: Environment, pid: number): number | null {
  const microseconds = Number(environment.WATCHDOG_USEC);
  if (!Number.isSafeInteger(microseconds) || microseconds <= 0) return null;
  if (environment.WATCHDOG_PID !== undefined && environment.WATCHDOG_PID !== String(pid)) return null;
  return Math.max(1, Math.floor(microseconds / 2000));
}

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const CLOCK_MONOTONIC = 1;
/** sizeof(sun_path) on Linux. */
const PATH_LIMIT_BYTES = 108;

function sendDatagram(socket: string, message: string): boolean {
  const libc = openLibc();
  const address = socketAddress(socket);
  if (libc === null || address === null) return false;
  const descriptor = libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (descriptor < 0) return false;
  const bytes = Buffer.from(message);
  const sent = libc.sendto(descriptor, ptr(bytes), bytes.length, MSG_NOSIGNAL, ptr(address), address.length);
  libc.close(descriptor);
  return Number(sent) === bytes.length;
}

/** struct sockaddr_un, unix(7): `/path` with its closing NUL, or `@name`, an abstract name, with a NUL in front. */
function socketAddress(socket: string): Buffer | null {
  if (!socket.startsWith("/") && !socket.startsWith("@")) return null; // also "vsock:...", which is for virtual machines
  const path = Buffer.from(socket.startsWith("@") ? `\0${socket.slice(1)}` : `${socket}\0`);
  if (path.length > PATH_LIMIT_BYTES) return null;
  return Buffer.concat([new Uint8Array(new Uint16Array([AF_UNIX]).buffer), path]);
}

/** The kernel's clock: process.hrtime() in Bun 1.4.5 counts from the start of the process instead. */
function monotonicMicroseconds(): bigint {
  const libc = openLibc();
  const time = new BigInt64Array(2); // struct timespec: seconds, nanoseconds
  if (libc === null || libc.clock_gettime(CLOCK_MONOTONIC, ptr(time)) !== 0) return 0n;
  return time[0]! * 1_000_000n + time[1]! / 1000n;
}

type Libc = ReturnType<typeof loadLibc>;
let opened: Libc | null | undefined;

/** null where there is no Linux libc to call: then there is no systemd either. */
function openLibc(): Libc | null {
  if (opened !== undefined) return opened;
  for (const name of ["libc.so.6", `/lib/ld-musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`]) {
    try {
      return (opened = loadLibc(name));
    } catch {
      // Not this C library: dlopen throws when there is no such file; the next name is the other one.
    }
  }
  return (opened = null);
}

function loadLibc(name: string) {
  return dlopen(name, {
    socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
    sendto: {
      args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32, FFIType.ptr, FFIType.u32],
      returns: FFIType.i64,
    },
    close: { args: [FFIType.i32], returns: FFIType.i32 },
    clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  }).symbols;
}

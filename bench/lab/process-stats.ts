// What the kernel says about a process: CPU time and memory. Linux only, like the program itself in production.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";

/** USER_HZ: 100 on every Linux that we can meet; the unit of /proc/PID/stat. */
const TICKS_PER_S = 100;

const KIB = 1024;

/** User and system time of a process, its threads and its living children (nginx's worker), s. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name in parentheses may hold anything; field 3 comes after the last one. utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const own = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
  return children(pid).reduce((sum, child) => sum + cpuSeconds(child), own);
}

/** Resident memory of a process and its children, bytes; a page that two of them share counts twice. */
export function residentBytes(pid: number): number {
  return family(pid).reduce((sum, member) => sum + rollup(member, "Rss"), 0);
}

/** The same, where each of those who share a page counts a part of it: the only fair sum over forks of one process. */
export function proportionalBytes(pid: number): number {
  return family(pid).reduce((sum, member) => sum + rollup(member, "Pss"), 0);
}

/** How far resident memory rose above what it was before, at its peak, while `work` ran, of the process alone, bytes. */
export async function growthBytes(pid: number, work: () => Promise<void>): Promise<number> {
  forgetPeak(pid);
  const before = peakBytes(pid);
  await work();
  return peakBytes(pid) - before;
}

/** Memory once it no longer moves by more than a hundredth in a second, or after 15 s, bytes. */
export async function settledBytes(pid: number, bytesOf = residentBytes): Promise<number> {
  let before = bytesOf(pid);
  for (let seconds = 0; seconds < 15; seconds += 1) {
    await Bun.sleep(1000);
    const now = bytesOf(pid);
    if (Math.abs(now - before) < before / 100) return now;
    before = now;
  }
  return before;
}

/** Open files that a process started from here may have. */
export function openFilesLimit(): number {
  const line = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
  return line?.[1] === "unlimited" ? Infinity : Number(line?.[1] ?? 1024);
}

/** The 1-minute load average. */
export function loadAverage(): number {
  return Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]);
}

/** The highest resident memory since the start or {@link forgetPeak}, bytes. */
function peakBytes(pid: number): number {
  return kibibytes(readFileSync(`/proc/${pid}/status`, "utf8"), "VmHWM");
}

/** The peak is what is resident now: proc(5), clear_refs, value 5. */
function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

function family(pid: number): number[] {
  return [pid, ...children(pid).flatMap(family)];
}

function rollup(pid: number, name: string): number {
  return kibibytes(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"), name);
}

function children(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter((word) => word !== "").map(Number));
}

function kibibytes(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? NaN) * KIB;
}

#!/usr/bin/env python3
"""as-unit.py UNIT COMMAND...: runs COMMAND under the system call filter of a systemd unit, as PID 1 would set it.

Reads SystemCallFilter= from the unit (lines that add, lines with ~ that take away, @groups as systemd-analyze lists them)
and loads it with libseccomp: what is not allowed fails with EPERM. No systemd needs to run. A refused call that the program
cannot do without shows as a failed check in .ci/smoke.
"""
import ctypes
import errno
import os
import subprocess
import sys

ALLOW = 0x7FFF0000
EPERM = 0x00050000 | errno.EPERM
PR_SET_NO_NEW_PRIVS = 38


def expand(names):
    calls = set()
    for name in names:
        if not name.startswith("@"):
            calls.add(name)
            continue
        listed = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
        calls |= expand([line.strip() for line in listed.splitlines()[1:] if line.strip() and "#" not in line])
    return calls


def filter_of(unit):
    allowed = set()
    with open(unit, encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("SystemCallFilter="):
                continue
            value = line.split("=", 1)[1].strip()
            names = expand(value.lstrip("~").split())
            allowed = allowed - names if value.startswith("~") else allowed | names
    # As systemd.exec(5) has it: always allowed, whatever the unit says.
    return allowed | {"execve", "exit", "exit_group", "getrlimit", "rt_sigreturn", "sigreturn", "nanosleep", "brk", "mmap"}


def load(calls):
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(EPERM)))
    for call in calls:
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:
            seccomp.seccomp_rule_add_exact(context, ctypes.c_uint32(ALLOW), number, 0)
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if seccomp.seccomp_load(context) != 0:
        sys.exit("as-unit: cannot load the filter")


if __name__ == "__main__":
    calls = filter_of(sys.argv[1])
    if len(calls) < 100:
        sys.exit(f"as-unit: only {len(calls)} system calls allowed by {sys.argv[1]}: is SystemCallFilter= there?")
    load(calls)
    os.execvp(sys.argv[2], sys.argv[2:])

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Engines execute the same guest side by side and agree wherever the first one leaves its engine.

LOCKSTEP_MILLIONS: how much of the stock kernel's boot, in millions of instructions; 0: all of it."""
from harness import *

lockstep = os.path.join(os.path.dirname(VISOR), "tests", "lockstep", "lockstep")
if not os.path.exists(lockstep):
    print("the build has no tests")
    sys.exit(77)
millions = os.environ.get("LOCKSTEP_MILLIONS", "20")
programs = f"{TMP}/programs"
names = ["exceptions", "traps", "restart", "paging", "smc", "xsave", "compat", "modes32"]
subprocess.run([f"{TOP}/tests/guest/build.sh", programs, *names], check=True)


failed = []


def agree(leader, what, status, *arguments):
    run = subprocess.run([lockstep, leader, "interp", *arguments, "-q"], capture_output=True, text=True, errors="replace",
                         timeout=3600)
    good = run.returncode == status and f"{leader} and interp agree" in run.stdout
    print(f"{'passed' if good else 'failed'}: {leader} and interp, {what}")
    if not good:
        print((run.stdout + run.stderr)[-4000:])
        failed.append(what)


for leader in "interp", "jit":
    for name in names:
        for free in "0", "50": # short runs, and some long ones
            agree(leader, f"{name}, {free} % long runs", 33, f"{programs}/{name}.elf", "-m", "64", "-f", free)
    kernel, = prepare("cloud-amd64")
    agree(leader, f"{millions} million instructions of Debian's kernel", 0, f"{kernel}/vmlinuz", "-i", f"{kernel}/initrd.gz",
          "-f", "5", *(["-n", millions] if millions != "0" else ["-u", "visor:/"]))
check(not failed, f"{len(failed)} differ")

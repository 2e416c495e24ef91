#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Stock kernels boot to the shell and power off, with 1, 2 and 4 processors. BOOT_TIMES=20 for many times."""
import os
from harness import *

KERNELS = os.environ.get("BOOT_KERNELS", "cloud-amd64 generic-amd64 i386-686 i386-686-pae").split()
CPUS = os.environ.get("BOOT_CPUS", "1 2 4").split()
prepare(*KERNELS)
for kernel in KERNELS:
    for cpus in CPUS:
        if kernel == "i386-686" and cpus != "1":
            continue  # a kernel for one processor
        for turn in range(int(os.environ.get("BOOT_TIMES", "1"))):
            g = linux(kernel, "--cpus", cpus)
            got = g.command("nproc").strip()
            check(got == cpus, f"{kernel}: {got} processors instead of {cpus}")
            check("Linux" in g.command("uname -a"), "uname")
            g.power_off()
            g.check_log()
            print(f"{kernel}, {cpus} cpu(s): ok")

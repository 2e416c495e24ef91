#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Stock kernels boot to the shell and power off, under each engine, one of them under kvm. BOOT_TIMES=20 for many times."""
import itertools
import os
from harness import *

KERNELS = os.environ.get("BOOT_KERNELS", "cloud-amd64 generic-amd64 i386-686 i386-686-pae").split()
CPUS = os.environ.get("BOOT_CPUS", "1 2 4").split()
ENGINES = os.environ.get("BOOT_ENGINES", "jit interp").split()
TIMES = int(os.environ.get("BOOT_TIMES", "1"))
prepare(*KERNELS)


def wanted(kernel, cpus, engine):
    if kernel == "i386-686":
        return cpus == "1"  # a kernel for one processor
    return engine != "interp" or TIMES > 1 or cpus == CPUS[-1]  # it is slow


def boot(kernel, cpus, engine):
    g = linux(kernel, "--cpus", cpus, "--engine", engine)
    got = g.command("nproc").strip()
    check(got == cpus, f"{kernel}: {got} processors instead of {cpus}")
    check("Linux" in g.command("uname -a"), "uname")
    if engine != "kvm":  # nor does it pay for what would guard against it
        got = g.command("cat /sys/devices/system/cpu/vulnerabilities/meltdown").strip()
        check(got == "Not affected", f"{kernel}: meltdown: {got}")
    g.power_off()
    g.check_log()
    print(f"{kernel}, {cpus} cpu(s), {engine}: ok")


for kernel, cpus, engine in itertools.product(KERNELS, CPUS, ENGINES):
    if wanted(kernel, cpus, engine):
        for turn in range(TIMES):
            boot(kernel, cpus, engine)
# With BOOT_ENGINES=kvm all do. Where KVM emulates kernel code the jit takes over under way.
if "BOOT_ENGINES" not in os.environ and "generic-amd64" in KERNELS and "2" in CPUS and kvm_works():
    boot("generic-amd64", "2", "kvm")

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""stress-ng in a guest of 2 processors: what it computes is verified, and the kernel has nothing to complain of.

STRESS_SECONDS=3600 for an hour.
"""
import os
import re
from harness import *

SECONDS = int(os.environ.get("STRESS_SECONDS", "60"))
ENGINE = os.environ.get("STRESS_ENGINE", "jit")
# Two workers of each of these, one of each of their kin: the processors' work is a mixture of all. (Not mutex: as a
# real-time process it leaves nothing to the others.)
STRESSORS = "cpu vm fork mmap signal futex".split()
KIN = "vfork clone mremap mprotect madvise sigsegv sigfpe sigq sigtrap switch".split()
LIMITS = "--vm-bytes 32M --mmap-bytes 16M --mremap-bytes 8M --fork-max 4 --vfork-max 4 --clone-max 8"
# The kernel notes the end of a process by a signal as such; stress-ng raises them, and says itself which it did not want.
COMPLAINT = re.compile(r"WARNING: |BUG: |Oops|Call Trace|soft lockup|hard lockup|rcu.*stall|Kernel panic|blocked for more than|"
                       r"Out of memory|MCE|corrupt|bad page|clocksource.*unstable", re.I)
disk, = prepare("programs-amd64")


def main():
    g = linux("cloud-amd64", "--engine", ENGINE, "--cpus", "2", "--memory", "2G", "--disk", f"{disk}/root.img,ro")
    g.command("mount -t ext4 -o ro /dev/vda /mnt && mount -t tmpfs -o mode=1777 tmpfs /mnt/tmp && "
              "for f in proc sys dev; do mount -o bind /$f /mnt/$f; done")
    workers = " ".join([f"--{name} 2" for name in STRESSORS] + [f"--{name} 1" for name in KIN])
    line = f"cd /tmp && exec stress-ng {workers} {LIMITS} --verify --metrics-brief --timeout {SECONDS}s"
    # It may take long to end its workers; the guest's clock is right, so that more is too much.
    text = g.command(f"env -i PATH=/usr/bin:/usr/sbin HOME=/tmp LC_ALL=C chroot /mnt sh -c '{line}' 2>&1", SECONDS + 60)
    print(text)
    check("successful run completed" in text, "stress-ng did not complete its run")
    bad = [line for line in text.splitlines() if re.search(r"\b(fail|error|skipp|oom)", line, re.I) and "failed: 0" not in line]
    check(not bad, "stress-ng complains:\n" + "\n".join(bad))
    for name in STRESSORS + KIN:
        m = re.search(rf"\] {name} +(\d+) ", text)
        check(m and int(m[1]) > 0, f"the stressor {name} did nothing")
    g.power_off()
    bad = [line for line in g.log.splitlines() if COMPLAINT.search(line)]
    check(not bad, "the kernel complains:\n" + "\n".join(bad))


main()

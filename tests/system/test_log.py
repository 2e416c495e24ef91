#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock kernel complains of nothing in visor that it does not complain of in QEMU (TCG), too.

LOG_KERNELS: which kernels, "cloud-amd64 i386-686-pae"; LOG_KEEP: a folder in which the logs stay.
"""
import os, shutil
from harness import *

KERNELS = os.environ.get("LOG_KERNELS", "cloud-amd64 i386-686-pae").split()
KEEP = os.environ.get("LOG_KEEP")
COMPLAINT = re.compile(r"warn|\bbug\b|unhandled|oops|call trace|error|fail|fault|panic|stall|lockup|taint|unable|cannot|can't|could not|"
                       r"invalid|illegal|unexpected|unknown|unsupported|not supported|not responding|spurious|unstable|mismatch|"
                       r"conflict|broken|bad\b|wrong|missing|timed? ?out|nobody cared|\[-- |------------", re.I)
# What a kernel measures wrong when the host has no time for its processor at that moment, under any monitor: only what it says
# in each of TRIES boots counts.
MEASURED = re.compile(r"PM-Timer running at invalid rate|unstable|clocksource.*skew|calibrat|timing|lockup|stall|took .*ns", re.I)
TRIES = 4
QEMU = shutil.which("qemu-system-x86_64")
if not QEMU:
    print("no qemu-system-x86_64; install qemu-system-x86")
    sys.exit(77)


def processor():
    """QEMU's name for the processor that visor shows, the host's: kernels talk of what they know by maker and model."""
    with open("/proc/cpuinfo") as f:
        info = dict(re.split(r"\s*: ?", line.rstrip("\n"), maxsplit=1) for line in f.read().split("\n\n")[0].splitlines())
    return f"max,vendor={info['vendor_id']},family={info['cpu family']},model={info['model']}"


def start(folder, *arguments, program, dashes):
    names = {"kernel": f"{folder}/vmlinuz", "initrd": f"{folder}/initrd.gz", "append": "console=ttyS0 ignore_loglevel"}
    return Guest(*arguments, *(text for name, value in names.items() for text in (dashes + name, value)), program=program)


def log_of(g, who, kernel):
    """Lines of the kernel's log, without what differs from run to run."""
    g.expect(PROMPT, 90)
    text = g.command("dmesg", 60)
    g.power_off()
    check("Linux version" in text and "Run /init" in text, f"{who}: no whole log:\n{text[:2000]}")
    if KEEP:
        with open(f"{KEEP}/{kernel}-{who}.log", "w") as f:
            f.write(text)
    return [re.sub(r"^\[ *\d+\.\d+\] *", "", line).strip() for line in text.splitlines()]


def general(line):
    """The line without numbers, so that addresses, times and counts do not count."""
    return re.sub(r"\s+", " ", re.sub(r"\b(0x)?[0-9a-f]*\d[0-9a-f]*\b", "N", line, flags=re.I))


def boot(kernel, *other):
    """The kernel's log under visor, and under QEMU when that is wanted, too."""
    folder, = prepare(kernel)
    qemu = "qemu" in other and start(folder, "-accel", "tcg", "-cpu", processor(), "-m", "512", "-display", "none", "-monitor", "none",
                                     "-serial", "stdio", "-nodefaults", "-no-reboot", program=(QEMU,), dashes="-")
    visors = start(folder, "--memory", "512M", program=(VISOR, "run"), dashes="--")
    return log_of(visors, "visor", kernel), log_of(qemu, "qemu", kernel) if qemu else []


for kernel in KERNELS:
    ours, theirs = boot(kernel, "qemu")
    known = {general(line) for line in theirs}
    new = [line for line in ours if COMPLAINT.search(line) and general(line) not in known]
    for _ in range(TRIES - 1):
        if not new or not all(MEASURED.search(line) for line in new):
            break
        print(f"{kernel}: once more, for " + "; ".join(new), flush=True)
        again = {general(line) for line in boot(kernel)[0]}
        new = [line for line in new if general(line) in again]
    check(not new, f"{kernel}: the kernel's log has under visor alone\n" + "\n".join(new))
    print(f"{kernel}: {len(ours)} lines, {sum(bool(COMPLAINT.search(l)) for l in ours)} complaints, all of them under QEMU, too", flush=True)

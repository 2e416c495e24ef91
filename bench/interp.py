#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The interpreter beside Bochs and QEMU without KVM, and the shell loop beside the bare host.

One guest (Debian's cloud kernel, busybox), started in turns under each monitor; the host's clock times
marker lines on the serial console. Prints medians, guest instructions a second and ratios.

usage: bench/interp.py VISOR GUEST-DIR [--rounds N] [--no-bochs]
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import machines

LOOP = 200000
INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc
/bin/busybox mount -t proc proc /proc
echo "MARK shell"
if /bin/busybox grep -q visor_loop /proc/cmdline; then
	i=0
	while [ $i -lt {LOOP} ]; do i=$((i+1)); done
	echo "MARK loop"
fi
/bin/busybox poweroff -f
"""
LIMIT = 300


def run(command, output, done=None):
    """Runs until the command ends (or `done` appears on its serial output); seconds from start to each marker.
    output: None for standard output, else the file that the serial port is written to."""
    marks = {}
    start = time.monotonic()
    if output and os.path.exists(output):
        os.unlink(output)
    process = subprocess.Popen(command, stdin=subprocess.PIPE if output else subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL if output else subprocess.PIPE, stderr=subprocess.DEVNULL)
    timer = threading.Timer(LIMIT, process.kill)
    timer.start()

    def note(text):
        for name in ("shell", "loop"):
            if f"MARK {name}" in text and name not in marks:
                marks[name] = time.monotonic() - start
                marks["memory"] = machines.own_memory(process.pid)

    if output:
        process.stdin.write(b"c\n")
        process.stdin.flush()
        while process.poll() is None and (done is None or done not in marks):
            time.sleep(0.05)
            if os.path.exists(output):
                with open(output, errors="replace") as f:
                    note(f.read())
        process.kill()
    else:
        for line in process.stdout:
            note(line.decode(errors="replace"))
    process.wait()
    timer.cancel()
    marks["end"] = time.monotonic() - start
    return marks


class Visor:
    name = "visor interp"

    def __init__(self, binary, kernel, initrd, work):
        self.binary, self.kernel, self.initrd, self.stats = binary, kernel, initrd, os.path.join(work, "stats.json")

    def run(self, loop):
        append = "console=ttyS0 quiet rdinit=/bench-init" + (" visor_loop" if loop else "")
        marks = run([self.binary, "run", "--engine", "interp", "--memory", "256M", "--kernel", self.kernel, "--initrd", self.initrd,
                     "--append", append, "--stats", self.stats], None)
        with open(self.stats) as f:
            stats = json.load(f)
        marks["instructions"] = stats["instructions"]
        return marks


class Qemu:
    name = "QEMU without KVM"

    def __init__(self, kernel, initrd):
        self.kernel, self.initrd = kernel, initrd

    def run(self, loop):
        append = "console=ttyS0 quiet rdinit=/bench-init" + (" visor_loop" if loop else "")
        return run(["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "256", "-nographic", "-no-reboot",
                    "-kernel", self.kernel, "-initrd", self.initrd, "-append", append], None)


class Bochs:
    name = "Bochs"

    def __init__(self, kernel, initrd, work):
        self.work = work
        self.iso = os.path.join(work, "bochs.iso")
        tree = os.path.join(work, "iso", "boot")
        os.makedirs(os.path.join(tree, "grub"), exist_ok=True)
        shutil.copy(kernel, os.path.join(tree, "vmlinuz"))
        shutil.copy(initrd, os.path.join(tree, "initrd"))
        with open(os.path.join(tree, "grub", "grub.cfg"), "w") as f:
            f.write("set timeout=0\nmenuentry x { linux /boot/vmlinuz console=ttyS0 quiet rdinit=/bench-init visor_loop\n"
                    " initrd /boot/initrd\n}\n")
        subprocess.run(["grub-mkrescue", "-o", self.iso, os.path.join(work, "iso")], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.config = os.path.join(work, "bochsrc")
        self.serial = os.path.join(work, "serial.txt")
        with open(self.config, "w") as f:
            f.write(f"""plugin_ctrl: unmapped=true, biosdev=true, extfpuirq=true, serial=true
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest=256, host=256
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=corei7_haswell_4770, count=1, ips=100000000
ata0-master: type=cdrom, path={self.iso}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={self.serial}
clock: sync=none
log: {work}/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
""")

    def run(self, loop):
        # Its time to the shell has BIOS and boot loader in it (a few seconds); the loop has not.
        return run(["bochs", "-q", "-f", self.config], self.serial, done="loop" if loop else "shell")


def native_loop(busybox):
    start = time.monotonic()
    subprocess.run([busybox, "sh", "-c", f"i=0; while [ $i -lt {LOOP} ]; do i=$((i+1)); done"], check=True)
    return time.monotonic() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("visor")
    parser.add_argument("guest")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-bochs", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="visor-bench-") as work:
        kernel = os.path.join(args.guest, "vmlinuz")
        with open(os.path.join(work, "bench-init"), "w") as f:
            f.write(INIT)
        os.chmod(f.name, 0o755)
        initrd = machines.make_initrd(args.guest, work, "bench-init", os.path.join(work, "initrd"))
        monitors = [Visor(args.visor, kernel, initrd, work), Qemu(kernel, initrd)]
        if not args.no_bochs:
            monitors.append(Bochs(kernel, initrd, work))
        boots = {m.name: [] for m in monitors}
        loops = {m.name: [] for m in monitors}
        mips_boot, mips_loop, native, memory = [], [], [], []
        for _ in range(args.rounds):
            native.append(native_loop(shutil.which("busybox")))
            for monitor in monitors:
                marks = monitor.run(True)
                if "loop" not in marks:
                    sys.exit(f"{monitor.name}: the guest did not finish")
                boots[monitor.name].append(marks["shell"])
                loops[monitor.name].append(marks["loop"] - marks["shell"])
                if "instructions" in marks:
                    memory.append(marks["memory"])
                    boot_only = monitor.run(False)
                    mips_boot.append(boot_only["instructions"] / boot_only["end"] / 1e6)
                    mips_loop.append((marks["instructions"] - boot_only["instructions"]) / loops[monitor.name][-1] / 1e6)
    median = statistics.median
    base_boot, base_loop = median(boots["visor interp"]), median(loops["visor interp"])
    print(f"interpreter: {median(mips_boot):.0f} million guest instructions/s over the boot, "
          f"{median(mips_loop):.0f} over the shell loop (medians of {args.rounds})")
    print(f"visor's own memory besides the guest's RAM: {max(memory):.1f} MB")
    print(f"{'':18}{'to shell, s':>14}{'visor faster':>14}{'loop, s':>10}{'visor faster':>14}")
    for m in monitors:
        b, l = median(boots[m.name]), median(loops[m.name])
        print(f"{m.name:18}{b:14.2f}{b / base_boot:13.2f}x{l:10.2f}{l / base_loop:13.2f}x")
    print(f"{'native':18}{'':14}{'':14}{median(native):10.2f}{median(native) / base_loop:13.3f}x")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock bzImage starts both ways: unpacked by visor at its own address, and by itself with its address space randomised."""
import struct
from harness import *

cloud, = prepare("cloud-amd64")
LINKED = 0xffffffff81000000  # Linux, Documentation/arch/x86/x86_64/mm.rst: kernel text mapping, and CONFIG_PHYSICAL_START


def place(guest):
    """Where the kernel lies, and whether its unpacking code says to have randomised that (boot.rst: KASLR_FLAG of loadflags)."""
    text = guest.command("grep ' _text$' /proc/kallsyms")
    flags = guest.command("hexdump -s 529 -n 1 -e '1/1 \"%x\"' /sys/kernel/boot_params/data; echo")
    return int(text.split()[0], 16), bool(int(flags, 16) & 2)


def boots(kernel, *flags, randomised):
    g = linux(kernel, *flags)
    for turn in "first", "second":
        text, said = place(g)
        check(said == randomised, f"{flags}, {turn} start: KASLR is {said}")
        check(randomised or text == LINKED, f"{flags}, {turn} start: _text at {text:x}")
        if turn == "first":  # memory is not zero then
            g.send("reboot -f\n")
            g.expect(PROMPT, 60)
    g.power_off()
    g.check_log()
    print(f"{flags}: ok")
    return g


boots("cloud-amd64", "--memory", "128M", "--cpus", "2", randomised=False)
boots("cloud-amd64", "--memory", "5G", "--kernel-unpack", "guest", randomised=True)

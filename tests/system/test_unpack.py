#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock bzImage starts both ways: unpacked by visor at its own address, and by itself with its address randomised."""
import struct
from harness import *

LINKED = 0xffffffff81000000  # Linux, Documentation/arch/x86/x86_64/mm.rst: kernel text mapping, and CONFIG_PHYSICAL_START


def place(guest):
    """Where the kernel lies, and whether its unpacking code says to have randomised that (boot.rst: KASLR_FLAG of loadflags)."""
    text = guest.command("grep ' _text$' /proc/kallsyms")
    flags = guest.command("hexdump -s 529 -n 1 -e '1/1 \"%x\"' /sys/kernel/boot_params/data; echo")
    return int(text.split()[0], 16), bool(int(flags, 16) & 2)


def check_place(guest, what, randomised):
    text, said = place(guest)
    check(said == randomised, f"{what}: KASLR is {said}")
    check(randomised or text == LINKED, f"{what}: _text at {text:x}")
    print(f"{what}: ok")


def boots(what, *flags, randomised):
    """Also after a reset, when memory is not zero, and one of a restored machine, which still knows who unpacks."""
    path = f"{TMP}/saved"
    g = linux("cloud-amd64", "--name", "unpack", *flags)
    check_place(g, what, randomised)
    visor("save", "unpack", path, "--stop")
    g.wait(0)
    g.check_log()
    g = Guest("--restore", path, "--name", "unpack")
    g.send("reboot -f\n")
    g.expect(PROMPT, 60)
    check_place(g, what + ", after a reset", randomised)
    g.power_off()
    g.check_log()


boots("by visor", "--memory", "128M", "--cpus", "2", randomised=False)
boots("by itself", "--memory", "128M", "--kernel-unpack", "guest", randomised=True)

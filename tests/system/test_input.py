#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Keyboard and tablet of virtio with Linux's driver: keys that are typed, and the pointer of a VNC viewer, arrive as events."""
from harness import *
from vnc import *


def record(g, name, count):
    """Begins to gather so many events of the device of this name."""
    g.command(f"d=$(grep -l '{name}' /sys/class/input/event*/device/name | cut -d/ -f5); test -c /dev/input/$d; rm -f /tmp/events; "
              f"(head -c {24 * count} /dev/input/$d >/tmp/events; : >/tmp/all) & sleep 0.5")


def events(g):
    """(type, code, value) of each."""
    text = g.command("until [ -e /tmp/all ]; do sleep 0.1; done; rm /tmp/all; hexdump -v -e '12/2 \"%u \" \"\\n\"' /tmp/events")
    return [(n[8], n[9], n[10] | n[11] << 16) for n in ([int(word) for word in line.split()] for line in text.splitlines()) if len(n) == 12]


port = free_port()
g = linux("devices-amd64", "--name", "input", "--virtio-input", "--vnc", str(port))
record(g, "visor keyboard", 12)
visor("type", "input", "aB")
found = events(g)
check(found == [(1, 30, 1), (0, 0, 0), (1, 30, 0), (0, 0, 0), (1, 42, 1), (0, 0, 0), (1, 48, 1), (0, 0, 0), (1, 48, 0), (0, 0, 0), (1, 42, 0),
                (0, 0, 0)], f"keys: {found}")
record(g, "visor tablet", 7)
v = Vnc(port)
v.start()
v.pointer(v.width - 1, 1, 0)
v.pointer(v.width // 2, v.height - 1, 1)
found = events(g)
middle = v.width // 2 * 32767 // (v.width - 1)
wanted = [(3, 0, 32767), (3, 1, 32767 // (v.height - 1)), (0, 0, 0), (3, 0, middle), (3, 1, 32767), (1, 0x110, 1), (0, 0, 0)]
check(found == wanted, f"pointer: {found}")
g.check_log()
g.power_off()
print("passed: keyboard and pointer")

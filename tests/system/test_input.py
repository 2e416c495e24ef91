#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Keyboard and tablet of virtio with Linux's driver: keys that are typed, and the pointer of a VNC viewer, arrive as events."""
import struct
from harness import *


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Viewer:
    """A VNC viewer that moves its pointer."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20 * PATIENCE)
        self.take(12)
        self.sock.sendall(b"RFB 003.008\n")
        self.take(self.take(1)[0])
        self.sock.sendall(b"\x01")
        self.take(4)
        self.sock.sendall(b"\x01")
        self.width, self.height = struct.unpack(">HH", self.take(4))
        self.take(struct.unpack(">16xI", self.take(20))[0])

    def take(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            check(more, "the VNC server hung up")
            data += more
        return data

    def pointer(self, x, y, buttons):
        self.sock.sendall(struct.pack(">BBHH", 5, buttons, x, y))


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
v = Viewer(port)
v.pointer(v.width - 1, 1, 0)
v.pointer(v.width // 2, v.height - 1, 1)
found = events(g)
middle = v.width // 2 * 32767 // (v.width - 1)
wanted = [(3, 0, 32767), (3, 1, 32767 // (v.height - 1)), (0, 0, 0), (3, 0, middle), (3, 1, 32767), (1, 0x110, 1), (0, 0, 0)]
check(found == wanted, f"pointer: {found}")
g.check_log()
g.power_off()
print("passed: keyboard and pointer")

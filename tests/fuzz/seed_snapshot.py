#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/fuzz/seed_snapshot.py FOLDER: a small valid save file for fuzz_snapshot to start from."""
import json, os, struct, sys, zlib

INFO, OBJECT, MEMORY, END = 1, 2, 3, 4


def section(kind, name, payload):
    rest = struct.pack("<QH", len(payload), len(name)) + name + payload
    head = struct.pack("<I", kind)
    return head + struct.pack("<I", zlib.crc32(head + rest)) + rest


def name(text):
    return struct.pack("<H", len(text)) + text


def field(text, width, count):
    return name(text) + struct.pack("<BII", 1, width, count) + bytes(width * count)


info = {"program": "visor", "machine": {"memory": 1 << 28, "cpus": 1, "cpu": "host", "engine": "interp", "kernel": "k", "append": "a",
                                        "disks": [{"path": "d", "read_only": False}], "ports": ["serial0"], "debug_exit": False}}
segments = name(b"seg") + struct.pack("<BII", 3, 0, 8) + (field(b"base", 8, 1) + field(b"limit", 4, 1) + name(b"")) * 8
cpu = name(b"x86-cpu") + field(b"gpr", 8, 18) + segments + field(b"cr0", 8, 1) + name(b"")
# One page, as a zstd frame of one run-length block.
page = b"\x28\xb5\x2f\xfd\x60" + struct.pack("<H", 4096 - 256) + struct.pack("<I", 4096 << 3 | 1 << 1 | 1)[:3] + b"\xaa"
memory = struct.pack("<Q", 8192) + b"\x01" + bytes(31) + page
sections = [section(INFO, b"info", json.dumps(info).encode()), section(OBJECT, b"cpu0", cpu), section(MEMORY, b"ram", memory)]
os.makedirs(sys.argv[1], exist_ok=True)
with open(os.path.join(sys.argv[1], "seed"), "wb") as f:
    f.write(b"VISORSAV" + struct.pack("<II", 1, 0) + b"".join(sections) + section(END, b"end", struct.pack("<Q", len(sections))))

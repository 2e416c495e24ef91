# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the PNG files of visor screenshot."""
import struct, zlib
from harness import *


def decode(png):
    """(width, height, rows of RGB bytes) of a PNG file of 24 bits without interlace."""
    check(png.startswith(b"\x89PNG\r\n\x1a\n"), "no PNG file")
    at, data = 8, b""
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            data += body
        at += size + 12
    check((depth, color) == (8, 2), f"PNG of another kind: {depth} {color}")
    data, rows, above = zlib.decompress(data), [], bytes(3 * width)
    for y in range(height):
        line = data[y * (3 * width + 1):(y + 1) * (3 * width + 1)]
        row = bytearray(line[1:])
        for x in range(len(row)):
            left, up, corner = (row[x - 3] if x >= 3 else 0), above[x], (above[x - 3] if x >= 3 else 0)
            if line[0] == 1:
                row[x] = (row[x] + left) & 255
            elif line[0] == 2:
                row[x] = (row[x] + up) & 255
            elif line[0] == 3:
                row[x] = (row[x] + (left + up) // 2) & 255
            elif line[0] == 4:
                estimate = left + up - corner
                nearest = min((abs(estimate - left), 0, left), (abs(estimate - up), 1, up), (abs(estimate - corner), 2, corner))
                row[x] = (row[x] + nearest[2]) & 255
        rows.append(bytes(row))
        above = row
    return width, height, rows

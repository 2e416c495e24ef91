# SPDX-License-Identifier: GPL-2.0-or-later
"""A VNC client: as much of RFB 3.8 (RFC 6143) as shows pictures, presses keys, moves the pointer and asks for another size."""
import struct
from harness import *

DESKTOP_SIZE, EXTENDED_DESKTOP_SIZE = -223, -308


class Vnc:
    def __init__(self, port):
        """Connected up to the choice of a security type."""
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20 * PATIENCE)
        check(self.take(12) == b"RFB 003.008\n", "no RFB 3.8")
        self.sock.sendall(b"RFB 003.008\n")
        self.security = self.take(self.take(1)[0])

    def take(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            check(more, "the VNC server hung up")
            data += more
        return data

    def start(self, encodings=(DESKTOP_SIZE,)):
        check(1 in self.security, f"security types {list(self.security)}")
        self.sock.sendall(b"\x01")
        check(self.take(4) == bytes(4), "refused")
        self.sock.sendall(b"\x01")
        self.width, self.height = struct.unpack(">HH", self.take(4))
        self.take(16)
        self.title = self.take(struct.unpack(">I", self.take(4))[0]).decode()
        # 32 bits, little-endian, red at 16; raw encoding and changes of size.
        self.sock.sendall(struct.pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.sock.sendall(struct.pack(f">BxH{1 + len(encodings)}i", 2, 1 + len(encodings), 0, *encodings))

    def rectangles(self, incremental):
        """One update of the screen: (x, y, width, height, pixels) of each part, no pixels for a change of its size."""
        self.sock.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))
        check(self.take(1) == b"\0", "another message")
        (count,) = struct.unpack(">xH", self.take(3))
        for _ in range(count):
            x, y, w, h, encoding = struct.unpack(">HHHHi", self.take(12))
            if encoding in (DESKTOP_SIZE, EXTENDED_DESKTOP_SIZE):
                self.width, self.height = w, h
                if encoding == EXTENDED_DESKTOP_SIZE:
                    self.refused = y
                    self.take(16 * self.take(4)[0])
                yield 0, 0, w, h, None
            else:
                yield x, y, w, h, self.take(4 * w * h)

    def picture(self, width, height):
        """Updates until the whole screen of that size is there. What has been asked for as a whole is changed until it comes."""
        pixels, seen, incremental = None, 0, False
        while seen < width * height:
            for x, y, w, h, data in self.rectangles(incremental):
                if data is None:
                    pixels, seen = None, 0
                if data is None or (self.width, self.height) != (width, height):
                    continue
                pixels = pixels or [bytearray(3 * width) for _ in range(height)]
                for row in range(h):
                    line = data[4 * w * row:4 * w * (row + 1)]
                    for color in range(3):
                        pixels[y + row][3 * x + color:3 * (x + w):3] = line[2 - color::4]
                seen += w * h
            incremental = True
        return pixels

    def key(self, keysym):
        for down in 1, 0:
            self.sock.sendall(struct.pack(">BBxxI", 4, down, keysym))

    def pointer(self, x, y, buttons):
        self.sock.sendall(struct.pack(">BBHH", 5, buttons, x, y))

    def ask_size(self, width, height):
        """SetDesktopSize, of one screen. An answer comes when the size has changed, or at once when it cannot."""
        self.sock.sendall(struct.pack(">BxHHBxIHHHHI", 251, width, height, 1, 0, 0, 0, width, height, 0))

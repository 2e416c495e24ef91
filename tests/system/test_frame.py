#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest draws is what a VNC client and a screenshot show, however it is found out which lines have changed: by comparing, by KVM's log of pages,
and over changes of the engine. FRAME_ENGINES names the engines."""
import struct
from vnc import *
from picture import screenshot

WIDTH, HEIGHT, BANK = 1024, 768, 0x4000
NAME = "frame"


class Model:
    """The frame buffer as the guest's program (frame.c) leaves it."""

    def __init__(self):
        self.seed, self.offset, self.memory = 1, 0, [0] * (64 * BANK)

    def next(self):
        self.seed = (self.seed * 1664525 + 1013904223) & 0xffffffff
        return self.seed >> 8

    def dots(self, count):
        for _ in range(count):
            at = self.next() % (WIDTH * HEIGHT)
            self.memory[at] = self.next()

    def draw(self, what):
        if what in "ph":
            self.dots(64 if what == "p" else 20000)
        elif what == "l":
            row = self.next() % HEIGHT
            self.memory[row * WIDTH:(row + 1) * WIDTH] = [self.next()] * WIDTH
        elif what == "w":
            bank = self.next() % 48
            for _ in range(64):
                at = self.next() % BANK
                self.memory[bank * BANK + at] = self.next()
        elif what == "s":
            self.offset ^= 200
        elif what == "c":
            for i in range(300):
                self.memory[50 * BANK + i], self.memory[51 * BANK + i] = i * 77777 & 0xffffffff, i
            self.memory[50 * BANK + 300] = ~299 & 0xffffffff

    def shown(self):
        """As rows of pixels 0x00rrggbb."""
        first = self.offset * WIDTH
        return struct.pack(f"<{WIDTH * HEIGHT}I", *(v & 0xffffff for v in self.memory[first:first + WIDTH * HEIGHT]))


class Screen:
    """The client's picture, kept up to date by what the server says has changed."""

    def __init__(self, port):
        self.vnc = Vnc(port)
        self.vnc.start()
        self.vnc.sock.settimeout(5 * PATIENCE)
        self.pixels, self.first = bytearray(4 * WIDTH * HEIGHT), True

    def update(self):
        for x, y, w, h, data in self.vnc.rectangles(not self.first):
            self.first = False
            if data is None or (self.vnc.width, self.vnc.height) != (WIDTH, HEIGHT):
                self.first = True
                continue
            for row in range(h):
                at = 4 * ((y + row) * WIDTH + x)
                self.pixels[at:at + 4 * w] = data[4 * w * row:4 * w * (row + 1)]

    def expect(self, wanted, what):
        """Asks until it is there; once more where no answer came, for what was lost then was a request, and not a change of the picture."""
        end = time.monotonic() + 20 * PATIENCE
        while self.pixels != wanted:
            if time.monotonic() > end:
                wrong = [i // 4 for i in range(0, len(wanted), 4) if self.pixels[i:i + 4] != wanted[i:i + 4]]
                fail(f"{what}: {len(wrong)} pixels of the client's picture are others, the first at {wrong[0] % WIDTH}, {wrong[0] // WIDTH}")
            try:
                self.update()
            except TimeoutError:
                print(f"{what}: the VNC server did not answer for {5 * PATIENCE} seconds")


def run(engines, orders, kernel_too=False):
    """A guest under the first engine; before each of the orders it changes to the next."""
    if kernel_too:
        os.environ["VISOR_KVM_KERNEL"] = "1"
    port = free_port()
    g = Guest("--name", NAME, "--engine", engines[0], "--memory", "64M", "--vnc", str(port), "--kernel", f"{BUILT}/frame.elf", "--debug-exit",
              "--stats", STATS)
    os.environ.pop("VISOR_KVM_KERNEL", None)
    g.expect("ready")
    screen, model = Screen(port), Model()
    for i, order in enumerate(orders):
        if i and len(engines) > 1:
            visor("engine", NAME, engines[i % len(engines)])
        for what in order:
            g.send(what)
            model.draw(what)
        g.expect(re.escape("." * len(order)), timeout=60)
        wanted = model.shown()
        screen.expect(wanted, f"'{order}', {engines[i % len(engines)]}")
    width, height, rows = screenshot(NAME)
    model_rows = [wanted[4 * WIDTH * y:4 * WIDTH * (y + 1)] for y in range(HEIGHT)]
    for y in range(HEIGHT):
        want = bytearray(3 * WIDTH)
        for color in range(3):
            want[color::3] = model_rows[y][2 - color::4]
        check(rows[y] == want, f"row {y} of the screenshot")
    g.send("q")
    g.wait(0x10 << 1 | 1)
    if kernel_too and len(engines) == 1:
        with open(STATS) as f:
            log = json.load(f)["cpus"][0]["kvm"]["page_log"]
        check(log["known"] > log["asked"] / 2, f"KVM's log of pages was of no use: {log}")
    print(f"{', '.join(engines)}{' with its kernel code' if kernel_too else ''}: right pictures")


STATS = os.path.join(TMP, "stats")
def planes(engine, kernel_too=False):
    """In a mode of the VGA's own the guest's last writes may wait in the host's kernel, and are on the screen all the same."""
    os.environ.update({"VISOR_KVM_KERNEL": "1"} if kernel_too else {})
    g = Guest("--name", NAME, "--engine", engine, "--memory", "64M", "--kernel", f"{BUILT}/frame.elf", "--debug-exit")
    os.environ.pop("VISOR_KVM_KERNEL", None)
    g.expect("ready")
    model, wanted = Model(), [[0] * 80 for _ in range(480)]
    for _ in range(3):
        g.send("v")
        for _ in range(100):
            row = model.next() % 480
            wanted[row][row % 80] = model.next() >> 20
        g.expect(r"\.", timeout=60)
        width, height, rows = screenshot(NAME)
        check((width, height) == (640, 480), f"{width} x {height} in the VGA's mode")
        for y, row in enumerate(rows):
            got = [row[24 * x] for x in range(80)]
            check(got == [c * 4 << 2 | c * 4 >> 4 for c in wanted[y]], f"row {y} of the VGA's picture: {got}, not {wanted[y]}")
    g.send("q")
    g.wait(0x10 << 1 | 1)
    print(f"{engine}{' with its kernel code' if kernel_too else ''}: right picture of planes")


BUILT = os.path.join(TMP, "guest")
r = subprocess.run([os.path.join(TOP, "tests", "guest", "build.sh"), BUILT, os.path.join(TOP, "tests", "system", "frame.c")], capture_output=True, text=True)
check(r.returncode == 0, f"frame.c: {r.stderr}")
names = os.environ.get("FRAME_ENGINES", "jit kvm kvm-all").split()
if "jit" in names:
    planes("jit")
    run(["jit"], ["p", "l", "h", "w", "s", "p", "s", "plwplw", "c"])
if kvm_works():
    if "kvm" in names:
        run(["kvm", "jit", "kvm", "interp"], ["p", "l", "w", "p", "p", "s", "p"])
    if "kvm-all" in names:
        planes("kvm", True)
        run(["kvm"], ["p", "l", "p", "w", "p", "h", "s", "p", "s", "plwplw", "c", "p"], True)
        run(["kvm", "jit"], ["p", "p", "w", "p", "p"], True)

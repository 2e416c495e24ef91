#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Real-mode software of our own (tests/guest/dos) from floppy disks: a game in a boot sector, and a small DOS with programs for VGA,
keyboard, timers, clock and sound. What the screen shows and what is heard is computed here, from what the programs mean.

DOS_RUNS names other machines and engines, as "pc-jit classic-interp".
"""
import calendar, shutil
from harness import *
from picture import *
from wav import pitch, samples

NAME = f"dos-{os.getpid()}"
SOURCE = os.path.join(TOP, "tests", "guest", "dos")
# Colours of text: 6 bits of the BIOS's palette, of which full intensity is 0x2a and 0x3f.
CGA = [bytes.fromhex(c) for c in "000000 0000aa 00aa00 00aaaa aa0000 aa00aa aa5500 aaaaaa 555555 5555ff 55ff55 55ffff ff5555 ff55ff ffff55 ffffff".split()]


def build():
    for tool in "gcc", "ld":
        if not shutil.which(tool):
            print("no assembler; install gcc and binutils")
            sys.exit(77)
    r = subprocess.run([os.path.join(SOURCE, "build.sh"), os.path.join(TMP, "dos")], capture_output=True, text=True)
    check(r.returncode == 0, f"{SOURCE}/build.sh: {r.stderr}")


def fonts():
    """The characters of 16 and 8 lines in the VGA BIOS, found by the one that smiles."""
    for folder in "/usr/share/seabios", "/usr/share/qemu", "/usr/local/share/qemu":
        path = os.path.join(folder, "vgabios-stdvga.bin")
        if os.path.exists(path):
            with open(path, "rb") as f:
                rom = f.read()
            tall, low = (rom.find(bytes.fromhex(smile)) for smile in ("00007e81a58181bd9981817e00000000", "7e81a581bd99817e"))
            check(tall >= 16 and low >= 8, f"{path} has no fonts")
            return rom[tall - 16:tall - 16 + 4096], rom[low - 8:low - 8 + 2048]
    print("no VGA BIOS; install seabios")
    sys.exit(77)


class Text:
    """A text screen as INT 10h's teletype output makes it; its picture has characters of 9 x 16."""

    def __init__(self, columns):
        self.columns = columns
        self.cells = [[(32, 7)] * columns for _ in range(25)]
        self.row = self.column = 0

    def write(self, text):
        for c in text.encode("cp437"):
            if c == 13:
                self.column = 0
            elif c == 10:
                self.row += 1
            else:
                self.cells[self.row][self.column] = (c, 7)
                self.column += 1
            if self.column == self.columns:
                self.column, self.row = 0, self.row + 1
            if self.row == 25:
                self.row = 24
                self.cells = self.cells[1:] + [[(32, 7)] * self.columns]

    def put(self, row, column, character, attribute):
        self.cells[row][column] = (character, attribute)

    def picture(self, cursor=True):
        """Pixels; None where the cursor blinks."""
        rows = []
        for y in range(400):
            row = []
            for x, (character, attribute) in enumerate(self.cells[y // 16]):
                if cursor and (y // 16, x) == (self.row, self.column):
                    row += [None] * 9
                    continue
                dots = TALL[character * 16 + y % 16] << 1
                if 0xc0 <= character <= 0xdf:  # line graphics go on
                    dots |= dots >> 1 & 1
                row += [CGA[attribute & 15 if dots >> (8 - i) & 1 else attribute >> 4] for i in range(9)]
            rows.append(row)
        return rows


def dac(r, g, b):
    """A colour of 6 bits: full scale is full scale."""
    return bytes((v & 63) << 2 | (v & 63) >> 4 for v in (r, g, b))


# --- the game in the boot sector ---

class Lights:
    def __init__(self):
        self.lit, self.place, self.end = set(), 12, ""
        for place in 0, 12, 19, 7:
            self.press(place)

    def press(self, place):
        row, column = divmod(place, 5)
        for r, c in (row, column), (row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1):
            if 0 <= r < 5 and 0 <= c < 5:
                self.lit ^= {5 * r + c}

    def key(self, name):
        if name == "space":
            self.press(self.place)
        else:
            self.place += {"up": -5, "down": 5, "left": -1, "right": 1}[name]
        if not self.lit:
            self.end += "   All dark."

    def picture(self):
        text = Text(40)
        text.write("\r\n          L I G H T S" + self.end)
        for place in range(25):
            row, column = 4 + 4 * (place // 5), 4 + 7 * (place % 5)
            for i in range(8):
                text.put(row + i // 4, column + i % 4, 0xdb, 0x0e if place in self.lit else 0x08)
            if place == self.place:
                text.put(row, column - 1, ord("["), 0x0c)
                text.put(row, column + 4, ord("]"), 0x0c)
        return text.picture(cursor=False)


def play_lights(*machine):
    g = Guest("--name", NAME, *machine, "--floppy", f"{TMP}/dos/lights.img,ro")
    wait_for(NAME, "L I G H T S")
    game = Lights()
    expect_picture(NAME, game.picture(), "the game at its start")
    for keys in ("space", "up space"), ("up left left space", "down down down right right right right space"):
        for name in " ".join(keys).split():
            game.key(name)
            visor("key", NAME, name)
        expect_picture(NAME, game.picture(), f"the game after {keys}")
    check(not game.lit, "the test does not know how to win")
    visor("stop", NAME, "--force")
    g.wait(0)


# --- the digger ---

class Digger:
    def __init__(self):
        with open(os.path.join(SOURCE, "dig.map")) as f:
            self.fields = [list(line.strip()) for line in f]
        self.row = self.column = 1
        self.gems = 0

    def key(self, name):
        down, right = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}[name]
        row, column = self.row + down, self.column + right
        found = self.fields[row][column]
        if found == "O" and right and self.fields[row][column + right] == " ":
            self.fields[row][column + right] = "O"
        elif found not in " .*":
            return
        self.gems += found == "*"
        self.fields[self.row][self.column], self.fields[row][column] = " ", "@"
        self.row, self.column = row, column

    def settle(self):
        for _ in range(12):
            for row in range(10, -1, -1):
                for column in range(20):
                    if self.fields[row][column] == "O" and self.fields[row + 1][column] == " ":
                        self.fields[row][column], self.fields[row + 1][column] = " ", "O"

    def picture(self):
        """Each pixel of 320 x 200 is two wide and two high."""
        color = [dac(*((n & 31) * 2 + 1 if n >> 5 + c & 1 else 0 for c in range(3))) for n in range(256)]
        rows = []
        for y in range(192):
            row = b""
            for field in self.fields[y // 16]:
                kind = " #.O*@".index(field)
                row += b"".join(color[32 * kind + ((x * kind ^ 3 * (y % 16)) & 31)] * 2 for x in range(16))
            rows += [row] * 2
        for y in range(8):
            dots = "".join(f"{LOW[ord(c) * 8 + y]:08b}" for c in f"Gems {self.gems}").ljust(320, "0")
            rows += [b"".join(color[0x7f if dot == "1" else 0] * 2 for dot in dots)] * 2
        return rows


def play_digger(image, text):
    visor("type", NAME, "dig\n")
    game = Digger()
    game.settle()
    expect_picture(NAME, game.picture(), "the digger at the start")
    # What falls after one line has come to rest before the next.
    for keys in ("right right right right right down right right", "left down left left left left", "down down down right right right", "left"):
        for name in keys.split():
            game.key(name)
            visor("key", NAME, name)
        game.settle()
        expect_picture(NAME, game.picture(), f"the digger after {keys}")
    check(game.gems == 2, "the test's way finds no gems")
    visor("key", NAME, "esc")
    text.__init__(80)
    text.write("2 gems. \r\nA>")
    expect_picture(NAME, text.picture(), "the score")
    check(files(image)["SCORE.DAT"] == b"2 gems. \r\n", f"SCORE.DAT: {files(image)['SCORE.DAT']}")


# --- planes ---

def planar_picture():
    """What planes.S draws by write modes 0 to 3."""
    pixels = [[y // 32] * 640 for y in range(480)]
    rotated = 0x2f >> 3 | 0x2f << 5 & 0xff
    for y in range(40, 60):
        for x in range(80, 160):
            pixels[y][x] = pixels[y][x] & ~4 | (rotated >> 7 - x % 8 & 1) << 2
    for x in range(640):
        pixels[200 + x * x // 4096][x] = x & 15
    pixels[380:444] = [row[:] for row in pixels[200:264]]
    for y in range(100, 160):
        for x in range(240, 480):
            if 0x3c >> 7 - x % 8 & 1:
                pixels[y][x] = pixels[y][x] ^ 15 if y < 140 else pixels[y][x] & 5 if y < 150 else pixels[y][x] | 5
    for y in range(300, 316):
        for x in range(40, 200):
            if 17 * y >> 7 - x % 8 & 1:
                pixels[y][x] = 12
    found = pixels[305].count(12)
    pixels[470][:8 * found] = [3] * (8 * found)
    pixels[475] = [pixel | (15 if other & 2 else 0) for pixel, other in zip(pixels[475], pixels[305])]
    color = [dac(n, 63 - n, 2 * n) for n in ((5 * i + 3) & 63 for i in range(16))]
    return [b"".join(color[pixel] for pixel in row) for row in pixels]


def mode_x_picture():
    """Lines of x ^ y from the 8th on, moved by one pixel, over a part below line 400 that is not moved, with x + y."""
    color = [dac(3 * n, 5 * n, 7 * n) for n in range(256)]
    # Memory goes on: at the right comes what is at the left of the line below. After 240 lines there is nothing.
    upper = [[(x ^ y) & 255 for x in range(320)] for y in range(240)] + [[0] * 320] * 16
    rows = []
    for y in range(480):
        line = y // 2 + 8
        shown = upper[line][1:] + upper[line + 1][:1] if y <= 400 else [(x + (y - 401) // 2) & 255 for x in range(320)]
        rows.append(b"".join(color[n] * 2 for n in shown))
    return rows


# --- the system ---

def files(image):
    """The files of a FAT12 disk, by name."""
    with open(image, "rb") as f:
        disk = f.read()
    fat, found = disk[512:10 * 512], {}
    for at in range(19 * 512, 33 * 512, 32):
        entry = disk[at:at + 32]
        if not entry[0]:
            break
        cluster, size = struct.unpack("<HI", entry[26:32])
        content = b""
        while cluster < 0xff8:
            content += disk[(cluster + 31) * 512:(cluster + 32) * 512]
            cluster = struct.unpack_from("<H", fat, cluster * 3 // 2)[0] >> cluster % 2 * 4 & 0xfff
        found[f"{entry[:8].decode().strip()}.{entry[8:11].decode()}"] = content[:size]
    return found


def command_lines(image, text):
    """Lines typed at the prompt, and what comes of them."""
    listed = "".join("{:8} {:3}{:10}\r\n".format(*name.split("."), len(content)) for name, content in files(image).items())
    readme = files(image)["README.TXT"].decode()
    for line, answer in (("dir", listed), ("Type readme.txt", readme), ("type no.txt", "File not found\r\n"), ("", ""),
                         ("Nothing [~]", "Bad command or file name\r\n")):
        visor("type", NAME, line + "\n")
        text.write(f"{line}\r\n{answer}A>")
    expect_picture(NAME, text.picture(), "the command lines")
    # More than a screen.
    visor("type", NAME, "dir\ndir\n")
    text.write(f"dir\r\n{listed}A>" * 2)
    expect_picture(NAME, text.picture(), "what scrolls")


def tell_time(started):
    visor("type", NAME, "cls\nclock\n")
    shown = wait_for(NAME, "50 ms.")
    check("IRQ 8: 64\nIRQ 0: 100\n" in shown, shown)
    said = calendar.timegm(time.strptime(re.search("RTC (.*)", shown)[1].strip(), "%Y-%m-%d %H:%M:%S"))
    check(int(started) - 1 <= said <= time.time() + 1, f"the clock says {said}, it is {time.time()}")


def hear(path):
    """8 bits and 16 bits of one random sequence; the second part may have been begun again before the program ended it."""
    rate, left, right = samples(path)
    check(rate == 22050, f"rate {rate}")
    value, sequence = 1, []
    for _ in range(4 * 2048 + 8192):
        value = (25173 * value + 13849) & 0xffff
        sequence.append(value)
    mono = [((v >> 8) - 128) * 256 for v in sequence[:8192]]
    words = [v - 65536 if v & 0x8000 else v for v in sequence[8192:]]
    for heard, wanted, part in (left, mono[:], words[0::2]), (right, mono[:], words[1::2]):
        check(len(heard) >= len(wanted) + len(part), f"{len(heard)} frames were heard")
        while len(wanted) < len(heard):
            wanted += part
        check(heard.tolist() == wanted[:len(heard)], "what was heard is not what was played")


def run_system(*machine):
    image, started = os.path.join(TMP, "disk.img"), time.time()
    shutil.copy(os.path.join(TMP, "dos", "dos.img"), image)
    g = Guest("--name", NAME, *machine, "--floppy", image)
    wait_for(NAME, "A>")
    text = Text(80)
    text.write("visor's little DOS. Programs: DIG, PLANES, SOUND, MUSIC, CLOCK\r\nA>")
    command_lines(image, text)
    play_digger(image, text)
    visor("type", NAME, "planes\n")
    expect_picture(NAME, planar_picture(), "mode 12h")
    visor("key", NAME, "a")
    expect_picture(NAME, mode_x_picture(), "mode X")
    visor("key", NAME, "a")
    tell_time(started)
    visor("stop", NAME, "--force")
    g.wait(0)


def run_sound(machine, program, last):
    """What is heard of a program, after whose last line the machine is stopped."""
    wav = os.path.join(TMP, f"{program}.wav")
    g = Guest("--name", NAME, *machine, "--floppy", f"{TMP}/dos/dos.img,ro", "--audio", f"wav:{wav}")
    wait_for(NAME, "A>")
    visor("type", NAME, program + "\n")
    wait_for(NAME, last)
    visor("stop", NAME, "--force")
    g.wait(0)
    return wav


def hear_music(wav):
    """Tones of the FM synthesizer and of the loudspeaker."""
    rate, left, right = samples(wav)
    check(rate == 49716, f"rate {rate}")
    # One after the other, but for what the ports take and a tone's end; the last is on both sides.
    second = next(i for i, value in enumerate(right) if value)
    third = next(i for i in range(second + rate // 10, len(left)) if left[i])
    for channel, wanted, peak, what in ((left[:second], 440, 4084, "left"), (right[second:third], 880, 4084, "right"),
                                        (left[third:], 1000, None, "loudspeaker")):
        heard = pitch(channel, rate)
        check(abs(heard - wanted) < 2, f"{what}: {heard} Hz, not {wanted}")
        check(len(channel) > rate // 5 and (not peak or max(channel) == peak), f"{what}: {len(channel)} frames up to {max(channel)}")
    check(not any(right[:second]) and not any(left[second + rate // 50:third]), "what is on one side is heard on the other")


build()
TALL, LOW = fonts()
for run in os.environ.get("DOS_RUNS", "pc-interp classic-jit").split():
    kind, engine = run.split("-")
    machine = ("--machine", kind, "--engine", engine, "--memory", "32M", "--net", "none", "--console", "none")
    play_lights(*machine)
    run_system(*machine)
    if kind == "classic":
        hear(run_sound(machine, "sound", "16 bits: played"))
        hear_music(run_sound(machine, "music", "Loudspeaker: played"))
    else:
        # Its sound card is another one.
        run_sound(machine, "sound", "There is no Sound Blaster")
    print(f"passed: {kind}, {engine}")

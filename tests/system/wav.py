# SPDX-License-Identifier: GPL-2.0-or-later
"""Sounds that guests play (by play.c and fm.c, which want no C library), and the WAV files of what was heard."""
import array, gzip, random, struct
from harness import *

# What is played before a buffer has been filled does not count.
SILENCE = 1024


def noise(count, low, high):
    r = random.Random(count)
    return [r.randint(low, high) for _ in range(count)]


def with_player(initrd, *programs, **sounds):
    """An initrd with /play (or these programs) and files of sounds besides: NAME=(format of array, values)."""
    programs = programs or ("play",)
    folder = tempfile.mkdtemp(prefix="sounds-", dir=TMP)
    for program in programs:
        r = subprocess.run(["gcc", "-m32", "-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector", "-o",
                            f"{folder}/{program}", os.path.join(TOP, f"tests/system/{program}.c")], capture_output=True, text=True)
        if r.returncode:
            print("no compiler for i386:", r.stderr)
            sys.exit(77)
    for name, (kind, values) in sounds.items():
        with open(f"{folder}/{name}", "wb") as f:
            f.write(array.array(kind, values).tobytes())
    names = "".join(f"{name}\n" for name in (*programs, *sounds))
    archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=folder, input=names.encode(), capture_output=True, check=True).stdout
    path = os.path.join(folder, "initrd")
    with open(path, "wb") as to, open(initrd, "rb") as f:
        to.write(f.read() + gzip.compress(archive, 1))
    return path


def samples(path):
    """(rate, left, right) of a WAV file of 16 bits and two channels."""
    with open(path, "rb") as f:
        data = f.read()
    riff, size, wave, fmt, length, kind, channels, rate, _, _, bits, tag, count = struct.unpack("<4sI4s4sIHHIIHH4sI", data[:44])
    check((riff, wave, kind, channels, bits, tag) == (b"RIFF", b"WAVE", 1, 2, 16, b"data"), f"{path}: header {data[:44]}")
    check(size == len(data) - 8 and count == len(data) - 44, f"{path}: {len(data)} bytes, said {size} and {count}")
    both = array.array("h", data[44:])
    return rate, both[::2], both[1::2]


def pitch(channel, rate):
    """The frequency of a tone, which begins and ends somewhere in the channel."""
    rises, low, edge = [], False, max(channel) // 4
    for i, value in enumerate(channel):
        if low and value > edge:
            rises.append(i)
        low = value < -edge or low and value <= edge
    check(len(rises) > 50, f"{len(rises)} waves are no tone")
    return (len(rises) - 1) * rate / (rises[-1] - rises[0])


def find(channel, wanted, what):
    at = channel.tobytes().find(array.array("h", wanted).tobytes())
    check(at >= 0 and at % 2 == 0, f"{what}: what was played is not in what was heard")
    return at // 2


def play_over_save(g, name, heard, words, rate):
    """The guest plays its /words, 16 bits and stereo; it is saved in the middle, and another machine goes on. `heard` is its WAV file."""
    saved, heard2 = os.path.join(TMP, "saved"), os.path.join(TMP, "heard2.wav")
    g.command(f"/play 16 2 {rate} </words & true")
    end = time.monotonic() + 20 * PATIENCE
    while os.path.getsize(heard) < 4096 and time.monotonic() < end:
        time.sleep(0.05)
    visor("save", name, saved, "--stop")
    g.wait(0)
    g = Guest("--restore", saved, "--audio", f"wav:{heard2}")
    g.send("\n")
    g.expect(PROMPT, 60)
    g.command("wait")
    g.power_off()
    g.check_log()
    _, left, right = samples(heard)
    rate2, left2, right2 = samples(heard2)
    check(rate2 == rate and len(left2) > 1000, f"rate {rate2}, {len(left2)} frames after the restore")
    find(left + left2, words[SILENCE::2], "16 bits, left")
    find(right + right2, words[SILENCE + 1::2], "16 bits, right")
    print("passed: 16 bits, stereo, save and restore")

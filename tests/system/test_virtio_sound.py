#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux's driver (built from Debian's source: its kernels leave it out) plays by the virtio sound card: the WAV file has the very samples; a save
in the middle; what is recorded is silence."""
from harness import *
from wav import *

(folder,) = prepare("media-amd64")
NAME = f"sound-{os.getpid()}"
heard = os.path.join(TMP, "heard.wav")
bytes_ = [128] * SILENCE + noise(9000, 0, 255)
words = [0] * SILENCE + noise(100000, -32768, 32767)
initrd = with_player(f"{folder}/initrd.gz", bytes=("B", bytes_), words=("h", words))


def boot():
    g = linux("media-amd64", "--name", NAME, "--memory", "256M", "--audio", f"wav:{heard}", initrd=initrd)
    g.command("insmod /lib/modules/virtio_snd.ko")
    return g


g = boot()
cards = g.command("cat /proc/asound/cards /proc/asound/pcm")
check("VirtIO SoundCard" in cards and "playback 1 : capture 1" in cards, cards)
begin = time.monotonic()
g.command("/play 8 1 8000 </bytes")
took = time.monotonic() - begin
check(took >= len(bytes_) / 8000 * 0.9, f"{len(bytes_) / 8000:.2f} s of sound took {took:.2f} s")
begin = time.monotonic()
check(g.command("head -c 4000 /dev/dsp | tr -d '\\200' | wc -c").strip() == "0", "there is something in the silence")
check(time.monotonic() - begin >= 0.4, "half a second was recorded too fast")
g.check_log()
g.power_off()
rate, left, right = samples(heard)
check(rate == 8000, f"rate {rate}")
find(left, [(b - 128) * 256 for b in bytes_[SILENCE:]], "8 bits, left")
find(right, [(b - 128) * 256 for b in bytes_[SILENCE:]], "8 bits, right")
print("passed: 8 bits, mono")

play_over_save(boot(), NAME, heard, words, 22050)

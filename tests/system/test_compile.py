#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""gcc in a guest makes, to the byte, what the same gcc makes on the bare host, and its monitor stays small. COMPILE_GROUPS is the size of the source.

Natively it runs in a chroot of the very tree that the guest has as its disk. Without root or user namespaces: skipped.
"""
import json
import os
import subprocess
import sys
from harness import *

GROUPS = os.environ.get("COMPILE_GROUPS", "40")
# jit-translate: the compiler is never executed directly.
ENGINES = os.environ.get("COMPILE_ENGINES", "jit jit-translate").split()
COMPILE = ("cp /tmp/source.c . && gcc -O2 -g -S source.c && gcc -O2 -g -c source.c && "
           "gcc -O2 -shared -fPIC source.c -o source.so")
MADE = "source.s source.o source.so".split()
disk, = prepare("programs-amd64")


def make_source():
    """The file, and a disk of it for the guest."""
    source = subprocess.run([sys.executable, f"{TOP}/bench/csource.py", GROUPS], check=True, stdout=subprocess.PIPE).stdout
    with open(f"{TMP}/source.img", "wb") as f:
        f.write(source + b"\0" * (-len(source) % 512))
    return source


def natively(source):
    """{file: SHA-256}, made in the chroot."""
    enter = [f"{TOP}/bench/enter.sh", f"{disk}/root"]
    if subprocess.run([*enter, "true"], capture_output=True).returncode:
        print("neither root nor user namespaces for a chroot")
        sys.exit(77)
    script = f"cat >/tmp/source.c && mkdir /tmp/work && cd /tmp/work && {COMPILE} && sha256sum {' '.join(MADE)}"
    r = subprocess.run([*enter, "sh", "-c", script], input=source, capture_output=True)
    check(r.returncode == 0, f"gcc on the bare host: {r.stderr.decode()}")
    return r.stdout.decode()


def in_guest(engine, source):
    os.environ["VISOR_DIRECT"] = "never" if engine == "jit-translate" else ""
    g = linux("cloud-amd64", "--name", "compiles", "--engine", engine.split("-")[0], "--memory", "1G", "--disk", f"{disk}/root.img,ro", "--disk", f"{TMP}/source.img,ro")
    g.command("mount -t ext4 -o ro /dev/vda /mnt && mount -t tmpfs tmpfs /mnt/tmp && for f in proc sys dev; do mount -o bind /$f /mnt/$f; done")
    g.command(f"mkdir /mnt/tmp/work && head -c {len(source)} /dev/vdb >/mnt/tmp/source.c")
    text = g.command("env -i PATH=/usr/bin:/usr/sbin HOME=/tmp LC_ALL=C chroot /mnt sh -c "
                     f"'cd /tmp/work && {COMPILE} && sha256sum {' '.join(MADE)}'", 300)
    stats = json.loads(visor("stats", "compiles").stdout)
    own = stats["own_memory"]
    check(own < 64 << 20, f"{engine}: {own} bytes of own memory besides the guest's and translated code")
    print(f"{engine}: {own >> 20} MB of own memory")
    if engine == "jit-translate":  # the compiler's later processes go on with what was translated for the first one
        check(stats["cpus"][0]["jit"]["inherited"], "no process had another one's translations")
    if engine == "jit":
        direct = stats["cpus"][0]["jit"]["direct"]
        print(f"{engine}: {direct}")
        check(direct["stops"] > 1000, "the compiler was not executed directly")
    g.power_off()
    g.check_log()
    return text


source = make_source()
native = natively(source)
check(len(native.split()) == 2 * len(MADE), f"sha256sum said: {native}")
for engine in ENGINES:
    made = in_guest(engine, source)
    check(made == native, f"{engine}: not what the bare host makes:\n{made}instead of\n{native}")
    print(f"{engine}: ok")

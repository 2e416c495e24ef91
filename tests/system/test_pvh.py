#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""An uncompressed vmlinux, taken out of Debian's bzImage, starts by its PVH entry."""
import shutil, struct
from harness import *

# How a kernel's payload begins, and what unpacks it (Linux: Documentation/x86/boot.rst, payload_offset).
PACKERS = {b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd"}
PATH_ELF = os.path.join(TMP, "vmlinux")


def unpack(path):
    """The ELF file in a bzImage; it is followed there by its size, which the tools complain of."""
    with open(path, "rb") as f:
        image = f.read()
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (image[0x1f1] + 1) * 512 + offset
    payload = image[start:start + length - 4]
    size, = struct.unpack_from("<I", image, start + length - 4)
    tool = next((t for magic, t in PACKERS.items() if payload.startswith(magic)), None)
    check(tool, f"{path} has a payload of unknown kind {payload[:6].hex()}")
    if not shutil.which(tool):
        print(f"{tool} is missing")
        sys.exit(77)
    elf = subprocess.run([tool, "-dc"], input=payload, capture_output=True).stdout
    check(len(elf) == size and elf[:4] == b"\x7fELF", f"{tool} made {len(elf)} of {size} bytes of {path}")
    with open(PATH_ELF, "wb") as f:
        f.write(elf)


for name, cpus in ("cloud-amd64", "1"), ("cloud-amd64", "2"), ("generic-amd64", "1"), ("i386-686-pae", "1"):
    folder, = prepare(name)
    unpack(f"{folder}/vmlinuz")
    g = Guest("--kernel", PATH_ELF, "--initrd", f"{folder}/initrd.gz", "--append", "console=ttyS0 pvh.word=1", "--cpus", cpus)
    g.expect(PROMPT, 60)
    check("pvh.word=1" in g.command("cat /proc/cmdline"), "the command line did not come through")
    check(g.command("nproc").strip() == cpus, "not all processors")
    check("ACPI: RSDP" in g.command("dmesg"), "no ACPI tables")
    g.power_off()
    g.check_log()
    print(f"{name}, {cpus} cpu(s): ok")

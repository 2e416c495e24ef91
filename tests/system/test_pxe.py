#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot from the network: each model of card gets its address by iPXE, a script and Debian's kernel by TFTP from the user network,
and the kernel's first file system by HTTP from the host."""
import functools, http.server, shutil, threading
from harness import *

if not os.path.exists("/usr/lib/ipxe/qemu/pxe-virtio.rom"):
    print("no iPXE; install ipxe-qemu")
    sys.exit(77)
folder, = prepare("pc-amd64")
served = os.path.join(TMP, "served")
os.mkdir(served)
for name in "vmlinuz", "initrd.gz":
    shutil.copy(os.path.join(folder, name), served)
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=served)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
with open(os.path.join(served, "boot.ipxe"), "w") as f:
    f.write(f"#!ipxe\nkernel vmlinuz console=ttyS0\ninitrd http://10.0.2.2:{server.server_port}/initrd.gz\nboot\n")
# A disk without anything to boot comes first when the order does not say otherwise.
disk = os.path.join(TMP, "disk")
with open(disk, "wb") as f:
    f.truncate(1 << 20)

for model, boot in ("virtio", []), ("e1000", ["--boot", "network"]), ("pcnet", ["--boot", "network,disk"]):
    g = Guest("--disk", disk, *boot, "--net", f"user,model={model},tftp={served},bootfile=boot.ipxe")
    g.expect("Configuring", 60)
    g.expect(PROMPT, 120)
    if not boot:
        check("Booting from Hard Disk" in g.log, "the disk was not tried first")
    else:
        check("Booting from Hard Disk" not in g.log, "the disk was tried first")
    g.power_off()
    print(f"passed: {model}")

for arguments, text in ((["--boot", "net"], "network"), (["--boot", "network", "--net", f"user,tftp={TMP}/not-there"], "not-there"),
                        (["--boot", "network", "--net", "switch:x,tftp=/"], "only a user network")):
    check(text in visor("run", *arguments, status=2).stderr, f"{arguments}: the error does not say '{text}'")

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every model of network card, driven by the generic Debian kernel: address by DHCP, transfers both ways with checksums,
a save in between, two cards of different models on a switch."""
from blob import *

MEGABYTES = int(os.environ.get("NIC_MEGABYTES", "20"))
MODELS = {"e1000": "e1000", "pcnet": "pcnet32", "virtio": "virtio_net"}
server = BlobServer(os.urandom(MEGABYTES << 20))


def transfer(g, interface, mark):
    g.command(f"ip link set {interface} up; sleep 1; udhcpc -i {interface} -n -q")
    g.command("ping -c 2 -w 20 10.0.2.2; ping -c 2 -w 20 -s 4000 10.0.2.2")
    server.exchange(g, "10.0.2.2", mark, interface)


g = linux("generic-amd64", "--name", "nic", *(f"--net=user,model={m}" for m in MODELS))
# The order of the interfaces is that of the modules.
interfaces = dict(re.findall(r"(\w+):(\S+)$", g.command("for i in eth0 eth1 eth2; do echo $(basename $(readlink "
                                                        "/sys/class/net/$i/device/driver)):$i; done"), re.M))
check(sorted(interfaces) == ["e1000", "pcnet32", "virtio_net"], f"the drivers are {interfaces}")
for model, driver in MODELS.items():
    start = time.monotonic()
    transfer(g, interfaces[driver], model)
    print(f"passed: {model}, {2 * MEGABYTES} MB, {time.monotonic() - start:.1f} s")
    if model == "virtio":
        break
    # A machine that goes on from a file finds its card as it was.
    save = os.path.join(TMP, f"{model}.save")
    visor("save", "--stop", "nic", save)
    g.wait(0)
    log, g = g.log, Guest("--restore", save, "--name", "nic")
    g.log, g.at = log, len(log)
    g.send("\n")
    g.expect(PROMPT)
    g.command("ping -c 2 -w 20 10.0.2.2")
    g.command(f"ip link set {interfaces[driver]} down; ip addr flush dev {interfaces[driver]}")
g.check_log()
g.power_off()

a = linux("generic-amd64", "--name", "a", "--net", "switch:cards,model=e1000")
b = linux("generic-amd64", "--name", "b", "--net", "switch:cards,model=pcnet")
c = linux("generic-amd64", "--name", "c", "--net", "switch:cards")
for n, guest in enumerate((a, b, c)):
    guest.command(f"ip link set eth0 up; ip addr add 192.168.7.{n + 1}/24 dev eth0; ip addr add fd00::{n + 1}/64 dev eth0; sleep 1")
    guest.command("dd if=/dev/urandom of=/tmp/out bs=1M count=8 2>/dev/null")
# Neighbours are found by multicast, which goes through the card's filter.
for guest, others in ((a, (2, 3)), (b, (1, 3)), (c, (1, 2))):
    for other in others:
        guest.command(f"ping -6 -c 2 -w 20 fd00::{other}")
for one, other, address in ((a, b, 2), (b, c, 3), (c, a, 1), (a, c, 3), (c, b, 2)):
    want = one.command("sha256sum </tmp/out")
    other.command("rm -f /tmp/in /tmp/done; (nc -l -p 5000 >/tmp/in; touch /tmp/done) & sleep 1")
    one.command(f"ping -c 1 -w 20 192.168.7.{address}; nc 192.168.7.{address} 5000 </tmp/out", 60)
    other.command("while [ ! -e /tmp/done ]; do sleep 1; done", 60)
    check(other.command("sha256sum </tmp/in") == want, f"to 192.168.7.{address}: it arrived damaged")
for guest in (a, b, c):
    guest.check_log()
    guest.power_off()

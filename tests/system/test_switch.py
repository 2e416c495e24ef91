#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests on a virtual switch: they reach one another, large transfers arrive whole, and a killed member leaves nothing behind.

With several cards in one guest, each on its own switch."""
from harness import *

SIZE = int(os.environ.get("SWITCH_MEGABYTES", "50"))


def guest(number, *arguments):
    g = linux("cloud-amd64", "--name", f"switch{number}", "--net", "switch:lab", *arguments)
    g.command(f"ip link set eth0 up; ip addr add 192.168.7.{number}/24 dev eth0")
    return g


a = guest(1, "--net", "switch:other,mac=52:54:00:00:00:77", "--cpus", "2")
b = guest(2)
a.command("ping -c 3 -w 20 192.168.7.2")
b.command("ping -c 3 -w 20 -s 8000 192.168.7.1")
check("52:54:00:00:00:77" in a.command("ip link show eth1"), "the given MAC address")
macs = {json.loads(visor("net", f"switch{i}", "--json").stdout)[0]["mac"] for i in (1, 2)}
check(len(macs) == 2, "two machines have one MAC address")

# Both ways at once.
for g in (a, b):
    g.command(f"mount -t tmpfs -o size=450m tmpfs /mnt; dd if=/dev/urandom of=/mnt/out bs=1M count={SIZE} 2>/dev/null", 60)
sums = [g.command("sha256sum </mnt/out", 60) for g in (a, b)]
for g in (a, b):
    g.command("(nc -l -p 5000 </mnt/out >/mnt/in; touch /mnt/done) & sleep 1")
a.command("nc 192.168.7.2 5000 </mnt/out >/mnt/in2", 120)
b.command("nc 192.168.7.1 5000 </mnt/out >/mnt/in2", 120)
for g, want in ((a, sums[1]), (b, sums[0])):
    g.command("while [ ! -e /mnt/done ]; do sleep 1; done", 60)
    check(g.command("sha256sum </mnt/in", 60) == want, "what was sent arrived damaged")
    check(g.command("sha256sum </mnt/in2", 60) == want, "what was fetched arrived damaged")

# One that stands still holds up nobody, one that was killed is forgotten.
c = guest(3)
c.command("ping -c 1 -w 20 192.168.7.2")
visor("pause", "switch2")
a.command("ping -c 1 -w 20 192.168.7.3; ping -c 3 -w 4 192.168.7.2 || true")
visor("resume", "switch2")
a.command("ping -c 1 -w 20 192.168.7.2")
c.process.kill()
c.process.wait()
check(len(os.listdir(os.path.join(RUNDIR, "switch-lab"))) == 3, "nobody can have noticed yet")
a.command("ping -c 1 -w 3 192.168.7.3 || true; ping -c 2 -w 20 192.168.7.2")
check(len(os.listdir(os.path.join(RUNDIR, "switch-lab"))) == 2, "the killed member is still there")
for g in (a, b):
    g.check_log()
    g.power_off()
check(not [n for n in os.listdir(RUNDIR) if n.startswith("switch-")], f"left behind: {os.listdir(RUNDIR)}")

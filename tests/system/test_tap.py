#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""tap:IF and bridge:IF, in a network namespace where this user is root: transfers both ways with checksums, errors."""
from blob import *

if "NET_INSIDE" not in os.environ:
    inside = ["unshare", "-rn", sys.executable, os.path.abspath(__file__)]
    r = subprocess.run(["unshare", "-rn", "sh", "-c", "ip tuntap add probe mode tap && ip link add probe0 type bridge"], capture_output=True,
                       text=True)
    if r.returncode:
        print(f"the host allows no tap devices or bridges in a namespace: {r.stderr.strip()}")
        sys.exit(77)
    sys.exit(subprocess.run(inside, env=dict(os.environ, NET_INSIDE="1")).returncode)


def host(line):
    subprocess.run(line.split(), check=True)


def run(net, subnet, mark):
    g = linux("cloud-amd64", "--name", "tap", "--net", net)
    g.command(f"ip link set eth0 up; ip addr add {subnet}.2/24 dev eth0; ping -c 2 -w 20 {subnet}.1")
    r = subprocess.run(["ping", "-c", "1", "-W", "20", f"{subnet}.2"], capture_output=True) if os.path.exists("/bin/ping") else None
    check(not r or r.returncode == 0, f"{net}: the host cannot reach the guest")
    server.exchange(g, f"{subnet}.1", mark, net)
    g.check_log()
    return g


host("ip link set lo up")
host("ip tuntap add tap0 mode tap")
host("ip addr add 192.168.9.1/24 dev tap0")
host("ip link add br0 type bridge")
host("ip addr add 192.168.10.1/24 dev br0")
host("ip link set br0 up")
server = BlobServer(os.urandom(30 << 20), ("0.0.0.0", 8000))
g = run("tap:tap0", "192.168.9", "tap")
kernel = os.path.join(GUESTS, "cloud-amd64", "vmlinuz")
check("another program" in visor("run", "--kernel", kernel, "--net", "tap:tap0", status=1).stderr, "a tap device twice")
g.power_off()
g = run("bridge:br0", "192.168.10", "bridge")
g.power_off()
for net, status, text in (("bridge:br9", 1, "br9"), ("tap:waytoolongforaninterface", 1, "at most"), ("tap:lo", 1, "lo"), ("tap", 2, "name"),
                          ("tap:", 2, "name"), ("tap:a/b", 2, "letters")):
    check(text in visor("run", "--kernel", kernel, "--net", net, status=status).stderr, f"{net}: the error does not say '{text}'")

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A switch with a gateway: host-only and with address translation; another member takes over when the gateway's machine ends.

In a network namespace, where an address that is not the loopback's stands for the world outside."""
import http.server, threading
from harness import *

if "NET_INSIDE" not in os.environ:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        print("the host allows no network namespaces")
        sys.exit(77)
    sys.exit(subprocess.run(["unshare", "-rn", sys.executable, os.path.abspath(__file__)], env=dict(os.environ, NET_INSIDE="1")).returncode)


class Server(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from the host\n")


def guest(name, net):
    g = linux("cloud-amd64", "--name", name, "--net", net)
    g.command("ip link set eth0 up; udhcpc -i eth0 -n -q")
    return g, re.search(r"inet (10\.0\.2\.\d+)/24", g.command("ip addr show eth0"))[1]


def fetch(g, address):
    return "from the host" in g.command(f"timeout 6 wget -q -O - http://{address}:8000/ || true", 20)


subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"], check=True)
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()

a, address_a = guest("a", "switch:lan,mode=host")
b, address_b = guest("b", "switch:lan,mode=host")
check(address_a != address_b, f"both have {address_a}")
a.command(f"ping -c 2 -w 20 {address_b}")
for g in (a, b):
    check(fetch(g, "10.0.2.2"), "the host is not reached")
    check(not fetch(g, "192.0.2.1"), "host-only reaches the world outside")
visor("stop", "--force", "a")
a.wait(0)
check(fetch(b, "10.0.2.2"), "nobody took over")
b.process.kill()
b.process.wait()
c, _ = guest("c", "switch:lan,mode=nat")
check(fetch(c, "10.0.2.2") and fetch(c, "192.0.2.1"), "with address translation")
listing = json.loads(visor("net", "c", "--json").stdout)[0]
check(listing["net"] == "switch" and listing["name"] == "lan" and listing["mode"] == "nat", f"{listing}")
c.check_log()
c.power_off()
check(not [n for n in os.listdir(RUNDIR) if n.startswith("switch-")], f"left behind: {os.listdir(RUNDIR)}")
kernel = os.path.join(GUESTS, "cloud-amd64", "vmlinuz")
for net, text in (("switch:lan,mode=x", "isolated"), ("user,mode=host", "only a switch")):
    check(text in visor("run", "--kernel", kernel, "--net", net, status=2).stderr, f"{net}: the error does not say '{text}'")

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of a guest that compute are executed directly, in processes of the host's (src/engine/jit/direct.h): they are seen to be, by 1 and 2 processors; one
of these processes that is killed ends the machine with a message; none outlives it."""
import signal
from harness import *

LOOP = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo counted $i"


def tracees(guest):
    """The processes of this machine that execute its programs."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        if "visor-g" in name and int(rest.split()[1]) == guest.process.pid:
            found.append(int(pid))
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


for cpus in 1, 2:
    g = linux("cloud-amd64", "--engine", "jit", "--name", "computes", "--cpus", str(cpus))
    for i in range(cpus):
        g.command(f"({LOOP}) >/tmp/{i} & :")
    g.command("wait", 60)
    check("counted 60000" in g.command(f"cat /tmp/{cpus - 1}"), "the loop has counted wrong")
    direct = [cpu["jit"]["direct"] for cpu in json.loads(visor("stats", "computes").stdout)["cpus"]]
    print(f"{cpus} processors: {direct}")
    check(sum(d["stops"] for d in direct) > 100, "nothing was executed directly")
    if not tracees(g):
        fail("none of the processes that execute programs is there")
    if cpus == 2:
        g.power_off()
        g.check_log()
        continue
    g.send("while :; do :; done\n")
    time.sleep(1)
    for pid in tracees(g):
        os.kill(pid, signal.SIGKILL)
    try:
        g.process.wait(20 * PATIENCE)
    except subprocess.TimeoutExpired:
        fail("a machine goes on whose programs are gone")
    check(re.search(r"the process that executes programs of vCPU 0 has ended", g.stderr()), f"it did not say why: {g.stderr()}")

# What executes programs ends with the machine, however that ends.
g = linux("cloud-amd64", "--engine", "jit", "--name", "computes")
g.command(LOOP, 60)
left = tracees(g)
check(left, "nothing is executed directly")
g.process.kill()
g.process.wait()
deadline = time.monotonic() + 10 * PATIENCE
while any(alive(pid) for pid in left) and time.monotonic() < deadline:
    time.sleep(0.05)
check(not any(alive(pid) for pid in left), "a process that executes programs outlives its machine")

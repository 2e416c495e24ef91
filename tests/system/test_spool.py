#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest prints becomes jobs in the state directory, which visor spool lists, shows and removes, also after the machine's end."""
from harness import *

os.environ["XDG_STATE_HOME"] = TMP
(folder,) = prepare("pc-amd64")
NAME = f"spool-{os.getpid()}"


def jobs():
    return json.loads(visor("spool", "list", NAME, "--json").stdout)


def wait_done(count):
    end = time.monotonic() + 20 * PATIENCE
    while True:
        now = jobs()
        if len(now) == count and all(j["state"] == "done" for j in now):
            return now
        check(time.monotonic() < end, f"{count} jobs are not done: {now}")
        time.sleep(0.2)


r = visor("run", "--parallel", "spool", "--kernel", f"{folder}/vmlinuz", status=2)
check("give --name too" in r.stderr, r.stderr)
check(jobs() == [], "jobs of a machine that never was")
g = Guest("--name", NAME, "--machine", "classic", "--kernel", f"{folder}/vmlinuz", "--initrd", f"{folder}/initrd.gz", "--append",
          "console=ttyS0", "--memory", "256M", "--parallel", "spool")
g.expect(PROMPT, 60)
g.command("seq 1000 >/dev/lp0")
wait_done(1)
g.command("seq 1000 2000 >/dev/lp0")
now = wait_done(2)
texts = ["".join(f"{i}\n" for i in range(*r)) for r in ((1, 1001), (1000, 2001))]
for number, text in enumerate(texts, 1):
    check(visor("spool", "show", NAME, number).stdout == text, f"job {number}")
    one = json.loads(visor("spool", "show", NAME, number, "--json").stdout)
    check(one == now[number - 1] and one["job"] == number and one["size"] == len(text), f"job {number}: {one}")
check(len(visor("spool", "list", NAME).stdout.splitlines()) == 3, "the list")
g.command("echo last >/dev/lp0")
g.power_off()
check(visor("spool", "show", NAME, 3).stdout == "last\n", "the last job")
print("passed: jobs")

check(json.loads(visor("spool", "rm", NAME, 2, "--json").stdout) == {"removed": [2]}, "rm")
check([j["job"] for j in jobs()] == [1, 3], f"after rm: {jobs()}")
r = visor("spool", "show", NAME, 2, status=1)
check("no print job 2" in r.stderr, r.stderr)
visor("spool", "rm", NAME, 2, status=1)
for wrong in ("list", "../x"), ("show", NAME), ("show", NAME, "1x"), ("burn", NAME), ("rm", NAME, "-1"):
    visor("spool", *wrong, status=2)
check(json.loads(visor("spool", "rm", NAME, "all", "--json").stdout) == {"removed": [1, 3]}, "rm all")
check(jobs() == [], "jobs are left")
print("passed: rm")

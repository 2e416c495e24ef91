#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The watchdog and the kernel's panic, with Linux's drivers i6300esb and pvpanic: what happens is what the flags say."""
import os
from harness import *

NAME = "dog"


def start(*arguments):
    g = linux("devices-amd64", "--name", NAME, "--memory", "256M", *arguments, append="panic=0")
    return g


def state():
    status, machine = control(NAME, "GET", "/machine")
    check(status == 200, machine)
    return machine["state"]


def wait_for(wanted):
    end = time.monotonic() + 30 * PATIENCE
    while (now := state()) != wanted:
        check(time.monotonic() < end, f"the machine is {now}, not {wanted}")
        time.sleep(0.1)


def short(g):
    """Two seconds for both stages."""
    g.command("rmmod i6300esb; insmod /lib/modules/i6300esb.ko heartbeat=2")


def crash(g):
    g.send("echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger\n")
    g.expect("Kernel panic")


def unfed():
    g = start("--watchdog", "reset")
    check(g.command("cat /sys/class/watchdog/watchdog0/identity /sys/class/watchdog/watchdog0/bootstatus").split()[-1] == "0", "bootstatus")
    short(g)
    g.command("exec 9>/dev/watchdog; for i in 1 2 3 4 5 6; do echo . >&9; sleep 1; done", 40)
    g.command("echo -n V >&9; exec 9>&-; sleep 4") # stopped in order
    g.send("echo x >/dev/watchdog; echo unfed\n")
    g.expect("Welcome", 60)
    g.expect(PROMPT)
    check(int(g.command("cat /sys/class/watchdog/watchdog0/bootstatus")) & 32, "the driver does not see that its card made the reset")
    check("watchdog" in g.stderr(), g.stderr())
    g.power_off()


def actions():
    g = start("--watchdog", "poweroff")
    short(g)
    g.send("echo x >/dev/watchdog\n")
    g.wait(0)
    check("powered off" in g.stderr(), g.stderr())
    g = start("--watchdog", "pause")
    short(g)
    g.send("echo x >/dev/watchdog\n")
    wait_for("paused")
    visor("resume", NAME)
    wait_for("running")
    g.expect(PROMPT)
    g.command("true")
    g.power_off()
    g = start("--watchdog", "none")
    short(g)
    g.command("echo x >/dev/watchdog; sleep 4; true")
    check("watchdog's time is over" in g.stderr(), g.stderr())
    g.power_off()


def panics():
    g = start()
    crash(g)
    wait_for("panicked")
    check("panicked" in visor("list").stdout, "visor list")
    check("panicked" in g.stderr(), g.stderr())
    visor("reset", NAME)
    wait_for("running")
    g.expect("Welcome", 60)
    g.expect(PROMPT)
    g.power_off()
    g = start("--on-panic", "reset")
    crash(g)
    g.expect("Welcome", 60)
    g.expect(PROMPT)
    check(state() == "running", state())
    g.power_off()
    g = start("--on-panic", "poweroff")
    crash(g)
    g.wait(0)
    g = start("--on-panic", "pause")
    crash(g)
    wait_for("panicked")
    status, stats = control(NAME, "GET", "/stats")
    before = stats["wall_ns"]
    check(control(NAME, "GET", "/stats")[1]["wall_ns"] == before, "time goes on in a paused machine")
    visor("stop", NAME, "--force")
    g.wait(0)


def saved():
    """The countdown goes on where it was."""
    g = start("--watchdog", "reset")
    g.command("rmmod i6300esb; insmod /lib/modules/i6300esb.ko heartbeat=8; echo x >/dev/watchdog")
    visor("save", NAME, f"{TMP}/saved", "--stop", timeout=120)
    g.wait(0)
    g = Guest("--restore", f"{TMP}/saved", "--name", NAME)
    g.expect("Welcome", 60)
    g.expect(PROMPT)
    g.power_off()


def main():
    check("poweroff" in visor("run", "--watchdog", "explode", "--bios", status=2).stderr, "no choice of actions")
    for part in (unfed, actions, panics, saved):
        part()
        print(f"passed: {part.__name__}", flush=True)


main()

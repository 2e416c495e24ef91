#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Workloads on the bare host, under visor and under QEMU without KVM, in turns; prints ratios (see report.py).

Each round starts every machine anew and gives each workload to all of them one after the other. Times are taken
on the host; what a workload prints must have the same checksum everywhere.
"""
import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

import machines
import report

# How often; those of Adams and Agesen, "A comparison of software and hardware techniques for x86 virtualization", 2006.
NANO = {"syscall": 1000000, "in": 1000000, "cr8wr": 1000000, "callret": 40000000, "pgfault": 200000, "divzero": 200000,
        "ptemod": 1000000}
# Those that a user program can do on the bare host as well.
NANO_NATIVE = ["syscall", "callret", "pgfault", "divzero"]
CPUS = {"threads": 2}
# What only guests do: their disk, the user network, and the network between two of them.
IO_GROUPS = ("disk", "network", "guests")
BOOT_LIMIT = 120
SERVER_PORT = 5201 # of the guest that serves the other one


def workloads():
    """{group: [workload]} in the order of the report."""
    found = {}
    for group in ("integer", "float", "vector", "compile", "system", "threads", "disk", "network", "guests"):
        with open(os.path.join(machines.HERE, "workloads", group + ".sh")) as f:
            found[group] = re.findall(r"^(\w+)_run\(\)", f.read(), re.M)
    found["boot"] = ["debian"]
    found["start"] = ["micro", "pc"]
    found["nano"] = list(NANO)
    return found


class Bench:
    def __init__(self, args, native, monitors, boot_disk):
        self.args, self.native, self.monitors, self.boot_disk = args, native, monitors, boot_disk
        self.permille = max(round(args.scale * 1000), 1)
        self.results = {} # (group, workload) -> {engine: [result]}
        self.memory = {}  # engine -> MB, largest
        self.running = {} # (engine, processors, devices) -> Machine
        self.peers = {}   # engine -> the second Machine of the group `guests`
        self.server = None
        self.hopeless = set() # (engine, workload) that took too long, and is not tried again

    def note(self, group, name, engine, result):
        if group == "nano" and "seconds" in result:
            result["ns"] = result["seconds"] * 1e9 / self.nano_count(name)
        self.results.setdefault((group, name), {}).setdefault(engine, []).append(result)
        text = f"{result['seconds']:8.3f} s" if "error" not in result else "FAILED: " + result["error"]
        print(f"  {group}/{name:12} {engine:8} {text}", file=sys.stderr, flush=True)

    @staticmethod
    def started(machine):
        """The same, when its agent is ready."""
        try:
            machine.marker("agent", ("ready",), time.monotonic() + BOOT_LIMIT)
        except machines.Failure as e:
            machine.stop()
            raise machines.Failure(f"{e}, before its agent was ready") from None
        return machine

    def machine(self, engine, cpus, devices=None):
        """The running machine; booted first when there is none. All that run are of one kind."""
        key = (engine.name, cpus, devices)
        if key not in self.running:
            for other in [m for m in self.running if m[1:] != (cpus, devices)]:
                self.drop(*other)
            if devices == "guests":
                self.peers[engine.name] = self.started(engine.start_guest(SERVER_PORT, server=True))
                error = self.peers[engine.name].workload("serve", self.permille, BOOT_LIMIT).get("error")
                if error:
                    raise machines.Failure("the other guest does not serve: " + error)
                machine = engine.start_guest(SERVER_PORT)
            else:
                machine = engine.start(cpus, self.iperf_port()) if devices else engine.start(cpus)
            self.running[key] = self.started(machine)
        return self.running[key]

    def drop(self, name, cpus, devices=None):
        for machine in (self.running.pop((name, cpus, devices), None), self.peers.pop(name, None) if devices == "guests" else None):
            if machine:
                machine.stop()

    def iperf_port(self):
        """Of a server of iperf3 on the host's loopback, started when first asked for."""
        if not self.server:
            with socket.create_server(("127.0.0.1", 0)) as s:
                self.port = s.getsockname()[1]
            self.server = subprocess.Popen(["iperf3", "-s", "-B", "127.0.0.1", "-p", str(self.port)], stdout=subprocess.DEVNULL)
        return self.port

    def close(self):
        self.drop_all()
        if self.server:
            self.server.kill()
            self.server.wait()
        for monitor in self.monitors:
            if os.path.exists(monitor.scratch):
                os.remove(monitor.scratch)

    def drop_all(self):
        for key in list(self.running):
            self.drop(*key)

    def attempt(self, engine, group, name, amount=None):
        """One workload, once, on one machine."""
        cpus, devices = CPUS.get(group, 1), ("guests" if group == "guests" else "host") if group in IO_GROUPS else None
        try:
            machine = self.machine(engine, cpus, devices)
            function = name if group != "nano" else "nano_" + name
            if group == "disk":
                os.sync() # what others have written is not written back during this one's time
            result = machine.workload(function, amount or self.permille, self.args.timeout)
            self.memory[engine.name] = max(self.memory.get(engine.name, 0), machines.own_memory(machine.process.pid))
        except machines.Failure as e:
            self.drop(engine.name, cpus, devices)
            limit = f" after {self.args.timeout:g} s" if str(e) == "timeout" else ""
            result = {"error": str(e) + limit}
            if limit:
                self.hopeless.add((engine.name, name))
        self.note(group, name, engine.name, result)

    def wanted(self, engine, name):
        if (engine.name, name) in self.hopeless:
            return False
        return engine.name != "interp" or "all" in self.args.interp_workloads or name in self.args.interp_workloads

    def group(self, group, names):
        for name in names:
            for engine in ([] if group in IO_GROUPS else [self.native]) + self.monitors:
                if self.wanted(engine, name):
                    self.attempt(engine, group, name)

    def time_boot(self, group, name, monitor, machine):
        self.running[monitor.name, 0, None] = machine
        try:
            seconds, _, _ = machine.marker("boot", ("end",), time.monotonic() + self.args.timeout)
            result = {"seconds": seconds}
        except machines.Failure as e:
            result = {"error": str(e)}
        self.drop(monitor.name, 0)
        self.note(group, name, monitor.name, result)

    def boot(self):
        for monitor in self.monitors:
            self.time_boot("boot", "debian", monitor, monitor.boot())

    def start(self, names):
        for name in names:
            for monitor in self.monitors:
                self.time_boot("start", name, monitor, monitor.start_up(name, self.boot_disk))

    def nano_count(self, name):
        """Never scaled down: they take little time as it is."""
        return NANO[name] * max(self.permille, 1000) // 1000

    def nano(self, names):
        counts = {name: self.nano_count(name) for name in names}
        for name in names:
            if name in NANO_NATIVE:
                self.attempt(self.native, "nano", name, counts[name])
        for monitor in self.monitors:
            append = " ".join(f"{name}={count}" for name, count in counts.items())
            machine = self.running[monitor.name, 0, None] = monitor.start_nano(append)
            for name, count in counts.items():
                try:
                    result = self.nano_result(machine, "nano_" + name)
                    if result["sum"] != str(count):
                        result["error"] = f"the guest counted {result['sum']} instead of {count}"
                except machines.Failure as e:
                    result = {"error": str(e)}
                self.note("nano", name, monitor.name, result)
            self.drop(monitor.name, 0)

    def nano_result(self, machine, name):
        deadline = time.monotonic() + self.args.timeout
        start, _, _ = machine.marker(name, ("start",), deadline)
        end, _, _ = machine.marker(name, ("end",), deadline)
        _, _, total = machine.marker(name, ("sum",), deadline)
        return {"seconds": end - start, "sum": total}

    def round(self, selection):
        for group, names in selection.items():
            if group == "boot":
                self.boot()
            elif group == "start":
                self.start(names)
            elif group == "nano":
                self.nano(names)
            else:
                self.group(group, names)
        self.drop_all()


def select(args):
    """The groups and workloads that the options name."""
    known = workloads()
    groups = args.groups.split(",") if args.groups else list(known)
    names = args.workloads.split(",") if args.workloads else None
    unknown = [g for g in groups if g not in known]
    unknown += [n for n in names or [] if not any(n in w for w in known.values())]
    if unknown:
        there = "\n".join(f"  {g}: {' '.join(w)}" for g, w in known.items())
        sys.exit(f"bench: {', '.join(unknown)}: not known; there is\n{there}")
    chosen = {g: [w for w in known[g] if not names or w in names] for g in groups}
    return {g: w for g, w in chosen.items() if w}


def options():
    p = argparse.ArgumentParser(prog="bench", description="Speed against the bare host and QEMU without KVM.")
    p.add_argument("--visor", required=True, help=argparse.SUPPRESS)
    p.add_argument("--guest", required=True, help=argparse.SUPPRESS)
    p.add_argument("--root", required=True, help=argparse.SUPPRESS)
    p.add_argument("--engines", help="visor's engines, with commas; the fastest that there is without it")
    p.add_argument("--interp-workloads", default="shell,gzip,awk,getpid,debian",
                   help="what the interpreter is given, which is slow (%(default)s); 'all' for all")
    p.add_argument("--groups", help="only these groups, with commas")
    p.add_argument("--workloads", help="only these workloads, with commas")
    p.add_argument("--repeats", type=int, help="how often; medians are reported (3)")
    p.add_argument("--scale", type=float, help="amount of work; 1 is 0.5 to 1 s on the bare host (1)")
    p.add_argument("--quick", action="store_true", help="a smoke run: --scale 0.05 --repeats 1; its ratios mean little")
    p.add_argument("--timeout", type=float, default=180, help="seconds for a workload (180)")
    p.add_argument("--no-qemu", action="store_true", help="visor and the bare host alone")
    p.add_argument("--json", metavar="FILE", help="all figures for programs; BUILD/bench/results.json without it")
    args = p.parse_args()
    args.scale = args.scale or (0.05 if args.quick else 1)
    args.interp_workloads = args.interp_workloads.split(",")
    args.repeats = args.repeats or (1 if args.quick else 3)
    args.json = args.json or os.path.join(args.root, "results.json")
    return args


def main():
    args = options()
    selection = select(args)
    known = machines.engines_of(args.visor)
    engines = args.engines.split(",") if args.engines else ["jit" if "jit" in known else "interp"]
    for engine in engines:
        if engine not in known:
            sys.exit(f"bench: visor has no engine '{engine}'; choose from: {', '.join(known)}")
    with tempfile.TemporaryDirectory(prefix="visor-bench-") as work:
        init = os.path.join(machines.HERE, "guest")
        initrd = machines.make_initrd(args.guest, init, "bench-init", os.path.join(work, "initrd"))
        parts = (os.path.join(args.guest, "vmlinuz"), initrd, args.root)
        monitors = [machines.Visor(args.visor, e, *parts) for e in engines]
        if not args.no_qemu:
            monitors.append(machines.Qemu("QEMU", *parts))
        boot_disk = os.path.join(work, "boot.img")
        if "start" in selection:
            machines.make_boot_disk(parts[0], initrd, machines.Monitor.append, boot_disk)
        bench = Bench(args, machines.Native(args.root), monitors, boot_disk)
        try:
            for i in range(args.repeats):
                print(f"bench: round {i + 1} of {args.repeats}", file=sys.stderr)
                bench.round(selection)
        except KeyboardInterrupt:
            print("bench: interrupted; this is what there is", file=sys.stderr)
        finally:
            bench.close()
    summary = report.summarize(bench.results, engines, None if args.no_qemu else "QEMU")
    summary.update(scale=args.scale, repeats=args.repeats, memory_mb=bench.memory)
    with open(args.json, "w") as f:
        json.dump(summary, f, indent=1)
    report.show(summary)
    print(f"\nall figures: {args.json}")
    return 1 if summary["failures"] else 0


def terminated(*_):
    raise KeyboardInterrupt


def be_prompt():
    """Markers are seen when they come, on a busy host as well; what is started runs as usual."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        pass # not root


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated) # no guest stays behind
    be_prompt()
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Statistics: the translator counts the very instructions that the interpreter does; efficiency; what the manual page names is there."""
from harness import *

programs = os.path.join(TMP, "programs")
COUNTED = ["wild", "precise", "returns", "exceptions"] # guests that do the same each time
subprocess.run([f"{TOP}/tests/guest/build.sh", programs, *COUNTED], check=True)


def run(name, engine):
    path = os.path.join(TMP, "stats")
    visor("run", "--engine", engine, "--memory", "64M", "--kernel", f"{programs}/{name}.elf", "--debug-exit", "--stats", path, status=33)
    with open(path) as f:
        return json.load(f)


for name in COUNTED:
    jit, interp = run(name, "jit"), run(name, "interp")
    check(jit["instructions"] == interp["instructions"], f"{name}: jit counts {jit['instructions']}, interp {interp['instructions']}")
    check(interp["efficiency"] == 0, f"{name}: the interpreter's efficiency is {interp['efficiency']}")
    cpu = jit["cpus"][0]
    calls = sum(n for reason, n in cpu["jit"]["exits"].items() if reason != "total")
    check(calls == cpu["jit"]["exits"]["total"], f"{name}: reasons add up to {calls} of {cpu['jit']['exits']['total']}")
    check(0.5 < jit["efficiency"] == cpu["efficiency"] <= 1 - calls / jit["instructions"], f"{name}: efficiency {jit['efficiency']}")
    check(0 < jit["start_ms"] < 200 * PATIENCE, f"{name}: {jit['start_ms']} ms to the first instruction")
    check(1 << 20 < jit["own_memory"] < 64 << 20, f"{name}: {jit['own_memory']} bytes of own memory")
    check(name != "wild" or cpu["jit"]["shapes"] > 0, f"{name}: nothing ran on windows of one bias")
    print(f"{name}: {jit['instructions']} instructions, efficiency {jit['efficiency']:.4f}")

engines = {"jit": cpu["jit"], "kvm": run("exceptions", "kvm")["cpus"][0]["kvm"] if kvm_works() else None}
manual = visor("help", "--man").stdout.replace("\\-", "-")
section = manual[manual.index(".SH STATISTICS"):]
section = section[:section.index("\n.SH")]
for term in re.findall(r"^\.B (.*)$", section, re.M):
    engine, names = term.split(": ") if ": " in term else (None, term)
    if engine and not engines[engine]:
        continue
    where = engines.get(engine)
    for name in names.split(", "):
        check(name in where if where else name in jit or name in cpu, f"the manual page names {name}, statistics do not have it")
for name in cpu["jit"].keys() | (engines["kvm"] or {}).keys() | jit.keys() | cpu.keys():
    check(re.search(rf"\b{name}\b", section), f"the manual page does not say what {name} is")

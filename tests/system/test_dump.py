#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""--jit-dump: the map that perf reads names each stretch of translated code once, also after evictions, and uses the kernel's symbols."""
from harness import *

LINE = re.compile(r"([0-9a-f]+) ([0-9a-f]+) (visor_\w+|guest_(?:cold_)?(?:user|kernel)_([0-9a-f]+)\+\d+(?: (\w+)\+0x([0-9a-f]+))?)")
programs = os.path.join(TMP, "programs")
subprocess.run([f"{TOP}/tests/guest/build.sh", programs, "codecache", "returns"], check=True)


def run(name, *flags, status=33):
    """Runs a guest test; the map's lines and the evictions."""
    stats = os.path.join(TMP, "stats")
    p = subprocess.Popen([VISOR, "run", "--engine", "jit", "--memory", "64M", "--kernel", f"{programs}/{name}.elf", "--debug-exit",
                          "--stats", stats, *flags], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = p.communicate(timeout=60 * PATIENCE)[1]
    check(p.returncode == status, f"{flags}: status {p.returncode}: {errors}")
    path = f"/tmp/perf-{p.pid}.map"
    if status != 33:
        check(not os.path.exists(path), f"{path} was left behind")
        return errors
    with open(path) as f:
        lines = [LINE.fullmatch(line.rstrip("\n")) or fail(f"a line that perf does not understand: {line!r}") for line in f]
    os.unlink(path)
    with open(stats) as f:
        return lines, json.load(f)["cpus"][0]["jit"]["evictions"]


def check_apart(lines):
    ranges = sorted((int(m[1], 16), int(m[2], 16)) for m in lines)
    for (a, size), (b, _) in zip(ranges, ranges[1:]):
        check(a + size <= b, f"code at {a:x}+{size:x} and {b:x} has two names")
    check({"visor_enter", "visor_leave"} <= {m[3] for m in lines}, "the stubs have no names")


lines, evictions = run("returns", "--jit-dump", "--jit-cache", "256M")
check(not evictions and len(lines) > 100, f"{len(lines)} lines, {evictions} evictions")
check_apart(lines)
lines, evictions = run("codecache", "--jit-dump", "--jit-cache", "4M")
check(evictions, "nothing was evicted, so the test shows nothing")
check_apart(lines)

symbols = os.path.join(TMP, "System.map")
with open(symbols, "w") as f:
    f.write(subprocess.run(["nm", f"{programs}/codecache.native"], capture_output=True, text=True, check=True).stdout)
with open(symbols) as f:
    functions = {m[2]: int(m[1], 16) for m in re.finditer(r"^([0-9a-f]+) [Tt] (\w+)$", f.read(), re.M)}
lines, _ = run("codecache", f"--jit-dump={symbols}")
named = [m for m in lines if m[5]]
check(any(m[5] == "main" or m[5].endswith("main") for m in named), f"main has no name; {len(named)} units have")
for m in named:
    check(functions[m[5]] + int(m[6], 16) == int(m[4], 16), f"wrong: {m[3]}")
with open(symbols, "w") as f:
    f.write("0000000000000000 T _text\n")
check("as root sees it" in run("codecache", f"--jit-dump={symbols}", status=1), "symbols without addresses")
check("cannot read it" in run("codecache", "--jit-dump=/nonexistent", status=1), "no symbols")

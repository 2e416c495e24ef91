# SPDX-License-Identifier: GPL-2.0-or-later
"""From the bench's results to medians, ratios and a table."""
import math
import statistics

# Share of native speed and factor against QEMU that visor is to reach at least, by group.
GOALS = {"integer": (0.60, 4.7), "float": (0.80, 14), "vector": (0.80, 28), "compile": (0.35, 6), "system": (0.20, 5),
         "threads": (0.50, 4), "boot": (None, 3), "disk": (None, 2), "network": (None, 2),
         "guests": (None, 2)}
# Gbit that the workloads of these groups transfer at scale 1, and what they are to reach in a second.
TRANSFERS = {"network": (8.192, 5), "guests": (8.192, None)}


def mean(values):
    """Geometric; None of nothing."""
    values = [v for v in values if v]
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def median_of(results, what="seconds"):
    """Of the rounds that went well."""
    times = [r[what] for r in results if "error" not in r]
    return statistics.median(times) if times else None


def failures_of(group, name, by_engine):
    """What went wrong with one workload, as lines."""
    lines = []
    reference = next((r["sum"] for r in by_engine.get("native", []) if "sum" in r and "error" not in r), None)
    for engine, results in by_engine.items():
        for number, r in enumerate(results, 1):
            where = f"{group}/{name} on {engine}, round {number}"
            if "error" in r:
                lines.append(f"{where}: {r['error']}")
            elif group != "nano" and reference and r.get("sum") != reference:
                lines.append(f"{where}: wrong output (checksum {r.get('sum')}, native {reference})")
    return lines


def ratio(a, b):
    return a / b if a and b else None


def summarize(results, engines, qemu):
    """Everything as one dictionary: per workload and per group, medians and ratios."""
    workloads, failures, slower = [], [], []
    for (group, name), by_engine in results.items():
        failures += failures_of(group, name, by_engine)
        seconds = {e: median_of(r) for e, r in by_engine.items()}
        # A user program's fault on the bare host ends in a signal, the guest's in a handler of four instructions.
        native = None if group == "nano" else seconds.get("native")
        w = {"group": group, "name": name, "seconds": seconds, "rounds": by_engine,
             "qemu_slower": ratio(seconds.get(qemu), native),
             "share": {e: ratio(native, seconds.get(e)) for e in engines},
             "against_qemu": {e: ratio(seconds.get(qemu), seconds.get(e)) for e in engines}}
        slower += [f"{group}/{name}: {e} is slower than QEMU" for e in engines if (w["against_qemu"][e] or 1) < 1]
        workloads.append(w)
    groups = []
    for group in dict.fromkeys(w["group"] for w in workloads):
        goal_share, goal_against_qemu = GOALS.get(group, (None, None))
        members = [w for w in workloads if w["group"] == group]
        groups.append({"name": group, "qemu_slower": mean(w["qemu_slower"] for w in members),
                       "share": {e: mean(w["share"][e] for w in members) for e in engines},
                       "against_qemu": {e: mean(w["against_qemu"][e] for w in members) for e in engines},
                       "goal_share": goal_share, "goal_against_qemu": goal_against_qemu})
    return {"engines": engines, "qemu": qemu, "workloads": workloads, "groups": groups, "failures": failures,
            "slower_than_qemu": slower}


def number(value, unit="", digits=3):
    """Three digits that count, or a dash."""
    if value is None:
        return "-"
    return f"{value:.{max(digits - 1 - math.floor(math.log10(value)), 0)}f}{unit}" if value > 0 else "0"


def show(summary):
    show_workloads(summary)
    show_transfers(summary)
    show_nano(summary)
    for e in summary["engines"]:
        show_groups(summary, e)
        if e in summary["memory_mb"]:
            print(f"\n{e}: at most {summary['memory_mb'][e]:.1f} MB of memory besides the guest's RAM")
    show_start(summary)
    for line in summary["slower_than_qemu"]:
        print(f"slower: {line}")
    for line in summary["failures"]:
        print(f"FAILED: {line}")


def show_start(summary):
    seconds = {w["name"]: w["seconds"] for w in summary["workloads"] if w["group"] == "start"}
    for e in summary["engines"]:
        if seconds.get("micro", {}).get(e) and seconds.get("pc", {}).get(e):
            part = seconds["micro"][e] / seconds["pc"][e]
            print(f"\n{e}: --machine micro starts the kernel in {number(part)} of the time that pc takes by its firmware and GRUB")


def columns_of(summary):
    return ["native"] + summary["engines"] + ([summary["qemu"]] if summary["qemu"] else [])


def show_workloads(summary):
    engines, columns = summary["engines"], columns_of(summary)
    rows = [w for w in summary["workloads"] if w["group"] != "nano"]
    if not rows:
        return
    print("\nSeconds, medians. share: of native speed; against QEMU: how many times faster\n")
    print(f"{'workload':22}" + "".join(f"{c:>10}" for c in columns) + f"{'QEMU slower':>13}"
          + "".join(f"{e + ' share':>14}{'against QEMU':>14}" for e in engines))
    for w in rows:
        print(f"{w['group'] + '/' + w['name']:22}" + "".join(f"{number(w['seconds'].get(c)):>10}" for c in columns)
              + f"{number(w['qemu_slower'], ' x'):>13}"
              + "".join(f"{number(w['share'][e]):>14}{number(w['against_qemu'][e], ' x'):>14}" for e in engines))


def show_transfers(summary):
    rows = [w for w in summary["workloads"] if w["group"] in TRANSFERS]
    columns = columns_of(summary)[1:]
    if rows:
        print("\nGbit/s\n")
        print(f"{'transfer':22}" + "".join(f"{c:>10}" for c in columns) + f"{'at least':>10}")
    for w in rows:
        gbit, goal = TRANSFERS[w["group"]]
        speeds = (ratio(gbit * summary["scale"], w["seconds"].get(c)) for c in columns)
        print(f"{w['group'] + '/' + w['name']:22}" + "".join(f"{number(s):>10}" for s in speeds) + f"{number(goal):>10}")


def show_nano(summary):
    engines, columns = summary["engines"], columns_of(summary)
    rows = [w for w in summary["workloads"] if w["group"] == "nano"]
    if not rows:
        return
    print("\nNanobenchmarks, nanoseconds for one, medians. native: a user program, so that its faults are signals\n")
    print(f"{'operation':22}" + "".join(f"{c:>10}" for c in columns)
          + "".join(f"{e + ' against QEMU':>20}" for e in engines))
    for w in rows:
        each = {e: median_of(r, "ns") for e, r in w["rounds"].items()}
        print(f"{w['name']:22}" + "".join(f"{number(each.get(c)):>10}" for c in columns)
              + "".join(f"{number(w['against_qemu'][e], ' x'):>20}" for e in engines))


def show_groups(summary, e):
    """The table of goals for one engine, geometric means over each group."""
    heads = ["group", "QEMU without KVM, slower than native", f"{e}'s share of native speed", "at least", "against QEMU", "at least"]
    print("\n| " + " | ".join(heads) + " |")
    print("|" + " --- |" * len(heads))
    for g in summary["groups"]:
        cells = [g["name"], number(g["qemu_slower"], " x"), number(g["share"][e]), number(g["goal_share"]),
                 number(g["against_qemu"][e], " x"), number(g["goal_against_qemu"], " x")]
        print("| " + " | ".join(cells) + " |")

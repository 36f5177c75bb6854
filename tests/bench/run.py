#!/usr/bin/env python3
"""run - one benchmark beside its peers, in the same run, on this machine.

    run.py proxy [--quick] [--long] [--only cpu|latency|prompts|streams|memory] [--rounds N]
    run.py ring [--quick] [--rounds N]

Writes build/bench/NAME.json and prints the same as a table; with --only, the other rows of that
file stay if they were measured with the same programs on the same machine. --quick is one short
round, for looking while one changes something, and goes to NAME-quick.json; --long holds the load
for the memory row for ten minutes.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import atexit
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

import ring
from rows import ROWS, WHAT, say
from targets import BUILD, BenchError, Lab

SAME_ROW = {"memory": "streams"}


class Plan:
    """How long and how often."""

    def __init__(self, args):
        self.rounds = args.rounds or (1 if args.quick else 5)
        self.quick = args.quick
        self.patience = 20.0 if args.quick else 300.0  # seconds, for a machine in use by others
        self.told = {}  # how the rounds of each row went
        self.growth_seconds = 600.0 if args.long else 10.0 if args.quick else 40.0

    def seconds(self, usual):
        return max(1.0, usual / 2.0) if self.quick else float(usual)


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return None


def version_of(name, command):
    """Only the number: a build's address and date say nothing about speed."""
    line = first_line(command) if command[0] else None
    found = re.search(r"\d+\.\d+(\.\d+)?", line or "")
    return f"{name} {found.group(0)}" if found else None


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def machine_facts():
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) / 1048576
    hypervisor = "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text()
    return {
        "cpu": cpu_model(), "cores": os.cpu_count(), "virtual": hypervisor,
        "memory_gib": round(memory), "kernel": re.match(r"[\d.]+", platform.release()).group(0),
        "date": datetime.date.today().isoformat(),
        "raised_priority": os.getpriority(os.PRIO_PROCESS, 0) < 0,
        "load_average_before": os.getloadavg()[0],
    }


def environment(lab):
    return {
        **machine_facts(),
        "placement": "client and upstream on one core, the proxy on another"
        if lab.load_core != lab.proxy_core else "client, upstream and proxy on one core",
        "programs": [version for version in (
            version_of("nginx", [lab.find("nginx"), "-v"]),
            version_of("haproxy", [lab.find("haproxy"), "-v"]),
            version_of("penstock", [str(lab.penstock), "version"]),
            version_of("gcc", ["gcc", "-dumpfullversion"])) if version],
        "skipped": lab.skipped,
    }


def bench_proxy(args, folder, save):
    """Calls save(report) after every row, so that what was measured outlives an interruption."""
    lab = Lab(folder, pathlib.Path(args.penstock).resolve(), args.targets)
    for name, why in lab.skipped.items():
        say(f"{name} is skipped: {why}")
    plan = Plan(args)
    report = {"name": "proxy", "results": [], "environment": environment(lab)}
    started = time.monotonic()
    try:
        for name, row in ROWS.items():
            if args.only is not None and name not in args.only:
                continue
            report["results"] += row(lab, plan)
            report["environment"].update({
                "load_average_after": os.getloadavg()[0], "rounds": plan.rounds,
                "quick": plan.quick, "minutes": round((time.monotonic() - started) / 60, 1),
                "rows": plan.told})
            save(report)
    finally:
        lab.close()
    return report


def shown(value):
    return "-" if value is None else f"{value:g}"


def print_table(report):
    lines = [("metric", "unit", "ours", "peer", "", "ratio", "target", "holds")]
    for r in report["results"]:
        holds = {True: "yes", False: "NO", None: "not measured"}[r["holds"]]
        lines.append((r["metric"], r["unit"], shown(r["ours"]), shown(r["peer"]), r["peer_name"],
                      shown(r["ratio"]), r["target"], holds))
    widths = [max(len(line[i]) for line in lines) for i in range(8)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def same_machine(a, b):
    return all(a.get(key) == b.get(key) for key in ("cpu", "cores", "kernel", "programs"))


def read_earlier(out):
    try:
        return json.loads(out.read_text())
    except (OSError, ValueError):
        return None


def with_earlier_rows(report, earlier):
    """The report and what an earlier one holds beyond it, if machine and programs are the same."""
    if earlier is None or not same_machine(earlier["environment"], report["environment"]):
        return report
    now = {r["metric"] for r in report["results"]}
    kept = [r for r in earlier["results"] if r["metric"] not in now]
    order = list(WHAT)
    rows = {**earlier["environment"].get("rows", {}), **report["environment"]["rows"]}
    return {**report,
            "results": sorted(kept + report["results"], key=lambda r: order.index(r["metric"])),
            "environment": {**report["environment"], "rows": rows}}


def raise_priority():
    """All programs of the benchmark alike go before whatever else runs, where that is allowed.

    Linux groups processes by terminal session and shares the processor between the groups first,
    so the group counts as much as the processes in it; it gets its old place back at the end.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        group = pathlib.Path("/proc/self/autogroup")
        if group.exists():
            before = group.read_text().split()[-1]
            group.write_text("-20")
            atexit.register(group.write_text, before)
    except OSError:
        say("the priority stays as it is: raising it needs more rights")


def bench_ring(args, folder, save):
    return ring.bench(args, folder, save, machine_facts())


BENCHES = {"proxy": bench_proxy, "ring": bench_ring}


def main():
    parser = argparse.ArgumentParser(description="Runs one benchmark beside its peers.")
    parser.add_argument("name", choices=sorted(BENCHES))
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--long", action="store_true", help="ten minutes of load for memory")
    parser.add_argument("--only", action="append", choices=[*ROWS, *SAME_ROW],
                        help="measure this row only (may be repeated)")
    parser.add_argument("--targets", type=lambda text: text.split(","),
                        help="measure these proxies only: nginx,haproxy,penstock")
    parser.add_argument("--rounds", type=int, help="how many rounds; usually 5")
    parser.add_argument("--penstock", default=str(BUILD / "penstock"), help="the program to measure")
    parser.add_argument("--out", help="where the result goes; usually build/bench/NAME.json,"
                        " with --quick build/bench/NAME-quick.json")
    args = parser.parse_args()
    args.only = [SAME_ROW.get(name, name) for name in args.only] if args.only else None
    raise_priority()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    quick = "-quick" if args.quick else ""
    out = pathlib.Path(args.out) if args.out else BUILD / "bench" / f"{args.name}{quick}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    earlier = read_earlier(out) if args.only else None

    def save(report):
        out.write_text(json.dumps(with_earlier_rows(report, earlier), indent=1) + "\n")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            report = BENCHES[args.name](args, pathlib.Path(folder), save)
    except BenchError as err:
        sys.exit(f"bench: {err}")
    print_table(report)
    print(f"written to {os.path.relpath(out)}")


if __name__ == "__main__":
    main()

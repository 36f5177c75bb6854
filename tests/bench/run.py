#!/usr/bin/env python3
"""run - one benchmark beside its peers, in the same run, on this machine.

    run.py proxy [--quick] [--long] [--only cpu|latency|prompts|streams|memory] [--rounds N]
    run.py cache [--quick] [--only cpu|latency] [--rounds N]
    run.py batch [--quick] [--only search|queue|cost]
    run.py chaos [--quick] [--only nodes|cluster] [--rounds N]
    run.py eviction [--quick] [--only traces|gpu]
    run.py fanout [--quick] [--only few|many|requests] [--rounds N]
    run.py flight [--quick] [--rounds N]
    run.py history [--quick] [--rounds N]
    run.py loadgen [--quick] [--only closed|jitter|truth|streams|memory] [--rounds N]
    run.py loadreport [--quick] [--rounds N]
    run.py metrics [--quick] [--rounds N]
    run.py predict [--quick] [--only shapes|level|series]
    run.py pressure [--quick] [--only ramp|step|sawtooth|leak|burst]
    run.py ring [--quick] [--only ring|redis] [--rounds N]
    run.py scrape [--quick] [--rounds N]
    run.py board [--quick] [--rounds N]
    run.py statsd [--quick] [--rounds N]
    run.py stress [--quick] [--only queue|batch|limit|thorough|spike|leak|steady]
    run.py telemetry [--quick] [--only telemetry|profile] [--rounds N]

Each benchmark is a module with PARTS (what --only may name), WHAT (its metrics in their order, and
what each is) and run(args, folder, save), which calls save(report) whenever it has got further.

Writes build/bench/NAME.json and prints the same as a table; with --only, the other rows of that
file stay if they were measured with the same programs on the same machine. --quick is one short
round, for looking while one changes something, and goes to NAME-quick.json; --long holds the load
for the memory row for ten minutes.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import atexit
import json
import os
import pathlib
import resource
import signal
import sys
import tempfile

import batch
import board
import cache
import chaos
import eviction
import fanout
import flight
import history
import loadgen
import loadreport
import metrics
import predict
import pressure
import proxy
import ring
import scrape
import statsd
import stress
import telemetry
from rows import say
from targets import BUILD, BenchError

SAME_ROW = {"memory": "streams"}


def shown(value):
    return "-" if value is None else f"{value:g}"


def print_table(report):
    lines = [("metric", "unit", "ours", "peer", "", "ratio", "target", "holds")]
    for r in report["results"]:
        holds = {True: "yes", False: "NO", None: r.get("without", "not measured")}[r["holds"]]
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
    order = list(BENCHES[report["name"]].WHAT)
    rows = {**earlier["environment"].get("rows", {}), **report["environment"].get("rows", {})}
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


BENCHES = {module.__name__: module for module in (
    batch,
    board,
    cache,
    chaos,
    eviction,
    fanout,
    flight,
    history,
    loadgen,
    loadreport,
    metrics,
    predict,
    pressure,
    proxy,
    ring,
    scrape,
    statsd,
    stress,
    telemetry,
)}


def main():
    parser = argparse.ArgumentParser(description="Runs one benchmark beside its peers.")
    parser.add_argument("name", choices=sorted(BENCHES))
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--long", action="store_true", help="ten minutes of load for memory")
    parser.add_argument("--only", action="append", help="measure this row only (may be repeated)")
    parser.add_argument("--targets", type=lambda text: text.split(","),
                        help="measure these proxies only: nginx,haproxy,penstock")
    parser.add_argument("--rounds", type=int, help="how many rounds; usually 5")
    parser.add_argument("--penstock", default=str(BUILD / "penstock"), help="the program to measure")
    parser.add_argument("--out", help="where the result goes; usually build/bench/NAME.json,"
                        " with --quick build/bench/NAME-quick.json")
    args = parser.parse_args()
    bench = BENCHES[args.name]
    args.only = [SAME_ROW.get(name, name) for name in args.only] if args.only else None
    unknown = set(args.only or []) - set(bench.PARTS)
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(bench.PARTS)}")
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
            report = bench.run(args, pathlib.Path(folder), save)
    except BenchError as err:
        sys.exit(f"bench: {err}")
    print_table(report)
    print(f"written to {os.path.relpath(out)}")


if __name__ == "__main__":
    main()

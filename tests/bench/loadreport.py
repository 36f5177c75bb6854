"""loadreport - how long the report of a long load test takes to make, and in how much memory.

The test never was: tests/helpers/trial_report.c writes the journal of ten million requests in 100,000 seconds, and
that of a tenth of it. What is timed is `penstock report JOURNAL --html`: every second is read, added up, and shown.

SPDX-License-Identifier: Apache-2.0
"""
import os
import statistics
import subprocess
import time

from machine import machine
from rows import bounded, say
from targets import BenchError, build_targets

RATE = 100
SECONDS = 100_000
WHAT = {
    "report": "Report and page of 10,000,000 requests (100,000 seconds), from the journal",
    "report_short": "The same of 1,000,000 requests",
    "report_memory": "Largest resident memory for the 10,000,000; the peer is the same for the 1,000,000",
    "journal": "Size of that journal",
    "page": "Size of the page",
}
PARTS = ("report",)


def make_journal(maker, folder, seconds):
    journal = folder / f"{seconds}.json.load.journal"
    if subprocess.run([str(maker), "journal", str(journal), str(seconds), str(RATE)]).returncode != 0:
        raise BenchError("trial_report failed")
    return journal


def measure(penstock, journal):
    """(seconds, MiB) of making the report and its page."""
    page = journal.with_suffix(".html")
    began = time.monotonic()
    pid = os.posix_spawn(penstock, [penstock, "report", str(journal), "--html", str(page)], os.environ)
    _, status, usage = os.wait4(pid, 0)
    took = time.monotonic() - began
    if status != 0:
        raise BenchError(f"penstock report: {status}")
    return took, usage.ru_maxrss / 1024


def result(metric, unit, ours, most, peer=None):
    return bounded(WHAT, metric, unit, ours, peer, "a tenth of it" if peer else "", most, 3)


def run(args, folder, save):
    rounds = args.rounds or (1 if args.quick else 3)
    maker = build_targets("tests/helpers/trial_report")[0]
    seconds = SECONDS // 10 if args.quick else SECONDS
    say("loadreport: the journals are written")
    long, short = make_journal(maker, folder, seconds), make_journal(maker, folder, seconds // 10)
    many, few = ([measure(args.penstock, journal) for _ in range(rounds)] for journal in (long, short))
    memory = [round(max(one[1] for one in told), 1) for told in (many, few)]
    report = {"name": "loadreport",
              "environment": {**machine(), "quick": args.quick, "skipped": {}, "rounds": rounds,
                              "placement": "one program at a time", "programs": []},
              "results": [
                  result("report", "s", statistics.median(one[0] for one in many), 5),
                  result("report_short", "s", statistics.median(one[0] for one in few), None),
                  result("report_memory", "MiB", memory[0], None, memory[1]),
                  result("journal", "MiB", long.stat().st_size / 2**20, None),
                  result("page", "KiB", long.with_suffix(".html").stat().st_size / 1024, None),
              ]}
    save(report)
    return report

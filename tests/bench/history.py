"""history - what writing down every number each second costs control, which has 2 ms for a turn, and what a day of it
takes on the disk. Beside the page that a scraper would ask for each second instead.

SPDX-License-Identifier: Apache-2.0
"""
import json
import statistics
import subprocess

from machine import machine, version_of
from rows import bounded, say
from targets import BenchError, build_targets

PEER = "/metrics as text"
SERIES = 2000
MINUTES = 120  # as tests/bench/history.c has it
WHAT = {
    "second": "Time of the control thread to write down 2,000 series, every one of them moving, one in ten a histogram; the "
              "peer is the page of the same series",
    "slice": "Its longest turn: 512 series",
    "rollup_slice": "A turn that makes 192 rows of a minute and hands them to the store",
    "memory": "Memory for each of the 2,801 numbers that these are, with all 300 points",
    "disk": "Bytes on the disk for a row a minute, half of the series standing still",
    "write": "Time of the store's thread for the 2,421 rows of a minute, until they are on the disk",
}
PARTS = ("history",)


def ask(program, *words):
    done = subprocess.run([str(program), *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"bench_history {words[0]}: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout)


def result(metric, unit, ours, most=None, peer=None, digits=1):
    return bounded(WHAT, metric, unit, ours, peer, PEER if peer else "", most, digits)


def run(args, folder, save):
    rounds = args.rounds or (1 if args.quick else 5)
    program = build_targets("tests/bench/bench_history")[0]
    told = []
    for i in range(rounds):
        say(f"history: round {i + 1} of {rounds}")
        told.append(ask(program, "tick", SERIES))
    say("history: two hours")
    file = folder / "ledger.db"
    day = ask(program, "day", SERIES, file)

    def median(name):
        return statistics.median(one[name] for one in told)

    report = {
        "name": "history",
        "environment": {**machine(), "quick": args.quick, "skipped": {}, "rounds": rounds,
                        "placement": "one process; a figure is the median of 900 seconds, and of the rounds",
                        "programs": [v for v in (version_of("gcc", ["gcc", "-dumpfullversion"]),) if v]},
        "results": [
            result("second", "us", median("second_us"), 2000, median("page_us")),
            result("slice", "us", median("slice_us"), 2000),
            result("rollup_slice", "us", median("roll_slice_us"), 2000),
            result("memory", "bytes", median("mib") * 1048576 / median("tracks"), None, None, 0),
            result("disk", "bytes", file.stat().st_size / day["rows"]),
            result("write", "ms", day["write_ms"]),
        ],
    }
    save(report)
    return report

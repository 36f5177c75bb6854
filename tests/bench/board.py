"""board - what the dashboard costs control each second, and whoever comes: beside the same document made with
jansson, which is what the API is written with elsewhere.

SPDX-License-Identifier: Apache-2.0
"""
import json
import statistics
import subprocess

from machine import machine, version_of
from rows import say
from targets import BenchError, build_targets

PEER = "jansson"
USUAL, FULL = (4, 20), (100, 400)  # endpoints, custom metrics; the latter is as much as a frame may have
WHAT = {
    "second": "A second is computed and its text made: 4 endpoints, 20 routes, 20 custom metrics",
    "second_full": "The same with as many keys as a frame has at most: 100 endpoints, 200 custom metrics",
    "second_full_p99": "The same, 99 of 100 seconds",
    "first": "The first frame of a subscriber: five minutes of everything, 4 endpoints and 20 custom metrics",
    "first_full": "The same with as many keys as a frame has at most",
    "summary_full": "GET /api/dashboard/summary of as much, which is made once a second",
}
PARTS = ("board",)


def measure(program, size):
    done = subprocess.run([str(program), *map(str, size)], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"bench_board: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout)


def run(args, folder, save):
    rounds = args.rounds or (1 if args.quick else 5)
    program = build_targets("tests/bench/bench_board")[0]
    usual, full = [], []
    for i in range(rounds):
        say(f"board: round {i + 1} of {rounds}")
        usual.append(measure(program, USUAL))
        full.append(measure(program, FULL))

    def row(metric, told, name, other=None):
        ours = statistics.median(one[name] for one in told)
        peer = statistics.median(one[other] for one in told) if other else None
        every = {"penstock": [one[name] for one in told], **({PEER: [one[other] for one in told]} if other else {})}
        return {"metric": metric, "unit": "ms", "what": WHAT[metric], "ours": round(ours, 3),
                "peer": None if peer is None else round(peer, 3), "peer_name": PEER,
                "ratio": round(peer / ours, 3) if peer else None, "target": "at most 2 ms", "holds": ours <= 2,
                "failed_requests": 0, "keys": told[0]["keys"], "all": every}

    report = {
        "name": "board",
        "environment": {**machine(), "quick": args.quick, "skipped": {}, "rounds": rounds,
                        "placement": "one thread, which does nothing else",
                        "programs": [version for version in (version_of("gcc", ["gcc", "-dumpfullversion"]),) if version]},
        "results": [
            row("second", usual, "second_ms"),
            row("second_full", full, "second_ms"),
            row("second_full_p99", full, "second_p99_ms"),
            row("first", usual, "first_ms", "peer_first_ms"),
            row("first_full", full, "first_ms", "peer_first_ms"),
            row("summary_full", full, "summary_ms"),
        ],
    }
    save(report)
    return report

"""metrics - what moving a number costs, and how much memory many series take, beside a registry of one
mutex with a string for a key (written for this: tests/bench/metrics.c).

SPDX-License-Identifier: Apache-2.0
"""
import json
import statistics
import subprocess

from machine import machine, version_of
from rows import bounded, say
from targets import BenchError, build_targets

PEER = "mutex and string"
SERIES = 1_000_000
WHAT = {
    "counter": "A bound counter is moved by one, one thread",
    "counter_two": "The same series moved by two threads at once; the slower of the two",
    "histogram": "A value is observed in a bound histogram of 20 explicit bounds",
    "histogram_two": "The same by two threads at once",
    "exponential": "A value is observed in a bound exponential histogram; the peer's has 20 explicit bounds",
    "exponential_two": "The same by two threads at once",
    "look_up": "A counter is found by the values of two labels and moved, 64 series in turn",
    "look_up_two": "The same by two threads at once",
    "series_memory": "Memory for a million series with two labels",
    "flood_memory": "Memory that ten million different label values took in a metric bounded to 2,000 series; every "
                    "one of them was counted in the overflow series",
    "flood_look_up": "Time of one of those look-ups, the text of the value included",
}
PARTS = ("metrics",)


def build():
    return build_targets("tests/bench/bench_metrics")[0]


def measure(program, way, count):
    done = subprocess.run([str(program), way, str(count)], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"bench_metrics {way}: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout)


def environment(args, rounds):
    return {**machine(), "quick": args.quick, "skipped": {}, "rounds": rounds,
            "placement": "ours and the peer's operations in turns in one process",
            "programs": [version for version in (version_of("gcc", ["gcc", "-dumpfullversion"]),) if version]}


def result(what, metric, unit, ours, peer, most, digits=2, **more):
    return bounded(what, metric, unit, ours, peer, PEER, most, digits, **more)


def median(rounds, name):
    return statistics.median(one[name] for one in rounds)


def run(args, folder, save):
    rounds = args.rounds or (1 if args.quick else 5)
    moves = 5_000_000 if args.quick else 50_000_000
    program = build()
    told = []
    for i in range(rounds):
        say(f"metrics: round {i + 1} of {rounds}")
        told.append(measure(program, "hot", moves))
    say("metrics: memory")
    ours, peer = (measure(program, way, SERIES)["mib"] for way in ("series", "series-peer"))
    flood = measure(program, "flood", 1_000_000 if args.quick else 10_000_000)

    def hot(metric, name, other, most):
        return result(WHAT, metric, "ns", median(told, name), median(told, other), most,
                      all={"penstock": [one[name] for one in told], PEER: [one[other] for one in told]})

    report = {"name": "metrics", "environment": environment(args, rounds), "results": [
        hot("counter", "counter", "peer_counter", 5),
        hot("counter_two", "counter_two", "peer_counter_two", 8),
        hot("histogram", "explicit", "peer_observe", 15),
        hot("histogram_two", "explicit_two", "peer_observe_two", None),
        hot("exponential", "exponential", "peer_observe", 15),
        hot("exponential_two", "exponential_two", "peer_observe_two", None),
        hot("look_up", "look_up", "peer_look_up", 60),
        hot("look_up_two", "look_up_two", "peer_look_up_two", None),
        result(WHAT, "series_memory", "MiB", ours, peer, 400, 1),
        result(WHAT, "flood_memory", "MiB", flood["mib"], None, 4),
        result(WHAT, "flood_look_up", "ns", flood["ns"], None, None, 1),
    ]}
    save(report)
    return report

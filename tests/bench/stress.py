"""stress - the verdicts of load tests against servers whose truth is known, with the real generator.

    run.py stress [--quick] [--only queue|batch|limit|thorough|spike|leak|steady]

The usual run searches three curves with --quick and measures a recovery; `thorough` (the same curves, up to ten minutes
each), `leak` (a minute) and `steady` (20 minutes) take longer. The servers are tests/bench/curve.c on one core, the generator has the other.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import subprocess
import time

from machine import machine, version_of
from rows import figure, say
from targets import BUILD, BenchError

WHAT = {
    "quick_queue": "Breaking point of a queue with 16 servers (exponential times, 400/s), stress --quick",
    "quick_batch": "Of a server of batches of 32 (50 ms and 2 ms each, 280.7/s), stress --quick",
    "quick_limit": "Of a server that answers 503 above 230/s, stress --quick",
    "thorough_queue": "Breaking point of the queue, default search",
    "thorough_batch": "Of the server of batches, default search",
    "thorough_limit": "Of the server with a limit, default search",
    "spike_recovery": "Recovery from a spike whose harm lasts 30 s",
    "endurance_leak": "A leak of 1 % over a run of 75 s (an hour, compressed), under a sawtooth of garbage of 2 %",
    "endurance_steady": "Runs of 75 s of the same server without a leak in which something drifts",
}
PARTS = ("queue", "batch", "limit", "thorough", "spike", "leak", "steady")
TRUTH = {"queue": 400.0, "batch": 32 / (0.050 + 32 * 0.002), "limit": 230 / 0.99}
CURVES = {"queue": ["queue", "16", "40"], "batch": ["batch", "32", "50", "2000", "4"], "limit": ["limit", "230", "20"]}
ROOMY = ["queue", "64", "20", "2"]


class Server:
    """The server on its core, and its port."""

    def __init__(self, arguments):
        core = (os.cpu_count() or 1) - 1
        self.process = subprocess.Popen(["taskset", "-c", str(core), str(BUILD / "tests/bench/bench_curve"), *arguments],
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)


def test(penstock, folder, server, command, *arguments):
    """Its section of the report, and how long it took."""
    out = folder / f"{command}-{time.monotonic_ns()}.json"
    began = time.monotonic()
    done = subprocess.run(["taskset", "-c", "0", penstock, command, f"http://127.0.0.1:{server.port}/", "--quiet",
                           "--out", str(out), *arguments], capture_output=True, text=True, timeout=900)
    took = time.monotonic() - began
    if not out.exists():
        raise BenchError(f"{command}: no report; {done.stderr.strip()[-300:]}")
    return json.loads(out.read_text())[f"{command}_test"], took


def row(metric, unit, ours, truth, target, holds, **more):
    return figure(WHAT, metric, unit, ours, truth, "truth", target, holds, None, 3, **more)


def breaking_point(args, folder, manner, curve, limit, seconds):
    with Server(CURVES[curve]) as server:
        stress, took = test(args.penstock, folder, server, "stress", *(["--quick"] if manner == "quick" else []))
    found, truth = stress.get("breaking_point_rps"), TRUTH[curve]
    off = None if found is None else abs(found / truth - 1)
    return row(f"{manner}_{curve}", "/s", found, truth, f"within {limit * 100:g} %, under {seconds} s",
               off is not None and off <= limit and took < seconds,
               all={"seconds": round(took, 1), "off_percent": None if off is None else round(100 * off, 2),
                    "interval": stress.get("confidence_interval"), "signal": stress.get("limiting_signal"),
                    "reason": stress["reason"]})


def recovery(args, folder):
    with Server([*ROOMY, "hurt=85,30,300"]) as server:
        spike, took = test(args.penstock, folder, server, "spike", "--baseline-for", "20s", "--spike-for", "5s",
                           "--recovery-for", "10s")
    found = spike.get("recovery_time_seconds")
    return row("spike_recovery", "s", found, 30, "within 1 s", found is not None and abs(found - 30) <= 1,
               all={"seconds": round(took, 1), "reason": spike["reason"]})


def leak(args, folder):
    with Server([*ROOMY, "leak=256,1,75,2"]) as server:
        endurance, _ = test(args.penstock, folder, server, "endurance", "--duration", "75s", "--target-pid",
                            str(server.process.pid))
    drift = {one["signal"]: one for one in endurance.get("drift", [])}.get("memory", {})
    return row("endurance_leak", "p", drift.get("p_value"), 0.005, "found (p below 0.005)", bool(drift.get("drifts")),
               all={"memory": drift, "reason": endurance["reason"]})


def steady(args, folder, runs):
    drifting = []
    with Server([*ROOMY, "leak=256,0,75,2"]) as server:
        for number in range(runs):
            endurance, _ = test(args.penstock, folder, server, "endurance", "--duration", "75s", "--target-pid",
                                str(server.process.pid), "--seed", str(number + 1))
            drifting += [one["signal"] for one in endurance.get("drift", []) if one["drifts"]]
    return row("endurance_steady", "runs", len(drifting), 0, f"at most 1 of {runs}", len(drifting) <= 1,
               all={"runs": runs, "drifting": drifting})


def run(args, folder, save):
    parts = args.only or (["queue"] if args.quick else ["queue", "batch", "limit", "spike"])
    report = {"name": "stress", "results": [], "environment": {
        **machine(), "quick": args.quick, "skipped": {},
        "programs": [version for version in (version_of("penstock", [args.penstock, "version"]),) if version],
        "placement": "server on the last core, generator on the first; peers are the analytic truth"}}
    subprocess.run(["ninja", "-C", str(BUILD), "tests/bench/bench_curve"], check=True, capture_output=True)
    jobs = {
        **{curve: [lambda curve=curve: breaking_point(args, folder, "quick", curve, 0.1, 60)] for curve in CURVES},
        "thorough": [lambda curve=curve: breaking_point(args, folder, "thorough", curve, 0.05, 600) for curve in CURVES],
        "spike": [lambda: recovery(args, folder)],
        "leak": [lambda: leak(args, folder)],
        "steady": [lambda: steady(args, folder, 2 if args.quick else 20)],
    }
    for part in parts:
        for job in jobs[part]:
            report["results"].append(job())
            report["results"].sort(key=lambda r: list(WHAT).index(r["metric"]))
            say(f"stress: {report['results'][-1]['metric']}")
            save(report)
    return report

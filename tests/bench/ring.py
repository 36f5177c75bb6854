"""ring - the slot table of the shared cache beside classic ketama: shares, movement, lookups.

Nothing here depends on the machine but the speed of a lookup, which is the median of the rounds.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import statistics
import subprocess

from machine import machine, version_of
from targets import HERE, ROOT, WARNINGS, BenchError

WHAT = {
    "ring_imbalance": "The worst node's distance from its ideal share of the keys, the worst of 3, 6, 10, 20 and "
                      "40 nodes with equal weights and with weights 1 to 4; exact for both",
    "ring_excess": "Keys that move although their node stays, when one node leaves, whichever it is; the worst "
                   "of the same sets, of 200,000 keys each",
    "ring_equal": "Lookups of a million keys that give the same node in two processes that have the list of "
                  "nodes in different orders",
    "ring_lookup": "Time of one lookup over 12 nodes, drawing the key included",
}
PARTS = ("ring",)
SOURCES = ["gateway/ring.c", "base/check.c", "base/str.c", "base/clock.c"]


def compile_ring(folder):
    program = folder / "ring"
    source = ROOT / "src"
    command = [os.environ.get("CC", "gcc"), "-std=c17", "-D_GNU_SOURCE", "-O2", *WARNINGS, f"-I{source}",
               str(HERE / "ring.c"), *[str(source / name) for name in SOURCES], "-lcrypto", "-lm",
               "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def ask(program, *words):
    done = subprocess.run([str(program), *map(str, words)], capture_output=True, timeout=600)
    if done.returncode != 0:
        raise BenchError(f"ring {words[0]} failed: {done.stderr.decode()}")
    return done.stdout


def result(metric, unit, ours, peer, target, holds, **more):
    ratio = peer / ours if ours and metric != "ring_equal" else None
    return {"metric": metric, "unit": unit, "what": WHAT[metric], "ours": round(ours, 4),
            "peer": None if peer is None else round(peer, 4), "peer_name": "ketama",
            "ratio": None if ratio is None else round(ratio, 3), "target": target, "holds": bool(holds),
            "failed_requests": 0, **more}


def equal_percent(program, count):
    one = ask(program, "lookups", count, 42, 0)
    other = ask(program, "lookups", count, 42, 1)
    if len(one) != count or len(other) != count:
        raise BenchError("ring lookups: not as many as asked for")
    return 100.0 * sum(a == b for a, b in zip(one, other)) / count


def run(args, folder, save):
    environment = {
        **machine(), "quick": args.quick, "skipped": {}, "placement": "one process at a time",
        "programs": [version for version in (version_of("gcc", ["gcc", "-dumpfullversion"]),) if version]}
    rounds = args.rounds or (1 if args.quick else 5)
    program = compile_ring(folder)
    table = json.loads(ask(program, "table"))
    equal = equal_percent(program, 1_000_000)
    speeds = [json.loads(ask(program, "speed", 5_000_000)) for _ in range(rounds)]
    ours, ketama = (statistics.median(speed[name] for speed in speeds) for name in ("ours", "ketama"))

    def worst(name):
        return max(row[name] for row in table)

    results = [
        result("ring_imbalance", "%", worst("imbalance"), worst("ketama_imbalance"), "below 0.2 %",
               worst("imbalance") < 0.2, table=table),
        result("ring_excess", "%", worst("excess"), worst("ketama_excess"), "at most 0.5 %",
               worst("excess") <= 0.5),
        result("ring_equal", "%", equal, None, "100 %", equal == 100.0),
        result("ring_lookup", "ns", ours, ketama, "below ketama", ours < ketama, all=speeds),
    ]
    report = {"name": "ring", "results": results, "environment": {**environment, "rounds": rounds}}
    save(report)
    return report

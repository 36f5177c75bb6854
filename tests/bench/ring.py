"""ring - the slot table of the shared cache beside classic ketama, and what it makes of real traces.

The part `ring` is the table alone: shares, movement, lookups. Nothing there depends on the machine but the
speed of a lookup, which is the median of the rounds. The part `redis` is the program with six nodes of
the packaged Redis: recorded keys are asked for as chat completions, each key a question of its own, from
an empty cache whose memory holds about 10 % of the keys. Traces are where `eviction` finds them.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import time

from eviction import DATA, TRACES
from machine import machine, version_of
from redis_lab import RedisLab
from rows import failures, figure, ratio_below, say
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
PARTS = ("ring", "redis")
WEIGHTS = [1, 1, 2, 2, 3, 3]
PARTS_OF_TRACES = {"web07": 76118, "orm_busy": 600000}  # requests, from the first
TITLES = {"web07": "web07, 76,118 requests", "orm_busy": "orm-busy, the first 600,000 requests"}
for _name, _title in TITLES.items():
    WHAT[f"share_{_name}"] = (f"The worst node's distance from the share of Redis operations that its weight gives it, six nodes "
                              f"with weights 1 to 3, behind a memory for about 10 % of the keys, {_title}")
    WHAT[f"first_tier_{_name}"] = f"Hits from memory as a share of all hits in the same run, {_title}"
WHAT["hit_l1"] = "Median time of a hit from memory, one connection, closed loop, 1 KB answers; the peer is a hit from Redis"
WHAT["hit_l2_cpu"] = ("Processor time of Penstock (user and system) for a hit from Redis, the whole request, 64 connections, "
                      "closed loop")
SOURCES = ["gateway/ring.c", "base/check.c", "base/str.c", "base/clock.c"]


def compile_ring(folder):
    program = folder / "ring"
    source = ROOT / "src"
    command = [os.environ.get("CC", "gcc"), "-std=c17", "-D_GNU_SOURCE", "-O2", *WARNINGS, f"-I{source}",
               f"-I{ROOT / 'include'}", str(HERE / "ring.c"), *[str(source / name) for name in SOURCES], "-lcrypto", "-lm",
               "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def ask(program, *words):
    done = subprocess.run([str(program), *map(str, words)], capture_output=True, timeout=600)
    if done.returncode != 0:
        raise BenchError(f"ring {words[0]} failed: {done.stderr.decode()}")
    return done.stdout


def result(metric, unit, ours, peer, target, holds, **more):
    ratio = None if metric == "ring_equal" else ratio_below(ours, peer)
    return figure(WHAT, metric, unit, ours, peer, "-" if peer is None else "ketama", target, bool(holds), ratio, **more)


def equal_percent(program, count):
    one = ask(program, "lookups", count, 42, 0)
    other = ask(program, "lookups", count, 42, 1)
    if len(one) != count or len(other) != count:
        raise BenchError("ring lookups: not as many as asked for")
    return 100.0 * sum(a == b for a, b in zip(one, other)) / count


# ---------------------------------------------------------------- with real nodes

CHAT = {"method": "POST", "path": "/v1/chat/completions", "body": 300}


def restart(lab, size):
    """An empty gateway with that much memory for answers, in front of empty nodes."""
    lab.stop("penstock")
    lab.flush()
    lab.l1 = size
    lab.start("penstock")
    time.sleep(1)  # it connects and reads the log of invalidations


def size_for(lab, entries):
    """Bytes of memory for about so many of the answers that are asked for here."""
    restart(lab, "64MiB")
    empty = lab.stats()["l1"]["bytes"]
    lab.client("penstock", conns=8, seconds=2, warmup=0, trace=lab.questions(100000), **CHAT)
    full = lab.stats()["l1"]
    size = int(entries * (full["bytes"] - empty) / full["entries"])
    restart(lab, str(size))
    return size + lab.stats()["l1"]["bytes"]


def play(lab, name, folder, quick):
    """A trace from an empty cache: what the statistics say at its end."""
    file, reader, _ = TRACES[name]
    count = PARTS_OF_TRACES[name] // (10 if quick else 1)
    numbers = reader(DATA / file)[:4 * count]
    keys = len({numbers[at:at + 4] for at in range(0, len(numbers), 4)})
    trace = folder / "trace"
    trace.write_bytes(numbers)
    restart(lab, str(size_for(lab, keys // 10)))
    sample = lab.client("penstock", conns=32, seconds=1e6, warmup=0, requests=count, trace=trace, **CHAT)
    return lab.stats(), keys, failures(sample)


def trace_results(lab, name, folder, quick):
    say(f"redis: {TITLES[name]}")
    stats, keys, failed = play(lab, name, folder, quick)
    operations = [node["operations"] for node in stats["node_distribution"]]
    shares = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    off = [100 * (seen / sum(operations) / share - 1) for seen, share in zip(operations, shares)]
    worst = max(map(abs, off))
    l1, l2 = stats["l1"]["hits"], stats["l2"]["hits"]
    first = 100 * l1 / (l1 + l2)
    told = {"entries_percent_of_keys": round(100 * stats["l1"]["entries"] / keys, 2), "lookups": stats["lookups"],
            "l1_hits": l1, "l2_hits": l2, "failed_requests": failed}
    return [result(f"share_{name}", "%", worst, None, "at most 10 %", worst <= 10 and failed == 0, operations=operations,
                   off_percent=[round(value, 2) for value in off], **told),
            result(f"first_tier_{name}", "%", first, None, "at least 50 %", first >= 50 and failed == 0, **told)]


def hit_results(lab, rounds):
    """Hits of both tiers, in turns."""
    lab.stop("penstock")
    samples = {"l1": [], "l2": [], "busy": []}
    from_redis = []
    for number in range(rounds):
        say(f"redis: hits, round {number + 1} of {rounds}")
        restart(lab, "64KiB")
        first = lab.number
        lab.client("penstock", conns=16, seconds=1e6, warmup=0, requests=3000, trace=lab.questions(3000), **CHAT)
        before = lab.stats()
        for row, conns in (("l2", 1), ("busy", 64)):
            samples[row].append(lab.client("penstock", conns=conns, seconds=2, warmup=0,
                                           trace=lab.questions(3000, first), **CHAT))
        after = lab.stats()
        from_redis.append((after["l2"]["hits"] - before["l2"]["hits"]) / (after["lookups"] - before["lookups"]))
        samples["l1"].append(lab.client("penstock", conns=1, seconds=2, warmup=0.1, trace=lab.questions(1), **CHAT))
    failed = sum(failures(sample) for rows in samples.values() for sample in rows)
    l1, l2 = (statistics.median(sample["latency"]["p50"] for sample in samples[tier]) for tier in ("l1", "l2"))
    cpu = statistics.median(sample["watched_us_per_request"] for sample in samples["busy"])
    told = {"failed_requests": failed, "from_redis_percent": [round(100 * share, 1) for share in from_redis]}
    sound = failed == 0 and min(from_redis) > 0.9
    return [{**result("hit_l1", "us", l1, l2, "at most half of a hit from Redis", l1 <= 0.5 * l2 and sound, **told),
             "peer_name": "Redis"},
            result("hit_l2_cpu", "us", cpu, None, "at most 50 us", cpu <= 50 and sound, **told)]


def run_redis(args, folder, rounds, skipped):
    lab = RedisLab(folder, pathlib.Path(args.penstock).resolve(), 6, weights=WEIGHTS)
    results = []
    try:
        for name in TITLES:
            if (DATA / TRACES[name][0]).exists():
                results += trace_results(lab, name, folder, args.quick)
            else:
                skipped[name] = "the trace is not there"
        return results + hit_results(lab, rounds)
    finally:
        lab.close()


# ---------------------------------------------------------------- the table

def run_table(folder, rounds):
    program = compile_ring(folder)
    table = json.loads(ask(program, "table"))
    equal = equal_percent(program, 1_000_000)
    speeds = [json.loads(ask(program, "speed", 5_000_000)) for _ in range(rounds)]
    ours, ketama = (statistics.median(speed[name] for speed in speeds) for name in ("ours", "ketama"))

    def worst(name):
        return max(row[name] for row in table)

    return [
        result("ring_imbalance", "%", worst("imbalance"), worst("ketama_imbalance"), "below 0.2 %",
               worst("imbalance") < 0.2, table=table),
        result("ring_excess", "%", worst("excess"), worst("ketama_excess"), "at most 0.5 %",
               worst("excess") <= 0.5),
        result("ring_equal", "%", equal, None, "100 %", equal == 100.0),
        result("ring_lookup", "ns", ours, ketama, "below ketama", ours < ketama, all=speeds),
    ]


def run(args, folder, save):
    rounds = args.rounds or (1 if args.quick else 5)
    skipped = {}
    report = {"name": "ring", "results": [], "environment": {
        **machine(), "quick": args.quick, "skipped": skipped, "rounds": rounds,
        "placement": "ring: one process at a time; redis: client, upstream and nodes on one core, Penstock on another",
        "programs": [version for version in (version_of("gcc", ["gcc", "-dumpfullversion"]),
                                             version_of("redis", ["redis-server", "--version"])) if version]}}
    if args.only is None or "ring" in args.only:
        report["results"] += run_table(folder, rounds)
        save(report)
    if shutil.which("redis-server") is None:
        skipped["redis"] = "redis-server is not installed"
    elif args.only is None or "redis" in args.only:
        report["results"] += run_redis(args, folder, rounds, skipped)
        save(report)
    return report

"""eviction - who has to leave a full cache: our policy beside others, in the real cache.

Traces of keys come from ../shared/data beside the checkout (or $PENSTOCK_DATA); without them the
part is skipped, and the report says so. The trace of GPU answers is synthetic and needs nothing.

SPDX-License-Identifier: Apache-2.0
"""
import json
import lzma
import os
import pathlib
import struct
import subprocess

from machine import machine, version_of
from rows import figure, ratio_of, rounded, say
from targets import ROOT, BenchError, build_targets

DATA = pathlib.Path(os.environ.get("PENSTOCK_DATA", ROOT.parent / "shared" / "data"))
PEERS = ("lru", "s3fifo", "sieve", "lfuda")
SHOWN = {"lru": "LRU", "s3fifo": "S3-FIFO", "sieve": "SIEVE", "lfuda": "LFU-DA"}
SHARES = {"5": 0.05, "10": 0.10}
GPU = {"0_3": (0.003, 1.2), "2": (0.02, 1.2), "10": (0.10, 1.15)}
MARGIN = 0.01
OUTRIGHT = 85.0  # % of hits wherever ...
OPTIMUM = 87.0   # ... the optimum is above this


def keys_of(path):
    return lzma.decompress(path.read_bytes())


def blocks_of(path):
    """The prefix blocks of all requests, one after the other."""
    lines = lzma.decompress(path.read_bytes()).splitlines()
    ids = [block for line in lines for block in json.loads(line)["hash_ids"]]
    return struct.pack(f">{len(ids)}I", *ids)


# name: (file, reader, must it hold?)
TRACES = {
    "orm_busy": ("cache/cache2k_orm-busy.u32be.xz", keys_of, True),
    "web07": ("cache/cache2k_web07.u32be.xz", keys_of, True),
    "conversation": ("llm/mooncake_conversation.jsonl.xz", blocks_of, True),
    "synthetic": ("llm/mooncake_synthetic.jsonl.xz", blocks_of, False),
}

TITLES = {"orm_busy": "orm-busy (5,000,000 requests of a shop's object mapper)",
          "web07": "web07 (76,118 requests of a web shop)",
          "conversation": "Mooncake conversation (prefix blocks of 512 tokens)",
          "synthetic": "Mooncake synthetic (prefix blocks of 512 tokens)"}

WHAT = {}
for _trace, _title in TITLES.items():
    for _share in SHARES:
        WHAT[f"optimum_{_trace}_{_share}"] = (
            f"Hit ratio as a share of the clairvoyant optimum (Belady), {_title}, a cache of "
            f"{_share} % of the keys, equal costs and sizes; the peer is the best of LRU, S3-FIFO, "
            "SIEVE and LFU-DA")
for _share in SHARES:
    WHAT[f"hits_orm_busy_{_share}"] = (
        f"Hit ratio outright, orm-busy, a cache of {_share} % of the keys, where the optimum is "
        f"above {OPTIMUM:g} %")
for _share, _name in (("0_3", "0.3"), ("2", "2"), ("10", "10")):
    WHAT[f"gpu_saved_{_share}"] = (
        f"GPU-seconds saved, as a share of all, with a cache of {_name} % of the footprint: a "
        "synthetic trace of 2,000,000 requests for chat, embeddings and images whose costs and "
        "sizes differ")
    WHAT[f"gpu_saved_{_share}_s3fifo"] = "The same, beside S3-FIFO"
PARTS = ("traces", "gpu")


def build():
    return build_targets("tests/bench/bench_eviction")[0]


def replay(program, *args):
    done = subprocess.run([str(program), *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(done.stderr.strip())
    return json.loads(done.stdout)


def result(metric, unit, ours, peer, peer_name, target, holds, **more):
    return figure(WHAT, metric, unit, ours, peer, peer_name, target, holds, ratio_of(ours, peer, True, 1e-6), **more)


def trace_results(name, share, must, told):
    policies, optimum = told["policies"], told["optimum"]
    shares = {policy: figures["hits"] / optimum for policy, figures in policies.items()}
    best = max(PEERS, key=lambda policy: shares[policy])
    more = {"optimum_percent": rounded(optimum * 100, 2),
            "infinite_percent": rounded(told["infinite"] * 100, 2), "slots": told["slots"],
            "all": {policy: rounded(value, 4) for policy, value in shares.items()}}
    results = [result(
        f"optimum_{name}_{share}", "of optimum", shares["gdsf"], shares[best], SHOWN[best],
        f"at most {MARGIN:g} below the best of the others" if must else "reported",
        shares["gdsf"] >= shares[best] - MARGIN if must else None, **more)]
    if f"hits_{name}_{share}" in WHAT and optimum * 100 > OPTIMUM:
        hits = policies["gdsf"]["hits"] * 100
        results.append(result(f"hits_{name}_{share}", "%", hits, optimum * 100, "the optimum",
                              f"above {OUTRIGHT:g} %", hits > OUTRIGHT))
    return results


def run_traces(program, folder, skipped):
    results = []
    for name, (file, reader, must) in TRACES.items():
        if not (DATA / file).exists():
            skipped[TITLES[name].split(" (")[0]] = "the trace is not there"
            continue
        keys = folder / f"{name}.keys"
        keys.write_bytes(reader(DATA / file))
        for share, part in SHARES.items():
            say(f"traces: {name}, {share} % of the keys")
            results += trace_results(name, share, must, replay(program, "trace", keys, part))
    return results


def run_gpu(program, quick):
    results = []
    for share, (part, factor) in GPU.items():
        say(f"gpu: a cache of {part * 100:g} % of the footprint")
        told = replay(program, "gpu", part, 200000 if quick else 2000000)
        saved = {policy: figures["saved"] * 100 for policy, figures in told["policies"].items()}
        more = {"all": {policy: rounded(value, 3) for policy, value in saved.items()},
                "hit_percent": {policy: rounded(figures["hits"] * 100, 2)
                                for policy, figures in told["policies"].items()},
                "footprint_bytes": told["footprint"]}
        results += [
            result(f"gpu_saved_{share}", "%", saved["gdsf"], saved["lru"], "LRU",
                   f"at least {factor:g} times LRU", saved["gdsf"] >= factor * saved["lru"], **more),
            result(f"gpu_saved_{share}_s3fifo", "%", saved["gdsf"], saved["s3fifo"], "S3-FIFO",
                   "not below S3-FIFO", saved["gdsf"] >= saved["s3fifo"])]
    return results


def run(args, folder, save):
    program = build()
    skipped = {}
    report = {"name": "eviction", "results": [], "environment": {
        **machine(), "quick": args.quick, "skipped": skipped,
        "programs": [version for version in (
            version_of("penstock", [args.penstock, "version"]),
            version_of("gcc", ["gcc", "-dumpfullversion"])) if version],
        "placement": "replayed in one thread; the figures depend on the trace, not on the machine"}}
    for part in PARTS:
        if args.only is None or part in args.only:
            report["results"] += (run_traces(program, folder, skipped) if part == "traces"
                                  else run_gpu(program, args.quick))
            order = list(WHAT)
            report["results"].sort(key=lambda r: order.index(r["metric"]))
            save(report)
    for name, why in skipped.items():
        say(f"{name} is skipped: {why}")
    return report

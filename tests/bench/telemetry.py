"""telemetry - what reading eight GPUs costs, beside asking for everything each time.

The driver is the made-up one of tests/fake, which takes as long as measured ones: 12 us for memory,
4.5 ms for a list of processes, 20 ms for PCIe throughput, which has to be measured because its counters
are too narrow. It sleeps for that long, so its time is not in the processor's; both are told.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import statistics
import subprocess

from machine import machine, version_of
from rows import say
from targets import BUILD, BenchError

GPUS = 8
KNOBS = f"gpus={GPUS} memory_us=12 processes_us=4500 pcie_us=20000 narrow=1"
CPU_MOST = 0.5    # % of a core
MEMORY_MOST = 8.0  # MiB
WHAT = {
    "telemetry_cpu": f"Processor time for reading {GPUS} GPUs once a second: tiers, snapshots and readers, and what "
                     "the made-up driver computes",
    "telemetry_memory": "Resident memory of the process that does nothing else",
    "telemetry_driver": "Time spent inside driver calls, which other users of the driver may have to wait for",
    "telemetry_cpu_10hz": "Processor time with memory read ten times a second, which is the default",
}
PARTS = ("telemetry",)


def build():
    targets = ["tests/bench/bench_telemetry", "tests/fake/libnvidia-ml.so.1"]
    done = subprocess.run(["ninja", "-C", str(BUILD), *targets], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"bench_telemetry does not build:\n{done.stdout[-2000:]}")
    return BUILD / targets[0], BUILD / targets[1]


def measure(programs, way, seconds, every_ms):
    program, library = programs
    done = subprocess.run([str(program), way, str(library), str(seconds), str(every_ms)],
                          env={**os.environ, "FAKE_NVML": KNOBS}, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(done.stderr.strip())
    return json.loads(done.stdout)


def median(rounds, name):
    return statistics.median(one[name] for one in rounds)


def result(metric, unit, ours, peer, target, holds, **more):
    return {"metric": metric, "unit": unit, "what": WHAT[metric], "ours": round(ours, 4),
            "peer": None if peer is None else round(peer, 4), "peer_name": "asking for all",
            "ratio": round(peer / ours, 3) if peer and ours else None, "target": target, "holds": holds,
            "failed_requests": 0, **({} if holds is not None else {"without": "reported"}), **more}


def run(args, folder, save):
    seconds = 10 if args.quick else 60
    rounds = args.rounds or (1 if args.quick else 3)
    programs = build()
    environment = {
        **machine(), "quick": args.quick, "skipped": {}, "rounds": rounds,
        "placement": f"rounds of {seconds} s, one process at a time",
        "programs": [version for version in (version_of("gcc", ["gcc", "-dumpfullversion"]),) if version]}
    told = {"ours": [], "plain": [], "fast": []}
    for i in range(rounds):
        say(f"telemetry: round {i + 1} of {rounds}")
        told["ours"].append(measure(programs, "sampler", seconds, 1000))
        told["plain"].append(measure(programs, "plain", seconds, 1000))
        told["fast"].append(measure(programs, "sampler", seconds, 100))
    cpu, plain_cpu = median(told["ours"], "cpu_percent"), median(told["plain"], "cpu_percent")
    memory, plain_memory = (median(told[way], "resident_kib") / 1024 for way in ("ours", "plain"))
    driver, plain_driver = (median(told[way], "driver_percent") for way in ("ours", "plain"))
    results = [
        result("telemetry_cpu", "% of a core", cpu, plain_cpu, f"at most {CPU_MOST} %", cpu <= CPU_MOST, all=told),
        result("telemetry_memory", "MiB", memory, plain_memory, f"at most {MEMORY_MOST:g} MiB", memory <= MEMORY_MOST),
        result("telemetry_driver", "% of the time", driver, plain_driver, "reported", None),
        result("telemetry_cpu_10hz", "% of a core", median(told["fast"], "cpu_percent"), None, "reported", None),
    ]
    report = {"name": "telemetry", "results": results, "environment": environment}
    save(report)
    return report

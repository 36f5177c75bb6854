"""telemetry - what reading eight GPUs costs, beside asking for everything each time.

The driver is the made-up one of tests/fake, which takes as long as measured ones: 12 us for memory,
4.5 ms for a list of processes, 20 ms for PCIe throughput, which has to be measured because its counters
are too narrow. It sleeps for that long, so its time is not in the processor's; both are told.

The second part asks a running daemon for /api/gpu/profile a hundred times a second while a call into
that driver does not come back for ten seconds; the peer is the same daemon when none hangs.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import statistics
import subprocess
import time
import urllib.request

from machine import machine, version_of
from rows import figure, ratio_below, say
from targets import BUILD, BenchError, Program, build_targets, compile_programs, free_port

GPUS = 8
KNOBS = f"gpus={GPUS} memory_us=12 processes_us=4500 pcie_us=20000 narrow=1"
CPU_MOST = 0.5    # % of a core
MEMORY_MOST = 8.0  # MiB
P99_MOST = 5.0     # ms
RATE = 100         # requests a second
HANG = 10          # s
DAEMON = """
listen: ["127.0.0.1:{port}"]
workers: 2
access_log: off
"""
WHAT = {
    "telemetry_cpu": f"Processor time for reading {GPUS} GPUs once a second: tiers, snapshots and readers, and what "
                     "the made-up driver computes",
    "telemetry_memory": "Resident memory of the process that does nothing else",
    "telemetry_driver": "Time spent inside driver calls, which other users of the driver may have to wait for",
    "telemetry_cpu_10hz": "Processor time with memory read ten times a second, which is the default",
    "profile_p99_hung": f"99th percentile of /api/gpu/profile at {RATE} requests/s, {GPUS} GPUs, while a driver call "
                        f"hangs for {HANG} s; the peer is the same without a call that hangs",
}
PARTS = ("telemetry", "profile")


def build():
    return build_targets("tests/bench/bench_telemetry", "tests/fake/libnvidia-ml.so.1")


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
    return figure(WHAT, metric, unit, ours, peer, "asking for all", target, holds, ratio_below(ours, peer), **more)


def measure_cost(args, rounds, programs):
    seconds = 10 if args.quick else 60
    told = {"ours": [], "plain": [], "fast": []}
    for i in range(rounds):
        say(f"telemetry: round {i + 1} of {rounds}")
        told["ours"].append(measure(programs, "sampler", seconds, 1000))
        told["plain"].append(measure(programs, "plain", seconds, 1000))
        told["fast"].append(measure(programs, "sampler", seconds, 100))
    cpu, plain_cpu = median(told["ours"], "cpu_percent"), median(told["plain"], "cpu_percent")
    memory, plain_memory = (median(told[way], "resident_kib") / 1024 for way in ("ours", "plain"))
    driver, plain_driver = (median(told[way], "driver_percent") for way in ("ours", "plain"))
    return [
        result("telemetry_cpu", "% of a core", cpu, plain_cpu, f"at most {CPU_MOST} %", cpu <= CPU_MOST, all=told),
        result("telemetry_memory", "MiB", memory, plain_memory, f"at most {MEMORY_MOST:g} MiB", memory <= MEMORY_MOST),
        result("telemetry_driver", "% of the time", driver, plain_driver, "reported", None),
        result("telemetry_cpu_10hz", "% of a core", median(told["fast"], "cpu_percent"), None, "reported", None),
    ]


def state_of(port):
    """The source's state in the profile, or None while there is no profile."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/gpu/profile", timeout=5) as answer:
            return next(one["state"] for one in json.load(answer)["sources"] if one["name"] == "nvml")
    except OSError:
        return None


def await_state(port, state):
    until = time.monotonic() + 20
    while state_of(port) != state:
        if time.monotonic() > until:
            raise BenchError(f"the driver is {state_of(port)}, not {state}")
        time.sleep(0.05)


def load(port, seconds):
    """Open loop, from the time at which each request was to be sent. No answer is like another here."""
    done = subprocess.run([str(BUILD / "bench" / "client"), "--port", str(port), "--path", "/api/gpu/profile",
                           "--method", "GET", "--conns", "8", "--rate", str(RATE), "--seconds", str(seconds),
                           "--warmup", "0.5"], capture_output=True, text=True)
    told = json.loads(done.stdout) if done.stdout.startswith("{") else None
    if told is None or told["bad_status"] + told["unfinished"] != 0 or told["errors"] != told["damaged"]:
        raise BenchError(f"requests for the profile failed: {done.stdout} {done.stderr}")
    return told


def measure_profile(args, rounds, library, folder):
    compile_programs(BUILD / "bench")
    port, config, knobs = free_port(), folder / "telemetry.yaml", folder / "knobs"
    config.write_text(DAEMON.format(port=port))
    knobs.write_text(KNOBS + "\n")
    env = [f"FAKE_NVML_FILE={knobs}", f"LD_LIBRARY_PATH={library.parent}"]
    daemon = Program("penstock", ["env", *env, args.penstock, "serve", "--config", config], port, folder,
                     ",".join(map(str, sorted(os.sched_getaffinity(0)))))
    told = {"hung": [], "calm": []}
    try:
        for i in range(rounds):
            say(f"profile: round {i + 1} of {rounds}")
            await_state(port, "fresh")
            told["calm"].append(load(port, HANG - 2))
            knobs.write_text("hang_memory=1\n")
            began = time.monotonic()
            await_state(port, "hung")
            told["hung"].append(load(port, HANG - 2.5))
            time.sleep(max(0.0, began + HANG - time.monotonic()))
            if state_of(port) != "hung":
                raise BenchError("the call that was to hang came back")
            knobs.write_text("hang_memory=0\n")
    finally:
        knobs.write_text("hang_memory=0\n")
        daemon.stop()
    hung, calm = (statistics.median(one["latency"]["p99"] for one in told[way]) / 1000
                  for way in ("hung", "calm"))
    return [{**result("profile_p99_hung", "ms", hung, calm, f"under {P99_MOST:g} ms", hung < P99_MOST, all=told),
             "peer_name": "no call hangs"}]


def run(args, folder, save):
    rounds = args.rounds or (1 if args.quick else 3)
    programs = build()
    wanted = args.only or PARTS
    report = {"name": "telemetry", "results": [], "environment": {
        **machine(), "quick": args.quick, "skipped": {}, "rounds": rounds,
        "placement": "rounds of a minute, one process at a time; the profile: daemon and client on all cores",
        "programs": [version for version in (version_of("gcc", ["gcc", "-dumpfullversion"]),) if version]}}
    if "telemetry" in wanted:
        report["results"] += measure_cost(args, rounds, programs)
        save(report)
    if "profile" in wanted:
        report["results"] += measure_profile(args, rounds, programs[1], folder)
        save(report)
    return report

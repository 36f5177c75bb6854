"""loadgen - what the load generator costs and how true its figures are, beside wrk and h2load.

Three servers that know what happened (truth.c) stand on one core, the generator on the other. Those who measure
are measured by the server: it stamps each answer with the clock that both read.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request

from machine import machine, version_of
from rows import figure, ratio_below, say
from targets import BUILD, BenchError, Program, build_targets, compile_programs, free_port

CONNECTIONS = 50
EARLY_US = 150
WHAT = {
    "cpu_request": f"Processor time for a request of a closed loop: HTTP/1.1, {CONNECTIONS} connections, one thread, an "
                   "answer of 12 bytes; beside wrk",
    "cpu_request_h2load": "The same, beside h2load --h1",
    "server_busy": "How busy the server was meanwhile: what the fastest of the three left of its core",
    "send_jitter": "99th percentile of how late a request leaves, 1,000/s; the peer is a loop that only sleeps, then "
                   "spins, in the same round",
    "truth_uncorrected": "Largest relative error of the median, p90, p95, p99 of 200 requests/s on a server with "
                         "log-normal delays; the truth is the server's own record",
    "truth_stall": "The same when the server stalls for 1.4 s: percentiles from the intended time",
    "stall_shown": "p99 that is reported when a server of 20 ms stalls for 1.4 s",
    "streams_whole": "10,000 concurrent streams of 2 events/s from one core: streams that came whole",
    "streams_cpu": "Processor time of the generator meanwhile",
    "ttft_error": "1,000 concurrent streams: how much later than it was sent the first event is taken to be there, "
                  "request by request, 99th percentile",
    "memory_growth": "Resident memory after a run of 20 s, beside one of 4 s, 5,000 requests/s",
}
PARTS = ("closed", "jitter", "truth", "streams", "growth")
SHARES = ("median", "p90", "p95", "p99")


def cores():
    found = sorted(os.sched_getaffinity(0))
    return found[0], found[-1]


def server(folder, *words):
    """One of truth.c's servers on the second core."""
    port = free_port()
    return Program("truth", [BUILD / "bench" / "truth", words[0], port, *words[1:]], port, folder, cores()[1])


def truth_of(program):
    with urllib.request.urlopen(f"http://127.0.0.1:{program.port}/truth", timeout=10) as answer:
        return json.load(answer)


def spent(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(command):
    """Runs it on the first core: what it said, its processor seconds, its largest resident size in KiB."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(["taskset", "-c", str(cores()[0]), *map(str, command)], stdout=out,
                                   stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return out.read().decode(), usage.ru_utime + usage.ru_stime, usage.ru_maxrss, process.returncode


def load(args, folder, url, *words):
    """penstock load: its section of the report."""
    out = folder / "report.json"
    out.unlink(missing_ok=True)
    _, cpu, kib, code = timed([args.penstock, "load", url, "--quiet", "--out", out, *words])
    if not out.exists():
        raise BenchError(f"penstock load {' '.join(map(str, words))} ended with {code} and without a report")
    test = json.loads(out.read_text())["load_test"]
    return {"test": test, "cpu": cpu, "kib": kib, "code": code}


def row(metric, unit, ours, peer, peer_name, target, holds, **more):
    return figure(WHAT, metric, unit, ours, peer, peer_name or "", target, holds, ratio_below(ours, peer), **more)


# ---------------------------------------------------------------- closed loop

def requests_of(tool, text):
    found = re.search(r"(\d+) requests in" if tool == "wrk" else r"requests: \d+ total, \d+ started, (\d+) done", text)
    if found is None:
        raise BenchError(f"{tool} said nothing of its requests: {text[-400:]}")
    return int(found.group(1))


def closed_round(args, folder, program, seconds):
    url = f"http://127.0.0.1:{program.port}/"
    commands = {"wrk": ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url],
                "h2load": ["h2load", "--h1", "-t1", f"-c{CONNECTIONS}", f"-D{seconds}", url]}
    told = {}
    for tool in ("wrk", "ours", "h2load"):
        before, began = spent(program.process.pid), time.monotonic()
        if tool == "ours":
            got = load(args, folder, url, "--connections", CONNECTIONS, "--threads", 1, "--duration", f"{seconds}s")
            count, cpu = got["test"]["total_requests"], got["cpu"]
        else:
            text, cpu, _, _ = timed(commands[tool])
            count = requests_of(tool, text)
        told[tool] = {"us": cpu / count * 1e6, "requests": count,
                      "busy": (spent(program.process.pid) - before) / (time.monotonic() - began)}
    return told


def measure_closed(args, rounds, folder):
    seconds = 1 if args.quick else 3
    program = server(folder, "canned")
    try:
        told = []
        for i in range(rounds):
            say(f"closed: round {i + 1} of {rounds}")
            told.append(closed_round(args, folder, program, seconds))
    finally:
        program.stop()
    us = {tool: statistics.median(one[tool]["us"] for one in told) for tool in told[0]}
    busy = 100 * max(one[tool]["busy"] for one in told for tool in one)
    return [
        row("cpu_request", "us", us["ours"], us["wrk"], "wrk", "at most 1/0.9 of wrk's", us["ours"] <= us["wrk"] / 0.9, all=told),
        row("cpu_request_h2load", "us", us["ours"], us["h2load"], "h2load", "below h2load's", us["ours"] < us["h2load"]),
        row("server_busy", "%", busy, None, None, "under 95 %", busy < 95),
    ]


# ---------------------------------------------------------------- open loop

def measure_jitter(args, rounds, folder):
    """Many short turns in an order that turns: others' moments on the machine are longer than the difference."""
    seconds = 2
    program = server(folder, "canned")
    url = f"http://127.0.0.1:{program.port}/"
    told = {"ours": [], "bare": []}

    def bare():
        text, *_ = timed([BUILD / "bench" / "truth", "spin", 1000, seconds, EARLY_US])
        told["bare"].append(1000 * json.loads(text)["p99"])

    def ours():
        got = load(args, folder, url, "--rate", 1000, "--duration", f"{seconds}s", "--max-lag", "1h")
        told["ours"].append(1000 * got["test"]["generator"]["lag_ms"]["p99"])

    try:
        for i in range(4 * rounds):
            say(f"jitter: round {i + 1} of {4 * rounds}")
            for measure in (bare, ours) if i % 2 == 0 else (ours, bare):
                measure()
    finally:
        program.stop()
    us, loop = statistics.median(told["ours"]), statistics.median(told["bare"])
    return [row("send_jitter", "us", us, loop, "sleep, then spin", "at most 50 us above the bare loop",
                us - loop <= 50, all=told)]


def worst_error(measured, true):
    return 100 * max(abs(measured[share] - true[share]) / true[share] for share in SHARES)


def measure_truth(args, folder):
    seconds = 8 if args.quick else 20
    told = {}
    for name, stall in (("calm", 0), ("stall", 1.4)):
        say(f"truth: {name}")
        program = server(folder, "delays", seconds / 2, stall)
        try:
            got = load(args, folder, f"http://127.0.0.1:{program.port}/", "--rate", 200, "--duration", f"{seconds}s",
                       "--arrivals", "poisson", "--max-lag", "1h")
            told[name] = {"true": truth_of(program), "measured": got["test"]["response_time_ms"]}
        finally:
            program.stop()
    calm, stall = (worst_error(told[name]["measured"], told[name]["true"]) for name in ("calm", "stall"))
    shown = told["stall"]["measured"]["p99"]
    return [
        row("truth_uncorrected", "%", calm, None, None, "at most 2 %", calm <= 2, all=told),
        row("truth_stall", "%", stall, None, None, "at most 2 %", stall <= 2),
        row("stall_shown", "ms", shown, None, None, "over 1,000 ms: 7 % of the requests met the stall", shown > 1000),
    ]


# ---------------------------------------------------------------- streams

def stream_run(args, folder, rate, seconds, events):
    program = server(folder, "streams", 500, events)
    try:
        got = load(args, folder, f"http://127.0.0.1:{program.port}/stream", "--rate", rate, "--threads", 1,
                   "--duration", f"{seconds}s", "--max-in-flight", 19000, "--max-lag", "1h")
        got["true"] = truth_of(program)
    finally:
        program.stop()
    return got


def ttft_run(folder, seconds):
    client = build_targets("tests/bench/bench_ttft")[0]
    program = server(folder, "streams", 500, 10)
    try:
        text, *_ = timed([client, f"http://127.0.0.1:{program.port}", 200, seconds])
    finally:
        program.stop()
    told = json.loads(text)
    if told["count"] != 200 * seconds:
        raise BenchError(f"streams were lost: {text}")
    return told


def measure_streams(args, folder):
    seconds = 4 if args.quick else 10
    say("streams: 10,000")
    many = stream_run(args, folder, 1000, seconds, 3 * seconds)
    test = many["test"]
    peak = max(test["series"]["in_flight"])
    whole = test["successful_requests"]
    say("streams: 1,000")
    few = ttft_run(folder, seconds)
    return [
        row("streams_whole", "streams", whole, None, None, f"all of {1000 * seconds:,}, of which as many at a time",
            whole == 1000 * seconds and peak >= 0.99 * 1000 * seconds, peak=peak),
        row("streams_cpu", "% of a core", 100 * many["cpu"] / test["duration_seconds"], None, None, "reported", None),
        row("ttft_error", "us", few["p99"], None, None, "at most 200 us", few["p99"] <= 200 and few["early"] == 0, all=few),
    ]


# ---------------------------------------------------------------- memory

def measure_memory(args, folder):
    program = server(folder, "canned")
    told = []
    try:
        for seconds in (4, 20):
            say(f"memory: {seconds} s")
            got = load(args, folder, f"http://127.0.0.1:{program.port}/", "--rate", 5000, "--duration", f"{seconds}s",
                       "--threads", 1, "--max-lag", "1h")
            told.append(got["kib"] / 1024)
    finally:
        program.stop()
    return [row("memory_growth", "MiB", told[1], told[0], "a run of 4 s", "at most 2 MiB more: figures in blocks fill up to 64", told[1] - told[0] <= 2)]


def build_truth():
    compile_programs(BUILD / "bench")
    missing = [tool for tool in ("wrk", "h2load", "taskset") if shutil.which(tool) is None]
    if missing:
        raise BenchError(f"{', '.join(missing)} is not installed")


def run(args, folder, save):
    rounds = args.rounds or (1 if args.quick else 5)
    only = args.only or PARTS
    build_truth()
    programs = [version_of("penstock", [args.penstock, "version"]), version_of("wrk", ["wrk", "-v"]),
                version_of("h2load", ["h2load", "--version"])]
    report = {"name": "loadgen", "environment": {**machine(), "quick": args.quick, "skipped": {}, "rounds": rounds,
                                                  "placement": "generators in turns on one core, the server on the other",
                                                  "programs": [program for program in programs if program]}, "results": []}
    parts = {"closed": lambda: measure_closed(args, rounds, folder),
             "jitter": lambda: measure_jitter(args, rounds, folder),
             "truth": lambda: measure_truth(args, folder),
             "streams": lambda: measure_streams(args, folder),
             "growth": lambda: measure_memory(args, folder)}
    for name in PARTS:
        if name in only:
            report["results"] += parts[name]()
            save(report)
    return report

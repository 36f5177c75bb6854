#!/usr/bin/env python3
"""tier1 - one trace through the gateway twice, without and with what Penstock does, as a table.

    tools/tier1.py [--penstock build/penstock] [--trace FILE] [--warm 60000] [--seconds 180] [--rate 55]
                   [--out docs/tier1-report.md]

Two simulated servers behind one gateway: an Ollama with twelve models, on whose device idle models pile up, and a vLLM.
The trace are the keys of data/cache2k_orm_busy_70k.u32be.gz in their order: each key is a prompt, for one of these
models, so what was asked again is asked again. A service that has been running for a while has answered its first
60,000 requests already: what differs among them is asked once, unmeasured, the same both times. Without: no cache, no optimizer, no limits. With: the cache, the optimizer
(mode auto, it may unload idle models), a bound on requests in flight. The load is `penstock load` at a fixed rate, so a
server that falls behind can't slow it down.

Figures of simulated servers say how Penstock decides, not how fast a GPU is.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import gzip
import json
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TRACE = ROOT / "data" / "cache2k_orm_busy_70k.u32be.gz"
WARM_RATE = 110  # requests/s before what is measured
NOTE = """
The same means on a service that begins cold, with the trace of a web shop of which a third repeats:
[tier1-report-cold.md](tier1-report-cold.md), by `tools/tier1.py --trace data/cache2k_web07_20k.u32be.gz --warm 0`.
"""
MODELS = [f"m{i}" for i in range(12)]
OLLAMA = ["--engine", "ollama", *[word for name in MODELS for word in ("--model", name)], "--memory", "24GiB",
          "--weights", "1792MiB", "--activations", "64MiB", "--kv-tokens", "65536", "--kv-bytes-per-token", "2KiB",
          "--max-num-seqs", "64", "--keep-alive", "30m"]
VLLM = ["--engine", "vllm", "--model", "sim"]
CONFIG = """
listen: ["127.0.0.1:{port}"]
store: {{path: off}}
{gpu}
upstreams:
  - name: default
    endpoints: ["{vllm}"]
{limits}
  - name: shared
    endpoints: ["{ollama}"]
{limits}
models:
{models}
routes:
  - {{path: "/*", kind: inference, cache: {cache}}}
"""
OFF = {"gpu": 'gpu: {mode: "off", drivers: no}', "limits": "", "cache": "no"}
ON = {
    "gpu": "gpu: {mode: auto, trust_unverified: yes, rungs: [unload], idle_after: 3s, margin_percent: 10, hold: 2s,"
           " cool_down: 5s, drivers: no}",
    "limits": "    admission: {max_in_flight: 256}",
    "cache": "yes, cache_ttl: 1h, sampled: yes",
}
TARGETS = [("GPU memory, 95th percentile", "gpu", "%", 75, "at most"), ("cache hits", "hits", "%", 85, "at least"),
           ("response time, p95", "p95", "ms", 500, "at most"), ("errors", "errors", "%", 1, "under"),
           ("throughput", "rps", "requests/s", 50, "at least")]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        return None


def wait_for(url, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
    sys.exit(f"tier1: {url} does not answer")


def read_keys(args):
    """Those of before, and those that are measured."""
    data = gzip.open(args.trace).read()
    keys = struct.unpack(f">{len(data) // 4}I", data)
    return keys[:args.warm], keys[args.warm:args.warm + args.seconds * args.rate]


def write_trace(file, keys):
    """A chat for each key: a third goes to the models that share a device, mostly to three of them."""
    with file.open("w") as out:
        for key in keys:
            mixed = key * 2654435761 % 2**32
            shared = MODELS[mixed // 3 % 3] if mixed // 9 % 40 else MODELS[3 + mixed // 360 % 9]
            model = shared if mixed % 3 == 0 else "sim"
            body = {"model": model, "max_tokens": 8 + mixed % 32,
                    "messages": [{"role": "user", "content": f"question {key} " * (8 + mixed % 24)}]}
            json.dump({"method": "POST", "path": "/v1/chat/completions",
                       "headers": {"content-type": "application/json"}, "body": body}, out)
            out.write("\n")
    return file


class Watch(threading.Thread):
    """The devices' memory each half second: the fullest of those that the optimizer looks after."""

    def __init__(self, sim):
        super().__init__(daemon=True)
        self.sim, self.values, self.done = sim, [], threading.Event()

    def run(self):
        while not self.done.wait(0.5):
            state = ask(f"{self.sim}/sim/state")
            device = (state or {}).get("device", {})
            if device.get("total_bytes"):
                self.values.append(100 * device["used_bytes"] / device["total_bytes"])


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else None


def load(args, gate, trace, rate, seconds, report):
    """Sends a trace at a rate. The section of its report."""
    done = subprocess.run([args.penstock, "load", f"{gate}/v1/chat/completions", "--requests", str(trace), "--rate",
                           str(rate), "--duration", f"{seconds}s", "--max-lag", "50ms", "--out", str(report),
                           "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, text=True)
    if not report.exists():
        sys.exit(f"tier1: {done.stderr.strip()}")
    return json.loads(report.read_text())["load_test"]


def hits_of(gate):
    """Answers from the cache, and all that it was asked for."""
    stats = ask(f"{gate}/api/cache/stats") or {}
    lookups = stats.get("lookups", 0)
    return stats.get("hit_rate_percent", 0) * lookups / 100, lookups


def play(args, folder, name, settings, warm, trace):
    ports = [free_port() for _ in range(3)]
    ollama, vllm, gate = (f"http://127.0.0.1:{port}" for port in ports)
    config = folder / f"{name}.yaml"
    models = "\n".join(f"  - {{name: {model}, upstream: shared}}" for model in MODELS)
    config.write_text(CONFIG.format(port=ports[2], vllm=vllm, ollama=ollama, models=models, **settings))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": (folder / f"{name}.log").open("w")}
    running = [subprocess.Popen([args.penstock, "sim", *kind, "--listen", url.removeprefix("http://")], **quiet)
               for kind, url in ((OLLAMA, ollama), (VLLM, vllm))]
    try:
        wait_for(f"{ollama}/sim/state")
        wait_for(f"{vllm}/sim/state")
        running.append(subprocess.Popen([args.penstock, "serve", "--config", str(config)], **quiet))
        wait_for(f"{gate}/readyz")
        if warm[1] > 0:
            load(args, gate, warm[0], WARM_RATE, warm[1], folder / f"{name}-warm.json")
        before = hits_of(gate)
        watch = Watch(ollama)
        watch.start()
        test = load(args, gate, trace, args.rate, args.seconds, folder / f"{name}.json")
        watch.done.set()
        hits, asked = (after - first for after, first in zip(hits_of(gate), before))
        return {"gpu": percentile(watch.values, 0.95), "hits": 100 * hits / asked if asked else 0,
                "p95": test.get("response_time_ms", {}).get("p95"), "errors": test["error_rate_percent"],
                "rps": test["successful_requests"] / test["duration_seconds"], "limited": test["generator"]["limited"],
                "requests": test["total_requests"]}
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()


def holds(value, target, how):
    if value is None:
        return None
    value = round(value, 1)
    return value >= target if how == "at least" else value <= target if how == "at most" else value < target


def shown(value, unit):
    return "-" if value is None else f"{value:,.{0 if abs(value) >= 100 else 1}f} {unit}"


def share_seen(before, keys):
    """Keys that came before, of these, in percent: what a cache that forgets nothing could hit."""
    seen = set(before)
    again = 0
    for key in keys:
        again += key in seen
        seen.add(key)
    return 100 * again / len(keys)


def write(args, off, on, before, keys):
    rows = []
    for what, key, unit, target, how in TARGETS:
        kept = holds(on[key], target, how)
        rows.append(f"| {what} | {shown(off[key], unit)} | {how} {target} {unit} | {shown(on[key], unit)} | "
                    f"{'not measured' if kept is None else 'kept' if kept else 'not kept'} |")
    limited = [name for name, one in (("before", off), ("measured", on)) if one["limited"]]
    note = (f"The generator itself was late in the run {' and '.join(limited)}: other programs had the processors too.\n\n"
            if limited else "")
    warm = (f"What the service answered before, the {len(set(before)):,} different questions of the trace's first "
            f"{args.warm:,} requests, was asked once, at {WARM_RATE} a second, unmeasured.\n" if before else "")
    text = f"""# One trace, without and with Penstock's means (simulated)

Written by `make tier1-report` on {time.strftime('%Y-%m-%d', time.gmtime())}. The servers are **simulated**: an Ollama with twelve models on a device of 24 GiB, and a vLLM. The gateway, the requests and the
measurements are real. {on['requests']:,} requests at {args.rate} a second for {args.seconds} s, the keys of a recorded trace
(`{pathlib.Path(args.trace).name}`, [data/README.md](../data/README.md)) as prompts, in their order, the same both times.
{warm}
Before: no cache, no optimizer, no limits. Measured: the cache, the optimizer (`mode: auto`, rung `unload`), at most 256
requests in flight for each upstream.

| | before | target | measured | status |
|---|---|---|---|---|
{chr(10).join(rows)}

{note}GPU memory is that of the Ollama's device, sampled twice a second: the other server takes its memory at its start, as
vLLM does, and what is used of that is not the device's. Response times count from the moment at which a request was due.
How often a trace repeats itself bounds what any cache can hit: of these {on['requests']:,} keys
{share_seen(before, keys):.0f} % came before. One that comes while the same question is under way shares its answer; it counts as asked and
not as a hit.
{args.note}"""
    pathlib.Path(args.out).write_text(text)
    print(text)


def main():
    parser = argparse.ArgumentParser(description="One trace without and with Penstock's means.")
    parser.add_argument("--penstock", default=str(ROOT / "build" / "penstock"))
    parser.add_argument("--trace", default=str(TRACE), help="big-endian 32-bit keys, gzip")
    parser.add_argument("--warm", type=int, default=60_000, help="requests of it that came before")
    parser.add_argument("--note", default=NOTE, help="the last lines, such as a link to another run")
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--rate", type=int, default=55)
    parser.add_argument("--out", default=str(ROOT / "docs" / "tier1-report.md"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tier1-") as name:
        folder = pathlib.Path(name)
        before, keys = read_keys(args)
        if len(keys) < args.seconds * args.rate:
            sys.exit(f"tier1: the trace has {len(keys):,} requests behind the first {args.warm:,}, too few")
        distinct = list(dict.fromkeys(before))
        warm = (write_trace(folder / "warm.jsonl", distinct), len(distinct) // WARM_RATE)
        trace = write_trace(folder / "trace.jsonl", keys)
        off = play(args, folder, "off", OFF, warm, trace)
        on = play(args, folder, "on", ON, warm, trace)
        write(args, off, on, before, keys)


if __name__ == "__main__":
    main()

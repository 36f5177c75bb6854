"""pressure - does memory stay out of the danger zone, at the same throughput? Beside nobody watching.

Five workloads (ramp, step, sawtooth, leak, burst) go through real gateways to simulated servers, in two classes
that are never averaged together:

  a  an Ollama whose models come and stay: what is idle can be reclaimed. `penstock serve` unloads it by itself.
  b  a vLLM whose cache is full of living requests: nothing can be reclaimed. A cleanup has to say so, and the
     in-flight limit that follows the cache has to prevent preemptions.

All arms of a shape run at the same time with the same requests, so that what disturbs one disturbs all. What
counts is the servers' hidden state (/sim/state), read past the gateway.

SPDX-License-Identifier: Apache-2.0
"""
import asyncio
import json
import math
import os
import random
import statistics
import subprocess
import time

from machine import machine, version_of
from rows import figure, ratio_of, say
from targets import BenchError, free_port

SHAPES = ("ramp", "step", "sawtooth", "leak", "burst")
PARTS = SHAPES
FRESH = 2001       # nothing was tuned on this seed; $PENSTOCK_PRESSURE_SEED is another one, to tune on
TARGET = 75.0      # percent
SAMPLE_S = 0.125
LEAD_IN_S = 16     # not measured: models get loaded, caches fill, the first cleanup runs
DEADLINE_S = 30    # a later answer is no good
GIB = 1 << 30

WHAT = {}
for _shape in SHAPES:
    WHAT[f"pressure_p95_{_shape}"] = (f"Memory in use, 95th percentile, {_shape}, memory that can be reclaimed; the peer is the "
                                      "same load on a server that nobody manages")
    WHAT[f"pressure_oom_{_shape}"] = f"Requests that died of missing memory, {_shape}, managed and not"
    WHAT[f"pressure_goodput_{_shape}"] = f"Whole answers within {DEADLINE_S} s, {_shape}, managed and not"
    WHAT[f"pressure_reclaimable_{_shape}"] = (f"What of the memory in use at its peak, {_shape}, nobody managing it, belonged to "
                                              "models that were idle for over 2 s or lay unused in an allocator")
    WHAT[f"pressure_unmanaged_{_shape}"] = f"Memory in use, mean, {_shape}, when nobody manages it"
for _shape in SHAPES:
    WHAT[f"pressure_live_rung_{_shape}"] = (f"Cleanups that ended with `no_rung`, {_shape}, live demand only, of all that began; "
                                            "none may have freed anything")
    WHAT[f"pressure_live_oom_{_shape}"] = (f"Requests that lost their cache to others (preemptions), {_shape}, live demand only, "
                                           "with the in-flight limit and without")
    WHAT[f"pressure_live_goodput_{_shape}"] = f"Whole answers within {DEADLINE_S} s, {_shape}, with the in-flight limit and without"
    WHAT[f"pressure_live_reclaimable_{_shape}"] = (f"What of the cache in use at its peak, {_shape}, no living request held")
    WHAT[f"pressure_live_unmanaged_{_shape}"] = f"Cache in use, mean, {_shape}, when nobody manages it"

# ---------------------------------------------------------------- the servers

MODELS = [f"m{i}" for i in range(12)]
OLLAMA = ["--engine", "ollama", *[word for name in MODELS for word in ("--model", name)],
          "--memory", "24GiB", "--weights", "1792MiB", "--activations", "64MiB", "--kv-tokens", "65536",
          "--kv-bytes-per-token", "2KiB", "--max-num-seqs", "64", "--keep-alive", "30m",
          "--work-bytes-per-token", "256KiB"]
VLLM = ["--engine", "vllm", "--model", "m0"]

BASE = """
listen: ["127.0.0.1:{port}"]
workers: 1
access_log: off
upstreams:
  - name: room
    endpoints: ["http://127.0.0.1:{upstream}"]
    engine: {engine}
    health: {{interval: 1s}}
    admission: {{max_queue: 10000, max_wait: 60s}}
routes:
  - {{name: chat, path: /v1/chat/completions, kind: openai, upstream: room}}
"""

# What a careful operator would write. All rungs are named, so that `no_rung` is not for want of a name.
ROOM = """
gpu:
  drivers: no
  mode: {mode}
  interval: 200ms
  target_percent: 75
  margin_percent: 8
  rungs: [prefix_cache, unload, sleep, deep_sleep]
  trust_unverified: yes
  idle_after: 2s
  hold: 0s
  cool_down: 1s
  in_flight: {in_flight}
"""

ARMS = {  # name: (class, mode, in_flight)
    "a_off": ("a", "off", "fixed"),
    "a_auto": ("a", "auto", "fixed"),
    "b_off": ("b", "off", "fixed"),
    "b_auto": ("b", "auto", "fixed"),
    "b_limit": ("b", "off", "auto"),
}

# ---------------------------------------------------------------- the workloads


def arrivals(rng, rate, seconds):
    """Times of a Poisson process whose rate changes."""
    most = max(rate(t / 10) for t in range(int(seconds * 10) + 1))
    at, times = 0.0, []
    while True:
        at += rng.expovariate(most)
        if at >= seconds:
            return times
        if rng.random() * most < rate(at):
            times.append(at)


def curve(shape, low, high, seconds):
    """Requests a second at a time of the measured part; before it, the low rate."""
    def rate(t):
        t -= LEAD_IN_S
        if t < 0:
            return low
        if shape == "ramp":
            return low + (high - low) * t / seconds
        if shape == "step":
            return high if t > seconds / 3 else low
        if shape == "sawtooth":
            return low + (high - low) * (t % (seconds / 4)) / (seconds / 4)
        if shape == "burst":
            return high if t % (seconds / 5) > seconds / 5 - 3 else low
        return (low + high) / 2  # leak: it is not the rate that grows
    return rate


def pick_model(rng, shape, at):
    """Three models are in demand at a time; the others are asked now and then. With the leak the three change: each
    belongs to a session that ends, and what it left behind stays with its model."""
    if rng.random() < 0.03:
        return rng.choice(MODELS)
    first = 3 * int(at / 12) if shape == "leak" else 0
    return MODELS[(first + rng.randrange(3)) % len(MODELS)]


def words(rng, tokens):
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(4 * tokens))


def plan_a(shape, seed, seconds):
    rng = random.Random(f"a {shape} {seed}")
    low, high = {"ramp": (4, 14), "step": (4, 12), "sawtooth": (3, 14), "leak": (6, 6), "burst": (4, 20)}[shape]
    plan = [(0.2 * i, name, words(rng, 64), 16) for i, name in enumerate(MODELS)]  # all were in demand once
    for at in arrivals(rng, curve(shape, low, high, seconds), LEAD_IN_S + seconds):
        plan.append((at, pick_model(rng, shape, at), words(rng, rng.randint(100, 500)), rng.randint(50, 150)))
    return sorted(plan)


def plan_b(shape, seed, seconds):
    rng = random.Random(f"b {shape} {seed}")
    low, high = {"ramp": (8, 11), "step": (8.5, 11), "sawtooth": (8, 11), "leak": (5, 5), "burst": (8, 16)}[shape]
    plan = []
    for at in arrivals(rng, curve(shape, low, high, seconds), LEAD_IN_S + seconds):
        answer = rng.randint(200, 400)
        if shape == "leak" and rng.random() < 0.25:
            answer = 3000  # conversations that nobody ends
        plan.append((at, "m0", words(rng, rng.randint(300, 700)), answer))
    return plan


# ---------------------------------------------------------------- asking

async def ask(port, head, body=b"", patience=DEADLINE_S):
    """Status and body, or (0, why)."""
    writer = None
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + b"Host: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
                         + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.read(-1)
        first, _, rest = answer.partition(b"\r\n\r\n")
        if b"chunked" in first.lower():
            rest = b"".join(rest.split(b"\r\n")[1::2])
        return int(first.split()[1]), rest
    except (OSError, IndexError, ValueError, TimeoutError) as err:
        return 0, str(err).encode()
    finally:
        if writer is not None:
            writer.close()


class Arm:
    """A simulated server, a gateway before it, and what happened to both."""

    def __init__(self, name, shape, folder, penstock, seed):
        self.name, self.shape = name, shape
        self.kind, mode, in_flight = ARMS[name]
        self.sim_port, self.port = free_port(), free_port()
        server = OLLAMA if self.kind == "a" else VLLM
        leak = ["--leak-bytes", "8MiB"] if self.kind == "a" and shape == "leak" else []
        config = folder / f"{shape}-{name}.yaml"
        config.write_text(BASE.format(port=self.port, upstream=self.sim_port, engine=server[1])
                          + ROOM.format(mode=mode, in_flight=in_flight))
        self.log = open(folder / f"{shape}-{name}.log", "wb")
        self.children = [
            subprocess.Popen([penstock, "sim", *server, *leak, "--seed", str(seed), "--listen", f"127.0.0.1:{self.sim_port}"],
                             stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL),
            subprocess.Popen([penstock, "serve", "--config", str(config)], stdout=self.log, stderr=self.log,
                             stdin=subprocess.DEVNULL)]
        self.samples, self.answers, self.cleanups = [], [], {}

    async def ready(self):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if any(child.poll() is not None for child in self.children):
                break
            seen = [(await ask(self.sim_port, "GET /sim/state HTTP/1.1\r\n", patience=2))[0],
                    (await ask(self.port, "GET /readyz HTTP/1.1\r\n", patience=2))[0]]
            if seen == [200, 200]:
                return
            await asyncio.sleep(0.1)
        self.log.flush()
        with open(self.log.name, errors="replace") as log:
            raise BenchError(f"{self.name} does not start:\n{log.read()[-2000:]}")

    async def sample(self, began, seconds):
        while time.monotonic() < began + LEAD_IN_S + seconds:
            status, body = await ask(self.sim_port, "GET /sim/state HTTP/1.1\r\n", patience=5)
            at = time.monotonic() - began - LEAD_IN_S
            if status == 200:
                self.samples.append((at, json.loads(body)))
            await asyncio.sleep(SAMPLE_S)

    async def send(self, began, at, model, prompt, answer):
        await asyncio.sleep(max(0, began + at - time.monotonic()))
        body = json.dumps({"model": model, "max_tokens": answer, "messages": [{"role": "user", "content": prompt}]}).encode()
        sent = time.monotonic()
        status, text = await ask(self.port, "POST /v1/chat/completions HTTP/1.1\r\n", body)
        self.answers.append({"at": at - LEAD_IN_S, "status": status, "took": time.monotonic() - sent,
                             "oom": status == 500 and b"memory" in text})

    async def report(self):
        status, body = await ask(self.port, "GET /metrics HTTP/1.1\r\n", patience=10)
        for line in body.decode(errors="replace").splitlines() if status == 200 else []:
            for key in ("runs_total{outcome", "steps_total{verdict"):
                if line.startswith(f"penstock_gpu_cleanup_{key}"):
                    self.cleanups[line.split('"')[1]] = int(float(line.split()[-1]))

    def stop(self):
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.log.close()

    # -------------------------------------------------------- what came of it

    def effective(self, state):
        if self.kind == "b":
            return 100 * state["blocks"]["used"] / state["blocks"]["total"]
        return 100 * state["device"]["used_bytes"] / state["device"]["total_bytes"]

    def troubles(self, state):
        return state["device"]["out_of_memory"] + state["sequences"]["preemptions"]

    def reclaimable(self, state):
        """Percent of what is in use that nobody needs."""
        if self.kind == "b":
            return 0.0  # blocks that only keep old prefixes do not count as in use
        idle, slack = 0, 0
        for model in state["models"]:
            parts = model["bytes"]
            here = parts["weights"] + parts["activations"] + parts["kv_cache"] + parts["pool"]
            if model["users"] == 0 and model["idle_seconds"] > 2:
                idle += here
            else:
                slack += parts["pool"] - parts["active"] - parts["leaked"]
        return 100 * (idle + slack) / state["device"]["used_bytes"]

    def live(self, state):
        """Percent in use by what somebody needed within the last 2 s."""
        idle = sum(sum(model["bytes"][part] for part in ("weights", "activations", "kv_cache", "pool"))
                   for model in state["models"] if model["users"] == 0 and model["idle_seconds"] > 2)
        return 100 * (state["device"]["used_bytes"] - idle) / state["device"]["total_bytes"]

    def figures(self, seconds):
        inside = [(at, state) for at, state in self.samples if at >= 0]
        levels = [self.effective(state) for _, state in inside]
        peak = max(inside, key=lambda one: self.effective(one[1]))[1]
        mine = [one for one in self.answers if one["at"] >= 0]
        good = [one for one in mine if one["status"] == 200]
        return {
            "samples": len(levels),
            "mean": statistics.mean(levels),
            "p95": sorted(levels)[math.ceil(0.95 * len(levels)) - 1],
            "live_p95": (sorted(self.live(state) for _, state in inside)[math.ceil(0.95 * len(levels)) - 1]
                         if self.kind == "a" else None),
            "peak": max(levels),
            "troubles": self.troubles(inside[-1][1]) - self.troubles(inside[0][1]),
            "reclaimable": self.reclaimable(peak),
            "requests": len(mine),
            "good": len(good),
            "goodput": len(good) / seconds,
            "out_of_memory_answers": sum(one["oom"] for one in mine),
            "refused": sum(one["status"] in (429, 503) for one in mine),
            "late": sum(one["status"] == 0 for one in mine),
            "median_s": statistics.median(one["took"] for one in good) if good else None,
            "cleanups": self.cleanups,
            "curve": [round(level, 1) for level in levels[::8]],
        }


async def run_shape(shape, seed, seconds, folder, penstock, arms):
    running = []
    try:
        for name in arms:
            running.append(Arm(name, shape, folder, penstock, seed))
        await asyncio.gather(*(arm.ready() for arm in running))
        plans = {"a": plan_a(shape, seed, seconds), "b": plan_b(shape, seed, seconds)}
        began = time.monotonic() + 0.5
        tasks = [arm.sample(began, seconds) for arm in running]
        for arm in running:
            tasks += [arm.send(began, *one) for one in plans[arm.kind]]
        await asyncio.gather(*tasks)
        await asyncio.gather(*(arm.report() for arm in running))
        return {arm.name: arm.figures(seconds) for arm in running}
    finally:
        for arm in running:
            arm.stop()


# ---------------------------------------------------------------- figures


def result(metric, unit, ours, peer, peer_name, target, holds, less=False, **more):
    ratio = ratio_of(ours, peer, not less, 1 if less else 1e-6)
    return figure(WHAT, metric, unit, ours, peer, peer_name, target, holds, ratio, **more)


def with_reclaimable(shape, off, auto):
    return [
        result(f"pressure_p95_{shape}", "%", auto["p95"], off["p95"], "unmanaged", f"under {TARGET:g} %", auto["p95"] < TARGET,
               less=True, all={"unmanaged": off, "managed": auto}),
        result(f"pressure_oom_{shape}", "requests", auto["troubles"], off["troubles"], "unmanaged", "none",
               auto["troubles"] == 0 and auto["out_of_memory_answers"] == 0, less=True),
        result(f"pressure_goodput_{shape}", "answers/s", auto["goodput"], off["goodput"], "unmanaged", "at least 95 %",
               auto["good"] >= 0.95 * off["good"]),
        result(f"pressure_reclaimable_{shape}", "%", off["reclaimable"], None, "-", "at least 20 % (else it is class b)",
               off["reclaimable"] >= 20),
        result(f"pressure_unmanaged_{shape}", "%", off["mean"], None, "-", "at least 85 %, and requests die",
               off["mean"] >= 85 and off["troubles"] > 0),
    ]


def live_only(shape, off, auto, limit):
    began = sum(auto["cleanups"].get(name, 0) for name in ("target_met", "exhausted", "no_rung", "planned", "ended"))
    told = auto["cleanups"].get("no_rung", 0)
    return [
        result(f"pressure_live_rung_{shape}", "cleanups", told, began, "all that began", "all, at least one",
               told > 0 and told == began, all={"unmanaged": off, "cleanup_alone": auto, "limit": limit}),
        result(f"pressure_live_oom_{shape}", "preemptions", limit["troubles"], off["troubles"], "unmanaged", "none",
               limit["troubles"] == 0, less=True),
        result(f"pressure_live_goodput_{shape}", "answers/s", limit["goodput"], off["goodput"], "unmanaged", "reported", None),
        result(f"pressure_live_reclaimable_{shape}", "%", off["reclaimable"], None, "-", "reported", None),
        result(f"pressure_live_unmanaged_{shape}", "%", off["mean"], None, "-", "at least 85 %, and requests are preempted",
               off["mean"] >= 85 and off["troubles"] > 0),
    ]


def run(args, folder, save):
    seconds = 20 if args.quick else 60
    seed = int(os.environ.get("PENSTOCK_PRESSURE_SEED", FRESH))
    shapes = [shape for shape in SHAPES if args.only is None or shape in args.only]
    shapes = shapes[:2] if args.quick and args.only is None else shapes
    report = {"name": "pressure", "results": [], "environment": {
        **machine(), "quick": args.quick, "skipped": {},
        "programs": [version for version in (version_of("penstock", [args.penstock, "version"]),) if version],
        "placement": f"simulated servers in real time, {seconds} s a shape after {LEAD_IN_S} s of lead-in; the five arms of a "
                     f"shape at the same time with the same requests, seed {seed}"}}
    order = list(WHAT)
    for shape in shapes:
        say(f"pressure: {shape}")
        told = asyncio.run(run_shape(shape, seed, seconds, folder, args.penstock, list(ARMS)))
        report["results"] += with_reclaimable(shape, told["a_off"], told["a_auto"])
        report["results"] += live_only(shape, told["b_off"], told["b_auto"], told["b_limit"])
        report["results"].sort(key=lambda r: order.index(r["metric"]))
        save(report)
    return report

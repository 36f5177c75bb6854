"""rows - what `make bench NAME=proxy` measures, and how a figure comes out of it.

A row has shots (one load each); a round measures every shot on every target, target after target,
in an order that turns from round to round. A figure is computed inside a round and the median over
the rounds is what counts. A round in which the machine was not quiet is done again, and counted.

SPDX-License-Identifier: Apache-2.0
"""
import resource
import statistics
import sys
import threading
import time

from targets import resident_kib

QUIET_P99_US = 1000.0
CALM = 0.06  # of one core: how much other programs may take of the cores in use
TRIES = 3
CHAT = {"path": "/v1/chat/completions", "method": "POST"}
# Shots of open loops in which the direct latency is the machine's own.
AT_ONCE = ("latency_plain", "latency_openai", "one_core", "one_core_openai", "wide")
PROXIES = ("nginx", "haproxy", "penstock")


def say(text):
    print(text, file=sys.stderr, flush=True)


# What each metric is, for the page that docs/benchmarks.md is made from.
WHAT = {
    "cpu_plain": "Processor time (user and system, all processes) for a 1 KB answer, 64 "
                 "connections, closed loop, plain route",
    "cpu_plain_haproxy": "The same, beside haproxy",
    "cpu_openai": "The same for a chat completion: a 300-byte request, whose body we parse, and "
                  "a 1 KB answer",
    "rate_plain": "Requests a second in the same load, plain route",
    "rate_openai": "Requests a second in the same load, chat completions",
    "added_p50_plain": "Added latency, median: 3,000 requests/s in open loop on 32 connections, "
                       "1 KB answers, less what the same load takes without a proxy",
    "added_p99_plain": "The same, 99th percentile",
    "added_p50_openai": "The same for chat completions, median",
    "added_p99_openai": "The same for chat completions, 99th percentile",
    "added_p50_one_core_plain": "Added latency, median, when client, upstream and proxy share one "
                                "core",
    "added_p50_one_core_openai": "The same for chat completions",
    "added_p99_512_connections": "Added latency, 99th percentile, 3,000 requests/s on 512 "
                                 "connections",
    "added_ttft_p99_220kb": "Added time to first token, 99th percentile: 220 KB prompts, 150/s in "
                            "open loop, first token after 500 ms, 500 ms of stream",
    "added_gap_p99_1000_streams": "How much the 99th percentile of the gap between chunks worsens: "
                                  "1,000 streams of 20 chunks/s beside one 450 KB request a second",
    "streams_whole": "5,000 concurrent streams of 2 events/s: streams of which every byte arrived",
    "memory_per_stream": "Resident memory for each of these streams, above idle",
    "memory_idle": "Resident memory when idle",
    "memory_growth": "Growth of resident memory under mixed load (plain requests on connections "
                     "that come and go, streams, 220 KB prompts)",
}


# ---------------------------------------------------------------- rounds

def is_quiet(lab, rounds):
    """A short look at the machine itself: no proxy, 3,000 requests/s, from both cores."""
    seen = [lab.client("direct", core=core, conns=32, rate=3000, seconds=0.5, warmup=0.1)
            for core in {lab.load_core, lab.proxy_core}]
    p99 = max(result["latency"]["p99"] for result in seen)
    rounds["direct_p99_us"].append(round(p99, 1))
    return p99 <= QUIET_P99_US


def direct_is_quiet(samples):
    """Answers that the upstream gives at once show noise inside the round as well."""
    return all(shot["direct"]["latency"]["p99"] <= QUIET_P99_US
               for name, shot in samples.items() if name in AT_ONCE and "direct" in shot)


def undisturbed(lab, measure, target, plan, rounds):
    """Measures a target again while other programs took part of its cores; keeps the calmest.

    This looks at the machine only, never at the figure, so it favours nobody. The plan's patience
    bounds what all the waiting and measuring again may take together.
    """
    tries = []
    while len(tries) < TRIES:
        started = time.monotonic()
        lab.wait_calm(CALM, min(plan.patience, 8.0))
        waited = time.monotonic() - started
        others = lab.others()
        sample = measure(lab, target)
        sample["others"] = round(others.share(), 3)
        plan.patience -= time.monotonic() - started if tries else waited
        tries.append(sample)
        if sample["others"] <= CALM:
            break
        rounds["disturbed"] += 1
        if plan.patience <= 0:
            break
    return min(tries, key=lambda sample: sample["others"])


def one_round(lab, shots, order, plan, rounds):
    """Returns {shot: {target: sample}} and whether the machine was quiet all the time."""
    samples = {}
    quiet = is_quiet(lab, rounds)
    for name, measure in shots.items():
        samples[name] = {target: undisturbed(lab, measure, target, plan, rounds)
                         for target in order}
    quiet = is_quiet(lab, rounds) and quiet
    return samples, quiet and direct_is_quiet(samples)


def calm_round(lab, shots, order, _plan, _rounds):
    """For what does not depend on time: any machine is quiet enough."""
    return {name: {target: measure(lab, target) for target in order}
            for name, measure in shots.items()}, True


def run_rounds(lab, row, shots, plan, targets, round_of=one_round):
    """Repeats noisy rounds, at most as many as there are rounds. Returns samples and the count."""
    rounds = {"repeated": 0, "noisy": 0, "disturbed": 0, "direct_p99_us": []}
    kept = []
    while len(kept) < plan.rounds:
        turn = (len(kept) + rounds["repeated"]) % len(targets)
        order = targets[turn:] + targets[:turn]
        say(f"{row}: round {len(kept) + 1} of {plan.rounds}, {', '.join(order)}")
        samples, quiet = round_of(lab, shots, order, plan, rounds)
        if not quiet and rounds["repeated"] < plan.rounds:
            rounds["repeated"] += 1
            continue
        rounds["noisy"] += not quiet
        kept.append(samples)
    plan.told[row] = rounds
    return kept, rounds


# ---------------------------------------------------------------- figures

def failures(sample):
    """A wrong status and a changed byte are among the errors already."""
    return sample["errors"] + sample["unfinished"] + sample["pending"]


def median_of(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio_of(ours, peer, bigger_is_better, least):
    """Above 1 means that we are better; `least` is what the measure can still tell apart."""
    if ours is None or peer is None:
        return None
    ours, peer = max(ours, least), max(peer, least)
    return round(ours / peer if bigger_is_better else peer / ours, 3)


class Row:
    """Collects metrics of one row from its rounds."""

    def __init__(self, kept, rounds, what=None, programs=PROXIES):
        self.kept, self.rounds, self.results = kept, rounds, []
        self.what, self.programs = WHAT if what is None else what, programs

    def series(self, shot, target, figure):
        """The figure of every round; figure(sample, direct sample) -> number."""
        return [figure(samples[shot][target], samples[shot].get("direct"))
                for samples in self.kept if target in samples[shot]]

    def failed(self, shot, target):
        return sum(failures(samples[shot][target]) for samples in self.kept
                   if target in samples[shot])

    def add(self, metric, unit, shot, figure, peer_name, target, holds, bigger_is_better=False,
            least=0.001, digits=2, **more):
        """holds(ours, peer) -> bool, on the medians."""
        series = {name: self.series(shot, name, figure) for name in self.programs}
        median = {name: median_of(values) for name, values in series.items()}
        ours, peer = median["penstock"], median[peer_name]
        failed = self.failed(shot, "penstock")
        known = ours is not None and (peer is not None or "nginx" not in target)
        self.results.append({
            "metric": metric, "unit": unit, "what": self.what[metric],
            "ours": rounded(ours, digits), "peer": rounded(peer, digits), "peer_name": peer_name,
            "ratio": ratio_of(ours, peer, bigger_is_better, least), "target": target,
            "holds": bool(holds(ours, peer)) and failed == 0 if known else None,
            "failed_requests": failed,
            "failed_requests_peer": self.failed(shot, peer_name),
            "all": {name: [rounded(value, digits) for value in values]
                    for name, values in series.items() if values},
            **self.rounds_told(), **more})

    def rounds_told(self):
        return {"rounds": len(self.kept), "rounds_repeated": self.rounds["repeated"],
                "rounds_noisy": self.rounds["noisy"]}


def rounded(value, digits):
    return None if value is None else round(value, digits)


def ratio_below(ours, peer):
    """The same of a measure where less is better; None where there is nothing to divide by."""
    return round(peer / ours, 3) if peer and ours else None


def figure(what, metric, unit, ours, peer, peer_name, target, holds, ratio, digits=4, **more):
    """A figure as the page shows it. `holds` is None where it is only reported."""
    return {"metric": metric, "unit": unit, "what": what[metric], "ours": rounded(ours, digits),
            "peer": rounded(peer, digits), "peer_name": peer_name, "ratio": ratio, "target": target, "holds": holds,
            "failed_requests": 0, **({} if holds is not None else {"without": "reported"}), **more}


def bounded(what, metric, unit, ours, peer, peer_name, most, digits, **more):
    """A figure that is to be at most so much, or is only reported."""
    return figure(what, metric, unit, ours, peer, peer_name, "reported" if most is None else f"at most {most:g} {unit}",
                  None if most is None else ours <= most, ratio_below(ours, peer), digits, **more)


def within(factor):
    return lambda ours, peer: ours <= factor * peer


def at_most(limit):
    return lambda ours, _: ours <= limit


# ---------------------------------------------------------------- row 1: processor time

def row_cpu(lab, plan):
    def shot(**options):
        return lambda lab, name: lab.client(name, conns=64, seconds=plan.seconds(3), warmup=0.5,
                                            **options)

    kept, rounds = run_rounds(lab, "cpu", {
        "plain": shot(path="/1k"), "openai": shot(body=300, **CHAT)}, plan, lab.names)
    row = Row(kept, rounds)

    def cost(sample, _):
        return sample["watched_us_per_request"]

    row.add("cpu_plain", "us/request", "plain", cost, "nginx", "at most 1.0 of nginx", within(1.0))
    row.add("cpu_plain_haproxy", "us/request", "plain", cost, "haproxy", "below haproxy",
            lambda ours, peer: ours < peer)
    row.add("cpu_openai", "us/request", "openai", cost, "nginx", "at most 1.3 of nginx",
            within(1.3))
    for name in ("plain", "openai"):
        add_rate(row, name)
    return row.results


def add_rate(row, shot):
    """Requests a second count only where the proxy, and not the load, was the limit."""
    busy = {name: median_of(row.series(shot, name, lambda sample, _: sample["watched_busy"]))
            for name in PROXIES}
    bound = busy["penstock"] is not None and busy["penstock"] >= 0.95
    row.add(f"rate_{shot}", "requests/s", shot, lambda sample, _: sample["rate"], "nginx",
            "at least nginx where the core is at least 95 % busy",
            lambda ours, peer: ours >= peer or not bound, bigger_is_better=True, digits=0,
            core_busy={name: rounded(value, 3) for name, value in busy.items()})


# ---------------------------------------------------------------- row 2: added latency

def row_latency(lab, plan):
    def shot(conns, one_core=False, **options):
        def measure(lab, name):
            lab.start(name)
            lab.pin(lab.load_core if one_core else lab.proxy_core)
            return lab.client(name, conns=conns, rate=3000, seconds=plan.seconds(2.5), warmup=0.4,
                              ramp=conns / 5000, **options)
        return measure

    kept, rounds = run_rounds(lab, "latency", {
        "latency_plain": shot(32, path="/1k"), "latency_openai": shot(32, body=300, **CHAT),
        "one_core": shot(32, one_core=True, path="/1k"),
        "one_core_openai": shot(32, one_core=True, body=300, **CHAT),
        "wide": shot(512, path="/1k")}, plan, lab.names)
    row = Row(kept, rounds)

    def added(percentile):
        return lambda sample, direct: (sample["latency"][percentile] -
                                       direct["latency"][percentile])

    for name, factor in (("plain", 1.0), ("openai", 1.15)):
        for percentile in ("p50", "p99"):
            row.add(f"added_{percentile}_{name}", "us", f"latency_{name}", added(percentile), "nginx",
                    f"at most {factor:g} of nginx", within(factor), least=1)
    row.add("added_p50_one_core_plain", "us", "one_core", added("p50"), "nginx", "at most 60 us",
            at_most(60), least=1)
    row.add("added_p50_one_core_openai", "us", "one_core_openai", added("p50"), "nginx",
            "at most 60 us", at_most(60), least=1)
    row.add("added_p99_512_connections", "us", "wide", added("p99"), "nginx",
            "at most 1.0 of nginx", within(1.0), least=1)
    return row.results


# ---------------------------------------------------------------- row 3: long prompts and gaps

def row_prompts(lab, plan):
    def prompts(lab, name):
        return lab.client(name, conns=300, rate=150, seconds=plan.seconds(5), warmup=1.5, ramp=0.3,
                          body=220000, stream=True, header="x-bench: first=500,chunks=20,gap=25",
                          **CHAT)

    def gaps(lab, name):
        seconds = plan.seconds(5)
        chunks = int((seconds + 1.8) * 20)  # past the end of measuring, so that none starts anew
        big = lab.start_client(name, conns=4, rate=1, seconds=seconds + 1, body=450000, **CHAT)
        sample = lab.client(name, conns=1000, ramp=0.5, warmup=1, seconds=seconds, body=300,
                            stream=True, header=f"x-bench: first=50,chunks={chunks},gap=50",
                            **CHAT)
        sample["big"] = lab.finish_client(big)
        sample["errors"] += failures(sample["big"])
        return sample

    kept, rounds = run_rounds(lab, "prompts", {"prompts": prompts, "gaps": gaps}, plan, lab.names)
    row = Row(kept, rounds)

    def added_ms(figure):
        return lambda sample, direct: (sample[figure]["p99"] - direct[figure]["p99"]) / 1e3

    row.add("added_ttft_p99_220kb", "ms", "prompts", added_ms("ttft"), "nginx", "at most 10 ms",
            at_most(10), least=0.05, digits=3)
    row.add("added_gap_p99_1000_streams", "ms", "gaps", added_ms("gap"), "nginx", "at most 1 ms",
            at_most(1), least=0.05, digits=3)
    return row.results


# ---------------------------------------------------------------- row 4: streams and memory

class Watch:
    """Reads the resident memory of a proxy beside a load, on a thread of its own."""

    def __init__(self, program, every):
        self.program, self.every, self.seen = program, every, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        while not self.over.wait(self.every):
            self.seen.append(resident_kib(self.program.pids()))

    def stop(self):
        self.over.set()
        self.thread.join()
        return self.seen


def stream_shot(plan, streams):
    def measure(lab, name):
        lab.stop(name)  # a fresh start, so that idle is idle
        program = lab.start(name)
        if program is None:
            return {"errors": 0, "unfinished": 0, "pending": 0}
        time.sleep(1)
        idle = resident_kib(program.pids())
        watch = Watch(program, 0.25)
        seconds = plan.seconds(8)
        sample = lab.client(name, conns=streams, ramp=0.5, warmup=0, seconds=seconds - 1,
                            body=300, stream=True, drain=10,
                            header=f"x-bench: first=250,chunks={int(seconds * 2)},gap=500", **CHAT)
        sample["idle_kib"] = idle
        sample["loaded_kib"] = max(watch.stop())
        sample["streams"] = streams
        lab.stop(name)
        return sample
    return measure


def stream_count(lab):
    """5,000 streams need twice as many descriptors in the proxy."""
    return min(5000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500) // 2)


def row_streams(lab, plan):
    streams = stream_count(lab)
    targets = [name for name in lab.names if name != "direct"]
    kept, rounds = run_rounds(lab, "streams", {"streams": stream_shot(plan, streams)}, plan,
                              targets, calm_round)
    row = Row(kept, rounds)

    def whole(sample, _):
        return 100.0 * max(0, sample["total"] - failures(sample)) / sample["streams"]

    row.add("streams_whole", "% of streams", "streams", whole, "nginx", "every byte arrives",
            lambda ours, _: ours == 100, bigger_is_better=True, streams=streams)
    row.add("memory_per_stream", "KiB", "streams",
            lambda sample, _: (sample["loaded_kib"] - sample["idle_kib"]) / streams, "nginx",
            "at most 16 KiB", at_most(16), streams=streams)
    row.add("memory_idle", "MiB", "streams", lambda sample, _: sample["idle_kib"] / 1024, "nginx",
            "at most 32 MiB", at_most(32))
    return row.results + row_growth(lab, plan)


def mixed_load(lab, name, seconds):
    """Plain requests on connections that come and go, streams, and large prompts, all at once."""
    loads = [
        lab.start_client(name, conns=32, rate=1000, seconds=seconds, reuse=50),
        lab.start_client(name, conns=300, ramp=0.5, seconds=seconds, body=300, stream=True,
                         reuse=3, header="x-bench: first=50,chunks=20,gap=50", **CHAT),
        lab.start_client(name, conns=8, rate=20, seconds=seconds, body=220000, reuse=10, **CHAT),
    ]
    return [lab.finish_client(load) for load in loads]


def growth_shot(seconds):
    def measure(lab, name):
        lab.stop(name)
        program = lab.start(name)
        watch = Watch(program, min(1.0, seconds / 40))
        loads = mixed_load(lab, name, seconds)
        # What comes after the load's end is no load: the last samples are left out.
        seen = watch.stop()[:-2]
        lab.stop(name)
        quarter = max(1, len(seen) // 4)
        return {"errors": sum(failures(load) for load in loads), "unfinished": 0, "pending": 0,
                "requests": sum(load["total"] for load in loads),
                "growth_kib": statistics.mean(seen[-quarter:]) -
                statistics.mean(seen[quarter:2 * quarter]),
                "resident_kib": seen[-1]}
    return measure


def row_growth(lab, plan):
    """Once: the load is long, and memory does not depend on how quiet the machine is."""
    targets = [name for name in lab.names if name in ("nginx", "penstock")]
    seconds = plan.growth_seconds
    say(f"streams: {seconds:g} s of mixed load on {', '.join(targets)}")
    measure = growth_shot(seconds)
    row = Row([{"growth": {name: measure(lab, name) for name in targets}}],
              {"repeated": 0, "noisy": 0})
    resident = {name: row.series("growth", name, lambda sample, _: sample["resident_kib"] / 1024)
                for name in targets}
    row.add("memory_growth", "KiB", "growth", lambda sample, _: sample["growth_kib"], "nginx",
            "none (at most 1024 KiB from the second quarter to the last)", at_most(1024),
            least=64, digits=0, seconds=seconds,
            resident_mib={name: round(values[0], 1) for name, values in resident.items()})
    return row.results


ROWS = {"cpu": row_cpu, "latency": row_latency, "prompts": row_prompts, "streams": row_streams}

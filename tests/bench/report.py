#!/usr/bin/env python3
"""report - docs/benchmarks.md from the results of `make bench`.

    report.py            takes build/bench/*.json over into docs/bench/ and writes the page
    report.py --check    says whether the page is what docs/bench/ gives, and changes nothing

A run of --quick is not taken over. Why a figure falls short stands in notes.json, by metric; the
page says so where nobody has found out yet.

SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
KEPT = ROOT / "docs" / "bench"

HEAD = """# Benchmarks

`make bench NAME=...` measures Penstock beside its peers in the same run on the same machine. This
page is generated from its results (`tests/bench/report.py`; the results themselves, every round
included, are in `docs/bench`). A ratio above 1 means that Penstock is better.
"""

# What a reader has to know before the table of a benchmark.
INTRO = {
    "proxy": """`make bench NAME=proxy`: the request path beside nginx and haproxy. "Added" is what a
proxy costs: its latency less the latency of the same load without a proxy, in the same round. Every
figure is the median of its rounds; the targets measure one proxy after the other in an order that
turns. Where the latency without any proxy was over 1 ms at the 99th percentile the machine was not
quiet: that round was done again, at most as often as there are rounds.
""",
    "eviction": """`make bench NAME=eviction`: who has to leave a full cache. Every policy runs in the real
cache over the same requests; the optimum (Belady's, which knows the future) is computed in the same
run. An infinite cache would hit 73 % of the requests of web07 and 35 to 37 % of those of the
Mooncake traces: no policy can be better than that.
""",
    "cache": """`make bench NAME=cache`: answers from memory beside nginx `proxy_cache` and Varnish. All three get the
same POST again and again and have its answer; the key is the path and the body. nginx keeps its files in shared
memory and their descriptors open, Varnish has them in memory.
""",
    "flight": """`make bench NAME=flight`: a thousand clients ask the same within half a second, others join later,
ten a second; clients, upstream and both workers share two cores. A figure is the median of its
rounds. Nothing else passes one answer of an inference server to many while it is being made, so
there is no peer.
""",
    "chaos": """`make bench NAME=chaos`: what a fault of Redis costs those who ask, in the default configuration. The same
load runs without the fault and with it, in turns; the fault begins half a second into the measured
time. Added is the difference of the two 99th percentiles in one round, and the figure is the median of the rounds.
""",
    "ring": """`make bench NAME=ring`: how keys are divided over the nodes of the shared cache, beside classic
ketama; what that makes of recorded keys behind the memory of one gateway, with six real nodes; and how long
hits of both tiers take.
""",
    "loadreport": """`make bench NAME=loadreport`: making the report of a load test of more than a day from its journal
([docs/load-report.md](load-report.md)).
""",
    "metrics": """`make bench NAME=metrics`: what counting costs the thread that counts
([docs/custom-metrics.md](custom-metrics.md)). The peer is what is usually written first: under one lock, name and
labels become a string, and a hash table has the number.
""",
    "loadgen": """`make bench NAME=loadgen`: what the load generator costs and how true its figures are
([docs/load.md](load.md)). The server of each row knows what really happened and stamps its answers with the clock that both
read; generators run in turns on one core, the server on the other. wrk and h2load are the peers; wrk2, the only other
one that keeps to a rate and counts from the intended time, is not packaged.
""",
    "statsd": """`make bench NAME=statsd`: lines of StatsD over loopback ([docs/custom-metrics.md](custom-metrics.md)). Sender
and receiver have a core each; every line sent is compared with what the receiver counted. The peer is a reader in Node, made for
this, that does what a StatsD server has to: split lines, match them, keep numbers in a Map.
""",
    "scrape": """`make bench NAME=scrape`: what the page costs, and those who count while it is written. The peer holds
its lock for the whole page.
""",
    "history": """`make bench NAME=history`: what writing down every number each second costs control, which has 2 ms for a turn
([docs/history.md](history.md)). The peer is the page that a scraper would ask for instead.
""",
    "board": """`make bench NAME=board`: what the dashboard costs control, which has 2 ms for a turn
([docs/dashboard.md](dashboard.md)). The peer is the same document made as a tree with jansson and written.
""",
    "fanout": """`make bench NAME=fanout`: a frame a second to many WebSockets ([docs/live.md](live.md)). The peer is nginx with its
module nchan and a publisher that posts the same frame at the turn of each second. A delivery counts from the turn of the
second to the last byte at the subscriber; ours holds what control needs to collect the figures and to write them down.
Subscribers, who are on other machines in the field, are of the class `SCHED_IDLE` on the core of the load client. Requests are measured
before, beside and after them, in windows in which other programs leave the machine alone as far as they do.
""",
    "predict": """`make bench NAME=predict`: is trouble with memory foreseen ([docs/foresight.md](foresight.md))?
The servers are simulated, so the truth is known; their seeds are none that anything was tuned on. On the
recorded traces never predicting anything is right 84 and 85 % of the time: accuracy alone means nothing.
""",
    "pressure": """`make bench NAME=pressure`: memory of simulated servers under load, and nobody watching as the peer
([docs/gpu-optimizer.md](gpu-optimizer.md)). The servers are simulated, so what is in use and who died of it is known
exactly. Two classes, never averaged: rows without `live` are an Ollama with twelve models, three of them in demand, whose idle
models can be reclaimed; rows with `live` are a vLLM whose cache is full of living requests, of which nothing can be.
""",
    "batch": """`make bench NAME=batch`: how good a batch is found in at most 32 tries
([docs/gpu-batch.md](gpu-batch.md)). The servers are simulated; each kind has 200 members whose figures are drawn
by chance, with seeds that nothing was tuned on, and the best fixed batch is found by looking at all 512 with the truth
at hand. The peers get the same 32 tries.
""",
    "telemetry": """`make bench NAME=telemetry`: what it costs to read eight GPUs. The driver is made up and takes as long as
measured ones do, by sleeping: that time is told on its own. The peer is the same code asking for
everything each second, as a plain exporter does. `profile_p99_hung` asks a running daemon for
its profile while a driver call does not come back; the peer is the same without one.
""",
}


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def verdict(result):
    return {True: "holds", False: "**falls short**",
            None: result.get("without", "not measured")}[result["holds"]]


def machine(env, results):
    kind = "virtual machine" if env["virtual"] else "machine"
    lines = [
        f"A {kind} with {env['cores']} cores of {env['cpu']}, {env['memory_gib']} GiB of memory, "
        f"Linux {env['kernel']}; {', '.join(env['programs'])}. Measured on {env['date']}: "
        f"{env['placement']}{', at raised priority' if env.get('raised_priority') else ''}."]
    if env.get("rows"):
        lines += rounds(env, results)
    lines += [f"Without {name}: {why}." for name, why in env["skipped"].items()]
    return "\n\n".join(lines)


def round_count(results):
    """How many rounds there were, and where there were others."""
    usual = max(r.get("rounds", 0) for r in results)
    fewer = [f"{r['rounds']} for `{r['metric']}`" for r in results if r.get("rounds", usual) != usual]
    return f"{usual}{', ' if fewer else ''}{', '.join(fewer)}"


def rounds(env, results):
    """How the rounds of a measurement in time went."""
    told = {key: sum(row[key] for row in env["rows"].values())
            for key in ("repeated", "noisy", "disturbed")}
    load = [f"{when} {env[key]:.2f}" for when, key in (("before", "load_average_before"),
                                                       ("after", "load_average_after")) if key in env]
    return [f"Load average {', '.join(load)}.",
            f"Rounds of each row: {round_count(results)}. Rounds done again because the machine was not "
            f"quiet: {told['repeated']}; kept though it was not quiet: {told['noisy']}. "
            f"Measurements during which other programs took over 6 % of a core: "
            f"{told['disturbed']} (done again, up to twice; the calmest counts)."]


def table(results):
    lines = ["| metric | ours | peer | | ratio | target | |", "|---|---:|---:|---|---:|---|---|"]
    for r in results:
        lines.append(f"| `{r['metric']}` | {number(r['ours'])} {r['unit']} | {number(r['peer'])} | "
                     f"{r['peer_name']} | {number(r['ratio'])} | {r['target']} | {verdict(r)} |")
    return "\n".join(lines)


def meanings(results):
    return "\n".join(f"* `{r['metric']}`: {r['what']}." for r in results)


def remark(result, notes):
    """One line about a figure that falls short, was not measured, or carries a note."""
    note = notes.get(result["metric"])
    if result["holds"] is False:
        failed = result["failed_requests"]
        reason = note or "the reason is not known yet"
        extra = f" ({failed} requests failed)" if failed else ""
        return f"* `{result['metric']}` falls short{extra}: {reason}."
    if note:
        return f"* `{result['metric']}`: {note}."
    return None


def conclusion(results, notes):
    held = sum(r["holds"] is True for r in results)
    short = sum(r["holds"] is False for r in results)
    reported = sum(r.get("without") == "reported" for r in results)
    missing = len(results) - held - short - reported
    lines = [f"{held} of {len(results) - reported} targets hold, {short} fall short"
             + (f", {missing} were not measured." if missing else ".")]
    remarks = [line for line in (remark(r, notes) for r in results) if line]
    return "\n\n".join(lines + (["\n".join(remarks)] if remarks else []))


def page(reports, notes):
    parts = [HEAD]
    for report in reports:
        results = report["results"]
        parts += [f"## {report['name']}\n", INTRO.get(report["name"], ""), machine(report["environment"], results) + "\n",
                  table(results) + "\n", conclusion(results, notes) + "\n", meanings(results) + "\n"]
    return "\n".join(parts)


def take_over():
    KEPT.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "build" / "bench").glob("*.json")):
        if json.loads(path.read_text())["environment"]["quick"]:
            print(f"{path.name} is a quick look and is not taken over", file=sys.stderr)
            continue
        (KEPT / path.name).write_text(path.read_text())


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    if not check:
        take_over()
    reports = [json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))]
    text = page(reports, json.loads((HERE / "notes.json").read_text()))
    if check:
        fresh = not reports or (PAGE.exists() and PAGE.read_text() == text)
        sys.exit(None if fresh else "docs/benchmarks.md is not what docs/bench gives: "
                                    "run tests/bench/report.py")
    PAGE.write_text(text)
    print(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

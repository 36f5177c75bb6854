"""flight - a thousand clients ask the same at once: one call, the same bytes for all, nobody waits.

An answer of 2 events a second goes to 1,000 streams; while it does, single clients join it, ten a
second, and in every other round one client that never reads has a seat as well. The upstream puts a
checksum of all events into the last one, and each client compares it with what came. Nothing else
does this over HTTP, so there is no peer; the targets are figures.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import socket
import statistics
import subprocess
import time

from machine import machine, version_of
from rows import CHAT, figure, say
from targets import BUILD, BenchError, Program, compile_programs, free_port

PARTS = ("flight",)
WHAT = {
    "flight_calls": "Calls that reach the upstream for 1,000 identical streams of 2 events a second that begin "
                    "within half a second, and the clients that join later; two workers; the most of all rounds",
    "flight_whole": "Streams of which every byte arrived, by the checksum that the upstream puts into its only "
                    "answer; the joiners included",
    "flight_joiner_p99": "Time from a late request to the first event of its answer, 99th percentile of single "
                         "clients, 10 a second, while the 1,000 streams run",
    "flight_joiner_p50": "The same, median",
    "flight_slow_gap": "How much the 99th percentile of the gap between two events worsens for the 1,000 when one "
                       "more client has the same answer and never reads",
}
STREAMS, EVENTS, GAP = 1000, 20, 500

PENSTOCK = """
listen: ["127.0.0.1:{port}"]
workers: 2
access_log: off
upstreams:
  - name: bench
    endpoints: ["http://127.0.0.1:{upstream}"]
    engine: openai
    health: {{interval: 0s}}
routes:
  - {{path: /v1/chat/completions, kind: openai, cache: yes, sampled: yes}}
"""


class Scene:
    """A fresh upstream and a fresh gateway: the one counts its calls from nought, the other knows nothing."""

    def __init__(self, folder, penstock):
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
        port, own = free_port(), free_port()
        config = folder / "penstock.yaml"
        config.write_text(PENSTOCK.format(port=own, upstream=port))
        self.upstream = Program("upstream", [BUILD / "bench" / "upstream", "--port", port], port, folder, cores)
        try:
            self.gateway = Program("penstock", [penstock, "serve", "--config", config], own, folder, cores)
        except BenchError:
            self.upstream.stop()
            raise
        self.cores = cores

    def client(self, **options):
        """A load client for the one question that everybody asks."""
        command = ["taskset", "-c", self.cores, BUILD / "bench" / "client", "--port", self.gateway.port,
                   "--stream", "--body", 300,
                   "--header", f"x-bench: first=250,chunks={EVENTS},gap={GAP}"]
        for name, value in {**CHAT, **options}.items():
            command += [f"--{name}", value]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE)

    def idler(self, request):
        """A client that asks and never reads."""
        idle = socket.socket()
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        idle.connect(("127.0.0.1", self.gateway.port))
        idle.sendall(request)
        return idle

    def close(self):
        """Ends both. Returns what the upstream counted."""
        self.gateway.stop()
        self.upstream.stop()
        return json.loads(self.upstream.log.read_text().splitlines()[-1])


def finish(process):
    out, _ = process.communicate(timeout=120)
    if process.returncode != 0:
        raise BenchError(f"the load client ended with {process.returncode}")
    return json.loads(out)


def question_of(scene):
    """The bytes of the clients' request, as one of them sends it to a listener of ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = scene.gateway.port
        scene.gateway.port = server.getsockname()[1]
        asking = scene.client(conns=1, seconds=0.1, warmup=0, drain=0)
        scene.gateway.port = port
        peer, _ = server.accept()
        peer.settimeout(5)
        data = b""
        while b"\r\n\r\n" not in data or data.count(b"}") == 0:
            data += peer.recv(65536)
        peer.close()
        asking.wait()
        return data


def one_round(folder, penstock, idle):
    """1,000 streams, and from their second second on those who come late."""
    scene = Scene(folder, penstock)
    late, sitting = None, None
    try:
        question = question_of(scene)
        many = scene.client(conns=STREAMS, ramp=0.5, warmup=0, seconds=1, drain=20)
        time.sleep(1.5)
        sitting = scene.idler(question) if idle else None
        late = scene.client(conns=100, rate=10, warmup=0, seconds=7, drain=20)
        result = {"many": finish(many), "late": finish(late)}
    finally:
        if sitting is not None:
            sitting.close()
        counted = scene.close()
    return {**result, "calls": counted["streams"]}


def bad(sample):
    return sum(sample[name] for name in ("errors", "damaged", "unfinished", "bad_status"))


def row(metric, unit, ours, target, holds, **more):
    return figure(WHAT, metric, unit, ours, None, "none", target, holds, None, 3, **more)


def results_of(rounds):
    alone, idle = ([r for i, r in enumerate(rounds) if i % 2 == side] for side in (0, 1))
    samples = [r[name] for r in rounds for name in ("many", "late")]
    total, failed = sum(s["total"] for s in samples), sum(map(bad, samples))
    if any(r["many"]["total"] != STREAMS for r in rounds):
        raise BenchError("not all of the streams were begun")

    def median_ms(of, name, percentile, part):
        return statistics.median(r[name][part][percentile] for r in of) / 1e3

    gaps = [median_ms(of, "many", "p99", "gap") for of in (alone, idle)]
    calls = max(r["calls"] for r in rounds)
    joiners = median_ms(rounds, "late", "p99", "ttft")
    return [
        row("flight_calls", "calls", calls, "exactly 1", calls == 1),
        row("flight_whole", "% of streams", 100.0 * (total - failed) / total, "every byte arrives", failed == 0,
            failed_requests=failed, streams=total),
        row("flight_joiner_p99", "ms", joiners, "at most 5 ms", joiners <= 5,
            all=[r["late"]["ttft"]["p99"] / 1e3 for r in rounds]),
        row("flight_joiner_p50", "ms", median_ms(rounds, "late", "p50", "ttft"), "reported", None),
        row("flight_slow_gap", "ms", gaps[1] - gaps[0], "at most 1 ms", gaps[1] - gaps[0] <= 1,
            without_ms=gaps[0], with_ms=gaps[1]),
    ]


def run(args, folder, save):
    compile_programs(BUILD / "bench")
    penstock = pathlib.Path(args.penstock).resolve()
    count = 2 * (args.rounds or (1 if args.quick else 5))
    rounds = []
    for i in range(count):
        say(f"flight: round {i + 1} of {count}{', with one who does not read' if i % 2 else ''}")
        rounds.append(one_round(folder, penstock, i % 2 == 1))
    environment = {
        **machine(), "quick": args.quick, "skipped": {}, "rounds": count,
        "placement": "clients, upstream and two workers share two cores",
        "programs": [version for version in (version_of("penstock", [str(penstock), "version"]),
                                             version_of("gcc", ["gcc", "-dumpfullversion"])) if version]}
    report = {"name": "flight", "results": results_of(rounds), "environment": environment}
    save(report)
    return report

"""statsd - lines of StatsD over loopback: how many a core takes, and whether one is lost.

The sender has one core, who receives the other. Every line that was sent is compared with what the receiver
counted; what the kernel dropped is the difference, and its own counter has to say the same.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import time
import urllib.request

from machine import machine, version_of
from rows import bounded, say
from targets import BenchError, Program, build_targets, free_port, run_time

PEER = "Node dgram"
RATE = 200_000
PACKED = 20  # lines of 50 bytes: 1 KB, what clients send over networks
MOST = 3_200_000
WHAT = {
    "lost_single": "Lines lost of those sent at 200,000 a second, one in each datagram, UDP",
    "core_single": "Share of a core that the receiving thread took meanwhile",
    "lost_packed": "Lines lost at 200,000 a second, 20 in each datagram, UDP",
    "core_packed": "Share of a core that the receiving thread took meanwhile",
    "most_single": "Highest rate without a line lost, one in each datagram, in steps of a quarter, up to what the sender "
                   "gives",
    "most_packed": "The same, 20 in each datagram",
    "lost_unix": "Lines lost at 200,000 a second over a Unix socket, one in each datagram",
    "control": "Longest time that GET /healthz took while 200,000 lines a second came, one in each datagram",
}
PARTS = ("statsd",)
HERE = pathlib.Path(__file__).resolve().parent

CONFIG = """
listen: ["127.0.0.1:{port}"]
workers: 1
metrics: {{statsd: {{listen: ["127.0.0.1:{statsd}", "unix:{folder}/statsd.sock"]}}}}
"""


class Ours:
    """Penstock, on one core."""

    def __init__(self, penstock, folder, core):
        self.port, self.statsd, self.path = free_port(), free_port(), folder / "statsd.sock"
        config = folder / "statsd.yaml"
        config.write_text(CONFIG.format(port=self.port, statsd=self.statsd, folder=folder))
        self.program = Program("penstock", [penstock, "serve", "--config", config], self.port, folder, core)

    def page(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def counted(self):
        page = self.page()
        lines = re.findall(r'^penstock_statsd_lines_total\{result="(\w+)"\} (\S+)$', page, re.M)
        dropped = re.findall(r'^penstock_statsd_dropped_datagrams_total\{.*\} (\S+)$', page, re.M)
        bad = sum(float(value) for name, value in lines if name != "accepted")
        if bad:
            raise BenchError(f"{bad} lines were refused")
        return int(float(dict(lines)["accepted"])), int(sum(map(float, dropped)))

    def health_ms(self):
        began = time.monotonic()
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=10).read()
        return (time.monotonic() - began) * 1000

    def cpu(self):
        return run_time(self.program.pids())

    def stop(self):
        self.program.stop()


def wait_quiet(receiver):
    """What is still in a buffer is taken first."""
    before = None
    while (now := receiver.counted()) != before:
        before = now
        time.sleep(0.1)
    return before


def send(sender, core, address, rate, per, seconds, meanwhile=None):
    command = ["taskset", "-c", str(core), str(sender), str(address), str(rate), str(per), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and meanwhile is not None:
        meanwhile()
        time.sleep(0.01)
    out, err = process.communicate()
    if process.returncode != 0:
        raise BenchError(err.strip())
    return json.loads(out)


def shot(ours, sender, core, address, rate, per, seconds, meanwhile=None):
    before, dropped_before = ours.counted()
    cpu = ours.cpu()
    sent = send(sender, core, address, rate, per, seconds, meanwhile)
    cpu = ours.cpu() - cpu
    after, dropped = wait_quiet(ours)
    lost = sent["lines"] - (after - before)
    if lost != (dropped - dropped_before) * per:
        raise BenchError(f"{lost} lines are missing, and the kernel says {dropped - dropped_before} datagrams")
    return {"lost": lost, "core": cpu / sent["seconds"], "rate": sent["lines"] / sent["seconds"]}


def highest(ours, sender, core, per, seconds):
    """By steps of a quarter; a rate that the sender itself does not reach ends it."""
    best, rate = 0, RATE
    while rate <= MOST:
        one = shot(ours, sender, core, ours.statsd, rate, per, seconds)
        if one["lost"] > 0:
            break
        best = max(best, one["rate"])
        if one["rate"] < rate * 0.97:
            break
        rate = int(rate * 1.25)
    return best


def peer_shot(sender, cores, per, seconds):
    """What the Node program lost and took; its figures come when it ends."""
    node = shutil.which("node")
    if node is None:
        return None
    port = free_port()
    process = subprocess.Popen(["taskset", "-c", str(cores[1]), node, str(HERE / "statsd_peer.mjs"), str(port)],
                               stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    cpu = run_time([process.pid])
    sent = send(sender, cores[0], port, RATE, per, seconds)
    cpu = run_time([process.pid]) - cpu
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate()
    return {"lost": sent["lines"] - int(out), "core": cpu / sent["seconds"]}


def result(metric, unit, ours, peer, most, digits=2, **more):
    return bounded(WHAT, metric, unit, ours, peer, PEER if peer is not None else "", most, digits, **more)


def one_round(ours, sender, cores, seconds):
    longest = []
    single = shot(ours, sender, cores[0], ours.statsd, RATE, 1, seconds)
    packed = shot(ours, sender, cores[0], ours.statsd, RATE, PACKED, seconds)
    unix = shot(ours, sender, cores[0], ours.path, RATE, 1, seconds)
    shot(ours, sender, cores[0], ours.statsd, RATE, 1, 1, lambda: longest.append(ours.health_ms()))
    return {"single": single, "packed": packed, "unix": unix, "control": max(longest),
            "most_single": highest(ours, sender, cores[0], 1, 1), "most_packed": highest(ours, sender, cores[0], PACKED, 1),
            "peer_single": peer_shot(sender, cores, 1, seconds), "peer_packed": peer_shot(sender, cores, PACKED, seconds)}


def run(args, folder, save):
    rounds = args.rounds or (1 if args.quick else 3)
    seconds = 1 if args.quick else 3
    sender, = build_targets("tests/bench/bench_statsd")
    found = sorted(os.sched_getaffinity(0))
    cores = found[0], found[min(1, len(found) - 1)]
    ours = Ours(args.penstock, folder, cores[1])
    try:
        told = []
        for i in range(rounds):
            say(f"statsd: round {i + 1} of {rounds}")
            told.append(one_round(ours, sender, cores, seconds))
    finally:
        ours.stop()

    def all_of(name, key):
        return [one[name][key] for one in told if one[name] is not None]

    def pair(metric, unit, name, key, scale, most, digits=2):
        mine, other = all_of(name, key), all_of(f"peer_{name}", key) if name != "unix" else []
        worst = max if key == "lost" else statistics.median
        return result(metric, unit, worst(mine) * scale, worst(other) * scale if other else None, most, digits,
                      all={"penstock": mine, **({PEER: other} if other else {})})

    programs = [version_of("node", ["node", "--version"])]
    report = {"name": "statsd",
              "environment": {**machine(), "quick": args.quick, "skipped": {}, "rounds": rounds,
                              "placement": "the sender on one core, who receives on the other, all of its threads",
                              "programs": [one for one in programs if one]},
              "results": [
                  pair("lost_single", "lines", "single", "lost", 1, 0, 0),
                  pair("core_single", "%", "single", "core", 100, 100, 1),
                  pair("lost_packed", "lines", "packed", "lost", 1, 0, 0),
                  pair("core_packed", "%", "packed", "core", 100, 100, 1),
                  result("most_single", "lines/s", statistics.median(one["most_single"] for one in told), None, None, 0),
                  result("most_packed", "lines/s", statistics.median(one["most_packed"] for one in told), None, None, 0),
                  pair("lost_unix", "lines", "unix", "lost", 1, 0, 0),
                  result("control", "ms", max(one["control"] for one in told), None, None, 1),
              ]}
    save(report)
    return report

"""fanout - a frame a second to 100 and to 10,000 WebSocket subscribers, beside nginx with its module nchan.

Both send the same frame, once a second, at the turn of the wall clock's second: Penstock its own, nchan what a
publisher takes from Penstock and posts to it with the second's time put in. A delivery counts from the turn of the
second to the last byte of the frame.

Subscribers are a process of their own (fanout.c). In the field they are on other machines, so here they take nothing from
the programs that are measured: their class is SCHED_IDLE, their core not the proxy's, and thousands look for frames each
millisecond instead of being woken by every one, which would be the sender's work.

The last part sends requests through both proxies to the same upstream, before, beside and after 10,000 subscribers, and
compares what is beside with the mean of before and after. As a control the same subscribers get the same frames from a program
that does nothing else (sender.c), also SCHED_IDLE, on the proxy's core: what is left of the worsening then is the machine's.

SPDX-License-Identifier: Apache-2.0
"""
import http.client
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import threading
import time

from machine import machine, version_of
from rows import figure, ratio_below, say, undisturbed
from targets import (NGINX, PENSTOCK, BenchError, Lab, Program, compile_programs, free_port, resident_kib,
                     run_time)

PEER = "nginx + nchan"
FEW, MANY = 100, 10_000
RATE, CONNS = 2000, 32  # requests
PAUSE = 1000  # us between two looks for frames, of thousands
IDLE = ["chrt", "--idle", "0"]
CUSTOM = 60
MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
NCHAN = """
        location = /publish {
            nchan_publisher;
            nchan_channel_id metrics;
            nchan_message_buffer_length 1;
            nchan_message_timeout 5s;
            client_max_body_size 4m;
        }
        location = /ws/metrics {
            nchan_subscriber websocket;
            nchan_channel_id metrics;
            nchan_subscriber_first_message newest;
        }
"""
WHAT = {
    "delivery_p50_100": f"A frame of one second at {FEW} subscribers, from the turn of the second, median",
    "delivery_p99_100": "The same, 99th percentile",
    "memory_100": f"Resident memory for {FEW} subscribers, above none",
    "late_10000": f"Frames of a second that did not arrive within it, {MANY:,} subscribers",
    "delivery_p50_10000": f"A frame at {MANY:,} subscribers, from the turn of the second, median",
    "delivery_p99_10000": "The same, 99th percentile",
    "memory_10000": f"Resident memory in all with {MANY:,} subscribers",
    "cpu_10000": f"Processor time (user and system, all threads) for {MANY:,} subscribers, no requests",
    "request_p99_10000": f"How much the 99th percentile of {RATE:,} requests/s through the gateway worsens with "
                         f"{MANY:,} subscribers",
    "request_p99_control": "The same, where a program that does nothing else sends the frames to the same subscribers, on "
                           "the gateway's core, whenever that is idle: what kernel and subscribers take, whoever sends",
}
PARTS = ("few", "many", "requests")
SENDERS = ["penstock", "nginx"]


# ---------------------------------------------------------------- who sends

class FanLab(Lab):
    """The proxies of targets.py, which push as well."""

    def __init__(self, folder, penstock):
        super().__init__(folder, penstock, ["nginx", "penstock"])
        if not MODULE.is_file():
            raise BenchError("nginx's module nchan is not installed (package libnginx-mod-nchan)")

    def command(self, name, port):
        values = {"port": port, "upstream": self.upstream.port, "folder": self.folder,
                  "user": "user root;\n" if os.geteuid() == 0 else "", "files": 20000, "connections": 16384}
        text = PENSTOCK.format(**values)
        if name == "nginx":
            text = f"load_module {MODULE};\n" + NGINX.format(**values).replace(
                "        location / {", NCHAN + "        location / {")
        config = self.folder / f"{name}.conf"
        config.write_text(text)
        if name == "nginx":
            return [self.find("nginx"), "-p", self.folder, "-c", config]
        return [self.penstock, "serve", "--config", config]


    def start(self, name):
        """With as many metrics of others as make the frame one of some kilobytes."""
        fresh = name not in self.running
        program = super().start(name)
        if fresh and name == "penstock":
            line = http.client.HTTPConnection("127.0.0.1", program.port)
            body = [{"name": f"shop_orders_{n}", "type": "gauge", "help": "orders of a shop", "value": n * 1.25,
                     "labels": {"place": "here"}} for n in range(CUSTOM)]
            line.request("POST", "/api/metrics", json.dumps(body), {"Content-Type": "application/json"})
            if line.getresponse().status != 200:
                raise BenchError("the metrics of others are refused")
        return program


class Publisher:
    """Posts a frame to nchan at each turn of the second: what a program beside nginx would have to do."""

    def __init__(self, port, frame):
        self.port, self.frame, self.over = port, frame, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        line = http.client.HTTPConnection("127.0.0.1", self.port)
        line.connect()
        while not self.over:
            second = int(time.time()) + 1
            body = re.sub(r'"time":[0-9.]+', f'"time":{second}', self.frame, count=1)
            time.sleep(max(0.0, second - time.time()))
            line.request("POST", "/publish", body, {"Content-Type": "application/json"})
            line.getresponse().read()

    def stop(self):
        self.over = True
        self.thread.join(3)


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise BenchError("the connection ended")
        data += piece
    return data


def take_frame(port):
    """A frame of Penstock as it is sent each second: the third one, without the history and with all metrics."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(b"GET /ws/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read_exactly(sock, 1)
        for _ in range(3):
            length = read_exactly(sock, 2)[1]
            if length >= 126:
                length = int.from_bytes(read_exactly(sock, 2 if length == 126 else 8), "big")
            frame = read_exactly(sock, length)
    return frame.decode()


# ---------------------------------------------------------------- who listens

class Subscribers:
    """fanout.c, connected and with a first message each; among the lab's programs while it runs."""

    def __init__(self, lab, port, count):
        pause = [str(PAUSE)] if count > FEW else []
        self.lab = lab
        self.process = subprocess.Popen(
            ["taskset", "-c", str(lab.load_core), *IDLE, str(lab.tools / "fanout"), str(port), "/ws/metrics",
             str(count), *pause], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lab.running["subscribers"] = self
        if self.process.stdout.readline() != "ready\n":
            lab.stop("subscribers")
            raise BenchError("the subscribers did not all connect")

    def pids(self):
        return [self.process.pid]

    def stop(self):
        self.process.kill()
        self.process.wait()

    def finish(self):
        """Ends them and returns what they saw."""
        self.process.stdin.close()
        told = json.loads(self.process.stdout.read())
        self.process.wait()
        self.lab.running.pop("subscribers")
        if told["lost"] > 0:
            raise BenchError(f"{told['lost']} subscribers were sent away")
        return told


def settled_kib(program):
    time.sleep(0.5)
    return resident_kib(program.pids())


def one_shot(lab, name, frame, count, seconds):
    """Starts a target anew, lets `count` subscribe for a while: delivery, memory, processor time."""
    lab.stop(name)
    program = lab.start(name)
    publisher = Publisher(program.port, frame) if name == "nginx" else None
    time.sleep(1.5)
    try:
        idle = settled_kib(program)
        subscribers = Subscribers(lab, program.port, count)
        time.sleep(1.0)
        cpu, began = run_time(program.pids()), time.monotonic()
        time.sleep(seconds)
        cpu = (run_time(program.pids()) - cpu) / (time.monotonic() - began)
        memory = settled_kib(program)
        told = subscribers.finish()
    finally:
        if publisher is not None:
            publisher.stop()
        lab.stop(name)
    return {"p50": told["delivery"]["p50"] / 1000, "p99": told["delivery"]["p99"] / 1000,
            "max": told["delivery"]["max"] / 1000, "late": told["due"] - told["in_time"], "due": told["due"],
            "memory": memory / 1024, "above": (memory - idle) / 1024, "cpu": 100 * cpu}


# ---------------------------------------------------------------- requests beside

class Patience:
    """How long a run may wait for other programs to leave the machine alone, and how often they did not."""

    def __init__(self, seconds):
        self.patience = seconds
        self.rounds = {"disturbed": 0}


def requests_p99(lab, name, seconds, plan):
    """In us, and what other programs took meanwhile of the two cores."""
    told = undisturbed(lab, lambda lab, name: lab.client(name, path="/1k", conns=CONNS, rate=RATE, seconds=seconds,
                                                         warmup=0.2), name, plan, plan.rounds)
    if told["errors"] + told["unfinished"] > 0:
        raise BenchError(f"{name}: requests failed: {told['first_error']}")
    return {"p99": told["latency"]["p99"], "p50": told["latency"]["p50"], "others": told["others"]}


def start_sender(lab, frame):
    """sender.c, on the proxy's core when that is idle; the lab's program."""
    text = lab.folder / "frame.json"
    text.write_text(re.sub(r'"time":[0-9.]+', f'"time":{int(time.time())}', frame, count=1))
    port = free_port()
    lab.running["sender"] = Program("sender", [*IDLE, lab.tools / "sender", port, text], port, lab.folder,
                                    lab.proxy_core)
    return lab.running["sender"]


def beside_subscribers(lab, name, port, seconds, plan):
    """Requests through `name` while MANY listen at `port`, twice; and how many frames were late."""
    subscribers = Subscribers(lab, port, MANY)
    beside = [requests_p99(lab, name, seconds, plan) for _ in range(2)]
    told = subscribers.finish()
    time.sleep(0.5)
    return beside, told["due"] - told["in_time"]


def one_comparison(lab, kind, frame, seconds, plan):
    """Requests with subscribers, between two looks at them without: what drifts meanwhile cancels out."""
    name = "nginx" if kind == "nginx" else "penstock"
    program = lab.start(name)
    sender = start_sender(lab, frame) if kind == "sender" else None
    publisher = Publisher(program.port, frame) if kind == "nginx" else None
    try:
        time.sleep(1.2 if publisher else 0)
        without = [requests_p99(lab, name, seconds, plan)]
        beside, late = beside_subscribers(lab, name, (sender or program).port, seconds, plan)
        without.append(requests_p99(lab, name, seconds, plan))
    finally:
        lab.stop("sender")
        if publisher is not None:
            publisher.stop()
    mean = {of: statistics.mean(look["p99"] for look in looks) for of, looks in
            (("without", without), ("beside", beside))}
    return {"without": without, "beside": beside, "worsens": 100 * (mean["beside"] / mean["without"] - 1),
            "late": late}


# ---------------------------------------------------------------- figures

def median(shots, figure):
    return statistics.median(shot[figure] for shot in shots)


def result(metric, unit, ours, peer, target, holds, **more):
    ratio = ratio_below(ours, peer) if ours and peer and ours > 0 and peer > 0 else None
    return figure(WHAT, metric, unit, ours, peer, "none" if peer is None else PEER, target, holds, ratio, 3, **more)


def in_turn(names, rounds, measure):
    """Each in each round, in an order that turns."""
    told = {name: [] for name in names}
    for i in range(rounds):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            say(f"fanout: round {i + 1} of {rounds}, {name}")
            told[name].append(measure(name))
    return told


def counted(results, rounds):
    return [{**result, "rounds": rounds} for result in results]


def rows_few(lab, frame, rounds, seconds):
    told = in_turn(SENDERS, rounds, lambda name: one_shot(lab, name, frame, FEW, seconds))
    ours, peer = told["penstock"], told["nginx"]
    p50, p99, above = (median(ours, figure) for figure in ("p50", "p99", "above"))
    return [
        result("delivery_p50_100", "ms", p50, median(peer, "p50"), "under 10 ms", p50 < 10, all=told),
        result("delivery_p99_100", "ms", p99, median(peer, "p99"), "under 100 ms", p99 < 100),
        result("memory_100", "MiB", above, median(peer, "above"), "under 50 MB", above * 1.048576 < 50),
    ]


def rows_many(lab, frame, rounds, seconds):
    told = in_turn(SENDERS, rounds, lambda name: one_shot(lab, name, frame, MANY, seconds))
    ours, peer = told["penstock"], told["nginx"]
    late, memory = sum(shot["late"] for shot in ours), median(ours, "memory")
    return [
        result("late_10000", f"of {sum(shot['due'] for shot in ours):,}", late, sum(shot["late"] for shot in peer),
               "0", late == 0, all=told),
        result("delivery_p50_10000", "ms", median(ours, "p50"), median(peer, "p50"), "reported", None),
        result("delivery_p99_10000", "ms", median(ours, "p99"), median(peer, "p99"), "reported", None),
        result("memory_10000", "MiB", memory, median(peer, "memory"), "at most 200 MB", memory * 1.048576 <= 200),
        result("cpu_10000", "% of a core", median(ours, "cpu"), median(peer, "cpu"), "reported", None),
    ]


def rows_requests(lab, frame, rounds, seconds):
    kinds, plan = [*SENDERS, "sender"], Patience(3.0 * seconds * rounds)
    told = in_turn(kinds, rounds, lambda kind: one_comparison(lab, kind, frame, seconds / 4, plan))
    ours, peer, control = (median(told[kind], "worsens") for kind in kinds)
    others = statistics.median(look["others"] for shots in told.values() for shot in shots
                               for look in shot["without"] + shot["beside"])
    return [result("request_p99_10000", "%", ours, peer, "at most 10 %", ours <= 10, all=told, others=others),
            result("request_p99_control", "%", control, None, "reported", None)]


def run(args, folder, save):
    lab = FanLab(folder, pathlib.Path(args.penstock).resolve())
    compile_programs(lab.tools)
    rounds = args.rounds or (1 if args.quick else 5)
    seconds = 4 if args.quick else 8
    measures = {"few": rows_few, "many": rows_many, "requests": rows_requests}
    try:
        frame = take_frame(lab.start("penstock").port)
        report = {"name": "fanout", "results": [], "environment": {
            **machine(), "quick": args.quick, "skipped": lab.skipped, "rounds": rounds, "frame_bytes": len(frame),
            "placement": "load client and upstream on one core, the proxy on another; subscribers on the first when it is idle",
            "programs": [version for version in (
                version_of("nginx", [lab.find("nginx"), "-v"]),
                version_of("penstock", [str(lab.penstock), "version"])) if version]}}
        for name, measure in measures.items():
            if args.only is None or name in args.only:
                report["results"] += counted(measure(lab, frame, rounds, seconds), rounds)
                save(report)
    finally:
        lab.close()
    return report

"""chaos - what a fault of Redis costs those who ask: the same load with and without it, in turns.

Every request is a new question: a look-up in Redis, a call upstream, a value stored in Redis. So
each of them meets the node that is at fault, if its key is there. The fault begins half a second
into the measured time. Penstock has its default configuration and is started anew for each load.

SPDX-License-Identifier: Apache-2.0
"""
import datetime
import pathlib
import re
import shutil
import signal
import socket
import statistics
import threading
import time

from machine import machine, version_of
from redis_lab import RedisLab, ask
from rows import failures, figure, run_rounds, say
from targets import BenchError

PARTS = ("nodes", "cluster")
NODE_FAULTS = {
    "stopped": "a node that stands still (SIGSTOP)",
    "killed": "a node that is killed (SIGKILL)",
    "rubbish": "a node in whose place something answers rubbish",
    "full": "a node that is full and evicts nothing",
}
CLUSTER_FAULTS = {
    "failover": "a master of the six-node cluster that is killed, until after its replica took over",
    "reshard": "300 slots of the six-node cluster that are moved",
}
WHAT = {
    **{f"chaos_{fault}": f"Added latency, 99th percentile: 1,000 new questions/s in open loop on 32 "
                         f"connections, {text}, less the same load without the fault"
       for fault, text in {**NODE_FAULTS, **CLUSTER_FAULTS}.items()},
    "chaos_open": "From a fault (stopped or killed) to the log line that the node is left alone, the "
                  "longest of all rounds",
}
LIMIT_MS, OPEN_MS = 2.0, 250.0
RATE, CONNS, BEGIN = 1000, 32, 0.5


class Rubbish:
    """Listens where a node was and answers whatever comes with what is no reply."""

    def __init__(self, port):
        self.over = threading.Event()
        self.sock = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.sock.settimeout(0.05)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while not self.over.is_set():
            try:
                client, _ = self.sock.accept()
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                client.close()
            except OSError:
                pass

    def stop(self):
        self.over.set()
        self.thread.join()
        self.sock.close()


# ---------------------------------------------------------------- faults: begin(lab) -> end()

def stopped(lab):
    lab.signal(lab.ports[0], signal.SIGSTOP)
    return lambda: lab.signal(lab.ports[0], signal.SIGCONT)


def killed(lab):
    lab.kill(lab.ports[0])
    return lambda: lab.start_node(lab.ports[0])


def rubbish(lab):
    lab.kill(lab.ports[0])
    server = Rubbish(lab.ports[0])

    def end():
        server.stop()
        lab.start_node(lab.ports[0])
    return end


def full(lab):
    ask(lab.ports[0], "CONFIG", "SET", "maxmemory", "1")
    return lambda: ask(lab.ports[0], "CONFIG", "SET", "maxmemory", "0")


def failover(lab):
    port = lab.masters()[0]
    lab.kill(port)

    def end():
        lab.start_node(port)
        lab.wait_well()
    return end


def reshard(lab):
    one, other = (ask(port, "CLUSTER", "MYID").split("\r\n")[1] for port in lab.masters()[:2])
    mover = threading.Thread(target=lab.cli, args=(
        "--cluster", "reshard", f"127.0.0.1:{lab.ports[0]}", "--cluster-from", one, "--cluster-to", other,
        "--cluster-slots", "300", "--cluster-yes"))
    mover.start()

    def end():
        mover.join()
        lab.wait_well()
    return end


FAULTS = {"stopped": stopped, "killed": killed, "rubbish": rubbish, "full": full, "failover": failover,
          "reshard": reshard}
LEFT_ALONE = re.compile(r"^(\S+) warn +cache server is left alone node=(\S+)", re.M)


def opened_after(log, began):
    """Milliseconds from the fault to the first node that was left alone after it, or None."""
    times = [datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
             for at, _ in LEFT_ALONE.findall(log)]
    later = [1e3 * (at - began) for at in times if at >= began - 0.001]
    return round(max(0.0, later[0]), 1) if later else None


def shot(fault, seconds):
    """One load, with the fault (a name) or without it (None)."""
    def measure(lab, name):
        lab.flush()
        lab.stop(name)
        lab.start(name)
        time.sleep(0.5)  # it connects, detects the engine and reads the log of invalidations
        warmup = 0.5
        trace = lab.questions(int(RATE * (seconds + warmup) * 1.2))
        load = lab.start_client(name, conns=CONNS, rate=RATE, seconds=seconds, warmup=warmup, method="POST",
                                path="/v1/chat/completions", body=300, trace=trace)
        time.sleep(warmup + BEGIN)
        began = time.time()
        end = FAULTS[fault](lab) if fault is not None else lambda: None
        try:
            sample = lab.finish_client(load)
        finally:
            end()
        log = (lab.folder / f"{name}.out").read_text(errors="replace")
        sample["opened_ms"] = opened_after(log, began) if fault is not None else None
        return sample
    return measure


def result(metric, unit, ours, target, holds, failed, **more):
    return figure(WHAT, metric, unit, ours, None, "no fault", target, bool(holds) and failed == 0, None, 3,
                  failed_requests=failed, **more)


def figures(kept, rounds, faults):
    """Medians over the rounds of what a fault added in its round."""
    results = []
    for fault in faults:
        pairs = [(samples["calm"]["penstock"], samples[fault]["penstock"]) for samples in kept]
        p99 = [[round(sample["latency"]["p99"] / 1e3, 3) for sample in pair] for pair in pairs]
        added = statistics.median(with_fault - calm for calm, with_fault in p99)
        failed = sum(failures(sample) for pair in pairs for sample in pair)
        results.append(result(f"chaos_{fault}", "ms", added, f"at most {LIMIT_MS:g} ms", added <= LIMIT_MS, failed,
                              p99_ms_without_and_with=p99, rounds=len(kept), rounds_noisy=rounds["noisy"]))
    return results


def opening(kept):
    times = [samples[fault]["penstock"]["opened_ms"] for samples in kept for fault in ("stopped", "killed")]
    known = [ms for ms in times if ms is not None]
    worst = max(known, default=float("inf"))
    return result("chaos_open", "ms", worst, f"at most {OPEN_MS:g} ms",
                  worst <= OPEN_MS and len(known) == len(times), 0, all=times)


class Plan:
    """How long and how often."""

    def __init__(self, args):
        self.rounds = args.rounds or (1 if args.quick else 5)
        self.patience = 20.0 if args.quick else 200.0
        self.told = {}


def measure(args, folder, plan, cluster):
    lab = RedisLab(folder, pathlib.Path(args.penstock).resolve(), 6 if cluster else 3, cluster=cluster)
    faults = CLUSTER_FAULTS if cluster else NODE_FAULTS
    seconds = 8 if cluster else 3
    try:
        kept, rounds = run_rounds(lab, "cluster" if cluster else "nodes", {
            "calm": shot(None, seconds), **{fault: shot(fault, seconds) for fault in faults}}, plan, lab.names)
    finally:
        lab.close()
    return figures(kept, rounds, faults) + ([] if cluster else [opening(kept)])


def run(args, folder, save):
    """Calls save(report) after every part."""
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        raise BenchError("redis-server or redis-cli is not installed")
    plan = Plan(args)
    report = {"name": "chaos", "results": [], "environment": {
        **machine(), "placement": "client, upstream and Redis on one core, Penstock on another", "skipped": {},
        "programs": [version for version in (
            version_of("redis", ["redis-server", "--version"]),
            version_of("penstock", [args.penstock, "version"])) if version]}}
    started = time.monotonic()
    for part in PARTS:
        if args.only is None or part in args.only:
            place = folder / part
            place.mkdir()
            report["results"] += measure(args, place, plan, part == "cluster")
            report["environment"].update({"rounds": plan.rounds, "quick": args.quick, "rows": plan.told,
                                          "minutes": round((time.monotonic() - started) / 60, 1)})
            save(report)
    say(f"chaos: {report['environment']['minutes']} minutes")
    return report

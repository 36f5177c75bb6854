"""redis_lab - the laboratory with the packaged Redis in it: nodes that stand alone, or a cluster.

SPDX-License-Identifier: Apache-2.0
"""
import array
import json
import signal
import socket
import subprocess
import time
import urllib.request

from targets import PENSTOCK_BEGIN, BenchError, Lab, Program, free_port

PENSTOCK = PENSTOCK_BEGIN + """\
routes:
  - {{path: /v1/chat/completions, kind: openai, cache: yes, sampled: yes}}
cache:
  l1: {{size: {l1}}}
  redis: {{cluster: {cluster}, nodes: [{nodes}]}}
"""
REDIS = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction",
         "--shutdown-timeout", "0"]


def ask(port, *words):
    """One command; the first bytes of the reply."""
    text = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.create_connection(("127.0.0.1", port), 2) as sock:
        sock.sendall(text.encode())
        return sock.recv(4096).decode(errors="replace")


def wait(what, check, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if check():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise BenchError(f"{what}: not within {seconds} s")


class RedisLab(Lab):
    """The laboratory with nodes of Redis in it."""

    def __init__(self, folder, penstock, count, cluster=False, weights=None):
        super().__init__(folder, penstock, ["penstock"])
        self.names = ["penstock"]
        self.cluster = cluster
        self.weights = weights or [1] * count
        self.l1 = "256MiB"
        self.ports = [free_port() for _ in range(count)]
        self.buses = [free_port() for _ in self.ports]
        self.number = 0
        for port in self.ports:
            self.start_node(port)
        if cluster:
            self.tie()

    def start_node(self, port):
        place = self.folder / f"node-{port}"
        place.mkdir(exist_ok=True)
        extra = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port",
                 self.buses[self.ports.index(port)]] if self.cluster else []
        self.running[f"node-{port}"] = Program(
            f"node-{port}", [self.find("redis-server"), "--port", port, "--dir", place, *REDIS, *extra], port,
            self.folder, self.load_core)

    def tie(self):
        addresses = [f"127.0.0.1:{port}" for port in self.ports]
        self.cli("--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes")
        self.wait_well()

    def cli(self, *words):
        done = subprocess.run([self.find("redis-cli"), *words], capture_output=True, timeout=120)
        if done.returncode != 0:
            raise BenchError(f"redis-cli {words[1]}: {done.stdout[-500:].decode()}")

    def wait_well(self):
        wait("the cluster is well", lambda: all(
            "cluster_state:ok" in ask(port, "CLUSTER", "INFO") for port in self.ports))
        wait("three replicas are in step", lambda: sum(
            "connected" in ask(port, "ROLE") for port in self.ports) == 3)

    def command(self, name, port):
        nodes = ", ".join(f'{{url: "127.0.0.1:{node}", weight: {weight}}}'
                          for node, weight in zip(self.ports, self.weights))
        config = self.folder / "penstock.conf"
        config.write_text(PENSTOCK.format(port=port, upstream=self.upstream.port, nodes=nodes,
                                          l1=self.l1, cluster="yes" if self.cluster else "no"))
        return [self.penstock, "serve", "--config", config]

    def signal(self, port, number):
        """To the node itself; taskset has become it."""
        self.running[f"node-{port}"].process.send_signal(number)

    def kill(self, port):
        program = self.running.pop(f"node-{port}")
        program.process.kill()
        program.process.wait()

    def questions(self, count, first=None):
        """A file of questions in a row, for the client's --trace; those that were never asked, or from `first`."""
        first = self.number if first is None else first
        numbers = array.array("I", range(first, first + count))
        self.number = max(self.number, first + count)
        numbers.byteswap()
        path = self.folder / "questions"
        path.write_bytes(numbers.tobytes())
        return path

    def masters(self):
        return [port for port in self.ports if "master" in ask(port, "ROLE")]

    def flush(self):
        for port in self.masters() if self.cluster else self.ports:
            ask(port, "FLUSHALL")

    def stats(self):
        """What the gateway tells at /api/cache/stats."""
        url = f"http://127.0.0.1:{self.running['penstock'].port}/api/cache/stats"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)

    def stop(self, name):
        program = self.running.get(name)
        if program is not None and name.startswith("node-"):
            program.process.send_signal(signal.SIGCONT)
        super().stop(name)

"""targets - the programs that a benchmark measures, and the processes around them.

A target is a proxy in front of the bench upstream: nginx, haproxy or penstock, each with one
worker, kept connections to the upstream and no access log. "direct" is no proxy at all. Every
program gets a port of its own, its files in one temporary folder, and a core to run on.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import resource
import shlex
import shutil
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build"

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wstrict-prototypes",
            "-Wmissing-prototypes", "-Wwrite-strings", "-Wcast-qual", "-Wpointer-arith",
            "-Wvla", "-Wformat=2", "-Wundef", "-Wimplicit-fallthrough"]
PROGRAMS = {"upstream": ["upstream.c"], "client": ["client.c", "load.c"], "fanout": ["fanout.c"],
            "sender": ["sender.c"], "truth": ["truth.c"]}

NGINX = """
{user}daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 120s;
    client_max_body_size 64m;
    client_body_buffer_size 512k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream bench {{
        server 127.0.0.1:{upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 120s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / {{ proxy_pass http://bench; }}
        location /v1/ {{ proxy_pass http://bench; proxy_buffering off; proxy_read_timeout 120s; }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn {maxconn}
defaults
    mode http
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    timeout http-keep-alive 120s
    option http-no-delay
    http-reuse always
frontend front
    bind 127.0.0.1:{port} backlog 4096
    default_backend bench
backend bench
    server one 127.0.0.1:{upstream}
"""

# The upstream comes last: what follows is more of it, or the rest.
PENSTOCK_BEGIN = """
listen: ["127.0.0.1:{port}"]
workers: 1
access_log: off
upstreams:
  - name: bench
    endpoints: ["http://127.0.0.1:{upstream}"]
    engine: openai
"""
PENSTOCK = PENSTOCK_BEGIN + """\
    admission: {{max_in_flight: 20000, max_queue: 20000}}
routes:
  - {{name: chat, path: /v1/chat/completions, kind: openai, upstream: bench}}
  - {{name: rest, path: "/*", kind: plain, upstream: bench}}
"""


class BenchError(Exception):
    """A program that a benchmark needs does not do what it must."""


def build_targets(*names):
    """Programs that are linked with Penstock's own parts, so ninja makes them: their paths."""
    done = subprocess.run(["ninja", "-C", str(BUILD), *names], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"{names[0]} does not build:\n{done.stdout[-2000:]}")
    return [BUILD / name for name in names]


def ask_program(program, *words):
    """What it says, as JSON."""
    done = subprocess.run([str(program), *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(done.stderr.strip())
    return json.loads(done.stdout)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def compile_programs(out):
    """Compiles the load client and the upstream where their sources are newer."""
    out.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in HERE.glob("*.[ch]"))
    for name, sources in PROGRAMS.items():
        program = out / name
        if program.exists() and program.stat().st_mtime > newest:
            continue
        command = [*shlex.split(os.environ.get("CC", "gcc")), "-std=c17", "-D_GNU_SOURCE", "-O2", *WARNINGS,
                   *[str(HERE / source) for source in sources], "-o", str(program), "-lm"]
        subprocess.run(command, check=True)


def process_tree(pid):
    """The process and all that it started."""
    pids = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                pids += process_tree(int(child))
        except OSError:
            pass
    return pids


def set_core(pids, core):
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                os.sched_setaffinity(int(task), {core})
            except ProcessLookupError:
                pass


def resident_kib(pids):
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def run_time(pids):
    """Seconds of processor time of processes that live, all threads."""
    total = 0
    for pid in pids:
        for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[0])
            except OSError:
                pass
    return total / 1e9


class Others:
    """What programs other than the benchmark's own take of the cores in use, from now on.

    All busy time of these cores less the time of the benchmark's programs; time that a hypervisor
    took away counts as well.
    """

    def __init__(self, lab):
        self.lab = lab
        self.began, self.busy, self.own = time.monotonic(), self.busy_time(), self.own_time()

    def busy_time(self):
        total = 0
        for line in pathlib.Path("/proc/stat").read_text().splitlines():
            name, *ticks = line.split()
            if name in {f"cpu{core}" for core in (self.lab.load_core, self.lab.proxy_core)}:
                ticks = [int(tick) for tick in ticks]
                total += sum(ticks[:3]) + sum(ticks[5:8])  # without idle and waiting for disks
        return total / os.sysconf("SC_CLK_TCK")

    def own_time(self):
        # A program that was stopped in between moves from the living to the children waited for.
        living = [program.pids() for program in (self.lab.upstream, *self.lab.running.values())]
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (run_time(pid for pids in living for pid in pids) + usage.ru_utime +
                usage.ru_stime + time.process_time())

    def share(self):
        """Of one core."""
        wall = time.monotonic() - self.began
        return (self.busy_time() - self.busy - (self.own_time() - self.own)) / wall


class Program:
    """One started program that listens on a port. `stop()` ends it by its process id."""

    def __init__(self, name, command, port, folder, core):
        self.name, self.port, self.folder = name, port, folder
        self.log = folder / f"{name}.out"
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, command)], stdout=out,
                stderr=subprocess.STDOUT, cwd=folder, stdin=subprocess.DEVNULL)
        try:
            self.wait_ready()
        except BenchError:
            self.stop()
            raise

    def wait_ready(self):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise BenchError(f"{self.name} does not listen:\n{tail}")

    def pids(self):
        return process_tree(self.process.pid)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Lab:
    """The upstream, the proxies that exist on this machine, and the client to measure them."""

    def __init__(self, folder, penstock, only=None):
        self.folder = folder
        self.penstock = penstock
        self.tools = BUILD / "bench"
        compile_programs(self.tools)
        cores = sorted(os.sched_getaffinity(0))
        self.load_core, self.proxy_core = cores[0], cores[min(1, len(cores) - 1)]
        self.skipped = {}
        self.upstream = self.start_upstream()
        self.names = ["direct"] + [name for name in ("nginx", "haproxy", "penstock")
                                   if (only is None or name in only) and self.exists(name)]
        self.running = {}

    def start_upstream(self):
        port = free_port()
        command = [self.tools / "upstream", "--port", port]
        return Program("upstream", command, port, self.folder, self.load_core)

    def exists(self, name):
        if name == "penstock":
            found = self.penstock.is_file()
            why = "the program is not built (build/penstock is missing)"
        else:
            found = self.find(name) is not None
            why = f"{name} is not installed"
        if not found:
            self.skipped[name] = why
        return found

    @staticmethod
    def find(name):
        return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")

    def command(self, name, port):
        files = 20000
        values = {"port": port, "upstream": self.upstream.port, "folder": self.folder,
                  "user": "user root;\n" if os.geteuid() == 0 else "", "files": files,
                  "connections": 16384, "maxconn": 9000}
        text = {"nginx": NGINX, "haproxy": HAPROXY, "penstock": PENSTOCK}[name].format(**values)
        config = self.folder / f"{name}.conf"
        config.write_text(text)
        return {"nginx": [self.find("nginx"), "-p", self.folder, "-c", config],
                "haproxy": [self.find("haproxy"), "-db", "-f", config],
                "penstock": [self.penstock, "serve", "--config", config]}[name]

    def start(self, name):
        """Starts a proxy anew, or finds it running. None for "direct"."""
        if name == "direct":
            return None
        if name not in self.running:
            port = free_port()
            self.running[name] = Program(name, self.command(name, port), port, self.folder,
                                         self.proxy_core)
        return self.running[name]

    def stop(self, name):
        program = self.running.pop(name, None)
        if program is not None:
            program.stop()

    def close(self):
        for name in list(self.running):
            self.stop(name)
        self.upstream.stop()

    def pin(self, core):
        """Puts all running proxies on a core."""
        for program in self.running.values():
            set_core(program.pids(), core)

    def others(self):
        return Others(self)

    def wait_calm(self, share, longest):
        """Waits until other programs leave the cores alone, but not for ever."""
        until = time.monotonic() + longest
        while time.monotonic() + 0.3 < until:
            others = self.others()
            time.sleep(0.3)
            if others.share() <= share:
                return

    def client_command(self, name, core=None, **options):
        program = self.start(name)
        port = self.upstream.port if program is None else program.port
        core = self.load_core if core is None else core
        command = ["taskset", "-c", str(core), str(self.tools / "client"), "--port", str(port)]
        if program is not None:
            command += ["--watch", ",".join(map(str, program.pids()))]
        for option, value in options.items():
            if value is True:
                command.append(f"--{option}")
            elif value is not None:
                command += [f"--{option}", str(value)]
        return command

    def start_client(self, name, **options):
        return subprocess.Popen(self.client_command(name, **options), stdout=subprocess.PIPE)

    @staticmethod
    def finish_client(process):
        out, _ = process.communicate()
        if process.returncode != 0:
            raise BenchError(f"the load client ended with {process.returncode}")
        return json.loads(out)

    def client(self, name, **options):
        """Runs the load client against a target and returns what it measured."""
        return self.finish_client(self.start_client(name, **options))

"""cache - the benchmark of answers from memory: Penstock beside nginx proxy_cache and Varnish.

All three get the same POST again and again and have its answer: the key is the path and the body.
nginx keeps its files in shared memory (/dev/shm) and their descriptors open, Varnish has malloc.

SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import shutil
import tempfile
import time

from machine import machine, version_of
from rows import Row, run_rounds, say, within
from targets import PENSTOCK_BEGIN, Lab

PARTS = ("cpu", "latency")
WHAT = {
    "hit_cpu_1k": "Processor time (user and system) of a hit: POST of 300 bytes, answer of 1 KB, 64 "
                  "connections, closed loop, one worker",
    "hit_cpu_1k_varnish": "The same, beside Varnish",
    "hit_cpu_16k": "The same with an answer of 16 KB",
    "hit_cpu_16k_varnish": "The same, beside Varnish",
    "hit_p99": "99th percentile of a hit at 30,000/s in open loop on 64 connections, 1 KB",
    "hit_p50": "The median in the same load",
}
CACHES = ("nginx", "varnish", "penstock")
CHAT = {"method": "POST", "body": 300}
SMALL = "/v1/chat/completions"
LARGE = "/v1/chat/completions?16k"

NGINX = """
{user}daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    tcp_nodelay on;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 120s;
    client_body_buffer_size 512k;
    client_body_in_single_buffer on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {shm}/temp;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {shm}/cache levels=1:2 keys_zone=answers:16m use_temp_path=off;
    open_file_cache max=10000 inactive=1h;
    open_file_cache_valid 1h;
    upstream bench {{ server 127.0.0.1:{upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_cache answers;
        proxy_cache_methods GET HEAD POST;
        proxy_cache_key "$request_uri|$request_body";
        proxy_cache_valid 200 1h;
        location / {{ proxy_pass http://bench; }}
    }}
}}
"""

VARNISH = """
vcl 4.1;
import std;
import bodyaccess;
backend bench {{ .host = "127.0.0.1"; .port = "{upstream}"; }}
sub vcl_recv {{
    std.cache_req_body(512KB);
    set req.http.x-method = req.method;
    return (hash);
}}
sub vcl_hash {{
    hash_data(req.url);
    bodyaccess.hash_req_body();
    return (lookup);
}}
sub vcl_backend_fetch {{ set bereq.method = bereq.http.x-method; }}
sub vcl_backend_response {{ set beresp.ttl = 1h; }}
"""

PENSTOCK = PENSTOCK_BEGIN + """\
routes:
  - {{path: /v1/chat/completions, kind: openai, cache: yes, sampled: yes}}
"""


class CacheLab(Lab):
    """The same laboratory with other programs in it."""

    def __init__(self, folder, penstock, only=None):
        self.shm = pathlib.Path(tempfile.mkdtemp(prefix="penstock-bench-", dir="/dev/shm"))
        super().__init__(folder, penstock, only)
        self.names = [name for name in CACHES
                      if (only is None or name in only) and self.exists(name)]

    def exists(self, name):
        if name == "varnish":
            found = self.find("varnishd") is not None
            if not found:
                self.skipped[name] = "varnish is not installed"
            return found
        return super().exists(name)

    def command(self, name, port):
        values = {"port": port, "upstream": self.upstream.port, "folder": self.folder,
                  "shm": self.shm, "user": "user root;\n"}
        text = {"nginx": NGINX, "varnish": VARNISH, "penstock": PENSTOCK}[name].format(**values)
        config = self.folder / f"{name}.conf"
        config.write_text(text)
        return {"nginx": [self.find("nginx"), "-p", self.folder, "-c", config],
                "varnish": [self.find("varnishd"), "-F", "-a", f"127.0.0.1:{port}", "-f", config, "-s",
                            "malloc,256m", "-n", self.folder / "varnish", "-j", "none", "-p",
                            "thread_pools=1", "-p", "timeout_idle=120"],
                "penstock": [self.penstock, "serve", "--config", config]}[name]

    def close(self):
        super().close()
        shutil.rmtree(self.shm, ignore_errors=True)


def warm(lab):
    """Everybody has both answers before anything is measured."""
    for name in lab.names:
        for path in (SMALL, LARGE):
            lab.client(name, conns=1, seconds=0.1, path=path, **CHAT)


def shot(**options):
    return lambda lab, name: lab.client(name, conns=64, **options, **CHAT)


def row_cpu(lab, plan):
    seconds = plan.seconds(3)
    kept, rounds = run_rounds(lab, "cpu", {
        "small": shot(path=SMALL, seconds=seconds, warmup=0.5),
        "large": shot(path=LARGE, seconds=seconds, warmup=0.5)}, plan, lab.names)
    row = Row(kept, rounds, WHAT, CACHES)

    def cost(sample, _):
        return sample["watched_us_per_request"]

    for name, load, factor in (("1k", "small", 1.5), ("16k", "large", 1.2)):
        row.add(f"hit_cpu_{name}", "us", load, cost, "nginx",
                f"nginx's at least {factor} times ours", within(1 / factor))
        row.add(f"hit_cpu_{name}_varnish", "us", load, cost, "varnish", "below Varnish's",
                lambda ours, peer: peer is None or ours < peer)
    return row.results


def row_latency(lab, plan):
    kept, rounds = run_rounds(lab, "latency", {
        "open": shot(path=SMALL, rate=30000, seconds=plan.seconds(3), warmup=0.5)}, plan, lab.names)
    row = Row(kept, rounds, WHAT, CACHES)
    for percentile in ("p99", "p50"):
        row.add(f"hit_{percentile}", "us", "open",
                lambda sample, _, p=percentile: sample["latency"][p], "nginx", "at most nginx's",
                within(1.0), least=1)
    return row.results


class Plan:
    """How long and how often."""

    def __init__(self, args):
        self.rounds = args.rounds or (1 if args.quick else 5)
        self.quick = args.quick
        self.patience = 20.0 if args.quick else 200.0
        self.told = {}

    def seconds(self, usual):
        return max(1.0, usual / 2.0) if self.quick else float(usual)


def environment(lab):
    return {
        **machine(),
        "placement": "client and upstream on one core, the cache on another",
        "programs": [version for version in (
            version_of("nginx", [lab.find("nginx"), "-v"]),
            version_of("varnish", [lab.find("varnishd"), "-V"]),
            version_of("penstock", [str(lab.penstock), "version"]),
            version_of("gcc", ["gcc", "-dumpfullversion"])) if version],
        "skipped": lab.skipped,
    }


def run(args, folder, save):
    """Calls save(report) after every row."""
    lab = CacheLab(folder, pathlib.Path(args.penstock).resolve(), args.targets)
    for name, why in lab.skipped.items():
        say(f"{name} is skipped: {why}")
    plan = Plan(args)
    report = {"name": "cache", "results": [], "environment": environment(lab)}
    started = time.monotonic()
    try:
        warm(lab)
        for name, row in (("cpu", row_cpu), ("latency", row_latency)):
            if args.only is None or name in args.only:
                report["results"] += row(lab, plan)
                report["environment"].update({
                    "load_average_after": os.getloadavg()[0], "rounds": plan.rounds, "quick": plan.quick, "rows": plan.told,
                    "minutes": round((time.monotonic() - started) / 60, 1)})
                save(report)
    finally:
        lab.close()
    return report

"""proxy - the benchmark of the request path: Penstock beside nginx and haproxy, row by row (rows.py).

SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import time

from machine import machine, version_of
from rows import ROWS, WHAT, say
from targets import Lab

PARTS = ROWS  # what --only may name
__all__ = ["PARTS", "WHAT", "run"]


class Plan:
    """How long and how often."""

    def __init__(self, args):
        self.rounds = args.rounds or (1 if args.quick else 5)
        self.quick = args.quick
        self.patience = 20.0 if args.quick else 300.0  # seconds, for a machine in use by others
        self.told = {}  # how the rounds of each row went
        self.growth_seconds = 600.0 if args.long else 10.0 if args.quick else 40.0

    def seconds(self, usual):
        return max(1.0, usual / 2.0) if self.quick else float(usual)


def environment(lab):
    return {
        **machine(),
        "placement": "client and upstream on one core, the proxy on another"
        if lab.load_core != lab.proxy_core else "client, upstream and proxy on one core",
        "programs": [version for version in (
            version_of("nginx", [lab.find("nginx"), "-v"]),
            version_of("haproxy", [lab.find("haproxy"), "-v"]),
            version_of("penstock", [str(lab.penstock), "version"]),
            version_of("gcc", ["gcc", "-dumpfullversion"])) if version],
        "raised_priority": os.getpriority(os.PRIO_PROCESS, 0) < 0,
        "skipped": lab.skipped,
    }


def run(args, folder, save):
    """Calls save(report) after every row, so that what was measured outlives an interruption."""
    lab = Lab(folder, pathlib.Path(args.penstock).resolve(), args.targets)
    for name, why in lab.skipped.items():
        say(f"{name} is skipped: {why}")
    plan = Plan(args)
    report = {"name": "proxy", "results": [], "environment": environment(lab)}
    started = time.monotonic()
    try:
        for name, row in ROWS.items():
            if args.only is not None and name not in args.only:
                continue
            report["results"] += row(lab, plan)
            report["environment"].update({
                "load_average_after": os.getloadavg()[0], "rounds": plan.rounds,
                "quick": plan.quick, "minutes": round((time.monotonic() - started) / 60, 1),
                "rows": plan.told})
            save(report)
    finally:
        lab.close()
    return report

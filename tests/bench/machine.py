"""machine - what a report says of the machine and the programs that it was measured with.

SPDX-License-Identifier: Apache-2.0
"""
import datetime
import os
import pathlib
import platform
import re
import subprocess


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return None


def version_of(name, command):
    """Only the number: a build's address and date say nothing about speed."""
    line = first_line(command) if command[0] else None
    found = re.search(r"\d+\.\d+(\.\d+)?", line or "")
    return f"{name} {found.group(0)}" if found else None


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def machine():
    """What every report says of where it was measured."""
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) / 1048576
    hypervisor = "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text()
    return {
        "cpu": cpu_model(), "cores": os.cpu_count(), "virtual": hypervisor,
        "memory_gib": round(memory), "kernel": re.match(r"[\d.]+", platform.release()).group(0),
        "date": datetime.date.today().isoformat(),
        "load_average_before": os.getloadavg()[0],
    }

#!/usr/bin/env python3
"""test - builds, runs every test and sums up: the last line is "N passed, N failed".

Without options: the normal build with arch, unit, fuzz replay and scenario tests. --full adds the
other compiler and the sanitizer builds:

    normal   gcc (or $CC)                 arch unit fuzz scenario
    clang    clang                        unit
    asan     gcc, address + undefined     unit fuzz, scenarios but those tagged plain
    tsan     clang, thread                unit, scenarios tagged threads

A scenario is tests/scenario/*.test.mjs; it runs in a process group of its own with a time limit,
so that nothing hangs and nothing is left behind. A program that fails among others is run once
more, alone: when it passes then, it is told as FLAKY, with what it said, and does not fail the run;
what a sanitizer found is never tried again. The first lines of a scenario may hold

    // tags: threads slow plain  threads: also under the thread sanitizer; slow: only with --slow;
                                 plain: not under the address sanitizer, whose story others tell
    // timeout: 300              seconds, instead of 120

Usage: tools/test.py [--full | --leg NAME | --slow] [--build DIR] [--only TEXT] [--total FILE]
"""
import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCENARIO = ROOT / "tests" / "scenario"
SCENARIO_SECONDS = 120


@dataclasses.dataclass
class Leg:
    """One build and what runs in it."""
    name: str
    folder: str
    compiler: str | None = None  # None: whatever $CC or meson finds
    options: tuple = ()
    suites: tuple = ("unit",)
    scenarios: str | None = None  # all | threads | slow
    sanitizer: str = ""
    env: dict = dataclasses.field(default_factory=dict)
    wrapper: tuple = ()


@dataclasses.dataclass
class Sum:
    """What came of a leg or of all of them."""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    flaky: int = 0  # programs that failed among others and passed alone
    last_words: list = dataclasses.field(default_factory=list)  # a line for each that failed

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.flaky += other.flaky
        self.last_words += other.last_words

    def __str__(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        flaky = f", {self.flaky} flaky" if self.flaky else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}{flaky}"


@dataclasses.dataclass
class Run:
    """One program that was run in a leg."""
    what: str
    outcome: Sum
    seconds: float
    output: str
    again: Callable | None = None  # runs it once more, alone; another Run


def say(words):
    print(words, flush=True)


def cases_of(output):
    """The names of the cases that failed, each with the first words that say why."""
    cases = []
    for line in output.splitlines():
        case = re.match(r"\s*not ok \d+(?: -)? (?!# SKIP)(.*)$", line)
        if case:
            cases.append([case[1]])
        elif cases and len(cases[-1]) < 4 and re.match(r"# .*|\s+(error|location): .*|    \S.*", line):
            cases[-1].append(line.strip(" #"))
    return [" | ".join(case) for case in cases] or output.split("\n")[-1:]


def report(leg, run):
    """One line per program; what it said only when something went wrong."""
    mark = "FAIL" if run.outcome.failed else "ok  "
    say(f"{mark} {leg.name:<6} {run.what:<32} {run.outcome}  {run.seconds:.1f} s")
    if run.outcome.failed and run.output:
        say("".join(f"     | {line}\n" for line in run.output.rstrip().splitlines()[-120:]).rstrip())


def found_by_sanitizer(output):
    return re.search(r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:", output)


def settle(leg, runs):
    """Tries what failed once more and sums up."""
    total = Sum()
    for run in runs:
        words = [f"{leg.name} {run.what}: {case}" for case in cases_of(run.output)]
        if run.outcome.failed and run.again and not found_by_sanitizer(run.output):
            second = run.again()
            report(leg, second)
            if second.outcome.failed == 0:
                total.add(Sum(flaky=1, last_words=[f"FLAKY {case}" for case in words]))
            run = second
        total.add(run.outcome)
        if run.outcome.failed:
            total.add(Sum(last_words=[f"FAIL {case}" for case in words]))
    return total


# ------------------------------------------------------------------------------------- building

def build(leg):
    """Configures and compiles everything; False when it does not compile."""
    folder = ROOT / leg.folder
    wanted = ["-Dtests=enabled", "-Db_lundef=false" if leg.sanitizer else "-Db_lundef=true",
              *leg.options]
    stamp = folder / "test-options"
    env = dict(os.environ)
    if leg.compiler:
        env["CC"] = leg.compiler
    if not (folder / "build.ninja").exists():
        steps = [["meson", "setup", str(folder), *wanted]]
    elif not stamp.exists() or stamp.read_text() != " ".join(wanted):
        steps = [["meson", "setup", "--reconfigure", str(folder), *wanted]]
    else:
        steps = []
    for step in steps + [["ninja", "-C", str(folder), *ninja_jobs()]]:
        done = subprocess.run(step, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, text=True,
                              errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            words = [line for line in done.stdout.splitlines() if not re.match(r"\[\d+/\d+\]", line)]
            say("\n".join(words[-80:]))
            return False
    stamp.write_text(" ".join(wanted))
    return True


def ninja_jobs():
    return ["-j", os.environ["JOBS"]] if os.environ.get("JOBS") else []


# ---------------------------------------------------------------------------- tests that meson runs

def count_tap(stdout, result):
    """A cmocka program prints one line per case, a replay one per input; a crash is one failure."""
    lines = re.findall(r"^(not )?ok \d+(.*)$", stdout, re.M)
    skipped = sum("# SKIP" in rest for _, rest in lines)  # cmocka writes "not ok 3 # SKIP name"
    bad = sum(bool(no) for no, rest in lines if "# SKIP" not in rest)
    good = len(lines) - skipped - bad
    if result == "SKIP":
        return Sum(skipped=1)
    if result != "OK" and bad == 0:
        bad = 1
    if result == "OK" and not lines:
        good = 1
    return Sum(good, bad, skipped)


def names_of(leg, suite, only):
    """The programs of a suite whose "suite name" holds this text."""
    tests = json.loads((ROOT / leg.folder / "meson-info" / "intro-tests.json").read_text())
    return [test["name"] for test in tests
            if f"penstock:{suite}" in test["suite"] and only in f"{suite} {test['name']}"]


def run_suite(leg, suite, names=()):
    """Runs one suite, or these of it; Meson's own words are in meson-logs/<suite>.txt, ours come
    from the JSON. A list of runs."""
    folder = ROOT / leg.folder
    log = folder / "meson-logs" / f"{suite}.json"
    log.unlink(missing_ok=True)
    command = [*leg.wrapper, "meson", "test", "-C", str(folder), "--no-rebuild", "--suite", suite,
               "--logbase", suite, "--num-processes", str(os.cpu_count() or 1), *names]
    if leg.sanitizer:
        command += ["--timeout-multiplier", "5"]
    done = subprocess.run(command, env={**os.environ, **leg.env}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace")
    if done.returncode != 0 and not log.exists():
        return [Run(f"{suite} {' '.join(names)}", Sum(failed=1), 0, done.stdout)]
    return [read_entry(leg, suite, json.loads(line))
            for line in (log.read_text().splitlines() if log.exists() else ())]


def read_entry(leg, suite, entry):
    """What Meson wrote of one program."""
    name = entry["name"].split(" / ")[-1]
    said = [entry.get("stdout", ""), entry.get("stderr", ""), f"result: {entry['result']}"]
    return Run(f"{suite} {name}", count_tap(entry.get("stdout", ""), entry["result"]),
               entry["duration"], "\n".join(said), lambda: run_suite(leg, suite, (name,))[0])


# ------------------------------------------------------------------------------------- scenarios

def head_of(file, word):
    """The value of a `// word: value` line among the first ten."""
    for line in file.read_text().splitlines()[:10]:
        if line.startswith(f"// {word}:"):
            return line.partition(":")[2].strip()
    return ""


def choose_scenarios(which, only):
    chosen = []
    for file in sorted(SCENARIO.glob("*.test.mjs")):
        tags = head_of(file, "tags").split()
        fits = {"all": "slow" not in tags, "slow": "slow" in tags,
                "memory": "slow" not in tags and "plain" not in tags,
                "threads": "threads" in tags and "slow" not in tags}[which]
        if fits and only in f"scenario {file.name}":
            chosen.append(file)
    return chosen


def install_node_modules():
    """npm ci, only when the lock file is not the one that was installed; False when it fails."""
    lock, modules = SCENARIO / "package-lock.json", SCENARIO / "node_modules"
    stamp = modules / ".installed-lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return True
    say("installing the npm packages of tests/scenario")
    done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                          cwd=SCENARIO, stdin=subprocess.DEVNULL, text=True, timeout=600,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        say(done.stdout)
        return False
    stamp.write_text(digest)
    return True


def count_node(stdout, code):
    """The counters that node:test prints last; a process that ends badly without one failed."""
    counter = {key: int(value) for key, value in
               re.findall(r"^# (pass|fail|cancelled|skipped|todo) (\d+)$", stdout, re.M)}
    outcome = Sum(counter.get("pass", 0), counter.get("fail", 0) + counter.get("cancelled", 0),
                  counter.get("skipped", 0) + counter.get("todo", 0))
    if outcome.failed == 0 and (code != 0 or not counter):
        outcome.failed = 1
    return outcome


def end_group(process):
    """Ends whatever the scenario started and did not stop itself."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_scenario(leg, file):
    limit = int(head_of(file, "timeout") or SCENARIO_SECONDS) * (2 if leg.sanitizer else 1)
    env = {**os.environ, **leg.env, "PENSTOCK_BIN": str(ROOT / leg.folder / "penstock"),
           "PENSTOCK_SANITIZER": leg.sanitizer, "NO_COLOR": "1"}
    env.pop("NODE_OPTIONS", None)
    started = time.monotonic()
    process = subprocess.Popen([*leg.wrapper, "node", "--test-reporter=tap", str(file)],
                               cwd=SCENARIO, env=env, start_new_session=True, text=True,
                               errors="replace", stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    late = False
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        late = True
        end_group(process)
        output, _ = process.communicate()
        output += f"\nstopped: still running after {limit} s"
    end_group(process)
    outcome = count_node(output, process.returncode)
    if late and outcome.failed == 0:
        outcome.failed = 1
    return Run(f"scenario {file.name.removesuffix('.test.mjs')}", outcome,
               time.monotonic() - started, without_passes(output), lambda: run_scenario(leg, file))


def without_passes(output):
    """TAP of the cases that failed: the passed ones and their yaml are left out."""
    kept, skipping = [], False
    for line in output.splitlines():
        word = line.strip()
        if re.match(r"(not )?ok \d+", word):
            skipping = word.startswith("ok")
        elif word.startswith(("# Subtest", "TAP version")):
            continue
        if not skipping:
            kept.append(line)
        elif word == "...":
            skipping = False
    return "\n".join(kept)


def run_scenarios(leg, only):
    """Runs them, some at once. A list of runs."""
    files = choose_scenarios(leg.scenarios, only) if leg.scenarios else []
    if not files:
        return []
    if not install_node_modules():
        return [Run("scenario npm", Sum(failed=len(files)), 0, "npm ci failed")]
    workers = int(os.environ.get("SCENARIO_JOBS", "2"))
    runs = []
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(run_scenario, leg, file) for file in files]
        for future in concurrent.futures.as_completed(running):
            runs.append(future.result())
            report(leg, runs[-1])
    return runs


# ------------------------------------------------------------------------------------- the legs

def fixed_addresses():
    """The thread sanitizer cannot live with the widest address randomisation: ask for none."""
    tool = shutil.which("setarch")
    if tool:
        command = (tool, os.uname().machine, "-R")
        if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            return command
    return ()


def legs_of(args):
    if args.slow:
        return [Leg("slow", args.build, suites=("slow",), scenarios="slow")]
    normal = Leg("normal", args.build, suites=("arch", "unit", "fuzz"), scenarios="all")
    if not args.full:
        return [normal]
    symbolizer = shutil.which("llvm-symbolizer")
    memory = {
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:disable_coredump=1:"
                        "detect_stack_use_after_return=1:strict_string_checks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "MALLOC_PERTURB_": "0",
    }
    threads = {"TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:exitcode=66"
               + (f":external_symbolizer_path={symbolizer}" if symbolizer else "")}
    normal.compiler = os.environ.get("CC", "gcc")
    return [
        normal,
        Leg("clang", "build-clang", compiler="clang"),
        Leg("asan", "build-asan", compiler="gcc", options=("-Db_sanitize=address,undefined",),
            suites=("unit", "fuzz"), scenarios="memory", sanitizer="address", env=memory),
        Leg("tsan", "build-tsan", compiler="clang", options=("-Db_sanitize=thread",),
            scenarios="threads", sanitizer="thread", env=threads, wrapper=fixed_addresses()),
    ]


def run_leg(leg, only):
    started = time.monotonic()
    say(f"---- {leg.name}: {leg.folder}")
    if not build(leg):
        say(f"FAIL {leg.name:<6} does not build")
        return Sum(failed=1, last_words=[f"FAIL {leg.name}: does not build"])
    runs = []
    for suite in leg.suites:
        names = names_of(leg, suite, only) if only else ()
        of_suite = run_suite(leg, suite, names) if names or not only else []
        for run in of_suite:
            report(leg, run)
        runs += of_suite
    total = settle(leg, runs + run_scenarios(leg, only))
    say(f"---- {leg.name}: {total} in {time.monotonic() - started:.0f} s")
    return total


def main():
    parser = argparse.ArgumentParser(description="builds, runs every test and sums up")
    parser.add_argument("--full", action="store_true", help="both compilers, all sanitizers")
    parser.add_argument("--leg", choices=["normal", "clang", "asan", "tsan"], help="only this one of --full")
    parser.add_argument("--slow", action="store_true", help="the slow tests instead")
    parser.add_argument("--build", default="build", help="folder of the normal build")
    parser.add_argument("--only", default="", help='only what holds this text, e.g. "unit h1"')
    parser.add_argument("--total", help="write the last line to this file instead")
    args = parser.parse_args()
    total = Sum()
    args.full = args.full or args.leg is not None
    for leg in legs_of(args):
        if args.leg not in (None, leg.name):
            continue
        total.add(run_leg(leg, args.only))
    if total.passed + total.failed == 0:
        say("no test ran")
        total.failed = 1
    for words in total.last_words:  # once more, where a reader of the last lines finds them
        say(words)
    if args.total:
        pathlib.Path(args.total).write_text(f"{total}\n")
    else:
        say(str(total))
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())

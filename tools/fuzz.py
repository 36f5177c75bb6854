#!/usr/bin/env python3
"""fuzz - builds the fuzz targets with libFuzzer (clang) and runs each for a while.

New inputs go to build-fuzz/found/<name>/, never into the tree: what is worth keeping is copied to
tests/fuzz/corpus/<name>/ by hand. An input that breaks a target stays in build-fuzz/.

Usage: tools/fuzz.py [--seconds 60] [NAME...]
"""
import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-fuzz"


def build():
    if not (BUILD / "build.ninja").exists():
        subprocess.run(["meson", "setup", str(BUILD), "-Dfuzz=true", "-Db_lundef=false"],
                       cwd=ROOT, env={**os.environ, "CC": "clang"}, check=True)
    subprocess.run(["ninja", "-C", str(BUILD)], check=True)


def run(target, seconds):
    """Runs one target; True when it found nothing."""
    name = target.name.removeprefix("fuzz_")
    found, corpus = BUILD / "found" / name, ROOT / "tests/fuzz/corpus" / name
    found.mkdir(parents=True, exist_ok=True)
    command = [str(target), f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048",
               "-print_final_stats=1", f"-artifact_prefix={BUILD}/{name}-", str(found)]
    if corpus.is_dir():
        command.append(str(corpus))
    done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                          timeout=seconds + 120, check=False)
    runs = [line.split()[-1] for line in done.stderr.splitlines()
            if line.startswith("stat::number_of_executed_units")]
    print(f"fuzz {name:<16} {'clean' if done.returncode == 0 else 'BROKEN'}"
          f" {runs[0] if runs else '?'} runs in {seconds} s", flush=True)
    if done.returncode != 0:
        print(done.stderr[-6000:], flush=True)
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description="runs the fuzz targets")
    parser.add_argument("--seconds", type=int, default=60, help="how long each target runs")
    parser.add_argument("names", nargs="*", help="only these targets")
    args = parser.parse_args()
    build()
    targets = [path for path in sorted((BUILD / "tests/fuzz").glob("fuzz_*"))
               if path.is_file() and os.access(path, os.X_OK)]
    if args.names:
        targets = [path for path in targets if path.name.removeprefix("fuzz_") in args.names]
    clean = [run(target, args.seconds) for target in targets]
    print(f"{clean.count(True)} passed, {clean.count(False)} failed")
    return 0 if clean and all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())

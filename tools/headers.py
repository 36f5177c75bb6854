#!/usr/bin/env python3
"""headers - every header compiles alone.

A header that needs another one included before it is a trap for whoever includes it next. Each
.h under src/ and include/ is compiled by itself, with the flags that the build uses for its folder.

Usage: tools/headers.py SOURCE_DIR BUILD_DIR
"""
import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys

# Flags that belong to one output, each with an argument.
WITH_ARGUMENT = {"-o", "-MF", "-MQ", "-MT"}
ALONE = {"-c", "-MD", "-MMD"}


def strip_output(command):
    """The compiler and its flags without the file that they were for."""
    kept, words = [], iter(command[:-1])
    for word in words:
        if word in WITH_ARGUMENT:
            next(words, None)
        elif word not in ALONE:
            kept.append(word)
    return kept


def flags_by_folder(build, source):
    """Reads compile_commands.json; any file of a folder speaks for the folder."""
    flags = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        file = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
        if file.is_relative_to(source / "src"):
            flags[file.parent.name] = (strip_output(shlex.split(entry["command"])), entry["directory"])
    return flags


def compile_alone(header, flags):
    """None when the header compiles, else what the compiler said."""
    command, directory = flags
    command = command + ["-fsyntax-only", "-x", "c", "-include", str(header), "/dev/null"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
    return None if done.returncode == 0 else f"{header}:\n{done.stderr.strip()}"


def main():
    source, build = (pathlib.Path(arg).resolve() for arg in sys.argv[1:3])
    flags = flags_by_folder(build, source)
    if not flags:
        print("nothing is compiled from src/ yet")
        return 0
    spare = next(iter(flags.values()))
    headers = sorted([*(source / "src").rglob("*.h"), *(source / "include").rglob("*.h")])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        said = list(pool.map(lambda h: compile_alone(h, flags.get(h.parent.name, spare)), headers))
    wrong = [words for words in said if words]
    print("\n\n".join(wrong) if wrong else f"{len(headers)} headers compile alone")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

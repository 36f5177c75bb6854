#!/usr/bin/env python3
"""loadtest - the load tests against the demo, or against a service that runs already.

    tools/loadtest.py suite [--full]           all four; shortened unless --full
    tools/loadtest.py soak --hours 24          endurance; goes on with the journal of an earlier one
        --url URL        not the demo, but this
        --folder DIR     where report, page and JUnit go
        --penstock FILE  the program

The exit status is that of the test: 0 pass, 1 a threshold was not kept, 3 unreachable, 4 limited by the generator, 5
aborted.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATH = "/v1/chat/completions"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start_demo(penstock, folder):
    """The demo on a port of its own: (process, URL). Its recorded traffic goes on beside the test, as in life."""
    listen = f"127.0.0.1:{free_port()}"
    demo = subprocess.Popen([penstock, "demo", "--listen", listen], stdout=(folder / "demo.log").open("w"),
                            stderr=subprocess.STDOUT)
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://{listen}/readyz", timeout=1) as answer:
                if answer.status == 200:
                    return demo, f"http://{listen}{PATH}"
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
        if demo.poll() is not None:
            break
    demo.terminate()
    sys.exit(f"loadtest: the demo did not start: {folder / 'demo.log'}")


def command(args, url, report):
    watch = [] if args.url else ["--target-metrics", f"{url.removesuffix(PATH)}/metrics"]
    if args.test == "suite":
        return [args.penstock, "suite", url, "--out", str(report), *watch, *([] if args.full else ["--quick"])]
    resume = ["--resume"] if pathlib.Path(f"{report}.endurance.journal").exists() else []
    return [args.penstock, "endurance", url, "--duration", f"{args.hours * 3600:g}s", "--out", str(report), *watch,
            *resume]


def main():
    parser = argparse.ArgumentParser(description="Load tests against the demo.")
    parser.add_argument("test", choices=["suite", "soak"])
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--url")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "loadtest")
    parser.add_argument("--penstock", default=str(ROOT / "build" / "penstock"))
    args, more = parser.parse_known_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    report = args.folder / "load_test_report.json"
    demo, url = (None, args.url) if args.url else start_demo(args.penstock, args.folder)
    status = 5
    try:
        status = subprocess.run([*command(args, url, report), *more]).returncode
    except KeyboardInterrupt:
        pass  # the test heard it too, and has written what ran
    finally:
        if demo is not None:
            demo.send_signal(signal.SIGTERM)
            demo.wait()
    if report.exists():
        subprocess.run([args.penstock, "report", str(report), "--html", str(report.with_suffix(".html")), "--junit",
                        str(report.with_suffix(".xml"))])
        print(f"{report}\n{report.with_suffix('.html')}\n{report.with_suffix('.xml')}")
    sys.exit(status)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""report - docs/benchmarks.md from the results of `make bench`.

    report.py            takes build/bench/*.json over into docs/bench/ and writes the page
    report.py --check    says whether the page is what docs/bench/ gives, and changes nothing

A run of --quick is not taken over. Why a figure falls short stands in notes.json, by metric; the
page says so where nobody has found out yet.

SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
KEPT = ROOT / "docs" / "bench"

HEAD = """# Benchmarks

`make bench NAME=proxy` measures Penstock beside nginx and haproxy in the same run on the same
machine. This page is generated from its results (`tests/bench/report.py`; the results themselves,
every round included, are in `docs/bench`).

A ratio above 1 means that Penstock is better. "Added" is what a proxy costs: its latency less the
latency of the same load without a proxy, in the same round. Every figure is the median of its
rounds; the targets measure one proxy after the other in an order that turns. Where the latency
without any proxy was over 1 ms at the 99th percentile the machine was not quiet: that round was
done again, at most as often as there are rounds.
"""


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def verdict(result):
    return {True: "holds", False: "**falls short**", None: "not measured"}[result["holds"]]


def machine(env):
    kind = "virtual machine" if env["virtual"] else "machine"
    lines = [
        f"A {kind} with {env['cores']} cores of {env['cpu']}, {env['memory_gib']} GiB of memory, "
        f"Linux {env['kernel']}{'; ' if env['programs'] else ''}{', '.join(env['programs'])}. Measured on {env['date']}: "
        f"{env.get('placement', 'one process at a time')}{', at raised priority' if env['raised_priority'] else ''}. Load average before {env['load_average_before']:.2f}, after "
        f"{env['load_average_after']:.2f}."]
    if "rows" not in env:
        return lines[0]
    told = {key: sum(row[key] for row in env["rows"].values())
            for key in ("repeated", "noisy", "disturbed")}
    lines.append(f"Rounds of each row: {env['rounds']}. Rounds done again because the machine was "
                 f"not quiet: {told['repeated']}; kept though it was not quiet: {told['noisy']}. "
                 f"Measurements during which other programs took over 6 % of a core: "
                 f"{told['disturbed']} (done again, up to twice; the calmest counts).")
    lines += [f"Without {name}: {why}." for name, why in env["skipped"].items()]
    return "\n\n".join(lines)


def table(results):
    lines = ["| metric | ours | peer | | ratio | target | |", "|---|---:|---:|---|---:|---|---|"]
    for r in results:
        lines.append(f"| `{r['metric']}` | {number(r['ours'])} {r['unit']} | {number(r['peer'])} | "
                     f"{r['peer_name']} | {number(r['ratio'])} | {r['target']} | {verdict(r)} |")
    return "\n".join(lines)


def meanings(results):
    return "\n".join(f"* `{r['metric']}`: {r['what']}." for r in results)


def remark(result, notes):
    """One line about a figure that falls short, was not measured, or carries a note."""
    note = notes.get(result["metric"])
    if result["holds"] is False:
        failed = result["failed_requests"]
        reason = note or "the reason is not known yet"
        extra = f" ({failed} requests failed)" if failed else ""
        return f"* `{result['metric']}` falls short{extra}: {reason}."
    if note:
        return f"* `{result['metric']}`: {note}."
    return None


def conclusion(results, notes):
    held = sum(r["holds"] is True for r in results)
    short = sum(r["holds"] is False for r in results)
    missing = len(results) - held - short
    lines = [f"{held} of {len(results)} targets hold, {short} fall short"
             + (f", {missing} were not measured." if missing else ".")]
    remarks = [line for line in (remark(r, notes) for r in results) if line]
    return "\n\n".join(lines + (["\n".join(remarks)] if remarks else []))


def page(reports, notes):
    parts = [HEAD]
    for report in reports:
        results = report["results"]
        parts += [f"## {report['name']}\n", machine(report["environment"]) + "\n",
                  table(results) + "\n", conclusion(results, notes) + "\n", meanings(results) + "\n"]
    return "\n".join(parts)


def take_over():
    KEPT.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "build" / "bench").glob("*.json")):
        if json.loads(path.read_text())["environment"]["quick"]:
            print(f"{path.name} is a quick look and is not taken over", file=sys.stderr)
            continue
        (KEPT / path.name).write_text(path.read_text())


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    if not check:
        take_over()
    reports = [json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))]
    text = page(reports, json.loads((HERE / "notes.json").read_text()))
    if check:
        fresh = not reports or (PAGE.exists() and PAGE.read_text() == text)
        sys.exit(None if fresh else "docs/benchmarks.md is not what docs/bench gives: "
                                    "run tests/bench/report.py")
    PAGE.write_text(text)
    print(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

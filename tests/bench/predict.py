"""predict - is trouble with memory foreseen? Beside a fixed threshold, a straight line and no prediction.

Servers under five workloads (tests/helpers/strain.h) with seeds that nothing was tuned on, and memory
derived from recorded traces: these come from ../shared/data beside the checkout (or $PENSTOCK_DATA);
without them the part is skipped, and the report says so.

SPDX-License-Identifier: Apache-2.0
"""
import csv
import gzip
import os
import pathlib

from machine import machine, version_of
from rows import figure, ratio_of, say
from targets import ROOT, ask_program, build_targets

DATA = pathlib.Path(os.environ.get("PENSTOCK_DATA", ROOT.parent / "shared" / "data"))
FRESH = 3001  # STRAIN_FRESH_SEED
SLOW = ("ramp", "sawtooth", "leak")
QUICK = ("step", "burst")
SERIES = {"conv": "conversation", "code": "code"}
PARTS = ("shapes", "level", "series")

WHAT = {
    "predict_recall": "Episodes (events after a minute without) that an alarm announced, all five workloads on "
                      "servers with a pool of blocks and with a heap",
    "predict_false": "Alarms after which no trouble came: not while they stood, within half a minute after, or "
                     "within two minutes of their beginning",
    "predict_mcc": "Matthews coefficient over all seconds: was an alarm standing, did trouble come within 60 s",
}
for _shape in SLOW:
    WHAT[f"predict_lead_{_shape}"] = (f"Seconds from alarm to trouble, {_shape}: 19 of 20 episodes have at least "
                                      "that, unannounced ones count as 0")
for _shape in QUICK:
    WHAT[f"predict_lead_{_shape}"] = (f"Seconds from alarm to trouble, {_shape}: the mean, unannounced episodes count "
                                      "as 0; the peer is the rule that what is held and queued exceeds the memory")
for _shape in ("ramp", "step", "sawtooth", "leak", "burst"):
    WHAT[f"predict_threshold_{_shape}"] = f"Matthews coefficient, {_shape}, beside an alarm at 85 % in use"
    WHAT[f"predict_line_{_shape}"] = f"Matthews coefficient, {_shape}, beside a straight line through 30 s"
for _name, _title in SERIES.items():
    WHAT[f"predict_f1_{_name}"] = (
        f"F1 of `over the 95th percentile within 10 s`, Azure {_title} trace, while it is below; at a probability of "
        "0.2, chosen on this trace; nothing else was learned before")
    WHAT[f"predict_walk_{_name}"] = ("The same beside the first passage of a random walk, both with the threshold that is "
                                     "best in hindsight")
    WHAT[f"predict_accuracy_{_name}"] = "Accuracy of the same, beside never predicting anything"
    WHAT[f"predict_brier_{_name}"] = "Skill of Brier's score of the same, over always saying how often it happens"
    WHAT[f"predict_calibrated_{_name}"] = ("Mean distance between the probability and how often it came true, in bands "
                                           "of a tenth")
WHAT.update({
    "predict_cost": "Processor time of a prediction, a sample",
    "predict_cost_flight": "The same with each request in flight looked at, Azure conversation (35 at a time)",
    "level_right": "Seconds in which the word for the pressure is the one that the hidden state gives, all workloads",
    "level_flaps": "Words taken back within a minute, a minute, the worst workload",
})


def build():
    return build_targets("tests/bench/bench_predict")[0]


def result(metric, unit, ours, peer, peer_name, target, holds, less=False, **more):
    return figure(WHAT, metric, unit, ours, peer, peer_name, target, holds, ratio_of(ours, peer, not less, 1e-6), **more)


def pooled(told, rule):
    """All shapes together."""
    keys = ("hit", "false_positive", "missed", "quiet", "episodes", "announced", "alarms", "false_alarms")
    sums = {key: sum(shape[rule][key] for shape in told["shapes"].values()) for key in keys}
    hit, wrong, missed, quiet = (sums[key] for key in keys[:4])
    product = (hit + wrong) * (hit + missed) * (quiet + wrong) * (quiet + missed)
    sums["mcc"] = (hit * quiet - wrong * missed) / product ** 0.5 if product else 0
    return sums


def run_shapes(program, runs):
    told = ask_program(program, "shapes", FRESH, runs)
    shapes = told["shapes"]
    ours, fixed = pooled(told, "ours"), pooled(told, "threshold")
    recall = 100 * ours["announced"] / ours["episodes"]
    false = 100 * ours["false_alarms"] / max(1, ours["alarms"])
    peer_false = 100 * fixed["false_alarms"] / max(1, fixed["alarms"])
    peer_recall = 100 * fixed["announced"] / fixed["episodes"]
    results = [
        result("predict_recall", "%", recall, peer_recall, "85 % in use", "at least 95 %", recall >= 95, all=shapes),
        result("predict_false", "%", false, peer_false, "85 % in use", "at most 5 %", false <= 5, less=True),
        result("predict_mcc", "", ours["mcc"], fixed["mcc"], "85 % in use", "at least 0.6", ours["mcc"] >= 0.6),
        result("predict_cost", "us", told["us"], None, "-", "at most 5 us", told["us"] <= 5),
    ]
    for name in SLOW:
        lead = shapes[name]["ours"]["lead_p5"]
        results.append(result(f"predict_lead_{name}", "s", lead, None, "-", "at least 10 s", lead >= 10,
                              median=shapes[name]["ours"]["lead_median"]))
    for name in QUICK:
        lead, queue = (shapes[name][rule]["lead_mean"] for rule in ("ours", "queue"))
        results.append(result(f"predict_lead_{name}", "s", lead, queue, "queued tokens", "not below queued tokens",
                              lead >= queue))
    for name, rules in shapes.items():
        mcc, fixed_mcc, line = (rules[rule]["mcc"] for rule in ("ours", "threshold", "line"))
        results += [
            result(f"predict_threshold_{name}", "", mcc, fixed_mcc, "85 % in use", "better", mcc > fixed_mcc),
            result(f"predict_line_{name}", "", mcc, line, "straight line",
                   "not worse" if name == "ramp" else "better", mcc >= line if name == "ramp" else mcc > line)]
    return results


def run_level(program, runs):
    told = ask_program(program, "level", FRESH, runs)["levels"]
    right = 100 * sum(r["right"] for r in told.values()) / sum(r["samples"] for r in told.values())
    flaps = max(60 * r["flaps"] / r["samples"] for r in told.values())
    truth = max(60 * r["truth_flaps"] / r["samples"] for r in told.values())
    return [result("level_right", "%", right, None, "-", "at least 99 %", right >= 99, all=told),
            result("level_flaps", "a minute", flaps, truth, "the truth itself", "at most 1", flaps <= 1, less=True)]


def read_rows(path):
    with gzip.open(path, "rt") as file:
        rows = csv.reader(file)
        next(rows)
        return list(rows)


def write_series(name, path):
    """As bench_predict reads it; False when the data are not there."""
    memory = DATA / "llm" / f"derived_kv_{name}.csv.gz"
    trace = DATA / "llm" / f"azure2023_{name}.csv.gz"
    if not memory.exists() or not trace.exists():
        return False
    seconds, requests = read_rows(memory), read_rows(trace)
    lines = [f"{len(seconds)} {len(requests)}", *[row[3] for row in seconds], *[" ".join(row) for row in requests]]
    path.write_text("\n".join(lines) + "\n")
    return True


def series_results(name, told):
    ours, line, walk = told["ours"], told["line"], told["walk"]
    never = 100 * told["never_accuracy"]
    results = [
        result(f"predict_f1_{name}", "", ours["f1"], line["f1"], "straight line", "at least 0.45", ours["f1"] >= 0.45,
               all=told),
        result(f"predict_walk_{name}", "", ours["f1_hindsight"], walk["f1_hindsight"], "random walk", "better",
               ours["f1_hindsight"] > walk["f1_hindsight"]),
        result(f"predict_accuracy_{name}", "%", 100 * ours["accuracy"], never, "never", "reported", None),
        result(f"predict_brier_{name}", "", ours["brier_skill"], None, "-", "above 0", ours["brier_skill"] > 0,
               line=line["brier_skill"]),
        result(f"predict_calibrated_{name}", "", ours["gap"], walk["gap"], "random walk", "at most 0.05",
               ours["gap"] <= 0.05, less=True)]
    if name == "conv":
        results.append(result("predict_cost_flight", "us", told["us"], None, "-", "at most 5 us", told["us"] <= 5))
    return results


def run_series(program, folder, skipped):
    results = []
    for name, title in SERIES.items():
        path = folder / f"{name}.series"
        if write_series(name, path):
            results += series_results(name, ask_program(program, "series", path))
        else:
            skipped[f"the {title} trace"] = "the data are not there"
    return results


def run(args, folder, save):
    program = build()
    skipped = {}
    report = {"name": "predict", "results": [], "environment": {
        **machine(), "quick": args.quick, "skipped": skipped,
        "programs": [version for version in (version_of("penstock", [args.penstock, "version"]),
                                             version_of("gcc", ["gcc", "-dumpfullversion"])) if version],
        "placement": "simulated in one thread; but for the cost the figures do not depend on the machine"}}
    parts = {"shapes": lambda: run_shapes(program, 2 if args.quick else 6),
             "level": lambda: run_level(program, 1 if args.quick else 2),
             "series": lambda: run_series(program, folder, skipped)}
    for part in PARTS:
        if args.only is None or part in args.only:
            say(f"predict: {part}")
            report["results"] += parts[part]()
            order = list(WHAT)
            report["results"].sort(key=lambda r: order.index(r["metric"]))
            save(report)
    return report

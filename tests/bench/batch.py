"""batch - how good a batch is found in 32 tries? Beside hill climbing and a fixed 32; the truth is exhaustive.

SPDX-License-Identifier: Apache-2.0
"""

from machine import machine, version_of
from rows import figure, ratio_of, say
from targets import ask_program, build_targets

FRESH = 90001
KINDS = {"linear": "b + a n, with an objective for the 95th percentile",
         "stepped": "padding to the next power of two and a knee at one, with and without an objective",
         "noisy": "linear with 10 % noise and 3 % stragglers of 3 to 8 times, with an objective",
         "memory": "linear on a device that holds only so many"}
PARTS = ("search", "queue", "cost")
WHAT = {}
for _kind, _text in KINDS.items():
    WHAT[f"batch_{_kind}"] = (f"Throughput of the recommended batch after at most 32 tries, of that of the best fixed one "
                              f"(mean over 200 servers): {_text}")
for _kind in KINDS:
    WHAT[f"batch_within_{_kind}"] = (f"Servers of the kind {_kind} where it is within 5 %, and the 95th percentile not more "
                                     "than 5 % above the objective")
WHAT.update({
    "batch_tries": "Most batches that any search took",
    "batch_late": "95th percentile of the recommended batch by the objective, the worst server",
    "batch_oom_after": "Batches that ran out of memory after the search, of 2,000 on each of 200 memory-limited servers",
    "batch_oom_in_search": "Most batches that ran out of memory in one search, memory-limited",
    "batch_memory_error": "Mean error of the memory model over all sizes up to the recommended, the worst server",
    "batch_triton": "Throughput by that of batches of one, on a server like that of Triton's guide: twice as many clients as "
                    "the recommended batch, none of which waits longer (95th percentile) than four do with batches of one",
    "batch_triton_p95": "95th percentile there, waiting included, beside four clients with batches of one",
    "batch_stream_p95": "95th percentile with requests that come by chance, 3.5 times as many as batches of one can carry at "
                        "all, beside batches of one at 90 % of what they can",
    "batch_same_p95": "The same at the same load: 90 % of what batches of one can carry",
    "batch_learn": "Processor time to learn a call",
    "batch_advise": "Processor time of a recommendation after something new was learned (it is kept until then)",
})


def build():
    return build_targets("tests/bench/bench_batch")[0]


def result(metric, unit, ours, peer, peer_name, target, holds, less=False, **more):
    ratio = ratio_of(ours, peer, not less, 1 if "oom" in metric else 1e-6)
    return figure(WHAT, metric, unit, ours, peer, peer_name, target, holds, ratio, **more)


def run_search(program, runs):
    kinds = ask_program(program, "search", FRESH, runs)["kinds"]
    results = []
    for kind, rules in kinds.items():
        ours, aimd, fixed = (rules[rule] for rule in ("ours", "aimd", "fixed_32"))
        results += [
            result(f"batch_{kind}", "", ours["mean"], aimd["mean"], "hill climbing (AIMD)", "at least 0.95",
                   ours["mean"] >= 0.95, all=rules),
            result(f"batch_within_{kind}", "%", 100 * ours["within"] / runs, 100 * aimd["within"] / runs,
                   "hill climbing (AIMD)", "all", ours["within"] == runs, fixed_32=100 * fixed["within"] / runs)]
    memory = kinds["memory"]
    tries = max(kind["ours"]["most_tries"] for kind in kinds.values())
    late = max(kind["ours"]["latest"] for kind in kinds.values())
    peer_late = max(kind["aimd"]["latest"] for kind in kinds.values())
    results += [
        result("batch_tries", "", tries, None, "-", "at most 32", tries <= 32, less=True),
        result("batch_late", "", late, peer_late, "hill climbing (AIMD)", "at most 1.05", late <= 1.05, less=True),
        result("batch_oom_after", "", memory["ours"]["oom_after"], memory["aimd"]["oom_after"], "hill climbing (AIMD)",
               "0", memory["ours"]["oom_after"] == 0, less=True),
        result("batch_oom_in_search", "", memory["ours"]["most_oom_in_search"], memory["aimd"]["most_oom_in_search"],
               "hill climbing (AIMD)", "at most 1", memory["ours"]["most_oom_in_search"] <= 1, less=True,
               all_searches=memory["ours"]["oom_in_search"]),
        result("batch_memory_error", "%", 100 * memory["ours"]["memory_error_worst"], None, "-", "at most 5 %",
               memory["ours"]["memory_error_worst"] <= 0.05, less=True)]
    return results


def run_queue(program):
    told = ask_program(program, "queue", FRESH)
    gain = told["full"]["rate"] / told["alone"]["rate"]
    guide = told["guide"]["rate"] / told["alone"]["rate"]
    return [
        result("batch_triton", "x", gain, guide, "batches of 4, 8 clients (the guide's)", "at least 3.5", gain >= 3.5,
               recommended=told["recommended"], tries=told["tries"]),
        result("batch_triton_p95", "ms", 1e3 * told["full"]["p95"], 1e3 * told["alone"]["p95"], "batches of one",
               "no worse", told["full"]["p95"] <= told["alone"]["p95"], less=True),
        result("batch_stream_p95", "ms", 1e3 * told["more"]["p95"], 1e3 * told["busy"]["p95"], "batches of one",
               "no worse", told["more"]["p95"] <= told["busy"]["p95"], less=True),
        result("batch_same_p95", "ms", 1e3 * told["same"]["p95"], 1e3 * told["busy"]["p95"], "batches of one",
               "no worse", told["same"]["p95"] <= told["busy"]["p95"], less=True)]


def run_cost(program):
    told = ask_program(program, "cost")
    return [result("batch_learn", "us", told["learn_us"], None, "-", "at most 1 us", told["learn_us"] <= 1),
            result("batch_advise", "us", told["advise_us"], None, "-", "reported", None)]


def run(args, folder, save):
    program = build()
    report = {"name": "batch", "results": [], "environment": {
        **machine(), "quick": args.quick, "skipped": {},
        "programs": [version for version in (version_of("penstock", [args.penstock, "version"]),
                                             version_of("gcc", ["gcc", "-dumpfullversion"])) if version],
        "placement": "simulated in one thread; but for the cost the figures do not depend on the machine"}}
    parts = {"search": lambda: run_search(program, 40 if args.quick else 200),
             "queue": lambda: run_queue(program), "cost": lambda: run_cost(program)}
    for part in PARTS:
        if args.only is None or part in args.only:
            say(f"batch: {part}")
            report["results"] += parts[part]()
            order = list(WHAT)
            report["results"].sort(key=lambda r: order.index(r["metric"]))
            save(report)
    return report

"""scrape - what a page of 10,000 series costs, and what it costs those who count meanwhile, beside a registry of
one mutex with a string for a key.

SPDX-License-Identifier: Apache-2.0
"""
import metrics
from metrics import PEER, build, environment, measure, median
from rows import say

SERIES = 10_000
WHAT = {
    "page_text": "A page of 10,000 counters with two labels, text 0.0.4",
    "page_openmetrics": "The same in OpenMetrics 1.0, with the time at which each series was made",
    "page_protobuf": "The same in protobuf",
    "page_histograms": "10,000 histograms of 20 bounds, which are 230,000 lines, text 0.0.4",
    "move_scraped": "A bound counter is moved while a page of 10,000 series is written every 20 ms, in the mean",
}
PARTS = ("scrape",)


def run(args, folder, save):
    rounds = args.rounds or (1 if args.quick else 5)
    program = build()
    told = []
    for i in range(rounds):
        say(f"scrape: round {i + 1} of {rounds}")
        told.append(measure(program, "scrape", SERIES))

    def row(metric, unit, name, other, most):
        return metrics.result(
            WHAT, metric, unit, median(told, name), median(told, other) if other else None, most,
            all={"penstock": [one[name] for one in told], **({PEER: [one[other] for one in told]} if other else {})})

    report = {"name": "scrape", "environment": environment(args, rounds), "results": [
        row("page_text", "ms", "text_ms", "peer_ms", 10),
        row("page_openmetrics", "ms", "openmetrics_ms", None, 10),
        row("page_protobuf", "ms", "protobuf_ms", None, 10),
        row("page_histograms", "ms", "histograms_ms", None, None),
        row("move_scraped", "ns", "move_scraped_ns", "peer_move_scraped_ns", 8),
    ]}
    save(report)
    return report

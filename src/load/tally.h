/* tally - what came of the requests of a run: counts, failures by kind, latencies.
 *
 * Latency is kept twice: from the intended time of a request (corrected: what a user who arrived then
 * would have waited) and from the moment it really left. While the generator keeps its times the two
 * agree; when they don't, the difference is the generator's and the pacer says so. Only successful
 * requests enter the latencies; failures are counted beside them, never hidden in them.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_TALLY_H
#define PS_LOAD_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hist.h"
#include "load/pacer.h"
#include "load/session.h"

#define PS_TALLY_STATUSES 600

/* About half a megabyte: allocate it. All zero is empty and ready. */
struct ps_tally {
    uint64_t succeeded;
    uint64_t failed;
    uint64_t unfinished; /* in flight when the run was ended early */
    uint64_t texts;      /* events with text, as they came: a live token count */
    uint64_t prompt_tokens;
    uint64_t output_tokens;
    uint64_t failures[PS_FAILURE_COUNT];
    uint64_t statuses[PS_TALLY_STATUSES];
    char examples[PS_FAILURE_COUNT][160]; /* the first detail of each kind of failure */
    struct ps_hist corrected;             /* ns from intended to end */
    struct ps_hist latency;               /* ns from sent to end */
    struct ps_hist ttft_corrected;        /* ns from intended to first text */
    struct ps_hist ttft;                  /* ns from sent to first text */
    struct ps_hist token_gap;             /* ns a token after the first, mean of each request */
    ps_time first_intended; /* of all ended requests; meaningless before the first */
    ps_time last_end;       /* or when the run was ended early */
    bool stopped;           /* it was */
};

/* Counts one ended request. */
void ps_tally_add(struct ps_tally *tally, const struct ps_session_result *result);

/* A run that began at `began` is ended early, at `now`: counts what was still in flight. */
void ps_tally_stop(struct ps_tally *tally, uint64_t unfinished, ps_time began, ps_time now);

/* Ended requests: succeeded and failed. */
uint64_t ps_tally_ended(const struct ps_tally *tally);

/* Seconds from the first intended send to the last end; 0 before any. */
double ps_tally_seconds(const struct ps_tally *tally);

/* What stands above the figures. */
struct ps_tally_title {
    const char *name;   /* "replay" */
    const char *source; /* the file */
    const char *target;
    double speed;
    uint64_t cut; /* prompts that were cut short */
};

/* Appends the table that people read. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_tally_text(const struct ps_tally *tally, const struct ps_pacer *pacer,
                                const struct ps_tally_title *title, struct ps_buf *out);

/* Appends the same as a JSON object, milliseconds and counts. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_tally_json(const struct ps_tally *tally, const struct ps_pacer *pacer,
                                const struct ps_tally_title *title, struct ps_buf *out);

/* Writes a duration in ns for people: "850 us", "12.3 ms", "4.56 s"; "-" for NAN. Returns text. */
const char *ps_tally_span_text(double ns, char *text, size_t size);

#endif

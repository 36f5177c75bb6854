/* tally - what came of the requests of a run: counts, failures by kind, latencies.
 *
 * Latency is kept twice: from the intended time of a request (corrected: what a user who arrived then
 * would have waited) and from the moment it really left. While the generator keeps its times the two
 * agree; when they don't, the difference is the generator's, and `lag` says so. Only successful
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
#include "load/session.h"

#define PS_TALLY_STATUSES 600

/* A send later than this is late, unless a run says otherwise; a run with more than 1 % of them is limited by the generator. */
#define PS_TALLY_LATE (5 * PS_MILLISECOND)

/* What a request has to keep to be a good one; 0 = no such objective. From the intended time. */
struct ps_objectives {
    ps_span ttft;      /* to the first text */
    ps_span per_token; /* a token after the first, mean of the request */
    ps_span latency;   /* to the end */
};

/* About a megabyte: allocate it. All zero is empty and ready; tallies of seconds, threads or levels
 * add up (ps_tally_merge). */
struct ps_tally {
    /* sending */
    uint64_t sent;
    uint64_t late;    /* of them: later than the run allows */
    uint64_t skipped; /* due, but not sent: the bound on requests in flight, or resources */
    /* what ended */
    uint64_t succeeded;
    uint64_t failed;
    uint64_t good;       /* succeeded, and kept all objectives */
    uint64_t cancelled;  /* broken off on purpose, by the run's cancel_share; neither of the two above */
    uint64_t unfinished; /* in flight when the run was ended early */
    uint64_t texts;      /* events with text, as they came: a live token count */
    uint64_t prompt_tokens;
    uint64_t output_tokens;
    uint64_t bytes_sent;     /* heads and bodies, without TLS */
    uint64_t bytes_received; /* bodies of answers */
    uint64_t connects;       /* connections that were opened */
    uint64_t failures[PS_FAILURE_COUNT];
    uint64_t statuses[PS_TALLY_STATUSES];
    char examples[PS_FAILURE_COUNT][160]; /* the first detail of each kind of failure */
    /* of successes */
    struct ps_hist corrected;      /* ns from intended to end */
    struct ps_hist latency;        /* ns from sent to end */
    struct ps_hist first_byte;     /* ns from sent to the head of the answer */
    struct ps_hist ttft_corrected; /* ns from intended to first text */
    struct ps_hist ttft;           /* ns from sent to first text */
    struct ps_hist token_gap;      /* ns a token after the first, mean of each request */
    struct ps_hist event_gap;      /* ns from one event with text to the next, each one, when it came */
    struct ps_hist lag;            /* ns from intended to sent, of all that were sent */
    ps_time first_intended; /* of all ended requests; meaningless before the first */
    ps_time last_end;       /* or when the run was ended early */
    bool stopped;           /* it was */
};

/* A request left at `now`; more than `max_lag` after its time it is late. */
void ps_tally_sent(struct ps_tally *tally, ps_time intended, ps_time now, ps_span max_lag, size_t bytes);

/* Counts one ended request. Objectives may be NULL. */
void ps_tally_add(struct ps_tally *tally, const struct ps_session_result *result,
                  const struct ps_objectives *objectives);

/* Adds everything of `from`. */
void ps_tally_merge(struct ps_tally *tally, const struct ps_tally *from);

/* Forgets everything; cheaper than zeroing where little was counted. */
void ps_tally_clear(struct ps_tally *tally);

/* Did the generator and not the server shape this? (Requests were skipped, or more than 1 % and more than
 * one were late.) */
bool ps_tally_is_limited(const struct ps_tally *tally);

/* A run that began at `began` is ended early, at `now`: counts what was still in flight. */
void ps_tally_stop(struct ps_tally *tally, uint64_t unfinished, ps_time began, ps_time now);

/* Ended requests: succeeded, failed, or broken off on purpose. */
uint64_t ps_tally_ended(const struct ps_tally *tally);

/* Failed ones of those that were to succeed; NAN when none ended. */
double ps_tally_error_percent(const struct ps_tally *tally);

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
PS_MUST_CHECK int ps_tally_text(const struct ps_tally *tally,
                                const struct ps_tally_title *title, struct ps_buf *out);

/* Appends the same as a JSON object, milliseconds and counts. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_tally_json(const struct ps_tally *tally,
                                const struct ps_tally_title *title, struct ps_buf *out);

/* Writes a duration in ns for people: "850 us", "12.3 ms", "4.56 s"; "-" for NAN. Returns text. */
const char *ps_tally_span_text(double ns, char *text, size_t size);

#endif

/* plan - where requests come from: an endless or finite row of {when, what}, made as it is asked for.
 *
 * A plan says when each request is meant to leave and what it asks, and nothing about how things
 * went: whoever sends (pacer, session) never slows a plan down, and a plan never looks at a clock. Each
 * source is one kind of plan:
 *
 *   azure, mooncake   a request for each line, at its recorded time
 *   servegen          the file holds rates: arrivals are drawn from a Poisson process that follows
 *                     them, lengths (which the file does not have) from the distributions below
 *   keys              32-bit big-endian keys without times: an embedding request for each, at a
 *                     steady rate
 *
 * The first request is at 0. The same options give the same plan, byte for byte, on every machine.
 * Memory does not grow with the file.
 *
 * Thread: owned by one thread; ps_plan_next() may wait for the disk.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_PLAN_H
#define PS_LOAD_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "load/trace.h"

/* ServeGen's lengths: prompts log-normal, answers exponential, both cut to at least 1 and at most 8
 * times the figure here. Assumed, not recorded. */
#define PS_PLAN_PROMPT_MEDIAN 512
#define PS_PLAN_PROMPT_SIGMA 1.0
#define PS_PLAN_OUTPUT_MEAN 256

struct ps_plan;

enum ps_plan_kind { PS_PLAN_CHAT, PS_PLAN_EMBEDDING };

/* One request to come. */
struct ps_plan_entry {
    ps_span at; /* from the first request of the plan; never goes backwards */
    enum ps_plan_kind kind;
    uint64_t number; /* from 0 */
    /* The prompt: `block_count` blocks of PS_TRACE_BLOCK_TOKENS tokens whose text depends on the id
     * alone, then text that depends on `text_seed` alone, prompt_tokens in all. */
    uint32_t prompt_tokens;
    uint32_t max_tokens; /* length of the answer; chat only */
    uint64_t text_seed;
    const uint64_t *blocks; /* valid until the next ps_plan_next() */
    size_t block_count;
};

struct ps_plan_opts {
    const char *path;
    uint64_t seed;              /* for all that is drawn */
    uint32_t max_prompt_tokens; /* longer prompts are cut and counted; 0 = as recorded */
    double rate_scale;          /* servegen: share of the recorded rate; 0 counts as 1 */
    double key_rate;            /* keys: requests a second; > 0 makes the file a key trace */
};

/* What went wrong and where: "trace.csv:17: expected three fields". */
struct ps_plan_error {
    char text[640];
};

/* Opens the source and looks at its first line. PS_OK; PS_ENOTFOUND (no such file), PS_EPARSE (not a
 * trace that we know), PS_EIO, PS_ENOMEM, and *error says why. */
PS_MUST_CHECK int ps_plan_open(struct ps_plan **out, const struct ps_plan_opts *opts,
                               struct ps_plan_error *error);
void ps_plan_close(struct ps_plan *plan); /* NULL is fine */

/* Gives the next request. PS_OK; PS_ENOTFOUND at the end; PS_EPARSE, PS_ELIMIT, PS_EIO, PS_ENOMEM for
 * what stopped it, and *error says where: the plan has ended then, too. */
PS_MUST_CHECK int ps_plan_next(struct ps_plan *plan, struct ps_plan_entry *entry,
                               struct ps_plan_error *error);

/* "azure", "mooncake", "servegen" or "keys". */
const char *ps_plan_source(const struct ps_plan *plan);

/* How many prompts were cut to max_prompt_tokens so far. */
uint64_t ps_plan_cut(const struct ps_plan *plan);

#endif

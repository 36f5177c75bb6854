/* plan - see plan.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/plan.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "load/reader.h"

#define LONE_INTERVAL (600 * PS_SECOND) /* ServeGen's, when one row says nothing of it */
#define EMBEDDING_TOKENS_MIN 8
#define EMBEDDING_TOKENS_SPREAD 57 /* 8 to 64 tokens, by key */

/* One interval of constant rate. */
struct interval {
    ps_span from;
    double rate;
};

struct ps_plan {
    struct ps_plan_opts opts;
    char *path;
    struct ps_reader *reader;
    enum ps_trace_format format;
    struct ps_trace_row row;
    struct ps_rng rng;
    uint64_t given;
    uint64_t cut;
    ps_span first;    /* recorded time of the first request */
    ps_span last;     /* recorded time of the last line */
    bool row_waiting; /* the first line was a row already */
    bool over;
    /* servegen */
    struct interval now;
    ps_span step;    /* length of an interval, for the last one */
    ps_span until;   /* end of `now` */
    double seconds;  /* time of the last arrival */
    bool in_interval;
    bool last_interval;
};

/* ------------------------------------------------------------------------------------ errors */

static int stop(struct ps_plan *plan, int err)
{
    plan->over = true;
    return err;
}

static int say_line(struct ps_plan *plan, int err, const char *reason, struct ps_plan_error *error)
{
    snprintf(error->text, sizeof error->text, "%s:%llu: %s", plan->path,
             (unsigned long long)ps_reader_line_number(plan->reader), reason);
    return stop(plan, err);
}

static int say_file(struct ps_plan *plan, int err, const char *reason, struct ps_plan_error *error)
{
    snprintf(error->text, sizeof error->text, "%s: %s", plan->path, reason);
    return stop(plan, err);
}

/* -------------------------------------------------------------------------------------- rows */

/* Reads the next row into plan->row; its time is checked against the one before. */
static int next_row(struct ps_plan *plan, struct ps_plan_error *error)
{
    struct ps_reader_error why;
    const char *reason = "out of memory";
    if (plan->row_waiting) {
        plan->row_waiting = false;
        return PS_OK;
    }
    struct ps_str line;
    do {
        int err = ps_reader_line(plan->reader, &line, &why);
        if (err == PS_ENOTFOUND) {
            return stop(plan, err);
        }
        if (err != PS_OK) {
            return err == PS_ELIMIT ? say_line(plan, err, why.text, error)
                                    : say_file(plan, err, why.text, error);
        }
    } while (ps_str_trim(line).len == 0);
    int err = ps_trace_parse(plan->format, line, &plan->row, &reason);
    if (err == PS_OK && plan->row.at < plan->last) {
        err = PS_EPARSE;
        reason = "the time is before that of the line above";
    }
    if (err != PS_OK) {
        return say_line(plan, err, reason, error);
    }
    plan->last = plan->row.at;
    return PS_OK;
}

/* Two seeds into one that neither neighbours nor swapped places share. */
static uint64_t mix(uint64_t seed, uint64_t number)
{
    struct ps_rng rng = ps_rng_make(seed * 0x2545f4914f6cdd1du + number);
    return ps_rng_next(&rng);
}

static uint32_t at_least_one(uint32_t tokens)
{
    return tokens == 0 ? 1 : tokens;
}

static void cut_prompt(struct ps_plan *plan, struct ps_plan_entry *entry)
{
    uint32_t most = plan->opts.max_prompt_tokens;
    if (most > 0 && entry->prompt_tokens > most) {
        entry->prompt_tokens = most;
        plan->cut++;
    }
}

static int next_recorded(struct ps_plan *plan, struct ps_plan_entry *entry,
                         struct ps_plan_error *error)
{
    int err = next_row(plan, error);
    if (err != PS_OK) {
        return err;
    }
    plan->first = plan->given == 0 ? plan->row.at : plan->first;
    *entry = (struct ps_plan_entry){
        .at = plan->row.at - plan->first,
        .kind = PS_PLAN_CHAT,
        .prompt_tokens = at_least_one(plan->row.prompt_tokens),
        .max_tokens = at_least_one(plan->row.output_tokens),
        .text_seed = mix(plan->opts.seed, plan->given),
        .blocks = plan->row.blocks,
        .block_count = plan->row.block_count,
    };
    cut_prompt(plan, entry);
    return PS_OK;
}

/* ------------------------------------------------------------------------------------- rates */

/* The row that was read becomes the current interval; the row behind it says where it ends. */
static int next_interval(struct ps_plan *plan, struct ps_plan_error *error)
{
    if (plan->last_interval) {
        return stop(plan, PS_ENOTFOUND);
    }
    if (!plan->in_interval) {
        int err = next_row(plan, error);
        if (err != PS_OK) {
            return err;
        }
        plan->in_interval = true;
    }
    plan->now = (struct interval){plan->row.at, plan->row.rate};
    int err = next_row(plan, error);
    if (err == PS_ENOTFOUND) {
        plan->over = false;
        plan->last_interval = true;
        plan->until = plan->now.from + plan->step;
        err = PS_OK;
    } else if (err == PS_OK) {
        plan->until = plan->row.at;
        plan->step = plan->until - plan->now.from;
    }
    /* The process has no memory: it may start anew at each change of rate. */
    plan->seconds = ps_span_seconds(plan->now.from);
    return err;
}

static uint32_t draw_length(double drawn, double figure)
{
    return (uint32_t)fmin(fmax(drawn, 1), 8 * figure);
}

static int next_drawn(struct ps_plan *plan, struct ps_plan_entry *entry,
                      struct ps_plan_error *error)
{
    double scale = plan->opts.rate_scale > 0 ? plan->opts.rate_scale : 1;
    for (;;) {
        double rate = plan->now.rate * scale;
        if (rate > 0 && plan->until > plan->now.from) {
            plan->seconds += ps_rng_exponential(&plan->rng, 1 / rate);
            if (plan->seconds < ps_span_seconds(plan->until)) {
                break;
            }
        }
        int err = next_interval(plan, error);
        if (err != PS_OK) {
            return err;
        }
    }
    ps_span at = (ps_span)llround(plan->seconds * 1e9);
    plan->first = plan->given == 0 ? at : plan->first;
    double prompt = PS_PLAN_PROMPT_MEDIAN * exp(PS_PLAN_PROMPT_SIGMA * ps_rng_normal(&plan->rng));
    double output = ps_rng_exponential(&plan->rng, PS_PLAN_OUTPUT_MEAN);
    *entry = (struct ps_plan_entry){
        .at = at - plan->first,
        .kind = PS_PLAN_CHAT,
        .prompt_tokens = draw_length(prompt, PS_PLAN_PROMPT_MEDIAN),
        .max_tokens = draw_length(output, PS_PLAN_OUTPUT_MEAN),
        .text_seed = mix(plan->opts.seed, plan->given),
    };
    cut_prompt(plan, entry);
    return PS_OK;
}

/* -------------------------------------------------------------------------------------- keys */

static int next_key(struct ps_plan *plan, struct ps_plan_entry *entry, struct ps_plan_error *error)
{
    unsigned char bytes[4];
    struct ps_reader_error why;
    int err = ps_reader_bytes(plan->reader, bytes, sizeof bytes, &why);
    if (err == PS_ENOTFOUND) {
        return stop(plan, err);
    }
    if (err != PS_OK) {
        return say_file(plan, err, why.text, error);
    }
    uint32_t key = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
                   (uint32_t)bytes[3];
    uint64_t seed = mix(plan->opts.seed, key);
    *entry = (struct ps_plan_entry){
        .at = (ps_span)llround((double)plan->given / plan->opts.key_rate * 1e9),
        .kind = PS_PLAN_EMBEDDING,
        .prompt_tokens = (uint32_t)(EMBEDDING_TOKENS_MIN + seed % EMBEDDING_TOKENS_SPREAD),
        .text_seed = seed,
    };
    return PS_OK;
}

/* -------------------------------------------------------------------------------------- life */

static int detect(struct ps_plan *plan, struct ps_plan_error *error)
{
    struct ps_reader_error why;
    struct ps_str line;
    const char *reason = "out of memory";
    int header = 0;
    int err = ps_reader_line(plan->reader, &line, &why);
    if (err == PS_ENOTFOUND) {
        return say_file(plan, PS_EPARSE, "the file is empty", error);
    }
    if (err == PS_EIO || err == PS_ENOMEM) {
        return say_file(plan, err, why.text, error);
    }
    if (err != PS_OK || ps_trace_detect(line, &plan->format, &header) != PS_OK) {
        return say_line(plan, PS_EPARSE,
                        "not a trace that is known here: expected the header of an Azure "
                        "(t_s,context_tokens,generated_tokens) or ServeGen (t_s,total_rps,...) "
                        "CSV, or a Mooncake JSON line",
                        error);
    }
    if (header) {
        return PS_OK;
    }
    err = ps_trace_parse(plan->format, line, &plan->row, &reason);
    if (err != PS_OK) {
        return say_line(plan, err, reason, error);
    }
    plan->last = plan->row.at;
    plan->row_waiting = true;
    return PS_OK;
}

int ps_plan_open(struct ps_plan **out, const struct ps_plan_opts *opts,
                 struct ps_plan_error *error)
{
    struct ps_reader_error why = {"out of memory"};
    struct ps_plan *plan = calloc(1, sizeof *plan);
    int err = PS_ENOMEM;
    if (plan == NULL) {
        goto out;
    }
    plan->opts = *opts;
    plan->rng = ps_rng_make(opts->seed);
    plan->step = LONE_INTERVAL;
    plan->path = ps_str_dup(ps_str_from(opts->path));
    if (plan->path == NULL) {
        goto out;
    }
    plan->opts.path = plan->path;
    err = ps_reader_open(&plan->reader, plan->path, &why);
    if (err != PS_OK) {
        goto out;
    }
    if (opts->key_rate <= 0) {
        err = detect(plan, error);
        if (err != PS_OK) {
            ps_plan_close(plan);
            return err;
        }
    }
out:
    if (err != PS_OK) {
        snprintf(error->text, sizeof error->text, "%s: %s", opts->path, why.text);
        ps_plan_close(plan);
        return err;
    }
    *out = plan;
    return PS_OK;
}

void ps_plan_close(struct ps_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    ps_reader_close(plan->reader);
    free(plan->path);
    free(plan);
}

int ps_plan_next(struct ps_plan *plan, struct ps_plan_entry *entry, struct ps_plan_error *error)
{
    struct ps_plan_entry next;
    int err = PS_ENOTFOUND;
    if (plan->over) {
        return err;
    }
    if (plan->opts.key_rate > 0) {
        err = next_key(plan, &next, error);
    } else if (plan->format == PS_TRACE_SERVEGEN) {
        err = next_drawn(plan, &next, error);
    } else {
        err = next_recorded(plan, &next, error);
    }
    if (err == PS_OK) {
        next.number = plan->given++;
        *entry = next;
    }
    return err;
}

const char *ps_plan_source(const struct ps_plan *plan)
{
    return plan->opts.key_rate > 0 ? "keys" : ps_trace_format_text(plan->format);
}

uint64_t ps_plan_cut(const struct ps_plan *plan)
{
    return plan->cut;
}

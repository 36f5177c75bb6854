/* figures - see figures.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "load/clean.h"

#define STEPS_PER_POWER (1u << PS_FIGURES_STEP_BITS)
#define SLIVER 0.5 /* seconds */
#define SLACK 1e-6 /* seconds; spans are sums of floating point numbers */

int ps_figures_new(struct ps_figures **out)
{
    struct ps_figures *figures = calloc(1, sizeof *figures);
    if (figures == NULL) {
        return PS_ENOMEM;
    }
    figures->cpu_percent_most = NAN;
    figures->point_span = 1;
    figures->block_span = 1;
    *out = figures;
    return PS_OK;
}

void ps_figures_free(struct ps_figures *figures)
{
    for (size_t i = 0; figures != NULL && i < PS_FIGURES_BLOCKS; i++) {
        free(figures->blocks[i].steps);
    }
    free(figures);
}

/* ----------------------------------------------------------------------------------- totals */

static void merge(struct ps_hist *hist, const struct ps_hist *from)
{
    if (from != NULL) {
        ps_hist_merge(hist, from);
    }
}

/* The place of a kind of failure; behind the last own place all are "other". */
static struct ps_figures_failure *failure_of(struct ps_figures *figures, const char *kind)
{
    char name[sizeof figures->failures[0].kind];
    ps_clean_text(ps_str_from(kind), name, sizeof name);
    for (size_t i = 0; i < figures->failure_count; i++) {
        if (strcmp(figures->failures[i].kind, name) == 0) {
            return &figures->failures[i];
        }
    }
    if (figures->failure_count == PS_FIGURES_FAILURES) {
        return &figures->failures[PS_FIGURES_FAILURES - 1];
    }
    struct ps_figures_failure *failure = &figures->failures[figures->failure_count++];
    bool last = figures->failure_count == PS_FIGURES_FAILURES;
    snprintf(failure->kind, sizeof failure->kind, "%s", last ? "other" : name);
    return failure;
}

static void add_failures(struct ps_figures *figures, const struct ps_second *second)
{
    for (size_t i = 0; i < second->failure_count && i < PS_SECOND_FAILURES; i++) {
        const struct ps_second_failure *from = &second->failures[i];
        if (from->count == 0) {
            continue;
        }
        struct ps_figures_failure *failure = failure_of(figures, from->kind);
        failure->count += from->count;
        if (failure->example[0] == '\0' && from->example != NULL) {
            ps_clean_text(ps_str_from(from->example), failure->example, sizeof failure->example);
        }
    }
}

static void add_counts(struct ps_figures *figures, const struct ps_second *second)
{
    figures->span += second->span;
    figures->sent += second->sent;
    figures->succeeded += second->succeeded;
    figures->failed += second->failed;
    figures->canceled += second->canceled;
    figures->skipped += second->skipped;
    figures->late += second->late;
    figures->good += second->good;
    figures->prompt_tokens += second->prompt_tokens;
    figures->output_tokens += second->output_tokens;
    figures->in_flight = second->in_flight;
    if (second->in_flight > figures->in_flight_most) {
        figures->in_flight_most = second->in_flight;
    }
    figures->cpu_percent_most = fmax(figures->cpu_percent_most, second->cpu_percent);
    for (size_t i = 0; second->statuses != NULL && i < PS_SECOND_STATUSES; i++) {
        figures->statuses[i] += second->statuses[i];
    }
}

static void add_times(struct ps_figures *figures, const struct ps_second *second)
{
    merge(&figures->corrected, second->corrected);
    merge(&figures->latency, second->latency != NULL ? second->latency : second->corrected);
    merge(&figures->ttft_corrected, second->ttft_corrected);
    merge(&figures->ttft, second->ttft != NULL ? second->ttft : second->ttft_corrected);
    merge(&figures->token_gap, second->token_gap);
    merge(&figures->lag, second->lag);
}

/* ----------------------------------------------------------------------------------- series */

static double percentile_ms(const struct ps_hist *hist, double share)
{
    return hist == NULL ? NAN : ps_hist_percentile(hist, share) / 1e6;
}

static struct ps_figures_point point_of(const struct ps_second *second, double at)
{
    struct ps_figures_point point = {
        .at = at,
        .span = second->span,
        .target_rps = second->target_rps,
        .sent = second->sent,
        .succeeded = second->succeeded,
        .failed = second->failed,
        .good = second->good,
        .output_tokens = second->output_tokens,
        .in_flight = second->in_flight,
        .p50_ms = percentile_ms(second->corrected, 0.5),
        .p95_ms = percentile_ms(second->corrected, 0.95),
        .p99_ms = percentile_ms(second->corrected, 0.99),
        .max_ms = percentile_ms(second->corrected, 1),
        .ttft_p95_ms = percentile_ms(second->ttft_corrected, 0.95),
        .target_memory_bytes = second->target_memory_bytes,
        .target_descriptors = second->target_descriptors,
    };
    if (second->phase != NULL) {
        ps_clean_text(ps_str_from(second->phase), point.phase, sizeof point.phase);
    }
    return point;
}

/* The mean of two numbers with weights; of one when the other is unknown. */
static double mean(double a, double weight_a, double b, double weight_b)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) ? b : a;
    }
    double weight = weight_a + weight_b;
    return weight > 0 ? (a * weight_a + b * weight_b) / weight : b;
}

static void join_points(struct ps_figures_point *a, const struct ps_figures_point *b)
{
    double from = (double)a->succeeded, more = (double)b->succeeded;
    a->target_rps = mean(a->target_rps, a->span, b->target_rps, b->span);
    a->p50_ms = mean(a->p50_ms, from, b->p50_ms, more);
    a->p95_ms = mean(a->p95_ms, from, b->p95_ms, more);
    a->p99_ms = mean(a->p99_ms, from, b->p99_ms, more);
    a->ttft_p95_ms = mean(a->ttft_p95_ms, from, b->ttft_p95_ms, more);
    a->max_ms = fmax(a->max_ms, b->max_ms);
    a->target_memory_bytes = mean(a->target_memory_bytes, a->span, b->target_memory_bytes, b->span);
    a->target_descriptors = mean(a->target_descriptors, a->span, b->target_descriptors, b->span);
    a->at = b->at;
    a->span += b->span;
    a->sent += b->sent;
    a->succeeded += b->succeeded;
    a->failed += b->failed;
    a->good += b->good;
    a->output_tokens += b->output_tokens;
    a->in_flight = a->in_flight > b->in_flight ? a->in_flight : b->in_flight;
}

static void halve_points(struct ps_figures *figures)
{
    size_t half = figures->point_count / 2;
    for (size_t i = 0; i < half; i++) {
        struct ps_figures_point point = figures->points[2 * i];
        join_points(&point, &figures->points[2 * i + 1]);
        figures->points[i] = point;
    }
    figures->point_count = half;
    figures->point_span *= 2;
}

static void add_point(struct ps_figures *figures, const struct ps_second *second)
{
    struct ps_figures_point point = point_of(second, figures->at);
    size_t count = figures->point_count;
    struct ps_figures_point *last = count == 0 ? NULL : &figures->points[count - 1];
    /* The end of a run is a fraction of a second: as a point of its own its rates would be an accident. */
    bool sliver = last != NULL && point.span < SLIVER;
    bool gap = last != NULL && point.at - point.span > last->at + figures->point_span;
    if (last != NULL && !gap && (sliver || last->span + point.span <= figures->point_span + SLACK)) {
        join_points(last, &point);
        return;
    }
    if (count == PS_FIGURES_POINTS) {
        halve_points(figures);
    }
    figures->points[figures->point_count++] = point;
}

/* ----------------------------------------------------------------------------------- blocks */

unsigned ps_figures_step(uint64_t ns)
{
    if (ns < STEPS_PER_POWER) {
        return (unsigned)ns;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - PS_FIGURES_STEP_BITS;
    return (shift << PS_FIGURES_STEP_BITS) + (unsigned)(ns >> shift);
}

uint64_t ps_figures_step_start(unsigned step)
{
    if (step < 2 * STEPS_PER_POWER) {
        return step;
    }
    unsigned shift = (step >> PS_FIGURES_STEP_BITS) - 1;
    return (uint64_t)(STEPS_PER_POWER + step % STEPS_PER_POWER) << shift;
}

/* Adds b to a and leaves b empty. */
static void join_blocks(struct ps_figures_block *a, struct ps_figures_block *b)
{
    a->span += b->span;
    a->succeeded += b->succeeded;
    a->failed += b->failed;
    for (size_t i = 0; i < PS_FIGURES_STEPS; i++) {
        a->steps[i] += b->steps[i];
    }
    memset(b->steps, 0, PS_FIGURES_STEPS * sizeof *b->steps);
    b->span = 0;
    b->succeeded = b->failed = 0;
}

static void halve_blocks(struct ps_figures *figures)
{
    for (size_t i = 0; i < PS_FIGURES_BLOCKS / 2; i++) {
        struct ps_figures_block *a = &figures->blocks[i];
        if (i > 0) {
            join_blocks(a, &figures->blocks[2 * i]);
        }
        join_blocks(a, &figures->blocks[2 * i + 1]);
    }
    figures->block_count = PS_FIGURES_BLOCKS / 2;
    figures->block_span *= 2;
}

/* The block that a second of this span belongs to; NULL: no memory. */
static struct ps_figures_block *block_for(struct ps_figures *figures, double span)
{
    size_t count = figures->block_count;
    if (count > 0 && figures->blocks[count - 1].span + span <= figures->block_span + SLACK) {
        return &figures->blocks[count - 1];
    }
    if (count == PS_FIGURES_BLOCKS) {
        halve_blocks(figures);
        count = figures->block_count;
    }
    struct ps_figures_block *block = &figures->blocks[count];
    if (block->steps == NULL) {
        block->steps = calloc(PS_FIGURES_STEPS, sizeof *block->steps);
    }
    figures->block_count += block->steps == NULL ? 0 : 1;
    return block->steps == NULL ? NULL : block;
}

/* A step of a ps_hist lies within one of ours: both cut each power of two, ours into fewer parts. */
static void add_steps(struct ps_figures_block *block, const struct ps_hist *hist)
{
    if (hist == NULL || hist->count == 0) {
        return;
    }
    for (unsigned i = ps_hist_step(hist->min), last = ps_hist_step(hist->max); i <= last; i++) {
        block->steps[ps_figures_step(ps_hist_step_start(i))] += hist->steps[i];
    }
}

static int add_block(struct ps_figures *figures, const struct ps_second *second)
{
    struct ps_figures_block *block = block_for(figures, second->span);
    if (block == NULL) {
        return PS_ENOMEM;
    }
    block->span += second->span;
    block->succeeded += second->succeeded;
    block->failed += second->failed;
    add_steps(block, second->corrected);
    return PS_OK;
}

/* ------------------------------------------------------------------------------- all of it */

int ps_figures_add(struct ps_figures *figures, const struct ps_second *second)
{
    PS_CHECK(second->span >= 0);
    figures->at = second->at > figures->at ? second->at : figures->at;
    add_counts(figures, second);
    add_failures(figures, second);
    add_times(figures, second);
    add_point(figures, second);
    return add_block(figures, second);
}

double ps_figures_error_percent(const struct ps_figures *figures)
{
    double ended = (double)figures->succeeded + (double)figures->failed;
    return ended > 0 ? 100 * (double)figures->failed / ended : 0;
}

double ps_figures_rps(const struct ps_figures *figures)
{
    double ended = (double)figures->succeeded + (double)figures->failed;
    return figures->span > 0 ? ended / figures->span : 0;
}

/* resample - see resample.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "load/figures.h"
#include "load/report_json.h"
#include "load/sparse.h"

#define DRAWS 400

/* ----------------------------------------------------------------------------------- reading */

static int read_counts(struct ps_resample *resample, const json_t *blocks)
{
    resample->count = json_array_size(blocks);
    if (resample->count > PS_RESAMPLE_BLOCKS_MAX) {
        return PS_ELIMIT;
    }
    resample->span = calloc(resample->count + 1, sizeof *resample->span);
    resample->succeeded = calloc(resample->count + 1, sizeof *resample->succeeded);
    resample->failed = calloc(resample->count + 1, sizeof *resample->failed);
    if (resample->span == NULL || resample->succeeded == NULL || resample->failed == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < resample->count; i++) {
        const json_t *block = json_array_get(blocks, i);
        resample->span[i] = ps_report_number(block, "seconds");
        resample->succeeded[i] = ps_report_number(block, "successful");
        resample->failed[i] = ps_report_number(block, "failed");
        if (!(resample->span[i] >= 0) || !(resample->succeeded[i] >= 0) || !(resample->failed[i] >= 0)) {
            return PS_EPARSE;
        }
    }
    return PS_OK;
}

static int read_steps(const json_t *blocks, size_t count, uint64_t *steps)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *text = json_object_get(json_array_get(blocks, i), "steps");
        struct ps_str str = {json_string_value(text), json_string_length(text)};
        struct ps_sparse_span span;
        if (!json_is_string(text) ||
            ps_sparse_read(str, steps + i * PS_FIGURES_STEPS, PS_FIGURES_STEPS, &span) != PS_OK) {
            return PS_EPARSE;
        }
    }
    return PS_OK;
}

/* Marks the steps that any block has; how many there are. */
static size_t find_filled(const uint64_t *steps, size_t count, bool *filled)
{
    size_t total = 0;
    for (size_t j = 0; j < PS_FIGURES_STEPS; j++) {
        for (size_t i = 0; i < count && !filled[j]; i++) {
            filled[j] = steps[i * PS_FIGURES_STEPS + j] > 0;
        }
        total += filled[j] ? 1 : 0;
    }
    return total;
}

/* Keeps the steps that are filled, and their bounds. */
static int keep_steps(struct ps_resample *resample, const uint64_t *steps)
{
    bool filled[PS_FIGURES_STEPS] = {false};
    size_t kept = 0;
    resample->steps = find_filled(steps, resample->count, filled);
    resample->low = calloc(resample->steps + 1, sizeof *resample->low);
    resample->high = calloc(resample->steps + 1, sizeof *resample->high);
    resample->table = calloc(resample->count * resample->steps + 1, sizeof *resample->table);
    if (resample->low == NULL || resample->high == NULL || resample->table == NULL) {
        return PS_ENOMEM;
    }
    for (unsigned j = 0; j < PS_FIGURES_STEPS; j++) {
        if (!filled[j]) {
            continue;
        }
        resample->low[kept] = (double)ps_figures_step_start(j) / 1e6;
        resample->high[kept] = j + 1 < PS_FIGURES_STEPS ? (double)ps_figures_step_start(j + 1) / 1e6 : 0x1p63 / 1e6;
        for (size_t i = 0; i < resample->count; i++) {
            resample->table[i * resample->steps + kept] = (double)steps[i * PS_FIGURES_STEPS + j];
        }
        kept++;
    }
    return PS_OK;
}

/* The mean of the logarithms of a block's response times; NAN without any. */
static double level_of(const struct ps_resample *resample, size_t block)
{
    double sum = 0, count = 0;
    for (size_t j = 0; j < resample->steps; j++) {
        double times = resample->table[block * resample->steps + j];
        sum += times * log((resample->low[j] + resample->high[j]) / 2 + 1e-9);
        count += times;
    }
    return count > 0 ? sum / count : NAN;
}

/* The correlation of neighbours, from 0 up. A straight line through the run stays in: what drifts is uncertain. */
static double correlation(const double *levels, size_t count)
{
    double mean = 0, here = 0, next = 0;
    for (size_t i = 0; i < count; i++) {
        mean += levels[i] / (double)count;
    }
    for (size_t i = 0; i < count; i++) {
        double a = levels[i] - mean;
        here += a * a;
        next += i + 1 < count ? a * (levels[i + 1] - mean) : 0;
    }
    /* It comes out too small in short runs by about (1 + 3 r) / n (Kendall 1954). */
    double r = here > 0 ? next / here : 0;
    return fmin(fmax(r + (1 + 3 * r) / (double)count, 0), 0.98);
}

static void find_stretch(struct ps_resample *resample)
{
    double levels[PS_RESAMPLE_BLOCKS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < resample->count; i++) {
        double level = level_of(resample, i);
        if (isfinite(level)) {
            levels[count++] = level;
        }
    }
    double r = count > 2 ? correlation(levels, count) : 0;
    double stretch = pow(2 * r / (1 - r * r), 2.0 / 3) * cbrt((double)count);
    resample->stretch = fmax(1, fmin(stretch, (double)count / 4));
}

int ps_resample_read(struct ps_resample *resample, const json_t *section)
{
    const json_t *blocks = json_object_get(section, "blocks");
    memset(resample, 0, sizeof *resample);
    int err = read_counts(resample, blocks);
    uint64_t *steps = err != PS_OK ? NULL : calloc(resample->count * PS_FIGURES_STEPS + 1, sizeof *steps);
    err = err == PS_OK && steps == NULL ? PS_ENOMEM : err;
    err = err == PS_OK ? read_steps(blocks, resample->count, steps) : err;
    err = err == PS_OK ? keep_steps(resample, steps) : err;
    free(steps);
    if (err != PS_OK) {
        ps_resample_fini(resample);
        return err;
    }
    find_stretch(resample);
    return PS_OK;
}

void ps_resample_fini(struct ps_resample *resample)
{
    free(resample->span);
    free(resample->succeeded);
    free(resample->failed);
    free(resample->low);
    free(resample->high);
    free(resample->table);
    memset(resample, 0, sizeof *resample);
}

/* ----------------------------------------------------------------------------------- figures */

/* A run: how often each block is in it. */
struct run {
    double span, succeeded, failed;
    double *steps; /* [resample->steps] */
};

static double sum(const double *values, size_t count)
{
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        total += values[i];
    }
    return total;
}

double ps_resample_succeeded(const struct ps_resample *resample)
{
    return sum(resample->succeeded, resample->count);
}

double ps_resample_failed(const struct ps_resample *resample)
{
    return sum(resample->failed, resample->count);
}

double ps_resample_seconds(const struct ps_resample *resample)
{
    return sum(resample->span, resample->count);
}

static void add_block(const struct ps_resample *resample, struct run *run, size_t block)
{
    run->span += resample->span[block];
    run->succeeded += resample->succeeded[block];
    run->failed += resample->failed[block];
    const double *row = resample->table + block * resample->steps;
    for (size_t j = 0; j < resample->steps; j++) {
        run->steps[j] += row[j];
    }
}

static double percentile(const struct ps_resample *resample, const double *steps, double total, double share)
{
    double seen = 0;
    for (size_t j = 0; j < resample->steps; j++) {
        if (steps[j] > 0 && seen + steps[j] >= share * total) {
            double part = (share * total - seen) / steps[j];
            return resample->low[j] + part * (resample->high[j] - resample->low[j]);
        }
        seen += steps[j];
    }
    return NAN;
}

double ps_resample_percentile(const struct ps_resample *resample, double share)
{
    struct run run = {.steps = calloc(resample->steps + 1, sizeof *run.steps)};
    double value = NAN;
    if (run.steps != NULL) {
        for (size_t i = 0; i < resample->count; i++) {
            add_block(resample, &run, i);
        }
        value = percentile(resample, run.steps, sum(run.steps, resample->steps), share);
    }
    free(run.steps);
    return value;
}

static void read_figures(const struct ps_resample *resample, const struct run *run, double *of)
{
    double total = sum(run->steps, resample->steps), ended = run->succeeded + run->failed;
    of[PS_RESAMPLE_MEDIAN] = log(percentile(resample, run->steps, total, 0.5));
    of[PS_RESAMPLE_P95] = log(percentile(resample, run->steps, total, 0.95));
    of[PS_RESAMPLE_P99] = log(percentile(resample, run->steps, total, 0.99));
    of[PS_RESAMPLE_RATE] = run->span > 0 && run->succeeded > 0 ? log(run->succeeded / run->span) : NAN;
    of[PS_RESAMPLE_ERRORS] = ended > 0 ? run->failed / ended : NAN;
}

/* A run of as many blocks, drawn in stretches around the ring of blocks. */
static void draw(const struct ps_resample *resample, struct ps_rng *rng, struct run *run)
{
    size_t at = 0;
    double *steps = run->steps;
    memset(steps, 0, resample->steps * sizeof *steps);
    *run = (struct run){.steps = steps};
    for (size_t i = 0; i < resample->count; i++) {
        bool jump = i == 0 || ps_rng_unit(rng) * resample->stretch < 1;
        at = jump ? ps_rng_below(rng, resample->count) : (at + 1) % resample->count;
        add_block(resample, run, at);
    }
}

/* Sums of a figure over the draws. */
struct spread {
    double count, sum, squares;
};

static double deviation(const struct spread *spread)
{
    if (spread->count < DRAWS / 2) {
        return NAN;
    }
    double mean = spread->sum / spread->count;
    return sqrt(fmax(0, spread->squares / spread->count - mean * mean));
}

bool ps_resample_draw(const struct ps_resample *resample, uint64_t seed, struct ps_resample_errors *errors)
{
    struct ps_rng rng = ps_rng_make(seed);
    struct spread spread[PS_RESAMPLE_FIGURES] = {{0}};
    struct run run = {.steps = calloc(resample->steps + 1, sizeof *run.steps)};
    if (resample->count < PS_RESAMPLE_BLOCKS_MIN || run.steps == NULL) {
        free(run.steps);
        return false;
    }
    for (int i = 0; i < DRAWS; i++) {
        double of[PS_RESAMPLE_FIGURES];
        draw(resample, &rng, &run);
        read_figures(resample, &run, of);
        for (size_t j = 0; j < PS_RESAMPLE_FIGURES; j++) {
            if (isfinite(of[j])) {
                spread[j].count++;
                spread[j].sum += of[j];
                spread[j].squares += of[j] * of[j];
            }
        }
    }
    /* Independent stretches in the run. What is drawn from so few scatters less than runs do: a mean by n / (n - 1),
     * percentiles by a little more (simulated: tests/unit/test_compare.c). */
    double stretches = fmax(2, (double)resample->count / resample->stretch);
    for (size_t j = 0; j < PS_RESAMPLE_FIGURES; j++) {
        errors->of[j] = deviation(&spread[j]) * sqrt((stretches + 1) / (stretches - 1));
    }
    errors->df = stretches - 1;
    free(run.steps);
    return true;
}

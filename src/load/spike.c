/* spike - see spike.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/spike.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hist.h"

#define SURELY    3.09 /* standard deviations: one in a thousand */
#define ROOM      1.1
#define ROOM_NS   1e6
#define SETTLING  0.2 /* of the baseline: connections open, caches fill */
#define TAIL      0.05 /* what p95 leaves above it */

const char *const ps_spike_phase_words[] = {"baseline", "spike", "recovery", "over", NULL};

/* A second of the last five. */
struct slot {
    struct ps_hist hist;
    double ended, failed;
};

struct ps_spike {
    struct ps_spike_opts opts;
    int phase;
    double now;
    double began[PS_SPIKE_PHASES + 1];
    struct ps_hist hist[PS_SPIKE_PHASES];
    double ended[PS_SPIKE_PHASES], failed[PS_SPIKE_PHASES];
    struct ps_hist steady; /* the baseline without its settling */
    double steady_ended, steady_failed;
    struct slot slot[PS_SPIKE_WINDOW];
    struct ps_hist window;
    size_t rows;
    unsigned inside; /* steps in a row */
    double good_since;
    double recovery;
    double peak_ms;
};

int ps_spike_new(struct ps_spike **out, const struct ps_spike_opts *opts)
{
    bool sound = opts->baseline_rate > 0 && opts->spike_rate > 0 && opts->recovery_rate > 0 &&
                 opts->baseline_seconds >= 10 && opts->spike_seconds >= 1 && opts->recovery_seconds >= 5 &&
                 opts->max_recovery >= opts->recovery_seconds;
    if (!sound) {
        return PS_EINVAL;
    }
    struct ps_spike *spike = calloc(1, sizeof *spike);
    if (spike == NULL) {
        return PS_ENOMEM;
    }
    spike->opts = *opts;
    spike->recovery = NAN;
    spike->peak_ms = NAN;
    *out = spike;
    return PS_OK;
}

void ps_spike_free(struct ps_spike *spike)
{
    free(spike);
}

int ps_spike_phase(const struct ps_spike *spike)
{
    return spike->phase;
}

double ps_spike_rate(const struct ps_spike *spike)
{
    const double rates[] = {spike->opts.baseline_rate, spike->opts.spike_rate, spike->opts.recovery_rate, 0};
    return rates[spike->phase];
}

/* --------------------------------------------------------------------------------------- the band */

/* The share t above which a value may lie so that n of them almost never have 5 % there: n t + s sqrt(n t) = n / 20. */
static double tail_of(double n)
{
    double root = (-SURELY + sqrt(SURELY * SURELY + 4 * TAIL * n)) / (2 * sqrt(n));
    return root * root;
}

static double band_ns(const struct ps_spike *spike, double requests)
{
    if (spike->steady.count == 0) {
        return NAN;
    }
    double tail = requests > 0 ? tail_of(requests) : 0;
    return ps_hist_percentile(&spike->steady, 1 - tail) * ROOM + ROOM_NS;
}

/* The most failures among so many that chance makes of the baseline's share; one seen more would not surprise. */
static double band_failures(const struct ps_spike *spike, double requests)
{
    double mean = (spike->steady_failed + 0.5) / (spike->steady_ended + 1) * requests;
    return floor(mean + SURELY * sqrt(mean));
}

static bool is_sick(const struct ps_spike *spike)
{
    return spike->steady.count == 0 || spike->steady_failed > spike->steady_ended / 2;
}

/* --------------------------------------------------------------------------------------- the steps */

static double seconds_in(const struct ps_spike *spike)
{
    return spike->now - spike->began[spike->phase];
}

static void keep(struct ps_spike *spike, const struct ps_second *row)
{
    struct slot *slot = &spike->slot[spike->rows++ % PS_SPIKE_WINDOW];
    ps_hist_clear(&slot->hist);
    slot->ended = (double)(row->succeeded + row->failed);
    slot->failed = (double)row->failed;
    if (row->corrected != NULL) {
        ps_hist_merge(&slot->hist, row->corrected);
        ps_hist_merge(&spike->hist[spike->phase], row->corrected);
    }
    spike->ended[spike->phase] += slot->ended;
    spike->failed[spike->phase] += slot->failed;
    bool steady = spike->phase == PS_SPIKE_BASELINE && seconds_in(spike) > SETTLING * spike->opts.baseline_seconds;
    if (steady) {
        ps_hist_merge(&spike->steady, &slot->hist);
        spike->steady_ended += slot->ended;
        spike->steady_failed += slot->failed;
    }
}

/* Is the last window like the baseline? */
static bool is_inside(struct ps_spike *spike)
{
    double ended = 0;
    double failed = 0;
    ps_hist_clear(&spike->window);
    for (size_t i = 0; i < PS_SPIKE_WINDOW; i++) {
        ps_hist_merge(&spike->window, &spike->slot[i].hist);
        ended += spike->slot[i].ended;
        failed += spike->slot[i].failed;
    }
    double p95 = spike->window.count == 0 ? NAN : ps_hist_percentile(&spike->window, 1 - TAIL);
    spike->peak_ms = fmax(spike->peak_ms, p95 / 1e6);
    /* One that ended is no proof: most of what was sent has to come back. */
    bool answers = ended > spike->opts.recovery_rate * PS_SPIKE_WINDOW / 2;
    return answers && p95 <= band_ns(spike, (double)spike->window.count) && failed <= band_failures(spike, ended);
}

static void look_for_recovery(struct ps_spike *spike)
{
    bool inside = is_inside(spike);
    if (!inside) {
        spike->inside = 0;
        return;
    }
    if (spike->inside++ == 0) {
        double since = spike->now - PS_SPIKE_WINDOW - spike->began[PS_SPIKE_RECOVERY];
        spike->good_since = fmax(since, 0);
    }
    if (spike->inside >= PS_SPIKE_STEPS && isnan(spike->recovery)) {
        spike->recovery = spike->good_since;
    }
}

static void enter(struct ps_spike *spike, int phase)
{
    spike->phase = phase;
    spike->began[phase] = spike->now;
}

static bool is_done(const struct ps_spike *spike)
{
    const struct ps_spike_opts *opts = &spike->opts;
    double seconds = seconds_in(spike) + 1e-6;
    switch (spike->phase) {
    case PS_SPIKE_BASELINE:
        return seconds >= opts->baseline_seconds;
    case PS_SPIKE_SPIKE:
        return seconds >= opts->spike_seconds;
    default:
        return (seconds >= opts->recovery_seconds && !isnan(spike->recovery)) ||
               seconds >= opts->max_recovery + PS_SPIKE_WINDOW + PS_SPIKE_STEPS;
    }
}

void ps_spike_push(struct ps_spike *spike, const struct ps_second *row)
{
    if (spike->phase == PS_SPIKE_OVER) {
        return;
    }
    spike->now = row->at;
    keep(spike, row);
    if (spike->phase == PS_SPIKE_RECOVERY) {
        look_for_recovery(spike);
    } else if (spike->phase == PS_SPIKE_SPIKE) {
        (void)is_inside(spike); /* for the peak */
    }
    if (is_done(spike)) {
        enter(spike, spike->phase + 1);
    }
}

void ps_spike_end(struct ps_spike *spike)
{
    while (spike->phase != PS_SPIKE_OVER) {
        enter(spike, spike->phase + 1);
    }
}

/* -------------------------------------------------------------------------------------- the result */

struct ps_spike_result ps_spike_result(const struct ps_spike *spike)
{
    const struct ps_spike_opts *opts = &spike->opts;
    const double rates[] = {opts->baseline_rate, opts->spike_rate, opts->recovery_rate};
    double requests = opts->recovery_rate * PS_SPIKE_WINDOW;
    bool recovered = spike->recovery <= opts->max_recovery;
    struct ps_spike_result result = {
        .recovery_seconds = recovered ? spike->recovery : NAN,
        .band_p95_ms = spike->phase == PS_SPIKE_BASELINE ? NAN : band_ns(spike, requests) / 1e6,
        .band_error_share = fmin(band_failures(spike, requests) / requests, 1),
        .peak_p95_ms = spike->peak_ms,
        .sick_before = spike->phase != PS_SPIKE_BASELINE && is_sick(spike),
    };
    for (int i = 0; i < PS_SPIKE_PHASES; i++) {
        double end = i < spike->phase ? spike->began[i + 1] : i == spike->phase ? spike->now : spike->began[i];
        double seconds = fmax(end - spike->began[i], 0);
        result.phase[i] = (struct ps_spike_phase){
            .start = spike->began[i],
            .seconds = seconds,
            .rate = rates[i],
            .achieved = seconds > 0 ? spike->ended[i] / seconds : 0,
            .error_share = spike->ended[i] > 0 ? spike->failed[i] / spike->ended[i] : 0,
            .p95_ms = spike->hist[i].count == 0 ? NAN : ps_hist_percentile(&spike->hist[i], 0.95) / 1e6,
        };
    }
    return result;
}

/* trial - see trial.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static double normal(struct ps_rng *rng)
{
    return sqrt(-2 * log(1 - ps_rng_unit(rng))) * cos(2 * 3.14159265358979 * ps_rng_unit(rng));
}

static unsigned poisson(struct ps_rng *rng, double mean)
{
    unsigned count = 0;
    for (double left = mean; (left -= ps_rng_exponential(rng, 1)) > 0;) {
        count++;
    }
    return count;
}

void trial_begin(struct trial *trial, const struct trial_opts *opts)
{
    memset(trial, 0, sizeof *trial);
    trial->opts = *opts;
    trial->rng = ps_rng_make(opts->seed);
    trial->level = opts->wander * normal(&trial->rng);
}

static void clear(struct trial *trial)
{
    ps_hist_clear(&trial->corrected);
    ps_hist_clear(&trial->latency);
    ps_hist_clear(&trial->ttft_corrected);
    ps_hist_clear(&trial->ttft);
    ps_hist_clear(&trial->token_gap);
    ps_hist_clear(&trial->lag);
    memset(trial->statuses, 0, sizeof trial->statuses);
}

static void succeed(struct trial *trial, struct ps_second *second)
{
    const struct trial_opts *opts = &trial->opts;
    double ns = opts->median_ms * 1e6 * exp(trial->level + opts->sigma * normal(&trial->rng));
    double lag = ps_rng_exponential(&trial->rng, 20e3);
    ps_hist_record(&trial->latency, (int64_t)ns);
    ps_hist_record(&trial->corrected, (int64_t)(ns + lag));
    ps_hist_record(&trial->lag, (int64_t)lag);
    second->succeeded++;
    second->good += ns < 2 * opts->median_ms * 1e6 ? 1 : 0;
    trial->statuses[200]++;
    if (opts->streams) {
        ps_hist_record(&trial->ttft, (int64_t)(ns * 0.2));
        ps_hist_record(&trial->ttft_corrected, (int64_t)(ns * 0.2 + lag));
        ps_hist_record(&trial->token_gap, (int64_t)(ns * 0.01));
        second->prompt_tokens += 100;
        second->output_tokens += 80;
    }
}

struct ps_second trial_next(struct trial *trial)
{
    const struct trial_opts *opts = &trial->opts;
    clear(trial);
    trial->level = trial->level * opts->memory +
                   opts->wander * sqrt(1 - opts->memory * opts->memory) * normal(&trial->rng);
    trial->at += 1;
    struct ps_second second = ps_second_make(trial->at, 1);
    second.target_rps = opts->rps;
    second.sent = poisson(&trial->rng, opts->rps);
    for (uint64_t i = 0; i < second.sent; i++) {
        if (ps_rng_unit(&trial->rng) < opts->error_rate) {
            second.failed++;
            trial->statuses[503]++;
        } else {
            succeed(trial, &second);
        }
    }
    trial->failure = (struct ps_second_failure){"HTTP status", second.failed, "503 Service Unavailable"};
    second.failures = &trial->failure;
    second.failure_count = 1;
    second.statuses = trial->statuses;
    second.cpu_percent = 12.5;
    second.in_flight = (uint64_t)(opts->rps * opts->median_ms / 1e3);
    second.corrected = &trial->corrected;
    second.latency = &trial->latency;
    second.ttft_corrected = &trial->ttft_corrected;
    second.ttft = &trial->ttft;
    second.token_gap = &trial->token_gap;
    second.lag = &trial->lag;
    return second;
}

struct ps_figures *trial_run(const struct trial_opts *opts, unsigned seconds)
{
    struct ps_figures *figures = NULL;
    struct trial *trial = malloc(sizeof *trial);
    PS_CHECK(trial != NULL && ps_figures_new(&figures) == PS_OK);
    trial_begin(trial, opts);
    for (unsigned i = 0; i < seconds; i++) {
        struct ps_second second = trial_next(trial);
        PS_CHECK(ps_figures_add(figures, &second) == PS_OK);
    }
    free(trial);
    return figures;
}

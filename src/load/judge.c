/* judge - see judge.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/judge.h"

#include <math.h>
#include <string.h>

#include "foresee/slope.h"

#define WARM_TIMES    3.0  /* mean times of a request that a warm-up lasts */
#define WARM_MOST     0.4  /* of the longest level */
#define SILENT        120.0 /* seconds without any answer that are waited for */
#define EVIDENT       0.15 /* a growth that needs no slope of the time to first token beside it */
#define BEYOND_DOUBT  0.99 /* each second looks again, and each look may be wrong */
#define LATE_MOST     0.1 /* a few ms late changes nothing of what a rate does to a service, as long as it is the rate */
#define SENT_LEAST    0.95 /* of what was due */
#define NEEDED        100  /* answers that must have ended before errors count as few */
#define LIMITED_ROWS  2    /* before which a hiccup does not make a level limited */

void ps_judge_begin(struct ps_judge *judge, const struct ps_judge_opts *opts, double rate, double at)
{
    memset(judge, 0, sizeof *judge);
    judge->opts = *opts;
    judge->started = at;
    judge->level = (struct ps_stress_level){.rate = rate, .at = at, .growth = NAN, .growth_error = NAN};
}

/* ------------------------------------------------------------------------------------ the warm-up */

static bool is_warm(const struct ps_judge *judge, double seconds)
{
    double mean = judge->opts.latency;
    if (isnan(mean) && judge->all_ended == 0) {
        return seconds >= SILENT;
    }
    mean = isnan(mean) ? judge->all_latency / judge->all_ended : mean;
    double most = fmax(WARM_MOST * (judge->opts.least + judge->opts.most), 1);
    /* The first row still has the end of what was sent before. */
    return seconds >= 0.99 && seconds + 1e-6 >= fmin(WARM_TIMES * mean, most);
}

static double seconds_of(const struct ps_hist *hist)
{
    return hist == NULL || hist->count == 0 ? NAN : ps_hist_mean(hist) / 1e9;
}

static void count_all(struct ps_judge *judge, const struct ps_second *row)
{
    double mean = seconds_of(row->corrected);
    judge->all_ended += (double)(row->succeeded + row->failed);
    judge->all_latency += isnan(mean) ? 0 : mean * (double)row->succeeded;
}

/* -------------------------------------------------------------------------------------- the rows */

/* Time to first token, or to the end where there is no stream: it rises as a queue does. */
static const struct ps_hist *first_of(const struct ps_second *row)
{
    return row->ttft_corrected != NULL && row->ttft_corrected->count > 0 ? row->ttft_corrected : row->corrected;
}

static void count(struct ps_judge *judge, const struct ps_second *row)
{
    if (judge->rows < PS_JUDGE_ROWS) {
        judge->at[judge->rows] = row->at;
        judge->step[judge->rows++] = ((double)row->in_flight - judge->last_in_flight) / row->span;
        double ttft = seconds_of(first_of(row));
        if (!isnan(ttft)) {
            judge->ttft_at[judge->ttfts] = row->at;
            judge->ttft[judge->ttfts++] = ttft;
        }
    }
    judge->level.judged += row->span;
    judge->sent += (double)row->sent;
    judge->ended += (double)(row->succeeded + row->failed);
    judge->failed += (double)row->failed;
    judge->good += (double)row->good;
    judge->skipped += (double)row->skipped;
    judge->late += (double)row->late;
    judge->in_flight += (double)row->in_flight * row->span;
    if (row->corrected != NULL) {
        ps_hist_merge(&judge->corrected, row->corrected);
    }
    if (row->ttft_corrected != NULL) {
        ps_hist_merge(&judge->ttft_hist, row->ttft_corrected);
    }
}

static double milliseconds(const struct ps_hist *hist, double share)
{
    return hist->count == 0 ? NAN : ps_hist_percentile(hist, share) / 1e6;
}

static void fill(struct ps_judge *judge)
{
    struct ps_stress_level *level = &judge->level;
    double judged = fmax(level->judged, 1e-9);
    double ended = fmax(judge->ended, 1);
    level->achieved = judge->ended / judged;
    level->error_share = judge->failed / ended;
    level->good_share = judge->ended > 0 ? judge->good / ended : 0;
    level->in_flight = judge->in_flight / judged;
    level->latency = seconds_of(&judge->corrected);
    level->p50_ms = milliseconds(&judge->corrected, 0.5);
    level->p95_ms = milliseconds(&judge->corrected, 0.95);
    level->p99_ms = milliseconds(&judge->corrected, 0.99);
    level->ttft_p95_ms = milliseconds(&judge->ttft_hist, 0.95);
}

/* ----------------------------------------------------------------------------------- the verdict */

struct opinion {
    bool breaks, fine; /* beyond doubt; neither: unclear */
    bool leans;        /* what it looks like */
    enum ps_stress_signal signal;
};

/* At least and at most so many of all. */
static void share_of(double hits, double all, double *low, double *high)
{
    if (all > 0) {
        ps_slope_share(hits, all, BEYOND_DOUBT, low, high);
    }
}

static struct opinion on_errors(const struct ps_judge *judge)
{
    double low = 0;
    double high = 1;
    share_of(judge->failed, judge->ended, &low, &high);
    double most = judge->opts.max_error * judge->ended;
    bool few = judge->failed == 0 && judge->ended >= NEEDED;
    return (struct opinion){.breaks = low > judge->opts.max_error,
                            .fine = few || high <= judge->opts.max_error,
                            .leans = judge->failed > most + judge->opts.doubt * sqrt(most),
                            .signal = PS_STRESS_ERRORS};
}

/* Only those that succeeded can be good: failures are judged above, not twice. */
static struct opinion on_good(const struct ps_judge *judge)
{
    double low = 0;
    double high = 1;
    double succeeded = judge->ended - judge->failed;
    share_of(succeeded - fmin(judge->good, succeeded), succeeded, &low, &high);
    bool all = judge->good >= succeeded;
    return (struct opinion){.breaks = succeeded > 0 && 1 - low < judge->opts.min_good,
                            .fine = succeeded == 0 || all || 1 - high >= judge->opts.min_good,
                            .leans = judge->good < judge->opts.min_good * succeeded,
                            .signal = PS_STRESS_GOODPUT};
}

/* A queue of `growth` of the rate a second makes the time to first token rise by about growth / (1 - growth). */
static bool rises(const struct ps_judge *judge, double confidence, struct ps_slope *slope)
{
    *slope = (struct ps_slope){.p = 1};
    return ps_slope_line(judge->ttft_at, judge->ttft, judge->ttfts, confidence, slope) &&
           slope->p < (1 - confidence) / 2;
}

static struct opinion on_growth(struct ps_judge *judge)
{
    struct ps_stress_level *level = &judge->level;
    struct opinion says = {.signal = PS_STRESS_CONCURRENCY};
    struct ps_slope growth;
    struct ps_slope ttft;
    double change = judge->last_in_flight - judge->before;
    level->growth = change / fmax(level->judged, 1e-9) / level->rate;
    /* What ends in a second spreads no less than a Poisson count: three calm rows prove little. */
    double chance = sqrt(fmax(judge->sent, 1)) / fmax(level->judged, 1e-9) / level->rate;
    level->growth_error = chance;
    bool evident = level->growth > EVIDENT && change > 5 * sqrt(fmax(judge->sent, 1));
    if (!ps_slope_mean(judge->step, judge->rows, PS_STRESS_CONFIDENCE, &growth)) {
        says.breaks = evident;
        says.leans = evident;
        return says;
    }
    double high = growth.high / level->rate;
    level->growth_error = judge->rows < 8 ? fmax(growth.error / level->rate, chance / 2) : growth.error / level->rate;
    (void)ps_slope_mean(judge->step, judge->rows, BEYOND_DOUBT, &growth);
    double low = growth.low / level->rate;
    bool both = low > 0 && rises(judge, BEYOND_DOUBT, &ttft);
    bool behind = low > 2 * judge->opts.tolerance;
    says.breaks = level->growth > judge->opts.tolerance && (both || evident || (behind && judge->rows >= 8));
    says.fine = high < 2 * judge->opts.tolerance || level->growth <= 0;
    says.leans = level->growth > judge->opts.tolerance + judge->opts.doubt * level->growth_error;
    if (both) {
        says.signal = ttft.error > 0 && ttft.slope / ttft.error > growth.slope / fmax(growth.error, 1e-12)
                          ? PS_STRESS_TTFT
                          : PS_STRESS_CONCURRENCY;
    } else {
        says.signal = PS_STRESS_GOODPUT; /* it falls behind, and not by a queue before the first token */
    }
    return says;
}

/* Skipped sends while requests pile up are the bound on those in flight: that is the server's doing. */
static bool is_limited(const struct ps_judge *judge, const struct opinion *growth)
{
    bool late = judge->late > 5 && judge->late > LATE_MOST * fmax(judge->sent, 1);
    double due = judge->level.rate * judge->level.judged;
    bool short_of = judge->sent < SENT_LEAST * due - 4 * sqrt(due); /* drawn arrivals spread */
    return (late || short_of || judge->skipped > 0) && !growth->leans;
}

static bool settle(struct ps_judge *judge, enum ps_stress_verdict verdict, enum ps_stress_signal signal, bool clear)
{
    judge->level.clear = clear;
    judge->level.verdict = verdict;
    judge->level.signal = signal;
    return true;
}

static bool decide(struct ps_judge *judge, bool last)
{
    struct opinion growth = on_growth(judge);
    const struct opinion says[] = {on_errors(judge), growth, on_good(judge)};
    const size_t count = sizeof says / sizeof *says;
    bool early = judge->level.judged + 1e-6 < judge->opts.least;
    for (size_t i = 0; i < count && !early; i++) {
        if (says[i].breaks) {
            return settle(judge, PS_STRESS_BREAKS, says[i].signal, true);
        }
    }
    bool limited = is_limited(judge, &growth);
    if (limited && (last || judge->rows >= LIMITED_ROWS)) {
        return settle(judge, PS_STRESS_LIMITED, PS_STRESS_NONE, true);
    }
    if (!early && says[0].fine && says[1].fine && says[2].fine) {
        return settle(judge, PS_STRESS_HOLDS, PS_STRESS_NONE, true);
    }
    for (size_t i = 0; i < count && last; i++) {
        if (says[i].leans) {
            return settle(judge, PS_STRESS_BREAKS, says[i].signal, false);
        }
    }
    return last && settle(judge, judge->ended > 0 ? PS_STRESS_HOLDS : PS_STRESS_UNCLEAR, PS_STRESS_NONE, false);
}

bool ps_judge_push(struct ps_judge *judge, const struct ps_second *row)
{
    struct ps_stress_level *level = &judge->level;
    level->seconds += row->span;
    level->at = row->at;
    count_all(judge, row);
    if (!judge->warm) {
        judge->warm = is_warm(judge, level->seconds);
        judge->before = (double)row->in_flight;
        judge->last_in_flight = judge->before;
        return false;
    }
    count(judge, row);
    judge->last_in_flight = (double)row->in_flight;
    fill(judge);
    if (judge->opts.literal) {
        return level->seconds + 1e-6 >= judge->opts.most && decide(judge, true);
    }
    return decide(judge, level->judged + 1e-6 >= judge->opts.most);
}

void ps_judge_settle(struct ps_judge *judge)
{
    if (judge->rows > 0) {
        (void)on_growth(judge);
    }
    (void)settle(judge, PS_STRESS_UNCLEAR, PS_STRESS_NONE, false);
}

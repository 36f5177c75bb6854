/* pressure - see pressure.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/pressure.h"

#include <math.h>
#include <stddef.h>

#define BELIEVED    2u   /* samples in a row that say that it got worse */
#define HALF_MINUTE 15.0 /* seconds: time constant of the mean */
#define EVENT_LASTS (3 * PS_SECOND)
#define FULL        99.5 /* percent: there is no more */
#define MARGIN      1.0  /* percent below the target before it is met again */

const char *const ps_pressure_levels[] = {"low", "medium", "high", "critical", NULL};
const char *const ps_pressure_bases[] = {"unknown", "kv_cache", "device", NULL};

struct ps_pressure_opts ps_pressure_opts_usual(void)
{
    return (struct ps_pressure_opts){
        .target = 75, .critical_in = 10 * PS_SECOND, .high_in = PS_MINUTE, .calm = 5 * PS_SECOND};
}

void ps_pressure_init(struct ps_pressure *pressure, const struct ps_pressure_opts *opts)
{
    *pressure =
        (struct ps_pressure){.opts = *opts, .effective = NAN, .mean = NAN, .last_event = -PS_HOUR};
    for (size_t i = 0; i < 4; i++) {
        pressure->as_bad_at[i] = -PS_HOUR;
    }
}

static double percent(double used, double total)
{
    return total > 0 && used >= 0 ? 100 * used / total : NAN; /* also where one of them is NAN */
}

static double effective_of(const struct ps_pressure_sample *sample, enum ps_pressure_basis *basis)
{
    double pool = percent(sample->pool_used, sample->pool_total);
    double device = percent(sample->device_used, sample->device_total);
    *basis = !isnan(pool)     ? PS_PRESSURE_POOL
             : !isnan(device) ? PS_PRESSURE_DEVICE
                              : PS_PRESSURE_UNKNOWN;
    return !isnan(pool) ? pool : device;
}

double ps_pressure_strain(const struct ps_pressure_sample *sample)
{
    enum ps_pressure_basis basis = PS_PRESSURE_UNKNOWN;
    double effective = effective_of(sample, &basis);
    double unused = percent(sample->unused, sample->device_total);
    return basis == PS_PRESSURE_DEVICE && !isnan(unused) ? effective - unused : effective;
}

static void follow_mean(struct ps_pressure *pressure, ps_time now)
{
    if (isnan(pressure->mean)) {
        pressure->mean = pressure->effective;
    } else {
        double passed = ps_span_seconds(now - pressure->last_sample);
        pressure->mean += (pressure->effective - pressure->mean) * (1 - exp(-passed / HALF_MINUTE));
    }
    pressure->last_sample = now;
}

/* What this sample alone says. */
static enum ps_pressure_level look(const struct ps_pressure *pressure, ps_time now,
                                   const struct ps_pressure_sample *sample)
{
    double until = isnan(sample->until) ? INFINITY : sample->until;
    double margin = pressure->level >= PS_PRESSURE_MEDIUM ? MARGIN : 0;
    if (now - pressure->last_event < EVENT_LASTS || ps_pressure_strain(sample) >= FULL ||
        until <= ps_span_seconds(pressure->opts.critical_in)) {
        return PS_PRESSURE_CRITICAL;
    }
    if (until <= ps_span_seconds(pressure->opts.high_in)) {
        return PS_PRESSURE_HIGH;
    }
    return pressure->mean > pressure->opts.target - margin ? PS_PRESSURE_MEDIUM : PS_PRESSURE_LOW;
}

/* The worst level that was there within the time that it takes to be calm. */
static enum ps_pressure_level calmest(const struct ps_pressure *pressure, ps_time now)
{
    enum ps_pressure_level level = PS_PRESSURE_CRITICAL;
    while (level > PS_PRESSURE_LOW && now - pressure->as_bad_at[level] >= pressure->opts.calm) {
        level--;
    }
    return level;
}

enum ps_pressure_level ps_pressure_push(struct ps_pressure *pressure, ps_time now,
                                        const struct ps_pressure_sample *sample)
{
    double effective = effective_of(sample, &pressure->basis);
    if (pressure->basis == PS_PRESSURE_UNKNOWN) {
        pressure->effective = NAN;
        return pressure->level;
    }
    pressure->effective = effective;
    pressure->last_event = sample->event ? now : pressure->last_event;
    follow_mean(pressure, now);
    enum ps_pressure_level says = look(pressure, now, sample);
    for (size_t i = 0; i <= (size_t)says; i++) {
        pressure->as_bad_at[i] = now;
    }
    pressure->in_a_row = says > pressure->level ? pressure->in_a_row + 1 : 0;
    if (pressure->in_a_row >= BELIEVED || (says > pressure->level && pressure->last_event == now)) {
        pressure->level = says;
        pressure->in_a_row = 0;
    } else if (says < pressure->level) {
        pressure->level = calmest(pressure, now);
    }
    return pressure->level;
}

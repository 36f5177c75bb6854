/* Rollups: what became of a length of time. */
#include <math.h>

#include "base/select.h"
#include "observe/history.h"
#include "observe/history_private.h"
#include "observe/metric_exponential.h"

enum { MINUTE = 60, HOUR = 3600 };

/* --- one -------------------------------------------------------------------------------------- */

static size_t gather(const struct ps_history *history, const struct ps_history_track *track,
                     int64_t from, int64_t to)
{
    size_t count = 0;
    int64_t oldest = history->second - (int64_t)history->points + 1;
    to = to > history->second ? history->second + 1 : to;
    for (int64_t second = from < oldest ? oldest : from; second < to; second++) {
        double value = ps_history_at(history, track, second);
        history->scratch[count] = value;
        count += isnan(value) ? 0 : 1;
    }
    return count;
}

static const struct ps_history_roll nothing = {NAN, NAN, NAN, NAN, NAN, 0};

/* Of the values in scratch, which are moved. */
static void roll(double *values, size_t count, struct ps_history_roll *out)
{
    *out = nothing;
    if (count == 0) {
        return;
    }
    double sum = 0;
    *out = (struct ps_history_roll){.min = values[0], .max = values[0], .last = values[count - 1],
                                    .count = (uint32_t)count};
    for (size_t i = 0; i < count; i++) {
        out->min = values[i] < out->min ? values[i] : out->min;
        out->max = values[i] > out->max ? values[i] : out->max;
        sum += values[i];
    }
    bool still = out->min == out->max;
    out->mean = still ? out->min : fmin(fmax(sum / (double)count, out->min), out->max);
    out->p95 = still ? out->min : ps_select(values, count, (19 * count + 19) / 20 - 1);
}

void ps_history_roll(const struct ps_history *history, const struct ps_history_track *track,
                     int64_t from, int64_t to, struct ps_history_roll *out)
{
    roll(history->scratch, gather(history, track, from, to), out);
}

void ps_history_roll_join(struct ps_history_roll *roll, const struct ps_history_roll *next)
{
    if (roll->count == 0 || next->count == 0) {
        *roll = roll->count == 0 ? *next : *roll;
        return;
    }
    double before = roll->count;
    double after = next->count;
    *roll = (struct ps_history_roll){
        .min = fmin(roll->min, next->min),
        .max = fmax(roll->max, next->max),
        .mean = (roll->mean * before + next->mean * after) / (before + after),
        .last = next->last,
        .p95 = fmax(roll->p95, next->p95),
        .count = roll->count + next->count,
    };
}

/* --- minutes ---------------------------------------------------------------------------------- */

static _Atomic uint64_t *sketch_of(const struct ps_history *history, uint32_t place)
{
    return history->sketches + (size_t)place * PS_EXPONENTIAL_CELLS;
}

static void sketch(struct ps_history *history, struct ps_history_place *place, size_t count)
{
    _Atomic uint64_t *cells = sketch_of(history, place->track.place);
    for (size_t i = 0; i < count; i++) {
        ps_exponential_observe(cells, history->scratch[i]);
    }
    place->sketched = place->sketched || count > 0;
}

static bool take_place(struct ps_history *history, size_t at, struct ps_history_minute *out)
{
    struct ps_history_place *place = &history->places[at];
    if (place->serial == 0) {
        return false;
    }
    int64_t start = history->untaken;
    size_t count = gather(history, &place->track, start, start + MINUTE);
    sketch(history, place, count);
    *out = (struct ps_history_minute){.track = &place->track, .start = start};
    roll(history->scratch, count, &out->roll);
    return count > 0;
}

/* Minutes that have no rows any more are nothing to wait for. */
static void skip_lost(struct ps_history *history)
{
    int64_t oldest = history->second - (int64_t)history->points + 1;
    if (history->untaken + MINUTE <= oldest) {
        history->untaken = ps_history_floor(oldest, MINUTE);
        history->minute_cursor = 0;
    }
}

bool ps_history_take_minute(struct ps_history *history, struct ps_history_minute *out)
{
    skip_lost(history);
    while (history->untaken < history->closed && history->untaken < history->hour + HOUR) {
        while (history->minute_cursor < history->used) {
            if (take_place(history, history->minute_cursor++, out)) {
                return true;
            }
        }
        history->untaken += MINUTE;
        history->minute_cursor = 0;
    }
    return false;
}

void ps_history_finish(struct ps_history *history)
{
    history->closed = ps_history_floor(history->second, MINUTE) + MINUTE;
}

/* --- hours ------------------------------------------------------------------------------------ */

static void read_sketch(struct ps_history *history, struct ps_history_place *place,
                        struct ps_history_hour *out)
{
    _Atomic uint64_t *cells = sketch_of(history, place->track.place);
    struct ps_exponential sum = {.scale = PS_EXPONENTIAL_SCALE};
    ps_exponential_read(cells, &sum);
    *out = (struct ps_history_hour){.track = &place->track, .start = history->hour,
                                    .p95 = ps_exponential_quantile(&sum, 0.95),
                                    .count = sum.count};
    ps_exponential_clear(cells);
    place->sketched = false;
}

bool ps_history_take_hour(struct ps_history *history, struct ps_history_hour *out)
{
    if (history->untaken < history->hour + HOUR) {
        return false;
    }
    while (history->hour_cursor < history->used) {
        struct ps_history_place *place = &history->places[history->hour_cursor++];
        if (place->serial != 0 && place->sketched) {
            read_sketch(history, place, out);
            return true;
        }
    }
    history->hour = ps_history_floor(history->untaken, HOUR);
    history->hour_cursor = 0;
    return false;
}

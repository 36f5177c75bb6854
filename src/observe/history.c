#include "observe/history.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "observe/history_private.h"
#include "observe/metric_exponential.h"

/* clang-format off */
const struct ps_option ps_history_options[] = {
    PS_OPTION_ROW(ps_history_opts, max_series, U64, "4000",
     "series of numbers that are remembered: one for a gauge or a counter, five for a histogram; each takes about 5 kB; "
     "what comes later is left out and counted",
     .min = 1, .max = 1e6, .no_reload = true),
    PS_OPTION_ROW(ps_history_opts, points, U64, "300",
     "points of each series in memory, at one a second",
     .min = 120, .max = 86400, .no_reload = true),
    PS_OPTION_ROW(ps_history_opts, minutes, SPAN, "48h",
     "how long a row a minute is kept for each series, in the file of `store.path`",
     .min = 3.6e12, .max = 3.1536e17),
    PS_OPTION_ROW(ps_history_opts, hours, SPAN, "400d",
     "how long a row an hour is kept",
     .min = 3.6e12, .max = 3.1536e17),
    {0},
};

enum { ROW_SERIES, ROW_LIMIT, ROW_REFUSED, ROW_GAPS, ROWS };

const struct ps_metric_family ps_history_metric_families[] = {
    [ROW_SERIES] = {.name = "penstock_history_series", .type = PS_METRIC_GAUGE,
     .help = "Series of numbers that are remembered second by second"},
    [ROW_LIMIT] = {.name = "penstock_history_series_limit", .type = PS_METRIC_GAUGE,
     .help = "How many there may be: history.max_series"},
    [ROW_REFUSED] = {.name = "penstock_history_refused_points_total", .type = PS_METRIC_COUNTER,
     .help = "Points that were left out because their series found no place"},
    [ROW_GAPS] = {.name = "penstock_history_missed_seconds_total", .type = PS_METRIC_COUNTER, .unit = "seconds",
     .help = "Seconds that no point was made in: the program was held up, or time was set forward"},
    {0},
};
/* clang-format on */

/* --- life ------------------------------------------------------------------------------------- */

static size_t power_above(size_t n)
{
    size_t power = 1;
    while (power < n) {
        power *= 2;
    }
    return power;
}

static int make_room(struct ps_history *history)
{
    size_t buckets = power_above(2 * history->max);
    history->stamps = calloc(history->points, sizeof *history->stamps);
    history->rows = calloc(history->points * history->max, sizeof *history->rows);
    history->scratch = calloc(history->points, sizeof *history->scratch);
    history->places = calloc(history->max, sizeof *history->places);
    history->buckets = malloc(buckets * sizeof *history->buckets);
    history->sketches = calloc(history->max * PS_EXPONENTIAL_CELLS, sizeof *history->sketches);
    if (history->stamps == NULL || history->rows == NULL || history->scratch == NULL ||
        history->places == NULL || history->buckets == NULL || history->sketches == NULL) {
        return PS_ENOMEM;
    }
    memset(history->buckets, 0xff, buckets * sizeof *history->buckets);
    history->bucket_mask = buckets - 1;
    return ps_history_feed_init(history);
}

int ps_history_new(struct ps_history **out, const struct ps_history_opts *opts)
{
    struct ps_history *history = calloc(1, sizeof *history);
    if (history == NULL) {
        return PS_ENOMEM;
    }
    history->max = opts->max_series;
    history->points = opts->points;
    history->free = PS_HISTORY_NONE;
    ps_exponential_init();
    bool seeded = getrandom(&history->seed, sizeof history->seed, 0) == sizeof history->seed;
    int err = seeded ? make_room(history) : PS_EIO;
    if (err != PS_OK) {
        ps_history_free(history);
        return err;
    }
    *out = history;
    return PS_OK;
}

void ps_history_free(struct ps_history *history)
{
    if (history == NULL) {
        return;
    }
    ps_history_unpublish(history);
    ps_history_feed_fini(history);
    for (size_t i = 0; i < history->used; i++) {
        free(history->places[i].text);
    }
    free(history->sketches);
    free(history->buckets);
    free(history->places);
    free(history->scratch);
    free(history->rows);
    free(history->stamps);
    free(history);
}

void ps_history_on_full(struct ps_history *history, void (*on_full)(void *ctx, struct ps_str key),
                        void *ctx)
{
    history->on_full = on_full;
    history->full_ctx = ctx;
}

/* --- own figures ------------------------------------------------------------------------------ */

static double read_series(void *context)
{
    return (double)((struct ps_history *)context)->count;
}

static double read_limit(void *context)
{
    return (double)((struct ps_history *)context)->max;
}

static double read_refused(void *context)
{
    return (double)((struct ps_history *)context)->refused;
}

static double read_gaps(void *context)
{
    return (double)((struct ps_history *)context)->gaps;
}

int ps_history_publish(struct ps_history *history, struct ps_metrics *metrics)
{
    static ps_metric_read *const reads[ROWS] = {read_series, read_limit, read_refused, read_gaps};
    const char *bad = NULL;
    history->metrics = metrics;
    int err = ps_metrics_declare(metrics, ps_history_metric_families, &bad);
    PS_CHECK(bad == NULL);
    for (size_t i = 0; i < ROWS && err == PS_OK; i++) {
        err = ps_metric_watch(metrics, &ps_history_metric_families[i], NULL, reads[i], history,
                              &history->handles[i]);
    }
    return err;
}

void ps_history_unpublish(struct ps_history *history)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (history->handles[i] != NULL) {
            ps_metric_unwatch(history->metrics, history->handles[i], history);
            history->handles[i] = NULL;
        }
    }
}

/* --- places ----------------------------------------------------------------------------------- */

static uint32_t *bucket_of(const struct ps_history *history, uint64_t hash)
{
    return &history->buckets[hash & history->bucket_mask];
}

static uint32_t find(const struct ps_history *history, struct ps_str key, uint64_t hash)
{
    uint32_t at = *bucket_of(history, hash);
    while (at != PS_HISTORY_NONE && (history->places[at].hash != hash ||
                                     !ps_str_eq(history->places[at].track.key, key))) {
        at = history->places[at].next;
    }
    return at;
}

static uint32_t take_place(struct ps_history *history)
{
    uint32_t at = history->free;
    if (at == PS_HISTORY_NONE) {
        return (uint32_t)history->used++;
    }
    history->free = history->places[at].next;
    return at;
}

static void describe(struct ps_history *history, struct ps_history_place *place, char *text,
                     size_t len, const struct ps_history_key *key, const char *from)
{
    struct ps_history_track *track = &place->track;
    ptrdiff_t labels = key->labels.len == 0 ? 0 : key->labels.ptr - from;
    *track = (struct ps_history_track){
        .key = {text, len},
        .name = {text + (key->name.ptr - from), key->name.len},
        .labels = {text + labels, key->labels.len},
        .of = key->of,
        .place = (uint32_t)(place - history->places),
        .since = history->second,
    };
}

static int make_place(struct ps_history *history, struct ps_str key, uint64_t hash, uint32_t *out)
{
    struct ps_history_key parts;
    int err = ps_history_key_parse(key, &parts);
    char *text = err != PS_OK ? NULL : ps_str_dup(key);
    if (text == NULL) {
        return err == PS_OK ? PS_ENOMEM : PS_EINVAL;
    }
    *out = take_place(history);
    struct ps_history_place *place = &history->places[*out];
    describe(history, place, text, key.len, &parts, key.ptr);
    place->text = text;
    place->hash = hash;
    place->serial = ++history->last_serial;
    place->next = *bucket_of(history, hash);
    *bucket_of(history, hash) = *out;
    history->row[*out] = NAN;
    history->count++;
    return PS_OK;
}

static int refuse(struct ps_history *history, struct ps_str key)
{
    history->refused++;
    if (!history->told_full && history->on_full != NULL) {
        history->on_full(history->full_ctx, key);
    }
    history->told_full = true;
    return PS_ELIMIT;
}

int ps_history_place_of(struct ps_history *history, struct ps_str key, uint32_t *out)
{
    uint64_t hash = ps_str_hash(key, history->seed);
    *out = find(history, key, hash);
    if (*out != PS_HISTORY_NONE) {
        return PS_OK;
    }
    return ps_history_is_full(history) ? refuse(history, key) : make_place(history, key, hash, out);
}

static void give_back(struct ps_history *history, uint32_t at)
{
    struct ps_history_place *place = &history->places[at];
    uint32_t *link = bucket_of(history, place->hash);
    while (*link != at) {
        link = &history->places[*link].next;
    }
    *link = place->next;
    free(place->text);
    if (place->sketched) {
        ps_exponential_clear(history->sketches + (size_t)at * PS_EXPONENTIAL_CELLS);
    }
    *place = (struct ps_history_place){.next = history->free};
    history->free = at;
    history->count--;
}

/* Tracks that nobody spoke of since their last point left the rows, once their minutes are taken. */
static void forget_gone(struct ps_history *history, int64_t second)
{
    int64_t gone = second - (int64_t)history->points;
    for (uint32_t i = 0; i < history->used; i++) {
        const struct ps_history_place *place = &history->places[i];
        if (place->serial != 0 && place->track.seen != history->second &&
            place->track.seen <= gone && place->track.seen < history->untaken) {
            give_back(history, i);
        }
    }
}

/* --- filling ---------------------------------------------------------------------------------- */

/* What lies behind a second that comes again. */
static void forget_future(struct ps_history *history, int64_t second)
{
    for (size_t i = 0; i < history->points; i++) {
        history->stamps[i] = history->stamps[i] >= second ? 0 : history->stamps[i];
    }
    for (size_t i = 0; i < history->used; i++) {
        struct ps_history_track *track = &history->places[i].track;
        track->since = track->since > second ? second : track->since;
        track->seen = track->seen > second ? second : track->seen;
    }
    history->untaken = ps_history_floor(second, 60);
    history->minute_cursor = 0;
}

bool ps_history_begin(struct ps_history *history, int64_t second)
{
    if (second == history->second || second <= 0) {
        return false;
    }
    if (history->second == 0) {
        history->untaken = ps_history_floor(second, 60);
        history->hour = ps_history_floor(second, 3600);
    } else if (second < history->second) {
        forget_future(history, second);
    } else {
        history->gaps += (uint64_t)(second - history->second - 1);
    }
    if (second % 10 == 0) {
        forget_gone(history, second);
    }
    size_t at = (size_t)(second % (int64_t)history->points);
    history->second = second;
    history->closed = ps_history_floor(second, 60);
    history->stamps[at] = second;
    history->row = history->rows + at * history->max;
    for (size_t i = 0; i < history->used; i++) {
        history->row[i] = NAN;
    }
    return true;
}

void ps_history_set(struct ps_history *history, uint32_t place, double value)
{
    history->row[place] = isfinite(value) ? value : NAN;
    history->places[place].track.seen = history->second;
}

int ps_history_put(struct ps_history *history, struct ps_str key, double value)
{
    uint32_t place;
    if (history->second == 0) {
        return PS_OK; /* it has no second yet */
    }
    int err = ps_history_place_of(history, key, &place);
    if (err == PS_OK) {
        ps_history_set(history, place, value);
    }
    return err;
}

/* --- looking ---------------------------------------------------------------------------------- */

int64_t ps_history_second(const struct ps_history *history)
{
    return history->second;
}

size_t ps_history_points(const struct ps_history *history)
{
    return history->points;
}

size_t ps_history_count(const struct ps_history *history)
{
    return history->count;
}

uint64_t ps_history_refused(const struct ps_history *history)
{
    return history->refused;
}

const struct ps_history_track *ps_history_find(const struct ps_history *history, struct ps_str key)
{
    uint32_t at = find(history, key, ps_str_hash(key, history->seed));
    return at == PS_HISTORY_NONE ? NULL : &history->places[at].track;
}

const struct ps_history_track *ps_history_next(const struct ps_history *history,
                                               const struct ps_history_track *before)
{
    for (size_t i = before == NULL ? 0 : before->place + 1; i < history->used; i++) {
        if (history->places[i].serial != 0) {
            return &history->places[i].track;
        }
    }
    return NULL;
}

double ps_history_at(const struct ps_history *history, const struct ps_history_track *track,
                     int64_t second)
{
    if (second < track->since || second > history->second) {
        return NAN;
    }
    size_t at = (size_t)(second % (int64_t)history->points);
    return history->stamps[at] == second ? history->rows[at * history->max + track->place] : NAN;
}

void ps_history_read(const struct ps_history *history, const struct ps_history_track *track,
                     int64_t from, size_t count, double *out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = ps_history_at(history, track, from + (int64_t)i);
    }
}

/* From the registry's series to points: what each did in the second that ended.
 *
 * Counters and histograms only grow, so a point needs what was read before; that is remembered
 * beside the id of the series, which is never used again.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "observe/history.h"
#include "observe/history_private.h"
#include "observe/metric_exponential.h"

enum { TRACKS = 5 };

static const enum ps_history_of histogram_tracks[TRACKS] = {
    PS_HISTORY_RATE, PS_HISTORY_MEAN, PS_HISTORY_P50, PS_HISTORY_P95, PS_HISTORY_P99};

/* What a histogram held when it was read last. */
struct held {
    double sum;
    uint64_t count;
    struct ps_exponential *exponential; /* or NULL: */
    size_t size;
    uint64_t buckets[];
};

/* Where a track is, as long as its serial is the place's. */
struct link {
    uint32_t place;
    uint32_t serial;
};

struct ps_history_source {
    struct ps_history_source *next; /* in its bucket */
    uint64_t id;
    uint32_t turn; /* of the walk that saw it last */
    bool known;    /* there is something to compare with: `value` or `held` */
    double value;
    struct held *held;
    size_t link_count;
    struct link links[]; /* 1, TRACKS for a histogram, one for each state of a stateset */
};

struct walk {
    struct ps_history *history;
    double seconds; /* since the walk before */
};

/* --- sources ---------------------------------------------------------------------------------- */

int ps_history_feed_init(struct ps_history *history)
{
    size_t size = history->bucket_mask + 1;
    history->sources = calloc(size, sizeof(struct ps_history_source *));
    history->source_mask = size - 1;
    return history->sources == NULL ? PS_ENOMEM : PS_OK;
}

static void free_source(struct ps_history_source *source)
{
    if (source->held != NULL) {
        free(source->held->exponential);
    }
    free(source->held);
    free(source);
}

/* Frees those that the present walk did not see; `all` for the end. */
static void sweep(struct ps_history *history, bool all)
{
    for (size_t i = 0; history->sources != NULL && i <= history->source_mask; i++) {
        struct ps_history_source **link = &history->sources[i];
        while (*link != NULL) {
            struct ps_history_source *source = *link;
            if (all || source->turn != history->turn) {
                *link = source->next;
                free_source(source);
                history->source_count--;
            } else {
                link = &source->next;
            }
        }
    }
}

void ps_history_feed_fini(struct ps_history *history)
{
    if (history->walked_metrics != NULL) {
        ps_metric_cursor_fini(history->walked_metrics, &history->cursor);
    }
    sweep(history, true);
    free(history->sources);
}

static struct ps_history_source **bucket_of(struct ps_history *history, uint64_t id)
{
    uint64_t mixed = id * UINT64_C(0x9e3779b97f4a7c15); /* ids ascend: spread them (Knuth 6.4) */
    return &history->sources[(mixed >> 32) & history->source_mask];
}

static struct ps_history_source *find_source(struct ps_history *history, uint64_t id)
{
    struct ps_history_source *source = *bucket_of(history, id);
    while (source != NULL && source->id != id) {
        source = source->next;
    }
    return source;
}

static size_t count_links(const struct ps_metric_family *family)
{
    size_t states = 0;
    if (family->type == PS_METRIC_STATESET) {
        while (family->states[states] != NULL) {
            states++;
        }
        return states;
    }
    return family->type == PS_METRIC_HISTOGRAM || family->type == PS_METRIC_EXPONENTIAL ? TRACKS : 1;
}

static struct held *make_held(const struct ps_metric_sample *sample)
{
    size_t size = sample->exponential != NULL ? 0 : sample->family->bounds_count + 1;
    struct held *held = calloc(1, sizeof *held + size * sizeof held->buckets[0]);
    if (held != NULL && sample->exponential != NULL) {
        held->exponential = malloc(sizeof *held->exponential);
        if (held->exponential == NULL) {
            free(held);
            return NULL;
        }
        *held->exponential = (struct ps_exponential){.scale = PS_EXPONENTIAL_SCALE};
    }
    if (held != NULL) {
        held->size = size;
    }
    return held;
}

static struct ps_history_source *make_source(struct ps_history *history,
                                             const struct ps_metric_sample *sample)
{
    size_t links = count_links(sample->family);
    struct ps_history_source *source = calloc(1, sizeof *source + links * sizeof source->links[0]);
    if (source == NULL) {
        return NULL;
    }
    source->id = sample->id;
    source->link_count = links;
    /* Made since the walk before, or within the second of the first one: it began at zero. */
    int64_t since = history->walked_before > 0 ? history->walked_before : history->walked - 1;
    source->known = !sample->watched && sample->created / PS_SECOND >= since;
    source->held = sample->buckets == NULL ? NULL : make_held(sample);
    if (sample->buckets != NULL && source->held == NULL) {
        free_source(source);
        return NULL;
    }
    struct ps_history_source **bucket = bucket_of(history, sample->id);
    source->next = *bucket;
    *bucket = source;
    history->source_count++;
    return source;
}

/* --- points ----------------------------------------------------------------------------------- */

/* Sets the point of the n-th track of a source, whose place is looked up when it is not known. */
static int put_point(struct walk *walk, struct ps_history_source *source, size_t n,
                     enum ps_history_of of, const struct ps_metric_sample *sample,
                     const char *state, double value)
{
    struct ps_history *history = walk->history;
    struct link *link = &source->links[n];
    if (link->serial == 0 || history->places[link->place].serial != link->serial) {
        char key[PS_HISTORY_KEY_MAX];
        size_t len = ps_history_key_write(of, sample, state, key);
        int err = len == 0 ? PS_ELIMIT
                           : ps_history_place_of(history, (struct ps_str){key, len}, &link->place);
        if (err != PS_OK) {
            history->refused += len == 0 ? 1 : 0;
            link->serial = 0;
            return err;
        }
        link->serial = history->places[link->place].serial;
    }
    ps_history_set(history, link->place, value);
    return PS_OK;
}

static int put_counter(struct walk *walk, struct ps_history_source *source,
                       const struct ps_metric_sample *sample)
{
    double grown = source->known ? sample->value - source->value : NAN;
    source->known = true;
    source->value = sample->value;
    return put_point(walk, source, 0, PS_HISTORY_RATE, sample, NULL,
                     grown >= 0 ? grown / walk->seconds : NAN);
}

static int put_states(struct walk *walk, struct ps_history_source *source,
                      const struct ps_metric_sample *sample)
{
    int err = PS_OK;
    for (size_t i = 0; i < source->link_count && err == PS_OK; i++) {
        err = put_point(walk, source, i, PS_HISTORY_VALUE, sample, sample->family->states[i],
                        (double)(sample->states >> i & 1));
    }
    return err;
}

/* --- histograms ------------------------------------------------------------------------------- */

/* What was observed in the second. */
struct observed {
    uint64_t count;
    double sum;
    const double *bounds; /* or NULL: */
    size_t bounds_count;
    uint64_t buckets[PS_METRIC_BOUNDS_MAX + 1];
    struct ps_exponential exponential;
};

/* False: it began anew. */
static bool subtract(const struct ps_metric_sample *sample, const struct held *held,
                     struct observed *out)
{
    if (sample->count < held->count) {
        return false;
    }
    out->count = sample->count - held->count;
    out->sum = sample->sum - held->sum;
    if (sample->exponential != NULL) {
        out->bounds = NULL;
        out->exponential = *sample->exponential;
        return ps_exponential_subtract(&out->exponential, held->exponential);
    }
    out->bounds = sample->family->bounds;
    out->bounds_count = sample->family->bounds_count;
    for (size_t i = 0; i < held->size; i++) {
        if (sample->buckets[i] < held->buckets[i]) {
            return false;
        }
        out->buckets[i] = sample->buckets[i] - held->buckets[i];
    }
    return true;
}

static void hold(const struct ps_metric_sample *sample, struct held *held)
{
    held->count = sample->count;
    held->sum = sample->sum;
    if (sample->exponential != NULL) {
        *held->exponential = *sample->exponential;
        return;
    }
    memcpy(held->buckets, sample->buckets, held->size * sizeof held->buckets[0]);
}

/* Inside its bucket a value is placed as Prometheus' histogram_quantile() does: evenly, from zero or
 * the first bound if that is negative; above the last bound it is that bound. */
static double quantile(const struct observed *observed, double share)
{
    if (observed->bounds == NULL) {
        return ps_exponential_quantile(&observed->exponential, share);
    }
    double rank = share * (double)observed->count;
    double below = 0;
    size_t i = 0;
    while (i < observed->bounds_count && below + (double)observed->buckets[i] < rank) {
        below += (double)observed->buckets[i++];
    }
    const double *bounds = observed->bounds;
    if (i == observed->bounds_count) {
        return bounds[i - 1];
    }
    double high = bounds[i];
    double low = i > 0 ? bounds[i - 1] : high > 0 ? 0 : high;
    return low + (high - low) * (rank - below) / (double)observed->buckets[i];
}

static double figure(const struct observed *observed, enum ps_history_of of, double seconds)
{
    if (of == PS_HISTORY_RATE) {
        return (double)observed->count / seconds;
    }
    if (observed->count == 0) {
        return NAN;
    }
    switch (of) {
    case PS_HISTORY_P50:
        return quantile(observed, 0.5);
    case PS_HISTORY_P95:
        return quantile(observed, 0.95);
    case PS_HISTORY_P99:
        return quantile(observed, 0.99);
    case PS_HISTORY_VALUE:
    case PS_HISTORY_RATE:
    case PS_HISTORY_MEAN:
    case PS_HISTORY_OF_COUNT:
        break;
    }
    return observed->sum / (double)observed->count;
}

/* Nothing observed is the common case, and costs neither a copy nor a subtraction. */
static bool is_quiet(const struct ps_history_source *source, const struct ps_metric_sample *sample)
{
    return source->known && sample->count == source->held->count;
}

static int put_histogram(struct walk *walk, struct ps_history_source *source,
                         const struct ps_metric_sample *sample)
{
    struct observed observed;
    bool quiet = is_quiet(source, sample);
    bool known = quiet || (source->known && subtract(sample, source->held, &observed));
    int err = PS_OK;
    if (quiet) {
        observed.count = 0;
    } else {
        hold(sample, source->held);
    }
    source->known = true;
    for (size_t i = 0; i < TRACKS && err == PS_OK; i++) {
        double value = known ? figure(&observed, histogram_tracks[i], walk->seconds) : NAN;
        err = put_point(walk, source, i, histogram_tracks[i], sample, NULL, value);
    }
    return err;
}

/* --- the walk --------------------------------------------------------------------------------- */

static int on_family(void *context, const struct ps_metric_family *family)
{
    (void)context;
    (void)family;
    return PS_OK;
}

static int put_sample(struct walk *walk, struct ps_history_source *source,
                      const struct ps_metric_sample *sample)
{
    switch (sample->family->type) {
    case PS_METRIC_COUNTER:
        return put_counter(walk, source, sample);
    case PS_METRIC_GAUGE:
    case PS_METRIC_UPDOWN:
        return put_point(walk, source, 0, PS_HISTORY_VALUE, sample, NULL, sample->value);
    case PS_METRIC_HISTOGRAM:
    case PS_METRIC_EXPONENTIAL:
        return put_histogram(walk, source, sample);
    case PS_METRIC_STATESET:
        return put_states(walk, source, sample);
    case PS_METRIC_INFO:
        break;
    }
    return PS_OK;
}

/* A series for which there is no place costs one look-up. */
static int on_sample(void *context, const struct ps_metric_sample *sample)
{
    struct walk *walk = context;
    struct ps_history *history = walk->history;
    if (sample->family->type == PS_METRIC_INFO) {
        return PS_OK;
    }
    struct ps_history_source *source = find_source(history, sample->id);
    if (source == NULL && ps_history_is_full(history) && history->told_full) {
        history->refused++;
        return PS_OK;
    }
    source = source != NULL ? source : make_source(history, sample);
    if (source == NULL) {
        return PS_ENOMEM;
    }
    source->turn = history->turn;
    int err = put_sample(walk, source, sample);
    return err == PS_ELIMIT ? PS_OK : err;
}

/* The first slice of a second begins the walk, whatever became of the one before. */
static void begin_walk(struct ps_history *history, struct ps_metrics *metrics)
{
    if (history->walked != history->second) {
        ps_metric_cursor_fini(metrics, &history->cursor);
        history->walked_metrics = metrics;
        history->walk_seconds = history->walked > 0 && history->second > history->walked
                                    ? (double)(history->second - history->walked)
                                    : 1;
        history->walked_before = history->walked;
        history->walked = history->second;
        history->turn++;
    }
}

int ps_history_collect(struct ps_history *history, struct ps_metrics *metrics, size_t most)
{
    struct walk walk = {.history = history};
    const struct ps_metric_visitor visitor = {on_family, on_sample, &walk, false};
    if (history->second == 0) {
        return PS_OK;
    }
    begin_walk(history, metrics);
    walk.seconds = history->walk_seconds;
    int err = ps_metrics_collect_some(metrics, &visitor, &history->cursor, most);
    if (err == PS_OK) {
        sweep(history, false);
    }
    return err;
}

#include "export/statsd.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "export/naming.h"
#include "observe/metric_memo.h"
#include "observe/metric_sketch.h"

enum {
    MEMO_SERIES = 16384,
    REPEATS_MOST = 1000000, /* as often as one value may count: rates below count as that */
    SET_SLOTS = 1024,       /* of the table, a power of two above PS_STATSD_SETS */
    SHOWN_MOST = 200,       /* bytes of a line that a fault shows */
};

#define QUIET PS_MINUTE

static_assert(SET_SLOTS >= 2 * PS_STATSD_SETS, "the table of sets is never crowded");

/* The different values that a series of a set has seen in this interval. */
struct set {
    struct ps_metric_handle *handle; /* a reference */
    uint8_t sketch[PS_METRIC_SKETCH];
};

struct ps_statsd {
    struct ps_statsd_opts opts;
    struct ps_metric_memo *memo;
    struct ps_counter *lines[PS_STATSD_FAULTS];
    struct ps_counter *left_out;
    ps_time quiet_until[PS_STATSD_FAULTS]; /* 0 = never told */
    struct set *sets[SET_SLOTS];           /* by handle, with open addressing; NULL = free */
    size_t set_count;
    ps_time interval_end; /* 0 = not begun */
};

enum { ROW_LINES, ROW_TAGS };

/* clang-format off */
const struct ps_metric_family ps_statsd_metric_families[] = {
    [ROW_LINES] = {.name = "penstock_statsd_lines_total", .type = PS_METRIC_COUNTER,
     .help = "Lines of StatsD that came, by what became of them: accepted, or why they were not (form, value, type, rate, "
             "name: malformed; unsupported: events and service checks; conflict: the name belongs to another type; limit: "
             "metrics.max_custom or 500 sets; truncated: a datagram beyond 64 KiB)",
     .labels = {"result"}},
    [ROW_TAGS] = {.name = "penstock_statsd_left_out_tags_total", .type = PS_METRIC_COUNTER,
     .help = "Tags that were left out of accepted lines, because the metric has no such label or no more than 8"},
    {0},
};
/* clang-format on */

/* ---- life */

static int bind_counters(struct ps_statsd *statsd)
{
    struct ps_metrics *metrics = statsd->opts.metrics;
    const char *bad = NULL;
    int err = ps_metrics_declare(metrics, ps_statsd_metric_families, &bad);
    PS_CHECK(bad == NULL);
    for (size_t i = 0; i < PS_STATSD_FAULTS && err == PS_OK; i++) {
        struct ps_str name = ps_str_from(ps_statsd_fault_name((enum ps_statsd_fault)i));
        err = ps_metric_counter(metrics, &ps_statsd_metric_families[ROW_LINES], PS_LABELS(name),
                                &statsd->lines[i]);
    }
    return err != PS_OK ? err
                        : ps_metric_counter(metrics, &ps_statsd_metric_families[ROW_TAGS], NULL,
                                            &statsd->left_out);
}

int ps_statsd_new(struct ps_statsd **out, const struct ps_statsd_opts *opts)
{
    struct ps_statsd *statsd = calloc(1, sizeof *statsd);
    if (statsd == NULL) {
        return PS_ENOMEM;
    }
    statsd->opts = *opts;
    int err = bind_counters(statsd);
    err = err != PS_OK ? err : ps_metric_memo_new(&statsd->memo, opts->metrics, MEMO_SERIES);
    if (err != PS_OK) {
        ps_statsd_free(statsd);
        return err;
    }
    *out = statsd;
    return PS_OK;
}

static void put_counter(struct ps_statsd *statsd, struct ps_counter *counter)
{
    ps_metric_put(statsd->opts.metrics, counter == NULL ? NULL : &counter->handle);
}

void ps_statsd_free(struct ps_statsd *statsd)
{
    if (statsd == NULL) {
        return;
    }
    for (size_t i = 0; i < SET_SLOTS; i++) {
        if (statsd->sets[i] != NULL) {
            ps_metric_put(statsd->opts.metrics, statsd->sets[i]->handle);
            free(statsd->sets[i]);
        }
    }
    for (size_t i = 0; i < PS_STATSD_FAULTS; i++) {
        put_counter(statsd, statsd->lines[i]);
    }
    put_counter(statsd, statsd->left_out);
    ps_metric_memo_free(statsd->memo);
    free(statsd);
}

/* ---- sets */

/* The place of a series' set, or the free one where it belongs. */
static struct set **set_of(struct ps_statsd *statsd, const struct ps_metric_handle *handle)
{
    size_t at = ((uintptr_t)handle >> 4) * 0x9e3779b97f4a7c15u >> 32 & (SET_SLOTS - 1);
    while (statsd->sets[at] != NULL && statsd->sets[at]->handle != handle) {
        at = (at + 1) & (SET_SLOTS - 1);
    }
    return &statsd->sets[at];
}

static struct set *find_or_add_set(struct ps_statsd *statsd, const struct ps_metric_family *family,
                                   const struct ps_metric_labels *labels,
                                   const struct ps_metric_handle *handle)
{
    struct set **place = set_of(statsd, handle);
    if (*place != NULL || statsd->set_count >= PS_STATSD_SETS) {
        return *place;
    }
    struct set *set = calloc(1, sizeof *set);
    if (set == NULL || ps_metric_any(statsd->opts.metrics, family, labels, &set->handle) != PS_OK) {
        free(set);
        return NULL;
    }
    PS_CHECK(set->handle == handle);
    statsd->set_count++;
    *place = set;
    return set;
}

void ps_statsd_tick(struct ps_statsd *statsd, ps_time now)
{
    if (statsd->interval_end == 0) {
        statsd->interval_end = now + statsd->opts.interval;
    }
    if (now < statsd->interval_end) {
        return;
    }
    statsd->interval_end = now + statsd->opts.interval;
    for (size_t i = 0; i < SET_SLOTS; i++) {
        struct set *set = statsd->sets[i];
        if (set != NULL) {
            double count = nearbyint(ps_metric_sketch_count(set->sketch));
            ps_gauge_set(PS_CONTAINER_OF(set->handle, struct ps_gauge, handle), count);
            memset(set->sketch, 0, sizeof set->sketch);
        }
    }
}

/* ---- moving */

static uint64_t repeats_of(double rate)
{
    double times = nearbyint(1 / rate);
    return times > REPEATS_MOST ? REPEATS_MOST : (uint64_t)times;
}

static void move(struct ps_statsd *statsd, const struct ps_statsd_line *line,
                 struct ps_metric_handle *handle, const struct ps_statsd_value *value)
{
    struct ps_gauge *gauge = PS_CONTAINER_OF(handle, struct ps_gauge, handle);
    struct ps_histogram *histogram = PS_CONTAINER_OF(handle, struct ps_histogram, handle);
    unsigned shard = statsd->opts.shard;
    switch (line->type) {
    case PS_STATSD_COUNTER:
        ps_counter_add_double(PS_CONTAINER_OF(handle, struct ps_counter, handle), shard,
                              value->number / line->rate);
        break;
    case PS_STATSD_GAUGE:
        value->is_relative ? ps_gauge_add(gauge, value->number)
                           : ps_gauge_set(gauge, value->number);
        break;
    case PS_STATSD_TIMER:
        ps_histogram_observe_many(histogram, shard, value->number / 1000, repeats_of(line->rate));
        break;
    case PS_STATSD_HISTOGRAM:
    case PS_STATSD_DISTRIBUTION:
        ps_histogram_observe_many(histogram, shard, value->number, repeats_of(line->rate));
        break;
    case PS_STATSD_SET:
        break;
    }
}

static enum ps_statsd_fault move_set(struct ps_statsd *statsd, struct ps_statsd_line *line,
                                     const struct ps_metric_labels *labels,
                                     struct ps_metric_handle *handle)
{
    struct set *set = find_or_add_set(statsd, handle->family, labels, handle);
    struct ps_statsd_value value;
    if (set == NULL) {
        return PS_STATSD_LIMIT;
    }
    while (ps_statsd_line_next(line, &value)) {
        ps_metric_sketch_add(set->sketch, ps_str_hash(value.text, 0));
    }
    return PS_STATSD_FINE;
}

/* ---- tags to labels */

/* The names of labels as they were made, all in one piece. */
struct words {
    char text[PS_METRIC_LABELS_MAX * PS_CUSTOM_NAME_MAX];
    size_t len;
};

static bool is_known(const struct ps_custom_definition *definition, struct ps_str name)
{
    for (size_t i = 0; i < definition->label_count; i++) {
        if (ps_str_eq(definition->labels[i], name)) {
            return true;
        }
    }
    return false;
}

/* Adds a tag; false where it has to be left out. */
static bool add_tag(struct ps_custom_definition *definition, struct words *words,
                    struct ps_str values[PS_METRIC_LABELS_MAX], struct ps_str tag)
{
    size_t colon = ps_str_find(tag, ':');
    char *name = words->text + words->len;
    size_t len = definition->label_count < PS_METRIC_LABELS_MAX
                     ? ps_naming_label(ps_str_first(tag, colon), name, PS_CUSTOM_NAME_MAX)
                     : 0;
    if (len == 0 || is_known(definition, (struct ps_str){name, len})) {
        return false;
    }
    words->len += len;
    values[definition->label_count] =
        colon < tag.len ? ps_str_skip(tag, colon + 1) : PS_STR("true");
    definition->labels[definition->label_count++] = (struct ps_str){name, len};
    return true;
}

static size_t add_tags(struct ps_custom_definition *definition, struct words *words,
                       struct ps_str values[PS_METRIC_LABELS_MAX], struct ps_str tags)
{
    struct ps_str tag;
    size_t left_out = 0;
    while (tags.len > 0 && ps_str_next_member(&tags, &tag)) {
        left_out += add_tag(definition, words, values, tag) ? 0 : 1;
    }
    return left_out;
}

/* ---- lines */

static const struct {
    enum ps_metric_type type;
    struct ps_str unit;
    struct ps_str help;
} kinds[] = {
    [PS_STATSD_COUNTER] = {PS_METRIC_COUNTER, PS_STR_INIT(""), PS_STR_INIT("A counter of StatsD")},
    [PS_STATSD_GAUGE] = {PS_METRIC_GAUGE, PS_STR_INIT(""), PS_STR_INIT("A gauge of StatsD")},
    [PS_STATSD_TIMER] = {PS_METRIC_EXPONENTIAL, PS_STR_INIT("s"), PS_STR_INIT("A timer of StatsD")},
    [PS_STATSD_HISTOGRAM] = {PS_METRIC_EXPONENTIAL, PS_STR_INIT(""),
                             PS_STR_INIT("A histogram of StatsD")},
    [PS_STATSD_DISTRIBUTION] = {PS_METRIC_EXPONENTIAL, PS_STR_INIT(""),
                                PS_STR_INIT("A distribution of StatsD")},
    [PS_STATSD_SET] = {PS_METRIC_GAUGE, PS_STR_INIT(""),
                       PS_STR_INIT("Different values of a set of StatsD in the last interval")},
};

static enum ps_statsd_fault fault_of(int err)
{
    return err == PS_EINVAL  ? PS_STATSD_BAD_NAME
           : err == PS_EBUSY ? PS_STATSD_CONFLICT
                             : PS_STATSD_LIMIT;
}

/* Finds the series of a line and moves it. */
static enum ps_statsd_fault apply(struct ps_statsd *statsd, struct ps_statsd_line *line,
                                  char *reason, size_t size)
{
    struct ps_custom_definition definition = {.type = kinds[line->type].type,
                                              .help = kinds[line->type].help};
    struct ps_naming naming;
    struct words words;
    struct ps_str values[PS_METRIC_LABELS_MAX];
    const struct ps_metric_family *row;
    size_t order[PS_METRIC_LABELS_MAX];
    size_t misfits = 0;
    struct ps_metric_labels labels = {0};
    struct ps_metric_handle *handle;
    if (ps_naming_metric(&naming, line->name, kinds[line->type].unit, definition.type) != PS_OK) {
        return PS_STATSD_BAD_NAME;
    }
    definition.name = naming.name;
    definition.unit = naming.unit;
    words.len = 0;
    size_t left_out = add_tags(&definition, &words, values, line->tags);
    int err = ps_custom_fit(statsd->opts.custom, &definition, &row, order, &misfits, reason, size);
    if (err != PS_OK) {
        return fault_of(err);
    }
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && row->labels[i] != NULL; i++) {
        labels.values[i] = order[i] == PS_CUSTOM_NONE ? PS_STR("") : values[order[i]];
    }
    if (ps_metric_memo_find(statsd->memo, row, &labels, &handle) != PS_OK) {
        return PS_STATSD_LIMIT;
    }
    if (left_out + misfits > 0) {
        ps_counter_add(statsd->left_out, statsd->opts.shard, left_out + misfits);
    }
    if (line->type == PS_STATSD_SET) {
        return move_set(statsd, line, &labels, handle);
    }
    struct ps_statsd_value value;
    while (ps_statsd_line_next(line, &value)) {
        move(statsd, line, handle, &value);
    }
    return PS_STATSD_FINE;
}

static void note(struct ps_statsd *statsd, enum ps_statsd_fault fault, struct ps_str line,
                 const char *reason, ps_time now)
{
    ps_counter_add(statsd->lines[fault], statsd->opts.shard, 1);
    ps_time *quiet = &statsd->quiet_until[fault];
    if (fault == PS_STATSD_FINE || statsd->opts.on_fault == NULL || (*quiet != 0 && now < *quiet)) {
        return;
    }
    *quiet = now + QUIET;
    statsd->opts.on_fault(statsd->opts.ctx, fault, ps_str_first(line, SHOWN_MOST), reason);
}

void ps_statsd_take(struct ps_statsd *statsd, struct ps_str datagram, ps_time now)
{
    struct ps_str text;
    while (ps_str_split(&datagram, '\n', &text)) {
        struct ps_statsd_line line;
        char reason[512];
        reason[0] = '\0';
        if (text.len > 0 && text.ptr[text.len - 1] == '\r') {
            text.len--;
        }
        if (text.len == 0) {
            continue;
        }
        enum ps_statsd_fault fault = ps_statsd_line_parse(text, &line);
        if (fault == PS_STATSD_FINE) {
            fault = apply(statsd, &line, reason, sizeof reason);
        }
        note(statsd, fault, text, reason, now);
    }
}

void ps_statsd_truncated(struct ps_statsd *statsd, struct ps_str datagram, ps_time now)
{
    note(statsd, PS_STATSD_TRUNCATED, datagram, "", now);
}

#include "observe/custom.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "observe/metric_label.h"

/* A row with everything that it points at, in one piece of memory. */
struct entry {
    struct entry *next;              /* in its bucket */
    struct entry *waiting;           /* the next that is not yet declared */
    struct ps_metric_family rows[2]; /* the second ends the table */
    double bounds[PS_METRIC_BOUNDS_MAX];
    const char *states[PS_METRIC_STATES_MAX + 1];
    char text[];
};

enum { BUCKETS = 1024 };

struct ps_custom {
    struct ps_metrics *metrics;
    pthread_mutex_t lock;
    struct entry *buckets[BUCKETS];
    size_t count;
    size_t limit;
};

int ps_custom_new(struct ps_custom **out, struct ps_metrics *metrics, size_t max_metrics)
{
    struct ps_custom *custom = calloc(1, sizeof *custom);
    if (custom == NULL) {
        return PS_ENOMEM;
    }
    custom->metrics = metrics;
    custom->limit = max_metrics == 0 ? PS_CUSTOM_METRICS : max_metrics;
    pthread_mutex_init(&custom->lock, NULL);
    *out = custom;
    return PS_OK;
}

void ps_custom_free(struct ps_custom *custom)
{
    if (custom == NULL) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        while (custom->buckets[i] != NULL) {
            struct entry *entry = custom->buckets[i];
            custom->buckets[i] = entry->next;
            free(entry);
        }
    }
    pthread_mutex_destroy(&custom->lock);
    free(custom);
}

/* ---- judging */

static int refuse(int err, char *reason, size_t size, const char *why)
{
    snprintf(reason, size, "%s", why);
    return err;
}

static bool is_text(struct ps_str text)
{
    for (size_t len; text.len > 0; text = ps_str_skip(text, len)) {
        len = ps_str_utf8_length(text);
        if (len == 0 || text.ptr[0] == '\0') {
            return false;
        }
    }
    return true;
}

static bool states_are_sound(const struct ps_custom_definition *definition)
{
    size_t count = 0;
    if (definition->type != PS_METRIC_STATESET || definition->states == NULL) {
        return definition->type != PS_METRIC_STATESET && definition->states == NULL;
    }
    for (; definition->states[count] != NULL && count <= PS_METRIC_STATES_MAX; count++) {
        struct ps_str state = ps_str_from(definition->states[count]);
        if (state.len == 0 || state.len > PS_CUSTOM_STATE_MAX || !is_text(state)) {
            return false;
        }
    }
    return count > 0 && count <= PS_METRIC_STATES_MAX;
}

/* Lengths, and bytes that a C string can't hold; the registry judges the rest. */
static const char *objection_to_sizes(const struct ps_custom_definition *definition)
{
    if (definition->name.len == 0 || definition->name.len > PS_CUSTOM_NAME_MAX) {
        return "the name has to have 1 to 200 bytes";
    }
    if (definition->help.len > PS_CUSTOM_HELP_MAX || !is_text(definition->help)) {
        return "the help has to be text of at most 1024 bytes";
    }
    if (definition->unit.len > PS_CUSTOM_NAME_MAX ||
        definition->label_count > PS_METRIC_LABELS_MAX) {
        return "at most 8 labels, and a unit of at most 200 bytes";
    }
    if (definition->bounds != NULL &&
        (definition->bounds_count == 0 || definition->bounds_count > PS_METRIC_BOUNDS_MAX)) {
        return "a histogram has 1 to 64 bounds";
    }
    for (size_t i = 0; i < definition->label_count; i++) {
        if (definition->labels[i].len > PS_CUSTOM_NAME_MAX || !is_text(definition->labels[i])) {
            return "the name of a label is text of at most 200 bytes";
        }
    }
    if (!states_are_sound(definition)) {
        return "a stateset has 1 to 62 states of 1 to 64 bytes, and nothing else has any";
    }
    return is_text(definition->name) && is_text(definition->unit) ? NULL : "names are text";
}

/* Which of the registry's rules was broken, in words. */
static const char *objection_to_row(const struct ps_metric_family *row)
{
    struct ps_str name = ps_str_from(row->name);
    if (row->type == PS_METRIC_UPDOWN) {
        return "the type has to be counter, gauge, histogram, exponential, info or stateset";
    }
    if (ps_str_starts_with(name, PS_STR("penstock_"))) {
        return "names that begin with penstock_ are the program's own";
    }
    if (ps_metric_family_is_sane(row)) {
        return NULL;
    }
    if (row->type == PS_METRIC_COUNTER && !ps_str_ends_with(name, PS_STR("_total"))) {
        return "the name of a counter ends with _total";
    }
    if (row->type == PS_METRIC_INFO && !ps_str_ends_with(name, PS_STR("_info"))) {
        return "the name of an info ends with _info";
    }
    struct ps_metric_family bare = {.name = row->name,
                                    .type = row->type,
                                    .help = "x",
                                    .states = row->states,
                                    .bounds = row->bounds,
                                    .bounds_count = row->bounds_count};
    if (!ps_metric_family_is_sane(&bare)) {
        return row->type == PS_METRIC_HISTOGRAM
                   ? "a name has letters, digits, _ and : only, no digit first, and none of the "
                     "ends that "
                     "formats add (_total, _count, _sum, _bucket, _created, _info); bounds are "
                     "finite and rise"
                   : "a name has letters, digits, _ and : only, no digit first, and none of the "
                     "ends that "
                     "formats add (_total, _count, _sum, _bucket, _created, _info)";
    }
    bare.unit = row->unit;
    if (!ps_metric_family_is_sane(&bare)) {
        return "the name has to end with the unit";
    }
    return "label names have letters, digits and _ only, no digit first, not __ first, are not le, "
           "and differ";
}

/* ---- making rows */

static void sort_labels(const struct ps_custom_definition *definition,
                        size_t order[PS_METRIC_LABELS_MAX])
{
    for (size_t i = 0; i < definition->label_count; i++) {
        size_t at = i;
        for (; at > 0; at--) {
            struct ps_str a = definition->labels[order[at - 1]], b = definition->labels[i];
            size_t least = a.len < b.len ? a.len : b.len;
            int differ = least == 0 ? 0 : memcmp(a.ptr, b.ptr, least);
            if (differ < 0 || (differ == 0 && a.len <= b.len)) {
                break;
            }
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
}

static const char *keep(char **at, struct ps_str text)
{
    char *kept = *at;
    if (text.len > 0) {
        memcpy(kept, text.ptr, text.len);
    }
    kept[text.len] = '\0';
    *at += text.len + 1;
    return kept;
}

static void fill_bounds(struct entry *entry, const struct ps_custom_definition *definition)
{
    bool own = definition->bounds != NULL;
    size_t count = own ? definition->bounds_count : PS_METRIC_SECONDS_COUNT;
    memcpy(entry->bounds, own ? definition->bounds : ps_metric_seconds,
           count * sizeof entry->bounds[0]);
    entry->rows[0].bounds = entry->bounds;
    entry->rows[0].bounds_count = count;
}

static struct entry *make_entry(const struct ps_custom_definition *definition, const size_t *order)
{
    size_t bytes = definition->name.len + definition->help.len + definition->unit.len + 64;
    for (size_t i = 0; i < definition->label_count; i++) {
        bytes += definition->labels[i].len + 1;
    }
    for (size_t i = 0; definition->states != NULL && definition->states[i] != NULL; i++) {
        bytes += strlen(definition->states[i]) + 1;
    }
    struct entry *entry = calloc(1, sizeof *entry + bytes);
    if (entry == NULL) {
        return NULL;
    }
    char *at = entry->text;
    struct ps_metric_family *row = &entry->rows[0];
    bool counter = definition->type == PS_METRIC_COUNTER;
    row->name = keep(&at, definition->name);
    row->type = definition->type;
    row->help = keep(&at, definition->help.len > 0 ? definition->help : PS_STR("A custom metric"));
    row->unit = definition->unit.len > 0 ? keep(&at, definition->unit) : NULL;
    for (size_t i = 0; i < definition->label_count; i++) {
        row->labels[i] = keep(&at, definition->labels[order[i]]);
    }
    for (size_t i = 0; definition->states != NULL && definition->states[i] != NULL; i++) {
        entry->states[i] = keep(&at, ps_str_from(definition->states[i]));
        row->states = entry->states;
    }
    bool histogram =
        definition->type == PS_METRIC_HISTOGRAM || definition->type == PS_METRIC_EXPONENTIAL;
    row->max_series = histogram ? PS_CUSTOM_HISTOGRAM_SERIES : 0;
    row->fractional = counter;
    row->exemplars = counter || histogram;
    if (definition->type == PS_METRIC_HISTOGRAM) {
        fill_bounds(entry, definition);
    }
    return entry;
}

/* ---- finding */

static struct entry **bucket_of(struct ps_custom *custom, struct ps_str name)
{
    return &custom->buckets[ps_str_hash(name, 0) % BUCKETS];
}

static struct entry *find(struct ps_custom *custom, struct ps_str name)
{
    struct entry *entry = *bucket_of(custom, name);
    while (entry != NULL && !ps_str_eq(ps_str_from(entry->rows[0].name), name)) {
        entry = entry->next;
    }
    return entry;
}

static bool same_labels(const struct ps_metric_family *row,
                        const struct ps_custom_definition *definition, const size_t *order)
{
    size_t count = ps_metric_label_count(row);
    if (count != definition->label_count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!ps_str_eq(ps_str_from(row->labels[i]), definition->labels[order[i]])) {
            return false;
        }
    }
    return true;
}

static bool same_bounds(const struct ps_metric_family *row,
                        const struct ps_custom_definition *definition)
{
    return definition->bounds == NULL || (row->bounds_count == definition->bounds_count &&
                                          memcmp(row->bounds, definition->bounds,
                                                 row->bounds_count * sizeof row->bounds[0]) == 0);
}

static bool same_states(const struct ps_metric_family *row,
                        const struct ps_custom_definition *definition)
{
    size_t i = 0;
    if (row->states == NULL || definition->states == NULL) {
        return row->states == definition->states;
    }
    while (row->states[i] != NULL && definition->states[i] != NULL &&
           strcmp(row->states[i], definition->states[i]) == 0) {
        i++;
    }
    return row->states[i] == definition->states[i]; /* both at their end */
}

/* `order` NULL = any labels will do. */
static int agree(const struct ps_metric_family *row, const struct ps_custom_definition *definition,
                 const size_t *order, char *reason, size_t size)
{
    if (row->type != definition->type) {
        snprintf(reason, size, "%s is a metric of type %s already", row->name,
                 ps_metric_type_name(row->type));
        return PS_EBUSY;
    }
    if (order != NULL && !same_labels(row, definition, order)) {
        size_t at = (size_t)snprintf(reason, size, "%s has other labels already:", row->name);
        for (size_t i = 0; row->labels[i] != NULL && i < PS_METRIC_LABELS_MAX && at < size; i++) {
            at += (size_t)snprintf(reason + at, size - at, "%s %s", i == 0 ? "" : ",",
                                   row->labels[i]);
        }
        if (row->labels[0] == NULL && at < size) {
            snprintf(reason + at, size - at, " none");
        }
        return PS_EBUSY;
    }
    if (definition->unit.len > 0 && !ps_str_eq(definition->unit, ps_str_from(row->unit))) {
        snprintf(reason, size, "%s has another unit already", row->name);
        return PS_EBUSY;
    }
    if (!same_states(row, definition)) {
        snprintf(reason, size, "%s has other states already", row->name);
        return PS_EBUSY;
    }
    if (!same_bounds(row, definition)) {
        snprintf(reason, size, "%s has other bounds already", row->name);
        return PS_EBUSY;
    }
    return PS_OK;
}

/* Rows that are made and not yet declared, in their order. */
struct batch {
    struct entry *first;
    struct entry **end;
};

static bool is_taken(const struct ps_custom *custom, const struct batch *batch,
                     const struct ps_metric_family *row)
{
    struct ps_str stem = ps_metric_family_stem(row);
    for (const struct entry *entry = batch->first; entry != NULL; entry = entry->waiting) {
        if (ps_str_eq(ps_metric_family_stem(&entry->rows[0]), stem)) {
            return true;
        }
    }
    return ps_metrics_is_taken(custom->metrics, row);
}

static int add(struct ps_custom *custom, const struct ps_custom_definition *definition,
               const size_t *order, struct batch *batch, struct entry **out, char *reason,
               size_t size)
{
    if (custom->count >= custom->limit) {
        return refuse(PS_ELIMIT, reason, size,
                      "there are as many metrics as may be (metrics.max_custom)");
    }
    struct entry *entry = make_entry(definition, order);
    if (entry == NULL) {
        return refuse(PS_ENOMEM, reason, size, "out of memory");
    }
    const char *why = objection_to_row(&entry->rows[0]);
    if (why != NULL || is_taken(custom, batch, &entry->rows[0])) {
        free(entry);
        return why != NULL
                   ? refuse(PS_EINVAL, reason, size, why)
                   : refuse(PS_EBUSY, reason, size, "another metric has this name already");
    }
    struct entry **bucket = bucket_of(custom, definition->name);
    entry->next = *bucket;
    *bucket = entry;
    custom->count++;
    *batch->end = entry;
    batch->end = &entry->waiting;
    *out = entry;
    return PS_OK;
}

/* What is declared leaves the batch. */
static int declare(struct ps_custom *custom, struct batch *batch, char *reason, size_t size)
{
    while (batch->first != NULL) {
        if (ps_metrics_declare(custom->metrics, batch->first->rows, NULL) != PS_OK) {
            return refuse(PS_ENOMEM, reason, size, "out of memory");
        }
        batch->first = batch->first->waiting;
    }
    return PS_OK;
}

static void withdraw(struct ps_custom *custom, struct batch *batch)
{
    while (batch->first != NULL) {
        struct entry *entry = batch->first;
        struct entry **at = bucket_of(custom, ps_str_from(entry->rows[0].name));
        while (*at != entry) {
            at = &(*at)->next;
        }
        *at = entry->next;
        batch->first = entry->waiting;
        custom->count--;
        free(entry);
    }
}

/* Finds or makes a row; *own gets the definition's labels in the order in which a new row has
 * them. */
static int define(struct ps_custom *custom, const struct ps_custom_definition *definition,
                  bool any_labels, struct batch *batch, size_t own[PS_METRIC_LABELS_MAX],
                  const struct ps_metric_family **out, char *reason, size_t size)
{
    const char *why = objection_to_sizes(definition);
    if (why != NULL) {
        return refuse(PS_EINVAL, reason, size, why);
    }
    memset(own, 0, PS_METRIC_LABELS_MAX * sizeof own[0]);
    sort_labels(definition, own);
    struct entry *entry = find(custom, definition->name);
    int err = entry != NULL
                  ? agree(&entry->rows[0], definition, any_labels ? NULL : own, reason, size)
                  : add(custom, definition, own, batch, &entry, reason, size);
    if (err == PS_OK) {
        *out = &entry->rows[0];
    }
    return err;
}

static int define_all(struct ps_custom *custom, struct ps_custom_request *requests, size_t count,
                      bool any_labels, size_t *bad, char *reason, size_t size)
{
    struct batch batch = {.first = NULL, .end = &batch.first};
    int err = PS_OK;
    pthread_mutex_lock(&custom->lock);
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        *bad = i;
        err = define(custom, &requests[i].definition, any_labels, &batch, requests[i].order,
                     &requests[i].row, reason, size);
    }
    err = err == PS_OK ? declare(custom, &batch, reason, size) : err;
    withdraw(custom, &batch);
    pthread_mutex_unlock(&custom->lock);
    return err;
}

int ps_custom_define_all(struct ps_custom *custom, struct ps_custom_request *requests,
                         size_t count, size_t *bad, char *reason, size_t size)
{
    return define_all(custom, requests, count, false, bad, reason, size);
}

int ps_custom_define(struct ps_custom *custom, const struct ps_custom_definition *definition,
                     const struct ps_metric_family **out, size_t order[PS_METRIC_LABELS_MAX],
                     char *reason, size_t size)
{
    struct ps_custom_request request = {.definition = *definition};
    size_t bad;
    int err = define_all(custom, &request, 1, false, &bad, reason, size);
    if (err == PS_OK) {
        *out = request.row;
    }
    if (err == PS_OK && order != NULL) {
        memcpy(order, request.order, sizeof request.order);
    }
    return err;
}

static size_t place_of(const struct ps_custom_definition *definition, const char *label)
{
    for (size_t i = 0; i < definition->label_count; i++) {
        if (ps_str_eq(definition->labels[i], ps_str_from(label))) {
            return i;
        }
    }
    return PS_CUSTOM_NONE;
}

int ps_custom_fit(struct ps_custom *custom, const struct ps_custom_definition *definition,
                  const struct ps_metric_family **out, size_t order[PS_METRIC_LABELS_MAX],
                  size_t *left_out, char *reason, size_t size)
{
    struct ps_custom_request request = {.definition = *definition};
    size_t bad;
    int err = define_all(custom, &request, 1, true, &bad, reason, size);
    if (err != PS_OK) {
        return err;
    }
    *out = request.row;
    *left_out = definition->label_count;
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && (*out)->labels[i] != NULL; i++) {
        order[i] = place_of(definition, (*out)->labels[i]);
        *left_out -= order[i] != PS_CUSTOM_NONE ? 1 : 0;
    }
    return PS_OK;
}

/* ---- moving */

const char *ps_custom_objection(enum ps_metric_type type, double value)
{
    if (isnan(value)) {
        return "NaN is not a value";
    }
    if (type == PS_METRIC_COUNTER) {
        return !isfinite(value) || value < 0 ? "a counter moves by what is finite and not negative"
                                             : NULL;
    }
    bool histogram = type == PS_METRIC_HISTOGRAM || type == PS_METRIC_EXPONENTIAL;
    return histogram && !isfinite(value) ? "a histogram takes what is finite" : NULL;
}

void ps_custom_move(struct ps_metric_handle *handle, unsigned shard, double value)
{
    enum ps_metric_type type = handle->family->type;
    if (ps_custom_objection(type, value) != NULL) {
        return;
    }
    if (type == PS_METRIC_GAUGE) {
        ps_gauge_set(PS_CONTAINER_OF(handle, struct ps_gauge, handle), value);
    } else if (type == PS_METRIC_COUNTER) {
        struct ps_counter *counter = PS_CONTAINER_OF(handle, struct ps_counter, handle);
        shard == 0 ? ps_counter_add_double_shared(counter, value)
                   : ps_counter_add_double(counter, shard, value);
    } else if (type == PS_METRIC_HISTOGRAM || type == PS_METRIC_EXPONENTIAL) {
        struct ps_histogram *histogram = PS_CONTAINER_OF(handle, struct ps_histogram, handle);
        shard == 0 ? ps_histogram_observe_shared(histogram, value)
                   : ps_histogram_observe(histogram, shard, value);
    }
}

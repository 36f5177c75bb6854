#include "export/history_query.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/option.h"

enum { RANGE = 300, CHOSEN_MOST = 500, LONGEST = 4000 * 24 * 3600 };

const char *const ps_history_resolution_names[] = {"second", "minute", "hour", NULL};

__attribute__((format(printf, 3, 4))) static int refuse(char *reason, size_t size,
                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, size, format, args);
    va_end(args);
    return PS_EINVAL;
}

/* --- values ----------------------------------------------------------------------------------- */

/* "5m", "90"; whole seconds, at least one. */
static int read_span(const char *text, int64_t *out)
{
    uint64_t number;
    ps_span span;
    struct ps_str view = ps_str_from(text);
    if (ps_str_to_u64(view, &number) == PS_OK) {
        *out = number > LONGEST ? LONGEST : (int64_t)number;
        return number > 0 ? PS_OK : PS_EINVAL;
    }
    int err = ps_option_parse_span(view, &span);
    if (err != PS_OK || span < PS_SECOND || span % PS_SECOND != 0) {
        return PS_EINVAL;
    }
    *out = span / PS_SECOND > LONGEST ? LONGEST : span / PS_SECOND;
    return PS_OK;
}

/* "1700000000", "-2h", "now". */
static int read_instant(const char *text, int64_t now, int64_t *out)
{
    uint64_t number;
    int64_t back;
    if (strcmp(text, "now") == 0) {
        *out = now;
        return PS_OK;
    }
    if (text[0] == '-') {
        int err = read_span(text + 1, &back);
        *out = err == PS_OK ? now - back : 0;
        return err;
    }
    if (ps_str_to_u64(ps_str_from(text), &number) != PS_OK || number > INT32_MAX * UINT64_C(4)) {
        return PS_EINVAL;
    }
    *out = (int64_t)number;
    return PS_OK;
}

/* --- parameters ------------------------------------------------------------------------------- */

struct reading {
    struct ps_history_query *query;
    int64_t now;
    int64_t range;
    bool has_from, has_to, has_range, has_step, has_of;
    char *reason;
    size_t size;
};

static int again(struct reading *reading, const char *name)
{
    return refuse(reading->reason, reading->size, "'%s' stands there twice", name);
}

static int take_name(struct reading *reading, const char *value)
{
    struct ps_history_query *query = reading->query;
    if (query->selector_count == PS_HISTORY_SELECTORS) {
        return refuse(reading->reason, reading->size, "more than %d names", PS_HISTORY_SELECTORS);
    }
    struct ps_history_selector *selector = &query->selectors[query->selector_count];
    snprintf(selector->text, sizeof selector->text, "%s", value);
    if (ps_history_key_parse(ps_str_from(selector->text), &selector->key) != PS_OK) {
        return refuse(reading->reason, reading->size,
                      "'name' is a metric's name or a key as the list without parameters has it");
    }
    query->selector_count++;
    return PS_OK;
}

static int take_of(struct reading *reading, const char *value)
{
    int of = 0;
    while (of < PS_HISTORY_OF_COUNT && strcmp(ps_history_of_names[of], value) != 0) {
        of++;
    }
    if (reading->has_of) {
        return again(reading, "of");
    }
    if (of == PS_HISTORY_OF_COUNT) {
        return refuse(reading->reason, reading->size,
                      "'of' is one of value, rate, mean, p50, p95, p99");
    }
    reading->has_of = true;
    reading->query->of = (enum ps_history_of)of;
    return PS_OK;
}

static int take_instant(struct reading *reading, const char *name, const char *value, bool *has,
                        int64_t *out)
{
    if (*has) {
        return again(reading, name);
    }
    *has = true;
    return read_instant(value, reading->now, out) == PS_OK
               ? PS_OK
               : refuse(reading->reason, reading->size,
                        "'%s' is a number of seconds since 1970, or like -2h, or now", name);
}

static int take_span(struct reading *reading, const char *name, const char *value, bool *has,
                     int64_t *out)
{
    if (*has) {
        return again(reading, name);
    }
    *has = true;
    return read_span(value, out) == PS_OK
               ? PS_OK
               : refuse(reading->reason, reading->size,
                        "'%s' is a length of time like 90, 5m, 24h or 30d, in whole seconds", name);
}

static int take_label(struct reading *reading, const struct ps_query_pair *pair)
{
    struct ps_history_query *query = reading->query;
    if (!ps_history_key_is_name(ps_str_from(pair->name))) {
        return refuse(reading->reason, reading->size,
                      "a parameter is name, of, from, to, range, step or the name of a label");
    }
    for (size_t i = 0; i < query->label_count; i++) {
        if (strcmp(query->labels[i].name, pair->name) == 0) {
            return again(reading, pair->name);
        }
    }
    if (query->label_count == PS_HISTORY_LABELS) {
        return refuse(reading->reason, reading->size, "more than %d labels", PS_HISTORY_LABELS);
    }
    query->labels[query->label_count++] = *pair;
    return PS_OK;
}

static int take(struct reading *reading, const struct ps_query_pair *pair)
{
    struct ps_history_query *query = reading->query;
    if (strcmp(pair->name, "name") == 0) {
        return take_name(reading, pair->value);
    }
    if (strcmp(pair->name, "of") == 0) {
        return take_of(reading, pair->value);
    }
    if (strcmp(pair->name, "from") == 0) {
        return take_instant(reading, "from", pair->value, &reading->has_from, &query->from);
    }
    if (strcmp(pair->name, "to") == 0) {
        return take_instant(reading, "to", pair->value, &reading->has_to, &query->to);
    }
    if (strcmp(pair->name, "range") == 0) {
        return take_span(reading, "range", pair->value, &reading->has_range, &reading->range);
    }
    if (strcmp(pair->name, "step") == 0) {
        return take_span(reading, "step", pair->value, &reading->has_step, &query->step);
    }
    return take_label(reading, pair);
}

/* What belongs together, once all is read. */
static int settle(struct reading *reading)
{
    struct ps_history_query *query = reading->query;
    bool some = query->label_count > 0 || reading->has_of || reading->has_from || reading->has_to ||
                reading->has_range || reading->has_step;
    if (query->selector_count == 0) {
        return some ? refuse(reading->reason, reading->size, "'name' is missing: of which metric?")
                    : PS_OK;
    }
    if (reading->has_range && reading->has_from) {
        return refuse(reading->reason, reading->size, "either 'range' or 'from', not both");
    }
    query->to = reading->has_to && query->to < reading->now ? query->to : reading->now;
    if (!reading->has_from) {
        query->from = query->to - (reading->has_range ? reading->range : RANGE) + 1;
    }
    if (query->from > query->to) {
        return refuse(reading->reason, reading->size, "'from' lies behind %s",
                      reading->has_to ? "'to'" : "now");
    }
    if (query->to - query->from > LONGEST) {
        query->from = query->to - LONGEST;
    }
    query->from = query->from > 0 ? query->from : 0;
    return PS_OK;
}

int ps_history_query_parse(struct ps_history_query *query, struct ps_str text, int64_t now,
                           char *reason, size_t size)
{
    struct ps_query_pair pair;
    struct reading reading = {.query = query, .now = now, .reason = reason, .size = size};
    *query = (struct ps_history_query){.of = PS_HISTORY_OF_COUNT};
    for (;;) {
        int err = ps_query_next(&text, &pair);
        if (err == PS_ENOTFOUND) {
            return settle(&reading);
        }
        if (err != PS_OK) {
            return refuse(reason, size, err == PS_ELIMIT
                                            ? "a parameter is longer than 255 bytes"
                                            : "the query is not percent-encoded text");
        }
        err = take(&reading, &pair);
        if (err != PS_OK) {
            return err;
        }
    }
}

/* --- the grid --------------------------------------------------------------------------------- */

static const int64_t bases[] = {1, 60, 3600};

static enum ps_history_resolution finest(const struct ps_history_query *query,
                                         const struct ps_history_reach *reach)
{
    if (!reach->kept || query->from > reach->now - reach->points) {
        return PS_HISTORY_SECOND;
    }
    bool coarse = query->step >= 3600 && query->step % 3600 == 0;
    return !coarse && query->from >= reach->now - reach->minutes ? PS_HISTORY_MINUTE
                                                                 : PS_HISTORY_HOUR;
}

/* A step at which a chart's labels are even. */
static int64_t even_step(int64_t least)
{
    static const int64_t steps[] = {1,   2,    5,    10,   15,   30,    60,    120,   180,
                                    300, 600,  900,  1800, 3600, 7200, 10800, 21600, 43200,
                                    86400};
    for (size_t i = 0; i < PS_ARRAY_LEN(steps); i++) {
        if (steps[i] >= least) {
            return steps[i];
        }
    }
    return (least + 86399) / 86400 * 86400;
}

int ps_history_query_plan(const struct ps_history_query *query, const struct ps_history_reach *reach,
                          struct ps_history_grid *out, char *reason, size_t size)
{
    enum ps_history_resolution resolution = finest(query, reach);
    int64_t base = bases[resolution];
    int64_t oldest = resolution == PS_HISTORY_SECOND   ? reach->now - reach->points + 1
                     : resolution == PS_HISTORY_MINUTE ? query->from
                                                       : reach->now - reach->hours;
    int64_t from = query->from > oldest ? query->from : oldest;
    from = from < query->to ? from : query->to;
    int64_t step = query->step > 0 ? (query->step + base - 1) / base * base
                                   : even_step((query->to - from) / CHOSEN_MOST + 1);
    step = step > base ? step : base;
    from -= from % step;
    int64_t count = (query->to - from) / step + 1;
    if (count > PS_HISTORY_STEPS) {
        refuse(reason, size, "that is %lld points of each series; %d at most: a step of %lld or more",
               (long long)count, PS_HISTORY_STEPS,
               (long long)even_step((query->to - from) / PS_HISTORY_STEPS + 1));
        return PS_EINVAL;
    }
    *out = (struct ps_history_grid){resolution, from, step, (size_t)count};
    return PS_OK;
}

/* --- which ------------------------------------------------------------------------------------ */

static bool has_labels(struct ps_str have, struct ps_str wanted)
{
    struct ps_str name;
    struct ps_str value;
    char plain[PS_QUERY_TEXT];
    while (ps_history_key_next(&wanted, &name, &value)) {
        struct ps_str text = {plain, ps_history_key_unescape(value, plain)};
        if (!ps_history_key_has(have, name, text)) {
            return false;
        }
    }
    return true;
}

static bool has_label(struct ps_str labels, struct ps_str wanted)
{
    struct ps_str name;
    struct ps_str value;
    while (ps_history_key_next(&labels, &name, &value)) {
        if (ps_str_eq(name, wanted)) {
            return true;
        }
    }
    return false;
}

void ps_history_query_meet(struct ps_history_query *query, struct ps_str text,
                           struct ps_history_known *known)
{
    struct ps_history_key key;
    bool named = false;
    if (ps_history_key_parse(text, &key) != PS_OK) {
        return;
    }
    for (size_t i = 0; i < query->selector_count; i++) {
        struct ps_history_selector *selector = &query->selectors[i];
        named = named || ps_str_eq(selector->key.name, key.name);
        selector->exact = selector->exact || ps_str_eq(ps_str_from(selector->text), text);
    }
    known->name = known->name || named;
    for (size_t i = 0; i < query->label_count && named; i++) {
        known->labels[i] =
            known->labels[i] || has_label(key.labels, ps_str_from(query->labels[i].name));
    }
}

int ps_history_query_judge(const struct ps_history_query *query, const struct ps_history_known *known,
                           char *reason, size_t size)
{
    if (!known->name) {
        snprintf(reason, size, "nothing is known of '%.*s'; without parameters this path lists what is",
                 PS_STR_ARG(query->selectors[0].key.name));
        return PS_ENOTFOUND;
    }
    for (size_t i = 0; i < query->label_count; i++) {
        if (!known->labels[i]) {
            return refuse(reason, size, "'%s' is neither a parameter nor a label of that metric",
                          query->labels[i].name);
        }
    }
    return PS_OK;
}

static bool selects(const struct ps_history_selector *selector, const struct ps_history_key *key,
                    struct ps_str text)
{
    if (selector->exact) {
        return ps_str_eq(ps_str_from(selector->text), text);
    }
    return ps_str_eq(selector->key.name, key->name) &&
           (selector->key.of == PS_HISTORY_VALUE || selector->key.of == key->of) &&
           has_labels(key->labels, selector->key.labels);
}

bool ps_history_query_wants(const struct ps_history_query *query, struct ps_str text)
{
    struct ps_history_key key;
    bool wanted = false;
    if (ps_history_key_parse(text, &key) != PS_OK) {
        return false;
    }
    for (size_t i = 0; i < query->selector_count && !wanted; i++) {
        wanted = selects(&query->selectors[i], &key, text);
    }
    wanted = wanted && (query->of == PS_HISTORY_OF_COUNT || query->of == key.of);
    for (size_t i = 0; i < query->label_count && wanted; i++) {
        wanted = ps_history_key_has(key.labels, ps_str_from(query->labels[i].name),
                                    ps_str_from(query->labels[i].value));
    }
    return wanted;
}

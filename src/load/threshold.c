/* threshold - see threshold.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/threshold.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/option.h"

#define FIELD(name) offsetof(struct ps_threshold_facts, name)
#define TEXT_MAX 1024 /* of a threshold as it is written */

enum kind { TREND, RATE, COUNTER };

static const struct metric {
    const char *name;
    const char *alias; /* or NULL */
    enum kind kind;
    size_t offset; /* in the facts; of rates by name */
} metrics[] = {
    {"http_req_duration", "response_time", TREND, FIELD(duration)},
    {"http_req_waiting", NULL, TREND, FIELD(waiting)},
    {"time_to_first_token", "ttft", TREND, FIELD(first_token)},
    {"inter_token_latency", "itl", TREND, FIELD(event_gap)},
    {"time_per_output_token", "tpot", TREND, FIELD(token_gap)},
    {"send_lag", NULL, TREND, FIELD(lag)},
    {"http_req_failed", "error_rate", RATE, FIELD(failed)},
    {"goodput", NULL, RATE, FIELD(good)},
    {"http_reqs", "requests", COUNTER, FIELD(succeeded)},
    {"output_tokens", NULL, COUNTER, FIELD(output_tokens)},
    {"data_received", NULL, COUNTER, FIELD(bytes_received)},
    {"data_sent", NULL, COUNTER, FIELD(bytes_sent)},
    {"dropped_iterations", NULL, COUNTER, FIELD(skipped)},
};

static int fail(char *why, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int fail(char *why, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, size, format, args);
    va_end(args);
    return PS_EPARSE;
}

/* ------------------------------------------------------------------------------------- values */

static double trend_value(const struct ps_threshold *threshold, const struct ps_hist *hist)
{
    double ms = 1e-6;
    if (hist == NULL || hist->count == 0) {
        return NAN;
    }
    switch (threshold->aggregation) {
    case PS_AGGREGATION_AVG:
        return ps_hist_mean(hist) * ms;
    case PS_AGGREGATION_MIN:
        return (double)hist->min * ms;
    case PS_AGGREGATION_MAX:
        return (double)hist->max * ms;
    case PS_AGGREGATION_MED:
        return ps_hist_percentile(hist, 0.5) * ms;
    case PS_AGGREGATION_P:
        return ps_hist_percentile(hist, threshold->share) * ms;
    case PS_AGGREGATION_COUNT:
    case PS_AGGREGATION_RATE:
        break;
    }
    return NAN;
}

static uint64_t count_at(const struct ps_threshold_facts *facts, size_t offset)
{
    uint64_t count;
    memcpy(&count, (const char *)facts + offset, sizeof count);
    return count;
}

double ps_threshold_value(const struct ps_threshold *threshold, const struct ps_threshold_facts *facts)
{
    const struct metric *metric = &metrics[threshold->row];
    double ended = (double)facts->succeeded + (double)facts->failed;
    if (metric->kind == TREND) {
        const struct ps_hist *hist;
        memcpy(&hist, (const char *)facts + metric->offset, sizeof hist);
        return trend_value(threshold, hist);
    }
    double count = (double)count_at(facts, metric->offset);
    if (metric->kind == RATE) {
        return ended > 0 ? count / ended : NAN;
    }
    count += metric->offset == FIELD(succeeded) ? (double)facts->failed : 0;
    return threshold->aggregation == PS_AGGREGATION_COUNT ? count
           : facts->seconds > 0                           ? count / facts->seconds
                                                          : NAN;
}

const char *ps_threshold_unit(const struct ps_threshold *threshold)
{
    enum kind kind = metrics[threshold->row].kind;
    return kind == TREND                                                          ? "ms"
           : kind == COUNTER && threshold->aggregation == PS_AGGREGATION_RATE ? "/s"
                                                                                  : "";
}

bool ps_threshold_passes(const struct ps_threshold *threshold, double value)
{
    switch (threshold->operator) {
    case PS_BELOW:
        return value < threshold->bound;
    case PS_AT_MOST:
        return value <= threshold->bound;
    case PS_ABOVE:
        return value > threshold->bound;
    case PS_AT_LEAST:
        return value >= threshold->bound;
    case PS_EQUAL:
        return value <= threshold->bound && value >= threshold->bound;
    case PS_UNEQUAL:
        return value < threshold->bound || value > threshold->bound;
    }
    return false;
}

/* ------------------------------------------------------------------------------------ reading */

static bool take(struct ps_str *text, struct ps_str word)
{
    bool there = ps_str_starts_with(*text, word);
    *text = there ? ps_str_skip(*text, word.len) : *text;
    return there;
}


static bool take_aggregation(struct ps_str *text, struct ps_threshold *out)
{
    static const struct {
        struct ps_str word;
        enum ps_threshold_aggregation aggregation;
    } words[] = {
        {PS_STR_INIT("count"), PS_AGGREGATION_COUNT}, {PS_STR_INIT("rate"), PS_AGGREGATION_RATE},
        {PS_STR_INIT("avg"), PS_AGGREGATION_AVG},     {PS_STR_INIT("min"), PS_AGGREGATION_MIN},
        {PS_STR_INIT("max"), PS_AGGREGATION_MAX},     {PS_STR_INIT("med"), PS_AGGREGATION_MED},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(words); i++) {
        if (take(text, words[i].word)) {
            out->aggregation = words[i].aggregation;
            return true;
        }
    }
    if (!take(text, PS_STR("p("))) {
        return false;
    }
    size_t end = ps_str_find(*text, ')');
    double percent = 0;
    if (end == text->len || ps_str_to_double(ps_str_trim(ps_str_first(*text, end)), &percent) != PS_OK ||
        percent < 0 || percent > 100) {
        return false;
    }
    *text = ps_str_skip(*text, end + 1);
    out->aggregation = PS_AGGREGATION_P;
    out->share = percent / 100;
    return true;
}

static bool take_operator(struct ps_str *text, struct ps_threshold *out)
{
    static const struct {
        struct ps_str word;
        enum ps_threshold_operator operator;
    } words[] = {
        /* the longer ones first */
        {PS_STR_INIT("==="), PS_EQUAL},   {PS_STR_INIT("!=="), PS_UNEQUAL}, {PS_STR_INIT("=="), PS_EQUAL},
        {PS_STR_INIT("!="), PS_UNEQUAL},  {PS_STR_INIT("<="), PS_AT_MOST},  {PS_STR_INIT(">="), PS_AT_LEAST},
        {PS_STR_INIT("<"), PS_BELOW},     {PS_STR_INIT(">"), PS_ABOVE},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(words); i++) {
        if (take(text, words[i].word)) {
            out->operator = words[i].operator;
            return true;
        }
    }
    return false;
}

/* A number in the metric's unit; ms, s, us and % may stand behind it. */
static bool read_bound(struct ps_str text, enum kind kind, double *bound)
{
    static const struct {
        struct ps_str unit;
        enum kind kind;
        double factor;
    } units[] = {
        {PS_STR_INIT("ms"), TREND, 1}, {PS_STR_INIT("us"), TREND, 1e-3},
        {PS_STR_INIT("s"), TREND, 1e3}, {PS_STR_INIT("%"), RATE, 0.01},
    };
    double factor = 1;
    for (size_t i = 0; i < PS_ARRAY_LEN(units); i++) {
        if (units[i].kind == kind && ps_str_ends_with(text, units[i].unit)) {
            text.len -= units[i].unit.len;
            factor = units[i].factor;
            break;
        }
    }
    bool good = ps_str_to_double(ps_str_trim(text), bound) == PS_OK;
    *bound *= factor;
    return good;
}

static bool fits(enum kind kind, enum ps_threshold_aggregation aggregation)
{
    switch (kind) {
    case TREND:
        return aggregation != PS_AGGREGATION_COUNT && aggregation != PS_AGGREGATION_RATE;
    case RATE:
        return aggregation == PS_AGGREGATION_RATE;
    case COUNTER:
        return aggregation == PS_AGGREGATION_COUNT || aggregation == PS_AGGREGATION_RATE;
    }
    return false;
}

static int read_condition(struct ps_str text, struct ps_threshold *out, char *why, size_t size)
{
    const struct metric *metric = &metrics[out->row];
    struct ps_str rest = text;
    if (text.len >= sizeof out->expression) {
        return fail(why, size, "a condition is too long");
    }
    if (!take_aggregation(&rest, out)) {
        return fail(why, size, "%.*s: expected count, rate, avg, min, max, med or p(N)", PS_STR_ARG(text));
    }
    rest = ps_str_trim(rest);
    if (!take_operator(&rest, out) || !read_bound(ps_str_trim(rest), metric->kind, &out->bound)) {
        return fail(why, size, "%.*s: expected an operator (<, <=, >, >=, ==, !=) and a number", PS_STR_ARG(text));
    }
    if (!fits(metric->kind, out->aggregation)) {
        return fail(why, size, "%.*s: %s has %s", PS_STR_ARG(text), metric->name,
                    metric->kind == TREND  ? "avg, min, max, med and p(N)"
                    : metric->kind == RATE ? "rate"
                                           : "count and rate");
    }
    snprintf(out->expression, sizeof out->expression, "%.*s", PS_STR_ARG(text));
    return PS_OK;
}

/* The part behind "word:" or "word="; ptr NULL: it does not begin so. */
static struct ps_str behind(struct ps_str text, struct ps_str word)
{
    if (!take(&text, word)) {
        return (struct ps_str){NULL, 0};
    }
    text = ps_str_trim(text);
    bool sign = text.len > 0 && (text.ptr[0] == ':' || text.ptr[0] == '=');
    return sign ? ps_str_trim(ps_str_skip(text, 1)) : text.len == 0 ? PS_STR("") : (struct ps_str){NULL, 0};
}

static int read_delay(struct ps_str text, ps_span *out)
{
    char span[32];
    if (text.len == 0 || text.len >= sizeof span) {
        return PS_EPARSE;
    }
    snprintf(span, sizeof span, "%.*s", PS_STR_ARG(text));
    return ps_option_parse_span(ps_str_from(span), out);
}

/* Reads one part between commas: a condition, or what holds for all of them. */
static int read_part(struct ps_thresholds *added, struct ps_threshold *common, struct ps_str part, char *why,
                     size_t size)
{
    struct ps_str abort = behind(part, PS_STR("abortOnFail"));
    struct ps_str delay = behind(part, PS_STR("delayAbortEval"));
    struct ps_str condition = behind(part, PS_STR("threshold"));
    condition = condition.ptr != NULL ? condition : part;
    if (abort.ptr != NULL) {
        common->abort = !ps_str_eq(abort, PS_STR("false"));
        bool known = abort.len == 0 || ps_str_eq(abort, PS_STR("true")) || !common->abort;
        return known ? PS_OK : fail(why, size, "abortOnFail is true or false");
    }
    if (delay.ptr != NULL) {
        return read_delay(delay, &common->delay) == PS_OK
                   ? PS_OK
                   : fail(why, size, "delayAbortEval: expected a time like 10s");
    }
    if (added->count == PS_THRESHOLDS_MAX) {
        fail(why, size, "more than %d thresholds", PS_THRESHOLDS_MAX);
        return PS_ELIMIT;
    }
    added->rows[added->count] = *common;
    return read_condition(condition, &added->rows[added->count++], why, size);
}

static int read_metric(struct ps_str name, struct ps_threshold *out, char *why, size_t size)
{
    if (ps_str_find(name, '{') < name.len) {
        return fail(why, size, "%.*s: one kind of request can't have a threshold of its own; test each in a run of its own", PS_STR_ARG(name));
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(metrics); i++) {
        const char *alias = metrics[i].alias;
        if (ps_str_eq(name, ps_str_from(metrics[i].name)) || ps_str_eq(name, ps_str_from(alias))) {
            out->row = i;
            snprintf(out->metric, sizeof out->metric, "%s", metrics[i].name);
            return PS_OK;
        }
    }
    return fail(why, size, "%.*s: no metric of that name", PS_STR_ARG(name));
}

/* Where the metric's name ends: a colon outside braces. */
static size_t name_end(struct ps_str text)
{
    int depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        depth += text.ptr[i] == '{' ? 1 : text.ptr[i] == '}' ? -1 : 0;
        if (text.ptr[i] == ':' && depth <= 0) {
            return i;
        }
    }
    return text.len;
}

/* Brackets, braces and quotes of JavaScript mean nothing here. */
static size_t strip(struct ps_str text, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (memchr("[]{}'\"`", text.ptr[i], 7) == NULL) {
            out[len++] = text.ptr[i];
        }
    }
    return len;
}

int ps_thresholds_parse(struct ps_thresholds *thresholds, struct ps_str text, char *why, size_t size)
{
    char plain[TEXT_MAX];
    struct ps_thresholds added = *thresholds;
    struct ps_threshold common = {0};
    struct ps_str part;
    size_t colon = name_end(text);
    if (text.len > TEXT_MAX || colon == text.len) {
        return fail(why, size, "expected 'metric: condition', like 'http_req_duration: p(95)<500'");
    }
    int err = read_metric(ps_str_trim(ps_str_first(text, colon)), &common, why, size);
    struct ps_str rest = {plain, strip(ps_str_skip(text, colon + 1), plain)};
    while (err == PS_OK && ps_str_split(&rest, ',', &part)) {
        part = ps_str_trim(part);
        err = part.len == 0 ? PS_OK : read_part(&added, &common, part, why, size);
    }
    if (err == PS_OK && added.count == thresholds->count) {
        err = fail(why, size, "a threshold without a condition");
    }
    if (err != PS_OK) {
        return err;
    }
    for (size_t i = thresholds->count; i < added.count; i++) {
        added.rows[i].abort = common.abort;
        added.rows[i].delay = common.delay;
    }
    *thresholds = added;
    return PS_OK;
}

bool ps_thresholds_have(const struct ps_thresholds *thresholds, const char *metric)
{
    for (size_t i = 0; i < thresholds->count; i++) {
        if (strcmp(thresholds->rows[i].metric, metric) == 0) {
            return true;
        }
    }
    return false;
}

#include "export/statsd_line.h"

#include <math.h>
#include <string.h>

enum { NUMBER_MOST = 48 };

const char *ps_statsd_fault_name(enum ps_statsd_fault fault)
{
    static const char *const names[PS_STATSD_FAULTS] = {
        [PS_STATSD_FINE] = "accepted",   [PS_STATSD_BAD_FORM] = "form",
        [PS_STATSD_BAD_VALUE] = "value", [PS_STATSD_BAD_TYPE] = "type",
        [PS_STATSD_BAD_RATE] = "rate",   [PS_STATSD_UNSUPPORTED] = "unsupported",
        [PS_STATSD_BAD_NAME] = "name",   [PS_STATSD_CONFLICT] = "conflict",
        [PS_STATSD_LIMIT] = "limit",     [PS_STATSD_TRUNCATED] = "truncated",
    };
    return names[fault];
}

/* ---- numbers */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Whole numbers without sign, which most are. */
static bool read_short(struct ps_str text, double *out)
{
    uint32_t number = 0;
    if (text.len == 0 || text.len > 9) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned char)text.ptr[i] - '0';
        if (digit > 9) {
            return false;
        }
        number = number * 10 + digit;
    }
    *out = number;
    return true;
}

/* What C libraries print: signs, 007, .5 and 5. are fine, NaN and infinities are not. */
static bool read_number(struct ps_str text, double *out)
{
    char copy[NUMBER_MOST];
    size_t len = 0;
    bool minus = text.len > 0 && text.ptr[0] == '-';
    text = ps_str_skip(text, minus || (text.len > 0 && text.ptr[0] == '+') ? 1 : 0);
    while (text.len > 1 && text.ptr[0] == '0' && is_digit(text.ptr[1])) {
        text = ps_str_skip(text, 1);
    }
    size_t point = ps_str_find(text, '.');
    size_t behind = point + 1;
    bool digit_behind = behind < text.len && is_digit(text.ptr[behind]);
    if (text.len == 0 || text.len > sizeof copy - 3 ||
        !(is_digit(text.ptr[0]) || (point == 0 && digit_behind))) {
        return false;
    }
    if (point == 0) {
        copy[len++] = '0';
    }
    memcpy(copy + len, text.ptr, point);
    len += point;
    if (digit_behind) {
        memcpy(copy + len, text.ptr + point, text.len - point);
        len += text.len - point;
    } else if (point < text.len) {
        memcpy(copy + len, text.ptr + behind, text.len - behind);
        len += text.len - behind;
    }
    if (ps_str_to_double((struct ps_str){copy, len}, out) != PS_OK) {
        return false;
    }
    *out = minus ? -*out : *out;
    return true;
}

static bool read_value(enum ps_statsd_type type, struct ps_str text, struct ps_statsd_value *out)
{
    *out = (struct ps_statsd_value){.text = text};
    if (type == PS_STATSD_SET) {
        return text.len > 0;
    }
    out->is_relative =
        type == PS_STATSD_GAUGE && text.len > 0 && (text.ptr[0] == '+' || text.ptr[0] == '-');
    return (read_short(text, &out->number) || read_number(text, &out->number)) &&
           !(type == PS_STATSD_COUNTER && out->number < 0);
}

bool ps_statsd_line_next(struct ps_statsd_line *line, struct ps_statsd_value *out)
{
    struct ps_str text;
    return ps_str_split(&line->values, ':', &text) && read_value(line->type, text, out);
}

static bool all_values_are_sound(struct ps_statsd_line line)
{
    struct ps_str text;
    struct ps_statsd_value value;
    while (ps_str_split(&line.values, ':', &text)) {
        if (!read_value(line.type, text, &value) || !isfinite(value.number / line.rate)) {
            return false;
        }
    }
    return true;
}

/* ---- lines */

static bool read_type(struct ps_str word, enum ps_statsd_type *out)
{
    static const struct {
        struct ps_str word;
        enum ps_statsd_type type;
    } rows[] = {
        {PS_STR_INIT("c"), PS_STATSD_COUNTER},      {PS_STR_INIT("g"), PS_STATSD_GAUGE},
        {PS_STR_INIT("ms"), PS_STATSD_TIMER},       {PS_STR_INIT("h"), PS_STATSD_HISTOGRAM},
        {PS_STR_INIT("d"), PS_STATSD_DISTRIBUTION}, {PS_STR_INIT("s"), PS_STATSD_SET},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (ps_str_eq(word, rows[i].word)) {
            *out = rows[i].type;
            return true;
        }
    }
    return false;
}

static bool is_timestamp(struct ps_str part)
{
    uint64_t seconds;
    return part.len > 1 && part.ptr[0] == 'T' &&
           ps_str_to_u64(ps_str_skip(part, 1), &seconds) == PS_OK;
}

static bool is_origin(struct ps_str part)
{
    return ps_str_starts_with(part, PS_STR("c:")) || ps_str_starts_with(part, PS_STR("e:")) ||
           ps_str_starts_with(part, PS_STR("card:"));
}

/* What comes behind the type, each at most once. */
static enum ps_statsd_fault read_part(struct ps_str part, struct ps_statsd_line *out)
{
    if (part.len > 0 && part.ptr[0] == '@') {
        bool sound = read_number(ps_str_skip(part, 1), &out->rate);
        return sound && out->rate > 0 && out->rate <= 1 ? PS_STATSD_FINE : PS_STATSD_BAD_RATE;
    }
    if (part.len > 0 && part.ptr[0] == '#' && out->tags.len == 0) {
        out->tags = ps_str_skip(part, 1);
        return PS_STATSD_FINE;
    }
    return is_timestamp(part) || is_origin(part) ? PS_STATSD_FINE : PS_STATSD_BAD_FORM;
}

static bool is_other_kind(struct ps_str text)
{
    return ps_str_starts_with(text, PS_STR("_e{")) || ps_str_starts_with(text, PS_STR("_sc|"));
}

enum ps_statsd_fault ps_statsd_line_parse(struct ps_str text, struct ps_statsd_line *out)
{
    struct ps_str word;
    struct ps_str part;
    *out = (struct ps_statsd_line){.rate = 1, .tags = PS_STR("")};
    if (is_other_kind(text)) {
        return PS_STATSD_UNSUPPORTED;
    }
    size_t colon = ps_str_find(text, ':');
    struct ps_str rest = ps_str_skip(text, colon + 1);
    if (colon == 0 || colon >= text.len || !ps_str_split(&rest, '|', &out->values) ||
        !ps_str_split(&rest, '|', &word)) {
        return PS_STATSD_BAD_FORM;
    }
    out->name = ps_str_first(text, colon);
    if (!read_type(word, &out->type)) {
        return PS_STATSD_BAD_TYPE;
    }
    enum ps_statsd_fault fault = PS_STATSD_FINE;
    while (fault == PS_STATSD_FINE && ps_str_split(&rest, '|', &part)) {
        fault = read_part(part, out);
    }
    return fault != PS_STATSD_FINE      ? fault
           : all_values_are_sound(*out) ? PS_STATSD_FINE
                                        : PS_STATSD_BAD_VALUE;
}

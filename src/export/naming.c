#include "export/naming.h"

#include <stdbool.h>
#include <string.h>

#include "observe/metric_label.h"

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Copies what may stay; no `_` at either end, unless the name itself begins with one. Returns the
 * length, 0 where it does not fit. */
static size_t copy_word(struct ps_str from, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < from.len; i++) {
        char c = is_letter(from.ptr[i]) || is_digit(from.ptr[i]) ? from.ptr[i] : '_';
        if (c == '_' && (len == 0 ? from.ptr[i] != '_' : out[len - 1] == '_')) {
            continue;
        }
        if (len == size) {
            return 0;
        }
        out[len++] = c;
    }
    while (len > 0 && out[len - 1] == '_') {
        len--;
    }
    return len;
}

/* Puts text in front. Returns the new length, 0 where it does not fit. */
static size_t put_before(char *out, size_t len, size_t size, struct ps_str text)
{
    if (len + text.len > size) {
        return 0;
    }
    memmove(out + text.len, out, len);
    memcpy(out, text.ptr, text.len);
    return len + text.len;
}

/* ---- units */

/* UCUM's codes, and what Prometheus calls them. */
static const struct {
    struct ps_str code;
    struct ps_str word;
} units[] = {
    {PS_STR_INIT("s"), PS_STR_INIT("seconds")},
    {PS_STR_INIT("ms"), PS_STR_INIT("milliseconds")},
    {PS_STR_INIT("us"), PS_STR_INIT("microseconds")},
    {PS_STR_INIT("ns"), PS_STR_INIT("nanoseconds")},
    {PS_STR_INIT("min"), PS_STR_INIT("minutes")},
    {PS_STR_INIT("h"), PS_STR_INIT("hours")},
    {PS_STR_INIT("d"), PS_STR_INIT("days")},
    {PS_STR_INIT("By"), PS_STR_INIT("bytes")},
    {PS_STR_INIT("KiBy"), PS_STR_INIT("kibibytes")},
    {PS_STR_INIT("MiBy"), PS_STR_INIT("mebibytes")},
    {PS_STR_INIT("GiBy"), PS_STR_INIT("gibibytes")},
    {PS_STR_INIT("kBy"), PS_STR_INIT("kilobytes")},
    {PS_STR_INIT("MBy"), PS_STR_INIT("megabytes")},
    {PS_STR_INIT("GBy"), PS_STR_INIT("gigabytes")},
    {PS_STR_INIT("m"), PS_STR_INIT("meters")},
    {PS_STR_INIT("V"), PS_STR_INIT("volts")},
    {PS_STR_INIT("A"), PS_STR_INIT("amperes")},
    {PS_STR_INIT("J"), PS_STR_INIT("joules")},
    {PS_STR_INIT("W"), PS_STR_INIT("watts")},
    {PS_STR_INIT("g"), PS_STR_INIT("grams")},
    {PS_STR_INIT("Cel"), PS_STR_INIT("celsius")},
    {PS_STR_INIT("Hz"), PS_STR_INIT("hertz")},
    {PS_STR_INIT("%"), PS_STR_INIT("percent")},
    {PS_STR_INIT("By/s"), PS_STR_INIT("bytes_per_second")},
    {PS_STR_INIT("1/s"), PS_STR_INIT("per_second")},
};

static struct ps_str unit_of(struct ps_str code, enum ps_metric_type type)
{
    if (ps_str_eq(code, PS_STR("1"))) {
        return type == PS_METRIC_GAUGE ? PS_STR("ratio") : PS_STR("");
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (ps_str_eq(code, units[i].code)) {
            return units[i].word;
        }
    }
    return PS_STR("");
}

/* ---- names */

static bool ends_with_word(struct ps_str name, struct ps_str word)
{
    return name.len > word.len + 1 && ps_str_ends_with(name, word) &&
           name.ptr[name.len - word.len - 1] == '_';
}

static int append(struct ps_naming *out, struct ps_str word)
{
    if (out->name.len + 1 + word.len > sizeof out->text) {
        return PS_EINVAL;
    }
    out->text[out->name.len] = '_';
    memcpy(out->text + out->name.len + 1, word.ptr, word.len);
    out->name.len += 1 + word.len;
    return PS_OK;
}

static int append_unless_there(struct ps_naming *out, struct ps_str word)
{
    return word.len == 0 || ends_with_word(out->name, word) ? PS_OK : append(out, word);
}

int ps_naming_metric(struct ps_naming *out, struct ps_str name, struct ps_str unit,
                     enum ps_metric_type type)
{
    struct ps_str total = PS_STR("total");
    size_t len = copy_word(name, out->text, sizeof out->text);
    if (len > 0 && is_digit(out->text[0])) {
        len = put_before(out->text, len, sizeof out->text, PS_STR("_"));
    }
    if (len == 0) {
        return PS_EINVAL;
    }
    out->name = (struct ps_str){out->text, len};
    out->unit = unit_of(unit, type);
    if (type == PS_METRIC_COUNTER && ends_with_word(out->name, total)) {
        out->name.len -= total.len + 1;
    }
    int err = append_unless_there(out, out->unit);
    if (err == PS_OK && ps_metric_name_is_ambiguous(out->name)) {
        err = append(out, PS_STR("value"));
        out->unit = PS_STR("");
    }
    return err == PS_OK && type == PS_METRIC_COUNTER ? append(out, total) : err;
}

size_t ps_naming_label(struct ps_str name, char *out, size_t size)
{
    size_t len = copy_word(name, out, size);
    struct ps_str word = {out, len};
    bool reserved = len > 0 && (is_digit(out[0]) || ps_str_starts_with(word, PS_STR("__")) ||
                                ps_str_eq(word, PS_STR("le")));
    return reserved ? put_before(out, len, size, PS_STR("tag_")) : len;
}

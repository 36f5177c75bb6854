#include "base/option_scalar.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

enum { NAME_MAX_BYTES = 63, FRACTION_DIGITS = 9 };

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first: printing takes the first that divides. */
static const struct unit counts[] = {
    {"G", 1000000000}, {"M", 1000000}, {"k", 1000}, {"", 1}, {NULL, 0}};

static const struct unit sizes[] = {{"TiB", 1ull << 40},
                                    {"GiB", 1ull << 30},
                                    {"MiB", 1ull << 20},
                                    {"KiB", 1ull << 10},
                                    {"TB", 1000000000000},
                                    {"GB", 1000000000},
                                    {"MB", 1000000},
                                    {"kB", 1000},
                                    {"B", 1},
                                    {"", 1},
                                    {NULL, 0}};

static const struct unit binary_sizes[] = {{"TiB", 1ull << 40},
                                           {"GiB", 1ull << 30},
                                           {"MiB", 1ull << 20},
                                           {"KiB", 1ull << 10},
                                           {"", 1},
                                           {NULL, 0}};

static const struct unit spans[] = {{"d", 24 * (uint64_t)PS_HOUR},
                                    {"h", (uint64_t)PS_HOUR},
                                    {"m", (uint64_t)PS_MINUTE},
                                    {"s", (uint64_t)PS_SECOND},
                                    {"ms", (uint64_t)PS_MILLISECOND},
                                    {"us", (uint64_t)PS_MICROSECOND},
                                    {"ns", 1},
                                    {NULL, 0}};

/* Characters that YAML reads as line breaks or not at all, and that forge lines on a terminal:
 * U+0080..9F, U+2028, U+2029, U+FEFF, U+FFFE, U+FFFF. */
static bool is_wide_control(struct ps_str text)
{
    const unsigned char *byte = (const unsigned char *)text.ptr;
    if (text.len >= 2 && byte[0] == 0xc2) {
        return byte[1] >= 0x80 && byte[1] <= 0x9f;
    }
    return ps_str_starts_with(text, PS_STR("\xe2\x80\xa8")) ||
           ps_str_starts_with(text, PS_STR("\xe2\x80\xa9")) ||
           ps_str_starts_with(text, PS_STR("\xef\xbb\xbf")) ||
           ps_str_starts_with(text, PS_STR("\xef\xbf\xbe")) ||
           ps_str_starts_with(text, PS_STR("\xef\xbf\xbf"));
}

bool ps_option_has_control(struct ps_str text)
{
    for (; text.len > 0; text = ps_str_skip(text, 1)) {
        unsigned char c = (unsigned char)text.ptr[0];
        if ((c < 0x20 && c != '\t') || c == 0x7f || (c >= 0x80 && is_wide_control(text))) {
            return true;
        }
    }
    return false;
}

static size_t count_digits(struct ps_str text)
{
    size_t n = 0;
    while (n < text.len && text.ptr[n] >= '0' && text.ptr[n] <= '9') {
        n++;
    }
    return n;
}

static const struct unit *find_unit(const struct unit *units, struct ps_str name)
{
    for (; units->name != NULL; units++) {
        if (ps_str_eq(ps_str_from(units->name), name)) {
            return units;
        }
    }
    return NULL;
}

/* Adds 0.DIGITS times factor; the product must be whole. */
static int add_fraction(uint64_t *value, struct ps_str digits, uint64_t factor)
{
    __extension__ typedef unsigned __int128 wide;
    uint64_t fraction = 0;
    uint64_t scale = 1;
    if (digits.len > FRACTION_DIGITS || ps_str_to_u64(digits, &fraction) != PS_OK) {
        return PS_EINVAL;
    }
    for (size_t i = 0; i < digits.len; i++) {
        scale *= 10;
    }
    wide product = (wide)fraction * factor;
    if (product % scale != 0 ||
        __builtin_add_overflow(*value, (uint64_t)(product / scale), value)) {
        return PS_EINVAL;
    }
    return PS_OK;
}

/* DIGITS [. DIGITS] UNIT. PS_OK or PS_EINVAL. */
static int parse_scaled(struct ps_str text, const struct unit *units, uint64_t *out)
{
    uint64_t value = 0;
    size_t digits = count_digits(text);
    if (ps_str_to_u64(ps_str_first(text, digits), &value) != PS_OK) {
        return PS_EINVAL;
    }
    struct ps_str rest = ps_str_skip(text, digits);
    struct ps_str fraction = {NULL, 0};
    if (rest.len > 0 && rest.ptr[0] == '.') {
        rest = ps_str_skip(rest, 1);
        fraction = ps_str_first(rest, count_digits(rest));
        rest = ps_str_skip(rest, fraction.len);
        if (fraction.len == 0) {
            return PS_EINVAL;
        }
    }
    const struct unit *unit = find_unit(units, rest);
    if (unit == NULL || __builtin_mul_overflow(value, unit->factor, &value)) {
        return PS_EINVAL;
    }
    int err = fraction.len > 0 ? add_fraction(&value, fraction, unit->factor) : PS_OK;
    if (err == PS_OK) {
        *out = value;
    }
    return err;
}

static int print_scaled(uint64_t value, const struct unit *units, struct ps_buf *out)
{
    while (value % units->factor != 0 && units[1].name != NULL) {
        units++;
    }
    int err = ps_buf_append_u64(out, value / units->factor);
    return err == PS_OK ? ps_buf_append_str(out, ps_str_from(units->name)) : err;
}

int ps_option_parse_bytes(struct ps_str text, uint64_t *out)
{
    return parse_scaled(text, sizes, out);
}

int ps_option_parse_span(struct ps_str text, int64_t *out)
{
    uint64_t value = 0;
    if (ps_str_eq(text, PS_STR("0"))) {
        *out = 0;
        return PS_OK;
    }
    int err = parse_scaled(text, spans, &value);
    if (err != PS_OK || value > INT64_MAX) {
        return PS_EINVAL;
    }
    *out = (int64_t)value;
    return PS_OK;
}

static int parse_bool(struct ps_str text, bool *out)
{
    static const char *const yes[] = {"yes", "true", "on"};
    static const char *const no[] = {"no", "false", "off"};
    for (size_t i = 0; i < PS_ARRAY_LEN(yes); i++) {
        if (ps_str_ieq(text, ps_str_from(yes[i])) || ps_str_ieq(text, ps_str_from(no[i]))) {
            *out = ps_str_ieq(text, ps_str_from(yes[i]));
            return PS_OK;
        }
    }
    return PS_EINVAL;
}

static int parse_enum(const char *const *names, struct ps_str text, int *out)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (ps_str_eq(text, ps_str_from(names[i]))) {
            *out = i;
            return PS_OK;
        }
    }
    return PS_EINVAL;
}

static void expect_one_of(const char *const *names, char *reason, size_t size)
{
    size_t at = (size_t)snprintf(reason, size, "expected ");
    for (; *names != NULL && at < size; names++) {
        const char *joint = names[1] == NULL ? "" : names[2] == NULL ? " or " : ", ";
        at += (size_t)snprintf(reason + at, size - at, "%s%s", *names, joint);
    }
}

static void expect(const struct ps_option *row, char *reason, size_t size)
{
    static const char *const words[] = {
        [PS_OPTION_BOOL] = "yes or no",
        [PS_OPTION_U64] = "a whole number such as 1000 or 20k",
        [PS_OPTION_BYTES] = "a size such as 512, 64KiB or 32MiB",
        [PS_OPTION_SPAN] = "a time such as 250us, 50ms, 10s, 5m or 2h",
        [PS_OPTION_DOUBLE] = "a number such as 0.75",
    };
    if (row->type == PS_OPTION_ENUM) {
        expect_one_of(row->names, reason, size);
    } else {
        snprintf(reason, size, "expected %s", words[row->type]);
    }
}

int ps_option_bound_print(const struct ps_option *row, double bound, struct ps_buf *out)
{
    uint64_t whole = bound <= 0 ? 0 : bound >= 0x1p64 ? UINT64_MAX : (uint64_t)bound;
    int64_t span = bound <= 0 ? 0 : bound >= 0x1p63 ? INT64_MAX : (int64_t)bound;
    const void *field = row->type == PS_OPTION_DOUBLE ? (const void *)&bound
                        : row->type == PS_OPTION_SPAN ? (const void *)&span
                                                      : (const void *)&whole;
    return ps_option_scalar_print(row, field, out);
}

static int refuse_bound(const struct ps_option *row, const char *word, double bound, char *reason,
                        size_t size)
{
    struct ps_buf text = ps_buf_make(64);
    int err = ps_option_bound_print(row, bound, &text);
    snprintf(reason, size, "must be %s %.*s", word, err == PS_OK ? (int)text.len : 0,
             err == PS_OK ? text.data : "");
    ps_buf_fini(&text);
    return PS_EINVAL;
}

static int check_bounds(const struct ps_option *row, double value, char *reason, size_t size)
{
    if (row->min == 0 && row->max == 0) {
        return PS_OK;
    }
    if (value < row->min) {
        return refuse_bound(row, "at least", row->min, reason, size);
    }
    if (row->max >= row->min && value > row->max) {
        return refuse_bound(row, "at most", row->max, reason, size);
    }
    return PS_OK;
}

union scalar {
    bool yes;
    uint64_t whole;
    int64_t span;
    double real;
    int index;
};

static int parse_any(const struct ps_option *row, struct ps_str text, union scalar *out)
{
    switch (row->type) {
    case PS_OPTION_BOOL:
        return parse_bool(text, &out->yes);
    case PS_OPTION_U64:
        return parse_scaled(text, counts, &out->whole);
    case PS_OPTION_BYTES:
        return parse_scaled(text, sizes, &out->whole);
    case PS_OPTION_SPAN:
        return ps_option_parse_span(text, &out->span);
    case PS_OPTION_DOUBLE:
        return ps_str_to_double(text, &out->real);
    case PS_OPTION_ENUM:
        return parse_enum(row->names, text, &out->index);
    case PS_OPTION_END:
    case PS_OPTION_STRING:
    case PS_OPTION_SECRET:
    case PS_OPTION_STRINGS:
    case PS_OPTION_SECTION:
    case PS_OPTION_LIST:
        break;
    }
    PS_CHECK(!"a scalar type");
    return PS_EINVAL;
}

int ps_option_scalar_parse(const struct ps_option *row, void *field, struct ps_str text,
                           char *reason, size_t size)
{
    union scalar value = {.whole = 0};
    if (parse_any(row, text, &value) != PS_OK) {
        expect(row, reason, size);
        return PS_EINVAL;
    }
    switch (row->type) {
    case PS_OPTION_BOOL:
        *(bool *)field = value.yes;
        return PS_OK;
    case PS_OPTION_ENUM:
        *(int *)field = value.index;
        return PS_OK;
    case PS_OPTION_SPAN:
        if (check_bounds(row, (double)value.span, reason, size) != PS_OK) {
            return PS_EINVAL;
        }
        *(int64_t *)field = value.span;
        return PS_OK;
    case PS_OPTION_DOUBLE:
        if (check_bounds(row, value.real, reason, size) != PS_OK) {
            return PS_EINVAL;
        }
        *(double *)field = value.real;
        return PS_OK;
    default: /* U64 and BYTES; parse_any has refused everything else */
        if (check_bounds(row, (double)value.whole, reason, size) != PS_OK) {
            return PS_EINVAL;
        }
        *(uint64_t *)field = value.whole;
        return PS_OK;
    }
}

/* The fewest digits that read back as the same number. */
static int print_double(double value, struct ps_buf *out)
{
    char text[40];
    if (fabs(value) < 1e15 && value == trunc(value)) {
        return ps_buf_printf(out, "%.0f", value);
    }
    for (int digits = 6; digits <= 17; digits++) {
        double again = 0;
        int len = snprintf(text, sizeof text, "%.*g", digits, value);
        if (ps_str_to_double((struct ps_str){text, (size_t)len}, &again) == PS_OK &&
            again == value) {
            break;
        }
    }
    return ps_buf_append_str(out, ps_str_from(text));
}

int ps_option_scalar_print(const struct ps_option *row, const void *field, struct ps_buf *out)
{
    switch (row->type) {
    case PS_OPTION_BOOL:
        return ps_buf_append_str(out, *(const bool *)field ? PS_STR("yes") : PS_STR("no"));
    case PS_OPTION_U64:
        return ps_buf_append_u64(out, *(const uint64_t *)field);
    case PS_OPTION_BYTES:
        return *(const uint64_t *)field == 0
                   ? ps_buf_append(out, "0", 1)
                   : print_scaled(*(const uint64_t *)field, binary_sizes, out);
    case PS_OPTION_SPAN:
        PS_CHECK(*(const int64_t *)field >= 0);
        return *(const int64_t *)field == 0
                   ? ps_buf_append(out, "0s", 2)
                   : print_scaled((uint64_t) * (const int64_t *)field, spans, out);
    case PS_OPTION_DOUBLE:
        return print_double(*(const double *)field, out);
    case PS_OPTION_ENUM:
        return ps_buf_append_str(out, ps_str_from(row->names[*(const int *)field]));
    case PS_OPTION_END:
    case PS_OPTION_STRING:
    case PS_OPTION_SECRET:
    case PS_OPTION_STRINGS:
    case PS_OPTION_SECTION:
    case PS_OPTION_LIST:
        break;
    }
    return PS_EINVAL;
}

static bool is_plain_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_./-:+@%~=", c) != NULL);
}

/* Would YAML read it back as this very text, in block and in flow style? */
static bool is_plain(struct ps_str text)
{
    static const char *const words[] = {"yes", "no", "true", "false", "on", "off", "null"};
    if (text.len == 0 || strchr("-:@%~=+.", text.ptr[0]) != NULL || text.ptr[text.len - 1] == ':') {
        return false;
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(words); i++) {
        if (ps_str_ieq(text, ps_str_from(words[i]))) {
            return false;
        }
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!is_plain_byte(text.ptr[i])) {
            return false;
        }
    }
    return true;
}

int ps_option_quote(struct ps_str text, struct ps_buf *out)
{
    if (is_plain(text)) {
        return ps_buf_append_str(out, text);
    }
    size_t start = out->len;
    int err = ps_buf_append(out, "\"", 1);
    while (err == PS_OK && text.len > 0) {
        /* A literal ${ would be taken for a variable when it is read again. */
        struct ps_str piece = ps_str_first(text, ps_str_find(text, '$'));
        err = ps_buf_append_json(out, piece);
        text = ps_str_skip(text, piece.len);
        if (err == PS_OK && text.len > 0) {
            bool variable = text.len > 1 && text.ptr[1] == '{';
            err = ps_buf_append_str(out, variable ? PS_STR("$$") : PS_STR("$"));
            text = ps_str_skip(text, 1);
        }
    }
    err = err == PS_OK ? ps_buf_append(out, "\"", 1) : err;
    if (err != PS_OK) {
        out->len = start;
    }
    return err;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t ps_option_distance(struct ps_str a, struct ps_str b)
{
    size_t rows[3][NAME_MAX_BYTES + 1];
    if (a.len > NAME_MAX_BYTES || b.len > NAME_MAX_BYTES) {
        return SIZE_MAX;
    }
    size_t *before = rows[0];
    size_t *above = rows[1];
    size_t *here = rows[2];
    for (size_t j = 0; j <= b.len; j++) {
        before[j] = 0;
        here[j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t *spare = before;
        before = above;
        above = here;
        here = spare;
        here[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = a.ptr[i - 1] == b.ptr[j - 1];
            here[j] = smaller(above[j - 1] + (same ? 0 : 1), smaller(above[j], here[j - 1]) + 1);
            bool swapped =
                i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1];
            here[j] = swapped ? smaller(here[j], before[j - 2] + 1) : here[j];
        }
    }
    return here[b.len];
}

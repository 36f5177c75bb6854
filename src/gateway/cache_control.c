#include "gateway/cache_control.h"

#include <assert.h>

#include "http/h1_scan.h"

static_assert(PS_CC_COUNT <= 32, "a directive is a bit");

static const struct ps_str names[] = {
#define NAME(name, text) PS_STR_INIT(text),
    PS_CC_TABLE(NAME)
#undef NAME
};

/* One directive as it stands there. */
struct directive {
    struct ps_str name;
    struct ps_str value; /* without quotes, escapes as they are */
    bool has_value;
    bool is_quoted;
    bool has_junk; /* something stands behind it that is no part of it */
};

static char first_of(struct ps_str text)
{
    return text.len > 0 ? text.ptr[0] : '\0';
}

static struct ps_str take_token(struct ps_str *rest)
{
    const char *end = rest->ptr == NULL ? NULL : ps_h1_scan_token(rest->ptr, rest->ptr + rest->len);
    size_t len = rest->ptr == NULL ? 0 : (size_t)(end - rest->ptr);
    struct ps_str token = ps_str_first(*rest, len);
    *rest = ps_str_skip(*rest, len);
    return token;
}

/* *rest begins with a quote. False when the string never ends; *rest is empty then. */
static bool take_quoted(struct ps_str *rest, struct ps_str *inside)
{
    size_t at = 1;
    while (at < rest->len && rest->ptr[at] != '"') {
        at += rest->ptr[at] == '\\' ? 2 : 1;
    }
    if (at >= rest->len) {
        *rest = ps_str_skip(*rest, rest->len);
        return false;
    }
    *inside = ps_str_first(ps_str_skip(*rest, 1), at - 1);
    *rest = ps_str_skip(*rest, at + 1);
    return true;
}

/* To the comma that ends a member, over quoted strings. False when one of them never ends. */
static bool skip_member(struct ps_str *rest)
{
    struct ps_str ignored;
    while (rest->len > 0 && rest->ptr[0] != ',') {
        if (rest->ptr[0] != '"') {
            *rest = ps_str_skip(*rest, 1);
        } else if (!take_quoted(rest, &ignored)) {
            return false;
        }
    }
    return true;
}

static void skip_space(struct ps_str *rest, bool commas)
{
    while (rest->len > 0 &&
           (rest->ptr[0] == ' ' || rest->ptr[0] == '\t' || (commas && rest->ptr[0] == ','))) {
        *rest = ps_str_skip(*rest, 1);
    }
}

/* A directive at the start of *rest, as far as it goes. False when a quoted string never ends. */
static bool take_directive(struct ps_str *rest, struct directive *out)
{
    *out = (struct directive){.name = take_token(rest)};
    if (first_of(*rest) != '=') {
        return true;
    }
    *rest = ps_str_skip(*rest, 1);
    out->has_value = true;
    out->is_quoted = first_of(*rest) == '"';
    if (out->is_quoted) {
        return take_quoted(rest, &out->value);
    }
    out->value = take_token(rest);
    return true;
}

/* The next directive of a line, empty members and what is none left out. False at the end; *broken
 * is set when a quoted string never ends. */
static bool next_directive(struct ps_str *rest, struct directive *out, bool *broken)
{
    for (;;) {
        skip_space(rest, true);
        if (rest->len == 0) {
            return false;
        }
        bool ended = take_directive(rest, out);
        skip_space(rest, false);
        out->has_junk = !ended || (rest->len > 0 && rest->ptr[0] != ',');
        ended = ended && skip_member(rest);
        *broken = *broken || !ended;
        if (out->name.len > 0) {
            return true;
        }
    }
}

static int find(struct ps_str name)
{
    for (int i = 0; i < PS_CC_COUNT; i++) {
        if (ps_str_ieq(name, names[i])) {
            return i;
        }
    }
    return -1;
}

/* PS_OK, or PS_EPARSE when it is no number; a large one is the largest. */
static int read_seconds(struct ps_str text, ps_span *out)
{
    uint64_t seconds;
    int err = ps_str_to_u64(text, &seconds);
    if (err == PS_EPARSE) {
        return PS_EPARSE;
    }
    bool fits = err == PS_OK && seconds < (uint64_t)PS_CC_SECONDS_MAX;
    *out = (fits ? (ps_span)seconds : PS_CC_SECONDS_MAX) * PS_SECOND;
    return PS_OK;
}

static void note_seconds(struct ps_cache_control *cc, int which, const struct directive *directive)
{
    unsigned bit = 1u << which;
    if (((cc->set | cc->invalid) & bit) != 0) {
        return; /* the first holds */
    }
    ps_span seconds = PS_NEVER;
    bool any = which == PS_CC_MAX_STALE && !directive->has_value && !directive->has_junk;
    if (!any && (directive->has_junk || read_seconds(directive->value, &seconds) != PS_OK)) {
        cc->invalid |= bit;
        return;
    }
    cc->seconds[which] = seconds;
    cc->set |= bit;
}

/* A list of names in quotes; with anything else it is as if none stood there. */
static bool names_fields(int which, const struct directive *directive)
{
    struct ps_str rest = directive->value;
    struct ps_str name;
    bool any = false;
    if ((which != PS_CC_NO_CACHE && which != PS_CC_PRIVATE) || directive->has_junk) {
        return false;
    }
    while (ps_str_next_member(&rest, &name)) {
        if (!ps_h1_is_token(name)) {
            return false;
        }
        any = true;
    }
    return any;
}

/* With junk behind it what forbids still forbids, and what permits permits nothing. */
#define PERMITS \
    (PS_CC_BIT(PS_CC_PUBLIC) | PS_CC_BIT(PS_CC_MUST_UNDERSTAND) | PS_CC_BIT(PS_CC_ONLY_IF_CACHED))

static void note(struct ps_cache_control *cc, const struct directive *directive)
{
    int which = find(directive->name);
    if (which < 0 || (directive->has_junk && (PERMITS & PS_CC_BIT(which)) != 0)) {
        return;
    }
    if (which < PS_CC_TIMED) {
        note_seconds(cc, which, directive);
    } else if (names_fields(which, directive)) {
        cc->fields = true;
    } else {
        cc->set |= 1u << which;
    }
}

void ps_cache_control_read(struct ps_cache_control *out, const struct ps_h1_head *head)
{
    *out = (struct ps_cache_control){.set = 0};
    if ((head->seen & PS_H1_BIT(PS_H1_CACHE_CONTROL)) == 0) {
        return;
    }
    for (size_t i = 0; i < head->header_count; i++) {
        struct ps_str rest = head->headers[i].value;
        struct directive directive;
        while (head->headers[i].id == PS_H1_CACHE_CONTROL &&
               next_directive(&rest, &directive, &out->broken)) {
            note(out, &directive);
        }
    }
}

static bool line_withholds(struct ps_str rest, struct ps_str name)
{
    struct directive directive;
    bool broken = false;
    while (next_directive(&rest, &directive, &broken)) {
        struct ps_str field;
        struct ps_str fields = directive.value;
        if (!names_fields(find(directive.name), &directive)) {
            continue;
        }
        while (ps_str_next_member(&fields, &field)) {
            if (ps_str_ieq(field, name)) {
                return true;
            }
        }
    }
    return false;
}

bool ps_cache_control_withholds(const struct ps_h1_head *head, struct ps_str name)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (head->headers[i].id == PS_H1_CACHE_CONTROL &&
            line_withholds(head->headers[i].value, name)) {
            return true;
        }
    }
    return false;
}

/* --- targeted fields: dictionaries of structured fields (RFC 8941, 4.2.2) */

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t run(struct ps_str text, bool (*fits)(char c))
{
    size_t len = 0;
    while (len < text.len && fits(text.ptr[len])) {
        len++;
    }
    return len;
}

static bool is_key_char(char c)
{
    return is_lower(c) || is_digit(c) || c == '_' || c == '-' || c == '.' || c == '*';
}

static bool is_token_char(char c)
{
    return c == ':' || c == '/' || ps_h1_is_class(c, PS_H1_CLASS_TOKEN);
}

static bool is_binary_char(char c)
{
    return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z') || c == '+' || c == '/' || c == '=';
}

static bool take_key(struct ps_str *rest, struct ps_str *key)
{
    if (!is_lower(first_of(*rest)) && first_of(*rest) != '*') {
        return false;
    }
    *key = ps_str_first(*rest, run(*rest, is_key_char));
    *rest = ps_str_skip(*rest, key->len);
    return true;
}

/* A string: printable ASCII, with a backslash only before a quote or another one. */
static bool take_string(struct ps_str *rest, struct ps_str *inside)
{
    if (!take_quoted(rest, inside)) {
        return false;
    }
    for (size_t i = 0; i < inside->len; i++) {
        char c = inside->ptr[i];
        if (c < 0x20 || c > 0x7e) {
            return false;
        }
        if (c == '\\') {
            char next = inside->ptr[++i]; /* there is one, or the string had not ended */
            if (next != '"' && next != '\\') {
                return false;
            }
        }
    }
    return true;
}

/* Digits: an integer of at most 15, or a decimal of 12 and 3. The value is all of it. */
static bool take_numeral(struct ps_str *rest, struct ps_str *value)
{
    size_t sign = first_of(*rest) == '-' ? 1 : 0;
    struct ps_str text = ps_str_skip(*rest, sign);
    size_t whole = run(text, is_digit);
    size_t len = whole;
    if (whole < text.len && text.ptr[whole] == '.') {
        size_t part = run(ps_str_skip(text, whole + 1), is_digit);
        if (whole > 12 || part == 0 || part > 3) {
            return false;
        }
        len += 1 + part;
    }
    if (whole == 0 || whole > 15) {
        return false;
    }
    *value = ps_str_first(*rest, sign + len);
    *rest = ps_str_skip(*rest, sign + len);
    return true;
}

static bool take_binary(struct ps_str *rest)
{
    *rest = ps_str_skip(*rest, 1);
    *rest = ps_str_skip(*rest, run(*rest, is_binary_char));
    bool ended = first_of(*rest) == ':';
    *rest = ps_str_skip(*rest, 1);
    return ended;
}

static bool take_boolean(struct ps_str *rest, bool *truth)
{
    char digit = rest->len > 1 ? rest->ptr[1] : '\0';
    *truth = digit == '1';
    *rest = ps_str_skip(*rest, 2);
    return digit == '0' || digit == '1';
}

/* A bare item. *truth is what a boolean says, true for everything else. */
static bool take_bare(struct ps_str *rest, struct ps_str *value, bool *truth)
{
    char first = first_of(*rest);
    *value = PS_STR("");
    *truth = true;
    if (first == '"') {
        return take_string(rest, value);
    }
    if (first == '?') {
        return take_boolean(rest, truth);
    }
    if (first == ':') {
        return take_binary(rest);
    }
    if (first == '-' || is_digit(first)) {
        return take_numeral(rest, value);
    }
    *value = ps_str_first(*rest, run(*rest, is_token_char));
    *rest = ps_str_skip(*rest, value->len);
    return is_lower(first) || (first >= 'A' && first <= 'Z') || first == '*';
}

static bool take_parameters(struct ps_str *rest, bool *any)
{
    struct ps_str key;
    struct ps_str value;
    bool truth;
    while (first_of(*rest) == ';') {
        *any = true;
        *rest = ps_str_skip(*rest, 1);
        while (first_of(*rest) == ' ') {
            *rest = ps_str_skip(*rest, 1);
        }
        if (!take_key(rest, &key)) {
            return false;
        }
        if (first_of(*rest) == '=') {
            *rest = ps_str_skip(*rest, 1);
            if (!take_bare(rest, &value, &truth)) {
                return false;
            }
        }
    }
    return true;
}

/* An inner list: nothing of ours has one, so its items are only checked. */
static bool take_inner_list(struct ps_str *rest)
{
    struct ps_str value;
    bool truth;
    bool any;
    *rest = ps_str_skip(*rest, 1);
    for (;;) {
        size_t before = rest->len;
        while (first_of(*rest) == ' ') {
            *rest = ps_str_skip(*rest, 1);
        }
        if (first_of(*rest) == ')') {
            *rest = ps_str_skip(*rest, 1);
            return true;
        }
        if (before == rest->len && rest->ptr[-1] != '(') {
            return false;
        }
        if (!take_bare(rest, &value, &truth) || !take_parameters(rest, &any)) {
            return false;
        }
    }
}

/* One member. *meant: it is said, and without a parameter where these choose a device. */
static bool take_member(struct ps_str *rest, struct directive *out, bool devices, bool *meant)
{
    bool any = false;
    *out = (struct directive){.has_value = false};
    *meant = true;
    if (!take_key(rest, &out->name)) {
        return false;
    }
    if (first_of(*rest) == '=') {
        *rest = ps_str_skip(*rest, 1);
        out->is_quoted = first_of(*rest) == '"';
        bool list = first_of(*rest) == '(';
        bool boolean = first_of(*rest) == '?';
        out->has_value = !boolean;
        bool sound = list ? take_inner_list(rest) : take_bare(rest, &out->value, meant);
        if (!sound) {
            return false;
        }
    }
    out->has_junk = out->is_quoted; /* a string is no number here */
    bool sound = take_parameters(rest, &any);
    *meant = *meant && !(devices && any);
    return sound;
}

/* Between two members there is a comma, and behind a comma there is a member. */
static bool take_comma(struct ps_str *rest)
{
    skip_space(rest, false);
    if (rest->len == 0) {
        return true;
    }
    if (rest->ptr[0] != ',') {
        return false;
    }
    *rest = ps_str_skip(*rest, 1);
    skip_space(rest, false);
    return rest->len > 0;
}

/* What a targeted field says may not be said of single fields: a list of names is not for us. */
static void note_targeted(struct ps_cache_control *cc, const struct directive *directive)
{
    int which = find(directive->name);
    if (which >= PS_CC_TIMED) {
        cc->set |= 1u << which;
    } else if (which >= 0) {
        /* In a dictionary the last of two values holds (RFC 8941, 4.2.2). */
        cc->set &= ~(1u << which);
        cc->invalid &= ~(1u << which);
        note_seconds(cc, which, directive);
    }
}

static bool read_dictionary(struct ps_cache_control *cc, struct ps_str rest, bool devices)
{
    skip_space(&rest, false);
    while (rest.len > 0) {
        struct directive directive;
        bool meant;
        if (!take_member(&rest, &directive, devices, &meant) || !take_comma(&rest)) {
            return false;
        }
        if (meant) {
            note_targeted(cc, &directive);
        }
    }
    return true;
}

/* Lines of one name are one list (RFC 9110, 5.3), but an empty field says nothing. */
static bool read_targeted(struct ps_cache_control *out, const struct ps_h1_head *head,
                          struct ps_str name, bool devices)
{
    struct ps_cache_control cc = {.targeted = true};
    bool any = false;
    for (size_t i = 0; i < head->header_count; i++) {
        const struct ps_h1_header *header = &head->headers[i];
        if (header->id != PS_H1_FIELD_OTHER || !ps_str_ieq(header->name, name)) {
            continue;
        }
        if (!read_dictionary(&cc, header->value, devices)) {
            return false;
        }
        any = any || header->value.len > 0;
    }
    if (any) {
        *out = cc;
    }
    return any;
}

void ps_cache_control_read_answer(struct ps_cache_control *out, const struct ps_h1_head *head)
{
    if (!read_targeted(out, head, PS_STR("CDN-Cache-Control"), false) &&
        !read_targeted(out, head, PS_STR("Surrogate-Control"), true)) {
        ps_cache_control_read(out, head);
    }
}

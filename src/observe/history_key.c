#include "observe/history_key.h"

#include <string.h>

const char *const ps_history_of_names[] = {"value", "rate", "mean", "p50", "p95", "p99", NULL};

/* --- reading ---------------------------------------------------------------------------------- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Length of the name at the start of text. */
static size_t name_length(struct ps_str text, bool colons)
{
    size_t len = 0;
    while (len < text.len && (is_letter(text.ptr[len]) || (colons && text.ptr[len] == ':') ||
                              (len > 0 && is_digit(text.ptr[len])))) {
        len++;
    }
    return len;
}

bool ps_history_key_is_name(struct ps_str text)
{
    return text.len > 0 && name_length(text, false) == text.len;
}

/* Length of the escaped value at the start of text, which a quote ends; text.len: it is none. */
static size_t value_length(struct ps_str text)
{
    size_t at = 0;
    while (at < text.len && text.ptr[at] != '"') {
        unsigned char c = (unsigned char)text.ptr[at];
        bool escape = c == '\\' && at + 1 < text.len && strchr("\\\"n", text.ptr[at + 1]) != NULL &&
                      text.ptr[at + 1] != '\0';
        size_t len = escape ? 2 : c == '\\' || c == '\n' ? 0 : ps_str_utf8_length(ps_str_skip(text, at));
        if (len == 0) {
            return text.len;
        }
        at += len;
    }
    return at;
}

bool ps_history_key_next(struct ps_str *rest, struct ps_str *name, struct ps_str *value)
{
    size_t len = name_length(*rest, false);
    struct ps_str behind = ps_str_skip(*rest, len);
    if (len == 0 || !ps_str_starts_with(behind, PS_STR("=\""))) {
        return false;
    }
    behind = ps_str_skip(behind, 2);
    size_t quote = value_length(behind);
    if (quote == behind.len) {
        return false;
    }
    *name = ps_str_first(*rest, len);
    *value = ps_str_first(behind, quote);
    behind = ps_str_skip(behind, quote + 1);
    *rest = ps_str_skip(behind, 1);
    return behind.len == 0 || (behind.len > 1 && behind.ptr[0] == ',');
}

/* Takes "rate(" and ")" away, where they are. */
static enum ps_history_of take_function(struct ps_str *text)
{
    size_t open = ps_str_find(*text, '(');
    struct ps_str word = ps_str_first(*text, open);
    for (int of = PS_HISTORY_RATE; of < PS_HISTORY_OF_COUNT; of++) {
        if (open < text->len && text->ptr[text->len - 1] == ')' &&
            ps_str_eq(word, ps_str_from(ps_history_of_names[of]))) {
            *text = ps_str_skip(ps_str_first(*text, text->len - 1), open + 1);
            return (enum ps_history_of)of;
        }
    }
    return PS_HISTORY_VALUE;
}

int ps_history_key_parse(struct ps_str text, struct ps_history_key *out)
{
    struct ps_history_key key = {0};
    struct ps_str name;
    struct ps_str value;
    if (text.len > PS_HISTORY_KEY_MAX) {
        return PS_ELIMIT;
    }
    key.of = take_function(&text);
    key.name = ps_str_first(text, name_length(text, true));
    struct ps_str rest = ps_str_skip(text, key.name.len);
    if (key.name.len == 0) {
        return PS_EPARSE;
    }
    if (rest.len > 0) {
        if (rest.len < 3 || rest.ptr[0] != '{' || rest.ptr[rest.len - 1] != '}') {
            return PS_EPARSE;
        }
        key.labels = ps_str_first(ps_str_skip(rest, 1), rest.len - 2);
        for (rest = key.labels; rest.len > 0;) {
            if (!ps_history_key_next(&rest, &name, &value)) {
                return PS_EPARSE;
            }
        }
    }
    *out = key;
    return PS_OK;
}

size_t ps_history_key_unescape(struct ps_str value, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        bool escaped = value.ptr[i] == '\\' && i + 1 < value.len;
        i += escaped ? 1 : 0;
        out[len++] = escaped && value.ptr[i] == 'n' ? '\n' : value.ptr[i];
    }
    return len;
}

bool ps_history_key_has(struct ps_str labels, struct ps_str name, struct ps_str value)
{
    struct ps_str one;
    struct ps_str written;
    char plain[PS_HISTORY_KEY_MAX];
    while (ps_history_key_next(&labels, &one, &written)) {
        if (ps_str_eq(one, name)) {
            return ps_str_eq((struct ps_str){plain, ps_history_key_unescape(written, plain)}, value);
        }
    }
    return value.len == 0;
}

/* --- writing ---------------------------------------------------------------------------------- */

struct writer {
    char *out;
    size_t len; /* more than PS_HISTORY_KEY_MAX: it did not fit */
};

static void put(struct writer *writer, struct ps_str text)
{
    if (text.len > 0 && writer->len + text.len <= PS_HISTORY_KEY_MAX) {
        memcpy(writer->out + writer->len, text.ptr, text.len);
    }
    writer->len += text.len;
}

static void put_value(struct writer *writer, struct ps_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        put(writer, c == '\n'   ? PS_STR("\\n")
                    : c == '"'  ? PS_STR("\\\"")
                    : c == '\\' ? PS_STR("\\\\")
                                : (struct ps_str){value.ptr + i, 1});
    }
}

static bool put_label(struct writer *writer, bool first, const char *name, struct ps_str value)
{
    if (value.len == 0) {
        return first;
    }
    put(writer, first ? PS_STR("{") : PS_STR(","));
    put(writer, ps_str_from(name));
    put(writer, PS_STR("=\""));
    put_value(writer, value);
    put(writer, PS_STR("\""));
    return false;
}

size_t ps_history_key_write(enum ps_history_of of, const struct ps_metric_sample *sample,
                            const char *state, char out[PS_HISTORY_KEY_MAX])
{
    const struct ps_metric_family *family = sample->family;
    struct writer writer = {out, 0};
    bool first = true;
    if (of != PS_HISTORY_VALUE) {
        put(&writer, ps_str_from(ps_history_of_names[of]));
        put(&writer, PS_STR("("));
    }
    put(&writer, ps_str_from(family->name));
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && family->labels[i] != NULL; i++) {
        first = put_label(&writer, first, family->labels[i], sample->labels[i]);
    }
    first = put_label(&writer, first, family->name, ps_str_from(state));
    put(&writer, first ? PS_STR("") : PS_STR("}"));
    put(&writer, of != PS_HISTORY_VALUE ? PS_STR(")") : PS_STR(""));
    return writer.len <= PS_HISTORY_KEY_MAX ? writer.len : 0;
}

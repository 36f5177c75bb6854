#include "gpu/exposition.h"

#include "base/check.h"

static bool is_name_byte(char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
    return letter || (!first && c >= '0' && c <= '9');
}

/* The name at the start of the text; empty when none is there. */
static struct ps_str name_at(struct ps_str text)
{
    size_t len = 0;
    while (len < text.len && is_name_byte(text.ptr[len], len == 0)) {
        len++;
    }
    return ps_str_first(text, len);
}

static struct ps_str skip_blanks(struct ps_str text)
{
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text = ps_str_skip(text, 1);
    }
    return text;
}

/* Takes one byte that has to be there. */
static bool take(struct ps_str *text, char byte)
{
    if (text->len == 0 || text->ptr[0] != byte) {
        return false;
    }
    *text = ps_str_skip(*text, 1);
    return true;
}

/* The inside of a quoted value; *rest moves behind its end. */
static bool take_value(struct ps_str *rest, struct ps_str *value)
{
    size_t i = 0;
    if (!take(rest, '"')) {
        return false;
    }
    while (i < rest->len && rest->ptr[i] != '"') {
        i += rest->ptr[i] == '\\' ? 2 : 1;
    }
    if (i >= rest->len) {
        return false;
    }
    *value = ps_str_first(*rest, i);
    *rest = ps_str_skip(*rest, i + 1);
    return true;
}

static int take_labels(struct ps_str *rest, struct ps_exposition_label *labels, size_t *count)
{
    while (!take(rest, '}')) {
        if (*count == PS_EXPOSITION_LABELS_MAX) {
            return PS_ELIMIT;
        }
        struct ps_exposition_label *label = &labels[*count];
        *rest = skip_blanks(*rest);
        label->name = name_at(*rest);
        *rest = skip_blanks(ps_str_skip(*rest, label->name.len));
        if (label->name.len == 0 || !take(rest, '=')) {
            return PS_EPARSE;
        }
        *rest = skip_blanks(*rest);
        if (!take_value(rest, &label->value)) {
            return PS_EPARSE;
        }
        (*count)++;
        *rest = skip_blanks(*rest);
        bool more = take(rest, ',');
        *rest = skip_blanks(*rest);
        if (!more && (rest->len == 0 || rest->ptr[0] != '}')) {
            return PS_EPARSE;
        }
    }
    return PS_OK;
}

static int read_number(struct ps_str text, struct ps_exposition_sample *sample)
{
    static const struct ps_str words[] = {PS_STR_INIT("NaN"), PS_STR_INIT("+Inf"),
                                          PS_STR_INIT("-Inf"), PS_STR_INIT("Inf")};
    for (size_t i = 0; i < PS_ARRAY_LEN(words); i++) {
        if (ps_str_ieq(text, words[i])) {
            sample->finite = false;
            return PS_OK;
        }
    }
    struct ps_str digits = text.len > 1 && text.ptr[0] == '+' ? ps_str_skip(text, 1) : text;
    sample->finite = true;
    return ps_str_to_double(digits, &sample->value);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct ps_str word_at(struct ps_str text)
{
    size_t len = 0;
    while (len < text.len && !is_blank(text.ptr[len])) {
        len++;
    }
    return ps_str_first(text, len);
}

/* Value, and behind it nothing, a time stamp or an exemplar. */
static int read_value(struct ps_str rest, struct ps_exposition_sample *sample)
{
    double stamp;
    rest = skip_blanks(rest);
    struct ps_str word = word_at(rest);
    int err = read_number(word, sample);
    rest = skip_blanks(ps_str_skip(rest, word.len));
    if (err != PS_OK || rest.len == 0 || rest.ptr[0] == '#') {
        return err;
    }
    word = word_at(rest);
    rest = skip_blanks(ps_str_skip(rest, word.len));
    return rest.len > 0 && rest.ptr[0] != '#' ? PS_EPARSE : ps_str_to_double(word, &stamp);
}

static int read_line(struct ps_str line, struct ps_str name,
                     const struct ps_exposition_reader *reader)
{
    struct ps_exposition_label labels[PS_EXPOSITION_LABELS_MAX];
    struct ps_exposition_sample sample = {.name = name, .labels = labels};
    struct ps_str rest = skip_blanks(ps_str_skip(line, name.len));
    if (line.len > PS_EXPOSITION_LINE_MAX) {
        return PS_ELIMIT;
    }
    int err = take(&rest, '{') ? take_labels(&rest, labels, &sample.label_count) : PS_OK;
    err = err != PS_OK ? err : read_value(rest, &sample);
    if (err == PS_OK) {
        reader->on_sample(reader->ctx, &sample);
    }
    return err;
}

int ps_exposition_read(struct ps_str page, const struct ps_exposition_reader *reader, size_t *line)
{
    struct ps_str text;
    struct ps_str last = {"", 0}; /* neighbours mostly have the same name */
    bool wanted = false;
    size_t number = 0;
    while (page.len > 0 && ps_str_split(&page, '\n', &text)) {
        number++;
        if (text.len > 0 && text.ptr[text.len - 1] == '\r') {
            text.len--;
        }
        text = skip_blanks(text);
        if (text.len == 0 || text.ptr[0] == '#') {
            continue;
        }
        struct ps_str name = name_at(text);
        if (!ps_str_eq(name, last)) {
            last = name;
            wanted = reader->want(reader->ctx, name);
        }
        int err = name.len == 0 ? PS_EPARSE : wanted ? read_line(text, name, reader) : PS_OK;
        if (err != PS_OK) {
            *line = number;
            return err;
        }
    }
    return PS_OK;
}

struct ps_str ps_exposition_label(const struct ps_exposition_sample *sample, struct ps_str name)
{
    for (size_t i = 0; i < sample->label_count; i++) {
        if (ps_str_eq(sample->labels[i].name, name)) {
            return sample->labels[i].value;
        }
    }
    return (struct ps_str){"", 0};
}

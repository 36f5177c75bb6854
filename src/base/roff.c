#include "base/roff.h"

#include <string.h>

#define LINE_WIDTH 64 /* escapes come on top: with them a line stays within 80 */

static void begin_line(struct ps_roff *roff)
{
    if (roff->column > 0) {
        fputc('\n', roff->out);
        roff->column = 0;
    }
}

/* A line of roff, not of text. */
static void request(struct ps_roff *roff, const char *line)
{
    begin_line(roff);
    fprintf(roff->out, "%s\n", line);
}

/* Characters that roff would read as something else, or draw as something else. */
static const char *escape(char c)
{
    switch (c) {
    case '\\':
        return "\\e";
    case '-':
        return "\\-";
    case '\'':
        return "\\(aq";
    case '"':
        return "\\(dq";
    case '`':
        return "\\(ga";
    case '^':
        return "\\(ha";
    case '~':
        return "\\(ti";
    default:
        return NULL;
    }
}

static void put(struct ps_roff *roff, char c)
{
    const char *escaped = escape(c);
    if (roff->column == 0 && c == '.') {
        fputs("\\&", roff->out); /* or it would be a request */
    }
    if (escaped != NULL) {
        fputs(escaped, roff->out);
    } else {
        fputc(c, roff->out);
    }
    roff->column += escaped != NULL ? strlen(escaped) : 1;
}

static void toggle(struct ps_roff *roff, bool *on, const char *font)
{
    *on = !*on;
    fputs(*on ? font : "\\fR", roff->out);
    roff->column += strlen(font);
}

/* Exactly two asterisks; three are what stands for a secret. */
static bool is_italic_mark(struct ps_str text, size_t at)
{
    size_t run = 0;
    while (at + run < text.len && text.ptr[at + run] == '*') {
        run++;
    }
    return run == 2 && (at == 0 || text.ptr[at - 1] != '*');
}

static void put_marked(struct ps_roff *roff, struct ps_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '`') {
            toggle(roff, &roff->bold, "\\fB");
        } else if (!roff->bold && is_italic_mark(text, i)) {
            toggle(roff, &roff->italic, "\\fI");
            i++;
        } else {
            put(roff, text.ptr[i]);
        }
    }
}

static bool ends_sentence(struct ps_str word)
{
    return word.len > 1 && strchr(".!?", word.ptr[word.len - 1]) != NULL;
}

static void put_words(struct ps_roff *roff, struct ps_str line)
{
    struct ps_str word;
    while (line.len > 0 && ps_str_split(&line, ' ', &word)) {
        if (word.len == 0) {
            continue;
        }
        if (roff->column > 0 && roff->column + 1 + word.len > LINE_WIDTH) {
            begin_line(roff);
        }
        if (roff->column > 0) {
            fputc(' ', roff->out);
            roff->column++;
        }
        put_marked(roff, word);
        if (ends_sentence(word)) {
            begin_line(roff);
        }
    }
}

static void close_fonts(struct ps_roff *roff)
{
    if (roff->bold || roff->italic) {
        fputs("\\fR", roff->out);
    }
    roff->bold = roff->italic = false;
}

void ps_roff_title(struct ps_roff *roff, const char *name, int section, const char *version,
                   const char *date)
{
    begin_line(roff);
    fputs(".TH ", roff->out);
    for (; *name != '\0'; name++) {
        put(roff, *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name);
    }
    fprintf(roff->out, " %d \"%s\" \"Penstock %s\"", section, date, version);
    begin_line(roff);
}

void ps_roff_heading(struct ps_roff *roff, int level, const char *text)
{
    begin_line(roff);
    fputs(level == 1 ? ".SH " : ".SS ", roff->out);
    roff->column = 4;
    for (; *text != '\0'; text++) {
        bool raise = level == 1 && *text >= 'a' && *text <= 'z';
        put(roff, raise ? (char)(*text - 'a' + 'A') : *text);
    }
    begin_line(roff);
}

void ps_roff_name(struct ps_roff *roff, const char *name, const char *brief)
{
    ps_roff_heading(roff, 1, "Name");
    fprintf(roff->out, "%s \\-",
            name); /* the name as it is: an escape would be part of what whatis(1) looks for */
    roff->column = strlen(name) + 3;
    put_words(roff, ps_str_from(brief));
    begin_line(roff);
}

void ps_roff_term(struct ps_roff *roff, const char *text)
{
    request(roff, ".TP");
    put_marked(roff, ps_str_from(text));
    close_fonts(roff);
    begin_line(roff);
}

void ps_roff_break(struct ps_roff *roff)
{
    request(roff, ".PP");
}

enum shape { NOTHING, PARAGRAPH, ITEM, VERBATIM };

/* What a line is, by how it begins and what came before it. */
static enum shape shape_of(struct ps_str line, enum shape before)
{
    if (ps_str_starts_with(line, PS_STR("- "))) {
        return ITEM;
    }
    if (line.len > 0 && line.ptr[0] == ' ') {
        return before == ITEM ? ITEM : VERBATIM;
    }
    return PARAGRAPH;
}

/* From one shape to the next; `gap`: a blank line was in between. */
static void change_shape(struct ps_roff *roff, enum shape from, enum shape to, bool gap)
{
    if (from == VERBATIM && (to != VERBATIM || gap)) {
        request(roff, ".fi");
    }
    if (from != NOTHING && to != NOTHING && to != ITEM && (gap || from != to)) {
        request(roff, ".PP");
    }
    if (to == VERBATIM && (from != VERBATIM || gap)) {
        request(roff, ".nf");
    }
}

static void put_line(struct ps_roff *roff, struct ps_str line, enum shape shape)
{
    if (shape == VERBATIM) {
        begin_line(roff);
        put_marked(roff, line);
        begin_line(roff);
    } else if (ps_str_starts_with(line, PS_STR("- "))) {
        request(roff, ".IP \\(bu 2");
        put_words(roff, ps_str_skip(line, 2));
    } else {
        put_words(roff, line);
    }
}

void ps_roff_text(struct ps_roff *roff, struct ps_str text)
{
    enum shape shape = NOTHING;
    bool gap = false;
    struct ps_str line;
    while (text.len > 0 && ps_str_split(&text, '\n', &line)) {
        if (line.len == 0) {
            gap = true;
            continue;
        }
        enum shape next = shape_of(line, shape);
        change_shape(roff, shape, next, gap);
        put_line(roff, line, next);
        shape = next;
        gap = false;
    }
    close_fonts(roff);
    change_shape(roff, shape, NOTHING, false);
    begin_line(roff);
}

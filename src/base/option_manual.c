#include <stdio.h>
#include <string.h>

#include "base/option.h"
#include "base/option_scalar.h"
#include "base/roff.h"

enum { INDENT = 2 };

static const void *field_of(const struct ps_option *row, const void *opts)
{
    return (const char *)opts + row->offset;
}

static bool is_text(const struct ps_option *row)
{
    return row->type == PS_OPTION_STRING || row->type == PS_OPTION_SECRET;
}

static int print_strings(const struct ps_option_strings *strings, struct ps_buf *out)
{
    int err = ps_buf_append(out, "[", 1);
    for (size_t i = 0; i < strings->count && err == PS_OK; i++) {
        err = i > 0 ? ps_buf_append(out, ", ", 2) : PS_OK;
        err = err == PS_OK ? ps_option_quote(ps_str_from(strings->items[i]), out) : err;
    }
    return err == PS_OK ? ps_buf_append(out, "]", 1) : err;
}

int ps_option_print(const struct ps_option *row, const void *opts, struct ps_buf *out)
{
    const void *field = field_of(row, opts);
    if (row->type == PS_OPTION_STRINGS) {
        return print_strings(field, out);
    }
    if (!is_text(row)) {
        return ps_option_scalar_print(row, field, out);
    }
    const char *text = *(char *const *)field;
    if (text == NULL) {
        return PS_OK;
    }
    return row->type == PS_OPTION_SECRET ? ps_buf_append_str(out, PS_STR("\"***\""))
                                         : ps_option_quote(ps_str_from(text), out);
}

/* --- YAML ---------------------------------------------------------------------------------------
 */

static int yaml_item(const struct ps_option *row, const void *item, unsigned indent, bool all,
                     struct ps_buf *out);

static int yaml_list(const struct ps_option *row, const void *opts, unsigned indent, bool all,
                     struct ps_buf *out)
{
    const struct ps_option_list *list = field_of(row, opts);
    if (list->count == 0) {
        bool word = row->word != NULL &&
                    *(const bool *)(const void *)((const char *)opts + row->word_offset);
        return ps_buf_printf(out, "%*s%s: %s\n", (int)indent, "", row->name,
                             word ? row->word : "[]");
    }
    int err = ps_buf_printf(out, "%*s%s:\n", (int)indent, "", row->name);
    for (size_t i = 0; i < list->count && err == PS_OK; i++) {
        err = yaml_item(row, (const char *)list->items + i * row->item_size, indent + INDENT, all,
                        out);
    }
    return err;
}

static int yaml_section(const struct ps_option *row, const void *opts, unsigned indent, bool all,
                        struct ps_buf *out)
{
    int err = ps_buf_printf(out, "%*s%s:\n", (int)indent, "", row->name);
    return err == PS_OK ? ps_option_yaml(row->table, field_of(row, opts), indent + INDENT, all, out)
                        : err;
}

static int yaml_scalar(const struct ps_option *row, const void *opts, unsigned indent,
                       struct ps_buf *out)
{
    bool absent = is_text(row) && *(char *const *)field_of(row, opts) == NULL;
    int err = ps_buf_printf(out, "%*s%s:%s", (int)indent, "", row->name, absent ? "" : " ");
    err = err == PS_OK ? ps_option_print(row, opts, out) : err;
    return err == PS_OK ? ps_buf_append(out, "\n", 1) : err;
}

static int yaml_rows(const struct ps_option *table, const void *opts, unsigned indent, bool all,
                     struct ps_buf *out)
{
    int err = PS_OK;
    for (const struct ps_option *row = table; row->type != PS_OPTION_END && err == PS_OK; row++) {
        if (!all && !row->required && ps_option_is_default(row, opts)) {
            continue;
        }
        err = row->type == PS_OPTION_LIST      ? yaml_list(row, opts, indent, all, out)
              : row->type == PS_OPTION_SECTION ? yaml_section(row, opts, indent, all, out)
                                               : yaml_scalar(row, opts, indent, out);
    }
    return err;
}

int ps_option_yaml(const struct ps_option *table, const void *opts, unsigned indent, bool all,
                   struct ps_buf *out)
{
    size_t start = out->len;
    int err = yaml_rows(table, opts, indent, all, out);
    if (err != PS_OK) {
        out->len = start;
    }
    return err;
}

/* The row that an item may be shortened to, when nothing else in it differs from its default. */
static const struct ps_option *only_shorthand(const struct ps_option *row, const void *item)
{
    const struct ps_option *brief = NULL;
    for (const struct ps_option *at = row->table; at->type != PS_OPTION_END; at++) {
        if (row->shorthand != NULL && strcmp(at->name, row->shorthand) == 0) {
            brief = at->type == PS_OPTION_STRING && *(char *const *)field_of(at, item) != NULL
                        ? at
                        : NULL;
        } else if (!ps_option_is_default(at, item)) {
            return NULL;
        }
    }
    return brief;
}

/* The rows are written as a mapping of their own, then its first two blanks become the dash. */
static int yaml_item(const struct ps_option *row, const void *item, unsigned indent, bool all,
                     struct ps_buf *out)
{
    const struct ps_option *brief = all ? NULL : only_shorthand(row, item);
    size_t start = out->len;
    if (brief != NULL) {
        int err = ps_buf_printf(out, "%*s- ", (int)indent, "");
        err = err == PS_OK ? ps_option_print(brief, item, out) : err;
        return err == PS_OK ? ps_buf_append(out, "\n", 1) : err;
    }
    int err = ps_option_yaml(row->table, item, indent + INDENT, all, out);
    if (err != PS_OK) {
        return err;
    }
    if (out->len == start) {
        return ps_buf_printf(out, "%*s- {}\n", (int)indent, "");
    }
    out->data[start + indent] = '-';
    return PS_OK;
}

/* --- the manual ---------------------------------------------------------------------------------
 */

static const char *type_words(const struct ps_option *row)
{
    switch (row->type) {
    case PS_OPTION_BOOL:
        return "yes or no";
    case PS_OPTION_U64:
        return "number";
    case PS_OPTION_BYTES:
        return "size";
    case PS_OPTION_SPAN:
        return "time";
    case PS_OPTION_DOUBLE:
        return "number";
    case PS_OPTION_STRING:
        return row->path ? "file" : "text";
    case PS_OPTION_SECRET:
        return "secret";
    case PS_OPTION_ENUM:
        return "one of";
    case PS_OPTION_STRINGS:
        return "list of text";
    case PS_OPTION_SECTION:
        return "section";
    case PS_OPTION_LIST:
        return "list";
    case PS_OPTION_END:
        break;
    }
    return "";
}

static int manual_names(const struct ps_option *row, struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; row->names[i] != NULL && err == PS_OK; i++) {
        err = ps_buf_printf(out, "%s `%s`", i > 0 ? "," : "", row->names[i]);
    }
    return err;
}

/* A default reads best in the form that --print would show it. */
static int manual_default(const struct ps_option *row, struct ps_buf *out)
{
    if (row->required) {
        return ps_buf_append_str(out, PS_STR("required"));
    }
    if (row->type == PS_OPTION_SECTION) {
        return ps_buf_append_str(out, PS_STR("see below"));
    }
    bool scalar = row->type != PS_OPTION_LIST;
    if (row->fallback != NULL && scalar) {
        return ps_buf_printf(out, "`%s`", row->fallback);
    }
    bool zero = row->type == PS_OPTION_U64 || row->type == PS_OPTION_BYTES ||
                row->type == PS_OPTION_SPAN || row->type == PS_OPTION_DOUBLE;
    return ps_buf_append_str(out, zero                          ? PS_STR("`0`")
                                  : row->type == PS_OPTION_BOOL ? PS_STR("`no`")
                                                                : PS_STR("none"));
}

static int manual_bound(const struct ps_option *row, double bound, const char *word,
                        struct ps_buf *out)
{
    int err = ps_buf_printf(out, " %s ", word);
    return err == PS_OK ? ps_option_bound_print(row, bound, out) : err;
}

static int manual_bounds(const struct ps_option *row, struct ps_buf *out)
{
    int err = row->min != 0 ? manual_bound(row, row->min, "from", out) : PS_OK;
    bool bounded = err == PS_OK && row->max > 0 && row->max >= row->min;
    return bounded ? manual_bound(row, row->max, "up to", out) : err;
}

static int manual_notes(const struct ps_option *row, struct ps_buf *out)
{
    int err = PS_OK;
    if (row->type == PS_OPTION_SECRET) {
        err = ps_buf_printf(out, " `%s_file` names a file that holds it.", row->name);
    }
    if (err == PS_OK && row->word != NULL) {
        err = ps_buf_printf(out, " The word `%s` may stand instead of the list.", row->word);
    }
    if (err == PS_OK && row->shorthand != NULL) {
        err = ps_buf_printf(out, " An item that is plain text is its `%s`.", row->shorthand);
    }
    if (err == PS_OK && row->no_reload) {
        err = ps_buf_append_str(out, PS_STR(" A change needs a restart."));
    }
    return err;
}

static int manual_value(const struct ps_option *row, struct ps_buf *out)
{
    int err = ps_buf_append_str(out, ps_str_from(type_words(row)));
    if (err == PS_OK && row->type == PS_OPTION_ENUM) {
        err = manual_names(row, out);
    }
    return err == PS_OK ? manual_bounds(row, out) : err;
}

static int manual_row(const struct ps_option *row, struct ps_buf *out)
{
    int err = ps_buf_printf(out, "| `%s` | ", row->name);
    err = err == PS_OK ? manual_value(row, out) : err;
    err = err == PS_OK ? ps_buf_append_str(out, PS_STR(" | ")) : err;
    err = err == PS_OK ? manual_default(row, out) : err;
    err = err == PS_OK ? ps_buf_printf(out, " | %s.", row->help) : err;
    err = err == PS_OK ? manual_notes(row, out) : err;
    return err == PS_OK ? ps_buf_append_str(out, PS_STR(" |\n")) : err;
}

static int manual_rows(const struct ps_option *table, struct ps_buf *out)
{
    int err =
        ps_buf_append_str(out, PS_STR("| key | value | default | meaning |\n|---|---|---|---|\n"));
    for (; table->type != PS_OPTION_END && err == PS_OK; table++) {
        err = manual_row(table, out);
    }
    return err;
}

enum { PATH_SIZE = 256 };

/* "upstreams[].admission": where a nested table stands. */
static void write_path(const struct ps_option *row, const char *path, char *out)
{
    snprintf(out, PATH_SIZE, "%s%s%s%s", path, *path == '\0' ? "" : ".", row->name,
             row->type == PS_OPTION_LIST ? "[]" : "");
}

static char capital(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static int manual_nested(const struct ps_option *row, const char *path, struct ps_buf *out)
{
    char below[PATH_SIZE];
    write_path(row, path, below);
    int err = ps_buf_printf(out, "\n## `%s`\n\n%c%s.\n\n", below, capital(row->help[0]), row->help + 1);
    return err == PS_OK ? ps_option_manual(row->table, below, out) : err;
}

int ps_option_manual(const struct ps_option *table, const char *path, struct ps_buf *out)
{
    int err = manual_rows(table, out);
    for (; table->type != PS_OPTION_END && err == PS_OK; table++) {
        if (table->type == PS_OPTION_SECTION || table->type == PS_OPTION_LIST) {
            err = manual_nested(table, path, out);
        }
    }
    return err;
}

/* --- the manual page ----------------------------------------------------------------------------
 */

static int roff_words(const struct ps_option *row, struct ps_buf *out)
{
    int err = ps_buf_printf(out, "%c%s.", capital(row->help[0]), row->help + 1);
    err = err == PS_OK ? manual_notes(row, out) : err;
    err = err == PS_OK ? ps_buf_append_str(out, PS_STR(" Value: ")) : err;
    err = err == PS_OK ? manual_value(row, out) : err;
    err = err == PS_OK ? ps_buf_append_str(out, PS_STR("; default: ")) : err;
    err = err == PS_OK ? manual_default(row, out) : err;
    return err == PS_OK ? ps_buf_append_str(out, PS_STR(".")) : err;
}

static int roff_row(const struct ps_option *row, struct ps_roff *roff)
{
    char term[128];
    struct ps_buf words = ps_buf_make(16 * 1024);
    snprintf(term, sizeof term, "`%s`", row->name);
    int err = roff_words(row, &words);
    ps_roff_term(roff, term);
    ps_roff_text(roff, ps_buf_str(&words));
    ps_buf_fini(&words);
    return err;
}

static int roff_nested(const struct ps_option *row, const char *path, struct ps_roff *roff)
{
    char below[PATH_SIZE];
    write_path(row, path, below);
    ps_roff_heading(roff, 2, below);
    return ps_option_roff(row->table, below, roff);
}

int ps_option_roff(const struct ps_option *table, const char *path, struct ps_roff *roff)
{
    int err = PS_OK;
    for (const struct ps_option *row = table; row->type != PS_OPTION_END && err == PS_OK; row++) {
        err = roff_row(row, roff);
    }
    for (; table->type != PS_OPTION_END && err == PS_OK; table++) {
        if (table->type == PS_OPTION_SECTION || table->type == PS_OPTION_LIST) {
            err = roff_nested(table, path, roff);
        }
    }
    return err;
}

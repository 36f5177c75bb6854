#include "config/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/check.h"

enum { NAME_SIZE = 64, PATH_SIZE = 512, REASON_SIZE = 256, MOST_ROWS = 128 };

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; valid when has_event */
    bool has_event;
    bool forbidden; /* the current node has an alias, anchor or tag and was reported */
    unsigned depth;
    char path[PATH_SIZE];
    const struct ps_config_source *source;
    struct ps_config_places *places;
    struct ps_config_report *report;
    int err; /* what ends the reading: PS_EPARSE (reported), PS_ENOMEM */
};

/* A position of libyaml, counted from 1. */
struct mark {
    unsigned line;
    unsigned column;
};

static struct mark mark_of(const yaml_mark_t *mark)
{
    return (struct mark){(unsigned)mark->line + 1, (unsigned)mark->column + 1};
}

static struct mark here(const struct reader *reader)
{
    return mark_of(&reader->event.start_mark);
}

#define NOTE(reader, at, ...)                                                             \
    ps_config_report_add((reader)->report, false, (at).line, (at).column, (reader)->path, \
                         __VA_ARGS__)
#define WARN(reader, at, ...)                                                            \
    ps_config_report_add((reader)->report, true, (at).line, (at).column, (reader)->path, \
                         __VA_ARGS__)

/* Without memory or room a later check names the surrounding place; nothing is lost but comfort. */
static void remember(struct reader *reader)
{
    struct mark at = here(reader);
    ps_config_places_add(reader->places, reader->path, at.line, at.column);
}

/* --- events -------------------------------------------------------------------------------------
 */

static void report_syntax(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_MEMORY_ERROR) {
        reader->err = PS_ENOMEM;
        return;
    }
    struct mark at = mark_of(&parser->problem_mark);
    /* A byte that is no character has an offset in the file, but no line yet. */
    at = parser->error == YAML_READER_ERROR ? mark_of(&parser->mark) : at;
    const char *problem = parser->problem == NULL ? "malformed YAML" : parser->problem;
    if (parser->context != NULL) {
        NOTE(reader, at, "%s %s", problem, parser->context);
    } else {
        NOTE(reader, at, "%s", problem);
    }
    ps_config_report_fix(reader->report, "correct the YAML at that place, or just before it");
    reader->err = PS_EPARSE;
}

/* What is refused wherever it stands. */
static void refuse_references(struct reader *reader)
{
    const yaml_event_t *event = &reader->event;
    bool anchor = false;
    bool tag = false;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor != NULL;
        tag = event->data.scalar.tag != NULL;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor != NULL;
        tag = event->data.sequence_start.tag != NULL;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor != NULL;
        tag = event->data.mapping_start.tag != NULL;
    }
    reader->forbidden = anchor || tag || event->type == YAML_ALIAS_EVENT;
    if (reader->forbidden) {
        NOTE(reader, here(reader), "%s are not allowed here",
             tag      ? "tags (!)"
             : anchor ? "anchors (&)"
                      : "aliases (*)");
    }
}

static bool is_start(const struct reader *reader)
{
    return reader->event.type == YAML_MAPPING_START_EVENT ||
           reader->event.type == YAML_SEQUENCE_START_EVENT;
}

static bool is_end(const struct reader *reader)
{
    return reader->event.type == YAML_MAPPING_END_EVENT ||
           reader->event.type == YAML_SEQUENCE_END_EVENT;
}

static void drop_event(struct reader *reader)
{
    if (reader->has_event) {
        yaml_event_delete(&reader->event);
        reader->has_event = false;
    }
}

/* Moves to the next event. False: the reading is over, reader->err says why. */
static bool next(struct reader *reader)
{
    drop_event(reader);
    if (reader->err != PS_OK) {
        return false;
    }
    if (yaml_parser_parse(&reader->parser, &reader->event) == 0) {
        report_syntax(reader);
        return false;
    }
    reader->has_event = true;
    refuse_references(reader);
    reader->depth += is_start(reader) ? 1 : 0;
    reader->depth -= is_end(reader) ? 1 : 0;
    if (reader->depth > PS_CONFIG_DEEPEST) {
        NOTE(reader, here(reader), "nested deeper than %d", PS_CONFIG_DEEPEST);
        reader->err = PS_EPARSE;
        return false;
    }
    return true;
}

/* Passes over the node that begins with the current event; stops at its last event. */
static void skip_node(struct reader *reader)
{
    unsigned outside = reader->depth - (is_start(reader) ? 1 : 0);
    while (reader->depth > outside && next(reader)) {
    }
}

static bool is_null(const struct reader *reader)
{
    const yaml_event_t *event = &reader->event;
    if (event->type != YAML_SCALAR_EVENT || event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        return false;
    }
    struct ps_str text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    return text.len == 0 || ps_str_eq(text, PS_STR("~")) || ps_str_eq(text, PS_STR("null"));
}

static struct ps_str scalar(const struct reader *reader)
{
    return (struct ps_str){(const char *)reader->event.data.scalar.value,
                           reader->event.data.scalar.length};
}

static const char *kind(const struct reader *reader)
{
    switch (reader->event.type) {
    case YAML_MAPPING_START_EVENT:
        return "a mapping";
    case YAML_SEQUENCE_START_EVENT:
        return "a list";
    default:
        return is_null(reader) ? "nothing" : "text";
    }
}

static void refuse_kind(struct reader *reader, const char *wanted)
{
    NOTE(reader, here(reader), "expected %s, found %s", wanted, kind(reader));
    skip_node(reader);
}

/* --- values -------------------------------------------------------------------------------------
 */

/* Extends the path for as long as a value is read; returns what to pass to leave(). */
static size_t enter(struct reader *reader, const char *name)
{
    size_t len = strlen(reader->path);
    snprintf(reader->path + len, sizeof reader->path - len, "%s%s", len > 0 ? "." : "", name);
    return len;
}

static size_t enter_item(struct reader *reader, size_t index)
{
    size_t len = strlen(reader->path);
    snprintf(reader->path + len, sizeof reader->path - len, "[%zu]", index);
    return len;
}

static void leave(struct reader *reader, size_t len)
{
    reader->path[len] = '\0';
}

static void set_outcome(struct reader *reader, int err, struct mark at, const char *reason)
{
    if (err == PS_EINVAL) {
        NOTE(reader, at, "%s", reason);
        if (ps_str_starts_with(ps_str_from(reason), PS_STR("the environment variable "))) {
            ps_config_report_fix(reader->report,
                                 "set it where Penstock is started (export, or Environment= of the "
                                 "unit), or name a file with a `*_file` key");
        }
    } else if (err != PS_OK) {
        reader->err = err;
    }
}

static bool takes_variables(const struct ps_option *row)
{
    return row->type == PS_OPTION_STRING || row->type == PS_OPTION_SECRET ||
           row->type == PS_OPTION_STRINGS;
}

/* Paths are seen from the folder of the configuration file. */
static int set_path(const struct reader *reader, const struct ps_option *row, void *opts,
                    char *reason)
{
    char **field = (char **)(void *)((char *)opts + row->offset);
    if (!row->path || *field == NULL) {
        return PS_OK;
    }
    char *resolved = ps_config_resolve(reader->source, *field);
    if (resolved == NULL) {
        return PS_ENOMEM;
    }
    int err = ps_option_set(row, opts, ps_str_from(resolved), reason, REASON_SIZE);
    free(resolved);
    return err;
}

/* Puts the current scalar into the row, variables replaced. */
static int set_scalar(const struct reader *reader, const struct ps_option *row, void *opts,
                      bool add, char *reason)
{
    struct ps_str text = scalar(reader);
    char *expanded = NULL;
    int err = PS_OK;
    if (takes_variables(row)) {
        err = ps_option_expand(text, reader->source->lookup, reader->source->lookup_ctx, &expanded,
                               reason, REASON_SIZE);
        text = err == PS_OK ? ps_str_from(expanded) : text;
    }
    if (err == PS_OK && memchr(scalar(reader).ptr, '\0', scalar(reader).len) != NULL) {
        snprintf(reason, REASON_SIZE, "must not hold control characters");
        err = PS_EINVAL;
    }
    if (err == PS_OK) {
        err = add ? ps_option_add(row, opts, text, reason, REASON_SIZE)
                  : ps_option_set(row, opts, text, reason, REASON_SIZE);
    }
    if (err == PS_OK && row->type == PS_OPTION_STRING) {
        err = set_path(reader, row, opts, reason);
    }
    if (expanded != NULL) {
        explicit_bzero(expanded, strlen(expanded));
        free(expanded);
    }
    return err;
}

static bool is_empty(const struct ps_option *row, const void *opts)
{
    bool text = row->type == PS_OPTION_STRING || row->type == PS_OPTION_SECRET;
    return text && *(char *const *)(const void *)((const char *)opts + row->offset) == NULL;
}

static void read_scalar(struct reader *reader, const struct ps_option *row, void *opts)
{
    char reason[REASON_SIZE] = "";
    if (reader->event.type != YAML_SCALAR_EVENT) {
        refuse_kind(reader, "a single value");
        return;
    }
    bool text = row->type == PS_OPTION_STRING || row->type == PS_OPTION_SECRET;
    if (is_null(reader)) {
        if (!text || row->required) {
            NOTE(reader, here(reader), "a value is missing");
        }
        return;
    }
    int err = set_scalar(reader, row, opts, false, reason);
    set_outcome(reader, err, here(reader), reason);
    if (err == PS_OK && row->required && is_empty(row, opts)) {
        NOTE(reader, here(reader), "must not be empty");
    }
}

static void read_string(struct reader *reader, const struct ps_option *row, void *opts, bool add)
{
    char reason[REASON_SIZE] = "";
    if (reader->event.type != YAML_SCALAR_EVENT || is_null(reader)) {
        refuse_kind(reader, add ? "text" : "a list of text");
        return;
    }
    set_outcome(reader, set_scalar(reader, row, opts, add, reason), here(reader), reason);
}

static void read_strings(struct reader *reader, const struct ps_option *row, void *opts)
{
    if (is_null(reader)) {
        return;
    }
    if (reader->event.type != YAML_SEQUENCE_START_EVENT) {
        read_string(reader, row, opts, false);
        return;
    }
    ps_option_clear(row, opts);
    for (size_t i = 0; next(reader) && reader->event.type != YAML_SEQUENCE_END_EVENT; i++) {
        size_t outside = enter_item(reader, i);
        remember(reader);
        if (reader->forbidden) {
            skip_node(reader);
        } else {
            read_string(reader, row, opts, true);
        }
        leave(reader, outside);
    }
}

static void read_mapping(struct reader *reader, const struct ps_option *table, void *opts);

static void read_item(struct reader *reader, const struct ps_option *row, void *opts)
{
    void *item = NULL;
    int err = ps_option_push(row, opts, &item);
    if (err != PS_OK) {
        reader->err = err;
    } else if (reader->event.type == YAML_MAPPING_START_EVENT) {
        read_mapping(reader, row->table, item);
    } else if (reader->event.type == YAML_SCALAR_EVENT && !is_null(reader) &&
               row->shorthand != NULL) {
        const struct ps_option *brief = ps_option_find(row->table, ps_str_from(row->shorthand));
        PS_CHECK(brief != NULL);
        read_scalar(reader, brief, item);
    } else {
        refuse_kind(reader, row->shorthand != NULL ? "a mapping or text" : "a mapping");
    }
}

static void read_list(struct reader *reader, const struct ps_option *row, void *opts)
{
    bool text = reader->event.type == YAML_SCALAR_EVENT && !is_null(reader);
    if (is_null(reader)) {
        return;
    }
    if (text && row->word != NULL && ps_str_eq(scalar(reader), ps_str_from(row->word))) {
        *(bool *)(void *)((char *)opts + row->word_offset) = true;
        return;
    }
    if (reader->event.type != YAML_SEQUENCE_START_EVENT) {
        char wanted[NAME_SIZE] = "a list";
        if (row->word != NULL) {
            snprintf(wanted, sizeof wanted, "a list or the word '%s'", row->word);
        }
        refuse_kind(reader, wanted);
        return;
    }
    for (size_t i = 0; next(reader) && reader->event.type != YAML_SEQUENCE_END_EVENT; i++) {
        size_t outside = enter_item(reader, i);
        remember(reader);
        if (reader->forbidden) {
            skip_node(reader);
        } else {
            read_item(reader, row, opts);
        }
        leave(reader, outside);
    }
}

static void read_value(struct reader *reader, const struct ps_option *row, void *opts)
{
    remember(reader);
    if (reader->forbidden) {
        skip_node(reader);
    } else if (row->type == PS_OPTION_LIST) {
        read_list(reader, row, opts);
    } else if (row->type == PS_OPTION_STRINGS) {
        read_strings(reader, row, opts);
    } else if (row->type != PS_OPTION_SECTION) {
        read_scalar(reader, row, opts);
    } else if (reader->event.type == YAML_MAPPING_START_EVENT) {
        read_mapping(reader, row->table, (char *)opts + row->offset);
    } else if (!is_null(reader)) {
        refuse_kind(reader, "a mapping");
    }
}

/* --- secrets in files ---------------------------------------------------------------------------
 */

/* The line end that editors and `echo` leave behind is no part of a secret. */
static struct ps_str without_line_end(struct ps_str text)
{
    while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r')) {
        text.len--;
    }
    return text;
}

static void read_secret_at(struct reader *reader, const struct ps_option *row, void *opts,
                           const char *file)
{
    char reason[REASON_SIZE] = "";
    struct ps_buf text = ps_buf_make(0);
    bool is_public = false;
    int err = ps_config_read_file(file, PS_CONFIG_SECRET_LARGEST, true, &text, &is_public);
    if (err != PS_OK) {
        NOTE(reader, here(reader), "cannot read %s: %s", file,
             err == PS_ELIMIT   ? "larger than 16KiB"
             : err == PS_EINVAL ? "not a regular file"
                                : ps_err_text(err));
        ps_config_report_fix(reader->report,
                             err == PS_EDENIED ? "give the file to the user that runs Penstock: %s"
                                               : "write the secret into %s, or correct the path",
                             file);
        return;
    }
    if (is_public) {
        WARN(reader, here(reader), "%s may be read by every user of this machine", file);
        ps_config_report_fix(reader->report, "chmod o-rwx %s", file);
    }
    err = ps_option_set(row, opts, without_line_end(ps_buf_str(&text)), reason, sizeof reason);
    if (err == PS_EINVAL) {
        NOTE(reader, here(reader), "%s: %s", file, reason);
    } else {
        set_outcome(reader, err, here(reader), reason);
    }
    if (text.data != NULL) {
        explicit_bzero(text.data, text.cap);
    }
    ps_buf_fini(&text);
}

static void read_secret_file(struct reader *reader, const struct ps_option *row, void *opts)
{
    char reason[REASON_SIZE] = "";
    char *name = NULL;
    remember(reader);
    if (reader->forbidden || reader->event.type != YAML_SCALAR_EVENT) {
        refuse_kind(reader, "the path of a file");
        return;
    }
    if (is_null(reader)) {
        return;
    }
    int err = ps_option_expand(scalar(reader), reader->source->lookup, reader->source->lookup_ctx,
                               &name, reason, sizeof reason);
    if (err == PS_OK && *name == '\0') {
        snprintf(reason, sizeof reason, "expected the path of a file");
        err = PS_EINVAL;
    }
    char *file = err == PS_OK ? ps_config_resolve(reader->source, name) : NULL;
    err = err == PS_OK && file == NULL ? PS_ENOMEM : err;
    set_outcome(reader, err, here(reader), reason);
    if (err == PS_OK && reader->source->no_files) {
        err = ps_option_set(row, opts, PS_STR("not read"), reason, sizeof reason);
        set_outcome(reader, err, here(reader), reason);
    } else if (err == PS_OK) {
        read_secret_at(reader, row, opts, file);
    }
    free(name);
    free(file);
}

/* --- mappings -----------------------------------------------------------------------------------
 */

/* What one mapping has seen: a row's own key, and the key of its file. */
struct seen {
    bool own[MOST_ROWS];
    bool file[MOST_ROWS];
};

/* A key that may be shown on a terminal, cut where it is too long to be one of ours. */
static void show_key(struct ps_str key, char *out)
{
    size_t n = 0;
    for (; n < key.len && n < NAME_SIZE - 1; n++) {
        unsigned char c = (unsigned char)key.ptr[n];
        out[n] = c < 0x20 || c >= 0x7f ? '?' : (char)c;
    }
    out[n] = '\0';
}

static void report_unknown(struct reader *reader, const struct ps_option *table, const char *key,
                           struct mark at)
{
    const char *near = ps_option_nearest(table, ps_str_from(key));
    if (near == NULL && reader->source->others && reader->path[0] == '\0') {
        return;
    }
    char where[PATH_SIZE + 8] = "";
    if (reader->path[0] != '\0') {
        snprintf(where, sizeof where, " in %s", reader->path);
    }
    size_t outside = enter(reader, key);
    if (near != NULL) {
        NOTE(reader, at, "unknown key '%s'%s; did you mean '%s'?", key, where, near);
        ps_config_report_fix(reader->report, "write '%s'", near);
    } else {
        NOTE(reader, at, "unknown key '%s'%s", key, where);
    }
    leave(reader, outside);
}

static const struct ps_option *find_secret(const struct ps_option *table, struct ps_str key)
{
    struct ps_str suffix = PS_STR("_file");
    if (!ps_str_ends_with(key, suffix)) {
        return NULL;
    }
    const struct ps_option *row = ps_option_find(table, ps_str_first(key, key.len - suffix.len));
    return row != NULL && row->type == PS_OPTION_SECRET ? row : NULL;
}

/* May this key be read now? Reports the second of two. */
static bool is_first(struct reader *reader, bool *seen, bool rival, struct mark at, const char *row)
{
    if (*seen) {
        NOTE(reader, at, "given twice");
        ps_config_report_fix(reader->report, "leave one of the two out");
    } else if (rival) {
        NOTE(reader, at, "give either %s or %s_file", row, row);
    }
    bool first = !*seen && !rival;
    *seen = true;
    return first;
}

static void read_pair(struct reader *reader, const struct ps_option *table, void *opts,
                      struct seen *seen)
{
    char key[NAME_SIZE];
    struct mark at = here(reader);
    show_key(scalar(reader), key);
    struct ps_str exact =
        scalar(reader).len < NAME_SIZE ? ps_str_from(key) : (struct ps_str){"", 0};
    const struct ps_option *row = ps_option_find(table, exact);
    const struct ps_option *secret = row == NULL ? find_secret(table, exact) : NULL;
    const struct ps_option *hit = row != NULL ? row : secret;
    bool read = false;
    if (hit == NULL) {
        report_unknown(reader, table, key, at);
    } else {
        size_t index = (size_t)(hit - table);
        PS_CHECK(index < MOST_ROWS);
        size_t outside = enter(reader, key);
        read = row != NULL ? is_first(reader, &seen->own[index], seen->file[index], at, hit->name)
                           : is_first(reader, &seen->file[index], seen->own[index], at, hit->name);
        leave(reader, outside);
    }
    size_t outside = enter(reader, key);
    if (next(reader)) {
        if (!read) {
            skip_node(reader);
        } else if (row != NULL) {
            read_value(reader, row, opts);
        } else {
            read_secret_file(reader, secret, opts);
        }
    }
    leave(reader, outside);
}

static bool is_given(const struct ps_option *row, const void *opts, bool seen)
{
    const void *field = (const char *)opts + row->offset;
    switch (row->type) {
    case PS_OPTION_STRINGS:
        return ((const struct ps_option_strings *)field)->count > 0;
    case PS_OPTION_LIST:
        return ((const struct ps_option_list *)field)->count > 0;
    default:
        return seen;
    }
}

static void check_required(struct reader *reader, const struct ps_option *table, const void *opts,
                           const struct seen *seen, struct mark at)
{
    for (size_t i = 0; table[i].type != PS_OPTION_END; i++) {
        if (table[i].required && !is_given(&table[i], opts, seen->own[i] || seen->file[i])) {
            size_t outside = enter(reader, table[i].name);
            NOTE(reader, at, "is required (%s)", table[i].help);
            leave(reader, outside);
        }
    }
}

static void read_mapping(struct reader *reader, const struct ps_option *table, void *opts)
{
    struct seen seen = {.own = {false}, .file = {false}};
    struct mark at = here(reader);
    while (next(reader) && reader->event.type != YAML_MAPPING_END_EVENT) {
        if (reader->event.type == YAML_SCALAR_EVENT && !reader->forbidden) {
            read_pair(reader, table, opts, &seen);
            continue;
        }
        if (!reader->forbidden) {
            NOTE(reader, here(reader), "a key must be text, found %s", kind(reader));
        }
        skip_node(reader);
        if (next(reader)) {
            skip_node(reader);
        }
    }
    if (reader->err == PS_OK) {
        check_required(reader, table, opts, &seen, at);
    }
}

/* --- the document -------------------------------------------------------------------------------
 */

static void read_document(struct reader *reader, const struct ps_option *table, void *opts)
{
    if (!next(reader)) {
        return;
    }
    if (reader->forbidden) {
        skip_node(reader);
    } else if (reader->event.type == YAML_MAPPING_START_EVENT) {
        read_mapping(reader, table, opts);
    } else if (!is_null(reader)) {
        refuse_kind(reader, "a mapping of options");
    }
    if (reader->err == PS_OK && next(reader)) {
        PS_CHECK(reader->event.type == YAML_DOCUMENT_END_EVENT);
    }
}

static void read_stream(struct reader *reader, const struct ps_option *table, void *opts)
{
    bool begun = next(reader) && next(reader); /* stream start, then a document or the end */
    if (!begun || reader->event.type == YAML_STREAM_END_EVENT) {
        return;
    }
    read_document(reader, table, opts);
    if (next(reader) && reader->event.type != YAML_STREAM_END_EVENT) {
        NOTE(reader, here(reader), "only one document is allowed");
    }
}

int ps_config_yaml_read(const struct ps_option *table, void *opts, struct ps_str text,
                        const struct ps_config_source *source, struct ps_config_places *places,
                        struct ps_config_report *report)
{
    struct reader reader = {.source = source, .places = places, .report = report, .err = PS_OK};
    size_t errors = report->errors;
    if (text.len > PS_CONFIG_LARGEST) {
        ps_config_report_add(report, false, 0, 0, "", "larger than 1MiB");
        return PS_EINVAL;
    }
    if (yaml_parser_initialize(&reader.parser) == 0) {
        return PS_ENOMEM;
    }
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    const char *bytes = text.len == 0 ? "" : text.ptr;
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)bytes, text.len);
    read_stream(&reader, table, opts);
    drop_event(&reader);
    yaml_parser_delete(&reader.parser);
    if (reader.err != PS_OK) {
        return reader.err;
    }
    return report->errors > errors ? PS_EINVAL : PS_OK;
}

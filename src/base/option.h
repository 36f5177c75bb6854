/* option - typed tables of options: one row is parser, default, bound, help and manual.
 *
 * A module declares its options beside itself, as rows that point into its options struct. The
 * daemon strings the tables together into the configuration file; nothing about an option is said
 * twice.
 *
 *      const struct ps_option ps_admit_options[] = {
 *          PS_OPTION_ROW(ps_admit_opts, max_queue, U64, "1024", "requests that may wait", .max =
 * 1e6), {0},
 *      };
 *
 * This file knows nothing of YAML: it turns text into fields and fields into text. Strings and
 * lists in a struct belong to the struct and are freed by ps_option_fini().
 *
 * Thread: pure functions on the caller's structs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_OPTION_H
#define PS_BASE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* type of the row           the field in the struct                 written as */
enum ps_option_type {
    PS_OPTION_END = 0,
    PS_OPTION_BOOL, /* bool                     yes|no|true|false|on|off                          */
    PS_OPTION_U64,  /* uint64_t                 1000, 20k, 1M (decimal multiples)                 */
    PS_OPTION_BYTES, /* uint64_t                 512, 64KiB, 32MiB, 2GiB, also kB MB GB */
    PS_OPTION_SPAN, /* ps_span (int64_t, ns)    250us, 50ms, 10s, 5m, 2h, 1d                      */
    PS_OPTION_DOUBLE, /* double                   0.75 */
    PS_OPTION_STRING, /* char *, NULL = absent    any text; ${ENV} is replaced */
    PS_OPTION_SECRET, /* char *, NULL = absent    a file key `<name>_file` is accepted beside it; */
    /*                          ${ENV} is replaced; never printed                 */
    PS_OPTION_ENUM, /* int, index into .names   one of the names                                  */
    PS_OPTION_STRINGS, /* struct ps_option_strings a list of text, or one text */
    PS_OPTION_SECTION, /* the nested struct itself a mapping with the rows of .table */
    PS_OPTION_LIST /* struct ps_option_list    a list of mappings with the rows of .table        */
};

struct ps_option_strings {
    char **items;
    size_t count;
};

struct ps_option_list {
    void *items; /* count structs of .item_size bytes */
    size_t count;
};

struct ps_option {
    const char *name;
    enum ps_option_type type;
    size_t offset;        /* of the field in the options struct */
    const char *fallback; /* the default as text, parsed like any other; NULL = absent, 0, empty */
    const char *help;     /* one sentence for the manual */
    double min, max; /* numbers only, in the field's unit; both 0 = no bound, max < min = no max */
    const char *const *names;      /* ENUM: NULL-terminated */
    const struct ps_option *table; /* SECTION and LIST */
    size_t item_size;              /* LIST: bytes of one struct */
    const char *shorthand; /* LIST: an item written as plain text sets this field of the item */
    const char *word;      /* LIST: this word instead of a list ... */
    size_t word_offset;    /* ... sets the bool at this offset */
    bool path;             /* STRING: a file; relative to the folder of the configuration file */
    bool required;
    bool no_reload; /* a change takes effect only after a restart */
};

/* A row whose key is the field's name; further members may follow: .max = 64. Written with
 * designators, so that the members that are left out are no warning. */
#define PS_OPTION_ROW(object, field, kind, text, sentence, ...)                             \
    {                                                                                       \
        .name = #field, .type = PS_OPTION_##kind, .offset = offsetof(struct object, field), \
        .fallback = text, .help = sentence, __VA_ARGS__                                     \
    }

/* Fills the struct with the defaults of all rows, nested ones too. Fields are overwritten, not
 * freed. PS_OK or PS_ENOMEM (then ps_option_fini() is still fine). */
PS_MUST_CHECK int ps_option_init(const struct ps_option *table, void *opts);

/* Frees strings and lists of all rows and zeroes them. */
void ps_option_fini(const struct ps_option *table, void *opts);

/* The row called `name`, or NULL. */
const struct ps_option *ps_option_find(const struct ps_option *table, struct ps_str name);

/* The name in the table that is nearest to a misspelt one (edit distance at most a third of its
 * length, at least 1), or NULL. */
const char *ps_option_nearest(const struct ps_option *table, struct ps_str name);

/* Parses one scalar into its field. On PS_EINVAL `reason` (of size) says in words what was
 * expected. SECTION and LIST are not scalars. PS_OK, PS_EINVAL or PS_ENOMEM. */
PS_MUST_CHECK int ps_option_set(const struct ps_option *row, void *opts, struct ps_str text,
                                char *reason, size_t size);

/* Empties a STRING, SECRET, STRINGS or LIST field; other fields keep their value. */
void ps_option_clear(const struct ps_option *row, void *opts);

/* Appends one text to a STRINGS field. PS_OK, PS_ENOMEM, or PS_EINVAL (with reason) for text with
 * control characters. */
PS_MUST_CHECK int ps_option_add(const struct ps_option *row, void *opts, struct ps_str text,
                                char *reason, size_t size);

/* Adds an item with its defaults to a LIST field; *item points at it until the next push. PS_OK or
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_option_push(const struct ps_option *row, void *opts, void **item);

/* Does the field hold what ps_option_init() gave it? */
bool ps_option_is_default(const struct ps_option *row, const void *opts);

/* Replaces ${NAME} in text by what `lookup` returns for the name, and $${ by ${. *out is free()d by
 * the caller. PS_OK, PS_ENOMEM, or PS_EINVAL: `reason` names the variable that is not set (or
 * malformed). */
typedef const char *ps_option_lookup_fn(void *ctx, const char *name);
PS_MUST_CHECK int ps_option_expand(struct ps_str text, ps_option_lookup_fn *lookup, void *ctx,
                                   char **out, char *reason, size_t size);

/* Appends a field's value as text a user could have written in YAML; secrets as "***", an absent
 * text as nothing. SECTION and LIST are PS_EINVAL. */
PS_MUST_CHECK int ps_option_print(const struct ps_option *row, const void *opts,
                                  struct ps_buf *out);

/* Appends the manual of a table as Markdown, nested tables as sections under `path`. */
PS_MUST_CHECK int ps_option_manual(const struct ps_option *table, const char *path,
                                   struct ps_buf *out);

/* Writes the same as the body of a manual page. Errors of the stream stay there. PS_OK, PS_ELIMIT or
 * PS_ENOMEM. */
struct ps_roff;
PS_MUST_CHECK int ps_option_roff(const struct ps_option *table, const char *path,
                                 struct ps_roff *roff);

/* Appends the struct as YAML; rows that hold their default are left out unless `all`. */
PS_MUST_CHECK int ps_option_yaml(const struct ps_option *table, const void *opts, unsigned indent,
                                 bool all, struct ps_buf *out);

/* Reads "50ms" and "32MiB" on their own, for command lines. PS_OK or PS_EINVAL. */
PS_MUST_CHECK int ps_option_parse_span(struct ps_str text, int64_t *out);
PS_MUST_CHECK int ps_option_parse_bytes(struct ps_str text, uint64_t *out);

#endif

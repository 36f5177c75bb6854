#include "base/option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/option_scalar.h"

enum { VARIABLE_MAX = 128 };

static void *field_of(const struct ps_option *row, void *opts)
{
    return (char *)opts + row->offset;
}

static const void *const_field_of(const struct ps_option *row, const void *opts)
{
    return (const char *)opts + row->offset;
}

/* The fallback of a STRINGS row is a comma separated list. */
static int set_fallback(const struct ps_option *row, void *opts)
{
    char reason[128] = "";
    struct ps_str rest = ps_str_from(row->fallback);
    if (row->type != PS_OPTION_STRINGS) {
        int err = ps_option_set(row, opts, rest, reason, sizeof reason);
        PS_CHECK(err != PS_EINVAL);
        return err;
    }
    struct ps_str part;
    int err = PS_OK;
    while (err == PS_OK && ps_str_next_member(&rest, &part)) {
        err = ps_option_add(row, opts, part, reason, sizeof reason);
        PS_CHECK(err != PS_EINVAL);
    }
    return err;
}

static size_t field_size(enum ps_option_type type)
{
    switch (type) {
    case PS_OPTION_BOOL:
        return sizeof(bool);
    case PS_OPTION_U64:
    case PS_OPTION_BYTES:
    case PS_OPTION_SPAN:
        return sizeof(uint64_t);
    case PS_OPTION_DOUBLE:
        return sizeof(double);
    case PS_OPTION_STRING:
    case PS_OPTION_SECRET:
        return sizeof(char *);
    case PS_OPTION_ENUM:
        return sizeof(int);
    case PS_OPTION_STRINGS:
        return sizeof(struct ps_option_strings);
    case PS_OPTION_LIST:
        return sizeof(struct ps_option_list);
    case PS_OPTION_END:
    case PS_OPTION_SECTION:
        break;
    }
    return 0; /* a section's size is that of its rows, which are cleared one by one */
}

static void zero_all(const struct ps_option *table, void *opts)
{
    for (const struct ps_option *row = table; row->type != PS_OPTION_END; row++) {
        if (row->type == PS_OPTION_SECTION) {
            zero_all(row->table, field_of(row, opts));
        } else {
            memset(field_of(row, opts), 0, field_size(row->type));
        }
        if (row->word != NULL) {
            *(bool *)(void *)((char *)opts + row->word_offset) = false;
        }
    }
}

static int fill_all(const struct ps_option *table, void *opts)
{
    int err = PS_OK;
    for (const struct ps_option *row = table; row->type != PS_OPTION_END && err == PS_OK; row++) {
        if (row->type == PS_OPTION_SECTION) {
            err = fill_all(row->table, field_of(row, opts));
        } else if (row->fallback != NULL) {
            err = set_fallback(row, opts);
        }
    }
    return err;
}

int ps_option_init(const struct ps_option *table, void *opts)
{
    zero_all(table, opts);
    return fill_all(table, opts);
}

static void free_text(char *text, bool secret)
{
    if (text != NULL && secret) {
        explicit_bzero(text, strlen(text));
    }
    free(text);
}

static void clear_strings(struct ps_option_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++) {
        free(strings->items[i]);
    }
    free(strings->items);
    *strings = (struct ps_option_strings){NULL, 0};
}

static void clear_list(const struct ps_option *row, struct ps_option_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        ps_option_fini(row->table, (char *)list->items + i * row->item_size);
    }
    free(list->items);
    *list = (struct ps_option_list){NULL, 0};
}

void ps_option_clear(const struct ps_option *row, void *opts)
{
    void *field = field_of(row, opts);
    if (row->type == PS_OPTION_STRING || row->type == PS_OPTION_SECRET) {
        free_text(*(char **)field, row->type == PS_OPTION_SECRET);
        *(char **)field = NULL;
    } else if (row->type == PS_OPTION_STRINGS) {
        clear_strings(field);
    } else if (row->type == PS_OPTION_LIST) {
        clear_list(row, field);
        if (row->word != NULL) {
            *(bool *)(void *)((char *)opts + row->word_offset) = false;
        }
    }
}

void ps_option_fini(const struct ps_option *table, void *opts)
{
    for (const struct ps_option *row = table; row->type != PS_OPTION_END; row++) {
        if (row->type == PS_OPTION_SECTION) {
            ps_option_fini(row->table, field_of(row, opts));
        } else {
            ps_option_clear(row, opts);
        }
    }
    zero_all(table, opts);
}

const struct ps_option *ps_option_find(const struct ps_option *table, struct ps_str name)
{
    for (; table->type != PS_OPTION_END; table++) {
        if (ps_str_eq(ps_str_from(table->name), name)) {
            return table;
        }
    }
    return NULL;
}

const char *ps_option_nearest(const struct ps_option *table, struct ps_str name)
{
    const char *best = NULL;
    size_t least = name.len / 3 > 0 ? name.len / 3 : 1;
    for (; table->type != PS_OPTION_END; table++) {
        size_t distance = ps_option_distance(ps_str_from(table->name), name);
        if (distance < least || (distance == least && best == NULL)) {
            least = distance;
            best = table->name;
        }
    }
    return best;
}

/* A copy, or NULL: *err says why. */
static char *copy_text(struct ps_str text, char *reason, size_t size, int *err)
{
    if (ps_option_has_control(text)) {
        snprintf(reason, size, "must not hold control characters");
        *err = PS_EINVAL;
        return NULL;
    }
    char *copy = ps_str_dup(text);
    *err = copy == NULL ? PS_ENOMEM : PS_OK;
    return copy;
}

static int set_text(const struct ps_option *row, void *opts, struct ps_str text, char *reason,
                    size_t size)
{
    int err = PS_OK;
    if (row->type == PS_OPTION_SECRET && text.len == 0) {
        snprintf(reason, size, "must not be empty");
        return PS_EINVAL;
    }
    char *copy = text.len == 0 ? NULL : copy_text(text, reason, size, &err);
    if (err == PS_OK) {
        ps_option_clear(row, opts);
        *(char **)field_of(row, opts) = copy;
    }
    return err;
}

int ps_option_set(const struct ps_option *row, void *opts, struct ps_str text, char *reason,
                  size_t size)
{
    switch (row->type) {
    case PS_OPTION_STRING:
    case PS_OPTION_SECRET:
        return set_text(row, opts, text, reason, size);
    case PS_OPTION_STRINGS: {
        struct ps_option_strings before = *(struct ps_option_strings *)field_of(row, opts);
        *(struct ps_option_strings *)field_of(row, opts) = (struct ps_option_strings){NULL, 0};
        int err = ps_option_add(row, opts, text, reason, size);
        clear_strings(err == PS_OK ? &before : field_of(row, opts));
        if (err != PS_OK) {
            *(struct ps_option_strings *)field_of(row, opts) = before;
        }
        return err;
    }
    case PS_OPTION_BOOL:
    case PS_OPTION_U64:
    case PS_OPTION_BYTES:
    case PS_OPTION_SPAN:
    case PS_OPTION_DOUBLE:
    case PS_OPTION_ENUM:
        return ps_option_scalar_parse(row, field_of(row, opts), text, reason, size);
    case PS_OPTION_END:
    case PS_OPTION_SECTION:
    case PS_OPTION_LIST:
        break;
    }
    snprintf(reason, size, "expected a %s", row->type == PS_OPTION_LIST ? "list" : "mapping");
    return PS_EINVAL;
}

/* Lists grow by doubling: room is there when the count is no power of two. */
static bool is_full(size_t count)
{
    return (count & (count - 1)) == 0;
}

static int grow(void **items, size_t count, size_t item_size)
{
    if (!is_full(count)) {
        return PS_OK;
    }
    void *grown = reallocarray(*items, count == 0 ? 1 : count * 2, item_size);
    if (grown == NULL) {
        return PS_ENOMEM;
    }
    *items = grown;
    return PS_OK;
}

int ps_option_add(const struct ps_option *row, void *opts, struct ps_str text, char *reason,
                  size_t size)
{
    PS_CHECK(row->type == PS_OPTION_STRINGS);
    struct ps_option_strings *strings = field_of(row, opts);
    int err = PS_OK;
    if (text.len == 0) {
        snprintf(reason, size, "must not be empty");
        return PS_EINVAL;
    }
    char *copy = copy_text(text, reason, size, &err);
    if (err != PS_OK) {
        return err;
    }
    void *items = strings->items;
    err = grow(&items, strings->count, sizeof *strings->items);
    strings->items = items;
    if (err != PS_OK) {
        free(copy);
        return err;
    }
    strings->items[strings->count++] = copy;
    return PS_OK;
}

int ps_option_push(const struct ps_option *row, void *opts, void **item)
{
    PS_CHECK(row->type == PS_OPTION_LIST && row->item_size > 0);
    struct ps_option_list *list = field_of(row, opts);
    int err = grow(&list->items, list->count, row->item_size);
    if (err != PS_OK) {
        return err;
    }
    void *fresh = (char *)list->items + list->count * row->item_size;
    memset(fresh, 0, row->item_size);
    err = ps_option_init(row->table, fresh);
    if (err != PS_OK) {
        ps_option_fini(row->table, fresh);
        return err;
    }
    list->count++;
    *item = fresh;
    return PS_OK;
}

static bool strings_are(const struct ps_option_strings *strings, const char *fallback)
{
    struct ps_str rest = ps_str_from(fallback);
    struct ps_str part;
    size_t count = 0;
    for (; ps_str_next_member(&rest, &part); count++) {
        if (count >= strings->count || !ps_str_eq(ps_str_from(strings->items[count]), part)) {
            return false;
        }
    }
    return count == strings->count;
}

static bool scalar_is(const struct ps_option *row, const void *field, const char *fallback)
{
    char reason[128];
    union {
        uint64_t bits;
        double real;
    } value = {.bits = 0};
    if (fallback != NULL && ps_option_scalar_parse(row, &value, ps_str_from(fallback), reason,
                                                   sizeof reason) != PS_OK) {
        return false;
    }
    return memcmp(&value, field, field_size(row->type)) == 0;
}

static bool all_default(const struct ps_option *table, const void *opts)
{
    for (; table->type != PS_OPTION_END; table++) {
        if (!ps_option_is_default(table, opts)) {
            return false;
        }
    }
    return true;
}

bool ps_option_is_default(const struct ps_option *row, const void *opts)
{
    const void *field = const_field_of(row, opts);
    switch (row->type) {
    case PS_OPTION_STRING:
    case PS_OPTION_SECRET: {
        const char *text = *(char *const *)field;
        return text == NULL || row->fallback == NULL ? text == row->fallback
                                                     : strcmp(text, row->fallback) == 0;
    }
    case PS_OPTION_STRINGS:
        return strings_are(field, row->fallback);
    case PS_OPTION_SECTION:
        return all_default(row->table, field);
    case PS_OPTION_LIST:
        return ((const struct ps_option_list *)field)->count == 0 &&
               (row->word == NULL ||
                !*(const bool *)(const void *)((const char *)opts + row->word_offset));
    case PS_OPTION_BOOL:
    case PS_OPTION_U64:
    case PS_OPTION_BYTES:
    case PS_OPTION_SPAN:
    case PS_OPTION_DOUBLE:
    case PS_OPTION_ENUM:
        return scalar_is(row, field, row->fallback);
    case PS_OPTION_END:
        break;
    }
    return true;
}

static bool is_name(struct ps_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9')) {
            return false;
        }
    }
    return name.len > 0 && name.len < VARIABLE_MAX;
}

/* `text` begins with "${": appends the variable's value and moves text behind the brace. */
static int expand_one(struct ps_str *text, ps_option_lookup_fn *lookup, void *ctx,
                      struct ps_buf *out, char *reason, size_t size)
{
    struct ps_str inside = ps_str_skip(*text, 2);
    size_t end = ps_str_find(inside, '}');
    struct ps_str name = ps_str_first(inside, end);
    if (end == inside.len || !is_name(name)) {
        snprintf(reason, size, "malformed ${NAME}; a literal ${ is written $${");
        return PS_EINVAL;
    }
    char variable[VARIABLE_MAX];
    memcpy(variable, name.ptr, name.len);
    variable[name.len] = '\0';
    const char *value = lookup == NULL ? NULL : lookup(ctx, variable);
    if (value == NULL) {
        snprintf(reason, size, "the environment variable %s is not set", variable);
        return PS_EINVAL;
    }
    *text = ps_str_skip(inside, end + 1);
    return ps_buf_append_str(out, ps_str_from(value));
}

static int expand_into(struct ps_str text, ps_option_lookup_fn *lookup, void *ctx,
                       struct ps_buf *out, char *reason, size_t size)
{
    int err = PS_OK;
    while (err == PS_OK && text.len > 0) {
        struct ps_str piece = ps_str_first(text, ps_str_find(text, '$'));
        err = ps_buf_append_str(out, piece);
        text = ps_str_skip(text, piece.len);
        if (err != PS_OK || text.len == 0) {
            break;
        }
        if (ps_str_starts_with(text, PS_STR("${"))) {
            err = expand_one(&text, lookup, ctx, out, reason, size);
        } else if (ps_str_starts_with(text, PS_STR("$${"))) {
            err = ps_buf_append(out, "${", 2);
            text = ps_str_skip(text, 3);
        } else {
            err = ps_buf_append(out, "$", 1);
            text = ps_str_skip(text, 1);
        }
    }
    return err;
}

int ps_option_expand(struct ps_str text, ps_option_lookup_fn *lookup, void *ctx, char **out,
                     char *reason, size_t size)
{
    struct ps_buf expanded = ps_buf_make(1024 * 1024);
    int err = expand_into(text, lookup, ctx, &expanded, reason, size);
    if (err == PS_ELIMIT) {
        snprintf(reason, size, "too long once its variables are replaced");
        err = PS_EINVAL;
    }
    char *copy = err == PS_OK ? ps_str_dup(ps_buf_str(&expanded)) : NULL;
    err = err == PS_OK && copy == NULL ? PS_ENOMEM : err;
    if (expanded.data != NULL) {
        explicit_bzero(expanded.data, expanded.cap);
    }
    ps_buf_fini(&expanded);
    if (err == PS_OK) {
        *out = copy;
    }
    return err;
}

#include "sim/json.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <yajl_parse.h>

#define MOST_LEVELS 64

/* An open container; the tree below it is complete up to here. */
struct level {
    json_t *container; /* borrowed: its parent (or the builder's root) owns it */
    json_t *key;       /* owned: the name of the value that comes next, or NULL */
};

struct builder {
    json_t *root; /* owned */
    struct level levels[MOST_LEVELS];
    size_t depth;
    const char *wrong; /* static text, or NULL */
    bool out_of_memory;
};

static int give_up(struct builder *builder, const char *wrong)
{
    builder->wrong = wrong;
    return 0;
}

/* Puts a value where it belongs; takes it over. 1, or 0 to stop the parser. */
static int add(struct builder *builder, json_t *value)
{
    if (value == NULL) {
        builder->out_of_memory = true;
        return 0;
    }
    if (builder->depth == 0) {
        builder->root = value;
        return 1;
    }
    struct level *level = &builder->levels[builder->depth - 1];
    int failed = 0;
    if (json_is_array(level->container)) {
        failed = json_array_append_new(level->container, value);
    } else {
        failed = json_object_setn_new_nocheck(level->container, json_string_value(level->key),
                                              json_string_length(level->key), value);
        json_decref(level->key);
        level->key = NULL;
    }
    builder->out_of_memory = failed != 0;
    return failed == 0;
}

static int open_container(struct builder *builder, json_t *container)
{
    if (builder->depth == MOST_LEVELS) {
        json_decref(container);
        return give_up(builder, "too many levels");
    }
    if (!add(builder, container)) {
        return 0;
    }
    builder->levels[builder->depth++] = (struct level){.container = container};
    return 1;
}

static int on_null(void *ctx)
{
    return add(ctx, json_null());
}

static int on_boolean(void *ctx, int value)
{
    return add(ctx, json_boolean(value));
}

/* A whole number that is too large for 64 bits with a sign (seeds are drawn from 64 without) keeps
 * as many digits as a double has. */
static int on_number(void *ctx, const char *digits, size_t len)
{
    struct ps_str text = {digits, len};
    bool negative = digits[0] == '-';
    uint64_t whole = 0;
    double real = 0;
    if (ps_str_to_u64(ps_str_skip(text, negative), &whole) == PS_OK && whole <= INT64_MAX) {
        return add(ctx, json_integer(negative ? -(json_int_t)whole : (json_int_t)whole));
    }
    if (ps_str_to_double(text, &real) != PS_OK) {
        return give_up(ctx, "a number that is out of range");
    }
    return add(ctx, json_real(real));
}

static int on_string(void *ctx, const unsigned char *text, size_t len)
{
    return add(ctx, json_stringn_nocheck((const char *)text, len));
}

static int on_start_map(void *ctx)
{
    return open_container(ctx, json_object());
}

static int on_map_key(void *ctx, const unsigned char *text, size_t len)
{
    struct builder *builder = ctx;
    struct level *level = &builder->levels[builder->depth - 1];
    level->key = json_stringn_nocheck((const char *)text, len);
    if (level->key == NULL) {
        builder->out_of_memory = true;
        return 0;
    }
    if (json_object_getn(level->container, (const char *)text, len) != NULL) {
        return give_up(builder, "duplicate key");
    }
    return 1;
}

static int on_start_array(void *ctx)
{
    return open_container(ctx, json_array());
}

static int on_end(void *ctx)
{
    ((struct builder *)ctx)->depth--;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

static void free_tree(struct builder *builder)
{
    for (size_t i = 0; i < MOST_LEVELS; i++) {
        json_decref(builder->levels[i].key);
    }
    json_decref(builder->root);
}

int ps_sim_json_parse(struct ps_str text, json_t **out, struct ps_sim_json_error *error)
{
    struct builder builder = {.wrong = NULL};
    yajl_handle parser = yajl_alloc(&callbacks, NULL, &builder);
    if (parser == NULL) {
        return PS_ENOMEM;
    }
    const char *bytes = text.ptr == NULL ? "" : text.ptr;
    yajl_status status = yajl_parse(parser, (const unsigned char *)bytes, text.len);
    size_t offset = yajl_get_bytes_consumed(parser);
    if (status == yajl_status_ok) {
        status = yajl_complete_parse(parser);
        offset = status == yajl_status_ok ? offset : text.len;
    }
    yajl_free(parser);
    if (status == yajl_status_ok && builder.root != NULL) {
        *out = builder.root;
        return PS_OK;
    }
    free_tree(&builder);
    if (builder.out_of_memory) {
        return PS_ENOMEM;
    }
    error->offset = offset < text.len ? offset : text.len;
    error->text = builder.wrong != NULL ? builder.wrong : "malformed JSON, or not UTF-8";
    return PS_EPARSE;
}

const char *ps_sim_json_text(const json_t *object, const char *name, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? otherwise : text;
}

bool ps_sim_json_flag(const json_t *object, const char *name, bool otherwise)
{
    const json_t *value = json_object_get(object, name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

int ps_sim_json_copy(json_t *to, const char *as, const json_t *from, const char *name)
{
    json_t *value = json_object_get(from, name);
    return value == NULL || json_is_null(value) ? 0 : json_object_set(to, as, value);
}

json_t *ps_sim_json_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_t *text = json_vsprintf(format, args);
    va_end(args);
    return text;
}

static int append_dump(const char *text, size_t len, void *out)
{
    return ps_buf_append(out, text, len) == PS_OK ? 0 : -1;
}

int ps_sim_json_dump(struct ps_buf *out, json_t *tree)
{
    bool good = tree != NULL;
    if (json_is_object(tree)) {
        good = json_object_set_new(tree, "simulated", json_true()) == 0;
    }
    good = good && json_dump_callback(tree, append_dump, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0;
    json_decref(tree);
    return good ? PS_OK : PS_ENOMEM;
}

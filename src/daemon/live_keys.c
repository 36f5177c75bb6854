#include "daemon/live_keys.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ps_live_keys_fini(struct ps_live_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        free(keys->items[i]);
    }
    free(keys->items);
    *keys = (struct ps_live_keys){NULL, 0};
}

bool ps_live_keys_eq(const struct ps_live_keys *a, const struct ps_live_keys *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++) {
        same = strcmp(a->items[i], b->items[i]) == 0;
    }
    return same;
}

static int refuse(struct ps_live_refusal *refusal, const char *code, const char *text)
{
    refusal->code = code;
    snprintf(refusal->text, sizeof refusal->text, "%s", text);
    return PS_EINVAL;
}

static int check_key(const json_t *key, size_t n, struct ps_live_refusal *refusal)
{
    if (json_is_string(key) && json_string_length(key) > 0 && json_string_length(key) <= PS_LIVE_KEY_MOST) {
        return PS_OK;
    }
    refusal->code = "invalid_message";
    snprintf(refusal->text, sizeof refusal->text, "key %zu is not a text of 1 to %u bytes", n, PS_LIVE_KEY_MOST);
    return PS_EINVAL;
}

/* The one member of a message: its keys, and whether they are added. */
static int check_message(const json_t *message, const json_t **keys, bool *adds, struct ps_live_refusal *refusal)
{
    const json_t *subscribe = json_object_get(message, "subscribe");
    const json_t *unsubscribe = json_object_get(message, "unsubscribe");
    *keys = subscribe != NULL ? subscribe : unsubscribe;
    *adds = subscribe != NULL;
    if (json_object_size(message) != 1 || !json_is_array(*keys) || json_array_size(*keys) == 0) {
        return refuse(refusal, "invalid_message",
                      "a message is {\"subscribe\":[\"key\",...]} or {\"unsubscribe\":[\"key\",...]}");
    }
    if (json_array_size(*keys) > PS_LIVE_KEYS_MOST) {
        return refuse(refusal, "too_many_keys", "at most 500 keys at a time");
    }
    int err = PS_OK;
    for (size_t i = 0; i < json_array_size(*keys) && err == PS_OK; i++) {
        err = check_key(json_array_get(*keys, i), i, refusal);
    }
    return err;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool push(struct ps_live_keys *out, const char *key)
{
    char *copy = strdup(key);
    if (copy != NULL) {
        out->items[out->count++] = copy;
    }
    return copy != NULL;
}

/* Sorted, and each only once. */
static void settle(struct ps_live_keys *keys)
{
    size_t kept = 0;
    if (keys->count > 1) {
        qsort(keys->items, keys->count, sizeof *keys->items, compare);
    }
    for (size_t i = 0; i < keys->count; i++) {
        if (kept > 0 && strcmp(keys->items[kept - 1], keys->items[i]) == 0) {
            free(keys->items[i]);
        } else {
            keys->items[kept++] = keys->items[i];
        }
    }
    keys->count = kept;
}

static bool holds(const struct ps_live_keys *keys, const char *key)
{
    return keys->count > 0 && bsearch(&key, keys->items, keys->count, sizeof *keys->items, compare) != NULL;
}

static int take_given(struct ps_live_keys *out, const json_t *array)
{
    bool fine = (out->items = calloc(json_array_size(array), sizeof *out->items)) != NULL;
    for (size_t i = 0; i < json_array_size(array) && fine; i++) {
        fine = push(out, json_string_value(json_array_get(array, i)));
    }
    settle(out);
    return fine ? PS_OK : PS_ENOMEM;
}

/* `now` with what is given, or without it. */
static int combine(struct ps_live_keys *out, const struct ps_live_keys *now, const struct ps_live_keys *given,
                   bool adds)
{
    bool fine = (out->items = calloc(now->count + given->count, sizeof *out->items)) != NULL;
    for (size_t i = 0; i < now->count && fine; i++) {
        fine = holds(given, now->items[i]) || push(out, now->items[i]);
    }
    for (size_t i = 0; adds && i < given->count && fine; i++) {
        fine = push(out, given->items[i]);
    }
    settle(out);
    return fine ? PS_OK : PS_ENOMEM;
}

int ps_live_keys_change(struct ps_live_keys *out, const struct ps_live_keys *now, struct ps_str message,
                        struct ps_live_refusal *refusal)
{
    struct ps_live_keys made = {NULL, 0};
    struct ps_live_keys given = {NULL, 0};
    const json_t *keys = NULL;
    bool adds = false;
    json_t *tree = json_loadb(message.ptr, message.len, JSON_REJECT_DUPLICATES, NULL);
    int err = check_message(tree, &keys, &adds, refusal);
    err = err != PS_OK ? err : take_given(&given, keys);
    err = err != PS_OK ? err : combine(&made, now, &given, adds);
    if (err == PS_OK && made.count > PS_LIVE_KEYS_MOST) {
        err = refuse(refusal, "too_many_keys", "at most 500 keys in all");
    }
    ps_live_keys_fini(&given);
    json_decref(tree);
    if (err != PS_OK) {
        ps_live_keys_fini(&made);
        return err;
    }
    *out = made;
    return PS_OK;
}

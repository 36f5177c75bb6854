/*
 * fuzz_key - keys of bodies, beside a parser that others wrote.
 *
 * Input: any bytes. Whole and cut reading must agree; what has a key must be JSON for jansson, and
 * what is an object for jansson must have one, but for what either of them bounds. A document
 * without numbers, written anew by jansson, keeps its key.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/check.h"
#include "gateway/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    int err;
    struct ps_key key;
    const char *reason;
};

static struct outcome key_of(struct ps_keyer *keyer, enum ps_key_body kind, struct ps_str body,
                             size_t step)
{
    static const struct ps_key_scope scope = {.tenant = PS_STR_INIT("t")};
    struct outcome outcome = {.err = PS_OK};
    struct ps_key_job *job = NULL;
    PS_CHECK(ps_key_job_new(&job, keyer, &scope, kind, NULL) == PS_OK);
    while (body.len > 0 && outcome.err == PS_OK) {
        struct ps_str piece = ps_str_first(body, step);
        char *copy = malloc(piece.len);
        PS_CHECK(copy != NULL);
        memcpy(copy, piece.ptr, piece.len);
        outcome.err = ps_key_job_feed(job, (struct ps_str){copy, piece.len});
        free(copy);
        body = ps_str_skip(body, piece.len);
    }
    outcome.err = outcome.err != PS_OK ? outcome.err : ps_key_job_end(job, &outcome.key);
    outcome.reason = outcome.err == PS_OK ? "" : ps_key_job_reason(job);
    for (size_t i = 0; outcome.err == PS_OK && i < ps_key_job_items(job); i++) {
        struct ps_key item;
        ps_key_job_item(job, i, &item);
        PS_CHECK((ps_key_job_items(job) > 1) != ps_key_eq(&item, &outcome.key));
    }
    ps_key_job_free(job);
    return outcome;
}

static bool has_numbers(const json_t *value)
{
    const char *name;
    json_t *child;
    size_t i;
    bool found = json_is_number(value);
    json_object_foreach((json_t *)(uintptr_t)value, name, child)
    {
        found = found || has_numbers(child);
    }
    json_array_foreach(value, i, child)
    {
        found = found || has_numbers(child);
    }
    return found;
}

static void check_rewritten(struct ps_keyer *keyer, const json_t *root, const struct ps_key *key)
{
    if (has_numbers(root)) {
        return;
    }
    char *text = json_dumps(root, JSON_ENSURE_ASCII | JSON_SORT_KEYS | JSON_INDENT(1));
    if (text == NULL) {
        return;
    }
    struct outcome again = key_of(keyer, PS_KEY_JSON, ps_str_from(text), SIZE_MAX);
    PS_CHECK(again.err == PS_OK && ps_key_eq(&again.key, key));
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str body = {(const char *)data, size};
    struct ps_keyer *keyer = NULL;
    PS_CHECK(ps_keyer_new(&keyer, 8) == PS_OK);
    struct outcome whole = key_of(keyer, PS_KEY_JSON, body, SIZE_MAX);
    struct outcome known = key_of(keyer, PS_KEY_JSON, body, SIZE_MAX);
    struct outcome items = key_of(keyer, PS_KEY_EMBEDDINGS, body, SIZE_MAX);
    struct outcome cut_items = key_of(keyer, PS_KEY_EMBEDDINGS, body, 1 + size % 5);
    PS_CHECK(whole.err == known.err && items.err == cut_items.err);
    PS_CHECK(whole.err != PS_OK || ps_key_eq(&whole.key, &known.key));
    PS_CHECK(items.err != PS_OK || ps_key_eq(&items.key, &cut_items.key));
    struct ps_keyer *plain = NULL;
    PS_CHECK(ps_keyer_new(&plain, 0) == PS_OK);
    struct outcome cut = key_of(plain, PS_KEY_JSON, body, 1 + size % 5);
    PS_CHECK(whole.err == cut.err && (whole.err != PS_OK || ps_key_eq(&whole.key, &cut.key)));
    json_error_t error;
    json_t *root =
        json_loadb((const char *)data, size,
                   JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    if (whole.err == PS_OK && root == NULL) {
        enum json_error_code code = json_error_code(&error);
        PS_CHECK(code == json_error_numeric_overflow || code == json_error_duplicate_key ||
                 code == json_error_null_byte_in_key);
    }
    /* jansson reads on over a NUL behind a number. */
    if (json_is_object(root) && memchr(data, '\0', size) == NULL) {
        PS_CHECK(whole.err == PS_OK || whole.err == PS_ELIMIT ||
                 strstr(whole.reason, "number") != NULL);
    }
    if (whole.err == PS_OK && root != NULL) {
        check_rewritten(plain, root, &whole.key);
    }
    json_decref(root);
    ps_keyer_free(keyer);
    ps_keyer_free(plain);
    return 0;
}

/*
 * fuzz_items - requests and answers for several items, taken apart and put together.
 *
 * Input: one byte (form, and which items are wanted), then any bytes, taken for a request and for
 * an answer. What a cut request asks for has the keys that it had in the whole one; pieces are
 * JSON, and what was put together of them is taken apart into the same pieces.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/items.h"
#include "gateway/json_view.h"
#include "gateway/key.h"

enum { SOME = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---------------------------------------------------------------- requests */

/* Keys of the first items. Returns how many items there are; 0 when there is no key. */
static size_t keys_of(struct ps_str body, enum ps_items_form form, struct ps_key keys[SOME])
{
    enum ps_key_body kind = form == PS_ITEMS_TEI ? PS_KEY_EMBED : PS_KEY_EMBEDDINGS;
    struct ps_keyer *keyer = NULL;
    struct ps_key_job *job = NULL;
    struct ps_key_scope scope = {.any_tenant = true};
    struct ps_key whole;
    PS_CHECK(ps_keyer_new(&keyer, 0) == PS_OK);
    PS_CHECK(ps_key_job_new(&job, keyer, &scope, kind, NULL) == PS_OK);
    int err = ps_key_job_feed(job, body);
    err = err != PS_OK ? err : ps_key_job_end(job, &whole);
    size_t n = err == PS_OK ? ps_key_job_items(job) : 0;
    for (size_t i = 0; i < n && i < SOME; i++) {
        ps_key_job_item(job, i, &keys[i]);
    }
    ps_key_job_free(job);
    ps_keyer_free(keyer);
    return n;
}

static void check_cut(const struct ps_items_ask *ask, enum ps_items_form form, unsigned mask,
                      const struct ps_key keys[SOME])
{
    uint32_t wanted[SOME];
    size_t n = 0;
    for (uint32_t i = 0; i < ps_items_ask_count(ask) && i < SOME; i++) {
        if ((mask & 1u << i) != 0) {
            wanted[n++] = i;
        }
    }
    if (n == 0) {
        return;
    }
    struct ps_chunks chunks = ps_chunks_make(NULL);
    struct ps_buf body = ps_buf_make(SIZE_MAX);
    struct ps_str view;
    PS_CHECK(ps_items_ask_write(ask, wanted, n, &chunks) == PS_OK);
    for (size_t at = 0; ps_chunks_peek(&chunks, at, &view, 1) == 1; at += view.len) {
        PS_CHECK(ps_buf_append_str(&body, view) == PS_OK);
    }
    struct ps_key cut[SOME];
    PS_CHECK(keys_of(ps_buf_str(&body), form, cut) == n);
    for (size_t i = 0; i < n; i++) {
        PS_CHECK(ps_key_eq(&cut[i], &keys[wanted[i]]));
    }
    ps_buf_fini(&body);
    ps_chunks_fini(&chunks);
}

static void check_request(enum ps_items_form form, unsigned mask, struct ps_str input)
{
    struct ps_items_ask *ask = NULL;
    struct ps_key keys[SOME];
    size_t n = keys_of(input, form, keys);
    PS_CHECK(ps_items_ask_new(&ask, form, NULL) == PS_OK);
    PS_CHECK(ps_items_ask_feed(ask, input) == PS_OK);
    if (ps_items_ask_end(ask) == PS_OK && n > 0) {
        PS_CHECK(ps_items_ask_count(ask) == n);
        check_cut(ask, form, mask, keys);
    }
    ps_items_ask_free(ask);
}

/* ---------------------------------------------------------------- answers */

/* The pieces of an answer. False: it stays whole. */
static bool split(enum ps_items_form form, struct ps_str answer, size_t count,
                  struct ps_buf *pieces)
{
    struct ps_items_split *split = NULL;
    PS_CHECK(ps_items_split_new(&split, form, NULL, count, SIZE_MAX, NULL) == PS_OK);
    PS_CHECK(ps_items_split_feed(split, answer) == PS_OK);
    int err = ps_items_split_end(split);
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = ps_items_split_piece(split, i, &pieces[i]);
        PS_CHECK(err != PS_OK || ps_json_view_is_valid(ps_buf_str(&pieces[i])) == PS_OK);
    }
    ps_items_split_free(split);
    return err == PS_OK;
}

static void join(enum ps_items_form form, size_t count, const struct ps_buf *pieces,
                 struct ps_buf *out)
{
    struct ps_items_join *join = NULL;
    uint64_t length = 0;
    struct ps_str view;
    PS_CHECK(ps_items_join_new(&join, form, count) == PS_OK);
    for (size_t i = 0; i < count; i++) {
        PS_CHECK(ps_items_join_put(join, i, ps_buf_str(&pieces[i])) == PS_OK);
    }
    PS_CHECK(ps_items_join_end(join, &length) == PS_OK);
    while (ps_items_join_next(join, &view)) {
        PS_CHECK(ps_buf_append_str(out, view) == PS_OK);
    }
    PS_CHECK(out->len == length && ps_json_view_is_valid(ps_buf_str(out)) == PS_OK);
    ps_items_join_free(join);
}

static void check_answer(enum ps_items_form form, size_t count, struct ps_str answer)
{
    struct ps_buf pieces[SOME];
    struct ps_buf again[SOME];
    struct ps_buf joined = ps_buf_make(SIZE_MAX);
    for (size_t i = 0; i < count; i++) {
        pieces[i] = ps_buf_make(SIZE_MAX);
        again[i] = ps_buf_make(SIZE_MAX);
    }
    if (split(form, answer, count, pieces)) {
        join(form, count, pieces, &joined);
        PS_CHECK(split(form, ps_buf_str(&joined), count, again));
        for (size_t i = 0; i < count; i++) {
            PS_CHECK(ps_str_eq(ps_buf_str(&pieces[i]), ps_buf_str(&again[i])));
        }
    }
    for (size_t i = 0; i < count; i++) {
        ps_buf_fini(&pieces[i]);
        ps_buf_fini(&again[i]);
    }
    ps_buf_fini(&joined);
}

/* Bytes that are taken for a remembered piece: the join refuses them or puts them in. */
static void check_piece(enum ps_items_form form, struct ps_str piece)
{
    struct ps_items_join *join = NULL;
    uint64_t length = 0;
    struct ps_str view;
    PS_CHECK(ps_items_join_new(&join, form, 2) == PS_OK);
    if (ps_items_join_put(join, 1, piece) == PS_OK && ps_items_join_put(join, 0, piece) == PS_OK) {
        PS_CHECK(ps_items_join_end(join, &length) == PS_OK);
        while (ps_items_join_next(join, &view)) {
            length -= view.len;
        }
        PS_CHECK(length == 0);
    }
    ps_items_join_free(join);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    char *copy = malloc(size); /* exactly sized, so that an overrun is seen */
    PS_CHECK(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    struct ps_str input = {copy, size - 1};
    enum ps_items_form form = (data[0] & 1) != 0 ? PS_ITEMS_TEI : PS_ITEMS_OPENAI;
    check_request(form, data[0], input);
    for (size_t count = 1; count <= 3; count++) {
        check_answer(form, count, input);
    }
    check_piece(form, input);
    free(copy);
    return 0;
}

/*
 * fuzz_render - streams to JSON, JSON to streams.
 *
 * Input: any bytes, taken for both. What was rendered must be well formed, and once in either form
 * an answer must not change any more on its way there and back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/json_view.h"
#include "gateway/key.h"
#include "gateway/render.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* False for what has no certain meaning. */
static bool meaning_of(struct ps_str json, struct ps_key *key)
{
    struct ps_keyer *keyer = NULL;
    struct ps_key_job *job = NULL;
    struct ps_key_scope scope = {.any_tenant = true};
    PS_CHECK(ps_keyer_new(&keyer, 0) == PS_OK);
    PS_CHECK(ps_key_job_new(&job, keyer, &scope, PS_KEY_JSON, NULL) == PS_OK);
    int err = ps_key_job_feed(job, json);
    err = err != PS_OK ? err : ps_key_job_end(job, key);
    ps_key_job_free(job);
    ps_keyer_free(keyer);
    return err == PS_OK;
}

static void check_there_and_back(struct ps_str json)
{
    struct ps_buf events = ps_buf_make(SIZE_MAX);
    struct ps_buf back = ps_buf_make(SIZE_MAX);
    struct ps_key before;
    struct ps_key after;
    PS_CHECK(ps_json_view_is_valid(json) == PS_OK);
    if (ps_render_events(json, true, &events) == PS_OK) {
        PS_CHECK(ps_render_json(ps_buf_str(&events), &back) == PS_OK);
        if (meaning_of(json, &before)) {
            PS_CHECK(meaning_of(ps_buf_str(&back), &after) && ps_key_eq(&before, &after));
        }
    }
    ps_buf_fini(&events);
    ps_buf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1); /* exactly sized but for one byte, so that an overrun is seen */
    PS_CHECK(copy != NULL);
    memcpy(copy, data, size);
    struct ps_str input = {copy, size};
    struct ps_buf out = ps_buf_make(SIZE_MAX);
    struct ps_buf json = ps_buf_make(SIZE_MAX);
    if (ps_render_json(input, &out) == PS_OK) {
        check_there_and_back(ps_buf_str(&out));
    }
    ps_buf_clear(&out);
    if (ps_render_events(input, size % 2 == 0, &out) == PS_OK &&
        ps_render_json(ps_buf_str(&out), &json) == PS_OK) {
        check_there_and_back(ps_buf_str(&json));
    }
    ps_buf_clear(&out);
    PS_CHECK(ps_render_without_usage(input, &out) == PS_OK && out.len <= size);
    ps_buf_fini(&out);
    ps_buf_fini(&json);
    free(copy);
    return 0;
}

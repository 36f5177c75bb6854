/*
 * fuzz_envelope - the envelope around values of the distributed cache.
 *
 * Input: a value as a cache server might send it, for a fixed key; when its check does not fit, it
 * is tried again with a right one, so that the search gets behind it. What is believed keeps its
 * bounds and is believed again after it was written anew.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/check.h"
#include "gateway/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BODY = 1 << 16 };

static const uint8_t key[PS_ENVELOPE_KEY_BYTES] = "a key of thirty-two bytes, this";
static struct ps_envelope_codec *codec;

static void write_again(const struct ps_envelope *value)
{
    struct ps_buf bytes = ps_buf_make(2 * MAX_BODY);
    struct ps_buf body = ps_buf_make(MAX_BODY);
    struct ps_envelope again = {.body = {NULL, 0}};
    PS_CHECK(ps_buf_append_str(&body, value->body) ==
             PS_OK); /* the codec's next use takes it away */
    struct ps_envelope copy = *value;
    copy.body = ps_buf_str(&body);
    PS_CHECK(ps_envelope_write(codec, key, &copy, &bytes) == PS_OK);
    PS_CHECK(ps_envelope_read(codec, key, ps_buf_str(&bytes), value->stored, &again) ==
             PS_ENVELOPE_FINE);
    PS_CHECK(ps_str_eq(again.body, ps_buf_str(&body)));
    PS_CHECK(again.stored == value->stored && again.ttl == value->ttl && again.tag == value->tag);
    ps_buf_fini(&bytes);
    ps_buf_fini(&body);
}

static void try(struct ps_str bytes)
{
    struct ps_envelope value = {.body = {NULL, 0}};
    enum ps_envelope_fault fault = ps_envelope_read(codec, key, bytes, 0, &value);
    PS_CHECK(ps_envelope_fault_text(fault)[0] != '\0');
    if (fault == PS_ENVELOPE_FINE) {
        PS_CHECK(value.body.len <= MAX_BODY && value.stored >= 0 && value.ttl > 0);
        write_again(&value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ps_envelope_opts opts = {.max_body = MAX_BODY, .compress_above = 64};
    if (codec == NULL) {
        PS_CHECK(ps_envelope_codec_new(&codec, &opts) == PS_OK);
    }
    uint8_t *copy = malloc(size + 1);
    PS_CHECK(copy != NULL);
    memcpy(copy, data, size);
    try((struct ps_str){(const char *)copy, size});
    if (size >= PS_ENVELOPE_OVERHEAD) {
        uint32_t crc = (uint32_t)crc32_z(0, copy, size - 16);
        memset(copy + size - 16, 0, 16);
        for (size_t i = 0; i < 4; i++) {
            copy[size - 16 + i] = (uint8_t)(crc >> (8 * i));
        }
        try((struct ps_str){(const char *)copy, size});
    }
    free(copy);
    return 0;
}

/*
 * fuzz_entry_wire - entries as bytes from the shared cache.
 *
 * Input: bytes as they stand inside an envelope. What is believed is within an entry's bounds, and
 * the same bytes when it is written again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/entry_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct ps_entry *entry)
{
    struct ps_str tag;
    size_t at = 0;
    size_t count = 0;
    while (ps_entry_next_tag(entry, &at, &tag)) {
        PS_CHECK(tag.len <= PS_ENTRY_NAME_MAX);
        count++;
    }
    PS_CHECK(count <= PS_ENTRY_TAGS_MAX && entry->status >= 100 && entry->status <= 999);
    PS_CHECK(entry->born >= 0 && entry->fresh >= 0 && entry->if_error >= 0);
    PS_CHECK(ps_entry_route(entry).len <= PS_ENTRY_NAME_MAX);
    PS_CHECK(ps_entry_freshness(entry, entry->stored) <= PS_STALE_GONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_entry *entry = NULL;
    struct ps_buf again = ps_buf_make(size);
    char *copy = malloc(size + 1);
    PS_CHECK(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    struct ps_str bytes = {copy, size};
    if (ps_entry_wire_read(bytes, &entry) == PS_OK) {
        look_at(entry);
        PS_CHECK(ps_entry_wire_write(entry, &again) == PS_OK);
        PS_CHECK(ps_str_eq(ps_buf_str(&again), bytes));
    }
    ps_entry_unref(entry);
    ps_buf_fini(&again);
    free(copy);
    return 0;
}

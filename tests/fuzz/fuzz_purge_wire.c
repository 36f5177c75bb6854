/*
 * fuzz_purge_wire - records of the log of invalidations in the cache servers.
 *
 * Input: a record. What is believed is the same bytes when it is written again, and a purge log
 * takes it and matches an entry against it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/purge_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void match(const struct ps_purge *purge)
{
    static const struct ps_str tag = PS_STR_INIT("faq");
    const struct ps_entry_spec spec = {.status = 200,
                                       .route = PS_STR("chat"),
                                       .model = PS_STR("llama"),
                                       .tenant = PS_STR("acme"),
                                       .tags = &tag,
                                       .tags_count = 1};
    struct ps_purge_log *log = NULL;
    struct ps_entry *entry = NULL;
    const struct ps_key key = {.bytes = {1}};
    PS_CHECK(ps_purge_log_new(&log, 4, PS_NEVER) == PS_OK);
    PS_CHECK(ps_entry_new(&entry, &spec) == PS_OK);
    PS_CHECK(ps_purge_log_add(log, purge, INT64_MAX) == PS_OK);
    PS_CHECK(ps_purge_log_count(log) == 1);
    (void)ps_purge_log_hits(log, entry, &key);
    ps_entry_unref(entry);
    ps_purge_log_free(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char again[PS_PURGE_WIRE_MAX];
    size_t len = 0;
    struct ps_purge purge;
    char *copy = malloc(size + 1);
    PS_CHECK(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    struct ps_str record = {copy, size};
    if (ps_purge_wire_read(record, &purge) == PS_OK) {
        PS_CHECK(ps_purge_wire_write(&purge, again, &len) == PS_OK);
        PS_CHECK(ps_str_eq((struct ps_str){again, len}, record));
        match(&purge);
    }
    free(copy);
    return 0;
}

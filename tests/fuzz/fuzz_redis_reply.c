/*
 * fuzz_redis_reply - what a cache server may send: replies, its map, its redirections.
 *
 * Input: bytes of a connection. Read whole and in pieces they give the same replies; no reply
 * passes a bound; every one is tried as a map and, if it is an error, as a redirection.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/redis_reply.h"
#include "gateway/redis_slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_ITEMS = 64, MAX_BYTES = 1 << 16 };

static size_t items_of(const struct ps_redis_reply *reply)
{
    size_t items = reply->count;
    for (size_t i = 0; i < reply->count; i++) {
        items += items_of(reply->items[i]);
    }
    return items;
}

static void use(const struct ps_redis_reply *reply)
{
    struct ps_redis_map *map = NULL;
    PS_CHECK(items_of(reply) <= MAX_ITEMS && reply->text.len <= MAX_BYTES);
    PS_CHECK(reply->text.ptr == NULL || reply->text.ptr[reply->text.len] == '\0');
    if (reply->type == PS_REDIS_ERROR) {
        struct ps_redis_move move = ps_redis_read_move(reply->text, PS_STR("127.0.0.1"));
        PS_CHECK(move.kind == PS_REDIS_NO_REDIRECT ||
                 (move.slot < PS_REDIS_SLOTS && move.name[0] != '\0'));
    }
    if (ps_redis_map_read(&map, reply, PS_STR("127.0.0.1")) == PS_OK) {
        PS_CHECK(map->count > 0 && map->count <= MAX_ITEMS);
        for (size_t slot = 0; slot < PS_REDIS_SLOTS; slot++) {
            PS_CHECK(map->owners[slot] == PS_REDIS_NOBODY || map->owners[slot] < map->count);
        }
        ps_redis_map_free(map);
    }
}

/* Returns how many replies there were and how it ended. */
static size_t read_all(struct ps_str bytes, size_t step, int *err)
{
    static const struct ps_redis_bounds bounds = {.max_bytes = MAX_BYTES, .max_items = MAX_ITEMS};
    struct ps_redis_reader *reader = NULL;
    size_t replies = 0;
    *err = ps_redis_reader_new(&reader, &bounds);
    while (*err == PS_OK && bytes.len > 0) {
        struct ps_str piece = ps_str_first(bytes, step);
        bytes = ps_str_skip(bytes, piece.len);
        *err = ps_redis_reader_feed(reader, piece);
        struct ps_redis_reply *reply = NULL;
        while (*err == PS_OK && (*err = ps_redis_reader_next(reader, &reply)) == PS_OK &&
               reply != NULL) {
            replies++;
            use(reply);
            ps_redis_reply_free(reply);
            reply = NULL;
        }
    }
    ps_redis_reader_free(reader);
    return replies;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str bytes = {(const char *)data, size};
    int whole_err;
    int cut_err;
    if (size > MAX_BYTES) {
        return 0;
    }
    size_t whole = read_all(bytes, SIZE_MAX, &whole_err);
    size_t cut = read_all(bytes, 1 + size % 7, &cut_err);
    PS_CHECK(whole == cut && whole_err == cut_err);
    ps_redis_slot(bytes);
    return 0;
}

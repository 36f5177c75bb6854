/* sticky - which of several servers has what: learned from their answers, bounded, forgotten.
 *
 * Servers that keep jobs and files to themselves (ComfyUI) can stand behind one upstream only if
 * the call that fetches a result meets the server that made it. The table says where that was:
 *
 *      client id, prompt id, file name, client's address --> endpoint
 *
 * Keys are 128 bits of hash, so that an entry has a fixed size. The oldest entries go first, when
 * the table is full or after PS_STICKY_LIFE. Work that was handed over but not fetched yet counts
 * as load of its endpoint until it is seen done, is forgotten, or PS_STICKY_WORK is over: jobs are
 * accepted in a millisecond and done in a minute, and a queue must not look idle.
 *
 * Thread: any; a mutex, held for a few pointer writes. Only ComfyUI's calls come here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_STICKY_H
#define PS_GATEWAY_STICKY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#define PS_STICKY_ENTRIES 8192 /* of one upstream: about 0.7 MB */
#define PS_STICKY_LIFE    (6 * PS_HOUR)
#define PS_STICKY_WORK    (10 * PS_MINUTE)

struct ps_endpoint;
struct ps_sticky;

/* The same text gives the same key on every gateway. */
struct ps_sticky_key {
    uint64_t a, b; /* both 0 = none */
};

enum ps_sticky_key_kind {
    PS_STICKY_KEY_CLIENT, /* ComfyUI's clientId */
    PS_STICKY_KEY_JOB,    /* prompt_id */
    PS_STICKY_KEY_FILE,
    PS_STICKY_KEY_PEER /* who asks: tenant and address */
};

static inline bool ps_sticky_key_is_set(struct ps_sticky_key key)
{
    return key.a != 0 || key.b != 0;
}

/* The key of a text; none for an empty one. */
struct ps_sticky_key ps_sticky_key(enum ps_sticky_key_kind kind, struct ps_str text);

/* The key of a file; none when the names are too long or `name` is empty. */
struct ps_sticky_key ps_sticky_key_file(struct ps_str type, struct ps_str folder,
                                        struct ps_str name);

/* One key of two: the file as this peer means it. None when either is none. */
struct ps_sticky_key ps_sticky_key_join(struct ps_sticky_key left, struct ps_sticky_key right);

/* Creates a table of `capacity` entries (at least 1). PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_sticky_new(struct ps_sticky **out, size_t capacity);

/* NULL is fine. */
void ps_sticky_free(struct ps_sticky *sticky);

/* The key leads to the endpoint from now on. `work` > 0 is added to the endpoint's tokens in
 * flight, see above; what the key had booked before is taken back. A key that is none is not kept.
 */
void ps_sticky_learn(struct ps_sticky *sticky, struct ps_sticky_key key,
                     struct ps_endpoint *endpoint, uint64_t work, ps_time now);

/* The id of the endpoint where the key leads; 0 = not known (ids begin with 1). */
uint32_t ps_sticky_find(struct ps_sticky *sticky, struct ps_sticky_key key, ps_time now);

/* Entries in use. */
size_t ps_sticky_count(struct ps_sticky *sticky);

#endif

/* purge - what was declared invalid, and when: a log that outlives every answer it is about.
 *
 * A purge is a record with a time. It makes invalid whatever matches and was asked for upstream
 * before that time, be it in a cache now, on its way, or on another machine: so a record is kept
 * for as long as the longest life of an entry. Nothing is searched for when it comes; each entry
 * remembers up to which record it was found valid, and is matched only against newer ones when it
 * is next asked for.
 *
 *      records    [1: model llama*] [2: tag faq] [3: key 5f..]          position = 3
 *      entry A    seen 3: nothing to do            entry B  seen 1: matched against 2 and 3
 *
 * The log is bounded. When it is full the oldest record becomes a floor: everything that was asked
 * for before its time is invalid, which is more than was meant and never less.
 *
 * Times are wall-clock, because gateways compare them; a record from the future counts as of now.
 *
 * Thread: any. A reader-writer lock, held for the match of the records that an entry has not seen.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_PURGE_H
#define PS_GATEWAY_PURGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "gateway/entry.h"
#include "gateway/key.h"

#define PS_PURGE_TEXT_MAX 512 /* bytes of a pattern or tag */

enum ps_purge_kind {
    /* A glob (base/glob.h) over `route/model/tenant/tag` of an entry, once for each tag (an entry
     * without tags has an empty one), and over each of the four alone. */
    PS_PURGE_PATTERN,
    PS_PURGE_TAG, /* this very tag */
    PS_PURGE_KEY  /* this very entry */
};

struct ps_purge {
    enum ps_purge_kind kind;
    ps_time at;           /* what was asked for at or before this time is invalid */
    struct ps_str text;   /* of PATTERN and TAG */
    struct ps_key key;    /* of KEY */
    struct ps_str tenant; /* only entries of this tenant ... */
    bool has_tenant;      /* ... when this is set */
};

struct ps_purge_log;

/* Keeps at most `max` records (at least 1), each until `keep` after its time. PS_OK or PS_ENOMEM.
 */
PS_MUST_CHECK int ps_purge_log_new(struct ps_purge_log **out, size_t max, ps_span keep);

/* NULL is fine. */
void ps_purge_log_free(struct ps_purge_log *log);

/* Adds a record; the texts are copied. One that is there already (a message and a log may both
 * bring it) or that is too old to matter changes nothing. PS_OK, PS_ENOMEM, or PS_EINVAL for a text
 * that is empty or too long. */
PS_MUST_CHECK int ps_purge_log_add(struct ps_purge_log *log, const struct ps_purge *purge,
                                   ps_time now);

/* Is the entry invalid? Marks it as seen up to the present position when it is not. Costs one load
 * when nothing new was purged since it was last asked for. */
bool ps_purge_log_hits(struct ps_purge_log *log, struct ps_entry *entry, const struct ps_key *key);

/* Would ps_purge_log_hits() have to look at records? */
bool ps_purge_log_is_ahead(const struct ps_purge_log *log, const struct ps_entry *entry);

/* Records kept at present. */
size_t ps_purge_log_count(struct ps_purge_log *log);

#endif

/* purge_wire - a purge as a record of the log in the cache servers, and back.
 *
 *      0   4  "PSP" and the format's version, 1
 *      4   1  kind (enum ps_purge_kind)
 *      5   1  1 = of one tenant, 0 = of all
 *      6   2  length of the text; 0 for a key
 *      8   8  at, nanoseconds since 1970
 *     16   2  length of the tenant
 *     18      the key (32 bytes, only for PS_PURGE_KEY), the text, the tenant
 *
 * Numbers are little-endian. Equal purges are equal bytes, so one that is written again is in the
 * log once.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_PURGE_WIRE_H
#define PS_GATEWAY_PURGE_WIRE_H

#include "base/err.h"
#include "base/str.h"
#include "gateway/purge.h"

#define PS_PURGE_WIRE_MAX (18 + PS_KEY_BYTES + PS_PURGE_TEXT_MAX + PS_ENTRY_NAME_MAX)

/* Writes a record into `out` and its length into *len. PS_OK, or PS_EINVAL for a purge that no log
 * would take: a text that is empty or too long, a time before 1970. */
PS_MUST_CHECK int ps_purge_wire_write(const struct ps_purge *purge, char out[PS_PURGE_WIRE_MAX],
                                      size_t *len);

/* Reads a record; *out has views into it. PS_OK, or PS_EPARSE: it is none in every point. */
PS_MUST_CHECK int ps_purge_wire_read(struct ps_str record, struct ps_purge *out);

#endif

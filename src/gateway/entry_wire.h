/* entry_wire - an entry as bytes, for the servers of the shared cache, and back.
 *
 *      0   4  "PSE" and the format's version, 1
 *      4   2  status
 *      6   1  kind (enum ps_entry_kind)
 *      7   1  number of tags
 *      8   8  born, nanoseconds since 1970
 *     16   8  stored, likewise
 *     24   8  fresh, nanoseconds; the largest number = for good
 *     32   8  while_revalidate
 *     40   8  if_error
 *     48   4  seconds, an IEEE 754 single
 *     52   4  prompt tokens
 *     56   4  completion tokens
 *     60   4  length of the head
 *     64   2  length of the route
 *     66   2  length of the model
 *     68   2  length of the tenant
 *     70   2  0
 *     72      route, model, tenant, each tag behind its length (2 bytes), head, body to the end
 *
 * Numbers are little-endian. What is read is hostile (see envelope.h): nothing is believed that an
 * entry could not hold, and a head must be lines of a header that say nothing about the framing of
 * a message, so that no answer can be made out of another one's bytes.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ENTRY_WIRE_H
#define PS_GATEWAY_ENTRY_WIRE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "gateway/entry.h"

#define PS_ENTRY_WIRE_OVERHEAD 72 /* bytes beyond the texts */

/* Appends the entry. PS_OK; PS_EINVAL: it could not be read back, see above; PS_ELIMIT (`out` is
 * full) or PS_ENOMEM: nothing was appended. */
PS_MUST_CHECK int ps_entry_wire_write(const struct ps_entry *entry, struct ps_buf *out);

/* Makes the entry that these bytes are, with one reference; everything is copied. PS_OK, PS_ENOMEM,
 * or PS_EPARSE: they are none in every point. */
PS_MUST_CHECK int ps_entry_wire_read(struct ps_str bytes, struct ps_entry **out);

#endif

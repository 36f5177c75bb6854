/* vary - several answers under one name: which fields of the request choose between them, and what
 * the one is called that a request means (RFC 9111, 4.1).
 *
 *      primary key -> marker: "accept-encoding, x-flavour", mark 7b31..
 *                        \
 *                         SHA-256(primary key, mark, values of these fields) -> the answer
 *
 * An answer without Vary stands under the primary key itself. One with Vary stands under a key of
 * its own, and the primary key has a marker, an entry of the kind PS_ENTRY_VARY whose body is the
 * text below. When another answer varies by other fields, the marker takes in both: more fields
 * only tell more requests apart. So one look-up finds an answer, or two.
 *
 * The mark is what binds answers to their marker: who takes the marker out (a purge, an unsafe
 * method) has taken out all of them, because a new marker has another mark.
 *
 * Values are compared after what changes nothing about them: lines of one name are joined, white
 * space around commas goes, and the case of letters where the field does not know it
 * (Accept-Language, Accept-Encoding, Accept-Charset); encodings are sorted too. Languages are not:
 * servers give those of equal weight precedence by their order (RFC 9110, 12.5.4).
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_VARY_H
#define PS_GATEWAY_VARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "gateway/key.h"
#include "http/h1_head.h"

#define PS_VARY_NAMES_MAX  16u  /* fields */
#define PS_VARY_TEXT_MAX   512u /* bytes of all their names */
#define PS_VARY_MARKER_MAX (16u + 1u + PS_VARY_TEXT_MAX + PS_VARY_NAMES_MAX)

/* Names in lower case, sorted, each once. */
struct ps_vary {
    size_t count;
    size_t len; /* of text */
    struct {
        uint16_t at, len;
    } names[PS_VARY_NAMES_MAX];
    char text[PS_VARY_TEXT_MAX];
};

static inline struct ps_str ps_vary_name(const struct ps_vary *vary, size_t i)
{
    return (struct ps_str){vary->text + vary->names[i].at, vary->names[i].len};
}

/* Adds the names in all Vary lines of an answer. PS_OK; PS_EINVAL for `*` and what is no name: it
 * fits no request but its own; PS_ELIMIT. */
PS_MUST_CHECK int ps_vary_add(struct ps_vary *vary, const struct ps_h1_head *answer);

/* Adds the names of another one. PS_OK, or PS_ELIMIT: some of them are missing then. */
PS_MUST_CHECK int ps_vary_join(struct ps_vary *vary, const struct ps_vary *other);

bool ps_vary_equal(const struct ps_vary *a, const struct ps_vary *b);

/* Writes a marker's body: the mark as 16 hex digits, a space, the names with a comma between.
 * Returns its length. */
size_t ps_vary_write_marker(const struct ps_vary *vary, uint64_t mark,
                            char out[PS_VARY_MARKER_MAX]);

/* Reads it back. PS_OK or PS_EPARSE. */
PS_MUST_CHECK int ps_vary_read_marker(struct ps_str body, struct ps_vary *vary, uint64_t *mark);

/* The key of the answer that a request means. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_vary_key(const struct ps_vary *vary, uint64_t mark,
                              const struct ps_key *primary, const struct ps_h1_head *request,
                              struct ps_key *out);

#endif

/* canon - a JSON document by its meaning: a canonical encoding, made from a parser's events.
 *
 * Two documents have the same encoding exactly when they mean the same: members are sorted by name,
 * strings are their UTF-8 bytes whatever escapes spelt them, numbers are exact decimals (1, 1.0 and
 * 1e0 are one number; 2^53 and 2^53 + 1 are two, whatever a reader with doubles makes of them).
 *
 *      null n   true t   false f   number #len:digits e exponent   string "len:bytes
 *      array [ items ]   object { name value ... }, sorted   digest H sha-256 of any of these
 *
 * A value whose encoding is longer than PS_CANON_INLINE is replaced by its digest, so that a long
 * prompt is hashed where it stands and memory is bounded by what is open, not by the document:
 * strings and arrays are hashed as they come, and only the members of open objects are held.
 *
 * What has no certain meaning is refused: a name that comes twice in one object, a number of more
 * than PS_CANON_NUMBER_MAX bytes. Text must be valid UTF-8: that is the parser's part
 * (canon_parse.h).
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_CANON_H
#define PS_GATEWAY_CANON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "base/chunk.h"
#include "base/err.h"
#include "base/str.h"

#define PS_CANON_INLINE      1024u  /* bytes of an encoding that stands for itself */
#define PS_CANON_DIGEST      32u    /* bytes of a digest */
#define PS_CANON_DEPTH_MAX   128u   /* open containers */
#define PS_CANON_MEMBERS_MAX 65536u /* members of all open objects */
#define PS_CANON_NUMBER_MAX  256u   /* bytes of a number's text */

struct ps_canon_opts {
    const EVP_MD *sha256;     /* borrowed; fetched once, because that is slow */
    struct ps_budget *budget; /* what is held counts against it; NULL = no bound */
    /* Names of top-level members that are left out; ends with {NULL, 0}. NULL = none. */
    const struct ps_str *ignored;
    /* A top-level member whose value is not part of the encoding: its items are encoded one by one
     * (see ps_canon_item()). An array of numbers is one item, and so is whatever is no array.
     * Empty = none. */
    struct ps_str items;
};

struct ps_canon;

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_canon_new(struct ps_canon **out, const struct ps_canon_opts *opts);

/* NULL is fine. */
void ps_canon_free(struct ps_canon *canon);

/* The events of a parser that guarantees their order. PS_OK; PS_EPARSE: no certain meaning, see
 * ps_canon_reason(); PS_ELIMIT: a bound above or the budget; PS_ENOMEM. After a failure the object
 * is only good for freeing. */
PS_MUST_CHECK int ps_canon_null(struct ps_canon *canon);
PS_MUST_CHECK int ps_canon_boolean(struct ps_canon *canon, bool yes);
PS_MUST_CHECK int ps_canon_number(struct ps_canon *canon, struct ps_str text);
PS_MUST_CHECK int ps_canon_open(struct ps_canon *canon, bool object);
PS_MUST_CHECK int ps_canon_close(struct ps_canon *canon);

/* A string or name: begins, comes in any pieces, ends as what it is. */
void ps_canon_begin_text(struct ps_canon *canon);
PS_MUST_CHECK int ps_canon_text(struct ps_canon *canon, struct ps_str piece);
PS_MUST_CHECK int ps_canon_end_string(struct ps_canon *canon);
PS_MUST_CHECK int ps_canon_end_name(struct ps_canon *canon);

/* When the document is complete: its encoding, at most PS_CANON_INLINE + 1 bytes. Borrowed. */
struct ps_str ps_canon_encoding(const struct ps_canon *canon);

/* How many items the member `items` had, and the encoding of one. Borrowed. */
size_t ps_canon_items(const struct ps_canon *canon);
struct ps_str ps_canon_item(const struct ps_canon *canon, size_t i);

/* Why it was refused: a short phrase, static. */
const char *ps_canon_reason(const struct ps_canon *canon);

/* Writes the canonical form of a JSON number: digits without zeros at either end, `e`, the decimal
 * exponent; zero is `0`, never negative. Returns the length, or 0 for what is no number or has too
 * many digits. */
size_t ps_canon_write_number(struct ps_str text, char out[PS_CANON_NUMBER_MAX + 32]);

#endif

/* envelope - what stands around a value in the distributed cache, and what makes it believable.
 *
 * Whoever can write to the cache servers could otherwise put words into our mouth, and a server
 * that is ill returns halves. So a value says which key it is for, how long it is, when it was
 * stored, and ends with a check of all of it; what does not fit in every point is no value.
 *
 *      0   4  "PSV" and the format's version, 1
 *      4   4  flags: bit 0 the body is compressed (zstd), bit 1 the check is keyed
 *      8  32  the key
 *     40   4  length of the body as it follows
 *     44   4  length of the body as it was given
 *     48   8  when it was stored, milliseconds since 1970
 *     56   4  how long it is good from then, in seconds
 *     60   4  a number of the caller's
 *     64   n  the body
 *   64+n  16  the check: CRC-32 (zlib's) and zeros, or with a secret the first 16 bytes of
 *             HMAC-SHA-256, over everything before
 *
 * Numbers are little-endian. With a secret, which all gateways must share, a value can't be forged;
 * a value without a keyed check is refused then, and without a secret a keyed one, because nobody
 * can say whether it is right.
 *
 * Thread: a codec belongs to one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ENVELOPE_H
#define PS_GATEWAY_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#define PS_ENVELOPE_KEY_BYTES 32
#define PS_ENVELOPE_OVERHEAD  80 /* bytes beyond the body */

struct ps_envelope_opts {
    uint64_t max_body;       /* of the body as given; longer ones are neither written nor read */
    uint64_t compress_above; /* bodies longer than this are compressed, if that helps; 0 = never */
    const char *secret;      /* for the keyed check, or NULL; borrowed while the codec lives */
};

struct ps_envelope_codec; /* buffers and contexts that are used again for each value */

/* Makes a codec. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_envelope_codec_new(struct ps_envelope_codec **out,
                                        const struct ps_envelope_opts *opts);
void ps_envelope_codec_free(struct ps_envelope_codec *codec); /* NULL is fine */

/* A value: the body and what is known of it. */
struct ps_envelope {
    struct ps_str body;
    ps_time stored; /* on the wall clock; kept in milliseconds */
    ps_span ttl;    /* at least a second; kept in whole seconds, rounded up */
    uint32_t tag;   /* the caller's */
};

/* Appends the value for `key` to `out`. PS_OK; PS_ELIMIT (the body is too long, or `out` is full),
 * PS_EINVAL (the ttl is not positive), PS_ENOMEM: nothing was appended. */
PS_MUST_CHECK int ps_envelope_write(struct ps_envelope_codec *codec,
                                    const uint8_t key[PS_ENVELOPE_KEY_BYTES],
                                    const struct ps_envelope *value, struct ps_buf *out);

enum ps_envelope_fault {
    PS_ENVELOPE_FINE,
    PS_ENVELOPE_SHORT,   /* cut off, or not of the length that it says */
    PS_ENVELOPE_FOREIGN, /* not an envelope, or of another version */
    PS_ENVELOPE_KEY,     /* for another key */
    PS_ENVELOPE_LARGE,   /* longer than may be */
    PS_ENVELOPE_CHECK,   /* changed, or forged */
    PS_ENVELOPE_BODY,    /* does not decompress to what it says */
    PS_ENVELOPE_EXPIRED, /* too old: not a fault of anybody */
    PS_ENVELOPE_FAULTS
};

/* "short", "foreign", ...; "fine" for PS_ENVELOPE_FINE. Static text. */
const char *ps_envelope_fault_text(enum ps_envelope_fault fault);

/* Reads a value for `key` at the instant `now` of the wall clock. PS_ENVELOPE_FINE fills `out`; its
 * body is a view into `bytes` or into the codec, good until the codec's next use. Anything else
 * leaves `out` alone. Out of memory is PS_ENVELOPE_LARGE. */
PS_MUST_CHECK enum ps_envelope_fault ps_envelope_read(struct ps_envelope_codec *codec,
                                                      const uint8_t key[PS_ENVELOPE_KEY_BYTES],
                                                      struct ps_str bytes, ps_time now,
                                                      struct ps_envelope *out);

#endif

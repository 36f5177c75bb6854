/* h1_scan - which byte may stand where, and how far a run of such bytes goes.
 *
 * The inner loops of the parser. Values and targets are scanned 16 bytes at a time where SSE2 is
 * there; the table does the rest and everything elsewhere.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_H1_SCAN_H
#define PS_HTTP_H1_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define PS_H1_CLASS_TOKEN  1u /* RFC 9110, 5.6.2: names, methods */
#define PS_H1_CLASS_VALUE  2u /* RFC 9110, 5.5: field-vchar, SP, HTAB */
#define PS_H1_CLASS_TARGET 4u /* visible ASCII but '#' */
#define PS_H1_CLASS_HOST   8u /* RFC 3986, 3.2.2: reg-name without ',' */

extern const uint8_t ps_h1_class[256];

static inline bool ps_h1_is_class(char byte, unsigned class_bits)
{
    return (ps_h1_class[(unsigned char)byte] & class_bits) != 0;
}

/* The first byte in [p, end) that is not of the class, or end. */
static inline const char *ps_h1_scan_class(const char *p, const char *end, unsigned class_bits)
{
    while (p < end && ps_h1_is_class(*p, class_bits)) {
        p++;
    }
    return p;
}

static inline const char *ps_h1_scan_token(const char *p, const char *end)
{
    return ps_h1_scan_class(p, end, PS_H1_CLASS_TOKEN);
}

static inline const char *ps_h1_scan_value(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i below_space = _mm_set1_epi8(0x1f);
    const __m128i tab = _mm_set1_epi8('\t');
    const __m128i del = _mm_set1_epi8(0x7f);
    for (; end - p >= 16; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, below_space), bytes);
        control = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), control);
        unsigned bad =
            (unsigned)_mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(bytes, del)));
        if (bad != 0) {
            return p + __builtin_ctz(bad);
        }
    }
#endif
    return ps_h1_scan_class(p, end, PS_H1_CLASS_VALUE);
}

static inline const char *ps_h1_scan_target(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i first = _mm_set1_epi8(0x21);
    const __m128i hash = _mm_set1_epi8('#');
    const __m128i del = _mm_set1_epi8(0x7f);
    for (; end - p >= 16; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* signed: bytes from 0x80 on are below '!' too */
        __m128i other = _mm_cmpgt_epi8(first, bytes);
        other = _mm_or_si128(other, _mm_cmpeq_epi8(bytes, hash));
        unsigned bad = (unsigned)_mm_movemask_epi8(_mm_or_si128(other, _mm_cmpeq_epi8(bytes, del)));
        if (bad != 0) {
            return p + __builtin_ctz(bad);
        }
    }
#endif
    return ps_h1_scan_class(p, end, PS_H1_CLASS_TARGET);
}

/* True if the whole view is a token (not empty), a header value, a target (not empty). */
bool ps_h1_is_token(struct ps_str text);
bool ps_h1_is_value(struct ps_str text);
bool ps_h1_is_target(struct ps_str text);

#endif

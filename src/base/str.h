/* str - a view of bytes: pointer and length, not owned, not terminated.
 *
 * What comes from the network is never a C string; it may hold NUL bytes and it ends where its
 * length says. A view borrows: it is valid only as long as the bytes that it points into.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_STR_H
#define PS_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct ps_str {
    const char *ptr;
    size_t len;
};

/* A view of a string literal, usable in initialisers too (PS_STR_INIT). */
#define PS_STR(literal) ((struct ps_str){"" literal, sizeof(literal) - 1})
#define PS_STR_INIT(literal)                                                                       \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }

/* For printf("%.*s", PS_STR_ARG(view)). */
#define PS_STR_ARG(view) (int)(view).len, (view).ptr

/* A view of a C string; NULL gives the empty view. */
static inline struct ps_str ps_str_from(const char *text)
{
    return (struct ps_str){text, text == NULL ? 0 : strlen(text)};
}

static inline bool ps_str_eq(struct ps_str a, struct ps_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Equal but for the case of ASCII letters. */
bool ps_str_ieq(struct ps_str a, struct ps_str b);

bool ps_str_starts_with(struct ps_str text, struct ps_str prefix);
bool ps_str_istarts_with(struct ps_str text, struct ps_str prefix);
bool ps_str_ends_with(struct ps_str text, struct ps_str suffix);

/* Position of the first `byte`, or text.len when there is none. */
size_t ps_str_find(struct ps_str text, char byte);

/* Is `needle` somewhere in `text`? */
bool ps_str_contains(struct ps_str text, struct ps_str needle);

/* The view without its first `n` bytes (all of them when n is larger). */
static inline struct ps_str ps_str_skip(struct ps_str text, size_t n)
{
    n = n < text.len ? n : text.len;
    return n == 0 ? text : (struct ps_str){text.ptr + n, text.len - n}; /* NULL + 0 is undefined */
}

/* The view's first `n` bytes (all of them when n is larger). */
static inline struct ps_str ps_str_first(struct ps_str text, size_t n)
{
    return (struct ps_str){text.ptr, n < text.len ? n : text.len};
}

/* Without spaces and tabs at both ends. */
struct ps_str ps_str_trim(struct ps_str text);

/* Takes the part of *rest before the next `separator` (or all of it) and moves *rest behind the
 * separator. Returns false when *rest was already used up (its ptr is NULL then). */
bool ps_str_split(struct ps_str *rest, char separator, struct ps_str *part);

/* Calls for each member of a comma separated header list: trimmed, empty members left out.
 * Use: while (ps_str_next_member(&rest, &member)). */
bool ps_str_next_member(struct ps_str *rest, struct ps_str *member);

/* Reads a decimal number of digits only. Returns PS_OK, PS_EPARSE for anything else (empty, sign,
 * space), PS_ELIMIT when it does not fit. */
PS_MUST_CHECK int ps_str_to_u64(struct ps_str text, uint64_t *out);

/* Reads a finite decimal number in JSON's syntax, whole view. Returns PS_OK or PS_EPARSE. */
PS_MUST_CHECK int ps_str_to_double(struct ps_str text, double *out);

/* Length of the valid UTF-8 sequence at the start of text (RFC 3629), 0 when there is none. */
size_t ps_str_utf8_length(struct ps_str text);

/* A terminated copy; free() it. NULL when out of memory. */
char *ps_str_dup(struct ps_str text);

/* Compares without telling by its duration where the difference is; lengths are not secret. */
bool ps_str_eq_constant_time(struct ps_str a, struct ps_str b);

/* A 64-bit hash for tables, seeded so that outsiders can't choose collisions (SipHash-1-3,
 * Aumasson and Bernstein 2012). */
uint64_t ps_str_hash(struct ps_str text, uint64_t seed);

#endif

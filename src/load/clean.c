/* clean - see clean.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/clean.h"

#include <stdbool.h>
#include <stdint.h>

#define REPLACEMENT "\xef\xbf\xbd"

/* C0, DEL and C1 controls, line and paragraph separators, and U+061C, U+200E, U+200F, U+202A..E, U+2066..9:
 * with the latter a text could look like another one. */
static bool is_unfit(const unsigned char *p, size_t len)
{
    if (len == 1) {
        return p[0] < 0x20 || p[0] == 0x7f;
    }
    if (len == 2) {
        return (p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xd8 && p[1] == 0x9c);
    }
    if (len == 3 && p[0] == 0xe2) {
        return (p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae))) ||
               (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
    }
    return false;
}

char *ps_clean_text(struct ps_str from, char *text, size_t size)
{
    size_t used = 0;
    while (from.len > 0) {
        size_t len = ps_str_utf8_length(from);
        struct ps_str piece = len == 0 ? PS_STR(REPLACEMENT) : ps_str_first(from, len);
        if (len > 0 && is_unfit((const unsigned char *)from.ptr, len)) {
            piece = PS_STR(" ");
        }
        if (used + piece.len >= size) {
            break;
        }
        memcpy(text + used, piece.ptr, piece.len);
        used += piece.len;
        from = ps_str_skip(from, len == 0 ? 1 : len);
    }
    text[used] = '\0';
    return text;
}

/* The bytes from `//` to the next of "/?#" or the end. */
static size_t authority_end(struct ps_str rest)
{
    size_t end = 0;
    while (end < rest.len && strchr("/?#", rest.ptr[end]) == NULL) {
        end++;
    }
    return end;
}

char *ps_clean_url(struct ps_str url, char *text, size_t size)
{
    url = ps_str_first(url, ps_str_find(url, '#'));
    url = ps_str_first(url, ps_str_find(url, '?'));
    size_t scheme = 0;
    while (scheme + 3 <= url.len && memcmp(url.ptr + scheme, "://", 3) != 0) {
        scheme++;
    }
    scheme = scheme + 3 <= url.len ? scheme + 3 : 0;
    struct ps_str rest = ps_str_skip(url, scheme);
    size_t host = authority_end(rest);
    while (host > 0 && rest.ptr[host - 1] != '@') {
        host--; /* behind the last '@', so that a password with an '@' goes too */
    }
    ps_clean_text(ps_str_first(url, scheme), text, size);
    size_t used = strlen(text);
    ps_clean_text(ps_str_skip(rest, host), text + used, size - used);
    return text;
}

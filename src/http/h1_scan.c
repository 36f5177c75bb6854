/* h1_scan - which byte may stand where, as a table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/h1_scan.h"

/* One row per 16 bytes; the sum of the PS_H1_CLASS_* bits. tests/unit/test_h1_scan.c builds the
 * same table from the words of RFC 9110 and RFC 3986. */
/* clang-format off */
const uint8_t ps_h1_class[256] = {
     0,  0,  0,  0,  0,  0,  0,  0,  0,  2,  0,  0,  0,  0,  0,  0,
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
     2, 15,  6,  3, 15, 15, 15, 15, 14, 14, 15, 15,  6, 15, 15,  6,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6, 14,  6, 14,  6,  6,
     6, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6,  6,  6,  7, 15,
     7, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6,  7,  6, 15,  0,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
};
/* clang-format on */

bool ps_h1_is_token(struct ps_str text)
{
    const char *end = text.ptr + text.len;
    return text.len > 0 && ps_h1_scan_token(text.ptr, end) == end;
}

bool ps_h1_is_value(struct ps_str text)
{
    const char *end = text.ptr + text.len;
    return text.len == 0 || ps_h1_scan_value(text.ptr, end) == end;
}

bool ps_h1_is_target(struct ps_str text)
{
    const char *end = text.ptr + text.len;
    return text.len > 0 && ps_h1_scan_target(text.ptr, end) == end;
}

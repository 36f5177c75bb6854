/* sparse - see sparse.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/sparse.h"

#include <stdbool.h>

#define STEP_TEXT_MAX 48 /* two numbers of 20 digits, a space and an x */

static char *print(uint64_t number, char *to)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        *to++ = digits[--count];
    }
    return to;
}

int ps_sparse_write(const uint64_t *steps, size_t count, struct ps_buf *out)
{
    size_t last = 0;
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        if (steps[i] == 0) {
            continue;
        }
        char text[STEP_TEXT_MAX];
        char *end = text;
        if (!first) {
            *end++ = ' ';
        }
        end = print(i - last, end);
        if (steps[i] > 1) {
            *end++ = 'x';
            end = print(steps[i], end);
        }
        int err = ps_buf_append(out, text, (size_t)(end - text));
        if (err != PS_OK) {
            return err;
        }
        last = i;
        first = false;
    }
    return PS_OK;
}

/* Digits at the front of *text; false: there are none, or too many. */
static bool take_number(struct ps_str *text, uint64_t *number)
{
    size_t n = 0;
    *number = 0;
    while (n < text->len && n < 18 && text->ptr[n] >= '0' && text->ptr[n] <= '9') {
        *number = *number * 10 + (uint64_t)(text->ptr[n++] - '0');
    }
    *text = ps_str_skip(*text, n);
    return n > 0;
}

static bool take_byte(struct ps_str *text, char byte)
{
    bool there = text->len > 0 && text->ptr[0] == byte;
    *text = ps_str_skip(*text, there ? 1 : 0);
    return there;
}

int ps_sparse_read(struct ps_str text, uint64_t *steps, size_t count, struct ps_sparse_span *span)
{
    uint64_t at = 0;
    *span = (struct ps_sparse_span){0};
    for (bool first = true; text.len > 0; first = false) {
        uint64_t distance = 0, times = 1;
        if ((!first && !take_byte(&text, ' ')) || !take_number(&text, &distance) ||
            (!first && distance == 0)) {
            return PS_EPARSE;
        }
        if (take_byte(&text, 'x') && (!take_number(&text, &times) || times == 0)) {
            return PS_EPARSE;
        }
        at += distance;
        if (distance >= count || at >= count || steps[at] > UINT64_MAX - times ||
            span->total > UINT64_MAX - times) {
            return PS_EPARSE;
        }
        steps[at] += times;
        span->first = first ? at : span->first;
        span->last = at;
        span->total += times;
    }
    return PS_OK;
}

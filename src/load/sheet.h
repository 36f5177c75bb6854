/* sheet - the frame of pages that stand alone, and the writing of escaped text into them.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_SHEET_H
#define PS_LOAD_SHEET_H

#include "base/buf.h"
#include "base/err.h"

/* The first error stays; after it nothing is written. */
struct ps_sheet {
    struct ps_buf *out;
    int err;
};

/* Everything up to <body>, with the policy and the style sheet; and the end. */
void ps_sheet_begin(struct ps_sheet *sheet, const char *title);
void ps_sheet_end(struct ps_sheet *sheet);

/* Markup of ours: literals, and numbers through format. Nothing from outside goes through these. */
void ps_sheet_put(struct ps_sheet *sheet, const char *markup);
void ps_sheet_printf(struct ps_sheet *sheet, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Text, escaped. */
void ps_sheet_text(struct ps_sheet *sheet, const char *text);

/* The same as a sentence: its first letter large, a full stop at its end. */
void ps_sheet_sentence(struct ps_sheet *sheet, const char *text);

/* <span class="pill VERDICT">word</span>; `word` is text. */
void ps_sheet_pill(struct ps_sheet *sheet, const char *verdict);

#endif

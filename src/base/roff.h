/* roff - manual pages: our texts in the language of man(7).
 *
 * The texts of tables and pages are marked up alike, in the little of Markdown that reads well as
 * it stands, and become roff here:
 *
 *      `code` is bold, **word** is italic, a blank line ends a paragraph,
 *      "- " begins an item of a list, lines that begin with a blank stay as they are.
 *
 * Written for groff and mandoc, without a complaint from either: lines are broken at their width
 * and after each sentence.
 *
 *      struct ps_roff page = {.out = stdout};
 *      ps_roff_title(&page, "PENSTOCK-SIM", 1, "0.1.0", "2025-11-28");
 *      ps_roff_heading(&page, 1, "Options");
 *      ps_roff_term(&page, "`--speed` **X**");
 *      ps_roff_text(&page, ps_str_from("how many times faster than that time passes"));
 *
 * Source: man(7), groff_man(7), groff_char(7).
 *
 * Thread: the caller's. Errors stay in the stream: ferror().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_ROFF_H
#define PS_BASE_ROFF_H

#include <stdbool.h>
#include <stdio.h>

#include "base/str.h"

struct ps_roff {
    FILE *out;
    size_t column; /* bytes on the line so far */
    bool bold;     /* inside of `code` ... */
    bool italic;   /* ... or of **word** */
};

/* The first line of a page. `date` is YYYY-MM-DD, or "" when it is not known. */
void ps_roff_title(struct ps_roff *roff, const char *name, int section, const char *version,
                   const char *date);

/* The section that whatis(1) and apropos(1) read: "name - brief". */
void ps_roff_name(struct ps_roff *roff, const char *name, const char *brief);

/* A heading; level 1 is written in capitals. */
void ps_roff_heading(struct ps_roff *roff, int level, const char *text);

/* What the following text explains, on a line of its own; marked up. */
void ps_roff_term(struct ps_roff *roff, const char *text);

/* What follows begins a paragraph. */
void ps_roff_break(struct ps_roff *roff);

/* Running text, marked up: paragraphs, lists. Whatever was open is closed at its end. */
void ps_roff_text(struct ps_roff *roff, struct ps_str text);

#endif

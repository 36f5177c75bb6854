/* page - the live page, as it was built into the program, on its way to a browser.
 *
 * One document with its script and its style inside (tools/page.py makes it of web/), gzipped where the client
 * takes that. Its policy names both by hash: nothing else runs, and nothing is fetched from elsewhere. It holds no
 * figures, so whoever has no token yet may see it (it has the form to sign in with); it is then sent as 401.
 *
 * Thread: pure functions on constants.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_PAGE_H
#define PS_DAEMON_PAGE_H

#include <stdbool.h>

#include "base/str.h"

struct ps_ask;

struct ps_page {
    struct ps_str plain; /* HTML; empty: built without */
    struct ps_str gzip;
    const char *policy; /* Content-Security-Policy */
    const char *tag;    /* of the content, for ETag */
};

extern const struct ps_page ps_page_embedded;

/* How much a header like Accept or Accept-Encoding wants `name`, 0..1: the most exact member counts, which is
 * `name`, then `group` (as "text/" followed by "*"), then `any`. An absent header is `otherwise`. */
double ps_page_wish(struct ps_str header, struct ps_str name, struct ps_str group, struct ps_str any,
                    double otherwise);

/* Is the document there, and what this ask wants rather than plain text? */
bool ps_page_is_wanted(const struct ps_page *page, const struct ps_ask *ask);

/* Fills the document into the ask with `status`: 200, then 304 for who has it already, or 401. */
void ps_page_answer(const struct ps_page *page, struct ps_ask *ask, int status);

#endif

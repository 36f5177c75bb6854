/* top_view - the rows of `penstock top`, for a terminal of some size, or as plain lines.
 *
 *      penstock top  http://127.0.0.1:5000  14:03:07
 *      TRAFFIC
 *        requests                        41.0 requests/s  ▁▂▂▅▇▆▃▂
 *      ...
 *      EVENTS
 *        14:02:51 warn  endpoint is unhealthy upstream=a
 *
 * Names and events come over the network: what is no printable character is shown as `?`.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_TOP_VIEW_H
#define PS_CLI_TOP_VIEW_H

#include <stdbool.h>

#include "base/buf.h"
#include "cli/top_data.h"

/* How a row looks; the first byte of each. */
enum ps_top_style {
    PS_TOP_PLAIN = '.',
    PS_TOP_BAR = '#',   /* the first and the last row */
    PS_TOP_TITLE = '=', /* of a section */
    PS_TOP_DIM = '-',   /* not known */
    PS_TOP_WARN = '!',
    PS_TOP_BAD = 'x'
};

struct ps_top_view {
    const char *url;
    const char *trouble; /* why there are no new figures, or NULL */
    unsigned width, height;
    enum ps_top_section section;
    size_t
        scroll; /* rows of the middle that are above the window; corrected where it is too much */
    bool utf8;
    bool paused;
    bool help;
};

/* Appends `height` rows, each a style, at most `width` columns of text, and LF. PS_OK, PS_ELIMIT or
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_top_view_write(struct ps_top_view *view, const struct ps_top_data *data,
                                    struct ps_buf *out);

/* Appends a line for each series that is known: section, key, number, unit; then the events. */
PS_MUST_CHECK int ps_top_view_lines(const struct ps_top_data *data, struct ps_buf *out);

#endif

/* items_frame - what stands around the items of an answer; shared by split and join (items.h).
 *
 *      {"object":"list","id":"e1","data":[ ... ],"model":"m","usage":{"prompt_tokens":5}}
 *      ^head                    ^--^name       ^list   ^tail                          ^count
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ITEMS_FRAME_H
#define PS_GATEWAY_ITEMS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "gateway/items.h"

#define PS_ITEMS_COUNT_MAX ((uint64_t)1 << 53) /* larger counts are refused */

/* A value that may differ between the pieces of one answer. */
struct ps_items_blank {
    struct ps_str text;
    uint64_t count;
    bool counts; /* a whole number that is added up; else it names the answer */
};

/* Views into one answer. */
struct ps_items_frame {
    struct ps_str head;                                /* to the bracket that opens the list */
    struct ps_str list;                                /* what is between the brackets */
    struct ps_str tail;                                /* from the bracket that closes it */
    struct ps_items_blank blanks[PS_ITEMS_COUNTS_MAX]; /* in the order in which they stand */
    size_t blanks_count;
    size_t tokens; /* the blank with the tokens of the prompts; SIZE_MAX = none */
};

/* An item of the list. */
struct ps_items_one {
    struct ps_str text;
    struct ps_str before; /* the number behind `index` stands between these two; */
    struct ps_str behind; /* where items have none, all is in `before` */
    uint64_t index;
};

/* Finds the frame of an answer, which need not be JSON. PS_OK or PS_EPARSE. */
PS_MUST_CHECK int ps_items_frame_read(struct ps_items_frame *frame, enum ps_items_form form,
                                      struct ps_str answer);

/* Is it JSON when its list is empty? PS_OK, PS_EPARSE or PS_ENOMEM. */
PS_MUST_CHECK int ps_items_frame_check(const struct ps_items_frame *frame);

/* Takes the next item of a list from *rest, which begins as frame->list, `first` set. False: there
 * is none, or what is there is no item; then *rest is not empty. Items without an index get 0. */
bool ps_items_frame_next(enum ps_items_form form, struct ps_str *rest, bool first,
                         struct ps_items_one *one);

/* Do the two belong to one answer? */
bool ps_items_frame_agree(const struct ps_items_frame *a, const struct ps_items_frame *b);

/* Appends head or tail with other counts, one for each blank. PS_OK or what the buffer says. */
PS_MUST_CHECK int ps_items_frame_write(const struct ps_items_frame *frame, struct ps_str part,
                                       const uint64_t *counts, struct ps_buf *out);

#endif

/* h1_parse - one line of a head at a time, and what the lines mean. Internal to h1.
 *
 * A parser reads from `p` and never past the first LF. It returns the byte behind the line end, or
 * NULL: then `fault->code` says what is wrong, or PS_H1_ERR_NONE that the line has no end yet. A
 * fault may be found before the line is complete; h1 reports it only when it is, so that events
 * don't depend on how the bytes were cut.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_H1_PARSE_H
#define PS_HTTP_H1_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "http/h1_head.h"

struct ps_h1_fault {
    enum ps_h1_error_code code;
    const char *at;
};

/* "METHOD TARGET HTTP/1.x": fills method, method_id, target, path, minor; the host of an absolute
 * target goes into head->host. */
const char *ps_h1_parse_request_line(const char *p, const char *end, uint32_t max_target,
                                     struct ps_h1_head *head, struct ps_h1_fault *fault);

/* "HTTP/1.x STATUS reason": fills minor, status, reason. */
const char *ps_h1_parse_status_line(const char *p, const char *end, struct ps_h1_head *head,
                                    struct ps_h1_fault *fault);

/* "name: value": fills *out. */
const char *ps_h1_parse_field(const char *p, const char *end, struct ps_h1_header *out,
                              struct ps_h1_fault *fault);

/* Takes in what one header of the head says about the message. The header must be a view into its
 * line: the bytes around the value are looked at. */
enum ps_h1_error_code ps_h1_apply_field(struct ps_h1_head *head, const struct ps_h1_header *header,
                                        bool is_request);

/* May this header stand in a trailer? */
bool ps_h1_is_trailer_allowed(enum ps_h1_field id);

/* After the last line: what all lines say together. Sets keep_alive, upgrade and host. */
enum ps_h1_error_code ps_h1_finish_head(struct ps_h1_head *head, bool is_request);

#endif

/* record - what is known of a request when it has ended: for the log, and for whoever wants to count.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_RECORD_H
#define PS_GATEWAY_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/str.h"
#include "gateway/usage.h"
#include "io/address.h"

/* Views are valid during the call that hands it out. */
struct ps_record {
    ps_time wall;         /* when it began, nanoseconds since 1970 */
    ps_span duration;     /* first byte of the request to last byte of the answer */
    ps_span first_byte;   /* to the first byte of the answer's body; -1 = there was none */
    ps_span queued;       /* at the gate; -1 = it never came there */
    int status;           /* as sent; 499 = the client left before an answer */
    bool complete;        /* the answer was sent to its end */
    struct ps_str method, path, request_id, model;
    const char *route, *upstream, *endpoint, *tenant; /* or NULL */
    const char *error;    /* what went wrong upstream, or NULL */
    const struct ps_address *peer;
    uint64_t bytes_in, bytes_out; /* of bodies */
    unsigned attempts;
    const char *cache;    /* what the cache said, or NULL: it was not asked */
    bool has_usage;
    struct ps_usage usage;
};

#endif

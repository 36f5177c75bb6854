/* url - the few kinds of URL that a gateway is told about: http(s)://host[:port][/path].
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_URL_H
#define PS_HTTP_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct ps_url {
    bool tls;
    struct ps_str host; /* without brackets */
    uint16_t port;      /* 80 or 443 when not given */
    struct ps_str path; /* with query; "" or begins with '/' */
    struct ps_str authority; /* as written: host[:port] */
};

/* Parts of `text`, which they borrow. PS_OK, or PS_EPARSE: other scheme, user info, fragment, empty or
 * malformed host, bad port, bytes outside RFC 3986. */
PS_MUST_CHECK int ps_url_parse(struct ps_str text, struct ps_url *out);

#endif

/* markup - text inside HTML and XML.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_MARKUP_H
#define PS_LOAD_MARKUP_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* Appends text so that it is text, between tags and inside quoted attributes: & < > " ' are escaped; what is
 * not UTF-8, or a control character, or no character of XML 1.0, is replaced. PS_OK, PS_ELIMIT, PS_ENOMEM. */
PS_MUST_CHECK int ps_markup_text(struct ps_buf *out, struct ps_str text);

#endif

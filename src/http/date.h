/* date - the dates of HTTP: Date, Expires, Last-Modified, If-Modified-Since.
 *
 * Three forms are read (RFC 9110, 5.6.7), exactly as the grammar spells them; one is written:
 *
 *      Sun, 06 Nov 1994 08:49:37 GMT       IMF-fixdate; this is the one that is written
 *      Sunday, 06-Nov-94 08:49:37 GMT      RFC 850
 *      Sun Nov  6 08:49:37 1994            asctime()
 *
 * Whether the name of the day fits the date is not looked at: nothing depends on it.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_DATE_H
#define PS_HTTP_DATE_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define PS_DATE_LEN 29u /* of an IMF-fixdate */

/* Seconds since 1970. `now`, in the same unit, says which century a year of two digits means: not
 * more than 50 years ahead. PS_OK or PS_EPARSE. */
PS_MUST_CHECK int ps_date_parse(struct ps_str text, int64_t now, int64_t *out);

/* Writes an IMF-fixdate and a terminator. PS_OK, or PS_EINVAL outside of the years 1 to 9999. */
PS_MUST_CHECK int ps_date_write(int64_t seconds, char out[PS_DATE_LEN + 1]);

#endif

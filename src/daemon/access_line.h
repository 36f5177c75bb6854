/* access_line - a request's record as one line of JSON.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_ACCESS_LINE_H
#define PS_DAEMON_ACCESS_LINE_H

#include <stddef.h>

struct ps_record;

#define PS_ACCESS_LINE ((size_t)28 * 1024) /* room for the longest line: texts are cut */

/* Writes the line with its '\n' into text[PS_ACCESS_LINE] and returns its length; allocates
 * nothing. */
size_t ps_access_line(char *text, const struct ps_record *record);

#endif

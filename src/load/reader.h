/* reader - the bytes and lines of a file that may be compressed, a piece at a time.
 *
 * Traces are published as .gz and .xz and are larger than they look, so nothing here ever holds more
 * than one line. Which compression it is says the content, not the name: gzip is read by zlib, xz by
 * the program xz behind a pipe (the library would be a dependency for one file format), anything
 * else is taken as it is.
 *
 * Thread: owned by one thread. Reading blocks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_READER_H
#define PS_LOAD_READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define PS_READER_LINE_MAX (1u << 20) /* bytes of the longest line */

struct ps_reader;

/* What went wrong, in words fit for a user. */
struct ps_reader_error {
    char text[320];
};

/* Opens a file. PS_OK; PS_EIO, PS_ENOTFOUND or PS_ENOMEM, and *error says why. */
PS_MUST_CHECK int ps_reader_open(struct ps_reader **out, const char *path,
                                 struct ps_reader_error *error);

/* Closes it; a decompressor that still runs is ended. NULL is fine. */
void ps_reader_close(struct ps_reader *reader);

/* Gives the next line without its line end (LF or CR LF); the view holds until the next call. The
 * last line needs no line end. PS_OK; PS_ENOTFOUND at the end of the file; PS_ELIMIT for a line
 * that is too long; PS_EIO when the file is damaged or can't be read: *error says why. */
PS_MUST_CHECK int ps_reader_line(struct ps_reader *reader, struct ps_str *line,
                                 struct ps_reader_error *error);

/* Fills bytes[0..len) exactly. PS_OK; PS_ENOTFOUND when the file ends here; PS_EPARSE when it ends
 * inside; PS_EIO as above. */
PS_MUST_CHECK int ps_reader_bytes(struct ps_reader *reader, void *bytes, size_t len,
                                  struct ps_reader_error *error);

/* The number of the last line given, from 1. */
uint64_t ps_reader_line_number(const struct ps_reader *reader);

#endif

/* output - text that goes into a file, or with "-" to standard output.
 *
 * Thread: any; waits for the disk.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_OUTPUT_H
#define PS_CLI_OUTPUT_H

#include "base/buf.h"
#include "base/err.h"

#define PS_OUTPUT_MAX (64u << 20) /* bytes of a text that is made for it */

/* Puts text into the file at `path`: written beside it first, then renamed. `made` is what making the text came to.
 * PS_OK, or what went wrong, which was said on standard error after "penstock COMMAND: ". */
PS_MUST_CHECK int ps_output_write(const char *command, const char *path, int made, const struct ps_buf *text);

#endif

/* output - text that goes into a file, or with "-" to standard output.
 *
 * Thread: any; waits for the disk.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_OUTPUT_H
#define PS_CLI_OUTPUT_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

#define PS_OUTPUT_MAX (64u << 20)

/* Makes text of a document and puts it into the file at `path`: written beside it first, then renamed. PS_OK, or
 * what went wrong, which was said on standard error after "penstock COMMAND: ". */
PS_MUST_CHECK int ps_output_write(const char *command, const char *path, const json_t *document,
                                  int (*write)(const json_t *, struct ps_buf *));

#endif

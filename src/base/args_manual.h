/* args_manual - manual pages in roff, from the tables that read the command line.
 *
 *      penstock(1)            what the program is, its commands
 *      penstock-COMMAND(1)    one for each of them
 *
 * Thread: the caller's. Errors stay in the stream: ferror().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_ARGS_MANUAL_H
#define PS_BASE_ARGS_MANUAL_H

#include <stdio.h>

#include "base/args.h"

/* penstock(1) */
void ps_program_manual(const struct ps_program *program, FILE *out);

/* penstock-COMMAND(1). PS_OK, PS_ELIMIT (a row of over 4 KiB) or PS_ENOMEM. */
PS_MUST_CHECK int ps_command_manual(const struct ps_program *program,
                                    const struct ps_command *command, FILE *out);

#endif

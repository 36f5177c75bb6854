/* args_complete - completion for shells, from the tables that read the command line.
 *
 * Commands, their options, and values where the rows say what they are: a row's names, files and
 * folders where the value is called FILE or DIR, commands where it is called COMMAND. Values are
 * completed in both ways of writing them, `--name value` and `--name=value`.
 *
 * The scripts are complete in themselves: they ask neither the program nor another package.
 *
 * Source: bash(1), "Programmable Completion"; zshcompsys(1), "_arguments".
 *
 * Thread: the caller's. Errors stay in the stream: ferror().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_ARGS_COMPLETE_H
#define PS_BASE_ARGS_COMPLETE_H

#include <stdio.h>

#include "base/args.h"

/* To be sourced, or put into bash-completion's folder as `penstock`. */
void ps_args_complete_bash(const struct ps_program *program, FILE *out);

/* To be put into a folder of $fpath as `_penstock`. */
void ps_args_complete_zsh(const struct ps_program *program, FILE *out);

#endif

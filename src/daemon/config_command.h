/* config_command - `penstock config`: check a file, show what it comes to, print the manual.
 *
 *      penstock config --check FILE      every mistake with line and column
 *      penstock config --print [FILE]    the whole configuration in force, as YAML; secrets as ***
 *      penstock config --reference       the manual in Markdown, from the tables that read the file
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_CONFIG_COMMAND_H
#define PS_DAEMON_CONFIG_COMMAND_H

#include "base/args.h"

extern const struct ps_command ps_config_command;

#endif

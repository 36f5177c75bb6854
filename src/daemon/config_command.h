/* config_command - `penstock config`: check a file, show what it comes to, print the manual.
 *
 *      penstock config --check FILE      every mistake with line and column; exit 1 when there is
 * one penstock config --print [FILE]    the whole configuration in force, as YAML; secrets as ***
 *      penstock config --reference       the manual in Markdown, from the tables that read the file
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_CONFIG_COMMAND_H
#define PS_DAEMON_CONFIG_COMMAND_H

/* argv[0] is "config". Returns the exit status: 0, 1 (mistakes, or output failed), 2 (usage). */
int ps_config_command(int argc, char **argv);

#endif

/* main - from the first word of the command line to the command: the only file that knows both the daemon and
 * the tools.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "cli/demo.h"
#include "cli/replay.h"
#include "cli/sim.h"
#include "daemon/config_command.h"
#include "daemon/serve.h"
#include "version.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
};

static int version_command(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    puts("penstock " PS_VERSION " (" PS_VERSION_GIT ")");
    return 0;
}

static int help_command(int argc, char **argv);

static const struct command commands[] = {
    {"serve", ps_serve_command, "the gateway, in front of your inference servers"},
    {"demo", ps_demo_command, "two simulated servers, the gateway, recorded traffic: see it work"},
    {"sim", ps_sim_command, "a simulated GPU inference server"},
    {"replay", ps_replay_command, "sends a recorded trace to a server, and measures"},
    {"config", ps_config_command, "checks a configuration, prints it, or prints its manual"},
    {"version", version_command, "which build this is"},
    {"help", help_command, "this list; every command takes --help"},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out)
{
    fputs("Penstock, the gate in front of GPU inference servers.\n\nusage: penstock COMMAND [OPTIONS]\n\n", out);
    for (size_t i = 0; i < COMMANDS; i++) {
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    }
}

static int help_command(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    print_help(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    const char *word = argv[1];
    word = strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 ? "version" : word;
    word = strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 ? "help" : word;
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(word, commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "penstock: there is no command '%s'; see 'penstock help'\n", word);
    return 2;
}

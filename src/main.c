/* main - from the first word of the command line to the command: the only file that knows both the daemon and
 * the tools.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/args.h"
#include "base/option_scalar.h"
#include "base/str.h"
#include "cli/demo.h"
#include "cli/replay.h"
#include "cli/sim.h"
#include "daemon/config_command.h"
#include "daemon/serve.h"
#include "version.h"

static int run_version(int argc, char **argv);
static int run_help(int argc, char **argv);

struct help_opts {
    const char *command;
};

static const struct ps_arg no_args[] = {{0}};

static const struct ps_arg help_args[] = {
    {"COMMAND", PS_ARG_WORD, offsetof(struct help_opts, command), .help = "list the options of this one"},
    {0},
};

static const struct ps_command version_command = {
    .name = "version",
    .brief = "which build this is",
    .summary = "Prints the version and the commit that it was built from.",
    .args = no_args,
    .run = run_version,
};

static const struct ps_command help_command = {
    .name = "help",
    .brief = "this list; 'help COMMAND' lists the options of one",
    .summary = "Lists the commands, or the options of one.",
    .args = help_args,
    .run = run_help,
};

static const struct ps_command *const commands[] = {
    &ps_serve_command,  &ps_demo_command, &ps_sim_command, &ps_replay_command,
    &ps_config_command, &version_command, &help_command,   NULL,
};

static const struct ps_program program = {
    .brief = "the gate in front of GPU inference servers",
    .notes = "Start with 'penstock demo', or with 'penstock serve --upstream http://127.0.0.1:8000'.\n",
    .commands = commands,
};

static void print_help(FILE *out)
{
    fprintf(out, "Penstock, %s.\n\nusage: penstock COMMAND [OPTIONS]\n\n", program.brief);
    for (size_t i = 0; commands[i] != NULL; i++) {
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->brief);
    }
    fprintf(out, "\n%s", program.notes);
}

/* The word for a command; `--version` and `--help` are words too. NULL: there is none. */
static const struct ps_command *find(const char *word)
{
    word = strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 ? "version" : word;
    word = strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 ? "help" : word;
    for (size_t i = 0; commands[i] != NULL; i++) {
        if (strcmp(word, commands[i]->name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static int say_unknown(const char *word)
{
    const char *near = NULL;
    size_t least = strlen(word) / 3 + 2; /* a third of the letters may be wrong */
    for (size_t i = 0; commands[i] != NULL; i++) {
        size_t far = ps_option_distance(ps_str_from(word), ps_str_from(commands[i]->name));
        if (far < least) {
            near = commands[i]->name;
            least = far;
        }
    }
    fprintf(stderr, "penstock: there is no command '%s'%s%s%s\n(penstock help lists the commands)\n", word,
            near == NULL ? "" : "; did you mean ", near == NULL ? "" : near, near == NULL ? "" : "?");
    return 2;
}

/* Parses the arguments of the commands below. Returns -1, or the status to leave with. */
static int parse(const struct ps_command *command, int argc, char **argv, void *opts)
{
    int err = ps_args_parse(command, argc, argv, opts);
    return err == PS_OK ? -1 : err == PS_ECANCELED ? 0 : 2;
}

static int run_version(int argc, char **argv)
{
    int status = parse(&version_command, argc, argv, NULL);
    if (status < 0) {
        puts("penstock " PS_VERSION " (" PS_VERSION_GIT ")");
        status = 0;
    }
    return status;
}

static int run_help(int argc, char **argv)
{
    struct help_opts opts = {0};
    int status = parse(&help_command, argc, argv, &opts);
    if (status >= 0) {
        return status;
    }
    const struct ps_command *command = opts.command == NULL ? NULL : find(opts.command);
    if (command != NULL) {
        ps_args_help(command, stdout);
    } else if (opts.command != NULL) {
        return say_unknown(opts.command);
    } else {
        print_help(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    const struct ps_command *command = find(argv[1]);
    return command == NULL ? say_unknown(argv[1]) : command->run(argc - 1, argv + 1);
}

/* main - from the first word of the command line to the command: the only file that knows both the daemon and
 * the tools.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/option_scalar.h"
#include "base/str.h"
#include "cli/demo.h"
#include "cli/replay.h"
#include "cli/sim.h"
#include "daemon/config_command.h"
#include "daemon/doctor.h"
#include "daemon/serve.h"
#include "version.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
};

static int version_command(int argc, char **argv);
static int help_command(int argc, char **argv);

static const struct command commands[] = {
    {"serve", ps_serve_command, "the gateway, in front of your inference servers"},
    {"demo", ps_demo_command, "two simulated servers, the gateway, recorded traffic: see it work"},
    {"sim", ps_sim_command, "a simulated GPU inference server"},
    {"replay", ps_replay_command, "sends a recorded trace to a server, and measures"},
    {"config", ps_config_command, "checks a configuration, prints it, or prints its manual"},
    {"doctor", ps_doctor_command, "finds out what is wrong with an installation, and says what to do"},
    {"version", version_command, "which build this is"},
    {"help", help_command, "this list; 'help COMMAND' lists the options of one"},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out)
{
    fputs("Penstock, the gate in front of GPU inference servers.\n\nusage: penstock COMMAND [OPTIONS]\n\n", out);
    for (size_t i = 0; i < COMMANDS; i++) {
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    }
    fputs("\nStart with 'penstock demo', or with 'penstock serve --upstream http://127.0.0.1:8000'.\n", out);
}

/* The word for a command; `--version` and `--help` are words too. NULL: there is none. */
static const struct command *find(const char *word)
{
    word = strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 ? "version" : word;
    word = strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 ? "help" : word;
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(word, commands[i].name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int say_unknown(const char *word)
{
    const char *near = NULL;
    size_t least = strlen(word) / 3 + 2; /* a third of the letters may be wrong */
    for (size_t i = 0; i < COMMANDS; i++) {
        size_t far = ps_option_distance(ps_str_from(word), ps_str_from(commands[i].name));
        if (far < least) {
            near = commands[i].name;
            least = far;
        }
    }
    fprintf(stderr, "penstock: there is no command '%s'%s%s%s\n(penstock help lists the commands)\n", word,
            near == NULL ? "" : "; did you mean ", near == NULL ? "" : near, near == NULL ? "" : "?");
    return 2;
}

static int version_command(int argc, char **argv)
{
    if (argc > 1) {
        bool help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
        fputs("usage: penstock version\n", help ? stdout : stderr);
        return help ? 0 : 2;
    }
    puts("penstock " PS_VERSION " (" PS_VERSION_GIT ")");
    return 0;
}

/* `penstock help serve` is `penstock serve --help`. */
static int help_command(int argc, char **argv)
{
    static char option[] = "--help";
    const struct command *command = argc > 1 ? find(argv[1]) : NULL;
    if (command != NULL && command->run != help_command) {
        char *words[] = {argv[1], option, NULL};
        return command->run(2, words);
    }
    if (argc > 1 && command == NULL && argv[1][0] != '-') {
        return say_unknown(argv[1]);
    }
    print_help(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    const struct command *command = find(argv[1]);
    return command == NULL ? say_unknown(argv[1]) : command->run(argc - 1, argv + 1);
}

/* main - from the first word of the command line to the command: the only file that knows both the daemon and
 * the tools.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/args.h"
#include "base/args_complete.h"
#include "base/args_manual.h"
#include "base/option_scalar.h"
#include "base/str.h"
#include "cli/compare.h"
#include "cli/demo.h"
#include "cli/endurance.h"
#include "cli/gpu.h"
#include "cli/load.h"
#include "cli/replay.h"
#include "cli/report.h"
#include "cli/sim.h"
#include "cli/spike.h"
#include "cli/stress.h"
#include "cli/suite.h"
#include "cli/top.h"
#include "daemon/config.h"
#include "daemon/config_command.h"
#include "daemon/doctor.h"
#include "daemon/serve.h"
#include "version.h"

static int run_version(int argc, char **argv);
static int run_help(int argc, char **argv);
static int run_manual(int argc, char **argv);
static int run_completion(int argc, char **argv);

struct word_opts {
    const char *word;
};

static const struct ps_arg no_args[] = {{0}};

static const struct ps_arg help_args[] = {
    {"COMMAND", PS_ARG_WORD, offsetof(struct word_opts, word), .help = "list the options of this one"},
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
    .brief = "lists the commands, or the options of one",
    .summary = "Lists the commands, or the options of one.",
    .args = help_args,
    .run = run_help,
};

static const struct ps_arg manual_args[] = {
    {"COMMAND", PS_ARG_WORD, offsetof(struct word_opts, word),
     .help = "whose page to print; also `penstock` and `penstock.yaml`, the configuration"},
    {0},
};

static const struct ps_command manual_command = {
    .name = "manual",
    .brief = "the manual pages, for man",
    .summary = "Prints a manual page for man: penstock manual serve | man -l -\n"
               "Without COMMAND it lists the pages under the names that their files have.",
    .args = manual_args,
    .run = run_manual,
};

static const char *const shells[] = {"bash", "zsh", NULL};

static const struct ps_arg completion_args[] = {
    {"SHELL", PS_ARG_WORD, offsetof(struct word_opts, word), .help = "whose", .required = true, .names = shells},
    {0},
};

static const struct ps_command completion_command = {
    .name = "completion",
    .brief = "what lets a shell complete command lines",
    .summary = "Prints a script with which a shell completes commands, options and their values.",
    .args = completion_args,
    .notes = "For bash: source <(penstock completion bash)\n"
             "For zsh, in a folder of $fpath: penstock completion zsh >_penstock\n",
    .run = run_completion,
};

static const struct ps_command *const commands[] = {
    &ps_serve_command,  &ps_demo_command,   &ps_sim_command,    &ps_load_command,   &ps_stress_command,
    &ps_spike_command,  &ps_endurance_command, &ps_suite_command, &ps_replay_command, &ps_report_command,
    &ps_compare_command, &ps_config_command, &ps_doctor_command, &ps_gpu_command,  &ps_top_command, &version_command,   &manual_command,
    &completion_command,
    &help_command,
    NULL,
};

static const struct ps_program program = {
    .version = PS_VERSION,
    .date = PS_VERSION_DATE,
    .brief = "the gate in front of GPU inference servers",
    .summary =
        "Penstock is a streaming reverse proxy for vLLM, SGLang, TensorRT-LLM, Ollama and whatever else speaks HTTP. "
        "It spreads requests over servers by the tokens in flight or by prompt prefix, bounds how many are inside and "
        "how many may wait, keeps each tenant to its tokens and its budget, retries what may be retried, and counts "
        "all of it for Prometheus.\n\n"
        "`penstock demo` shows it at work with simulated servers. `penstock serve` is the gateway itself.",
    .files = "- `/etc/penstock/penstock.yaml`: the configuration that the service reads.\n"
             "- `/var/log/penstock/`: where an access log may be written.\n"
             "- `/var/lib/penstock/`: what outlives a restart.\n",
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
    struct word_opts opts = {0};
    int status = parse(&help_command, argc, argv, &opts);
    if (status >= 0) {
        return status;
    }
    const struct ps_command *command = opts.word == NULL ? NULL : find(opts.word);
    if (command != NULL) {
        ps_args_help(command, stdout);
    } else if (opts.word != NULL) {
        return say_unknown(opts.word);
    } else {
        print_help(stdout);
    }
    return 0;
}

/* What was printed has arrived, or the status says that it did not. */
static int finish(int err)
{
    if (err == PS_OK && fflush(stdout) == 0 && !ferror(stdout)) {
        return 0;
    }
    fprintf(stderr, "penstock: the output could not be written\n");
    return 1;
}

static void list_pages(void)
{
    puts("penstock.1\npenstock.yaml.5");
    for (size_t i = 0; commands[i] != NULL; i++) {
        printf("penstock-%s.1\n", commands[i]->name);
    }
}

static int run_manual(int argc, char **argv)
{
    struct word_opts opts = {0};
    int status = parse(&manual_command, argc, argv, &opts);
    if (status >= 0) {
        return status;
    }
    if (opts.word == NULL) {
        list_pages();
        return finish(PS_OK);
    }
    if (strcmp(opts.word, "penstock") == 0) {
        ps_program_manual(&program, stdout);
        return finish(PS_OK);
    }
    if (strcmp(opts.word, "penstock.yaml") == 0) {
        return finish(ps_config_page(PS_VERSION, PS_VERSION_DATE, stdout));
    }
    const struct ps_command *command = find(opts.word);
    return command == NULL ? say_unknown(opts.word) : finish(ps_command_manual(&program, command, stdout));
}

static int run_completion(int argc, char **argv)
{
    struct word_opts opts = {0};
    int status = parse(&completion_command, argc, argv, &opts);
    if (status >= 0) {
        return status;
    }
    if (strcmp(opts.word, "bash") == 0) {
        ps_args_complete_bash(&program, stdout);
    } else {
        ps_args_complete_zsh(&program, stdout);
    }
    return finish(PS_OK);
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

/* args - a command's arguments as a table: parsing, hints and help from the same rows.
 *
 *      static const struct ps_arg args[] = {
 *          {"FILE", PS_ARG_WORD, offsetof(struct opts, file), .help = "the trace", .required = true},
 *          {"--speed", PS_ARG_DOUBLE, offsetof(struct opts, speed), "X", "1",
 *           .help = "times faster", .min = 0.001, .max = 1e6},
 *          {"--quiet", PS_ARG_FLAG, offsetof(struct opts, quiet), .help = "no progress"},
 *          {0},
 *      };
 *
 * Written as `--name value` or `--name=value`; `--` ends the options; `--help` and `-h` always work.
 * An unknown option names the nearest known one. Text is borrowed from argv and never freed.
 *
 * Manual pages (base/args_manual.h) and completion in shells (base/args_complete.h) are written from
 * the same rows. What a value is called tells the shells what to offer: FILE, DIR, COMMAND.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_ARGS_H
#define PS_BASE_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#define PS_ARG_LIST_MAX 32

/* What a PS_ARG_LIST collects. */
struct ps_arg_list {
    const char *items[PS_ARG_LIST_MAX];
    size_t count;
};

/* type of the row      the field in the struct          written as */
enum ps_arg_type {
    PS_ARG_END = 0,
    PS_ARG_FLAG,   /*   bool                             --name                 */
    PS_ARG_TEXT,   /*   const char *, NULL = absent      --name text            */
    PS_ARG_LIST,   /*   struct ps_arg_list               --name text, repeated  */
    PS_ARG_U64,    /*   uint64_t                         --name 1000            */
    PS_ARG_DOUBLE, /*   double                           --name 0.5             */
    PS_ARG_SPAN,   /*   ps_span (int64_t, ns)            --name 30s             */
    PS_ARG_BYTES,  /*   uint64_t                         --name 8GiB            */
    PS_ARG_WORD    /*   const char *, NULL = absent      a word without dashes, in table order */
};

struct ps_arg {
    const char *name; /* "--speed"; of a word what the help calls it: "FILE" */
    enum ps_arg_type type;
    size_t offset;        /* of the field in the options struct */
    const char *metavar;  /* what the help calls the value: "RATE"; NULL: by type */
    const char *fallback; /* the default as text, parsed like any other; NULL = absent, 0, false */
    const char *help;     /* one sentence */
    double min, max;      /* numbers (spans in seconds); both 0 = no bound */
    bool required;
    const char *const *names; /* TEXT, LIST, WORD: NULL-terminated, nothing else is taken; NULL = anything */
};

struct ps_command {
    const char *name;          /* "replay" */
    const char *summary;       /* one sentence for the head of the help */
    const struct ps_arg *args; /* ends with an empty row */
    const char *notes;         /* text below the options in the help, or NULL */
    const char *brief;         /* half a sentence for the list of commands */
    const char *success;       /* what exit status 0 says; NULL: that it went well */
    const char *failure;       /* what exit status 1 says; NULL: that it could not be done */
    const char *severe;        /* what exit status 3 says; NULL: there is none */
    const char *limited;       /* 4: the generator of a load test was the limit; NULL: there is none */
    const char *aborted;       /* 5: a load test was ended early; NULL: there is none */
    const struct ps_arg *(*make_args)(void); /* instead of args: rows made from others, always the same */
    int (*run)(int argc, char **argv); /* argv[0] is the command's own word; returns the exit status */
};

/* All that there is, for what speaks of more than one command. */
struct ps_program {
    const char *version;
    const char *date;    /* of the version: YYYY-MM-DD, or "" when it is not known */
    const char *brief;   /* half a sentence */
    const char *summary; /* what it does; marked up, see base/roff.h; and so are ... */
    const char *files;   /* ... the files that it reads and writes where it is installed as a package */
    const char *notes;   /* how to begin */
    const struct ps_command *const *commands; /* NULL-terminated */
};

/* The rows of a command, wherever they come from. */
const struct ps_arg *ps_command_args(const struct ps_command *command);

/* What an exit status says: 0, 1, 2, which is wrong usage of any command, or 3 to 5; NULL: it has none. */
const char *ps_command_status(const struct ps_command *command, int status);

/* What stands for the value of an option in help and manual: "RATE"; NULL: it takes none. */
const char *ps_arg_metavar(const struct ps_arg *arg);

/* Fills *opts (zeroed by the caller or not) with defaults and then from argv[1..]; argv[0] is the
 * command's own word. PS_OK; PS_ECANCELED when --help was asked for and printed on standard output
 * (exit 0); PS_EINVAL when something is wrong and was said on standard error (exit 2). */
PS_MUST_CHECK int ps_args_parse(const struct ps_command *command, int argc, char **argv, void *opts);

/* Prints the help. */
void ps_args_help(const struct ps_command *command, FILE *out);

/* Writes "penstock NAME: " and a message to standard error, for mistakes that a table can't see.
 * Returns 2, the exit status of wrong usage. */
int ps_args_usage_error(const struct ps_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

/* args - see args.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/args.h"

#include <stdarg.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/option.h"
#include "base/option_scalar.h"
#include "base/str.h"

#define HELP_COLUMN 29 /* where the second column begins */
#define HELP_WIDTH 80

const struct ps_arg *ps_command_args(const struct ps_command *command)
{
    return command->make_args == NULL ? command->args : command->make_args();
}

const char *ps_command_status(const struct ps_command *command, int status)
{
    const char *success = command->success == NULL ? "it went well" : command->success;
    const char *failure = command->failure == NULL ? "it could not be done" : command->failure;
    return status == 0   ? success
           : status == 1 ? failure
           : status == 2 ? "wrong usage"
           : status == 3 ? command->severe
           : status == 4 ? command->limited
           : status == 5 ? command->aborted
                         : NULL;
}

static void *field(const struct ps_arg *arg, void *opts)
{
    return (char *)opts + arg->offset;
}

int ps_args_usage_error(const struct ps_command *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "penstock %s: ", command->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n(penstock %s --help lists the options)\n", command->name);
    va_end(args);
    return 2;
}

/* ------------------------------------------------------------------------------------ values */

static const char *expected(enum ps_arg_type type)
{
    switch (type) {
    case PS_ARG_U64:
        return "a whole number";
    case PS_ARG_DOUBLE:
        return "a number";
    case PS_ARG_SPAN:
        return "a duration such as 500ms, 30s or 5m";
    case PS_ARG_BYTES:
        return "a size such as 512MiB";
    case PS_ARG_END:
    case PS_ARG_FLAG:
    case PS_ARG_TEXT:
    case PS_ARG_LIST:
    case PS_ARG_WORD:
        break;
    }
    return "text";
}

/* "a, b or c" */
static void write_names(const struct ps_arg *arg, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; arg->names[i] != NULL && len < size; i++) {
        const char *between = i == 0 ? "" : arg->names[i + 1] == NULL ? " or " : ", ";
        len += (size_t)snprintf(out + len, size - len, "%s%s", between, arg->names[i]);
    }
}

static bool in_bounds(const struct ps_arg *arg, double value)
{
    return (arg->min == 0 && arg->max == 0) || (value >= arg->min && value <= arg->max);
}

static int set_number(const struct ps_arg *arg, void *opts, struct ps_str text)
{
    uint64_t whole = 0;
    int64_t span = 0;
    double real = 0;
    int err = PS_EINVAL;
    if (arg->type == PS_ARG_DOUBLE) {
        err = ps_str_to_double(text, &real);
    } else if (arg->type == PS_ARG_SPAN) {
        err = ps_option_parse_span(text, &span);
        real = ps_span_seconds(span);
    } else {
        err = arg->type == PS_ARG_U64 ? ps_str_to_u64(text, &whole)
                                      : ps_option_parse_bytes(text, &whole);
        real = (double)whole;
    }
    if (err != PS_OK) {
        return PS_EINVAL;
    }
    if (!in_bounds(arg, real)) {
        return PS_ELIMIT;
    }
    if (arg->type == PS_ARG_DOUBLE) {
        *(double *)field(arg, opts) = real;
    } else if (arg->type == PS_ARG_SPAN) {
        *(int64_t *)field(arg, opts) = span;
    } else {
        *(uint64_t *)field(arg, opts) = whole;
    }
    return PS_OK;
}

static bool is_named(const struct ps_arg *arg, const char *text)
{
    for (size_t i = 0; arg->names != NULL && arg->names[i] != NULL; i++) {
        if (strcmp(arg->names[i], text) == 0) {
            return true;
        }
    }
    return arg->names == NULL;
}

static int set(const struct ps_arg *arg, void *opts, const char *text)
{
    struct ps_arg_list *list = NULL;
    if (!is_named(arg, text)) {
        return PS_EINVAL;
    }
    switch (arg->type) {
    case PS_ARG_END:
        break;
    case PS_ARG_FLAG:
        *(bool *)field(arg, opts) = true;
        return PS_OK;
    case PS_ARG_TEXT:
    case PS_ARG_WORD:
        *(const char **)field(arg, opts) = text;
        return PS_OK;
    case PS_ARG_LIST:
        list = field(arg, opts);
        if (list->count == PS_ARG_LIST_MAX) {
            return PS_ELIMIT;
        }
        list->items[list->count++] = text;
        return PS_OK;
    case PS_ARG_U64:
    case PS_ARG_DOUBLE:
    case PS_ARG_SPAN:
    case PS_ARG_BYTES:
        return set_number(arg, opts, ps_str_from(text));
    }
    return PS_EINVAL;
}

static void clear(const struct ps_arg *arg, void *opts)
{
    switch (arg->type) {
    case PS_ARG_END:
        break;
    case PS_ARG_FLAG:
        *(bool *)field(arg, opts) = false;
        break;
    case PS_ARG_TEXT:
    case PS_ARG_WORD:
        *(const char **)field(arg, opts) = NULL;
        break;
    case PS_ARG_LIST:
        *(struct ps_arg_list *)field(arg, opts) = (struct ps_arg_list){.count = 0};
        break;
    case PS_ARG_DOUBLE:
        *(double *)field(arg, opts) = 0;
        break;
    case PS_ARG_U64:
    case PS_ARG_BYTES:
        *(uint64_t *)field(arg, opts) = 0;
        break;
    case PS_ARG_SPAN:
        *(int64_t *)field(arg, opts) = 0;
        break;
    }
}

static void say_expected(const struct ps_command *command, const struct ps_arg *arg, const char *text)
{
    char names[512];
    if (arg->names == NULL) {
        (void)ps_args_usage_error(command, "%s %s: expected %s", arg->name, text, expected(arg->type));
    } else {
        write_names(arg, names, sizeof names);
        (void)ps_args_usage_error(command, "%s %s: expected %s", arg->name, text, names);
    }
}

static int set_or_say(const struct ps_command *command, const struct ps_arg *arg, void *opts,
                      const char *text)
{
    int err = set(arg, opts, text);
    if (err == PS_OK) {
        return PS_OK;
    }
    if (err == PS_ELIMIT && arg->type == PS_ARG_LIST) {
        (void)ps_args_usage_error(command, "%s was given more than %d times", arg->name,
                                  PS_ARG_LIST_MAX);
    } else if (err == PS_ELIMIT) {
        (void)ps_args_usage_error(command, "%s %s: expected %.10g to %.10g%s", arg->name, text, arg->min,
                                  arg->max, arg->type == PS_ARG_SPAN ? " seconds" : "");
    } else {
        say_expected(command, arg, text);
    }
    return PS_EINVAL;
}

/* ------------------------------------------------------------------------------------- names */

static const struct ps_arg *find(const struct ps_command *command, struct ps_str name)
{
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        if (arg->type != PS_ARG_WORD && ps_str_eq(name, ps_str_from(arg->name))) {
            return arg;
        }
    }
    return NULL;
}

static const char *nearest(const struct ps_command *command, struct ps_str name)
{
    const char *best = NULL;
    size_t best_distance = name.len / 3 + 2; /* a third of the letters may be wrong */
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        size_t far = ps_option_distance(name, ps_str_from(arg->name));
        if (arg->type != PS_ARG_WORD && far < best_distance) {
            best = arg->name;
            best_distance = far;
        }
    }
    return best;
}

static int say_unknown(const struct ps_command *command, struct ps_str name)
{
    const char *hint = nearest(command, name);
    if (hint != NULL) {
        (void)ps_args_usage_error(command, "unknown option %.*s; did you mean %s?",
                                  PS_STR_ARG(name), hint);
    } else {
        (void)ps_args_usage_error(command, "unknown option %.*s", PS_STR_ARG(name));
    }
    return PS_EINVAL;
}

/* ----------------------------------------------------------------------------------- parsing */

struct scan {
    int argc;
    char **argv;
    int at; /* the next argument */
    bool words_only;
    size_t words; /* words seen */
    uint64_t given; /* a bit for each row of the table */
};

/* Takes one option, and its value if it has one. */
static int take_option(const struct ps_command *command, struct scan *scan, void *opts)
{
    const char *text = scan->argv[scan->at++];
    const char *value = strchr(text, '=');
    struct ps_str name = {text, value == NULL ? strlen(text) : (size_t)(value - text)};
    const struct ps_arg *arg = find(command, name);
    if (arg == NULL) {
        return say_unknown(command, name);
    }
    scan->given |= UINT64_C(1) << (arg - ps_command_args(command));
    if (arg->type == PS_ARG_FLAG) {
        if (value != NULL) {
            (void)ps_args_usage_error(command, "%s takes no value", arg->name);
            return PS_EINVAL;
        }
        return set(arg, opts, NULL);
    }
    if (value == NULL && scan->at == scan->argc) {
        (void)ps_args_usage_error(command, "%s needs a value", arg->name);
        return PS_EINVAL;
    }
    return set_or_say(command, arg, opts, value != NULL ? value + 1 : scan->argv[scan->at++]);
}

static int take_word(const struct ps_command *command, struct scan *scan, void *opts)
{
    const char *text = scan->argv[scan->at++];
    size_t skip = scan->words++;
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        if (arg->type == PS_ARG_WORD && skip-- == 0) {
            scan->given |= UINT64_C(1) << (arg - ps_command_args(command));
            return set_or_say(command, arg, opts, text);
        }
    }
    (void)ps_args_usage_error(command, "unexpected argument '%s'", text);
    return PS_EINVAL;
}

static int set_defaults(const struct ps_command *command, void *opts)
{
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        clear(arg, opts);
        if (arg->fallback != NULL && set_or_say(command, arg, opts, arg->fallback) != PS_OK) {
            return PS_EINVAL;
        }
    }
    return PS_OK;
}

static int check_required(const struct ps_command *command, const struct scan *scan)
{
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        if (arg->required && (scan->given >> (arg - ps_command_args(command)) & 1) == 0) {
            (void)ps_args_usage_error(command, "%s is missing", arg->name);
            return PS_EINVAL;
        }
    }
    return PS_OK;
}

int ps_args_parse(const struct ps_command *command, int argc, char **argv, void *opts)
{
    struct scan scan = {.argc = argc, .argv = argv, .at = 1};
    int err = set_defaults(command, opts);
    while (err == PS_OK && scan.at < argc) {
        const char *text = argv[scan.at];
        if (scan.words_only || text[0] != '-' || text[1] == '\0') {
            err = take_word(command, &scan, opts);
        } else if (strcmp(text, "--") == 0) {
            scan.words_only = true;
            scan.at++;
        } else if (strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0) {
            ps_args_help(command, stdout);
            return PS_ECANCELED;
        } else {
            err = take_option(command, &scan, opts);
        }
    }
    return err == PS_OK ? check_required(command, &scan) : err;
}

/* -------------------------------------------------------------------------------------- help */

/* Prints words up to the edge, from the column on where the help stands. */
static void print_wrapped(struct ps_str text, FILE *out)
{
    size_t column = HELP_COLUMN;
    struct ps_str word;
    while (text.len > 0 && ps_str_split(&text, ' ', &word)) {
        bool begins = column == HELP_COLUMN;
        if (!begins && column + 1 + word.len > HELP_WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
            begins = true;
        }
        fprintf(out, "%s%.*s", begins ? "" : " ", PS_STR_ARG(word));
        column += word.len + (begins ? 0 : 1);
    }
    fputc('\n', out);
}

const char *ps_arg_metavar(const struct ps_arg *arg)
{
    if (arg->type == PS_ARG_FLAG || arg->type == PS_ARG_WORD) {
        return NULL;
    }
    if (arg->metavar != NULL) {
        return arg->metavar;
    }
    switch (arg->type) {
    case PS_ARG_U64:
        return "N";
    case PS_ARG_DOUBLE:
        return "X";
    case PS_ARG_SPAN:
        return "TIME";
    case PS_ARG_BYTES:
        return "SIZE";
    default:
        return "VALUE";
    }
}

/* The sentence, then what may stand there and what stands there by itself. */
static void write_help(const struct ps_arg *arg, char *out, size_t size)
{
    char names[512] = "";
    if (arg->names != NULL) {
        write_names(arg, names, sizeof names);
    }
    bool fallback = arg->fallback != NULL;
    snprintf(out, size, "%s%s%s%s%s%s", arg->help == NULL ? "" : arg->help, names[0] == '\0' ? "" : ": ", names,
             fallback ? " (default " : "", fallback ? arg->fallback : "", fallback ? ")" : "");
}

static void print_row(const struct ps_arg *arg, FILE *out)
{
    char left[64];
    char help[1024];
    const char *value = ps_arg_metavar(arg);
    int len = snprintf(left, sizeof left, "  %s%s%s", arg->name, value == NULL ? "" : " ", value == NULL ? "" : value);
    fprintf(out, "%-*s", HELP_COLUMN, left);
    if (len >= HELP_COLUMN) {
        fprintf(out, "\n%*s", HELP_COLUMN, "");
    }
    write_help(arg, help, sizeof help);
    print_wrapped(ps_str_from(help), out);
}

static void print_text(const char *text, FILE *out)
{
    fprintf(out, "\n%s%s", text, text[strlen(text) - 1] == '\n' ? "" : "\n");
}

/* Only where a command says more than all do. */
static void print_exit_status(const struct ps_command *command, FILE *out)
{
    if (command->success != NULL || command->failure != NULL) {
        fputs("\nExit status:\n", out);
        for (int status = 0; ps_command_status(command, status) != NULL; status++) {
            fprintf(out, "  %d  %s\n", status, ps_command_status(command, status));
        }
    }
}

void ps_args_help(const struct ps_command *command, FILE *out)
{
    fprintf(out, "usage: penstock %s", command->name);
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        if (arg->type == PS_ARG_WORD) {
            fprintf(out, arg->required ? " %s" : " [%s]", arg->name);
        } else if (arg->required) {
            fprintf(out, " %s %s", arg->name, ps_arg_metavar(arg));
        }
    }
    fprintf(out, " [OPTIONS]\n\n%s\n\n", command->summary);
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        print_row(arg, out);
    }
    fprintf(out, "%-*s%s\n", HELP_COLUMN, "  --help", "print this");
    if (command->notes != NULL) {
        print_text(command->notes, out);
    }
    print_exit_status(command, out);
}

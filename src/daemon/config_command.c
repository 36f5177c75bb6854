#include "daemon/config_command.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "daemon/config.h"

enum { EXIT_GOOD = 0, EXIT_WRONG = 1, EXIT_USAGE = 2, OUTPUT_LIMIT = 64 * 1024 * 1024 };

struct opts {
    const char *file;
    bool check;
    bool print;
    bool reference;
};

/* clang-format off */
static const struct ps_arg args[] = {
    {"FILE", PS_ARG_WORD, offsetof(struct opts, file), .help = "the configuration, in YAML"},
    {"--check", PS_ARG_FLAG, offsetof(struct opts, check),
     .help = "name every mistake in FILE, with line and column"},
    {"--print", PS_ARG_FLAG, offsetof(struct opts, print),
     .help = "show the configuration in force, defaults included, secrets as ***"},
    {"--reference", PS_ARG_FLAG, offsetof(struct opts, reference), .help = "print the manual, in Markdown"},
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_config_command = {
    .name = "config",
    .brief = "checks a configuration, prints it, or prints its manual",
    .summary =
        "Checks a configuration, shows what it comes to, or prints the manual of all its keys.",
    .args = args,
    .notes = "One of the three at a time; --print without FILE shows the defaults.\n",
    .success = "the configuration is valid, or what was asked for is printed",
    .failure = "it has mistakes, or the output could not be written",
    .run = run_command,
};

static int complain(const char *what)
{
    fprintf(stderr, "penstock: %s\n", what);
    return EXIT_WRONG;
}

/* Writes what was collected; `status` unless that fails. */
static int finish(FILE *to, struct ps_buf *out, int err, int status)
{
    if (err != PS_OK) {
        status = complain(ps_err_text(err));
    } else if (out->len > 0 &&
               (fwrite(out->data, 1, out->len, to) != out->len || fflush(to) != 0)) {
        status = complain("the output could not be written");
    }
    ps_buf_fini(out);
    return status;
}

static int count_errors(const char *file, const struct ps_config_report *report, struct ps_buf *out)
{
    if (report->errors == 0) {
        return ps_buf_printf(out, "%s: ok\n", file);
    }
    return ps_buf_printf(out, "%zu error%s\n", report->errors, report->errors == 1 ? "" : "s");
}

static int check(const char *file)
{
    struct ps_config *config = NULL;
    struct ps_config_report report = {0};
    struct ps_buf out = ps_buf_make(OUTPUT_LIMIT);
    int err = ps_config_load(&config, file, &report);
    int status = err == PS_OK ? EXIT_GOOD : EXIT_WRONG;
    if (err == PS_OK || err == PS_EINVAL) {
        err = ps_config_report_print(&report, file, &out);
        err = err == PS_OK ? count_errors(file, &report, &out) : err;
    }
    ps_config_free(config);
    ps_config_report_fini(&report);
    return finish(stdout, &out, err, status);
}

/* Mistakes go to standard error, so that what is printed on standard output is YAML or nothing. */
static int load(struct ps_config **out, const char *file)
{
    struct ps_config_report report = {0};
    struct ps_buf text = ps_buf_make(OUTPUT_LIMIT);
    int err = ps_config_load(out, file, &report);
    int printed = ps_config_report_print(&report, file, &text);
    ps_config_report_fini(&report);
    if (err == PS_OK || err == PS_EINVAL) {
        (void)finish(stderr, &text, printed, EXIT_WRONG);
    }
    ps_buf_fini(&text);
    return err;
}

static int print(const char *file)
{
    struct ps_config *config = NULL;
    struct ps_buf out = ps_buf_make(OUTPUT_LIMIT);
    int err = file == NULL ? ps_config_default(&config) : load(&config, file);
    if (err == PS_EINVAL) {
        return EXIT_WRONG;
    }
    err = err == PS_OK ? ps_config_yaml(config, true, &out) : err;
    ps_config_free(config);
    return finish(stdout, &out, err, EXIT_GOOD);
}

static int reference(void)
{
    struct ps_buf out = ps_buf_make(OUTPUT_LIMIT);
    int err = ps_config_manual(&out);
    return finish(stdout, &out, err, EXIT_GOOD);
}

/* What the table can't say: exactly one of the three, and which of them takes a file. */
static int check_opts(const struct opts *opts)
{
    int verbs = opts->check + opts->print + opts->reference;
    if (verbs != 1) {
        return ps_args_usage_error(&ps_config_command,
                                   "give one of --check, --print and --reference");
    }
    if (opts->check && opts->file == NULL) {
        return ps_args_usage_error(&ps_config_command, "--check needs a FILE");
    }
    if (opts->reference && opts->file != NULL) {
        return ps_args_usage_error(&ps_config_command, "--reference takes no FILE");
    }
    return EXIT_GOOD;
}

static int run_command(int argc, char **argv)
{
    struct opts opts = {0};
    int err = ps_args_parse(&ps_config_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? EXIT_GOOD : EXIT_USAGE;
    }
    int status = check_opts(&opts);
    if (status != EXIT_GOOD) {
        return status;
    }
    return opts.check ? check(opts.file) : opts.print ? print(opts.file) : reference();
}

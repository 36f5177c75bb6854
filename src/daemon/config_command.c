#include "daemon/config_command.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "daemon/config.h"

enum { EXIT_GOOD = 0, EXIT_WRONG = 1, EXIT_USAGE = 2, OUTPUT_LIMIT = 64 * 1024 * 1024 };

static const char usage[] =
    "usage: penstock config --check FILE     name every mistake in FILE\n"
    "       penstock config --print [FILE]   show the configuration in force\n"
    "       penstock config --reference      print the manual (Markdown)\n";

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

static bool is_verb(const char *word)
{
    return strcmp(word, "--check") == 0 || strcmp(word, "--print") == 0 || strcmp(word, "--reference") == 0;
}

int ps_config_command(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "--check") == 0 && argc == 3) {
        return check(argv[2]);
    }
    if (strcmp(verb, "--print") == 0 && argc <= 3) {
        return print(argc == 3 ? argv[2] : NULL);
    }
    if (strcmp(verb, "--reference") == 0 && argc == 2) {
        return reference();
    }
    bool help = strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0;
    if (!help && argc > 1 && !is_verb(verb)) {
        fprintf(stderr, "penstock config: there is no '%s'\n", verb);
    }
    fputs(usage, help ? stdout : stderr);
    return help ? EXIT_GOOD : EXIT_USAGE;
}

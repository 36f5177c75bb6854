#include "daemon/doctor.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/args.h"
#include "base/check.h"
#include "daemon/doctor_check.h"
#include "http/url.h"

enum {
    EXIT_HEALTHY = 0,
    EXIT_WARNING = 1,
    EXIT_USAGE = 2,
    EXIT_ERROR = 3,
    OUTPUT_LIMIT = 4 * 1024 * 1024
};

struct doctor_opts {
    const char *config;
    struct ps_arg_list upstreams;
    bool json;
    bool verbose;
    ps_span timeout;
};

/* clang-format off */
static const struct ps_arg doctor_args[] = {
    {"--config", PS_ARG_TEXT, offsetof(struct doctor_opts, config), "FILE", .help = "the configuration that serve uses"},
    {"--upstream", PS_ARG_LIST, offsetof(struct doctor_opts, upstreams), "URL",
     .help = "an inference server to look at as well; repeated: all of them"},
    {"--json", PS_ARG_FLAG, offsetof(struct doctor_opts, json), .help = "everything that was found, as JSON"},
    {"--verbose", PS_ARG_FLAG, offsetof(struct doctor_opts, verbose), .help = "what is well, too, one line each"},
    {"--timeout", PS_ARG_SPAN, offsetof(struct doctor_opts, timeout), "D", "3s",
     .help = "longest time for all servers together", .min = 0.1, .max = 60},
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_doctor_command = {
    .name = "doctor",
    .brief = "finds out what is wrong with an installation, and says what to do",
    .summary =
        "Finds out what is wrong with an installation, and says what to do. Changes nothing:\n"
        "servers are asked with GET only.",
    .args = doctor_args,
    .success = "healthy",
    .failure = "there is a warning",
    .severe = "there is an error",
    .run = run_command,
};

static const struct {
    const char *name;
    void (*look)(struct ps_doctor *doctor);
} checks[] = {
    {"program", ps_doctor_program},         {"configuration", ps_doctor_configuration},
    {"access", ps_doctor_access},           {"certificates", ps_doctor_certificates},
    {"directories", ps_doctor_directories}, {"ports", ps_doctor_ports},
    {"limits", ps_doctor_limits},           {"upstreams", ps_doctor_upstreams},
    {"clocks", ps_doctor_clocks},
};

struct ps_doctor_probe *ps_doctor_new_probe(struct ps_doctor *doctor)
{
    if (doctor->probe_count == PS_DOCTOR_PROBES) {
        doctor->unasked++;
        return NULL;
    }
    return &doctor->probes[doctor->probe_count++];
}

/* The checks in their order; behind the configuration, everything on the network at once. False: a
 * look-up is stuck (see doctor_probe.h). */
static bool look_at_all(struct ps_doctor *doctor)
{
    bool clean = true;
    for (size_t i = 0; i < PS_ARRAY_LEN(checks); i++) {
        doctor->report.check = checks[i].name;
        checks[i].look(doctor);
        if (checks[i].look == ps_doctor_configuration && doctor->config != NULL) {
            ps_doctor_find_ports(doctor);
            ps_doctor_find_servers(doctor);
            clean = ps_doctor_probe_all(doctor->probes, doctor->probe_count, doctor->timeout);
        }
    }
    return clean;
}

static bool wants_colour(void)
{
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) != 0 && getenv("NO_COLOR") == NULL &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

/* The exit status, which is an error too when nothing could be shown. */
static int show(const struct ps_doctor_report *report, const struct doctor_opts *opts)
{
    static const int statuses[] = {EXIT_HEALTHY, EXIT_HEALTHY, EXIT_WARNING, EXIT_ERROR};
    struct ps_buf out = ps_buf_make(OUTPUT_LIMIT);
    int status = statuses[ps_doctor_worst(report)];
    int err = opts->json ? ps_doctor_print_json(report, &out)
                         : ps_doctor_print(report, opts->verbose, wants_colour(), &out);
    if (err != PS_OK) {
        fprintf(stderr, "penstock doctor: %s\n", ps_err_text(err));
        status = EXIT_ERROR;
    } else if (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0) {
        fputs("penstock doctor: the output could not be written\n", stderr);
        status = EXIT_ERROR;
    }
    ps_buf_fini(&out);
    return status;
}

/* Names the argument by its place, not by its text: a URL may hold a password. */
static int check_upstreams(const struct doctor_opts *opts)
{
    struct ps_url url;
    for (size_t i = 0; i < opts->upstreams.count; i++) {
        struct ps_str text = ps_str_from(opts->upstreams.items[i]);
        if (ps_url_parse(text, &url) == PS_OK) {
            continue;
        }
        if (ps_str_find(text, '@') < text.len) {
            return ps_args_usage_error(
                &ps_doctor_command,
                "--upstream (number %zu): a URL must not hold a user or password; "
                "use api_key_file in a configuration",
                i + 1);
        }
        return ps_args_usage_error(
            &ps_doctor_command, "--upstream (number %zu): not a URL like http://127.0.0.1:8000", i + 1);
    }
    return 0;
}

static void release(struct ps_doctor *doctor)
{
    for (size_t i = 0; i < doctor->probe_count; i++) {
        ps_doctor_probe_fini(&doctor->probes[i]);
    }
    free(doctor->probes);
    ps_doctor_report_fini(&doctor->report);
    ps_config_free(doctor->config);
}

static int run_command(int argc, char **argv)
{
    struct doctor_opts opts = {0};
    int err = ps_args_parse(&ps_doctor_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? EXIT_HEALTHY : EXIT_USAGE;
    }
    if (check_upstreams(&opts) != 0) {
        return EXIT_USAGE;
    }
    struct ps_doctor doctor = {.path = opts.config,
                               .timeout = opts.timeout,
                               .urls = opts.upstreams.items,
                               .url_count = opts.upstreams.count};
    doctor.probes = calloc(PS_DOCTOR_PROBES, sizeof *doctor.probes);
    if (doctor.probes == NULL) {
        fputs("penstock doctor: out of memory\n", stderr);
        return EXIT_ERROR;
    }
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write() */
    setenv("UV_THREADPOOL_SIZE", "64",
           0); /* one dead name server must not hold up the other names */
    bool clean = look_at_all(&doctor);
    int status = show(&doctor.report, &opts);
    if (!clean) {
        _exit(status); /* exit() would wait for the look-up */
    }
    release(&doctor);
    return status;
}

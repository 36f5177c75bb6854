/* load - load tests for programs: the command in a process of its own, and its report read back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "lib/process.h"
#include "penstock/penstock.h"

#define REPORT "load_test_report.json"
#define OPTIONS_MAX 128
#define ERRORS_MAX 4096 /* bytes of what it says that are kept */
#define WRONG_USAGE 2

extern char **environ;

/* ------------------------------------------------------------------------------------ process */

/* Reads what the command complains about to its end, so that it never waits for a full pipe; keeps the last of it. */
static void read_errors(int fd, char *text, size_t size)
{
    char piece[1024];
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR)) {
        size_t more = n < 0 ? 0 : (size_t)n;
        size_t room = size - 1 - len;
        size_t drop = more > room ? more - room : 0;
        drop = drop < len ? drop : len;
        memmove(text, text + drop, len - drop);
        len -= drop;
        memcpy(text + len, piece, more < size - 1 - len ? more : size - 1 - len);
        len += more < size - 1 - len ? more : size - 1 - len;
    }
    while (len > 0 && text[len - 1] == '\n') {
        len--;
    }
    text[len] = '\0';
}

static int spawn(const char *program, char *const argv[], int errors, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        return PS_ENOMEM;
    }
    int failed = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    failed = failed != 0 ? failed : posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    failed = failed != 0 ? failed : posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    failed = failed != 0 ? failed : posix_spawnp(pid, program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed == ENOENT) {
        return ps_process_fail(PS_ENOTFOUND, "%s: no such program; PENSTOCK_PROGRAM may name it", program);
    }
    return failed == 0 ? PS_OK : ps_process_fail(PS_EIO, "%s: %s", program, strerror(failed));
}

static int wait_for(pid_t pid, int *status)
{
    int raw = 0;
    pid_t got;
    do {
        got = waitpid(pid, &raw, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0 || !WIFEXITED(raw)) {
        return ps_process_fail(PS_EIO, "the load test was killed");
    }
    *status = WEXITSTATUS(raw);
    return PS_OK;
}

/* Runs the command to its end. */
static int run_program(const char *program, char *const argv[], int *status, char *errors, size_t size)
{
    int ends[2];
    pid_t pid = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return ps_process_fail(PS_EIO, "pipe: %s", strerror(errno));
    }
    int err = spawn(program, argv, ends[1], &pid);
    close(ends[1]);
    if (err == PS_OK) {
        read_errors(ends[0], errors, size);
        err = wait_for(pid, status);
    }
    close(ends[0]);
    return err;
}

/* ------------------------------------------------------------------------------------- report */

static double number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void read_section(const json_t *section, int status, struct ps_load_result *out)
{
    const json_t *times = json_object_get(section, "response_time_ms");
    const char *reason = json_string_value(json_object_get(section, "reason"));
    *out = (struct ps_load_result){
        .verdict = (enum ps_load_verdict)status,
        .duration_seconds = number(section, "duration_seconds"),
        .total_requests = number(section, "total_requests"),
        .successful_requests = number(section, "successful_requests"),
        .failed_requests = number(section, "failed_requests"),
        .error_rate_percent = number(section, "error_rate_percent"),
        .rps = number(section, "rps"),
        .median_ms = number(times, "median"),
        .p95_ms = number(times, "p95"),
        .p99_ms = number(times, "p99"),
        .breaking_point_rps = number(section, "breaking_point_rps"),
        .recovery_time_seconds = number(section, "recovery_time_seconds"),
    };
    snprintf(out->reason, sizeof out->reason, "%s", reason == NULL ? "" : reason);
}

static int load_document(const char *file, json_t **document)
{
    json_error_t error;
    *document = json_load_file(file, JSON_REJECT_DUPLICATES, &error);
    if (*document == NULL && access(file, F_OK) != 0) {
        return ps_process_fail(PS_ENOTFOUND, "%s: %s", file, strerror(errno));
    }
    if (!json_is_object(*document) || !json_is_object(json_object_get(*document, "summary"))) {
        json_decref(*document);
        return ps_process_fail(PS_EPARSE, "%s: not a report of load tests", file);
    }
    return PS_OK;
}

int ps_load_report(const char *file, char **json)
{
    json_t *document = NULL;
    int err = load_document(file == NULL ? REPORT : file, &document);
    if (err != PS_OK) {
        return err;
    }
    char *text = json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(document);
    if (text == NULL) {
        return ps_process_fail(PS_ENOMEM, "out of memory");
    }
    *json = text;
    return PS_OK;
}

/* --------------------------------------------------------------------------------------- tests */

static int make_argv(const char *command, const struct ps_load_opts *opts, const char *report, char **argv)
{
    size_t count = 0;
    const char *first[] = {"penstock", command, opts->url, "--quiet", "--out", report};
    for (; count < PS_ARRAY_LEN(first); count++) {
        argv[count] = (char *)(uintptr_t)first[count]; /* posix_spawn() changes nothing */
    }
    for (size_t i = 0; opts->options != NULL && opts->options[i] != NULL; i++) {
        if (count == OPTIONS_MAX) {
            return ps_process_fail(PS_EINVAL, "more than %d options", OPTIONS_MAX);
        }
        argv[count++] = (char *)(uintptr_t)opts->options[i];
    }
    argv[count] = NULL;
    return PS_OK;
}

/* A report of an earlier test must not be taken for this one's: its time of change has to be another. */
static bool has_changed(const char *file, const struct stat *before)
{
    struct stat now;
    return stat(file, &now) == 0 && (now.st_ino != before->st_ino || now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
                                     now.st_mtim.tv_nsec != before->st_mtim.tv_nsec);
}

static int read_result(const char *report, const char *section, int status, const char *errors,
                       const struct stat *before, struct ps_load_result *out)
{
    json_t *document = NULL;
    if (status == WRONG_USAGE) {
        return ps_process_fail(PS_EINVAL, "%s", errors);
    }
    if (!has_changed(report, before)) {
        return ps_process_fail(PS_EIO, "no report was written: %s", errors);
    }
    int err = load_document(report, &document);
    if (err != PS_OK) {
        return err;
    }
    read_section(json_object_get(document, section), status, out);
    json_decref(document);
    return PS_OK;
}

static int run_test(const char *command, const char *section, const struct ps_load_opts *opts,
                    struct ps_load_result *out)
{
    char *argv[OPTIONS_MAX + 1];
    char errors[ERRORS_MAX] = "";
    struct stat before = {.st_ino = 0};
    int status = 0;
    if (opts == NULL || opts->url == NULL || out == NULL) {
        return ps_process_fail(PS_EINVAL, "no URL, or nowhere to put the result");
    }
    const char *report = opts->report == NULL ? REPORT : opts->report;
    const char *named = getenv("PENSTOCK_PROGRAM");
    const char *program = named == NULL || named[0] == '\0' ? "penstock" : named;
    int err = make_argv(command, opts, report, argv);
    if (err == PS_OK) {
        (void)stat(report, &before);
        err = run_program(program, argv, &status, errors, sizeof errors);
    }
    return err == PS_OK ? read_result(report, section, status, errors, &before, out) : err;
}

int ps_load_run_load(const struct ps_load_opts *opts, struct ps_load_result *out)
{
    return run_test("load", "load_test", opts, out);
}

int ps_load_run_stress(const struct ps_load_opts *opts, struct ps_load_result *out)
{
    return run_test("stress", "stress_test", opts, out);
}

int ps_load_run_spike(const struct ps_load_opts *opts, struct ps_load_result *out)
{
    return run_test("spike", "spike_test", opts, out);
}

int ps_load_run_endurance(const struct ps_load_opts *opts, struct ps_load_result *out)
{
    return run_test("endurance", "endurance_test", opts, out);
}

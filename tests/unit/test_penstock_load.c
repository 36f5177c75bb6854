/* test_penstock_load - load tests from a program: the command is started, its report is read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <arpa/inet.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "penstock/penstock.h"

#define ANSWER "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"

static int listener;
static char url[64];
static char folder[64] = "/tmp/penstock-load-XXXXXX";
static char report[96];

/* Answers one request a connection, until the socket is shut. */
static void *serve(void *ctx)
{
    char text[4096];
    int fd;
    (void)ctx;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        if (read(fd, text, sizeof text) > 0 && write(fd, ANSWER, sizeof ANSWER - 1) > 0) {
            shutdown(fd, SHUT_WR);
            while (read(fd, text, sizeof text) > 0) {
            }
        }
        close(fd);
    }
    return NULL;
}

static int begin(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    static pthread_t thread;
    char program[1024];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 32);
    (void)state;
    assert_true(n > 0);
    program[n] = '\0';
    for (int i = 0; i < 3; i++) { /* build/tests/unit/test_penstock_load */
        *strrchr(program, '/') = '\0';
    }
    strcat(program, "/penstock");
    setenv("PENSTOCK_PROGRAM", program, 1);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 128), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(at.sin_port));
    assert_non_null(mkdtemp(folder));
    snprintf(report, sizeof report, "%s/report.json", folder);
    *state = &thread;
    return pthread_create(&thread, NULL, serve, NULL);
}

static int end(void **state)
{
    char command[128];
    shutdown(listener, SHUT_RDWR);
    pthread_join(*(pthread_t *)*state, NULL);
    close(listener);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static const char *const short_test[] = {"--rate", "50", "--count", "20", "--max-lag", "1h", NULL};

static void a_test_gives_its_verdict_and_figures(void **state)
{
    (void)state;
    struct ps_load_result result;
    const struct ps_load_opts opts = {.url = url, .report = report, .options = short_test};
    int err = ps_load_run_load(&opts, &result);
    if (err != PS_OK) {
        fail_msg("%s", ps_last_error());
    }
    assert_int_equal(result.verdict, PS_LOAD_PASS);
    assert_float_equal(result.total_requests, 20, 0);
    assert_float_equal(result.failed_requests, 0, 0);
    assert_true(result.p95_ms > 0);
    assert_true(isnan(result.breaking_point_rps));
    assert_int_not_equal(result.reason[0], '\0');
    char *json = NULL;
    assert_int_equal(ps_load_report(report, &json), PS_OK);
    assert_non_null(strstr(json, "\"load_test\":"));
    ps_free(json);
}

static void an_absent_target_is_a_verdict(void **state)
{
    (void)state;
    struct ps_load_result result;
    const struct ps_load_opts opts = {.url = "http://127.0.0.1:1/", .report = report, .options = short_test};
    assert_int_equal(ps_load_run_load(&opts, &result), PS_OK);
    assert_int_equal(result.verdict, PS_LOAD_UNREACHABLE);
    assert_non_null(strstr(result.reason, "refused"));
}

static void what_can_not_be_is_said(void **state)
{
    (void)state;
    struct ps_load_result result = {.duration_seconds = 7};
    const char *const bad[] = {"--rate", "fast", NULL};
    const struct ps_load_opts opts = {.url = url, .report = report, .options = bad};
    assert_int_equal(ps_load_run_load(&opts, &result), PS_EINVAL);
    assert_non_null(strstr(ps_last_error(), "--rate fast"));
    assert_float_equal(result.duration_seconds, 7, 0);
    assert_int_equal(ps_load_run_load(NULL, &result), PS_EINVAL);
    assert_int_equal(ps_load_report("/no/such/report", &(char *){NULL}), PS_ENOTFOUND);
    char *program = strdup(getenv("PENSTOCK_PROGRAM"));
    setenv("PENSTOCK_PROGRAM", "/no/such/program", 1);
    assert_int_equal(ps_load_run_load(&opts, &result), PS_ENOTFOUND);
    setenv("PENSTOCK_PROGRAM", program, 1);
    free(program);
}

static void a_report_of_before_is_not_taken_for_this_one(void **state)
{
    (void)state;
    struct ps_load_result result;
    const struct ps_load_opts opts = {.url = url, .report = report, .options = short_test};
    assert_int_equal(ps_load_run_load(&opts, &result), PS_OK);
    char *program = strdup(getenv("PENSTOCK_PROGRAM"));
    setenv("PENSTOCK_PROGRAM", "/bin/true", 1);
    assert_int_equal(ps_load_run_load(&opts, &result), PS_EIO);
    setenv("PENSTOCK_PROGRAM", program, 1);
    free(program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_test_gives_its_verdict_and_figures),
        cmocka_unit_test(an_absent_target_is_a_verdict),
        cmocka_unit_test(what_can_not_be_is_said),
        cmocka_unit_test(a_report_of_before_is_not_taken_for_this_one),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

/* What the doctor reads and how it judges, with texts, figures and times of the test's choice. */
#include "daemon/doctor_check.h"
#include "daemon/doctor_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ps_address address_of(const char *text)
{
    struct ps_address address;
    assert_int_equal(ps_address_parse(ps_str_from(text), &address), PS_OK);
    return address;
}

/* --- reading ---------------------------------------------------------------------------------- */

static void listening_sockets_are_read_from_proc(void **state)
{
    (void)state;
    struct ps_str text = PS_STR("  sl  local_address rem_address   st tx_queue rx_queue tr "
                                "tm->when retrnsmt   uid  timeout inode\n"
                                "   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 "
                                "00:00000000 00000000  1000        0 107010 1 x\n"
                                "   1: 0100007F:1388 0100007F:D0B2 01 00000000:00000000 "
                                "00:00000000 00000000     0        0 55 1 x\n"
                                "   2: 00000000000000000000000001000000:01BB "
                                "00000000000000000000000000000000:0000 0A 0:0 0:0 0 7 0 9 1\n"
                                "   3: 0100007G:1388 00000000:0000 0A 0:0 0:0 0 7 0 9 1\n"
                                "   4: 0100007F:13888 00000000:0000 0A 0:0 0:0 0 7 0 9 1\n"
                                "   5: 0100007F:1388 00000000:0000 0A");
    struct ps_doctor_socket socket;
    char shown[PS_ADDRESS_TEXT];
    assert_true(ps_doctor_next_socket(&text, &socket));
    assert_string_equal(ps_address_text(&socket.at, shown), "127.0.0.1:5000");
    assert_int_equal(socket.uid, 1000);
    assert_int_equal(socket.inode, 107010);
    assert_true(ps_doctor_next_socket(&text, &socket));
    assert_string_equal(ps_address_text(&socket.at, shown), "[::1]:443");
    assert_int_equal(socket.inode, 9);
    assert_false(ps_doctor_next_socket(&text, &socket));
}

static void addresses_collide_when_one_is_every_address(void **state)
{
    (void)state;
    static const struct {
        const char *wanted, *held;
        bool collide;
    } rows[] = {
        {"127.0.0.1:5000", "127.0.0.1:5000", true},  {"127.0.0.1:5000", "127.0.0.1:5001", false},
        {"127.0.0.1:5000", "127.0.0.2:5000", false}, {"127.0.0.1:5000", "0.0.0.0:5000", true},
        {"127.0.0.1:5000", "[::]:5000", true},       {"[::1]:5000", "0.0.0.0:5000", false},
        {"[::1]:5000", "[::]:5000", true},           {"0.0.0.0:5000", "10.0.0.1:5000", true},
        {"[::]:5000", "127.0.0.1:5000", true},       {"[::]:5000", "0.0.0.0:5000", true},
        {"[::1]:5000", "127.0.0.1:5000", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_address wanted = address_of(rows[i].wanted);
        struct ps_address held = address_of(rows[i].held);
        assert_int_equal(ps_doctor_collides(&wanted, &held), rows[i].collide);
    }
}

static void figures_of_the_kernel_are_read_or_refused(void **state)
{
    (void)state;
    uint64_t a = 1;
    uint64_t b = 2;
    double cores = -1;
    struct ps_str limits =
        PS_STR("Limit                     Soft Limit           Hard Limit           Units     \n"
               "Max cpu time              unlimited            unlimited            seconds   \n"
               "Max open files            1024                 524288               files     \n");
    assert_int_equal(ps_doctor_read_descriptors(limits, &a, &b), PS_OK);
    assert_true(a == 1024 && b == 524288);
    assert_int_equal(
        ps_doctor_read_descriptors(PS_STR("Max open files  1024  many  files\n"), &a, &b),
        PS_EPARSE);
    assert_int_equal(
        ps_doctor_read_descriptors(PS_STR("Max open files unlimited unlimited"), &a, &b), PS_OK);
    assert_true(b == PS_DOCTOR_UNLIMITED);
    struct ps_str memory =
        PS_STR("MemTotalX: 1 kB\nMemTotal:       24683520 kB\nMemFree:  12 kB\n");
    assert_int_equal(ps_doctor_read_meminfo(memory, PS_STR("MemFree"), &a), PS_OK);
    assert_int_equal(a, 12 * 1024);
    assert_int_equal(
        ps_doctor_read_meminfo(PS_STR("MemTotal: 18446744073709551615 kB"), PS_STR("MemTotal"), &a),
        PS_EPARSE);
    assert_int_equal(ps_doctor_read_max(PS_STR("max\n"), &a), PS_OK);
    assert_true(a == PS_DOCTOR_UNLIMITED);
    assert_int_equal(ps_doctor_read_max(PS_STR("1073741824\n"), &a), PS_OK);
    assert_int_equal(a, 1073741824);
    assert_int_equal(ps_doctor_read_max(PS_STR("-1\n"), &a), PS_EPARSE);
    assert_int_equal(ps_doctor_read_quota(PS_STR("150000 100000\n"), &cores), PS_OK);
    assert_true(cores == 1.5);
    assert_int_equal(ps_doctor_read_quota(PS_STR("max 100000\n"), &cores), PS_OK);
    assert_true(cores == 0);
    assert_int_equal(ps_doctor_read_quota(PS_STR("1 0"), &cores), PS_EPARSE);
    assert_int_equal(ps_doctor_read_pair(PS_STR("32768\t60999\n"), &a, &b), PS_OK);
    assert_true(a == 32768 && b == 60999);
    assert_int_equal(ps_doctor_read_number(PS_STR("4096 1"), &a), PS_EPARSE);
    assert_int_equal(ps_doctor_read_number(PS_STR(""), &a), PS_EPARSE);
}

static void the_unified_cgroup_is_found_among_the_others(void **state)
{
    (void)state;
    struct ps_str mixed = PS_STR("4:memory:/old\n0::/system.slice/penstock.service\n");
    assert_true(ps_str_eq(ps_doctor_cgroup(mixed), PS_STR("/system.slice/penstock.service")));
    assert_int_equal(ps_doctor_cgroup(PS_STR("4:memory:/old\n")).len, 0);
    assert_int_equal(ps_doctor_cgroup(PS_STR("0::../odd\n")).len, 0);
}

static void dates_are_read_or_refused(void **state)
{
    (void)state;
    int64_t at = 0;
    static const char *const wrong[] = {
        "",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun, 31 Apr 2025 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
    };
    assert_int_equal(ps_doctor_read_date(PS_STR("Sun, 06 Nov 1994 08:49:37 GMT"), &at), PS_OK);
    assert_int_equal(at, 784111777);
    assert_int_equal(ps_doctor_read_date(PS_STR("Sat, 31 Dec 2016 23:59:60 GMT"), &at), PS_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(ps_doctor_read_date(ps_str_from(wrong[i]), &at), PS_EPARSE);
    }
    assert_int_equal(ps_doctor_read_build_date(PS_STR("Nov  6 1994"), &at), PS_OK);
    assert_int_equal(at, 784080000);
    assert_int_equal(ps_doctor_read_build_date(PS_STR("Nov 16 1994"), &at), PS_OK);
    assert_int_equal(ps_doctor_read_build_date(PS_STR("Feb 30 1994"), &at), PS_EPARSE);
    assert_int_equal(ps_doctor_read_build_date(PS_STR("??? ?? ????"), &at), PS_EPARSE);
}

static void model_lists_are_read_whatever_they_hold(void **state)
{
    (void)state;
    struct ps_doctor_models models;
    ps_doctor_read_models(
        PS_STR("{\"simulated\":true,\"data\":[{\"id\":\"a\"},{\"id\":\"b:latest\"},{\"id\":7},"
               "{\"id\":\"\\u001b[31m\"},5,{\"id\":\"\"}]}"),
        &models);
    assert_true(models.is_list && models.is_simulated);
    assert_int_equal(models.count, 2);
    assert_true(ps_doctor_has_model(&models, "a") && ps_doctor_has_model(&models, "b") &&
                ps_doctor_has_model(&models, "b:latest"));
    assert_false(ps_doctor_has_model(&models, "a:latest") || ps_doctor_has_model(&models, ""));
    free(models.names);
    static const char *const odd[] = {"", "[]", "null", "{\"data\":{}}", "{\"data\":[", "\x80"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        ps_doctor_read_models(ps_str_from(odd[i]), &models);
        assert_false(models.is_list);
        assert_int_equal(models.count, 0);
        free(models.names);
    }
}

/* --- judging ---------------------------------------------------------------------------------- */

/* The finding about a subject, which must be there. */
static const struct ps_doctor_finding *about(const struct ps_doctor_report *report,
                                             const char *subject)
{
    for (size_t i = 0; i < report->count; i++) {
        if (strcmp(report->items[i].subject, subject) == 0) {
            return &report->items[i];
        }
    }
    fail_msg("nothing was said about %s", subject);
    return NULL;
}

static const struct ps_doctor_limit_figures plenty = {
    .descriptors = 524288,
    .memory = UINT64_C(64) << 30,
    .memory_max = 0,
    .somaxconn = 4096,
    .port_low = 32768,
    .port_high = 60999,
    .quota = 8,
    .max_connections = 20000,
    .upstream_connections = 20000,
    .endpoints = 2,
    .max_buffered = UINT64_C(16) << 30,
    .workers = 8,
    .listeners = 2,
};

static void limits_that_suffice_are_ok(void **state)
{
    (void)state;
    struct ps_doctor_report report = {.check = "limits"};
    struct ps_doctor_limit_figures none = {.workers = 1};
    ps_doctor_judge_limits(&report, &plenty);
    assert_int_equal(report.count, 5);
    assert_int_equal(ps_doctor_worst(&report), PS_DOCTOR_OK);
    ps_doctor_report_fini(&report);
    report.check = "limits";
    ps_doctor_judge_limits(&report, &none); /* unknown is not wrong */
    assert_int_equal(report.count, 0);
    ps_doctor_report_fini(&report);
}

static void limits_that_are_too_low_name_the_right_value(void **state)
{
    (void)state;
    struct ps_doctor_report report = {.check = "limits"};
    struct ps_doctor_limit_figures low = plenty;
    low.descriptors = 4096;
    low.memory_max = UINT64_C(1) << 30;
    low.somaxconn = 128;
    low.port_high = 32768 + 999;
    low.quota = 1.5;
    ps_doctor_judge_limits(&report, &low);
    assert_int_equal(report.counts[PS_DOCTOR_WARNING], 5);
    assert_non_null(strstr(about(&report, "RLIMIT_NOFILE")->fix, "LimitNOFILE=40114 "));
    assert_string_equal(about(&report, "max_buffered")->fix, "max_buffered: 256MiB");
    assert_non_null(strstr(about(&report, "max_buffered")->text, "cgroup"));
    assert_string_equal(about(&report, "net.core.somaxconn")->fix,
                        "sysctl net.core.somaxconn=4096");
    assert_non_null(
        strstr(about(&report, "ip_local_port_range")->text, "1000 ports for 20000 connections"));
    assert_string_equal(about(&report, "workers")->fix, "workers: 2");
    ps_doctor_report_fini(&report);
    report.check = "limits";
    low.descriptors = 255;
    ps_doctor_judge_limits(&report, &low);
    assert_int_equal(about(&report, "RLIMIT_NOFILE")->severity, PS_DOCTOR_ERROR);
    ps_doctor_report_fini(&report);
}

static void clocks_are_judged_by_build_date_service_and_source(void **state)
{
    (void)state;
    struct ps_doctor_report report = {.check = "clocks"};
    struct ps_doctor_clock_figures figures = {.now = 1800000000,
                                              .built = 1790000000,
                                              .is_kernel_told = true,
                                              .is_synchronised = true,
                                              .source = "tsc"};
    ps_doctor_judge_clock(&report, &figures);
    assert_int_equal(ps_doctor_worst(&report), PS_DOCTOR_OK);
    figures.is_synchronised = false; /* in containers and virtual machines that is usual */
    ps_doctor_judge_clock(&report, &figures);
    assert_int_equal(ps_doctor_worst(&report), PS_DOCTOR_INFO);
    snprintf(figures.source, sizeof figures.source, "hpet");
    ps_doctor_judge_clock(&report, &figures);
    assert_int_equal(ps_doctor_worst(&report), PS_DOCTOR_WARNING);
    figures.now = 86400;
    ps_doctor_judge_clock(&report, &figures);
    assert_int_equal(ps_doctor_worst(&report), PS_DOCTOR_ERROR);
    ps_doctor_report_fini(&report);
}

static void a_date_over_five_seconds_apart_is_a_warning(void **state)
{
    (void)state;
    struct ps_doctor_report report = {.check = "clocks"};
    ps_time ours = 784111777 * PS_SECOND;
    ps_doctor_judge_date(&report, "u", "Sun, 06 Nov 1994 08:49:37 GMT", ours + 5 * PS_SECOND);
    ps_doctor_judge_date(&report, "u", "Sun, 06 Nov 1994 08:49:37 GMT", ours - 5 * PS_SECOND);
    ps_doctor_judge_date(&report, "u", "yesterday", ours); /* says nothing */
    assert_int_equal(report.counts[PS_DOCTOR_OK], 2);
    ps_doctor_judge_date(&report, "behind", "Sun, 06 Nov 1994 08:49:37 GMT", ours + 90 * PS_SECOND);
    ps_doctor_judge_date(&report, "ahead", "Sun, 06 Nov 1994 08:49:37 GMT", ours - 6 * PS_SECOND);
    assert_string_equal(about(&report, "behind")->text,
                        "its clock is 90 seconds behind this machine's");
    assert_string_equal(about(&report, "ahead")->text,
                        "its clock is 6 seconds ahead of this machine's");
    assert_int_equal(report.counts[PS_DOCTOR_WARNING], 2);
    ps_doctor_report_fini(&report);
}

static void a_certificate_is_judged_by_the_day(void **state)
{
    (void)state;
    struct ps_doctor_report report = {.check = "certificates"};
    const int64_t day = 86400;
    ps_doctor_judge_dates(&report, "good", 0, 22 * day, 0);
    ps_doctor_judge_dates(&report, "soon", 0, 21 * day - 1, 0);
    ps_doctor_judge_dates(&report, "over", 0, day, 3 * day);
    ps_doctor_judge_dates(&report, "early", day, 99 * day, 0);
    assert_int_equal(about(&report, "good")->severity, PS_DOCTOR_OK);
    assert_int_equal(about(&report, "soon")->severity, PS_DOCTOR_WARNING);
    assert_string_equal(about(&report, "over")->text, "has expired 2 days ago");
    assert_int_equal(about(&report, "over")->severity, PS_DOCTOR_ERROR);
    assert_int_equal(about(&report, "early")->severity, PS_DOCTOR_ERROR);
    ps_doctor_report_fini(&report);
}

static void another_major_version_of_a_library_is_an_error(void **state)
{
    (void)state;
    struct ps_doctor_report report = {.check = "program"};
    ps_doctor_judge_library(&report, "same", "3.0.19", "3.5.1");
    ps_doctor_judge_library(&report, "other", "3.0.19", "4.0.0");
    ps_doctor_judge_library(&report, "odd", "3.0.19", "");
    assert_int_equal(about(&report, "same")->severity, PS_DOCTOR_OK);
    assert_int_equal(about(&report, "other")->severity, PS_DOCTOR_ERROR);
    assert_string_equal(about(&report, "other")->fix,
                        "install other 3.x, or build Penstock anew on this machine");
    assert_int_equal(about(&report, "odd")->severity, PS_DOCTOR_OK);
    ps_doctor_report_fini(&report);
}

/* --- showing ---------------------------------------------------------------------------------- */

static void assert_shown(const struct ps_doctor_report *report, bool verbose, const char *text)
{
    struct ps_buf out = ps_buf_make(65536);
    assert_int_equal(ps_doctor_print(report, verbose, false, &out), PS_OK);
    assert_int_equal(ps_buf_append(&out, "", 1), PS_OK);
    assert_string_equal(out.data, text);
    ps_buf_fini(&out);
}

static void what_is_ok_is_folded_and_problems_come_with_their_fix(void **state)
{
    (void)state;
    struct ps_doctor_report report = {.check = "ports"};
    assert_shown(&report, false, "doctor: healthy\n");
    ps_doctor_say(&report, PS_DOCTOR_OK, "a", "is free");
    ps_doctor_say(&report, PS_DOCTOR_OK, "b", "is free");
    report.check = "limits";
    ps_doctor_say(&report, PS_DOCTOR_OK, "c", "enough");
    ps_doctor_say(&report, PS_DOCTOR_WARNING, "d", "too %s", "low");
    ps_doctor_fix(&report, "raise %c", 'd');
    assert_shown(&report, false,
                 "ok       ports          2 things looked at\n"
                 "warning  limits         d: too low\n"
                 "         fix: raise d\n"
                 "doctor: 1 warning\n");
    ps_doctor_say(&report, PS_DOCTOR_ERROR, "", "e");
    ps_doctor_say(&report, PS_DOCTOR_ERROR, "", "f");
    assert_shown(&report, true,
                 "ok       ports          a: is free\n"
                 "ok       ports          b: is free\n"
                 "ok       limits         c: enough\n"
                 "warning  limits         d: too low\n"
                 "         fix: raise d\n"
                 "error    limits         e\n"
                 "error    limits         f\n"
                 "doctor: 2 errors, 1 warning\n");
    ps_doctor_report_fini(&report);
}

static void secrets_and_control_characters_are_never_shown(void **state)
{
    (void)state;
    struct ps_doctor_report report = {.check = "upstreams"};
    ps_doctor_hide(&report, "s3cr3t-key");
    ps_doctor_hide(&report, "short"); /* would blot out words */
    ps_doctor_say(&report, PS_DOCTOR_INFO, "s3cr3t-key",
                  "ks3cr3t-keys3cr3t-key \x1b[31m\xc2\x9b\xff short \xc3\xa4");
    ps_doctor_fix(&report, "s3cr3t-key");
    assert_string_equal(report.items[0].subject, "***");
    assert_string_equal(report.items[0].text, "k****** ?[31m??? short \xc3\xa4");
    assert_string_equal(report.items[0].fix, "***");
    ps_doctor_report_fini(&report);
}

static void findings_are_bounded_and_still_counted(void **state)
{
    (void)state;
    struct ps_doctor_report report = {.check = "upstreams"};
    struct ps_buf out = ps_buf_make(1024 * 1024);
    for (size_t i = 0; i < PS_DOCTOR_FINDINGS + 3; i++) {
        ps_doctor_say(&report, PS_DOCTOR_INFO, "s", "t");
        ps_doctor_fix(&report, "%s", i < PS_DOCTOR_FINDINGS ? "kept" : "lost");
    }
    assert_int_equal(report.count, PS_DOCTOR_FINDINGS);
    assert_string_equal(report.items[PS_DOCTOR_FINDINGS - 1].fix, "kept");
    assert_int_equal(ps_doctor_print(&report, false, false, &out), PS_OK);
    assert_true(ps_str_ends_with(ps_buf_str(&out), PS_STR("and 3 more\ndoctor: healthy\n")));
    ps_buf_fini(&out);
    ps_doctor_report_fini(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listening_sockets_are_read_from_proc),
        cmocka_unit_test(addresses_collide_when_one_is_every_address),
        cmocka_unit_test(figures_of_the_kernel_are_read_or_refused),
        cmocka_unit_test(the_unified_cgroup_is_found_among_the_others),
        cmocka_unit_test(dates_are_read_or_refused),
        cmocka_unit_test(model_lists_are_read_whatever_they_hold),
        cmocka_unit_test(limits_that_suffice_are_ok),
        cmocka_unit_test(limits_that_are_too_low_name_the_right_value),
        cmocka_unit_test(clocks_are_judged_by_build_date_service_and_source),
        cmocka_unit_test(a_date_over_five_seconds_apart_is_a_warning),
        cmocka_unit_test(a_certificate_is_judged_by_the_day),
        cmocka_unit_test(another_major_version_of_a_library_is_an_error),
        cmocka_unit_test(what_is_ok_is_folded_and_problems_come_with_their_fix),
        cmocka_unit_test(secrets_and_control_characters_are_never_shown),
        cmocka_unit_test(findings_are_bounded_and_still_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

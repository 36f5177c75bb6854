/* test_freshness - what is kept and how long (RFC 9111, 3 and 4.2), and what may be done with it
 * then (4, 5.2.1).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/freshness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../helpers/heads.h"

#define NOW      (INT64_C(1800000000) * PS_SECOND) /* Fri, 15 Jan 2027 08:00:00 GMT */
#define DATE     "Date: Fri, 15 Jan 2027 08:00:00 GMT\n"
#define HOUR_AGO "Fri, 15 Jan 2027 07:00:00 GMT"
#define SOON     "Fri, 15 Jan 2027 08:10:00 GMT" /* 600 */
#define GET      "GET /x"

static const struct ps_freshness_policy policy = {
    .guess_max = 24 * PS_HOUR,
    .keep = 1000 * PS_SECOND,
};

static struct ps_freshness_life judge(const char *method, const char *request, int status,
                                      const char *answer, const struct ps_freshness_policy *by)
{
    struct heads a;
    struct heads b;
    struct ps_freshness_request asked;
    struct ps_freshness_life life;
    ps_freshness_read_request(&asked, heads_request(&a, method, request));
    struct ps_freshness_answer came = {heads_answer(&b, status, answer), NOW, NOW};
    ps_freshness_of(&life, &asked, &came, by);
    heads_fini(&a);
    heads_fini(&b);
    return life;
}

static void what_may_be_kept_is_kept(void **state)
{
    static const struct {
        const char *method, *request;
        int status;
        const char *answer;
        const char *why; /* NULL = kept */
    } rows[] = {
        {GET, "", 200, "Cache-Control: max-age=60\n", NULL},
        {GET, "", 200, DATE "Expires: " SOON "\n", NULL},
        {GET, "", 200, DATE "Last-Modified: " HOUR_AGO "\n", NULL},
        {GET, "", 200, "ETag: \"a\"\n", NULL}, /* to be validated */
        {GET, "", 200, "X: y\n", "stale"},
        {GET, "", 200, "Cache-Control: max-age=0\n", "stale"},
        {GET, "", 200, "Cache-Control: max-age=0\nETag: \"a\"\n", NULL},
        {GET, "", 200, "Cache-Control: max-age=0, stale-while-revalidate=9\n", NULL},
        {GET, "", 200, "Cache-Control: max-age=0, stale-if-error=9\n", NULL},
        {GET, "", 200, "Cache-Control: no-cache\n", "stale"},
        {GET, "", 200, "Cache-Control: no-cache\nETag: \"a\"\n", NULL},
        {GET, "", 200, "Cache-Control: max-age=60, no-cache=\"a\"\n", NULL},
        {GET, "", 200, "Cache-Control: max-age=60\nAge: 60\n", "stale"},
        {GET, "", 200, "Cache-Control: max-age=60\nAge: 59\n", NULL},
        {GET, "", 200, "Cache-Control: max-age=60\nPragma: no-cache\n", NULL},
        {GET, "", 200, "Cache-Control: max-age=60\nSet-Cookie: a=b\n", NULL},
        {GET, "", 200, DATE "Last-Modified: " HOUR_AGO "\nSet-Cookie: a=b\n",
         NULL}, /* to validate */
        {GET, "", 200, "Cache-Control: max-age=60\nVary: Accept\n", NULL},
        {GET, "", 200, "Cache-Control: max-age=60\nVary: *\n", "vary"},
        {GET, "", 200, "Cache-Control: max-age=60\nVary: a\nVary: , *\n", "vary"},
        {GET, "", 200, "Cache-Control: max-age=60, no-store\n", "no-store"},
        {GET, "", 200, "Cache-Control: max-age=60, private\n", "private"},
        {GET, "", 200, "Cache-Control: max-age=60, private=\"a\"\n", NULL},
        {GET, "", 200, "Cache-Control: private\nCDN-Cache-Control: max-age=60\n", NULL},
        {GET, "", 200, "Cache-Control: max-age=60, x=\"\n", "stale"},
        /* methods */
        {"HEAD /x", "", 200, "Cache-Control: max-age=60\n", "request"},
        {"POST /x", "Content-Length: 0\n", 200, "Cache-Control: max-age=60\n", "request"},
        {"OPTIONS /x", "", 200, "Cache-Control: max-age=60\n", "request"},
        /* what the request says */
        {GET, "Cache-Control: no-store\n", 200, "Cache-Control: max-age=60\n", "request"},
        {GET, "Cache-Control: no-cache\n", 200, "Cache-Control: max-age=60\n", NULL},
        {GET, "Range: bytes=0-1\n", 200, "Cache-Control: max-age=60\n", "request"},
        {GET, "If-Range: \"a\"\n", 200, "Cache-Control: max-age=60\n", "request"},
        {GET, "If-Match: \"a\"\n", 200, "Cache-Control: max-age=60\n", "request"},
        {GET, "If-None-Match: \"a\"\n", 200, "Cache-Control: max-age=60\n", NULL},
        {GET, "Cookie: a=b\n", 200, "Cache-Control: max-age=60\n", NULL},
        /* Authorization (3.5) */
        {GET, "Authorization: x\n", 200, "Cache-Control: max-age=60\n", "authorization"},
        {GET, "Authorization: x\n", 200, DATE "Expires: " SOON "\n", "authorization"},
        {GET, "Authorization: x\n", 200, "Cache-Control: max-age=60, public\n", NULL},
        {GET, "Authorization: x\n", 200, "Cache-Control: s-maxage=60\n", NULL},
        {GET, "Authorization: x\n", 200, "Cache-Control: max-age=60, must-revalidate\n", NULL},
        /* statuses */
        {GET, "", 206, "Cache-Control: max-age=60\n", "status"},
        {GET, "", 304, "Cache-Control: max-age=60\n", "status"},
        {GET, "", 404, "Cache-Control: max-age=60\n", NULL},
        {GET, "", 503, "Cache-Control: max-age=60\n", NULL},
        {GET, "", 302, "Cache-Control: max-age=60\n", NULL},
        {GET, "", 599, "Cache-Control: max-age=60\n", NULL},
        {GET, "", 599, "Cache-Control: max-age=60, must-understand\n", "status"},
        {GET, "", 200, "Cache-Control: max-age=60, must-understand, no-store\n", NULL},
        {GET, "", 404, DATE "Last-Modified: " HOUR_AGO "\n", NULL},
        {GET, "", 302, DATE "Last-Modified: " HOUR_AGO "\n", "status"},
        {GET, "", 599, DATE "Last-Modified: " HOUR_AGO "\n", "status"},
        {GET, "", 599, DATE "Last-Modified: " HOUR_AGO "\nCache-Control: public\n", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_freshness_life life =
            judge(rows[i].method, rows[i].request, rows[i].status, rows[i].answer, &policy);
        if (life.keep != (rows[i].why == NULL)) {
            print_message("row %zu: %s, %d\n%s", i, rows[i].method, rows[i].status, rows[i].answer);
        }
        assert_int_equal(life.keep, rows[i].why == NULL);
        if (rows[i].why != NULL) {
            assert_string_equal(life.why, rows[i].why);
        }
    }
}

static void a_tenants_key_is_no_authorization(void **state)
{
    (void)state;
    struct ps_freshness_policy own = policy;
    own.own_authorization = true;
    assert_true(judge(GET, "Authorization: x\n", 200, "Cache-Control: max-age=60\n", &own).keep);
    assert_false(judge(GET, "Authorization: x\n", 200, "Cache-Control: private\n", &own).keep);
}

static void lifetime_is_what_the_first_of_them_says(void **state)
{
    static const struct {
        const char *answer;
        int64_t fresh; /* seconds */
        bool guessed;
    } rows[] = {
        {"Cache-Control: max-age=60\n", 60, false},
        {"Cache-Control: max-age=60, s-maxage=6\n", 6, false},
        {"Cache-Control: s-maxage=600\nCache-Control: max-age=6\n", 600, false},
        {"Cache-Control: max-age=60\nExpires: 0\n" DATE, 60, false},
        {"Cache-Control: max-age=0\nETag: \"a\"\nExpires: " SOON "\n" DATE, 0, false},
        {"Cache-Control: max-age=99999999999\n", 2147483648, false},
        {"Cache-Control: max-age=x\nExpires: " SOON "\nETag: \"a\"\n", 0, false},
        {"Cache-Control: s-maxage=x, max-age=60\nETag: \"a\"\n", 0, false},
        {"Expires: " SOON "\n" DATE, 600, false},
        {"Expires: " SOON "\n", 600, false},              /* without Date: since it came */
        {"Expires: " SOON "\nDate: today\n", 600, false}, /* likewise */
        {"Expires: " SOON "\nDate: " HOUR_AGO "\nETag: \"a\"\n", 4200, false},
        {"Expires: " HOUR_AGO "\nETag: \"a\"\n" DATE, 0, false},
        {"Expires: 0\nETag: \"a\"\n" DATE, 0, false},
        {"Expires: " SOON "\nExpires: 0\n" DATE, 600, false},
        {"Expires: Friday, 15-Jan-27 08:10:00 GMT\n" DATE, 600, false},
        {"Expires: Fri, 31 Dec 9999 23:59:59 GMT\n" DATE, 2147483648, false},
        {"Last-Modified: " HOUR_AGO "\n" DATE, 360, true},
        {"Last-Modified: " HOUR_AGO "\n", 360, true},
        {"Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\n" DATE, 86400, true},
        {"Last-Modified: " SOON "\nETag: \"a\"\n" DATE, 0, false},
        {"Last-Modified: yesterday\nETag: \"a\"\n" DATE, 0, false},
        {"Last-Modified: " HOUR_AGO "\nSet-Cookie: a=b\n" DATE, 0, false},
        {"Last-Modified: " HOUR_AGO "\nCache-Control: no-cache\n" DATE, 0, true},
        {"Cache-Control: max-age=60, no-cache\nETag: \"a\"\n", 0, false},
        {"CDN-Cache-Control: max-age=5\nCache-Control: max-age=60\nExpires: " SOON "\n", 5, false},
        {"CDN-Cache-Control: public\nExpires: " SOON "\nLast-Modified: " HOUR_AGO "\n", 360, true},
        {"Surrogate-Control: max-age=5\nCache-Control: max-age=60\n", 5, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_freshness_life life = judge(GET, "", 200, rows[i].answer, &policy);
        if (life.fresh != rows[i].fresh * PS_SECOND) {
            print_message("row %zu: %s", i, rows[i].answer);
        }
        assert_true(life.keep);
        assert_int_equal(life.fresh / PS_SECOND, rows[i].fresh);
        assert_int_equal(life.guessed, rows[i].guessed);
    }
    struct ps_freshness_policy strict = policy;
    strict.guess_max = 0;
    assert_int_equal(judge(GET, "", 200, "Last-Modified: " HOUR_AGO "\n", &strict).fresh, 0);
}

static void age_begins_where_the_answer_was_made(void **state)
{
    static const struct {
        const char *answer;
        int64_t delay, age; /* seconds */
    } rows[] = {
        {"X: y\n", 0, 0},
        {DATE, 0, 0},
        {DATE, 3, 3},
        {DATE "Age: 30\n", 0, 30},
        {DATE "Age: 30\n", 3, 33},
        {"Date: " HOUR_AGO "\n", 3, 3600},
        {"Date: " HOUR_AGO "\nAge: 3599\n", 3, 3602},
        {"Date: " SOON "\nAge: 30\n", 0, 30}, /* its clock is ahead */
        {"Date: today\n", 0, 0},
        /* the first member; what is no number is no Age (5.1) */
        {"Age: 7200, 0\n", 0, 7200},
        {"Age: 0, 7200\n", 0, 0},
        {"Age: 5\nAge: 9\n", 0, 5},
        {"Age: abc\n", 0, 0},
        {"Age: -7\n", 0, 0},
        {"Age: 7.5\n", 0, 0},
        {"Age: 7;a=b\n", 0, 0},
        {"Age: \n", 0, 0},
        {"Age: 99999999999999999999999\n", 0, 2147483648},
        {"Date: Thu, 01 Jan 1970 00:00:00 GMT\n", 0, 1800000000},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads a;
        struct heads b;
        struct ps_freshness_request asked;
        struct ps_freshness_life life;
        ps_freshness_read_request(&asked, heads_request(&a, GET, ""));
        struct ps_freshness_answer came = {heads_answer(&b, 200, rows[i].answer),
                                           NOW - rows[i].delay * PS_SECOND, NOW};
        ps_freshness_of(&life, &asked, &came, &policy);
        assert_int_equal((NOW - life.stored) / PS_SECOND, rows[i].age);
        heads_fini(&a);
        heads_fini(&b);
    }
}

static void stale_use_is_what_the_server_allows(void **state)
{
    static const struct {
        const char *answer;
        bool no_stale;
        int64_t while_revalidate, if_error, stays; /* seconds */
    } rows[] = {
        {"Cache-Control: max-age=60\n", false, 0, 0, 1000},
        {"Cache-Control: max-age=60, stale-while-revalidate=5, stale-if-error=6\n", false, 5, 6,
         1000},
        {"Cache-Control: max-age=60, stale-if-error=5000\n", false, 0, 5000, 5000},
        {"Cache-Control: max-age=0, stale-if-error=6\n", false, 0, 6, 6},
        {"Cache-Control: max-age=60, stale-if-error=x\n", false, 0, 0, 1000},
        {"Cache-Control: max-age=60, must-revalidate, stale-if-error=6\n", true, 0, 0, 0},
        {"Cache-Control: max-age=60, must-revalidate\nETag: \"a\"\n", true, 0, 0, 1000},
        {"Cache-Control: max-age=60, proxy-revalidate, stale-while-revalidate=6\n", true, 0, 0, 0},
        {"Cache-Control: s-maxage=60, stale-while-revalidate=6\n", true, 0, 0, 0},
        {"Cache-Control: no-cache, stale-while-revalidate=6\nETag: \"a\"\n", true, 0, 0, 1000},
        {"CDN-Cache-Control: max-age=60, stale-while-revalidate=6\nCache-Control: s-maxage=1\n",
         false, 6, 0, 1000},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_freshness_life life = judge(GET, "", 200, rows[i].answer, &policy);
        assert_int_equal(life.no_stale, rows[i].no_stale);
        assert_int_equal(life.while_revalidate / PS_SECOND, rows[i].while_revalidate);
        assert_int_equal(life.if_error / PS_SECOND, rows[i].if_error);
        assert_int_equal(life.stays / PS_SECOND, rows[i].stays);
    }
    struct ps_freshness_policy kind = policy;
    kind.while_revalidate = 3 * PS_SECOND;
    kind.if_error = 4 * PS_SECOND;
    struct ps_freshness_life life = judge(GET, "", 200, "Cache-Control: max-age=60\n", &kind);
    assert_int_equal(life.while_revalidate, kind.while_revalidate);
    assert_int_equal(life.if_error, kind.if_error);
    life = judge(GET, "", 200, "Cache-Control: max-age=60, stale-if-error=0\n", &kind);
    assert_int_equal(life.if_error, 0);
}

static void an_entry_is_used_as_the_request_allows(void **state)
{
    static const struct {
        const char *request, *answer;
        int64_t age;
        enum ps_freshness_verdict verdict;
        enum ps_cache_fwd fwd;
        bool fallback;
    } rows[] = {
        {"", "Cache-Control: max-age=60\n", 59, PS_FRESHNESS_SEND, 0, false},
        {"", "Cache-Control: max-age=60\n", 60, PS_FRESHNESS_ASK, PS_CACHE_FWD_STALE, false},
        {"Cache-Control: x\n", "Cache-Control: max-age=60\n", 59, PS_FRESHNESS_SEND, 0, false},
        {"Cache-Control: no-cache\n", "Cache-Control: max-age=60\n", 1, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_REQUEST, false},
        {"Pragma: no-cache\n", "Cache-Control: max-age=60\n", 1, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_REQUEST, false},
        {"Pragma: x, No-Cache\n", "Cache-Control: max-age=60\n", 1, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_REQUEST, false},
        {"Pragma: x\n", "Cache-Control: max-age=60\n", 1, PS_FRESHNESS_SEND, 0, false},
        {"Pragma: no-cache\nCache-Control: x\n", "Cache-Control: max-age=60\n", 1,
         PS_FRESHNESS_SEND, 0, false},
        {"Cache-Control: max-age=0\n", "Cache-Control: max-age=60\n", 0, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_REQUEST, false},
        {"Cache-Control: max-age=10\n", "Cache-Control: max-age=60\n", 10, PS_FRESHNESS_SEND, 0,
         false},
        {"Cache-Control: max-age=10\n", "Cache-Control: max-age=60\n", 11, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_REQUEST, false},
        {"Cache-Control: max-age=ten\n", "Cache-Control: max-age=60\n", 11, PS_FRESHNESS_SEND, 0,
         false},
        {"Cache-Control: min-fresh=10\n", "Cache-Control: max-age=60\n", 50, PS_FRESHNESS_SEND, 0,
         false},
        {"Cache-Control: min-fresh=10\n", "Cache-Control: max-age=60\n", 51, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_REQUEST, false},
        {"Cache-Control: max-stale=10\n", "Cache-Control: max-age=60\n", 70, PS_FRESHNESS_SEND, 0,
         false},
        {"Cache-Control: max-stale=10\n", "Cache-Control: max-age=60\n", 71, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_STALE, false},
        {"Cache-Control: max-stale\n", "Cache-Control: max-age=60\n", 900, PS_FRESHNESS_SEND, 0,
         false},
        {"Cache-Control: max-stale\n", "Cache-Control: max-age=60, must-revalidate\n", 61,
         PS_FRESHNESS_ASK, PS_CACHE_FWD_STALE, false},
        {"Cache-Control: max-stale\n", "Cache-Control: s-maxage=60\n", 61, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_STALE, false},
        {"Cache-Control: max-stale\n", "Cache-Control: max-age=60, no-cache\nETag: \"a\"\n", 0,
         PS_FRESHNESS_ASK, PS_CACHE_FWD_STALE, false},
        {"Cache-Control: max-stale, max-age=60\n", "Cache-Control: max-age=60\n", 61,
         PS_FRESHNESS_ASK, PS_CACHE_FWD_STALE, false},
        {"", "Cache-Control: max-age=60, stale-while-revalidate=9\n", 68, PS_FRESHNESS_SEND_ANEW, 0,
         false},
        {"", "Cache-Control: max-age=60, stale-while-revalidate=9\n", 69, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_STALE, false},
        {"Cache-Control: no-cache\n", "Cache-Control: max-age=60, stale-while-revalidate=9\n", 68,
         PS_FRESHNESS_ASK, PS_CACHE_FWD_STALE, false},
        {"", "Cache-Control: max-age=60, stale-if-error=9\n", 68, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_STALE, true},
        {"", "Cache-Control: max-age=60, stale-if-error=9\n", 69, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_STALE, false},
        {"Cache-Control: stale-if-error=9\n", "Cache-Control: max-age=60\n", 68, PS_FRESHNESS_ASK,
         PS_CACHE_FWD_STALE, true},
        {"Cache-Control: stale-if-error=9\n", "Cache-Control: max-age=60, must-revalidate\n", 68,
         PS_FRESHNESS_ASK, PS_CACHE_FWD_STALE, false},
        {"Cache-Control: only-if-cached\n", "Cache-Control: max-age=60\n", 59, PS_FRESHNESS_SEND, 0,
         false},
        {"Cache-Control: only-if-cached\n", "Cache-Control: max-age=60\n", 60, PS_FRESHNESS_REFUSE,
         PS_CACHE_FWD_STALE, false},
        {"Cache-Control: only-if-cached, max-stale=5\n", "Cache-Control: max-age=60\n", 60,
         PS_FRESHNESS_SEND, 0, false},
        {"Cache-Control: only-if-cached, no-cache\n", "Cache-Control: max-age=60\n", 1,
         PS_FRESHNESS_REFUSE, PS_CACHE_FWD_REQUEST, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads heads;
        struct ps_freshness_request asked;
        struct ps_freshness_life life = judge(GET, "", 200, rows[i].answer, &policy);
        ps_freshness_read_request(&asked, heads_request(&heads, GET, rows[i].request));
        struct ps_freshness_use use = ps_freshness_use(&asked, &life, rows[i].age * PS_SECOND);
        if (use.verdict != rows[i].verdict || use.fwd != rows[i].fwd) {
            print_message("row %zu: %s%s", i, rows[i].request, rows[i].answer);
        }
        assert_int_equal(use.verdict, rows[i].verdict);
        assert_int_equal(use.fwd, rows[i].fwd);
        assert_int_equal(use.fallback, rows[i].fallback);
        heads_fini(&heads);
    }
}

static void requests_are_read(void **state)
{
    static const struct {
        const char *method, *lines;
        struct ps_freshness_request want;
    } rows[] = {
        {GET, "", {.is_get = true, .is_safe = true}},
        {"HEAD /", "", {.is_get = true, .is_head = true, .is_safe = true}},
        {"OPTIONS /", "", {.is_safe = true}},
        {"POST /", "Content-Length: 0\n", {.is_safe = false}},
        {"DELETE /", "", {.is_safe = false}},
        {GET, "Range: bytes=0-\n", {.is_get = true, .is_safe = true, .range = true}},
        {GET, "If-Range: \"a\"\n", {.is_get = true, .is_safe = true, .range = true}},
        {GET, "If-Match: *\n", {.is_get = true, .is_safe = true, .precondition = true}},
        {GET, "If-Unmodified-Since: x\n", {.is_get = true, .is_safe = true, .precondition = true}},
        {GET, "If-None-Match: *\n", {.is_get = true, .is_safe = true, .conditional = true}},
        {GET, "If-Modified-Since: x\n", {.is_get = true, .is_safe = true, .conditional = true}},
        {GET, "Authorization: x\n", {.is_get = true, .is_safe = true, .authorization = true}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads heads;
        struct ps_freshness_request got;
        ps_freshness_read_request(&got, heads_request(&heads, rows[i].method, rows[i].lines));
        assert_int_equal(got.is_get, rows[i].want.is_get);
        assert_int_equal(got.is_head, rows[i].want.is_head);
        assert_int_equal(got.is_safe, rows[i].want.is_safe);
        assert_int_equal(got.range, rows[i].want.range);
        assert_int_equal(got.precondition, rows[i].want.precondition);
        assert_int_equal(got.conditional, rows[i].want.conditional);
        assert_int_equal(got.authorization, rows[i].want.authorization);
        heads_fini(&heads);
    }
}

static struct ps_entry *make_entry(const char *lines, ps_span fresh)
{
    struct ps_entry *entry;
    struct ps_entry_spec spec = {
        .status = 200, .head = ps_str_from(lines), .stored = NOW, .born = NOW, .fresh = fresh};
    assert_int_equal(ps_entry_new(&entry, &spec), PS_OK);
    return entry;
}

static void an_entrys_lines_bind_its_use_when_it_is_stale(void **state)
{
    (void)state;
    struct ps_freshness_life life;
    struct ps_entry *entry =
        make_entry("Cache-Control: max-age=9, stale-while-revalidate=5\r\n", 9 * PS_SECOND);
    ps_freshness_of_entry(&life, entry, NOW + 9 * PS_SECOND, &policy);
    assert_int_equal(life.fresh, 9 * PS_SECOND);
    assert_int_equal(life.while_revalidate, 5 * PS_SECOND);
    assert_false(life.no_stale);
    ps_entry_unref(entry);
    entry = make_entry("Cache-Control: max-age=9, must-revalidate\r\n", 9 * PS_SECOND);
    ps_freshness_of_entry(&life, entry, NOW + 9 * PS_SECOND, &policy);
    assert_true(life.no_stale);
    ps_entry_unref(entry);
    entry = make_entry("no line\r\n", 9 * PS_SECOND);
    ps_freshness_of_entry(&life, entry, NOW + 9 * PS_SECOND, &policy);
    assert_true(life.no_stale);
    ps_freshness_of_entry(&life, entry, NOW, &policy); /* fresh: nobody looks */
    assert_false(life.no_stale);
    ps_entry_unref(entry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_be_kept_is_kept),
        cmocka_unit_test(a_tenants_key_is_no_authorization),
        cmocka_unit_test(lifetime_is_what_the_first_of_them_says),
        cmocka_unit_test(age_begins_where_the_answer_was_made),
        cmocka_unit_test(stale_use_is_what_the_server_allows),
        cmocka_unit_test(an_entry_is_used_as_the_request_allows),
        cmocka_unit_test(requests_are_read),
        cmocka_unit_test(an_entrys_lines_bind_its_use_when_it_is_stale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tenant - keys, limits that hold in a race, settlement, budgets, headers, reload. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "gateway/limit.h"
#include "gateway/tenant.h"

#define NOW (1000 * PS_SECOND)
#define DAY ((ps_span)86400 * PS_SECOND)

static char name_a[] = "a";
static char name_b[] = "b";
static char key_a[] = "sk-a";
static char key_b[] = "sk-b";
/* SHA-256 of "abc" (FIPS 180-4, B.1). */
static char abc[] = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
static char *abc_only[] = {abc};

static int make(struct ps_tenants **out, const struct ps_tenant_opts *items, size_t count,
                const struct ps_tenants *previous)
{
    struct ps_tenant_opts copies[4];
    memcpy(copies, items, count * sizeof *items);
    struct ps_option_list list = {copies, count};
    char reason[160] = "";
    int err = ps_tenants_new(out, &list, previous, NULL, reason, sizeof reason);
    assert_true((err == PS_EINVAL) == (reason[0] != '\0'));
    return err;
}

static struct ps_tenants *one(struct ps_tenant_opts opts)
{
    struct ps_tenants *tenants = NULL;
    opts.name = name_a;
    opts.key = key_a;
    assert_int_equal(make(&tenants, &opts, 1, NULL), PS_OK);
    return tenants;
}

static void a_key_finds_its_tenant(void **state)
{
    (void)state;
    struct ps_tenant_opts opts[] = {
        {.name = name_a, .key = key_a},
        {.name = name_b, .key_sha256 = {abc_only, 1}},
    };
    struct ps_tenants *tenants = NULL;
    assert_int_equal(make(&tenants, opts, 2, NULL), PS_OK);
    assert_string_equal(ps_tenants_find(tenants, PS_STR("sk-a"))->name, "a");
    assert_string_equal(ps_tenants_find(tenants, PS_STR("abc"))->name, "b");
    assert_null(ps_tenants_find(tenants, PS_STR("sk-")));
    assert_null(ps_tenants_find(tenants, PS_STR("")));
    ps_tenants_unref(tenants);
}

static void mistakes_in_the_list_are_named(void **state)
{
    (void)state;
    static char bad[] = "12";
    static char *bad_only[] = {bad};
    struct ps_tenants *tenants = NULL;
    struct ps_tenant_opts no_key = {.name = name_a};
    assert_int_equal(make(&tenants, &no_key, 1, NULL), PS_EINVAL);
    struct ps_tenant_opts digest = {.name = name_a, .key_sha256 = {bad_only, 1}};
    assert_int_equal(make(&tenants, &digest, 1, NULL), PS_EINVAL);
    struct ps_tenant_opts twins[] = {{.name = name_a, .key = key_a},
                                     {.name = name_a, .key = key_b}};
    assert_int_equal(make(&tenants, twins, 2, NULL), PS_EINVAL);
    struct ps_tenant_opts same[] = {{.name = name_a, .key = key_a}, {.name = name_b, .key = key_a}};
    assert_int_equal(make(&tenants, same, 2, NULL), PS_EINVAL);
}

static void the_bearer_key_is_cut_out(void **state)
{
    (void)state;
    assert_true(ps_str_eq(ps_tenant_bearer(PS_STR("Bearer abc")), PS_STR("abc")));
    assert_true(ps_str_eq(ps_tenant_bearer(PS_STR(" bearer  abc ")), PS_STR("abc")));
    assert_int_equal(ps_tenant_bearer(PS_STR("Bearerabc")).len, 0);
    assert_int_equal(ps_tenant_bearer(PS_STR("Basic abc")).len, 0);
    assert_int_equal(ps_tenant_bearer(PS_STR("Bearer ")).len, 0);
}

static struct ps_tenant_decision take(const struct ps_tenant *tenant, uint64_t tokens, int64_t cost,
                                      ps_time now, struct ps_tenant_grant *grant)
{
    *grant = (struct ps_tenant_grant){0};
    return ps_tenant_reserve(tenant, tokens, cost, now, NOW, grant);
}

static void requests_come_back_with_time(void **state)
{
    (void)state;
    struct ps_tenants *tenants = one((struct ps_tenant_opts){.requests_per_minute = 6});
    const struct ps_tenant *tenant = ps_tenants_at(tenants, 0);
    struct ps_tenant_grant grant;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(take(tenant, 1, 0, NOW, &grant).limit, PS_LIMIT_NONE);
    }
    struct ps_tenant_decision decision = take(tenant, 1, 0, NOW, &grant);
    assert_int_equal(decision.limit, PS_LIMIT_REQUESTS);
    assert_int_equal(decision.retry_after, 10 * PS_SECOND);
    assert_false(decision.never);
    assert_int_equal(take(tenant, 1, 0, NOW + 10 * PS_SECOND - 1, &grant).limit, PS_LIMIT_REQUESTS);
    assert_int_equal(take(tenant, 1, 0, NOW + 10 * PS_SECOND, &grant).limit, PS_LIMIT_NONE);
    ps_tenants_unref(tenants);
}

static void tokens_are_settled(void **state)
{
    (void)state;
    struct ps_tenants *tenants = one((struct ps_tenant_opts){.tokens_per_minute = 1000});
    const struct ps_tenant *tenant = ps_tenants_at(tenants, 0);
    struct ps_tenant_grant a;
    struct ps_tenant_grant b;
    assert_int_equal(take(tenant, 900, 0, NOW, &a).limit, PS_LIMIT_NONE);
    assert_int_equal(take(tenant, 101, 0, NOW, &b).limit, PS_LIMIT_TOKENS);
    assert_true(take(tenant, 1001, 0, NOW, &b).never);
    ps_tenant_settle(tenant, &a, 100, 0, NOW);
    assert_int_equal(take(tenant, 900, 0, NOW, &a).limit, PS_LIMIT_NONE);
    ps_tenant_settle(tenant, &a, 2000, 0, NOW); /* more than reserved: into debt */
    struct ps_tenant_decision decision = take(tenant, 1, 0, NOW, &b);
    assert_int_equal(decision.limit, PS_LIMIT_TOKENS);
    assert_int_equal(decision.retry_after / PS_SECOND, 66); /* (2100 + 1 - 1000) / 1000 min */
    ps_tenants_unref(tenants);
}

static void a_debt_is_at_most_a_day(void **state)
{
    (void)state;
    struct ps_tenants *tenants = one((struct ps_tenant_opts){.tokens_per_minute = 1});
    const struct ps_tenant *tenant = ps_tenants_at(tenants, 0);
    struct ps_tenant_grant grant;
    assert_int_equal(take(tenant, 1, 0, NOW, &grant).limit, PS_LIMIT_NONE);
    ps_tenant_settle(tenant, &grant, UINT64_MAX, INT64_MAX, NOW);
    assert_int_equal(take(tenant, 1, 0, NOW, &grant).limit, PS_LIMIT_TOKENS);
    assert_int_equal(take(tenant, 1, 0, NOW + DAY + PS_MINUTE, &grant).limit, PS_LIMIT_NONE);
    ps_tenants_unref(tenants);
}

static void money_is_reserved_and_settled_within_its_period(void **state)
{
    (void)state;
    struct ps_tenants *tenants =
        one((struct ps_tenant_opts){.budget_usd = 1e-6, .budget_period = PS_BUDGET_DAY});
    const struct ps_tenant *tenant = ps_tenants_at(tenants, 0);
    struct ps_tenant_grant a = {0};
    struct ps_tenant_grant b = {0};
    ps_time wall = 20000 * DAY + DAY - PS_SECOND;
    assert_int_equal(ps_tenant_reserve(tenant, 0, 600, NOW, wall, &a).limit, PS_LIMIT_NONE);
    struct ps_tenant_decision decision = ps_tenant_reserve(tenant, 0, 401, NOW, wall, &b);
    assert_int_equal(decision.limit, PS_LIMIT_BUDGET);
    assert_int_equal(decision.retry_after, PS_SECOND);
    assert_true(ps_tenant_reserve(tenant, 0, 1001, NOW, wall, &b).never);
    assert_int_equal(ps_tenant_reserve(tenant, 0, 400, NOW, wall, &b).limit, PS_LIMIT_NONE);
    ps_tenant_settle(tenant, &a, 0, 100, NOW);
    struct ps_tenant_figures figures;
    ps_tenant_read(tenant, NOW, wall, &figures);
    assert_int_equal(figures.budget_remaining, 500);
    /* The next day begins at nought, and what belongs to the old day does not touch it. */
    wall += PS_SECOND;
    assert_int_equal(ps_tenant_reserve(tenant, 0, 900, NOW, wall, &a).limit, PS_LIMIT_NONE);
    ps_tenant_settle(tenant, &b, 0, 0, NOW);
    ps_tenant_read(tenant, NOW, wall, &figures);
    assert_int_equal(figures.budget_remaining, 100);
    assert_int_equal(figures.in_flight, 1);
    ps_tenants_unref(tenants);
}

static void months_are_calendar_months(void **state)
{
    (void)state;
    ps_span left = 0;
    ps_time leap = (ps_time)1709164800 * PS_SECOND; /* 2024-02-29T00:00:00Z */
    uint32_t tag = ps_purse_month(leap, &left);
    assert_int_equal(left, DAY);
    assert_int_equal(ps_purse_month(leap + DAY, &left), tag + 1);
    assert_int_equal(left, 31 * DAY);
    assert_int_equal(ps_purse_month(0, &left), 0);
}

static void a_refusal_gives_back_what_was_taken(void **state)
{
    (void)state;
    struct ps_tenants *tenants = one((struct ps_tenant_opts){
        .requests_per_minute = 2, .tokens_per_minute = 10, .budget_usd = 1e-6});
    const struct ps_tenant *tenant = ps_tenants_at(tenants, 0);
    struct ps_tenant_grant grant;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(take(tenant, 11, 0, NOW, &grant).limit, PS_LIMIT_TOKENS);
        assert_int_equal(take(tenant, 5, 2000, NOW, &grant).limit, PS_LIMIT_BUDGET);
    }
    assert_int_equal(take(tenant, 10, 1000, NOW, &grant).limit, PS_LIMIT_NONE);
    ps_tenant_return(tenant, &grant, NOW);
    struct ps_tenant_figures figures;
    ps_tenant_read(tenant, NOW, NOW, &figures);
    assert_int_equal(figures.requests_remaining, 2);
    assert_int_equal(figures.tokens_remaining, 10);
    assert_int_equal(figures.budget_remaining, 1000);
    assert_int_equal(figures.in_flight, 0);
    ps_tenants_unref(tenants);
}

static void headers_tell_the_limits(void **state)
{
    (void)state;
    struct ps_tenants *tenants =
        one((struct ps_tenant_opts){.requests_per_minute = 60, .tokens_per_minute = 6000});
    const struct ps_tenant *tenant = ps_tenants_at(tenants, 0);
    struct ps_tenant_grant grant;
    assert_int_equal(take(tenant, 50, 0, NOW, &grant).limit, PS_LIMIT_NONE);
    struct ps_buf out = ps_buf_make(1024);
    assert_int_equal(ps_tenant_write_headers(tenant, NOW, NOW, &out), PS_OK);
    struct ps_str want =
        PS_STR("RateLimit-Policy: \"requests\";q=60;w=60, \"tokens\";q=6000;w=60\r\n"
               "RateLimit: \"requests\";r=59;t=1, \"tokens\";r=5950;t=1\r\n"
               "x-ratelimit-limit-requests: 60\r\n"
               "x-ratelimit-remaining-requests: 59\r\n"
               "x-ratelimit-reset-requests: 1s\r\n"
               "x-ratelimit-limit-tokens: 6000\r\n"
               "x-ratelimit-remaining-tokens: 5950\r\n"
               "x-ratelimit-reset-tokens: 500ms\r\n");
    assert_true(ps_str_eq(ps_buf_str(&out), want));
    ps_buf_fini(&out);
    out = ps_buf_make(100);
    assert_int_equal(ps_tenant_write_headers(tenant, NOW, NOW, &out), PS_ELIMIT);
    assert_int_equal(out.len, 0);
    ps_buf_fini(&out);
    ps_tenants_unref(tenants);
}

static void a_reload_keeps_what_was_used(void **state)
{
    (void)state;
    struct ps_tenants *old = one((struct ps_tenant_opts){.requests_per_minute = 2});
    struct ps_tenant_grant grant;
    assert_int_equal(take(ps_tenants_at(old, 0), 1, 0, NOW, &grant).limit, PS_LIMIT_NONE);
    struct ps_tenant_opts opts[] = {
        {.name = name_b, .key = key_b},
        {.name = name_a, .key_sha256 = {abc_only, 1}, .requests_per_minute = 2},
    };
    struct ps_tenants *fresh = NULL;
    assert_int_equal(make(&fresh, opts, 2, old), PS_OK);
    ps_tenant_settle(ps_tenants_at(old, 0), &grant, 1, 0, NOW);
    ps_tenants_unref(old);
    const struct ps_tenant *tenant = ps_tenants_find(fresh, PS_STR("abc"));
    assert_int_equal(take(tenant, 1, 0, NOW, &grant).limit, PS_LIMIT_NONE);
    assert_int_equal(take(tenant, 1, 0, NOW, &grant).limit, PS_LIMIT_REQUESTS);
    assert_null(ps_tenants_find(fresh, PS_STR("sk-a")));
    ps_tenants_unref(fresh);
}

/* --- a hundred at once
 * ---------------------------------------------------------------------------- */

#define THREADS 4
#define EACH    25

static _Atomic int granted;
static _Atomic int running;

struct race {
    const struct ps_tenant *tenant;
    bool settle;
};

static void *race(void *arg)
{
    struct race *race = arg;
    atomic_fetch_add(&running, 1);
    while (atomic_load(&running) < THREADS) {
    }
    for (int i = 0; i < EACH; i++) {
        struct ps_tenant_grant grant = {0};
        if (ps_tenant_reserve(race->tenant, 7, 13, NOW, NOW, &grant).limit == PS_LIMIT_NONE) {
            atomic_fetch_add(&granted, 1);
            if (race->settle) {
                ps_tenant_return(race->tenant, &grant, NOW);
            }
        }
    }
    return NULL;
}

static int run_race(const struct ps_tenant *tenant, bool settle)
{
    pthread_t threads[THREADS];
    struct race shared = {tenant, settle};
    granted = 0;
    running = 0;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, race, &shared), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    return granted;
}

static void each_limit_is_exact_in_a_hundred_way_race(void **state)
{
    (void)state;
    static const struct ps_tenant_opts limits[] = {
        {.requests_per_minute = 31},
        {.tokens_per_minute = 31 * 7 + 6},
        {.budget_usd = (31 * 13 + 12) * 1e-9},
        {.max_in_flight = 31},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(limits); i++) {
        for (int round = 0; round < 20; round++) {
            struct ps_tenants *tenants = one(limits[i]);
            assert_int_equal(run_race(ps_tenants_at(tenants, 0), false), 31);
            ps_tenants_unref(tenants);
        }
    }
}

static void nothing_is_left_after_a_race_of_returns(void **state)
{
    (void)state;
    struct ps_tenants *tenants = one((struct ps_tenant_opts){.requests_per_minute = 5,
                                                             .tokens_per_minute = 20,
                                                             .max_in_flight = 3,
                                                             .budget_usd = 30e-9});
    (void)run_race(ps_tenants_at(tenants, 0), true);
    struct ps_tenant_figures figures;
    ps_tenant_read(ps_tenants_at(tenants, 0), NOW, NOW, &figures);
    assert_int_equal(figures.requests_remaining, 5);
    assert_int_equal(figures.tokens_remaining, 20);
    assert_int_equal(figures.budget_remaining, 30);
    assert_int_equal(figures.in_flight, 0);
    ps_tenants_unref(tenants);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_finds_its_tenant),
        cmocka_unit_test(mistakes_in_the_list_are_named),
        cmocka_unit_test(the_bearer_key_is_cut_out),
        cmocka_unit_test(requests_come_back_with_time),
        cmocka_unit_test(tokens_are_settled),
        cmocka_unit_test(a_debt_is_at_most_a_day),
        cmocka_unit_test(money_is_reserved_and_settled_within_its_period),
        cmocka_unit_test(months_are_calendar_months),
        cmocka_unit_test(a_refusal_gives_back_what_was_taken),
        cmocka_unit_test(headers_tell_the_limits),
        cmocka_unit_test(a_reload_keeps_what_was_used),
        cmocka_unit_test(each_limit_is_exact_in_a_hundred_way_race),
        cmocka_unit_test(nothing_is_left_after_a_race_of_returns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

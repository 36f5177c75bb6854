/* backend - choice of endpoints, health, retry budget, reload, options. */
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
#include "base/rng.h"
#include "gateway/backend.h"

#define NOW (1000 * PS_SECOND)

static char url_1[] = "http://127.0.0.1:8001";
static char url_2[] = "http://127.0.0.1:8002";
static char url_3[] = "http://127.0.0.1:8003/base";

static struct ps_endpoint_opts endpoints[] = {{url_1, 1}, {url_2, 1}, {url_3, 1}};

/* Options with their real defaults and `count` endpoints; ends with ps_option_fini(). */
static void options(struct ps_upstream_opts *opts)
{
    static char name[] = "gpu";
    assert_int_equal(ps_option_init(ps_upstream_options, opts), PS_OK);
    opts->name = name;
}

static struct ps_backend *make_with(struct ps_upstream_opts *opts, size_t count,
                                    struct ps_backend *previous)
{
    struct ps_backend *backend = NULL;
    char reason[200] = "";
    opts->endpoints = (struct ps_option_list){endpoints, count};
    assert_int_equal(ps_backend_new(&backend, opts, 0, previous, NOW, reason, sizeof reason),
                     PS_OK);
    return backend;
}

static struct ps_backend *make(size_t count)
{
    struct ps_upstream_opts opts;
    options(&opts);
    return make_with(&opts, count, NULL);
}

static int pick(struct ps_backend *backend, uint64_t tokens, uint64_t prefix, uint64_t tried)
{
    struct ps_pick ask = {.tokens = tokens, .prefix_hash = prefix, .tried = tried};
    return ps_backend_pick(backend, &ask, NOW);
}

static void defaults_are_what_the_manual_says(void **state)
{
    (void)state;
    struct ps_backend *backend = make(1);
    assert_int_equal(backend->timeouts.connect, 3 * PS_SECOND);
    assert_int_equal(backend->timeouts.first_byte, 600 * PS_SECOND);
    assert_int_equal(backend->retry.attempts, 2);
    assert_true(backend->tls.verify);
    assert_int_equal(backend->admission.max_queue, 1024);
    assert_true(ps_str_eq(backend->endpoints[0]->url.host, PS_STR("127.0.0.1")));
    ps_backend_unref(backend);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static char bad[] = "ftp://x";
    struct ps_endpoint_opts odd[] = {{bad, 1}};
    struct ps_endpoint_opts twins[] = {{url_1, 1}, {url_1, 1}};
    struct ps_option_list lists[] = {{odd, 1}, {twins, 2}, {NULL, 0}};
    struct ps_upstream_opts opts;
    options(&opts);
    for (size_t i = 0; i < PS_ARRAY_LEN(lists); i++) {
        struct ps_backend *backend = NULL;
        char reason[200] = "";
        opts.endpoints = lists[i];
        assert_int_equal(ps_backend_new(&backend, &opts, 0, NULL, NOW, reason, sizeof reason),
                         PS_EINVAL);
        assert_true(reason[0] != '\0');
    }
}

static void the_least_loaded_endpoint_is_chosen(void **state)
{
    (void)state;
    struct ps_backend *backend = make(2);
    int first = pick(backend, 1000, 0, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pick(backend, 100, 0, 0), 1 - first);
    }
    (void)ps_backend_done(backend, first, 1000, PS_OUTCOME_OK, NOW);
    assert_int_equal(pick(backend, 100, 0, 0), first);
    ps_backend_unref(backend);
}

static void weights_divide_the_load(void **state)
{
    (void)state;
    endpoints[0].weight = 3;
    struct ps_backend *backend = make(2);
    for (int i = 0; i < 400; i++) {
        (void)pick(backend, 99, 0, 0);
    }
    assert_in_range(backend->endpoints[0]->requests, 298, 302);
    endpoints[0].weight = 1;
    ps_backend_unref(backend);
}

static void tried_endpoints_are_left_out(void **state)
{
    (void)state;
    struct ps_backend *backend = make(3);
    assert_int_equal(pick(backend, 0, 0, 3), 2);
    assert_int_equal(pick(backend, 0, 0, 7), -1);
    ps_backend_unref(backend);
}

static struct ps_backend *make_by_prefix(size_t count, double load)
{
    struct ps_upstream_opts opts;
    options(&opts);
    opts.balance = PS_BALANCE_PREFIX;
    opts.prefix_load = load;
    return make_with(&opts, count, NULL);
}

static void equal_prefixes_stay_together_and_move_little(void **state)
{
    (void)state;
    struct ps_backend *three = make_by_prefix(3, 100);
    struct ps_backend *two = make_by_prefix(2, 100);
    int counts[3] = {0};
    for (uint64_t prefix = 1; prefix <= 3000; prefix++) {
        int with_three = pick(three, 1, prefix, 0);
        assert_int_equal(pick(three, 1, prefix, 0), with_three);
        int with_two = pick(two, 1, prefix, 0);
        /* Only what was on the third moves. */
        assert_true(with_three == 2 || with_two == with_three);
        counts[with_three]++;
        (void)ps_backend_done(three, with_three, 1, PS_OUTCOME_OK, NOW);
        (void)ps_backend_done(three, with_three, 1, PS_OUTCOME_OK, NOW);
        (void)ps_backend_done(two, with_two, 1, PS_OUTCOME_OK, NOW);
    }
    for (int i = 0; i < 3; i++) {
        assert_in_range(counts[i], 900, 1100);
    }
    ps_backend_unref(three);
    ps_backend_unref(two);
}

static void a_hot_prefix_spills_over_its_bound(void **state)
{
    (void)state;
    struct ps_backend *backend = make_by_prefix(3, 1.25);
    for (int i = 0; i < 300; i++) {
        (void)pick(backend, 1, 42, 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_in_range(backend->endpoints[i]->requests, 40, 126);
    }
    ps_backend_unref(backend);
}

static void break_off(struct ps_backend *backend, int index, int times, ps_time now)
{
    for (int i = 0; i < times; i++) {
        atomic_fetch_add(&backend->endpoints[index]->requests, 1);
        (void)ps_backend_done(backend, index, 0, PS_OUTCOME_FAILED, now);
    }
}

static void failures_take_an_endpoint_out_until_a_probe_succeeds(void **state)
{
    (void)state;
    struct ps_backend *backend = make(2);
    break_off(backend, 0, 2, NOW);
    assert_int_equal(ps_endpoint_state_of(backend->endpoints[0]), PS_ENDPOINT_HEALTHY);
    break_off(backend, 0, 1, NOW);
    assert_int_equal(ps_endpoint_state_of(backend->endpoints[0]), PS_ENDPOINT_OUT);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(pick(backend, 1, 0, 0), 1);
    }
    struct ps_pick ask = {0};
    ps_time later = NOW + 2 * PS_SECOND;
    assert_int_equal(ps_backend_pick(backend, &ask, later), 0);
    assert_int_equal(ps_endpoint_state_of(backend->endpoints[0]), PS_ENDPOINT_PROBING);
    assert_int_equal(ps_backend_pick(backend, &ask, later), 1); /* one probe only */
    assert_false(ps_backend_done(backend, 0, 0, PS_OUTCOME_FAILED, later));
    assert_int_equal(ps_backend_pick(backend, &ask, later + PS_SECOND), 1); /* longer this time */
    later += 4 * PS_SECOND;
    assert_int_equal(ps_backend_pick(backend, &ask, later), 0);
    assert_true(ps_backend_done(backend, 0, 0, PS_OUTCOME_OK, later));
    assert_int_equal(ps_endpoint_state_of(backend->endpoints[0]), PS_ENDPOINT_HEALTHY);
    ps_backend_unref(backend);
}

static void the_only_endpoint_is_never_taken_out(void **state)
{
    (void)state;
    struct ps_backend *backend = make(1);
    break_off(backend, 0, 100, NOW);
    assert_int_equal(pick(backend, 0, 0, 0), 0);
    ps_backend_unref(backend);
}

static void all_out_is_panic_unless_forbidden(void **state)
{
    (void)state;
    struct ps_upstream_opts opts;
    options(&opts);
    for (int panic = 0; panic < 2; panic++) {
        opts.health.panic = panic;
        struct ps_backend *backend = make_with(&opts, 2, NULL);
        break_off(backend, 0, 3, NOW);
        break_off(backend, 1, 3, NOW);
        assert_int_equal(pick(backend, 0, 0, 0) >= 0, panic);
        assert_false(ps_backend_is_usable(backend, NOW)); /* no address is known yet */
        struct ps_address address;
        assert_int_equal(ps_address_parse_host(PS_STR("10.0.0.1"), 80, &address), PS_OK);
        assert_int_equal(ps_endpoint_set_addresses(backend->endpoints[1], &address, 1), PS_OK);
        assert_int_equal(ps_backend_is_usable(backend, NOW), panic);
        assert_in_range(ps_backend_retry_after(backend, NOW), PS_SECOND, 2 * PS_SECOND);
        ps_backend_unref(backend);
    }
}

static void active_checks_decide_alone(void **state)
{
    (void)state;
    struct ps_backend *backend = make(2);
    struct ps_endpoint *endpoint = backend->endpoints[0];
    assert_false(ps_endpoint_on_check(endpoint, false, &backend->health));
    assert_false(ps_endpoint_on_check(endpoint, false, &backend->health));
    assert_true(ps_endpoint_on_check(endpoint, false, &backend->health));
    assert_int_equal(pick(backend, 0, 0, 2), -1); /* no panic for what is known to be dead */
    assert_false(ps_endpoint_on_check(endpoint, true, &backend->health));
    assert_true(ps_endpoint_on_check(endpoint, true, &backend->health));
    assert_int_equal(pick(backend, 0, 0, 2), 0);
    ps_endpoint_drain(endpoint, true);
    assert_int_equal(pick(backend, 0, 0, 2), -1);
    assert_string_equal(ps_endpoint_state_text(ps_endpoint_state_of(endpoint)), "draining");
    ps_backend_unref(backend);
}

static void retries_are_a_tenth_of_requests(void **state)
{
    (void)state;
    struct ps_backend *backend = make(1);
    int allowed = 0;
    for (int i = 0; i < 1000; i++) {
        ps_backend_count_request(backend);
        allowed += ps_backend_may_retry(backend, NOW);
    }
    assert_in_range(allowed, 100, 110); /* ten per cent and the minimum of ten */
    assert_false(ps_backend_may_retry(backend, NOW));
    assert_true(ps_backend_may_retry(backend, NOW + 10 * PS_SECOND));
    ps_backend_unref(backend);
}

static void a_reload_keeps_endpoints_and_gate(void **state)
{
    (void)state;
    struct ps_backend *old = make(2);
    struct ps_ticket ticket = {.priority = PS_PRIORITY_NORMAL};
    assert_int_equal(ps_gate_enter(old->gate, &ticket, NOW), PS_ADMITTED);
    break_off(old, 0, 3, NOW);
    ps_backend_learn(old, 64000, 32000);
    struct ps_upstream_opts opts;
    options(&opts);
    struct ps_backend *fresh = make_with(&opts, 3, old);
    assert_ptr_equal(fresh->endpoints[0], old->endpoints[0]);
    assert_ptr_equal(fresh->gate, old->gate);
    assert_true(ps_backend_bytes_per_token(fresh) < 4.0);
    ps_backend_unref(old);
    assert_int_equal(ps_endpoint_state_of(fresh->endpoints[0]), PS_ENDPOINT_OUT);
    ps_gate_leave(fresh->gate, &ticket, NOW);
    ps_backend_unref(fresh);
}

/* What a reload that fails half-way had made must not bound those who are asking. */
static void bounds_hold_once_the_new_configuration_does(void **state)
{
    (void)state;
    struct ps_backend *old = make(1);
    struct ps_ticket tickets[2] = {{.priority = PS_PRIORITY_NORMAL}, {.priority = PS_PRIORITY_NORMAL}};
    struct ps_upstream_opts opts;
    struct ps_gate_stats stats;
    options(&opts);
    opts.admission.max_in_flight = 1;
    opts.admission.max_queue = 0;
    struct ps_backend *fresh = make_with(&opts, 1, old);
    assert_int_equal(ps_gate_enter(old->gate, &tickets[0], NOW), PS_ADMITTED);
    assert_int_equal(ps_gate_enter(old->gate, &tickets[1], NOW), PS_ADMITTED);
    ps_gate_leave(old->gate, &tickets[1], NOW);
    ps_backend_begin(fresh, NOW);
    ps_gate_read(old->gate, &stats);
    assert_int_equal(stats.max_in_flight, 1);
    assert_int_equal(ps_gate_enter(old->gate, &tickets[1], NOW), PS_REFUSED_FULL);
    ps_gate_leave(old->gate, &tickets[0], NOW);
    ps_backend_unref(old);
    ps_backend_unref(fresh);
}

static void addresses_are_snapshots(void **state)
{
    (void)state;
    struct ps_backend *backend = make(1);
    struct ps_endpoint *endpoint = backend->endpoints[0];
    assert_null(ps_endpoint_addresses(endpoint));
    struct ps_address items[2];
    assert_int_equal(ps_address_parse(PS_STR("10.0.0.1:80"), &items[0]), PS_OK);
    assert_int_equal(ps_address_parse(PS_STR("10.0.0.2:80"), &items[1]), PS_OK);
    assert_int_equal(ps_endpoint_set_addresses(endpoint, items, 2), PS_OK);
    struct ps_addresses *held = ps_endpoint_addresses(endpoint);
    assert_int_equal(held->generation, 1);
    struct ps_address swapped[2] = {items[1], items[0]};
    assert_int_equal(ps_endpoint_set_addresses(endpoint, swapped, 2), PS_OK);
    assert_int_equal(endpoint->generation, 1);
    assert_int_equal(ps_endpoint_set_addresses(endpoint, items, 1), PS_OK);
    assert_int_equal(endpoint->generation, 2);
    assert_int_equal(held->count, 2);
    ps_addresses_unref(held);
    ps_backend_unref(backend);
}

/* --- several workers ----------------------------------------------------------------------------
 */

static void *hammer(void *arg)
{
    struct ps_backend *backend = arg;
    struct ps_rng rng = ps_rng_make((uintptr_t)&rng);
    for (int i = 0; i < 5000; i++) {
        ps_time now = NOW + i * PS_MILLISECOND;
        struct ps_pick ask = {.tokens = ps_rng_below(&rng, 100), .prefix_hash = ps_rng_next(&rng)};
        int index = ps_backend_pick(backend, &ask, now);
        ps_backend_count_request(backend);
        if (index >= 0) {
            enum ps_outcome outcome = (enum ps_outcome)ps_rng_below(&rng, 3);
            (void)ps_backend_done(backend, index, ask.tokens, outcome, now);
        }
        (void)ps_backend_may_retry(backend, now);
        ps_addresses_unref(ps_endpoint_addresses(backend->endpoints[0]));
    }
    return NULL;
}

static void counts_are_even_after_a_race(void **state)
{
    (void)state;
    struct ps_backend *backend = make_by_prefix(3, 1.25);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, backend), 0);
    }
    struct ps_address address;
    for (uint16_t port = 1; port < 200; port++) {
        assert_int_equal(ps_address_parse_host(PS_STR("10.0.0.1"), port, &address), PS_OK);
        assert_int_equal(ps_endpoint_set_addresses(backend->endpoints[0], &address, 1), PS_OK);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < backend->count; i++) {
        assert_int_equal(backend->endpoints[i]->requests, 0);
        assert_int_equal(backend->endpoints[i]->tokens, 0);
    }
    ps_backend_unref(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_what_the_manual_says),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(the_least_loaded_endpoint_is_chosen),
        cmocka_unit_test(weights_divide_the_load),
        cmocka_unit_test(tried_endpoints_are_left_out),
        cmocka_unit_test(equal_prefixes_stay_together_and_move_little),
        cmocka_unit_test(a_hot_prefix_spills_over_its_bound),
        cmocka_unit_test(failures_take_an_endpoint_out_until_a_probe_succeeds),
        cmocka_unit_test(the_only_endpoint_is_never_taken_out),
        cmocka_unit_test(all_out_is_panic_unless_forbidden),
        cmocka_unit_test(active_checks_decide_alone),
        cmocka_unit_test(retries_are_a_tenth_of_requests),
        cmocka_unit_test(a_reload_keeps_endpoints_and_gate),
        cmocka_unit_test(bounds_hold_once_the_new_configuration_does),
        cmocka_unit_test(addresses_are_snapshots),
        cmocka_unit_test(counts_are_even_after_a_race),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

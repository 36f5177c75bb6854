/* The cap on connections of one address, also from several threads at once. */
#include "daemon/peers.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "io/address.h"

static struct ps_address address(const char *text)
{
    struct ps_address out;
    assert_int_equal(ps_address_parse(ps_str_from(text), &out), PS_OK);
    return out;
}

static struct ps_peers *peers_of(uint32_t max)
{
    struct ps_peers *peers = NULL;
    assert_int_equal(ps_peers_new(&peers, max), PS_OK);
    return peers;
}

static void an_address_has_its_share_and_no_more(void **state)
{
    (void)state;
    struct ps_peers *peers = peers_of(2);
    struct ps_address a = address("10.0.0.1:1");
    struct ps_address a_again = address("10.0.0.1:2");
    struct ps_address b = address("10.0.0.2:1");
    assert_true(ps_peers_enter(peers, &a));
    assert_true(ps_peers_enter(peers, &a_again));
    assert_false(ps_peers_enter(peers, &a));
    assert_true(ps_peers_enter(peers, &b));
    assert_int_equal(ps_peers_count(peers), 2);
    ps_peers_leave(peers, &a);
    assert_true(ps_peers_enter(peers, &a));
    ps_peers_leave(peers, &a);
    ps_peers_leave(peers, &a);
    ps_peers_leave(peers, &b);
    assert_int_equal(ps_peers_count(peers), 0);
    ps_peers_leave(peers, &b);
    assert_int_equal(ps_peers_count(peers), 0);
    ps_peers_free(peers);
}

static void ipv6_counts_by_its_network_and_mapped_ipv4_as_ipv4(void **state)
{
    (void)state;
    struct ps_peers *peers = peers_of(1);
    struct ps_address a = address("[2001:db8:0:1::1]:1");
    struct ps_address same = address("[2001:db8:0:1:ffff::2]:1");
    struct ps_address other = address("[2001:db8:0:2::1]:1");
    assert_true(ps_peers_enter(peers, &a));
    assert_false(ps_peers_enter(peers, &same));
    assert_true(ps_peers_enter(peers, &other));
    struct ps_address v4 = address("192.0.2.7:1");
    struct ps_address mapped = address("[::ffff:192.0.2.7]:1");
    assert_true(ps_peers_enter(peers, &v4));
    assert_false(ps_peers_enter(peers, &mapped));
    ps_peers_free(peers);
}

static void without_a_limit_nothing_is_counted(void **state)
{
    (void)state;
    struct ps_peers *peers = peers_of(0);
    struct ps_address a = address("10.0.0.1:1");
    for (int i = 0; i < 1000; i++) {
        assert_true(ps_peers_enter(peers, &a));
    }
    assert_int_equal(ps_peers_count(peers), 0);
    ps_peers_leave(peers, &a);
    ps_peers_set_max(peers, 1);
    assert_true(ps_peers_enter(peers, &a));
    assert_false(ps_peers_enter(peers, &a));
    ps_peers_free(peers);
    ps_peers_free(NULL);
}

static void unix_sockets_are_not_counted(void **state)
{
    (void)state;
    struct ps_peers *peers = peers_of(1);
    struct ps_address local = {.len = sizeof(sa_family_t)};
    local.storage.ss_family = AF_UNIX;
    for (int i = 0; i < 3; i++) {
        assert_true(ps_peers_enter(peers, &local));
    }
    assert_int_equal(ps_peers_count(peers), 0);
    ps_peers_free(peers);
}

enum { THREADS = 4, ROUNDS = 5000, CAP = 3, ADDRESSES = 300 };

struct race {
    struct ps_peers *peers;
    _Atomic int inside;
    _Atomic int most;
};

static void *enter_and_leave(void *ctx)
{
    struct race *race = ctx;
    struct ps_address shared;
    if (ps_address_parse(PS_STR("10.0.0.1:1"), &shared) != PS_OK) {
        return NULL;
    }
    for (int i = 0; i < ROUNDS; i++) {
        char text[32];
        struct ps_address own;
        snprintf(text, sizeof text, "10.1.%d.%d:1", i % ADDRESSES / 200, i % ADDRESSES % 200);
        if (ps_peers_enter(race->peers, &shared)) {
            int inside = atomic_fetch_add(&race->inside, 1) + 1;
            int most = atomic_load(&race->most);
            while (inside > most && !atomic_compare_exchange_weak(&race->most, &most, inside)) {
            }
            atomic_fetch_sub(&race->inside, 1);
            ps_peers_leave(race->peers, &shared);
        }
        if (ps_address_parse(ps_str_from(text), &own) == PS_OK &&
            ps_peers_enter(race->peers, &own)) {
            ps_peers_leave(race->peers, &own);
        }
    }
    return NULL;
}

static void threads_never_exceed_the_cap_and_leave_nothing(void **state)
{
    (void)state;
    struct race race = {.peers = peers_of(CAP)};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, enter_and_leave, &race), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(race.most >= 1 && race.most <= CAP);
    assert_int_equal(ps_peers_count(race.peers), 0);
    ps_peers_free(race.peers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_its_share_and_no_more),
        cmocka_unit_test(ipv6_counts_by_its_network_and_mapped_ipv4_as_ipv4),
        cmocka_unit_test(without_a_limit_nothing_is_counted),
        cmocka_unit_test(unix_sockets_are_not_counted),
        cmocka_unit_test(threads_never_exceed_the_cap_and_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

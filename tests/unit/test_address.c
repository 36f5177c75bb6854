/* test_address - addresses and networks: read, printed, compared; names looked up on a loop.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "io/loop.h"

static struct ps_address host(const char *text)
{
    struct ps_address address = {.len = 0};
    assert_int_equal(ps_address_parse_host(ps_str_from(text), 0, &address), PS_OK);
    return address;
}

static void addresses_are_read_and_printed(void **state)
{
    static const struct {
        const char *text;
        const char *printed;
    } rows[] = {
        {"127.0.0.1:5000", "127.0.0.1:5000"}, {"0.0.0.0:0", "0.0.0.0:0"},
        {"255.255.255.255:65535", "255.255.255.255:65535"}, {"[::1]:5000", "[::1]:5000"},
        {":5000", "[::]:5000"}, {"[2001:DB8:0:0:0:0:0:1]:80", "[2001:db8::1]:80"},
        {"[::ffff:10.1.2.3]:1", "[::ffff:10.1.2.3]:1"},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_address address;
        struct ps_address again;
        char text[PS_ADDRESS_TEXT];
        assert_int_equal(ps_address_parse(ps_str_from(rows[i].text), &address), PS_OK);
        assert_string_equal(ps_address_text(&address, text), rows[i].printed);
        assert_int_equal(ps_address_parse(ps_str_from(text), &again), PS_OK);
        assert_true(ps_address_eq(&address, &again));
    }
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const rows[] = {
        "", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1",
        "127.0.0.1: 80", " 127.0.0.1:80", "127.0.0.1:80 ", "127.1:80", "0x7f000001:80", "localhost:80",
        "::1:80", "[::1]", "[::1]80", "[::1:80", "::1]:80", "[]:80", "[127.0.0.1]:80", "[::1%lo]:80",
        "[[::1]]:80", "1.2.3.4:99999999999999999999", "256.0.0.1:80", "1.2.3.4.5:80", "[:::1]:80",
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_address address = {.len = 77};
        assert_int_equal(ps_address_parse(ps_str_from(rows[i]), &address), PS_EPARSE);
        assert_int_equal(address.len, 77); /* untouched */
    }
    struct ps_address address;
    assert_int_equal(ps_address_parse((struct ps_str){NULL, 0}, &address), PS_EPARSE);
    assert_int_equal(ps_address_parse_host((struct ps_str){NULL, 0}, 1, &address), PS_EPARSE);
    assert_int_equal(ps_address_parse_host(PS_STR("1.2.3.4\0x"), 1, &address), PS_EPARSE);
}

static void ports_are_set_and_told(void **state)
{
    (void)state;
    struct ps_address v4 = host("10.0.0.1");
    struct ps_address v6 = host("fd00::1");
    struct ps_address none = {.len = 0};
    char text[PS_ADDRESS_TEXT];
    ps_address_set_port(&v4, 8080);
    ps_address_set_port(&v6, 65535);
    assert_int_equal(ps_address_port(&v4), 8080);
    assert_int_equal(ps_address_port(&v6), 65535);
    assert_int_equal(ps_address_port(&none), 0);
    assert_string_equal(ps_address_host_text(&v6, text), "fd00::1");
    assert_string_equal(ps_address_host_text(&none, text), "-");
    assert_false(ps_address_eq(&v4, &v6));
}

static void loopback_is_this_machine_only(void **state)
{
    static const struct {
        const char *text;
        bool yes;
    } rows[] = {
        {"127.0.0.1", true}, {"127.255.255.254", true}, {"::1", true}, {"::ffff:127.0.0.1", true},
        {"128.0.0.1", false}, {"126.255.255.255", false}, {"0.0.0.0", false}, {"::", false}, {"::2", false},
        {"::127.0.0.1", false}, {"::ffff:128.0.0.1", false}, {"fe80::1", false}, {"1::1", false},
    };
    struct ps_address none = {.len = 0};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_address address = host(rows[i].text);
        assert_int_equal(ps_address_is_loopback(&address), rows[i].yes);
    }
    assert_false(ps_address_is_loopback(&none));
}

static void networks_hold_their_addresses_and_no_others(void **state)
{
    static const struct {
        const char *network;
        const char *address;
        bool yes;
    } rows[] = {
        {"10.0.0.0/8", "10.255.255.255", true}, {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "::ffff:10.1.2.3", true}, {"10.0.0.0/8", "fd00::1", false},
        {"192.168.1.0/25", "192.168.1.127", true}, {"192.168.1.0/25", "192.168.1.128", false},
        {"192.168.1.77/24", "192.168.1.1", true}, {"1.2.3.4", "1.2.3.4", true}, {"1.2.3.4", "1.2.3.5", false},
        {"1.2.3.4/32", "1.2.3.4", true}, {"1.2.3.4/31", "1.2.3.5", true}, {"1.2.3.4/31", "1.2.3.6", false},
        {"0.0.0.0/0", "8.8.8.8", true}, {"0.0.0.0/0", "fd00::1", false}, {"::/0", "fd00::1", true},
        {"fd00::/8", "fdff::1", true}, {"fd00::/8", "fe00::1", false}, {"::1", "::1", true},
        {"::1", "::2", false}, {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false}, {"::ffff:10.0.0.0/104", "10.9.9.9", true},
        {"::ffff:10.0.0.0/104", "11.0.0.1", false}, {"fd00::1/127", "fd00::", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_network network;
        struct ps_address address = host(rows[i].address);
        assert_int_equal(ps_network_parse(ps_str_from(rows[i].network), &network), PS_OK);
        assert_int_equal(ps_network_holds(&network, &address), rows[i].yes);
    }
    struct ps_address none = {.len = 0};
    struct ps_network all;
    assert_int_equal(ps_network_parse(PS_STR("::/0"), &all), PS_OK);
    assert_false(ps_network_holds(&all, &none));
}

static void what_is_no_network_is_refused(void **state)
{
    static const char *const rows[] = {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "::/129",
                                       "10.0.0.0/8/8", "10.0.0.0/ 8", "localhost/8", "10.0.0.0/8 ",
                                       "10.0.0.0/18446744073709551616", "[::1]/128", "1.2.3.4:80"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_network network;
        assert_int_equal(ps_network_parse(ps_str_from(rows[i]), &network), PS_EPARSE);
    }
}

static void random_texts_do_no_harm(void **state)
{
    static const char alphabet[] = "0123456789abcdef:.[]/%x \t@";
    struct ps_rng rng = ps_rng_make(7);
    (void)state;
    for (int round = 0; round < 200000; round++) {
        char text[64];
        size_t len = ps_rng_below(&rng, sizeof text);
        for (size_t i = 0; i < len; i++) {
            text[i] = alphabet[ps_rng_below(&rng, sizeof alphabet)];
        }
        struct ps_address address;
        struct ps_network network;
        char printed[PS_ADDRESS_TEXT];
        if (ps_address_parse((struct ps_str){text, len}, &address) == PS_OK) {
            struct ps_address again;
            ps_address_text(&address, printed);
            assert_int_equal(ps_address_parse(ps_str_from(printed), &again), PS_OK);
            assert_true(ps_address_eq(&address, &again));
        }
        if (ps_network_parse((struct ps_str){text, len}, &network) == PS_OK) {
            assert_true(ps_network_holds(&network, &network.base));
        }
    }
}

/* --- looking names up ------------------------------------------------------------------------- */

struct asked {
    struct ps_loop *loop;
    struct ps_timer timer;
    int calls;
    int err;
    size_t count;
    struct ps_address first;
};

static void on_result(void *ctx, int err, const struct ps_address *addresses, size_t count)
{
    struct asked *asked = ctx;
    asked->calls++;
    asked->err = err;
    asked->count = count;
    if (count > 0) {
        asked->first = addresses[0];
    }
    ps_loop_stop(asked->loop);
}

static void on_enough(struct ps_timer *timer, ps_time now)
{
    (void)now;
    ps_loop_stop(PS_CONTAINER_OF(timer, struct asked, timer)->loop);
}

static void a_numeric_host_is_looked_up_without_a_server(void **state)
{
    struct asked asked = {.calls = 0};
    (void)state;
    assert_int_equal(ps_loop_new(&asked.loop, &ps_clock_real), PS_OK);
    assert_int_equal(ps_resolve(asked.loop, PS_STR("127.0.0.7"), 81, on_result, &asked), PS_OK);
    ps_loop_run(asked.loop);
    char text[PS_ADDRESS_TEXT];
    assert_int_equal(asked.err, PS_OK);
    assert_string_equal(ps_address_text(&asked.first, text), "127.0.0.7:81");
    ps_loop_free(asked.loop);
}

static void a_name_that_is_none_fails_to_resolve(void **state)
{
    struct asked asked = {.calls = 0};
    (void)state;
    assert_int_equal(ps_loop_new(&asked.loop, &ps_clock_real), PS_OK);
    if (ps_resolve(asked.loop, PS_STR("1.2.3.4.5.6"), 80, on_result, &asked) == PS_OK) {
        ps_loop_run(asked.loop);
        assert_int_equal(asked.err, PS_ERESOLVE);
        assert_int_equal(asked.count, 0);
    }
    ps_loop_free(asked.loop);
}

static void a_look_up_that_is_called_off_stays_silent(void **state)
{
    struct asked asked = {.timer.on_time = on_enough};
    struct ps_lookup *lookup;
    (void)state;
    assert_int_equal(ps_loop_new(&asked.loop, &ps_clock_real), PS_OK);
    assert_int_equal(ps_lookup_start(&lookup, asked.loop, PS_STR("::1"), 80, on_result, &asked), PS_OK);
    ps_lookup_cancel(lookup);
    ps_lookup_cancel(NULL);
    assert_int_equal(ps_timer_set(asked.loop, &asked.timer, ps_loop_now(asked.loop) + 50 * PS_MILLISECOND),
                     PS_OK);
    ps_loop_run(asked.loop);
    assert_int_equal(asked.calls, 0);
    assert_int_equal(ps_resolve(asked.loop, PS_STR("::1"), 80, on_result, &asked), PS_OK);
    ps_loop_free(asked.loop); /* with a look-up under way */
    assert_int_equal(asked.calls, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_and_printed),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(ports_are_set_and_told),
        cmocka_unit_test(loopback_is_this_machine_only),
        cmocka_unit_test(networks_hold_their_addresses_and_no_others),
        cmocka_unit_test(what_is_no_network_is_refused),
        cmocka_unit_test(random_texts_do_no_harm),
        cmocka_unit_test(a_numeric_host_is_looked_up_without_a_server),
        cmocka_unit_test(a_name_that_is_none_fails_to_resolve),
        cmocka_unit_test(a_look_up_that_is_called_off_stays_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

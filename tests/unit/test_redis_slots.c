/* test_redis_slots - slots of keys, names of nodes, redirections and the cluster's map.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/redis_slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "gateway/redis_reply.h"

/* The first is the check value of CRC-16/XMODEM, the others are CLUSTER KEYSLOT's of Redis 7.0. */
static void keys_have_the_slots_that_redis_says(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        unsigned slot;
    } rows[] = {
        {"123456789", 0x31c3},   {"foo", 12182},  {"", 0},           {"bar", 5061},
        {"foo{bar}{zap}", 5061}, {"{bar}", 5061}, {"x{bar}y", 5061}, {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015}, {"{foo", 13308},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(ps_redis_slot(ps_str_from(rows[i].key)), rows[i].slot);
    }
}

static void names_have_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        uint64_t port;
        const char *name;
    } rows[] = {
        {"Redis-1.Example", 6379, "redis-1.example:6379"},
        {"10.0.0.7", 1, "10.0.0.7:1"},
        {"2001:DB8:0:0::1", 65535, "[2001:db8::1]:65535"},
        {"a b", 1, NULL},
        {"a/b", 1, NULL},
        {"", 1, NULL},
        {"a", 0, NULL},
        {"a", 65536, NULL},
        {"[::1]", 1, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[PS_REDIS_NAME_MAX];
        int err = ps_redis_name(ps_str_from(rows[i].host), rows[i].port, name);
        assert_int_equal(err, rows[i].name == NULL ? PS_EINVAL : PS_OK);
        if (err == PS_OK) {
            struct ps_str host;
            uint16_t port;
            assert_string_equal(name, rows[i].name);
            ps_redis_name_split(ps_str_from(name), &host, &port);
            assert_int_equal(port, rows[i].port);
            char again[PS_REDIS_NAME_MAX];
            assert_int_equal(ps_redis_name(host, port, again), PS_OK);
            assert_string_equal(again, name);
        }
    }
}

static void redirections_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum ps_redis_redirect kind;
        unsigned slot;
        const char *name;
    } rows[] = {
        {"MOVED 3999 127.0.0.1:6381", PS_REDIS_MOVED, 3999, "127.0.0.1:6381"},
        {"ASK 0 host-2:7000", PS_REDIS_ASK, 0, "host-2:7000"},
        {"MOVED 16383 ::1:7000", PS_REDIS_MOVED, 16383, "[::1]:7000"},
        {"MOVED 1 [::1]:7000", PS_REDIS_MOVED, 1, "[::1]:7000"},
        {"MOVED 1 :7000", PS_REDIS_MOVED, 1, "10.9.8.7:7000"},
        {"MOVED 1 ?:7000", PS_REDIS_MOVED, 1, "10.9.8.7:7000"},
        {"MOVED 16384 a:1", PS_REDIS_NO_REDIRECT, 0, NULL},
        {"MOVED -1 a:1", PS_REDIS_NO_REDIRECT, 0, NULL},
        {"MOVED 1 a", PS_REDIS_NO_REDIRECT, 0, NULL},
        {"MOVED 1 a:0", PS_REDIS_NO_REDIRECT, 0, NULL},
        {"MOVED 1 a:99999", PS_REDIS_NO_REDIRECT, 0, NULL},
        {"MOVED 1", PS_REDIS_NO_REDIRECT, 0, NULL},
        {"MOVED", PS_REDIS_NO_REDIRECT, 0, NULL},
        {"", PS_REDIS_NO_REDIRECT, 0, NULL},
        {"TRYAGAIN 1 a:1", PS_REDIS_NO_REDIRECT, 0, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_redis_move move =
            ps_redis_read_move(ps_str_from(rows[i].text), PS_STR("10.9.8.7"));
        assert_int_equal(move.kind, rows[i].kind);
        if (move.kind != PS_REDIS_NO_REDIRECT) {
            assert_int_equal(move.slot, rows[i].slot);
            assert_string_equal(move.name, rows[i].name);
        }
    }
}

/* --- maps ------------------------------------------------------------------------------------- */

static int read_map(const char *wire, struct ps_redis_map **map)
{
    static const struct ps_redis_bounds bounds = {.max_bytes = 1 << 20, .max_items = 100000};
    struct ps_redis_reader *reader = NULL;
    struct ps_redis_reply *reply = NULL;
    assert_int_equal(ps_redis_reader_new(&reader, &bounds), PS_OK);
    assert_int_equal(ps_redis_reader_feed(reader, ps_str_from(wire)), PS_OK);
    assert_int_equal(ps_redis_reader_next(reader, &reply), PS_OK);
    assert_non_null(reply);
    int err = ps_redis_map_read(map, reply, PS_STR("10.9.8.7"));
    ps_redis_reply_free(reply);
    ps_redis_reader_free(reader);
    return err;
}

#define NODE(host, port)         "*3\r\n" host "\r\n:" port "\r\n$2\r\nid\r\n"
#define RANGE(first, last, node) "*3\r\n:" first "\r\n:" last "\r\n" node

static void a_map_says_who_has_what(void **state)
{
    (void)state;
    struct ps_redis_map *map = NULL;
    assert_int_equal(
        read_map("*3\r\n" RANGE("0", "5460",
                                NODE("$9\r\n127.0.0.1",
                                     "7001")) "*4\r\n:5461\r\n:16000\r\n" NODE("$-1", "7002")
                     NODE("$9\r\n127.0.0.1", "7005")
                         RANGE("16001", "16382", NODE("$9\r\n127.0.0.1", "7001")),
                 &map),
        PS_OK);
    assert_int_equal(map->count, 2);
    assert_string_equal(map->names[0], "127.0.0.1:7001");
    assert_string_equal(map->names[1], "10.9.8.7:7002");
    assert_int_equal(map->owners[0], 0);
    assert_int_equal(map->owners[5460], 0);
    assert_int_equal(map->owners[5461], 1);
    assert_int_equal(map->owners[16001], 0);
    assert_int_equal(map->owners[16383], PS_REDIS_NOBODY);
    ps_redis_map_free(map);
}

static void what_is_no_map_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "*0\r\n",
        "+OK\r\n",
        ":1\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*0\r\n",
        "*1\r\n" RANGE("5", "4", NODE("$1\r\na", "1")),
        "*1\r\n" RANGE("-1", "4", NODE("$1\r\na", "1")),
        "*1\r\n" RANGE("0", "16384", NODE("$1\r\na", "1")),
        "*1\r\n" RANGE("0", "1", NODE("$1\r\na", "0")),
        "*1\r\n" RANGE("0", "1", NODE("$1\r\na", "-1")),
        "*1\r\n" RANGE("0", "1", NODE("$3\r\na b", "1")),
        "*1\r\n" RANGE("0", "1", "*1\r\n$1\r\na\r\n"),
        "*1\r\n" RANGE("0", "1", "$1\r\na\r\n"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_redis_map *map = NULL;
        assert_int_equal(read_map(rows[i], &map), PS_EPARSE);
        assert_null(map);
    }
}

static void a_map_has_a_bound(void **state)
{
    (void)state;
    struct ps_redis_map *map = NULL;
    struct ps_buf wire = ps_buf_make(1 << 20);
    size_t count = PS_REDIS_MASTERS_MAX + 1;
    assert_int_equal(ps_buf_printf(&wire, "*%zu\r\n", count), PS_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(
            ps_buf_printf(&wire, "*3\r\n:%zu\r\n:%zu\r\n*2\r\n$1\r\na\r\n:%zu\r\n", i, i, i + 1),
            PS_OK);
    }
    assert_int_equal(ps_buf_append(&wire, "", 1), PS_OK);
    assert_int_equal(read_map(wire.data, &map), PS_ELIMIT);
    ps_buf_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_the_slots_that_redis_says),
        cmocka_unit_test(names_have_one_spelling),
        cmocka_unit_test(redirections_are_read_strictly),
        cmocka_unit_test(a_map_says_who_has_what),
        cmocka_unit_test(what_is_no_map_is_refused),
        cmocka_unit_test(a_map_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

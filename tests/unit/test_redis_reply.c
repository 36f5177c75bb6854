/* test_redis_reply - every shape of reply, whole and in pieces, and what a server must not do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/redis_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct ps_redis_bounds bounds = {.max_bytes = 4096, .max_items = 16};

static struct ps_redis_reader *reader_new(void)
{
    struct ps_redis_reader *reader = NULL;
    assert_int_equal(ps_redis_reader_new(&reader, &bounds), PS_OK);
    return reader;
}

/* Feeds all of it in pieces of `step` and gives the first reply, or NULL with the error. */
static struct ps_redis_reply *read_one(const char *text, size_t step, int *err)
{
    struct ps_redis_reader *reader = reader_new();
    struct ps_redis_reply *reply = NULL;
    struct ps_str rest = ps_str_from(text);
    *err = PS_OK;
    while (*err == PS_OK && reply == NULL && rest.len > 0) {
        struct ps_str piece = ps_str_first(rest, step);
        rest = ps_str_skip(rest, piece.len);
        *err = ps_redis_reader_feed(reader, piece);
        *err = *err != PS_OK ? *err : ps_redis_reader_next(reader, &reply);
    }
    ps_redis_reader_free(reader);
    return reply;
}

static struct ps_redis_reply *read_well(const char *text, size_t step)
{
    int err;
    struct ps_redis_reply *reply = read_one(text, step, &err);
    assert_int_equal(err, PS_OK);
    assert_non_null(reply);
    return reply;
}

static void every_type_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *wire;
        enum ps_redis_type type;
        const char *text;
        int64_t integer;
    } rows[] = {
        {"+OK\r\n", PS_REDIS_STATUS, "OK", 0},
        {"-ERR no\r\n", PS_REDIS_ERROR, "ERR no", 0},
        {":-42\r\n", PS_REDIS_INTEGER, "", -42},
        {":9223372036854775807\r\n", PS_REDIS_INTEGER, "", INT64_MAX},
        {"$5\r\nhe\r\no\r\n", PS_REDIS_STRING, "he\r\no", 0},
        {"$0\r\n\r\n", PS_REDIS_STRING, "", 0},
        {"$-1\r\n", PS_REDIS_NIL, "", 0},
        {"*-1\r\n", PS_REDIS_NIL, "", 0},
        {"*0\r\n", PS_REDIS_ARRAY, "", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t step = 1; step < 40; step += 13) {
            struct ps_redis_reply *reply = read_well(rows[i].wire, step);
            assert_int_equal(reply->type, rows[i].type);
            assert_true(ps_str_eq(reply->text, ps_str_from(rows[i].text)));
            assert_int_equal(reply->integer, rows[i].integer);
            assert_int_equal(reply->count, 0);
            ps_redis_reply_free(reply);
        }
    }
}

static void arrays_nest(void **state)
{
    (void)state;
    struct ps_redis_reply *reply = read_well("*3\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n+x\r\n", 1);
    assert_int_equal(reply->count, 3);
    assert_int_equal(ps_redis_reply_item(reply, 0, PS_REDIS_INTEGER)->integer, 1);
    const struct ps_redis_reply *inner = ps_redis_reply_item(reply, 1, PS_REDIS_ARRAY);
    assert_true(ps_redis_reply_is(ps_redis_reply_item(inner, 0, PS_REDIS_STRING), PS_STR("a")));
    assert_non_null(ps_redis_reply_item(inner, 1, PS_REDIS_NIL));
    assert_null(ps_redis_reply_item(inner, 2, PS_REDIS_NIL));
    assert_null(ps_redis_reply_item(reply, 2, PS_REDIS_INTEGER));
    assert_null(
        ps_redis_reply_item(ps_redis_reply_item(reply, 2, PS_REDIS_STATUS), 0, PS_REDIS_NIL));
    ps_redis_reply_free(reply);
}

static void replies_come_one_after_the_other(void **state)
{
    (void)state;
    struct ps_redis_reader *reader = reader_new();
    struct ps_redis_reply *reply = NULL;
    assert_false(ps_redis_reader_is_inside(reader));
    assert_int_equal(ps_redis_reader_feed(reader, PS_STR("+a\r\n+b\r\n$3\r\nc")), PS_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ps_redis_reader_next(reader, &reply), PS_OK);
        assert_int_equal(reply->text.ptr[0], 'a' + i);
        ps_redis_reply_free(reply);
    }
    assert_int_equal(ps_redis_reader_next(reader, &reply), PS_OK);
    assert_null(reply);
    assert_true(ps_redis_reader_is_inside(reader));
    assert_int_equal(ps_redis_reader_feed(reader, PS_STR("de\r\n")), PS_OK);
    assert_int_equal(ps_redis_reader_next(reader, &reply), PS_OK);
    assert_true(ps_redis_reply_is(reply, PS_STR("cde")));
    assert_false(ps_redis_reader_is_inside(reader));
    ps_redis_reply_free(reply);
    ps_redis_reader_free(reader);
}

static void errors_are_known_by_their_first_word(void **state)
{
    (void)state;
    struct ps_redis_reply *reply = read_well("-MOVED 1 a:1\r\n", 100);
    assert_true(ps_redis_reply_is_error(reply, PS_STR("MOVED")));
    assert_false(ps_redis_reply_is_error(reply, PS_STR("MOVE")));
    assert_false(ps_redis_reply_is(reply, PS_STR("MOVED 1 a:1")));
    ps_redis_reply_free(reply);
}

static void what_is_not_the_protocol_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\r\n",
        "$x\r\n",
        "$-2\r\n",
        "*-2\r\n",
        ":12a\r\n",
        "*1\r\n!\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int err;
        assert_null(read_one(rows[i], 100, &err));
        assert_true(err == PS_EPARSE || err == PS_ELIMIT);
    }
}

static void lengths_are_not_believed(void **state)
{
    (void)state;
    static const char *const rows[] = {"*17\r\n",
                                       "*2147483647\r\n",
                                       "*4294967295\r\n",
                                       "*9223372036854775807\r\n",
                                       "*10\r\n:1\r\n*10\r\n",
                                       "$9223372036854775807\r\n"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int err;
        struct ps_redis_reply *reply = read_one(rows[i], 100, &err);
        assert_null(reply);
        assert_true(err == PS_ELIMIT || err == PS_EPARSE || (err == PS_OK && rows[i][0] == '$'));
    }
}

static void a_reply_without_end_is_cut(void **state)
{
    (void)state;
    struct ps_redis_reader *reader = reader_new();
    struct ps_redis_reply *reply = NULL;
    char text[1000];
    int err = PS_OK;
    memset(text, 'x', sizeof text);
    assert_int_equal(ps_redis_reader_feed(reader, PS_STR("$1000000\r\n")), PS_OK);
    size_t fed = 0;
    while (err == PS_OK && fed < 100000) {
        err = ps_redis_reader_feed(reader, (struct ps_str){text, sizeof text});
        err = err != PS_OK ? err : ps_redis_reader_next(reader, &reply);
        assert_null(reply);
        fed += sizeof text;
    }
    assert_int_equal(err, PS_ELIMIT);
    assert_true(fed <= 5000);
    ps_redis_reader_free(reader);
}

static void the_bounds_are_of_each_reply(void **state)
{
    (void)state;
    struct ps_redis_reader *reader = reader_new();
    for (int i = 0; i < 100; i++) {
        struct ps_redis_reply *reply = NULL;
        assert_int_equal(
            ps_redis_reader_feed(reader, PS_STR("*10\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n")),
            PS_OK);
        assert_int_equal(ps_redis_reader_next(reader, &reply), PS_OK);
        assert_null(reply);
        assert_int_equal(ps_redis_reader_feed(reader, PS_STR(":1\r\n:1\r\n:1\r\n:1\r\n")), PS_OK);
        assert_int_equal(ps_redis_reader_next(reader, &reply), PS_OK);
        assert_int_equal(reply->count, 10);
        ps_redis_reply_free(reply);
    }
    ps_redis_reader_free(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(arrays_nest),
        cmocka_unit_test(replies_come_one_after_the_other),
        cmocka_unit_test(errors_are_known_by_their_first_word),
        cmocka_unit_test(what_is_not_the_protocol_is_refused),
        cmocka_unit_test(lengths_are_not_believed),
        cmocka_unit_test(a_reply_without_end_is_cut),
        cmocka_unit_test(the_bounds_are_of_each_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

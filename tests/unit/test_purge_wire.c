/* test_purge_wire - purges as records of the log and back; records that were cut or changed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/purge_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"

#define AT ((ps_time)0x0102030405060708)

static char longest[PS_PURGE_TEXT_MAX];

static const struct ps_purge rows[] = {
    {.kind = PS_PURGE_PATTERN, .at = AT, .text = PS_STR_INIT("chat/*")},
    {.kind = PS_PURGE_TAG,
     .at = AT,
     .text = PS_STR_INIT("faq"),
     .tenant = PS_STR_INIT("acme"),
     .has_tenant = true},
    {.kind = PS_PURGE_TAG, .at = 0, .text = PS_STR_INIT("t"), .has_tenant = true},
    {.kind = PS_PURGE_KEY, .at = AT, .key = {.bytes = {1, 2, 3, [31] = 255}}},
    {.kind = PS_PURGE_KEY,
     .at = INT64_MAX,
     .key = {.bytes = {9}},
     .tenant = PS_STR_INIT("acme"),
     .has_tenant = true},
    {.kind = PS_PURGE_PATTERN,
     .at = AT,
     .text = {longest, sizeof longest},
     .tenant = {longest, PS_ENTRY_NAME_MAX},
     .has_tenant = true},
};

static void assert_same(const struct ps_purge *a, const struct ps_purge *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_true(a->at == b->at && a->has_tenant == b->has_tenant);
    assert_true(ps_str_eq(a->text, b->text) && ps_str_eq(a->tenant, b->tenant));
    assert_true(a->kind != PS_PURGE_KEY || ps_key_eq(&a->key, &b->key));
}

static void every_kind_comes_back(void **state)
{
    (void)state;
    memset(longest, 'l', sizeof longest);
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char bytes[PS_PURGE_WIRE_MAX];
        struct ps_str record = {bytes, 0};
        struct ps_purge read;
        assert_int_equal(ps_purge_wire_write(&rows[i], bytes, &record.len), PS_OK);
        assert_int_equal(ps_purge_wire_read(record, &read), PS_OK);
        assert_same(&rows[i], &read);
    }
}

static void the_format_is_what_the_header_says(void **state)
{
    (void)state;
    static const char want[] = "PSP\x01\x01\x01\x03\0\x08\x07\x06\x05\x04\x03\x02\x01\x04\0faqacme";
    char bytes[PS_PURGE_WIRE_MAX];
    size_t len = 0;
    assert_int_equal(ps_purge_wire_write(&rows[1], bytes, &len), PS_OK);
    assert_int_equal(len, sizeof want - 1);
    assert_memory_equal(bytes, want, len);
}

/* Fields that its kind does not use make no other record of it. */
static void equal_purges_are_equal_bytes(void **state)
{
    (void)state;
    char a[PS_PURGE_WIRE_MAX];
    char b[PS_PURGE_WIRE_MAX];
    size_t a_len = 0;
    size_t b_len = 0;
    struct ps_purge purge = rows[3];
    purge.text = PS_STR("ignored");
    purge.tenant = PS_STR("ignored");
    assert_int_equal(ps_purge_wire_write(&rows[3], a, &a_len), PS_OK);
    assert_int_equal(ps_purge_wire_write(&purge, b, &b_len), PS_OK);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
}

static void what_no_log_would_take_is_not_written(void **state)
{
    (void)state;
    static char name[PS_PURGE_TEXT_MAX + 1];
    char bytes[PS_PURGE_WIRE_MAX];
    size_t len = 0;
    struct ps_purge purge = rows[0];
    purge.text.len = 0;
    assert_int_equal(ps_purge_wire_write(&purge, bytes, &len), PS_EINVAL);
    purge.text = (struct ps_str){name, sizeof name};
    assert_int_equal(ps_purge_wire_write(&purge, bytes, &len), PS_EINVAL);
    purge = rows[1];
    purge.tenant = (struct ps_str){name, PS_ENTRY_NAME_MAX + 1};
    assert_int_equal(ps_purge_wire_write(&purge, bytes, &len), PS_EINVAL);
    purge = rows[0];
    purge.at = -1;
    assert_int_equal(ps_purge_wire_write(&purge, bytes, &len), PS_EINVAL);
}

static void what_was_cut_off_is_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char bytes[PS_PURGE_WIRE_MAX + 1];
        size_t full = 0;
        struct ps_purge read;
        assert_int_equal(ps_purge_wire_write(&rows[i], bytes, &full), PS_OK);
        for (size_t len = 0; len <= full + 1; len++) {
            char *copy = malloc(len + 1); /* so that reading too far is found */
            memcpy(copy, bytes, len);
            assert_int_equal(ps_purge_wire_read((struct ps_str){copy, len}, &read),
                             len == full ? PS_OK : PS_EPARSE);
            free(copy);
        }
    }
}

static void what_was_changed_is_none_or_another_in_every_point(void **state)
{
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char bytes[PS_PURGE_WIRE_MAX];
        char again[PS_PURGE_WIRE_MAX];
        struct ps_str record = {bytes, 0};
        size_t len = 0;
        struct ps_purge read;
        assert_int_equal(ps_purge_wire_write(&rows[i], bytes, &record.len), PS_OK);
        for (size_t bit = 0; bit < 8 * record.len; bit++) {
            bytes[bit / 8] ^= (char)(1 << bit % 8);
            if (ps_purge_wire_read(record, &read) == PS_OK) {
                assert_int_equal(ps_purge_wire_write(&read, again, &len), PS_OK);
                assert_true(ps_str_eq(record, (struct ps_str){again, len}));
            }
            bytes[bit / 8] ^= (char)(1 << bit % 8);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back),
        cmocka_unit_test(the_format_is_what_the_header_says),
        cmocka_unit_test(equal_purges_are_equal_bytes),
        cmocka_unit_test(what_no_log_would_take_is_not_written),
        cmocka_unit_test(what_was_cut_off_is_none),
        cmocka_unit_test(what_was_changed_is_none_or_another_in_every_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_envelope - what was written is read, and nothing else is believed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/rng.h"

#define NOW (1000000 * PS_SECOND)

enum { MAX_BODY = 100000 };

static const uint8_t key[32] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t other_key[32] = {1, 2, 3, 4, 5, 6, 7, 9};

struct desk {
    struct ps_envelope_codec *codec;
    struct ps_buf bytes;
};

static struct ps_envelope_codec *codec_of(uint64_t compress_above, const char *secret)
{
    struct ps_envelope_codec *codec = NULL;
    struct ps_envelope_opts opts = {
        .max_body = MAX_BODY, .compress_above = compress_above, .secret = secret};
    assert_int_equal(ps_envelope_codec_new(&codec, &opts), PS_OK);
    return codec;
}

static int setup(void **state)
{
    struct desk *desk = calloc(1, sizeof *desk);
    desk->codec = codec_of(1000, NULL);
    desk->bytes = ps_buf_make(1u << 20);
    *state = desk;
    return 0;
}

static int teardown(void **state)
{
    struct desk *desk = *state;
    ps_envelope_codec_free(desk->codec);
    ps_buf_fini(&desk->bytes);
    free(desk);
    return 0;
}

static void write_body(struct desk *desk, struct ps_str body)
{
    struct ps_envelope value = {.body = body, .stored = NOW, .ttl = 60 * PS_SECOND, .tag = 7};
    ps_buf_clear(&desk->bytes);
    assert_int_equal(ps_envelope_write(desk->codec, key, &value, &desk->bytes), PS_OK);
}

static enum ps_envelope_fault fault_of(struct desk *desk, ps_time now)
{
    struct ps_envelope value;
    return ps_envelope_read(desk->codec, key, ps_buf_str(&desk->bytes), now, &value);
}

static void assert_reads(struct desk *desk, struct ps_str body)
{
    struct ps_envelope value;
    enum ps_envelope_fault fault =
        ps_envelope_read(desk->codec, key, ps_buf_str(&desk->bytes), NOW + PS_SECOND, &value);
    assert_string_equal(ps_envelope_fault_text(fault), "fine");
    assert_true(ps_str_eq(value.body, body));
    assert_int_equal(value.stored, NOW);
    assert_int_equal(value.ttl, 60 * PS_SECOND);
    assert_int_equal(value.tag, 7);
}

/* Makes the check right again after the bytes were changed. */
static void repair(struct desk *desk)
{
    unsigned char *bytes = (unsigned char *)desk->bytes.data;
    size_t len = desk->bytes.len - 16;
    uint32_t crc = (uint32_t)crc32_z(0, bytes, len);
    for (size_t i = 0; i < 4; i++) {
        bytes[len + i] = (unsigned char)(crc >> (8 * i));
    }
}

static void set_byte(struct desk *desk, size_t at, unsigned char byte)
{
    ((unsigned char *)desk->bytes.data)[at] = byte;
}

/* --- cases ------------------------------------------------------------------------------------ */

static void what_was_written_is_read(void **state)
{
    struct desk *desk = *state;
    write_body(desk, PS_STR("an answer"));
    assert_int_equal(desk->bytes.len, 9 + PS_ENVELOPE_OVERHEAD);
    assert_reads(desk, PS_STR("an answer"));
    write_body(desk, PS_STR(""));
    assert_reads(desk, PS_STR(""));
}

static void long_bodies_are_compressed_where_it_helps(void **state)
{
    struct desk *desk = *state;
    static char even[50000];
    static char random[50000];
    struct ps_rng rng = ps_rng_make(1);
    for (size_t i = 0; i < sizeof random; i++) {
        even[i] = "token "[i % 6];
        random[i] = (char)ps_rng_next(&rng);
    }
    write_body(desk, (struct ps_str){even, sizeof even});
    assert_true(desk->bytes.len < 1000);
    assert_reads(desk, (struct ps_str){even, sizeof even});
    write_body(desk, (struct ps_str){random, sizeof random});
    assert_int_equal(desk->bytes.len, sizeof random + PS_ENVELOPE_OVERHEAD);
    assert_reads(desk, (struct ps_str){random, sizeof random});
    write_body(desk, (struct ps_str){even, 1000});
    assert_int_equal(desk->bytes.len, 1000 + PS_ENVELOPE_OVERHEAD);
}

static void every_cut_is_refused(void **state)
{
    struct desk *desk = *state;
    struct ps_envelope value;
    write_body(desk, PS_STR("an answer"));
    for (size_t len = 0; len < desk->bytes.len; len++) {
        struct ps_str cut = ps_str_first(ps_buf_str(&desk->bytes), len);
        assert_int_equal(ps_envelope_read(desk->codec, key, cut, NOW, &value), PS_ENVELOPE_SHORT);
    }
    assert_int_equal(ps_buf_append(&desk->bytes, "x", 1), PS_OK);
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_SHORT);
}

static void every_changed_bit_is_refused(void **state)
{
    struct desk *desk = *state;
    write_body(desk, PS_STR("an answer"));
    for (size_t bit = 0; bit < 8 * desk->bytes.len; bit++) {
        desk->bytes.data[bit / 8] = (char)(desk->bytes.data[bit / 8] ^ (1 << (bit % 8)));
        assert_int_not_equal(fault_of(desk, NOW), PS_ENVELOPE_FINE);
        desk->bytes.data[bit / 8] = (char)(desk->bytes.data[bit / 8] ^ (1 << (bit % 8)));
    }
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_FINE);
}

static void a_value_of_another_key_is_refused(void **state)
{
    struct desk *desk = *state;
    struct ps_envelope value;
    write_body(desk, PS_STR("an answer"));
    assert_int_equal(
        ps_envelope_read(desk->codec, other_key, ps_buf_str(&desk->bytes), NOW, &value),
        PS_ENVELOPE_KEY);
}

static void a_value_grows_old(void **state)
{
    struct desk *desk = *state;
    write_body(desk, PS_STR("an answer"));
    assert_int_equal(fault_of(desk, NOW + 60 * PS_SECOND - PS_MILLISECOND), PS_ENVELOPE_FINE);
    assert_int_equal(fault_of(desk, NOW + 60 * PS_SECOND), PS_ENVELOPE_EXPIRED);
    assert_int_equal(fault_of(desk, NOW - PS_HOUR), PS_ENVELOPE_FINE);
}

static void lies_with_a_right_check_are_refused(void **state)
{
    struct desk *desk = *state;
    write_body(desk, PS_STR("an answer"));
    set_byte(desk, 3, 2); /* a later version */
    repair(desk);
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_FOREIGN);
    write_body(desk, PS_STR("an answer"));
    set_byte(desk, 4, 4); /* an unknown flag */
    repair(desk);
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_FOREIGN);
    write_body(desk, PS_STR("an answer"));
    set_byte(desk, 4, 1); /* said to be compressed */
    repair(desk);
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_BODY);
    write_body(desk, PS_STR("an answer"));
    set_byte(desk, 44, 8); /* said to be shorter */
    repair(desk);
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_BODY);
    write_body(desk, PS_STR("an answer"));
    set_byte(desk, 47, 0x7f); /* said to be 2 GB */
    repair(desk);
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_LARGE);
    write_body(desk, PS_STR("an answer"));
    set_byte(desk, 55, 0xff); /* stored in the far future */
    repair(desk);
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_FOREIGN);
    write_body(desk, PS_STR("an answer"));
    set_byte(desk, 59, 0xff); /* good for longer than anybody says */
    repair(desk);
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_FOREIGN);
}

/* A compressed body that would grow beyond what the head says. */
static void a_bomb_does_not_go_off(void **state)
{
    struct desk *desk = *state;
    static char zeros[MAX_BODY];
    write_body(desk, (struct ps_str){zeros, sizeof zeros});
    assert_true(desk->bytes.len < 1000);
    set_byte(desk, 44, 100);
    set_byte(desk, 45, 0);
    set_byte(desk, 46, 0);
    repair(desk);
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_BODY);
}

static void a_secret_makes_forging_impossible(void **state)
{
    struct desk *desk = *state;
    struct ps_envelope_codec *plain = desk->codec;
    struct ps_envelope_codec *ours = codec_of(1000, "a secret of all gateways");
    struct ps_envelope_codec *theirs = codec_of(1000, "another secret");
    write_body(desk, PS_STR("forged"));
    desk->codec = ours;
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_CHECK);
    set_byte(desk, 4, 2);
    repair(desk);
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_CHECK);
    write_body(desk, PS_STR("true"));
    assert_reads(desk, PS_STR("true"));
    desk->codec = theirs;
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_CHECK);
    desk->codec = plain;
    assert_int_equal(fault_of(desk, NOW), PS_ENVELOPE_CHECK);
    ps_envelope_codec_free(ours);
    ps_envelope_codec_free(theirs);
}

static void what_does_not_fit_is_not_written(void **state)
{
    struct desk *desk = *state;
    static char large[MAX_BODY + 1];
    struct ps_envelope value = {.body = {large, sizeof large}, .stored = NOW, .ttl = PS_SECOND};
    assert_int_equal(ps_envelope_write(desk->codec, key, &value, &desk->bytes), PS_ELIMIT);
    value.body.len = 5;
    value.ttl = 0;
    assert_int_equal(ps_envelope_write(desk->codec, key, &value, &desk->bytes), PS_EINVAL);
    value.ttl = 1;
    struct ps_buf small = ps_buf_make(PS_ENVELOPE_OVERHEAD + 4);
    assert_int_equal(ps_envelope_write(desk->codec, key, &value, &small), PS_ELIMIT);
    assert_int_equal(small.len, 0);
    ps_buf_fini(&small);
    assert_int_equal(ps_envelope_write(desk->codec, key, &value, &desk->bytes), PS_OK);
    assert_int_equal(fault_of(desk, NOW + PS_SECOND - PS_MILLISECOND), PS_ENVELOPE_FINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(long_bodies_are_compressed_where_it_helps, setup, teardown),
        cmocka_unit_test_setup_teardown(every_cut_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(every_changed_bit_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_value_of_another_key_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_value_grows_old, setup, teardown),
        cmocka_unit_test_setup_teardown(lies_with_a_right_check_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bomb_does_not_go_off, setup, teardown),
        cmocka_unit_test_setup_teardown(a_secret_makes_forging_impossible, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_not_written, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

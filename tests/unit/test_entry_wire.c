/* test_entry_wire - entries as bytes and back; bytes that were cut, changed or made up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/entry_wire.h"

#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"

#define BORN ((ps_time)1700000000123456789)

static const struct ps_str tags[] = {PS_STR_INIT("faq"), PS_STR_INIT(""), PS_STR_INIT("v2/de")};

static const struct ps_entry_spec full = {
    .status = 200,
    .kind = PS_ENTRY_EVENTS,
    .head = PS_STR_INIT("content-type: text/event-stream\r\nx-a:\r\n"),
    .body = PS_STR_INIT("data: {}\n\ndata: [DONE]\n\n"),
    .route = PS_STR_INIT("chat"),
    .model = PS_STR_INIT("llama-3"),
    .tenant = PS_STR_INIT("acme"),
    .tags = tags,
    .tags_count = PS_ARRAY_LEN(tags),
    .born = BORN,
    .stored = BORN + 7 * PS_SECOND,
    .fresh = PS_HOUR,
    .while_revalidate = PS_MINUTE,
    .if_error = PS_NEVER,
    .seconds = 2.5,
    .prompt_tokens = 4000000000u,
    .completion_tokens = 17,
};

/* The bytes of an entry of this spec. */
static struct ps_buf write_spec(const struct ps_entry_spec *spec)
{
    struct ps_buf out = ps_buf_make(1 << 20);
    struct ps_entry *entry = NULL;
    assert_int_equal(ps_entry_new(&entry, spec), PS_OK);
    assert_int_equal(ps_entry_wire_write(entry, &out), PS_OK);
    ps_entry_unref(entry);
    return out;
}

static void assert_same(const struct ps_entry *a, const struct ps_entry *b)
{
    struct ps_str tag_a;
    struct ps_str tag_b;
    size_t at_a = 0;
    size_t at_b = 0;
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->kind, b->kind);
    assert_true(a->born == b->born && a->stored == b->stored && a->fresh == b->fresh);
    assert_true(a->while_revalidate == b->while_revalidate && a->if_error == b->if_error);
    assert_true(a->seconds <= b->seconds && a->seconds >= b->seconds);
    assert_int_equal(a->prompt_tokens, b->prompt_tokens);
    assert_int_equal(a->completion_tokens, b->completion_tokens);
    assert_true(ps_str_eq(ps_entry_route(a), ps_entry_route(b)));
    assert_true(ps_str_eq(ps_entry_model(a), ps_entry_model(b)));
    assert_true(ps_str_eq(ps_entry_tenant(a), ps_entry_tenant(b)));
    assert_true(ps_str_eq(ps_entry_head(a), ps_entry_head(b)));
    assert_true(ps_str_eq(ps_entry_body(a), ps_entry_body(b)));
    while (ps_entry_next_tag(a, &at_a, &tag_a)) {
        assert_true(ps_entry_next_tag(b, &at_b, &tag_b));
        assert_true(ps_str_eq(tag_a, tag_b));
    }
    assert_false(ps_entry_next_tag(b, &at_b, &tag_b));
}

static void assert_comes_back(const struct ps_entry_spec *spec)
{
    struct ps_entry *made = NULL;
    struct ps_entry *read = NULL;
    struct ps_buf bytes = write_spec(spec);
    assert_int_equal(ps_entry_new(&made, spec), PS_OK);
    assert_int_equal(ps_entry_wire_read(ps_buf_str(&bytes), &read), PS_OK);
    assert_same(made, read);
    ps_entry_unref(made);
    ps_entry_unref(read);
    ps_buf_fini(&bytes);
}

static void every_field_comes_back(void **state)
{
    (void)state;
    struct ps_entry_spec spec = full;
    assert_comes_back(&spec);
    spec.tags_count = 0;
    spec.kind = PS_ENTRY_BYTES;
    spec.head.len = spec.body.len = spec.route.len = spec.model.len = spec.tenant.len = 0;
    spec.born = spec.stored = 0;
    spec.fresh = PS_NEVER;
    spec.seconds = 0;
    spec.status = 999;
    assert_comes_back(&spec);
}

static void what_is_longest_comes_back(void **state)
{
    (void)state;
    static char name[PS_ENTRY_NAME_MAX];
    static char body[300000];
    struct ps_str most[PS_ENTRY_TAGS_MAX];
    struct ps_entry_spec spec = full;
    memset(name, 'n', sizeof name);
    memset(body, 0xff, sizeof body);
    for (size_t i = 0; i < PS_ENTRY_TAGS_MAX; i++) {
        most[i] = (struct ps_str){name, sizeof name};
    }
    spec.route = spec.model = spec.tenant = most[0];
    spec.tags = most;
    spec.tags_count = PS_ENTRY_TAGS_MAX;
    spec.body = (struct ps_str){body, sizeof body};
    spec.seconds = (double)FLT_MAX;
    assert_comes_back(&spec);
}

static void the_format_is_what_the_header_says(void **state)
{
    (void)state;
    struct ps_entry_spec spec = {.status = 0x0102,
                                 .kind = PS_ENTRY_JSON,
                                 .route = PS_STR("r"),
                                 .model = PS_STR("mm"),
                                 .tenant = PS_STR("ttt"),
                                 .head = PS_STR("a: b\r\n"),
                                 .body = PS_STR("body"),
                                 .tags = tags,
                                 .tags_count = 1,
                                 .born = 0x0102030405060708,
                                 .fresh = 3,
                                 .seconds = 1};
    static const char want[] = "PSE\x01"
                               "\x02\x01\x01\x01"
                               "\x08\x07\x06\x05\x04\x03\x02\x01"
                               "\0\0\0\0\0\0\0\0"
                               "\x03\0\0\0\0\0\0\0"
                               "\0\0\0\0\0\0\0\0"
                               "\0\0\0\0\0\0\0\0"
                               "\0\0\x80\x3f"
                               "\0\0\0\0"
                               "\0\0\0\0"
                               "\x06\0\0\0"
                               "\x01\0\x02\0\x03\0\0\0"
                               "rmmttt\x03\0"
                               "faqa: b\r\nbody";
    struct ps_buf bytes = write_spec(&spec);
    assert_int_equal(bytes.len, sizeof want - 1);
    assert_memory_equal(bytes.data, want, sizeof want - 1);
    ps_buf_fini(&bytes);
}

/* A byte less anywhere is none, or an entry with a shorter body; never anything else. */
static void what_was_cut_off_is_none(void **state)
{
    (void)state;
    struct ps_buf bytes = write_spec(&full);
    for (size_t len = 0; len < bytes.len; len++) {
        struct ps_entry *entry = NULL;
        char *copy = malloc(len + 1); /* so that reading too far is found */
        memcpy(copy, bytes.data, len);
        int err = ps_entry_wire_read((struct ps_str){copy, len}, &entry);
        assert_int_equal(err, len < bytes.len - full.body.len ? PS_EPARSE : PS_OK);
        ps_entry_unref(entry);
        free(copy);
    }
    ps_buf_fini(&bytes);
}

/* Whatever is believed can be written, and is the same bytes again: nothing is read in two ways. */
static void what_was_changed_is_none_or_another_entry_in_every_point(void **state)
{
    (void)state;
    struct ps_buf bytes = write_spec(&full);
    for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
        struct ps_entry *entry = NULL;
        struct ps_buf again = ps_buf_make(1 << 20);
        bytes.data[bit / 8] ^= (char)(1 << bit % 8);
        if (ps_entry_wire_read(ps_buf_str(&bytes), &entry) == PS_OK) {
            assert_int_equal(ps_entry_wire_write(entry, &again), PS_OK);
            assert_true(ps_str_eq(ps_buf_str(&again), ps_buf_str(&bytes)));
        }
        bytes.data[bit / 8] ^= (char)(1 << bit % 8);
        ps_entry_unref(entry);
        ps_buf_fini(&again);
    }
    ps_buf_fini(&bytes);
}

static void put_and_refuse(struct ps_buf *bytes, size_t at, const char *with, size_t len)
{
    char before[8];
    struct ps_entry *entry = NULL;
    memcpy(before, bytes->data + at, len);
    memcpy(bytes->data + at, with, len);
    assert_int_equal(ps_entry_wire_read(ps_buf_str(bytes), &entry), PS_EPARSE);
    memcpy(bytes->data + at, before, len);
}

static void what_no_entry_could_hold_is_refused(void **state)
{
    (void)state;
    struct ps_buf bytes = write_spec(&full);
    put_and_refuse(&bytes, 3, "\x02", 1);                          /* another version */
    put_and_refuse(&bytes, 4, "\x63\0", 2);                        /* status 99 */
    put_and_refuse(&bytes, 4, "\xe8\x03", 2);                      /* 1000 */
    put_and_refuse(&bytes, 6, (char[]){PS_ENTRY_KIND_MAX + 1}, 1); /* kind */
    put_and_refuse(&bytes, 7, "\x11", 1);                          /* 17 tags */
    put_and_refuse(&bytes, 15, "\x80", 1);                         /* before 1970 */
    put_and_refuse(&bytes, 31, "\xff", 1);                         /* a negative span */
    put_and_refuse(&bytes, 48, "\0\0\x80\x7f", 4);                 /* infinity */
    put_and_refuse(&bytes, 48, "\0\0\xc0\x7f", 4);                 /* no number */
    put_and_refuse(&bytes, 48, "\0\0\0\x80", 4);                   /* -0 */
    put_and_refuse(&bytes, 60, "\xff\xff\xff\xff", 4);             /* a head that is not there */
    put_and_refuse(&bytes, 64, "\x01\x01", 2);                     /* a route of 257 */
    put_and_refuse(&bytes, 70, "\x01", 1);                         /* what means nothing yet */
    ps_buf_fini(&bytes);
}

/* Of a head; the entry is made without a look at it. */
static void assert_head(const char *head, int want)
{
    struct ps_entry_spec spec = full;
    struct ps_entry *entry = NULL;
    struct ps_buf out = ps_buf_make(1 << 20);
    spec.head = ps_str_from(head);
    assert_int_equal(ps_entry_new(&entry, &spec), PS_OK);
    assert_int_equal(ps_entry_wire_write(entry, &out), want);
    assert_true(want == PS_OK || out.len == 0);
    ps_entry_unref(entry);
    ps_buf_fini(&out);
}

static void a_head_is_lines_and_none_about_framing(void **state)
{
    (void)state;
    assert_head("", PS_OK);
    assert_head("a: b\r\nc:\td e \r\n", PS_OK);
    assert_head("a: b", PS_EINVAL);
    assert_head("a: b\n", PS_EINVAL);
    assert_head("a: b\r\n\r\n", PS_EINVAL);
    assert_head("\r\n", PS_EINVAL);
    assert_head("\n", PS_EINVAL);
    assert_head("a\r\n", PS_EINVAL);
    assert_head("a b: c\r\n", PS_EINVAL);
    assert_head(": c\r\n", PS_EINVAL);
    assert_head(" a: c\r\n", PS_EINVAL);
    assert_head("a: b\rc\r\n", PS_EINVAL);
    assert_head("a: b\x01\r\n", PS_EINVAL);
    assert_head("Content-Length: 3\r\n", PS_EINVAL);
    assert_head("a: b\r\nTransfer-Encoding: chunked\r\n", PS_EINVAL);
    assert_head("connection: close\r\n", PS_EINVAL);
}

static void a_full_buffer_stays_as_it_was(void **state)
{
    (void)state;
    struct ps_buf bytes = write_spec(&full);
    struct ps_entry *entry = NULL;
    assert_int_equal(ps_entry_new(&entry, &full), PS_OK);
    for (size_t limit = 2; limit <= bytes.len + 2; limit++) {
        struct ps_buf out = ps_buf_make(limit);
        assert_int_equal(ps_buf_append_str(&out, PS_STR("ab")), PS_OK);
        assert_int_equal(ps_entry_wire_write(entry, &out),
                         limit == bytes.len + 2 ? PS_OK : PS_ELIMIT);
        assert_int_equal(out.len, limit == bytes.len + 2 ? limit : 2);
        ps_buf_fini(&out);
    }
    ps_entry_unref(entry);
    ps_buf_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_comes_back),
        cmocka_unit_test(what_is_longest_comes_back),
        cmocka_unit_test(the_format_is_what_the_header_says),
        cmocka_unit_test(what_was_cut_off_is_none),
        cmocka_unit_test(what_was_changed_is_none_or_another_entry_in_every_point),
        cmocka_unit_test(what_no_entry_could_hold_is_refused),
        cmocka_unit_test(a_head_is_lines_and_none_about_framing),
        cmocka_unit_test(a_full_buffer_stays_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

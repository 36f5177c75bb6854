/* key - what means the same has the same key, whatever differs has another, and what is uncertain
 * has none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/rng.h"
#include "gateway/canon.h"
#include "gateway/key.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PAIRS 100000
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PAIRS 100000
#endif
#endif
#ifndef PAIRS
#define PAIRS 1000000
#endif

static const struct ps_key_scope scope = {
    .tenant = PS_STR_INIT("acme"),
    .route = PS_STR_INIT("chat"),
    .upstream = PS_STR_INIT("llm"),
    .revision = PS_STR_INIT("r1"),
    .method = PS_STR_INIT("POST"),
    .path = PS_STR_INIT("/v1/chat/completions"),
    .query = PS_STR_INIT(""),
    .content_type = PS_STR_INIT("application/json"),
};

static struct ps_keyer *keyer_of(size_t memo)
{
    struct ps_keyer *keyer = NULL;
    assert_int_equal(ps_keyer_new(&keyer, memo), PS_OK);
    return keyer;
}

/* Feeds in pieces of `step` bytes. */
static int key_in_pieces(struct ps_keyer *keyer, const struct ps_key_scope *in,
                         enum ps_key_body kind, struct ps_str body, size_t step, struct ps_key *out)
{
    struct ps_key_job *job = NULL;
    assert_int_equal(ps_key_job_new(&job, keyer, in, kind, NULL), PS_OK);
    int err = PS_OK;
    while (body.len > 0 && err == PS_OK) {
        err = ps_key_job_feed(job, ps_str_first(body, step));
        body = ps_str_skip(body, step);
    }
    err = err != PS_OK ? err : ps_key_job_end(job, out);
    ps_key_job_free(job);
    return err;
}

static int key_of(struct ps_keyer *keyer, const char *body, struct ps_key *out)
{
    return key_in_pieces(keyer, &scope, PS_KEY_JSON, ps_str_from(body), SIZE_MAX, out);
}

static void assert_same(struct ps_keyer *keyer, const char *a, const char *b, bool same)
{
    struct ps_key left;
    struct ps_key right;
    assert_int_equal(key_of(keyer, a, &left), PS_OK);
    assert_int_equal(key_of(keyer, b, &right), PS_OK);
    if (ps_key_eq(&left, &right) != same) {
        fail_msg("%s and %s", a, b);
    }
}

/* ---------------------------------------------------------------- cases one by one */

static void spelling_makes_no_difference(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"{\"a\":1,\"b\":2}", "{ \"b\" : 2 ,\n\t\"a\" : 1 }"},
        {"{\"a\":1}", "{\"a\":1.0}"},
        {"{\"a\":1}", "{\"a\":1e0}"},
        {"{\"a\":1}", "{\"a\":0.1E+1}"},
        {"{\"a\":100}", "{\"a\":1e2}"},
        {"{\"a\":0}", "{\"a\":-0.000e7}"},
        {"{\"a\":0.001}", "{\"a\":1e-3}"},
        {"{\"a\":\"\xc3\xa9\"}", "{\"a\":\"\\u00e9\"}"},
        {"{\"a\":\"\xf0\x9f\x98\x80\"}", "{\"a\":\"\\ud83D\\uDE00\"}"},
        {"{\"a\":\"/\\n\"}", "{\"a\":\"\\/\\u000a\"}"},
        {"{\"\\u0061\":{\"y\":[],\"x\":{}}}", "{\"a\":{\"x\":{},\"y\":[]}}"},
        {"{\"a\":1}", "{\"a\":1,\"user\":\"u\",\"metadata\":{\"x\":[1,{\"y\":2}]},\"store\":true}"},
        {"{\"a\":1}", "{\"stream\":true,\"a\":1,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"a\":1}",
         "{\"safety_identifier\":1,\"service_tier\":[],\"a\":1,\"prompt_cache_key\":\"x\","
         "\"prompt_cache_retention\":null}"},
    };
    struct ps_keyer *keyer = keyer_of(0);
    for (size_t i = 0; i < PS_ARRAY_LEN(pairs); i++) {
        assert_same(keyer, pairs[i][0], pairs[i][1], true);
    }
    ps_keyer_free(keyer);
}

static void meaning_makes_a_difference(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"{\"a\":1}", "{\"a\":2}"},
        {"{\"a\":1}", "{\"a\":\"1\"}"},
        {"{\"a\":1}", "{\"a\":-1}"},
        {"{\"a\":1}", "{\"a\":true}"},
        {"{\"a\":null}", "{}"},
        {"{\"a\":[1,2]}", "{\"a\":[2,1]}"},
        {"{\"a\":[[1],2]}", "{\"a\":[[1,2]]}"},
        {"{\"a\":[]}", "{\"a\":{}}"},
        {"{\"a\":\"b\"}", "{\"a\":\"B\"}"},
        {"{\"a\":\"\xc3\xa9\"}", "{\"a\":\"e\xcc\x81\"}"}, /* a composed letter is another text */
        {"{\"a\":9007199254740992}", "{\"a\":9007199254740993}"},
        {"{\"a\":0.1}", "{\"a\":0.1000000000000000055511151231257827}"},
        {"{\"a\":1e400}", "{\"a\":1e401}"},
        {"{\"a\":{\"user\":1}}", "{\"a\":{\"user\":2}}"}, /* left out at the top only */
        {"{\"a\":1}", "{\"a\":1,\"User\":1}"},
        {"{\"ab\":\"c\"}", "{\"a\":\"bc\"}"},
        {"{\"a\":\"x\",\"b\":\"y\"}", "{\"a\":\"y\",\"b\":\"x\"}"},
        {"{\"a\":1,\"x_engine\":1}", "{\"a\":1}"},
        {"{\"a\":\"\\u0000\"}", "{\"a\":\"\"}"},
    };
    struct ps_keyer *keyer = keyer_of(0);
    for (size_t i = 0; i < PS_ARRAY_LEN(pairs); i++) {
        assert_same(keyer, pairs[i][0], pairs[i][1], false);
    }
    ps_keyer_free(keyer);
}

static void the_uncertain_has_no_key(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "[]",
        "1",
        "\"a\"",
        "null",
        "{\"a\":1",
        "{\"a\":1}{}",
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"\\u0061\":1}",
        "{\"user\":1,\"user\":2}",
        "{\"a\":[{\"b\":1,\"c\":2,\"b\":3}]}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\ud800x\"}",
        "{\"a\":\"\\ud800\\n\"}",
        "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\udc00\\ud800\"}",
        "{\"\\ud800\":1}",
        "{\"user\":\"\\ud800\"}",
        "{\"a\":\"\xed\xa0\x80\"}",     /* a surrogate in UTF-8 */
        "{\"a\":\"\xc0\x80\"}",         /* an overlong NUL */
        "{\"a\":\"\xf4\x90\x80\x80\"}", /* beyond Unicode */
        "{\"a\":\"\xff\"}",
        "{\"\xed\xa0\x80\":1}",
        "{\"a\":01}",
        "{\"a\":1e9999999999999999}",
    };
    struct ps_keyer *keyer = keyer_of(16);
    for (size_t i = 0; i < PS_ARRAY_LEN(bodies); i++) {
        struct ps_key key;
        for (size_t step = 1; step < 40; step += 38) {
            int err = key_in_pieces(keyer, &scope, PS_KEY_JSON, ps_str_from(bodies[i]), step, &key);
            if (err != PS_EPARSE) {
                fail_msg("%s: %d", bodies[i], err);
            }
        }
    }
    ps_keyer_free(keyer);
}

static void reasons_are_told(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    struct ps_key_job *job = NULL;
    struct ps_key key;
    assert_int_equal(ps_key_job_new(&job, keyer, &scope, PS_KEY_JSON, NULL), PS_OK);
    assert_int_equal(ps_key_job_feed(job, PS_STR("{\"a\":1,\"a\":2}")), PS_EPARSE);
    assert_int_equal(ps_key_job_end(job, &key), PS_EPARSE);
    assert_string_equal(ps_key_job_reason(job), "a member is given twice");
    assert_int_equal(ps_key_job_end(job, &key), PS_EPARSE);
    ps_key_job_free(job);
    ps_keyer_free(keyer);
}

static struct ps_buf nested(size_t depth)
{
    struct ps_buf body = ps_buf_make(1 << 20);
    assert_int_equal(ps_buf_append_str(&body, PS_STR("{\"a\":")), PS_OK);
    for (size_t i = 1; i < depth; i++) {
        assert_int_equal(ps_buf_append_str(&body, PS_STR("[")), PS_OK);
    }
    for (size_t i = 1; i < depth; i++) {
        assert_int_equal(ps_buf_append_str(&body, PS_STR("]")), PS_OK);
    }
    assert_int_equal(ps_buf_append_str(&body, PS_STR("}")), PS_OK);
    return body;
}

static void depth_is_bounded(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    struct ps_key key;
    struct ps_buf body = nested(PS_CANON_DEPTH_MAX);
    assert_int_equal(key_in_pieces(keyer, &scope, PS_KEY_JSON, ps_buf_str(&body), 7, &key), PS_OK);
    ps_buf_fini(&body);
    body = nested(PS_CANON_DEPTH_MAX + 1);
    assert_int_equal(key_in_pieces(keyer, &scope, PS_KEY_JSON, ps_buf_str(&body), 7, &key),
                     PS_ELIMIT);
    ps_buf_fini(&body);
    ps_keyer_free(keyer);
}

/* Lengths around every bound of the encoding, once as a text and once as an array. */
static void long_values_are_told_apart(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    for (size_t len = 1000; len < 1060; len++) {
        char a[1200];
        char b[1200];
        struct ps_key left;
        struct ps_key right;
        snprintf(a, sizeof a, "{\"a\":\"%0*d\"}", (int)len, 1);
        snprintf(b, sizeof b, "{\"a\":\"%0*d\"}", (int)len, 2);
        assert_int_equal(key_of(keyer, a, &left), PS_OK);
        assert_int_equal(key_in_pieces(keyer, &scope, PS_KEY_JSON, ps_str_from(a), 3, &right),
                         PS_OK);
        assert_true(ps_key_eq(&left, &right));
        assert_int_equal(key_of(keyer, b, &right), PS_OK);
        assert_false(ps_key_eq(&left, &right));
    }
    ps_keyer_free(keyer);
}

/* Runs of every length before and behind an escape, spelt in two ways and read in any pieces. */
static void the_order_of_pieces_does_not_change(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    for (size_t len = 1; len < 5000; len += 1 + len / 3) {
        struct ps_buf bodies[4];
        struct ps_key keys[4];
        for (int i = 0; i < 4; i++) {
            const char *mark = i % 2 == 0 ? "\\u20ac" : "\xe2\x82\xac";
            bodies[i] = ps_buf_make(1 << 16);
            int first = i < 2 ? (int)len : 7;
            int second = i < 2 ? 7 : (int)len;
            assert_int_equal(ps_buf_printf(&bodies[i], "{\"a\":\"%s%0*d%s%0*d\"}", mark, first, 1,
                                           mark, second, 1),
                             PS_OK);
            assert_int_equal(key_in_pieces(keyer, &scope, PS_KEY_JSON, ps_buf_str(&bodies[i]),
                                           i % 2 == 0 ? SIZE_MAX : 11, &keys[i]),
                             PS_OK);
            ps_buf_fini(&bodies[i]);
        }
        assert_true(ps_key_eq(&keys[0], &keys[1]));
        assert_true(ps_key_eq(&keys[2], &keys[3]));
        assert_int_equal(ps_key_eq(&keys[0], &keys[2]), len == 7);
    }
    ps_keyer_free(keyer);
}

static struct ps_buf array_of(size_t count, const char *first, const char *space)
{
    struct ps_buf body = ps_buf_make(16 << 20);
    assert_int_equal(ps_buf_printf(&body, "{\"a\":[%s", first), PS_OK);
    for (size_t i = 1; i < count; i++) {
        assert_int_equal(ps_buf_printf(&body, ",%s%zu", space, i), PS_OK);
    }
    assert_int_equal(ps_buf_append_str(&body, PS_STR("]}")), PS_OK);
    return body;
}

static void long_arrays_take_little_memory(void **state)
{
    (void)state;
    struct ps_budget budget = {.limit = 16 << 10};
    struct ps_canon_opts opts = {.sha256 = EVP_sha256(), .budget = &budget};
    struct ps_canon *canon = NULL;
    assert_int_equal(ps_canon_new(&canon, &opts), PS_OK);
    assert_int_equal(ps_canon_open(canon, true), PS_OK);
    ps_canon_begin_text(canon);
    assert_int_equal(ps_canon_text(canon, PS_STR("input")), PS_OK);
    assert_int_equal(ps_canon_end_name(canon), PS_OK);
    assert_int_equal(ps_canon_open(canon, false), PS_OK);
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(ps_canon_number(canon, PS_STR("12345")), PS_OK);
    }
    assert_int_equal(ps_canon_close(canon), PS_OK);
    assert_int_equal(ps_canon_close(canon), PS_OK);
    assert_in_range(ps_canon_encoding(canon).len, 1, PS_CANON_INLINE + 1);
    ps_canon_free(canon);
    assert_int_equal(budget.used, 0);
}

static void long_arrays_are_told_apart(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    struct ps_buf bodies[] = {array_of(50000, "0", ""), array_of(50000, "0.0", " "),
                              array_of(50000, "-1", "")};
    struct ps_key keys[3];
    for (size_t i = 0; i < 3; i++) {
        struct ps_str body = ps_buf_str(&bodies[i]);
        assert_int_equal(key_in_pieces(keyer, &scope, PS_KEY_JSON, body, 5000 + i, &keys[i]),
                         PS_OK);
        ps_buf_fini(&bodies[i]);
    }
    assert_true(ps_key_eq(&keys[0], &keys[1]));
    assert_false(ps_key_eq(&keys[0], &keys[2]));
    ps_keyer_free(keyer);
}

static void a_budget_ends_it(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    struct ps_budget budget = {.limit = 4096};
    struct ps_key_job *job = NULL;
    struct ps_buf body = ps_buf_make(1 << 20);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(ps_buf_printf(&body, "%s\"m%d\":1", i == 0 ? "{" : ",", i), PS_OK);
    }
    assert_int_equal(ps_key_job_new(&job, keyer, &scope, PS_KEY_JSON, &budget), PS_OK);
    assert_int_equal(ps_key_job_feed(job, ps_buf_str(&body)), PS_ELIMIT);
    struct ps_key key;
    assert_int_equal(ps_key_job_end(job, &key), PS_ELIMIT);
    ps_key_job_free(job);
    assert_int_equal(budget.used, 0);
    ps_buf_fini(&body);
    ps_keyer_free(keyer);
}

/* ---------------------------------------------------------------- scope */

static void every_part_of_the_scope_counts(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(64);
    struct ps_key base;
    assert_int_equal(key_in_pieces(keyer, &scope, PS_KEY_JSON, PS_STR("{}"), 9, &base), PS_OK);
    for (size_t i = 0; i < 8; i++) {
        struct ps_key_scope other = scope;
        struct ps_str *parts[] = {&other.tenant,   &other.route,       &other.upstream,
                                  &other.revision, &other.method,      &other.path,
                                  &other.query,    &other.content_type};
        *parts[i] = PS_STR("other");
        struct ps_key key;
        assert_int_equal(key_in_pieces(keyer, &other, PS_KEY_JSON, PS_STR("{}"), 9, &key), PS_OK);
        assert_false(ps_key_eq(&base, &key));
    }
    assert_int_equal(ps_keyer_memo_hits(keyer), 0);
    ps_keyer_free(keyer);
}

static void parts_do_not_run_into_each_other(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    struct ps_key_scope a = scope;
    struct ps_key_scope b = scope;
    a.tenant = PS_STR("ab");
    a.route = PS_STR("c");
    b.tenant = PS_STR("a");
    b.route = PS_STR("bc");
    struct ps_key left;
    struct ps_key right;
    assert_int_equal(key_in_pieces(keyer, &a, PS_KEY_RAW, PS_STR(""), 1, &left), PS_OK);
    assert_int_equal(key_in_pieces(keyer, &b, PS_KEY_RAW, PS_STR(""), 1, &right), PS_OK);
    assert_false(ps_key_eq(&left, &right));
    ps_keyer_free(keyer);
}

static void tenants_share_only_when_told(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(64);
    struct ps_key_scope a = scope;
    struct ps_key_scope b = scope;
    struct ps_key keys[3];
    a.any_tenant = true;
    b.any_tenant = true;
    b.tenant = PS_STR("other");
    assert_int_equal(key_in_pieces(keyer, &a, PS_KEY_JSON, PS_STR("{}"), 9, &keys[0]), PS_OK);
    assert_int_equal(key_in_pieces(keyer, &b, PS_KEY_JSON, PS_STR("{}"), 9, &keys[1]), PS_OK);
    b.any_tenant = false;
    b.tenant = PS_STR("");
    assert_int_equal(key_in_pieces(keyer, &b, PS_KEY_JSON, PS_STR("{}"), 9, &keys[2]), PS_OK);
    assert_true(ps_key_eq(&keys[0], &keys[1]));
    assert_false(ps_key_eq(&keys[0], &keys[2]));
    ps_keyer_free(keyer);
}

static void the_spelling_of_json_does_not_count(void **state)
{
    (void)state;
    static const struct ps_str spellings[] = {
        PS_STR_INIT("application/json"),
        PS_STR_INIT("Application/JSON"),
        PS_STR_INIT("application/json; charset=utf-8"),
        PS_STR_INIT("application/json ;charset=\"UTF-8\""),
    };
    struct ps_keyer *keyer = keyer_of(0);
    struct ps_key keys[PS_ARRAY_LEN(spellings)];
    for (size_t i = 0; i < PS_ARRAY_LEN(spellings); i++) {
        struct ps_key_scope in = scope;
        in.content_type = spellings[i];
        assert_int_equal(key_in_pieces(keyer, &in, PS_KEY_JSON, PS_STR("{}"), 9, &keys[i]), PS_OK);
        assert_true(ps_key_eq(&keys[0], &keys[i]));
    }
    ps_keyer_free(keyer);
}

/* ---------------------------------------------------------------- memo */

static void the_memo_knows_repeats(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(64);
    struct ps_keyer *plain = keyer_of(0);
    struct ps_key first;
    struct ps_key again;
    struct ps_key expected;
    assert_int_equal(key_of(keyer, "{\"a\":[1.0]}", &first), PS_OK);
    assert_int_equal(key_of(keyer, "{\"a\":[1.0]}", &again), PS_OK);
    assert_int_equal(key_of(plain, "{\"a\":[1]}", &expected), PS_OK);
    assert_int_equal(ps_keyer_memo_hits(keyer), 1);
    assert_true(ps_key_eq(&first, &again));
    assert_true(ps_key_eq(&first, &expected));
    ps_keyer_free(keyer);
    ps_keyer_free(plain);
}

static void the_memo_is_bounded_and_never_wrong(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(16);
    struct ps_keyer *plain = keyer_of(0);
    struct ps_rng rng = ps_rng_make(7);
    for (int i = 0; i < 20000; i++) {
        char body[64];
        struct ps_key key;
        struct ps_key expected;
        snprintf(body, sizeof body, "{\"a\":%u}", (unsigned)ps_rng_below(&rng, 40));
        assert_int_equal(key_of(keyer, body, &key), PS_OK);
        assert_int_equal(key_of(plain, body, &expected), PS_OK);
        assert_true(ps_key_eq(&key, &expected));
    }
    assert_true(ps_keyer_memo_hits(keyer) > 1000);
    ps_keyer_free(keyer);
    ps_keyer_free(plain);
}

/* ---------------------------------------------------------------- embeddings */

struct items {
    int err;
    size_t count;
    struct ps_key all;
    struct ps_key keys[8];
};

static struct items items_of(struct ps_keyer *keyer, const char *body)
{
    struct items items = {.count = 0};
    struct ps_key_job *job = NULL;
    assert_int_equal(ps_key_job_new(&job, keyer, &scope, PS_KEY_EMBEDDINGS, NULL), PS_OK);
    items.err = ps_key_job_feed(job, ps_str_from(body));
    items.err = items.err != PS_OK ? items.err : ps_key_job_end(job, &items.all);
    items.count = items.err == PS_OK ? ps_key_job_items(job) : 0;
    for (size_t i = 0; i < items.count && i < 8; i++) {
        ps_key_job_item(job, i, &items.keys[i]);
    }
    ps_key_job_free(job);
    return items;
}

static void an_item_has_the_key_of_a_request_of_its_own(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(16);
    struct items many = items_of(keyer, "{\"input\":[\"a\",\"b\",\"a\"],\"model\":\"m\"}");
    struct items one = items_of(keyer, "{\"model\":\"m\",\"input\":\"b\",\"user\":\"u\"}");
    struct items list = items_of(keyer, "{\"model\":\"m\",\"input\":[\"\\u0062\"]}");
    struct items other = items_of(keyer, "{\"model\":\"n\",\"input\":[\"b\"]}");
    assert_int_equal(many.count, 3);
    assert_int_equal(one.count, 1);
    assert_true(ps_key_eq(&many.keys[1], &one.keys[0]));
    assert_true(ps_key_eq(&one.all, &one.keys[0]));
    assert_true(ps_key_eq(&one.all, &list.all));
    assert_true(ps_key_eq(&many.keys[0], &many.keys[2]));
    assert_false(ps_key_eq(&many.keys[0], &many.keys[1]));
    assert_false(ps_key_eq(&other.keys[0], &one.keys[0]));
    assert_false(ps_key_eq(&many.all, &many.keys[0]));
    ps_keyer_free(keyer);
}

static void the_memo_knows_requests_for_one_item(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(16);
    for (unsigned round = 0; round < 3; round++) {
        struct items one = items_of(keyer, "{\"input\":\"a\"}");
        struct items many = items_of(keyer, "{\"input\":[\"b\",\"a\"]}");
        assert_int_equal(one.count, 1);
        assert_int_equal(many.count, 2);
        assert_true(ps_key_eq(&one.keys[0], &many.keys[1]));
        assert_true(ps_key_eq(&one.keys[0], &one.all));
        assert_int_equal(ps_keyer_memo_hits(keyer), round);
    }
    ps_keyer_free(keyer);
}

static void a_list_of_items_has_the_key_of_its_request(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    struct items many = items_of(keyer, "{\"input\":[\"a\",\"b\",\"c\"]}");
    struct items some = items_of(keyer, "{\"input\":[\"a\",\"c\"]}");
    struct ps_key keys[] = {many.keys[0], many.keys[2]};
    struct ps_key key;
    ps_keyer_list(keyer, many.keys, 3, &key);
    assert_true(ps_key_eq(&key, &many.all));
    ps_keyer_list(keyer, keys, 2, &key);
    assert_true(ps_key_eq(&key, &some.all));
    ps_keyer_list(keyer, keys, 1, &key);
    assert_true(ps_key_eq(&key, &many.keys[0]));
    ps_keyer_free(keyer);
}

static void token_ids_are_one_item(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    struct items flat = items_of(keyer, "{\"input\":[1,2.0,3]}");
    struct items nested_once = items_of(keyer, "{\"input\":[[1,2,3],[4]]}");
    struct items texts = items_of(keyer, "{\"input\":[\"1\",\"2\",\"3\"]}");
    assert_int_equal(flat.count, 1);
    assert_int_equal(nested_once.count, 2);
    assert_int_equal(texts.count, 3);
    assert_true(ps_key_eq(&flat.keys[0], &nested_once.keys[0]));
    struct ps_buf ids = array_of(2000, "0", "");
    struct ps_buf both = ps_buf_make(1 << 20);
    assert_int_equal(ps_buf_printf(&both, "{\"input\":%.*s", (int)ids.len - 5, ids.data + 5),
                     PS_OK);
    assert_int_equal(ps_buf_append(&both, "", 1), PS_OK);
    struct items longer = items_of(keyer, both.data);
    ps_buf_clear(&both);
    assert_int_equal(ps_buf_printf(&both, "{\"input\":[%.*s,[7]]}", (int)ids.len - 6, ids.data + 5),
                     PS_OK);
    assert_int_equal(ps_buf_append(&both, "", 1), PS_OK);
    struct items inside = items_of(keyer, both.data);
    assert_int_equal(longer.count, 1);
    assert_int_equal(inside.count, 2);
    assert_true(ps_key_eq(&longer.keys[0], &inside.keys[0]));
    ps_buf_fini(&ids);
    ps_buf_fini(&both);
    ps_keyer_free(keyer);
}

static void embeddings_without_a_clear_input_have_no_key(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    assert_int_equal(items_of(keyer, "{\"model\":\"m\"}").err, PS_EPARSE);
    assert_int_equal(items_of(keyer, "{\"input\":[]}").err, PS_EPARSE);
    assert_int_equal(items_of(keyer, "{\"input\":[1,\"a\"]}").err, PS_EPARSE);
    assert_int_equal(items_of(keyer, "{\"input\":\"a\",\"input\":\"a\"}").err, PS_EPARSE);
    assert_int_equal(items_of(keyer, "{\"input\":[\"a\"],\"input\":[\"b\"]}").err, PS_EPARSE);
    ps_keyer_free(keyer);
}

/* ---------------------------------------------------------------- properties */

enum { NODES = 48, CHILDREN = 6 };

enum node_type { NODE_NULL, NODE_BOOL, NODE_NUMBER, NODE_TEXT, NODE_ARRAY, NODE_OBJECT };

/* A document as a tree of numbers: names, texts and numbers are made from `value`. */
struct node {
    enum node_type type;
    uint32_t value;
    uint32_t name; /* as a member */
    size_t children[CHILDREN];
    size_t count;
};

struct document {
    struct node nodes[NODES];
    size_t count;
};

static const char *const letters[] = {
    "a", "\"",   "\\", "\n", "\x01", "/", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
    "~", "\x7f", " "};

static size_t grow(struct document *document, struct ps_rng *rng, unsigned depth)
{
    size_t at = document->count++;
    unsigned kinds = depth >= 4 ? 4 : 6;
    struct node *node = &document->nodes[at];
    *node = (struct node){.type = (enum node_type)ps_rng_below(rng, kinds),
                          .value = (uint32_t)ps_rng_below(rng, 1000)};
    node->type = depth == 0 ? NODE_OBJECT : node->type;
    size_t children = node->type >= NODE_ARRAY ? ps_rng_below(rng, CHILDREN) : 0;
    for (size_t i = 0; i < children && document->count < NODES - CHILDREN; i++) {
        size_t child = grow(document, rng, depth + 1);
        document->nodes[child].name = (uint32_t)(i * 7 + ps_rng_below(rng, 7));
        node->children[node->count++] = child;
    }
    return at;
}

static void text(struct ps_buf *out, const char *words)
{
    assert_int_equal(ps_buf_append(out, words, strlen(words)), PS_OK);
}

static void space(struct ps_buf *out, struct ps_rng *rng)
{
    static const char *const spaces[] = {"", "", "", " ", "\n", "\t ", "\r\n"};
    text(out, spaces[ps_rng_below(rng, PS_ARRAY_LEN(spaces))]);
}

/* One letter in one of its spellings. */
static void letter(struct ps_buf *out, const char *bytes, struct ps_rng *rng)
{
    bool must = bytes[0] == '"' || bytes[0] == '\\' || (unsigned char)bytes[0] < 0x20;
    if (!must && ps_rng_below(rng, 3) != 0) {
        text(out, bytes);
        return;
    }
    bool upper = ps_rng_below(rng, 2) == 0;
    uint32_t code = (unsigned char)bytes[0];
    if (bytes[0] == '\xc3') {
        code = 0xe9;
    } else if (bytes[0] == '\xe2') {
        code = 0x20ac;
    } else if (bytes[0] == '\xf0') {
        text(out, upper ? "\\uD83D\\uDE00" : "\\ud83d\\ude00");
        return;
    }
    assert_int_equal(ps_buf_printf(out, upper ? "\\u%04X" : "\\u%04x", (unsigned)code), PS_OK);
}

static void quoted(struct ps_buf *out, uint32_t value, struct ps_rng *rng)
{
    text(out, "\"");
    if (value % 97 == 0) { /* a long run among the letters, so that digests are made in pieces */
        assert_int_equal(ps_buf_printf(out, "%s%0*u",
                                       ps_rng_below(rng, 2) == 0 ? "\\u20ac" : "\xe2\x82\xac",
                                       900 + (int)value, (unsigned)value),
                         PS_OK);
    }
    for (; value > 0; value /= PS_ARRAY_LEN(letters)) {
        letter(out, letters[value % PS_ARRAY_LEN(letters)], rng);
    }
    text(out, "\"");
}

static void number(struct ps_buf *out, uint32_t value, struct ps_rng *rng)
{
    const char *sign = value % 2 == 0 ? "" : "-";
    unsigned whole = 1 + value / 10;
    unsigned part = value % 10 * 100;
    uint64_t form = ps_rng_below(rng, 5);
    int err = PS_OK;
    if (part == 0 && ps_rng_below(rng, 2) == 0) {
        err = ps_buf_printf(out, "%s%u", sign, whole);
    } else if (form == 0) {
        err = ps_buf_printf(out, "%s%u.%03u", sign, whole, part);
    } else if (form == 1) {
        err = ps_buf_printf(out, "%s%u%03ue-3", sign, whole, part);
    } else if (form == 2) {
        err = ps_buf_printf(out, "%s%u.%03ue0", sign, whole, part);
    } else if (form == 3) {
        err = ps_buf_printf(out, "%s%u.%03u000E+0", sign, whole, part);
    } else {
        err = ps_buf_printf(out, "%s%u%03u.00e-3", sign, whole, part);
    }
    assert_int_equal(err, PS_OK);
}

static void write_node(struct ps_buf *out, const struct document *document, size_t at,
                       struct ps_rng *rng);

static void ignored_member(struct ps_buf *out, struct ps_rng *rng)
{
    static const char *const members[] = {"\"user\":\"%\"",
                                          "\"user\":\"u\"",
                                          "\"stream\":true",
                                          "\"store\":[{\"a\":1}]",
                                          "\"metadata\":{\"x\":{\"y\":2}}",
                                          "\"str\\u0065am_options\":{}"};
    text(out, members[ps_rng_below(rng, PS_ARRAY_LEN(members))]);
}

static void write_children(struct ps_buf *out, const struct document *document, size_t at,
                           struct ps_rng *rng)
{
    const struct node *node = &document->nodes[at];
    size_t order[CHILDREN];
    bool comma = false;
    for (size_t i = 0; i < node->count; i++) {
        size_t j = node->type == NODE_OBJECT ? ps_rng_below(rng, i + 1) : i;
        order[i] = order[j];
        order[j] = node->children[i];
    }
    if (at == 0 && ps_rng_below(rng, 4) == 0) {
        ignored_member(out, rng);
        comma = true;
    }
    for (size_t i = 0; i < node->count; i++) {
        text(out, comma ? "," : "");
        comma = true;
        space(out, rng);
        if (node->type == NODE_OBJECT) {
            quoted(out, document->nodes[order[i]].name + 1, rng);
            space(out, rng);
            text(out, ":");
        }
        write_node(out, document, order[i], rng);
        space(out, rng);
    }
}

static void write_node(struct ps_buf *out, const struct document *document, size_t at,
                       struct ps_rng *rng)
{
    const struct node *node = &document->nodes[at];
    space(out, rng);
    switch (node->type) {
    case NODE_NULL:
        text(out, "null");
        break;
    case NODE_BOOL:
        text(out, node->value % 2 == 0 ? "true" : "false");
        break;
    case NODE_NUMBER:
        number(out, node->value, rng);
        break;
    case NODE_TEXT:
        quoted(out, node->value, rng);
        break;
    case NODE_ARRAY:
        text(out, "[");
        write_children(out, document, at, rng);
        text(out, "]");
        break;
    case NODE_OBJECT:
        text(out, "{");
        write_children(out, document, at, rng);
        text(out, "}");
        break;
    }
}

/* Changes what the document says at one place. */
static void change(struct document *document, struct ps_rng *rng)
{
    struct node *node = &document->nodes[ps_rng_below(rng, document->count)];
    switch (node->type) {
    case NODE_NULL:
        node->type = NODE_BOOL;
        break;
    case NODE_BOOL:
        node->value++;
        break;
    case NODE_NUMBER:
        node->value += 1 + (uint32_t)ps_rng_below(rng, 9);
        break;
    case NODE_TEXT:
        node->value += 1 + (uint32_t)ps_rng_below(rng, 9);
        break;
    case NODE_ARRAY:
    case NODE_OBJECT:
        if (node->count > 0 && ps_rng_below(rng, 2) == 0) {
            node->count--;
        } else if (node->count > 0 && node->type == NODE_OBJECT) {
            document->nodes[node->children[0]].name += 1000;
        } else {
            node->type = node->count > 0            ? NODE_NULL
                         : node->type == NODE_ARRAY ? NODE_OBJECT
                                                    : NODE_ARRAY;
        }
        break;
    }
    document->nodes[0].type = NODE_OBJECT; /* the root can't change */
}

static struct ps_key document_key(struct ps_keyer *keyer, const struct document *document,
                                  struct ps_rng *rng, struct ps_buf *body)
{
    struct ps_key key;
    ps_buf_clear(body);
    write_node(body, document, 0, rng);
    size_t step = ps_rng_below(rng, 8) == 0 ? 1 + ps_rng_below(rng, 16) : SIZE_MAX;
    int err = key_in_pieces(keyer, &scope, PS_KEY_JSON, ps_buf_str(body), step, &key);
    if (err != PS_OK) {
        fail_msg("%.*s", (int)body->len, body->data);
    }
    return key;
}

/* Does the change change what is written? An empty root may stay as it is. */
static bool differs(const struct document *a, const struct document *b)
{
    struct ps_rng one = ps_rng_make(1);
    struct ps_rng two = ps_rng_make(1);
    struct ps_buf left = ps_buf_make(1 << 20);
    struct ps_buf right = ps_buf_make(1 << 20);
    write_node(&left, a, 0, &one);
    write_node(&right, b, 0, &two);
    bool differ = !ps_str_eq(ps_buf_str(&left), ps_buf_str(&right));
    ps_buf_fini(&left);
    ps_buf_fini(&right);
    return differ;
}

static void a_million_pairs_agree_with_their_meaning(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(0);
    struct ps_rng rng = ps_rng_make(20);
    struct ps_buf body = ps_buf_make(1 << 20);
    for (int pairs = 0; pairs < PAIRS;) {
        struct document document = {.count = 0};
        grow(&document, &rng, 0);
        struct ps_key base = document_key(keyer, &document, &rng, &body);
        for (int i = 0; i < 6; i++, pairs += 2) {
            struct ps_key same = document_key(keyer, &document, &rng, &body);
            if (!ps_key_eq(&base, &same)) {
                fail_msg("%.*s", (int)body.len, body.data);
            }
            struct document changed = document;
            change(&changed, &rng);
            struct ps_key other = document_key(keyer, &changed, &rng, &body);
            if (ps_key_eq(&base, &other) && differs(&document, &changed)) {
                fail_msg("%.*s", (int)body.len, body.data);
            }
        }
    }
    ps_buf_fini(&body);
    ps_keyer_free(keyer);
}

static void no_tenant_meets_another(void **state)
{
    (void)state;
    struct ps_keyer *keyer = keyer_of(4096);
    struct ps_rng rng = ps_rng_make(3);
    for (int i = 0; i < PAIRS; i++) {
        char names[2][16];
        struct ps_key keys[2];
        snprintf(names[0], sizeof names[0], "t%u", (unsigned)ps_rng_below(&rng, 1000));
        snprintf(names[1], sizeof names[1], "t%u", (unsigned)ps_rng_below(&rng, 1000));
        for (int j = 0; j < 2; j++) {
            struct ps_key_scope in = scope;
            in.tenant = ps_str_from(names[j]);
            assert_int_equal(
                key_in_pieces(keyer, &in, PS_KEY_JSON, PS_STR("{\"a\":[1]}"), 99, &keys[j]), PS_OK);
        }
        assert_int_equal(ps_key_eq(&keys[0], &keys[1]), strcmp(names[0], names[1]) == 0);
    }
    ps_keyer_free(keyer);
}

static void numbers_have_one_form(void **state)
{
    (void)state;
    static const char *const forms[][2] = {
        {"0", "0"},           {"-0", "0"},
        {"0.0", "0"},         {"0e5", "0"},
        {"10", "1e1"},        {"-12.50", "-125e-1"},
        {"1E-7", "1e-7"},     {"123456789012345678901234567890", "12345678901234567890123456789e1"},
        {"0.000001", "1e-6"}, {"1e0005", "1e5"},
        {"100e-2", "1e0"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(forms); i++) {
        char out[PS_CANON_NUMBER_MAX + 32];
        size_t len = ps_canon_write_number(ps_str_from(forms[i][0]), out);
        assert_int_equal(len, strlen(forms[i][1]));
        assert_memory_equal(out, forms[i][1], len);
    }
    char digits[PS_CANON_NUMBER_MAX + 2];
    char out[PS_CANON_NUMBER_MAX + 32];
    memset(digits, '7', sizeof digits);
    assert_int_equal(ps_canon_write_number((struct ps_str){digits, PS_CANON_NUMBER_MAX}, out),
                     PS_CANON_NUMBER_MAX + 2);
    assert_int_equal(ps_canon_write_number((struct ps_str){digits, PS_CANON_NUMBER_MAX + 1}, out),
                     0);
}

static void hex_goes_both_ways(void **state)
{
    (void)state;
    struct ps_key key;
    struct ps_key back;
    char hex[2 * PS_KEY_BYTES + 1];
    for (unsigned i = 0; i < PS_KEY_BYTES; i++) {
        key.bytes[i] = (uint8_t)(i * 9);
    }
    ps_key_hex(&key, hex);
    assert_int_equal(ps_key_from_hex(ps_str_from(hex), &back), PS_OK);
    assert_true(ps_key_eq(&key, &back));
    hex[5] = 'g';
    assert_int_equal(ps_key_from_hex(ps_str_from(hex), &back), PS_EPARSE);
    assert_int_equal(ps_key_from_hex(PS_STR("00"), &back), PS_EPARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spelling_makes_no_difference),
        cmocka_unit_test(meaning_makes_a_difference),
        cmocka_unit_test(the_uncertain_has_no_key),
        cmocka_unit_test(reasons_are_told),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(long_values_are_told_apart),
        cmocka_unit_test(the_order_of_pieces_does_not_change),
        cmocka_unit_test(long_arrays_take_little_memory),
        cmocka_unit_test(long_arrays_are_told_apart),
        cmocka_unit_test(a_budget_ends_it),
        cmocka_unit_test(every_part_of_the_scope_counts),
        cmocka_unit_test(parts_do_not_run_into_each_other),
        cmocka_unit_test(tenants_share_only_when_told),
        cmocka_unit_test(the_spelling_of_json_does_not_count),
        cmocka_unit_test(the_memo_knows_repeats),
        cmocka_unit_test(the_memo_is_bounded_and_never_wrong),
        cmocka_unit_test(an_item_has_the_key_of_a_request_of_its_own),
        cmocka_unit_test(the_memo_knows_requests_for_one_item),
        cmocka_unit_test(a_list_of_items_has_the_key_of_its_request),
        cmocka_unit_test(token_ids_are_one_item),
        cmocka_unit_test(embeddings_without_a_clear_input_have_no_key),
        cmocka_unit_test(a_million_pairs_agree_with_their_meaning),
        cmocka_unit_test(no_tenant_meets_another),
        cmocka_unit_test(numbers_have_one_form),
        cmocka_unit_test(hex_goes_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

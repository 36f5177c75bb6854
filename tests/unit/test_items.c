/* items - requests are cut to what is missing, answers into pieces; together they are the whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"
#include "gateway/items.h"
#include "gateway/key.h"

#define USAGE(n) "\"usage\":{\"prompt_tokens\":" n ",\"total_tokens\":" n "}"
#define ITEM(index, vector) \
    "{\"object\":\"embedding\",\"index\":" index ",\"embedding\":" vector "}"
#define ANSWER(items, usage) "{\"object\":\"list\",\"data\":[" items "],\"model\":\"m\"," usage "}"

/* ---------------------------------------------------------------- helpers */

static struct ps_key meaning_of(struct ps_str json)
{
    /* Only objects have a key: a list gets a box. */
    struct ps_buf box = ps_buf_make(SIZE_MAX);
    struct ps_keyer *keyer = NULL;
    struct ps_key_job *job = NULL;
    struct ps_key_scope scope = {.any_tenant = true};
    struct ps_key key = {{0}};
    assert_int_equal(ps_buf_printf(&box, "{\"box\":%.*s}", PS_STR_ARG(json)), PS_OK);
    assert_int_equal(ps_keyer_new(&keyer, 0), PS_OK);
    assert_int_equal(ps_key_job_new(&job, keyer, &scope, PS_KEY_JSON, NULL), PS_OK);
    int err = ps_key_job_feed(job, ps_buf_str(&box));
    err = err != PS_OK ? err : ps_key_job_end(job, &key);
    if (err != PS_OK) {
        fail_msg("%s: %.*s", ps_key_job_reason(job), PS_STR_ARG(json));
    }
    ps_key_job_free(job);
    ps_keyer_free(keyer);
    ps_buf_fini(&box);
    return key;
}

static void assert_means(struct ps_str json, struct ps_str expected)
{
    struct ps_key left = meaning_of(json);
    struct ps_key right = meaning_of(expected);
    if (!ps_key_eq(&left, &right)) {
        fail_msg("%.*s\nis not\n%.*s", PS_STR_ARG(json), PS_STR_ARG(expected));
    }
}

/* The keys of a request's items. Returns how many; at most `max`. */
static size_t keys_of(struct ps_str body, enum ps_key_body kind, struct ps_key *keys, size_t max)
{
    struct ps_keyer *keyer = NULL;
    struct ps_key_job *job = NULL;
    struct ps_key_scope scope = {.any_tenant = true};
    struct ps_key whole;
    assert_int_equal(ps_keyer_new(&keyer, 0), PS_OK);
    assert_int_equal(ps_key_job_new(&job, keyer, &scope, kind, NULL), PS_OK);
    assert_int_equal(ps_key_job_feed(job, body), PS_OK);
    if (ps_key_job_end(job, &whole) != PS_OK) {
        fail_msg("%s: %.*s", ps_key_job_reason(job), PS_STR_ARG(body));
    }
    size_t n = ps_key_job_items(job);
    assert_true(n <= max);
    for (size_t i = 0; i < n; i++) {
        ps_key_job_item(job, i, &keys[i]);
    }
    ps_key_job_free(job);
    ps_keyer_free(keyer);
    return n;
}

static int read_ask(struct ps_items_ask **out, enum ps_items_form form, struct ps_str body,
                    struct ps_budget *budget)
{
    assert_int_equal(ps_items_ask_new(out, form, budget), PS_OK);
    int err = PS_OK;
    for (size_t at = 0; at < body.len && err == PS_OK; at += 7) {
        err = ps_items_ask_feed(*out, ps_str_first(ps_str_skip(body, at), 7));
    }
    return err != PS_OK ? err : ps_items_ask_end(*out);
}

static void assert_ask_refused(enum ps_items_form form, const char *body)
{
    struct ps_items_ask *ask = NULL;
    int err = read_ask(&ask, form, ps_str_from(body), NULL);
    if (err != PS_EPARSE) {
        fail_msg("%d: %s", err, body);
    }
    ps_items_ask_free(ask);
}

static void append_chunks(const struct ps_chunks *chunks, struct ps_buf *out)
{
    struct ps_str view;
    for (size_t at = 0; ps_chunks_peek(chunks, at, &view, 1) == 1; at += view.len) {
        assert_int_equal(ps_buf_append_str(out, view), PS_OK);
    }
}

/* The body that asks for these items, in `out`. */
static void write_ask(const struct ps_items_ask *ask, const uint32_t *wanted, size_t n,
                      struct ps_buf *out)
{
    struct ps_chunks chunks = ps_chunks_make(NULL);
    assert_int_equal(ps_items_ask_write(ask, wanted, n, &chunks), PS_OK);
    append_chunks(&chunks, out);
    ps_chunks_fini(&chunks);
}

static void assert_asks(enum ps_items_form form, const char *body, const uint32_t *wanted, size_t n,
                        const char *expected)
{
    struct ps_items_ask *ask = NULL;
    struct ps_buf out = ps_buf_make(SIZE_MAX);
    assert_int_equal(read_ask(&ask, form, ps_str_from(body), NULL), PS_OK);
    write_ask(ask, wanted, n, &out);
    if (!ps_str_eq(ps_buf_str(&out), ps_str_from(expected))) {
        fail_msg("%.*s\nis not\n%s", (int)out.len, out.data, expected);
    }
    ps_items_ask_free(ask);
    ps_buf_fini(&out);
}

/* Takes an answer apart, fed in odd pieces. */
static int split_answer(struct ps_items_split **out, enum ps_items_form form,
                        const uint32_t *weights, size_t count, struct ps_str answer)
{
    assert_int_equal(ps_items_split_new(out, form, weights, count, SIZE_MAX, NULL), PS_OK);
    for (size_t at = 0; at < answer.len; at += 1009) {
        struct ps_str part = ps_str_first(ps_str_skip(answer, at), 1009);
        assert_int_equal(ps_items_split_feed(*out, part), PS_OK);
    }
    return ps_items_split_end(*out);
}

static void assert_not_split(enum ps_items_form form, size_t count, const char *answer)
{
    struct ps_items_split *split = NULL;
    struct ps_buf out = ps_buf_make(SIZE_MAX);
    int err = split_answer(&split, form, NULL, count, ps_str_from(answer));
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = ps_items_split_piece(split, i, &out);
    }
    if (err != PS_EPARSE) {
        fail_msg("%d: %s", err, answer);
    }
    ps_items_split_free(split);
    ps_buf_fini(&out);
}

static void assert_piece(const struct ps_items_split *split, size_t i, const char *expected)
{
    struct ps_buf out = ps_buf_make(SIZE_MAX);
    assert_int_equal(ps_items_split_piece(split, i, &out), PS_OK);
    if (!ps_str_eq(ps_buf_str(&out), ps_str_from(expected))) {
        fail_msg("%.*s\nis not\n%s", (int)out.len, out.data, expected);
    }
    ps_buf_fini(&out);
}

static void write_join(struct ps_items_join *join, struct ps_buf *out)
{
    uint64_t length = 0;
    struct ps_str view;
    assert_int_equal(ps_items_join_end(join, &length), PS_OK);
    while (ps_items_join_next(join, &view)) {
        assert_int_equal(ps_buf_append_str(out, view), PS_OK);
    }
    assert_false(ps_items_join_next(join, &view));
    assert_int_equal(out->len, length);
}

static int join_pieces(enum ps_items_form form, const char *const *pieces, size_t count,
                       struct ps_buf *out)
{
    struct ps_items_join *join = NULL;
    int err = PS_OK;
    assert_int_equal(ps_items_join_new(&join, form, count), PS_OK);
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = ps_items_join_put(join, i, ps_str_from(pieces[i]));
    }
    if (err == PS_OK) {
        write_join(join, out);
    }
    ps_items_join_free(join);
    return err;
}

static void assert_joined(enum ps_items_form form, const char *const *pieces, size_t count,
                          const char *expected)
{
    struct ps_buf out = ps_buf_make(SIZE_MAX);
    assert_int_equal(join_pieces(form, pieces, count, &out), PS_OK);
    if (!ps_str_eq(ps_buf_str(&out), ps_str_from(expected))) {
        fail_msg("%.*s\nis not\n%s", (int)out.len, out.data, expected);
    }
    ps_buf_fini(&out);
}

static void assert_not_joined(const char *a, const char *b)
{
    const char *pieces[] = {a, b};
    struct ps_buf out = ps_buf_make(SIZE_MAX);
    int err = join_pieces(PS_ITEMS_OPENAI, pieces, 2, &out);
    if (err != PS_EPARSE) {
        fail_msg("%d: %s\n%s", err, a, b);
    }
    ps_buf_fini(&out);
}

/* ---------------------------------------------------------------- requests */

static void a_request_asks_for_what_is_missing(void **state)
{
    (void)state;
    const uint32_t two[] = {0, 2};
    const uint32_t last[] = {2};
    const char *body =
        " {\"model\": \"m\", \"input\" : [ \"a\\\"],\" , \"b\" ,\"c\"\n] ,\"user\": 1e0}\n";
    assert_asks(PS_ITEMS_OPENAI, body, two, 2,
                " {\"model\": \"m\", \"input\" : [\"a\\\"],\",\"c\"] ,\"user\": 1e0}\n");
    assert_asks(PS_ITEMS_OPENAI, body, last, 1,
                " {\"model\": \"m\", \"input\" : [\"c\"] ,\"user\": 1e0}\n");
    assert_asks(PS_ITEMS_OPENAI, "{\"input\":[[1,2],[3],[ 4 ,5]]}", two, 2,
                "{\"input\":[[1,2],[ 4 ,5]]}");
    assert_asks(PS_ITEMS_TEI, "{\"inputs\":[\"a\",\"b\",\"c\"],\"truncate\":true}", last, 1,
                "{\"inputs\":[\"c\"],\"truncate\":true}");
}

static void what_is_no_list_of_items_is_left_alone(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"input\":\"a\"}",
        "{\"input\":[1,2,3]}",
        "{\"input\":[]}",
        "{\"input\":{}}",
        "{\"input\":[{\"text\":\"a\"}]}",
        "{\"input\":[\"a\",1]}",
        "{\"input\":null}",
        "{\"inputs\":[\"a\"]}",
        "{\"input\":[\"a\"],\"input\":[\"b\"]}",
        "{\"input\":[\"a\"],\"\\u0069nput\":[\"b\"]}",
        "{\"model\":\"input\",\"x\":{\"input\":[\"a\"]}}",
        "[\"a\"]",
        "\"a\"",
        "",
        "{",
        "{\"input\":[",
        "{\"input\"",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(bodies); i++) {
        assert_ask_refused(PS_ITEMS_OPENAI, bodies[i]);
    }
    assert_ask_refused(PS_ITEMS_TEI, "{\"input\":[\"a\"]}");
}

static void items_weigh_by_bytes_or_numbers(void **state)
{
    (void)state;
    struct ps_items_ask *ask = NULL;
    struct ps_str body = PS_STR("{\"input\":[\"four\",\"\",[7],[7, 8,9]]}");
    assert_int_equal(read_ask(&ask, PS_ITEMS_OPENAI, body, NULL), PS_OK);
    assert_int_equal(ps_items_ask_count(ask), 4);
    assert_int_equal(ps_items_ask_weight(ask, 0), 4);
    assert_int_equal(ps_items_ask_weight(ask, 1), 1);
    assert_int_equal(ps_items_ask_weight(ask, 2), 1);
    assert_int_equal(ps_items_ask_weight(ask, 3), 3);
    assert_true(ps_str_eq(ps_items_ask_body(ask), body));
    assert_true(ps_str_eq(ps_items_ask_item(ask, 3), PS_STR("[7, 8,9]")));
    assert_true(ps_str_eq(ps_items_ask_head(ask), PS_STR("{\"input\":[")));
    assert_true(ps_str_eq(ps_items_ask_tail(ask), PS_STR("]}")));
    ps_items_ask_free(ask);
}

static void append_texts(struct ps_buf *body, size_t n)
{
    assert_int_equal(ps_buf_append_str(body, PS_STR("{\"input\":[\"x\"")), PS_OK);
    for (size_t i = 1; i < n; i++) {
        assert_int_equal(ps_buf_append_str(body, PS_STR(",\"x\"")), PS_OK);
    }
    assert_int_equal(ps_buf_append_str(body, PS_STR("]}")), PS_OK);
}

static void requests_are_bounded(void **state)
{
    (void)state;
    struct ps_buf body = ps_buf_make(SIZE_MAX);
    struct ps_items_ask *ask = NULL;
    struct ps_budget budget = {.limit = 64 << 10};
    append_texts(&body, PS_ITEMS_MAX);
    assert_int_equal(read_ask(&ask, PS_ITEMS_OPENAI, ps_buf_str(&body), NULL), PS_OK);
    assert_int_equal(ps_items_ask_count(ask), PS_ITEMS_MAX);
    ps_items_ask_free(ask);
    assert_int_equal(read_ask(&ask, PS_ITEMS_OPENAI, ps_buf_str(&body), &budget), PS_ELIMIT);
    ps_items_ask_free(ask);
    assert_int_equal(budget.used, 0);
    ps_buf_clear(&body);
    append_texts(&body, PS_ITEMS_MAX + 1);
    assert_int_equal(read_ask(&ask, PS_ITEMS_OPENAI, ps_buf_str(&body), NULL), PS_ELIMIT);
    ps_items_ask_free(ask);
    ps_buf_fini(&body);
}

static void append_random_text(struct ps_rng *rng, struct ps_buf *out)
{
    static const char *const parts[] = {"a",    "]", "\\\"",    "{", ",",
                                        "\\\\", " ", "\\u00e4", "[", "}"};
    assert_int_equal(ps_buf_append_str(out, PS_STR("\"")), PS_OK);
    for (uint64_t n = ps_rng_below(rng, 150); n > 0; n--) {
        const char *part = parts[ps_rng_below(rng, PS_ARRAY_LEN(parts))];
        assert_int_equal(ps_buf_append_str(out, ps_str_from(part)), PS_OK);
    }
    assert_int_equal(ps_buf_append_str(out, PS_STR("\"")), PS_OK);
}

static void append_random_ids(struct ps_rng *rng, struct ps_buf *out)
{
    assert_int_equal(ps_buf_append_str(out, PS_STR("[0")), PS_OK);
    for (uint64_t n = ps_rng_below(rng, 30); n > 0; n--) {
        unsigned id = (unsigned)ps_rng_below(rng, 50000);
        assert_int_equal(ps_buf_printf(out, "%s%u", n % 3 == 0 ? " , " : ",", id), PS_OK);
    }
    assert_int_equal(ps_buf_append_str(out, PS_STR("]")), PS_OK);
}

enum { SOME = 24 };

static void write_random_request(struct ps_rng *rng, size_t n, struct ps_buf *out)
{
    bool first = ps_rng_below(rng, 2) == 0;
    assert_int_equal(ps_buf_append_str(out, PS_STR("{")), PS_OK);
    if (first) {
        assert_int_equal(ps_buf_append_str(out, PS_STR("\"x\":{\"input\":[1]},")), PS_OK);
    }
    assert_int_equal(ps_buf_append_str(out, PS_STR("\"input\" :[")), PS_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(ps_buf_append_str(out, i == 0 ? PS_STR(" ") : PS_STR(", ")), PS_OK);
        if (ps_rng_below(rng, 2) == 0) {
            append_random_ids(rng, out);
        } else {
            append_random_text(rng, out);
        }
    }
    assert_int_equal(ps_buf_append_str(out, PS_STR("],\"dimensions\":8.0}")), PS_OK);
}

static size_t choose(struct ps_rng *rng, size_t n, uint32_t *wanted)
{
    size_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (ps_rng_below(rng, 3) == 0) {
            wanted[count++] = i;
        }
    }
    if (count == 0) {
        wanted[count++] = (uint32_t)(n - 1);
    }
    return count;
}

static void items_keep_their_keys(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(5);
    for (unsigned round = 0; round < 200; round++) {
        struct ps_buf body = ps_buf_make(SIZE_MAX);
        struct ps_buf part = ps_buf_make(SIZE_MAX);
        struct ps_items_ask *ask = NULL;
        struct ps_key all[SOME];
        struct ps_key some[SOME];
        uint32_t wanted[SOME];
        size_t n = 1 + (size_t)ps_rng_below(&rng, SOME);
        write_random_request(&rng, n, &body);
        assert_int_equal(read_ask(&ask, PS_ITEMS_OPENAI, ps_buf_str(&body), NULL), PS_OK);
        assert_int_equal(ps_items_ask_count(ask), n);
        assert_int_equal(keys_of(ps_buf_str(&body), PS_KEY_EMBEDDINGS, all, SOME), n);
        size_t count = choose(&rng, n, wanted);
        write_ask(ask, wanted, count, &part);
        assert_int_equal(keys_of(ps_buf_str(&part), PS_KEY_EMBEDDINGS, some, SOME), count);
        for (size_t i = 0; i < count; i++) {
            assert_true(ps_key_eq(&some[i], &all[wanted[i]]));
        }
        ps_items_ask_free(ask);
        ps_buf_fini(&body);
        ps_buf_fini(&part);
    }
}

static void inputs_have_keys_of_their_own(void **state)
{
    (void)state;
    struct ps_key keys[2];
    struct ps_key one;
    struct ps_str both = PS_STR("{\"inputs\":[\"a\",\"b\"],\"truncate\":true}");
    struct ps_str alone = PS_STR("{\"truncate\":true,\"inputs\":\"b\"}");
    assert_int_equal(keys_of(both, PS_KEY_EMBED, keys, 2), 2);
    assert_int_equal(keys_of(alone, PS_KEY_EMBED, &one, 1), 1);
    assert_true(ps_key_eq(&keys[1], &one));
    assert_false(ps_key_eq(&keys[0], &one));
}

static void twins_are_found(void **state)
{
    (void)state;
    struct ps_key keys[200] = {{{0}}};
    uint32_t first[200];
    struct ps_rng rng = ps_rng_make(6);
    for (size_t i = 0; i < PS_ARRAY_LEN(keys); i++) {
        keys[i].bytes[31] = (uint8_t)ps_rng_below(&rng, 90);
    }
    assert_int_equal(ps_items_find_twins(keys, PS_ARRAY_LEN(keys), first), PS_OK);
    for (size_t i = 0; i < PS_ARRAY_LEN(keys); i++) {
        size_t expected = 0;
        while (!ps_key_eq(&keys[expected], &keys[i])) {
            expected++;
        }
        assert_int_equal(first[i], expected);
    }
    assert_int_equal(ps_items_find_twins(keys, 0, first), PS_OK);
}

static void calls_have_forms(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum ps_items_form form;
    } calls[] = {
        {"/v1/embeddings", PS_ITEMS_OPENAI}, {"/embed", PS_ITEMS_TEI},
        {"/embed_all", PS_ITEMS_TEI},        {"/embed_sparse", PS_ITEMS_TEI},
        {"/api/embed", PS_ITEMS_NONE},       {"/rerank", PS_ITEMS_NONE},
        {"/pooling", PS_ITEMS_NONE},         {"/v1/chat/completions", PS_ITEMS_NONE},
        {"/encode", PS_ITEMS_NONE},          {"/nothing", PS_ITEMS_NONE},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(calls); i++) {
        const struct ps_operation *operation = ps_dialect_find(ps_str_from(calls[i].path));
        assert_int_equal(ps_items_form_of(operation), calls[i].form);
    }
    assert_int_equal(ps_items_form_of(ps_dialect_openai(PS_STR("/a/embeddings"))), PS_ITEMS_OPENAI);
}

/* ---------------------------------------------------------------- answers */

static void an_answer_becomes_pieces(void **state)
{
    (void)state;
    struct ps_items_split *split = NULL;
    const uint32_t weights[] = {10, 20};
    uint64_t tokens = 0;
    struct ps_str answer =
        PS_STR(ANSWER(ITEM("0", "[0.10,-1e-7]") " ,\n" ITEM("1", "[2,3]"), USAGE("9")));
    assert_int_equal(split_answer(&split, PS_ITEMS_OPENAI, weights, 2, answer), PS_OK);
    assert_piece(split, 0, ANSWER(ITEM("0", "[0.10,-1e-7]"), USAGE("3")));
    assert_piece(split, 1, ANSWER(ITEM("0", "[2,3]"), USAGE("6")));
    assert_true(ps_items_split_tokens(split, &tokens));
    assert_int_equal(tokens, 9);
    ps_items_split_free(split);
}

static void items_may_come_in_any_order(void **state)
{
    (void)state;
    struct ps_items_split *split = NULL;
    struct ps_str answer = PS_STR("{\"usage\":null,\"data\":[" ITEM("2", "\"AAB/+w==\"") "," ITEM(
        "0", "[1]") "," ITEM("1", "[]") "]}");
    assert_int_equal(split_answer(&split, PS_ITEMS_OPENAI, NULL, 3, answer), PS_OK);
    assert_piece(split, 0, "{\"usage\":null,\"data\":[" ITEM("0", "[1]") "]}");
    assert_piece(split, 1, "{\"usage\":null,\"data\":[" ITEM("0", "[]") "]}");
    assert_piece(split, 2, "{\"usage\":null,\"data\":[" ITEM("0", "\"AAB/+w==\"") "]}");
    assert_false(ps_items_split_tokens(split, &(uint64_t){0}));
    ps_items_split_free(split);
}

static void one_item_is_its_own_piece(void **state)
{
    (void)state;
    struct ps_items_split *split = NULL;
    const char *answer = "{ \"id\" : \"e-1\", \"created\": 7,\"data\": [" ITEM(
        "0", "[ 1 , 2.50 ]") "]"
                             ", \"usage\": {\"prompt_tokens\": 4, \"details\": {\"cached\": 2}, "
                             "\"none\": null}, \"odd\": [1.5]}";
    assert_int_equal(split_answer(&split, PS_ITEMS_OPENAI, NULL, 1, ps_str_from(answer)), PS_OK);
    assert_piece(split, 0, answer);
    ps_items_split_free(split);
}

static void tei_answers_are_bare_lists(void **state)
{
    (void)state;
    struct ps_items_split *split = NULL;
    const char *pieces[] = {"[[1, 2]]", "[[3]]", "[ [1, 2] ]"};
    assert_int_equal(split_answer(&split, PS_ITEMS_TEI, NULL, 2, PS_STR("[[1, 2],[3]]")), PS_OK);
    assert_piece(split, 0, pieces[0]);
    assert_piece(split, 1, pieces[1]);
    ps_items_split_free(split);
    assert_joined(PS_ITEMS_TEI, pieces, 3, "[[1, 2],[3],[1, 2]]");
    assert_not_split(PS_ITEMS_TEI, 2, "[[1]]");
    assert_not_split(PS_ITEMS_TEI, 2, "[[1],[2],[3]]");
    assert_not_split(PS_ITEMS_TEI, 2, "[[1],[2]");
    assert_not_split(PS_ITEMS_TEI, 2, "[[1],,[2]]");
    assert_not_split(PS_ITEMS_TEI, 2, "[[1],[2]] x");
    assert_not_split(PS_ITEMS_TEI, 2, "{\"error\":\"too long\"}");
}

static void answers_that_are_not_certain_stay_whole(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "",
        "{}",
        "[]",
        "null",
        "{\"data\":null}",
        "{\"data\":{}}",
        "{\"object\":\"error\",\"message\":\"too long\"}",
        ANSWER("", USAGE("2")),
        ANSWER(ITEM("0", "[1]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("0", "[2]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("2", "[2]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("-1", "[2]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1.0", "[2]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("01", "[2]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("\"1\"", "[2]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "null"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") ",{\"embedding\":[1]}", USAGE("2")),
        ANSWER(ITEM("0", "[1]") ",{\"index\":1,\"index\":1,\"embedding\":[1]}", USAGE("2")),
        ANSWER(ITEM("0", "[1]") ",{\"index\":1,\"embedding\":[1],\"error\":\"x\"}", USAGE("2")),
        ANSWER(ITEM("0", "[1]") ",{\"index\":1,\"embedding\":[1],\"\\u0069ndex\":2}", USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]") "," ITEM("2", "[2]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]") ",", USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]") ",{}", USAGE("2")),
        ANSWER("," ITEM("0", "[1]") "," ITEM("1", "[2]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") ITEM("1", "[2]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") ",7", USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[NaN]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[1,]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[.5]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[1.]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[1e]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[01]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[1 2]"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2].5"), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "\"a\nb\""), USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]"), USAGE("2.5")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]"), USAGE("-2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]"), USAGE("9007199254740993")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]"), "\"usage\":{\"by\":[1,1]}"),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]"), USAGE("2") "," USAGE("2")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]"), "\"data\":[]"),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]"), "\"d\\u0061ta\":[]"),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]"), "\"id\":{}"),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]"), "\"odd\":nil"),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[2]"), USAGE("2")) " {}",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(answers); i++) {
        assert_not_split(PS_ITEMS_OPENAI, 2, answers[i]);
    }
}

static void every_cut_answer_stays_whole(void **state)
{
    (void)state;
    struct ps_str answer =
        PS_STR(ANSWER(ITEM("0", "[1.5,2]") "," ITEM("1", "\"AAAA\""), USAGE("2")));
    for (size_t len = 0; len < answer.len; len++) {
        struct ps_items_split *split = NULL;
        struct ps_str cut = ps_str_first(answer, len);
        assert_int_equal(split_answer(&split, PS_ITEMS_OPENAI, NULL, 2, cut), PS_EPARSE);
        ps_items_split_free(split);
    }
}

static void answers_are_bounded(void **state)
{
    (void)state;
    struct ps_items_split *split = NULL;
    struct ps_budget budget = {.limit = 100};
    char text[101];
    memset(text, ' ', sizeof text);
    struct ps_str bytes = {text, sizeof text};
    assert_int_equal(ps_items_split_new(&split, PS_ITEMS_OPENAI, NULL, 1, 200, NULL), PS_OK);
    assert_int_equal(ps_items_split_feed(split, bytes), PS_OK);
    assert_int_equal(ps_items_split_feed(split, bytes), PS_ELIMIT);
    assert_int_equal(ps_items_split_feed(split, PS_STR("x")), PS_ELIMIT);
    assert_int_equal(ps_items_split_end(split), PS_ELIMIT);
    ps_items_split_free(split);
    assert_int_equal(ps_items_split_new(&split, PS_ITEMS_OPENAI, NULL, 1, 200, &budget), PS_OK);
    assert_int_equal(ps_items_split_feed(split, bytes), PS_ELIMIT);
    assert_int_equal(budget.used, 0);
    ps_items_split_free(split);
}

static void a_frame_has_its_bound(void **state)
{
    (void)state;
    struct ps_buf answer = ps_buf_make(SIZE_MAX);
    assert_int_equal(
        ps_buf_append_str(&answer, PS_STR("{\"data\":[" ITEM("0", "[1]") "],\"x\":\"")), PS_OK);
    for (unsigned i = 0; i < PS_ITEMS_FRAME_MAX; i++) {
        assert_int_equal(ps_buf_append_str(&answer, PS_STR("x")), PS_OK);
    }
    assert_int_equal(ps_buf_append(&answer, "\"}", 3), PS_OK);
    assert_not_split(PS_ITEMS_OPENAI, 1, answer.data);
    ps_buf_fini(&answer);
}

/* ---------------------------------------------------------------- shares */

static struct ps_items_split *split_of(const uint32_t *weights, size_t count)
{
    struct ps_items_split *split = NULL;
    assert_int_equal(ps_items_split_new(&split, PS_ITEMS_TEI, weights, count, SIZE_MAX, NULL),
                     PS_OK);
    return split;
}

static void shares_add_up(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(7);
    for (unsigned round = 0; round < 300; round++) {
        uint32_t weights[50];
        size_t count = 1 + (size_t)ps_rng_below(&rng, PS_ARRAY_LEN(weights));
        for (size_t i = 0; i < count; i++) {
            weights[i] = (uint32_t)(ps_rng_next(&rng) >> (32 + ps_rng_below(&rng, 31)));
        }
        uint64_t total = ps_rng_next(&rng) >> (11 + ps_rng_below(&rng, 53));
        struct ps_items_split *split = split_of(weights, count);
        uint64_t sum = 0;
        for (size_t i = 0; i < count; i++) {
            uint64_t share = ps_items_split_share(split, total, i);
            assert_true(total < count || share >= 1);
            sum += share;
        }
        assert_int_equal(sum, total);
        ps_items_split_free(split);
    }
}

static void shares_of_token_ids_are_exact(void **state)
{
    (void)state;
    const uint32_t weights[] = {3, 1, 17, 1, 2000, 64};
    struct ps_items_split *split = split_of(weights, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(ps_items_split_share(split, 2086, i), weights[i]);
    }
    ps_items_split_free(split);
}

static void equal_items_share_equally(void **state)
{
    (void)state;
    struct ps_items_split *split = split_of(NULL, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ps_items_split_share(split, 20, i), 5);
        assert_int_equal(ps_items_split_share(split, 0, i), 0);
    }
    ps_items_split_free(split);
}

/* ---------------------------------------------------------------- pieces */

static void pieces_become_an_answer(void **state)
{
    (void)state;
    const char *pieces[] = {
        ANSWER(ITEM("0", "[1.50]"), USAGE("3")),
        ANSWER(" {\"embedding\":[2] , \"index\" : 0} ", USAGE("10")),
        ANSWER(ITEM("0", "\"AA==\""), USAGE("96")),
    };
    assert_joined(
        PS_ITEMS_OPENAI, pieces, 3,
        ANSWER(ITEM("0", "[1.50]") ",{\"embedding\":[2] , \"index\" : 1}," ITEM("2", "\"AA==\""),
               USAGE("109")));
}

static void twins_share_a_piece(void **state)
{
    (void)state;
    const char *one = ANSWER(ITEM("0", "[1]"), USAGE("3"));
    const char *pieces[] = {one, one};
    assert_joined(PS_ITEMS_OPENAI, pieces, 2,
                  ANSWER(ITEM("0", "[1]") "," ITEM("1", "[1]"), USAGE("6")));
}

static void an_answer_is_named_after_the_first_piece(void **state)
{
    (void)state;
    struct ps_items_join *join = NULL;
    struct ps_buf out = ps_buf_make(SIZE_MAX);
    const char *a = "{\"id\":\"a\",\"data\":[" ITEM("0", "[1]") "],\"created\":1}";
    const char *b = "{\"id\":null,\"data\":[" ITEM("0", "[2]") "],\"created\":22}";
    assert_int_equal(ps_items_join_new(&join, PS_ITEMS_OPENAI, 2), PS_OK);
    assert_int_equal(ps_items_join_put(join, 1, ps_str_from(b)), PS_OK);
    assert_int_equal(ps_items_join_put(join, 0, ps_str_from(a)), PS_OK);
    write_join(join, &out);
    assert_true(
        ps_str_eq(ps_buf_str(&out), PS_STR("{\"id\":null,\"data\":[" ITEM("0", "[1]") "," ITEM(
                                        "1", "[2]") "],\"created\":22}")));
    ps_items_join_free(join);
    ps_buf_fini(&out);
}

static void what_does_not_belong_together_is_refused(void **state)
{
    (void)state;
    const char *piece = ANSWER(ITEM("0", "[1]"), USAGE("3"));
    static const char *const others[] = {
        "{\"object\":\"list\",\"data\":[" ITEM("0", "[1]") "],\"model\":\"n\"," USAGE("3") "}",
        "{\"object\":\"list\",\"data\":[" ITEM("0", "[1]") "],\"model\":\"m\"}",
        "{\"object\":\"list\",\"data\":[" ITEM("0", "[1]") "],\"model\":\"m\",\"usage\":null}",
        ANSWER(ITEM("0", "[1]"), "\"usage\":{\"prompt_tokens\":3}"),
        ANSWER(ITEM("0", "[1]"), USAGE("3") ",\"new\":1"),
        ANSWER(ITEM("0", "[1]"), USAGE("\"3\"")),
        ANSWER(ITEM("0", "[1]"), "\"usage\":{\"total_tokens\":3,\"prompt_tokens\":3}"),
        ANSWER(ITEM("1", "[1]"), USAGE("3")),
        ANSWER(ITEM("0", "[1]") "," ITEM("1", "[1]"), USAGE("3")),
        ANSWER("", USAGE("3")),
        "[[1]]",
        "",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(others); i++) {
        assert_not_joined(piece, others[i]);
        assert_not_joined(others[i], piece);
    }
    const char *much = ANSWER(ITEM("0", "[1]"), USAGE("9007199254740992"));
    assert_not_joined(much, much);
}

/* ---------------------------------------------------------------- everything together */

/* What a server answers to these items of a request: everything of an item depends on its text. */
static void write_answer(const struct ps_items_ask *ask, const uint32_t *wanted, size_t n,
                         unsigned id, bool reverse, struct ps_buf *out)
{
    uint64_t tokens = 0;
    assert_int_equal(ps_buf_printf(out, "{\"id\":\"e%u\",\"object\":\"list\",\"data\":[", id),
                     PS_OK);
    for (size_t k = 0; k < n; k++) {
        size_t i = reverse ? n - 1 - k : k;
        uint64_t hash = ps_str_hash(ps_items_ask_item(ask, wanted[i]), 1);
        tokens += ps_items_ask_weight(ask, wanted[i]);
        assert_int_equal(
            ps_buf_printf(
                out, "%s{\"object\":\"embedding\",\"embedding\":[0.%llu,-%u.0e-3],\"index\":%zu}",
                k == 0 ? "" : ", ", (unsigned long long)hash, (unsigned)(hash % 997), i),
            PS_OK);
    }
    assert_int_equal(
        ps_buf_printf(out,
                      "],\"model\":\"m\",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu,"
                      "\"prompt_tokens_details\":null,\"completion_tokens\":0}}",
                      (unsigned long long)tokens, (unsigned long long)tokens),
        PS_OK);
}

/* Asks for the items of one lot and keeps their pieces. */
static void ask_lot(const struct ps_items_ask *ask, const uint32_t *wanted, size_t n, bool reverse,
                    struct ps_buf *pieces)
{
    struct ps_buf answer = ps_buf_make(SIZE_MAX);
    struct ps_items_split *split = NULL;
    uint32_t weights[SOME];
    for (size_t i = 0; i < n; i++) {
        weights[i] = ps_items_ask_weight(ask, wanted[i]);
    }
    write_answer(ask, wanted, n, 1 + wanted[0], reverse, &answer);
    assert_int_equal(split_answer(&split, PS_ITEMS_OPENAI, weights, n, ps_buf_str(&answer)), PS_OK);
    for (size_t i = 0; i < n; i++) {
        pieces[wanted[i]] = ps_buf_make(SIZE_MAX);
        assert_int_equal(ps_items_split_piece(split, i, &pieces[wanted[i]]), PS_OK);
    }
    ps_items_split_free(split);
    ps_buf_fini(&answer);
}

/* Deals the items into lots at random and asks for each lot apart. */
static void ask_in_lots(struct ps_rng *rng, const struct ps_items_ask *ask, struct ps_buf *pieces)
{
    size_t n = ps_items_ask_count(ask);
    size_t lots = 1 + (size_t)ps_rng_below(rng, 5);
    size_t lot_of[SOME];
    for (size_t i = 0; i < n; i++) {
        lot_of[i] = (size_t)ps_rng_below(rng, lots);
    }
    for (size_t lot = 0; lot < lots; lot++) {
        uint32_t wanted[SOME];
        size_t count = 0;
        for (uint32_t i = 0; i < n; i++) {
            if (lot_of[i] == lot) {
                wanted[count++] = i;
            }
        }
        if (count > 0) {
            ask_lot(ask, wanted, count, ps_rng_below(rng, 2) == 0, pieces);
        }
    }
}

static void assert_pieces_are(struct ps_buf *pieces, size_t n, struct ps_str expected)
{
    struct ps_items_join *join = NULL;
    struct ps_buf out = ps_buf_make(SIZE_MAX);
    assert_int_equal(ps_items_join_new(&join, PS_ITEMS_OPENAI, n), PS_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(ps_items_join_put(join, i, ps_buf_str(&pieces[i])), PS_OK);
    }
    write_join(join, &out);
    /* The names of the two answers differ. */
    struct ps_str joined = ps_str_skip(ps_buf_str(&out), ps_str_find(ps_buf_str(&out), ','));
    expected = ps_str_skip(expected, ps_str_find(expected, ','));
    struct ps_buf left = ps_buf_make(SIZE_MAX);
    struct ps_buf right = ps_buf_make(SIZE_MAX);
    assert_int_equal(ps_buf_printf(&left, "{\"id\":0%.*s", PS_STR_ARG(joined)), PS_OK);
    assert_int_equal(ps_buf_printf(&right, "{\"id\":0%.*s", PS_STR_ARG(expected)), PS_OK);
    assert_means(ps_buf_str(&left), ps_buf_str(&right));
    ps_items_join_free(join);
    ps_buf_fini(&out);
    ps_buf_fini(&left);
    ps_buf_fini(&right);
}

/* However a request is dealt out, the answer is what a server would give for the whole; with token
 * ids to the last token. */
static void lots_are_the_whole(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(8);
    for (unsigned round = 0; round < 300; round++) {
        struct ps_buf body = ps_buf_make(SIZE_MAX);
        struct ps_buf whole = ps_buf_make(SIZE_MAX);
        struct ps_buf pieces[SOME];
        struct ps_items_ask *ask = NULL;
        uint32_t all[SOME];
        size_t n = 1 + (size_t)ps_rng_below(&rng, SOME);
        write_random_request(&rng, n, &body);
        assert_int_equal(read_ask(&ask, PS_ITEMS_OPENAI, ps_buf_str(&body), NULL), PS_OK);
        for (uint32_t i = 0; i < n; i++) {
            all[i] = i;
        }
        write_answer(ask, all, n, 0, false, &whole);
        ask_in_lots(&rng, ask, pieces);
        assert_pieces_are(pieces, n, ps_buf_str(&whole));
        for (size_t i = 0; i < n; i++) {
            ps_buf_fini(&pieces[i]);
        }
        ps_items_ask_free(ask);
        ps_buf_fini(&body);
        ps_buf_fini(&whole);
    }
}

static void append_vector(struct ps_rng *rng, size_t numbers, struct ps_buf *out)
{
    for (size_t i = 0; i < numbers; i++) {
        double number = ps_rng_unit(rng) - 0.5;
        assert_int_equal(ps_buf_printf(out, "%s%.17g", i == 0 ? "" : ",", number), PS_OK);
    }
}

static void large_answers_survive(void **state)
{
    (void)state;
    enum { ITEMS = 300, NUMBERS = 384 };
    struct ps_rng rng = ps_rng_make(9);
    struct ps_buf answer = ps_buf_make(SIZE_MAX);
    struct ps_buf joined = ps_buf_make(SIZE_MAX);
    struct ps_items_split *split = NULL;
    struct ps_items_join *join = NULL;
    static struct ps_buf pieces[ITEMS];
    assert_int_equal(ps_buf_append_str(&answer, PS_STR("{\"data\":[")), PS_OK);
    for (size_t i = 0; i < ITEMS; i++) {
        assert_int_equal(
            ps_buf_printf(&answer, "%s{\"index\":%zu,\"embedding\":[", i == 0 ? "" : ",", i),
            PS_OK);
        append_vector(&rng, NUMBERS, &answer);
        assert_int_equal(ps_buf_append_str(&answer, PS_STR("]}")), PS_OK);
    }
    assert_int_equal(ps_buf_append_str(&answer, PS_STR("],\"usage\":{\"prompt_tokens\":123456}}")),
                     PS_OK);
    assert_int_equal(split_answer(&split, PS_ITEMS_OPENAI, NULL, ITEMS, ps_buf_str(&answer)),
                     PS_OK);
    assert_int_equal(ps_items_join_new(&join, PS_ITEMS_OPENAI, ITEMS), PS_OK);
    for (size_t i = 0; i < ITEMS; i++) {
        pieces[i] = ps_buf_make(SIZE_MAX);
        assert_int_equal(ps_items_split_piece(split, i, &pieces[i]), PS_OK);
        assert_int_equal(ps_items_join_put(join, i, ps_buf_str(&pieces[i])), PS_OK);
    }
    write_join(join, &joined);
    assert_true(ps_str_eq(ps_buf_str(&joined), ps_buf_str(&answer)));
    ps_items_split_free(split);
    ps_items_join_free(join);
    for (size_t i = 0; i < ITEMS; i++) {
        ps_buf_fini(&pieces[i]);
    }
    ps_buf_fini(&answer);
    ps_buf_fini(&joined);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_asks_for_what_is_missing),
        cmocka_unit_test(what_is_no_list_of_items_is_left_alone),
        cmocka_unit_test(items_weigh_by_bytes_or_numbers),
        cmocka_unit_test(requests_are_bounded),
        cmocka_unit_test(items_keep_their_keys),
        cmocka_unit_test(inputs_have_keys_of_their_own),
        cmocka_unit_test(twins_are_found),
        cmocka_unit_test(calls_have_forms),
        cmocka_unit_test(an_answer_becomes_pieces),
        cmocka_unit_test(items_may_come_in_any_order),
        cmocka_unit_test(one_item_is_its_own_piece),
        cmocka_unit_test(tei_answers_are_bare_lists),
        cmocka_unit_test(answers_that_are_not_certain_stay_whole),
        cmocka_unit_test(every_cut_answer_stays_whole),
        cmocka_unit_test(answers_are_bounded),
        cmocka_unit_test(a_frame_has_its_bound),
        cmocka_unit_test(shares_add_up),
        cmocka_unit_test(shares_of_token_ids_are_exact),
        cmocka_unit_test(equal_items_share_equally),
        cmocka_unit_test(pieces_become_an_answer),
        cmocka_unit_test(twins_share_a_piece),
        cmocka_unit_test(an_answer_is_named_after_the_first_piece),
        cmocka_unit_test(what_does_not_belong_together_is_refused),
        cmocka_unit_test(lots_are_the_whole),
        cmocka_unit_test(large_answers_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

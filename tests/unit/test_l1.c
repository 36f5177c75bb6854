/* l1 - references, time, room, policies, purges, and all of it from several threads. */
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
#include "gateway/l1.h"
#include "gateway/sketch.h"

#define START ((ps_time)1700000000 * PS_SECOND)

static struct ps_l1_opts opts_of(int policy, uint64_t size)
{
    struct ps_l1_opts opts;
    assert_int_equal(ps_option_init(ps_l1_options, &opts), PS_OK);
    opts.size = size;
    opts.shards = 1;
    opts.policy = policy;
    opts.mean_entry = 1024;
    return opts;
}

static struct ps_l1 *cache_of(int policy, uint64_t size)
{
    struct ps_l1_opts opts = opts_of(policy, size);
    struct ps_l1 *cache = NULL;
    assert_int_equal(ps_l1_new(&cache, &opts), PS_OK);
    return cache;
}

static struct ps_key key_of(uint64_t number)
{
    struct ps_rng rng = ps_rng_make(number);
    struct ps_key key;
    for (size_t i = 0; i < sizeof key.bytes; i += sizeof(uint64_t)) {
        uint64_t bits = ps_rng_next(&rng);
        memcpy(key.bytes + i, &bits, sizeof bits);
    }
    return key;
}

static const struct ps_str tags[] = {PS_STR_INIT("faq"), PS_STR_INIT("de")};

static struct ps_entry_spec spec_of(struct ps_str body)
{
    return (struct ps_entry_spec){
        .status = 200,
        .kind = PS_ENTRY_JSON,
        .head = PS_STR("Content-Type: application/json\r\n"),
        .body = body,
        .route = PS_STR("chat"),
        .model = PS_STR("meta/llama-3"),
        .tenant = PS_STR("acme"),
        .tags = tags,
        .tags_count = PS_ARRAY_LEN(tags),
        .born = START - PS_SECOND,
        .stored = START,
        .fresh = 10 * PS_SECOND,
        .while_revalidate = 5 * PS_SECOND,
        .if_error = 20 * PS_SECOND,
        .seconds = 1.5,
        .prompt_tokens = 3,
        .completion_tokens = UINT64_MAX,
    };
}

static struct ps_entry *entry_of(const struct ps_entry_spec *spec)
{
    struct ps_entry *entry = NULL;
    assert_int_equal(ps_entry_new(&entry, spec), PS_OK);
    return entry;
}

static int put_spec(struct ps_l1 *cache, uint64_t number, const struct ps_entry_spec *spec)
{
    struct ps_key key = key_of(number);
    struct ps_entry *entry = entry_of(spec);
    int err = ps_l1_put(cache, &key, entry);
    ps_entry_unref(entry);
    return err;
}

static int put(struct ps_l1 *cache, uint64_t number, struct ps_str body)
{
    struct ps_entry_spec spec = spec_of(body);
    return put_spec(cache, number, &spec);
}

static enum ps_l1_answer ask(struct ps_l1 *cache, uint64_t number, ps_time now)
{
    struct ps_key key = key_of(number);
    struct ps_entry *entry = NULL;
    enum ps_l1_answer answer = ps_l1_get(cache, &key, now, &entry);
    assert_int_equal(entry == NULL, answer == PS_L1_MISS);
    ps_entry_unref(entry);
    return answer;
}

static struct ps_l1_stats read_stats(struct ps_l1 *cache)
{
    struct ps_l1_stats stats;
    ps_l1_read(cache, &stats);
    assert_true(ps_l1_is_sane(cache));
    assert_true(stats.bytes <= stats.size);
    return stats;
}

/* ---------------------------------------------------------------- entries */

static void an_entry_says_what_it_was_told(void **state)
{
    (void)state;
    struct ps_entry_spec spec = spec_of(PS_STR("{}"));
    struct ps_entry *entry = entry_of(&spec);
    struct ps_str tag;
    size_t at = 0;
    assert_true(ps_str_eq(ps_entry_route(entry), spec.route));
    assert_true(ps_str_eq(ps_entry_model(entry), spec.model));
    assert_true(ps_str_eq(ps_entry_tenant(entry), spec.tenant));
    assert_true(ps_str_eq(ps_entry_head(entry), spec.head));
    assert_true(ps_str_eq(ps_entry_body(entry), spec.body));
    assert_true(ps_entry_next_tag(entry, &at, &tag) && ps_str_eq(tag, tags[0]));
    assert_true(ps_entry_next_tag(entry, &at, &tag) && ps_str_eq(tag, tags[1]));
    assert_false(ps_entry_next_tag(entry, &at, &tag));
    assert_int_equal(entry->status, 200);
    assert_int_equal(entry->prompt_tokens, 3);
    assert_int_equal(entry->completion_tokens, UINT32_MAX);
    assert_int_equal(ps_entry_age(entry, START - 1), 0);
    assert_int_equal(ps_entry_age(entry, START + 3), 3);
    ps_entry_unref(entry);
}

static void count_release(void *ctx)
{
    (*(int *)ctx)++;
}

static void a_borrowed_body_is_given_back_once(void **state)
{
    (void)state;
    int released = 0;
    struct ps_entry_spec spec = spec_of(PS_STR("static"));
    spec.release = count_release;
    spec.release_ctx = &released;
    struct ps_entry *entry = entry_of(&spec);
    ps_entry_unref(ps_entry_ref(entry));
    assert_int_equal(released, 0);
    assert_ptr_equal(ps_entry_body(entry).ptr, spec.body.ptr);
    ps_entry_unref(entry);
    assert_int_equal(released, 1);
    char name[PS_ENTRY_NAME_MAX + 1] = {0};
    spec.model = (struct ps_str){name, sizeof name};
    assert_int_equal(ps_entry_new(&entry, &spec), PS_EINVAL);
    assert_int_equal(released, 2);
}

/* ---------------------------------------------------------------- look-ups and time */

static void what_is_put_is_got(void **state)
{
    (void)state;
    for (int policy = 0; policy < PS_POLICY_COUNT; policy++) {
        struct ps_l1 *cache = cache_of(policy, 1 << 20);
        struct ps_key key = key_of(1);
        struct ps_entry *entry = NULL;
        assert_int_equal(ps_l1_get(cache, &key, START, &entry), PS_L1_MISS);
        assert_int_equal(put(cache, 1, PS_STR("one")), PS_OK);
        assert_int_equal(ps_l1_get(cache, &key, START, &entry), PS_L1_HIT);
        assert_true(ps_str_eq(ps_entry_body(entry), PS_STR("one")));
        assert_int_equal(put(cache, 1, PS_STR("two")), PS_OK);
        assert_true(ps_str_eq(ps_entry_body(entry), PS_STR("one"))); /* still being sent */
        ps_entry_unref(entry);
        assert_int_equal(ps_l1_peek(cache, &key, START, &entry), PS_L1_HIT);
        assert_true(ps_str_eq(ps_entry_body(entry), PS_STR("two")));
        struct ps_l1_stats stats = read_stats(cache);
        assert_int_equal(stats.hits, 1);
        assert_int_equal(stats.misses, 1);
        assert_int_equal(stats.entries, 1);
        assert_int_equal(stats.stored, 2);
        assert_true(stats.gpu_seconds_saved > 1.49 && stats.gpu_seconds_saved < 1.51);
        assert_true(ps_l1_drop(cache, &key));
        assert_false(ps_l1_drop(cache, &key));
        assert_int_equal(read_stats(cache).entries, 0);
        ps_l1_free(cache);
        assert_true(ps_str_eq(ps_entry_body(entry), PS_STR("two"))); /* outlives the cache */
        ps_entry_unref(entry);
    }
}

static void keys_are_compared_on_every_bit(void **state)
{
    (void)state;
    struct ps_l1 *cache = cache_of(PS_POLICY_GDSF, 1 << 20);
    struct ps_entry_spec spec = spec_of(PS_STR("one"));
    struct ps_entry *entry = entry_of(&spec);
    struct ps_key key = key_of(1);
    assert_int_equal(ps_l1_put(cache, &key, entry), PS_OK);
    ps_entry_unref(entry);
    for (unsigned bit = 0; bit < 256; bit++) {
        struct ps_key other = key;
        other.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(ps_l1_get(cache, &other, START, &entry), PS_L1_MISS);
    }
    ps_l1_free(cache);
}

static void time_makes_it_stale_and_then_gone(void **state)
{
    (void)state;
    struct ps_l1 *cache = cache_of(PS_POLICY_GDSF, 1 << 20);
    assert_int_equal(put(cache, 1, PS_STR("a")), PS_OK);
    assert_int_equal(ask(cache, 1, START - PS_HOUR), PS_L1_HIT); /* a clock may go back */
    assert_int_equal(ask(cache, 1, START + 10 * PS_SECOND - 1), PS_L1_HIT);
    assert_int_equal(ask(cache, 1, START + 10 * PS_SECOND), PS_L1_STALE);
    assert_int_equal(ask(cache, 1, START + 15 * PS_SECOND), PS_L1_FALLBACK);
    struct ps_l1_stats stats = read_stats(cache);
    assert_int_equal(stats.hits, 3);
    assert_int_equal(stats.stale_hits, 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(ask(cache, 1, START + 30 * PS_SECOND), PS_L1_MISS);
    stats = read_stats(cache);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.expired, 1);
    ps_l1_free(cache);
}

static void nothing_outlives_the_longest_age(void **state)
{
    (void)state;
    struct ps_l1_opts opts = opts_of(PS_POLICY_GDSF, 1 << 20);
    struct ps_l1 *cache = NULL;
    opts.max_age = PS_MINUTE;
    assert_int_equal(ps_l1_new(&cache, &opts), PS_OK);
    struct ps_entry_spec spec = spec_of(PS_STR("a"));
    spec.fresh = PS_NEVER;
    assert_int_equal(put_spec(cache, 1, &spec), PS_OK);
    assert_int_equal(ask(cache, 1, START + 59 * PS_SECOND), PS_L1_HIT);
    assert_int_equal(ask(cache, 1, START + 60 * PS_SECOND), PS_L1_MISS);
    ps_l1_free(cache);
}

/* ---------------------------------------------------------------- room */

static void bytes_are_bounded_whoever_leaves(void **state)
{
    (void)state;
    static char body[20000];
    for (int policy = 0; policy < PS_POLICY_COUNT; policy++) {
        struct ps_l1 *cache = cache_of(policy, 1 << 20);
        struct ps_rng rng = ps_rng_make(5);
        for (int i = 0; i < 20000; i++) {
            uint64_t number = ps_rng_below(&rng, 1 + ps_rng_below(&rng, 2000));
            if (ask(cache, number, START) == PS_L1_MISS) {
                struct ps_str text = {body, ps_rng_below(&rng, sizeof body)};
                assert_int_equal(put(cache, number, text), PS_OK);
            }
            if (ps_rng_below(&rng, 50) == 0) {
                struct ps_key key = key_of(ps_rng_below(&rng, 2000));
                (void)ps_l1_drop(cache, &key);
            }
            if (i % 1000 == 0) {
                (void)read_stats(cache);
            }
        }
        struct ps_l1_stats stats = read_stats(cache);
        assert_true(stats.evictions > 1000);
        assert_true(stats.bytes > (1 << 20) - 40000);
        ps_l1_free(cache);
    }
}

static void the_too_large_is_refused(void **state)
{
    (void)state;
    static char body[1 << 20];
    struct ps_l1 *cache = cache_of(PS_POLICY_GDSF, 1 << 20);
    assert_int_equal(put(cache, 1, (struct ps_str){body, sizeof body}), PS_ELIMIT);
    assert_int_equal(read_stats(cache).refused, 1);
    ps_l1_free(cache);
    struct ps_l1_opts opts = opts_of(PS_POLICY_GDSF, 1 << 20);
    opts.shards = 3;
    assert_int_equal(ps_l1_new(&cache, &opts), PS_EINVAL);
    opts.shards = 1;
    opts.size = 4096;
    assert_int_equal(ps_l1_new(&cache, &opts), PS_EINVAL);
}

static void book_keeping_is_small(void **state)
{
    (void)state;
    /* Beside key and value: the slot without its key, its place in the index, the counts of the
     * entry that are the cache's own, and 16 bytes of the sketch. */
    size_t mine = PS_SLOT_BYTES - PS_KEY_BYTES + 2 * sizeof(uint32_t) + 16;
    assert_true(mine <= 64);
    struct ps_sketch sketch;
    assert_int_equal(ps_sketch_init(&sketch, 1 << 16), PS_OK);
    assert_int_equal(ps_sketch_bytes(&sketch), (1 << 16) * 16);
    ps_sketch_fini(&sketch);
}

/* Two answers for one: what costs more a byte stays. */
static void gpu_time_per_byte_decides(void **state)
{
    (void)state;
    static char body[4000];
    struct ps_l1 *cache = cache_of(PS_POLICY_GDSF, 200000);
    struct ps_entry_spec spec = spec_of((struct ps_str){body, sizeof body});
    for (uint64_t i = 0; i < 400; i++) {
        spec.seconds = i % 10 == 0 ? 5 : 0.01;
        assert_int_equal(ask(cache, i, START), PS_L1_MISS);
        assert_int_equal(put_spec(cache, i, &spec), PS_OK);
    }
    size_t dear = 0;
    for (uint64_t i = 0; i < 400; i += 10) {
        dear += ask(cache, i, START) == PS_L1_HIT;
    }
    assert_true(dear >= 35); /* LRU would keep four of the forty */
    ps_l1_free(cache);
}

static void what_was_asked_for_often_is_remembered_after_it_left(void **state)
{
    (void)state;
    static char body[4000];
    struct ps_l1 *cache = cache_of(PS_POLICY_GDSF, 200000);
    struct ps_str text = {body, sizeof body};
    for (int i = 0; i < 8; i++) {
        assert_int_equal(ask(cache, 7, START), PS_L1_MISS); /* eight times in vain */
    }
    assert_int_equal(put(cache, 7, text), PS_OK);
    for (uint64_t i = 100; i < 200; i++) {
        assert_int_equal(ask(cache, i, START), PS_L1_MISS);
        assert_int_equal(put(cache, i, text), PS_OK);
    }
    assert_int_equal(ask(cache, 7, START), PS_L1_HIT);
    ps_l1_free(cache);
}

static void lru_lets_the_longest_unused_go(void **state)
{
    (void)state;
    static char body[4000];
    struct ps_l1 *cache = cache_of(PS_POLICY_LRU, 100000);
    struct ps_str text = {body, sizeof body};
    for (uint64_t i = 0; i < 60; i++) {
        assert_int_equal(put(cache, i, text), PS_OK);
        (void)ask(cache, 0, START); /* keeps it */
    }
    assert_int_equal(ask(cache, 0, START), PS_L1_HIT);
    assert_int_equal(ask(cache, 1, START), PS_L1_MISS);
    assert_int_equal(ask(cache, 59, START), PS_L1_HIT);
    ps_l1_free(cache);
}

static void a_scan_does_not_wash_out_what_is_used(void **state)
{
    (void)state;
    static char body[4000];
    static const int resistant[] = {PS_POLICY_GDSF, PS_POLICY_S3FIFO, PS_POLICY_SIEVE,
                                    PS_POLICY_LFUDA};
    struct ps_str text = {body, sizeof body};
    for (size_t p = 0; p < PS_ARRAY_LEN(resistant); p++) {
        struct ps_l1 *cache = cache_of(resistant[p], 200000);
        size_t kept = 0;
        for (int round = 0; round < 4; round++) {
            for (uint64_t i = 0; i < 10; i++) {
                if (ask(cache, i, START) == PS_L1_MISS) {
                    assert_int_equal(put(cache, i, text), PS_OK);
                }
            }
        }
        for (uint64_t i = 100; i < 160; i++) {
            (void)ask(cache, i, START);
            assert_int_equal(put(cache, i, text), PS_OK);
        }
        for (uint64_t i = 0; i < 10; i++) {
            kept += ask(cache, i, START) == PS_L1_HIT;
        }
        assert_true(kept == 10);
        ps_l1_free(cache);
    }
}

static void a_sketch_counts_and_forgets(void **state)
{
    (void)state;
    struct ps_sketch sketch;
    assert_int_equal(ps_sketch_init(&sketch, 1000), PS_OK);
    struct ps_key key = key_of(1);
    for (unsigned i = 1; i <= 20; i++) {
        ps_sketch_add(&sketch, &key);
        assert_int_equal(ps_sketch_estimate(&sketch, &key), i < PS_SKETCH_MAX ? i : PS_SKETCH_MAX);
    }
    struct ps_key other = key_of(2);
    for (unsigned i = 0; i < 200000; i++) {
        ps_sketch_add(&sketch, &other);
    }
    assert_true(ps_sketch_estimate(&sketch, &key) <= 1);
    assert_int_equal(ps_sketch_estimate(&sketch, &other) >= 7, 1);
    ps_sketch_fini(&sketch);
}

/* ---------------------------------------------------------------- purges */

static int purge(struct ps_l1 *cache, enum ps_purge_kind kind, const char *text, const char *tenant,
                 ps_time at)
{
    struct ps_purge record = {
        .kind = kind,
        .at = at,
        .text = ps_str_from(text),
        .key = key_of(1),
        .tenant = ps_str_from(tenant),
        .has_tenant = tenant != NULL,
    };
    return ps_l1_invalidate(cache, &record, START + PS_SECOND);
}

static void a_purge_hits_what_it_names(void **state)
{
    (void)state;
    static const struct {
        enum ps_purge_kind kind;
        const char *text, *tenant;
        bool hits;
    } cases[] = {
        {PS_PURGE_PATTERN, "*", NULL, true},
        {PS_PURGE_PATTERN, "chat", NULL, true},
        {PS_PURGE_PATTERN, "cha", NULL, false},
        {PS_PURGE_PATTERN, "meta/*", NULL, true},
        {PS_PURGE_PATTERN, "chat/*/acme/*", NULL, true},
        {PS_PURGE_PATTERN, "chat/meta/llama-?/acme/faq", NULL, true},
        {PS_PURGE_PATTERN, "embed/*", NULL, false},
        {PS_PURGE_PATTERN, "acme", NULL, true},
        {PS_PURGE_PATTERN, "d?", NULL, true},
        {PS_PURGE_PATTERN, "*", "acme", true},
        {PS_PURGE_PATTERN, "*", "other", false},
        {PS_PURGE_PATTERN, "*", "", false},
        {PS_PURGE_TAG, "faq", NULL, true},
        {PS_PURGE_TAG, "fa", NULL, false},
        {PS_PURGE_TAG, "*", NULL, false},
        {PS_PURGE_TAG, "de", "acme", true},
        {PS_PURGE_KEY, NULL, NULL, true},
        {PS_PURGE_KEY, NULL, "other", false},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct ps_l1 *cache = cache_of(PS_POLICY_GDSF, 1 << 20);
        assert_int_equal(put(cache, 1, PS_STR("a")), PS_OK);
        assert_int_equal(purge(cache, cases[i].kind, cases[i].text, cases[i].tenant, START), PS_OK);
        enum ps_l1_answer answer = ask(cache, 1, START);
        if (answer != (cases[i].hits ? PS_L1_MISS : PS_L1_HIT)) {
            fail_msg("case %zu", i);
        }
        assert_int_equal(read_stats(cache).purged, cases[i].hits);
        assert_int_equal(ask(cache, 1, START), answer); /* matched once, remembered */
        ps_l1_free(cache);
    }
}

static void an_entry_without_tags_can_be_named(void **state)
{
    (void)state;
    struct ps_l1 *cache = cache_of(PS_POLICY_GDSF, 1 << 20);
    struct ps_entry_spec spec = spec_of(PS_STR("a"));
    spec.tags_count = 0;
    assert_int_equal(put_spec(cache, 1, &spec), PS_OK);
    assert_int_equal(purge(cache, PS_PURGE_PATTERN, "chat/meta/llama-3/acme/", NULL, START), PS_OK);
    assert_int_equal(ask(cache, 1, START), PS_L1_MISS);
    ps_l1_free(cache);
}

static void a_purge_hits_flights_and_spares_what_comes_after(void **state)
{
    (void)state;
    struct ps_l1 *cache = cache_of(PS_POLICY_GDSF, 1 << 20);
    struct ps_entry_spec spec = spec_of(PS_STR("a"));
    assert_int_equal(purge(cache, PS_PURGE_TAG, "faq", NULL, START), PS_OK);
    spec.born = START; /* it was on its way already */
    assert_int_equal(put_spec(cache, 1, &spec), PS_ECANCELED);
    assert_int_equal(read_stats(cache).refused, 1);
    spec.born = START + 1;
    assert_int_equal(put_spec(cache, 1, &spec), PS_OK);
    assert_int_equal(ask(cache, 1, START), PS_L1_HIT);
    /* A record that comes late, from a gateway that was away. */
    assert_int_equal(purge(cache, PS_PURGE_TAG, "faq", NULL, START - 5), PS_OK);
    assert_int_equal(ask(cache, 1, START), PS_L1_HIT);
    ps_l1_free(cache);
}

static void the_future_is_not_purged(void **state)
{
    (void)state;
    struct ps_l1 *cache = cache_of(PS_POLICY_GDSF, 1 << 20);
    struct ps_entry_spec spec = spec_of(PS_STR("a"));
    assert_int_equal(purge(cache, PS_PURGE_PATTERN, "*", NULL, START + PS_HOUR), PS_OK);
    spec.born = START + PS_SECOND + 1; /* now, in purge(), is START + one second */
    assert_int_equal(put_spec(cache, 1, &spec), PS_OK);
    ps_l1_free(cache);
}

static void a_sweep_takes_out_what_nobody_asks_for(void **state)
{
    (void)state;
    struct ps_l1_opts opts = opts_of(PS_POLICY_GDSF, 4 << 20);
    struct ps_l1 *cache = NULL;
    opts.shards = 4;
    assert_int_equal(ps_l1_new(&cache, &opts), PS_OK);
    for (uint64_t i = 0; i < 1000; i++) {
        struct ps_entry_spec spec = spec_of(PS_STR("a"));
        spec.fresh = i % 2 == 0 ? PS_SECOND : PS_HOUR;
        spec.while_revalidate = 0;
        spec.if_error = 0;
        spec.tags_count = i % 5 == 0 ? 2 : 0;
        assert_int_equal(put_spec(cache, i, &spec), PS_OK);
    }
    assert_int_equal(purge(cache, PS_PURGE_TAG, "faq", NULL, START), PS_OK);
    size_t removed = 0;
    for (int i = 0; i < 200 && removed < 600; i++) {
        removed += ps_l1_sweep(cache, START + PS_MINUTE, 64);
    }
    assert_int_equal(removed, 600); /* half are too old, and every tenth more was purged */
    assert_int_equal(ps_l1_sweep(cache, START + PS_MINUTE, 100000), 0);
    struct ps_l1_stats stats = read_stats(cache);
    assert_int_equal(stats.entries, 400);
    assert_int_equal(stats.expired + stats.purged, 600);
    ps_l1_free(cache);
}

static struct ps_purge tag_purge(struct ps_str text, ps_time at)
{
    return (struct ps_purge){.kind = PS_PURGE_TAG, .at = at, .text = text};
}

static void a_full_log_purges_more_and_never_less(void **state)
{
    (void)state;
    struct ps_purge_log *log = NULL;
    struct ps_entry_spec spec = spec_of(PS_STR("a"));
    struct ps_key key = key_of(1);
    assert_int_equal(ps_purge_log_new(&log, 2, PS_HOUR), PS_OK);
    struct ps_entry *before = entry_of(&spec);
    spec.born = START + 15;
    struct ps_entry *after = entry_of(&spec);
    for (int i = 0; i < 3; i++) {
        struct ps_purge record = tag_purge(i == 0   ? PS_STR("x")
                                           : i == 1 ? PS_STR("y")
                                                    : PS_STR("z"),
                                           START + 10 * i);
        assert_int_equal(ps_purge_log_add(log, &record, START + 100), PS_OK);
        assert_int_equal(ps_purge_log_add(log, &record, START + 100), PS_OK); /* twice is once */
        assert_int_equal(ps_purge_log_hits(log, before, &key), i == 2);
        assert_false(ps_purge_log_hits(log, after, &key));
    }
    assert_int_equal(ps_purge_log_count(log), 2);
    struct ps_purge late = tag_purge(PS_STR("w"), START + 2 * PS_HOUR);
    assert_int_equal(ps_purge_log_add(log, &late, START + 2 * PS_HOUR), PS_OK);
    assert_int_equal(ps_purge_log_count(log), 1); /* the others are over */
    assert_false(ps_purge_log_hits(log, after, &key));
    struct ps_purge odd = tag_purge(PS_STR(""), START);
    assert_int_equal(ps_purge_log_add(log, &odd, START), PS_EINVAL);
    ps_entry_unref(before);
    ps_entry_unref(after);
    ps_purge_log_free(log);
}

/* ---------------------------------------------------------------- threads */

enum { THREADS = 4, STEPS = 20000 };

struct crowd {
    struct ps_l1 *cache;
    _Atomic uint64_t hits;
    _Atomic uint64_t wrong;
};

struct member {
    pthread_t thread;
    struct crowd *crowd;
    uint64_t seed;
};

/* A body says whose it is, so that a mix-up is seen. */
static void one_step(struct crowd *crowd, struct ps_rng *rng)
{
    uint64_t number = ps_rng_below(rng, 1 + ps_rng_below(rng, 500));
    struct ps_key key = key_of(number);
    struct ps_entry *entry = NULL;
    uint64_t body[64];
    if (ps_l1_get(crowd->cache, &key, START, &entry) == PS_L1_MISS) {
        for (size_t i = 0; i < PS_ARRAY_LEN(body); i++) {
            body[i] = number;
        }
        struct ps_entry_spec spec = spec_of((struct ps_str){(const char *)body, sizeof body});
        spec.born = START + 1;
        if (ps_entry_new(&entry, &spec) == PS_OK) {
            PS_IGNORE(ps_l1_put(crowd->cache, &key, entry));
        }
    } else {
        memcpy(body, ps_entry_body(entry).ptr, sizeof body);
        atomic_fetch_add(&crowd->wrong, body[0] != number || body[63] != number);
        atomic_fetch_add(&crowd->hits, 1);
    }
    ps_entry_unref(entry);
}

static void *run_member(void *arg)
{
    struct member *member = arg;
    struct ps_rng rng = ps_rng_make(member->seed);
    for (int i = 0; i < STEPS; i++) {
        one_step(member->crowd, &rng);
        if (i % 512 == 0) {
            struct ps_purge record = tag_purge(PS_STR("nobody"), START);
            record.at -= (ps_time)(member->seed * STEPS + (uint64_t)i);
            PS_IGNORE(ps_l1_invalidate(member->crowd->cache, &record, START));
        }
        if (i % 300 == 0) {
            (void)ps_l1_sweep(member->crowd->cache, START, 32);
        }
    }
    return NULL;
}

static void threads_share_it(void **state)
{
    (void)state;
    for (int policy = 0; policy < PS_POLICY_COUNT; policy++) {
        struct ps_l1_opts opts = opts_of(policy, 256 << 10);
        struct crowd crowd = {.cache = NULL};
        struct member members[THREADS];
        opts.shards = 2;
        opts.max_purges = 16;
        assert_int_equal(ps_l1_new(&crowd.cache, &opts), PS_OK);
        for (uint64_t i = 0; i < THREADS; i++) {
            members[i] = (struct member){.crowd = &crowd, .seed = i};
            assert_int_equal(pthread_create(&members[i].thread, NULL, run_member, &members[i]), 0);
        }
        for (size_t i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(members[i].thread, NULL), 0);
        }
        struct ps_l1_stats stats = read_stats(crowd.cache);
        assert_int_equal(crowd.wrong, 0);
        assert_int_equal(stats.hits, crowd.hits);
        assert_int_equal(stats.hits + stats.misses, THREADS * STEPS);
        assert_true(stats.evictions > 0);
        struct ps_l1_stats shard;
        ps_l1_read_shard(crowd.cache, 1, &shard);
        assert_true(shard.hits > 0 && shard.hits < stats.hits);
        ps_l1_free(crowd.cache);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_says_what_it_was_told),
        cmocka_unit_test(a_borrowed_body_is_given_back_once),
        cmocka_unit_test(what_is_put_is_got),
        cmocka_unit_test(keys_are_compared_on_every_bit),
        cmocka_unit_test(time_makes_it_stale_and_then_gone),
        cmocka_unit_test(nothing_outlives_the_longest_age),
        cmocka_unit_test(bytes_are_bounded_whoever_leaves),
        cmocka_unit_test(the_too_large_is_refused),
        cmocka_unit_test(book_keeping_is_small),
        cmocka_unit_test(gpu_time_per_byte_decides),
        cmocka_unit_test(what_was_asked_for_often_is_remembered_after_it_left),
        cmocka_unit_test(lru_lets_the_longest_unused_go),
        cmocka_unit_test(a_scan_does_not_wash_out_what_is_used),
        cmocka_unit_test(a_sketch_counts_and_forgets),
        cmocka_unit_test(a_purge_hits_what_it_names),
        cmocka_unit_test(an_entry_without_tags_can_be_named),
        cmocka_unit_test(a_purge_hits_flights_and_spares_what_comes_after),
        cmocka_unit_test(the_future_is_not_purged),
        cmocka_unit_test(a_sweep_takes_out_what_nobody_asks_for),
        cmocka_unit_test(a_full_log_purges_more_and_never_less),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

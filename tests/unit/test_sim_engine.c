/* The scheduler, walked through time by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"
#include "sim/engine.h"

#define KIB   ((uint64_t)1 << 10)
#define START PS_SECOND

/* A sequence that remembers what it was told. */
struct probe {
    struct ps_sim_seq seq;
    struct ps_sim_engine *engine;
    ps_time first, done;
    uint64_t tokens;
    uint64_t cancel_at;
    struct probe *cancel_other;
};

static struct probe *probe_of(struct ps_sim_seq *seq)
{
    return PS_CONTAINER_OF(seq, struct probe, seq);
}

static void on_token(struct ps_sim_seq *seq, ps_time now)
{
    struct probe *probe = probe_of(seq);
    probe->first = probe->tokens++ == 0 ? now : probe->first;
    assert_int_equal(probe->tokens, seq->generated);
    assert_int_equal(ps_sim_chain_add(&seq->chain, PS_STR("abcd")), PS_OK);
    if (probe->cancel_other != NULL) {
        ps_sim_engine_cancel(probe->engine, &probe->cancel_other->seq);
    }
    if (probe->tokens == probe->cancel_at) {
        ps_sim_engine_cancel(probe->engine, seq);
    }
}

static void on_done(struct ps_sim_seq *seq, ps_time now)
{
    probe_of(seq)->done = now;
}

static const struct ps_sim_seq_ops ops = {.on_token = on_token, .on_done = on_done};

/* A device with `blocks` cache blocks, 10 ms a step, 1000 prompt tokens a second. */
static struct ps_sim_opts options(uint64_t blocks)
{
    struct ps_sim_opts opts;
    ps_sim_opts_init(&opts);
    opts.memory = 100000 * KIB + blocks * 16 * KIB;
    opts.context = 0;
    opts.weights = 90000 * KIB;
    opts.activations = 10000 * KIB;
    opts.gpu_memory_utilization = 1;
    opts.kv_bytes_per_token = KIB;
    opts.prefill_rate = 1000;
    opts.decode_base = 10 * PS_MILLISECOND;
    opts.decode_per_seq = PS_MILLISECOND;
    opts.kv_read_rate = 1e12;
    opts.image_bytes_per_pixel = KIB;
    opts.image_rate = 1000;
    return opts;
}

static void submit(struct ps_sim_engine *engine, struct probe *probe, const char *letter,
                   uint64_t tokens, uint64_t want, ps_time now)
{
    *probe = (struct probe){.engine = engine};
    probe->seq.ops = &ops;
    probe->seq.want = want;
    probe->seq.chain = ps_sim_chain_make(1);
    char text[4];
    memset(text, letter[0], sizeof text);
    for (uint64_t i = 0; i < tokens; i++) {
        assert_int_equal(ps_sim_chain_add(&probe->seq.chain, (struct ps_str){text, 4}), PS_OK);
    }
    ps_sim_engine_submit(engine, &probe->seq, now);
}

/* Ticks from deadline to deadline until nothing is left to do; returns the last instant. */
static ps_time run(struct ps_sim_engine *engine, ps_time now)
{
    for (int i = 0; i < 1000000; i++) {
        ps_time next = ps_sim_engine_tick(engine, now);
        if (next == PS_NEVER) {
            assert_true(ps_sim_blocks_is_sane(ps_sim_engine_blocks(engine)));
            return now;
        }
        now = next > now ? next : now;
    }
    fail_msg("the engine never comes to rest");
    return 0;
}

static void one_sequence_takes_prefill_and_a_step_per_token(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    submit(engine, &a, "a", 100, 5, START);
    (void)run(engine, START);
    assert_int_equal(a.first - START, 110 * PS_MILLISECOND); /* 10 ms + 100 / 1000 s */
    assert_in_range(a.done - a.first, 44 * PS_MILLISECOND, 44 * PS_MILLISECOND + 10);
    assert_int_equal(ps_sim_blocks_idle(ps_sim_engine_blocks(engine)), 100);
    ps_sim_seq_fini(&a.seq);
    ps_sim_engine_free(engine);
}

static void speed_divides_every_span(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    opts.speed = 10;
    opts.latency_first = 100 * PS_MILLISECOND;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    submit(engine, &a, "a", 100, 1, START);
    (void)run(engine, START);
    assert_int_equal(a.first - START, 21 * PS_MILLISECOND);
    ps_sim_seq_fini(&a.seq);
    ps_sim_engine_free(engine);
}

static void long_prompts_are_computed_in_chunks(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    struct probe b;
    opts.max_num_batched_tokens = 101;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    submit(engine, &a, "a", 16, 20, START);
    ps_time now = ps_sim_engine_tick(engine, START);
    submit(engine, &b, "b", 300, 1, now);
    (void)run(engine, now);
    /* 85 tokens beside a's prefill could not start; then three chunks of 100 beside a's tokens */
    assert_int_equal(ps_sim_engine_stats(engine)->computed_prompt_tokens, 316);
    assert_int_equal(a.tokens, 20);
    assert_int_equal(b.tokens, 1);
    assert_true(b.first < a.done);
    ps_sim_seq_fini(&a.seq);
    ps_sim_seq_fini(&b.seq);
    ps_sim_engine_free(engine);
}

static void equal_prefix_is_found_in_the_cache(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    struct probe b;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    submit(engine, &a, "a", 160, 1, START);
    ps_time now = run(engine, START);
    submit(engine, &b, "a", 160, 1, now);
    (void)run(engine, now);
    assert_int_equal(a.seq.hit, 0);
    assert_int_equal(b.seq.hit,
                     144); /* the last block is computed: somebody must give the next token */
    assert_in_range(b.first - now, 26 * PS_MILLISECOND, 26 * PS_MILLISECOND + 1);
    assert_int_equal(ps_sim_engine_stats(engine)->prefix_hits, 144);
    assert_int_equal(ps_sim_engine_stats(engine)->prefix_queries, 320);
    assert_true(ps_sim_engine_reset_prefix_cache(engine));
    ps_sim_seq_fini(&a.seq);
    ps_sim_seq_fini(&b.seq);
    ps_sim_engine_free(engine);
}

static void answers_are_cached_for_the_next_turn(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    struct probe b;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    submit(engine, &a, "a", 16, 33, START);
    ps_time now = run(engine, START);
    b = (struct probe){.engine = engine};
    b.seq.ops = &ops;
    b.seq.want = 1;
    b.seq.chain = ps_sim_chain_make(1);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(ps_sim_chain_add(&b.seq.chain, PS_STR("aaaa")), PS_OK);
    }
    for (int i = 0; i < 50; i++) {
        assert_int_equal(ps_sim_chain_add(&b.seq.chain, PS_STR("abcd")), PS_OK);
    }
    ps_sim_engine_submit(engine, &b.seq, now);
    (void)run(engine, now);
    assert_int_equal(b.seq.hit, 48);
    ps_sim_seq_fini(&a.seq);
    ps_sim_seq_fini(&b.seq);
    ps_sim_engine_free(engine);
}

/* Prompts have any number of bytes: their last token may hold fewer than four. */
static void answers_to_odd_prompts_are_cached_too(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a = {.seq = {.ops = &ops, .want = 50, .chain = ps_sim_chain_make(1)}};
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    assert_int_equal(ps_sim_chain_add(&a.seq.chain, PS_STR("an odd number")), PS_OK);
    a.engine = engine;
    ps_sim_engine_submit(engine, &a.seq, START);
    (void)run(engine, START);
    assert_int_equal(ps_sim_blocks_cached(ps_sim_engine_blocks(engine)), 3);
    ps_sim_seq_fini(&a.seq);
    ps_sim_engine_free(engine);
}

static void delayed_sequences_begin_in_the_order_of_their_time(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    struct probe b = {.seq = {.ops = &ops, .want = 1, .chain = ps_sim_chain_make(1)}};
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    b.engine = engine;
    b.seq.delay = PS_SECOND; /* its model is being loaded */
    assert_int_equal(ps_sim_chain_add(&b.seq.chain, PS_STR("late")), PS_OK);
    ps_sim_engine_submit(engine, &b.seq, START);
    submit(engine, &a, "a", 4, 1, START);
    (void)run(engine, START);
    assert_true(a.done < START + PS_SECOND);
    assert_true(b.seq.started >= START + PS_SECOND);
    ps_sim_seq_fini(&a.seq);
    ps_sim_seq_fini(&b.seq);
    ps_sim_engine_free(engine);
}

static void held_engine_begins_no_step(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    ps_sim_engine_hold(engine, true);
    submit(engine, &a, "a", 4, 1, START);
    assert_int_equal(ps_sim_engine_tick(engine, START), PS_NEVER);
    assert_int_equal(ps_sim_engine_load(engine), 1);
    ps_sim_engine_hold(engine, false);
    (void)run(engine, START + PS_SECOND);
    assert_true(a.done > START + PS_SECOND);
    ps_sim_seq_fini(&a.seq);
    ps_sim_engine_free(engine);
}

static void without_prefix_caching_everything_is_computed(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    struct probe b;
    opts.prefix_caching = false;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    submit(engine, &a, "a", 160, 1, START);
    ps_time now = run(engine, START);
    submit(engine, &b, "a", 160, 1, now);
    (void)run(engine, now);
    assert_int_equal(b.seq.hit, 0);
    assert_int_equal(ps_sim_engine_stats(engine)->prefix_queries, 0);
    ps_sim_seq_fini(&a.seq);
    ps_sim_seq_fini(&b.seq);
    ps_sim_engine_free(engine);
}

static void the_last_comer_is_preempted_and_still_finishes(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(20); /* 320 tokens; two sequences want 250 each */
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    struct probe b;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    submit(engine, &a, "a", 100, 150, START);
    submit(engine, &b, "b", 100, 150, START);
    (void)run(engine, START);
    assert_int_equal(a.tokens, 150);
    assert_int_equal(b.tokens, 150);
    assert_int_equal(a.seq.preemptions, 0);
    assert_true(b.seq.preemptions > 0);
    assert_true(a.done < b.done);
    assert_int_equal(ps_sim_engine_stats(engine)->preemptions, b.seq.preemptions);
    assert_int_equal(ps_sim_engine_stats(engine)->prompt_tokens, 200);
    assert_int_equal(ps_sim_blocks_idle(ps_sim_engine_blocks(engine)), 20);
    ps_sim_seq_fini(&a.seq);
    ps_sim_seq_fini(&b.seq);
    ps_sim_engine_free(engine);
}

static void no_more_than_max_num_seqs_run_at_once(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe probes[5];
    opts.max_num_seqs = 2;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    for (size_t i = 0; i < 5; i++) {
        submit(engine, &probes[i], "a", 10, 10, START);
    }
    (void)ps_sim_engine_tick(engine, START);
    assert_int_equal(ps_sim_engine_stats(engine)->running, 2);
    assert_int_equal(ps_sim_engine_stats(engine)->waiting, 3);
    (void)run(engine, START);
    assert_int_equal(ps_sim_engine_stats(engine)->running, 0);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(probes[i].tokens, 10);
        assert_true(i == 0 || probes[i].done >= probes[i - 1].done);
        ps_sim_seq_fini(&probes[i].seq);
    }
    ps_sim_engine_free(engine);
}

static void canceled_sequence_frees_its_blocks_at_once(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    submit(engine, &a, "a", 100, 50, START);
    ps_time now = ps_sim_engine_tick(engine, START);
    assert_int_equal(ps_sim_blocks_idle(ps_sim_engine_blocks(engine)), 93);
    ps_sim_engine_cancel(engine, &a.seq);
    assert_int_equal(ps_sim_blocks_idle(ps_sim_engine_blocks(engine)), 100);
    assert_int_equal(ps_sim_engine_tick(engine, now), PS_NEVER);
    assert_int_equal(a.tokens, 0);
    assert_int_equal(a.done, 0);
    assert_int_equal(ps_sim_engine_stats(engine)->canceled, 1);
    ps_sim_engine_cancel(engine, &a.seq); /* again: nothing */
    assert_int_equal(ps_sim_engine_stats(engine)->canceled, 1);
    ps_sim_seq_fini(&a.seq);
    ps_sim_engine_free(engine);
}

static void sequences_may_be_canceled_from_inside_on_token(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    struct probe b;
    struct probe c;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    submit(engine, &a, "a", 16, 10, START);
    submit(engine, &b, "b", 16, 10, START);
    submit(engine, &c, "c", 16, 10, START);
    a.cancel_other = &b; /* its neighbour in the list */
    a.cancel_at = 3;     /* itself */
    (void)run(engine, START);
    assert_int_equal(a.tokens, 3);
    assert_int_equal(b.tokens, 0);
    assert_int_equal(c.tokens, 10);
    assert_int_equal(a.done, 0);
    assert_int_equal(ps_sim_engine_stats(engine)->canceled, 2);
    ps_sim_seq_fini(&a.seq);
    ps_sim_seq_fini(&b.seq);
    ps_sim_seq_fini(&c.seq);
    ps_sim_engine_free(engine);
}

static void sequence_that_wants_nothing_is_only_read(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    struct probe a;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    submit(engine, &a, "a", 100, 0, START);
    (void)run(engine, START);
    assert_int_equal(a.done - START, 110 * PS_MILLISECOND);
    assert_int_equal(a.tokens, 0);
    ps_sim_seq_fini(&a.seq);
    ps_sim_engine_free(engine);
}

struct picture {
    struct ps_sim_image image;
    int err;
    ps_time done;
};

static void on_image(struct ps_sim_image *image, int err, ps_time now)
{
    struct picture *picture = PS_CONTAINER_OF(image, struct picture, image);
    picture->err = err;
    picture->done = now;
}

static void image_takes_its_steps_and_its_memory(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(100);
    struct ps_sim_engine *engine = NULL;
    opts.gpu_memory_utilization = 0.95;
    opts.decode_base = 0;
    opts.weights -= 10000 * KIB;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    struct picture good = {.image = {.pixels = 1000, .steps = 10, .on_done = on_image}};
    struct picture large = {.image = {.pixels = 1000000, .steps = 10, .on_done = on_image}};
    struct picture canceled = {.image = {.pixels = 1000, .steps = 10, .on_done = on_image}};
    ps_sim_engine_submit_image(engine, &good.image);
    ps_sim_engine_submit_image(engine, &large.image);
    ps_sim_engine_submit_image(engine, &canceled.image);
    (void)ps_sim_engine_tick(engine, START);
    assert_int_equal(ps_sim_device_usage(ps_sim_engine_device(engine)).transient, 1000 * KIB);
    ps_sim_engine_cancel_image(engine, &canceled.image);
    (void)run(engine, START);
    assert_int_equal(good.err, PS_OK);
    assert_int_equal(good.done - START, 10 * PS_SECOND);
    assert_int_equal(large.err, PS_ELIMIT);
    assert_int_equal(canceled.done, 0);
    assert_int_equal(ps_sim_device_usage(ps_sim_engine_device(engine)).transient, 0);
    assert_int_equal(ps_sim_engine_device(engine)->out_of_memory, 1);
    assert_int_equal(ps_sim_engine_stats(engine)->images_queued, 0);
    ps_sim_engine_free(engine);
}

static void model_length_must_fit_into_the_cache(void **state)
{
    (void)state;
    struct ps_sim_opts opts = options(10);
    struct ps_sim_engine *engine = NULL;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    assert_int_equal(ps_sim_engine_max_model_len(engine), 160);
    ps_sim_engine_free(engine);
    engine = NULL;
    opts.max_model_len = 161;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_EINVAL);
    assert_null(engine);
}

/* Many sequences, tight memory, cancels at any time: all end, all blocks come back. */
static void random_load_leaves_nothing_behind(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    struct ps_sim_opts opts = options(40);
    struct ps_rng rng = ps_rng_make(5);
    struct ps_sim_engine *engine = NULL;
    struct probe *probes = calloc(COUNT, sizeof *probes);
    assert_non_null(probes);
    opts.max_num_seqs = 16;
    opts.max_num_batched_tokens = 64;
    assert_int_equal(ps_sim_engine_new(&engine, &opts), PS_OK);
    ps_time now = START;
    for (int i = 0; i < COUNT; i++) {
        char letter[2] = {(char)('a' + ps_rng_below(&rng, 3)), 0};
        submit(engine, &probes[i], letter, 1 + ps_rng_below(&rng, 200), ps_rng_below(&rng, 100),
               now);
        for (uint64_t steps = ps_rng_below(&rng, 8); steps > 0; steps--) {
            ps_time next = ps_sim_engine_tick(engine, now);
            now = next == PS_NEVER ? now : next;
        }
        if (ps_rng_below(&rng, 4) == 0) {
            ps_sim_engine_cancel(engine, &probes[ps_rng_below(&rng, (uint64_t)i + 1)].seq);
        }
        assert_true(ps_sim_blocks_is_sane(ps_sim_engine_blocks(engine)));
    }
    (void)run(engine, now);
    const struct ps_sim_stats *stats = ps_sim_engine_stats(engine);
    assert_int_equal(stats->running + stats->waiting, 0);
    assert_int_equal(ps_sim_blocks_idle(ps_sim_engine_blocks(engine)), 40);
    assert_true(stats->preemptions > 0);
    for (int i = 0; i < COUNT; i++) {
        assert_true(probes[i].done == 0 || probes[i].tokens == probes[i].seq.want);
        ps_sim_seq_fini(&probes[i].seq);
    }
    free(probes);
    ps_sim_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_sequence_takes_prefill_and_a_step_per_token),
        cmocka_unit_test(speed_divides_every_span),
        cmocka_unit_test(long_prompts_are_computed_in_chunks),
        cmocka_unit_test(equal_prefix_is_found_in_the_cache),
        cmocka_unit_test(answers_are_cached_for_the_next_turn),
        cmocka_unit_test(answers_to_odd_prompts_are_cached_too),
        cmocka_unit_test(delayed_sequences_begin_in_the_order_of_their_time),
        cmocka_unit_test(held_engine_begins_no_step),
        cmocka_unit_test(without_prefix_caching_everything_is_computed),
        cmocka_unit_test(the_last_comer_is_preempted_and_still_finishes),
        cmocka_unit_test(no_more_than_max_num_seqs_run_at_once),
        cmocka_unit_test(canceled_sequence_frees_its_blocks_at_once),
        cmocka_unit_test(sequences_may_be_canceled_from_inside_on_token),
        cmocka_unit_test(sequence_that_wants_nothing_is_only_read),
        cmocka_unit_test(image_takes_its_steps_and_its_memory),
        cmocka_unit_test(model_length_must_fit_into_the_cache),
        cmocka_unit_test(random_load_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

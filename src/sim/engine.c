#include "sim/engine.h"

#include <math.h>
#include <stdlib.h>

enum place { NOWHERE, DELAYED, WAITING, RUNNING };

struct ps_sim_engine {
    const struct ps_sim_opts *opts;
    struct ps_sim_device device;
    struct ps_sim_blocks *blocks;
    uint64_t max_model_len;
    struct ps_list delayed, waiting, running, images;
    struct ps_list *cursor;     /* next running sequence while a step is ended */
    struct ps_sim_seq *current; /* whose on_token runs; NULL once it was canceled */
    bool stepping;
    bool held;
    ps_time step_end;
    struct ps_sim_stats stats;
};

/* What one step has to do. */
struct step {
    uint64_t budget; /* tokens left */
    uint64_t prefill;
    uint64_t decodes;
    uint64_t seqs;
    uint64_t kv_read;
};

static const double step_token_bounds[] = {1,   8,    16,   32,   64,   128,   256,
                                           512, 1024, 2048, 4096, 8192, 16384, 0};

static struct ps_sim_seq *seq_of(struct ps_list *link)
{
    return PS_CONTAINER_OF(link, struct ps_sim_seq, link);
}

int ps_sim_engine_new(struct ps_sim_engine **out, const struct ps_sim_opts *opts)
{
    struct ps_sim_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return PS_ENOMEM;
    }
    uint64_t blocks = 0;
    int err = ps_sim_device_init(&engine->device, opts, &blocks);
    if (err == PS_OK) {
        err = ps_sim_blocks_new(&engine->blocks, blocks);
    }
    uint64_t room = blocks * PS_SIM_BLOCK_TOKENS;
    if (err == PS_OK && opts->max_model_len > room) {
        err = PS_EINVAL;
    }
    if (err != PS_OK) {
        ps_sim_engine_free(engine);
        return err;
    }
    engine->opts = opts;
    engine->max_model_len = opts->max_model_len;
    if (engine->max_model_len == 0) {
        engine->max_model_len = room < PS_SIM_LONGEST_MODEL_LEN ? room : PS_SIM_LONGEST_MODEL_LEN;
    }
    engine->stats.step_tokens.bounds = step_token_bounds;
    engine->stats.step_seqs.bounds = step_token_bounds;
    ps_list_init(&engine->delayed);
    ps_list_init(&engine->waiting);
    ps_list_init(&engine->running);
    ps_list_init(&engine->images);
    *out = engine;
    return PS_OK;
}

void ps_sim_engine_free(struct ps_sim_engine *engine)
{
    if (engine != NULL) {
        ps_sim_blocks_free(engine->blocks);
        free(engine);
    }
}

/* --- lists with counters ---------------------------------------------------------------------- */

static size_t *counter_of(struct ps_sim_engine *engine, enum place place)
{
    switch (place) {
    case NOWHERE:
        return NULL;
    case DELAYED:
        return &engine->stats.delayed;
    case WAITING:
        return &engine->stats.waiting;
    case RUNNING:
        return &engine->stats.running;
    }
    return NULL;
}

static void leave(struct ps_sim_engine *engine, struct ps_sim_seq *seq)
{
    if (engine->cursor == &seq->link) {
        engine->cursor = seq->link.next;
    }
    ps_list_remove(&seq->link);
    --*counter_of(engine, seq->place);
    seq->place = NOWHERE;
}

static void enter(struct ps_sim_engine *engine, struct ps_list *at, struct ps_sim_seq *seq,
                  enum place place)
{
    ps_list_push(at, &seq->link);
    seq->place = (uint8_t)place;
    ++*counter_of(engine, place);
}

/* --- blocks of a sequence --------------------------------------------------------------------- */

static uint64_t blocks_for(uint64_t tokens)
{
    return (tokens + PS_SIM_BLOCK_TOKENS - 1) / PS_SIM_BLOCK_TOKENS;
}

/* The last block first, so that the beginning of a text stays cached longest. */
static void release_blocks(struct ps_sim_engine *engine, struct ps_sim_seq *seq)
{
    while (seq->block_count > 0) {
        ps_sim_blocks_unref(engine->blocks, seq->blocks[--seq->block_count]);
    }
    seq->published = 0;
}

static bool reserve_places(struct ps_sim_seq *seq, uint64_t count)
{
    if (count <= seq->block_cap) {
        return true;
    }
    size_t cap = count + count / 4 + 2;
    uint32_t *grown = realloc(seq->blocks, cap * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    seq->blocks = grown;
    seq->block_cap = cap;
    return true;
}

/* Makes the sequence's blocks cover `tokens`. False, and nothing taken, when they don't suffice. */
static bool cover(struct ps_sim_engine *engine, struct ps_sim_seq *seq, uint64_t tokens)
{
    uint64_t need = blocks_for(tokens);
    if (need <= seq->block_count) {
        return true;
    }
    if (need - seq->block_count > ps_sim_blocks_idle(engine->blocks) ||
        !reserve_places(seq, need)) {
        return false;
    }
    while (seq->block_count < need) {
        seq->blocks[seq->block_count++] = ps_sim_blocks_take(engine->blocks);
    }
    return true;
}

/* Full blocks become findable once they are computed. A prompt's last token may have fewer bytes
 * than others, so the text of a block can be complete a step after its tokens are. */
static void publish(struct ps_sim_engine *engine, struct ps_sim_seq *seq)
{
    if (!engine->opts->prefix_caching) {
        return;
    }
    uint64_t full = seq->computed / PS_SIM_BLOCK_TOKENS;
    for (; seq->published < full && seq->published < seq->chain.count; seq->published++) {
        ps_sim_blocks_publish(engine->blocks, seq->blocks[seq->published],
                              seq->chain.hashes[seq->published]);
    }
}

/* Takes the blocks that already hold the beginning of the text. At least one token is left to be
 * computed, because only computing gives the next one. */
static void use_cached_prefix(struct ps_sim_engine *engine, struct ps_sim_seq *seq, uint64_t total)
{
    if (!engine->opts->prefix_caching) {
        return;
    }
    uint64_t most = (total - 1) / PS_SIM_BLOCK_TOKENS;
    if (!reserve_places(seq, most)) {
        return;
    }
    for (uint64_t i = 0; i < most && i < seq->chain.count; i++) {
        uint32_t block = ps_sim_blocks_find(engine->blocks, seq->chain.hashes[i]);
        if (block == PS_SIM_NO_BLOCK) {
            break;
        }
        ps_sim_blocks_ref(engine->blocks, block);
        seq->blocks[seq->block_count++] = block;
    }
    seq->published = seq->block_count;
    seq->computed = seq->block_count * PS_SIM_BLOCK_TOKENS;
}

/* --- choosing what a step does ---------------------------------------------------------------- */

static void add_to_step(struct step *step, struct ps_sim_seq *seq, uint64_t tokens)
{
    seq->in_step = tokens;
    step->budget -= tokens;
    step->seqs++;
    if (seq->generated > 0 && seq->computed + 1 == seq->prompt_tokens + seq->generated) {
        step->decodes++;
        step->kv_read += seq->computed;
    } else {
        step->prefill += tokens;
    }
}

static void preempt(struct ps_sim_engine *engine, struct ps_sim_seq *seq)
{
    release_blocks(engine, seq);
    seq->computed = 0;
    seq->in_step = 0;
    seq->preemptions++;
    engine->stats.preemptions++;
    leave(engine, seq);
    enter(engine, engine->waiting.next, seq, WAITING);
}

/* Gives every running sequence its share. False when one had to be preempted: then nobody is let
 * in. */
static bool schedule_running(struct ps_sim_engine *engine, struct step *step)
{
    uint64_t before = engine->stats.preemptions;
    struct ps_list *link = engine->running.next;
    while (link != &engine->running && step->budget > 0) {
        struct ps_sim_seq *seq = seq_of(link);
        uint64_t tokens = seq->prompt_tokens + seq->generated - seq->computed;
        tokens = tokens < step->budget ? tokens : step->budget;
        struct ps_sim_seq *victim = NULL;
        while (victim != seq && !cover(engine, seq, seq->computed + tokens)) {
            victim = seq_of(engine->running.prev);
            preempt(engine, victim);
        }
        if (victim == seq) {
            break;
        }
        add_to_step(step, seq, tokens);
        link = seq->link.next;
    }
    return engine->stats.preemptions == before;
}

static void count_first_start(struct ps_sim_engine *engine, struct ps_sim_seq *seq, ps_time now)
{
    if (seq->started != 0) {
        return;
    }
    seq->started = now;
    seq->hit = seq->computed;
    engine->stats.prompt_tokens += seq->prompt_tokens;
    if (engine->opts->prefix_caching) {
        engine->stats.prefix_queries += seq->prompt_tokens;
        engine->stats.prefix_hits += seq->hit;
    }
}

/* False: there is no memory for it, and it has left. */
static bool may_start(struct ps_sim_engine *engine, struct ps_sim_seq *seq)
{
    if (seq->started != 0 || seq->ops->on_start == NULL || seq->ops->on_start(seq) == PS_OK) {
        return true;
    }
    release_blocks(engine, seq);
    leave(engine, seq);
    seq->ops->on_refused(seq);
    return false;
}

enum let_in { LET_IN, NO_ROOM, TURNED_AWAY };

static enum let_in let_in(struct ps_sim_engine *engine, struct ps_sim_seq *seq, struct step *step,
                          ps_time now)
{
    uint64_t total = seq->prompt_tokens + seq->generated;
    use_cached_prefix(engine, seq, total);
    uint64_t tokens = total - seq->computed;
    tokens = tokens < step->budget ? tokens : step->budget;
    if (!cover(engine, seq, seq->computed + tokens)) {
        release_blocks(engine, seq);
        seq->computed = 0;
        return NO_ROOM;
    }
    if (!may_start(engine, seq)) {
        return TURNED_AWAY;
    }
    count_first_start(engine, seq, now);
    leave(engine, seq);
    enter(engine, &engine->running, seq, RUNNING);
    add_to_step(step, seq, tokens);
    return LET_IN;
}

static void schedule_waiting(struct ps_sim_engine *engine, struct step *step, ps_time now)
{
    while (!ps_list_is_empty(&engine->waiting) && step->budget > 0 &&
           engine->stats.running < engine->opts->max_num_seqs) {
        if (let_in(engine, seq_of(engine->waiting.next), step, now) == NO_ROOM) {
            break;
        }
    }
}

static void leave_image(struct ps_sim_engine *engine, struct ps_sim_image *image)
{
    if (image->active) {
        ps_sim_device_give(&engine->device, image->segment);
    }
    image->active = false;
    image->queued = false;
    ps_list_remove(&image->link);
    engine->stats.images_queued--;
}

static uint64_t image_bytes(const struct ps_sim_engine *engine, const struct ps_sim_image *image)
{
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(image->pixels, engine->opts->image_bytes_per_pixel, &bytes)) {
        return UINT64_MAX;
    }
    return bytes;
}

/* The image at work, after those for which there is no memory were turned away; or NULL. */
static struct ps_sim_image *choose_image(struct ps_sim_engine *engine, ps_time now)
{
    while (!ps_list_is_empty(&engine->images)) {
        struct ps_sim_image *image = PS_LIST_FIRST(&engine->images, struct ps_sim_image, link);
        if (image->active) {
            return image;
        }
        if (image->ready > now) {
            return NULL;
        }
        if (ps_sim_device_take(&engine->device, image_bytes(engine, image), &image->segment) ==
            PS_OK) {
            image->active = true;
            return image;
        }
        leave_image(engine, image);
        image->on_done(image, PS_ELIMIT, now);
    }
    return NULL;
}

static ps_span step_span(const struct ps_sim_opts *opts, const struct step *step,
                         const struct ps_sim_image *image)
{
    double seconds = ps_span_seconds(opts->decode_base) +
                     ps_span_seconds(opts->decode_per_seq) * (double)step->decodes +
                     (double)step->kv_read / opts->kv_read_rate +
                     (double)step->prefill / opts->prefill_rate;
    if (image != NULL) {
        seconds += (double)image->pixels / opts->image_rate;
    }
    double span = ceil(seconds / opts->speed * 1e9);
    return span < 1 ? 1 : span > (double)PS_HOUR ? PS_HOUR : (ps_span)span;
}

static void begin_step(struct ps_sim_engine *engine, ps_time now)
{
    struct step step = {.budget = engine->opts->max_num_batched_tokens};
    if (schedule_running(engine, &step)) {
        schedule_waiting(engine, &step, now);
    }
    const struct ps_sim_image *image = choose_image(engine, now);
    uint64_t tokens = engine->opts->max_num_batched_tokens - step.budget;
    /* A preempted sequence may be all there is; it is let in again by the next step. */
    bool work = tokens > 0 || image != NULL || engine->stats.waiting > 0;
    if (!work) {
        return;
    }
    engine->stats.computed_prompt_tokens += step.prefill;
    if (tokens > 0) {
        ps_sim_tally_add(&engine->stats.step_tokens, (double)tokens);
        ps_sim_tally_add(&engine->stats.step_seqs, (double)step.seqs);
    }
    engine->stepping = true;
    engine->step_end = now + step_span(engine->opts, &step, image);
}

/* --- ending a step ---------------------------------------------------------------------------- */

static void finish(struct ps_sim_engine *engine, struct ps_sim_seq *seq, ps_time now)
{
    release_blocks(engine, seq);
    leave(engine, seq);
    seq->ops->on_done(seq, now);
}

static void generate(struct ps_sim_engine *engine, struct ps_sim_seq *seq, ps_time now)
{
    seq->generated++;
    engine->stats.generated_tokens++;
    if (seq->generated == 1) {
        seq->first_token = now;
    }
    engine->current = seq;
    seq->ops->on_token(seq, now);
    if (engine->current == seq) {
        seq->last_token = now;
        if (seq->generated >= seq->want) {
            finish(engine, seq, now);
        }
    }
    engine->current = NULL;
}

static void end_seq_step(struct ps_sim_engine *engine, struct ps_sim_seq *seq, ps_time now)
{
    seq->computed += seq->in_step;
    seq->in_step = 0;
    publish(engine, seq);
    if (seq->computed < seq->prompt_tokens + seq->generated) {
        return;
    }
    if (seq->want == 0) {
        finish(engine, seq, now);
    } else {
        generate(engine, seq, now);
    }
}

static void end_image_step(struct ps_sim_engine *engine, ps_time now)
{
    if (ps_list_is_empty(&engine->images)) {
        return;
    }
    struct ps_sim_image *image = PS_LIST_FIRST(&engine->images, struct ps_sim_image, link);
    if (!image->active) {
        return;
    }
    image->made++;
    if (image->on_step != NULL) {
        image->on_step(image, now); /* may cancel it, but not free it */
    }
    if (image->active && image->made >= image->steps) {
        engine->stats.images++;
        leave_image(engine, image);
        image->on_done(image, PS_OK, now);
    }
}

static void end_step(struct ps_sim_engine *engine, ps_time now)
{
    engine->stepping = false;
    engine->stats.steps++;
    engine->cursor = engine->running.next;
    while (engine->cursor != &engine->running) {
        struct ps_sim_seq *seq = seq_of(engine->cursor);
        engine->cursor = engine->cursor->next;
        if (seq->in_step > 0) {
            end_seq_step(engine, seq, now);
        }
    }
    engine->cursor = NULL;
    end_image_step(engine, now);
}

/* --- the outside ------------------------------------------------------------------------------ */

static void admit_delayed(struct ps_sim_engine *engine, ps_time now)
{
    while (!ps_list_is_empty(&engine->delayed)) {
        struct ps_sim_seq *seq = seq_of(engine->delayed.next);
        if (seq->ready > now) {
            break;
        }
        leave(engine, seq);
        enter(engine, &engine->waiting, seq, WAITING);
    }
}

/* When an image that waits for its model may begin; PS_NEVER when none waits for that. */
static ps_time next_image(const struct ps_sim_engine *engine)
{
    if (engine->held || ps_list_is_empty(&engine->images)) {
        return PS_NEVER;
    }
    const struct ps_sim_image *image =
        PS_LIST_FIRST(&engine->images, const struct ps_sim_image, link);
    return image->active ? PS_NEVER : image->ready;
}

/* Sorted by when they may begin; equal ones in the order in which they came. */
static void enter_delayed(struct ps_sim_engine *engine, struct ps_sim_seq *seq)
{
    struct ps_list *at = &engine->delayed;
    while (at->prev != &engine->delayed && seq_of(at->prev)->ready > seq->ready) {
        at = at->prev;
    }
    enter(engine, at, seq, DELAYED);
}

ps_time ps_sim_engine_tick(struct ps_sim_engine *engine, ps_time now)
{
    if (engine->stepping && now >= engine->step_end) {
        end_step(engine, now);
    }
    admit_delayed(engine, now);
    if (!engine->stepping && !engine->held) {
        begin_step(engine, now);
    }
    ps_time next = engine->stepping ? engine->step_end : next_image(engine);
    if (!ps_list_is_empty(&engine->delayed)) {
        ps_time ready = seq_of(engine->delayed.next)->ready;
        next = ready < next ? ready : next;
    }
    return next;
}

void ps_sim_engine_submit(struct ps_sim_engine *engine, struct ps_sim_seq *seq, ps_time now)
{
    seq->prompt_tokens = ps_sim_chain_tokens(&seq->chain);
    PS_CHECK(seq->place == NOWHERE && seq->prompt_tokens > 0);
    PS_CHECK(seq->prompt_tokens + seq->want <= engine->max_model_len);
    seq->arrived = now;
    seq->ready =
        now + seq->delay + (ps_span)((double)engine->opts->latency_first / engine->opts->speed);
    if (seq->ready > now) {
        enter_delayed(engine, seq);
    } else {
        enter(engine, &engine->waiting, seq, WAITING);
    }
}

void ps_sim_engine_submit_image(struct ps_sim_engine *engine, struct ps_sim_image *image)
{
    PS_CHECK(!image->queued && image->pixels > 0 && image->steps > 0);
    image->queued = true;
    ps_list_push(&engine->images, &image->link);
    engine->stats.images_queued++;
}

void ps_sim_engine_cancel(struct ps_sim_engine *engine, struct ps_sim_seq *seq)
{
    if (seq->place == NOWHERE) {
        return;
    }
    if (engine->current == seq) {
        engine->current = NULL;
    }
    release_blocks(engine, seq);
    leave(engine, seq);
    seq->in_step = 0;
    engine->stats.canceled++;
}

void ps_sim_engine_cancel_image(struct ps_sim_engine *engine, struct ps_sim_image *image)
{
    if (image->queued) {
        leave_image(engine, image);
    }
}

void ps_sim_seq_fini(struct ps_sim_seq *seq)
{
    PS_CHECK(seq->place == NOWHERE);
    ps_sim_chain_fini(&seq->chain);
    free(seq->blocks);
    seq->blocks = NULL;
    seq->block_cap = 0;
}

uint64_t ps_sim_engine_max_model_len(const struct ps_sim_engine *engine)
{
    return engine->max_model_len;
}

const struct ps_sim_stats *ps_sim_engine_stats(const struct ps_sim_engine *engine)
{
    return &engine->stats;
}

const struct ps_sim_blocks *ps_sim_engine_blocks(const struct ps_sim_engine *engine)
{
    return engine->blocks;
}

const struct ps_sim_device *ps_sim_engine_device(const struct ps_sim_engine *engine)
{
    return &engine->device;
}

struct ps_sim_device *ps_sim_engine_own_device(struct ps_sim_engine *engine)
{
    return &engine->device;
}

void ps_sim_engine_hold(struct ps_sim_engine *engine, bool held)
{
    engine->held = held;
}

bool ps_sim_engine_is_held(const struct ps_sim_engine *engine)
{
    return engine->held;
}

const struct ps_sim_image *ps_sim_engine_image(const struct ps_sim_engine *engine)
{
    if (ps_list_is_empty(&engine->images)) {
        return NULL;
    }
    const struct ps_sim_image *image =
        PS_LIST_FIRST(&engine->images, const struct ps_sim_image, link);
    return image->active ? image : NULL;
}

size_t ps_sim_engine_load(const struct ps_sim_engine *engine)
{
    const struct ps_sim_stats *stats = &engine->stats;
    return stats->delayed + stats->waiting + stats->running + stats->images_queued;
}

bool ps_sim_engine_reset_prefix_cache(struct ps_sim_engine *engine)
{
    return ps_sim_blocks_reset(engine->blocks);
}

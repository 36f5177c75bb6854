#include "sim/desk.h"

#include <stdio.h>

#include "base/check.h"
#include "sim/engines.h"

#define MOST_BUFFERED  ((int64_t)2 << 30)
#define LARGEST_ANSWER ((size_t)512 << 20)
#define KEPT_SCRATCH   ((size_t)1 << 20)

/* --- life ------------------------------------------------------------------------------------- */

static void on_time(struct ps_timer *timer, ps_time now)
{
    ps_sim_desk_tick(PS_CONTAINER_OF(timer, struct ps_sim_desk, timer), now);
}

/* Each model with memory of its own has a slot; otherwise all names mean the one model. */
static size_t count_slots(const struct ps_sim_desk *desk)
{
    return desk->personality->own_slots ? desk->opts->model_count : 1;
}

int ps_sim_desk_start(struct ps_sim_desk *desk, struct ps_loop *loop,
                      const struct ps_sim_opts *opts)
{
    desk->loop = loop;
    desk->opts = opts;
    desk->personality = opts->personality == NULL ? &ps_sim_vllm : opts->personality;
    desk->timer.on_time = on_time;
    desk->faults = ps_rng_make(opts->seed);
    desk->budget.limit = MOST_BUFFERED;
    desk->scratch = ps_buf_make(LARGEST_ANSWER);
    desk->started = ps_loop_now(loop);
    ps_list_init(&desk->parties);
    ps_sim_metrics_init(&desk->metrics);
    ps_sim_lag_init(&desk->lag, opts->metrics_lag, desk->started);
    if (count_slots(desk) > PS_SIM_MOST_SLOTS) {
        return PS_EINVAL;
    }
    int err = ps_sim_engine_new(&desk->engine, opts);
    if (err == PS_OK) {
        err = ps_sim_memory_init(&desk->memory, ps_sim_engine_own_device(desk->engine), opts,
                                 count_slots(desk), !desk->personality->starts_empty);
    }
    if (err == PS_OK && desk->personality->start != NULL) {
        err = desk->personality->start(desk);
    }
    return err == PS_OK ? ps_sim_desk_wake(desk) : err;
}

void ps_sim_desk_stop(struct ps_sim_desk *desk)
{
    if (desk->personality != NULL && desk->personality->stop != NULL) {
        desk->personality->stop(desk);
    }
    ps_timer_clear(desk->loop, &desk->timer);
    ps_sim_engine_free(desk->engine);
    ps_sim_lag_fini(&desk->lag);
    ps_buf_fini(&desk->scratch);
}

/* --- time ------------------------------------------------------------------------------------- */

static void end_all(struct ps_sim_desk *desk, bool ordered)
{
    while (!ps_list_is_empty(&desk->parties)) {
        struct ps_sim_party *party = PS_LIST_FIRST(&desk->parties, struct ps_sim_party, link);
        ps_list_remove(&party->link);
        party->give_up(party, ordered);
    }
}

void ps_sim_desk_abort(struct ps_sim_desk *desk)
{
    end_all(desk, true);
}

static ps_time keep_page(struct ps_sim_desk *desk, ps_time now)
{
    if (desk->personality->metrics == NULL) {
        return PS_NEVER;
    }
    if (desk->lag.next <= now) {
        /* a page that does not fit is shown as far as it goes */
        (void)desk->personality->metrics(ps_sim_lag_push(&desk->lag, now), desk);
    }
    return desk->lag.next;
}

static ps_time earlier(ps_time a, ps_time b)
{
    return a < b ? a : b;
}

/* Models that nobody used for long leave. */
static ps_time expire(struct ps_sim_desk *desk, ps_time now)
{
    for (size_t i = 0; i < desk->memory.count; i++) {
        if (ps_sim_memory_is_expired(&desk->memory, i, now)) {
            ps_sim_desk_release(desk, i, PS_SIM_ALL_PARTS);
        }
    }
    return ps_sim_memory_tick(&desk->memory, now);
}

void ps_sim_desk_tick(struct ps_sim_desk *desk, ps_time now)
{
    ps_time next = ps_sim_engine_tick(desk->engine, now);
    if (desk->personality->tick != NULL) {
        next = earlier(next, desk->personality->tick(desk, now));
    }
    next = earlier(next, expire(desk, now));
    next = earlier(next, keep_page(desk, now));
    if (next != PS_NEVER && ps_timer_set(desk->loop, &desk->timer, next) != PS_OK) {
        /* Moving a timer can't fail, and this one has been in the heap. Without it all would hang,
         * so they end. */
        end_all(desk, false);
    }
    if (desk->scratch.cap > KEPT_SCRATCH) {
        ps_buf_fini(&desk->scratch); /* one huge answer must not be kept for ever */
    }
}

int ps_sim_desk_wake(struct ps_sim_desk *desk)
{
    return ps_timer_set(desk->loop, &desk->timer, ps_sim_desk_now(desk));
}

ps_time ps_sim_desk_wall(const struct ps_sim_desk *desk)
{
    return ps_clock_wall(ps_loop_clock(desk->loop));
}

/* --- models ----------------------------------------------------------------------------------- */

size_t ps_sim_desk_slot(const struct ps_sim_desk *desk, size_t model)
{
    return desk->personality->own_slots ? model : 0;
}

static int refuse_for_room(const struct ps_sim_desk *desk, struct ps_sim_refusal *refusal)
{
    struct ps_sim_usage usage = ps_sim_device_usage(ps_sim_engine_device(desk->engine));
    *refusal = (struct ps_sim_refusal){.status = 500, .type = "InternalServerError"};
    (void)snprintf(
        refusal->text, sizeof refusal->text,
        "The model needs more memory than the device has: %.2f GiB are free (simulated).",
        (double)usage.free / 0x1p30);
    return PS_EINVAL;
}

int ps_sim_desk_use(struct ps_sim_desk *desk, size_t slot, ps_span *delay,
                    struct ps_sim_refusal *refusal)
{
    struct ps_sim_slot *it = &desk->memory.slots[slot];
    ps_time now = ps_sim_desk_now(desk);
    if (!ps_sim_memory_holds(&desk->memory, slot, PS_SIM_ALL_PARTS)) {
        if (desk->personality->absent == PS_SIM_ABSENT_FAILS) {
            desk->personality->away(desk, slot, refusal);
            return PS_EINVAL;
        }
        if (ps_sim_memory_load(&desk->memory, slot, now) != PS_OK) {
            return refuse_for_room(desk, refusal);
        }
    }
    it->users++;
    it->used = now;
    *delay = it->ready > now ? it->ready - now : 0;
    return PS_OK;
}

void ps_sim_desk_unuse(struct ps_sim_desk *desk, size_t slot)
{
    struct ps_sim_slot *it = &desk->memory.slots[slot];
    PS_CHECK(it->users > 0);
    it->users--;
    it->used = ps_sim_desk_now(desk);
    if (it->users == 0 && desk->personality->idle != NULL) {
        desk->personality->idle(desk, slot, ps_sim_desk_now(desk));
    }
}

void ps_sim_desk_release(struct ps_sim_desk *desk, size_t slot, unsigned parts)
{
    ps_sim_memory_release(&desk->memory, slot, parts, ps_sim_desk_now(desk));
    if ((parts & PS_SIM_KV_CACHE) != 0) {
        /* what was cached is gone; with other models still at work nothing is forgotten */
        (void)ps_sim_engine_reset_prefix_cache(desk->engine);
    }
    if (ps_sim_desk_wake(desk) != PS_OK) {
        (void)ps_sim_memory_tick(&desk->memory, PS_NEVER - 1); /* without a timer all leaves now */
    }
}

int ps_sim_desk_metrics(struct ps_sim_desk *desk, struct ps_buf *out)
{
    const struct ps_buf *page = ps_sim_lag_get(&desk->lag, ps_sim_desk_now(desk));
    return page != NULL ? ps_buf_append_str(out, ps_buf_str(page))
                        : desk->personality->metrics(out, desk);
}

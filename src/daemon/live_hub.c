#include "daemon/live_hub.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "io/stream.h"

enum {
    MOST_MESSAGE = 64 * 1024,
    MOST_A_SECOND = 256 * 1024, /* bytes that one subscriber may send */
    SEND_ROOM = 128 * 1024,     /* of a socket; the kernel doubles it */
    FIRSTS_A_SECOND = 16,       /* for sets of their own: each costs control a millisecond or two */
    NICE = 5
};

static const ps_span farewell = 500 * PS_MILLISECOND; /* at the end, for clients to answer goodbyes */

/* --- figures ---------------------------------------------------------------------------------- */

static void publish(struct ps_live_hub *hub)
{
    const uint64_t now[] = {hub->tally.frames, hub->tally.bytes, hub->tally.skipped};
    const uint64_t before[] = {hub->published.frames, hub->published.bytes, hub->published.skipped};
    for (size_t i = 0; i < PS_ARRAY_LEN(now); i++) {
        if (now[i] > before[i]) {
            ps_counter_add_shared(hub->counters[i], now[i] - before[i]);
        }
    }
    hub->published = hub->tally;
}

static enum ps_live_end end_of(const struct ps_live_hub *hub, unsigned code)
{
    switch (code) {
    case PS_WS_LOST:
        return PS_LIVE_LOST;
    case PS_WS_PROTOCOL:
    case PS_WS_UNSUPPORTED:
    case PS_WS_INVALID_DATA:
    case PS_WS_POLICY:
    case PS_WS_TOO_BIG:
        return PS_LIVE_BROKE_RULES;
    default:
        return hub->draining ? PS_LIVE_STOPPED : PS_LIVE_LEFT;
    }
}

/* --- sets ------------------------------------------------------------------------------------- */

static void init_set(struct ps_live_set *set)
{
    ps_list_init(&set->link);
    ps_list_init(&set->members);
    ps_list_init(&set->fresh);
    ps_list_init(&set->want_link);
    ps_list_init(&set->sending_link);
}

static void drop_frames(struct ps_live_set *set)
{
    ps_list_remove(&set->sending_link);
    ps_ws_frame_unref(set->frame);
    ps_ws_frame_unref(set->first);
    set->frame = set->first = NULL;
    set->cursor = NULL;
}

/* Nobody follows the set any more. */
static void abandon(struct ps_live_hub *hub, struct ps_live_set *set)
{
    drop_frames(set);
    ps_list_remove(&set->want_link);
    set->wants_frame = set->wants_first = false;
    if (set == &hub->everything || hub->want.set == set) {
        return; /* it stays, or control still reads its keys: see on_answer() */
    }
    ps_list_remove(&set->link);
    ps_live_keys_fini(&set->keys);
    free(set);
}

static bool is_empty(const struct ps_live_set *set)
{
    return ps_list_is_empty(&set->members) && ps_list_is_empty(&set->fresh);
}

/* The set of these keys (moved in), made where there is none. NULL: there are too many, or no memory. */
static struct ps_live_set *set_of(struct ps_live_hub *hub, struct ps_live_keys *keys)
{
    if (keys->count == 0) {
        ps_live_keys_fini(keys);
        return &hub->everything;
    }
    size_t followed = 0; /* an abandoned one that control still reads is none */
    PS_LIST_FOREACH (node, &hub->sets) {
        struct ps_live_set *set = PS_CONTAINER_OF(node, struct ps_live_set, link);
        if (ps_live_keys_eq(&set->keys, keys)) {
            ps_live_keys_fini(keys);
            return set;
        }
        followed += is_empty(set) ? 0 : 1;
    }
    struct ps_live_set *set = followed < PS_LIVE_SETS_MOST ? calloc(1, sizeof *set) : NULL;
    if (set == NULL) {
        ps_live_keys_fini(keys);
        return NULL;
    }
    init_set(set);
    set->keys = *keys;
    ps_list_push(&hub->sets, &set->link);
    return set;
}

/* --- questions to control --------------------------------------------------------------------- */

static bool may_ask(const struct ps_live_hub *hub, const struct ps_live_set *set)
{
    return set->wants_frame || set == &hub->everything || hub->firsts < FIRSTS_A_SECOND;
}

static struct ps_live_set *next_to_ask_about(const struct ps_live_hub *hub)
{
    PS_LIST_FOREACH (node, &hub->wants) {
        struct ps_live_set *set = PS_CONTAINER_OF(node, struct ps_live_set, want_link);
        if (may_ask(hub, set)) {
            return set;
        }
    }
    return NULL;
}

static void ask(struct ps_live_hub *hub, struct ps_live_set *set)
{
    bool single = set != &hub->everything;
    hub->want.set = set;
    hub->want.first = set->wants_first && (!single || hub->firsts < FIRSTS_A_SECOND);
    if (hub->want.first) {
        hub->firsts += single ? 1 : 0;
        set->wants_first = false;
    } else {
        set->wants_frame = false;
    }
    if (!set->wants_first && !set->wants_frame) {
        ps_list_remove(&set->want_link);
    }
    hub->want.letter.on_delivery = hub->on_want;
    ps_mailbox_post(hub->control, &hub->want.letter);
}

static void ask_next(struct ps_live_hub *hub)
{
    struct ps_live_set *set = hub->want.set != NULL || hub->ending ? NULL : next_to_ask_about(hub);
    if (set != NULL) {
        ask(hub, set);
    }
}

static void want(struct ps_live_hub *hub, struct ps_live_set *set)
{
    if (ps_list_is_empty(&set->want_link)) {
        struct ps_list *at = set == &hub->everything ? hub->wants.next : &hub->wants;
        ps_list_push(at, &set->want_link);
    }
    ask_next(hub);
}

/* --- sending ---------------------------------------------------------------------------------- */

static void settle_in(struct ps_live_set *set, struct ps_live_subscriber *subscriber)
{
    ps_list_remove(&subscriber->link);
    ps_list_push(set->members.next, &subscriber->link); /* in front: the frame under way is older than its first */
}

static void welcome(struct ps_live_set *set)
{
    while (!ps_list_is_empty(&set->fresh)) {
        struct ps_live_subscriber *subscriber = PS_LIST_FIRST(&set->fresh, struct ps_live_subscriber, link);
        settle_in(set, subscriber);
        ps_ws_send(subscriber->ws, set->first);
    }
}

/* Sends a set's frame to at most `most` of its members. Returns to how many. */
static size_t send_some(struct ps_live_set *set, size_t most)
{
    size_t count = 0;
    while (set->cursor != &set->members && count < most) {
        struct ps_live_subscriber *subscriber = PS_CONTAINER_OF(set->cursor, struct ps_live_subscriber, link);
        set->cursor = set->cursor->next;
        ps_ws_send(subscriber->ws, set->frame);
        count++;
    }
    if (set->cursor == &set->members) {
        ps_list_remove(&set->sending_link);
        ps_ws_frame_unref(set->frame);
        set->frame = NULL;
        set->cursor = NULL;
    }
    return count;
}

static void on_turn(struct ps_timer *timer, ps_time now)
{
    struct ps_live_hub *hub = PS_CONTAINER_OF(timer, struct ps_live_hub, turn_timer);
    size_t left = ps_live_pace_most(&hub->pace);
    (void)now;
    while (left > 0 && !ps_list_is_empty(&hub->sending)) {
        size_t count = send_some(PS_LIST_FIRST(&hub->sending, struct ps_live_set, sending_link), left);
        hub->pace.sent += count;
        left -= count;
    }
    publish(hub);
    if (!ps_list_is_empty(&hub->sending)) {
        ps_time after = ps_clock_now(ps_loop_clock(hub->loop)); /* the loop's time is that before the sends */
        PS_IGNORE(ps_timer_set(hub->loop, timer, ps_live_pace_next(&hub->pace, after))); /* else the next frame does */
    }
}

/* Members that have not got the last frame yet miss it. */
static void miss_rest(struct ps_live_hub *hub, struct ps_live_set *set)
{
    for (; set->cursor != NULL && set->cursor != &set->members; set->cursor = set->cursor->next) {
        hub->tally.skipped++;
    }
    ps_ws_frame_unref(set->frame);
    set->frame = NULL;
}

static void broadcast(struct ps_live_hub *hub, struct ps_live_set *set, struct ps_ws_frame *frame)
{
    miss_rest(hub, set);
    ps_list_remove(&set->sending_link);
    if (ps_list_is_empty(&set->members)) {
        set->cursor = NULL;
        return;
    }
    if (ps_list_is_empty(&hub->sending)) {
        hub->pace = ps_live_pace_begin(ps_loop_now(hub->loop), atomic_load_explicit(&hub->count, memory_order_relaxed));
    }
    set->frame = ps_ws_frame_ref(frame);
    set->cursor = set->members.next;
    ps_list_push(&hub->sending, &set->sending_link);
    if (!ps_heap_holds(&hub->turn_timer.node)) {
        on_turn(&hub->turn_timer, ps_loop_now(hub->loop));
    }
}

/* --- subscribers ------------------------------------------------------------------------------ */

static void join_set(struct ps_live_subscriber *subscriber, struct ps_live_set *set)
{
    struct ps_live_hub *hub = subscriber->hub;
    subscriber->set = set;
    ps_list_push(&set->fresh, &subscriber->link);
    atomic_fetch_add_explicit(&hub->followers, set == &hub->everything ? 1 : 0, memory_order_relaxed);
    if (set->first != NULL) {
        welcome(set);
        return;
    }
    set->wants_first = true;
    want(hub, set);
}

static void leave_set(struct ps_live_subscriber *subscriber)
{
    struct ps_live_hub *hub = subscriber->hub;
    struct ps_live_set *set = subscriber->set;
    if (set->cursor == &subscriber->link) {
        set->cursor = subscriber->link.next;
    }
    ps_list_remove(&subscriber->link);
    atomic_fetch_sub_explicit(&hub->followers, set == &hub->everything ? 1 : 0, memory_order_relaxed);
    if (is_empty(set)) {
        abandon(hub, set);
    }
}

void ps_live_subscriber_end(struct ps_live_subscriber *subscriber)
{
    subscriber->counter.on_gone(subscriber->counter.ctx, &subscriber->peer);
    atomic_fetch_sub_explicit(&subscriber->hub->count, 1, memory_order_relaxed);
    free(subscriber);
}

static void stop_if_empty(struct ps_live_hub *hub)
{
    if (hub->ending && atomic_load_explicit(&hub->count, memory_order_relaxed) == 0) {
        ps_loop_stop(hub->loop);
    }
}

static void on_gone(void *ctx, unsigned code)
{
    struct ps_live_subscriber *subscriber = ctx;
    struct ps_live_hub *hub = subscriber->hub;
    ps_counter_add_shared(hub->ends[end_of(hub, code)], 1);
    leave_set(subscriber);
    ps_live_subscriber_end(subscriber);
    publish(hub);
    stop_if_empty(hub);
}

static void answer_error(struct ps_live_subscriber *subscriber, const struct ps_live_refusal *refusal)
{
    struct ps_buf text = ps_buf_make(1024);
    int err = ps_buf_printf(&text, "{\"type\":\"error\",\"code\":\"%s\",\"message\":\"", refusal->code);
    err = err != PS_OK ? err : ps_buf_append_json(&text, ps_str_from(refusal->text));
    err = err != PS_OK ? err : ps_buf_append_str(&text, PS_STR("\"}"));
    if (err == PS_OK) {
        ps_ws_send_text(subscriber->ws, ps_buf_str(&text));
    }
    ps_buf_fini(&text);
}

static void on_message(void *ctx, bool is_text, struct ps_str message)
{
    struct ps_live_subscriber *subscriber = ctx;
    struct ps_live_keys keys;
    struct ps_live_refusal refusal = {"no_memory", "out of memory"};
    if (!is_text) {
        ps_ws_close(subscriber->ws, PS_WS_UNSUPPORTED, PS_STR("messages are JSON in text frames"));
        return;
    }
    if (ps_live_keys_change(&keys, &subscriber->set->keys, message, &refusal) != PS_OK) {
        answer_error(subscriber, &refusal);
        return;
    }
    struct ps_live_set *set = set_of(subscriber->hub, &keys);
    if (set == NULL) {
        answer_error(subscriber, &(struct ps_live_refusal){
                                     "too_many_sets", "others follow 64 different sets of keys already: "
                                                      "take the keys that they do, or the default set"});
        return;
    }
    if (set != subscriber->set) {
        leave_set(subscriber);
        join_set(subscriber, set);
    }
}

static const struct ps_ws_ops ws_ops = {on_message, on_gone};
static const struct ps_stream_ops no_ops = {.on_data = NULL}; /* until the WebSocket owns it, in the same call */

static int open_ws(struct ps_live_hub *hub, struct ps_live_subscriber *subscriber)
{
    struct ps_ws_opts opts = {
        .ops = &ws_ops,
        .ctx = subscriber,
        .tally = &hub->tally,
        .max_message = MOST_MESSAGE,
        .max_waiting = 1,
        .skips = true,
        .deflate = subscriber->deflate,
        .max_rate = MOST_A_SECOND,
        .ping_interval = hub->ping_interval,
    };
    struct ps_stream *stream = subscriber->stream;
    subscriber->stream = NULL;
    int err = ps_stream_attach(stream, hub->loop, &no_ops, NULL);
    if (err != PS_OK) {
        return err;
    }
    ps_stream_set_send_room(stream, SEND_ROOM);
    return ps_ws_open(&subscriber->ws, hub->loop, stream, &opts);
}

static void say_goodbye(struct ps_live_subscriber *subscriber)
{
    ps_ws_close(subscriber->ws, PS_WS_GOING_AWAY, PS_STR("the server is stopping"));
}

static void on_arrival(struct ps_letter *letter, void *receiver)
{
    struct ps_live_hub *hub = receiver;
    struct ps_live_subscriber *subscriber = PS_CONTAINER_OF(letter, struct ps_live_subscriber, letter);
    if (open_ws(hub, subscriber) != PS_OK) {
        ps_live_subscriber_end(subscriber);
        stop_if_empty(hub);
        return;
    }
    join_set(subscriber, &hub->everything);
    if (hub->draining) {
        say_goodbye(subscriber);
    }
}

void ps_live_hub_arrive(struct ps_live_hub *hub, struct ps_live_subscriber *subscriber)
{
    subscriber->hub = hub;
    subscriber->letter.on_delivery = on_arrival;
    ps_mailbox_post(hub->mailbox, &subscriber->letter);
}

/* --- letters of control ----------------------------------------------------------------------- */

static int make_frame(struct ps_ws_frame **out, const struct ps_buf *text)
{
    return ps_ws_frame_new(out, PS_WS_OPCODE_TEXT, ps_buf_str(text));
}

static void on_second(struct ps_letter *letter, void *receiver)
{
    struct ps_live_hub *hub = receiver;
    struct ps_live_second *second = PS_CONTAINER_OF(letter, struct ps_live_second, letter);
    struct ps_ws_frame *frame = NULL;
    hub->firsts = 0;
    ps_ws_frame_unref(hub->everything.first);
    hub->everything.first = NULL;
    PS_LIST_FOREACH (node, &hub->sets) {
        struct ps_live_set *set = PS_CONTAINER_OF(node, struct ps_live_set, link);
        ps_ws_frame_unref(set->first);
        set->first = NULL;
        if (!ps_list_is_empty(&set->members)) {
            set->wants_frame = true;
            want(hub, set);
        }
    }
    if (second->has_text && make_frame(&frame, &second->text) == PS_OK) {
        broadcast(hub, &hub->everything, frame);
        ps_ws_frame_unref(frame);
    }
    ps_buf_fini(&second->text);
    free(second);
    atomic_fetch_sub_explicit(&hub->unread, 1, memory_order_relaxed);
    ask_next(hub);
}

void ps_live_hub_second(struct ps_live_hub *hub, struct ps_live_second *second)
{
    atomic_fetch_add_explicit(&hub->unread, 1, memory_order_relaxed);
    second->letter.on_delivery = on_second;
    ps_mailbox_post(hub->mailbox, &second->letter);
}

static void use_answer(struct ps_live_hub *hub, struct ps_live_set *set, struct ps_ws_frame *frame)
{
    if (hub->want.first) {
        ps_ws_frame_unref(set->first);
        set->first = ps_ws_frame_ref(frame);
        welcome(set);
    } else {
        broadcast(hub, set, frame);
    }
}

static void on_answer(struct ps_letter *letter, void *receiver)
{
    struct ps_live_hub *hub = receiver;
    struct ps_live_want *answer = PS_CONTAINER_OF(letter, struct ps_live_want, letter);
    struct ps_live_set *set = answer->set;
    struct ps_ws_frame *frame = NULL;
    bool made = answer->err == PS_OK && make_frame(&frame, &answer->text) == PS_OK;
    ps_buf_fini(&answer->text);
    answer->set = NULL;
    if (is_empty(set)) {
        abandon(hub, set);
    } else if (made) {
        use_answer(hub, set, frame);
    } else if (answer->first) {
        set->wants_first = true; /* once more, in the next second */
        ps_list_remove(&set->want_link);
        ps_list_push(&hub->wants, &set->want_link);
    }
    ps_ws_frame_unref(frame);
    if (made) {
        ask_next(hub);
    }
}

void ps_live_hub_answer(struct ps_live_want *answer)
{
    answer->letter.on_delivery = on_answer;
    ps_mailbox_post(answer->hub->mailbox, &answer->letter);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void say_goodbye_to(struct ps_list *list)
{
    PS_LIST_FOREACH (node, list) {
        say_goodbye(PS_CONTAINER_OF(node, struct ps_live_subscriber, link));
    }
}

static void say_goodbyes(struct ps_live_hub *hub)
{
    say_goodbye_to(&hub->everything.members);
    say_goodbye_to(&hub->everything.fresh);
    PS_LIST_FOREACH (node, &hub->sets) {
        struct ps_live_set *set = PS_CONTAINER_OF(node, struct ps_live_set, link);
        say_goodbye_to(&set->members);
        say_goodbye_to(&set->fresh);
    }
}

static void cut_off(struct ps_list *list)
{
    while (!ps_list_is_empty(list)) {
        struct ps_live_subscriber *subscriber = PS_LIST_FIRST(list, struct ps_live_subscriber, link);
        ps_list_remove(&subscriber->link);
        ps_ws_free(subscriber->ws);
        ps_counter_add_shared(subscriber->hub->ends[PS_LIVE_STOPPED], 1);
        ps_live_subscriber_end(subscriber);
    }
}

/* Everybody and everything goes. */
static void clear(struct ps_live_hub *hub)
{
    hub->want.set = NULL;
    while (!ps_list_is_empty(&hub->sets)) {
        struct ps_live_set *set = PS_LIST_FIRST(&hub->sets, struct ps_live_set, link);
        cut_off(&set->members);
        cut_off(&set->fresh);
        abandon(hub, set);
    }
    cut_off(&hub->everything.members);
    cut_off(&hub->everything.fresh);
    abandon(hub, &hub->everything);
    publish(hub);
}

struct note {
    struct ps_letter letter;
    ps_span ping_interval; /* 0 = drain */
};

static void on_drain(struct ps_letter *letter, void *receiver)
{
    struct ps_live_hub *hub = receiver;
    free(PS_CONTAINER_OF(letter, struct note, letter));
    hub->draining = true;
    say_goodbyes(hub);
}

static void on_end_time(struct ps_timer *timer, ps_time now)
{
    (void)now;
    ps_loop_stop(PS_CONTAINER_OF(timer, struct ps_live_hub, end_timer)->loop);
}

static void on_stop(struct ps_letter *letter, void *receiver)
{
    struct ps_live_hub *hub = receiver;
    (void)letter;
    hub->draining = hub->ending = true;
    say_goodbyes(hub);
    hub->end_timer.on_time = on_end_time;
    if (ps_timer_set(hub->loop, &hub->end_timer, ps_loop_now(hub->loop) + farewell) != PS_OK) {
        ps_loop_stop(hub->loop);
    }
    stop_if_empty(hub);
}

static void on_ping(struct ps_letter *letter, void *receiver)
{
    struct ps_live_hub *hub = receiver;
    struct note *note = PS_CONTAINER_OF(letter, struct note, letter);
    hub->ping_interval = note->ping_interval;
    free(note);
}

static void post_note(struct ps_live_hub *hub, void (*on_delivery)(struct ps_letter *, void *), ps_span interval)
{
    struct note *note = malloc(sizeof *note);
    if (note != NULL) {
        *note = (struct note){.letter.on_delivery = on_delivery, .ping_interval = interval};
        ps_mailbox_post(hub->mailbox, &note->letter);
    }
}

void ps_live_hub_drain(struct ps_live_hub *hub)
{
    atomic_store_explicit(&hub->closed, true, memory_order_relaxed);
    post_note(hub, on_drain, 0);
}

void ps_live_hub_set_ping(struct ps_live_hub *hub, ps_span interval)
{
    post_note(hub, on_ping, interval);
}

/* Requests come first. Whoever is SCHED_BATCH interrupts nobody when it wakes up, and with a higher nice value it gets less
 * of a core that has more to do; neither needs a privilege, and a machine without a core to spare still sends frames,
 * which SCHED_IDLE would not promise. */
static void step_back(void)
{
    PS_IGNORE(pthread_setschedparam(pthread_self(), SCHED_BATCH, &(struct sched_param){.sched_priority = 0}));
    PS_IGNORE(nice(NICE)); /* on Linux of this thread alone, beside the process's own */
}

static void *run(void *arg)
{
    struct ps_live_hub *hub = arg;
    pthread_setname_np(pthread_self(), "live");
    step_back();
    ps_loop_run(hub->loop);
    return NULL;
}

int ps_live_hub_start(struct ps_live_hub *hub)
{
    init_set(&hub->everything);
    ps_list_init(&hub->sets);
    ps_list_init(&hub->wants);
    ps_list_init(&hub->sending);
    hub->turn_timer.on_time = on_turn;
    hub->stop.on_delivery = on_stop;
    hub->want.hub = hub;
    hub->want.text = ps_buf_make(PS_LIVE_FRAME_MOST);
    int err = ps_loop_new(&hub->loop, &ps_clock_real);
    err = err != PS_OK ? err : ps_mailbox_new(&hub->mailbox, hub->loop, hub);
    if (err == PS_OK) {
        hub->started = pthread_create(&hub->thread, NULL, run, hub) == 0;
        err = hub->started ? PS_OK : PS_ENOMEM;
    }
    return err;
}

void ps_live_hub_stop(struct ps_live_hub *hub)
{
    atomic_store_explicit(&hub->closed, true, memory_order_relaxed);
    if (hub->started) {
        ps_mailbox_post(hub->mailbox, &hub->stop);
        pthread_join(hub->thread, NULL);
        hub->started = false;
    }
}

void ps_live_hub_fini(struct ps_live_hub *hub)
{
    hub->ending = true;
    ps_mailbox_free(hub->mailbox);
    if (hub->loop != NULL) {
        clear(hub);
        ps_timer_clear(hub->loop, &hub->turn_timer);
        ps_timer_clear(hub->loop, &hub->end_timer);
    }
    ps_buf_fini(&hub->want.text);
    ps_loop_free(hub->loop);
}

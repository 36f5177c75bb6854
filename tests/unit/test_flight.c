/* test_flight - everybody gets every byte, whenever and wherever they sat down.
 *
 * First the rules, told by one thread that runs two loops in turn; then four threads that do all of
 * it at random, with answers whose bytes follow from their first eight.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/flight.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/rng.h"
#include "io/loop.h"
#include "io/mailbox.h"

enum { KEEP = 64 * 1024, PIECE = 1000, MANY = 32 * 1024 * 1024 };

/* --- two loops, one thread -------------------------------------------------------------------- */

struct office {
    struct ps_loop *loop;
    struct ps_mailbox *mailbox;
    struct ps_flight_desk desk;
    struct ps_timer stop;
};

struct scene {
    struct ps_clock clock;
    struct office here, there;
    struct ps_flights *flights;
    struct ps_budget budget;
    struct ps_flight *flight; /* the last that was begun */
    int deserted, room;
    ps_time purged; /* what began earlier is invalid */
};

struct reader {
    struct ps_flight_seat seat;
    struct ps_buf got;
    enum ps_flight_state state; /* at the last news */
    int news;
    bool hides;
    bool waits; /* reads nothing */
    bool leaves;
    struct reader *takes_along; /* leaves with it */
};

static void on_stop(struct ps_timer *timer, ps_time now)
{
    (void)now;
    ps_loop_stop(PS_CONTAINER_OF(timer, struct office, stop)->loop);
}

static void office_open(struct office *office, const struct ps_clock *clock)
{
    PS_CHECK(ps_loop_new(&office->loop, clock) == PS_OK);
    PS_CHECK(ps_mailbox_new(&office->mailbox, office->loop, office) == PS_OK);
    office->desk = (struct ps_flight_desk){office->loop, office->mailbox};
    office->stop.on_time = on_stop;
}

static void office_close(struct office *office)
{
    ps_mailbox_free(office->mailbox);
    ps_loop_free(office->loop);
}

/* Until nothing is under way any more. */
static void settle(struct scene *scene)
{
    struct office *offices[] = {&scene->here, &scene->there};
    for (int i = 0; i < 8; i++) {
        struct office *office = offices[i % 2];
        PS_CHECK(ps_timer_set(office->loop, &office->stop, ps_clock_now(&scene->clock)) == PS_OK);
        ps_loop_run(office->loop);
    }
}

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    ps_clock_init_manual(&scene->clock, PS_SECOND, 1000 * PS_SECOND);
    office_open(&scene->here, &scene->clock);
    office_open(&scene->there, &scene->clock);
    scene->budget.limit = INT64_MAX;
    PS_CHECK(ps_flights_new(&scene->flights, KEEP) == PS_OK);
    *state = scene;
    return 0;
}

/* Nothing is held when all have gone. */
static int teardown(void **state)
{
    struct scene *scene = *state;
    office_close(&scene->here);
    office_close(&scene->there);
    int bad = ps_flights_count(scene->flights) != 0 || scene->budget.used != 0;
    ps_flights_free(scene->flights);
    free(scene);
    return bad;
}

static void read_all(struct reader *reader)
{
    struct ps_str piece;
    while (!reader->waits && (piece = ps_flight_peek(&reader->seat, reader->hides)).len > 0) {
        struct ps_str some = ps_str_first(piece, PIECE);
        PS_CHECK(ps_buf_append_str(&reader->got, some) == PS_OK);
        ps_flight_read_on(&reader->seat, some.len);
    }
}

static void on_news(struct ps_flight_seat *seat)
{
    struct reader *reader = PS_CONTAINER_OF(seat, struct reader, seat);
    reader->news++;
    reader->state = ps_flight_state(seat->flight);
    read_all(reader);
    if (reader->takes_along != NULL) {
        ps_flight_leave(&reader->takes_along->seat);
    }
    if (reader->leaves) {
        ps_flight_leave(seat);
    }
}

static void on_deserted(void *ctx)
{
    struct scene *scene = ctx;
    scene->deserted++;
}

static void on_room(void *ctx)
{
    struct scene *scene = ctx;
    scene->room++;
}

static bool is_purged(void *ctx, struct ps_entry *probe, const struct ps_key *key)
{
    const struct scene *scene = ctx;
    assert_int_equal(key->bytes[0], 7);
    return probe->born <= scene->purged;
}

static enum ps_flight_role sit(struct scene *scene, struct office *office, struct reader *reader)
{
    const struct ps_key key = {.bytes = {7}};
    const struct ps_flight_spec spec = {.key = &key,
                                        .route = PS_STR("chat"),
                                        .born = ps_clock_wall(&scene->clock),
                                        .budget = &scene->budget,
                                        .is_purged = is_purged,
                                        .ctx = scene};
    const struct ps_flight_pilot pilot = {on_deserted, on_room, scene};
    struct ps_flight *flight = NULL;
    if (reader != NULL) {
        reader->seat.on_news = on_news;
        reader->got = ps_buf_make(SIZE_MAX);
    }
    enum ps_flight_role role = ps_flights_join(scene->flights, &spec, &office->desk,
                                               reader == NULL ? NULL : &reader->seat, &flight);
    if (role == PS_FLIGHT_LEADS) {
        scene->flight = flight;
        ps_flight_take_off(flight, &pilot);
    }
    return role;
}

static void stand(struct reader *reader)
{
    ps_flight_leave(&reader->seat);
    ps_buf_fini(&reader->got);
}

static void begin(struct scene *scene)
{
    const struct ps_flight_head head = {.status = 200,
                                        .kind = PS_ENTRY_EVENTS,
                                        .lines = PS_STR("content-type: text/event-stream\r\n"),
                                        .length = PS_FLIGHT_LENGTH_UNKNOWN};
    assert_int_equal(ps_flight_begin(scene->flight, &head), PS_OK);
}

static void record(struct scene *scene, const char *text, bool hidden)
{
    assert_int_equal(ps_flight_record(scene->flight, ps_str_from(text), hidden), PS_OK);
}

/* `size` bytes that follow from their position. */
static void record_much(struct scene *scene, size_t size)
{
    char piece[PIECE];
    while (size > 0) {
        size_t n = size < sizeof piece ? size : sizeof piece;
        uint64_t at = ps_flight_recorded(scene->flight);
        for (size_t i = 0; i < n; i++) {
            piece[i] = (char)((at + i) * 31 / 7);
        }
        assert_int_equal(ps_flight_record(scene->flight, (struct ps_str){piece, n}, false), PS_OK);
        size -= n;
    }
    ps_flight_tell(scene->flight);
}

static bool is_right(const struct reader *reader, size_t size)
{
    struct ps_str got = ps_buf_str(&reader->got);
    size_t i = 0;
    while (i < got.len && got.ptr[i] == (char)((uint64_t)i * 31 / 7)) {
        i++;
    }
    return i == size && got.len == size;
}

static const struct ps_flight_facts facts = {.attempts = 1, .endpoint = 2, .waited = 3};

static void land(struct scene *scene)
{
    ps_flight_land(scene->flight, NULL, false, &facts);
}

static void assert_got(const struct reader *reader, const char *text)
{
    struct ps_str got = ps_buf_str(&reader->got);
    assert_int_equal(got.len, strlen(text));
    assert_memory_equal(got.ptr, text, got.len);
}

/* --- the rules -------------------------------------------------------------------------------- */

static void who_sits_before_and_after_the_head_gets_everything(void **state)
{
    struct scene *scene = *state;
    struct reader first = {0}, near = {0}, far = {0}, late = {0};
    assert_int_equal(sit(scene, &scene->here, &first), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &far), PS_FLIGHT_JOINED);
    settle(scene);
    assert_int_equal(far.state, PS_FLIGHT_WAITING);
    begin(scene);
    record(scene, "one ", false);
    assert_int_equal(sit(scene, &scene->here, &near), PS_FLIGHT_JOINED);
    assert_int_equal(near.news, 0); /* never from inside */
    ps_flight_tell(scene->flight);
    assert_int_equal(first.news + near.news, 0);
    settle(scene);
    assert_got(&first, "one ");
    assert_got(&far, "one ");
    assert_int_equal(far.state, PS_FLIGHT_OPEN);
    record(scene, "two ", false); /* not told */
    assert_int_equal(sit(scene, &scene->there, &late), PS_FLIGHT_JOINED);
    settle(scene);
    assert_got(&late, "one "); /* the prefix at once */
    assert_int_equal(ps_flights_count(scene->flights), 1);
    land(scene);
    assert_int_equal(ps_flights_count(scene->flights), 0);
    settle(scene);
    struct reader *all[] = {&first, &near, &far, &late};
    for (size_t i = 0; i < PS_ARRAY_LEN(all); i++) {
        assert_got(all[i], "one two ");
        assert_int_equal(all[i]->state, PS_FLIGHT_LANDED);
        assert_int_equal(ps_flight_facts(all[i]->seat.flight)->endpoint, 2);
        assert_int_equal(ps_flight_head(all[i]->seat.flight)->status, 200);
        stand(all[i]);
    }
    assert_int_equal(scene->deserted, 0);
}

static void hidden_events_are_for_those_who_want_them(void **state)
{
    struct scene *scene = *state;
    struct reader whole = {0}, hiding = {.hides = true}, late = {.hides = true};
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(sit(scene, &scene->here, &whole), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &hiding), PS_FLIGHT_JOINED);
    begin(scene);
    record(scene, "a", true);
    record(scene, "b", true);
    record(scene, "C", false);
    record(scene, "", true);
    ps_flight_tell(scene->flight);
    settle(scene);
    assert_got(&hiding, "C");
    record(scene, text, true); /* over the edge of a segment, while all have read everything */
    settle(scene);
    record(scene, "D", false);
    record(scene, "e", true);
    ps_flight_tell(scene->flight);
    assert_int_equal(sit(scene, &scene->there, &late), PS_FLIGHT_JOINED);
    land(scene);
    settle(scene);
    assert_got(&hiding, "CD");
    assert_got(&late, "CD");
    assert_int_equal(ps_buf_str(&whole.got).len, 3 + sizeof text - 1 + 2);
    stand(&whole);
    stand(&hiding);
    stand(&late);
}

static void too_many_hidden_events_are_refused(void **state)
{
    struct scene *scene = *state;
    struct reader reader = {.hides = true};
    assert_int_equal(sit(scene, &scene->here, &reader), PS_FLIGHT_LEADS);
    begin(scene);
    for (int i = 0; i < PS_FLIGHT_HIDDEN_MAX; i++) {
        record(scene, "h", true);
        record(scene, "v", false);
    }
    assert_int_equal(ps_flight_record(scene->flight, PS_STR("h"), true), PS_ELIMIT);
    ps_flight_crash(scene->flight, &facts);
    settle(scene);
    assert_got(&reader, "vvvvvvvv");
    assert_int_equal(reader.state, PS_FLIGHT_CRASHED);
    stand(&reader);
}

static void a_body_can_be_copied_as_long_as_it_is_whole(void **state)
{
    struct scene *scene = *state;
    struct reader reader = {0};
    char *copy = calloc(1, KEEP + 1);
    assert_int_equal(sit(scene, &scene->here, &reader), PS_FLIGHT_LEADS);
    begin(scene);
    record_much(scene, KEEP);
    assert_true(ps_flight_is_whole(scene->flight));
    assert_int_equal(ps_flight_copy_body(scene->flight, copy, KEEP - 1), PS_EINVAL);
    assert_int_equal(ps_flight_copy_body(scene->flight, copy, KEEP), PS_OK);
    settle(scene);
    assert_memory_equal(copy, ps_buf_str(&reader.got).ptr, KEEP);
    record_much(scene, 1);
    assert_false(ps_flight_is_whole(scene->flight));
    assert_int_equal(ps_flight_copy_body(scene->flight, copy, KEEP + 1), PS_EINVAL);
    free(copy);
    land(scene);
    settle(scene);
    assert_true(is_right(&reader, KEEP + 1));
    stand(&reader);
}

static void what_is_longer_than_is_kept_is_closed_for_more(void **state)
{
    struct scene *scene = *state;
    struct reader reader = {0}, far = {0}, next = {0};
    assert_int_equal(sit(scene, &scene->here, &reader), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &far), PS_FLIGHT_JOINED);
    struct ps_flight *before = scene->flight;
    begin(scene);
    record_much(scene, 10 * KEEP);
    assert_int_equal(ps_flights_count(scene->flights), 0);
    assert_int_equal(sit(scene, &scene->there, &next), PS_FLIGHT_LEADS);
    settle(scene);
    assert_true(is_right(&reader, 10 * KEEP));
    assert_true(is_right(&far, 10 * KEEP));
    assert_true(scene->budget.used < 2 * KEEP); /* nothing that all have read is held */
    land(scene);                                /* the second one */
    scene->flight = before;
    record_much(scene, PIECE);
    land(scene);
    settle(scene);
    assert_true(is_right(&reader, 10 * KEEP + PIECE));
    assert_true(is_right(&far, 10 * KEEP + PIECE));
    stand(&reader);
    stand(&far);
    stand(&next);
}

static void a_single_slow_seat_makes_the_pilot_wait(void **state)
{
    struct scene *scene = *state;
    struct reader slow = {.waits = true};
    assert_int_equal(sit(scene, &scene->there, &slow), PS_FLIGHT_LEADS);
    begin(scene);
    record_much(scene, 10 * KEEP);
    settle(scene);
    assert_true(ps_flight_must_wait(scene->flight));
    assert_false(ps_flight_is_behind(&slow.seat));
    settle(scene);
    assert_int_equal(scene->room, 0);
    slow.waits = false;
    read_all(&slow);
    settle(scene);
    assert_int_equal(scene->room, 1);
    assert_false(ps_flight_must_wait(scene->flight));
    record_much(scene, PIECE);
    land(scene);
    settle(scene);
    assert_true(is_right(&slow, 10 * KEEP + PIECE));
    assert_int_equal(scene->room, 1);
    stand(&slow);
}

static void seats_that_are_all_slow_make_the_pilot_wait(void **state)
{
    struct scene *scene = *state;
    struct reader slow = {.waits = true}, other = {.waits = true};
    assert_int_equal(sit(scene, &scene->here, &slow), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &other), PS_FLIGHT_JOINED);
    begin(scene);
    record_much(scene, 10 * KEEP);
    assert_true(ps_flight_must_wait(scene->flight));
    other.waits = false;
    read_all(&other); /* one is enough */
    settle(scene);
    assert_int_equal(scene->room, 1);
    assert_false(ps_flight_must_wait(scene->flight));
    other.waits = true;
    record_much(scene, 10 * KEEP);
    assert_true(ps_flight_must_wait(scene->flight));
    stand(&other); /* or that it leaves: the rest decides */
    slow.waits = false;
    read_all(&slow);
    settle(scene);
    assert_int_equal(scene->room, 2);
    land(scene);
    settle(scene);
    assert_true(is_right(&slow, 20 * KEEP));
    stand(&slow);
}

static void a_slow_seat_slows_nobody_and_is_given_up_in_the_end(void **state)
{
    struct scene *scene = *state;
    struct reader fast = {0}, slow = {.waits = true};
    size_t size = 0;
    assert_int_equal(sit(scene, &scene->here, &fast), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &slow), PS_FLIGHT_JOINED);
    begin(scene);
    while (!ps_flight_is_behind(&slow.seat) && size < 3 * MANY) {
        record_much(scene, KEEP);
        size += KEEP;
        settle(scene);
        assert_false(ps_flight_must_wait(scene->flight));
    }
    assert_true(size > MANY / 2 && size < 2 * MANY);
    assert_false(ps_flight_is_behind(&fast.seat));
    int news = slow.news;
    settle(scene);
    assert_true(slow.news > news); /* it is told */
    stand(&slow);
    assert_true(scene->budget.used < 4 * KEEP);
    land(scene);
    settle(scene);
    assert_true(is_right(&fast, size));
    assert_int_equal(scene->room, 0);
    stand(&fast);
}

static void memory_that_is_used_up_ends_the_keeping_and_nothing_else(void **state)
{
    struct scene *scene = *state;
    struct reader reader = {0}, slow = {.waits = true}, next = {0};
    scene->budget.limit = 5000;
    assert_int_equal(sit(scene, &scene->here, &reader), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &slow), PS_FLIGHT_JOINED);
    begin(scene);
    record_much(scene, 20 * PIECE);
    assert_false(ps_flight_is_whole(scene->flight));
    assert_int_equal(ps_flights_count(scene->flights), 0);
    settle(scene);
    assert_true(is_right(&reader, 20 * PIECE));
    while (!ps_flight_is_behind(&slow.seat)) { /* sooner than where there is memory */
        assert_true(ps_flight_recorded(scene->flight) < MANY / 16);
        record_much(scene, KEEP);
        settle(scene);
        assert_false(ps_flight_must_wait(scene->flight));
    }
    uint64_t size = ps_flight_recorded(scene->flight);
    land(scene);
    settle(scene);
    slow.waits = false;
    read_all(&slow); /* what is held is right to the end */
    assert_true(is_right(&slow, size));
    assert_true(is_right(&reader, size));
    stand(&slow);
    stand(&reader);
    scene->budget.limit = 10; /* not even the beginning fits */
    assert_int_equal(sit(scene, &scene->here, &next), PS_FLIGHT_LEADS);
    begin(scene);
    record(scene, "still here", false);
    land(scene);
    settle(scene);
    assert_got(&next, "still here");
    stand(&next);
}

static void who_began_may_leave_and_the_last_one_ends_it(void **state)
{
    struct scene *scene = *state;
    struct reader first = {0}, far = {0}, near = {0}, next = {0};
    assert_int_equal(sit(scene, &scene->here, &first), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &far), PS_FLIGHT_JOINED);
    begin(scene);
    record(scene, "one ", false);
    stand(&first);
    assert_int_equal(sit(scene, &scene->here, &near), PS_FLIGHT_JOINED);
    record(scene, "two", false);
    ps_flight_tell(scene->flight);
    settle(scene);
    assert_got(&far, "one two");
    assert_got(&near, "one two");
    stand(&near);
    settle(scene);
    assert_int_equal(scene->deserted, 0);
    stand(&far); /* on another thread than the pilot's */
    stand(&far); /* twice is fine */
    assert_int_equal(ps_flights_count(scene->flights), 0);
    assert_int_equal(scene->deserted, 0); /* never from inside */
    settle(scene);
    assert_int_equal(scene->deserted, 1);
    ps_flight_crash(scene->flight, &facts);
    assert_int_equal(sit(scene, &scene->here, &next), PS_FLIGHT_LEADS);
    stand(&next);
    ps_flight_crash(scene->flight, &facts); /* the pilot ends it before it hears of that */
    settle(scene);
    assert_int_equal(scene->deserted, 1);
}

static void a_refusal_is_told_to_all(void **state)
{
    struct scene *scene = *state;
    struct reader first = {.leaves = true}, far = {0};
    const struct ps_flight_refusal refusal = {
        .status = 429, .code = "queue_full", .retry_after = PS_SECOND, .text = "later"};
    assert_int_equal(sit(scene, &scene->here, &first), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &far), PS_FLIGHT_JOINED);
    ps_flight_refuse(scene->flight, &refusal, &facts);
    assert_int_equal(ps_flights_count(scene->flights), 0);
    settle(scene);
    assert_int_equal(first.state, PS_FLIGHT_REFUSED);
    assert_null(first.seat.flight);
    assert_int_equal(far.state, PS_FLIGHT_REFUSED);
    assert_int_equal(ps_flight_refusal(far.seat.flight)->status, 429);
    assert_string_equal(ps_flight_refusal(far.seat.flight)->text, "later");
    assert_int_equal(ps_flight_facts(far.seat.flight)->attempts, 1);
    stand(&first);
    stand(&far);
}

static void an_answer_that_breaks_off_is_broken_for_all(void **state)
{
    struct scene *scene = *state;
    struct reader first = {0}, far = {0};
    assert_int_equal(sit(scene, &scene->here, &first), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &far), PS_FLIGHT_JOINED);
    begin(scene);
    record(scene, "one ", false);
    ps_flight_crash(scene->flight, &facts);
    settle(scene);
    assert_int_equal(far.state, PS_FLIGHT_CRASHED);
    assert_got(&first, "one ");
    assert_got(&far, "one ");
    assert_null(ps_flight_entry(far.seat.flight));
    stand(&first);
    stand(&far);
}

static void an_entry_lands_and_lives_as_long_as_somebody_sits(void **state)
{
    struct scene *scene = *state;
    struct reader first = {0}, far = {0};
    const struct ps_entry_spec spec = {.status = 200, .body = PS_STR("known")};
    struct ps_entry *entry = NULL;
    assert_int_equal(ps_entry_new(&entry, &spec), PS_OK);
    assert_int_equal(sit(scene, &scene->here, &first), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &far), PS_FLIGHT_JOINED);
    ps_flight_land(scene->flight, entry, true, &facts);
    settle(scene);
    stand(&first);
    assert_int_equal(far.state, PS_FLIGHT_LANDED);
    assert_true(ps_flight_is_cached(far.seat.flight));
    assert_true(ps_str_eq(ps_entry_body(ps_flight_entry(far.seat.flight)), PS_STR("known")));
    stand(&far);
}

static void a_purge_closes_a_flight_for_those_who_ask_after_it(void **state)
{
    struct scene *scene = *state;
    struct reader before = {0}, after = {0}, joined = {0};
    assert_int_equal(sit(scene, &scene->here, &before), PS_FLIGHT_LEADS);
    struct ps_flight *old = scene->flight;
    scene->purged = ps_clock_wall(&scene->clock);
    ps_clock_advance(&scene->clock, PS_SECOND);
    assert_int_equal(sit(scene, &scene->there, &after), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->here, &joined), PS_FLIGHT_JOINED);
    assert_ptr_equal(joined.seat.flight, scene->flight);
    begin(scene);
    record(scene, "new", false);
    land(scene);
    scene->flight = old;
    begin(scene);
    record(scene, "old", false);
    land(scene);
    settle(scene);
    assert_got(&before, "old");
    assert_got(&after, "new");
    assert_got(&joined, "new");
    stand(&before);
    stand(&after);
    stand(&joined);
}

static void a_flight_without_a_seat_flies_on(void **state)
{
    struct scene *scene = *state;
    struct reader reader = {0};
    assert_int_equal(sit(scene, &scene->here, NULL), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, NULL), PS_FLIGHT_JOINED);
    assert_int_equal(sit(scene, &scene->there, &reader), PS_FLIGHT_JOINED);
    begin(scene);
    record(scene, "one", false);
    ps_flight_tell(scene->flight);
    settle(scene);
    assert_got(&reader, "one");
    stand(&reader);
    settle(scene);
    assert_int_equal(scene->deserted, 0);
    record_much(scene, 20 * KEEP); /* nobody is too slow */
    assert_false(ps_flight_must_wait(scene->flight));
    assert_true(scene->budget.used < 2 * KEEP);
    land(scene);
    settle(scene);
}

static void a_seat_may_take_others_along(void **state)
{
    struct scene *scene = *state;
    struct reader before = {0}, other = {0}, behind = {0};
    assert_int_equal(sit(scene, &scene->here, &before), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->here, &other), PS_FLIGHT_JOINED);
    assert_int_equal(sit(scene, &scene->here, &behind), PS_FLIGHT_JOINED);
    before.takes_along = &behind;
    other.takes_along = &before;
    other.leaves = true;
    begin(scene);
    ps_flight_tell(scene->flight);
    settle(scene);
    assert_int_equal(before.news, 1);
    assert_int_equal(other.news, 1);
    assert_int_equal(behind.news, 0);
    assert_int_equal(scene->deserted, 1);
    ps_flight_crash(scene->flight, &facts);
}

static void everything_may_end_with_letters_and_tasks_under_way(void **state)
{
    struct scene *scene = *state;
    struct reader first = {.waits = true}, far = {.waits = true}, last = {0};
    assert_int_equal(sit(scene, &scene->here, &first), PS_FLIGHT_LEADS);
    assert_int_equal(sit(scene, &scene->there, &far), PS_FLIGHT_JOINED);
    begin(scene);
    record_much(scene, 10 * KEEP);
    assert_true(ps_flight_must_wait(scene->flight));
    stand(&first);
    ps_flight_crash(scene->flight, &facts);
    struct ps_mailbox *gone = scene->here.mailbox;
    scene->here.desk.mailbox = NULL; /* nobody may post to who flew from now on */
    stand(&far);
    scene->here.desk.mailbox = gone;
    assert_int_equal(sit(scene, &scene->there, &last), PS_FLIGHT_LEADS);
    stand(&last); /* the pilot is told, and has ended before it hears */
    ps_flight_crash(scene->flight, &facts);
    assert_int_equal(scene->deserted, 0);
}

/* --- four threads, at random ------------------------------------------------------------------ */

enum { LANES = 4, GUESTS = 12, KEYS = 5, SEED_BYTES = 8 };

struct guest {
    struct reader reader;
    struct lane *lane;
};

struct lane {
    struct world *world;
    struct office office;
    pthread_t thread;
    struct ps_rng rng;
    struct ps_task tick;
    unsigned turns; /* in which something may begin */
    size_t pilots;
    struct guest guests[GUESTS];
    struct ps_list flying;                 /* struct flyer */
    unsigned ended[PS_FLIGHT_CRASHED + 1]; /* answers that guests saw to their end */
};

struct world {
    struct ps_flights *flights;
    struct ps_budget budget;
    struct lane lanes[LANES];
};

/* A pilot, and the answer that follows from its seed. */
struct flyer {
    struct ps_list link;
    struct lane *lane;
    struct ps_flight *flight;
    uint64_t seed;
    unsigned event;
    bool begun, waits, deserted;
};

static uint64_t drawn(uint64_t seed, uint64_t what)
{
    struct ps_rng rng = ps_rng_make(seed ^ (what * 0x9e3779b97f4a7c15));
    return ps_rng_next(&rng);
}

static unsigned events_of(uint64_t seed)
{
    return 1 + (unsigned)(drawn(seed, 1) % (drawn(seed, 2) % 4 == 0 ? 300 : 30));
}

static bool is_hidden(uint64_t seed, unsigned event)
{
    return event % 40 == 7 && drawn(seed, 100 + event) % 2 == 0;
}

static size_t write_event(uint64_t seed, unsigned event, char *out)
{
    size_t len = SEED_BYTES + (size_t)(drawn(seed, 1000 + event) % 1500);
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)(seed + event * 131 + i);
    }
    memcpy(out, &seed, event == 0 ? SEED_BYTES : 0);
    return len;
}

/* Is this the beginning of the answer, or all of it? */
static void check(const struct reader *reader, bool complete)
{
    struct ps_str got = ps_buf_str(&reader->got);
    char event[SEED_BYTES + 1500];
    uint64_t seed;
    if (got.len < SEED_BYTES) {
        assert_false(complete);
        return;
    }
    memcpy(&seed, got.ptr, sizeof seed);
    for (unsigned i = 0; i < events_of(seed) && (complete || got.len > 0); i++) {
        if (reader->hides && is_hidden(seed, i)) {
            continue;
        }
        size_t len = write_event(seed, i, event);
        assert_true(got.len >= len || !complete);
        len = len < got.len ? len : got.len;
        assert_memory_equal(got.ptr, event, len);
        got = ps_str_skip(got, len);
    }
    assert_int_equal(got.len, 0);
}

static void guest_leave(struct guest *guest, bool complete)
{
    check(&guest->reader, complete);
    stand(&guest->reader);
}

/* Reads some of what there is; at the end of everything it goes. */
static void guest_read(struct guest *guest)
{
    struct reader *reader = &guest->reader;
    struct ps_rng *rng = &guest->lane->rng;
    for (uint64_t n = ps_rng_below(rng, 40); n > 0; n--) {
        enum ps_flight_state state = ps_flight_state(reader->seat.flight);
        struct ps_str piece = ps_flight_peek(&reader->seat, reader->hides);
        if (piece.len > 0) {
            piece = ps_str_first(piece, 1 + ps_rng_below(rng, 4000));
            PS_CHECK(ps_buf_append_str(&reader->got, piece) == PS_OK);
            ps_flight_read_on(&reader->seat, piece.len);
        } else if (state > PS_FLIGHT_OPEN) {
            guest->lane->ended[state]++;
            guest_leave(guest, state != PS_FLIGHT_REFUSED);
            return;
        }
    }
}

static void on_guest_news(struct ps_flight_seat *seat)
{
    guest_read(PS_CONTAINER_OF(PS_CONTAINER_OF(seat, struct reader, seat), struct guest, reader));
}

static void flyer_end(struct flyer *flyer)
{
    uint64_t how = drawn(flyer->seed, 3) % 8;
    if (!flyer->begun) {
        const struct ps_flight_refusal refusal = {.status = 503};
        ps_flight_refuse(flyer->flight, &refusal, &facts);
    } else if (how == 1 || flyer->deserted) {
        ps_flight_crash(flyer->flight, &facts);
    } else {
        ps_flight_land(flyer->flight, NULL, false, &facts);
    }
    ps_list_remove(&flyer->link);
    flyer->lane->pilots--;
    free(flyer);
}

static void on_flyer_deserted(void *ctx)
{
    struct flyer *flyer = ctx;
    flyer->deserted = true;
    flyer_end(flyer);
}

static void on_flyer_room(void *ctx)
{
    struct flyer *flyer = ctx;
    flyer->waits = false;
}

static void flyer_record(struct flyer *flyer)
{
    char event[SEED_BYTES + 1500];
    size_t len = write_event(flyer->seed, flyer->event, event);
    bool hidden = is_hidden(flyer->seed, flyer->event++);
    PS_CHECK(ps_flight_record(flyer->flight, (struct ps_str){event, len}, hidden) == PS_OK);
}

static void flyer_fly(struct flyer *flyer)
{
    struct ps_rng *rng = &flyer->lane->rng;
    const struct ps_flight_head head = {.status = 200, .kind = PS_ENTRY_EVENTS};
    if (flyer->waits || ps_rng_below(rng, 3) == 0) {
        return;
    }
    if (!flyer->begun && drawn(flyer->seed, 3) % 8 == 0) {
        flyer_end(flyer);
        return;
    }
    if (!flyer->begun) {
        PS_CHECK(ps_flight_begin(flyer->flight, &head) == PS_OK);
        flyer->begun = true;
    }
    for (uint64_t n = ps_rng_below(rng, 20); n > 0 && flyer->event < events_of(flyer->seed); n--) {
        flyer_record(flyer);
    }
    if (flyer->event == events_of(flyer->seed)) {
        flyer_end(flyer);
    } else if (ps_rng_below(rng, 4) > 0) {
        ps_flight_tell(flyer->flight);
        flyer->waits = ps_flight_must_wait(flyer->flight);
    }
}

static bool is_purged_sometimes(void *ctx, struct ps_entry *probe, const struct ps_key *key)
{
    struct lane *lane = ctx;
    (void)probe;
    (void)key;
    return ps_rng_below(&lane->rng, 20) == 0;
}

static void guest_come(struct lane *lane, struct guest *guest)
{
    const struct ps_key key = {.bytes = {(uint8_t)ps_rng_below(&lane->rng, KEYS)}};
    const struct ps_flight_spec spec = {
        .key = &key, .budget = &lane->world->budget, .is_purged = is_purged_sometimes, .ctx = lane};
    struct ps_flight *flight = NULL;
    struct ps_flight_seat *seat = ps_rng_below(&lane->rng, 20) == 0 ? NULL : &guest->reader.seat;
    *guest = (struct guest){.lane = lane, .reader = {.hides = ps_rng_below(&lane->rng, 2) == 0}};
    guest->reader.seat.on_news = on_guest_news;
    guest->reader.got = ps_buf_make(SIZE_MAX);
    if (ps_flights_join(lane->world->flights, &spec, &lane->office.desk, seat, &flight) !=
        PS_FLIGHT_LEADS) {
        return;
    }
    struct flyer *flyer = calloc(1, sizeof *flyer);
    PS_CHECK(flyer != NULL);
    *flyer = (struct flyer){.lane = lane, .flight = flight, .seed = ps_rng_next(&lane->rng)};
    const struct ps_flight_pilot pilot = {on_flyer_deserted, on_flyer_room, flyer};
    ps_list_push(&lane->flying, &flyer->link);
    lane->pilots++;
    ps_flight_take_off(flight, &pilot);
}

static void guest_turn(struct lane *lane, struct guest *guest)
{
    uint64_t what = ps_rng_below(&lane->rng, 100);
    if (guest->reader.seat.flight == NULL) {
        if (lane->turns > 0 && what < 20) {
            guest_come(lane, guest);
        }
    } else if (what < 2 || ps_flight_is_behind(&guest->reader.seat)) {
        guest_leave(guest, false);
    } else if (what < 30) {
        guest_read(guest);
    }
}

static void on_tick(struct ps_task *task)
{
    struct lane *lane = PS_CONTAINER_OF(task, struct lane, tick);
    size_t seated = 0;
    lane->turns -= lane->turns > 0 ? 1 : 0;
    for (size_t i = 0; i < GUESTS; i++) {
        guest_turn(lane, &lane->guests[i]);
        seated += lane->guests[i].reader.seat.flight != NULL;
    }
    struct ps_list *node = lane->flying.next;
    while (node != &lane->flying) {
        struct flyer *flyer = PS_CONTAINER_OF(node, struct flyer, link);
        node = node->next;
        flyer_fly(flyer);
    }
    if (lane->turns == 0 && seated == 0 && lane->pilots == 0) {
        ps_loop_stop(lane->office.loop);
    } else {
        ps_loop_defer(lane->office.loop, task);
    }
}

static void *run_lane(void *arg)
{
    struct lane *lane = arg;
    ps_loop_defer(lane->office.loop, &lane->tick);
    ps_loop_run(lane->office.loop);
    return NULL;
}

static void many_threads_give_all_the_same_bytes(void **state)
{
    (void)state;
    struct world *world = calloc(1, sizeof *world);
    unsigned ended[PS_FLIGHT_CRASHED + 1] = {0};
    assert_non_null(world);
    world->budget.limit = 600 * 1024; /* now and then not enough */
    assert_int_equal(ps_flights_new(&world->flights, KEEP), PS_OK);
    for (size_t i = 0; i < LANES; i++) {
        struct lane *lane = &world->lanes[i];
        *lane = (struct lane){.world = world, .rng = ps_rng_make(i + 1), .turns = 3000};
        lane->tick.on_turn = on_tick;
        ps_list_init(&lane->flying);
        office_open(&lane->office, &ps_clock_real);
    }
    for (size_t i = 0; i < LANES; i++) {
        struct lane *lane = &world->lanes[i];
        assert_int_equal(pthread_create(&lane->thread, NULL, run_lane, lane), 0);
    }
    for (size_t i = 0; i < LANES; i++) {
        pthread_join(world->lanes[i].thread, NULL);
    }
    for (size_t i = 0; i < LANES; i++) {
        office_close(&world->lanes[i].office);
        for (size_t k = 0; k < PS_ARRAY_LEN(ended); k++) {
            ended[k] += world->lanes[i].ended[k];
        }
    }
    assert_true(ended[PS_FLIGHT_LANDED] > 100 && ended[PS_FLIGHT_CRASHED] > 10 &&
                ended[PS_FLIGHT_REFUSED] > 10);
    assert_int_equal(ps_flights_count(world->flights), 0);
    assert_int_equal(world->budget.used, 0);
    ps_flights_free(world->flights);
    free(world);
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        STORY(who_sits_before_and_after_the_head_gets_everything),
        STORY(hidden_events_are_for_those_who_want_them),
        STORY(too_many_hidden_events_are_refused),
        STORY(a_body_can_be_copied_as_long_as_it_is_whole),
        STORY(what_is_longer_than_is_kept_is_closed_for_more),
        STORY(a_single_slow_seat_makes_the_pilot_wait),
        STORY(seats_that_are_all_slow_make_the_pilot_wait),
        STORY(a_slow_seat_slows_nobody_and_is_given_up_in_the_end),
        STORY(memory_that_is_used_up_ends_the_keeping_and_nothing_else),
        STORY(who_began_may_leave_and_the_last_one_ends_it),
        STORY(a_refusal_is_told_to_all),
        STORY(an_answer_that_breaks_off_is_broken_for_all),
        STORY(an_entry_lands_and_lives_as_long_as_somebody_sits),
        STORY(a_purge_closes_a_flight_for_those_who_ask_after_it),
        STORY(a_flight_without_a_seat_flies_on),
        STORY(a_seat_may_take_others_along),
        STORY(everything_may_end_with_letters_and_tasks_under_way),
        cmocka_unit_test(many_threads_give_all_the_same_bytes),
    };
#undef STORY
    return cmocka_run_group_tests(tests, NULL, NULL);
}

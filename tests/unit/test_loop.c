/* test_loop - deadlines, tasks and their order, with a clock that is moved by hand.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/loop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

struct bench {
    struct ps_clock clock;
    struct ps_loop *loop;
    char order[64];
    size_t count;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    ps_clock_init_manual(&bench->clock, 5 * PS_SECOND, 0);
    *state = bench;
    return ps_loop_new(&bench->loop, &bench->clock);
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    ps_loop_free(bench->loop);
    free(bench);
    return 0;
}

static void note(struct bench *bench, char what)
{
    assert_true(bench->count < sizeof bench->order - 1);
    bench->order[bench->count++] = what;
}

/* --- deadlines -------------------------------------------------------------------------------- */

struct alarm {
    struct ps_timer timer;
    struct bench *bench;
    struct alarm *other;
    ps_span again;
    int left;
    char name;
};

static void on_note(struct ps_timer *timer, ps_time now)
{
    (void)now;
    struct alarm *alarm = PS_CONTAINER_OF(timer, struct alarm, timer);
    note(alarm->bench, alarm->name);
}

static void on_stop(struct ps_timer *timer, ps_time now)
{
    on_note(timer, now);
    ps_loop_stop(PS_CONTAINER_OF(timer, struct alarm, timer)->bench->loop);
}

static struct alarm make(struct bench *bench, char name)
{
    return (struct alarm){.bench = bench, .name = name, .timer.on_time = on_note};
}

static void set(struct alarm *alarm, ps_time when)
{
    assert_int_equal(ps_timer_set(alarm->bench->loop, &alarm->timer, when), PS_OK);
}

static void timers_run_in_order_of_their_deadlines(void **state)
{
    struct bench *bench = *state;
    struct alarm a = make(bench, 'a');
    struct alarm b = make(bench, 'b');
    struct alarm c = make(bench, 'c');
    set(&c, 8 * PS_SECOND);
    set(&a, 6 * PS_SECOND);
    set(&b, 7 * PS_SECOND);
    c.timer.on_time = on_stop;
    ps_clock_advance(&bench->clock, 10 * PS_SECOND);
    ps_loop_run(bench->loop);
    assert_string_equal(bench->order, "abc");
}

static void on_day(struct ps_timer *timer, ps_time now)
{
    struct alarm *alarm = PS_CONTAINER_OF(timer, struct alarm, timer);
    assert_int_equal(now, ps_loop_now(alarm->bench->loop));
    if (--alarm->left == 0) {
        ps_loop_stop(alarm->bench->loop);
        return;
    }
    set(alarm, alarm->timer.node.key + alarm->again);
}

static void a_day_of_seconds_passes_at_once(void **state)
{
    struct bench *bench = *state;
    struct alarm day = make(bench, 'd');
    day.timer.on_time = on_day;
    day.left = 24 * 60; /* minutes */
    day.again = PS_MINUTE;
    set(&day, 5 * PS_SECOND + PS_MINUTE);
    ps_clock_advance(&bench->clock, 25 * PS_HOUR);
    ps_loop_run(bench->loop);
    assert_int_equal(day.left, 0);
}

static void on_move_other(struct ps_timer *timer, ps_time now)
{
    struct alarm *alarm = PS_CONTAINER_OF(timer, struct alarm, timer);
    on_note(timer, now);
    set(alarm->other, now + PS_HOUR);
}

static void on_clear_other(struct ps_timer *timer, ps_time now)
{
    struct alarm *alarm = PS_CONTAINER_OF(timer, struct alarm, timer);
    on_note(timer, now);
    ps_timer_clear(alarm->bench->loop, &alarm->other->timer);
}

static void a_callback_may_move_or_clear_timers_that_are_due(void **state)
{
    struct bench *bench = *state;
    struct alarm a = make(bench, 'a');
    struct alarm b = make(bench, 'b');
    struct alarm c = make(bench, 'c');
    struct alarm d = make(bench, 'd');
    struct alarm e = make(bench, 'e');
    a.timer.on_time = on_move_other;
    a.other = &c;
    b.timer.on_time = on_clear_other;
    b.other = &d;
    e.timer.on_time = on_stop;
    set(&a, 1);
    set(&b, 2);
    set(&c, 3);
    set(&d, 4);
    set(&e, 5);
    ps_loop_run(bench->loop);
    assert_string_equal(bench->order, "abe");
    assert_true(ps_heap_holds(&c.timer.node));
    assert_false(ps_heap_holds(&d.timer.node));
    ps_timer_clear(bench->loop, &c.timer);
    ps_timer_clear(bench->loop, &c.timer);
}

static void on_now_again(struct ps_timer *timer, ps_time now)
{
    set(PS_CONTAINER_OF(timer, struct alarm, timer), now);
}

static void a_timer_that_is_always_due_does_not_hold_the_loop(void **state)
{
    struct bench *bench = *state;
    struct alarm greedy = make(bench, 'g');
    struct alarm other = make(bench, 'o');
    greedy.timer.on_time = on_now_again;
    other.timer.on_time = on_stop;
    set(&greedy, 1);
    set(&other, 2);
    ps_loop_run(bench->loop);
    assert_string_equal(bench->order, "o");
    ps_timer_clear(bench->loop, &greedy.timer);
}

static void a_real_deadline_moved_earlier_is_kept(void **state)
{
    struct bench *bench = *state;
    struct ps_loop *loop;
    assert_int_equal(ps_loop_new(&loop, &ps_clock_real), PS_OK);
    struct ps_loop *before = bench->loop;
    bench->loop = loop;
    struct alarm late = make(bench, 'l');
    struct alarm soon = make(bench, 's');
    soon.timer.on_time = on_stop;
    ps_time start = ps_loop_now(loop);
    set(&late, start + PS_HOUR);
    set(&soon, start + 30 * PS_MINUTE);
    set(&soon, start + 10 * PS_MILLISECOND);
    ps_loop_run(loop);
    assert_string_equal(bench->order, "s");
    assert_true(ps_clock_now(&ps_clock_real) - start >= 10 * PS_MILLISECOND);
    ps_timer_clear(loop, &late.timer);
    bench->loop = before;
    ps_loop_free(loop);
}

static void a_real_deadline_in_the_past_runs_at_once(void **state)
{
    struct bench *bench = *state;
    struct ps_loop *loop;
    assert_int_equal(ps_loop_new(&loop, &ps_clock_real), PS_OK);
    struct ps_loop *before = bench->loop;
    bench->loop = loop;
    struct alarm past = make(bench, 'p');
    past.timer.on_time = on_stop;
    set(&past, -5);
    ps_loop_run(loop);
    assert_string_equal(bench->order, "p");
    bench->loop = before;
    ps_loop_free(loop);
}

/* --- tasks ------------------------------------------------------------------------------------ */

struct chore {
    struct ps_task task;
    struct bench *bench;
    struct chore *queues;
    struct chore *clears;
    int left;
    char name;
};

static void on_chore(struct ps_task *task)
{
    struct chore *chore = PS_CONTAINER_OF(task, struct chore, task);
    note(chore->bench, chore->name);
    if (chore->left > 0 && --chore->left == 0) {
        chore->queues = NULL;
        ps_loop_stop(chore->bench->loop);
    }
    if (chore->queues != NULL) {
        ps_loop_defer(chore->bench->loop, &chore->queues->task);
    }
    if (chore->clears != NULL) {
        ps_task_clear(&chore->clears->task);
    }
}

static struct chore make_chore(struct bench *bench, char name)
{
    return (struct chore){.bench = bench, .name = name, .task.on_turn = on_chore};
}

static void tasks_run_once_in_the_order_of_queueing(void **state)
{
    struct bench *bench = *state;
    struct chore a = make_chore(bench, 'a');
    struct chore b = make_chore(bench, 'b');
    b.left = 1;
    ps_loop_defer(bench->loop, &a.task);
    ps_loop_defer(bench->loop, &b.task);
    ps_loop_defer(bench->loop, &a.task);
    ps_loop_run(bench->loop);
    assert_string_equal(bench->order, "ab");
}

static void a_task_that_queues_itself_waits_for_the_next_turn(void **state)
{
    struct bench *bench = *state;
    struct chore self = make_chore(bench, 's');
    struct chore once = make_chore(bench, 'o');
    self.queues = &self;
    self.left = 3;
    ps_loop_defer(bench->loop, &self.task);
    ps_loop_defer(bench->loop, &once.task);
    ps_loop_run(bench->loop);
    assert_string_equal(bench->order, "soss");
}

static void a_task_may_clear_one_that_is_about_to_run(void **state)
{
    struct bench *bench = *state;
    struct chore a = make_chore(bench, 'a');
    struct chore b = make_chore(bench, 'b');
    struct chore c = make_chore(bench, 'c');
    a.clears = &b;
    c.left = 1;
    ps_loop_defer(bench->loop, &a.task);
    ps_loop_defer(bench->loop, &b.task);
    ps_loop_defer(bench->loop, &c.task);
    ps_loop_run(bench->loop);
    assert_string_equal(bench->order, "ac");
    struct chore never = make_chore(bench, 'n');
    ps_task_clear(&never.task);
}

static ps_span cpu_time(void)
{
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (ps_span)at.tv_sec * PS_SECOND + at.tv_nsec;
}

static void the_loop_rests_when_a_waiting_task_is_cleared(void **state)
{
    struct bench *bench = *state;
    struct ps_loop *loop;
    struct ps_loop *before = bench->loop;
    assert_int_equal(ps_loop_new(&loop, &ps_clock_real), PS_OK);
    bench->loop = loop;
    struct chore a = make_chore(bench, 'a');
    struct chore b = make_chore(bench, 'b');
    struct alarm end = make(bench, 'e');
    end.timer.on_time = on_stop;
    struct chore c = make_chore(bench, 'c');
    struct chore d = make_chore(bench, 'd');
    a.queues = &c; /* both wait for the next turn, where c goes first ... */
    b.queues = &d;
    c.clears = &d; /* ... and takes the other back: nothing waits any more */
    ps_loop_defer(loop, &a.task);
    ps_loop_defer(loop, &b.task);
    set(&end, ps_loop_now(loop) + 150 * PS_MILLISECOND);
    ps_span used = cpu_time();
    ps_loop_run(loop);
    used = cpu_time() - used;
    assert_string_equal(bench->order, "abce");
    assert_true(used < 75 * PS_MILLISECOND);
    bench->loop = before;
    ps_loop_free(loop);
}

static void freeing_the_loop_runs_tasks_that_queue_tasks(void **state)
{
    struct bench *bench = *state;
    struct ps_loop *loop;
    struct ps_loop *before = bench->loop;
    assert_int_equal(ps_loop_new(&loop, &bench->clock), PS_OK);
    bench->loop = loop;
    struct chore a = make_chore(bench, 'a');
    struct chore b = make_chore(bench, 'b');
    struct chore c = make_chore(bench, 'c');
    a.queues = &b;
    b.queues = &c;
    ps_loop_defer(loop, &a.task);
    ps_loop_free(loop);
    assert_string_equal(bench->order, "abc");
    bench->loop = before;
}

static void a_loop_that_was_stopped_and_never_ran_can_be_freed(void **state)
{
    (void)state;
    struct ps_loop *loop;
    assert_int_equal(ps_loop_new(&loop, &ps_clock_real), PS_OK);
    ps_loop_stop(loop);
    ps_loop_free(loop);
    ps_loop_free(NULL);
}

static void on_signal(void *ctx, int signum)
{
    struct bench *bench = ctx;
    note(bench, signum == SIGUSR1 ? '1' : '2');
    if (bench->count == 2) {
        ps_loop_stop(bench->loop);
    }
}

static void signals_arrive_on_the_loop(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(ps_loop_on_signal(bench->loop, SIGUSR1, on_signal, bench), PS_OK);
    assert_int_equal(ps_loop_on_signal(bench->loop, SIGUSR2, on_signal, bench), PS_OK);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(ps_loop_on_signal(bench->loop, SIGWINCH, on_signal, bench), PS_OK);
    }
    assert_int_equal(ps_loop_on_signal(bench->loop, SIGWINCH, on_signal, bench), PS_ELIMIT);
    raise(SIGUSR1);
    raise(SIGUSR2);
    ps_loop_run(bench->loop);
    assert_string_equal(bench->order, "12");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(timers_run_in_order_of_their_deadlines),
        CASE(a_day_of_seconds_passes_at_once),
        CASE(a_callback_may_move_or_clear_timers_that_are_due),
        CASE(a_timer_that_is_always_due_does_not_hold_the_loop),
        CASE(a_real_deadline_moved_earlier_is_kept),
        CASE(a_real_deadline_in_the_past_runs_at_once),
        CASE(tasks_run_once_in_the_order_of_queueing),
        CASE(a_task_that_queues_itself_waits_for_the_next_turn),
        CASE(a_task_may_clear_one_that_is_about_to_run),
        CASE(the_loop_rests_when_a_waiting_task_is_cleared),
        CASE(freeing_the_loop_runs_tasks_that_queue_tasks),
        CASE(a_loop_that_was_stopped_and_never_ran_can_be_freed),
        CASE(signals_arrive_on_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

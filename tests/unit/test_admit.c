/* admit - the gate: bounds, order, hand-over, cancellation, and all of it from several threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/rng.h"
#include "gateway/admit.h"

struct client {
    struct ps_ticket ticket;
    int notified;
};

static void on_notify(struct ps_ticket *ticket)
{
    struct client *client = PS_CONTAINER_OF(ticket, struct client, ticket);
    client->notified++;
}

static struct client make(enum ps_priority priority, uint64_t tokens)
{
    return (struct client){
        .ticket = {.priority = priority, .tokens = tokens, .bytes = 100, .notify = on_notify}};
}

static struct ps_gate *gate_of(uint64_t max, uint64_t tokens, uint64_t queue, uint64_t bytes)
{
    struct ps_admit_opts opts = {max, tokens, queue, bytes, PS_SECOND};
    struct ps_gate *gate = NULL;
    assert_int_equal(ps_gate_new(&gate, &opts), PS_OK);
    return gate;
}

static void a_freed_slot_goes_to_the_first_waiter(void **state)
{
    (void)state;
    struct ps_gate *gate = gate_of(1, 0, 10, 1000);
    struct client a = make(PS_PRIORITY_NORMAL, 5);
    struct client b = make(PS_PRIORITY_NORMAL, 5);
    struct client c = make(PS_PRIORITY_NORMAL, 5);
    assert_int_equal(ps_gate_enter(gate, &a.ticket, 0), PS_ADMITTED);
    assert_int_equal(ps_gate_enter(gate, &b.ticket, 0), PS_QUEUED);
    c.ticket.prompt = 3;
    assert_int_equal(ps_gate_enter(gate, &c.ticket, 0), PS_QUEUED);
    struct ps_gate_stats stats;
    ps_gate_read(gate, &stats);
    assert_int_equal(stats.queued_tokens, 10);
    assert_int_equal(stats.queued_prompts, 3);
    ps_gate_leave(gate, &a.ticket, 1);
    assert_int_equal(b.notified, 1);
    assert_int_equal(c.notified, 0);
    assert_true(ps_gate_is_sane(gate));
    ps_gate_leave(gate, &b.ticket, 2);
    assert_int_equal(c.notified, 1);
    ps_gate_leave(gate, &c.ticket, 3);
    ps_gate_read(gate, &stats);
    assert_int_equal(stats.queued_tokens, 0);
    assert_int_equal(stats.queued_prompts, 0);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.in_flight_tokens, 0);
    assert_int_equal(stats.admitted_total, 3);
    assert_int_equal(stats.waited_total, 2);
    assert_int_equal(stats.waited_sum, 3);
    ps_gate_free(gate);
}

static void a_higher_class_goes_first(void **state)
{
    (void)state;
    struct ps_gate *gate = gate_of(1, 0, 10, 1000);
    struct client inside = make(PS_PRIORITY_NORMAL, 0);
    struct client low = make(PS_PRIORITY_LOW, 0);
    struct client high = make(PS_PRIORITY_HIGH, 0);
    assert_int_equal(ps_gate_enter(gate, &inside.ticket, 0), PS_ADMITTED);
    assert_int_equal(ps_gate_enter(gate, &low.ticket, 0), PS_QUEUED);
    assert_int_equal(ps_gate_enter(gate, &high.ticket, 0), PS_QUEUED);
    ps_gate_leave(gate, &inside.ticket, 0);
    assert_int_equal(high.notified, 1);
    assert_int_equal(low.notified, 0);
    ps_gate_leave(gate, &high.ticket, 0);
    ps_gate_leave(gate, &low.ticket, 0);
    ps_gate_free(gate);
}

static void tokens_are_bounded_and_a_large_request_is_not_starved(void **state)
{
    (void)state;
    struct ps_gate *gate = gate_of(0, 100, 10, 1000);
    struct client a = make(PS_PRIORITY_NORMAL, 60);
    struct client huge = make(PS_PRIORITY_NORMAL, 500);
    struct client small = make(PS_PRIORITY_NORMAL, 1);
    assert_int_equal(ps_gate_enter(gate, &a.ticket, 0), PS_ADMITTED);
    assert_int_equal(ps_gate_enter(gate, &huge.ticket, 0), PS_QUEUED);
    assert_int_equal(ps_gate_enter(gate, &small.ticket, 0), PS_QUEUED); /* behind the huge one */
    ps_gate_leave(gate, &a.ticket, 0);
    assert_int_equal(huge.notified, 1); /* alone inside */
    assert_int_equal(small.notified, 0);
    ps_gate_leave(gate, &huge.ticket, 0);
    assert_int_equal(small.notified, 1);
    ps_gate_leave(gate, &small.ticket, 0);
    ps_gate_free(gate);
}

static void the_queue_is_bounded_in_count_and_bytes(void **state)
{
    (void)state;
    struct ps_gate *gate = gate_of(1, 0, 2, 250);
    struct client inside = make(PS_PRIORITY_NORMAL, 0);
    struct client waiters[3];
    assert_int_equal(ps_gate_enter(gate, &inside.ticket, 0), PS_ADMITTED);
    for (int i = 0; i < 3; i++) {
        waiters[i] = make(PS_PRIORITY_NORMAL, 0);
        enum ps_admission want = i < 2 ? PS_QUEUED : PS_REFUSED_FULL;
        assert_int_equal(ps_gate_enter(gate, &waiters[i].ticket, 0), want);
    }
    assert_true(ps_gate_cancel(gate, &waiters[0].ticket, 0));
    waiters[2].ticket.bytes = 151;
    assert_int_equal(ps_gate_enter(gate, &waiters[2].ticket, 0), PS_REFUSED_FULL);
    waiters[2].ticket.bytes = 150;
    assert_int_equal(ps_gate_enter(gate, &waiters[2].ticket, 0), PS_QUEUED);
    assert_true(ps_gate_is_sane(gate));
    assert_true(ps_gate_cancel(gate, &waiters[1].ticket, 0));
    assert_true(ps_gate_cancel(gate, &waiters[2].ticket, 0));
    ps_gate_leave(gate, &inside.ticket, 0);
    ps_gate_free(gate);
}

static void a_slot_of_a_cancelled_ticket_goes_to_the_next(void **state)
{
    (void)state;
    struct ps_gate *gate = gate_of(1, 0, 10, 1000);
    struct client a = make(PS_PRIORITY_NORMAL, 0);
    struct client b = make(PS_PRIORITY_NORMAL, 0);
    struct client c = make(PS_PRIORITY_NORMAL, 0);
    assert_int_equal(ps_gate_enter(gate, &a.ticket, 0), PS_ADMITTED);
    assert_int_equal(ps_gate_enter(gate, &b.ticket, 0), PS_QUEUED);
    assert_int_equal(ps_gate_enter(gate, &c.ticket, 0), PS_QUEUED);
    ps_gate_leave(gate, &a.ticket, 0);
    /* b was handed over; its owner has not seen the letter and gives up. */
    assert_false(ps_gate_cancel(gate, &b.ticket, 0));
    assert_int_equal(b.notified, 1);
    assert_int_equal(c.notified, 1);
    ps_gate_leave(gate, &c.ticket, 0);
    ps_gate_free(gate);
}

static void a_closed_gate_refuses(void **state)
{
    (void)state;
    struct ps_gate *gate = gate_of(0, 0, 10, 1000);
    struct client a = make(PS_PRIORITY_NORMAL, 0);
    ps_gate_close(gate, true);
    assert_int_equal(ps_gate_enter(gate, &a.ticket, 0), PS_REFUSED_CLOSED);
    ps_gate_close(gate, false);
    assert_int_equal(ps_gate_enter(gate, &a.ticket, 0), PS_ADMITTED);
    ps_gate_leave(gate, &a.ticket, 0);
    ps_gate_free(gate);
}

static void new_bounds_hold_at_once(void **state)
{
    (void)state;
    struct ps_gate *gate = gate_of(1, 0, 10, 1000);
    struct client clients[4];
    for (int i = 0; i < 4; i++) {
        clients[i] = make(PS_PRIORITY_NORMAL, 0);
        (void)ps_gate_enter(gate, &clients[i].ticket, 0);
    }
    struct ps_admit_opts opts = {3, 0, 10, 1000, PS_SECOND};
    ps_gate_configure(gate, &opts, 0);
    assert_int_equal(clients[2].notified, 1);
    assert_int_equal(clients[3].notified, 0);
    opts.max_in_flight = 1;
    ps_gate_configure(gate, &opts, 0);
    ps_gate_leave(gate, &clients[0].ticket, 0);
    ps_gate_leave(gate, &clients[1].ticket, 0);
    assert_int_equal(clients[3].notified, 0);
    ps_gate_leave(gate, &clients[2].ticket, 0);
    assert_int_equal(clients[3].notified, 1);
    ps_gate_leave(gate, &clients[3].ticket, 0);
    ps_gate_free(gate);
}

static void a_throttle_holds_beside_the_bounds_and_lets_go(void **state)
{
    (void)state;
    struct ps_gate *gate = gate_of(3, 0, 10, 1000);
    struct client clients[4];
    ps_gate_throttle(gate, 1, 0, 0);
    for (int i = 0; i < 4; i++) {
        clients[i] = make(PS_PRIORITY_NORMAL, 40);
        (void)ps_gate_enter(gate, &clients[i].ticket, 0);
    }
    assert_int_equal(clients[1].notified, 0);
    ps_gate_throttle(gate, 0, 100, 0); /* in tokens now */
    assert_int_equal(clients[1].notified, 1);
    assert_int_equal(clients[2].notified, 0);
    assert_true(ps_gate_is_sane(gate));
    ps_gate_throttle(gate, 0, 0, 0);
    assert_int_equal(clients[2].notified, 1);
    assert_int_equal(clients[3].notified, 0); /* the bound of the options is still there */
    ps_gate_throttle(gate, 100, 0, 0);
    assert_int_equal(clients[3].notified, 0);
    for (int i = 0; i < 4; i++) {
        ps_gate_leave(gate, &clients[i].ticket, 0);
    }
    ps_gate_free(gate);
}

static void retry_after_follows_the_drain_rate(void **state)
{
    (void)state;
    struct ps_gate *gate = gate_of(1, 0, 100, 100000);
    assert_int_equal(ps_gate_retry_after(gate, 0), PS_SECOND);
    ps_time now = PS_SECOND;
    for (int i = 0; i < 100; i++) {
        struct client a = make(PS_PRIORITY_NORMAL, 0);
        assert_int_equal(ps_gate_enter(gate, &a.ticket, now), PS_ADMITTED);
        now += 2 * PS_SECOND;
        ps_gate_leave(gate, &a.ticket, now);
    }
    ps_span wait = ps_gate_retry_after(gate, now);
    assert_true(wait > PS_SECOND && wait <= 2 * PS_SECOND);
    assert_int_equal(ps_gate_retry_after(gate, now + PS_HOUR), 60 * PS_SECOND);
    ps_gate_free(gate);
}

/* --- several workers ----------------------------------------------------------------------------
 */

#define WORKERS 6
#define ROUNDS  3000
#define BOUND   3

static _Atomic int inside;
static _Atomic int inside_most;
static _Atomic long abandoned;

/* A worker with a ticket and a mailbox of one letter. */
struct worker {
    pthread_t thread;
    struct ps_gate *gate;
    struct ps_rng rng;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int letters;
};

struct entry {
    struct ps_ticket ticket;
    struct worker *owner;
};

static void post(struct ps_ticket *ticket)
{
    struct worker *owner = PS_CONTAINER_OF(ticket, struct entry, ticket)->owner;
    pthread_mutex_lock(&owner->mutex);
    owner->letters++;
    pthread_cond_signal(&owner->cond);
    pthread_mutex_unlock(&owner->mutex);
}

/* Waits for the letter; false when `ns` passed first. */
static bool await_letter(struct worker *worker, long ns)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ns % 1000000000;
    until.tv_sec += ns / 1000000000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int rc = 0;
    pthread_mutex_lock(&worker->mutex);
    while (worker->letters == 0 && rc == 0) {
        rc = pthread_cond_timedwait(&worker->cond, &worker->mutex, &until);
    }
    bool got = worker->letters > 0;
    worker->letters -= got;
    pthread_mutex_unlock(&worker->mutex);
    return got;
}

static void be_inside(struct worker *worker, struct entry *entry)
{
    int now = atomic_fetch_add(&inside, 1) + 1;
    int most = atomic_load(&inside_most);
    while (now > most && !atomic_compare_exchange_weak(&inside_most, &most, now)) {
    }
    for (uint64_t spin = ps_rng_below(&worker->rng, 200); spin > 0; spin--) {
        __asm__ volatile("" ::: "memory");
    }
    atomic_fetch_sub(&inside, 1);
    ps_gate_leave(worker->gate, &entry->ticket, 1);
}

static void one_round(struct worker *worker)
{
    struct entry *entry = calloc(1, sizeof *entry);
    entry->owner = worker;
    entry->ticket = (struct ps_ticket){
        .priority = (enum ps_priority)ps_rng_below(&worker->rng, PS_PRIORITY_COUNT),
        .tokens = ps_rng_below(&worker->rng, 10),
        .bytes = 1,
        .notify = post,
    };
    enum ps_admission result = ps_gate_enter(worker->gate, &entry->ticket, 1);
    bool patient = ps_rng_below(&worker->rng, 4) != 0;
    if (result == PS_ADMITTED) {
        be_inside(worker, entry);
    } else if (result == PS_QUEUED && await_letter(worker, patient ? 10000000000 : 1)) {
        be_inside(worker, entry);
    } else if (result == PS_QUEUED) {
        /* Patient ones must get their slot: a lost wake-up ends here. */
        if (patient) {
            abort();
        }
        if (!ps_gate_cancel(worker->gate, &entry->ticket, 1)) {
            atomic_fetch_add(&abandoned, 1);
            if (!await_letter(worker, 10000000000)) {
                abort();
            }
        }
    }
    free(entry);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    for (int i = 0; i < ROUNDS; i++) {
        one_round(worker);
    }
    return NULL;
}

static void no_race_exceeds_the_bound_or_loses_a_wake_up(void **state)
{
    (void)state;
    struct ps_gate *gate = gate_of(BOUND, 20, WORKERS - 1, 1000);
    struct worker workers[WORKERS];
    memset(workers, 0, sizeof workers);
    for (int i = 0; i < WORKERS; i++) {
        workers[i].gate = gate;
        workers[i].rng = ps_rng_make((uint64_t)i);
        pthread_mutex_init(&workers[i].mutex, NULL);
        pthread_cond_init(&workers[i].cond, NULL);
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].letters, 0);
        pthread_mutex_destroy(&workers[i].mutex);
        pthread_cond_destroy(&workers[i].cond);
    }
    struct ps_gate_stats stats;
    ps_gate_read(gate, &stats);
    assert_true(inside_most <= BOUND);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.in_flight_tokens, 0);
    assert_int_equal(stats.queued_bytes, 0);
    assert_int_equal(stats.admitted_total + stats.refused_total + stats.canceled_total,
                     WORKERS * ROUNDS + abandoned);
    assert_true(ps_gate_is_sane(gate));
    ps_gate_free(gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_freed_slot_goes_to_the_first_waiter),
        cmocka_unit_test(a_higher_class_goes_first),
        cmocka_unit_test(tokens_are_bounded_and_a_large_request_is_not_starved),
        cmocka_unit_test(the_queue_is_bounded_in_count_and_bytes),
        cmocka_unit_test(a_slot_of_a_cancelled_ticket_goes_to_the_next),
        cmocka_unit_test(a_closed_gate_refuses),
        cmocka_unit_test(new_bounds_hold_at_once),
        cmocka_unit_test(a_throttle_holds_beside_the_bounds_and_lets_go),
        cmocka_unit_test(retry_after_follows_the_drain_rate),
        cmocka_unit_test(no_race_exceeds_the_bound_or_loses_a_wake_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

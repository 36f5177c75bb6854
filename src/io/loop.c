#include "io/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"

enum {
    SCRATCH_BYTES = 64 * 1024,
    MAX_SIGNALS = 8,
    MANUAL_POLL_NS = 1000000, /* how soon a hand-moved clock is noticed */
    SPIN_TURN = 5000,        /* ns: a turn of spinning that took longer did something */
    CATCH_UP = 4096 /* deadlines set for the past, in callbacks, that run in the same turn */
};

struct signal_watch {
    uv_signal_t handle;
    void (*on_signal)(void *ctx, int signum);
    void *ctx;
};

struct ps_loop {
    uv_loop_t uv;
    const struct ps_clock *clock;
    ps_time now; /* valid when now_known */
    bool now_known;
    bool closing;
    struct ps_heap timers;
    ps_time armed; /* when the timerfd fires; PS_NEVER when it does not */
    ps_span early;   /* how long before a deadline it is armed */
    bool spinning;   /* the first deadline is so near that the loop polls for it */
    ps_time spun_to; /* the instant up to which spinning was counted */
    ps_span spun;
    int timer_fd;
    uv_poll_t timer_poll;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active only while tasks wait: the loop must not sleep then */
    struct ps_list tasks;
    struct signal_watch signals[MAX_SIGNALS];
    size_t signal_count;
    char scratch[SCRATCH_BYTES];
};

/* --- time ------------------------------------------------------------------------------------- */

ps_time ps_loop_now(struct ps_loop *loop)
{
    if (loop->clock->manual) {
        return ps_clock_now(loop->clock);
    }
    if (!loop->now_known) {
        loop->now = ps_clock_now(loop->clock);
        loop->now_known = true;
    }
    return loop->now;
}

static void arm(struct ps_loop *loop, ps_time when)
{
    when = when > 0 ? when : 1; /* zero would disarm */
    struct itimerspec spec = {.it_value = {when / PS_SECOND, when % PS_SECOND}};
    int err = timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
    PS_CHECK(err == 0);
    loop->armed = when;
}

/* A hand-moved clock gives no signal when it moves: wake up often. Every turn looks at it. */
static void arm_manual(struct ps_loop *loop)
{
    struct itimerspec spec = {.it_value = {0, MANUAL_POLL_NS}, .it_interval = {0, MANUAL_POLL_NS}};
    int err = timerfd_settime(loop->timer_fd, 0, &spec, NULL);
    PS_CHECK(err == 0);
    loop->armed = 0;
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void set_spinning(struct ps_loop *loop, bool spinning)
{
    if (spinning && !loop->spinning) {
        loop->spun_to = ps_loop_now(loop);
        uv_idle_start(&loop->idle, on_idle);
    }
    loop->spinning = spinning; /* the idle handle is stopped when no task waits, either */
}

/* Waits for a deadline: by the timerfd, or, when it is near, by polling. */
static void await(struct ps_loop *loop, ps_time when)
{
    bool near = loop->early > 0 && when - ps_loop_now(loop) <= loop->early;
    set_spinning(loop, near);
    if (!near) {
        arm(loop, when - loop->early);
    }
}

static void run_due(struct ps_loop *loop)
{
    ps_time now = ps_loop_now(loop);
    size_t most = loop->timers.count + CATCH_UP; /* one that sets itself for now must not hold the loop */
    struct ps_heap_node *node;
    while ((node = ps_heap_first(&loop->timers)) != NULL && node->key <= now && most-- > 0) {
        struct ps_timer *timer = PS_CONTAINER_OF(node, struct ps_timer, node);
        ps_heap_remove(&loop->timers, node);
        timer->on_time(timer, now);
    }
    if (node == NULL) {
        set_spinning(loop, false);
    } else if (!loop->clock->manual) {
        await(loop, node->key);
    }
}

/* A turn that polled for a deadline is over: is it due? */
static void spin(struct ps_loop *loop)
{
    loop->now_known = false;
    ps_time now = ps_loop_now(loop);
    struct ps_heap_node *node = ps_heap_first(&loop->timers);
    loop->spun += now - loop->spun_to < SPIN_TURN ? now - loop->spun_to : 0;
    loop->spun_to = now;
    if (node == NULL || node->key <= now || node->key - now > loop->early) {
        run_due(loop);
        loop->now_known = false;
        loop->spun_to = ps_loop_now(loop);
    }
}

static void on_timer_fd(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct ps_loop *loop = poll->data;
    uint64_t ticks;
    ssize_t n = read(loop->timer_fd, &ticks, sizeof ticks);
    (void)n;
    loop->armed = loop->clock->manual ? 0 : PS_NEVER;
    run_due(loop); /* or spin until it is */
}

int ps_timer_set(struct ps_loop *loop, struct ps_timer *timer, ps_time when)
{
    int err = ps_heap_put(&loop->timers, &timer->node, when);
    if (err == PS_OK && !loop->spinning && when - loop->early < loop->armed &&
        ps_heap_first(&loop->timers) == &timer->node) {
        arm(loop, when - loop->early);
    }
    return err;
}

void ps_timer_clear(struct ps_loop *loop, struct ps_timer *timer)
{
    ps_heap_remove(&loop->timers, &timer->node);
}

/* --- tasks ------------------------------------------------------------------------------------ */

static void rest(struct ps_loop *loop)
{
    if (!loop->spinning) {
        uv_idle_stop(&loop->idle);
    }
}

/* Runs what was queued when it began; a task queued meanwhile waits for the next turn, so that two
 * tasks that queue each other can't starve the descriptors. */
static void run_tasks(struct ps_loop *loop)
{
    struct ps_list batch;
    if (ps_list_is_empty(&loop->tasks)) {
        rest(loop); /* what was waiting may have been cleared */
        return;
    }
    batch = loop->tasks;
    batch.next->prev = &batch;
    batch.prev->next = &batch;
    ps_list_init(&loop->tasks);
    while (!ps_list_is_empty(&batch)) {
        struct ps_task *task = PS_LIST_FIRST(&batch, struct ps_task, link);
        ps_list_remove(&task->link);
        task->on_turn(task);
    }
    if (ps_list_is_empty(&loop->tasks)) {
        rest(loop);
    } else {
        uv_idle_start(&loop->idle, on_idle);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct ps_loop *loop = prepare->data;
    run_tasks(loop);
    loop->now_known = false;
}

static void on_check(uv_check_t *check)
{
    struct ps_loop *loop = check->data;
    run_tasks(loop);
    if (loop->spinning) {
        spin(loop);
    } else if (loop->clock->manual) {
        run_due(loop);
    }
}

void ps_loop_defer(struct ps_loop *loop, struct ps_task *task)
{
    if (task->link.next == NULL || ps_list_is_empty(&task->link)) {
        ps_list_push(&loop->tasks, &task->link);
    }
}

void ps_task_clear(struct ps_task *task)
{
    if (task->link.next != NULL) {
        ps_list_remove(&task->link);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

static int start_watches(struct ps_loop *loop)
{
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->timer_fd < 0) {
        return ps_err_from_errno(errno);
    }
    int bad = uv_poll_init(&loop->uv, &loop->timer_poll, loop->timer_fd);
    bad = bad != 0 ? bad : uv_poll_start(&loop->timer_poll, UV_READABLE, on_timer_fd);
    if (bad != 0) {
        close(loop->timer_fd);
        return PS_EIO;
    }
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_check_init(&loop->uv, &loop->check);
    uv_idle_init(&loop->uv, &loop->idle);
    loop->timer_poll.data = loop->prepare.data = loop->check.data = loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
    loop->armed = PS_NEVER;
    if (loop->clock->manual) {
        arm_manual(loop);
    }
    return PS_OK;
}

int ps_loop_new(struct ps_loop **out, const struct ps_clock *clock)
{
    struct ps_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        return PS_ENOMEM;
    }
    loop->clock = clock;
    ps_list_init(&loop->tasks);
    if (uv_loop_init(&loop->uv) != 0) {
        free(loop);
        return PS_EIO;
    }
    int err = start_watches(loop);
    if (err != PS_OK) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        uv_loop_close(&loop->uv);
        free(loop);
        return err;
    }
    *out = loop;
    return PS_OK;
}

void ps_loop_free(struct ps_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    while (!ps_list_is_empty(&loop->tasks)) {
        run_tasks(loop); /* what was closed since the last turn is freed by tasks */
    }
    loop->closing = true;
    for (size_t i = 0; i < loop->signal_count; i++) {
        uv_close((uv_handle_t *)&loop->signals[i].handle, NULL);
    }
    uv_close((uv_handle_t *)&loop->timer_poll, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0) { /* close callbacks, and look-ups under way */
    }
    int busy = uv_loop_close(&loop->uv);
    PS_CHECK(busy == 0);
    close(loop->timer_fd);
    ps_heap_fini(&loop->timers);
    free(loop);
}

void ps_loop_run(struct ps_loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void ps_loop_stop(struct ps_loop *loop)
{
    uv_stop(&loop->uv);
}

void ps_loop_set_early(struct ps_loop *loop, ps_span early)
{
    loop->early = loop->clock->manual ? 0 : early;
}

ps_span ps_loop_spun(const struct ps_loop *loop)
{
    return loop->spun;
}

const struct ps_clock *ps_loop_clock(const struct ps_loop *loop)
{
    return loop->clock;
}

char *ps_loop_scratch(struct ps_loop *loop, size_t *len)
{
    *len = sizeof loop->scratch;
    return loop->scratch;
}

void *ps_loop_uv(struct ps_loop *loop)
{
    return &loop->uv;
}

bool ps_loop_is_closing(const struct ps_loop *loop)
{
    return loop->closing;
}

/* --- signals ---------------------------------------------------------------------------------- */

static void on_uv_signal(uv_signal_t *handle, int signum)
{
    struct signal_watch *watch = handle->data;
    watch->on_signal(watch->ctx, signum);
}

int ps_loop_on_signal(struct ps_loop *loop, int signum, void (*on_signal)(void *ctx, int signum),
                      void *ctx)
{
    if (loop->signal_count == MAX_SIGNALS) {
        return PS_ELIMIT;
    }
    struct signal_watch *watch = &loop->signals[loop->signal_count];
    watch->on_signal = on_signal;
    watch->ctx = ctx;
    if (uv_signal_init(&loop->uv, &watch->handle) != 0) {
        return PS_EIO;
    }
    watch->handle.data = watch;
    loop->signal_count++;
    return uv_signal_start(&watch->handle, on_uv_signal, signum) == 0 ? PS_OK : PS_EINVAL;
}

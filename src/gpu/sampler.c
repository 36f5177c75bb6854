/* sampler - see sampler.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/sampler.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/condition.h"
#include "base/spawn.h"

#define SHORTEST_SLEEP (PS_MILLISECOND)
#define LONGEST_RETRY  (PS_MINUTE)

const char *const ps_sampler_state_names[] = {"starting", "fresh", "stale", "hung", "failed", NULL};

struct ps_sampler {
    /* constant */
    const struct ps_sampler_source *source;
    void *ctx;
    struct ps_sampler_opts opts;
    pthread_t thread;
    /* shared, under the mutex, which nobody holds for longer than a copy */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* ended or stopping */
    struct ps_device_snapshot *latest;
    char why[PS_SAMPLER_WHY];
    bool stopping;
    bool ended;     /* the thread is done with the source */
    bool abandoned; /* nobody waits: the thread frees all of it */
};

/* --- the thread ------------------------------------------------------------------------------- */

/* Sleeps until then on the handed-in clock. False: it is to end. */
static bool sleep_until(struct ps_sampler *sampler, ps_time due)
{
    ps_span span = due - ps_clock_now(sampler->opts.clock);
    struct timespec until = ps_condition_deadline(span > SHORTEST_SLEEP ? span : SHORTEST_SLEEP);
    int error = 0;
    pthread_mutex_lock(&sampler->mutex);
    while (!sampler->stopping && error == 0) {
        error = pthread_cond_timedwait(&sampler->changed, &sampler->mutex, &until);
    }
    bool stopping = sampler->stopping;
    pthread_mutex_unlock(&sampler->mutex);
    return !stopping;
}

static void publish_take(struct ps_sampler *sampler, struct ps_device_snapshot *snapshot)
{
    pthread_mutex_lock(&sampler->mutex);
    struct ps_device_snapshot *old = sampler->latest;
    sampler->latest = snapshot;
    sampler->why[0] = '\0';
    pthread_mutex_unlock(&sampler->mutex);
    ps_device_snapshot_unref(old);
}

static void publish_failure(struct ps_sampler *sampler, const char why[PS_SAMPLER_WHY])
{
    pthread_mutex_lock(&sampler->mutex);
    memcpy(sampler->why, why, sizeof sampler->why);
    pthread_mutex_unlock(&sampler->mutex);
}

/* Until the source has started; false: it is to end. */
static bool run_start(struct ps_sampler *sampler)
{
    ps_span wait = sampler->opts.retry_after;
    for (;;) {
        char why[PS_SAMPLER_WHY] = "";
        ps_time now = ps_clock_now(sampler->opts.clock);
        if (sampler->source->start(sampler->ctx, now, why) == PS_OK) {
            return true;
        }
        publish_failure(sampler, why);
        if (!sleep_until(sampler, ps_clock_now(sampler->opts.clock) + wait)) {
            return false;
        }
        wait = 2 * wait < LONGEST_RETRY ? 2 * wait : LONGEST_RETRY;
    }
}

static void run_steps(struct ps_sampler *sampler)
{
    ps_time due;
    do {
        struct ps_device_snapshot *snapshot = NULL;
        due = sampler->source->step(sampler->ctx, &snapshot);
        if (snapshot != NULL) {
            publish_take(sampler, snapshot);
        }
    } while (sleep_until(sampler, due));
}

static void free_all(struct ps_sampler *sampler)
{
    ps_device_snapshot_unref(sampler->latest);
    pthread_cond_destroy(&sampler->changed);
    pthread_mutex_destroy(&sampler->mutex);
    free(sampler);
}

static void *run_thread(void *arg)
{
    struct ps_sampler *sampler = arg;
    if (run_start(sampler)) {
        run_steps(sampler);
    }
    sampler->source->close(sampler->ctx);
    pthread_mutex_lock(&sampler->mutex);
    sampler->ended = true;
    bool abandoned = sampler->abandoned;
    pthread_cond_broadcast(&sampler->changed);
    pthread_mutex_unlock(&sampler->mutex);
    if (abandoned) {
        free_all(sampler);
    }
    return NULL;
}

/* --- the owner -------------------------------------------------------------------------------- */

int ps_sampler_start_take(struct ps_sampler **out, const struct ps_sampler_source *source,
                          void *ctx, const struct ps_sampler_opts *opts)
{
    struct ps_sampler *sampler = calloc(1, sizeof *sampler);
    if (sampler == NULL) {
        source->close(ctx);
        return PS_ENOMEM;
    }
    sampler->source = source;
    sampler->ctx = ctx;
    sampler->opts = *opts;
    pthread_mutex_init(&sampler->mutex, NULL);
    ps_condition_init(&sampler->changed);
    int err = ps_spawn(&sampler->thread, run_thread, sampler);
    if (err != PS_OK) {
        source->close(ctx);
        free_all(sampler);
        return err;
    }
    *out = sampler;
    return PS_OK;
}

/* Waits for the thread to be done; the mutex is held. */
static bool wait_for_end(struct ps_sampler *sampler, ps_span patience)
{
    struct timespec until = ps_condition_deadline(patience);
    int error = 0;
    while (!sampler->ended && error == 0) {
        error = pthread_cond_timedwait(&sampler->changed, &sampler->mutex, &until);
    }
    return sampler->ended;
}

bool ps_sampler_stop(struct ps_sampler *sampler, ps_span patience)
{
    if (sampler == NULL) {
        return true;
    }
    pthread_mutex_lock(&sampler->mutex);
    sampler->stopping = true;
    pthread_cond_broadcast(&sampler->changed);
    bool ended = wait_for_end(sampler, patience);
    pthread_t thread = sampler->thread;
    if (!ended) {
        pthread_detach(thread);
        sampler->abandoned = true;
    }
    pthread_mutex_unlock(&sampler->mutex);
    if (ended) {
        pthread_join(thread, NULL);
        free_all(sampler);
    }
    return ended;
}

static enum ps_sampler_state state_of(const struct ps_sampler_view *view,
                                      const struct ps_sampler_opts *opts)
{
    if (view->call != NULL && view->call_took > opts->hung_after) {
        return PS_SAMPLER_HUNG;
    }
    if (view->snapshot == NULL) {
        return view->why[0] == '\0' ? PS_SAMPLER_STARTING : PS_SAMPLER_FAILED;
    }
    return view->age > opts->stale_after ? PS_SAMPLER_STALE : PS_SAMPLER_FRESH;
}

void ps_sampler_look(struct ps_sampler *sampler, ps_time now, struct ps_sampler_view *view)
{
    memset(view, 0, sizeof *view);
    pthread_mutex_lock(&sampler->mutex);
    memcpy(view->why, sampler->why, sizeof view->why);
    if (sampler->latest != NULL) {
        view->snapshot = ps_device_snapshot_ref(sampler->latest);
    }
    pthread_mutex_unlock(&sampler->mutex);
    if (view->snapshot != NULL && now > view->snapshot->taken) {
        view->age = now - view->snapshot->taken;
    }
    view->call = ps_toll_now(ps_sampler_book(sampler), now, &view->call_took);
    view->state = state_of(view, &sampler->opts);
}

const struct ps_toll_book *ps_sampler_book(const struct ps_sampler *sampler)
{
    return sampler->source->book(sampler->ctx);
}

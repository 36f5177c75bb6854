/* The dashboard of penstock.h: the history and the frames of the gateway's, filled by the program.
 *
 * The history counts samples where the daemon's counts seconds; when each was is kept beside it.
 *
 * Two locks: `turn` is held by whoever broadcasts or subscribes, callbacks included, so that frames
 * come in order; `lock` for what the struct holds, never over a callback.
 */
#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "export/frame.h"
#include "lib/instance.h"
#include "lib/process.h"
#include "observe/history.h"
#include "observe/history_key.h"
#include "penstock/penstock.h"

#define FRAME_LIMIT ((size_t)16 * 1024 * 1024)

static_assert(PS_DASHBOARD_SAMPLES == PS_FRAME_POINTS, "what is kept is what a frame shows");

struct subscriber {
    uint64_t id; /* 0 = free */
    ps_dashboard_fn *on_frame;
    void *ctx;
};

struct ps_dashboard {
    unsigned generation; /* of the process that made it */
    pthread_mutex_t turn;
    _Atomic(const void *) speaker; /* a mark of the thread that has the turn, or NULL */

    pthread_mutex_t lock;
    struct ps_history *history;
    struct ps_frame *frame;
    char **names; /* seen so far, in the order of their first sample */
    size_t name_count;
    size_t expected;                    /* where in it the next one is looked for first */
    int64_t samples;                    /* so far */
    double times[PS_DASHBOARD_SAMPLES]; /* of sample n at n modulo their number */
    struct subscriber subscribers[PS_DASHBOARD_SUBSCRIBERS];
    size_t subscriber_count;
    uint64_t latest_id;
};

/* --- who speaks ------------------------------------------------------------------------------- */

/* An address that no other thread has. */
static const void *me(void)
{
    static _Thread_local char mark;
    return &mark;
}

static bool is_inside(struct ps_dashboard *dashboard)
{
    return atomic_load(&dashboard->speaker) == me();
}

static void take_turn(struct ps_dashboard *dashboard)
{
    pthread_mutex_lock(&dashboard->turn);
    atomic_store(&dashboard->speaker, me());
}

static void end_turn(struct ps_dashboard *dashboard)
{
    atomic_store(&dashboard->speaker, NULL);
    pthread_mutex_unlock(&dashboard->turn);
}

static int check(const struct ps_dashboard *dashboard)
{
    return ps_process_is(dashboard->generation)
               ? PS_OK
               : ps_process_fail(PS_ECLOSED, "this dashboard was made before the fork");
}

/* --- life ------------------------------------------------------------------------------------- */

static int start(struct ps_dashboard *dashboard)
{
    static const struct ps_history_opts opts = {.max_series = PS_DASHBOARD_NAMES,
                                                .points = PS_DASHBOARD_SAMPLES};
    dashboard->generation = ps_process_generation();
    pthread_mutex_init(&dashboard->turn, NULL);
    pthread_mutex_init(&dashboard->lock, NULL);
    dashboard->names = calloc(PS_DASHBOARD_NAMES, sizeof(char *));
    int err = dashboard->names == NULL ? PS_ENOMEM : ps_history_new(&dashboard->history, &opts);
    if (err == PS_OK) {
        struct ps_frame_opts frame = {.history = dashboard->history};
        err = ps_frame_new(&dashboard->frame, &frame);
    }
    return err;
}

int ps_dashboard_new(struct ps_dashboard **out)
{
    struct ps_dashboard *dashboard = calloc(1, sizeof *dashboard);
    if (dashboard == NULL) {
        return ps_process_no_memory();
    }
    int err = start(dashboard);
    if (err != PS_OK) {
        ps_dashboard_free(dashboard);
        return ps_process_no_memory();
    }
    *out = dashboard;
    return PS_OK;
}

void ps_dashboard_free(struct ps_dashboard *dashboard)
{
    if (dashboard == NULL || !ps_process_is(dashboard->generation)) {
        return;
    }
    take_turn(dashboard);
    end_turn(dashboard);
    for (size_t i = 0; i < dashboard->name_count; i++) {
        free(dashboard->names[i]);
    }
    free(dashboard->names);
    ps_frame_free(dashboard->frame);
    ps_history_free(dashboard->history);
    pthread_mutex_destroy(&dashboard->turn);
    pthread_mutex_destroy(&dashboard->lock);
    free(dashboard);
}

static int make_default(void **out, const char *file)
{
    struct ps_dashboard *dashboard = NULL;
    (void)file;
    int err = ps_dashboard_new(&dashboard);
    if (err == PS_OK) {
        *out = dashboard;
    }
    return err;
}

static void end_default(void *dashboard)
{
    ps_dashboard_free(dashboard);
}

struct ps_dashboard *ps_dashboard_default(void)
{
    static struct ps_instance instance = {.make = make_default, .end = end_default};
    return ps_instance_get(&instance);
}

/* --- samples ---------------------------------------------------------------------------------- */

static int check_names(const struct ps_dashboard_value *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct ps_history_key key;
        const char *name = values[i].name;
        if (name == NULL || ps_history_key_parse(ps_str_from(name), &key) != PS_OK) {
            return ps_process_fail(PS_EINVAL, "'%.64s' is no name of a series",
                                   name == NULL ? "" : name);
        }
    }
    return PS_OK;
}

/* Remembers a name that was not seen yet. Samples bring theirs in the same order, mostly. */
static int know_name(struct ps_dashboard *dashboard, const char *name)
{
    for (size_t i = 0; i < dashboard->name_count; i++) {
        size_t at = (dashboard->expected + i) % dashboard->name_count;
        if (strcmp(dashboard->names[at], name) == 0) {
            dashboard->expected = at + 1;
            return PS_OK;
        }
    }
    if (dashboard->name_count == PS_DASHBOARD_NAMES) {
        return PS_ELIMIT;
    }
    char *copy = strdup(name);
    if (copy == NULL) {
        return PS_ENOMEM;
    }
    dashboard->names[dashboard->name_count++] = copy;
    dashboard->expected = dashboard->name_count;
    return PS_OK;
}

/* Locked. What there is no room for is left out; the first such error is what is told. */
static int store(struct ps_dashboard *dashboard, const struct ps_dashboard_value *values,
                 size_t count)
{
    double time = (double)(ps_clock_wall(&ps_clock_real) / PS_MICROSECOND) / 1e6;
    int err = PS_OK;
    dashboard->samples++;
    dashboard->times[dashboard->samples % PS_DASHBOARD_SAMPLES] = time;
    (void)ps_history_begin(dashboard->history, dashboard->samples);
    for (size_t i = 0; i < count; i++) {
        int here = know_name(dashboard, values[i].name);
        here = here != PS_OK ? here
                             : ps_history_put(dashboard->history, ps_str_from(values[i].name),
                                              values[i].value);
        err = err == PS_OK ? here : err;
    }
    int framed =
        ps_frame_second(dashboard->frame, time, (const char *const *)(void *)dashboard->names,
                        dashboard->name_count);
    return err == PS_OK ? framed : err;
}

/* --- frames ----------------------------------------------------------------------------------- */

/* Locked. Terminated. */
static int write_frame(struct ps_dashboard *dashboard, bool first, struct ps_buf *out)
{
    *out = ps_buf_make(FRAME_LIMIT);
    int err = ps_frame_write(dashboard->frame, NULL, 0, first, out);
    return err != PS_OK ? err : ps_buf_append(out, "", 1);
}

static bool find_subscriber(struct ps_dashboard *dashboard, uint64_t id, struct subscriber *out)
{
    bool found = false;
    pthread_mutex_lock(&dashboard->lock);
    for (size_t i = 0; i < PS_DASHBOARD_SUBSCRIBERS && !found; i++) {
        found = dashboard->subscribers[i].id == id;
        *out = dashboard->subscribers[i];
    }
    pthread_mutex_unlock(&dashboard->lock);
    return found;
}

/* Those that were there when it began; one may have been taken away by another's callback. */
static void tell_all(struct ps_dashboard *dashboard, const uint64_t *ids, size_t count,
                     const struct ps_buf *frame)
{
    for (size_t i = 0; i < count; i++) {
        struct subscriber subscriber;
        if (find_subscriber(dashboard, ids[i], &subscriber)) {
            subscriber.on_frame(subscriber.ctx, frame->data, frame->len - 1);
        }
    }
}

int ps_dashboard_broadcast(struct ps_dashboard *dashboard, const struct ps_dashboard_value *values,
                           size_t count)
{
    uint64_t ids[PS_DASHBOARD_SUBSCRIBERS];
    size_t id_count = 0;
    struct ps_buf frame = ps_buf_make(FRAME_LIMIT);
    int err = check(dashboard);
    err = err != PS_OK ? err : check_names(values, count);
    if (err != PS_OK) {
        return err;
    }
    if (is_inside(dashboard)) {
        return ps_process_fail(PS_EINVAL, "a subscriber can't broadcast");
    }
    take_turn(dashboard);
    pthread_mutex_lock(&dashboard->lock);
    err = store(dashboard, values, count);
    for (size_t i = 0; i < PS_DASHBOARD_SUBSCRIBERS; i++) {
        if (dashboard->subscribers[i].id != 0) {
            ids[id_count++] = dashboard->subscribers[i].id;
        }
    }
    int framed = id_count > 0 ? write_frame(dashboard, false, &frame) : PS_OK;
    pthread_mutex_unlock(&dashboard->lock);
    if (framed == PS_OK) {
        tell_all(dashboard, ids, id_count, &frame);
    }
    end_turn(dashboard);
    ps_buf_fini(&frame);
    err = err != PS_OK ? err : framed;
    return err == PS_OK       ? PS_OK
           : err == PS_ELIMIT ? ps_process_fail(err, "at most %d names", PS_DASHBOARD_NAMES)
                              : ps_process_no_memory();
}

/* --- subscribers ------------------------------------------------------------------------------ */

/* Locked. */
static uint64_t add_subscriber(struct ps_dashboard *dashboard, ps_dashboard_fn *on_frame, void *ctx)
{
    for (size_t i = 0; i < PS_DASHBOARD_SUBSCRIBERS; i++) {
        struct subscriber *place = &dashboard->subscribers[i];
        if (place->id == 0) {
            *place = (struct subscriber){++dashboard->latest_id, on_frame, ctx};
            dashboard->subscriber_count++;
            return place->id;
        }
    }
    return 0;
}

int ps_dashboard_subscribe(struct ps_dashboard *dashboard, ps_dashboard_fn *on_frame, void *ctx,
                           uint64_t *id)
{
    struct ps_buf frame = ps_buf_make(FRAME_LIMIT);
    bool inside = is_inside(dashboard);
    int err = check(dashboard);
    if (err != PS_OK) {
        return err;
    }
    if (!inside) {
        take_turn(dashboard); /* no sample comes between the past and the next frame */
    }
    pthread_mutex_lock(&dashboard->lock);
    err = dashboard->samples > 0 ? write_frame(dashboard, true, &frame) : PS_OK;
    uint64_t given = err == PS_OK ? add_subscriber(dashboard, on_frame, ctx) : 0;
    pthread_mutex_unlock(&dashboard->lock);
    if (given != 0) {
        *id = given; /* before the callback, which may want to use it */
    }
    if (given != 0 && frame.len > 0) {
        on_frame(ctx, frame.data, frame.len - 1);
    }
    if (!inside) {
        end_turn(dashboard);
    }
    ps_buf_fini(&frame);
    if (err == PS_OK && given == 0) {
        return ps_process_fail(PS_ELIMIT, "at most %d subscribers", PS_DASHBOARD_SUBSCRIBERS);
    }
    return err == PS_OK ? PS_OK : ps_process_no_memory();
}

static bool remove_subscriber(struct ps_dashboard *dashboard, uint64_t id)
{
    bool found = false;
    pthread_mutex_lock(&dashboard->lock);
    for (size_t i = 0; i < PS_DASHBOARD_SUBSCRIBERS && id != 0; i++) {
        if (dashboard->subscribers[i].id == id) {
            dashboard->subscribers[i].id = 0;
            dashboard->subscriber_count--;
            found = true;
        }
    }
    pthread_mutex_unlock(&dashboard->lock);
    return found;
}

int ps_dashboard_unsubscribe(struct ps_dashboard *dashboard, uint64_t id)
{
    int err = check(dashboard);
    if (err != PS_OK) {
        return err;
    }
    bool inside = is_inside(dashboard);
    if (!inside) {
        take_turn(dashboard); /* its callback is not running then */
    }
    bool found = remove_subscriber(dashboard, id);
    if (!inside) {
        end_turn(dashboard);
    }
    return found ? PS_OK : ps_process_fail(PS_ENOTFOUND, "there is no such subscriber");
}

/* --- looking ---------------------------------------------------------------------------------- */

static int no_such_name(const char *name)
{
    return ps_process_fail(PS_ENOTFOUND, "no sample has a value of '%.64s'", name);
}

int ps_dashboard_current(struct ps_dashboard *dashboard, const char *name, double *value)
{
    int err = check(dashboard);
    if (err != PS_OK) {
        return err;
    }
    pthread_mutex_lock(&dashboard->lock);
    const struct ps_history_track *track = ps_history_find(dashboard->history, ps_str_from(name));
    double now = track == NULL ? NAN : ps_history_at(dashboard->history, track, dashboard->samples);
    pthread_mutex_unlock(&dashboard->lock);
    if (isnan(now)) {
        return no_such_name(name);
    }
    *value = now;
    return PS_OK;
}

/* Locked. */
static size_t kept(const struct ps_dashboard *dashboard)
{
    return dashboard->samples < PS_DASHBOARD_SAMPLES ? (size_t)dashboard->samples
                                                     : PS_DASHBOARD_SAMPLES;
}

int ps_dashboard_recent_history(struct ps_dashboard *dashboard, const char *name,
                                struct ps_dashboard_point *points, size_t max, size_t *count)
{
    int err = check(dashboard);
    if (err != PS_OK) {
        return err;
    }
    pthread_mutex_lock(&dashboard->lock);
    const struct ps_history_track *track = ps_history_find(dashboard->history, ps_str_from(name));
    size_t shown = kept(dashboard) < max ? kept(dashboard) : max;
    for (size_t i = 0; track != NULL && i < shown; i++) {
        int64_t sample = dashboard->samples - (int64_t)(shown - 1 - i);
        points[i].time = dashboard->times[sample % PS_DASHBOARD_SAMPLES];
        points[i].value = ps_history_at(dashboard->history, track, sample);
    }
    bool found = track != NULL;
    pthread_mutex_unlock(&dashboard->lock);
    if (!found) {
        return no_such_name(name);
    }
    *count = shown;
    return PS_OK;
}

int ps_dashboard_stats(struct ps_dashboard *dashboard, const char *name,
                       struct ps_dashboard_stats *out)
{
    struct ps_history_roll roll = {0};
    int err = check(dashboard);
    if (err != PS_OK) {
        return err;
    }
    pthread_mutex_lock(&dashboard->lock);
    const struct ps_history_track *track = ps_history_find(dashboard->history, ps_str_from(name));
    if (track != NULL) {
        ps_history_roll(dashboard->history, track,
                        dashboard->samples - (int64_t)kept(dashboard) + 1, dashboard->samples + 1,
                        &roll);
    }
    pthread_mutex_unlock(&dashboard->lock);
    if (roll.count == 0) {
        return no_such_name(name);
    }
    *out = (struct ps_dashboard_stats){.min = roll.min,
                                       .max = roll.max,
                                       .mean = roll.mean,
                                       .p95 = roll.p95,
                                       .last = roll.last,
                                       .count = roll.count};
    return PS_OK;
}

int ps_dashboard_summary(struct ps_dashboard *dashboard, char **json)
{
    struct ps_buf text = ps_buf_make(FRAME_LIMIT);
    int err = check(dashboard);
    if (err != PS_OK) {
        return err;
    }
    pthread_mutex_lock(&dashboard->lock);
    err = ps_frame_write_summary(dashboard->frame, NULL, 0, dashboard->subscriber_count, &text);
    pthread_mutex_unlock(&dashboard->lock);
    err = err != PS_OK ? err : ps_buf_append(&text, "", 1);
    if (err != PS_OK) {
        ps_buf_fini(&text);
        return ps_process_no_memory();
    }
    *json = text.data; /* malloc's, as ps_free() wants it */
    return PS_OK;
}

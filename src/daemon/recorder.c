#include "daemon/recorder.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"
#include "base/log.h"
#include "daemon/ask.h"
#include "daemon/clerk.h"
#include "export/history_query.h"
#include "export/history_result.h"
#include "export/rollup.h"
#include "io/loop.h"
#include "store/ledger.h"

enum {
    LISTENERS = 4,
    SLICE = 512,       /* series that one turn reads */
    ROLL_SLICE = 192,  /* minutes that one turn writes */
    ROLL_FIRST = 1024, /* and before a question, so that the last minute is there */
    TRACKS_MOST = 20000,
    GAP = 60,
    NOT_STORED = -1
};

#define BETWEEN (PS_MILLISECOND)     /* from one slice to the next: others get their turn */
#define MARGIN  (2 * PS_MILLISECOND) /* behind the whole second: clocks are slewed */

enum { ROW_TURN, ROWS };

/* clang-format off */
const struct ps_metric_family ps_recorder_metric_families[] = {
    [ROW_TURN] = {.name = "penstock_recorder_turn_seconds", .type = PS_METRIC_HISTOGRAM, .unit = "seconds",
     .bounds = ps_metric_seconds, .bounds_count = PS_METRIC_SECONDS_COUNT,
     .help = "How long control was busy at a time with writing down what all numbers are"},
    {0},
};
/* clang-format on */

enum phase { WAITING, COLLECTING, TELLING, ROLLING };

struct listener {
    void (*on_second)(void *ctx, int64_t second);
    void *ctx;
};

struct ps_recorder {
    struct ps_recorder_parts parts;
    struct ps_history_opts opts;
    struct ps_history *history;
    struct ps_rollup *rollup;
    struct ps_timer timer;
    enum phase phase;
    struct ps_histogram *turn;
    struct listener listeners[LISTENERS];
    size_t listener_count;
    struct ps_list asking; /* that wait for the ledger */
};

/* --- the second ------------------------------------------------------------------------------- */

static int64_t wall_second(const struct ps_recorder *recorder)
{
    return ps_clock_wall(ps_loop_clock(recorder->parts.loop)) / PS_SECOND;
}

static int set_timer(struct ps_recorder *recorder, ps_span in)
{
    ps_time now = ps_clock_now(ps_loop_clock(recorder->parts.loop));
    return ps_timer_set(recorder->parts.loop, &recorder->timer, now + in);
}

static ps_span until_next_second(const struct ps_recorder *recorder)
{
    ps_time wall = ps_clock_wall(ps_loop_clock(recorder->parts.loop));
    return PS_SECOND - wall % PS_SECOND + MARGIN;
}

/* After a long stop the minutes before it are written while their points are still there. */
static void begin(struct ps_recorder *recorder, int64_t second)
{
    int64_t before = ps_history_second(recorder->history);
    if (before > 0 && second - before > GAP) {
        ps_rollup_finish(recorder->rollup);
    }
    if (ps_history_begin(recorder->history, second)) {
        recorder->phase = COLLECTING;
    }
}

/* Out of memory some points are missing, and show as gaps. */
static void collect(struct ps_recorder *recorder)
{
    if (ps_history_collect(recorder->history, recorder->parts.metrics, SLICE) != PS_EBUSY) {
        recorder->phase = TELLING;
    }
}

static void tell(struct ps_recorder *recorder)
{
    recorder->phase = ROLLING;
    for (size_t i = 0; i < recorder->listener_count; i++) {
        const struct listener *listener = &recorder->listeners[i];
        listener->on_second(listener->ctx, ps_history_second(recorder->history));
    }
}

static void work(struct ps_recorder *recorder)
{
    bool done = recorder->phase == WAITING || recorder->phase == ROLLING;
    if (done && wall_second(recorder) != ps_history_second(recorder->history)) {
        begin(recorder, wall_second(recorder));
    }
    switch (recorder->phase) {
    case WAITING:
        break;
    case COLLECTING:
        collect(recorder);
        break;
    case TELLING:
        tell(recorder);
        break;
    case ROLLING:
        recorder->phase = ps_rollup_write(recorder->rollup, ROLL_SLICE) ? ROLLING : WAITING;
        break;
    }
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_recorder *recorder = PS_CONTAINER_OF(timer, struct ps_recorder, timer);
    const struct ps_clock *clock = ps_loop_clock(recorder->parts.loop);
    ps_time began = ps_clock_now(clock);
    PS_IGNORE(ps_timer_set(recorder->parts.loop, timer, now)); /* the place it just left stays its own */
    work(recorder);
    ps_histogram_observe_shared(recorder->turn, ps_span_seconds(ps_clock_now(clock) - began));
    PS_IGNORE(set_timer(recorder, recorder->phase == WAITING ? until_next_second(recorder) : BETWEEN));
}

/* --- life ------------------------------------------------------------------------------------- */

static void on_full(void *ctx, struct ps_str key)
{
    const struct ps_recorder *recorder = ctx;
    char most[24];
    char first[128];
    snprintf(most, sizeof most, "%llu", (unsigned long long)recorder->opts.max_series);
    snprintf(first, sizeof first, "%.*s", PS_STR_ARG(ps_str_first(key, sizeof first - 1)));
    ps_log(PS_LOG_WARN, "history is full: series that come now are left out", "history.max_series",
           most, "first", first, NULL);
}

static int publish(struct ps_recorder *recorder)
{
    struct ps_metrics *metrics = recorder->parts.metrics;
    const char *bad = NULL;
    int err = ps_metrics_declare(metrics, ps_recorder_metric_families, &bad);
    PS_CHECK(bad == NULL);
    err = err != PS_OK ? err
                       : ps_metric_histogram(metrics, &ps_recorder_metric_families[ROW_TURN], NULL,
                                             &recorder->turn);
    return err != PS_OK ? err : ps_history_publish(recorder->history, metrics);
}

int ps_recorder_new(struct ps_recorder **out, const struct ps_history_opts *opts,
                    const struct ps_recorder_parts *parts)
{
    struct ps_recorder *recorder = calloc(1, sizeof *recorder);
    if (recorder == NULL) {
        return PS_ENOMEM;
    }
    recorder->parts = *parts;
    recorder->opts = *opts;
    recorder->timer.on_time = on_time;
    ps_list_init(&recorder->asking);
    int err = ps_history_new(&recorder->history, opts);
    err = err != PS_OK ? err : ps_rollup_new(&recorder->rollup, recorder->history, parts->ledger);
    err = err != PS_OK ? err : publish(recorder);
    err = err != PS_OK ? err : set_timer(recorder, until_next_second(recorder));
    if (err != PS_OK) {
        ps_recorder_free(recorder);
        return err;
    }
    ps_history_on_full(recorder->history, on_full, recorder);
    ps_recorder_set(recorder, opts);
    *out = recorder;
    return PS_OK;
}

void ps_recorder_free(struct ps_recorder *recorder)
{
    if (recorder == NULL) {
        return;
    }
    ps_timer_clear(recorder->parts.loop, &recorder->timer);
    ps_recorder_cancel(recorder);
    if (recorder->rollup != NULL) {
        ps_rollup_finish(recorder->rollup);
    }
    ps_rollup_free(recorder->rollup);
    if (recorder->turn != NULL) {
        ps_metric_put(recorder->parts.metrics, &recorder->turn->handle);
    }
    ps_history_free(recorder->history);
    free(recorder);
}

void ps_recorder_set(struct ps_recorder *recorder, const struct ps_history_opts *opts)
{
    recorder->opts.minutes = opts->minutes;
    recorder->opts.hours = opts->hours;
    ps_rollup_keep(recorder->rollup, opts->minutes, opts->hours);
}

struct ps_history *ps_recorder_history(struct ps_recorder *recorder)
{
    return recorder->history;
}

void ps_recorder_on_second(struct ps_recorder *recorder, void (*on_second)(void *ctx, int64_t second),
                           void *ctx)
{
    PS_CHECK(recorder->listener_count < LISTENERS);
    recorder->listeners[recorder->listener_count++] = (struct listener){on_second, ctx};
}

/* --- questions -------------------------------------------------------------------------------- */

/* One that is being answered. */
struct asking {
    struct ps_list link; /* while it waits for the ledger */
    struct ps_recorder *recorder;
    struct ps_ask *ask;
    struct ps_history_query query;
    struct ps_history_known known;
    struct ps_history_grid grid;
    struct ps_history_result *result;
    char reason[400];
};

static void free_asking(struct asking *asking)
{
    ps_list_remove(&asking->link);
    ps_history_result_free(asking->result);
    free(asking);
}

/* Says why not. What was pending goes back now. */
static void refuse(struct asking *asking, int status, const char *code, const char *detail)
{
    struct ps_ask *ask = asking->ask;
    ps_ask_problem(ask, status, code, detail);
    if (ask->pending) {
        ask->on_answered(ask);
    }
    free_asking(asking);
}

static void refuse_err(struct asking *asking, int err)
{
    if (err == PS_EINVAL) {
        refuse(asking, 400, "invalid_query", asking->reason);
    } else if (err == PS_ENOTFOUND) {
        refuse(asking, 404, "no_such_series", asking->reason);
    } else if (err == PS_ELIMIT) {
        refuse(asking, 400, "too_much",
               "more series or points than one answer has: name labels, a shorter range or a longer step");
    } else if (err == PS_ENOMEM) {
        refuse(asking, 503, "no_memory", "out of memory");
    } else {
        refuse(asking, 503, "store_unavailable", "the store can't be read now; the log says why");
    }
}

/* On the clerk's thread. */
static void write_answer(void *ctx, struct ps_ask *ask)
{
    struct asking *asking = ctx;
    ps_ask_type(ask, 200, "application/json");
    if (ps_history_result_write(asking->result, &ask->reply) != PS_OK) {
        ps_ask_problem(ask, 503, "no_memory", "out of memory");
    }
    free_asking(asking);
}

static void hand_over(struct asking *asking)
{
    ps_list_remove(&asking->link);
    ps_clerk_take(asking->recorder->parts.clerk, asking->ask, write_answer, asking);
}

static void meet_present(struct asking *asking)
{
    const struct ps_history *history = asking->recorder->history;
    const struct ps_history_track *track = NULL;
    while ((track = ps_history_next(history, track)) != NULL) {
        ps_history_query_meet(&asking->query, track->key, &asking->known);
    }
}

static int judge(struct asking *asking)
{
    return ps_history_query_judge(&asking->query, &asking->known, asking->reason,
                                  sizeof asking->reason);
}

/* --- from memory ------------------------------------------------------------------------------ */

/* Adds what is asked for and in memory, unless the ledger has named it. */
static int add_present(struct asking *asking)
{
    const struct ps_history *history = asking->recorder->history;
    const struct ps_history_track *track = NULL;
    int err = PS_OK;
    while (err == PS_OK && (track = ps_history_next(history, track)) != NULL) {
        if (!ps_history_query_wants(&asking->query, track->key) ||
            ps_history_result_has(asking->result, track->key)) {
            continue;
        }
        size_t n = ps_history_result_count(asking->result);
        err = ps_history_result_add(asking->result, track->key, NOT_STORED);
        if (err == PS_OK && asking->grid.resolution == PS_HISTORY_SECOND) {
            ps_history_result_fill(asking->result, n, history, track);
        }
    }
    return err;
}

static void answer_present(struct asking *asking)
{
    meet_present(asking);
    int err = judge(asking);
    err = err != PS_OK ? err : add_present(asking);
    err == PS_OK ? hand_over(asking) : refuse_err(asking, err);
}

/* --- from the ledger -------------------------------------------------------------------------- */

static void on_rows(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct asking *asking = ctx;
    if (err != PS_OK) {
        refuse_err(asking, err);
        return;
    }
    ps_history_result_take(asking->result, rows);
    ps_history_result_round_off(asking->result, asking->recorder->history);
    hand_over(asking);
}

static int read_rows(struct asking *asking)
{
    const struct ps_history_grid *grid = &asking->grid;
    struct ps_buf ids = ps_buf_make(PS_HISTORY_SERIES * 24);
    int err = ps_history_result_ids(asking->result, &ids);
    const struct ps_rollup_range range = {
        .ids = ps_buf_str(&ids),
        .from = grid->from,
        .to = grid->from + (int64_t)grid->count * grid->step,
        .step = grid->step,
        .hours = grid->resolution == PS_HISTORY_HOUR,
    };
    err = err != PS_OK ? err
                       : ps_rollup_read(asking->recorder->rollup, &range, PS_HISTORY_CELLS, on_rows,
                                        asking);
    ps_buf_fini(&ids);
    return err == PS_ELIMIT ? PS_EIO : err; /* too many questions wait */
}

static struct ps_str key_at(const struct ps_ledger_rows *rows, size_t row)
{
    const struct ps_ledger_value *value = ps_ledger_at(rows, row, 1);
    return value->type == PS_LEDGER_TEXT ? value->text : PS_STR("");
}

static int add_stored(struct asking *asking, const struct ps_ledger_rows *rows)
{
    int err = rows->cut ? PS_ELIMIT : PS_OK;
    for (size_t i = 0; i < rows->count; i++) {
        ps_history_query_meet(&asking->query, key_at(rows, i), &asking->known);
    }
    err = err != PS_OK ? err : judge(asking);
    for (size_t i = 0; i < rows->count && err == PS_OK; i++) {
        if (ps_history_query_wants(&asking->query, key_at(rows, i))) {
            err = ps_history_result_add(asking->result, key_at(rows, i),
                                        ps_ledger_at(rows, i, 0)->integer);
        }
    }
    return err != PS_OK ? err : add_present(asking);
}

static void on_tracks(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct asking *asking = ctx;
    if (err == PS_OK) {
        meet_present(asking);
        err = add_stored(asking, rows);
    }
    err = err != PS_OK ? err : read_rows(asking);
    if (err != PS_OK) {
        refuse_err(asking, err);
    }
}

/* The names are of letters, digits, '_' and ':' only. */
static int find_tracks(struct asking *asking)
{
    const struct ps_history_query *query = &asking->query;
    struct ps_buf names = ps_buf_make((PS_QUERY_TEXT + 4) * PS_HISTORY_SELECTORS);
    int err = PS_OK;
    for (size_t i = 0; i < query->selector_count && err == PS_OK; i++) {
        err = ps_buf_printf(&names, "%c\"%.*s\"", i == 0 ? '[' : ',',
                            PS_STR_ARG(query->selectors[i].key.name));
    }
    err = err != PS_OK ? err : ps_buf_append_str(&names, PS_STR("]"));
    err = err != PS_OK ? err
                       : ps_rollup_find(asking->recorder->rollup, ps_buf_str(&names), TRACKS_MOST,
                                        on_tracks, asking);
    ps_buf_fini(&names);
    return err == PS_ELIMIT ? PS_EIO : err; /* as above */
}

static void answer_past(struct asking *asking)
{
    (void)ps_rollup_write(asking->recorder->rollup, ROLL_FIRST);
    int err = find_tracks(asking);
    if (err != PS_OK) {
        refuse_err(asking, err);
        return;
    }
    asking->ask->pending = true;
    ps_list_push(&asking->recorder->asking, &asking->link);
}

/* --- who asks --------------------------------------------------------------------------------- */

static int understand(struct asking *asking)
{
    const struct ps_recorder *recorder = asking->recorder;
    int64_t second = ps_history_second(recorder->history);
    const struct ps_history_reach reach = {
        .now = second > 0 ? second : wall_second(recorder),
        .points = (int64_t)ps_history_points(recorder->history),
        .kept = ps_rollup_is_kept(recorder->rollup),
        .minutes = recorder->opts.minutes / PS_SECOND,
        .hours = recorder->opts.hours / PS_SECOND,
    };
    int err = ps_history_query_parse(&asking->query, asking->ask->query, reach.now, asking->reason,
                                     sizeof asking->reason);
    if (err != PS_OK || asking->query.selector_count == 0) {
        return err;
    }
    err = ps_history_query_plan(&asking->query, &reach, &asking->grid, asking->reason,
                                sizeof asking->reason);
    return err != PS_OK ? err : ps_history_result_new(&asking->result, &asking->grid, reach.kept);
}

static void answer_list(struct asking *asking)
{
    const struct ps_recorder *recorder = asking->recorder;
    ps_ask_type(asking->ask, 200, "application/json");
    if (ps_history_list_write(recorder->history, ps_rollup_is_kept(recorder->rollup),
                              &asking->ask->reply) != PS_OK) {
        refuse_err(asking, PS_ENOMEM);
        return;
    }
    free_asking(asking);
}

void ps_recorder_answer(struct ps_recorder *recorder, struct ps_ask *ask)
{
    struct asking *asking = calloc(1, sizeof *asking);
    if (asking == NULL) {
        ps_ask_problem(ask, 503, "no_memory", "out of memory");
        return;
    }
    asking->recorder = recorder;
    asking->ask = ask;
    ps_list_init(&asking->link);
    int err = understand(asking);
    if (err != PS_OK) {
        refuse_err(asking, err);
    } else if (asking->query.selector_count == 0) {
        answer_list(asking);
    } else if (asking->grid.resolution == PS_HISTORY_SECOND) {
        answer_present(asking);
    } else {
        answer_past(asking);
    }
}

void ps_recorder_cancel(struct ps_recorder *recorder)
{
    while (recorder != NULL && !ps_list_is_empty(&recorder->asking)) {
        struct asking *asking = PS_LIST_FIRST(&recorder->asking, struct asking, link);
        ps_ledger_forget(recorder->parts.ledger, asking);
        refuse(asking, 503, "stopping", "Penstock is stopping");
    }
}

/* gpu_ledger - the audit trail: what was done to servers' memory, kept in the ledger.
 *
 * A row for each cleanup and one for each of its steps, written when it begins and again whenever
 * something is known: a cleanup that kill -9 interrupted is there with the call that was under way.
 * After a start the latest are read back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "operate/gpu.h"
#include "operate/gpu_room.h"
#include "store/ledger.h"

#define RECALL_AGAIN PS_MINUTE /* the file could not be read: is it there now? */

/* since_us tells the programs apart that counted. Times are microseconds since 1970 UTC. */
static const char *const migrations[] = {
    "CREATE TABLE gpu_cleanup("
    "since_us INTEGER NOT NULL, number INTEGER NOT NULL, began_us INTEGER NOT NULL, "
    "ended_us INTEGER, asked_by TEXT NOT NULL, asked INTEGER NOT NULL, mode TEXT NOT NULL, "
    "level TEXT, dry_run INTEGER NOT NULL, target_percent REAL NOT NULL, outcome TEXT NOT NULL, "
    "reason TEXT, percent_before REAL, percent_after REAL, "
    "PRIMARY KEY(since_us, number)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX gpu_cleanup_began ON gpu_cleanup(began_us);"
    "CREATE TABLE gpu_cleanup_step("
    "since_us INTEGER NOT NULL, number INTEGER NOT NULL, step INTEGER NOT NULL, "
    "began_us INTEGER NOT NULL, answered_us INTEGER, ended_us INTEGER, server TEXT NOT NULL, "
    "engine TEXT NOT NULL, simulated INTEGER NOT NULL, rung TEXT NOT NULL, call TEXT, model TEXT, "
    "expected_bytes INTEGER, used_before_bytes INTEGER, used_after_bytes INTEGER, "
    "kv_use_before REAL, kv_use_after REAL, late_bytes INTEGER, late_us INTEGER, "
    "server_state TEXT, shown_by_server INTEGER, status INTEGER, verdict TEXT NOT NULL, "
    "reason TEXT, PRIMARY KEY(since_us, number, step), "
    "FOREIGN KEY(since_us, number) REFERENCES gpu_cleanup ON DELETE CASCADE) STRICT, WITHOUT ROWID",
    NULL,
};

const struct ps_ledger_room ps_gpu_ledger_room = {
    .name = "gpu",
    .migrations = migrations,
    .prune = "DELETE FROM gpu_cleanup WHERE began_us < ?1 OR began_us <= "
             "(SELECT began_us FROM gpu_cleanup ORDER BY began_us DESC LIMIT 1 OFFSET ?2)",
};

static const char put_run[] =
    "INSERT INTO gpu_cleanup(since_us, number, began_us, ended_us, asked_by, asked, mode, level, "
    "dry_run, target_percent, outcome, reason, percent_before, percent_after) "
    "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) "
    "ON CONFLICT(since_us, number) DO UPDATE SET ended_us = excluded.ended_us, "
    "outcome = excluded.outcome, reason = excluded.reason, percent_after = excluded.percent_after";

static const char put_step[] =
    "INSERT OR REPLACE INTO gpu_cleanup_step(since_us, number, step, began_us, answered_us, "
    "ended_us, server, engine, simulated, rung, call, model, expected_bytes, used_before_bytes, "
    "used_after_bytes, kv_use_before, kv_use_after, late_bytes, late_us, server_state, "
    "shown_by_server, status, verdict, reason) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "
    "?11, "
    "?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)";

ps_time ps_gpu_wall(const struct ps_gpu *gpu, ps_time at)
{
    return ps_clock_wall(ps_loop_clock(gpu->loop)) - (ps_loop_now(gpu->loop) - at);
}

/* --- writing ---------------------------------------------------------------------------------- */

static const struct ps_ledger_value null = {.type = PS_LEDGER_NULL};

static struct ps_ledger_value time_value(const struct ps_gpu *gpu, ps_time at)
{
    return at == 0 ? null : ps_ledger_integer(ps_gpu_wall(gpu, at) / PS_MICROSECOND);
}

static struct ps_ledger_value text_value(const char *text)
{
    return text == NULL || text[0] == '\0' ? null : ps_ledger_text(text);
}

static struct ps_ledger_value bytes_value(struct ps_device_reading reading)
{
    return reading.known ? ps_ledger_integer((int64_t)reading.value) : null;
}

static struct ps_ledger_value real_value(struct ps_device_reading reading)
{
    return reading.known ? ps_ledger_real(reading.value) : null;
}

static void put(struct ps_gpu *gpu, const char *sql, const struct ps_ledger_value *values,
                size_t count)
{
    const struct ps_ledger_statement statement = {sql, values, count};
    PS_IGNORE(ps_ledger_write(gpu->ledger, &statement, 1, NULL, NULL)); /* counted there */
}

static void write_run(struct ps_gpu *gpu, const struct ps_optimizer_run *run)
{
    const struct ps_ledger_value values[] = {
        ps_ledger_integer(gpu->since / PS_MICROSECOND),
        ps_ledger_integer((int64_t)run->number),
        time_value(gpu, run->began),
        time_value(gpu, run->ended),
        ps_ledger_text(run->manual ? run->who : "auto"),
        ps_ledger_integer(run->manual),
        ps_ledger_text(ps_optimizer_mode_names[run->mode]),
        ps_ledger_text(run->level),
        ps_ledger_integer(run->dry_run),
        ps_ledger_real(run->target_percent),
        ps_ledger_text(ps_optimizer_outcome_names[run->outcome]),
        text_value(run->why),
        real_value(run->percent_before),
        real_value(run->percent_after),
    };
    put(gpu, put_run, values, PS_ARRAY_LEN(values));
}

static void write_step(struct ps_gpu *gpu, const struct ps_optimizer_run *run, size_t n)
{
    const struct ps_optimizer_step *step = &run->steps[n];
    const struct ps_ledger_value values[] = {
        ps_ledger_integer(gpu->since / PS_MICROSECOND),
        ps_ledger_integer((int64_t)run->number),
        ps_ledger_integer((int64_t)n + 1),
        time_value(gpu, step->began),
        time_value(gpu, step->answered),
        time_value(gpu, step->ended),
        ps_ledger_text(step->target),
        ps_ledger_text(ps_adapters[step->adapter].name),
        ps_ledger_integer(step->simulated),
        ps_ledger_text(ps_rung_names[step->hook->rung]),
        ps_ledger_text(step->hook->path),
        text_value(step->model),
        bytes_value(step->expected),
        bytes_value(step->before),
        bytes_value(step->after),
        real_value(step->kv_before),
        real_value(step->kv_after),
        bytes_value(step->late),
        step->late.known ? time_value(gpu, step->late_at) : null,
        text_value(ps_vitals_state_names[step->state]),
        step->showable ? ps_ledger_integer(step->shown) : null,
        step->status != 0 ? ps_ledger_integer(step->status) : null,
        ps_ledger_text(ps_optimizer_verdict_names[step->verdict]),
        text_value(step->why),
    };
    put(gpu, put_step, values, PS_ARRAY_LEN(values));
}

static unsigned mark_of(const struct ps_optimizer_step *step)
{
    return 1u + (unsigned)step->verdict + (step->late.known ? 256u : 0);
}

void ps_gpu_record(struct ps_gpu *gpu)
{
    const struct ps_optimizer_run *run = ps_optimizer_run(gpu->optimizer, 0);
    struct ps_gpu_recorded *recorded = &gpu->recorded;
    if (run == NULL || gpu->ledger == NULL) {
        return;
    }
    if (recorded->run != run->number) {
        *recorded = (struct ps_gpu_recorded){.run = run->number};
    }
    if (recorded->outcome != 1u + (unsigned)run->outcome) {
        recorded->outcome = 1u + (unsigned)run->outcome;
        write_run(gpu, run);
    }
    for (size_t i = 0; i < run->step_count; i++) {
        if (recorded->steps[i] != mark_of(&run->steps[i])) {
            recorded->steps[i] = mark_of(&run->steps[i]);
            write_step(gpu, run, i);
        }
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

#define LATEST                                                                                     \
    "(SELECT since_us, number FROM gpu_cleanup WHERE since_us <> ?1 ORDER BY began_us DESC LIMIT " \
    "32)"
static_assert(PS_OPTIMIZER_RUNS == 32, "as LATEST has it");

/* What was under way when a program ended goes no further. */
static const char end_runs[] =
    "UPDATE gpu_cleanup SET outcome = 'ended', reason = 'Penstock ended before the cleanup did' "
    "WHERE outcome = 'running' AND since_us <> ?1";
static const char end_steps[] = "UPDATE gpu_cleanup_step SET verdict = 'stopped', reason = "
                                "'Penstock ended before it was clear' "
                                "WHERE verdict IN ('calling', 'measuring') AND since_us <> ?1";

static const char get_runs[] =
    "SELECT number, began_us, ended_us, asked_by, asked, mode, level, dry_run, target_percent, "
    "outcome, reason, percent_before, percent_after, since_us, "
    "(SELECT max(number) FROM gpu_cleanup) "
    "FROM gpu_cleanup WHERE since_us <> ?1 ORDER BY began_us DESC LIMIT 32";

static const char get_steps[] =
    "SELECT number, since_us, began_us, answered_us, ended_us, server, engine, simulated, "
    "rung, call, model, expected_bytes, used_before_bytes, used_after_bytes, kv_use_before, "
    "kv_use_after, late_bytes, late_us, server_state, shown_by_server, status, verdict, reason "
    "FROM gpu_cleanup_step WHERE (since_us, number) IN " LATEST " ORDER BY since_us, number, step";

/* A row that is read column after column. */
struct reader {
    const struct ps_gpu *gpu;
    const struct ps_ledger_value *next;
};

static int64_t take_integer(struct reader *reader)
{
    const struct ps_ledger_value *value = reader->next++;
    return value->type == PS_LEDGER_INTEGER ? value->integer : 0;
}

/* A number of either kind. */
static struct ps_device_reading take_reading(struct reader *reader)
{
    const struct ps_ledger_value *value = reader->next++;
    return value->type == PS_LEDGER_INTEGER ? ps_device_known((double)value->integer)
           : value->type == PS_LEDGER_REAL  ? ps_device_known(value->real)
                                            : (struct ps_device_reading){0};
}

static const char *take_text(struct reader *reader)
{
    const struct ps_ledger_value *value = reader->next++;
    return value->type == PS_LEDGER_TEXT ? value->text.ptr : "";
}

/* An instant of the loop, possibly before its start; 0 = unknown. */
static ps_time take_time(struct reader *reader)
{
    int64_t wall = take_integer(reader);
    const struct ps_gpu *gpu = reader->gpu;
    return wall == 0 ? 0 : wall * PS_MICROSECOND - ps_gpu_wall(gpu, 0);
}

/* The place of a name in a table of `count`, or `fallback`. */
static int take_name(struct reader *reader, const char *const *names, int count, int fallback)
{
    const char *name = take_text(reader);
    for (int i = 0; i < count; i++) {
        if (names[i] != NULL && strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return fallback;
}

static void take_run(struct reader *reader, struct ps_optimizer_run *run)
{
    run->number = (uint64_t)take_integer(reader);
    run->began = take_time(reader);
    run->ended = take_time(reader);
    snprintf(run->who, sizeof run->who, "%s", take_text(reader));
    run->manual = take_integer(reader) != 0;
    run->mode = (enum ps_optimizer_mode)take_name(reader, ps_optimizer_mode_names,
                                                  PS_OPTIMIZER_AUTO + 1, PS_OPTIMIZER_ADVISE);
    int level = take_name(reader, ps_rung_names, PS_RUNG_COUNT, PS_RUNG_COUNT);
    run->level = level == PS_RUNG_COUNT ? NULL : ps_rung_names[level];
    run->dry_run = take_integer(reader) != 0;
    run->target_percent = take_reading(reader).value;
    run->outcome = (enum ps_optimizer_outcome)take_name(reader, ps_optimizer_outcome_names,
                                                        PS_OPTIMIZER_ENDED + 1, PS_OPTIMIZER_ENDED);
    snprintf(run->why, sizeof run->why, "%s", take_text(reader));
    run->percent_before = take_reading(reader);
    run->percent_after = take_reading(reader);
}

static enum ps_adapter_id adapter_of(const char *engine)
{
    int id = 0;
    while (id < PS_ADAPTER_COUNT && strcmp(ps_adapters[id].name, engine) != 0) {
        id++;
    }
    return (enum ps_adapter_id)id;
}

/* The row of the table, or NULL: this version has no such call. */
static const struct ps_hook *hook_of(enum ps_adapter_id adapter, const char *rung, const char *call)
{
    const struct ps_hook *hook = NULL;
    for (size_t i = 0; i < ps_hook_count; i++) {
        const struct ps_hook *one = &ps_hooks[i];
        bool same = (one->adapter == adapter || one->adapter == PS_ADAPTER_COUNT) &&
                    strcmp(ps_rung_names[one->rung], rung) == 0;
        if (same && (hook == NULL || strcmp(one->path, call) == 0)) {
            hook = one;
        }
    }
    return hook;
}

static void take_step(struct reader *reader, struct ps_optimizer_step *step)
{
    step->began = take_time(reader);
    step->answered = take_time(reader);
    step->ended = take_time(reader);
    snprintf(step->target, sizeof step->target, "%s", take_text(reader));
    step->adapter = adapter_of(take_text(reader));
    step->simulated = take_integer(reader) != 0;
    const char *rung = take_text(reader);
    step->hook = hook_of(step->adapter, rung, take_text(reader));
    snprintf(step->model, sizeof step->model, "%s", take_text(reader));
    step->expected = take_reading(reader);
    step->before = take_reading(reader);
    step->after = take_reading(reader);
    step->kv_before = take_reading(reader);
    step->kv_after = take_reading(reader);
    step->late = take_reading(reader);
    step->late_at = take_time(reader);
    step->state = (enum ps_vitals_state)take_name(reader, ps_vitals_state_names,
                                                  PS_VITALS_FAILED + 1, PS_VITALS_STATE_UNKNOWN);
    step->showable = reader->next->type != PS_LEDGER_NULL;
    step->shown = take_integer(reader) != 0;
    step->status = (int)take_integer(reader);
    step->verdict = (enum ps_optimizer_verdict)take_name(
        reader, ps_optimizer_verdict_names, PS_OPTIMIZER_STOPPED + 1, PS_OPTIMIZER_STOPPED);
    snprintf(step->why, sizeof step->why, "%s", take_text(reader));
}

static void take_runs(struct ps_gpu *gpu, const struct ps_ledger_rows *rows)
{
    gpu->past_known = false;
    free(gpu->past);
    gpu->past = calloc(rows->count + 1, sizeof *gpu->past);
    gpu->past_count = gpu->past == NULL ? 0 : rows->count;
    for (size_t i = 0; i < gpu->past_count; i++) {
        struct reader reader = {gpu, ps_ledger_at(rows, i, 0)};
        take_run(&reader, &gpu->past[i].run);
        gpu->past[i].since_us = take_integer(&reader);
    }
    if (rows->count > 0 && ps_optimizer_run(gpu->optimizer, 0) == NULL) {
        ps_optimizer_count_from(gpu->optimizer,
                                (uint64_t)ps_ledger_at(rows, 0, rows->columns - 1)->integer);
    }
}

static struct ps_optimizer_run *find_run(struct ps_gpu *gpu, uint64_t number, int64_t since_us)
{
    for (size_t i = 0; i < gpu->past_count; i++) {
        if (gpu->past[i].run.number == number && gpu->past[i].since_us == since_us) {
            return &gpu->past[i].run;
        }
    }
    return NULL;
}

static void take_steps(struct ps_gpu *gpu, const struct ps_ledger_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        struct reader reader = {gpu, ps_ledger_at(rows, i, 0)};
        struct ps_optimizer_step step = {0};
        uint64_t number = (uint64_t)take_integer(&reader);
        struct ps_optimizer_run *run = find_run(gpu, number, take_integer(&reader));
        take_step(&reader, &step);
        if (run != NULL && step.hook != NULL && step.adapter < PS_ADAPTER_COUNT &&
            run->step_count < PS_OPTIMIZER_STEPS) {
            run->steps[run->step_count++] = step;
        }
    }
}

static void on_runs(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct ps_gpu *gpu = ctx;
    if (err == PS_OK) {
        take_runs(gpu, rows);
    } else {
        gpu->recall_at = ps_loop_now(gpu->loop) + RECALL_AGAIN;
    }
}

static void on_steps(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct ps_gpu *gpu = ctx;
    if (err == PS_OK) {
        take_steps(gpu, rows);
    }
    gpu->past_known = err == PS_OK;
}

void ps_gpu_recall(struct ps_gpu *gpu)
{
    const struct ps_ledger_value since = ps_ledger_integer(gpu->since / PS_MICROSECOND);
    const struct ps_ledger_statement ends[] = {{end_runs, &since, 1}, {end_steps, &since, 1}};
    const struct ps_ledger_statement runs = {get_runs, &since, 1};
    const struct ps_ledger_statement steps = {get_steps, &since, 1};
    gpu->recall_at = PS_NEVER;
    if (gpu->ledger == NULL) {
        return;
    }
    if (ps_ledger_write(gpu->ledger, ends, PS_ARRAY_LEN(ends), NULL, NULL) != PS_OK ||
        ps_ledger_read(gpu->ledger, &runs, PS_OPTIMIZER_RUNS, on_runs, gpu) != PS_OK ||
        ps_ledger_read(gpu->ledger, &steps, (size_t)PS_OPTIMIZER_RUNS * PS_OPTIMIZER_STEPS,
                       on_steps, gpu) != PS_OK) {
        gpu->recall_at = ps_loop_now(gpu->loop) + RECALL_AGAIN;
    }
}

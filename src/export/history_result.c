#include "export/history_result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/writer.h"
#include "store/ledger.h"

enum { MINUTE = 60 };

struct series {
    char *text;
    struct ps_history_key key; /* views into text */
    int64_t id;
    struct ps_history_roll *rolls; /* one for each time of the grid */
};

struct ps_history_result {
    struct ps_history_grid grid;
    bool kept;
    size_t count;
    struct series series[PS_HISTORY_SERIES];
};

/* --- life ------------------------------------------------------------------------------------- */

int ps_history_result_new(struct ps_history_result **out, const struct ps_history_grid *grid,
                          bool kept)
{
    struct ps_history_result *result = calloc(1, sizeof *result);
    if (result == NULL) {
        return PS_ENOMEM;
    }
    result->grid = *grid;
    result->kept = kept;
    *out = result;
    return PS_OK;
}

void ps_history_result_free(struct ps_history_result *result)
{
    if (result == NULL) {
        return;
    }
    for (size_t i = 0; i < result->count; i++) {
        free(result->series[i].text);
        free(result->series[i].rolls);
    }
    free(result);
}

int ps_history_result_add(struct ps_history_result *result, struct ps_str key, int64_t id)
{
    size_t points = result->grid.count;
    if (result->count == PS_HISTORY_SERIES || (result->count + 1) * points > PS_HISTORY_CELLS) {
        return PS_ELIMIT;
    }
    struct series *series = &result->series[result->count];
    *series = (struct series){.text = ps_str_dup(key), .id = id};
    series->rolls = calloc(points, sizeof *series->rolls);
    int err = series->text == NULL || series->rolls == NULL
                  ? PS_ENOMEM
                  : ps_history_key_parse((struct ps_str){series->text, key.len}, &series->key);
    if (err != PS_OK) {
        free(series->text);
        free(series->rolls);
        return err == PS_ENOMEM ? PS_ENOMEM : PS_EINVAL;
    }
    result->count++;
    return PS_OK;
}

bool ps_history_result_has(const struct ps_history_result *result, struct ps_str key)
{
    for (size_t i = 0; i < result->count; i++) {
        if (ps_str_eq(ps_str_from(result->series[i].text), key)) {
            return true;
        }
    }
    return false;
}

size_t ps_history_result_count(const struct ps_history_result *result)
{
    return result->count;
}

int ps_history_result_ids(const struct ps_history_result *result, struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; i < result->count && err == PS_OK; i++) {
        err = ps_buf_printf(out, "%c%lld", i == 0 ? '[' : ',', (long long)result->series[i].id);
    }
    return err != PS_OK ? err : ps_buf_append_str(out, result->count == 0 ? PS_STR("[]") : PS_STR("]"));
}

/* --- filling ---------------------------------------------------------------------------------- */

void ps_history_result_fill(struct ps_history_result *result, size_t n,
                            const struct ps_history *history, const struct ps_history_track *track)
{
    const struct ps_history_grid *grid = &result->grid;
    for (size_t i = 0; i < grid->count; i++) {
        int64_t at = grid->from + (int64_t)i * grid->step;
        ps_history_roll(history, track, at, at + grid->step, &result->series[n].rolls[i]);
    }
}

static struct ps_history_roll *slot_of(struct ps_history_result *result, size_t n, int64_t second)
{
    const struct ps_history_grid *grid = &result->grid;
    int64_t at = second < grid->from ? -1 : (second - grid->from) / grid->step;
    return at >= 0 && at < (int64_t)grid->count ? &result->series[n].rolls[at] : NULL;
}

static double number(const struct ps_ledger_rows *rows, size_t row, size_t column)
{
    const struct ps_ledger_value *value = ps_ledger_at(rows, row, column);
    return value->type == PS_LEDGER_REAL      ? value->real
           : value->type == PS_LEDGER_INTEGER ? (double)value->integer
                                              : NAN;
}

static int64_t whole(const struct ps_ledger_rows *rows, size_t row, size_t column)
{
    const struct ps_ledger_value *value = ps_ledger_at(rows, row, column);
    return value->type == PS_LEDGER_INTEGER ? value->integer : 0;
}

static size_t find(const struct ps_history_result *result, int64_t id)
{
    size_t n = 0;
    while (n < result->count && result->series[n].id != id) {
        n++;
    }
    return n;
}

/* Rows come in order of the tracks. */
void ps_history_result_take(struct ps_history_result *result, const struct ps_ledger_rows *rows)
{
    size_t n = result->count;
    for (size_t i = 0; i < rows->count; i++) {
        int64_t id = whole(rows, i, 0);
        n = n < result->count && result->series[n].id == id ? n : find(result, id);
        struct ps_history_roll *roll =
            n == result->count ? NULL : slot_of(result, n, whole(rows, i, 1));
        if (roll != NULL) {
            *roll = (struct ps_history_roll){
                .min = number(rows, i, 2),
                .max = number(rows, i, 3),
                .mean = number(rows, i, 4),
                .last = number(rows, i, 5),
                .p95 = number(rows, i, 6),
                .count = (uint32_t)whole(rows, i, 7),
            };
        }
    }
}

void ps_history_result_round_off(struct ps_history_result *result,
                                 const struct ps_history *history)
{
    int64_t now = ps_history_second(history);
    int64_t minute = now - now % MINUTE;
    for (size_t n = 0; n < result->count; n++) {
        const struct ps_history_track *track =
            ps_history_find(history, ps_str_from(result->series[n].text));
        struct ps_history_roll *roll = slot_of(result, n, minute);
        if (track != NULL && roll != NULL) {
            struct ps_history_roll present;
            ps_history_roll(history, track, minute, now + 1, &present);
            ps_history_roll_join(roll, &present);
        }
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

/* All digits that there are: a value is the one that /metrics showed. */
static void put_number(struct ps_writer *out, double number)
{
    char text[32] = "null";
    if (isfinite(number)) {
        snprintf(text, sizeof text, "%.15g", number);
        if (strtod(text, NULL) != number) {
            snprintf(text, sizeof text, "%.17g", number);
        }
    }
    ps_writer_text(out, text);
}

static void put_labels(struct ps_writer *out, struct ps_str labels)
{
    struct ps_str name;
    struct ps_str value;
    char plain[PS_HISTORY_KEY_MAX];
    const char *between = "";
    ps_writer_text(out, ",\"labels\":{");
    while (ps_history_key_next(&labels, &name, &value)) {
        ps_writer_text(out, between);
        ps_writer_string(out, name);
        ps_writer_text(out, ":");
        ps_writer_string(out, (struct ps_str){plain, ps_history_key_unescape(value, plain)});
        between = ",";
    }
    ps_writer_text(out, "}");
}

/* The head of a series, left open. */
static void put_key(struct ps_writer *out, struct ps_str text, const struct ps_history_key *key)
{
    ps_writer_text(out, "{\"key\":");
    ps_writer_string(out, text);
    ps_writer_text(out, ",\"name\":");
    ps_writer_string(out, key->name);
    put_labels(out, key->labels);
    ps_writer_text(out, ",\"of\":\"");
    ps_writer_text(out, ps_history_of_names[key->of]);
    ps_writer_text(out, "\"");
}

static void put_times(struct ps_writer *out, const struct ps_history_grid *grid)
{
    ps_writer_text(out, ",\"time\":[");
    for (size_t i = 0; i < grid->count; i++) {
        ps_writer_text(out, i == 0 ? "" : ",");
        ps_writer_u64(out, (uint64_t)(grid->from + (int64_t)i * grid->step));
    }
    ps_writer_text(out, "]");
}

static const struct {
    const char *name;
    size_t offset;
} columns[] = {
    {"min", offsetof(struct ps_history_roll, min)},   {"max", offsetof(struct ps_history_roll, max)},
    {"mean", offsetof(struct ps_history_roll, mean)}, {"last", offsetof(struct ps_history_roll, last)},
    {"p95", offsetof(struct ps_history_roll, p95)},
};

static void put_column(struct ps_writer *out, const char *name, const struct series *series,
                       size_t count, size_t offset)
{
    ps_writer_text(out, ",\"");
    ps_writer_text(out, name);
    ps_writer_text(out, "\":[");
    for (size_t i = 0; i < count; i++) {
        const struct ps_history_roll *roll = &series->rolls[i];
        const double *number = (const double *)(const void *)((const char *)roll + offset);
        ps_writer_text(out, i == 0 ? "" : ",");
        put_number(out, roll->count == 0 ? NAN : *number);
    }
    ps_writer_text(out, "]");
}

static void put_counts(struct ps_writer *out, const struct series *series, size_t count)
{
    ps_writer_text(out, ",\"count\":[");
    for (size_t i = 0; i < count; i++) {
        ps_writer_text(out, i == 0 ? "" : ",");
        ps_writer_u64(out, series->rolls[i].count);
    }
    ps_writer_text(out, "]");
}

static void put_series(struct ps_writer *out, const struct ps_history_grid *grid,
                       const struct series *series)
{
    put_key(out, ps_str_from(series->text), &series->key);
    put_times(out, grid);
    if (grid->resolution == PS_HISTORY_SECOND && grid->step == 1) {
        put_column(out, "value", series, grid->count, offsetof(struct ps_history_roll, last));
    } else {
        for (size_t i = 0; i < PS_ARRAY_LEN(columns); i++) {
            put_column(out, columns[i].name, series, grid->count, columns[i].offset);
        }
        put_counts(out, series, grid->count);
    }
    ps_writer_text(out, "}");
}

int ps_history_result_write(const struct ps_history_result *result, struct ps_buf *buf)
{
    const struct ps_history_grid *grid = &result->grid;
    struct ps_writer out = {buf, PS_OK};
    ps_writer_text(&out, "{\"from\":");
    ps_writer_u64(&out, (uint64_t)grid->from);
    ps_writer_text(&out, ",\"to\":");
    ps_writer_u64(&out, (uint64_t)(grid->from + (int64_t)(grid->count - 1) * grid->step));
    ps_writer_text(&out, ",\"step_seconds\":");
    ps_writer_u64(&out, (uint64_t)grid->step);
    ps_writer_text(&out, ",\"resolution\":\"");
    ps_writer_text(&out, ps_history_resolution_names[grid->resolution]);
    ps_writer_text(&out, result->kept ? "\",\"store\":true,\"series\":["
                                      : "\",\"store\":false,\"series\":[");
    for (size_t i = 0; i < result->count; i++) {
        ps_writer_text(&out, i == 0 ? "" : ",");
        put_series(&out, grid, &result->series[i]);
    }
    ps_writer_text(&out, "]}\n");
    return out.err;
}

int ps_history_list_write(const struct ps_history *history, bool kept, struct ps_buf *buf)
{
    struct ps_writer out = {buf, PS_OK};
    const struct ps_history_track *track = NULL;
    const char *between = "";
    ps_writer_text(&out, "{\"time\":");
    ps_writer_u64(&out, (uint64_t)ps_history_second(history));
    ps_writer_text(&out, ",\"points\":");
    ps_writer_u64(&out, ps_history_points(history));
    ps_writer_text(&out, kept ? ",\"store\":true,\"series\":[" : ",\"store\":false,\"series\":[");
    while ((track = ps_history_next(history, track)) != NULL) {
        const struct ps_history_key key = {track->of, track->name, track->labels};
        ps_writer_text(&out, between);
        put_key(&out, track->key, &key);
        ps_writer_text(&out, "}");
        between = ",";
    }
    ps_writer_text(&out, "]}\n");
    return out.err;
}

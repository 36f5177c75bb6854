#include "export/frame.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "export/board.h"
#include "observe/event.h"
#include "observe/history.h"

enum { TEXT_LIMIT = 64 * 1024 };

/* A key of the default set, and the text of its points: "1,2.5,null,". */
struct series {
    char *key;
    size_t key_len;
    struct ps_buf quoted; /* "\"key\":" */
    struct ps_buf points;
    size_t from;                    /* where in it the oldest begins */
    double values[PS_FRAME_POINTS]; /* the same as numbers, a ring */
    size_t oldest;
    size_t count;
    double sorted[PS_FRAME_POINTS]; /* those that are known, ascending */
    size_t known;
};

struct ps_frame {
    struct ps_frame_opts opts;
    struct series **series; /* the default set, in its order */
    size_t count;
    struct ps_buf times; /* "1767323045,1767323046," */
    uint64_t seq;
    int64_t second; /* 0 = none yet */
    double at;      /* its time */
    size_t points;  /* of each series */
    uint64_t events_before, events_now;
};

/* --- one series ------------------------------------------------------------------------------- */

static void free_series(struct series *series)
{
    if (series != NULL) {
        ps_buf_fini(&series->quoted);
        ps_buf_fini(&series->points);
        free(series->key);
        free(series);
    }
}

static int quote(struct ps_buf *out, struct ps_str key)
{
    int err = ps_buf_append_str(out, PS_STR("\""));
    err = err != PS_OK ? err : ps_buf_append_json(out, key);
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\":"));
}

static struct series *new_series(const char *key)
{
    struct series *series = calloc(1, sizeof *series);
    if (series == NULL) {
        return NULL;
    }
    series->points = ps_buf_make(TEXT_LIMIT);
    series->quoted = ps_buf_make(TEXT_LIMIT);
    series->key = ps_str_dup(ps_str_from(key));
    series->key_len = strlen(key);
    if (series->key == NULL || quote(&series->quoted, ps_str_from(key)) != PS_OK) {
        free_series(series);
        return NULL;
    }
    return series;
}

static struct ps_str text_of(const struct series *series)
{
    return ps_str_skip(ps_buf_str(&series->points), series->from);
}

/* The place of the first that is not smaller. */
static size_t find_sorted(const struct series *series, double value)
{
    size_t low = 0;
    size_t high = series->known;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (series->sorted[middle] < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void move_sorted(struct series *series, size_t to, size_t from, size_t count)
{
    memmove(series->sorted + to, series->sorted + from, count * sizeof series->sorted[0]);
}

/* The oldest point leaves. Room is made when what left is the larger part. */
static void drop_point(struct series *series)
{
    double value = series->values[series->oldest];
    if (!isnan(value)) {
        size_t at = find_sorted(series, value);
        move_sorted(series, at, at + 1, series->known - at - 1);
        series->known--;
    }
    series->oldest = (series->oldest + 1) % PS_FRAME_POINTS;
    series->count--;
    series->from += ps_str_find(text_of(series), ',') + 1;
    if (series->from > series->points.len / 2) {
        ps_buf_drop(&series->points, series->from);
        series->from = 0;
    }
}

static int add_point(struct series *series, double value)
{
    int err = ps_buf_append_double(&series->points, value);
    err = err != PS_OK ? err : ps_buf_append_str(&series->points, PS_STR(","));
    series->values[(series->oldest + series->count++) % PS_FRAME_POINTS] = value;
    if (!isnan(value)) {
        size_t at = find_sorted(series, value);
        move_sorted(series, at + 1, at, series->known - at);
        series->sorted[at] = value;
        series->known++;
    }
    return err;
}

static void roll_series(const struct series *series, struct ps_history_roll *out)
{
    size_t count = series->known;
    double sum = 0;
    *out = (struct ps_history_roll){.count = (uint32_t)count};
    for (size_t i = 0; i < count; i++) {
        sum += series->sorted[i];
    }
    if (count > 0) {
        out->min = series->sorted[0];
        out->max = series->sorted[count - 1];
        out->mean = sum / (double)count;
        out->p95 = series->sorted[(95 * count + 99) / 100 - 1]; /* as ps_history_roll() */
    }
}

/* --- a new second ----------------------------------------------------------------------------- */

/* Seconds from `from` to the present one. */
static int add_points(const struct ps_frame *frame, struct series *series, int64_t from)
{
    const struct ps_history *history = frame->opts.history;
    const struct ps_history_track *track =
        ps_history_find(history, (struct ps_str){series->key, series->key_len});
    int err = PS_OK;
    for (int64_t second = from; second <= frame->second && err == PS_OK; second++) {
        double value = track == NULL ? NAN : ps_history_at(history, track, second);
        err = add_point(series, value);
    }
    return err;
}

/* Of seconds that were left out it is what lies before, a second each. */
static int add_times(struct ps_frame *frame, size_t added, double time)
{
    int err = PS_OK;
    for (size_t left = added; left > 0 && err == PS_OK; left--) {
        err = ps_buf_printf(&frame->times, "%.15g,", time - (double)(left - 1));
    }
    return err;
}

/* The series of a key, taken out of the set of the second before; the order is mostly the same. */
static struct series *take_series(struct ps_frame *frame, size_t expected, const char *key)
{
    for (size_t i = 0; i < frame->count; i++) {
        size_t at = (expected + i) % frame->count;
        struct series *series = frame->series[at];
        if (series != NULL && strcmp(series->key, key) == 0) {
            frame->series[at] = NULL;
            return series;
        }
    }
    return NULL;
}

static int refresh(struct ps_frame *frame, struct series *series, size_t added, size_t dropped)
{
    int64_t from = frame->second - (int64_t)added + 1;
    for (size_t i = 0; i < dropped; i++) {
        drop_point(series);
    }
    return add_points(frame, series, from);
}

static void forget_all(struct ps_frame *frame)
{
    for (size_t i = 0; i < frame->count; i++) {
        free_series(frame->series[i]);
    }
    frame->count = 0;
    frame->points = 0;
    ps_buf_clear(&frame->times);
}

/* The set of this second, each key with all of its points. */
static int take_keys(struct ps_frame *frame, const char *const *keys, size_t count, size_t added,
                     size_t dropped)
{
    struct series **set = calloc(count + 1, sizeof(struct series *));
    size_t kept = 0;
    int err = set == NULL ? PS_ENOMEM : PS_OK;
    for (size_t i = 0; set != NULL && i < count; i++) {
        struct series *series = take_series(frame, i, keys[i]);
        bool fresh = series == NULL;
        series = fresh ? new_series(keys[i]) : series;
        int here = series == NULL ? PS_ENOMEM
                   : fresh        ? refresh(frame, series, frame->points, 0)
                                  : refresh(frame, series, added, dropped);
        if (here == PS_OK) {
            set[kept++] = series;
        } else {
            free_series(series);
            err = here;
        }
    }
    for (size_t i = 0; i < frame->count; i++) {
        free_series(frame->series[i]);
    }
    free(frame->series);
    frame->series = set;
    frame->count = kept;
    return err;
}

int ps_frame_second(struct ps_frame *frame, double time, const char *const *keys, size_t count)
{
    int64_t second = ps_history_second(frame->opts.history);
    int64_t passed = second - frame->second;
    if (frame->second == 0 || passed < 0 || passed >= PS_FRAME_POINTS) {
        forget_all(frame); /* the first, or nothing of before is in sight */
        passed = 1;
    }
    size_t added = (size_t)passed;
    size_t points = frame->points + added;
    size_t most = ps_history_points(frame->opts.history);
    most = most < PS_FRAME_POINTS ? most : PS_FRAME_POINTS;
    size_t dropped = points > most ? points - most : 0;
    frame->points = points - dropped;
    frame->second = second;
    frame->at = time;
    frame->seq++;
    frame->events_before = frame->events_now;
    frame->events_now = frame->opts.events == NULL ? 0 : ps_events_count(frame->opts.events);
    for (size_t i = 0; i < dropped; i++) {
        ps_buf_drop(&frame->times, ps_str_find(ps_buf_str(&frame->times), ',') + 1);
    }
    int err = add_times(frame, added, time);
    if (err != PS_OK) {
        forget_all(frame); /* points beside the wrong times would stay there */
        return err;
    }
    return take_keys(frame, keys, count, added, dropped);
}

/* --- which keys ------------------------------------------------------------------------------- */

/* A key that a frame shows: of the default set, or any other track. */
struct pick {
    const struct series *series;
    const struct ps_history_track *track;
};

struct picks {
    struct pick *items; /* PS_FRAME_KEYS */
    size_t count;
    bool *taken; /* by place in the default set */
};

static bool is_one_of(const struct series *series, struct ps_str name)
{
    return series->key_len > name.len && series->key[name.len] == '{' &&
           memcmp(series->key, name.ptr, name.len) == 0;
}

static void pick_series(struct picks *picks, const struct ps_frame *frame, size_t at)
{
    if (!picks->taken[at] && picks->count < PS_FRAME_KEYS) {
        picks->taken[at] = true;
        picks->items[picks->count++] = (struct pick){.series = frame->series[at]};
    }
}

static void pick_track(struct picks *picks, const struct ps_history_track *track)
{
    for (size_t i = 0; i < picks->count; i++) {
        if (picks->items[i].track == track) {
            return;
        }
    }
    if (track != NULL && picks->count < PS_FRAME_KEYS) {
        picks->items[picks->count++] = (struct pick){.track = track};
    }
}

static void pick(struct picks *picks, const struct ps_frame *frame, struct ps_str key)
{
    bool is_name = ps_str_find(key, '{') == key.len;
    bool found = false;
    for (size_t i = 0; i < frame->count && (is_name || !found); i++) {
        const struct series *series = frame->series[i];
        bool same = series->key_len == key.len && memcmp(series->key, key.ptr, key.len) == 0;
        if (same || (is_name && is_one_of(series, key))) {
            pick_series(picks, frame, i);
            found = true;
        }
    }
    if (!found) {
        pick_track(picks, ps_history_find(frame->opts.history, key));
    }
}

static int make_picks(struct picks *picks, const struct ps_frame *frame, const char *const *keys,
                      size_t count)
{
    *picks = (struct picks){0};
    picks->items = calloc(PS_FRAME_KEYS, sizeof *picks->items);
    picks->taken = calloc(frame->count + 1, sizeof *picks->taken);
    if (picks->items == NULL || picks->taken == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; keys == NULL && i < frame->count; i++) {
        pick_series(picks, frame, i);
    }
    for (size_t i = 0; keys != NULL && i < count; i++) {
        pick(picks, frame, ps_str_from(keys[i]));
    }
    return PS_OK;
}

static void free_picks(struct picks *picks)
{
    free(picks->items);
    free(picks->taken);
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Nothing is written after the first failure. */
struct page {
    struct ps_frame *frame;
    const struct picks *picks;
    struct ps_buf *out;
    int err;
};

static void put(struct page *page, struct ps_str text)
{
    if (page->err == PS_OK) {
        page->err = ps_buf_append_str(page->out, text);
    }
}

static void put_number(struct page *page, double number)
{
    if (page->err == PS_OK) {
        page->err = ps_buf_append_double(page->out, number);
    }
}

static void put_key(struct page *page, const struct pick *pick)
{
    if (pick->series != NULL) {
        put(page, ps_buf_str(&pick->series->quoted));
    } else if (page->err == PS_OK) {
        page->err = quote(page->out, pick->track->key);
    }
}

static double now_of(const struct page *page, const struct pick *pick)
{
    const struct series *series = pick->series;
    if (series == NULL) {
        return ps_history_at(page->frame->opts.history, pick->track, page->frame->second);
    }
    return series->values[(series->oldest + series->count - 1) % PS_FRAME_POINTS];
}

static void put_metrics(struct page *page)
{
    bool some = false;
    for (size_t i = 0; i < page->picks->count; i++) {
        const struct pick *pick = &page->picks->items[i];
        double value = now_of(page, pick);
        if (isfinite(value)) {
            put(page, some ? PS_STR(",") : PS_STR(""));
            put_key(page, pick);
            put_number(page, value);
            some = true;
        }
    }
}

/* Points of a track that is not in the default set. */
static void put_track(struct page *page, const struct ps_history_track *track)
{
    double points[PS_FRAME_POINTS];
    size_t count = page->frame->points;
    int64_t from = page->frame->second - (int64_t)count + 1;
    ps_history_read(page->frame->opts.history, track, from, count, points);
    for (size_t i = 0; i < count; i++) {
        put(page, i == 0 ? PS_STR("") : PS_STR(","));
        put_number(page, points[i]);
    }
}

/* Without the last comma. */
static void put_points(struct page *page, struct ps_str text)
{
    put(page, ps_str_first(text, text.len > 0 ? text.len - 1 : 0));
}

static void put_history(struct page *page)
{
    put(page, PS_STR(",\"history\":{\"time\":["));
    put_points(page, ps_buf_str(&page->frame->times));
    put(page, PS_STR("],\"series\":{"));
    for (size_t i = 0; i < page->picks->count; i++) {
        const struct pick *pick = &page->picks->items[i];
        put(page, i == 0 ? PS_STR("") : PS_STR(","));
        put_key(page, pick);
        put(page, PS_STR("["));
        if (pick->series != NULL) {
            put_points(page, text_of(pick->series));
        } else {
            put_track(page, pick->track);
        }
        put(page, PS_STR("]"));
    }
    put(page, PS_STR("}}"));
}

static void put_events(struct page *page, uint64_t after)
{
    put(page, PS_STR(",\"alerts\":[],\"events\":["));
    if (page->frame->opts.events != NULL && page->err == PS_OK) {
        page->err =
            ps_events_write(page->frame->opts.events, after, page->frame->events_now, page->out);
    }
    put(page, PS_STR("]"));
}

static void put_board(struct page *page)
{
    if (page->frame->opts.board && page->err == PS_OK) {
        put(page, PS_STR(",\"board\":"));
        page->err = page->err != PS_OK ? page->err : ps_board_write_rows(page->out);
    }
}

static void put_when(struct page *page)
{
    if (page->err == PS_OK) {
        page->err = ps_buf_printf(page->out, "\"seq\":%" PRIu64 ",\"time\":%.15g", page->frame->seq,
                                  page->frame->at);
    }
}

static void put_roll(struct page *page, const struct ps_history_roll *roll)
{
    put(page, PS_STR("{\"min\":"));
    put_number(page, roll->min);
    put(page, PS_STR(",\"max\":"));
    put_number(page, roll->max);
    put(page, PS_STR(",\"mean\":"));
    put_number(page, roll->mean);
    put(page, PS_STR(",\"p95\":"));
    put_number(page, roll->p95);
    put(page, PS_STR("}"));
}

static void put_stats(struct page *page)
{
    const struct ps_frame *frame = page->frame;
    bool some = false;
    put(page, PS_STR(",\"stats\":{"));
    for (size_t i = 0; i < page->picks->count; i++) {
        const struct pick *pick = &page->picks->items[i];
        struct ps_history_roll roll;
        if (pick->series != NULL) {
            roll_series(pick->series, &roll);
        } else {
            ps_history_roll(frame->opts.history, pick->track,
                            frame->second - (int64_t)frame->points + 1, frame->second + 1, &roll);
        }
        if (roll.count > 0) {
            put(page, some ? PS_STR(",") : PS_STR(""));
            put_key(page, pick);
            put_roll(page, &roll);
            some = true;
        }
    }
    put(page, PS_STR("}"));
}

static void put_frame(struct page *page, bool first)
{
    put(page, PS_STR("{\"type\":\"metrics_update\","));
    put_when(page);
    put(page, PS_STR(",\"metrics\":{"));
    put_metrics(page);
    put(page, PS_STR("}"));
    put_events(page, first ? 0 : page->frame->events_before);
    if (first) {
        put_history(page);
        put_board(page);
    }
    put(page, PS_STR("}"));
}

static void put_summary(struct page *page, size_t subscribers)
{
    put(page, PS_STR("{"));
    put_when(page);
    put(page, PS_STR(",\"current_metrics\":{"));
    put_metrics(page);
    put(page, PS_STR("}"));
    put_history(page);
    put_stats(page);
    put(page, PS_STR(",\"subscribers\":"));
    put_number(page, (double)subscribers);
    put_events(page, 0);
    put_board(page);
    put(page, PS_STR("}\n"));
}

/* Room for what is copied, so that it does not grow by halves. Without it, it does. */
static void reserve(struct page *page, bool first)
{
    size_t size = first ? page->frame->times.len : 0;
    for (size_t i = 0; i < page->picks->count; i++) {
        const struct series *series = page->picks->items[i].series;
        if (series != NULL) {
            size += series->quoted.len + 16;
            size += first ? text_of(series).len + series->quoted.len : 0;
        }
    }
    PS_IGNORE(ps_buf_reserve(page->out, size));
}

/* --- the whole -------------------------------------------------------------------------------- */

int ps_frame_write(struct ps_frame *frame, const char *const *keys, size_t count, bool first,
                   struct ps_buf *out)
{
    struct picks picks;
    size_t before = out->len;
    struct page page = {.frame = frame, .picks = &picks, .out = out};
    page.err = make_picks(&picks, frame, keys, count);
    reserve(&page, first);
    put_frame(&page, first);
    free_picks(&picks);
    out->len = page.err == PS_OK ? out->len : before;
    return page.err;
}

int ps_frame_write_summary(struct ps_frame *frame, const char *const *keys, size_t count,
                           size_t subscribers, struct ps_buf *out)
{
    struct picks picks;
    size_t before = out->len;
    struct page page = {.frame = frame, .picks = &picks, .out = out};
    page.err = make_picks(&picks, frame, keys, count);
    reserve(&page, true);
    put_summary(&page, subscribers);
    free_picks(&picks);
    out->len = page.err == PS_OK ? out->len : before;
    return page.err;
}

int ps_frame_new(struct ps_frame **out, const struct ps_frame_opts *opts)
{
    struct ps_frame *frame = calloc(1, sizeof *frame);
    if (frame == NULL) {
        return PS_ENOMEM;
    }
    frame->opts = *opts;
    frame->times = ps_buf_make(TEXT_LIMIT);
    *out = frame;
    return PS_OK;
}

void ps_frame_free(struct ps_frame *frame)
{
    if (frame != NULL) {
        forget_all(frame);
        free(frame->series);
        ps_buf_fini(&frame->times);
        free(frame);
    }
}

#include "export/board.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "observe/history.h"
#include "observe/metric.h"

/* Histograms are compared from second to second in buckets that stay: those of the family, or for
 * one that chooses its own, eight to each doubling from a millionth to 2^20. */
enum {
    FINE_SCALE = 3,
    FINE_LOW = -20 * 8,
    FINE = 40 * 8,
    BUCKETS = FINE + 1, /* the last has what is larger */
    CUSTOM_SCAN = 4000  /* tracks looked at in one second */
};

struct bins {
    uint64_t counts[BUCKETS];
};

/* What a second adds up to. */
struct sums {
    double of;
    double over;
    bool has_of;
    bool has_over;
};

struct track {
    const struct ps_board_row *row;
    char key[PS_BOARD_KEY];
    struct sums now;
    struct sums before;
    struct bins *bins; /* quantile: now, and before */
    bool borrowed;     /* ... of the row before, which looks at the same */
    bool was;          /* there was a second before this one */
};

/* The tracks of a row, in the order in which their series were first seen. */
struct rank {
    struct track **tracks;
    size_t count;
    size_t room;
    size_t at; /* where the next series is expected */
    const struct ps_metric_family *of;
    const struct ps_metric_family *over;
};

struct ps_board {
    struct ps_metrics *metrics;
    struct ps_history *history;
    struct rank *ranks;
    const char **order; /* names of rows, sorted */
    size_t track_count;
    ps_time at;
    bool began;

    /* the default set: the board's tracks, then custom ones */
    const char **keys;
    size_t key_count;
    char (*custom)[PS_BOARD_KEY]; /* found so far in the scan that is under way */
    size_t custom_count;
    char (*shown)[PS_BOARD_KEY]; /* by the last whole scan */
    size_t shown_count;
    uint32_t scan_from; /* place */
};

/* --- keys ------------------------------------------------------------------------------------- */

static size_t label_at(const struct ps_metric_family *family, const char *name)
{
    size_t at = 0;
    while (family->labels[at] != NULL && strcmp(family->labels[at], name) != 0) {
        at++;
    }
    return family->labels[at] == NULL ? SIZE_MAX : at;
}

/* As PromQL writes a label value. False: there is no room. */
static bool put_quoted(char *key, size_t *len, struct ps_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        bool escape = c == '"' || c == '\\' || c == '\n';
        if (*len + 4 > PS_BOARD_KEY) {
            return false;
        }
        if (escape) {
            key[(*len)++] = '\\';
        }
        key[(*len)++] = c == '\n' ? 'n' : c;
    }
    return true;
}

static bool put_text(char *key, size_t *len, const char *text)
{
    size_t more = strlen(text);
    if (*len + more + 1 > PS_BOARD_KEY) {
        return false;
    }
    memcpy(key + *len, text, more);
    *len += more;
    return true;
}

/* Metrics of the gateway name an endpoint by its authority, those of GPUs by its URL: here it is
 * the same word, and a short one. */
static struct ps_str without_scheme(struct ps_str value)
{
    size_t plain = ps_str_starts_with(value, PS_STR("http://"))    ? 7
                   : ps_str_starts_with(value, PS_STR("https://")) ? 8
                                                                   : 0;
    return ps_str_skip(value, plain);
}

/* The key of a row for the labels of a sample, empty ones left out; false where it is too long. */
static bool write_key(const struct ps_board_row *row, const struct ps_metric_sample *sample,
                      char key[PS_BOARD_KEY])
{
    size_t len = 0;
    bool fits = put_text(key, &len, row->name);
    const char *before = "{";
    for (size_t i = 0; i < PS_BOARD_BY && row->by[i] != NULL; i++) {
        size_t at = label_at(sample->family, row->by[i]);
        if (at == SIZE_MAX || sample->labels[at].len == 0) {
            continue;
        }
        fits = fits && put_text(key, &len, before) && put_text(key, &len, row->by[i]) &&
               put_text(key, &len, "=\"") &&
               put_quoted(key, &len, without_scheme(sample->labels[at])) &&
               put_text(key, &len, "\"");
        before = ",";
    }
    fits = fits && (before[0] == '{' || put_text(key, &len, "}"));
    key[fits ? len : 0] = '\0';
    return fits;
}

/* --- tracks ----------------------------------------------------------------------------------- */

static bool has_labels(const struct ps_board_row *row)
{
    return row->by[0] != NULL;
}

/* Is it a quantile of the same values as the row before? */
static bool is_twin(const struct ps_board_row *row)
{
    if (row == ps_board_rows || row->way != PS_BOARD_QUANTILE || row[-1].way != row->way) {
        return false;
    }
    const struct ps_board_row *before = row - 1;
    return !has_labels(row) && !has_labels(before) && row->of.label == NULL &&
           before->of.label == NULL && strcmp(row->of.family, before->of.family) == 0;
}

static int reserve(struct rank *rank)
{
    if (rank->count < rank->room) {
        return PS_OK;
    }
    size_t room = rank->room == 0 ? 1 : rank->room * 2;
    struct track **tracks = realloc(rank->tracks, room * sizeof(struct track *));
    if (tracks == NULL) {
        return PS_ENOMEM;
    }
    rank->tracks = tracks;
    rank->room = room;
    return PS_OK;
}

static void free_track(struct track *track)
{
    if (!track->borrowed) {
        free(track->bins);
    }
    free(track);
}

static int new_track(struct ps_board *board, struct rank *rank, const struct ps_board_row *row,
                     const char *key, struct track **out)
{
    if (board->track_count == PS_BOARD_TRACKS) {
        return PS_ELIMIT;
    }
    struct track *track = reserve(rank) == PS_OK ? calloc(1, sizeof *track) : NULL;
    if (track == NULL) {
        return PS_ENOMEM;
    }
    track->row = row;
    track->borrowed = is_twin(row);
    if (track->borrowed) {
        track->bins = rank[-1].tracks[0]->bins;
    } else if (row->way == PS_BOARD_QUANTILE) {
        track->bins = calloc(2, sizeof *track->bins);
    }
    if (row->way == PS_BOARD_QUANTILE && track->bins == NULL) {
        free(track);
        return PS_ENOMEM;
    }
    snprintf(track->key, sizeof track->key, "%s", key);
    rank->tracks[rank->count++] = track;
    board->track_count++;
    *out = track;
    return PS_OK;
}

/* Series come in the same order each second: mostly the next one is it. */
static struct track *find_track(struct rank *rank, const char *key)
{
    for (size_t i = 0; i < rank->count; i++) {
        struct track *track = rank->tracks[(rank->at + i) % rank->count];
        if (strcmp(track->key, key) == 0) {
            rank->at = (rank->at + i + 1) % rank->count;
            return track;
        }
    }
    return NULL;
}

/* --- what a second adds up to ----------------------------------------------------------------- */

struct visit {
    struct ps_board *board;
    struct rank *rank;
    const struct ps_board_row *row;
    const struct ps_board_source *source;
    bool over; /* the second source */
    bool short_of_memory;
};

static bool is_match(const char *pattern, struct ps_str value)
{
    size_t len = strlen(pattern);
    bool any = len > 0 && pattern[len - 1] == '*';
    struct ps_str want = {pattern, any ? len - 1 : len};
    return any ? ps_str_starts_with(value, want) : ps_str_eq(value, want);
}

static bool is_wanted(const struct ps_board_source *source, const struct ps_metric_sample *sample)
{
    size_t at = source->label == NULL ? SIZE_MAX : label_at(sample->family, source->label);
    bool wanted = source->label == NULL;
    for (size_t i = 0; at != SIZE_MAX && source->values[i] != NULL && !wanted; i++) {
        wanted = is_match(source->values[i], sample->labels[at]);
    }
    return wanted;
}

/* Counts of one bucket, over as many fine ones as it covers: a coarse histogram's are spread. */
static void add_fine(struct bins *bins, int scale, int32_t index, uint64_t n)
{
    if (scale >= FINE_SCALE) {
        int64_t at = (int64_t)(index >> (scale - FINE_SCALE)) - FINE_LOW;
        bins->counts[at < 0 ? 0 : at > FINE ? FINE : at] += n;
        return;
    }
    uint64_t parts = UINT64_C(1) << (FINE_SCALE - scale);
    for (uint64_t i = 0; i < parts; i++) {
        int64_t at = (int64_t)index * (int64_t)parts + (int64_t)i - FINE_LOW;
        bins->counts[at < 0 ? 0 : at > FINE ? FINE : at] += (n + i) / parts;
    }
}

static void add_exponential(struct bins *bins, const struct ps_exponential *from)
{
    const struct ps_exponential_side *side = &from->sides[0];
    bins->counts[0] += from->zeros;
    for (uint32_t i = 0; i < side->count; i++) {
        add_fine(bins, from->scale, side->low + (int32_t)i, side->buckets[i]);
    }
}

static void add_histogram(struct track *track, const struct ps_metric_sample *sample)
{
    if (sample->exponential != NULL) {
        add_exponential(&track->bins[0], sample->exponential);
        return;
    }
    size_t count;
    (void)ps_metric_bounds(sample->family, &count);
    for (size_t i = 0; i <= count; i++) {
        track->bins[0].counts[i] += sample->buckets[i];
    }
}

static void add_value(const struct visit *visit, struct track *track, double value)
{
    double *sum = visit->over ? &track->now.over : &track->now.of;
    bool *has = visit->over ? &track->now.has_over : &track->now.has_of;
    bool most = visit->row->way == PS_BOARD_MOST && *has;
    *sum = most ? fmax(*sum, value) : *has ? *sum + value : value;
    *has = true;
}

static int on_family(void *context, const struct ps_metric_family *family)
{
    (void)context;
    (void)family;
    return PS_OK;
}

/* A track too many or too long is left out, and so is one for which there is no memory. */
static int on_sample(void *context, const struct ps_metric_sample *sample)
{
    struct visit *visit = context;
    char key[PS_BOARD_KEY];
    if (!is_wanted(visit->source, sample) || !write_key(visit->row, sample, key)) {
        return PS_OK;
    }
    struct track *track = find_track(visit->rank, key);
    if (track == NULL) {
        int err = new_track(visit->board, visit->rank, visit->row, key, &track);
        visit->short_of_memory = visit->short_of_memory || err == PS_ENOMEM;
        if (err != PS_OK) {
            return PS_OK;
        }
    }
    if (track->bins == NULL) {
        add_value(visit, track, sample->value);
    } else if (sample->buckets != NULL) {
        add_histogram(track, sample);
        track->now.has_of = true;
    }
    return PS_OK;
}

static void begin_track(struct track *track)
{
    track->before = track->now;
    track->now = (struct sums){0};
    if (track->bins != NULL) {
        track->bins[1] = track->bins[0];
        track->bins[0] = (struct bins){{0}};
    }
}

/* A family may be declared later than the board is made. */
static int look_at(struct ps_board *board, struct visit *visit,
                   const struct ps_metric_family **family)
{
    if (visit->source->family == NULL) {
        return PS_OK;
    }
    if (*family == NULL) {
        *family = ps_metrics_find(board->metrics, ps_str_from(visit->source->family));
    }
    struct ps_metric_visitor visitor = {on_family, on_sample, visit, false};
    return *family == NULL ? PS_OK : ps_metrics_collect_family(board->metrics, *family, &visitor);
}

static int add_up(struct ps_board *board, size_t at)
{
    const struct ps_board_row *row = &ps_board_rows[at];
    struct rank *rank = &board->ranks[at];
    struct visit visit = {.board = board, .rank = rank, .row = row, .source = &row->of};
    if (rank->count > 0 && rank->tracks[0]->borrowed) {
        rank->of = rank[-1].of;
        return PS_OK;
    }
    for (size_t i = 0; i < rank->count; i++) {
        begin_track(rank->tracks[i]);
    }
    rank->at = 0;
    int err = look_at(board, &visit, &rank->of);
    rank->at = 0;
    visit.source = &row->over;
    visit.over = true;
    err = err != PS_OK ? err : look_at(board, &visit, &rank->over);
    return err != PS_OK ? err : visit.short_of_memory ? PS_ENOMEM : PS_OK;
}

/* --- values ----------------------------------------------------------------------------------- */

/* What was counted since the second before; NAN where it began anew. A sum over all series is 0
 * before the first one; a series of its own, which may come from before, has to be seen twice. */
static double increase(const struct track *track, double now, bool has_now, double before,
                       bool has_before)
{
    bool alone = has_labels(track->row);
    double grown = (has_now ? now : 0) - (has_before ? before : 0);
    return !track->was || (alone && !(has_now && has_before)) || grown < 0 ? NAN : grown;
}

static double increase_of(const struct track *track)
{
    return increase(track, track->now.of, track->now.has_of, track->before.of,
                    track->before.has_of);
}

static double increase_over(const struct track *track)
{
    return increase(track, track->now.over, track->now.has_over, track->before.over,
                    track->before.has_over);
}

static double share(double of, double over)
{
    return over > 0 ? of / over : NAN;
}

static double fine_bound(size_t at)
{
    return exp2((double)((int64_t)at + FINE_LOW + 1) / (1 << FINE_SCALE));
}

/* Where in a bucket: evenly between its bounds; evenly by ratio where the next is a ratio away. */
static double inside(const struct rank *rank, size_t at, double part)
{
    size_t count;
    const double *bounds = ps_metric_bounds(rank->of, &count);
    if (rank->of->type == PS_METRIC_EXPONENTIAL) {
        return fine_bound(at) * exp2((part - 1) / (1 << FINE_SCALE));
    }
    double low = at == 0 ? fmin(0, bounds[0]) : bounds[at - 1];
    return at == count ? bounds[count - 1] : low + (bounds[at] - low) * part;
}

static double quantile(const struct rank *rank, const struct track *track)
{
    uint64_t total = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        uint64_t now = track->bins[0].counts[i];
        uint64_t before = track->bins[1].counts[i];
        if (now < before) {
            return NAN; /* a series left, or counts were merged in this very second */
        }
        total += now - before;
    }
    double wanted = track->row->quantile * (double)total;
    double seen = 0;
    for (size_t i = 0; i < BUCKETS && total > 0 && track->was; i++) {
        double here = (double)(track->bins[0].counts[i] - track->bins[1].counts[i]);
        if (here > 0 && seen + here >= wanted) {
            return inside(rank, i, (wanted - seen) / here);
        }
        seen += here;
    }
    return NAN;
}

static double value_of(const struct rank *rank, const struct track *track, double seconds)
{
    switch (track->row->way) {
    case PS_BOARD_SUM:
    case PS_BOARD_MOST:
        return track->now.has_of ? track->now.of : NAN;
    case PS_BOARD_RATE:
        return share(increase_of(track), seconds);
    case PS_BOARD_RATIO:
        return share(increase_of(track), increase_over(track));
    case PS_BOARD_SHARE:
        return track->now.has_of && track->now.has_over ? share(track->now.of, track->now.over)
                                                        : NAN;
    case PS_BOARD_QUANTILE:
        return rank->of == NULL ? NAN : quantile(rank, track);
    }
    return NAN;
}

/* A track of which nothing was seen in this second has no point, but it will have been there. */
static bool is_gone(const struct track *track)
{
    return has_labels(track->row) && !track->now.has_of;
}

static int put_row(struct ps_board *board, const struct rank *rank, double seconds)
{
    int err = PS_OK;
    for (size_t i = 0; i < rank->count && err != PS_ENOMEM; i++) {
        struct track *track = rank->tracks[i];
        double factor = track->row->factor == 0 ? 1 : track->row->factor;
        if (!is_gone(track)) {
            double value = value_of(rank, track, seconds) * factor;
            err = ps_history_put(board->history, ps_str_from(track->key), value);
        }
        track->was = true;
    }
    return err == PS_ENOMEM ? err : PS_OK; /* no place: the history counts and tells that */
}

/* --- the default set -------------------------------------------------------------------------- */

static int by_name(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static bool is_custom(const struct ps_board *board, const struct ps_history_track *track)
{
    char name[64];
    const char *key = name;
    if (ps_str_starts_with(track->name, PS_STR("penstock_")) || track->key.len >= PS_BOARD_KEY) {
        return false;
    }
    if (track->of != PS_HISTORY_VALUE || track->name.len >= sizeof name) {
        return true;
    }
    snprintf(name, sizeof name, "%.*s", PS_STR_ARG(track->name));
    return bsearch(&key, board->order, ps_board_row_count, sizeof key, by_name) == NULL;
}

/* Looks at some tracks more; when all were seen, what was found is shown. */
static void scan_custom(struct ps_board *board)
{
    const struct ps_history_track *track = NULL;
    size_t looked = 0;
    do {
        track = ps_history_next(board->history, track);
    } while (track != NULL && track->place < board->scan_from);
    for (; track != NULL && looked < CUSTOM_SCAN; looked++) {
        if (board->custom_count < PS_BOARD_CUSTOM && is_custom(board, track)) {
            snprintf(board->custom[board->custom_count++], PS_BOARD_KEY, "%.*s",
                     PS_STR_ARG(track->key));
        }
        board->scan_from = track->place + 1;
        track = ps_history_next(board->history, track);
    }
    if (track == NULL) {
        char(*found)[PS_BOARD_KEY] = board->custom;
        board->custom = board->shown;
        board->shown = found;
        board->shown_count = board->custom_count;
        board->custom_count = 0;
        board->scan_from = 0;
    }
}

/* A track is in the set as long as the history has a point of it. */
static void list_keys(struct ps_board *board)
{
    board->key_count = 0;
    for (size_t i = 0; i < ps_board_row_count; i++) {
        const struct rank *rank = &board->ranks[i];
        for (size_t j = 0; j < rank->count; j++) {
            const char *key = rank->tracks[j]->key;
            if (ps_history_find(board->history, ps_str_from(key)) != NULL) {
                board->keys[board->key_count++] = key;
            }
        }
    }
    for (size_t i = 0; i < board->shown_count; i++) {
        board->keys[board->key_count++] = board->shown[i];
    }
}

/* A track whose series are away, and whose points have all left the history, gives its place back.
 */
static void sweep(struct ps_board *board, struct rank *rank)
{
    size_t kept = 0;
    for (size_t i = 0; i < rank->count; i++) {
        struct track *track = rank->tracks[i];
        if (is_gone(track) && ps_history_find(board->history, ps_str_from(track->key)) == NULL) {
            free_track(track);
            board->track_count--;
        } else {
            rank->tracks[kept++] = track;
        }
    }
    rank->count = kept;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Rows without labels have their one track from the start. */
static int fill(struct ps_board *board)
{
    int err = PS_OK;
    for (size_t i = 0; i < ps_board_row_count && err == PS_OK; i++) {
        const struct ps_board_row *row = &ps_board_rows[i];
        struct track *track;
        board->order[i] = row->name;
        if (!has_labels(row)) {
            err = new_track(board, &board->ranks[i], row, row->name, &track);
        }
    }
    if (err == PS_OK) {
        qsort(board->order, ps_board_row_count, sizeof board->order[0], by_name);
    }
    return err;
}

int ps_board_new(struct ps_board **out, struct ps_metrics *metrics, struct ps_history *history)
{
    struct ps_board *board = calloc(1, sizeof *board);
    if (board == NULL) {
        return PS_ENOMEM;
    }
    board->metrics = metrics;
    board->history = history;
    board->ranks = calloc(ps_board_row_count, sizeof *board->ranks);
    board->order = calloc(ps_board_row_count, sizeof *board->order);
    board->keys = calloc(PS_BOARD_TRACKS + PS_BOARD_CUSTOM, sizeof *board->keys);
    board->custom = calloc(PS_BOARD_CUSTOM, sizeof *board->custom);
    board->shown = calloc(PS_BOARD_CUSTOM, sizeof *board->shown);
    bool whole = board->ranks != NULL && board->order != NULL && board->keys != NULL &&
                 board->custom != NULL && board->shown != NULL;
    int err = whole ? fill(board) : PS_ENOMEM;
    if (err != PS_OK) {
        ps_board_free(board);
        return err;
    }
    *out = board;
    return PS_OK;
}

void ps_board_free(struct ps_board *board)
{
    if (board == NULL) {
        return;
    }
    for (size_t i = 0; board->ranks != NULL && i < ps_board_row_count; i++) {
        for (size_t j = 0; j < board->ranks[i].count; j++) {
            free_track(board->ranks[i].tracks[j]);
        }
        free(board->ranks[i].tracks);
    }
    free(board->ranks);
    free(board->order);
    free(board->keys);
    free(board->custom);
    free(board->shown);
    free(board);
}

int ps_board_begin(struct ps_board *board, ps_time now)
{
    int err = PS_OK;
    for (size_t i = 0; i < ps_board_row_count; i++) {
        struct rank *rank = &board->ranks[i];
        int here = add_up(board, i);
        err = err == PS_OK ? here : err;
        for (size_t j = 0; j < rank->count; j++) {
            rank->tracks[j]->was = true;
        }
    }
    board->at = now;
    board->began = true;
    return err;
}

int ps_board_second(struct ps_board *board, ps_time now)
{
    double seconds = board->began ? ps_span_seconds(now - board->at) : 0;
    int err = PS_OK;
    for (size_t i = 0; i < ps_board_row_count; i++) {
        struct rank *rank = &board->ranks[i];
        int here = add_up(board, i);
        int put = put_row(board, rank, seconds);
        sweep(board, rank);
        err = here != PS_OK ? here : put != PS_OK ? put : err;
    }
    board->at = now;
    board->began = true;
    scan_custom(board);
    list_keys(board);
    return err;
}

size_t ps_board_keys(const struct ps_board *board, const char *const **keys)
{
    *keys = board->keys;
    return board->key_count;
}

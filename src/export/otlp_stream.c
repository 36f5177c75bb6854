#include "export/otlp_stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/list.h"

enum { BUCKETS = 4096 };

struct ps_otlp_stream {
    struct ps_list node; /* the longest unseen first */
    struct ps_otlp_stream *next;
    struct ps_otlp_key key;
    ps_time seen;
    uint64_t start, last;
    bool fresh; /* what was said before does not count */
    double total;
    struct ps_otlp_counts counts; /* of a histogram; both sides are one piece */
    size_t bytes;                 /* of that piece */
};

struct ps_otlp_streams {
    struct ps_otlp_stream *buckets[BUCKETS];
    struct ps_list order;
    size_t count, most;
    size_t bytes;
};

int ps_otlp_streams_new(struct ps_otlp_streams **out, size_t most)
{
    struct ps_otlp_streams *streams = calloc(1, sizeof *streams);
    if (streams == NULL) {
        return PS_ENOMEM;
    }
    streams->most = most;
    ps_list_init(&streams->order);
    *out = streams;
    return PS_OK;
}

static struct ps_otlp_stream **bucket_of(struct ps_otlp_streams *streams, struct ps_otlp_key key)
{
    return &streams->buckets[key.hash[0] % BUCKETS];
}

static struct ps_otlp_stream *longest_unseen(struct ps_otlp_streams *streams)
{
    return ps_list_is_empty(&streams->order)
               ? NULL
               : PS_CONTAINER_OF(streams->order.next, struct ps_otlp_stream, node);
}

static void drop(struct ps_otlp_streams *streams, struct ps_otlp_stream *stream)
{
    struct ps_otlp_stream **place = bucket_of(streams, stream->key);
    while (*place != stream) {
        place = &(*place)->next;
    }
    *place = stream->next;
    ps_list_remove(&stream->node);
    streams->count--;
    streams->bytes -= stream->bytes;
    free(stream->counts.sides[0].counts);
    free(stream);
}

void ps_otlp_streams_free(struct ps_otlp_streams *streams)
{
    while (streams != NULL && longest_unseen(streams) != NULL) {
        drop(streams, longest_unseen(streams));
    }
    free(streams);
}

size_t ps_otlp_streams_count(const struct ps_otlp_streams *streams)
{
    return streams->count;
}

static void make_room(struct ps_otlp_streams *streams, ps_time now)
{
    struct ps_otlp_stream *stream = longest_unseen(streams);
    if (streams->count >= streams->most && stream != NULL &&
        now - stream->seen >= PS_OTLP_STREAM_IDLE) {
        drop(streams, stream);
    }
}

static struct ps_otlp_stream *add(struct ps_otlp_streams *streams, struct ps_otlp_key key,
                                  ps_time now)
{
    make_room(streams, now);
    struct ps_otlp_stream *stream =
        streams->count < streams->most ? calloc(1, sizeof *stream) : NULL;
    if (stream == NULL) {
        return NULL;
    }
    struct ps_otlp_stream **bucket = bucket_of(streams, key);
    stream->key = key;
    stream->fresh = true;
    stream->next = *bucket;
    *bucket = stream;
    streams->count++;
    return stream;
}

struct ps_otlp_stream *ps_otlp_streams_at(struct ps_otlp_streams *streams, struct ps_otlp_key key,
                                          ps_time now)
{
    struct ps_otlp_stream *stream = *bucket_of(streams, key);
    while (stream != NULL && memcmp(&stream->key, &key, sizeof key) != 0) {
        stream = stream->next;
    }
    if (stream != NULL) {
        ps_list_remove(&stream->node);
    } else if ((stream = add(streams, key, now)) == NULL) {
        return NULL;
    }
    stream->seen = now;
    ps_list_push(&streams->order, &stream->node);
    return stream;
}

bool ps_otlp_stream_advance(struct ps_otlp_stream *stream, uint64_t start, uint64_t time)
{
    if (time != 0 && stream->last != 0 && time <= stream->last) {
        return false;
    }
    stream->fresh = stream->fresh || start != stream->start;
    stream->start = start;
    stream->last = time;
    return true;
}

double ps_otlp_stream_step(struct ps_otlp_stream *stream, double total)
{
    double before = stream->fresh || total < stream->total ? 0 : stream->total;
    stream->fresh = false;
    stream->total = total;
    return total - before;
}

/* ---- histograms */

/* Copies a total; the piece that it took is given back. */
static int keep(struct ps_otlp_streams *streams, struct ps_otlp_stream *stream,
                const struct ps_otlp_counts *counts)
{
    size_t above = counts->sides[0].count, below = counts->sides[1].count;
    size_t bytes = (above + below + 1) * sizeof(uint64_t);
    if (streams->bytes - stream->bytes + bytes > PS_OTLP_STREAM_BYTES) {
        return PS_ELIMIT;
    }
    uint64_t *piece = malloc(bytes);
    if (piece == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < above; i++) {
        piece[i] = counts->sides[0].counts[i];
    }
    for (size_t i = 0; i < below; i++) {
        piece[above + i] = counts->sides[1].counts[i];
    }
    free(stream->counts.sides[0].counts);
    streams->bytes = streams->bytes - stream->bytes + bytes;
    stream->bytes = bytes;
    stream->counts = *counts;
    stream->counts.sides[0].counts = piece;
    stream->counts.sides[1].counts = piece + above;
    return PS_OK;
}

/* Takes the earlier total of a side off; its scale may have been finer by `shift`. False where
 * something would fall. */
static bool subtract_side(struct ps_otlp_side *from, const struct ps_otlp_side *before, int shift)
{
    for (uint32_t i = 0; i < before->count; i++) {
        int64_t index = ((int64_t)before->offset + i) >> shift;
        int64_t at = index - from->offset;
        if (before->counts[i] == 0) {
            continue;
        }
        if (at < 0 || at >= from->count || from->counts[at] < before->counts[i]) {
            return false;
        }
        from->counts[at] -= before->counts[i];
    }
    return true;
}

static bool subtract(struct ps_otlp_counts *from, const struct ps_otlp_counts *before)
{
    int shift = before->scale - from->scale;
    if (shift < 0 || shift > 62 || from->zeros < before->zeros ||
        !subtract_side(&from->sides[0], &before->sides[0], shift) ||
        !subtract_side(&from->sides[1], &before->sides[1], shift)) {
        return false;
    }
    from->zeros -= before->zeros;
    from->sum -= before->sum;
    return true;
}

static void restore(struct ps_otlp_side *to, const struct ps_otlp_side *from)
{
    for (uint32_t i = 0; i < to->count; i++) {
        to->counts[i] = from->counts[i];
    }
}

int ps_otlp_stream_step_counts(struct ps_otlp_streams *streams, struct ps_otlp_stream *stream,
                               struct ps_otlp_counts *counts)
{
    struct ps_otlp_stream before = *stream;
    stream->counts = (struct ps_otlp_counts){0};
    int err = keep(streams, stream, counts);
    if (err != PS_OK) {
        stream->counts = before.counts;
        return err;
    }
    bool known = !before.fresh && before.bytes > 0;
    if (known && !subtract(counts, &before.counts)) { /* it began anew */
        restore(&counts->sides[0], &stream->counts.sides[0]);
        restore(&counts->sides[1], &stream->counts.sides[1]);
    }
    stream->fresh = false;
    free(before.counts.sides[0].counts);
    return PS_OK;
}

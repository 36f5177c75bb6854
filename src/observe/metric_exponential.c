#include "observe/metric_exponential.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>

enum { SUM, ZEROS, TURN, LOSS, RANGE }; /* cells; RANGE is followed by that of the other side */
enum { STEPS = 1 << PS_EXPONENTIAL_SCALE, SLOTS = 2 * STEPS, PATIENCE = 64 };

static const uint32_t sizes[2] = {PS_EXPONENTIAL_ABOVE, PS_EXPONENTIAL_BELOW};
static const size_t starts[2] = {PS_EXPONENTIAL_HEAD, PS_EXPONENTIAL_HEAD + PS_EXPONENTIAL_ABOVE};

/* From 2^-128 to 2^1024 it must go at scale -4, the coarsest that Prometheus reads. */
static_assert(PS_EXPONENTIAL_BELOW > (1024 + 128) / 16, "every value fits at scale -4");
static_assert(PS_EXPONENTIAL_ABOVE >= PS_EXPONENTIAL_BELOW, "one copy holds either side");

/* ---- bounds */

static double edges[STEPS + 1]; /* 2^(k/256) */
static uint16_t first[SLOTS];   /* edges below the start of the slot, which is 1/512 wide */
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static void fill(void)
{
    for (size_t k = 0; k <= STEPS; k++) {
        edges[k] = exp2((double)k / STEPS);
    }
    size_t below = 0;
    for (size_t slot = 0; slot < SLOTS; slot++) {
        double start = 1 + (double)slot / SLOTS;
        while (edges[below] < start) {
            below++;
        }
        first[slot] = (uint16_t)below;
    }
}

void ps_exponential_init(void)
{
    (void)pthread_once(&filled, fill);
}

/* A slot is narrower than any bucket, so the loop turns at most twice. */
int32_t ps_exponential_index(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int32_t exponent = (int32_t)(bits >> 52 & 0x7ff) - 1023;
    uint64_t mantissa = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    double fraction;
    memcpy(&fraction, &mantissa, sizeof fraction);
    uint32_t below = first[bits >> (52 - PS_EXPONENTIAL_SCALE - 1) & (SLOTS - 1)];
    while (edges[below] < fraction) {
        below++;
    }
    return exponent * STEPS + (int32_t)below - 1;
}

/* ---- one shard's cells. Stores release and loads acquire, so that who sees one of a merge's
 * stores sees the odd turn before it as well. */

struct range {
    int32_t low, high; /* low > high: empty */
};

static uint64_t load(_Atomic uint64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_acquire);
}

static void store(_Atomic uint64_t *cell, uint64_t value)
{
    atomic_store_explicit(cell, value, memory_order_release);
}

/* 0 = empty; both ends are biased, so that no range is 0. */
static struct range unpack(uint64_t packed)
{
    const int32_t bias = INT32_C(1) << 30;
    return packed == 0 ? (struct range){0, -1}
                       : (struct range){(int32_t)(packed >> 32) - bias,
                                        (int32_t)(packed & UINT32_MAX) - bias};
}

static uint64_t pack(struct range range)
{
    const uint32_t bias = UINT32_C(1) << 30;
    return (uint64_t)((uint32_t)range.low + bias) << 32 | ((uint32_t)range.high + bias);
}

static struct range widened(struct range range, int32_t index)
{
    if (range.low > range.high) {
        return (struct range){index, index};
    }
    return (struct range){index < range.low ? index : range.low,
                          index > range.high ? index : range.high};
}

static bool fits(struct range range, unsigned side)
{
    return (int64_t)range.high - range.low < sizes[side];
}

static size_t place_of(unsigned side, int32_t index)
{
    const uint32_t bias = sizes[side] << 20; /* a multiple of the size beyond every index */
    return starts[side] + ((uint32_t)index + bias) % sizes[side];
}

/* Merges the buckets of a side, 2^by to one. */
static void merge_side(_Atomic uint64_t *cells, unsigned side, unsigned by)
{
    uint64_t counts[PS_EXPONENTIAL_ABOVE];
    struct range range = unpack(load(&cells[RANGE + side]));
    if (range.low > range.high) {
        return;
    }
    for (int32_t i = range.low; i <= range.high; i++) {
        counts[i - range.low] = load(&cells[place_of(side, i)]);
        store(&cells[place_of(side, i)], 0);
    }
    for (int32_t i = range.low; i <= range.high; i++) {
        _Atomic uint64_t *cell = &cells[place_of(side, i >> by)];
        store(cell, load(cell) + counts[i - range.low]);
    }
    store(&cells[RANGE + side], pack((struct range){range.low >> by, range.high >> by}));
}

static void merge(_Atomic uint64_t *cells, unsigned by)
{
    store(&cells[TURN], load(&cells[TURN]) + 1);
    merge_side(cells, 0, by);
    merge_side(cells, 1, by);
    store(&cells[LOSS], load(&cells[LOSS]) + by);
    store(&cells[TURN], load(&cells[TURN]) + 1);
}

/* Widens the range of a side to hold an index at scale 8; merges where it does not fit. */
static void make_room(_Atomic uint64_t *cells, unsigned side, int32_t fine)
{
    unsigned loss = (unsigned)load(&cells[LOSS]);
    struct range range = unpack(load(&cells[RANGE + side]));
    unsigned by = 0;
    struct range wide = widened(range, fine >> loss);
    while (!fits(wide, side)) {
        by++;
        wide = widened((struct range){range.low >> by, range.high >> by}, fine >> (loss + by));
    }
    if (by > 0) {
        merge(cells, by);
    }
    store(&cells[RANGE + side], pack(wide));
}

/* Counts a bucket, by its index at scale 8, n times more. */
static inline void count_in(_Atomic uint64_t *cells, unsigned side, int32_t fine, uint64_t n)
{
    int32_t index = fine >> load(&cells[LOSS]);
    struct range range = unpack(load(&cells[RANGE + side]));
    if (index < range.low || index > range.high) {
        make_room(cells, side, fine);
        index = fine >> load(&cells[LOSS]);
    }
    _Atomic uint64_t *cell = &cells[place_of(side, index)];
    store(cell, atomic_load_explicit(cell, memory_order_relaxed) + n);
}

void ps_exponential_observe_many(_Atomic uint64_t *cells, double value, uint64_t n)
{
    double magnitude = fabs(value);
    ps_metric_bump_double(&cells[SUM], value * (double)n);
    if (magnitude <= PS_EXPONENTIAL_ZERO) {
        ps_metric_bump(&cells[ZEROS], n);
    } else {
        count_in(cells, value < 0, ps_exponential_index(magnitude), n);
    }
}

/* What lies between 2^-1074 and 2^1024, by the index at a scale of -4 to 20. */
static bool is_index_of_double(int scale, int32_t index)
{
    int64_t upper = (int64_t)index + 1;
    double exponent = ldexp((double)upper, -scale);
    return exponent >= -1074 && exponent <= 1024;
}

bool ps_exponential_add(_Atomic uint64_t *cells, int scale, unsigned side, int32_t index,
                        uint64_t n)
{
    if (scale < PS_EXPONENTIAL_SCALE_LEAST || scale > PS_EXPONENTIAL_SCALE_MOST ||
        !is_index_of_double(scale, index)) {
        return false;
    }
    int own = PS_EXPONENTIAL_SCALE - (int)load(&cells[LOSS]);
    if (scale < own) {
        merge(cells, (unsigned)(own - scale));
    }
    int32_t fine = scale >= PS_EXPONENTIAL_SCALE ? index >> (scale - PS_EXPONENTIAL_SCALE)
                                                 : index * (1 << (PS_EXPONENTIAL_SCALE - scale));
    if (fine < -128 * STEPS) { /* below PS_EXPONENTIAL_ZERO */
        ps_metric_bump(&cells[ZEROS], n);
    } else {
        count_in(cells, side, fine, n);
    }
    return true;
}

void ps_exponential_add_rest(_Atomic uint64_t *cells, uint64_t zeros, double sum)
{
    ps_metric_bump(&cells[ZEROS], zeros);
    ps_metric_bump_double(&cells[SUM], sum);
}

void ps_exponential_clear(_Atomic uint64_t *cells)
{
    for (size_t i = 0; i < PS_EXPONENTIAL_CELLS; i++) {
        store(&cells[i], 0);
    }
}

/* ---- reading */

static void coarsen_side(struct ps_exponential_side *side)
{
    uint64_t counts[PS_EXPONENTIAL_ABOVE] = {0};
    if (side->count == 0) {
        return;
    }
    int32_t low = side->low >> 1;
    for (uint32_t i = 0; i < side->count; i++) {
        counts[((side->low + (int32_t)i) >> 1) - low] += side->buckets[i];
    }
    side->count = (uint32_t)(((side->low + (int32_t)side->count - 1) >> 1) - low) + 1;
    side->low = low;
    memcpy(side->buckets, counts, side->count * sizeof counts[0]);
}

static void coarsen(struct ps_exponential *into)
{
    into->scale--;
    coarsen_side(&into->sides[0]);
    coarsen_side(&into->sides[1]);
}

/* Widens a side to reach an index; false when it has no room for it. */
static bool reach(struct ps_exponential_side *side, uint32_t size, int32_t index)
{
    if (side->count == 0) {
        *side = (struct ps_exponential_side){.low = index, .count = 1};
        return true;
    }
    int32_t high = side->low + (int32_t)side->count - 1;
    struct range wide = widened((struct range){side->low, high}, index);
    if ((int64_t)wide.high - wide.low >= size) {
        return false;
    }
    uint32_t shift = (uint32_t)(side->low - wide.low);
    memmove(side->buckets + shift, side->buckets, side->count * sizeof side->buckets[0]);
    memset(side->buckets, 0, shift * sizeof side->buckets[0]);
    uint32_t count = (uint32_t)(wide.high - wide.low) + 1;
    memset(side->buckets + shift + side->count, 0,
           (count - shift - side->count) * sizeof side->buckets[0]);
    side->low = wide.low;
    side->count = count;
    return true;
}

/* Adds n to a bucket whose index is at `scale`, which is not coarser than the result's. */
static void add(struct ps_exponential *into, unsigned side, int scale, int32_t index, uint64_t n)
{
    struct ps_exponential_side *to = &into->sides[side];
    while (!reach(to, sizes[side], index >> (scale - into->scale))) {
        coarsen(into);
    }
    to->buckets[(index >> (scale - into->scale)) - to->low] += n;
    into->count += n;
}

struct part {
    unsigned loss;
    struct range ranges[2];
    uint64_t zeros;
    double sum;
    uint64_t buckets[2][PS_EXPONENTIAL_ABOVE];
};

static bool read_part(_Atomic uint64_t *cells, struct part *part)
{
    uint64_t turn = load(&cells[TURN]);
    part->loss = (unsigned)load(&cells[LOSS]);
    part->zeros = load(&cells[ZEROS]);
    uint64_t bits = load(&cells[SUM]);
    memcpy(&part->sum, &bits, sizeof bits);
    for (unsigned side = 0; side < 2; side++) {
        struct range range = unpack(load(&cells[RANGE + side]));
        part->ranges[side] = range;
        for (int32_t i = range.low; i <= range.high && fits(range, side); i++) {
            part->buckets[side][i - range.low] = load(&cells[place_of(side, i)]);
        }
    }
    return turn % 2 == 0 && atomic_load_explicit(&cells[TURN], memory_order_relaxed) == turn;
}

void ps_exponential_read(_Atomic uint64_t *cells, struct ps_exponential *into)
{
    struct part part;
    for (unsigned tries = 0; !read_part(cells, &part); tries++) {
        if (tries >= PATIENCE) {
            sched_yield();
        }
    }
    int scale = PS_EXPONENTIAL_SCALE - (int)part.loss;
    while (into->scale > scale) {
        coarsen(into);
    }
    into->sum += part.sum;
    into->zeros += part.zeros;
    into->count += part.zeros;
    for (unsigned side = 0; side < 2; side++) {
        for (int32_t i = part.ranges[side].low; i <= part.ranges[side].high; i++) {
            uint64_t n = part.buckets[side][i - part.ranges[side].low];
            if (n > 0) {
                add(into, side, scale, i, n);
            }
        }
    }
}

/* The first bound 4^k that is not below the upper bound of a bucket: k = ceil((i+1) / 2^(s+1)). */
static size_t bound_above(int scale, int32_t index)
{
    int64_t upper = (int64_t)index + 1;
    int64_t k = scale >= -1 ? -(-upper >> (scale + 1)) : upper * (INT64_C(1) << -(scale + 1));
    int64_t at = k - PS_EXPONENTIAL_BOUNDS_FIRST;
    return at < 0 ? 0 : at > PS_EXPONENTIAL_BOUNDS ? PS_EXPONENTIAL_BOUNDS : (size_t)at;
}

void ps_exponential_spread(const struct ps_exponential *from, uint64_t *buckets)
{
    memset(buckets, 0, (PS_EXPONENTIAL_BOUNDS + 1) * sizeof buckets[0]);
    buckets[0] = from->zeros;
    for (uint32_t i = 0; i < from->sides[1].count; i++) {
        buckets[0] += from->sides[1].buckets[i];
    }
    for (uint32_t i = 0; i < from->sides[0].count; i++) {
        int32_t index = from->sides[0].low + (int32_t)i;
        buckets[bound_above(from->scale, index)] += from->sides[0].buckets[i];
    }
}

/* ---- differences and percentiles */

static bool subtract_side(struct ps_exponential_side *from, const struct ps_exponential_side *side)
{
    for (uint32_t i = 0; i < side->count; i++) {
        int64_t at = (int64_t)side->low + i - from->low;
        bool inside = at >= 0 && at < (int64_t)from->count;
        if (side->buckets[i] > (inside ? from->buckets[at] : 0)) {
            return false;
        }
        if (inside) {
            from->buckets[at] -= side->buckets[i];
        }
    }
    return true;
}

bool ps_exponential_subtract(struct ps_exponential *now, const struct ps_exponential *before)
{
    struct ps_exponential then = *before;
    while (then.scale > now->scale) {
        coarsen(&then);
    }
    if (then.scale < now->scale || then.zeros > now->zeros || then.count > now->count) {
        return false;
    }
    now->zeros -= then.zeros;
    now->count -= then.count;
    now->sum -= then.sum;
    return subtract_side(&now->sides[0], &then.sides[0]) &&
           subtract_side(&now->sides[1], &then.sides[1]);
}

static double middle(int scale, int32_t index)
{
    return exp2(ldexp(index + 0.5, -scale));
}

/* From the most negative bucket up. */
double ps_exponential_quantile(const struct ps_exponential *of, double share)
{
    const struct ps_exponential_side *above = &of->sides[0];
    const struct ps_exponential_side *below = &of->sides[1];
    double wanted = share * (double)of->count;
    double seen = 0;
    double last = NAN;
    for (uint32_t i = below->count; i > 0 && !(seen >= wanted && seen > 0); i--) {
        seen += (double)below->buckets[i - 1];
        last = below->buckets[i - 1] > 0 ? -middle(of->scale, below->low + (int32_t)i - 1) : last;
    }
    if (of->zeros > 0 && !(seen >= wanted && seen > 0)) {
        seen += (double)of->zeros;
        last = 0;
    }
    for (uint32_t i = 0; i < above->count && !(seen >= wanted && seen > 0); i++) {
        seen += (double)above->buckets[i];
        last = above->buckets[i] > 0 ? middle(of->scale, above->low + (int32_t)i) : last;
    }
    return last;
}

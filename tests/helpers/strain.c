/* strain - see strain.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "strain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

const char *const strain_kind_names[] = {"blocks", "heap", NULL};

/* 80 GiB a card, two of them; 8 billion parameters in 16 bits, 128 KiB of cache per token. */
#define GIB          1073741824.0
#define DEVICE       (160 * GIB)
#define FIXED        (34 * GIB) /* context, weights, room for the largest step */
#define TOKEN_BYTES  131072.0
#define CAPACITY     900000.0 /* tokens that fit beside what is fixed, blocks server */
#define HEAP_TOKENS  ((DEVICE - FIXED) / TOKEN_BYTES)
#define BLOCK        16.0    /* tokens */
#define CHUNK        64.0    /* tokens that a heap server allocates at once */
#define PREFILL      80000.0 /* prompt tokens a second */
#define STEP_BASE    0.024   /* seconds of a step of decoding, and what each request adds */
#define STEP_EACH    0.000006
#define STEP_NOMINAL 0.030
#define TICK         0.25 /* seconds */

#define DEAD_AFTER 15 /* seconds with events after which a leaking server restarts */
#define DOWN       20 /* seconds that a restart takes */

enum { MOST_RUNNING = 2048, MOST_WAITING = 4096, MOST_COMING = 512 };

struct seq {
    float prompt;
    float answer; /* hidden: how long it gets */
    float done;
};

struct strain {
    enum strain_kind kind;
    const struct workload *workload; /* owned by the original */
    struct ps_rng rng;
    bool frozen; /* a copy: no new phases ... */
    bool chance; /* ... but chance; else none */
    struct ps_survival_count crowd;
    double tick;
    double at;
    double frozen_at, frozen_demand, frozen_slope;
    double coming; /* fractions of requests that have arrived */
    uint64_t drawn;
    size_t pulse; /* the next that begins; the one before it may be arriving */
    double pulse_left;
    size_t life;
    size_t phase;
    double born;     /* when the server started last */
    double held;     /* tokens that no request owns */
    double live;     /* tokens of those who run, in whole blocks or chunks */
    double reserved; /* heap: tokens */
    bool blocked;    /* somebody waits for memory */
    double bad;      /* seconds with events, of late */
    double preemptions, failures;
    double event; /* events in this tick */
    size_t running, first, waiting;
    struct strain_sample now;
    struct seq run[MOST_RUNNING];  /* by arrival */
    struct seq wait[MOST_WAITING]; /* a ring */
};

static double capacity(const struct strain *strain)
{
    return strain->kind == STRAIN_BLOCKS ? CAPACITY : HEAP_TOKENS;
}

static double room_of(const struct strain *strain, const struct seq *seq)
{
    double unit = strain->kind == STRAIN_BLOCKS ? BLOCK : CHUNK;
    return ceil(((double)seq->prompt + (double)seq->done) / unit) * unit;
}

/* ---------------------------------------------------------------- who comes */

static struct seq *wait_at(struct strain *strain, size_t i)
{
    return &strain->wait[(strain->first + i) % MOST_WAITING];
}

static void arrive(struct strain *strain, struct seq seq)
{
    if (strain->waiting == MOST_WAITING || strain->now.down) {
        return; /* refused */
    }
    *wait_at(strain, strain->waiting++) = seq;
    strain->now.arrived++;
    strain->now.arrived_tokens += (double)seq.prompt;
    strain->crowd.arrived += (double)seq.prompt;
}

static struct seq draw(struct strain *strain)
{
    struct workload_request request = strain->frozen && !strain->chance
                                          ? workload_typical(strain->drawn++)
                                          : workload_draw(&strain->rng);
    return (struct seq){.prompt = request.prompt, .answer = request.answer};
}

static double demand(const struct strain *strain)
{
    double slope = 0;
    if (strain->frozen) {
        return fmax(0, strain->frozen_demand +
                           strain->frozen_slope * (strain->at - strain->frozen_at));
    }
    return workload_demand(strain->workload, strain->at, &slope);
}

/* A Poisson number for small means: gaps until the time is used up. */
static unsigned poisson(struct ps_rng *rng, double mean)
{
    unsigned count = 0;
    for (double at = ps_rng_exponential(rng, 1); at < mean; at += ps_rng_exponential(rng, 1)) {
        count++;
    }
    return count;
}

static void arrivals(struct strain *strain)
{
    double rate = demand(strain) * capacity(strain) / (WORKLOAD_MEAN_HELD * STEP_NOMINAL);
    unsigned count = 0;
    if (strain->frozen && !strain->chance) {
        strain->coming += rate * strain->tick;
        count = (unsigned)strain->coming;
        strain->coming -= count;
    } else {
        count = poisson(&strain->rng, rate * strain->tick);
    }
    while (count-- > 0) {
        arrive(strain, draw(strain));
    }
}

/* Prompts of a burst come evenly, the jobs of a tooth all at once. */
static void pulses(struct strain *strain)
{
    const struct workload *workload = strain->workload;
    double size = capacity(strain);
    if (!strain->frozen && strain->pulse < workload->pulses &&
        workload->pulse[strain->pulse].at <= strain->at) {
        const struct workload_pulse *pulse = &workload->pulse[strain->pulse++];
        bool burst = workload->shape == WORKLOAD_BURST;
        double each = burst ? WORKLOAD_MEAN_PROMPT : 500 + pulse->span;
        strain->pulse_left = pulse->share * size / each;
    }
    if (strain->pulse_left <= 0) {
        return;
    }
    const struct workload_pulse *pulse = &workload->pulse[strain->pulse - 1];
    double part = strain->pulse_left;
    if (workload->shape == WORKLOAD_BURST) {
        part = fmin(part,
                    ceil(pulse->share * size / WORKLOAD_MEAN_PROMPT / pulse->span * strain->tick));
    }
    for (double i = 0; i < part; i++) {
        struct seq seq = draw(strain);
        if (workload->shape == WORKLOAD_SAWTOOTH) {
            seq.prompt = 500;
            seq.answer = (float)(pulse->span * (0.95 + 0.1 * ps_rng_unit(&strain->rng)));
        }
        arrive(strain, seq);
    }
    strain->pulse_left -= part;
}

/* ---------------------------------------------------------------- what no request owns */

static void leak(struct strain *strain)
{
    const struct workload_life *life = &strain->workload->life[strain->life % WORKLOAD_LIVES];
    if (strain->at - strain->born > life->quiet) {
        strain->held += life->rate * capacity(strain) * strain->tick;
    }
}

/* A heap server's tooth: state that grows evenly and is dropped when the next tooth begins. */
static void sessions(struct strain *strain)
{
    const struct workload *workload = strain->workload;
    size_t next = 0;
    while (next < workload->pulses && workload->pulse[next].at <= strain->at) {
        next++;
    }
    if (next != strain->pulse) {
        strain->pulse = next;
        strain->held = 0;
    }
    if (next > 0 && next < workload->pulses) {
        const struct workload_pulse *pulse = &workload->pulse[next - 1];
        double span = workload->pulse[next].at - pulse->at;
        strain->held += pulse->share * capacity(strain) / span * strain->tick;
    }
}

static void others(struct strain *strain)
{
    bool teeth = strain->workload->shape == WORKLOAD_SAWTOOTH;
    if (strain->workload->shape == WORKLOAD_LEAK) {
        leak(strain);
    } else if (teeth && strain->kind == STRAIN_HEAP) {
        sessions(strain);
    } else {
        pulses(strain);
    }
}

/* ---------------------------------------------------------------- who runs */

static void let_in(struct strain *strain)
{
    double budget = PREFILL * strain->tick;
    double limit = strain->kind == STRAIN_BLOCKS ? CAPACITY - strain->held : INFINITY;
    strain->blocked = false;
    while (strain->waiting > 0 && strain->running < MOST_RUNNING && budget > 0) {
        struct seq seq = *wait_at(strain, 0);
        if (strain->live + room_of(strain, &seq) > limit) {
            strain->blocked = true;
            break;
        }
        strain->live += room_of(strain, &seq);
        budget -= (double)seq.prompt + (double)seq.done;
        strain->run[strain->running++] = seq;
        strain->first = (strain->first + 1) % MOST_WAITING;
        strain->waiting--;
    }
}

/* What a gateway sees of an answer that grew. */
static void count_growth(struct strain *strain, float from, float to, bool ended)
{
    unsigned cell = ps_survival_cell((uint64_t)to);
    for (unsigned i = ps_survival_cell((uint64_t)from); i < cell; i++) {
        strain->crowd.passed[i]++;
    }
    strain->crowd.ended[cell] += ended;
}

static void decode(struct strain *strain)
{
    float tokens = (float)(strain->tick / (STEP_BASE + STEP_EACH * (double)strain->running));
    size_t kept = 0;
    strain->live = 0;
    for (size_t i = 0; i < strain->running; i++) {
        struct seq seq = strain->run[i];
        seq.done += tokens;
        if (!strain->frozen) {
            count_growth(strain, seq.done - tokens, fminf(seq.done, seq.answer),
                         seq.done >= seq.answer);
        }
        if (seq.done >= seq.answer) {
            strain->now.finished++;
            strain->now.finished_tokens += (double)seq.answer;
        } else {
            strain->live += room_of(strain, &seq);
            strain->run[kept++] = seq;
        }
    }
    strain->running = kept;
}

/* The one that came last loses its blocks and waits at the front. */
static void preempt(struct strain *strain)
{
    struct seq seq = strain->run[--strain->running];
    strain->event++;
    strain->preemptions++;
    if (strain->waiting < MOST_WAITING) {
        strain->first = (strain->first + MOST_WAITING - 1) % MOST_WAITING;
        strain->waiting++;
        *wait_at(strain, 0) = seq;
    }
}

static void fail(struct strain *strain)
{
    strain->running--;
    strain->event++;
    strain->failures++;
}

static void fit(struct strain *strain)
{
    while (strain->held + strain->live > capacity(strain) && strain->running > 0) {
        strain->live -= room_of(strain, &strain->run[strain->running - 1]);
        if (strain->kind == STRAIN_BLOCKS) {
            preempt(strain);
        } else {
            fail(strain);
        }
    }
    double used = strain->held + strain->live;
    if (used > strain->reserved) {
        strain->reserved = used;
    }
    if (strain->event > 0) {
        strain->reserved = used; /* what was unused has been given back */
    }
}

/* ---------------------------------------------------------------- time */

static void restart(struct strain *strain)
{
    strain->running = 0;
    strain->waiting = 0;
    strain->live = 0;
    strain->held = 0;
    strain->reserved = 0;
    strain->bad = 0;
    strain->life++;
    strain->born = strain->at + DOWN;
}

static void tick(struct strain *strain)
{
    strain->event = 0;
    strain->now.down = strain->at < strain->born;
    arrivals(strain);
    others(strain);
    let_in(strain);
    decode(strain);
    fit(strain);
    strain->at += strain->tick;
    strain->now.event = strain->now.event || strain->event > 0;
}

static double waiting_tokens(const struct strain *strain)
{
    double sum = 0;
    for (size_t i = 0; i < strain->waiting; i++) {
        const struct seq *seq = &strain->wait[(strain->first + i) % MOST_WAITING];
        sum += (double)seq->prompt + (double)seq->done;
    }
    return sum;
}

static double running_tokens(const struct strain *strain)
{
    double sum = 0;
    for (size_t i = 0; i < strain->running; i++) {
        sum += (double)strain->run[i].prompt + (double)strain->run[i].done;
    }
    return sum;
}

static void count_in(struct ps_survival_count *crowd, const struct seq *seq)
{
    unsigned cell = ps_survival_cell((uint64_t)seq->done);
    crowd->requests[cell]++;
    crowd->prompts[cell] += (double)seq->prompt;
}

static void count_crowd(struct strain *strain)
{
    struct ps_survival_count *crowd = &strain->crowd;
    memset(crowd->requests, 0, sizeof crowd->requests);
    memset(crowd->prompts, 0, sizeof crowd->prompts);
    for (size_t i = 0; i < strain->running; i++) {
        count_in(crowd, &strain->run[i]);
    }
    for (size_t i = 0; i < strain->waiting; i++) {
        count_in(crowd, wait_at(strain, i));
    }
    strain->now.crowd = *crowd;
}

static void observe(struct strain *strain)
{
    struct strain_sample *now = &strain->now;
    bool blocks = strain->kind == STRAIN_BLOCKS;
    double used = strain->held + strain->live;
    now->at = strain->at;
    now->device_total = DEVICE;
    now->device_bytes = FIXED + (blocks ? CAPACITY : strain->reserved) * TOKEN_BYTES;
    now->pool_bytes = blocks ? used * TOKEN_BYTES : NAN;
    now->pool_total = blocks ? CAPACITY * TOKEN_BYTES : NAN;
    now->reserved_bytes = blocks ? NAN : strain->reserved * TOKEN_BYTES;
    now->allocated_bytes = blocks ? NAN : used * TOKEN_BYTES;
    now->preemptions = strain->preemptions;
    now->failures = strain->failures;
    now->running = (double)strain->running;
    now->waiting = (double)strain->waiting;
    now->waiting_tokens = waiting_tokens(strain);
    now->flight_tokens = now->waiting_tokens + running_tokens(strain);
    now->effective = blocks ? used / CAPACITY : now->device_bytes / DEVICE;
    double dropped = strain->workload->shape == WORKLOAD_SAWTOOTH ? strain->held : 0;
    now->reclaimable = blocks ? 0 : (strain->reserved - used + dropped) * TOKEN_BYTES / DEVICE;
    now->phase = strain->phase;
    count_crowd(strain);
}

void strain_next(struct strain *strain, struct strain_sample *sample)
{
    strain->now = (struct strain_sample){.at = strain->at};
    for (double t = 0; t < 1; t += TICK) {
        tick(strain);
    }
    strain->phase = workload_phase(strain->workload, strain->at) + 1000 * strain->life;
    strain->bad = fmax(0, strain->bad + (strain->now.event ? 1 : -0.05));
    observe(strain);
    if (strain->bad >= DEAD_AFTER && strain->workload->shape == WORKLOAD_LEAK) {
        restart(strain);
    }
    *sample = strain->now;
}

/* A copy that goes on as things are. */
static void freeze(struct strain *copy, const struct strain *strain)
{
    memcpy(copy, strain, sizeof *copy);
    copy->frozen = true;
    copy->frozen_at = copy->at;
    copy->frozen_demand = workload_demand(copy->workload, copy->at, &copy->frozen_slope);
}

double strain_until_event(const struct strain *strain)
{
    static _Thread_local struct strain copy;
    freeze(&copy, strain);
    while (copy.at < strain->at + STRAIN_HORIZON) {
        tick(&copy);
        if (copy.event > 0 || copy.blocked) {
            return copy.at - strain->at;
        }
    }
    return INFINITY;
}

double strain_chance(const struct strain *strain, double seconds, unsigned plays, uint64_t seed)
{
    static _Thread_local struct strain copy;
    unsigned came = 0;
    for (unsigned i = 0; i < plays; i++) {
        freeze(&copy, strain);
        copy.chance = true;
        copy.rng = ps_rng_make(seed + i);
        do {
            tick(&copy);
        } while (copy.event <= 0 && copy.at < strain->at + seconds);
        came += copy.event > 0;
    }
    return (double)came / plays;
}

/* As many requests as demand gives, each at a random point of its life; longer ones are met more
 * often. */
static void fill(struct strain *strain)
{
    double want = demand(strain) * capacity(strain) * 0.97;
    while (strain->live < want && strain->running < MOST_RUNNING) {
        struct seq seq = draw(strain);
        if (ps_rng_unit(&strain->rng) * 4000 < (double)seq.answer) {
            seq.done = (float)floor((double)seq.answer * ps_rng_unit(&strain->rng));
            strain->live += room_of(strain, &seq);
            strain->run[strain->running++] = seq;
        }
    }
}

struct strain *strain_new(enum strain_kind kind, enum workload_shape shape, uint64_t seed,
                          double seconds)
{
    struct strain *strain = calloc(1, sizeof *strain);
    struct workload *workload = calloc(1, sizeof *workload);
    if (strain == NULL || workload == NULL) {
        free(strain);
        free(workload);
        return NULL;
    }
    workload_init(workload, shape, seed, seconds);
    strain->kind = kind;
    strain->tick = TICK;
    strain->workload = workload;
    strain->rng = ps_rng_make(seed * 1000003 + (uint64_t)kind * 101 + (uint64_t)shape);
    fill(strain);
    return strain;
}

void strain_free(struct strain *strain)
{
    if (strain != NULL) {
        struct workload *workload = (struct workload *)(uintptr_t)strain->workload;
        free(workload);
        free(strain);
    }
}

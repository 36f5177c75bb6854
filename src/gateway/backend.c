#include "gateway/backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/rng.h"
#include "gateway/sticky.h"

#define RETRY_UNIT      1000 /* a retry in the budget's balance */
#define RETRY_WINDOW    (10 * PS_SECOND)
#define RETRY_CAP       (1000 * RETRY_UNIT)
#define RETURN_MIN      PS_SECOND
#define RETURN_MAX      (60 * PS_SECOND)
#define BYTES_PER_TOKEN 4.0

/* What outlives a reload. */
struct ps_backend_shared {
    _Atomic uint32_t refs;
    struct ps_gate *gate;
    _Atomic uint64_t turn;        /* where ties begin */
    _Atomic int64_t retries;      /* balance of the retry budget, in units */
    _Atomic ps_time retry_window; /* when the minimum was last restored */
    _Atomic double bytes_per_token;
    _Atomic(struct ps_sticky *) sticky; /* made when a call needs it */
};

/* ---------------------------------------------------------------- making one */

static void shared_unref(struct ps_backend_shared *shared)
{
    if (shared != NULL && atomic_fetch_sub(&shared->refs, 1) == 1) {
        ps_gate_free(shared->gate);
        ps_sticky_free(atomic_load(&shared->sticky));
        free(shared);
    }
}

static int shared_new(struct ps_backend_shared **out, const struct ps_upstream_opts *opts,
                      ps_time now)
{
    struct ps_backend_shared *shared = calloc(1, sizeof *shared);
    if (shared == NULL) {
        return PS_ENOMEM;
    }
    atomic_init(&shared->refs, 1);
    atomic_init(&shared->retries, (int64_t)opts->retry.min_retries * RETRY_UNIT);
    atomic_init(&shared->retry_window, now);
    atomic_init(&shared->bytes_per_token, BYTES_PER_TOKEN);
    int err = ps_gate_new(&shared->gate, &opts->admission);
    if (err != PS_OK) {
        shared_unref(shared);
        return err;
    }
    *out = shared;
    return PS_OK;
}

static struct ps_endpoint *find_endpoint(const struct ps_backend *backend, const char *url)
{
    for (size_t i = 0; backend != NULL && i < backend->count; i++) {
        if (strcmp(backend->endpoints[i]->text, url) == 0) {
            return backend->endpoints[i];
        }
    }
    return NULL;
}

static int add_endpoint(struct ps_backend *backend, const struct ps_endpoint_opts *opts,
                        const struct ps_backend *previous, char *reason, size_t size)
{
    if (find_endpoint(backend, opts->url) != NULL) {
        snprintf(reason, size, "upstream %s has %s twice", backend->name, opts->url);
        return PS_EINVAL;
    }
    struct ps_endpoint *old = find_endpoint(previous, opts->url);
    struct ps_endpoint *endpoint = NULL;
    int err = PS_OK;
    if (old != NULL) {
        endpoint = ps_endpoint_ref(old);
    } else {
        err = ps_endpoint_new(&endpoint, opts->url);
    }
    if (err == PS_EPARSE) {
        snprintf(reason, size, "upstream %s: %s is not a URL like http://host:port", backend->name,
                 opts->url);
        return PS_EINVAL;
    }
    if (err != PS_OK) {
        return err;
    }
    backend->weights[backend->count] = opts->weight == 0 ? 1 : opts->weight;
    backend->weight_sum += backend->weights[backend->count];
    backend->endpoints[backend->count++] = endpoint;
    return PS_OK;
}

static int add_endpoints(struct ps_backend *backend, const struct ps_option_list *list,
                         const struct ps_backend *previous, char *reason, size_t size)
{
    const struct ps_endpoint_opts *items = list->items;
    if (list->count == 0 || list->count > PS_BACKEND_ENDPOINTS_MAX) {
        snprintf(reason, size, "upstream %s has %zu endpoints; 1 to %d are possible", backend->name,
                 list->count, PS_BACKEND_ENDPOINTS_MAX);
        return PS_EINVAL;
    }
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < list->count; i++) {
        err = add_endpoint(backend, &items[i], previous, reason, size);
    }
    return err;
}

/* A NULL text stays NULL. */
static int copy_text(const char *text, char **out)
{
    *out = text == NULL ? NULL : ps_str_dup(ps_str_from(text));
    return text != NULL && *out == NULL ? PS_ENOMEM : PS_OK;
}

static int copy_texts(struct ps_backend *backend, const struct ps_upstream_opts *opts)
{
    char *name = NULL;
    int err = copy_text(opts->name, &name);
    backend->name = name;
    err = err == PS_OK ? copy_text(opts->api_key, &backend->api_key) : err;
    err = err == PS_OK ? copy_text(opts->revision, &backend->revision) : err;
    err = err == PS_OK ? copy_text(opts->health.path, &backend->health.path) : err;
    err = err == PS_OK ? copy_text(opts->tls.ca_file, &backend->tls.ca_file) : err;
    err = err == PS_OK ? copy_text(opts->tls.server_name, &backend->tls.server_name) : err;
    return err;
}

static void copy_numbers(struct ps_backend *backend, const struct ps_upstream_opts *opts)
{
    backend->health = opts->health;
    backend->tls = opts->tls;
    backend->health.path = NULL; /* texts are copied apart */
    backend->tls.ca_file = NULL;
    backend->tls.server_name = NULL;
    backend->timeouts = opts->timeouts;
    backend->retry = opts->retry;
    backend->admission = opts->admission;
    backend->price = ps_price_make(&opts->price);
    backend->balance = (enum ps_balance)opts->balance;
    backend->prefix_load = opts->prefix_load;
    backend->max_idle = opts->max_idle;
    backend->engine = (enum ps_engine)opts->engine;
}

static int share(struct ps_backend *backend, const struct ps_upstream_opts *opts,
                 struct ps_backend *previous, ps_time now)
{
    if (previous != NULL) {
        backend->shared = previous->shared;
        atomic_fetch_add(&backend->shared->refs, 1);
    } else {
        int err = shared_new(&backend->shared, opts, now);
        if (err != PS_OK) {
            return err;
        }
    }
    backend->gate = backend->shared->gate;
    return PS_OK;
}

int ps_backend_new(struct ps_backend **out, const struct ps_upstream_opts *opts, size_t index,
                   struct ps_backend *previous, ps_time now, char *reason, size_t size)
{
    struct ps_backend *backend = calloc(1, sizeof *backend);
    if (backend == NULL) {
        return PS_ENOMEM;
    }
    atomic_init(&backend->refs, 1);
    backend->index = index;
    copy_numbers(backend, opts);
    int err = copy_texts(backend, opts);
    if (err == PS_OK) {
        err = add_endpoints(backend, &opts->endpoints, previous, reason, size);
    }
    if (err == PS_OK) {
        err = share(backend, opts, previous, now);
    }
    if (err != PS_OK) {
        ps_backend_unref(backend);
        return err;
    }
    *out = backend;
    return PS_OK;
}

void ps_backend_begin(struct ps_backend *backend, ps_time now)
{
    ps_gate_configure(backend->gate, &backend->admission, now);
}

struct ps_backend *ps_backend_ref(struct ps_backend *backend)
{
    atomic_fetch_add_explicit(&backend->refs, 1, memory_order_relaxed);
    return backend;
}

void ps_backend_unref(struct ps_backend *backend)
{
    if (backend == NULL || atomic_fetch_sub(&backend->refs, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < backend->count; i++) {
        ps_endpoint_unref(backend->endpoints[i]);
    }
    shared_unref(backend->shared);
    if (backend->api_key != NULL) {
        explicit_bzero(backend->api_key, strlen(backend->api_key));
    }
    free(backend->api_key);
    free(backend->revision);
    free(backend->health.path);
    free(backend->tls.ca_file);
    free(backend->tls.server_name);
    free((void *)(uintptr_t)backend->name);
    free(backend);
}

/* ---------------------------------------------------------------- choosing */

static uint64_t bit(size_t index)
{
    return (uint64_t)1 << index;
}

/* Endpoints that may be chosen: those that are in; without any, those that wait out their time
 * (panic), unless active checks say that they are dead. */
static uint64_t candidates(const struct ps_backend *backend, uint64_t tried)
{
    uint64_t in = 0;
    uint64_t out = 0;
    for (size_t i = 0; i < backend->count; i++) {
        if ((tried & bit(i)) != 0) {
            continue;
        }
        if (ps_endpoint_is_in(backend->endpoints[i])) {
            in |= bit(i);
        } else if (ps_endpoint_state_of(backend->endpoints[i]) < PS_ENDPOINT_UNHEALTHY) {
            out |= bit(i);
        }
    }
    return in != 0 || !backend->health.panic ? in : out;
}

/* An endpoint whose time out is over gets one request to show that it is back. */
static int pick_probe(struct ps_backend *backend, uint64_t tried, ps_time now)
{
    for (size_t i = 0; i < backend->count; i++) {
        struct ps_endpoint *endpoint = backend->endpoints[i];
        if ((tried & bit(i)) == 0 && ps_endpoint_wants_probe(endpoint, now) &&
            ps_endpoint_begin_probe(endpoint)) {
            return (int)i;
        }
    }
    return -1;
}

static int64_t requests_of(const struct ps_backend *backend, size_t index)
{
    return atomic_load_explicit(&backend->endpoints[index]->requests, memory_order_relaxed);
}

/* A request counts as one token more, so that plain ones weigh too. */
static double load_of(const struct ps_backend *backend, size_t index)
{
    int64_t tokens = atomic_load_explicit(&backend->endpoints[index]->tokens, memory_order_relaxed);
    return (double)(tokens + requests_of(backend, index)) / (double)backend->weights[index];
}

static int pick_least(struct ps_backend *backend, uint64_t set)
{
    size_t start =
        atomic_fetch_add_explicit(&backend->shared->turn, 1, memory_order_relaxed) % backend->count;
    int best = -1;
    double best_load = 0;
    for (size_t n = 0; n < backend->count; n++) {
        size_t i = (start + n) % backend->count;
        if ((set & bit(i)) == 0) {
            continue;
        }
        double load = load_of(backend, i);
        if (best < 0 || load < best_load) {
            best = (int)i;
            best_load = load;
        }
    }
    return best;
}

/* Rendezvous hashing with weights: each endpoint draws a number from the prefix; the largest wins,
 * whichever endpoints come and go. */
static double draw(const struct ps_backend *backend, size_t index, uint64_t prefix)
{
    struct ps_rng rng = ps_rng_make(prefix ^ backend->endpoints[index]->hash);
    double unit = ps_rng_unit(&rng);
    return -(double)backend->weights[index] / log(unit + 0x1p-54);
}

/* May it take one more and stay within c times its share of all requests? */
static bool has_room(const struct ps_backend *backend, size_t index, uint64_t set)
{
    int64_t requests = 1;
    uint64_t weights = 0;
    for (size_t i = 0; i < backend->count; i++) {
        if ((set & bit(i)) != 0) {
            requests += requests_of(backend, i);
            weights += backend->weights[i];
        }
    }
    double share = (double)requests * (double)backend->weights[index] / (double)weights;
    return (double)(requests_of(backend, index) + 1) <= ceil(backend->prefix_load * share);
}

/* The winner of a set that is not empty. */
static size_t best_draw(const struct ps_backend *backend, uint64_t set, uint64_t prefix)
{
    size_t best = 0;
    double most = -1;
    for (size_t i = 0; i < backend->count; i++) {
        double drawn = (set & bit(i)) != 0 ? draw(backend, i, prefix) : -1;
        if (drawn > most) {
            best = i;
            most = drawn;
        }
    }
    return best;
}

static int pick_prefix(struct ps_backend *backend, uint64_t set, uint64_t prefix)
{
    uint64_t left = set;
    while (left != 0) {
        size_t best = best_draw(backend, left, prefix);
        if (has_room(backend, best, set)) {
            return (int)best;
        }
        left &= ~bit(best);
    }
    return pick_least(backend, set);
}

/* Who has the answer, or who would get it on every gateway; -1: nobody of those is well. */
static int pick_sticky(const struct ps_backend *backend, const struct ps_pick *pick)
{
    uint64_t set = candidates(backend, pick->tried);
    if (pick->prefer > 0 && (set & bit(pick->prefer - 1)) != 0) {
        return (int)pick->prefer - 1;
    }
    return pick->sticky != 0 && set != 0 ? (int)best_draw(backend, set, pick->sticky) : -1;
}

int ps_backend_pick(struct ps_backend *backend, const struct ps_pick *pick, ps_time now)
{
    bool sticky = pick->prefer > 0 || pick->sticky != 0;
    int index = sticky ? pick_sticky(backend, pick) : -1;
    index = index >= 0 ? index : pick_probe(backend, pick->tried, now);
    if (index < 0) {
        uint64_t set = candidates(backend, pick->tried);
        if (set == 0) {
            return -1;
        }
        bool by_prefix = backend->balance == PS_BALANCE_PREFIX && pick->prefix_hash != 0;
        index = by_prefix ? pick_prefix(backend, set, pick->prefix_hash) : pick_least(backend, set);
    }
    struct ps_endpoint *endpoint = backend->endpoints[index];
    atomic_fetch_add_explicit(&endpoint->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&endpoint->tokens, (int64_t)pick->tokens, memory_order_relaxed);
    atomic_fetch_add_explicit(&endpoint->requests_total, 1, memory_order_relaxed);
    return index;
}

bool ps_backend_done(struct ps_backend *backend, int index, uint64_t tokens,
                     enum ps_outcome outcome, ps_time now)
{
    PS_CHECK(index >= 0 && (size_t)index < backend->count);
    struct ps_endpoint *endpoint = backend->endpoints[index];
    atomic_fetch_sub_explicit(&endpoint->requests, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&endpoint->tokens, (int64_t)tokens, memory_order_relaxed);
    return ps_endpoint_on_outcome(endpoint, outcome, backend->count == 1, &backend->health, now);
}

struct ps_sticky *ps_backend_sticky(struct ps_backend *backend)
{
    struct ps_sticky *known = atomic_load_explicit(&backend->shared->sticky, memory_order_acquire);
    struct ps_sticky *made = NULL;
    if (known != NULL || ps_sticky_new(&made, PS_STICKY_ENTRIES) != PS_OK) {
        return known;
    }
    if (!atomic_compare_exchange_strong(&backend->shared->sticky, &known, made)) {
        ps_sticky_free(made);
        return known;
    }
    return made;
}

bool ps_backend_keeps_jobs(const struct ps_backend *backend)
{
    bool keeps = backend->engine == PS_ENGINE_COMFYUI;
    for (size_t i = 0; i < backend->count && backend->engine == PS_ENGINE_AUTO; i++) {
        keeps = keeps || atomic_load_explicit(&backend->endpoints[i]->engine,
                                              memory_order_relaxed) == PS_ENGINE_COMFYUI;
    }
    return keeps && backend->count > 1;
}

int ps_backend_index(const struct ps_backend *backend, uint32_t id)
{
    for (size_t i = 0; i < backend->count; i++) {
        if (backend->endpoints[i]->id == id) {
            return (int)i;
        }
    }
    return -1;
}

bool ps_backend_is_usable(const struct ps_backend *backend, ps_time now)
{
    uint64_t set = candidates(backend, 0);
    for (size_t i = 0; i < backend->count; i++) {
        const struct ps_endpoint *endpoint = backend->endpoints[i];
        bool chosen = (set & bit(i)) != 0 || ps_endpoint_wants_probe(endpoint, now);
        if (chosen && atomic_load(&endpoint->generation) > 0) { /* its address is known */
            return true;
        }
    }
    return false;
}

ps_span ps_backend_retry_after(const struct ps_backend *backend, ps_time now)
{
    ps_span soonest = RETURN_MAX;
    for (size_t i = 0; i < backend->count; i++) {
        const struct ps_endpoint *endpoint = backend->endpoints[i];
        enum ps_endpoint_state state = ps_endpoint_state_of(endpoint);
        ps_span wait = RETURN_MAX;
        if (state == PS_ENDPOINT_UNHEALTHY) {
            wait = backend->health.interval * (ps_span)backend->health.healthy_after;
        } else if (state != PS_ENDPOINT_DRAINING) {
            wait = atomic_load(&endpoint->out_until) - now;
        }
        soonest = wait < soonest ? wait : soonest;
    }
    return soonest < RETURN_MIN ? RETURN_MIN : soonest;
}

/* ---------------------------------------------------------------- retries and learning */

/* Adds to the balance up to a cap: a quiet day must not pay for a storm. */
static void deposit(struct ps_backend_shared *shared, int64_t amount, int64_t cap)
{
    int64_t balance = atomic_load_explicit(&shared->retries, memory_order_relaxed);
    int64_t next;
    do {
        next = balance + amount < cap ? balance + amount : cap;
        if (next <= balance) {
            return;
        }
    } while (!atomic_compare_exchange_weak_explicit(&shared->retries, &balance, next,
                                                    memory_order_relaxed, memory_order_relaxed));
}

void ps_backend_count_request(struct ps_backend *backend)
{
    int64_t amount = (int64_t)(backend->retry.budget_percent * RETRY_UNIT / 100);
    if (amount > 0) {
        deposit(backend->shared, amount, RETRY_CAP);
    }
}

/* Every window begins with at least the minimum. */
static void restore_minimum(struct ps_backend *backend, ps_time now)
{
    struct ps_backend_shared *shared = backend->shared;
    ps_time began = atomic_load(&shared->retry_window);
    if (now - began < RETRY_WINDOW ||
        !atomic_compare_exchange_strong(&shared->retry_window, &began, now)) {
        return;
    }
    int64_t least = (int64_t)backend->retry.min_retries * RETRY_UNIT;
    deposit(shared, least, least);
}

bool ps_backend_may_retry(struct ps_backend *backend, ps_time now)
{
    struct ps_backend_shared *shared = backend->shared;
    restore_minimum(backend, now);
    int64_t balance = atomic_load_explicit(&shared->retries, memory_order_relaxed);
    do {
        if (balance < RETRY_UNIT) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&shared->retries, &balance, balance - RETRY_UNIT));
    return true;
}

double ps_backend_bytes_per_token(const struct ps_backend *backend)
{
    return atomic_load_explicit(&backend->shared->bytes_per_token, memory_order_relaxed);
}

void ps_backend_learn(struct ps_backend *backend, uint64_t input_bytes, uint64_t prompt_tokens)
{
    /* Short prompts are mostly template: they would teach a ratio that is too small. */
    if (prompt_tokens < 32 || input_bytes < 32) {
        return;
    }
    double seen = (double)input_bytes / (double)prompt_tokens;
    seen = seen < 0.5 ? 0.5 : seen > 16 ? 16 : seen;
    double old = ps_backend_bytes_per_token(backend);
    /* Two workers may overwrite each other: one sample less of thousands. */
    atomic_store_explicit(&backend->shared->bytes_per_token, old + (seen - old) / 16,
                          memory_order_relaxed);
}

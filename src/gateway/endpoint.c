#include "gateway/endpoint.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

struct ps_endpoint_private {
    pthread_mutex_t mutex; /* around the pointer; held for a few instructions */
    struct ps_addresses *addresses;
};

/* Names the connection pools of endpoints; never reused while the process lives. */
static _Atomic uint32_t next_id = 1;

int ps_endpoint_new(struct ps_endpoint **out, const char *url)
{
    struct ps_endpoint *endpoint = calloc(1, sizeof *endpoint);
    if (endpoint == NULL) {
        return PS_ENOMEM;
    }
    int err = PS_ENOMEM;
    atomic_init(&endpoint->refs, 1);
    endpoint->text = ps_str_dup(ps_str_from(url));
    endpoint->private = calloc(1, sizeof *endpoint->private);
    if (endpoint->text == NULL || endpoint->private == NULL) {
        goto out;
    }
    if (pthread_mutex_init(&endpoint->private->mutex, NULL) != 0) {
        free(endpoint->private);
        endpoint->private = NULL;
        goto out;
    }
    err = ps_url_parse(ps_str_from(endpoint->text), &endpoint->url);
    endpoint->hash = ps_str_hash(ps_str_from(endpoint->text), 0);
    endpoint->id = atomic_fetch_add(&next_id, 1);
out:
    if (err != PS_OK) {
        ps_endpoint_unref(endpoint);
        return err;
    }
    *out = endpoint;
    return PS_OK;
}

struct ps_endpoint *ps_endpoint_ref(struct ps_endpoint *endpoint)
{
    atomic_fetch_add_explicit(&endpoint->refs, 1, memory_order_relaxed);
    return endpoint;
}

void ps_endpoint_unref(struct ps_endpoint *endpoint)
{
    if (endpoint == NULL || atomic_fetch_sub(&endpoint->refs, 1) != 1) {
        return;
    }
    if (endpoint->private != NULL) {
        ps_addresses_unref(endpoint->private->addresses);
        pthread_mutex_destroy(&endpoint->private->mutex);
        free(endpoint->private);
    }
    free(endpoint->text);
    free(endpoint);
}

bool ps_identity_eq(const struct ps_identity *a, const struct ps_identity *b)
{
    return a->engine == b->engine && a->simulated == b->simulated &&
           strcmp(a->version, b->version) == 0;
}

const char *ps_identity_text(const struct ps_identity *identity, char *text)
{
    bool known = identity->engine != PS_ENGINE_AUTO;
    snprintf(text, PS_IDENTITY_TEXT, "%s%s%s%s",
             known ? ps_engine_names[identity->engine] : "unknown",
             identity->version[0] != '\0' ? " " : "", identity->version,
             identity->simulated ? " (simulated)" : "");
    return text;
}

/* ---------------------------------------------------------------- addresses */

void ps_addresses_unref(struct ps_addresses *addresses)
{
    if (addresses != NULL && atomic_fetch_sub(&addresses->refs, 1) == 1) {
        free(addresses);
    }
}

struct ps_addresses *ps_endpoint_addresses(struct ps_endpoint *endpoint)
{
    struct ps_endpoint_private *private = endpoint->private;
    pthread_mutex_lock(&private->mutex);
    struct ps_addresses *addresses = private->addresses;
    if (addresses != NULL) {
        atomic_fetch_add_explicit(&addresses->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&private->mutex);
    return addresses;
}

static bool holds(const struct ps_addresses *addresses, const struct ps_address *item)
{
    for (size_t i = 0; i < addresses->count; i++) {
        if (ps_address_eq(&addresses->items[i], item)) {
            return true;
        }
    }
    return false;
}

/* The same set in any order: name servers rotate. */
static bool is_same(const struct ps_addresses *addresses, const struct ps_address *items,
                    size_t count)
{
    if (addresses == NULL || addresses->count != count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!holds(addresses, &items[i])) {
            return false;
        }
    }
    return true;
}

int ps_endpoint_set_addresses(struct ps_endpoint *endpoint, const struct ps_address *items,
                              size_t count)
{
    struct ps_endpoint_private *private = endpoint->private;
    /* Only control writes the pointer, so that it may read it without the mutex. */
    struct ps_addresses *old = private->addresses;
    if (is_same(old, items, count)) {
        return PS_OK;
    }
    struct ps_addresses *fresh = calloc(1, sizeof *fresh + count * sizeof *items);
    if (fresh == NULL) {
        return PS_ENOMEM;
    }
    atomic_init(&fresh->refs, 1);
    fresh->generation = atomic_load(&endpoint->generation) + 1;
    fresh->count = count;
    if (count > 0) {
        memcpy(fresh->items, items, count * sizeof *items);
    }
    pthread_mutex_lock(&private->mutex);
    private->addresses = fresh;
    pthread_mutex_unlock(&private->mutex);
    atomic_store(&endpoint->generation, fresh->generation);
    ps_addresses_unref(old);
    return PS_OK;
}

/* ---------------------------------------------------------------- health */

const char *ps_endpoint_state_text(enum ps_endpoint_state state)
{
    switch (state) {
    case PS_ENDPOINT_HEALTHY:
        return "healthy";
    case PS_ENDPOINT_OUT:
        return "out";
    case PS_ENDPOINT_PROBING:
        return "probing";
    case PS_ENDPOINT_UNHEALTHY:
        return "unhealthy";
    case PS_ENDPOINT_DRAINING:
        return "draining";
    }
    return "";
}

enum ps_endpoint_state ps_endpoint_state_of(const struct ps_endpoint *endpoint)
{
    if (atomic_load(&endpoint->draining)) {
        return PS_ENDPOINT_DRAINING;
    }
    if (atomic_load(&endpoint->unhealthy)) {
        return PS_ENDPOINT_UNHEALTHY;
    }
    if (atomic_load(&endpoint->out_until) == 0) {
        return PS_ENDPOINT_HEALTHY;
    }
    return atomic_load(&endpoint->probing) ? PS_ENDPOINT_PROBING : PS_ENDPOINT_OUT;
}

bool ps_endpoint_is_in(const struct ps_endpoint *endpoint)
{
    return !atomic_load_explicit(&endpoint->draining, memory_order_relaxed) &&
           !atomic_load_explicit(&endpoint->unhealthy, memory_order_relaxed) &&
           atomic_load_explicit(&endpoint->out_until, memory_order_relaxed) == 0;
}

bool ps_endpoint_wants_probe(const struct ps_endpoint *endpoint, ps_time now)
{
    return ps_endpoint_state_of(endpoint) == PS_ENDPOINT_OUT &&
           now >= atomic_load(&endpoint->out_until);
}

bool ps_endpoint_begin_probe(struct ps_endpoint *endpoint)
{
    bool expected = false;
    return atomic_compare_exchange_strong(&endpoint->probing, &expected, true);
}

static ps_span backoff_of(const struct ps_endpoint *endpoint, uint32_t outs,
                          const struct ps_health_opts *opts, ps_time now)
{
    ps_span span = opts->backoff > 0 ? opts->backoff : 1;
    for (uint32_t i = 0; i < outs && span < opts->backoff_max; i++) {
        span *= 2;
    }
    span = span > opts->backoff_max && opts->backoff_max > 0 ? opts->backoff_max : span;
    /* A quarter of jitter, so that gateways and endpoints don't come back in step. */
    struct ps_rng rng = ps_rng_make(endpoint->hash ^ (uint64_t)now);
    return span - span / 8 + (ps_span)ps_rng_below(&rng, (uint64_t)span / 4 + 1);
}

static bool bring_back(struct ps_endpoint *endpoint)
{
    atomic_store_explicit(&endpoint->failures, 0, memory_order_relaxed);
    if (atomic_load_explicit(&endpoint->out_until, memory_order_relaxed) == 0) {
        return false;
    }
    atomic_store(&endpoint->outs, 0);
    atomic_store(&endpoint->probing, false);
    return atomic_exchange(&endpoint->out_until, 0) != 0;
}

/* Failures of requests that began before it went out don't prolong its time; that of the probe
 * does. */
static bool take_out(struct ps_endpoint *endpoint, const struct ps_health_opts *opts, ps_time now)
{
    ps_time before = atomic_load(&endpoint->out_until);
    if (before != 0 && now < before) {
        return false;
    }
    uint32_t outs = atomic_load(&endpoint->outs);
    ps_time until = now + backoff_of(endpoint, outs, opts, now);
    if (!atomic_compare_exchange_strong(&endpoint->out_until, &before, until)) {
        return false;
    }
    atomic_fetch_add(&endpoint->outs, 1);
    atomic_store(&endpoint->probing, false);
    return before == 0;
}

bool ps_endpoint_on_outcome(struct ps_endpoint *endpoint, enum ps_outcome outcome, bool alone,
                            const struct ps_health_opts *opts, ps_time now)
{
    switch (outcome) {
    case PS_OUTCOME_OK:
        return bring_back(endpoint);
    case PS_OUTCOME_NONE:
        /* A probe that says nothing: the next request may try. */
        if (atomic_load_explicit(&endpoint->probing, memory_order_relaxed)) {
            atomic_store(&endpoint->probing, false);
        }
        return false;
    case PS_OUTCOME_FAILED:
        break;
    }
    atomic_fetch_add_explicit(&endpoint->failures_total, 1, memory_order_relaxed);
    uint32_t failures = atomic_fetch_add(&endpoint->failures, 1) + 1;
    bool out = atomic_load(&endpoint->out_until) != 0;
    if (alone || (!out && failures < opts->unhealthy_after)) {
        return false;
    }
    return take_out(endpoint, opts, now);
}

bool ps_endpoint_on_check(struct ps_endpoint *endpoint, bool ok, const struct ps_health_opts *opts)
{
    bool was = atomic_load(&endpoint->unhealthy);
    endpoint->check_failures = ok ? 0 : endpoint->check_failures + 1;
    endpoint->check_successes = ok ? endpoint->check_successes + 1 : 0;
    bool now = was;
    if (!was && endpoint->check_failures >= opts->unhealthy_after) {
        now = true;
    } else if (was && endpoint->check_successes >= opts->healthy_after) {
        now = false;
        (void)bring_back(endpoint);
    }
    atomic_store(&endpoint->unhealthy, now);
    return now != was;
}

void ps_endpoint_set_identity(struct ps_endpoint *endpoint, const struct ps_identity *identity)
{
    endpoint->identity = *identity;
    atomic_store(&endpoint->engine, (int)identity->engine);
}

void ps_endpoint_drain(struct ps_endpoint *endpoint, bool draining)
{
    atomic_store(&endpoint->draining, draining);
}

#include "daemon/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/list.h"
#include "base/rng.h"
#include "daemon/detect.h"
#include "gateway/backend.h"
#include "gateway/gateway.h"
#include "io/address.h"
#include "io/loop.h"
#include "operate/inquiry.h"

#define RESOLVE_AGAIN (30 * PS_SECOND)
#define RESOLVE_RETRY PS_SECOND /* after a failure; doubles */
#define BODY_LIMIT    ((size_t)64 * 1024)

enum { REASON_SIZE = 256, UNKNOWN_MOST = 32 };

/* An endpoint under watch. Its timers are always in the loop's heap: one that fires is set again
 * before anything else, in the place it just left, so that setting can't fail. */
struct watch {
    struct ps_list link;
    struct ps_health *health;
    struct ps_backend *backend; /* of the gateway */
    struct ps_endpoint *endpoint;
    struct ps_tls *tls; /* of the gateway */

    struct ps_timer resolve_timer;
    struct ps_lookup *lookup;
    unsigned resolve_failures; /* in a row */
    bool numeric;
    bool looked_up; /* once, well or not */

    struct ps_timer check_timer;
    ps_span interval;
    struct ps_inquiry *inquiry;
    struct ps_client_pool *pool;
    uint32_t generation; /* of the pool's address */
    size_t address;      /* the one in use */
    char path[128];      /* asked last; "" = a connection */
    bool reachable;

    struct ps_inquiry *question; /* who are you? */
    unsigned unknown;            /* good checks since it was not recognised */
};

struct ps_health {
    struct ps_loop *loop;
    struct ps_gateway *gateway;
    struct ps_health_observer observer;
    struct ps_list watches;
    struct ps_rng rng;
};

/* --- checking --------------------------------------------------------------------------------- */

static ps_time next_check(struct watch *watch, ps_time now)
{
    if (watch->interval <= 0) {
        return PS_NEVER;
    }
    uint64_t fifth = (uint64_t)watch->interval / 5;
    return now + watch->interval - watch->interval / 10 +
           (ps_span)ps_rng_below(&watch->health->rng, fifth + 1);
}

/* Moves a timer that is in the heap already. */
static void move(struct watch *watch, struct ps_timer *timer, ps_time when)
{
    PS_IGNORE(ps_timer_set(watch->health->loop, timer, when));
}

/* Tells the observer last and from copies: it may replace the gateway, and then the watch is gone.
 */
static void tell(struct watch *watch, bool changed, bool healthy, bool reached, const char *reason)
{
    struct ps_health_observer observer = watch->health->observer;
    struct ps_backend *backend = ps_backend_ref(watch->backend);
    struct ps_endpoint *endpoint = ps_endpoint_ref(watch->endpoint);
    if (changed && observer.on_change != NULL) {
        observer.on_change(observer.ctx, backend, endpoint, healthy, reason);
    }
    if (reached && observer.on_reachable != NULL) {
        observer.on_reachable(observer.ctx, backend, endpoint);
    }
    ps_endpoint_unref(endpoint);
    ps_backend_unref(backend);
}

static void close_pool(struct watch *watch)
{
    ps_inquiry_cancel(watch->question);
    watch->question = NULL;
    ps_pool_free(watch->pool);
    watch->pool = NULL;
}

/* After a failure the next of several addresses has its turn. */
static void conclude(struct watch *watch, bool ok, bool other, const char *reason)
{
    bool reached = ok && !watch->reachable;
    watch->reachable = ok;
    if (!ok) {
        close_pool(watch);
        watch->address++;
    }
    bool changed = ps_endpoint_on_check(watch->endpoint, ok, &watch->backend->health);
    tell(watch, changed, ok, reached || other, reason);
}

static struct ps_inquiry_target target_of(const struct watch *watch)
{
    return (struct ps_inquiry_target){.loop = watch->health->loop,
                                      .tls = watch->tls,
                                      .backend = watch->backend,
                                      .endpoint = watch->endpoint,
                                      .address = watch->address};
}

static void on_identity(void *ctx, const struct ps_inquiry_answer *answer)
{
    struct watch *watch = ctx;
    watch->question = NULL;
    if (ps_detect_check(&watch->endpoint->identity, answer) == PS_DETECT_OTHER) {
        tell(watch, false, true, true, "");
    }
}

/* A configured path may be longer than what is noted of it for the reason. */
static struct ps_str path_of(const struct watch *watch)
{
    const char *path = watch->backend->health.path;
    return ps_str_from(path != NULL && path[0] != '\0' ? path : watch->path);
}

/* What was not recognised may have been loading, or be another server now. */
static bool is_time_to_detect(struct watch *watch)
{
    unsigned n = ++watch->unknown;
    return (n & (n - 1)) == 0 || n % UNKNOWN_MOST == 0;
}

/* Sees whether it is still the same engine. True: by this answer it is not. Otherwise the question
 * goes out, and its answer will say. */
static bool is_other(struct watch *watch, const struct ps_inquiry_answer *answer)
{
    const struct ps_identity *known = &watch->endpoint->identity;
    struct ps_str path = ps_detect_path(known);
    if (known->engine == PS_ENGINE_AUTO) {
        return is_time_to_detect(watch);
    }
    watch->unknown = 0;
    if (path.len > 0 && ps_str_eq(path, path_of(watch))) {
        return ps_detect_check(known, answer) == PS_DETECT_OTHER;
    }
    if (path.len > 0 && watch->question == NULL && watch->pool != NULL) {
        const struct ps_inquiry_target target = target_of(watch);
        PS_IGNORE(ps_inquiry_get(&watch->question, &target, watch->pool, path, BODY_LIMIT,
                                 watch->interval, on_identity, watch)); /* next time, then */
    }
    return false;
}

/* Memory or descriptors are used up: that says nothing about the server. */
static bool is_shortage(int err)
{
    return err == PS_ENOMEM || err == PS_ELIMIT;
}

static void on_answer(void *ctx, const struct ps_inquiry_answer *answer)
{
    struct watch *watch = ctx;
    char reason[REASON_SIZE];
    const char *what = watch->path[0] == '\0' ? "connection" : watch->path;
    watch->inquiry = NULL;
    if (answer->phase == PS_CALL_CONNECT && is_shortage(answer->err)) {
        return;
    }
    if (answer->err != PS_OK) {
        const char *text = ps_err_text(answer->err);
        const char *detail = answer->detail;
        detail = detail == NULL || strcmp(detail, text) == 0 ? "" : detail;
        snprintf(reason, sizeof reason, "%s: %s (%s)%s%s", what, text,
                 ps_call_phase_text(answer->phase), detail[0] == '\0' ? "" : ": ", detail);
    } else {
        snprintf(reason, sizeof reason, "%s: status %d", what, answer->status);
    }
    bool ok = answer->err == PS_OK && answer->status / 100 == 2;
    conclude(watch, ok, ok && is_other(watch, answer), reason);
}

static void note_path(struct watch *watch)
{
    enum ps_engine engine = watch->backend->engine;
    engine = engine != PS_ENGINE_AUTO ? engine : watch->endpoint->identity.engine;
    const char *path = watch->backend->health.path;
    path = path != NULL && path[0] != '\0' ? path : ps_engine_health_path(engine);
    snprintf(watch->path, sizeof watch->path, "%s", path);
}

static int open_pool(struct watch *watch, const struct ps_inquiry_target *target)
{
    uint32_t generation = atomic_load(&watch->endpoint->generation);
    if (watch->pool != NULL && watch->generation != generation) {
        close_pool(watch);
    }
    watch->generation = generation;
    return watch->pool != NULL ? PS_OK : ps_inquiry_pool(&watch->pool, target);
}

static int ask(struct watch *watch)
{
    const struct ps_inquiry_target target = target_of(watch);
    ps_span timeout = watch->backend->health.timeout;
    timeout = timeout > 0 ? timeout : watch->interval;
    note_path(watch);
    if (watch->path[0] == '\0') {
        return ps_inquiry_connect(&watch->inquiry, &target, timeout, on_answer, watch);
    }
    int err = open_pool(watch, &target);
    return err != PS_OK ? err
                        : ps_inquiry_get(&watch->inquiry, &target, watch->pool, path_of(watch),
                                         BODY_LIMIT, timeout, on_answer, watch);
}

/* Without checks nothing would ever bring back what they took out, and an address is all that is
 * ever known of the server. */
static void skip_check(struct watch *watch)
{
    const struct ps_health_opts once = {.unhealthy_after = 1, .healthy_after = 1};
    bool reached = !watch->reachable && atomic_load(&watch->endpoint->generation) > 0;
    watch->reachable = watch->reachable || reached;
    ps_inquiry_cancel(watch->inquiry);
    watch->inquiry = NULL;
    bool changed = ps_endpoint_on_check(watch->endpoint, true, &once);
    tell(watch, changed, true, reached, "active checks are off");
}

static void on_check_time(struct ps_timer *timer, ps_time now)
{
    struct watch *watch = PS_CONTAINER_OF(timer, struct watch, check_timer);
    move(watch, timer, next_check(watch, now));
    if (watch->interval <= 0) {
        skip_check(watch);
        return;
    }
    if (watch->inquiry != NULL || !watch->looked_up) {
        return;
    }
    int err = ask(watch);
    if (err != PS_OK && !is_shortage(err)) {
        conclude(watch, false, false, ps_err_text(err));
    }
}

/* --- resolving -------------------------------------------------------------------------------- */

static ps_span retry_after(unsigned failures)
{
    ps_span span = RESOLVE_RETRY;
    for (unsigned i = 1; i < failures && span < RESOLVE_AGAIN; i++) {
        span *= 2;
    }
    return span < RESOLVE_AGAIN ? span : RESOLVE_AGAIN;
}

static void tell_resolved(struct watch *watch, int err)
{
    struct ps_health_observer observer = watch->health->observer;
    if (observer.on_resolve != NULL) {
        struct ps_backend *backend = ps_backend_ref(watch->backend);
        struct ps_endpoint *endpoint = ps_endpoint_ref(watch->endpoint);
        observer.on_resolve(observer.ctx, backend, endpoint, err);
        ps_endpoint_unref(endpoint);
        ps_backend_unref(backend);
    }
}

static void on_addresses(void *ctx, int err, const struct ps_address *addresses, size_t count)
{
    struct watch *watch = ctx;
    ps_time now = ps_loop_now(watch->health->loop);
    bool failed_before = watch->resolve_failures > 0;
    bool unknown_before = atomic_load(&watch->endpoint->generation) == 0;
    watch->lookup = NULL;
    err = err != PS_OK ? err : ps_endpoint_set_addresses(watch->endpoint, addresses, count);
    if (err != PS_OK) {
        watch->resolve_failures += watch->resolve_failures < 32 ? 1 : 0;
        move(watch, &watch->resolve_timer, now + retry_after(watch->resolve_failures));
    } else {
        watch->resolve_failures = 0;
    }
    if (!watch->looked_up || (unknown_before && err == PS_OK)) {
        watch->looked_up = true;
        move(watch, &watch->check_timer, now);
    }
    if (failed_before != (err != PS_OK)) {
        tell_resolved(watch, err); /* may free the watch */
    }
}

static void on_resolve_time(struct ps_timer *timer, ps_time now)
{
    struct watch *watch = PS_CONTAINER_OF(timer, struct watch, resolve_timer);
    const struct ps_url *url = &watch->endpoint->url;
    move(watch, timer, now + RESOLVE_AGAIN);
    if (watch->lookup == NULL && !watch->numeric) {
        PS_IGNORE(ps_lookup_start(&watch->lookup, watch->health->loop, url->host, url->port,
                                  on_addresses, watch)); /* next time, then */
    }
}

/* --- the set of watches ----------------------------------------------------------------------- */

static void watch_free(struct watch *watch)
{
    struct ps_loop *loop = watch->health->loop;
    if (watch->link.next != NULL) {
        ps_list_remove(&watch->link);
    }
    ps_timer_clear(loop, &watch->resolve_timer);
    ps_timer_clear(loop, &watch->check_timer);
    ps_lookup_cancel(watch->lookup);
    ps_inquiry_cancel(watch->inquiry);
    close_pool(watch);
    ps_endpoint_unref(watch->endpoint);
    free(watch);
}

static void free_all(struct ps_list *watches)
{
    while (!ps_list_is_empty(watches)) {
        watch_free(PS_LIST_FIRST(watches, struct watch, link));
    }
}

/* A numeric address is known at once, so that workers can use it from the first request on. */
static int set_numeric(struct watch *watch)
{
    const struct ps_url *url = &watch->endpoint->url;
    struct ps_address address;
    if (ps_address_parse_host(url->host, url->port, &address) != PS_OK) {
        return PS_OK;
    }
    watch->numeric = true;
    watch->looked_up = true;
    return ps_endpoint_set_addresses(watch->endpoint, &address, 1);
}

static int watch_new(struct watch **out, struct ps_health *health, struct ps_endpoint *endpoint)
{
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) {
        return PS_ENOMEM;
    }
    watch->health = health;
    watch->endpoint = ps_endpoint_ref(endpoint);
    watch->resolve_timer.on_time = on_resolve_time;
    watch->check_timer.on_time = on_check_time;
    int err = ps_timer_set(health->loop, &watch->resolve_timer, PS_NEVER);
    err = err != PS_OK ? err : ps_timer_set(health->loop, &watch->check_timer, PS_NEVER);
    err = err != PS_OK ? err : set_numeric(watch);
    if (err != PS_OK) {
        watch_free(watch);
        return err;
    }
    *out = watch;
    return PS_OK;
}

static struct watch *find(const struct ps_list *watches, const struct ps_endpoint *endpoint)
{
    PS_LIST_FOREACH (node, watches) {
        struct watch *watch = PS_CONTAINER_OF(node, struct watch, link);
        if (watch->endpoint == endpoint) {
            return watch;
        }
    }
    return NULL;
}

/* Makes what the new snapshot has and the old one had not. */
static int add_missing(struct ps_health *health, const struct ps_gateway *gateway,
                       struct ps_list *fresh)
{
    for (size_t i = 0; i < gateway->backend_count; i++) {
        const struct ps_backend *backend = gateway->backends[i];
        for (size_t j = 0; j < backend->count; j++) {
            struct watch *watch = NULL;
            if (find(&health->watches, backend->endpoints[j]) != NULL) {
                continue;
            }
            int err = watch_new(&watch, health, backend->endpoints[j]);
            if (err != PS_OK) {
                return err;
            }
            ps_list_push(fresh, &watch->link);
        }
    }
    return PS_OK;
}

/* Ties a watch to the new snapshot. Its connection goes: what it was made with may have changed. */
static void renew(struct watch *watch, struct ps_backend *backend, struct ps_tls *tls, ps_time now)
{
    bool is_new = watch->backend == NULL;
    bool other_rhythm = is_new || watch->interval != backend->health.interval;
    watch->backend = backend;
    watch->tls = tls;
    watch->interval = backend->health.interval;
    close_pool(watch);
    if (is_new && !watch->numeric) {
        move(watch, &watch->resolve_timer, now);
    }
    if (other_rhythm) {
        move(watch, &watch->check_timer, now); /* once, even without checks: see skip_check() */
    }
}

static void renew_all(struct ps_health *health, struct ps_list *fresh)
{
    struct ps_list kept;
    ps_time now = ps_loop_now(health->loop);
    const struct ps_gateway *gateway = health->gateway;
    ps_list_init(&kept);
    for (size_t i = 0; i < gateway->backend_count; i++) {
        struct ps_backend *backend = gateway->backends[i];
        for (size_t j = 0; j < backend->count; j++) {
            struct watch *watch = find(&health->watches, backend->endpoints[j]);
            watch = watch != NULL ? watch : find(fresh, backend->endpoints[j]);
            if (watch != NULL) {
                ps_list_remove(&watch->link);
                ps_list_push(&kept, &watch->link);
                renew(watch, backend, gateway->tls[i], now);
            }
        }
    }
    free_all(&health->watches);
    while (!ps_list_is_empty(&kept)) {
        struct ps_list *node = kept.next;
        ps_list_remove(node);
        ps_list_push(&health->watches, node);
    }
}

int ps_health_set_gateway(struct ps_health *health, struct ps_gateway *gateway)
{
    struct ps_list fresh;
    ps_list_init(&fresh);
    int err = add_missing(health, gateway, &fresh);
    if (err != PS_OK) {
        free_all(&fresh);
        return err;
    }
    struct ps_gateway *old = health->gateway;
    health->gateway = ps_gateway_ref(gateway);
    renew_all(health, &fresh);
    ps_gateway_unref(old);
    return PS_OK;
}

int ps_health_new(struct ps_health **out, struct ps_loop *loop,
                  const struct ps_health_observer *observer)
{
    struct ps_health *health = calloc(1, sizeof *health);
    if (health == NULL) {
        return PS_ENOMEM;
    }
    health->loop = loop;
    health->observer = *observer;
    health->rng = ps_rng_make((uint64_t)ps_loop_now(loop));
    ps_list_init(&health->watches);
    *out = health;
    return PS_OK;
}

void ps_health_free(struct ps_health *health)
{
    if (health != NULL) {
        free_all(&health->watches);
        ps_gateway_unref(health->gateway);
        free(health);
    }
}

bool ps_health_ready(const struct ps_health *health)
{
    PS_LIST_FOREACH (node, &health->watches) {
        if (!PS_CONTAINER_OF(node, struct watch, link)->looked_up) {
            return false;
        }
    }
    return true;
}

/* service - see service.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "service.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

void service_init(struct service *service, const struct service_opts *opts)
{
    memset(service, 0, sizeof *service);
    service->opts = *opts;
    service->rng = ps_rng_make(opts->seed * 7919u + 1);
    if (opts->kind == SERVICE_QUEUE || opts->kind == SERVICE_LOSS) {
        service->free_at = calloc((size_t)opts->servers, sizeof *service->free_at);
        PS_CHECK(service->free_at != NULL);
    }
}

void service_fini(struct service *service)
{
    free(service->jobs);
    free(service->free_at);
    free(service->queue);
}

/* -------------------------------------------------------------------------------- what is in flight */

static void swap_jobs(struct service *service, size_t a, size_t b)
{
    struct service_job job = service->jobs[a];
    service->jobs[a] = service->jobs[b];
    service->jobs[b] = job;
}

static void put_job(struct service *service, struct service_job job)
{
    if (service->count == service->cap) {
        service->cap = service->cap == 0 ? 256 : 2 * service->cap;
        service->jobs = realloc(service->jobs, service->cap * sizeof *service->jobs);
        PS_CHECK(service->jobs != NULL);
    }
    size_t at = service->count++;
    service->jobs[at] = job;
    for (; at > 0 && service->jobs[at].end < service->jobs[(at - 1) / 2].end; at = (at - 1) / 2) {
        swap_jobs(service, at, (at - 1) / 2);
    }
}

static struct service_job take_job(struct service *service)
{
    struct service_job job = service->jobs[0];
    service->jobs[0] = service->jobs[--service->count];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < service->count; child++) {
            least = service->jobs[child].end < service->jobs[least].end ? child : least;
        }
        if (least == at) {
            return job;
        }
        swap_jobs(service, at, least);
        at = least;
    }
}

static void put_waiting(struct service *service, double arrival)
{
    if (service->waiting == service->queue_cap) {
        size_t cap = service->queue_cap == 0 ? 256 : 2 * service->queue_cap;
        double *queue = calloc(cap, sizeof *queue);
        PS_CHECK(queue != NULL);
        for (size_t i = 0; i < service->waiting; i++) {
            queue[i] = service->queue[(service->first + i) % service->queue_cap];
        }
        free(service->queue);
        service->queue = queue;
        service->queue_cap = cap;
        service->first = 0;
    }
    service->queue[(service->first + service->waiting++) % service->queue_cap] = arrival;
}

static double take_waiting(struct service *service)
{
    double arrival = service->queue[service->first];
    service->first = (service->first + 1) % service->queue_cap;
    service->waiting--;
    return arrival;
}

/* ------------------------------------------------------------------------------------- the services */

static double draw(struct service *service)
{
    if (service->opts.shape == 0) {
        return service->opts.mean;
    }
    double sum = 0;
    for (unsigned i = 0; i < service->opts.shape; i++) {
        sum += ps_rng_exponential(&service->rng, service->opts.mean / service->opts.shape);
    }
    return sum;
}

static size_t first_free(const struct service *service)
{
    size_t least = 0;
    for (size_t i = 1; i < (size_t)service->opts.servers; i++) {
        least = service->free_at[i] < service->free_at[least] ? i : least;
    }
    return least;
}

static void end_at(struct service *service, double arrival, double end, bool fails)
{
    bool anyway = service->error > 0 && ps_rng_unit(&service->rng) < service->error;
    put_job(service, (struct service_job){end + service->extra, arrival, fails || anyway});
}

static void serve(struct service *service, double at, bool may_wait)
{
    size_t server = first_free(service);
    if (!may_wait && service->free_at[server] > at) {
        end_at(service, at, at + 0.001, true);
        return;
    }
    double start = fmax(service->free_at[server], at);
    service->free_at[server] = start + draw(service);
    end_at(service, at, service->free_at[server], false);
}

/* Batches and crowds have a time of their own: what happens until `until`. */
static void run_batches(struct service *service, double until)
{
    while (service->waiting > 0) {
        double start = fmax(service->busy_until, service->queue[service->first]);
        if (start >= until) {
            return;
        }
        size_t n = 0;
        double arrivals[1024];
        while (service->waiting > 0 && n < (size_t)service->opts.servers && service->queue[service->first] <= start) {
            arrivals[n++] = take_waiting(service);
        }
        double base = draw(service);
        service->busy_until = start + base + service->opts.each * (double)n;
        for (size_t i = 0; i < n; i++) {
            end_at(service, arrivals[i], service->busy_until, false);
        }
    }
}

static void run_crowd(struct service *service, double until)
{
    while (service->waiting > 0) {
        double n = (double)service->waiting;
        double rate = n / (service->opts.mean + service->opts.each * n * n);
        double end = service->busy_until + ps_rng_exponential(&service->rng, 1 / rate);
        if (end >= until) {
            break; /* without memory: what was drawn may be forgotten */
        }
        service->busy_until = end;
        end_at(service, take_waiting(service), end, false);
    }
    service->busy_until = until;
}

static void run_until(struct service *service, double until)
{
    if (service->opts.kind == SERVICE_BATCH) {
        run_batches(service, until);
    } else if (service->opts.kind == SERVICE_CROWD) {
        run_crowd(service, until);
    }
}

static void arrive(struct service *service, double at)
{
    run_until(service, at);
    switch (service->opts.kind) {
    case SERVICE_QUEUE:
    case SERVICE_LOSS:
        serve(service, at, service->opts.kind == SERVICE_QUEUE);
        return;
    case SERVICE_BATCH:
    case SERVICE_CROWD:
        put_waiting(service, at);
        return;
    case SERVICE_LIMIT:
        service->tokens = fmin(service->tokens + (at - service->busy_until) * service->opts.servers, 2);
        service->busy_until = at;
        bool refused = service->tokens < 1;
        service->tokens -= refused ? 0 : 1;
        end_at(service, at, at + (refused ? 0.001 : draw(service)), refused);
        return;
    }
}

struct ps_second service_second(struct service *service, double rate)
{
    struct ps_second row = {.at = service->now + 1, .span = 1, .target_rps = rate, .corrected = &service->hist};
    double until = service->now + 1;
    double at = service->now;
    for (; rate > 0;) {
        double gap = service->owed > 0 ? service->owed : service->opts.poisson ? ps_rng_exponential(&service->rng, 1) : 1;
        if (at + gap / rate >= until) {
            service->owed = gap - (until - at) * rate;
            break;
        }
        at += gap / rate;
        service->owed = 0;
        row.sent++;
        arrive(service, at);
    }
    run_until(service, until);
    ps_hist_clear(&service->hist);
    while (service->count > 0 && service->jobs[0].end < until) {
        struct service_job job = take_job(service);
        row.failed += job.fails;
        row.succeeded += !job.fails;
        if (!job.fails) {
            ps_hist_record(&service->hist, (int64_t)((job.end - job.arrival) * 1e9));
        }
    }
    row.good = row.succeeded;
    row.in_flight = service->count + service->waiting;
    service->now = until;
    return row;
}

/* ----------------------------------------------------------------------------------------- the truth */

static double erlang_b(double servers, double load)
{
    double b = 1;
    for (double n = 1; n <= servers; n++) {
        b = load * b / (n + load * b);
    }
    return b;
}

static double lossless(const struct service_opts *opts)
{
    double low = 0;
    double high = 2 * opts->servers;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        bool below = erlang_b(opts->servers, middle) < opts->max_error;
        low = below ? middle : low;
        high = below ? high : middle;
    }
    return low / opts->mean;
}

double service_most(const struct service_opts *opts)
{
    switch (opts->kind) {
    case SERVICE_QUEUE:
        return opts->servers / opts->mean;
    case SERVICE_BATCH:
        return opts->servers / (opts->mean + opts->each * opts->servers);
    case SERVICE_CROWD:
        return 1 / (2 * sqrt(opts->mean * opts->each));
    case SERVICE_LOSS:
        return lossless(opts);
    case SERVICE_LIMIT:
        return opts->servers / (1 - opts->max_error);
    }
    return NAN;
}

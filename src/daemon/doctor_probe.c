#include "daemon/doctor_probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "http/client.h"
#include "io/address.h"
#include "io/loop.h"
#include "io/tls.h"
#include "operate/inquiry.h"

#define BODY_LIMIT     ((size_t)256 * 1024)
#define EXTRA_LIMIT    ((size_t)4 * 1024) /* only the status counts */
#define MOST_ADDRESSES 8

static const struct ps_str models_path = PS_STR_INIT("/v1/models");
static const struct ps_str own_path = PS_STR_INIT("/healthz");

/* Documented, answered to GET, and without effect (checked one by one: see the head of the header).
 */
static const struct ps_doctor_extra extras[] = {
    {PS_ENGINE_VLLM, "/metrics", "its own figures", NULL},
    {PS_ENGINE_VLLM, "/is_sleeping", "sleep mode and resets of the prefix cache",
     "VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode, on a network that nobody else reaches"},
    {PS_ENGINE_SGLANG, "/metrics", "its own figures", "start it with --enable-metrics"},
    {PS_ENGINE_TRTLLM, "/prometheus/metrics", "its own figures", NULL},
    {PS_ENGINE_TRTLLM, "/memory_status", "the state of its memory",
     "--enable_sleep_mode and TRTLLM_RUNTIME_CONTROL_API_KEY"},
    {PS_ENGINE_LLAMACPP, "/metrics", "its own figures", "start it with --metrics"},
    {PS_ENGINE_LLAMACPP, "/slots", "the state of its slots", "start it with --slots"},
    {PS_ENGINE_OLLAMA, "/api/ps", "which models are loaded", NULL},
    {PS_ENGINE_COMFYUI, "/queue", "the length of its queue", NULL},
    {PS_ENGINE_AUTO, "/metrics", "its own figures", NULL},
};

struct batch;

/* What a probe needs while it runs. */
struct ps_doctor_run {
    struct ps_doctor_probe *probe;
    struct batch *batch;
    struct ps_backend *backend;
    struct ps_endpoint *endpoint; /* the backend's only one */
    struct ps_tls *tls;
    struct ps_lookup *lookup;
    struct ps_address addresses[MOST_ADDRESSES];
    size_t address; /* that is tried */
    struct ps_inquiry *inquiry;
    struct ps_client_pool *pool;
    struct ps_detect *detect;
    size_t extra; /* that is asked; extra_count: the health path */
};

struct batch {
    struct ps_loop *loop;
    struct ps_timer end;
    ps_span timeout;
    ps_time deadline;
    size_t left;
    bool is_stuck; /* a look-up could not be ended */
};

/* --- the end of a probe -------------------------------------------------------------------------
 */

void ps_doctor_probe_fini(struct ps_doctor_probe *probe)
{
    free(probe->url);
    ps_buf_fini(&probe->body);
}

static void release(struct ps_doctor_run *run)
{
    run->batch->is_stuck = run->batch->is_stuck || run->lookup != NULL;
    ps_lookup_cancel(run->lookup);
    ps_inquiry_cancel(run->inquiry);
    ps_detect_cancel(run->detect);
    ps_pool_free(run->pool);
    ps_backend_unref(run->backend);
    ps_tls_unref(run->tls);
    run->probe->run = NULL;
    free(run);
}

/* The probe stays at its stage, with this for a reason. */
static void stop(struct ps_doctor_run *run, int err, const char *detail)
{
    struct batch *batch = run->batch;
    run->probe->err = err;
    snprintf(run->probe->detail, sizeof run->probe->detail, "%s", detail == NULL ? "" : detail);
    release(run);
    if (--batch->left == 0) {
        ps_loop_stop(batch->loop);
    }
}

static void done(struct ps_doctor_run *run)
{
    run->probe->stage = PS_DOCTOR_DONE;
    stop(run, PS_OK, NULL);
}

static ps_span time_left(const struct ps_doctor_run *run)
{
    ps_span left = run->batch->deadline - ps_loop_now(run->batch->loop);
    return left > 0 ? left : 0;
}

static struct ps_inquiry_target target_of(const struct ps_doctor_run *run)
{
    return (struct ps_inquiry_target){.loop = run->batch->loop,
                                      .tls = run->tls,
                                      .backend = run->backend,
                                      .endpoint = run->endpoint};
}

/* --- what this engine offers --------------------------------------------------------------------
 */

static void choose_extras(struct ps_doctor_probe *probe, enum ps_engine engine)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(extras) && probe->extra_count < PS_DOCTOR_EXTRAS; i++) {
        if (extras[i].engine == engine) {
            probe->extras[probe->extra_count++] = &extras[i];
        }
    }
}

static void ask_extra(struct ps_doctor_run *run);

static void on_extra(void *ctx, const struct ps_inquiry_answer *answer)
{
    struct ps_doctor_run *run = ctx;
    struct ps_doctor_probe *probe = run->probe;
    int *status =
        run->extra < probe->extra_count ? &probe->extra_status[run->extra] : &probe->health_status;
    run->inquiry = NULL;
    *status = answer->err == PS_OK ? answer->status : 0;
    run->extra++;
    ask_extra(run);
}

static struct ps_str path_of_extra(const struct ps_doctor_run *run)
{
    const struct ps_doctor_probe *probe = run->probe;
    const char *own = probe->opts->health.path;
    if (run->extra < probe->extra_count) {
        return ps_str_from(probe->extras[run->extra]->path);
    }
    return ps_str_from(own != NULL && *own != '\0' ? own : ps_engine_health_path(probe->engine));
}

/* One after the other, the health path last. */
static void ask_extra(struct ps_doctor_run *run)
{
    struct ps_inquiry_target target = target_of(run);
    struct ps_str path = run->extra <= run->probe->extra_count ? path_of_extra(run) : PS_STR("");
    if (path.len == 0) {
        done(run);
        return;
    }
    int err = ps_inquiry_get(&run->inquiry, &target, run->pool, path, EXTRA_LIMIT,
                             time_left(run) + PS_SECOND, on_extra, run);
    if (err != PS_OK) {
        stop(run, err, NULL);
    }
}

/* --- which engine -------------------------------------------------------------------------------
 */

static void on_detected(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint,
                        const struct ps_detected *found)
{
    struct ps_doctor_run *run = ctx;
    struct ps_doctor_probe *probe = run->probe;
    (void)backend;
    (void)endpoint;
    run->detect = NULL;
    probe->engine = found->identity.engine;
    snprintf(probe->version, sizeof probe->version, "%s", found->identity.version);
    probe->stage = PS_DOCTOR_ENGINE;
    choose_extras(probe, probe->engine);
    if (probe->extra_count == 0) {
        choose_extras(probe, PS_ENGINE_AUTO);
    }
    ask_extra(run);
}

static void detect(struct ps_doctor_run *run)
{
    run->probe->stage = PS_DOCTOR_DETECT;
    int err = ps_detect_start(&run->detect, run->batch->loop, run->tls, run->backend, run->endpoint,
                              on_detected, run);
    if (err != PS_OK) {
        stop(run, err, NULL);
    }
}

/* --- the first question -------------------------------------------------------------------------
 */

static void keep_answer(struct ps_doctor_probe *probe, const struct ps_inquiry_answer *answer)
{
    probe->status = answer->status;
    probe->cut = answer->cut;
    probe->simulated = answer->simulated;
    probe->wall = ps_clock_wall(&ps_clock_real);
    if (answer->date.len < sizeof probe->date && answer->date.len > 0) {
        memcpy(probe->date, answer->date.ptr, answer->date.len);
        probe->date[answer->date.len] = '\0';
    }
    PS_IGNORE(ps_buf_append_str(&probe->body, answer->body)); /* else it is as good as unreadable */
}

static void on_first(void *ctx, const struct ps_inquiry_answer *answer)
{
    struct ps_doctor_run *run = ctx;
    run->inquiry = NULL;
    if (answer->err != PS_OK) {
        stop(run, answer->err, answer->detail);
        return;
    }
    keep_answer(run->probe, answer);
    if (run->probe->opts == NULL) {
        done(run);
    } else {
        detect(run);
    }
}

static void ask(struct ps_doctor_run *run)
{
    struct ps_inquiry_target target = target_of(run);
    struct ps_str path = run->probe->opts == NULL ? own_path : models_path;
    run->probe->stage = PS_DOCTOR_ASK;
    int err = ps_inquiry_pool(&run->pool, &target);
    err = err != PS_OK ? err
                       : ps_inquiry_get(&run->inquiry, &target, run->pool, path, BODY_LIMIT,
                                        time_left(run) + PS_SECOND, on_first, run);
    if (err != PS_OK) {
        stop(run, err, NULL);
    }
}

/* --- a connection -------------------------------------------------------------------------------
 */

static void connect_next(struct ps_doctor_run *run);

/* A certificate is the same behind every address; a refused connection is not. */
static void on_connected(void *ctx, const struct ps_inquiry_answer *answer)
{
    struct ps_doctor_run *run = ctx;
    run->inquiry = NULL;
    if (answer->err == PS_OK) {
        ask(run);
        return;
    }
    run->probe->failed++;
    run->address++;
    if (run->address < run->probe->addresses && answer->err != PS_ETLS) {
        connect_next(run);
        return;
    }
    stop(run, answer->err, answer->detail);
}

/* From now on the endpoint has this address alone: so do the pool and the detection. Each address
 * gets its share of the time. */
static void connect_next(struct ps_doctor_run *run)
{
    struct ps_inquiry_target target = target_of(run);
    size_t ahead = run->probe->addresses - run->address;
    run->probe->stage = PS_DOCTOR_CONNECT;
    ps_span share = ahead > 1 ? time_left(run) / (ps_span)ahead : time_left(run) + PS_SECOND;
    int err = ps_endpoint_set_addresses(run->endpoint, &run->addresses[run->address], 1);
    err = err != PS_OK ? err : ps_inquiry_connect(&run->inquiry, &target, share, on_connected, run);
    if (err == PS_OK) {
        return;
    }
    const struct ps_inquiry_answer answer = {.err = err};
    on_connected(run, &answer); /* refused at once; ends with the last address */
}

static void on_addresses(void *ctx, int err, const struct ps_address *addresses, size_t count)
{
    struct ps_doctor_run *run = ctx;
    run->lookup = NULL;
    if (err != PS_OK || count == 0) {
        stop(run, err != PS_OK ? err : PS_ERESOLVE, NULL);
        return;
    }
    count = count < MOST_ADDRESSES ? count : MOST_ADDRESSES;
    memcpy(run->addresses, addresses, count * sizeof *addresses);
    run->probe->addresses = count;
    connect_next(run);
}

static void resolve(struct ps_doctor_run *run)
{
    const struct ps_url *url = &run->endpoint->url;
    struct ps_address address;
    run->probe->stage = PS_DOCTOR_RESOLVE;
    if (ps_address_parse_host(url->host, url->port, &address) == PS_OK) {
        on_addresses(run, PS_OK, &address, 1);
        return;
    }
    int err =
        ps_lookup_start(&run->lookup, run->batch->loop, url->host, url->port, on_addresses, run);
    if (err != PS_OK) {
        stop(run, err, NULL);
    }
}

/* --- the beginning ------------------------------------------------------------------------------
 */

/* A backend like the configured one, with this endpoint alone. */
static int make_backend(struct ps_doctor_run *run, char *reason, size_t size)
{
    struct ps_upstream_opts plain;
    char name[] = "doctor";
    int err = ps_option_init(ps_upstream_options, &plain);
    struct ps_endpoint_opts endpoint = {.url = run->probe->url, .weight = 1};
    struct ps_upstream_opts opts = run->probe->opts != NULL ? *run->probe->opts : plain;
    opts.name = name;
    opts.endpoints = (struct ps_option_list){&endpoint, 1};
    err = err != PS_OK ? err : ps_backend_new(&run->backend, &opts, 0, NULL, 0, reason, size);
    ps_option_fini(ps_upstream_options, &plain);
    return err;
}

/* Of Penstock itself the certificate is looked at elsewhere. */
static int make_tls(struct ps_doctor_run *run, struct ps_tls_error *error)
{
    const struct ps_upstream_opts *opts = run->probe->opts;
    if (!run->endpoint->url.tls) {
        return PS_OK;
    }
    return ps_tls_new_client(&run->tls, opts == NULL ? NULL : opts->tls.ca_file,
                             opts != NULL && opts->tls.verify, error);
}

static int begin(struct batch *batch, struct ps_doctor_probe *probe)
{
    struct ps_tls_error error = {""};
    struct ps_doctor_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        return PS_ENOMEM;
    }
    run->batch = batch;
    run->probe = probe;
    probe->run = run;
    probe->body = ps_buf_make(BODY_LIMIT);
    int err = make_backend(run, error.text, sizeof error.text);
    if (err == PS_OK) {
        run->endpoint = run->backend->endpoints[0];
        err = make_tls(run, &error);
    }
    if (err != PS_OK) {
        stop(run, err, error.text);
        return PS_OK;
    }
    resolve(run);
    return PS_OK;
}

static void on_end(struct ps_timer *timer, ps_time now)
{
    struct batch *batch = PS_CONTAINER_OF(timer, struct batch, end);
    (void)now;
    ps_loop_stop(batch->loop);
}

/* Whoever is not through when the time is up stays where it is. */
static void end_all(struct batch *batch, struct ps_doctor_probe *probes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (probes[i].run != NULL) {
            stop(probes[i].run, PS_ETIMEOUT, NULL);
        }
    }
    ps_timer_clear(batch->loop, &batch->end);
}

bool ps_doctor_probe_all(struct ps_doctor_probe *probes, size_t count, ps_span timeout)
{
    struct batch batch = {.timeout = timeout, .left = count, .end.on_time = on_end};
    if (count == 0) {
        return true;
    }
    int err = ps_loop_new(&batch.loop, &ps_clock_real);
    if (err == PS_OK) {
        batch.deadline = ps_loop_now(batch.loop) + timeout;
        err = ps_timer_set(batch.loop, &batch.end, batch.deadline);
    }
    for (size_t i = 0; i < count; i++) {
        int begun = err != PS_OK ? err : begin(&batch, &probes[i]);
        if (begun != PS_OK) {
            probes[i].err = begun;
            batch.left--;
        }
    }
    if (err == PS_OK && batch.left > 0) {
        ps_loop_run(batch.loop);
    }
    if (batch.loop != NULL) {
        end_all(&batch, probes, count);
    }
    if (!batch.is_stuck) {
        ps_loop_free(batch.loop);
    }
    return !batch.is_stuck;
}

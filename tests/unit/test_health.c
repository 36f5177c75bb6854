/* Endpoints under watch: resolved, checked and reported; time is moved by hand. */
#include "daemon/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/option.h"
#include "gateway/gateway.h"
#include "http/server.h"
#include "io/loop.h"

#define STEP          (PS_MILLISECOND / 5) /* a turn of the loop */
#define PATIENCE      (20 * PS_SECOND)     /* real time */
#define ENDPOINTS_MAX 3
#define ASKS_VERSION  1 /* the question /version, see detect.c */

/* A label of 70 bytes: no name server is asked. */
#define NO_NAME \
    "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid:9"

struct fixture {
    struct ps_clock clock;
    struct ps_loop *loop;
    struct ps_server *server;
    struct ps_health *health;
    struct ps_gateway *gateway;
    char url[PS_ADDRESS_TEXT + 16];

    /* how the server answers */
    int status; /* 0 = never */
    unsigned requests;
    unsigned hanging;
    const char *version; /* what /version says; NULL = it hangs */
    unsigned questions;  /* for it */
    char path[64];
    char key[64];

    /* what was observed */
    unsigned changes;
    unsigned reached;
    struct ps_identity identity; /* what is said to be found */
    unsigned resolutions;
    bool healthy;
    int resolve_err;
    char reason[256];
    struct ps_gateway *replace; /* set from inside on_change */

    /* running */
    struct ps_task task;
    bool (*is_done)(struct fixture *fix);
    ps_time give_up;
    ps_time until;
    unsigned goal;
    bool timed_out;
};

/* --- the server ------------------------------------------------------------------------------- */

static void on_abort(void *ctx)
{
    struct fixture *fix = ctx;
    fix->hanging--;
}

static const struct ps_exchange_ops silent = {.on_abort = on_abort};

static void on_request(void *ctx, struct ps_exchange *exchange)
{
    struct fixture *fix = ctx;
    fix->requests++;
    bool question = ps_str_eq(ps_exchange_path(exchange), PS_STR("/version"));
    fix->questions += question ? 1 : 0;
    if (question && fix->version != NULL) {
        ps_exchange_respond(exchange, 200, PS_STR(""), PS_STR("application/json"),
                            ps_str_from(fix->version));
        return;
    }
    if (question) {
        fix->hanging++;
        ps_exchange_handle(exchange, &silent, fix);
        return;
    }
    snprintf(fix->path, sizeof fix->path, "%.*s", PS_STR_ARG(ps_exchange_path(exchange)));
    struct ps_str key = ps_exchange_header(exchange, PS_STR("authorization"));
    snprintf(fix->key, sizeof fix->key, "%.*s", (int)key.len, key.ptr == NULL ? "" : key.ptr);
    if (fix->status == 0) {
        fix->hanging++;
        ps_exchange_handle(exchange, &silent, fix);
    } else {
        ps_exchange_respond(exchange, fix->status, PS_STR(""), PS_STR("text/plain"),
                            PS_STR("well"));
    }
}

/* --- the observer ----------------------------------------------------------------------------- */

static void on_change(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint,
                      bool healthy, const char *reason)
{
    struct fixture *fix = ctx;
    assert_string_equal(backend->name, "u");
    assert_non_null(endpoint);
    fix->changes++;
    fix->healthy = healthy;
    snprintf(fix->reason, sizeof fix->reason, "%s", reason);
    if (fix->replace != NULL) {
        assert_int_equal(ps_health_set_gateway(fix->health, fix->replace), PS_OK);
        ps_gateway_unref(fix->replace);
        fix->replace = NULL;
    }
}

static void on_resolve(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint, int err)
{
    struct fixture *fix = ctx;
    (void)backend;
    (void)endpoint;
    fix->resolutions++;
    fix->resolve_err = err;
}

static void on_reachable(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint)
{
    struct fixture *fix = ctx;
    (void)backend;
    fix->reached++;
    endpoint->identity = fix->identity;
}

/* --- running ---------------------------------------------------------------------------------- */

static void on_turn(struct ps_task *task)
{
    struct fixture *fix = PS_CONTAINER_OF(task, struct fixture, task);
    fix->timed_out = ps_clock_now(&ps_clock_real) > fix->give_up;
    if (fix->timed_out || fix->is_done(fix)) {
        ps_loop_stop(fix->loop);
        return;
    }
    ps_clock_advance(&fix->clock, STEP);
    ps_loop_defer(fix->loop, task);
}

static void run(struct fixture *fix, bool (*is_done)(struct fixture *fix))
{
    fix->is_done = is_done;
    fix->give_up = ps_clock_now(&ps_clock_real) + PATIENCE;
    fix->task.on_turn = on_turn;
    ps_loop_defer(fix->loop, &fix->task);
    ps_loop_run(fix->loop);
    assert_false(fix->timed_out);
}

static bool has_time_passed(struct fixture *fix)
{
    return ps_clock_now(&fix->clock) >= fix->until;
}

static void run_for(struct fixture *fix, ps_span span)
{
    fix->until = ps_clock_now(&fix->clock) + span;
    run(fix, has_time_passed);
}

static bool has_requests(struct fixture *fix)
{
    return fix->requests >= fix->goal;
}

static bool has_changed(struct fixture *fix)
{
    return fix->changes >= fix->goal;
}

static bool is_reached(struct fixture *fix)
{
    return fix->reached >= fix->goal;
}

static bool is_ready(struct fixture *fix)
{
    return ps_health_ready(fix->health);
}

static void run_until(struct fixture *fix, bool (*is_done)(struct fixture *fix), unsigned goal)
{
    fix->goal = goal;
    run(fix, is_done);
}

/* --- snapshots -------------------------------------------------------------------------------- */

struct plan {
    const char *urls[ENDPOINTS_MAX];
    int engine;
    ps_span interval;
    const char *path;
    const char *key;
};

static struct plan plan_of(const char *url)
{
    return (struct plan){.urls = {url}, .engine = PS_ENGINE_VLLM, .interval = 2 * PS_SECOND};
}

static void fill(struct ps_upstream_opts *opts, const struct plan *plan,
                 struct ps_endpoint_opts *endpoints)
{
    assert_int_equal(ps_option_init(ps_upstream_options, opts), PS_OK);
    opts->name = ps_str_dup(PS_STR("u"));
    opts->engine = plan->engine;
    opts->health.interval = plan->interval;
    opts->health.timeout = PS_SECOND;
    opts->health.unhealthy_after = 3;
    opts->health.healthy_after = 2;
    opts->health.path = plan->path == NULL ? NULL : ps_str_dup(ps_str_from(plan->path));
    opts->api_key = plan->key == NULL ? NULL : ps_str_dup(ps_str_from(plan->key));
    opts->endpoints.items = endpoints;
    for (size_t i = 0; i < ENDPOINTS_MAX && plan->urls[i] != NULL; i++) {
        endpoints[i] =
            (struct ps_endpoint_opts){.url = ps_str_dup(ps_str_from(plan->urls[i])), .weight = 1};
        opts->endpoints.count++;
    }
}

static struct ps_gateway *gateway_of(struct fixture *fix, const struct plan *plan)
{
    struct ps_upstream_opts upstream;
    struct ps_endpoint_opts endpoints[ENDPOINTS_MAX];
    const struct ps_option_list none = {NULL, 0};
    const struct ps_option_list upstreams = {&upstream, 1};
    const struct ps_option_strings nothing = {NULL, 0};
    const struct ps_gateway_opts opts = {.routes = &none,
                                         .upstreams = &upstreams,
                                         .models = &none,
                                         .tenants = &none,
                                         .trusted_proxies = &nothing,
                                         .cors_origins = &nothing};
    char reason[256];
    struct ps_gateway *gateway = NULL;
    fill(&upstream, plan, endpoints);
    assert_int_equal(ps_gateway_new(&gateway, &opts, fix->gateway, 0, reason, sizeof reason),
                     PS_OK);
    for (size_t i = 0; i < upstream.endpoints.count; i++) {
        free(endpoints[i].url);
    }
    upstream.endpoints = none;
    ps_option_fini(ps_upstream_options, &upstream);
    return gateway;
}

/* Watches a new snapshot and returns its first endpoint. */
static struct ps_endpoint *watch(struct fixture *fix, const struct plan *plan)
{
    struct ps_gateway *gateway = gateway_of(fix, plan);
    assert_int_equal(ps_health_set_gateway(fix->health, gateway), PS_OK);
    ps_gateway_unref(fix->gateway);
    fix->gateway = gateway;
    return gateway->backends[0]->endpoints[0];
}

static int setup(void **state)
{
    struct fixture *fix = calloc(1, sizeof *fix);
    struct ps_server_opts opts;
    struct ps_address at;
    char text[PS_ADDRESS_TEXT];
    assert_non_null(fix);
    ps_clock_init_manual(&fix->clock, PS_SECOND, 0);
    assert_int_equal(ps_loop_new(&fix->loop, &fix->clock), PS_OK);
    ps_server_opts_init(&opts);
    opts.on_request = on_request;
    opts.ctx = fix;
    assert_int_equal(ps_server_new(&fix->server, fix->loop, &opts), PS_OK);
    assert_int_equal(ps_address_parse(PS_STR("127.0.0.1:0"), &at), PS_OK);
    assert_int_equal(ps_server_listen(fix->server, &at, NULL), PS_OK);
    snprintf(fix->url, sizeof fix->url, "http://%s",
             ps_address_text(ps_server_address(fix->server, 0), text));
    const struct ps_health_observer observer = {
        .on_change = on_change, .on_resolve = on_resolve, .on_reachable = on_reachable, .ctx = fix};
    assert_int_equal(ps_health_new(&fix->health, fix->loop, &observer), PS_OK);
    fix->status = 200;
    fix->identity = (struct ps_identity){.engine = PS_ENGINE_VLLM, .asked = UINT8_MAX};
    *state = fix;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fix = *state;
    ps_task_clear(&fix->task);
    ps_health_free(fix->health);
    ps_server_free(fix->server);
    ps_gateway_unref(fix->gateway);
    ps_loop_free(fix->loop);
    free(fix);
    return 0;
}

/* --- the cases -------------------------------------------------------------------------------- */

static void a_numeric_address_is_known_at_once(void **state)
{
    struct fixture *fix = *state;
    assert_true(ps_health_ready(fix->health));
    struct plan plan = plan_of(fix->url);
    struct ps_endpoint *endpoint = watch(fix, &plan);
    assert_true(ps_health_ready(fix->health));
    struct ps_addresses *addresses = ps_endpoint_addresses(endpoint);
    assert_non_null(addresses);
    assert_int_equal(addresses->count, 1);
    assert_true(ps_address_eq(&addresses->items[0], ps_server_address(fix->server, 0)));
    ps_addresses_unref(addresses);
}

static void a_server_that_answers_is_reached_once_and_never_changes(void **state)
{
    struct fixture *fix = *state;
    struct plan plan = plan_of(fix->url);
    watch(fix, &plan);
    run_until(fix, is_reached, 1);
    assert_int_equal(fix->requests, 1); /* right at the start */
    assert_string_equal(fix->path, "/health");
    assert_string_equal(fix->key, "");
    run_until(fix, has_requests, 5);
    assert_int_equal(fix->reached, 1);
    assert_int_equal(fix->changes, 0);
}

static void checks_keep_their_interval_within_a_tenth(void **state)
{
    struct fixture *fix = *state;
    struct plan plan = plan_of(fix->url);
    plan.interval = 60 * PS_SECOND;
    watch(fix, &plan);
    run_until(fix, has_requests, 1);
    ps_time first = ps_clock_now(&fix->clock);
    run_for(fix, 50 * PS_SECOND);
    assert_int_equal(fix->requests, 1);
    run_until(fix, has_requests, 2);
    assert_true(ps_clock_now(&fix->clock) - first < 70 * PS_SECOND);
}

static void failures_in_a_row_take_it_out_and_successes_bring_it_back(void **state)
{
    struct fixture *fix = *state;
    struct plan plan = plan_of(fix->url);
    struct ps_endpoint *endpoint = watch(fix, &plan);
    run_until(fix, is_reached, 1);
    fix->status = 503;
    run_until(fix, has_changed, 1);
    assert_false(fix->healthy);
    assert_string_equal(fix->reason, "/health: status 503");
    assert_int_equal(fix->requests, 4);
    assert_int_equal(ps_endpoint_state_of(endpoint), PS_ENDPOINT_UNHEALTHY);
    run_until(fix, has_requests, 8);
    assert_int_equal(fix->changes, 1);
    fix->status = 204;
    run_until(fix, has_changed, 2);
    assert_true(fix->healthy);
    assert_int_equal(ps_endpoint_state_of(endpoint), PS_ENDPOINT_HEALTHY);
    assert_int_equal(fix->reached, 2);
}

static void a_server_that_hangs_fails_by_the_deadline_and_holds_up_no_other(void **state)
{
    struct fixture *fix = *state;
    struct plan plan = plan_of(fix->url);
    plan.urls[1] = "http://127.0.0.1:1"; /* nobody is there */
    fix->status = 0;
    watch(fix, &plan);
    run_until(fix, has_changed, 2);
    assert_int_equal(ps_endpoint_state_of(fix->gateway->backends[0]->endpoints[0]),
                     PS_ENDPOINT_UNHEALTHY);
    assert_int_equal(ps_endpoint_state_of(fix->gateway->backends[0]->endpoints[1]),
                     PS_ENDPOINT_UNHEALTHY);
    assert_int_equal(fix->requests, 3);
    assert_string_equal(fix->reason, "/health: the deadline passed (head)");
}

static void names_are_resolved_and_a_name_that_is_not_is_told_once(void **state)
{
    struct fixture *fix = *state;
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%u",
             ps_address_port(ps_server_address(fix->server, 0)));
    struct plan plan = plan_of(url);
    plan.urls[1] = NO_NAME;
    struct ps_endpoint *endpoint = watch(fix, &plan);
    assert_false(ps_health_ready(fix->health));
    run_until(fix, is_ready, 0);
    assert_true(atomic_load(&endpoint->generation) > 0);
    run_until(fix, is_reached, 1);
    run_until(fix, has_changed, 1);
    assert_int_equal(fix->resolutions, 1);
    assert_int_equal(fix->resolve_err, PS_ERESOLVE);
    assert_false(fix->healthy);
    assert_string_equal(fix->reason, ps_err_text(PS_ERESOLVE));
    uint32_t generation = atomic_load(&endpoint->generation);
    run_for(fix, 70 * PS_SECOND);
    assert_int_equal(atomic_load(&endpoint->generation), generation);
    assert_int_equal(fix->resolutions, 1);
    assert_int_equal(ps_endpoint_state_of(endpoint), PS_ENDPOINT_HEALTHY);
}

static void an_unknown_engine_is_checked_by_a_connection(void **state)
{
    struct fixture *fix = *state;
    struct plan plan = plan_of(fix->url);
    plan.engine = PS_ENGINE_AUTO;
    fix->identity = (struct ps_identity){.engine = PS_ENGINE_AUTO};
    struct ps_endpoint *endpoint = watch(fix, &plan);
    run_until(fix, is_reached, 1);
    assert_int_equal(fix->requests, 0);
    ps_time first = ps_clock_now(&fix->clock);
    run_until(fix, is_reached, 4); /* the 1st, 2nd, 4th and 8th check */
    ps_span passed = ps_clock_now(&fix->clock) - first;
    assert_true(passed > 12 * PS_SECOND && passed < 17 * PS_SECOND);
    endpoint->identity = (struct ps_identity){.engine = PS_ENGINE_OLLAMA, .asked = UINT8_MAX};
    run_until(fix, has_requests, 1);
    assert_string_equal(fix->path, "/api/version");
    assert_int_equal(ps_endpoint_state_of(endpoint), PS_ENDPOINT_HEALTHY);
}

static void another_engine_is_noticed_though_it_never_looked_down(void **state)
{
    struct fixture *fix = *state;
    struct plan plan = plan_of(fix->url);
    fix->version = "{\"version\":\"0.11.0\"}";
    fix->identity =
        (struct ps_identity){.engine = PS_ENGINE_VLLM, .asked = ASKS_VERSION, .version = "0.11.0"};
    watch(fix, &plan);
    run_until(fix, has_requests, 6);
    assert_int_equal(fix->reached, 1);
    assert_true(fix->questions >= 2);
    fix->version = "{\"version\":\"0.12.0\"}";
    ps_time before = ps_clock_now(&fix->clock);
    run_until(fix, is_reached, 2);
    assert_true(ps_clock_now(&fix->clock) - before < 3 * PS_SECOND);
    fix->version = NULL; /* hangs: says nothing, and health does not mind */
    run_for(fix, 20 * PS_SECOND);
    assert_int_equal(fix->reached, 2);
    assert_int_equal(fix->changes, 0);
}

static void path_and_key_of_the_configuration_are_used(void **state)
{
    struct fixture *fix = *state;
    char url[sizeof fix->url + 8];
    snprintf(url, sizeof url, "%s/base/", fix->url);
    struct plan plan = plan_of(url);
    plan.path = "/ping?deep=1";
    plan.key = "k3y";
    watch(fix, &plan);
    run_until(fix, is_reached, 1);
    assert_string_equal(fix->path, "/base/ping");
    assert_string_equal(fix->key, "Bearer k3y");
}

static void without_an_interval_nothing_is_asked_and_old_verdicts_go(void **state)
{
    struct fixture *fix = *state;
    struct plan plan = plan_of(fix->url);
    fix->status = 500;
    struct ps_endpoint *endpoint = watch(fix, &plan);
    run_until(fix, has_changed, 1);
    unsigned requests = fix->requests;
    plan.interval = 0;
    assert_ptr_equal(watch(fix, &plan), endpoint);
    run_until(fix, has_changed, 2);
    assert_true(fix->healthy);
    assert_int_equal(fix->reached, 1);
    run_for(fix, 20 * PS_SECOND);
    assert_int_equal(fix->requests, requests);
    plan.interval = PS_SECOND;
    watch(fix, &plan);
    run_until(fix, has_changed, 3);
    assert_false(fix->healthy);
}

static void what_stays_keeps_its_state_and_what_goes_is_left_alone(void **state)
{
    struct fixture *fix = *state;
    struct plan plan = plan_of(fix->url);
    struct ps_endpoint *endpoint = watch(fix, &plan);
    run_until(fix, is_reached, 1);
    plan.urls[1] = "http://127.0.0.1:1";
    assert_ptr_equal(watch(fix, &plan), endpoint);
    run_until(fix, has_changed, 1);
    assert_int_equal(fix->reached, 1);
    plan.urls[0] = "http://127.0.0.1:1";
    plan.urls[1] = NULL;
    watch(fix, &plan);
    run_for(fix, PS_SECOND);
    unsigned requests = fix->requests;
    run_for(fix, 20 * PS_SECOND);
    assert_int_equal(fix->requests, requests);
    assert_int_equal(fix->changes, 1); /* the one that stayed was unhealthy before */
}

static void an_observer_may_replace_the_snapshot(void **state)
{
    struct fixture *fix = *state;
    struct plan plan = plan_of(fix->url);
    fix->status = 500;
    watch(fix, &plan);
    plan.urls[0] = "http://127.0.0.1:1";
    fix->replace = gateway_of(fix, &plan);
    run_until(fix, has_changed, 2);
    assert_false(fix->healthy);
    assert_string_equal(fix->reason, "/health: the connection was refused (connect)");
    assert_int_equal(fix->requests, 3);
}

static void the_end_comes_at_any_time(void **state)
{
    struct fixture *fix = *state;
    struct plan plan = plan_of(fix->url);
    plan.urls[1] = "http://localhost:1";
    fix->status = 0;
    watch(fix, &plan);
    run_until(fix, has_requests, 1);
    ps_health_free(fix->health);
    fix->health = NULL;
    run_for(fix, 10 * PS_SECOND);
    assert_int_equal(fix->hanging, 0);
    ps_health_free(NULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_numeric_address_is_known_at_once),
        CASE(a_server_that_answers_is_reached_once_and_never_changes),
        CASE(checks_keep_their_interval_within_a_tenth),
        CASE(failures_in_a_row_take_it_out_and_successes_bring_it_back),
        CASE(a_server_that_hangs_fails_by_the_deadline_and_holds_up_no_other),
        CASE(names_are_resolved_and_a_name_that_is_not_is_told_once),
        CASE(an_unknown_engine_is_checked_by_a_connection),
        CASE(another_engine_is_noticed_though_it_never_looked_down),
        CASE(path_and_key_of_the_configuration_are_used),
        CASE(without_an_interval_nothing_is_asked_and_old_verdicts_go),
        CASE(what_stays_keeps_its_state_and_what_goes_is_left_alone),
        CASE(an_observer_may_replace_the_snapshot),
        CASE(the_end_comes_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

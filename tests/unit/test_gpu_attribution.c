/* test_gpu_attribution - from a process to its upstream, routes and models, and to nobody where that
 * would be a guess.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../helpers/tree.h"
#include "base/check.h"
#include "gateway/gateway.h"
#include "io/loop.h"
#include "operate/gpu_attribution.h"
#include "operate/scrape.h"

#define HEAD "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when ...\n"
#define TAIL " 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 "

static struct tree tree;
static struct ps_loop *loop;
static struct ps_scrape *scrape;
static struct ps_gateway *gateway;
static struct ps_gpu_attribution *attribution;
static struct ps_device_snapshot *snapshot;

/* --- a gateway and a machine ------------------------------------------------------------------ */

/* "chat" is vLLM at 8000 with an alias, "two" is whatever answers at 8001 and has a list. */
static void make_gateway(void)
{
    static char chat[] = "chat";
    static char two[] = "two";
    static char one_url[] = "http://127.0.0.1:8000";
    static char two_url[] = "http://127.0.0.1:8001";
    static char alias[] = "fast";
    static char listed[] = "big";
    static char *list[] = {listed};
    static char all[] = "/v1/chat/completions";
    static char rest[] = "/plain/*";
    struct ps_endpoint_opts endpoints[] = {{one_url, 1}, {two_url, 1}};
    struct ps_upstream_opts upstreams[2];
    struct ps_route_opts routes[2];
    struct ps_model_opts models[1];
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ps_option_init(ps_upstream_options, &upstreams[i]), PS_OK);
        assert_int_equal(ps_option_init(ps_route_options, &routes[i]), PS_OK);
        upstreams[i].endpoints = (struct ps_option_list){&endpoints[i], 1};
    }
    assert_int_equal(ps_option_init(ps_model_options, models), PS_OK);
    upstreams[0].name = chat;
    upstreams[0].engine = PS_ENGINE_VLLM;
    upstreams[1].name = two;
    upstreams[1].models = (struct ps_option_strings){list, 1};
    routes[0].path = all;
    routes[0].kind = PS_ROUTE_OPENAI;
    routes[1].path = rest;
    routes[1].upstream = two;
    models[0].name = alias;
    models[0].upstream = chat;
    const struct ps_option_list route_list = {routes, 2};
    const struct ps_option_list upstream_list = {upstreams, 2};
    const struct ps_option_list model_list = {models, 1};
    const struct ps_option_list none = {NULL, 0};
    const struct ps_option_strings nothing = {NULL, 0};
    const struct ps_gateway_opts opts = {.routes = &route_list,
                                         .upstreams = &upstream_list,
                                         .models = &model_list,
                                         .tenants = &none,
                                         .trusted_proxies = &nothing,
                                         .cors_origins = &nothing};
    char reason[256] = "";
    if (ps_gateway_new(&gateway, &opts, NULL, 0, reason, sizeof reason) != PS_OK) {
        fail_msg("%s", reason);
    }
    for (size_t i = 0; i < 2; i++) {
        struct ps_endpoint *endpoint = gateway->backends[i]->endpoints[0];
        struct ps_address address;
        assert_int_equal(ps_address_parse_host(endpoint->url.host, endpoint->url.port, &address),
                         PS_OK);
        assert_int_equal(ps_endpoint_set_addresses(endpoint, &address, 1), PS_OK);
    }
}

static int prepare(void **state)
{
    (void)state;
    tree_open(&tree);
    assert_int_equal(ps_loop_new(&loop, &ps_clock_real), PS_OK);
    assert_int_equal(ps_scrape_new(&scrape, loop, NULL, NULL), PS_OK);
    assert_int_equal(ps_gpu_attribution_new(&attribution), PS_OK);
    make_gateway();
    assert_int_equal(ps_gpu_attribution_set(attribution, gateway), PS_OK);
    return ps_device_snapshot_new(&snapshot, 1, 1);
}

static int finish(void **state)
{
    (void)state;
    ps_device_snapshot_unref(snapshot);
    ps_gpu_attribution_free(attribution);
    ps_gateway_unref(gateway);
    ps_scrape_free(scrape);
    ps_loop_free(loop);
    tree_close(&tree);
    return 0;
}

/* A process whose kin is a container's; it holds the sockets with these inodes. */
static void add_process(unsigned pid, unsigned parent, const char *container, unsigned first,
                        unsigned count)
{
    char path[64];
    char text[256];
    (void)snprintf(path, sizeof path, "proc/%u/stat", pid);
    (void)snprintf(text, sizeof text,
                   "%u (server) S %u 1 1 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 9 0 %u 1000 200\n", pid,
                   parent, pid);
    tree_put(&tree, path, text);
    (void)snprintf(path, sizeof path, "proc/%u/cgroup", pid);
    (void)snprintf(text, sizeof text, "0::/system.slice/%s\n", container);
    tree_put(&tree, path, text);
    (void)snprintf(path, sizeof path, "proc/%u/net/tcp", pid);
    tree_put(&tree, path,
             HEAD "   0: 0100007F:1F40" TAIL "100 1 0\n   1: 0100007F:1F41" TAIL "101 1 0\n");
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(path, sizeof path, "proc/%u/fd/%u", pid, i);
        (void)snprintf(text, sizeof text, "socket:[%u]", first + i);
        tree_link(&tree, path, text);
    }
}

static struct ps_gpu_owner owner_of(unsigned pid)
{
    struct ps_attribution_user user = {pid, pid};
    ps_attribution_unref(snapshot->attribution);
    snapshot->attribution = NULL;
    assert_int_equal(ps_attribution_scan(&snapshot->attribution, tree.root, &user, 1), PS_OK);
    snapshot->processes[0] =
        (struct ps_device_process){.pid = pid, .started = pid, .sight = PS_DEVICE_SEEN};
    return ps_gpu_attribution_owner(attribution, snapshot, &snapshot->processes[0]);
}

static json_t *json_of(const struct ps_gpu_owner *owner)
{
    json_t *json = json_object();
    ps_gpu_attribution_add(attribution, scrape, owner, json);
    return json;
}

/* Compares and frees. */
static void assert_json(json_t *json, const char *expected)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, expected);
    free(text);
    json_decref(json);
}

/* --- cases ------------------------------------------------------------------------------------ */

static void names_upstream_routes_and_models(void **state)
{
    (void)state;
    add_process(60, 1, "", 100, 1);
    add_process(61, 60, "", 0, 0);
    struct ps_gpu_owner owner = owner_of(61);
    assert_string_equal(owner.backend->name, "chat");
    assert_string_equal(ps_gpu_attribution_engine(&owner), "vllm");
    assert_json(json_of(&owner),
                "{\"endpoint\":\"http://127.0.0.1:8000\",\"engine\":\"vllm\",\"kin\":\"child\","
                "\"models\":[\"fast\"],\"routes\":[\"/v1/chat/completions\"],\"upstream\":\"chat\"}");
}

/* A model's name leads to it from a route of another upstream. Its engine is not known yet. */
static void names_routes_that_lead_there_by_a_model(void **state)
{
    (void)state;
    add_process(60, 1, "", 101, 1);
    struct ps_gpu_owner owner = owner_of(60);
    assert_json(json_of(&owner),
                "{\"endpoint\":\"http://127.0.0.1:8001\",\"kin\":\"self\",\"models\":[\"big\"],"
                "\"routes\":[\"/v1/chat/completions\",\"/plain/*\"],\"upstream\":\"two\"}");
}

static void names_nobody_where_two_are_as_near(void **state)
{
    (void)state;
    add_process(60, 1, "both.service", 100, 1);
    add_process(61, 1, "both.service", 101, 1);
    add_process(62, 1, "both.service", 0, 0);
    struct ps_gpu_owner owner = owner_of(62);
    assert_null(owner.backend);
    assert_string_equal(ps_gpu_attribution_engine(&owner), "");
    assert_json(json_of(&owner), "{\"unattributed\":\"ambiguous\"}");
    owner = owner_of(60); /* nearer kin decides */
    assert_string_equal(owner.backend->name, "chat");
}

static void says_why_nobody_is_named(void **state)
{
    (void)state;
    add_process(60, 1, "", 0, 0);
    struct ps_gpu_owner owner = owner_of(60);
    assert_json(json_of(&owner), "{\"unattributed\":\"no_endpoint\"}");
    snapshot->processes[0].started++; /* another process with this number */
    owner = ps_gpu_attribution_owner(attribution, snapshot, &snapshot->processes[0]);
    assert_json(json_of(&owner), "{\"unattributed\":\"not_looked_yet\"}");
    snapshot->processes[0].sight = PS_DEVICE_FOREIGN; /* the process itself says so */
    owner = ps_gpu_attribution_owner(attribution, snapshot, &snapshot->processes[0]);
    assert_json(json_of(&owner), "{}");
}

static void follows_an_endpoint_to_other_addresses(void **state)
{
    (void)state;
    struct ps_endpoint *endpoint = gateway->backends[0]->endpoints[0];
    struct ps_address address;
    add_process(60, 1, "", 100, 1);
    struct ps_gpu_owner owner = owner_of(60);
    assert_non_null(owner.backend);
    assert_int_equal(ps_address_parse_host(PS_STR("192.0.2.1"), 8000, &address), PS_OK);
    assert_int_equal(ps_endpoint_set_addresses(endpoint, &address, 1), PS_OK);
    owner = ps_gpu_attribution_owner(attribution, snapshot, &snapshot->processes[0]);
    assert_null(owner.backend);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(names_upstream_routes_and_models),
        CASE(names_routes_that_lead_there_by_a_model),
        CASE(names_nobody_where_two_are_as_near),
        CASE(says_why_nobody_is_named),
        CASE(follows_an_endpoint_to_other_addresses),
    };
    return cmocka_run_group_tests_name("gpu_attribution", tests, NULL, NULL);
}

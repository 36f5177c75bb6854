/* route - which route wins, which paths are refused, where models lead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "gateway/backend.h"
#include "gateway/dialect.h"
#include "gateway/route.h"

static char gpu[] = "gpu";
static char images[] = "images";
static char nowhere[] = "nowhere";
static char llama[] = "llama";
static char sdxl[] = "sdxl";
static char fast[] = "fast";
static char get[] = "GET";
static char post[] = "POST";
static char *get_only[] = {get};
static char *post_only[] = {post};
static char *llama_only[] = {llama};
static char *sdxl_only[] = {sdxl};

static struct ps_upstream_opts upstreams[2];

static int make(struct ps_route_table **out, struct ps_route_opts *routes, size_t count,
                struct ps_model_opts *models, size_t model_count)
{
    struct ps_option_list route_list = {routes, count};
    struct ps_option_list upstream_list = {upstreams, PS_ARRAY_LEN(upstreams)};
    struct ps_option_list model_list = {models, model_count};
    char reason[200] = "";
    int err =
        ps_route_table_new(out, &route_list, &upstream_list, &model_list, reason, sizeof reason);
    assert_true((err == PS_EINVAL) == (reason[0] != '\0'));
    return err;
}

static int reset(void **state)
{
    (void)state;
    memset(upstreams, 0, sizeof upstreams);
    upstreams[0].name = gpu;
    upstreams[1].name = images;
    return 0;
}

static const char *winner(const struct ps_route_table *table, const char *method, const char *host,
                          const char *path)
{
    struct ps_route_match match;
    switch (
        ps_route_match(table, ps_str_from(method), ps_str_from(host), ps_str_from(path), &match)) {
    case PS_ROUTE_FOUND:
        return match.route->name;
    case PS_ROUTE_NONE:
        return "404";
    case PS_ROUTE_METHOD:
        return "405";
    case PS_ROUTE_ADMIN:
        return "403";
    case PS_ROUTE_REFUSED:
        assert_non_null(match.reason);
        return "400";
    }
    return "";
}

static char p_exact[] = "/v1/a";
static char p_prefix[] = "/v1/*";
static char p_longer[] = "/v1/b/*";
static char p_all[] = "/*";
static char host_text[] = "API.example";

static void the_most_specific_route_wins(void **state)
{
    (void)state;
    struct ps_route_opts routes[] = {
        {.path = p_prefix},
        {.path = p_longer},
        {.path = p_exact, .methods = {get_only, 1}},
        {.path = p_all, .host = host_text},
    };
    struct ps_route_table *table = NULL;
    assert_int_equal(make(&table, routes, PS_ARRAY_LEN(routes), NULL, 0), PS_OK);
    assert_string_equal(winner(table, "GET", "x", "/v1/a"), "/v1/a");
    assert_string_equal(winner(table, "HEAD", "x", "/v1/a"), "/v1/a");
    assert_string_equal(winner(table, "POST", "x", "/v1/a"), "/v1/*");
    assert_string_equal(winner(table, "GET", "x", "/v1/b/c"), "/v1/b/*");
    assert_string_equal(winner(table, "GET", "x", "/v1/b"), "/v1/*");
    assert_string_equal(winner(table, "GET", "x", "/v2"), "404");
    assert_string_equal(winner(table, "GET", "api.EXAMPLE:5000", "/v1/a"), "/*");
    ps_route_table_free(table);
}

static void a_wrong_method_is_told_which_are_right(void **state)
{
    (void)state;
    struct ps_route_opts routes[] = {
        {.path = p_exact, .methods = {get_only, 1}},
        {.path = p_prefix, .methods = {post_only, 1}},
    };
    struct ps_route_table *table = NULL;
    assert_int_equal(make(&table, routes, 2, NULL, 0), PS_OK);
    assert_string_equal(winner(table, "DELETE", "", "/v1/a"), "405");
    struct ps_buf allow = ps_buf_make(100);
    assert_int_equal(ps_route_write_allow(table, PS_STR(""), PS_STR("/v1/a"), &allow), PS_OK);
    assert_true(ps_str_eq(ps_buf_str(&allow), PS_STR("GET, POST")));
    ps_buf_fini(&allow);
    ps_route_table_free(table);
}

static void paths_with_two_readings_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "/v1/../admin", "/v1/..",     "/v1/./a",    "/..",          "/v1/%2e%2E/a", "/v1/.%2e",
        "/v1\\a",       "/v1/%5ca",   "/v1/%00",    "/v1/%0a",      "/v1/%zz",      "/v1/%2",
        "/v1/..;x/a",   "/v1/..%2fa", "/v1/a%2f..", "/v1/a/..%3bx", "/v1/\x01",     "/v1/\x7f",
    };
    struct ps_route_opts routes[] = {{.path = p_all}};
    struct ps_route_table *table = NULL;
    assert_int_equal(make(&table, routes, 1, NULL, 0), PS_OK);
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        if (strcmp(winner(table, "GET", "", bad[i]), "400") != 0) {
            fail_msg("%s was not refused", bad[i]);
        }
    }
    static const char *const good[] = {"/v1/...", "/v1/.a", "/a..b", "/a%20b", "/a%25", "/", "/~x"};
    for (size_t i = 0; i < PS_ARRAY_LEN(good); i++) {
        assert_string_equal(winner(table, "GET", "", good[i]), "/*");
    }
    ps_route_table_free(table);
}

static void an_encoded_path_is_refused_only_where_it_matters(void **state)
{
    (void)state;
    struct ps_route_opts routes[] = {{.path = p_exact}, {.path = p_longer}};
    struct ps_route_table *table = NULL;
    assert_int_equal(make(&table, routes, 2, NULL, 0), PS_OK);
    assert_string_equal(winner(table, "GET", "", "/v1/%61"), "400");
    assert_string_equal(winner(table, "GET", "", "//v1/a"), "400");
    assert_string_equal(winner(table, "GET", "", "/v1%2fa"), "400");
    assert_string_equal(winner(table, "GET", "", "/v1/b/org%2Fmodel"), "/v1/b/*");
    assert_string_equal(winner(table, "GET", "", "/v1/b//x"), "/v1/b/*");
    assert_string_equal(winner(table, "GET", "", "/x//y"), "404");
    ps_route_table_free(table);
}

static void upstreams_without_routes_get_the_usual_ones(void **state)
{
    (void)state;
    struct ps_route_table *table = NULL;
    assert_int_equal(make(&table, NULL, 0, NULL, 0), PS_OK);
    struct ps_route_match match;
    assert_int_equal(
        ps_route_match(table, PS_STR("POST"), PS_STR(""), PS_STR("/v1/chat/completions"), &match),
        PS_ROUTE_FOUND);
    assert_int_equal(match.route->kind, PS_ROUTE_OPENAI);
    assert_true(ps_route_is_idempotent(match.route, match.operation, PS_STR("POST")));
    assert_int_equal(match.route->priority, PS_PRIORITY_NORMAL);
    assert_string_equal(winner(table, "GET", "", "/v1/models"), "/*");
    assert_int_equal(ps_route_match(table, PS_STR("POST"), PS_STR(""), PS_STR("/prompt"), &match),
                     PS_ROUTE_FOUND);
    assert_false(ps_route_is_idempotent(match.route, match.operation, PS_STR("POST")));
    assert_true(ps_route_is_idempotent(match.route, match.operation, PS_STR("GET")));
    ps_route_table_free(table);
}

static void administration_needs_a_route_that_names_it(void **state)
{
    (void)state;
    char pull[] = "/api/pull";
    char api[] = "/api/*";
    struct ps_route_opts routes[] = {
        {.path = p_all},
        {.path = api, .kind = PS_ROUTE_INFERENCE, .engine_admin = PS_YES},
        {.path = p_prefix, .kind = PS_ROUTE_OPENAI}};
    struct ps_route_table *table = NULL;
    assert_int_equal(make(&table, NULL, 0, NULL, 0), PS_OK);
    static const char *const refused[] = {"/api/pull",
                                          "/api/pull/",
                                          "/api/blobs/sha256:1",
                                          "/sleep",
                                          "/free",
                                          "/api/free",
                                          "/flush_cache",
                                          "/v2/repository/models/m/load",
                                          "/sdapi/v1/options",
                                          "/slots/3",
                                          "/manager/reboot/now",
                                          "/models/unload",
                                          "/v1/load_lora_adapter",
                                          "/api/manager/queue/install"};
    for (size_t i = 0; i < PS_ARRAY_LEN(refused); i++) {
        assert_string_equal(winner(table, "POST", "", refused[i]), "403");
    }
    assert_string_equal(winner(table, "DELETE", "", "/api/delete"), "403");
    assert_string_equal(winner(table, "GET", "", "/flush_cache"), "403");
    assert_string_equal(winner(table, "GET", "", "/slots"), "403");
    assert_string_equal(winner(table, "GET", "", "/sdapi/v1/options"), "/sdapi/*");
    assert_string_equal(winner(table, "POST", "", "/v2/repository/index"), "/v2/*");
    assert_string_equal(winner(table, "POST", "", "/api/p%75ll"), "400");
    assert_string_equal(winner(table, "POST", "", "//api/pull"), "400");
    ps_route_table_free(table);
    assert_int_equal(make(&table, routes, 3, NULL, 0), PS_OK);
    assert_string_equal(winner(table, "POST", "", "/sleep"), "403");
    assert_string_equal(winner(table, "POST", "", "/v1/load_lora_adapter"), "403");
    assert_string_equal(winner(table, "POST", "", "/api/pull"), "/api/*");
    struct ps_route_match match;
    (void)ps_route_match(table, PS_STR("POST"), PS_STR(""), PS_STR("/api/pull"), &match);
    assert_false(ps_route_is_idempotent(match.route, match.operation, PS_STR("POST")));
    ps_route_table_free(table);
    struct ps_route_opts named[] = {{.path = p_all}, {.path = pull, .idempotent = PS_YES}};
    assert_int_equal(make(&table, named, 2, NULL, 0), PS_OK);
    assert_string_equal(winner(table, "POST", "", "/api/pull"), "/api/pull");
    (void)ps_route_match(table, PS_STR("POST"), PS_STR(""), PS_STR("/api/pull"), &match);
    assert_false(ps_route_is_idempotent(match.route, match.operation, PS_STR("POST")));
    ps_route_table_free(table);
}

static void the_call_says_how_it_is_treated(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum ps_dialect dialect;
        enum ps_request_kind kind;
        bool again;
    } cases[] = {
        {"/api/chat", PS_DIALECT_OLLAMA, PS_REQUEST_CHAT, true},
        {"/v2/models/a%20b/versions/3/infer", PS_DIALECT_KSERVE, PS_REQUEST_INFER, true},
        {"/generate", PS_DIALECT_GENERATE, PS_REQUEST_COMPLETIONS, true},
        {"/embed", PS_DIALECT_TEI, PS_REQUEST_EMBEDDINGS, true},
        {"/completion", PS_DIALECT_LLAMACPP, PS_REQUEST_COMPLETIONS, true},
        {"/sdapi/v1/txt2img", PS_DIALECT_A1111, PS_REQUEST_IMAGES, true},
        {"/prompt", PS_DIALECT_COMFYUI, PS_REQUEST_JOB, false},
        {"/api/prompt", PS_DIALECT_COMFYUI, PS_REQUEST_JOB, false},
    };
    struct ps_route_table *table = NULL;
    assert_int_equal(make(&table, NULL, 0, NULL, 0), PS_OK);
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct ps_route_match match;
        assert_int_equal(
            ps_route_match(table, PS_STR("POST"), PS_STR(""), ps_str_from(cases[i].path), &match),
            PS_ROUTE_FOUND);
        assert_non_null(match.operation);
        assert_int_equal(match.operation->dialect, cases[i].dialect);
        assert_int_equal(match.operation->kind, cases[i].kind);
        assert_int_equal(ps_route_is_idempotent(match.route, match.operation, PS_STR("POST")),
                         cases[i].again);
    }
    ps_route_table_free(table);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static char relative[] = "v1";
    static char starred[] = "/a*b";
    static char dots[] = "/a/../b";
    struct ps_route_opts bad[] = {
        {.path = relative},
        {.path = starred},
        {.path = dots},
        {.path = p_exact, .upstream = nowhere},
    };
    struct ps_route_table *table = NULL;
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        assert_int_equal(make(&table, &bad[i], 1, NULL, 0), PS_EINVAL);
    }
    struct ps_route_opts twins[] = {{.path = p_exact}, {.path = p_exact, .methods = {get_only, 1}}};
    assert_int_equal(make(&table, twins, 2, NULL, 0), PS_EINVAL);
    struct ps_model_opts model = {.name = fast, .upstream = nowhere};
    assert_int_equal(make(&table, NULL, 0, &model, 1), PS_EINVAL);
}

static void a_model_leads_to_its_upstream(void **state)
{
    (void)state;
    upstreams[0].models = (struct ps_option_strings){llama_only, 1};
    upstreams[1].models = (struct ps_option_strings){sdxl_only, 1};
    struct ps_model_opts alias = {.name = fast, .upstream = images, .target = sdxl};
    alias.price.input_per_million_usd = 1;
    struct ps_route_table *table = NULL;
    assert_int_equal(make(&table, NULL, 0, &alias, 1), PS_OK);
    const struct ps_route *route = ps_route_table_at(table, 0);
    struct ps_route_model model;
    assert_int_equal(ps_route_resolve(table, route, PS_STR("llama"), &model), PS_OK);
    assert_int_equal(model.upstream, 0);
    assert_int_equal(ps_route_resolve(table, route, PS_STR("sdxl"), &model), PS_OK);
    assert_int_equal(model.upstream, 1);
    assert_null(model.price);
    assert_int_equal(ps_route_resolve(table, route, PS_STR("fast"), &model), PS_OK);
    assert_int_equal(model.upstream, 1);
    assert_true(ps_str_eq(model.target, PS_STR("sdxl")));
    assert_int_equal(model.price->input, 1000000000);
    assert_int_equal(ps_route_resolve(table, route, PS_STR("other"), &model), PS_ENOTFOUND);
    assert_int_equal(ps_route_resolve(table, route, PS_STR(""), &model), PS_OK);
    assert_int_equal(model.upstream, 0);
    assert_true(ps_str_eq(ps_route_model_name(table, 0), PS_STR("fast")));
    assert_true(ps_str_eq(ps_route_model_name(table, 2), PS_STR("sdxl")));
    assert_int_equal(ps_route_model_name(table, 3).len, 0);
    ps_route_table_free(table);
}

static void an_upstream_without_a_list_takes_every_model(void **state)
{
    (void)state;
    struct ps_route_table *table = NULL;
    assert_int_equal(make(&table, NULL, 0, NULL, 0), PS_OK);
    struct ps_route_model model;
    assert_int_equal(ps_route_resolve(table, ps_route_table_at(table, 0), PS_STR("any"), &model),
                     PS_OK);
    assert_int_equal(model.upstream, 0);
    ps_route_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_most_specific_route_wins, reset),
        cmocka_unit_test_setup(a_wrong_method_is_told_which_are_right, reset),
        cmocka_unit_test_setup(paths_with_two_readings_are_refused, reset),
        cmocka_unit_test_setup(an_encoded_path_is_refused_only_where_it_matters, reset),
        cmocka_unit_test_setup(upstreams_without_routes_get_the_usual_ones, reset),
        cmocka_unit_test_setup(administration_needs_a_route_that_names_it, reset),
        cmocka_unit_test_setup(the_call_says_how_it_is_treated, reset),
        cmocka_unit_test_setup(mistakes_are_named, reset),
        cmocka_unit_test_setup(a_model_leads_to_its_upstream, reset),
        cmocka_unit_test_setup(an_upstream_without_a_list_takes_every_model, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

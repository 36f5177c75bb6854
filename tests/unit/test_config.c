/* The configuration as a whole: defaults, sense, access. */
#include "daemon/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/reserved.h"
#include "gateway/backend.h"

struct run {
    struct ps_config *config;
    char *said;
    size_t errors;
    size_t warnings;
    int err;
};

static void parse(struct run *run, const char *text)
{
    struct ps_config_source source = {.no_files = true};
    struct ps_config_report report = {0};
    struct ps_buf out = ps_buf_make(1024 * 1024);
    *run = (struct run){.config = NULL};
    run->err = ps_config_parse(&run->config, ps_str_from(text), &source, &report);
    assert_int_equal(ps_config_report_print(&report, "f", &out), PS_OK);
    run->said = ps_str_dup(ps_buf_str(&out));
    assert_non_null(run->said);
    run->errors = report.errors;
    run->warnings = report.warnings;
    ps_buf_fini(&out);
    ps_config_report_fini(&report);
}

static void end(struct run *run)
{
    ps_config_free(run->config);
    free(run->said);
}

static void assert_says(const char *text, const char *said)
{
    struct run run;
    parse(&run, text);
    assert_string_equal(run.said, said);
    end(&run);
}

static void assert_ok(const char *text)
{
    assert_says(text, "");
}

#define UPSTREAM "upstreams: [{name: a, endpoints: [\"http://127.0.0.1:1\"]}]\n"
#define TOKEN    "admin: {tokens: [{name: t, role: admin, token: 0123456789abcdef}]}\n"

static void the_empty_file_is_valid(void **state)
{
    struct run run;
    (void)state;
    parse(&run, "");
    assert_int_equal(run.err, PS_OK);
    assert_string_equal(run.said, "");
    assert_int_equal(run.config->listen.count, 2);
    assert_true(ps_config_is_loopback(&run.config->listen));
    assert_int_equal(run.config->max_body, 32 * 1024 * 1024);
    assert_int_equal(run.config->max_connections, 20000);
    assert_int_equal(run.config->drain_timeout, 30 * PS_SECOND);
    assert_string_equal(run.config->access_log, "off");
    assert_true(ps_config_workers(run.config) >= 1 && ps_config_workers(run.config) <= 64);
    assert_true(ps_config_max_buffered(run.config) > 1024 * 1024);
    assert_false(run.config->tenants_open);
    end(&run);
}

static void beyond_loopback_the_gateway_needs_tenants_and_the_api_a_token(void **state)
{
    (void)state;
    assert_says(
        "listen: \"0.0.0.0:5000\"\n",
        "f:1:9: listen: beyond loopback the reserved paths (such as /metrics) need a token: "
        "set admin.tokens, or put them elsewhere with admin.listen\n"
        "f:1:9: listen: beyond loopback the gateway needs tenants, or `tenants: open` to serve "
        "anybody\n");
    assert_ok("listen: \":5000\"\ntenants: open\n" TOKEN);
    assert_ok("listen: \":5000\"\ntenants: open\nadmin: {listen: \"127.0.0.1:9\"}\n");
    assert_ok("listen: \":5000\"\ntenants: [{name: a, key: k}]\n" TOKEN);
    assert_says("listen: \":5000\"\ntenants: []\n" TOKEN,
                "f:1:9: listen: beyond loopback the gateway needs tenants, or `tenants: open` to "
                "serve anybody\n");
    assert_says(
        "admin: {listen: \"192.0.2.1:9\"}\n",
        "f:1:17: admin.listen: beyond loopback the reserved paths (such as /metrics) need a token: "
        "set admin.tokens\n");
    assert_ok("listen: [\"127.0.0.2:1\", \"[::1]:1\"]\n");
}

static void one_mistake_is_not_reported_as_two(void **state)
{
    struct run run;
    (void)state;
    parse(&run, "listen: \":5000\"\ntenants: opne\n" TOKEN);
    assert_int_equal(run.errors, 1);
    end(&run);
    parse(&run, "listen: nowhere\n");
    assert_int_equal(run.errors, 1);
    end(&run);
}

static void addresses_networks_and_origins_are_looked_at(void **state)
{
    (void)state;
    assert_says("listen: [\"localhost:1\", \"127.0.0.1:2\", \"127.0.0.1:2\"]\n",
                "f:1:10: listen[0]: expected a numeric address with port such as 127.0.0.1:5000, "
                "[::1]:5000 or :5000\n"
                "f:1:40: listen[2]: the same as listen[1]\n");
    assert_says("listen: []\n", "f:1:9: listen: at least one address is needed\n");
    assert_says("admin: {listen: [\"127.0.0.1:5000\"]}\n",
                "f:1:18: admin.listen[0]: the gateway listens there already (listen[0])\n");
    assert_says("trusted_proxies: [10.0.0.0/8, \"::1\", 10.0.0.0/33]\n",
                "f:1:38: trusted_proxies[2]: expected a network such as 10.0.0.0/8, fd00::/8 or a "
                "single address\n");
    assert_says(
        "cors: {origins: [\"*\", \"https://a.example:8\", \"https://a/\", a]}\n",
        "f:1:46: cors.origins[2]: expected an origin such as https://app.example (no path), or *\n"
        "f:1:60: cors.origins[3]: expected an origin such as https://app.example (no path), or "
        "*\n");
    assert_says("tls: {certificate: a.pem}\n",
                "f:1:6: tls: certificate and key_file are needed both\n");
}

static void names_must_exist_and_be_there_once(void **state)
{
    (void)state;
    assert_says(UPSTREAM "routes: [{path: /a, upstream: b}, {path: /x, upstream: a}]\n"
                         "models: [{name: m, upstream: zzz}, {name: m, upstream: a}]\n",
                "f:2:31: routes[0].upstream: there is no upstream 'b'; did you mean 'a'?\n"
                "f:3:30: models[0].upstream: there is no upstream 'zzz'\n"
                "f:3:43: models[1].name: the same as in models[0]\n");
    assert_says(
        "upstreams:\n  - {name: a, endpoints: [\"http://127.0.0.1:1\"]}\n"
        "  - {name: a, endpoints: [\"ftp://x\", http://b]}\n",
        "f:3:12: upstreams[1].name: the same as in upstreams[0]\n"
        "f:3:27: upstreams[1].endpoints[0].url: expected a URL such as http://127.0.0.1:8000\n");
    assert_says("routes: [{path: /a}]\n", "f:1:9: routes: there are no upstreams to go to\n");
    assert_says(UPSTREAM "routes: [{path: a}, {path: /*/b}, {path: \"/a?b\"}]\n",
                "f:2:17: routes[0].path: must begin with /\n"
                "f:2:28: routes[1].path: * is allowed at the end only\n"
                "f:2:42: routes[2].path: must be a path, without query, fragment or blanks\n");
}

static void a_shadowed_route_is_a_warning(void **state)
{
    struct run run;
    (void)state;
    parse(&run,
          UPSTREAM "routes: [{path: /metrics}, {path: /api/tags}, {path: /api/*}, {path: /*}]\n");
    assert_int_equal(run.err, PS_OK);
    assert_int_equal(run.warnings, 1);
    assert_string_equal(
        run.said,
        "f:2:17: warning: routes[0].path: Penstock answers /metrics itself, so this route "
        "is never taken\n");
    end(&run);
    assert_ok(UPSTREAM "routes: [{path: /metrics}]\nadmin: {listen: \"127.0.0.1:9\"}\n");
    parse(&run, UPSTREAM "routes: [{path: /healthz}]\nadmin: {listen: \"127.0.0.1:9\"}\n");
    assert_int_equal(run.warnings, 1);
    end(&run);
}

static void tokens_and_keys_are_told_apart(void **state)
{
    (void)state;
    assert_says(
        "admin:\n  tokens:\n    - {name: a, token: 0123456789abcdef}\n    - {name: a, token: "
        "short}\n"
        "    - {name: b, token: \"a b 0123456789abcdef\"}\n    - {name: c, token: "
        "0123456789abcdef}\n",
        "f:4:14: admin.tokens[1].name: the same as in admin.tokens[0]\n"
        "f:4:24: warning: admin.tokens[1].token: is shorter than 16 characters and may be guessed\n"
        "f:5:24: admin.tokens[2].token: must consist of visible ASCII characters\n"
        "f:6:24: admin.tokens[3].token: the same as in admin.tokens[0]\n");
    assert_says(
        "tenants: [{name: a, key: 0123456789abcdef}, {name: b}, {name: c, key_sha256: "
        "[00ff]}]\n" TOKEN,
        "f:1:26: tenants[0].key: is also a token of admin.tokens\n"
        "f:1:45: tenants[1]: needs a key (key, key_file or key_sha256)\n"
        "f:1:79: tenants[2].key_sha256[0]: expected the 64 hexadecimal digits of a SHA-256\n");
}

static void what_is_written_is_read_back_the_same(void **state)
{
    static const char *const text =
        "workers: 3\nmax_body: 1MiB\ntenants: open\nadmin:\n  listen: [\"127.0.0.1:9\"]\n"
        "upstreams:\n  - name: a\n    endpoints:\n      - http://127.0.0.1:1\n";
    struct run first;
    struct run second;
    struct ps_buf brief = ps_buf_make(65536);
    struct ps_buf whole = ps_buf_make(65536);
    struct ps_buf again = ps_buf_make(65536);
    (void)state;
    parse(&first, text);
    assert_int_equal(first.err, PS_OK);
    assert_int_equal(ps_config_yaml(first.config, false, &brief), PS_OK);
    assert_int_equal(ps_config_yaml(first.config, true, &whole), PS_OK);
    assert_true(brief.len < 300);
    assert_int_equal(ps_buf_append(&whole, "", 1), PS_OK);
    parse(&second, whole.data);
    assert_string_equal(second.said, "");
    assert_int_equal(ps_config_yaml(second.config, false, &again), PS_OK);
    assert_true(ps_str_eq(ps_buf_str(&again), ps_buf_str(&brief)));
    ps_buf_fini(&brief);
    ps_buf_fini(&whole);
    ps_buf_fini(&again);
    end(&first);
    end(&second);
}

static void secrets_are_never_written(void **state)
{
    struct run run;
    struct ps_buf out = ps_buf_make(65536);
    (void)state;
    parse(&run, "admin: {tokens: [{name: a, token: s3cret-s3cret-s3cret}]}\ntenants: [{name: b, "
                "key: s3cret}]\n"
                "upstreams: [{name: c, endpoints: [\"http://127.0.0.1:1\"], api_key: s3cret}]\n");
    assert_int_equal(run.err, PS_OK);
    assert_int_equal(ps_config_yaml(run.config, true, &out), PS_OK);
    assert_false(ps_str_contains(ps_buf_str(&out), PS_STR("s3cret")));
    assert_true(ps_str_contains(ps_buf_str(&out), PS_STR("token: \"***\"\n")));
    ps_buf_fini(&out);
    end(&run);
}

static void command_lines_build_what_a_file_would_say(void **state)
{
    struct ps_config *config = NULL;
    struct ps_config_report report = {0};
    struct ps_buf out = ps_buf_make(65536);
    (void)state;
    assert_int_equal(ps_config_default(&config), PS_OK);
    assert_int_equal(ps_config_add_listen(config, PS_STR("127.0.0.1:7000"), true), PS_OK);
    assert_int_equal(ps_config_add_listen(config, PS_STR("[::1]:7000"), false), PS_OK);
    assert_int_equal(ps_config_add_listen(config, PS_STR("nowhere"), false), PS_EINVAL);
    assert_int_equal(ps_config_add_endpoint(config, PS_STR("gpu"), PS_STR("http://127.0.0.1:8000")),
                     PS_OK);
    assert_int_equal(ps_config_add_endpoint(config, PS_STR("gpu"), PS_STR("http://127.0.0.1:8001")),
                     PS_OK);
    assert_int_equal(ps_config_add_endpoint(config, PS_STR("gpu"), PS_STR("gopher://x")),
                     PS_EINVAL);
    assert_int_equal(ps_config_validate(config, &report), PS_OK);
    assert_int_equal(ps_config_yaml(config, false, &out), PS_OK);
    assert_true(ps_str_eq(ps_buf_str(&out), PS_STR("listen: [127.0.0.1:7000, \"[::1]:7000\"]\n"
                                                   "upstreams:\n"
                                                   "  - name: gpu\n"
                                                   "    endpoints:\n"
                                                   "      - http://127.0.0.1:8000\n"
                                                   "      - http://127.0.0.1:8001\n")));
    assert_int_equal(ps_config_add_listen(config, PS_STR("192.0.2.1:80"), true), PS_OK);
    assert_int_equal(ps_config_validate(config, &report), PS_EINVAL);
    assert_int_equal(report.errors, 2);
    ps_buf_fini(&out);
    ps_config_report_fini(&report);
    ps_config_free(config);
}

static void a_file_that_cannot_be_read_is_a_finding(void **state)
{
    struct ps_config *config = NULL;
    struct ps_config_report report = {0};
    (void)state;
    assert_int_equal(ps_config_load(&config, "/nonexistent/penstock.yaml", &report), PS_EINVAL);
    assert_int_equal(ps_config_load(&config, "/", &report), PS_EINVAL);
    assert_int_equal(report.errors, 2);
    assert_string_equal(report.items[0].text, "cannot be read: not found");
    assert_null(config);
    ps_config_report_fini(&report);
}

/* --- reserved paths
 * --------------------------------------------------------------------------------- */

static void exactly_the_listed_paths_are_reserved(void **state)
{
    size_t count = 0;
    (void)state;
    for (; ps_reserved_at(count).len > 0; count++) {
        struct ps_str path = ps_reserved_at(count);
        char longer[64];
        assert_true(ps_reserved_path(path));
        snprintf(longer, sizeof longer, "%.*s/x", PS_STR_ARG(path));
        assert_false(ps_reserved_path(ps_str_from(longer)));
        assert_false(ps_reserved_path(ps_str_first(path, path.len - 1)) && path.len != 2);
    }
    assert_int_equal(count, 24);
    assert_false(ps_reserved_path(PS_STR("")));
    assert_false(ps_reserved_path(PS_STR("/api/tags")));
    assert_false(ps_reserved_path(PS_STR("/Metrics")));
}

static void each_path_asks_for_its_role(void **state)
{
    (void)state;
    assert_int_equal(ps_reserved_role(PS_STR("/healthz"), PS_STR("GET")), PS_ROLE_NONE);
    assert_int_equal(ps_reserved_role(PS_STR("/readyz"), PS_STR("POST")), PS_ROLE_NONE);
    assert_int_equal(ps_reserved_role(PS_STR("/metrics"), PS_STR("GET")), PS_ROLE_READ);
    assert_int_equal(ps_reserved_role(PS_STR("/metrics"), PS_STR("HEAD")), PS_ROLE_READ);
    assert_int_equal(ps_reserved_role(PS_STR("/api/metrics"), PS_STR("POST")), PS_ROLE_INGEST);
    assert_int_equal(ps_reserved_role(PS_STR("/api/metrics"), PS_STR("DELETE")), PS_ROLE_ADMIN);
    assert_int_equal(ps_reserved_role(PS_STR("/api/otlp/v1/metrics"), PS_STR("POST")),
                     PS_ROLE_INGEST);
    assert_int_equal(ps_reserved_role(PS_STR("/api/gpu/cleanup"), PS_STR("POST")), PS_ROLE_ADMIN);
    assert_true(ps_role_allows(PS_ROLE_ADMIN, PS_ROLE_INGEST));
    assert_true(ps_role_allows(PS_ROLE_READ, PS_ROLE_READ));
    assert_true(ps_role_allows(PS_ROLE_READ, PS_ROLE_NONE));
    assert_false(ps_role_allows(PS_ROLE_READ, PS_ROLE_ADMIN));
    assert_false(ps_role_allows(PS_ROLE_INGEST, PS_ROLE_READ));
    assert_false(ps_role_allows(PS_ROLE_READ, PS_ROLE_INGEST));
    assert_false(ps_role_allows(PS_ROLE_NONE, PS_ROLE_READ));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_empty_file_is_valid),
        cmocka_unit_test(beyond_loopback_the_gateway_needs_tenants_and_the_api_a_token),
        cmocka_unit_test(one_mistake_is_not_reported_as_two),
        cmocka_unit_test(addresses_networks_and_origins_are_looked_at),
        cmocka_unit_test(names_must_exist_and_be_there_once),
        cmocka_unit_test(a_shadowed_route_is_a_warning),
        cmocka_unit_test(tokens_and_keys_are_told_apart),
        cmocka_unit_test(what_is_written_is_read_back_the_same),
        cmocka_unit_test(secrets_are_never_written),
        cmocka_unit_test(command_lines_build_what_a_file_would_say),
        cmocka_unit_test(a_file_that_cannot_be_read_is_a_finding),
        cmocka_unit_test(exactly_the_listed_paths_are_reserved),
        cmocka_unit_test(each_path_asks_for_its_role),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Engines, told from what a server on the same loop answers; time is moved by hand. */
#include "daemon/detect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/option.h"
#include "http/server.h"
#include "io/loop.h"
#include "operate/inquiry.h"

enum { PAGES_MAX = 4 };

struct page {
    const char *path;
    const char *body; /* NULL = no answer, and the clock moves on */
    size_t len;       /* of the body; 0 = a C string */
    int status;       /* 0 = 200 */
};

struct fixture {
    struct ps_clock clock;
    struct ps_loop *loop;
    struct ps_server *server;
    struct ps_backend *backend;
    struct page pages[PAGES_MAX];
    bool hang_all;
    bool simulated;
    char asked[512];
    struct ps_detect *detect;
    struct ps_detected found;
    unsigned results;
    bool saw_key;
};

static void on_nothing(void *ctx)
{
    (void)ctx;
}

static const struct ps_exchange_ops silent = {.on_abort = on_nothing};

static void hang(struct fixture *fix, struct ps_exchange *exchange)
{
    ps_exchange_handle(exchange, &silent, fix);
    ps_clock_advance(&fix->clock, PS_SECOND + PS_MILLISECOND);
}

static void on_request(void *ctx, struct ps_exchange *exchange)
{
    struct fixture *fix = ctx;
    struct ps_str path = ps_exchange_path(exchange);
    size_t used = strlen(fix->asked);
    snprintf(fix->asked + used, sizeof fix->asked - used, "%.*s ", PS_STR_ARG(path));
    fix->saw_key =
        ps_str_eq(ps_exchange_header(exchange, PS_STR("authorization")), PS_STR("Bearer k3y"));
    for (size_t i = 0; i < PAGES_MAX; i++) {
        const struct page *page = &fix->pages[i];
        if (page->path == NULL || !ps_str_eq(path, ps_str_from(page->path))) {
            continue;
        }
        if (page->body == NULL) {
            hang(fix, exchange);
            return;
        }
        struct ps_str body = {page->body, page->len > 0 ? page->len : strlen(page->body)};
        struct ps_str mark = fix->simulated ? PS_STR("X-Simulated: true\r\n") : PS_STR("");
        ps_exchange_respond(exchange, page->status == 0 ? 200 : page->status, mark,
                            PS_STR("application/json"), body);
        return;
    }
    if (fix->hang_all) {
        hang(fix, exchange);
        return;
    }
    ps_exchange_respond(exchange, 404, PS_STR(""), PS_STR("text/plain"), PS_STR("no such page"));
}

static void make_backend(struct fixture *fix, const char *url)
{
    char reason[256];
    char text[128];
    struct ps_upstream_opts opts;
    snprintf(text, sizeof text, "%s", url);
    struct ps_endpoint_opts endpoint = {.url = text};
    assert_int_equal(ps_option_init(ps_upstream_options, &opts), PS_OK);
    char name[] = "u";
    char key[] = "k3y";
    opts.name = name;
    opts.api_key = key;
    opts.endpoints = (struct ps_option_list){&endpoint, 1};
    assert_int_equal(ps_backend_new(&fix->backend, &opts, 0, NULL, 0, reason, sizeof reason),
                     PS_OK);
    opts.name = NULL;
    opts.api_key = NULL;
    opts.endpoints = (struct ps_option_list){NULL, 0};
    ps_option_fini(ps_upstream_options, &opts);
}

static int setup(void **state)
{
    struct fixture *fix = calloc(1, sizeof *fix);
    struct ps_server_opts opts;
    struct ps_address at;
    assert_non_null(fix);
    ps_clock_init_manual(&fix->clock, PS_SECOND, 0);
    assert_int_equal(ps_loop_new(&fix->loop, &fix->clock), PS_OK);
    ps_server_opts_init(&opts);
    opts.on_request = on_request;
    opts.ctx = fix;
    opts.head_timeout = opts.keep_alive_timeout = PS_HOUR;
    assert_int_equal(ps_server_new(&fix->server, fix->loop, &opts), PS_OK);
    assert_int_equal(ps_address_parse(PS_STR("127.0.0.1:0"), &at), PS_OK);
    assert_int_equal(ps_server_listen(fix->server, &at, NULL), PS_OK);
    char text[PS_ADDRESS_TEXT];
    char url[PS_ADDRESS_TEXT + 16];
    snprintf(url, sizeof url, "http://%s/base/",
             ps_address_text(ps_server_address(fix->server, 0), text));
    make_backend(fix, url);
    assert_int_equal(
        ps_endpoint_set_addresses(fix->backend->endpoints[0], ps_server_address(fix->server, 0), 1),
        PS_OK);
    *state = fix;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fix = *state;
    ps_detect_cancel(fix->detect);
    ps_server_free(fix->server);
    ps_backend_unref(fix->backend);
    ps_loop_free(fix->loop);
    free(fix);
    return 0;
}

static void on_result(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint,
                      const struct ps_detected *found)
{
    struct fixture *fix = ctx;
    assert_ptr_equal(backend, fix->backend);
    assert_ptr_equal(endpoint, fix->backend->endpoints[0]);
    fix->detect = NULL;
    fix->found = *found;
    fix->results++;
    ps_loop_stop(fix->loop);
}

static const struct ps_detected *detect(struct fixture *fix)
{
    fix->asked[0] = '\0';
    fix->results = 0;
    assert_int_equal(ps_detect_start(&fix->detect, fix->loop, NULL, fix->backend,
                                     fix->backend->endpoints[0], on_result, fix),
                     PS_OK);
    ps_loop_run(fix->loop);
    assert_int_equal(fix->results, 1);
    return &fix->found;
}

static void every_engine_is_known_by_its_answers(void **state)
{
    struct fixture *fix = *state;
    static const struct {
        enum ps_engine engine;
        const char *version;
        struct page pages[3];
    } cases[] = {
        {PS_ENGINE_VLLM,
         "0.11.0",
         {{"/base/v1/models",
           "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"owned_by\":\"vllm\"}]}", 0, 0},
          {"/base/version", "{\"version\":\"0.11.0\"}", 0, 0}}},
        {PS_ENGINE_SGLANG,
         "0.5.3",
         {{"/base/v1/models",
           "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"owned_by\":\"sglang\"}]}", 0, 0},
          {"/base/get_server_info", "{\"version\":\"0.5.3\",\"model_path\":\"m\"}", 0, 0}}},
        {PS_ENGINE_SGLANG,
         "0.5.3",
         {{"/base/get_server_info", "{\"version\":\"0.5.3\",\"model_path\":\"m\"}", 0, 0}}},
        {PS_ENGINE_TRTLLM,
         "1.0",
         {{"/base/v1/models",
           "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"owned_by\":\"tensorrt_llm\"}]}", 0, 0},
          {"/base/version", "{\"version\":\"1.0\"}", 0, 0}}},
        {PS_ENGINE_OLLAMA,
         "0.12.3",
         {{"/base/v1/models",
           "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"owned_by\":\"library\"}]}", 0, 0},
          {"/base/api/version", "{\"version\":\"0.12.3\"}", 0, 0}}},
        {PS_ENGINE_LLAMACPP,
         "b6500",
         {{"/base/v1/models",
           "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"owned_by\":\"llamacpp\"}]}", 0, 0},
          {"/base/props", "{\"default_generation_settings\":{},\"build_info\":\"b6500\"}", 0, 0}}},
        {PS_ENGINE_TRITON,
         "2.60.0",
         {{"/base/v2", "{\"name\":\"triton\",\"version\":\"2.60.0\",\"extensions\":[]}", 0, 0}}},
        {PS_ENGINE_COMFYUI,
         "0.3.60",
         {{"/base/system_stats", "{\"system\":{\"comfyui_version\":\"0.3.60\"},\"devices\":[]}", 0,
           0}}},
        {PS_ENGINE_TGI,
         "3.3.6",
         {{"/base/info", "{\"model_id\":\"m\",\"version\":\"3.3.6\",\"max_total_tokens\":9}", 0,
           0}}},
        {PS_ENGINE_TEI,
         "1.8.2",
         {{"/base/info",
           "{\"model_id\":\"m\",\"version\":\"1.8.2\",\"model_type\":{\"embedding\":{}}}", 0, 0}}},
        {PS_ENGINE_A1111, "", {{"/base/sdapi/v1/memory", "{\"ram\":{},\"cuda\":{}}", 0, 0}}},
        {PS_ENGINE_OPENAI,
         "",
         {{"/base/v1/models",
           "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"owned_by\":\"acme\"}]}", 0, 0},
          {"/base/version", "{\"version\":\"9\"}", 0, 0}}},
        {PS_ENGINE_VLLM,
         "0.11.0",
         {{"/base/v1/models", "{\"error\":\"Unauthorized\"}", 0, 401},
          {"/base/version", "{\"version\":\"0.11.0\"}", 0, 0}}},
        {PS_ENGINE_AUTO, "", {{"/base/", "hello", 0, 0}}},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        memcpy(fix->pages, cases[i].pages, sizeof cases[i].pages);
        const struct ps_detected *found = detect(fix);
        assert_int_equal(found->identity.engine, cases[i].engine);
        assert_string_equal(found->identity.version, cases[i].version);
        assert_int_equal(found->err, PS_OK);
    }
    assert_true(fix->saw_key);
}

static void a_proven_engine_is_asked_only_for_its_version(void **state)
{
    struct fixture *fix = *state;
    fix->pages[0] =
        (struct page){"/base/v1/models",
                      "{\"data\":[{\"id\":\"a\",\"owned_by\":\"sglang\"},{\"id\":\"b\"}]}", 0, 0};
    const struct ps_detected *found = detect(fix);
    assert_string_equal(fix->asked, "/base/v1/models /base/get_server_info ");
    assert_int_equal(found->identity.engine, PS_ENGINE_SGLANG);
    assert_int_equal(found->model_count, 2);
    assert_string_equal(found->models[1], "b");
}

static void a_simulated_engine_is_what_it_plays_and_says_so(void **state)
{
    struct fixture *fix = *state;
    fix->pages[0] = (struct page){"/base/api/version", "{\"version\":\"0.12.3\"}", 0, 0};
    assert_false(detect(fix)->identity.simulated);
    fix->simulated = true;
    const struct ps_detected *found = detect(fix);
    assert_int_equal(found->identity.engine, PS_ENGINE_OLLAMA);
    assert_true(found->identity.simulated);
    char text[PS_IDENTITY_TEXT];
    assert_string_equal(ps_identity_text(&found->identity, text), "ollama 0.12.3 (simulated)");
}

/* What an answer says of an engine that was found before. */
static enum ps_detect_again again(const struct ps_identity *known, int status, const char *body)
{
    struct ps_inquiry_answer answer = {.status = status, .body = ps_str_from(body)};
    return ps_detect_check(known, &answer);
}

static void one_question_tells_whether_it_is_still_the_same(void **state)
{
    struct fixture *fix = *state;
    fix->pages[0] =
        (struct page){"/base/v1/models", "{\"data\":[{\"id\":\"m\",\"owned_by\":\"vllm\"}]}", 0, 0};
    fix->pages[1] = (struct page){"/base/version", "{\"version\":\"0.11.0\"}", 0, 0};
    struct ps_identity known = detect(fix)->identity;
    assert_true(ps_str_eq(ps_detect_path(&known), PS_STR("/version")));
    assert_int_equal(again(&known, 200, "{\"version\":\"0.11.0\"}"), PS_DETECT_SAME);
    assert_int_equal(again(&known, 200, "{\"version\":\"0.11.1\"}"), PS_DETECT_OTHER);
    assert_int_equal(again(&known, 200, "<html>hello</html>"), PS_DETECT_OTHER);
    assert_int_equal(again(&known, 404, "no such page"), PS_DETECT_OTHER);
    assert_int_equal(again(&known, 503, "loading"), PS_DETECT_SILENT);
    assert_int_equal(again(&known, 429, "busy"), PS_DETECT_SILENT);
    struct ps_inquiry_answer late = {.err = PS_ETIMEOUT};
    assert_int_equal(ps_detect_check(&known, &late), PS_DETECT_SILENT);
    struct ps_inquiry_answer simulated = {
        .status = 200, .simulated = true, .body = PS_STR("{\"version\":\"0.11.0\"}")};
    assert_int_equal(ps_detect_check(&known, &simulated), PS_DETECT_OTHER);

    /* Without a version the proof itself is asked for again. */
    fix->pages[1].path = NULL;
    known = detect(fix)->identity;
    assert_true(ps_str_eq(ps_detect_path(&known), PS_STR("/v1/models")));
    assert_int_equal(again(&known, 200, fix->pages[0].body), PS_DETECT_SAME);
    assert_int_equal(again(&known, 200, "{\"data\":[{\"id\":\"m\",\"owned_by\":\"sglang\"}]}"),
                     PS_DETECT_OTHER);
    struct ps_identity unknown = {.engine = PS_ENGINE_AUTO};
    assert_int_equal(ps_detect_path(&unknown).len, 0);
}

static void hostile_answers_prove_nothing(void **state)
{
    struct fixture *fix = *state;
    static char deep[60000];
    static char huge[100000];
    static char models[60000];
    memset(deep, '[', sizeof deep);
    memset(huge, ' ', sizeof huge);
    memcpy(huge, "{\"data\":[{\"owned_by\":\"vllm\"}]}", 30);
    static const char nul[] = "{\"object\":\"list\0\",\"data\":[]}";
    const struct page pages[] = {
        {"/base/v1/models", "\xff\xfe\x00\x01", 4, 0},
        {"/base/v1/models", deep, sizeof deep, 0},
        {"/base/v1/models", huge, sizeof huge, 0},
        {"/base/v1/models", nul, sizeof nul - 1, 0},
        {"/base/v1/models", "{\"data\":{\"0\":1},\"object\":7}", 0, 0},
        {"/base/v1/models", "[[[1]]]", 0, 0},
        {"/base/v1/models", "{\"data\":[{\"owned_by\":\"vllm\"}]}", 0, 500},
        {"/base/v1/models", "\"data\"", 0, 0},
        {"/base/system_stats", "{\"system\":null,\"devices\":[]}", 0, 0},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(pages); i++) {
        fix->pages[0] = pages[i];
        assert_int_equal(detect(fix)->identity.engine, PS_ENGINE_AUTO);
        assert_int_equal(fix->found.model_count, 0);
    }
    size_t used = (size_t)snprintf(models, sizeof models, "{\"data\":[");
    for (int i = 0; i < 1000; i++) {
        used += (size_t)snprintf(models + used, sizeof models - used,
                                 "%s{\"id\":\"%s%d\",\"owned_by\":\"vllm\"}", i == 0 ? "" : ",",
                                 i % 2 == 0 ? "m" : "\\u001b[31m", i);
    }
    snprintf(models + used, sizeof models - used, "]}");
    fix->pages[0] = (struct page){"/base/v1/models", models, 0, 0};
    fix->pages[1] = (struct page){"/base/version", "{\"version\":\"1\\u001b[2J\"}", 0, 0};
    const struct ps_detected *found = detect(fix);
    assert_int_equal(found->identity.engine, PS_ENGINE_VLLM);
    assert_string_equal(found->identity.version, "");
    assert_int_equal(found->model_count, PS_DETECT_MODELS_MAX);
    assert_string_equal(found->models[31], "m62");
}

static void a_page_that_hangs_costs_a_second(void **state)
{
    struct fixture *fix = *state;
    fix->pages[0] = (struct page){"/base/v1/models", NULL, 0, 0};
    fix->pages[1] = (struct page){"/base/v2", "{\"name\":\"triton\",\"version\":\"2\"}", 0, 0};
    assert_int_equal(detect(fix)->identity.engine, PS_ENGINE_TRITON);
    fix->hang_all = true;
    fix->pages[1].path = NULL;
    ps_time before = ps_clock_now(&fix->clock);
    const struct ps_detected *found = detect(fix);
    assert_int_equal(found->identity.engine, PS_ENGINE_AUTO);
    assert_int_equal(found->err, PS_ETIMEOUT);
    assert_true(ps_clock_now(&fix->clock) - before < 10 * PS_SECOND);
}

static void nobody_there_is_told_at_once(void **state)
{
    struct fixture *fix = *state;
    struct ps_address closed = *ps_server_address(fix->server, 0);
    ps_address_set_port(&closed, 1);
    assert_int_equal(ps_endpoint_set_addresses(fix->backend->endpoints[0], &closed, 1), PS_OK);
    const struct ps_detected *found = detect(fix);
    assert_int_equal(found->err, PS_EREFUSED);
    assert_int_equal(found->identity.engine, PS_ENGINE_AUTO);
    assert_int_equal(ps_endpoint_set_addresses(fix->backend->endpoints[0], NULL, 0), PS_OK);
    assert_int_equal(ps_detect_start(&fix->detect, fix->loop, NULL, fix->backend,
                                     fix->backend->endpoints[0], on_result, fix),
                     PS_ERESOLVE);
}

static void a_detection_can_be_called_off(void **state)
{
    struct fixture *fix = *state;
    assert_int_equal(ps_detect_start(&fix->detect, fix->loop, NULL, fix->backend,
                                     fix->backend->endpoints[0], on_result, fix),
                     PS_OK);
    ps_detect_cancel(fix->detect);
    fix->detect = NULL;
    ps_detect_cancel(NULL);
    assert_int_equal(detect(fix)->err, PS_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_engine_is_known_by_its_answers),
        CASE(a_proven_engine_is_asked_only_for_its_version),
        CASE(a_simulated_engine_is_what_it_plays_and_says_so),
        CASE(one_question_tells_whether_it_is_still_the_same),
        CASE(hostile_answers_prove_nothing),
        CASE(a_page_that_hangs_costs_a_second),
        CASE(nobody_there_is_told_at_once),
        CASE(a_detection_can_be_called_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_session - one request against a scripted server: what is measured, what counts as a failure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../helpers/nomem.h"
#include "base/check.h"
#include "io/loop.h"
#include "io/stream.h"
#include "load/answer.h"
#include "load/session.h"
#include "load/target.h"

#define SSE_HEAD "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
#define TEXT(word) "data: {\"choices\":[{\"delta\":{\"content\":\"" word "\"}}]}\n\n"
#define USAGE                                                                                      \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n"
#define DONE "data: [DONE]\n\n"

#define LINES_HEAD "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n"
#define LINE(word) "{\"message\":{\"content\":\"" word "\"},\"done\":false}\n"
#define LAST_LINE                                                                                  \
    "{\"message\":{\"content\":\"\"},\"done\":true,\"prompt_eval_count\":7,\"eval_count\":2}\n"
#define PAGE(text) "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" text

/* A server that answers by what is asked: one exchange a connection. */
struct page {
    const char *request; /* how it begins; NULL = the end of the list */
    const char *answer;
};

/* What the server sends: the first part at once, the second one 30 ms later; then it closes. */
struct story {
    const char *first;
    const char *second; /* NULL = it stays silent */
};

struct world {
    struct ps_loop *loop;
    struct ps_listener *listener;
    struct ps_stream *stream;
    struct ps_target *target;
    struct ps_timer timer;
    struct ps_list sessions;
    struct story story;
    const struct page *pages; /* instead of the story */
    unsigned asked;           /* of them */
    enum ps_protocol protocol;
    ps_span timeout;
    enum ps_plan_kind kind;
    bool any;
    bool cancel;
    int status;
    unsigned texts;
    bool over;
    struct ps_session_result result;
    char detail[256];
};

static struct world world;

/* ------------------------------------------------------------------------------------- server */

static void send_text(const char *text)
{
    struct ps_str part = ps_str_from(text);
    assert_int_equal(ps_stream_write(world.stream, &part, 1), PS_OK);
}

static void on_second(struct ps_timer *timer, ps_time now)
{
    (void)timer;
    (void)now;
    if (world.stream != NULL && world.story.second != NULL) {
        send_text(world.story.second);
        ps_stream_free(world.stream);
        world.stream = NULL;
    }
}

/* A page that stands twice in the list is answered in that order, the last one for ever. */
static void send_page(struct ps_str data)
{
    const struct page *found = NULL;
    unsigned matches = 0;
    for (const struct page *page = world.pages; page->request != NULL; page++) {
        if (ps_str_starts_with(data, ps_str_from(page->request)) && matches++ <= world.asked) {
            found = page;
        }
    }
    world.asked += matches > 1;
    assert_non_null(found);
    send_text(found->answer);
    ps_stream_free(world.stream);
    world.stream = NULL;
}

static size_t on_data(void *ctx, struct ps_str data)
{
    (void)ctx;
    if (world.pages != NULL) {
        send_page(data);
    } else if (ps_str_contains(data, PS_STR("\r\n\r\n")) && world.story.first != NULL) {
        send_text(world.story.first);
        world.timer.on_time = on_second;
        assert_int_equal(ps_timer_set(world.loop, &world.timer,
                                      ps_loop_now(world.loop) + 30 * PS_MILLISECOND), PS_OK);
    }
    return data.len;
}

static void on_close(void *ctx, int err)
{
    (void)ctx;
    (void)err;
    ps_stream_free(world.stream);
    world.stream = NULL;
}

static void on_accept(void *ctx, int fd, const struct ps_address *peer)
{
    static const struct ps_stream_ops ops = {.on_data = on_data, .on_close = on_close};
    struct ps_stream_opts opts = {.ops = &ops};
    (void)ctx;
    (void)peer;
    assert_int_equal(ps_stream_accept(&world.stream, world.loop, fd, &opts), PS_OK);
}

/* ------------------------------------------------------------------------------------ session */

static void on_text(void *ctx, ps_span gap)
{
    (void)ctx;
    assert_true(world.texts == 0 ? gap == -1 : gap >= 0);
    world.texts++;
}

static void on_done(void *ctx, const struct ps_session_result *result)
{
    (void)ctx;
    world.result = *result;
    snprintf(world.detail, sizeof world.detail, "%s", result->detail);
    world.over = true;
    ps_loop_stop(world.loop);
}

static void on_target(void *ctx, int err, const char *why)
{
    static const struct ps_session_ops ops = {.on_text = on_text, .on_done = on_done};
    (void)ctx;
    (void)why;
    assert_int_equal(err, PS_OK);
    const struct ps_protocol_call *call = ps_protocol_call(world.protocol, world.kind);
    struct ps_buf head = ps_buf_make(4096);
    assert_int_equal(ps_target_head(world.target, call->path, call->accept, 2, &head), PS_OK);
    struct ps_session_request request = {
        .framing = world.any ? PS_FRAMING_ANY : call->framing,
        .kind = world.kind,
        .prompt_tokens = 9,
        .head = ps_buf_str(&head),
        .body = PS_STR("{}"),
        .status = world.status,
        .cancel = world.cancel,
        .intended = ps_loop_now(world.loop) - 20 * PS_MILLISECOND,
        .timeout = world.timeout,
    };
    assert_int_equal(ps_session_start(&world.sessions, world.loop, world.target, &request, &ops,
                                      NULL), PS_OK);
    ps_buf_fini(&head);
}

static void open_target(ps_target_fn *on_ready)
{
    char url[128] = "http://";
    struct ps_target_error error;
    struct ps_address any;
    assert_int_equal(ps_loop_new(&world.loop, &ps_clock_real), PS_OK);
    assert_int_equal(ps_address_parse(PS_STR("127.0.0.1:0"), &any), PS_OK);
    assert_int_equal(ps_listener_new(&world.listener, world.loop, &any, on_accept, NULL), PS_OK);
    ps_address_text(ps_listener_address(world.listener), url + strlen(url));
    struct ps_target_opts opts = {.url = url};
    assert_int_equal(ps_target_new(&world.target, world.loop, &opts, on_ready, NULL, &error), PS_OK);
    ps_loop_run(world.loop);
}

static void play(struct story story)
{
    world.story = story;
    open_target(on_target);
    assert_true(world.over);
}

static int begin(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    ps_list_init(&world.sessions);
    world.timeout = 10 * PS_SECOND;
    return 0;
}

static int end(void **state)
{
    (void)state;
    ps_timer_clear(world.loop, &world.timer);
    ps_stream_free(world.stream);
    ps_listener_free(world.listener);
    ps_target_free(world.target);
    ps_loop_free(world.loop);
    return !ps_list_is_empty(&world.sessions);
}

static void assert_failure(enum ps_failure failure)
{
    assert_string_equal(ps_failure_text(world.result.failure), ps_failure_text(failure));
}

static void a_whole_stream_is_measured_from_both_times(void **state)
{
    (void)state;
    play((struct story){SSE_HEAD TEXT("a"), TEXT("b") TEXT("") USAGE DONE});
    const struct ps_session_result *result = &world.result;
    assert_failure(PS_FAILURE_NONE);
    assert_int_equal(result->status, 200);
    assert_int_equal(result->texts, 2);
    assert_int_equal(world.texts, 2);
    assert_true(result->counted);
    assert_int_equal(result->prompt_tokens, 3);
    assert_int_equal(result->output_tokens, 5);
    assert_true(result->sent - result->intended >= 20 * PS_MILLISECOND);
    assert_true(result->sent <= result->first_text && result->first_text < result->last_text);
    assert_true(result->last_text - result->first_text >= 25 * PS_MILLISECOND);
    assert_true(result->last_text <= result->end);
}

static void any_stream_will_do_where_it_may(void **state)
{
    (void)state;
    world.any = true;
    play((struct story){SSE_HEAD "data: tick\n\n", "event: x\ndata: tock\n\n: comment\n\n"});
    assert_failure(PS_FAILURE_NONE);
    assert_int_equal(world.result.texts, 2);
    assert_true(world.result.first_byte <= world.result.first_text);
    assert_true(world.result.bytes > 20);
}

static void any_other_answer_will_do_where_it_may(void **state)
{
    (void)state;
    world.any = true;
    play((struct story){"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", "lo"});
    assert_failure(PS_FAILURE_NONE);
    assert_int_equal(world.result.texts, 0);
    assert_int_equal(world.result.bytes, 5);
}

static void a_redirect_is_told_and_not_followed(void **state)
{
    (void)state;
    world.any = true;
    play((struct story){"HTTP/1.1 302 Found\r\nlocation: http://example.com/\r\ncontent-length: 0\r\n\r\n", NULL});
    assert_failure(PS_FAILURE_REDIRECT);
    assert_string_equal(world.detail, "302 to http://example.com/");
}

static void the_status_that_was_expected_is_a_success(void **state)
{
    (void)state;
    world.any = true;
    world.status = 404;
    play((struct story){"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", NULL});
    assert_failure(PS_FAILURE_NONE);
}

static void another_status_than_the_expected_is_a_failure(void **state)
{
    (void)state;
    world.any = true;
    world.status = 404;
    play((struct story){"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", NULL});
    assert_failure(PS_FAILURE_STATUS);
}

static void a_request_is_broken_off_at_its_first_text(void **state)
{
    (void)state;
    world.cancel = true;
    play((struct story){SSE_HEAD TEXT("a"), NULL});
    assert_failure(PS_FAILURE_NONE);
    assert_true(world.result.cancelled);
    assert_int_equal(world.result.texts, 1);
}

static void what_was_whole_before_it_could_be_broken_off_is_a_success(void **state)
{
    (void)state;
    world.cancel = true;
    world.any = true;
    play((struct story){"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", NULL});
    assert_failure(PS_FAILURE_NONE);
    assert_false(world.result.cancelled);
}

static void without_usage_events_with_text_are_counted(void **state)
{
    (void)state;
    play((struct story){SSE_HEAD TEXT("a") TEXT("b"), TEXT("c") DONE});
    assert_failure(PS_FAILURE_NONE);
    assert_false(world.result.counted);
    assert_int_equal(world.result.output_tokens, 3);
    assert_int_equal(world.result.prompt_tokens, 9);
}

static void a_stream_without_its_end_is_a_failure(void **state)
{
    (void)state;
    play((struct story){SSE_HEAD TEXT("a"), TEXT("b")});
    assert_failure(PS_FAILURE_STREAM_CUT);
}

static void an_error_inside_a_stream_is_a_failure(void **state)
{
    (void)state;
    play((struct story){SSE_HEAD TEXT("a"), "data: {\"error\":{\"message\":\"out of room\"}}\n\n" DONE});
    assert_failure(PS_FAILURE_STREAM_ERROR);
    assert_string_equal(world.detail, "out of room");
}

static void a_status_is_a_failure_with_the_servers_words(void **state)
{
    (void)state;
    play((struct story){"HTTP/1.1 503 No\r\ncontent-length: 7\r\n\r\nno", " room"});
    assert_failure(PS_FAILURE_STATUS);
    assert_int_equal(world.result.status, 503);
    assert_string_equal(world.detail, "no room");
}

static void an_answer_that_is_no_stream_is_a_failure(void **state)
{
    (void)state;
    play((struct story){"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", "}"});
    assert_failure(PS_FAILURE_BAD_ANSWER);
}

static void an_embedding_needs_no_stream(void **state)
{
    (void)state;
    world.kind = PS_PLAN_EMBEDDING;
    play((struct story){"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", "}"});
    assert_failure(PS_FAILURE_NONE);
    assert_int_equal(world.result.texts, 0);
}

static void lines_are_measured_like_events(void **state)
{
    (void)state;
    world.protocol = PS_PROTOCOL_OLLAMA;
    play((struct story){LINES_HEAD LINE("a") "{\"message\":{\"con", "tent\":\"b\"},\"done\":false}\n" LAST_LINE});
    assert_failure(PS_FAILURE_NONE);
    assert_int_equal(world.result.texts, 2);
    assert_true(world.result.counted);
    assert_int_equal(world.result.prompt_tokens, 7);
    assert_int_equal(world.result.output_tokens, 2);
}

static void lines_without_the_last_are_a_failure(void **state)
{
    (void)state;
    world.protocol = PS_PROTOCOL_OLLAMA;
    play((struct story){LINES_HEAD LINE("a"), LINE("b")});
    assert_failure(PS_FAILURE_STREAM_CUT);
}

static void an_error_line_is_a_failure(void **state)
{
    (void)state;
    world.protocol = PS_PROTOCOL_OLLAMA;
    play((struct story){LINES_HEAD LINE("a"), "{\"error\":\"out of room\"}\n" LAST_LINE});
    assert_failure(PS_FAILURE_STREAM_ERROR);
    assert_string_equal(world.detail, "out of room");
}

#define ID_PAGE {"POST /prompt ", PAGE("{\"prompt_id\":\"ab-1\",\"number\":3,\"node_errors\":{}}")}
#define HISTORY(outputs)                                                                           \
    PAGE("{\"ab-1\":{\"status\":{\"status_str\":\"success\",\"completed\":true},\"outputs\":" outputs "}}")

static void play_job(const struct page *pages)
{
    world.protocol = PS_PROTOCOL_COMFYUI;
    world.pages = pages;
    play((struct story){NULL, NULL});
}

static void a_job_ends_with_its_picture(void **state)
{
    (void)state;
    static const struct page pages[] = {
        ID_PAGE,
        {"GET /history/ab-1 ", PAGE("{}")},
        {"GET /history/ab-1 ",
         HISTORY("{\"7\":{\"images\":[{\"filename\":\"a b_1.png\",\"subfolder\":\"x/y\",\"type\":\"output\"}]}}")},
        {"GET /view?filename=a%20b_1.png&subfolder=x%2Fy&type=output ", PAGE("PNG")},
        {NULL, NULL},
    };
    play_job(pages);
    assert_failure(PS_FAILURE_NONE);
    assert_int_equal(world.result.status, 200);
    assert_true(world.result.end - world.result.sent >= 500 * PS_MILLISECOND); /* asked twice */
}

static void a_job_that_failed_is_a_failure(void **state)
{
    (void)state;
    static const struct page pages[] = {
        ID_PAGE,
        {"GET /history/ab-1 ", PAGE("{\"ab-1\":{\"status\":{\"status_str\":\"error\"},\"outputs\":{}}}")},
        {NULL, NULL},
    };
    play_job(pages);
    assert_failure(PS_FAILURE_STREAM_ERROR);
    assert_string_equal(world.detail, "the job failed");
}

static void a_job_that_is_refused_is_a_failure_with_the_servers_words(void **state)
{
    (void)state;
    static const struct page pages[] = {
        {"POST /prompt ", "HTTP/1.1 400 Bad\r\nconnection: close\r\n\r\n{\"error\":{\"message\":\"no node\"}}"},
        {NULL, NULL},
    };
    play_job(pages);
    assert_failure(PS_FAILURE_STATUS);
    assert_int_equal(world.result.status, 400);
    assert_string_equal(world.detail, "no node");
}

static void answers_to_a_job_that_make_no_sense_are_failures(void **state)
{
    static const struct page strange_id[] = {{"POST /prompt ", PAGE("{\"prompt_id\":\"../x\"}")}, {NULL, NULL}};
    static const struct page no_json[] = {ID_PAGE, {"GET /history/", PAGE("<html>")}, {NULL, NULL}};
    static const struct page nothing[] = {ID_PAGE, {"GET /history/", HISTORY("{}")}, {NULL, NULL}};
    static const struct page *const all[] = {strange_id, no_json, nothing};
    for (size_t i = 0; i < PS_ARRAY_LEN(all); i++) {
        play_job(all[i]);
        assert_failure(PS_FAILURE_BAD_ANSWER);
        assert_int_equal(end(state), 0);
        (void)begin(state);
    }
    play_job(no_json); /* for the end of the case */
}

static void a_connection_that_breaks_is_a_failure(void **state)
{
    (void)state;
    play((struct story){"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ncontent-type: text/event-stream\r\n\r\n",
                        ": hi\n"});
    assert_failure(PS_FAILURE_RESET);
}

static void rubbish_is_not_understood(void **state)
{
    (void)state;
    play((struct story){"SSH-2.0-x\r\n\r\n", ""});
    assert_failure(PS_FAILURE_BAD_ANSWER);
}

static void silence_ends_with_the_timeout(void **state)
{
    (void)state;
    world.timeout = 50 * PS_MILLISECOND;
    play((struct story){NULL, NULL});
    assert_failure(PS_FAILURE_TIMEOUT);
    assert_true(world.result.end - world.result.sent >= 50 * PS_MILLISECOND);
}

/* ------------------------------------------------------------------------------------- events */

static bool has_text(const char *json)
{
    return ps_answer_has_text(ps_str_from(json));
}

/* ------------------------------------------------------------------------------------- reach */

static struct {
    long allowed; /* allocations */
    int err;
    int told;
} reach;

static void on_reached(void *ctx, int err, const char *why)
{
    (void)ctx;
    (void)why;
    assert_int_equal(err, PS_OK);
    reach.told++;
}

static void on_reach_over(struct ps_timer *timer, ps_time now)
{
    (void)timer;
    (void)now;
    ps_loop_stop(world.loop);
}

static void on_reachable(void *ctx, int err, const char *why)
{
    (void)ctx;
    (void)why;
    assert_int_equal(err, PS_OK);
    nomem_failed = false;
    nomem_left = reach.allowed;
    reach.err = ps_target_reach(world.target, on_reached, NULL);
    nomem_left = -1;
    world.timer.on_time = on_reach_over;
    assert_int_equal(ps_timer_set(world.loop, &world.timer, ps_loop_now(world.loop) + 30 * PS_MILLISECOND), PS_OK);
}

/* Who was told at once that there is no memory is not told again. */
static void each_allocation_of_a_first_connection_may_fail(void **state)
{
    reach.allowed = 0;
    do {
        reach.told = 0;
        open_target(on_reachable);
        assert_int_equal(reach.err, nomem_failed ? PS_ENOMEM : PS_OK);
        assert_int_equal(reach.told, nomem_failed ? 0 : 1);
        assert_int_equal(end(state), 0);
        begin(state);
    } while (nomem_failed && reach.allowed++ < 20);
    assert_in_range(reach.allowed, 2, 19);
}

static void text_is_found_whatever_the_spacing(void **state)
{
    (void)state;
    assert_true(has_text("{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}"));
    assert_true(has_text("{\"choices\": [{\"delta\": {\"content\" : \"x\"}}]}"));
    assert_true(has_text("{\"choices\":[{\"text\":\"x\"}]}"));
    assert_true(has_text("{\"delta\":{\"content\":\"\",\"reasoning_content\":\"hm\"}}"));
    assert_true(has_text("{\"function\":{\"arguments\":\"{\"}}"));
}

static void empty_text_and_quoted_names_are_no_text(void **state)
{
    (void)state;
    assert_false(has_text("{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}"));
    assert_false(has_text("{\"delta\":{\"content\":null}}"));
    assert_false(has_text("{\"id\":\"\\\"content\\\":\\\"x\\\"\"}"));
    assert_false(has_text("{\"content"));
    assert_false(has_text(""));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_whole_stream_is_measured_from_both_times),
        CASE(any_stream_will_do_where_it_may),
        CASE(any_other_answer_will_do_where_it_may),
        CASE(a_redirect_is_told_and_not_followed),
        CASE(the_status_that_was_expected_is_a_success),
        CASE(another_status_than_the_expected_is_a_failure),
        CASE(a_request_is_broken_off_at_its_first_text),
        CASE(what_was_whole_before_it_could_be_broken_off_is_a_success),
        CASE(without_usage_events_with_text_are_counted),
        CASE(a_stream_without_its_end_is_a_failure),
        CASE(an_error_inside_a_stream_is_a_failure),
        CASE(a_status_is_a_failure_with_the_servers_words),
        CASE(an_answer_that_is_no_stream_is_a_failure),
        CASE(an_embedding_needs_no_stream),
        CASE(lines_are_measured_like_events),
        CASE(lines_without_the_last_are_a_failure),
        CASE(an_error_line_is_a_failure),
        CASE(a_job_ends_with_its_picture),
        CASE(a_job_that_failed_is_a_failure),
        CASE(a_job_that_is_refused_is_a_failure_with_the_servers_words),
        CASE(answers_to_a_job_that_make_no_sense_are_failures),
        CASE(a_connection_that_breaks_is_a_failure),
        CASE(rubbish_is_not_understood),
        CASE(silence_ends_with_the_timeout),
        cmocka_unit_test(each_allocation_of_a_first_connection_may_fail),
        cmocka_unit_test(text_is_found_whatever_the_spacing),
        cmocka_unit_test(empty_text_and_quoted_names_are_no_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

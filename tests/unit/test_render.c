/* render - streams become JSON and JSON becomes streams; what would be lost is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "gateway/key.h"
#include "gateway/render.h"

#define DONE "data: [DONE]\n\n"
#define CHUNK(rest)                                                                           \
    "data: "                                                                                  \
    "{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\"," rest \
    "}\n\n"
#define DELTA(delta) \
    CHUNK("\"choices\":[{\"index\":0,\"delta\":{" delta "},\"finish_reason\":null}]")
#define STOP CHUNK("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]")

static struct ps_key meaning_of(struct ps_str json)
{
    struct ps_keyer *keyer = NULL;
    struct ps_key_job *job = NULL;
    struct ps_key_scope scope = {.any_tenant = true};
    struct ps_key key = {{0}};
    assert_int_equal(ps_keyer_new(&keyer, 0), PS_OK);
    assert_int_equal(ps_key_job_new(&job, keyer, &scope, PS_KEY_JSON, NULL), PS_OK);
    int err = ps_key_job_feed(job, json);
    err = err != PS_OK ? err : ps_key_job_end(job, &key);
    if (err != PS_OK) {
        fail_msg("%s: %.*s", ps_key_job_reason(job), PS_STR_ARG(json));
    }
    ps_key_job_free(job);
    ps_keyer_free(keyer);
    return key;
}

static void assert_means(struct ps_str json, const char *expected)
{
    struct ps_key left = meaning_of(json);
    struct ps_key right = meaning_of(ps_str_from(expected));
    if (!ps_key_eq(&left, &right)) {
        fail_msg("%.*s\nis not\n%s", PS_STR_ARG(json), expected);
    }
}

static void assert_json(const char *events, const char *expected)
{
    struct ps_buf out = ps_buf_make(1 << 20);
    assert_int_equal(ps_render_json(ps_str_from(events), &out), PS_OK);
    assert_means(ps_buf_str(&out), expected);
    ps_buf_fini(&out);
}

static void assert_refused(const char *events)
{
    struct ps_buf out = ps_buf_make(1 << 20);
    assert_int_equal(ps_buf_append_str(&out, PS_STR("kept")), PS_OK);
    int err = ps_render_json(ps_str_from(events), &out);
    if (err != PS_EPARSE) {
        fail_msg("%d: %s", err, events);
    }
    assert_int_equal(out.len, 4);
    ps_buf_fini(&out);
}

/* JSON, events, JSON: nothing is lost. */
static void assert_survives(const char *json)
{
    struct ps_buf events = ps_buf_make(1 << 20);
    struct ps_buf back = ps_buf_make(1 << 20);
    if (ps_render_events(ps_str_from(json), true, &events) != PS_OK) {
        fail_msg("%s", json);
    }
    if (ps_render_json(ps_buf_str(&events), &back) != PS_OK) {
        fail_msg("%.*s", (int)events.len, events.data);
    }
    assert_means(ps_buf_str(&back), json);
    ps_buf_fini(&events);
    ps_buf_fini(&back);
}

/* ---------------------------------------------------------------- events to JSON */

static void text_is_joined(void **state)
{
    (void)state;
    assert_json(
        ": hello\n\n" DELTA("\"role\":\"assistant\",\"content\":\"\"") DELTA("\"content\":\"Hel\"")
            DELTA("\"content\":\"lo\\n\"") STOP DONE,
        "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":[{"
        "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello\\n\"},"
        "\"finish_reason\":\"stop\"}]}");
}

static void usage_is_the_last_one(void **state)
{
    (void)state;
    assert_json(
        CHUNK("\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":"
              "\"length\"}],"
              "\"usage\":{\"total_tokens\":1}")
            CHUNK("\"choices\":[],\"usage\":{\"total_tokens\":2}") DONE,
        "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":[{"
        "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\"},"
        "\"finish_reason\":\"length\"}],\"usage\":{\"total_tokens\":2}}");
}

static void choices_are_kept_apart(void **state)
{
    (void)state;
    assert_json(
        CHUNK("\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}},"
              "{\"index\":0,\"delta\":{\"content\":\"a\"}}]")
            CHUNK("\"choices\":[{\"index\":1,\"delta\":{\"content\":\"y\"},\"finish_reason\":"
                  "\"stop\"}]")
                CHUNK("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]") DONE,
        "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":["
        "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"finish_reason\":"
        "\"length\"},"
        "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"xy\"},\"finish_reason\":"
        "\"stop\"}]}");
}

static void tool_calls_are_put_together(void **state)
{
    (void)state;
    assert_json(
        DELTA("\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":\"t0\","
              "\"type\":"
              "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]")
            DELTA("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\":\"}}]")
                DELTA("\"tool_calls\":[{\"index\":1,\"id\":\"t1\",\"type\":\"function\","
                      "\"function\":{"
                      "\"name\":\"g\",\"arguments\":\"{}\"}},{\"index\":0,\"function\":{"
                      "\"arguments\":\"1}\"}}]")
                    CHUNK(
                        "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]")
                        DONE,
        "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":[{"
        "\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"t0\","
        "\"type\":\"function\","
        "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},{\"id\":\"t1\",\"type\":"
        "\"function\","
        "\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}]"
        "}");
}

static void an_old_function_call_is_put_together(void **state)
{
    (void)state;
    assert_json(
        DELTA("\"content\":null,\"function_call\":{\"name\":\"f\",\"arguments\":\"\"}")
            DELTA("\"function_call\":{\"arguments\":\"{}\"}") DELTA("\"function_call\":null")
                STOP DONE,
        "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":[{"
        "\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":null,\"function_call\":{\"name\":\"f\","
        "\"arguments\":\"{}\"}},\"finish_reason\":\"stop\"}]}");
}

static void reasoning_and_refusals_are_joined(void **state)
{
    (void)state;
    assert_json(
        DELTA("\"reasoning_content\":\"th\",\"refusal\":\"n\"")
            DELTA("\"reasoning_content\":\"ink\"")
                DELTA("\"content\":\"a\",\"reasoning_content\":null,\"refusal\":\"o\"") STOP DONE,
        "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":[{"
        "\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"think\","
        "\"refusal\":\"no\"},\"finish_reason\":\"stop\"}]}");
}

static void log_probabilities_are_strung_together(void **state)
{
    (void)state;
    assert_json(CHUNK("\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{"
                      "\"content\":[{\"token\":\"a\","
                      "\"logprob\":-0.10}],\"refusal\":null}}]")
                    CHUNK("\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"},\"logprobs\":{"
                          "\"content\":[{\"token\":\"b\","
                          "\"logprob\":-2e-05}],\"refusal\":null}}]")
                        CHUNK("\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_"
                              "reason\":\"stop\"}]") DONE,
                "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\","
                "\"choices\":[{\"index\":0,"
                "\"message\":{\"role\":\"assistant\",\"content\":\"ab\"},\"logprobs\":{\"content\":"
                "[{\"token\":\"a\","
                "\"logprob\":-0.1},{\"token\":\"b\",\"logprob\":-0.00002}],\"refusal\":null},"
                "\"finish_reason\":\"stop\"}]}");
}

static void what_is_not_in_the_schema_is_carried_over(void **state)
{
    (void)state;
    assert_json(CHUNK("\"system_fingerprint\":\"f\",\"simulated\":true,\"prompt_token_ids\":null,"
                      "\"choices\":[{\"index\":0,"
                      "\"delta\":{\"content\":\"a\",\"audio\":null},\"stop_reason\":null}]")
                    CHUNK("\"system_fingerprint\":\"f\",\"simulated\":true,\"choices\":[{\"index\":"
                          "0,\"delta\":{},"
                          "\"finish_reason\":\"stop\",\"stop_reason\":128001}],\"obfuscation\":"
                          "\"xxx\",\"timings\":{\"n\":1}") DONE,
                "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\","
                "\"system_fingerprint\":\"f\","
                "\"simulated\":true,\"prompt_token_ids\":null,\"timings\":{\"n\":1},\"choices\":[{"
                "\"index\":0,\"message\":{"
                "\"role\":\"assistant\",\"content\":\"a\",\"audio\":null},\"finish_reason\":"
                "\"stop\",\"stop_reason\":128001}]}");
}

static void completions_are_joined(void **state)
{
    (void)state;
    assert_json("data: "
                "{\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"a\","
                "\"logprobs\":{\"tokens\":[\"a\"],"
                "\"token_logprobs\":[-1]},\"finish_reason\":null}]}\n\n"
                "data: "
                "{\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"b\","
                "\"logprobs\":{\"tokens\":[\"b\"],"
                "\"token_logprobs\":[-2]},\"finish_reason\":\"stop\"}]}\n\n" DONE,
                "{\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"ab\","
                "\"logprobs\":{\"tokens\":"
                "[\"a\",\"b\"],\"token_logprobs\":[-1,-2]},\"finish_reason\":\"stop\"}]}");
}

static void values_are_copied_as_they_stand(void **state)
{
    (void)state;
    struct ps_buf out = ps_buf_make(1 << 20);
    const char *events =
        "data: "
        "{\"object\":\"chat.completion.chunk\",\"x\":1.50e+2,\"choices\":[{\"index\":0,\"delta\":"
        "{\"content\":\"\\u00e9\\ud83d\"}}]}\r\n\r\ndata: {\"object\":\"chat.completion.chunk\","
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ude00\"},\"finish_reason\":\"stop\"}]"
        "}\r\n\r\n"
        "data: [DONE]\r\n\r\n";
    assert_int_equal(ps_render_json(ps_str_from(events), &out), PS_OK);
    assert_true(ps_str_contains(ps_buf_str(&out), PS_STR("\"x\":1.50e+2")));
    assert_true(ps_str_contains(ps_buf_str(&out), PS_STR("\"content\":\"\\u00e9\\ud83d\\ude00\"")));
    ps_buf_fini(&out);
}

static void what_would_be_lost_is_refused(void **state)
{
    (void)state;
    static const char *const streams[] = {
        "",
        DONE,
        DELTA("\"content\":\"a\"") STOP,                /* no end */
        DELTA("\"content\":\"a\"") DONE,                /* no finish_reason */
        DELTA("\"content\":\"a\"") STOP DONE STOP,      /* more behind the end */
        DELTA("\"content\":\"a\"") STOP DONE "data: {", /* half an event behind the end */
        DELTA("\"content\":1") STOP DONE,
        DELTA("\"content\":[\"a\"]") STOP DONE,
        DELTA("\"thinking\":\"a\"") DELTA("\"thinking\":\"a\"") STOP DONE, /* join it or not? */
        DELTA("\"role\":\"assistant\"") DELTA("\"role\":\"tool\"") STOP DONE,
        DELTA("\"content\":\"a\",\"content\":\"b\"") STOP DONE,
        DELTA("\"cont\\u0065nt\":\"a\"") STOP DONE,
        DELTA("\"tool_calls\":[{\"id\":\"a\"}]") STOP DONE, /* no index */
        DELTA("\"tool_calls\":{}") STOP DONE,
        CHUNK("\"x\":1,\"choices\":[]") CHUNK("\"x\":2,\"choices\":[]") STOP DONE,
        CHUNK("\"error\":{\"message\":\"m\"}") STOP DONE,
        "data: {\"error\":{\"message\":\"m\"}}\n\n" STOP DONE,
        "event: error\n" STOP DONE,
        CHUNK("\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]") DONE,
        CHUNK("\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":\"stop\"}]") DONE,
        CHUNK("\"choices\":{}") DONE,
        "data: {\"object\":\"text_completion\",\"choices\":[]}\n\n" STOP DONE,
        "data: {\"object\":\"response\",\"choices\":[]}\n\n" DONE,
        "data: 1\n\n" DONE,
        "data: {\n\n" DONE,
        "data: {\"object\":\ndata: \"chat.completion.chunk\"}\n\n" DONE,
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(streams); i++) {
        assert_refused(streams[i]);
    }
}

static void choices_and_members_are_bounded(void **state)
{
    (void)state;
    struct ps_buf events = ps_buf_make(1 << 20);
    struct ps_buf out = ps_buf_make(1 << 20);
    for (int over = 0; over < 2; over++) {
        ps_buf_clear(&events);
        for (int i = 0; i < PS_RENDER_CHOICES_MAX + over; i++) {
            assert_int_equal(
                ps_buf_printf(
                    &events,
                    "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":%d,"
                    "\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
                    i),
                PS_OK);
        }
        assert_int_equal(ps_buf_append_str(&events, PS_STR(DONE)), PS_OK);
        assert_int_equal(ps_render_json(ps_buf_str(&events), &out), over ? PS_EPARSE : PS_OK);
    }
    ps_buf_fini(&out);
    out = ps_buf_make(16);
    assert_int_equal(ps_render_json(PS_STR(STOP DONE), &out), PS_ELIMIT);
    assert_int_equal(out.len, 0);
    ps_buf_fini(&events);
    ps_buf_fini(&out);
}

/* ---------------------------------------------------------------- JSON to events */

static const char *const answers[] = {
    "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"system_"
    "fingerprint\":null,\"choices\":[{"
    "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi\\u0021\",\"refusal\":null,"
    "\"annotations\":[]},"
    "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_"
    "tokens\":2,"
    "\"total_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":0}},\"service_tier\":"
    "\"default\"}",
    "{\"object\":\"chat.completion\",\"x_foreign\":{\"a\":[1]},\"choices\":[{\"index\":1,"
    "\"message\":{\"role\":\"assistant\","
    "\"content\":null,\"tool_calls\":[{\"id\":\"t\",\"type\":\"function\",\"function\":{\"name\":"
    "\"f\",\"arguments\":\"{}\"}},"
    "{\"id\":\"u\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]},"
    "\"finish_reason\":\"tool_calls\","
    "\"stop_reason\":7},{\"index\":2,\"message\":{\"role\":\"assistant\",\"content\":\"\","
    "\"reasoning_content\":\"r\","
    "\"tool_calls\":[],\"function_call\":null},\"finish_reason\":\"stop\"}]}",
    "{\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"t\",\"logprobs\":{"
    "\"tokens\":[\"t\"],\"top_logprobs\":"
    "[{\"t\":-1}]},\"finish_reason\":\"length\"}],\"usage\":{\"total_tokens\":1}}",
    "{\n  \"object\": \"chat.completion\",\r\n  \"choices\": [\n\n    { \"index\": 0,\n "
    "\"message\": { \"role\": \"assistant\","
    "\n \"content\": \"a\" , \"meta\": {\n\n\"x\": 1 } },\n \"finish_reason\": \"stop\" } ]\n}\n",
};

static void nothing_is_lost_on_the_way_there_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(answers); i++) {
        assert_survives(answers[i]);
    }
}

static void usage_is_sent_when_asked_for(void **state)
{
    (void)state;
    struct ps_buf with = ps_buf_make(1 << 20);
    struct ps_buf without = ps_buf_make(1 << 20);
    assert_int_equal(ps_render_events(ps_str_from(answers[0]), true, &with), PS_OK);
    assert_int_equal(ps_render_events(ps_str_from(answers[0]), false, &without), PS_OK);
    assert_true(ps_str_contains(ps_buf_str(&with),
                                PS_STR("\"choices\":[],\"usage\":{\"prompt_tokens\":1")));
    assert_true(ps_str_contains(ps_buf_str(&with), PS_STR("}],\"usage\":null}\n\n")));
    assert_false(ps_str_contains(ps_buf_str(&without), PS_STR("usage")));
    assert_true(ps_str_ends_with(ps_buf_str(&without), PS_STR(DONE)));
    ps_buf_fini(&with);
    ps_buf_fini(&without);
}

static void odd_answers_are_refused(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "",
        "[]",
        "{}",
        "{\"object\":\"list\",\"choices\":[]}",
        "{\"object\":\"chat.completion\",\"choices\":[]}",
        "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"a\"}}"
        "]}",
        "{\"object\":\"chat.completion\",\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_"
        "reason\":\"stop\"}]}",
        "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"content\":[]},"
        "\"finish_reason\":\"stop\"}]}",
        "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{},\"text\":\"\","
        "\"finish_reason\":\"stop\"}]}",
        "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"a\","
        "\"content\":\"b\"},"
        "\"finish_reason\":\"stop\"}]}",
        "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{},\"finish_"
        "reason\":\"stop\"},"
        "{\"index\":0,\"message\":{},\"finish_reason\":\"stop\"}]}",
        "{\"object\":\"chat.completion\",\"error\":{},\"choices\":[{\"index\":0,\"message\":{},"
        "\"finish_reason\":\"stop\"}]}",
        "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"tool_calls\":[{"
        "\"index\":3}]},"
        "\"finish_reason\":\"stop\"}]}",
        "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"content\":"
        "\"a\nb\"},\"finish_reason\":\"stop\"}]}",
    };
    struct ps_buf out = ps_buf_make(1 << 20);
    for (size_t i = 0; i < PS_ARRAY_LEN(odd); i++) {
        if (ps_render_events(ps_str_from(odd[i]), true, &out) != PS_EPARSE) {
            fail_msg("%s", odd[i]);
        }
        assert_int_equal(out.len, 0);
    }
    ps_buf_fini(&out);
}

/* ---------------------------------------------------------------- without usage */

static void only_the_usage_event_is_taken_out(void **state)
{
    (void)state;
    struct ps_buf out = ps_buf_make(1 << 20);
    assert_int_equal(
        ps_render_without_usage(PS_STR(": hi\n\n" DELTA("\"content\":\"a\"") STOP CHUNK(
                                    "\"choices\":[],\"usage\":{\"prompt_tokens\":2}") DONE),
                                &out),
        PS_OK);
    assert_true(
        ps_str_eq(ps_buf_str(&out), PS_STR(": hi\n\n" DELTA("\"content\":\"a\"") STOP DONE)));
    ps_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_joined),
        cmocka_unit_test(usage_is_the_last_one),
        cmocka_unit_test(choices_are_kept_apart),
        cmocka_unit_test(tool_calls_are_put_together),
        cmocka_unit_test(an_old_function_call_is_put_together),
        cmocka_unit_test(reasoning_and_refusals_are_joined),
        cmocka_unit_test(log_probabilities_are_strung_together),
        cmocka_unit_test(what_is_not_in_the_schema_is_carried_over),
        cmocka_unit_test(completions_are_joined),
        cmocka_unit_test(values_are_copied_as_they_stand),
        cmocka_unit_test(what_would_be_lost_is_refused),
        cmocka_unit_test(choices_and_members_are_bounded),
        cmocka_unit_test(nothing_is_lost_on_the_way_there_and_back),
        cmocka_unit_test(usage_is_sent_when_asked_for),
        cmocka_unit_test(odd_answers_are_refused),
        cmocka_unit_test(only_the_usage_event_is_taken_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

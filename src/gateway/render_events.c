/* From one JSON object to events, and events without what a client did not ask for. */
#include "base/check.h"
#include "base/writer.h"
#include "gateway/json_view.h"
#include "gateway/render.h"
#include "gateway/usage.h"
#include "http/sse.h"

/* What an answer is made of: views into its text. */
struct answer {
    struct ps_str text;
    struct ps_str choices, usage;
    bool chat;
    bool include_usage;
    bool begun; /* an event was written */
};

static int put(struct ps_buf *out, const char *text)
{
    return ps_buf_append_str(out, ps_str_from(text));
}

static int put_pair(struct ps_buf *out, struct ps_str name, struct ps_str value, bool *comma)
{
    int err = put(out, *comma ? ",\"" : "\"");
    *comma = true;
    err = PS_THEN(err, ps_buf_append_str(out, name));
    err = PS_THEN(err, put(out, "\":"));
    return PS_THEN(err, ps_buf_append_str(out, value));
}

static bool is_one_of(struct ps_str name, const struct ps_str *names)
{
    while (names->ptr != NULL && !ps_str_eq(*names, name)) {
        names++;
    }
    return names->ptr != NULL;
}

/* ---------------------------------------------------------------- reading */

static bool names_are_plain(struct ps_str object)
{
    struct ps_str rest = ps_json_view_inside(object);
    struct ps_str name;
    struct ps_str value;
    bool plain = ps_json_view_type(object) == '{';
    while (plain && ps_json_view_next_member(&rest, &name, &value)) {
        struct ps_str behind = rest;
        struct ps_str other;
        plain = ps_str_find(name, '\\') == name.len;
        for (size_t i = 0; plain && ps_json_view_next_member(&behind, &other, &value); i++) {
            plain = !ps_str_eq(name, other) && i < PS_RENDER_MEMBERS_MAX;
        }
    }
    return plain;
}

static int read_top(struct answer *answer, struct ps_str name, struct ps_str value)
{
    if (ps_str_eq(name, PS_STR("object"))) {
        answer->chat = ps_str_eq(value, PS_STR("\"chat.completion\""));
        return answer->chat || ps_str_eq(value, PS_STR("\"text_completion\"")) ? PS_OK : PS_EPARSE;
    }
    if (ps_str_eq(name, PS_STR("choices"))) {
        answer->choices = value;
    } else if (ps_str_eq(name, PS_STR("usage")) && ps_json_view_type(value) != 'n') {
        answer->usage = value;
    } else if (ps_str_eq(name, PS_STR("error")) && ps_json_view_type(value) != 'n') {
        return PS_EPARSE;
    }
    return PS_OK;
}

static int read_answer(struct answer *answer, struct ps_str json)
{
    int err = ps_json_view_is_valid(json);
    answer->text = ps_json_view_trim(json);
    if (err != PS_OK || !names_are_plain(answer->text)) {
        return err != PS_OK ? err : PS_EPARSE;
    }
    struct ps_str rest = ps_json_view_inside(answer->text);
    struct ps_str name;
    struct ps_str value;
    bool has_object = false;
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        has_object = has_object || ps_str_eq(name, PS_STR("object"));
        err = read_top(answer, name, value);
    }
    if (err == PS_OK && (!has_object || ps_json_view_type(answer->choices) != '[')) {
        err = PS_EPARSE;
    }
    return err;
}

/* ---------------------------------------------------------------- writing */

/* The beginning of every event. What is in no schema is said once. */
static int begin_event(struct ps_buf *out, struct answer *answer)
{
    static const struct ps_str everywhere[] = {
        PS_STR_INIT("id"),           PS_STR_INIT("created"),
        PS_STR_INIT("model"),        PS_STR_INIT("system_fingerprint"),
        PS_STR_INIT("service_tier"), {NULL, 0}};
    static const struct ps_str apart[] = {
        PS_STR_INIT("object"), PS_STR_INIT("choices"), PS_STR_INIT("usage"), {NULL, 0}};
    struct ps_str rest = ps_json_view_inside(answer->text);
    struct ps_str name;
    struct ps_str value;
    bool comma = true;
    int err = put(out, answer->chat ? "data: {\"object\":\"chat.completion.chunk\""
                                    : "data: {\"object\":\"text_completion\"");
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        bool wanted = is_one_of(name, everywhere) || (!answer->begun && !is_one_of(name, apart));
        err = wanted ? put_pair(out, name, value, &comma) : PS_OK;
    }
    answer->begun = true;
    return err;
}

static int end_event(struct ps_buf *out, const struct answer *answer)
{
    return put(out, answer->include_usage ? "}],\"usage\":null}\n\n" : "}]}\n\n");
}

/* In a stream each tool call says its place. */
static int put_calls(struct ps_buf *out, struct ps_str calls, bool *comma)
{
    struct ps_str rest = ps_json_view_inside(calls);
    struct ps_str item;
    int err = put_pair(out, PS_STR("tool_calls"), PS_STR("["), comma);
    for (size_t i = 0; err == PS_OK && ps_json_view_next_item(&rest, &item); i++) {
        struct ps_str inside = ps_json_view_trim(ps_json_view_inside(item));
        struct ps_str members = inside;
        struct ps_str name;
        struct ps_str value;
        bool sound = names_are_plain(item) && i < PS_RENDER_CHOICES_MAX;
        while (sound && ps_json_view_next_member(&members, &name, &value)) {
            sound = !ps_str_eq(name, PS_STR("index"));
        }
        err = sound ? put(out, i == 0 ? "{\"index\":" : ",{\"index\":") : PS_EPARSE;
        err = PS_THEN(err, ps_buf_append_u64(out, i));
        err = PS_THEN(err, put(out, inside.len > 0 ? "," : ""));
        err = PS_THEN(err, ps_buf_append_str(out, inside));
        err = PS_THEN(err, put(out, "}"));
    }
    return PS_THEN(err, put(out, "]"));
}

/* Texts that a stream joins must be texts. */
static bool fits_a_delta(struct ps_str name, struct ps_str value)
{
    static const struct ps_str texts[] = {PS_STR_INIT("content"),
                                          PS_STR_INIT("reasoning_content"),
                                          PS_STR_INIT("reasoning"),
                                          PS_STR_INIT("refusal"),
                                          {NULL, 0}};
    char type = ps_json_view_type(value);
    return !is_one_of(name, texts) || type == '"' || type == 'n';
}

static int put_delta(struct ps_buf *out, struct ps_str message)
{
    struct ps_str rest = ps_json_view_inside(message);
    struct ps_str name;
    struct ps_str value;
    bool comma = false;
    int err = names_are_plain(message) ? put(out, ",\"delta\":{") : PS_EPARSE;
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        if (ps_str_eq(name, PS_STR("tool_calls")) && ps_json_view_type(value) == '[') {
            err = put_calls(out, value, &comma);
        } else {
            err = fits_a_delta(name, value) ? put_pair(out, name, value, &comma) : PS_EPARSE;
        }
    }
    return PS_THEN(err, put(out, "}"));
}

/* The members of a choice. */
struct choice {
    struct ps_str text, index, content, logprobs, finish;
    uint64_t place; /* index, as a number */
};

static int read_choice(const struct answer *answer, struct ps_str source, struct choice *out)
{
    struct ps_str rest = ps_json_view_inside(source);
    struct ps_str name;
    struct ps_str value;
    *out = (struct choice){.text = source};
    if (!names_are_plain(source)) {
        return PS_EPARSE;
    }
    while (ps_json_view_next_member(&rest, &name, &value)) {
        if (ps_str_eq(name, PS_STR("index"))) {
            out->index = value;
        } else if (ps_str_eq(name, answer->chat ? PS_STR("message") : PS_STR("text"))) {
            out->content = value;
        } else if (ps_str_eq(name, PS_STR("logprobs"))) {
            out->logprobs = value;
        } else if (ps_str_eq(name, PS_STR("finish_reason"))) {
            out->finish = value;
        }
    }
    bool sound = ps_str_to_u64(out->index, &out->place) == PS_OK &&
                 out->place < PS_RENDER_CHOICES_MAX &&
                 ps_json_view_type(out->content) == (answer->chat ? '{' : '"') &&
                 ps_json_view_type(out->finish) == '"';
    return sound ? PS_OK : PS_EPARSE;
}

static int begin_choice(struct ps_buf *out, struct answer *answer, const struct choice *choice)
{
    int err = begin_event(out, answer);
    err = PS_THEN(err, put(out, ",\"choices\":[{\"index\":"));
    return PS_THEN(err, ps_buf_append_str(out, choice->index));
}

static int put_content(struct ps_buf *out, struct answer *answer, const struct choice *choice)
{
    bool comma = true;
    int err = begin_choice(out, answer, choice);
    err = PS_THEN(err, answer->chat ? put_delta(out, choice->content)
                                    : put_pair(out, PS_STR("text"), choice->content, &comma));
    if (choice->logprobs.len > 0) {
        err = PS_THEN(err, put_pair(out, PS_STR("logprobs"), choice->logprobs, &comma));
    }
    err = PS_THEN(err, put_pair(out, PS_STR("finish_reason"), PS_STR("null"), &comma));
    return PS_THEN(err, end_event(out, answer));
}

static int put_end(struct ps_buf *out, struct answer *answer, const struct choice *choice)
{
    static const struct ps_str said[] = {PS_STR_INIT("index"),
                                         PS_STR_INIT("message"),
                                         PS_STR_INIT("text"),
                                         PS_STR_INIT("logprobs"),
                                         {NULL, 0}};
    struct ps_str rest = ps_json_view_inside(choice->text);
    struct ps_str name;
    struct ps_str value;
    bool comma = true;
    int err = begin_choice(out, answer, choice);
    err = PS_THEN(err, put(out, answer->chat ? ",\"delta\":{}" : ",\"text\":\"\""));
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        bool foreign = ps_str_eq(name, answer->chat ? PS_STR("text") : PS_STR("message")) ||
                       ps_str_eq(name, PS_STR("delta"));
        err = foreign                 ? PS_EPARSE
              : is_one_of(name, said) ? PS_OK
                                      : put_pair(out, name, value, &comma);
    }
    return PS_THEN(err, end_event(out, answer));
}

static int put_choices(struct ps_buf *out, struct answer *answer)
{
    struct ps_str rest = ps_json_view_inside(answer->choices);
    struct ps_str item;
    bool seen[PS_RENDER_CHOICES_MAX] = {false};
    size_t count = 0;
    int err = PS_OK;
    for (; err == PS_OK && ps_json_view_next_item(&rest, &item); count++) {
        struct choice choice;
        err = read_choice(answer, item, &choice);
        if (err == PS_OK && seen[choice.place]) {
            return PS_EPARSE; /* a reader of the stream would mix the two */
        }
        seen[err == PS_OK ? choice.place : 0] = true;
        err = PS_THEN(err, put_content(out, answer, &choice));
        err = PS_THEN(err, put_end(out, answer, &choice));
    }
    return err == PS_OK && count == 0 ? PS_EPARSE : err;
}

static int put_usage(struct ps_buf *out, struct answer *answer)
{
    if (!answer->include_usage || answer->usage.len == 0) {
        return PS_OK;
    }
    int err = begin_event(out, answer);
    err = PS_THEN(err, put(out, ",\"choices\":[],\"usage\":"));
    err = PS_THEN(err, ps_buf_append_str(out, answer->usage));
    return PS_THEN(err, put(out, "}\n\n"));
}

static int write_events(struct answer *answer, struct ps_str json, struct ps_buf *out)
{
    size_t before = out->len;
    int err = read_answer(answer, json);
    err = PS_THEN(err, put_choices(out, answer));
    err = PS_THEN(err, put_usage(out, answer));
    err = PS_THEN(err, put(out, "data: [DONE]\n\n"));
    out->len = err == PS_OK ? out->len : before;
    return err;
}

/* A line end is white space in JSON, but it would end the line of an event. */
static int flatten(struct ps_str json, struct ps_buf *out)
{
    int err = ps_buf_append_str(out, json);
    for (size_t i = 0; i < out->len; i++) {
        bool ends = out->data[i] == '\n' || out->data[i] == '\r';
        out->data[i] = ends ? ' ' : out->data[i];
    }
    return err;
}

int ps_render_events(struct ps_str json, bool include_usage, struct ps_buf *out)
{
    struct answer answer = {.include_usage = include_usage};
    if (ps_str_find(json, '\n') == json.len && ps_str_find(json, '\r') == json.len) {
        return write_events(&answer, json, out);
    }
    /* Valid before: a line end inside a string must not become a space unseen. */
    int err = ps_json_view_is_valid(json);
    struct ps_buf flat = ps_buf_make(json.len);
    err = PS_THEN(err, flatten(json, &flat));
    err = PS_THEN(err, write_events(&answer, ps_buf_str(&flat), out));
    ps_buf_fini(&flat);
    return err;
}

/* ---------------------------------------------------------------- without usage */

int ps_render_without_usage(struct ps_str events, struct ps_buf *out)
{
    struct ps_sse sse;
    struct ps_sse_event event;
    struct ps_str rest = events;
    size_t before = out->len;
    int err = PS_OK;
    ps_sse_init(&sse, events.len + 1);
    while (err == PS_OK) {
        enum ps_sse_result result = ps_sse_next(&sse, &rest, &event);
        if (result == PS_SSE_MORE) {
            break;
        }
        struct ps_usage usage = {.events = 0};
        bool dropped = result == PS_SSE_EVENT && event.has_data &&
                       ps_usage_read_event(&usage, PS_DIALECT_OPENAI, event.data).only_usage;
        err = dropped ? PS_OK : ps_buf_append_str(out, event.raw);
    }
    err = PS_THEN(err, ps_buf_append_str(out, ps_sse_rest(&sse)));
    ps_sse_fini(&sse);
    out->len = err == PS_OK ? out->len : before;
    return err;
}

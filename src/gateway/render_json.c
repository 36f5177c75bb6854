/* From events to one JSON object: writes what the events amount to (render_merge.h). */
#include "gateway/render.h"

#include <stdlib.h>

#include "base/writer.h"
#include "gateway/render_merge.h"

static int put(struct ps_buf *out, const char *text)
{
    return ps_buf_append_str(out, ps_str_from(text));
}

static int put_name(struct ps_buf *out, struct ps_str name, bool *comma)
{
    int err = put(out, *comma ? ",\"" : "\"");
    *comma = true;
    err = PS_THEN(err, ps_buf_append_str(out, name));
    return PS_THEN(err, put(out, "\":"));
}

static int put_joined(struct ps_buf *out, const struct ps_merge_member *member, const char *open,
                      const char *close)
{
    int err = put(out, open);
    err = PS_THEN(err, ps_buf_append_str(out, ps_buf_str(&member->joined)));
    return PS_THEN(err, put(out, close));
}

static int put_member(struct ps_buf *out, const struct ps_merge_member *member, bool *comma)
{
    if (member->rule == PS_MERGE_DROP) {
        return PS_OK;
    }
    int err = put_name(out, member->name, comma);
    if (!member->has_value) {
        return PS_THEN(err, put(out, "null"));
    }
    if (member->rule == PS_MERGE_TEXT) {
        return PS_THEN(err, put_joined(out, member, "\"", "\""));
    }
    if (member->rule == PS_MERGE_ARRAY) {
        return PS_THEN(err, put_joined(out, member, "[", "]"));
    }
    return PS_THEN(err, ps_buf_append_str(out, member->value));
}

static int put_members(struct ps_buf *out, const struct ps_merge_object *object, bool *comma)
{
    int err = PS_OK;
    for (size_t i = 0; i < object->count && err == PS_OK; i++) {
        err = put_member(out, &object->members[i], comma);
    }
    return err;
}

static int put_object(struct ps_buf *out, struct ps_str name, const struct ps_merge_object *object,
                      enum ps_merge_seen seen, bool *comma)
{
    if (seen == PS_MERGE_ABSENT) {
        return PS_OK;
    }
    bool inner = false;
    int err = put_name(out, name, comma);
    if (seen == PS_MERGE_ONLY_NULL) {
        return PS_THEN(err, put(out, "null"));
    }
    err = PS_THEN(err, put(out, "{"));
    err = PS_THEN(err, put_members(out, object, &inner));
    return PS_THEN(err, put(out, "}"));
}

static int put_call(struct ps_buf *out, const struct ps_merge_call *call, bool first)
{
    bool comma = false;
    int err = put(out, first ? "{" : ",{");
    err = PS_THEN(err, put_members(out, &call->own, &comma));
    enum ps_merge_seen function = call->function.count > 0 ? PS_MERGE_GIVEN : PS_MERGE_ABSENT;
    err = PS_THEN(err, put_object(out, PS_STR("function"), &call->function, function, &comma));
    return PS_THEN(err, put(out, "}"));
}

static int compare_calls(const void *a, const void *b)
{
    uint64_t left = ((const struct ps_merge_call *)a)->index;
    uint64_t right = ((const struct ps_merge_call *)b)->index;
    return (left > right) - (left < right);
}

static int put_calls(struct ps_buf *out, const struct ps_merge_choice *choice, bool *comma)
{
    if (choice->calls_seen == PS_MERGE_ABSENT) {
        return PS_OK;
    }
    int err = put_name(out, PS_STR("tool_calls"), comma);
    if (choice->calls_seen == PS_MERGE_ONLY_NULL) {
        return PS_THEN(err, put(out, "null"));
    }
    if (choice->calls_count > 1) {
        qsort(choice->calls, choice->calls_count, sizeof(struct ps_merge_call), compare_calls);
    }
    err = PS_THEN(err, put(out, "["));
    for (size_t i = 0; i < choice->calls_count; i++) {
        err = PS_THEN(err, put_call(out, &choice->calls[i], i == 0));
    }
    return PS_THEN(err, put(out, "]"));
}

/* Role and content are always there. */
static int put_message(struct ps_buf *out, const struct ps_merge_choice *choice, bool *comma)
{
    const struct ps_merge_member *role = ps_merge_find(&choice->delta, PS_STR("role"));
    bool inner = false;
    int err = put_name(out, PS_STR("message"), comma);
    err = PS_THEN(err, put(out, "{"));
    if (role == NULL) {
        err = PS_THEN(err, put(out, "\"role\":\"assistant\""));
        inner = true;
    }
    err = PS_THEN(err, put_members(out, &choice->delta, &inner));
    if (ps_merge_find(&choice->delta, PS_STR("content")) == NULL) {
        err = PS_THEN(err, put_name(out, PS_STR("content"), &inner));
        err = PS_THEN(err, put(out, "null"));
    }
    err = PS_THEN(err, put_calls(out, choice, &inner));
    err = PS_THEN(err, put_object(out, PS_STR("function_call"), &choice->function,
                                  choice->function_seen, &inner));
    return PS_THEN(err, put(out, "}"));
}

static int put_choice(struct ps_buf *out, const struct ps_merge *merge,
                      const struct ps_merge_choice *choice, bool first)
{
    const struct ps_merge_member *finish = ps_merge_find(&choice->own, PS_STR("finish_reason"));
    bool comma = true;
    if (finish == NULL || !finish->has_value) {
        return PS_EPARSE; /* it was cut */
    }
    int err = put(out, first ? "{\"index\":" : ",{\"index\":");
    err = PS_THEN(err, ps_buf_append_u64(out, choice->index));
    if (merge->chat) {
        err = PS_THEN(err, put_message(out, choice, &comma));
    }
    err = PS_THEN(
        err, put_object(out, PS_STR("logprobs"), &choice->logprobs, choice->logprobs_seen, &comma));
    err = PS_THEN(err, put_members(out, &choice->own, &comma));
    return PS_THEN(err, put(out, "}"));
}

static int compare_choices(const void *a, const void *b)
{
    uint64_t left = ((const struct ps_merge_choice *)a)->index;
    uint64_t right = ((const struct ps_merge_choice *)b)->index;
    return (left > right) - (left < right);
}

static int put_choices(struct ps_buf *out, const struct ps_merge *merge, bool *comma)
{
    if (merge->choices_count == 0) {
        return PS_EPARSE;
    }
    qsort(merge->choices, merge->choices_count, sizeof(struct ps_merge_choice), compare_choices);
    int err = put_name(out, PS_STR("choices"), comma);
    err = PS_THEN(err, put(out, "["));
    for (size_t i = 0; i < merge->choices_count; i++) {
        err = PS_THEN(err, put_choice(out, merge, &merge->choices[i], i == 0));
    }
    return PS_THEN(err, put(out, "]"));
}

static int put_answer(struct ps_buf *out, const struct ps_merge *merge)
{
    const struct ps_merge_member *usage = ps_merge_find(&merge->top, PS_STR("usage"));
    bool comma = true;
    int err = put(out, merge->chat ? "{\"object\":\"chat.completion\""
                                   : "{\"object\":\"text_completion\"");
    for (size_t i = 0; i < merge->top.count; i++) {
        const struct ps_merge_member *member = &merge->top.members[i];
        if (member != usage) {
            err = PS_THEN(err, put_member(out, member, &comma));
        }
    }
    err = PS_THEN(err, put_choices(out, merge, &comma));
    if (usage != NULL && usage->has_value) {
        err = PS_THEN(err, put_member(out, usage, &comma));
    }
    return PS_THEN(err, put(out, "}"));
}

int ps_render_json(struct ps_str events, struct ps_buf *out)
{
    struct ps_merge merge = {.done = false};
    size_t before = out->len;
    int err = ps_merge_events(&merge, events);
    err = PS_THEN(err, put_answer(out, &merge));
    ps_merge_fini(&merge);
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}

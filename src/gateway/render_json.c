/* From events to one JSON object: every object of the stream is merged member by member. */
#include "gateway/render.h"

#include <stdlib.h>

#include "base/check.h"
#include "gateway/json_view.h"
#include "http/sse.h"

/* How the values of one member, event after event, become one value. A null is no value. */
enum rule {
    RULE_ONCE,   /* all say the same */
    RULE_SINGLE, /* one event has it */
    RULE_FIRST,
    RULE_LAST,
    RULE_TEXT,  /* strings are joined */
    RULE_ARRAY, /* arrays are strung together */
    RULE_DROP
};

struct member {
    struct ps_str name;
    enum rule rule;
    struct ps_str value; /* the raw value, of rules without joining */
    struct ps_buf joined;
    bool has_value;
};

/* Members in order of their first appearance. */
struct object {
    struct member *members;
    size_t count;
};

struct call {
    uint64_t index;
    struct object own, function;
};

/* A member that is put together from several: was it ever there, and with a value? */
enum seen { ABSENT, ONLY_NULL, GIVEN };

struct choice {
    uint64_t index;
    struct object own, delta, logprobs, function; /* function: of the old function_call */
    struct call *calls;
    size_t calls_count;
    enum seen logprobs_seen, function_seen, calls_seen;
};

struct merge {
    struct object top;
    struct choice *choices;
    size_t choices_count;
    bool chat;
    bool done;
    bool begun;
};

struct name_rule {
    struct ps_str name;
    enum rule rule;
};

static const struct name_rule top_rules[] = {
    {PS_STR_INIT("created"), RULE_FIRST}, /* some servers give each event its own */
    {PS_STR_INIT("usage"), RULE_LAST},
    {PS_STR_INIT("obfuscation"), RULE_DROP}, /* random filling against listeners */
    {{NULL, 0}, RULE_ONCE},
};
static const struct name_rule choice_rules[] = {
    {PS_STR_INIT("text"), RULE_TEXT},
    {{NULL, 0}, RULE_ONCE},
};
static const struct name_rule delta_rules[] = {
    {PS_STR_INIT("role"), RULE_ONCE},
    {PS_STR_INIT("content"), RULE_TEXT},
    {PS_STR_INIT("reasoning_content"), RULE_TEXT},
    {PS_STR_INIT("reasoning"), RULE_TEXT},
    {PS_STR_INIT("refusal"), RULE_TEXT},
    {{NULL, 0}, RULE_SINGLE},
};
static const struct name_rule call_rules[] = {
    {{NULL, 0}, RULE_ONCE},
};
static const struct name_rule function_rules[] = {
    {PS_STR_INIT("name"), RULE_ONCE},
    {PS_STR_INIT("arguments"), RULE_TEXT},
    {{NULL, 0}, RULE_SINGLE},
};
static const struct name_rule logprobs_rules[] = {
    {{NULL, 0}, RULE_ARRAY},
};

/* ---------------------------------------------------------------- members */

static void object_fini(struct object *object)
{
    for (size_t i = 0; i < object->count; i++) {
        ps_buf_fini(&object->members[i].joined);
    }
    free(object->members);
}

static struct member *find_member(const struct object *object, struct ps_str name)
{
    for (size_t i = 0; i < object->count; i++) {
        if (ps_str_eq(object->members[i].name, name)) {
            return &object->members[i];
        }
    }
    return NULL;
}

static enum rule rule_of(const struct name_rule *rules, struct ps_str name)
{
    while (rules->name.ptr != NULL && !ps_str_eq(rules->name, name)) {
        rules++;
    }
    return rules->rule;
}

/* Makes room for one more of `size` bytes; returns where the items are then. */
static void *grow(void *items, size_t count, size_t max, size_t size, int *err)
{
    if (count == max) {
        *err = PS_EPARSE;
        return items;
    }
    if ((count & (count - 1)) != 0) {
        return items; /* room up to the next power of two */
    }
    void *grown = realloc(items, (count == 0 ? 1 : count * 2) * size);
    *err = grown == NULL ? PS_ENOMEM : PS_OK;
    return grown == NULL ? items : grown;
}

static int get_member(struct object *object, const struct name_rule *rules, struct ps_str name,
                      struct member **out)
{
    *out = find_member(object, name);
    if (*out != NULL) {
        return PS_OK;
    }
    int err = PS_OK;
    object->members =
        grow(object->members, object->count, PS_RENDER_MEMBERS_MAX, sizeof(struct member), &err);
    if (err == PS_OK) {
        *out = &object->members[object->count++];
        **out = (struct member){
            .name = name, .rule = rule_of(rules, name), .joined = ps_buf_make(SIZE_MAX)};
    }
    return err;
}

static int join_text(struct member *member, struct ps_str value)
{
    if (ps_json_view_type(value) != '"') {
        return PS_EPARSE;
    }
    return ps_buf_append_str(&member->joined, ps_json_view_inside(value));
}

static int join_array(struct member *member, struct ps_str value)
{
    struct ps_str inside = ps_json_view_trim(ps_json_view_inside(value));
    if (ps_json_view_type(value) != '[') {
        return PS_EPARSE;
    }
    int err = PS_OK;
    if (member->joined.len > 0 && inside.len > 0) {
        err = ps_buf_append_str(&member->joined, PS_STR(","));
    }
    return err != PS_OK ? err : ps_buf_append_str(&member->joined, inside);
}

static int merge_value(struct member *member, struct ps_str value)
{
    bool again = member->has_value;
    member->has_value = true;
    switch (member->rule) {
    case RULE_ONCE:
        if (again) {
            return ps_str_eq(member->value, value) ? PS_OK : PS_EPARSE;
        }
        break;
    case RULE_SINGLE:
        if (again) {
            return PS_EPARSE;
        }
        break;
    case RULE_FIRST:
        if (again) {
            return PS_OK;
        }
        break;
    case RULE_LAST:
    case RULE_DROP:
        break;
    case RULE_TEXT:
        return join_text(member, value);
    case RULE_ARRAY:
        return join_array(member, value);
    }
    member->value = value;
    return PS_OK;
}

/* An object's own members are unique, and their names plain. */
static int check_names(struct ps_str object)
{
    struct ps_str names[PS_RENDER_MEMBERS_MAX];
    size_t count = 0;
    struct ps_str rest = ps_json_view_inside(object);
    struct ps_str name;
    struct ps_str value;
    if (ps_json_view_type(object) != '{') {
        return PS_EPARSE;
    }
    while (ps_json_view_next_member(&rest, &name, &value)) {
        if (count == PS_RENDER_MEMBERS_MAX || ps_str_find(name, '\\') < name.len) {
            return PS_EPARSE;
        }
        for (size_t i = 0; i < count; i++) {
            if (ps_str_eq(names[i], name)) {
                return PS_EPARSE;
            }
        }
        names[count++] = name;
    }
    return PS_OK;
}

static int merge_member(struct object *object, const struct name_rule *rules, struct ps_str name,
                        struct ps_str value)
{
    struct member *member = NULL;
    int err = get_member(object, rules, name, &member);
    if (err != PS_OK || ps_json_view_type(value) == 'n') {
        return err;
    }
    return merge_value(member, value);
}

static int merge_object(struct object *object, const struct name_rule *rules, struct ps_str source)
{
    int err = check_names(source);
    struct ps_str rest = ps_json_view_inside(source);
    struct ps_str name;
    struct ps_str value;
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        err = merge_member(object, rules, name, value);
    }
    return err;
}

/* The member of an object, or an empty view. */
static struct ps_str value_of(struct ps_str object, struct ps_str wanted)
{
    struct ps_str rest = ps_json_view_inside(object);
    struct ps_str name;
    struct ps_str value;
    while (ps_json_view_next_member(&rest, &name, &value)) {
        if (ps_str_eq(name, wanted)) {
            return value;
        }
    }
    return PS_STR("");
}

/* ---------------------------------------------------------------- choices and tool calls */

static int get_call(struct choice *choice, uint64_t index, struct call **out)
{
    for (size_t i = 0; i < choice->calls_count; i++) {
        if (choice->calls[i].index == index) {
            *out = &choice->calls[i];
            return PS_OK;
        }
    }
    int err = PS_OK;
    choice->calls =
        grow(choice->calls, choice->calls_count, PS_RENDER_CHOICES_MAX, sizeof(struct call), &err);
    if (err == PS_OK) {
        *out = &choice->calls[choice->calls_count++];
        **out = (struct call){.index = index};
    }
    return err;
}

static int merge_call(struct choice *choice, struct ps_str source)
{
    uint64_t index = 0;
    struct call *call = NULL;
    int err = check_names(source);
    if (err == PS_OK && ps_str_to_u64(value_of(source, PS_STR("index")), &index) != PS_OK) {
        err = PS_EPARSE;
    }
    err = err != PS_OK ? err : get_call(choice, index, &call);
    struct ps_str rest = ps_json_view_inside(source);
    struct ps_str name;
    struct ps_str value;
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        if (ps_str_eq(name, PS_STR("function"))) {
            err = merge_object(&call->function, function_rules, value);
        } else if (!ps_str_eq(name, PS_STR("index"))) {
            err = merge_member(&call->own, call_rules, name, value);
        }
    }
    return err;
}

/* Is there a value? */
static bool note(enum seen *seen, struct ps_str value)
{
    bool given = ps_json_view_type(value) != 'n';
    *seen = given ? GIVEN : *seen == ABSENT ? ONLY_NULL : *seen;
    return given;
}

static int merge_calls(struct choice *choice, struct ps_str source)
{
    if (!note(&choice->calls_seen, source)) {
        return PS_OK;
    }
    int err = ps_json_view_type(source) == '[' ? PS_OK : PS_EPARSE;
    struct ps_str rest = ps_json_view_inside(source);
    struct ps_str item;
    while (err == PS_OK && ps_json_view_next_item(&rest, &item)) {
        err = merge_call(choice, item);
    }
    return err;
}

static int merge_function(struct choice *choice, struct ps_str source)
{
    return note(&choice->function_seen, source)
               ? merge_object(&choice->function, function_rules, source)
               : PS_OK;
}

static int merge_delta(struct choice *choice, struct ps_str source)
{
    int err = check_names(source);
    struct ps_str rest = ps_json_view_inside(source);
    struct ps_str name;
    struct ps_str value;
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        if (ps_str_eq(name, PS_STR("tool_calls"))) {
            err = merge_calls(choice, value);
        } else if (ps_str_eq(name, PS_STR("function_call"))) {
            err = merge_function(choice, value);
        } else {
            err = merge_member(&choice->delta, delta_rules, name, value);
        }
    }
    return err;
}

static int get_choice(struct merge *merge, uint64_t index, struct choice **out)
{
    for (size_t i = 0; i < merge->choices_count; i++) {
        if (merge->choices[i].index == index) {
            *out = &merge->choices[i];
            return PS_OK;
        }
    }
    int err = PS_OK;
    merge->choices = grow(merge->choices, merge->choices_count, PS_RENDER_CHOICES_MAX,
                          sizeof(struct choice), &err);
    if (err == PS_OK) {
        *out = &merge->choices[merge->choices_count++];
        **out = (struct choice){.index = index};
    }
    return err;
}

static int merge_choice_member(const struct merge *merge, struct choice *choice, struct ps_str name,
                               struct ps_str value)
{
    if (ps_str_eq(name, PS_STR("index"))) {
        return PS_OK;
    }
    if (ps_str_eq(name, PS_STR("delta"))) {
        return merge->chat ? merge_delta(choice, value) : PS_EPARSE;
    }
    if (ps_str_eq(name, PS_STR("text")) && merge->chat) {
        return PS_EPARSE;
    }
    if (ps_str_eq(name, PS_STR("logprobs"))) {
        return note(&choice->logprobs_seen, value)
                   ? merge_object(&choice->logprobs, logprobs_rules, value)
                   : PS_OK;
    }
    return merge_member(&choice->own, choice_rules, name, value);
}

static int merge_choice(struct merge *merge, struct ps_str source)
{
    uint64_t index = 0;
    struct choice *choice = NULL;
    int err = check_names(source);
    if (err == PS_OK && ps_str_to_u64(value_of(source, PS_STR("index")), &index) != PS_OK) {
        err = PS_EPARSE;
    }
    err = err != PS_OK ? err : get_choice(merge, index, &choice);
    struct ps_str rest = ps_json_view_inside(source);
    struct ps_str name;
    struct ps_str value;
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        err = merge_choice_member(merge, choice, name, value);
    }
    return err;
}

/* ---------------------------------------------------------------- events */

static int merge_choices(struct merge *merge, struct ps_str source)
{
    int err = ps_json_view_type(source) == '[' ? PS_OK : PS_EPARSE;
    struct ps_str rest = ps_json_view_inside(source);
    struct ps_str item;
    while (err == PS_OK && ps_json_view_next_item(&rest, &item)) {
        err = merge_choice(merge, item);
    }
    return err;
}

static int merge_kind(struct merge *merge, struct ps_str value)
{
    bool chat = ps_str_eq(value, PS_STR("\"chat.completion.chunk\""));
    if ((!chat && !ps_str_eq(value, PS_STR("\"text_completion\""))) ||
        (merge->begun && merge->chat != chat)) {
        return PS_EPARSE;
    }
    merge->chat = chat;
    merge->begun = true;
    return PS_OK;
}

static int merge_top(struct merge *merge, struct ps_str name, struct ps_str value)
{
    if (ps_str_eq(name, PS_STR("object"))) {
        return PS_OK; /* seen by merge_kind() */
    }
    if (ps_str_eq(name, PS_STR("choices"))) {
        return merge_choices(merge, value);
    }
    if (ps_str_eq(name, PS_STR("error")) && ps_json_view_type(value) != 'n') {
        return PS_EPARSE;
    }
    return merge_member(&merge->top, top_rules, name, value);
}

static int merge_event(struct merge *merge, const struct ps_sse_event *event)
{
    if (!event->has_data) {
        return PS_OK; /* a comment that keeps the connection alive */
    }
    if (merge->done || event->event.len > 0) {
        return PS_EPARSE;
    }
    struct ps_str data = ps_json_view_trim(event->data);
    merge->done = ps_str_eq(data, PS_STR("[DONE]"));
    if (merge->done) {
        return PS_OK;
    }
    int err = ps_json_view_is_valid(data);
    err = err != PS_OK ? err : check_names(data);
    err = err != PS_OK ? err : merge_kind(merge, value_of(data, PS_STR("object")));
    struct ps_str rest = ps_json_view_inside(data);
    struct ps_str name;
    struct ps_str value;
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        err = merge_top(merge, name, value);
    }
    return err;
}

/* Views of an event that was joined from several data lines die with the next event. */
static bool is_inside(struct ps_str data, struct ps_str events)
{
    return data.len == 0 || (data.ptr >= events.ptr && data.ptr < events.ptr + events.len);
}

static int merge_events(struct merge *merge, struct ps_str events)
{
    struct ps_sse sse;
    struct ps_sse_event event;
    struct ps_str rest = events;
    int err = PS_OK;
    ps_sse_init(&sse, events.len + 1);
    while (err == PS_OK) {
        enum ps_sse_result result = ps_sse_next(&sse, &rest, &event);
        if (result == PS_SSE_MORE) {
            break;
        }
        bool whole = result == PS_SSE_EVENT && is_inside(event.data, events);
        err = whole ? merge_event(merge, &event) : PS_EPARSE;
    }
    if (err == PS_OK && (ps_sse_rest(&sse).len > 0 || !merge->done || !merge->begun)) {
        err = PS_EPARSE;
    }
    ps_sse_fini(&sse);
    return err;
}

/* ---------------------------------------------------------------- writing */

/* A chain of appends: each happens only while all before it succeeded. */
#define THEN(err, call) ((err) == PS_OK ? (call) : (err))

static int put(struct ps_buf *out, const char *text)
{
    return ps_buf_append_str(out, ps_str_from(text));
}

static int put_name(struct ps_buf *out, struct ps_str name, bool *comma)
{
    int err = put(out, *comma ? ",\"" : "\"");
    *comma = true;
    err = THEN(err, ps_buf_append_str(out, name));
    return THEN(err, put(out, "\":"));
}

static int put_joined(struct ps_buf *out, const struct member *member, const char *open,
                      const char *close)
{
    int err = put(out, open);
    err = THEN(err, ps_buf_append_str(out, ps_buf_str(&member->joined)));
    return THEN(err, put(out, close));
}

static int put_member(struct ps_buf *out, const struct member *member, bool *comma)
{
    if (member->rule == RULE_DROP) {
        return PS_OK;
    }
    int err = put_name(out, member->name, comma);
    if (!member->has_value) {
        return THEN(err, put(out, "null"));
    }
    if (member->rule == RULE_TEXT) {
        return THEN(err, put_joined(out, member, "\"", "\""));
    }
    if (member->rule == RULE_ARRAY) {
        return THEN(err, put_joined(out, member, "[", "]"));
    }
    return THEN(err, ps_buf_append_str(out, member->value));
}

static int put_members(struct ps_buf *out, const struct object *object, bool *comma)
{
    int err = PS_OK;
    for (size_t i = 0; i < object->count && err == PS_OK; i++) {
        err = put_member(out, &object->members[i], comma);
    }
    return err;
}

static int put_object(struct ps_buf *out, struct ps_str name, const struct object *object,
                      enum seen seen, bool *comma)
{
    if (seen == ABSENT) {
        return PS_OK;
    }
    bool inner = false;
    int err = put_name(out, name, comma);
    if (seen == ONLY_NULL) {
        return THEN(err, put(out, "null"));
    }
    err = THEN(err, put(out, "{"));
    err = THEN(err, put_members(out, object, &inner));
    return THEN(err, put(out, "}"));
}

static int put_call(struct ps_buf *out, const struct call *call, bool first)
{
    bool comma = false;
    int err = put(out, first ? "{" : ",{");
    err = THEN(err, put_members(out, &call->own, &comma));
    enum seen function = call->function.count > 0 ? GIVEN : ABSENT;
    err = THEN(err, put_object(out, PS_STR("function"), &call->function, function, &comma));
    return THEN(err, put(out, "}"));
}

static int compare_calls(const void *a, const void *b)
{
    uint64_t left = ((const struct call *)a)->index;
    uint64_t right = ((const struct call *)b)->index;
    return (left > right) - (left < right);
}

static int put_calls(struct ps_buf *out, const struct choice *choice, bool *comma)
{
    if (choice->calls_seen == ABSENT) {
        return PS_OK;
    }
    int err = put_name(out, PS_STR("tool_calls"), comma);
    if (choice->calls_seen == ONLY_NULL) {
        return THEN(err, put(out, "null"));
    }
    if (choice->calls_count > 1) {
        qsort(choice->calls, choice->calls_count, sizeof(struct call), compare_calls);
    }
    err = THEN(err, put(out, "["));
    for (size_t i = 0; i < choice->calls_count; i++) {
        err = THEN(err, put_call(out, &choice->calls[i], i == 0));
    }
    return THEN(err, put(out, "]"));
}

/* Role and content are always there. */
static int put_message(struct ps_buf *out, const struct choice *choice, bool *comma)
{
    const struct member *role = find_member(&choice->delta, PS_STR("role"));
    bool inner = false;
    int err = put_name(out, PS_STR("message"), comma);
    err = THEN(err, put(out, "{"));
    if (role == NULL) {
        err = THEN(err, put(out, "\"role\":\"assistant\""));
        inner = true;
    }
    err = THEN(err, put_members(out, &choice->delta, &inner));
    if (find_member(&choice->delta, PS_STR("content")) == NULL) {
        err = THEN(err, put_name(out, PS_STR("content"), &inner));
        err = THEN(err, put(out, "null"));
    }
    err = THEN(err, put_calls(out, choice, &inner));
    err = THEN(err, put_object(out, PS_STR("function_call"), &choice->function,
                               choice->function_seen, &inner));
    return THEN(err, put(out, "}"));
}

static int put_choice(struct ps_buf *out, const struct merge *merge, const struct choice *choice,
                      bool first)
{
    const struct member *finish = find_member(&choice->own, PS_STR("finish_reason"));
    bool comma = true;
    if (finish == NULL || !finish->has_value) {
        return PS_EPARSE; /* it was cut */
    }
    int err = put(out, first ? "{\"index\":" : ",{\"index\":");
    err = THEN(err, ps_buf_append_u64(out, choice->index));
    if (merge->chat) {
        err = THEN(err, put_message(out, choice, &comma));
    }
    err = THEN(
        err, put_object(out, PS_STR("logprobs"), &choice->logprobs, choice->logprobs_seen, &comma));
    err = THEN(err, put_members(out, &choice->own, &comma));
    return THEN(err, put(out, "}"));
}

static int compare_choices(const void *a, const void *b)
{
    uint64_t left = ((const struct choice *)a)->index;
    uint64_t right = ((const struct choice *)b)->index;
    return (left > right) - (left < right);
}

static int put_choices(struct ps_buf *out, const struct merge *merge, bool *comma)
{
    if (merge->choices_count == 0) {
        return PS_EPARSE;
    }
    qsort(merge->choices, merge->choices_count, sizeof(struct choice), compare_choices);
    int err = put_name(out, PS_STR("choices"), comma);
    err = THEN(err, put(out, "["));
    for (size_t i = 0; i < merge->choices_count; i++) {
        err = THEN(err, put_choice(out, merge, &merge->choices[i], i == 0));
    }
    return THEN(err, put(out, "]"));
}

static int put_answer(struct ps_buf *out, const struct merge *merge)
{
    const struct member *usage = find_member(&merge->top, PS_STR("usage"));
    bool comma = true;
    int err = put(out, merge->chat ? "{\"object\":\"chat.completion\""
                                   : "{\"object\":\"text_completion\"");
    for (size_t i = 0; i < merge->top.count; i++) {
        const struct member *member = &merge->top.members[i];
        if (member != usage) {
            err = THEN(err, put_member(out, member, &comma));
        }
    }
    err = THEN(err, put_choices(out, merge, &comma));
    if (usage != NULL && usage->has_value) {
        err = THEN(err, put_member(out, usage, &comma));
    }
    return THEN(err, put(out, "}"));
}

/* ---------------------------------------------------------------- all of it */

static void choice_fini(struct choice *choice)
{
    for (size_t i = 0; i < choice->calls_count; i++) {
        object_fini(&choice->calls[i].own);
        object_fini(&choice->calls[i].function);
    }
    free(choice->calls);
    object_fini(&choice->own);
    object_fini(&choice->delta);
    object_fini(&choice->logprobs);
    object_fini(&choice->function);
}

static void merge_fini(struct merge *merge)
{
    for (size_t i = 0; i < merge->choices_count; i++) {
        choice_fini(&merge->choices[i]);
    }
    free(merge->choices);
    object_fini(&merge->top);
}

int ps_render_json(struct ps_str events, struct ps_buf *out)
{
    struct merge merge = {.done = false};
    size_t before = out->len;
    int err = merge_events(&merge, events);
    err = THEN(err, put_answer(out, &merge));
    merge_fini(&merge);
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}

#include "gateway/render_merge.h"

#include <stdlib.h>

#include "gateway/json_view.h"
#include "gateway/render.h"
#include "http/sse.h"

struct name_rule {
    struct ps_str name;
    enum ps_merge_rule rule;
};

static const struct name_rule top_rules[] = {
    {PS_STR_INIT("created"), PS_MERGE_FIRST}, /* some servers give each event its own */
    {PS_STR_INIT("usage"), PS_MERGE_LAST},
    {PS_STR_INIT("obfuscation"), PS_MERGE_DROP}, /* random filling against listeners */
    {{NULL, 0}, PS_MERGE_ONCE},
};
static const struct name_rule choice_rules[] = {
    {PS_STR_INIT("text"), PS_MERGE_TEXT},
    {{NULL, 0}, PS_MERGE_ONCE},
};
static const struct name_rule delta_rules[] = {
    {PS_STR_INIT("role"), PS_MERGE_ONCE},
    {PS_STR_INIT("content"), PS_MERGE_TEXT},
    {PS_STR_INIT("reasoning_content"), PS_MERGE_TEXT},
    {PS_STR_INIT("reasoning"), PS_MERGE_TEXT},
    {PS_STR_INIT("refusal"), PS_MERGE_TEXT},
    {{NULL, 0}, PS_MERGE_SINGLE},
};
static const struct name_rule call_rules[] = {
    {{NULL, 0}, PS_MERGE_ONCE},
};
static const struct name_rule function_rules[] = {
    {PS_STR_INIT("name"), PS_MERGE_ONCE},
    {PS_STR_INIT("arguments"), PS_MERGE_TEXT},
    {{NULL, 0}, PS_MERGE_SINGLE},
};
static const struct name_rule logprobs_rules[] = {
    {{NULL, 0}, PS_MERGE_ARRAY},
};

/* ---------------------------------------------------------------- members */

static void object_fini(struct ps_merge_object *object)
{
    for (size_t i = 0; i < object->count; i++) {
        ps_buf_fini(&object->members[i].joined);
    }
    free(object->members);
}

struct ps_merge_member *ps_merge_find(const struct ps_merge_object *object, struct ps_str name)
{
    for (size_t i = 0; i < object->count; i++) {
        if (ps_str_eq(object->members[i].name, name)) {
            return &object->members[i];
        }
    }
    return NULL;
}

static enum ps_merge_rule rule_of(const struct name_rule *rules, struct ps_str name)
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

static int get_member(struct ps_merge_object *object, const struct name_rule *rules,
                      struct ps_str name, struct ps_merge_member **out)
{
    *out = ps_merge_find(object, name);
    if (*out != NULL) {
        return PS_OK;
    }
    int err = PS_OK;
    object->members = grow(object->members, object->count, PS_RENDER_MEMBERS_MAX,
                           sizeof(struct ps_merge_member), &err);
    if (err == PS_OK) {
        *out = &object->members[object->count++];
        **out = (struct ps_merge_member){
            .name = name, .rule = rule_of(rules, name), .joined = ps_buf_make(SIZE_MAX)};
    }
    return err;
}

static int join_text(struct ps_merge_member *member, struct ps_str value)
{
    if (ps_json_view_type(value) != '"') {
        return PS_EPARSE;
    }
    return ps_buf_append_str(&member->joined, ps_json_view_inside(value));
}

static int join_array(struct ps_merge_member *member, struct ps_str value)
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

static int merge_value(struct ps_merge_member *member, struct ps_str value)
{
    bool again = member->has_value;
    member->has_value = true;
    switch (member->rule) {
    case PS_MERGE_ONCE:
        if (again) {
            return ps_str_eq(member->value, value) ? PS_OK : PS_EPARSE;
        }
        break;
    case PS_MERGE_SINGLE:
        if (again) {
            return PS_EPARSE;
        }
        break;
    case PS_MERGE_FIRST:
        if (again) {
            return PS_OK;
        }
        break;
    case PS_MERGE_LAST:
    case PS_MERGE_DROP:
        break;
    case PS_MERGE_TEXT:
        return join_text(member, value);
    case PS_MERGE_ARRAY:
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

static int merge_member(struct ps_merge_object *object, const struct name_rule *rules,
                        struct ps_str name, struct ps_str value)
{
    struct ps_merge_member *member = NULL;
    int err = get_member(object, rules, name, &member);
    if (err != PS_OK || ps_json_view_type(value) == 'n') {
        return err;
    }
    return merge_value(member, value);
}

static int merge_object(struct ps_merge_object *object, const struct name_rule *rules,
                        struct ps_str source)
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

static int get_call(struct ps_merge_choice *choice, uint64_t index, struct ps_merge_call **out)
{
    for (size_t i = 0; i < choice->calls_count; i++) {
        if (choice->calls[i].index == index) {
            *out = &choice->calls[i];
            return PS_OK;
        }
    }
    int err = PS_OK;
    choice->calls = grow(choice->calls, choice->calls_count, PS_RENDER_CHOICES_MAX,
                         sizeof(struct ps_merge_call), &err);
    if (err == PS_OK) {
        *out = &choice->calls[choice->calls_count++];
        **out = (struct ps_merge_call){.index = index};
    }
    return err;
}

static int merge_call(struct ps_merge_choice *choice, struct ps_str source)
{
    uint64_t index = 0;
    struct ps_merge_call *call = NULL;
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
static bool note(enum ps_merge_seen *seen, struct ps_str value)
{
    bool given = ps_json_view_type(value) != 'n';
    *seen = given ? PS_MERGE_GIVEN : *seen == PS_MERGE_ABSENT ? PS_MERGE_ONLY_NULL : *seen;
    return given;
}

static int merge_calls(struct ps_merge_choice *choice, struct ps_str source)
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

static int merge_function(struct ps_merge_choice *choice, struct ps_str source)
{
    return note(&choice->function_seen, source)
               ? merge_object(&choice->function, function_rules, source)
               : PS_OK;
}

static int merge_delta(struct ps_merge_choice *choice, struct ps_str source)
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

static int get_choice(struct ps_merge *merge, uint64_t index, struct ps_merge_choice **out)
{
    for (size_t i = 0; i < merge->choices_count; i++) {
        if (merge->choices[i].index == index) {
            *out = &merge->choices[i];
            return PS_OK;
        }
    }
    int err = PS_OK;
    merge->choices = grow(merge->choices, merge->choices_count, PS_RENDER_CHOICES_MAX,
                          sizeof(struct ps_merge_choice), &err);
    if (err == PS_OK) {
        *out = &merge->choices[merge->choices_count++];
        **out = (struct ps_merge_choice){.index = index};
    }
    return err;
}

static int merge_choice_member(const struct ps_merge *merge, struct ps_merge_choice *choice,
                               struct ps_str name, struct ps_str value)
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

static int merge_choice(struct ps_merge *merge, struct ps_str source)
{
    uint64_t index = 0;
    struct ps_merge_choice *choice = NULL;
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

static int merge_choices(struct ps_merge *merge, struct ps_str source)
{
    int err = ps_json_view_type(source) == '[' ? PS_OK : PS_EPARSE;
    struct ps_str rest = ps_json_view_inside(source);
    struct ps_str item;
    while (err == PS_OK && ps_json_view_next_item(&rest, &item)) {
        err = merge_choice(merge, item);
    }
    return err;
}

static int merge_kind(struct ps_merge *merge, struct ps_str value)
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

static int merge_top(struct ps_merge *merge, struct ps_str name, struct ps_str value)
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

static int merge_event(struct ps_merge *merge, const struct ps_sse_event *event)
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

int ps_merge_events(struct ps_merge *merge, struct ps_str events)
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

/* ---------------------------------------------------------------- life */

static void choice_fini(struct ps_merge_choice *choice)
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

void ps_merge_fini(struct ps_merge *merge)
{
    for (size_t i = 0; i < merge->choices_count; i++) {
        choice_fini(&merge->choices[i]);
    }
    free(merge->choices);
    object_fini(&merge->top);
}

/* answer - see answer.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/answer.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static struct ps_str skip_space(struct ps_str text)
{
    while (text.len > 0 && memchr(" \t\r\n", text.ptr[0], 4) != NULL) {
        text = ps_str_skip(text, 1);
    }
    return text;
}

/* The value behind each `"name":`, one by one. False when there are no more. */
static bool next_value(struct ps_str *rest, struct ps_str quoted_name, struct ps_str *value)
{
    for (;;) {
        const char *hit =
            rest->len == 0 ? NULL
                           : memmem(rest->ptr, rest->len, quoted_name.ptr, quoted_name.len);
        if (hit == NULL) {
            return false;
        }
        struct ps_str behind = ps_str_skip(*rest, (size_t)(hit - rest->ptr) + quoted_name.len);
        *rest = behind;
        behind = skip_space(behind);
        if (behind.len > 0 && behind.ptr[0] == ':') {
            *value = skip_space(ps_str_skip(behind, 1));
            return true;
        }
    }
}

static bool has_string(struct ps_str json, struct ps_str quoted_name)
{
    struct ps_str value;
    while (next_value(&json, quoted_name, &value)) {
        if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[1] != '"') {
            return true;
        }
    }
    return false;
}

bool ps_answer_has_text(struct ps_str json)
{
    static const struct ps_str names[] = {
        PS_STR_INIT("\"content\""),   PS_STR_INIT("\"text\""),      PS_STR_INIT("\"reasoning_content\""),
        PS_STR_INIT("\"reasoning\""), PS_STR_INIT("\"arguments\""),
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        if (has_string(json, names[i])) {
            return true;
        }
    }
    return false;
}

bool ps_answer_is_done(struct ps_str data)
{
    return ps_str_eq(ps_str_trim(data), PS_STR("[DONE]"));
}

static bool get_count(const json_t *usage, const char *name, uint64_t *count)
{
    const json_t *value = json_object_get(usage, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *count = (uint64_t)json_integer_value(value);
    return true;
}

bool ps_answer_usage(struct ps_str json, uint64_t *prompt, uint64_t *completion)
{
    struct ps_str rest = json;
    struct ps_str value;
    if (!next_value(&rest, PS_STR("\"usage\""), &value) || value.len == 0 || value.ptr[0] != '{') {
        return false;
    }
    json_t *object = json_loadb(json.ptr, json.len, 0, NULL);
    const json_t *usage = json_object_get(object, "usage");
    uint64_t asked = 0;
    uint64_t made = 0;
    bool found = get_count(usage, "prompt_tokens", &asked);
    if (found) {
        (void)get_count(usage, "completion_tokens", &made);
        *prompt = asked;
        *completion = made;
    }
    json_decref(object);
    return found;
}

bool ps_answer_is_error(struct ps_str json, char *message, size_t size)
{
    struct ps_str rest = json;
    struct ps_str value;
    if (!next_value(&rest, PS_STR("\"error\""), &value) || value.len == 0) {
        return false;
    }
    json_t *object = json_loadb(json.ptr, json.len, 0, NULL);
    const json_t *error = json_object_get(object, "error");
    bool found = error != NULL && !json_is_null(error);
    if (found) {
        const char *text = json_is_string(error)
                               ? json_string_value(error)
                               : json_string_value(json_object_get(error, "message"));
        snprintf(message, size, "%s", text == NULL ? "an error without a message" : text);
    }
    json_decref(object);
    return found;
}

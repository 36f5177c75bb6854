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
        PS_STR_INIT("\"reasoning\""), PS_STR_INIT("\"arguments\""),     PS_STR_INIT("\"response\""),
        PS_STR_INIT("\"thinking\""),
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

bool ps_answer_says_done(struct ps_str json)
{
    struct ps_str value;
    while (next_value(&json, PS_STR("\"done\""), &value)) {
        if (ps_str_starts_with(value, PS_STR("true"))) {
            return true;
        }
    }
    return false;
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

/* Where the counts stand and what they are called. */
static const struct {
    struct ps_str clue; /* a name that is there when they are */
    const char *object; /* NULL = at the top */
    const char *prompt;
    const char *completion;
} counts[] = {
    {PS_STR_INIT("\"usage\""), "usage", "prompt_tokens", "completion_tokens"},
    {PS_STR_INIT("\"eval_count\""), NULL, "prompt_eval_count", "eval_count"},
};

bool ps_answer_usage(struct ps_str json, uint64_t *prompt, uint64_t *completion)
{
    struct ps_str rest = json;
    struct ps_str value;
    size_t i = 0;
    while (i < PS_ARRAY_LEN(counts) && !next_value(&rest, counts[i].clue, &value)) {
        rest = json;
        i++;
    }
    if (i == PS_ARRAY_LEN(counts) || value.len == 0 || value.ptr[0] == 'n') {
        return false;
    }
    json_t *object = json_loadb(json.ptr, json.len, 0, NULL);
    const json_t *usage = counts[i].object == NULL ? object : json_object_get(object, counts[i].object);
    bool has_prompt = get_count(usage, counts[i].prompt, prompt);
    bool has_completion = get_count(usage, counts[i].completion, completion);
    json_decref(object);
    return has_prompt || has_completion;
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

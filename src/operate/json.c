/* json - see json.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "operate/json.h"

#include <stdio.h>

static const char *objection(const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_out_of_memory:
        return "out of memory";
    case json_error_stack_overflow:
        return "nested too deep";
    case json_error_invalid_utf8:
        return "not UTF-8";
    case json_error_premature_end_of_input:
        return "not valid JSON: it ends too early";
    case json_error_end_of_input_expected:
        return "not valid JSON: more behind its end";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "a NUL byte where none may be";
    case json_error_duplicate_key:
        return "a member that is there twice";
    case json_error_numeric_overflow:
        return "a number that is too large";
    default:
        return "not valid JSON";
    }
}

json_t *ps_json_read(struct ps_str text, size_t flags, char *reason, size_t size)
{
    json_error_t error;
    const char *start = text.len == 0 ? "" : text.ptr;
    json_t *root =
        json_loadb(start, text.len, flags | JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (root == NULL) {
        snprintf(reason, size, "%s, line %d, column %d", objection(&error), error.line,
                 error.column);
    }
    return root;
}

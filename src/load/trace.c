/* trace - see trace.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/trace.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>

#define SECONDS_MAX 1e9 /* thirty years */

const char *ps_trace_format_text(enum ps_trace_format format)
{
    switch (format) {
    case PS_TRACE_AZURE:
        return "azure";
    case PS_TRACE_MOONCAKE:
        return "mooncake";
    case PS_TRACE_SERVEGEN:
        return "servegen";
    }
    return "unknown";
}

int ps_trace_detect(struct ps_str first_line, enum ps_trace_format *format, int *header)
{
    struct ps_str line = ps_str_trim(first_line);
    if (ps_str_eq(line, PS_STR("t_s,context_tokens,generated_tokens"))) {
        *format = PS_TRACE_AZURE;
        *header = 1;
    } else if (ps_str_eq(line, PS_STR("t_s,total_rps")) ||
               ps_str_starts_with(line, PS_STR("t_s,total_rps,"))) {
        *format = PS_TRACE_SERVEGEN;
        *header = 1;
    } else if (line.len > 0 && line.ptr[0] == '{') {
        *format = PS_TRACE_MOONCAKE;
        *header = 0;
    } else {
        return PS_EPARSE;
    }
    return PS_OK;
}

static int wrong(const char **reason, const char *text)
{
    *reason = text;
    return PS_EPARSE;
}

/* --------------------------------------------------------------------------------------- CSV */

static int read_seconds(struct ps_str text, ps_span *at, const char **reason)
{
    double seconds = 0;
    if (ps_str_to_double(text, &seconds) != PS_OK || !(seconds >= 0) || seconds > SECONDS_MAX) {
        return wrong(reason, "expected a time in seconds, from 0 to 1e9");
    }
    *at = (ps_span)llround(seconds * 1e9);
    return PS_OK;
}

static int read_tokens(struct ps_str text, uint32_t *tokens)
{
    uint64_t number = 0;
    if (ps_str_to_u64(text, &number) != PS_OK || number > PS_TRACE_TOKENS_MAX) {
        return PS_EPARSE;
    }
    *tokens = (uint32_t)number;
    return PS_OK;
}

static int parse_azure(struct ps_str line, struct ps_trace_row *row, const char **reason)
{
    struct ps_str rest = line;
    struct ps_str part[3];
    for (size_t i = 0; i < 3; i++) {
        if (!ps_str_split(&rest, ',', &part[i])) {
            return wrong(reason, "expected three fields");
        }
    }
    struct ps_str more;
    if (ps_str_split(&rest, ',', &more)) {
        return wrong(reason, "more than three fields");
    }
    if (read_seconds(part[0], &row->at, reason) != PS_OK) {
        return PS_EPARSE;
    }
    if (read_tokens(part[1], &row->prompt_tokens) != PS_OK) {
        return wrong(reason, "context_tokens: expected a whole number up to 4194304");
    }
    if (read_tokens(part[2], &row->output_tokens) != PS_OK) {
        return wrong(reason, "generated_tokens: expected a whole number up to 4194304");
    }
    return PS_OK;
}

static int parse_servegen(struct ps_str line, struct ps_trace_row *row, const char **reason)
{
    struct ps_str rest = line;
    struct ps_str time;
    struct ps_str rate;
    if (!ps_str_split(&rest, ',', &time) || !ps_str_split(&rest, ',', &rate)) {
        return wrong(reason, "expected at least two fields");
    }
    if (read_seconds(time, &row->at, reason) != PS_OK) {
        return PS_EPARSE;
    }
    if (ps_str_to_double(rate, &row->rate) != PS_OK || !(row->rate >= 0) ||
        row->rate > PS_TRACE_RATE_MAX) {
        return wrong(reason, "total_rps: expected requests a second, from 0 to 1e6");
    }
    return PS_OK;
}

/* ------------------------------------------------------------------------------------- JSONL */

static bool get_integer(const json_t *object, const char *name, json_int_t max, json_int_t *out)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value)) {
        return false;
    }
    *out = json_integer_value(value);
    return *out >= 0 && *out <= max;
}

static int read_blocks(const json_t *ids, struct ps_trace_row *row, const char **reason)
{
    if (!json_is_array(ids)) {
        return wrong(reason, "hash_ids: expected an array");
    }
    if (json_array_size(ids) > PS_TRACE_BLOCKS_MAX) {
        return wrong(reason, "hash_ids: more than 8192 ids");
    }
    row->block_count = json_array_size(ids);
    for (size_t i = 0; i < row->block_count; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0) {
            return wrong(reason, "hash_ids: expected whole numbers");
        }
        row->blocks[i] = (uint64_t)json_integer_value(id);
    }
    return PS_OK;
}

static int read_mooncake(const json_t *object, struct ps_trace_row *row, const char **reason)
{
    json_int_t at = 0;
    json_int_t input = 0;
    json_int_t output = 0;
    if (!json_is_object(object)) {
        return wrong(reason, "expected an object");
    }
    if (!get_integer(object, "timestamp", (json_int_t)(SECONDS_MAX * 1e3), &at)) {
        return wrong(reason, "timestamp: expected whole milliseconds, from 0 to 1e12");
    }
    if (!get_integer(object, "input_length", PS_TRACE_TOKENS_MAX, &input)) {
        return wrong(reason, "input_length: expected a whole number up to 4194304");
    }
    if (!get_integer(object, "output_length", PS_TRACE_TOKENS_MAX, &output)) {
        return wrong(reason, "output_length: expected a whole number up to 4194304");
    }
    row->at = (ps_span)at * PS_MILLISECOND;
    row->prompt_tokens = (uint32_t)input;
    row->output_tokens = (uint32_t)output;
    return read_blocks(json_object_get(object, "hash_ids"), row, reason);
}

static int parse_mooncake(struct ps_str line, struct ps_trace_row *row, const char **reason)
{
    json_error_t error;
    json_t *object = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL) {
        return json_error_code(&error) == json_error_out_of_memory
                   ? PS_ENOMEM
                   : wrong(reason, "it is not valid JSON");
    }
    int err = read_mooncake(object, row, reason);
    json_decref(object);
    return err;
}

int ps_trace_parse(enum ps_trace_format format, struct ps_str line, struct ps_trace_row *row,
                   const char **reason)
{
    row->at = 0;
    row->prompt_tokens = 0;
    row->output_tokens = 0;
    row->rate = 0;
    row->block_count = 0;
    switch (format) {
    case PS_TRACE_AZURE:
        return parse_azure(line, row, reason);
    case PS_TRACE_MOONCAKE:
        return parse_mooncake(line, row, reason);
    case PS_TRACE_SERVEGEN:
        return parse_servegen(line, row, reason);
    }
    return wrong(reason, "unknown format");
}

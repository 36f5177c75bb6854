#include "daemon/access_line.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/str.h"
#include "gateway/proxy.h"

/* Longest texts, before escaping, which makes at most 6 bytes of one: all of them at their longest,
 * with the numbers, stay below PS_ACCESS_LINE. */
enum {
    METHOD_MAX = 32,
    ID_MAX = 128,
    PATH_MAX_SHOWN = 2048,
    NAME_MAX_SHOWN = 256,
    ERROR_MAX = 512
};

_Static_assert(6 * (METHOD_MAX + ID_MAX + PATH_MAX_SHOWN + 5 * NAME_MAX_SHOWN + ERROR_MAX) + 1024 <
                   PS_ACCESS_LINE,
               "the longest line must fit");

/* The buffer is the caller's room and never grows, and the line always fits: see the assertion. */
static void append(struct ps_buf *line, struct ps_str text)
{
    PS_IGNORE(ps_buf_append_str(line, text));
}

static void put_name(struct ps_buf *line, const char *name)
{
    append(line, PS_STR(",\""));
    append(line, ps_str_from(name));
    append(line, PS_STR("\":"));
}

static void put_text(struct ps_buf *line, const char *name, struct ps_str text, size_t longest)
{
    if (text.len > 0) {
        put_name(line, name);
        append(line, PS_STR("\""));
        PS_IGNORE(ps_buf_append_json(line, ps_str_first(text, longest)));
        append(line, PS_STR("\""));
    }
}

static void put_number(struct ps_buf *line, const char *name, uint64_t number)
{
    put_name(line, name);
    PS_IGNORE(ps_buf_append_u64(line, number));
}

/* Milliseconds with three decimals; nothing for a span that is not known. */
static void put_span(struct ps_buf *line, const char *name, ps_span span)
{
    if (span >= 0) {
        uint64_t us = (uint64_t)span / 1000;
        char digits[4] = {(char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10),
                          (char)('0' + us % 10)};
        put_number(line, name, us / 1000);
        append(line, PS_STR("."));
        append(line, (struct ps_str){digits, 3});
    }
}

/* RFC 3339 in UTC, to the millisecond. */
static void put_time(struct ps_buf *line, ps_time wall)
{
    time_t seconds = (time_t)(wall / PS_SECOND);
    struct tm tm;
    char text[64];
    if (gmtime_r(&seconds, &tm) == NULL) {
        return;
    }
    int len = snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                       (int)(wall % PS_SECOND / PS_MILLISECOND));
    append(line, ps_str_first((struct ps_str){text, sizeof text}, len > 0 ? (size_t)len : 0));
}

static void put_address(struct ps_buf *line, const struct ps_address *peer)
{
    char text[PS_ADDRESS_TEXT];
    if (peer != NULL && peer->len > 0) {
        put_text(line, "peer", ps_str_from(ps_address_host_text(peer, text)), sizeof text);
    }
}

static void put_tokens(struct ps_buf *line, const struct ps_usage *usage)
{
    bool input = usage->has_prompt || usage->estimated;
    bool output = usage->has_completion || usage->estimated;
    if (!input && !output) {
        return;
    }
    /* Members come with a comma in front; the first one's is overwritten by the brace. */
    append(line, PS_STR(",\"tokens\":"));
    size_t brace = line->len;
    if (input) {
        put_number(line, "input", usage->prompt_tokens);
    }
    if (output) {
        put_number(line, "output", usage->completion_tokens);
    }
    if (usage->has_cached) {
        put_number(line, "cached", usage->cached_tokens);
    }
    if (usage->estimated) {
        append(line, PS_STR(",\"estimated\":true"));
    }
    line->data[brace] = '{';
    append(line, PS_STR("}"));
}

/* A query may hold secrets; the record's path should have none any more. */
static struct ps_str without_query(struct ps_str path)
{
    return ps_str_first(path, ps_str_find(path, '?'));
}

static void put_names(struct ps_buf *line, const struct ps_record *record)
{
    put_text(line, "request_id", record->request_id, ID_MAX);
    put_address(line, record->peer);
    put_text(line, "method", record->method, METHOD_MAX);
    put_text(line, "path", without_query(record->path), PATH_MAX_SHOWN);
    put_text(line, "route", ps_str_from(record->route), NAME_MAX_SHOWN);
    put_text(line, "upstream", ps_str_from(record->upstream), NAME_MAX_SHOWN);
    put_text(line, "endpoint", ps_str_from(record->endpoint), NAME_MAX_SHOWN);
    put_text(line, "tenant", ps_str_from(record->tenant), NAME_MAX_SHOWN);
    put_text(line, "model", record->model, NAME_MAX_SHOWN);
}

static void put_numbers(struct ps_buf *line, const struct ps_record *record)
{
    if (record->status > 0) {
        put_number(line, "status", (uint64_t)record->status);
    }
    append(line, record->complete ? PS_STR(",\"complete\":true") : PS_STR(",\"complete\":false"));
    put_span(line, "duration_ms", record->duration);
    put_span(line, "first_byte_ms", record->first_byte);
    put_span(line, "queued_ms", record->queued);
    put_number(line, "bytes_in", record->bytes_in);
    put_number(line, "bytes_out", record->bytes_out);
    put_number(line, "attempts", record->attempts);
    if (record->cache != NULL) {
        put_text(line, "cache", ps_str_from(record->cache), 16);
    }
}

size_t ps_access_line(char *text, const struct ps_record *record)
{
    struct ps_buf line = {text, 0, PS_ACCESS_LINE, PS_ACCESS_LINE};
    append(&line, PS_STR("{\"time\":\""));
    put_time(&line, record->wall);
    append(&line, PS_STR("\""));
    put_names(&line, record);
    put_numbers(&line, record);
    if (record->has_usage) {
        put_tokens(&line, &record->usage);
    }
    put_text(&line, "error", ps_str_from(record->error), ERROR_MAX);
    append(&line, PS_STR("}\n"));
    return line.len;
}

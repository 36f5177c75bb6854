/* template - see template.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/template.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load/reader.h"

/* -------------------------------------------------------------------------------------- rows */

static void free_row(struct ps_template *row)
{
    for (size_t i = 0; i < row->header_count; i++) {
        free((void *)(uintptr_t)row->headers[i].name);
        free((void *)(uintptr_t)row->headers[i].value);
    }
    free(row->headers);
    free(row->method);
    free(row->path);
    free(row->content_type);
    free((void *)(uintptr_t)row->body.ptr);
}

void ps_templates_fini(struct ps_templates *templates)
{
    for (size_t i = 0; i < templates->count; i++) {
        free_row(&templates->rows[i]);
    }
    free(templates->rows);
    *templates = (struct ps_templates){0};
}

static int fail(const char **reason, int err, const char *why)
{
    *reason = why;
    return err;
}

/* Takes the row in: 2^n of them grow by doubling. */
static int push_take(struct ps_templates *templates, struct ps_template *row, const char **reason)
{
    size_t count = templates->count;
    if (count == PS_TEMPLATES_MAX || templates->bytes + row->body.len > PS_TEMPLATES_BYTES_MAX) {
        free_row(row);
        return fail(reason, PS_ELIMIT, "too many requests, or too large together");
    }
    if ((count & (count - 1)) == 0) {
        struct ps_template *rows = realloc(templates->rows, (count == 0 ? 1 : 2 * count) * sizeof *rows);
        if (rows == NULL) {
            free_row(row);
            return fail(reason, PS_ENOMEM, "out of memory");
        }
        templates->rows = rows;
    }
    templates->rows[templates->count++] = *row;
    templates->bytes += row->body.len;
    return PS_OK;
}

/* ------------------------------------------------------------------------------------- fields */

static int set_text(char **field, const char *text, const char **reason)
{
    free(*field);
    *field = text == NULL ? NULL : ps_str_dup(ps_str_from(text));
    return *field == NULL ? fail(reason, PS_ENOMEM, "out of memory") : PS_OK;
}

/* Does the body ask for a stream? Told only of JSON objects. */
static enum ps_template_streams streams_of(const json_t *body)
{
    const json_t *stream = json_object_get(body, "stream");
    return json_is_true(stream)    ? PS_TEMPLATE_STREAM
           : json_is_false(stream) ? PS_TEMPLATE_NO_STREAM
                                   : PS_TEMPLATE_SILENT;
}

static enum ps_template_streams streams_in(struct ps_str body)
{
    json_t *json = body.len == 0 ? NULL : json_loadb(body.ptr, body.len, 0, NULL);
    enum ps_template_streams streams = streams_of(json);
    json_decref(json);
    return streams;
}

static int set_body(struct ps_template *row, struct ps_str body, const char **reason)
{
    row->has_body = true;
    row->streams = streams_in(body);
    row->body = (struct ps_str){ps_str_dup(body), body.len};
    return row->body.ptr == NULL ? fail(reason, PS_ENOMEM, "out of memory") : PS_OK;
}

static int read_body(struct ps_template *row, const json_t *value, const char **reason)
{
    if (json_is_string(value)) {
        return set_body(row, (struct ps_str){json_string_value(value), json_string_length(value)}, reason);
    }
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL) {
        return fail(reason, PS_ENOMEM, "out of memory");
    }
    int err = set_body(row, ps_str_from(text), reason);
    free(text);
    return err;
}

static int add_header(struct ps_template *row, const char *name, const char *value, const char **reason)
{
    if (row->header_count == PS_TEMPLATE_HEADERS_MAX) {
        return fail(reason, PS_ELIMIT, "too many headers");
    }
    if (ps_target_check_header(ps_str_from(name), ps_str_from(value)) != PS_OK) {
        return fail(reason, PS_EPARSE, "a header that a request can't have, or may not say itself");
    }
    char *copies[2] = {ps_str_dup(ps_str_from(name)), ps_str_dup(ps_str_from(value))};
    if (row->headers == NULL) {
        row->headers = calloc(PS_TEMPLATE_HEADERS_MAX, sizeof *row->headers);
    }
    if (row->headers == NULL || copies[0] == NULL || copies[1] == NULL) {
        free(copies[0]);
        free(copies[1]);
        return fail(reason, PS_ENOMEM, "out of memory");
    }
    row->headers[row->header_count++] = (struct ps_target_header){copies[0], copies[1]};
    return PS_OK;
}

static int read_headers(struct ps_template *row, json_t *value, const char **reason)
{
    int err = json_is_object(value) ? PS_OK : fail(reason, PS_EPARSE, "headers must be an object of text by name");
    void *at = err == PS_OK ? json_object_iter(value) : NULL;
    for (; err == PS_OK && at != NULL; at = json_object_iter_next(value, at)) {
        const json_t *text = json_object_iter_value(at);
        err = json_is_string(text) ? add_header(row, json_object_iter_key(at), json_string_value(text), reason)
                                   : fail(reason, PS_EPARSE, "headers must be an object of text by name");
    }
    return err;
}

static int read_key(struct ps_template *row, const json_t *value, const char **reason)
{
    char text[4096];
    if (!json_is_string(value) || json_string_length(value) > sizeof text - 8) {
        return fail(reason, PS_EPARSE, "key must be a text");
    }
    snprintf(text, sizeof text, "Bearer %s", json_string_value(value));
    return add_header(row, "authorization", text, reason);
}

static int read_status(struct ps_template *row, const json_t *value, const char **reason)
{
    json_int_t status = json_integer_value(value);
    if (!json_is_integer(value) || status < 100 || status > 599) {
        return fail(reason, PS_EPARSE, "status must be a number from 100 to 599");
    }
    row->status = (int)status;
    return PS_OK;
}

static int read_path(struct ps_template *row, const json_t *value, const char **reason)
{
    const char *text = json_string_value(value);
    bool good = text != NULL && text[0] == '/' && strlen(text) == json_string_length(value);
    return good ? set_text(&row->path, text, reason) : fail(reason, PS_EPARSE, "path must begin with /");
}

static int read_method(struct ps_template *row, const json_t *value, const char **reason)
{
    const char *text = json_string_value(value);
    bool good = text != NULL && text[0] != '\0' && strlen(text) < 32 &&
                strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") == strlen(text) && strcmp(text, "CONNECT") != 0;
    return good ? set_text(&row->method, text, reason)
                : fail(reason, PS_EPARSE, "method must be one like GET or POST, and not CONNECT");
}

static int read_member(struct ps_template *row, const char *name, json_t *value, const char **reason)
{
    if (strcmp(name, "method") == 0) {
        return read_method(row, value, reason);
    }
    if (strcmp(name, "path") == 0) {
        return read_path(row, value, reason);
    }
    if (strcmp(name, "headers") == 0) {
        return read_headers(row, value, reason);
    }
    if (strcmp(name, "body") == 0) {
        return read_body(row, value, reason);
    }
    if (strcmp(name, "key") == 0) {
        return read_key(row, value, reason);
    }
    if (strcmp(name, "status") == 0) {
        return read_status(row, value, reason);
    }
    return strcmp(name, "name") == 0
               ? PS_OK
               : fail(reason, PS_EPARSE,
                      "a member that is none of method, path, headers, body, key, status, name");
}

/* What the row did not say. */
static int complete(struct ps_template *row, const struct ps_template_defaults *defaults, const char **reason)
{
    int err = PS_OK;
    if (!row->has_body && defaults->body.ptr != NULL) {
        err = set_body(row, defaults->body, reason);
    }
    if (err == PS_OK && row->method == NULL) {
        const char *method = row->has_body ? "POST" : "GET";
        json_t *given = defaults->method == NULL ? NULL : json_string(defaults->method);
        err = given != NULL ? read_method(row, given, reason) : set_text(&row->method, method, reason);
        json_decref(given);
    }
    if (err == PS_OK && row->path == NULL) {
        err = set_text(&row->path, defaults->path != NULL ? defaults->path : "/", reason);
    }
    if (err == PS_OK) {
        const char *type = defaults->content_type;
        err = set_text(&row->content_type, type != NULL ? type : "application/json", reason);
    }
    row->status = row->status == 0 ? defaults->status : row->status;
    return err;
}

/* -------------------------------------------------------------------------------------- lines */

static int read_row(struct ps_template *row, json_t *json, const char **reason)
{
    int err = json_is_object(json) ? PS_OK : fail(reason, PS_EPARSE, "not a JSON object");
    void *at = err == PS_OK ? json_object_iter(json) : NULL;
    for (; err == PS_OK && at != NULL; at = json_object_iter_next(json, at)) {
        err = read_member(row, json_object_iter_key(at), json_object_iter_value(at), reason);
    }
    return err;
}

int ps_templates_parse(struct ps_templates *templates, struct ps_str line,
                       const struct ps_template_defaults *defaults, const char **reason)
{
    struct ps_template row = {0};
    json_t *json = json_loadb(line.len == 0 ? "" : line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
    int err = read_row(&row, json, reason);
    json_decref(json);
    err = err == PS_OK ? complete(&row, defaults, reason) : err;
    if (err != PS_OK) {
        free_row(&row);
        return err;
    }
    return push_take(templates, &row, reason);
}

int ps_templates_one(struct ps_templates *templates, const struct ps_template_defaults *defaults, char *why,
                     size_t size)
{
    struct ps_template row = {0};
    const char *reason = "";
    int err = complete(&row, defaults, &reason);
    if (err == PS_OK) {
        err = push_take(templates, &row, &reason);
    } else {
        free_row(&row);
    }
    if (err != PS_OK) {
        snprintf(why, size, "%s", reason);
    }
    return err == PS_EPARSE ? PS_EINVAL : err;
}

static int read_lines(struct ps_templates *templates, struct ps_reader *reader, const char *path,
                      const struct ps_template_defaults *defaults, char *why, size_t size)
{
    struct ps_reader_error error = {""};
    struct ps_str line;
    const char *reason = "out of memory";
    int err;
    while ((err = ps_reader_line(reader, &line, &error)) == PS_OK) {
        if (ps_str_trim(line).len == 0) {
            continue;
        }
        err = ps_templates_parse(templates, line, defaults, &reason);
        if (err != PS_OK) {
            break;
        }
    }
    if (err == PS_ENOTFOUND && templates->count > 0) {
        return PS_OK;
    }
    unsigned long long number = ps_reader_line_number(reader);
    if (err == PS_ENOTFOUND) {
        snprintf(why, size, "%s: no request in it", path);
        return PS_EPARSE;
    }
    snprintf(why, size, "%s:%llu: %s", path, number, error.text[0] != '\0' ? error.text : reason);
    return err;
}

int ps_templates_read(struct ps_templates *templates, const char *path,
                      const struct ps_template_defaults *defaults, char *why, size_t size)
{
    struct ps_reader *reader = NULL;
    struct ps_reader_error error = {"out of memory"};
    int err = ps_reader_open(&reader, path, &error);
    if (err != PS_OK) {
        snprintf(why, size, "%s: %s", path, error.text);
        return err;
    }
    err = read_lines(templates, reader, path, defaults, why, size);
    ps_reader_close(reader);
    return err;
}

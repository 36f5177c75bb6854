/* template - requests as written by a user: one, or a JSON object a line.
 *
 *   {"method":"POST","path":"/v1/embeddings","headers":{"x-a":"b"},"body":{...},"key":"k","status":200}
 *
 *   method   default POST where there is a body, else GET      headers  text by name
 *   path     default that of the run                           key      sent as Authorization: Bearer
 *   body     text, sent as it is, or any other JSON, sent      status   what counts as a success;
 *            without spaces                                             default any of 2xx
 *   name     for the reader
 *
 * What is not known is refused, with the line.
 *
 * Thread: pure, but for reading the file. Immutable afterwards.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_TEMPLATE_H
#define PS_LOAD_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "load/target.h"

#define PS_TEMPLATES_MAX         100000u
#define PS_TEMPLATES_BYTES_MAX   (512u * 1024u * 1024u)
#define PS_TEMPLATE_HEADERS_MAX  64u

enum ps_template_streams { PS_TEMPLATE_SILENT, PS_TEMPLATE_STREAM, PS_TEMPLATE_NO_STREAM };

struct ps_template {
    char *method;
    char *path;
    char *content_type;
    struct ps_target_header *headers; /* each text owned */
    size_t header_count;
    struct ps_str body; /* owned */
    bool has_body;
    int status;
    enum ps_template_streams streams; /* what the body's member "stream" says */
};

struct ps_templates {
    struct ps_template *rows;
    size_t count;
    size_t bytes;
};

/* What a row need not say. All borrowed. */
struct ps_template_defaults {
    const char *method; /* NULL: by the body */
    const char *path;   /* NULL: "/" */
    const char *content_type; /* NULL: application/json */
    struct ps_str body; /* ptr NULL: none */
    int status;
};

/* Fills *templates (zeroed) with one row. PS_OK; PS_EINVAL, PS_ENOMEM, and why. */
PS_MUST_CHECK int ps_templates_one(struct ps_templates *templates, const struct ps_template_defaults *defaults,
                                   char *why, size_t size);

/* Reads a file, plain or compressed. PS_OK; PS_ENOTFOUND, PS_EPARSE, PS_ELIMIT, PS_EIO, PS_ENOMEM, and
 * "file:line: reason". */
PS_MUST_CHECK int ps_templates_read(struct ps_templates *templates, const char *path,
                                    const struct ps_template_defaults *defaults, char *why, size_t size);

/* Adds the row of one line. PS_OK; PS_EPARSE, PS_ELIMIT, PS_ENOMEM, and *reason (static). */
PS_MUST_CHECK int ps_templates_parse(struct ps_templates *templates, struct ps_str line,
                                     const struct ps_template_defaults *defaults, const char **reason);

/* Frees the rows; zeroed is fine. */
void ps_templates_fini(struct ps_templates *templates);

#endif

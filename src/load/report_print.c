/* report_print - the document as text: a member a line, but an array of numbers on one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/buf.h"
#include "load/report_document.h"

#define DIGITS 15 /* of a number: what was rounded to decimals comes out as it was rounded */
#define DEPTH_MAX 16

static int append(const char *bytes, size_t len, void *ctx)
{
    return ps_buf_append(ctx, bytes, len) == PS_OK ? 0 : -1;
}

static int print_plain(json_t *json, struct ps_buf *out)
{
    size_t flags = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(DIGITS);
    return json_dump_callback(json, append, out, flags) == 0 ? PS_OK : PS_ENOMEM;
}

/* Is it shown over several lines? */
static bool is_tall(json_t *json)
{
    return json_is_object(json) ? json_object_size(json) > 0 : json_is_object(json_array_get(json, 0));
}

static int new_line(struct ps_buf *out, unsigned depth)
{
    return ps_buf_printf(out, "\n%*s", (int)(2 * depth), "");
}

static int print(json_t *json, struct ps_buf *out, unsigned depth);

static int print_member(const char *name, json_t *value, bool first, struct ps_buf *out, unsigned depth)
{
    int err = first ? PS_OK : ps_buf_append_str(out, PS_STR(","));
    err = err == PS_OK ? new_line(out, depth) : err;
    if (err == PS_OK && name != NULL) {
        err = ps_buf_append_str(out, PS_STR("\""));
        err = err == PS_OK ? ps_buf_append_json(out, ps_str_from(name)) : err;
        err = err == PS_OK ? ps_buf_append_str(out, PS_STR("\": ")) : err;
    }
    return err == PS_OK ? print(value, out, depth) : err;
}

static int print_members(json_t *json, struct ps_buf *out, unsigned depth)
{
    int err = PS_OK;
    bool first = true;
    const char *name;
    json_t *value;
    json_object_foreach (json, name, value) {
        err = err == PS_OK ? print_member(name, value, first, out, depth) : err;
        first = false;
    }
    for (size_t i = 0; err == PS_OK && i < json_array_size(json); i++) {
        err = print_member(NULL, json_array_get(json, i), i == 0, out, depth);
    }
    return err;
}

static int print(json_t *json, struct ps_buf *out, unsigned depth)
{
    if (!is_tall(json) || depth >= DEPTH_MAX) {
        return print_plain(json, out);
    }
    bool object = json_is_object(json);
    int err = ps_buf_append_str(out, object ? PS_STR("{") : PS_STR("["));
    err = err == PS_OK ? print_members(json, out, depth + 1) : err;
    err = err == PS_OK ? new_line(out, depth) : err;
    return err == PS_OK ? ps_buf_append_str(out, object ? PS_STR("}") : PS_STR("]")) : err;
}

int ps_report_print(json_t *document, struct ps_buf *out)
{
    int err = print(document, out, 0);
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("\n")) : err;
}

/* report_json - see report_json.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/report_json.h"

#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "load/clean.h"

#define TEXT_MAX 1024

void ps_report_out_value(struct ps_report_out *out, const char *name, json_t *value_take)
{
    if (out->object == NULL || json_object_set_new(out->object, name, value_take) != 0) {
        out->err = PS_ENOMEM;
    }
}

json_t *ps_report_out_real(double value, int decimals)
{
    if (!isfinite(value)) {
        return json_null();
    }
    double scale = pow(10, decimals);
    double scaled = round(value * scale);
    return json_real(fabs(scaled) < 1e15 ? scaled / scale : value);
}

void ps_report_out_number(struct ps_report_out *out, const char *name, double value, int decimals)
{
    if (isfinite(value)) {
        ps_report_out_value(out, name, ps_report_out_real(value, decimals));
    }
}

void ps_report_out_count(struct ps_report_out *out, const char *name, uint64_t value)
{
    ps_report_out_value(out, name, json_integer((json_int_t)value));
}

void ps_report_out_flag(struct ps_report_out *out, const char *name, bool value)
{
    ps_report_out_value(out, name, json_boolean(value));
}

void ps_report_out_text(struct ps_report_out *out, const char *name, const char *value)
{
    char text[TEXT_MAX];
    if (value != NULL) {
        ps_report_out_value(out, name, json_string(ps_clean_text(ps_str_from(value), text, sizeof text)));
    }
}

struct ps_report_out ps_report_out_begin(void)
{
    json_t *object = json_object();
    return (struct ps_report_out){object, object == NULL ? PS_ENOMEM : PS_OK};
}

void ps_report_out_end(struct ps_report_out *parent, const char *name, struct ps_report_out *child)
{
    ps_report_out_value(parent, name, child->object);
    parent->err = child->err != PS_OK ? child->err : parent->err;
    child->object = NULL;
}

int ps_report_out_push(json_t *array, double value, int decimals)
{
    return json_array_append_new(array, ps_report_out_real(value, decimals)) == 0 ? PS_OK : PS_ENOMEM;
}

json_t *ps_report_at(const json_t *json, const char *path)
{
    struct ps_str rest = ps_str_from(path), part;
    json_t *at = NULL;
    while (json != NULL && ps_str_split(&rest, '.', &part)) {
        char name[64];
        if (part.len >= sizeof name) {
            return NULL;
        }
        memcpy(name, part.ptr, part.len);
        name[part.len] = '\0';
        at = json_object_get(json, name);
        json = at;
    }
    return at;
}

double ps_report_number(const json_t *json, const char *path)
{
    const json_t *value = ps_report_at(json, path);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *ps_report_text(const json_t *json, const char *path)
{
    const char *text = json_string_value(ps_report_at(json, path));
    return text == NULL ? "" : text;
}

bool ps_report_flag(const json_t *json, const char *path)
{
    return json_is_true(ps_report_at(json, path));
}

size_t ps_report_size(const json_t *json, const char *path)
{
    return json_array_size(ps_report_at(json, path));
}

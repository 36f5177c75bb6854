#include "sim/triton_tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

#define MOST_LEVELS 16
#define MOST_ROWS   2048u
#define MOST_INPUTS 64u

struct reader {
    char *reason;
    size_t size;
    uint64_t most;
    uint64_t rows;        /* of the batch; 0: not known yet */
    struct ps_buf *texts; /* one per row */
};

static int refuse(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct reader *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(r->reason, r->size, format, args);
    va_end(args);
    return PS_EINVAL;
}

/* The number of elements of a shape, and its first number. */
static int read_shape(struct reader *r, const json_t *shape, uint64_t *rows, uint64_t *elements)
{
    *elements = 1;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        json_int_t side = json_integer_value(json_array_get(shape, i));
        if (!json_is_integer(json_array_get(shape, i)) || side < 1 || side > (1 << 28)) {
            return refuse(r, "a shape must hold whole numbers above 0");
        }
        *rows = i == 0 ? (uint64_t)side : *rows;
        *elements *= (uint64_t)side;
        if (*elements > (1u << 28)) {
            return refuse(r, "a tensor is too large");
        }
    }
    return json_array_size(shape) == 0 ? refuse(r, "an input has no shape") : PS_OK;
}

static int check_rows(struct reader *r, uint64_t rows)
{
    if (r->rows != 0 && rows != r->rows) {
        return refuse(r, "input batch size does not match other inputs");
    }
    if (rows > MOST_ROWS || (r->most > 0 && rows > r->most)) {
        return refuse(r, "inference request batch-size must be <= %" PRIu64,
                      r->most > 0 ? r->most : (uint64_t)MOST_ROWS);
    }
    if (r->texts == NULL) {
        r->texts = calloc(rows, sizeof *r->texts);
        if (r->texts == NULL) {
            return PS_ENOMEM;
        }
        for (uint64_t i = 0; i < rows; i++) {
            r->texts[i] = ps_buf_make((size_t)64 << 20);
        }
    }
    r->rows = rows;
    return PS_OK;
}

/* One element, behind the elements of its row that came before. */
static int add_element(struct reader *r, const json_t *value, uint64_t row)
{
    struct ps_buf *out = &r->texts[row];
    int err = out->len == 0 ? PS_OK : ps_buf_append_str(out, PS_STR(","));
    if (err != PS_OK) {
        return err;
    }
    if (json_is_string(value)) {
        return ps_buf_append(out, json_string_value(value), json_string_length(value));
    }
    if (json_is_number(value)) {
        return ps_buf_printf(out, "%.9g", json_number_value(value));
    }
    return json_is_boolean(value) ? ps_buf_printf(out, "%d", json_is_true(value))
                                  : refuse(r, "data must hold numbers, booleans or texts");
}

/* Nested lists are read as if they were flat (row-major). */
static int add_data(struct reader *r, const json_t *data, uint64_t per_row, uint64_t *at,
                    unsigned level)
{
    int err = PS_OK;
    if (level > MOST_LEVELS) {
        return refuse(r, "data is nested too deeply");
    }
    for (size_t i = 0; i < json_array_size(data) && err == PS_OK; i++) {
        const json_t *value = json_array_get(data, i);
        if (json_is_array(value)) {
            err = add_data(r, value, per_row, at, level + 1);
        } else if (*at >= per_row * r->rows) {
            err = refuse(r, "data has more elements than its shape");
        } else {
            err = add_element(r, value, *at / per_row);
            ++*at;
        }
    }
    return err;
}

static int read_input(struct reader *r, const json_t *input)
{
    uint64_t rows = 0;
    uint64_t elements = 0;
    uint64_t at = 0;
    if (!json_is_string(json_object_get(input, "name")) ||
        !json_is_string(json_object_get(input, "datatype"))) {
        return refuse(r, "an input must have name, shape, datatype and data");
    }
    int err = read_shape(r, json_object_get(input, "shape"), &rows, &elements);
    err = err == PS_OK ? check_rows(r, rows) : err;
    if (err != PS_OK) {
        return err;
    }
    const json_t *data = json_object_get(input, "data");
    if (!json_is_array(data)) {
        return refuse(r, "data must be a list (tensors in binary form are not simulated)");
    }
    err = add_data(r, data, elements / rows, &at, 0);
    return err == PS_OK && at != elements ? refuse(r, "data has fewer elements than its shape")
                                          : err;
}

/* What is beyond the first bytes counts as its hash; bytes that are not UTF-8 can't be there. */
static json_t *text_of(const struct ps_buf *row)
{
    struct ps_str text = ps_buf_str(row);
    if (text.len == 0) {
        return json_string(" ");
    }
    if (text.len <= PS_SIM_TRITON_ROW) {
        return json_stringn(text.ptr, text.len);
    }
    size_t kept = PS_SIM_TRITON_ROW;
    while (((unsigned char)text.ptr[kept] & 0xc0) == 0x80) {
        kept--;
    }
    return json_sprintf("%.*s#%016" PRIx64, (int)kept, text.ptr, ps_str_hash(text, 0));
}

static int make_list(const struct reader *r, json_t **out)
{
    json_t *list = json_array();
    for (uint64_t i = 0; i < r->rows; i++) {
        if (json_array_append_new(list, text_of(&r->texts[i])) != 0) {
            json_decref(list);
            return PS_ENOMEM;
        }
    }
    *out = list;
    return PS_OK;
}

int ps_sim_triton_rows(const json_t *request, uint64_t most, json_t **out, char *reason,
                       size_t size)
{
    struct reader r = {.reason = reason, .size = size, .most = most};
    const json_t *inputs = json_object_get(request, "inputs");
    size_t count = json_array_size(inputs);
    int err = count == 0 || count > MOST_INPUTS
                  ? refuse(&r, "inputs must be a list of 1 to %u tensors", MOST_INPUTS)
                  : PS_OK;
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = read_input(&r, json_array_get(inputs, i));
    }
    err = err == PS_OK ? make_list(&r, out) : err;
    for (uint64_t i = 0; i < r.rows; i++) {
        ps_buf_fini(&r.texts[i]);
    }
    free(r.texts);
    return err;
}

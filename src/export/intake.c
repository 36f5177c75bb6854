#include "export/intake.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operate/json.h"

/* One value, read: whose it is, and what that is moved by. */
struct move {
    struct ps_str labels[PS_METRIC_LABELS_MAX]; /* as in its request */
    double bounds[PS_METRIC_BOUNDS_MAX];
    struct ps_metric_handle *handle; /* NULL until all are judged */
    double value;
    struct ps_exemplar exemplar;
};

struct intake {
    struct ps_custom *custom;
    struct ps_metrics *metrics;
    ps_time wall;
    struct move *moves;
    struct ps_custom_request *requests; /* of each its metric */
    size_t count;
    bool list; /* an array of values: places have an index */
    size_t at; /* the present one */
    char *reason;
    size_t size;
};

/* ---- complaints. They only hold what we wrote and names that were judged. */

static int complain(struct intake *intake, int err, const char *place, const char *why)
{
    if (intake->list) {
        snprintf(intake->reason, intake->size, "[%zu]%s%s: %s", intake->at,
                 place[0] == '\0' ? "" : ".", place, why);
    } else {
        snprintf(intake->reason, intake->size, "%s%s%s", place, place[0] == '\0' ? "" : ": ", why);
    }
    return err;
}

static int out_of_memory(struct intake *intake)
{
    return complain(intake, PS_ENOMEM, "", "out of memory");
}

/* ---- members */

static const struct {
    const char *name;
    enum ps_metric_type type;
} types[] = {
    {"counter", PS_METRIC_COUNTER},     {"gauge", PS_METRIC_GAUGE},
    {"histogram", PS_METRIC_HISTOGRAM}, {"exponential", PS_METRIC_EXPONENTIAL},
    {"info", PS_METRIC_INFO},
};

static int check_members(struct intake *intake, json_t *one)
{
    static const char *const known[] = {"name",   "type",  "help",    "unit",
                                        "labels", "value", "buckets", "exemplar"};
    const char *key;
    json_t *member;
    json_object_foreach(one, key, member)
    {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            found = found || strcmp(key, known[i]) == 0;
        }
        if (!found) {
            return complain(
                intake, PS_EINVAL, "",
                "only name, type, help, unit, labels, value, buckets and exemplar are known");
        }
    }
    return PS_OK;
}

static int read_string(struct intake *intake, json_t *one, const char *key, struct ps_str *out)
{
    json_t *member = json_object_get(one, key);
    *out = PS_STR("");
    if (member == NULL) {
        return PS_OK;
    }
    if (!json_is_string(member)) {
        return complain(intake, PS_EINVAL, key, "has to be a string");
    }
    *out = (struct ps_str){json_string_value(member), json_string_length(member)};
    return PS_OK;
}

static int read_type(struct intake *intake, json_t *one, enum ps_metric_type *out)
{
    struct ps_str word;
    int err = read_string(intake, one, "type", &word);
    if (err != PS_OK) {
        return err;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (ps_str_eq(word, ps_str_from(types[i].name))) {
            *out = types[i].type;
            return PS_OK;
        }
    }
    return complain(intake, PS_EINVAL, "type",
                    "has to be counter, gauge, histogram, exponential or info");
}

static int read_labels(struct intake *intake, json_t *one, struct ps_custom_definition *definition,
                       struct ps_str values[PS_METRIC_LABELS_MAX])
{
    json_t *labels = json_object_get(one, "labels");
    const char *key;
    json_t *value;
    if (labels != NULL && !json_is_object(labels)) {
        return complain(intake, PS_EINVAL, "labels", "has to be an object of strings");
    }
    if (json_object_size(labels) > PS_METRIC_LABELS_MAX) {
        return complain(intake, PS_EINVAL, "labels", "there may be at most 8");
    }
    json_object_foreach(labels, key, value)
    {
        if (!json_is_string(value)) {
            return complain(intake, PS_EINVAL, "labels", "has to be an object of strings");
        }
        values[definition->label_count] =
            (struct ps_str){json_string_value(value), json_string_length(value)};
        definition->labels[definition->label_count++] = ps_str_from(key);
    }
    return PS_OK;
}

static int read_buckets(struct intake *intake, json_t *one, struct ps_custom_definition *definition,
                        double bounds[PS_METRIC_BOUNDS_MAX])
{
    json_t *list = json_object_get(one, "buckets");
    size_t count = json_array_size(list);
    if (list == NULL) {
        return PS_OK;
    }
    if (definition->type != PS_METRIC_HISTOGRAM || !json_is_array(list) || count == 0 ||
        count > PS_METRIC_BOUNDS_MAX) {
        return complain(intake, PS_EINVAL, "buckets",
                        "has to be 1 to 64 rising numbers, and the type histogram");
    }
    for (size_t i = 0; i < count; i++) {
        json_t *bound = json_array_get(list, i);
        if (!json_is_number(bound)) {
            return complain(intake, PS_EINVAL, "buckets", "has to be numbers");
        }
        bounds[i] = json_number_value(bound);
    }
    definition->bounds = bounds;
    definition->bounds_count = count;
    return PS_OK;
}

static int read_value(struct intake *intake, json_t *one, enum ps_metric_type type, double *out)
{
    json_t *value = json_object_get(one, "value");
    if (type == PS_METRIC_INFO && value == NULL) {
        *out = 1;
        return PS_OK;
    }
    if (!json_is_number(value)) {
        return complain(intake, PS_EINVAL, "value", "has to be a number");
    }
    *out = json_number_value(value);
    if (type == PS_METRIC_INFO && *out != 1) {
        return complain(intake, PS_EINVAL, "value", "of an info is 1");
    }
    const char *why = ps_custom_objection(type, *out);
    return why == NULL ? PS_OK : complain(intake, PS_EINVAL, "value", why);
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* `count` bytes as lower-case hex digits, not all zero. */
static bool read_hex(json_t *text, size_t count, unsigned char *out)
{
    const char *digits = json_string_value(text);
    unsigned any = 0;
    if (digits == NULL || json_string_length(text) != 2 * count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        int high = digit_of(digits[2 * i]), low = digit_of(digits[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (unsigned char)(high * 16 + low);
        any |= out[i];
    }
    return any != 0;
}

static int read_exemplar(struct intake *intake, json_t *one, struct move *move)
{
    json_t *exemplar = json_object_get(one, "exemplar");
    if (exemplar == NULL) {
        return PS_OK;
    }
    json_t *trace = json_object_get(exemplar, "trace_id");
    json_t *span = json_object_get(exemplar, "span_id");
    size_t known = (trace != NULL ? 1u : 0u) + (span != NULL ? 1u : 0u);
    if (!read_hex(trace, sizeof move->exemplar.trace_id, move->exemplar.trace_id) ||
        (span != NULL && !read_hex(span, sizeof move->exemplar.span_id, move->exemplar.span_id)) ||
        json_object_size(exemplar) != known) {
        return complain(
            intake, PS_EINVAL, "exemplar",
            "has a trace_id of 32 hex digits and may have a span_id of 16, in lower case");
    }
    move->exemplar.value = move->value;
    move->exemplar.wall = intake->wall;
    return PS_OK;
}

/* ---- one value */

static int take(struct intake *intake, json_t *one)
{
    struct move *move = &intake->moves[intake->count];
    struct ps_custom_definition *definition = &intake->requests[intake->count].definition;
    if (!json_is_object(one)) {
        return complain(intake, PS_EINVAL, "", "has to be an object");
    }
    int err = check_members(intake, one);
    err = err != PS_OK ? err : read_string(intake, one, "name", &definition->name);
    err = err != PS_OK ? err : read_type(intake, one, &definition->type);
    err = err != PS_OK ? err : read_string(intake, one, "help", &definition->help);
    err = err != PS_OK ? err : read_string(intake, one, "unit", &definition->unit);
    err = err != PS_OK ? err : read_labels(intake, one, definition, move->labels);
    err = err != PS_OK ? err : read_buckets(intake, one, definition, move->bounds);
    err = err != PS_OK ? err : read_value(intake, one, definition->type, &move->value);
    err = err != PS_OK ? err : read_exemplar(intake, one, move);
    intake->count += err == PS_OK ? 1 : 0;
    return err;
}

/* ---- documents */

static int take_all(struct intake *intake, json_t *root)
{
    intake->list = json_is_array(root);
    size_t count = intake->list ? json_array_size(root) : 1;
    int err = PS_OK;
    if (count > PS_INTAKE_VALUES) {
        intake->list = false;
        return complain(intake, PS_ELIMIT, "", "at most 1000 values at once");
    }
    intake->moves = calloc(count + 1, sizeof *intake->moves);
    intake->requests = calloc(count + 1, sizeof *intake->requests);
    if (intake->moves == NULL || intake->requests == NULL) {
        return out_of_memory(intake);
    }
    for (; intake->at < count && err == PS_OK; intake->at += err == PS_OK ? 1 : 0) {
        err = take(intake, intake->list ? json_array_get(root, intake->at) : root);
    }
    return err;
}

/* All metrics are there, or none that was not there before. */
static int define_all(struct intake *intake)
{
    char why[512];
    int err = ps_custom_define_all(intake->custom, intake->requests, intake->count, &intake->at,
                                   why, sizeof why);
    return err == PS_OK ? PS_OK : complain(intake, err, "", why);
}

static int bind(struct intake *intake, struct move *move, const struct ps_custom_request *request)
{
    struct ps_metric_labels labels = {0};
    for (size_t i = 0; i < request->definition.label_count; i++) {
        labels.values[i] = move->labels[request->order[i]];
    }
    int err = ps_metric_any(intake->metrics, request->row, &labels, &move->handle);
    return err == PS_OK ? PS_OK : out_of_memory(intake);
}

static int bind_all(struct intake *intake)
{
    int err = PS_OK;
    for (size_t i = 0; i < intake->count && err == PS_OK; i++) {
        intake->at = i;
        err = bind(intake, &intake->moves[i], &intake->requests[i]);
    }
    return err;
}

static void apply(struct intake *intake)
{
    for (size_t i = 0; i < intake->count; i++) {
        struct move *move = &intake->moves[i];
        ps_custom_move(move->handle, 0, move->value);
        if (!ps_exemplar_is_none(&move->exemplar)) {
            ps_metric_exemplar(move->handle, &move->exemplar);
        }
    }
}

int ps_intake_json(struct ps_custom *custom, struct ps_metrics *metrics, struct ps_str document,
                   ps_time wall, size_t *accepted, char *reason, size_t size)
{
    struct intake intake = {
        .custom = custom, .metrics = metrics, .wall = wall, .reason = reason, .size = size};
    json_t *root = ps_json_read(document, JSON_ALLOW_NUL, reason, size);
    if (root == NULL) {
        return PS_EINVAL;
    }
    int err = take_all(&intake, root);
    err = err == PS_OK ? define_all(&intake) : err;
    err = err == PS_OK ? bind_all(&intake) : err;
    if (err == PS_OK) {
        apply(&intake);
        *accepted = intake.count;
    }
    for (size_t i = 0; i < intake.count && intake.moves[i].handle != NULL; i++) {
        ps_metric_put(metrics, intake.moves[i].handle);
    }
    free(intake.moves);
    free(intake.requests);
    json_decref(root);
    return err;
}

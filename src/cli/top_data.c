#include "cli/top_data.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES_MOST = 5000, EVENTS_MOST = 1000 };

const char *ps_top_section_name(enum ps_top_section section)
{
    static const char *const names[PS_TOP_SECTIONS] = {
        [PS_TOP_ALL] = "all",         [PS_TOP_TRAFFIC] = "traffic",
        [PS_TOP_GPU] = "gpu",         [PS_TOP_CACHE] = "cache",
        [PS_TOP_QUEUE] = "queue",     [PS_TOP_UPSTREAMS] = "upstreams",
        [PS_TOP_PROCESS] = "process", [PS_TOP_CUSTOM] = "custom",
        [PS_TOP_EVENTS] = "events",
    };
    return names[section];
}

static const char *text_of(const json_t *object, const char *member)
{
    const char *text = json_string_value(json_object_get(object, member));
    return text == NULL ? "" : text;
}

static double number_of(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* ---- series */

static enum ps_top_section section_of(const char *group)
{
    for (int i = PS_TOP_TRAFFIC; i < PS_TOP_CUSTOM; i++) {
        if (strcmp(group, ps_top_section_name((enum ps_top_section)i)) == 0) {
            return (enum ps_top_section)i;
        }
    }
    return PS_TOP_CUSTOM;
}

/* Is the key this name, or one of its with labels? */
static bool is_of(const char *key, const char *name)
{
    size_t len = strlen(name);
    return len > 0 && strncmp(key, name, len) == 0 && (key[len] == '\0' || key[len] == '{');
}

/* The place of a key in the board; its size for what is not there. */
static size_t place_of(const json_t *board, const char *key)
{
    size_t i = 0;
    while (i < json_array_size(board) && !is_of(key, text_of(json_array_get(board, i), "name"))) {
        i++;
    }
    return i;
}

static void add_series(struct ps_top_data *data, const json_t *board, const char *key)
{
    const json_t *row = json_array_get(board, place_of(board, key));
    const json_t *history = json_object_get(json_object_get(data->root, "history"), "series");
    struct ps_top_series *series = &data->series[data->count++];
    series->key = key;
    series->unit = text_of(row, "unit");
    series->section = section_of(text_of(row, "group"));
    series->now = number_of(json_object_get(json_object_get(data->root, "current_metrics"), key));
    series->points = json_object_get(history, key);
}

/* By section, then as on the board, then by name. */
static int compare(const void *left, const void *right, void *board)
{
    const struct ps_top_series *a = left, *b = right;
    size_t first = place_of(board, a->key), second = place_of(board, b->key);
    return a->section != b->section ? (a->section < b->section ? -1 : 1)
           : first != second        ? (first < second ? -1 : 1)
                                    : strcmp(a->key, b->key);
}

static int read_series(struct ps_top_data *data)
{
    json_t *now = json_object_get(data->root, "current_metrics");
    json_t *history = json_object_get(json_object_get(data->root, "history"), "series");
    json_t *board = json_object_get(data->root, "board");
    size_t most = json_object_size(now) + json_object_size(history);
    const char *key;
    json_t *value;
    most = most < SERIES_MOST ? most : SERIES_MOST;
    data->series = calloc(most + 1, sizeof *data->series);
    if (data->series == NULL) {
        return PS_ENOMEM;
    }
    json_object_foreach(history, key, value)
    {
        if (data->count < most) {
            add_series(data, board, key);
        }
    }
    json_object_foreach(now, key, value)
    {
        if (data->count < most && json_object_get(history, key) == NULL) {
            add_series(data, board, key);
        }
    }
    qsort_r(data->series, data->count, sizeof *data->series, compare, board);
    return PS_OK;
}

double ps_top_series_part(const struct ps_top_series *series, size_t n, size_t of)
{
    size_t count = json_array_size(series->points);
    double most = NAN;
    for (size_t i = n * count / of; i < (n + 1) * count / of; i++) {
        double value = number_of(json_array_get(series->points, i));
        most = isnan(most) || value > most ? value : most;
    }
    return most;
}

/* ---- events */

static int read_events(struct ps_top_data *data)
{
    const json_t *list = json_object_get(data->root, "events");
    size_t count = json_array_size(list);
    size_t skipped = count > EVENTS_MOST ? count - EVENTS_MOST : 0;
    data->events = calloc(count - skipped + 1, sizeof *data->events);
    if (data->events == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = skipped; i < count; i++) {
        const json_t *event = json_array_get(list, i);
        data->events[data->event_count++] = (struct ps_top_event){
            number_of(json_object_get(event, "time")), text_of(event, "level"),
            text_of(event, "text"), json_object_get(event, "fields")};
    }
    return PS_OK;
}

/* ---- all of it */

int ps_top_data_read(struct ps_top_data *out, struct ps_str json)
{
    struct ps_top_data data = {0};
    data.root = json_loadb(json.ptr == NULL ? "" : json.ptr, json.len, 0, NULL);
    if (!json_is_object(json_object_get(data.root, "current_metrics"))) {
        json_decref(data.root);
        return PS_EPARSE;
    }
    data.time = number_of(json_object_get(data.root, "time"));
    int err = read_series(&data);
    err = err != PS_OK ? err : read_events(&data);
    if (err != PS_OK) {
        ps_top_data_fini(&data);
        return err;
    }
    *out = data;
    return PS_OK;
}

void ps_top_data_fini(struct ps_top_data *data)
{
    json_decref(data->root);
    free(data->series);
    free(data->events);
    *data = (struct ps_top_data){0};
}

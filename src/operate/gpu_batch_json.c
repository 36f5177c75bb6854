/* gpu_batch_json - what is told of batches: rows of /api/gpu, /api/gpu/batch-size, recommendations.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway.h"
#include "operate/gpu_batch_private.h"
#include "operate/query.h"

#define MIB      1048576.0
#define FAR      1.5  /* a limit by the recommended, or the reverse: it is worth a word */
#define GAINS    1.05 /* in throughput, for the same */
#define MEASURED 8.0  /* calls of a size: its figures are no mere expectation */

/* --- rows ------------------------------------------------------------------------------------- */

static void add_real(json_t *object, const char *name, double value)
{
    if (isfinite(value)) {
        json_object_set_new(object, name, json_real(value));
    }
}

static void add_memory(json_t *one, const struct ps_gpu_shelf *shelf, double memory)
{
    if (shelf->in_bytes) {
        add_real(one, "expected_memory_mb", memory / MIB);
        return;
    }
    add_real(one, "expected_memory_percent", memory);
    if (shelf->device_bytes > 0) {
        add_real(one, "expected_memory_mb", memory / 100 * shelf->device_bytes / MIB);
    }
}

static json_t *row_json(struct ps_gpu_batch *batch, const struct ps_gpu_shelf *shelf,
                        struct ps_batch_entry *entry)
{
    const struct ps_batch_goal goal = ps_gpu_batch_goal(batch, shelf, entry);
    struct ps_batch_advice advice = ps_batch_model_advise(&entry->batch, &goal);
    json_t *one =
        json_pack("{ss ss ss ss ss sI sb}", "upstream", shelf->name, "model", entry->model, "shape",
                  entry->shape, "unit", shelf->merges ? "rows_in_a_batch" : "requests_in_flight",
                  "limited_by", ps_batch_limit_names[advice.limit], "samples", (json_int_t)advice.samples,
                  "simulated", (int)shelf->simulated);
    if (one == NULL || advice.size == 0) {
        return one;
    }
    json_object_set_new(one, "recommended", json_integer((json_int_t)advice.size));
    add_real(one, "expected_p95_ms", 1e3 * advice.p95);
    add_real(one, "expected_per_second", advice.rate);
    add_real(one, "objective_p95_ms", 1e3 * goal.p95);
    add_memory(one, shelf, advice.memory);
    return one;
}

json_t *ps_gpu_batch_json(struct ps_gpu_batch *batch)
{
    json_t *list = json_array();
    for (size_t i = 0; i < batch->count; i++) {
        struct ps_gpu_shelf *shelf = batch->shelves[i];
        for (size_t j = 0; j < shelf->book.count; j++) {
            json_array_append_new(list, row_json(batch, shelf, shelf->book.entries[j]));
        }
    }
    return list;
}

/* --- one row ---------------------------------------------------------------------------------- */

struct wish {
    char model[PS_QUERY_TEXT];
    char shape[PS_QUERY_TEXT];
    char upstream[PS_QUERY_TEXT];
};

static int refuse(char *reason, size_t size, int err, const char *text)
{
    (void)snprintf(reason, size, "%s", text);
    return err;
}

static int read_wish(struct ps_str query, struct wish *wish, char *reason, size_t size)
{
    struct ps_query_pair pair;
    int err;
    while ((err = ps_query_next(&query, &pair)) == PS_OK) {
        char *field = strcmp(pair.name, "model") == 0      ? wish->model
                      : strcmp(pair.name, "shape") == 0    ? wish->shape
                      : strcmp(pair.name, "upstream") == 0 ? wish->upstream
                                                           : NULL;
        if (field == NULL) {
            return refuse(reason, size, PS_EINVAL, "the parameters are model, shape and upstream");
        }
        memcpy(field, pair.value, sizeof pair.value);
    }
    return err == PS_ENOTFOUND
               ? PS_OK
               : refuse(reason, size, PS_EINVAL, "the query is malformed, or a value is too long");
}

static struct ps_batch_entry *find_entry(const struct ps_gpu_batch *batch, const struct wish *wish,
                                         const struct ps_gpu_shelf **shelf)
{
    for (size_t i = 0; i < batch->count; i++) {
        *shelf = batch->shelves[i];
        if (wish->upstream[0] != '\0' && strcmp(wish->upstream, (*shelf)->name) != 0) {
            continue;
        }
        struct ps_batch_entry *entry =
            ps_batch_book_find(&(*shelf)->book, ps_str_from(wish->model), ps_str_from(wish->shape));
        if (entry != NULL) {
            return entry;
        }
    }
    return NULL;
}

static bool is_open(const struct wish *wish)
{
    return wish->model[0] == '\0' && wish->shape[0] == '\0' && wish->upstream[0] == '\0';
}

/* Takes the JSON over. */
static int write_json(json_t *json, struct ps_buf *out)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(14));
    int err = text == NULL ? PS_ENOMEM : ps_buf_append_str(out, ps_str_from(text));
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\n"));
    free(text);
    json_decref(json);
    return err;
}

int ps_gpu_batch_write(struct ps_gpu_batch *batch, struct ps_str query, struct ps_buf *out,
                       char *reason, size_t size)
{
    struct wish wish = {"", "", ""};
    const struct ps_gpu_shelf *shelf;
    int err = read_wish(query, &wish, reason, size);
    if (err != PS_OK) {
        return err;
    }
    if (is_open(&wish)) {
        return write_json(json_pack("{so}", "batch", ps_gpu_batch_json(batch)), out);
    }
    struct ps_batch_entry *entry = find_entry(batch, &wish, &shelf);
    if (entry == NULL) {
        return refuse(
            reason, size, PS_ENOTFOUND,
            "nothing was seen of such calls; /api/gpu/batch-size alone lists what was seen");
    }
    return write_json(row_json(batch, shelf, entry), out);
}

/* --- recommendations -------------------------------------------------------------------------- */

/* What is compared with the recommended: what the upstream lets in, or else what it has. */
struct present {
    double size;
    bool limit; /* it is the configured one */
};

static const struct ps_backend *backend_of(const struct ps_gpu_batch *batch, const char *name)
{
    for (size_t i = 0; batch->gateway != NULL && i < batch->gateway->backend_count; i++) {
        if (strcmp(batch->gateway->backends[i]->name, name) == 0) {
            return batch->gateway->backends[i];
        }
    }
    return NULL;
}

/* The limit is for the upstream, the recommended number for each of its servers. */
static struct present present_of(const struct ps_gpu_batch *batch, const struct ps_gpu_shelf *shelf)
{
    const struct ps_backend *backend = backend_of(batch, shelf->name);
    struct ps_gate_stats stats = {0};
    if (backend != NULL && !shelf->merges) {
        ps_gate_read(backend->gate, &stats);
    }
    if (stats.max_in_flight > 0) {
        return (struct present){(double)stats.max_in_flight / (double)backend->count, true};
    }
    return (struct present){shelf->in_flight, false};
}

/* The entry that most calls rest on. */
static struct ps_batch_entry *main_entry(const struct ps_gpu_shelf *shelf)
{
    struct ps_batch_entry *most = NULL;
    for (size_t i = 0; i < shelf->book.count; i++) {
        struct ps_batch_entry *entry = shelf->book.entries[i];
        if (strcmp(entry->shape, ps_batch_shape_any.ptr) == 0 &&
            (most == NULL || entry->batch.samples > most->batch.samples)) {
            most = entry;
        }
    }
    return most;
}

static const char *basis_of(const struct ps_batch_entry *entry, size_t a, size_t b)
{
    bool known = (double)entry->batch.cell[a].count >= MEASURED &&
                 (double)entry->batch.cell[b].count >= MEASURED;
    return known ? "measured" : "expected";
}

struct finding {
    const struct ps_gpu_shelf *shelf;
    const struct ps_batch_entry *entry;
    struct present present;
    struct ps_batch_advice now, best;
};

static json_t *effect_json(const struct finding *finding)
{
    const struct ps_batch_advice *now = &finding->now;
    const struct ps_batch_advice *best = &finding->best;
    return json_pack("{sf sf sf ss}", "throughput_percent", 100 * (best->rate / now->rate - 1),
                     "p95_ms", 1e3 * best->p95, "p95_ms_now", 1e3 * now->p95, "basis",
                     basis_of(finding->entry, now->size, best->size));
}

static json_t *finding_json(const struct finding *finding)
{
    char text[400];
    char evidence[200];
    char action[200];
    const struct ps_gpu_shelf *shelf = finding->shelf;
    bool more = finding->best.size > finding->now.size;
    const char *unit = shelf->merges ? "rows in a batch" : "requests in flight at a server";
    (void)snprintf(text, sizeof text, "%.60s: %s %.0f %s; %zu %s, limited by %s", shelf->name,
                   finding->present.limit ? "max_in_flight lets in" : "there are usually",
                   finding->present.size, unit, finding->best.size,
                   more ? "would carry more" : "would be better",
                   ps_batch_limit_names[finding->best.limit]);
    (void)snprintf(evidence, sizeof evidence, "%.0f calls of %.100s", finding->best.samples,
                   finding->entry->model);
    if (shelf->merges) {
        (void)snprintf(
            action, sizeof action,
            "let the server merge up to %zu rows: dynamic_batching and max_batch_size in "
            "the model's configuration",
            finding->best.size);
    } else {
        (void)snprintf(action, sizeof action,
                       "upstreams[].admission.max_in_flight: %zu for each server of %.60s",
                       finding->best.size, shelf->name);
    }
    return json_pack("{ss ss ss ss so ss}", "id", "batch_size", "severity", "info", "text", text,
                     "evidence", evidence, "expected_effect", effect_json(finding), "action",
                     action);
}

/* A larger one has to gain, a smaller one has to be needed. */
static bool is_worth_a_word(const struct finding *finding)
{
    double now = finding->present.size;
    double best = (double)finding->best.size;
    if (best >= FAR * now) {
        return finding->best.rate > GAINS * finding->now.rate;
    }
    return now >= FAR * best && (finding->best.limit == PS_BATCH_BY_LATENCY ||
                                 finding->best.limit == PS_BATCH_BY_MEMORY ||
                                 finding->best.rate > GAINS * finding->now.rate);
}

void ps_gpu_batch_advise(struct ps_gpu_batch *batch, json_t *list)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct finding finding = {.shelf = batch->shelves[i]};
        struct ps_batch_entry *entry = main_entry(finding.shelf);
        finding.present = present_of(batch, finding.shelf);
        if (entry == NULL || finding.present.size < 0.5) {
            continue;
        }
        const struct ps_batch_goal goal = ps_gpu_batch_goal(batch, finding.shelf, entry);
        finding.entry = entry;
        finding.best = ps_batch_model_advise(&entry->batch, &goal);
        finding.now =
            ps_batch_model_look(&entry->batch, &goal, (size_t)lround(finding.present.size));
        if (finding.best.size > 0 && finding.now.size > 0 && is_worth_a_word(&finding)) {
            json_array_append_new(list, finding_json(&finding));
        }
    }
}

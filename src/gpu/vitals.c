#include "gpu/vitals.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "gpu/exposition.h"
#include "gpu/leaf.h"
#include "gpu/vitals_pages.h"

/* The largest number that is believed: DCGM's "blank" integers begin just above it. */
#define MOST_BELIEVED  9.2e18
/* Elements of an element that are told apart. */
#define INNER_MOST     ((size_t)4096)
/* DCGM's "blank" double (2^47), as it leaks into pages. */
#define DCGM_BLANK     140737488355328.0
#define KV_SHARE_LEAST 0.02 /* of the cache, before its size follows from it */

const struct ps_vitals_row ps_vitals_rows[PS_VITALS_FIELDS] = {
#define PS_VITALS_ROW(NAME, name, unit, text) [PS_VITALS_##NAME] = {name, unit, text},
    PS_VITALS_TABLE(PS_VITALS_ROW)
#undef PS_VITALS_ROW
};

const char *const ps_vitals_state_names[] = {
    [PS_VITALS_STATE_UNKNOWN] = "", [PS_VITALS_AWAKE] = "awake", [PS_VITALS_CHANGING] = "changing",
    [PS_VITALS_ASLEEP] = "asleep",  [PS_VITALS_EMPTY] = "empty", [PS_VITALS_FAILED] = "failed",
};

void ps_vitals_init(struct ps_vitals *vitals)
{
    memset(vitals, 0, sizeof *vitals);
}

/* A page being read. */
struct reader {
    struct ps_vitals *vitals;
    const struct ps_vitals_format *format;
    size_t first_model; /* of this page */
    size_t first_device;
    size_t keys[PS_VITALS_MODELS_MAX]; /* JSON: the index of each model of this page */
    size_t device_keys[PS_VITALS_DEVICES_MAX];
    size_t batch_keys[PS_VITALS_BATCHES_MAX];
};

/* What one sample or leaf says, wherever it came from. */
struct fact {
    const struct ps_vitals_meaning *meaning;
    bool is_number;
    double number;
    struct ps_str text; /* of a label or leaf */
    struct ps_str key;  /* text: the label's value */
    size_t index;       /* JSON: of the first [] */
};

static bool believable(double value, bool dcgm)
{
    return isfinite(value) && fabs(value) < MOST_BELIEVED && !(dcgm && value == DCGM_BLANK);
}

/* Printable ASCII; what else came becomes '?'. */
static void copy_text(char *out, size_t size, struct ps_str text)
{
    size_t len = text.len < size - 1 ? text.len : size - 1;
    for (size_t i = 0; i < len; i++) {
        out[i] = text.ptr[i] >= ' ' && text.ptr[i] <= '~' ? text.ptr[i] : '?';
    }
    out[len] = '\0';
}

/* --- where a fact goes ------------------------------------------------------------------------ */

static void add_field(struct ps_vitals *vitals, const struct ps_vitals_meaning *meaning,
                      double value)
{
    struct ps_device_reading *reading = &vitals->readings[meaning->field];
    unsigned char *rank = &vitals->rank[meaning->field];
    if (!reading->known || meaning->rank > *rank) {
        *reading = ps_device_known(value);
        *rank = meaning->rank;
    } else if (meaning->rank == *rank) {
        bool most = meaning->how == PS_VITALS_MOST;
        reading->value = most ? fmax(reading->value, value) : reading->value + value;
    }
}

/* The device of this fact, made when it is first met; NULL when there is no room. */
static struct ps_device *device_of(struct reader *reader, const struct fact *fact)
{
    struct ps_vitals *vitals = reader->vitals;
    char uuid[PS_DEVICE_TEXT];
    copy_text(uuid, sizeof uuid, fact->key);
    for (size_t i = reader->first_device; i < vitals->device_count; i++) {
        if (reader->format->json ? reader->device_keys[i] == fact->index
                                 : strcmp(vitals->devices[i].uuid, uuid) == 0) {
            return &vitals->devices[i];
        }
    }
    if (vitals->device_count == PS_VITALS_DEVICES_MAX) {
        vitals->devices_left_out++;
        return NULL;
    }
    struct ps_device *device = &vitals->devices[vitals->device_count];
    *device = (struct ps_device){.index = (uint32_t)(vitals->device_count - reader->first_device),
                                 .parent = PS_DEVICE_NONE,
                                 .instance = PS_DEVICE_NONE};
    memcpy(device->uuid, uuid, sizeof uuid);
    reader->device_keys[vitals->device_count++] = fact->index;
    return device;
}

static void add_device(struct reader *reader, const struct fact *fact, int field, double value)
{
    struct ps_device *device = value >= 0 ? device_of(reader, fact) : NULL;
    if (device != NULL && (fact->meaning->rank > 0 || !device->readings[field].known)) {
        device->readings[field] = ps_device_known(value);
    }
}

static void name_device(struct reader *reader, const struct fact *fact)
{
    struct ps_device *device = device_of(reader, fact);
    uint64_t index;
    if (device == NULL) {
        return;
    }
    if (fact->meaning->target == PS_VITALS_TO_DEVICE_NAME) {
        copy_text(device->name, sizeof device->name, fact->text);
    } else if (fact->meaning->target == PS_VITALS_TO_DEVICE_UUID) {
        copy_text(device->uuid, sizeof device->uuid, fact->text);
    } else if (ps_str_to_u64(fact->text, &index) == PS_OK && index < PS_DEVICE_NONE) {
        device->index = (uint32_t)index;
    }
}

/* "devices[].power_watts": the reading that is called so. */
static void add_any_device(struct reader *reader, const struct fact *fact, struct ps_str path)
{
    struct ps_str name = ps_str_skip(path, strlen(fact->meaning->name));
    for (int field = 0; fact->is_number && field < PS_DEVICE_FIELDS; field++) {
        if (ps_str_eq(name, ps_str_from(ps_device_rows[field].name))) {
            add_device(reader, fact, field, fact->number);
        }
    }
}

static struct ps_vitals_model *new_model(struct reader *reader, size_t key)
{
    struct ps_vitals *vitals = reader->vitals;
    if (vitals->model_count == PS_VITALS_MODELS_MAX) {
        vitals->models_left_out++;
        return NULL;
    }
    reader->keys[vitals->model_count] = key;
    struct ps_vitals_model *model = &vitals->models[vitals->model_count++];
    *model = (struct ps_vitals_model){.loaded = true};
    return model;
}

static struct ps_vitals_model *model_of(struct reader *reader, size_t key)
{
    for (size_t i = reader->first_model; i < reader->vitals->model_count; i++) {
        if (reader->keys[i] == key) {
            return &reader->vitals->models[i];
        }
    }
    return new_model(reader, key);
}

static struct ps_vitals_model *find_model(struct ps_vitals *vitals, const char *name, size_t before)
{
    for (size_t i = 0; i < before; i++) {
        if (strcmp(vitals->models[i].name, name) == 0) {
            return &vitals->models[i];
        }
    }
    return NULL;
}

/* A model that a label names: it is there, and that is all that is known. */
static void add_label_model(struct reader *reader, const struct fact *fact)
{
    char name[PS_VITALS_NAME];
    copy_text(name, sizeof name, fact->key);
    if (name[0] != '\0' && find_model(reader->vitals, name, reader->vitals->model_count) == NULL) {
        struct ps_vitals_model *model = new_model(reader, SIZE_MAX);
        if (model != NULL) {
            memcpy(model->name, name, sizeof name);
        }
    }
}

/* Seconds of "2026-11-28T22:15:39.25+01:00", of which only changes matter: the zone is left out. */
static bool read_date(struct ps_str text, double *seconds)
{
    char copy[24] = "";
    struct tm tm = {0};
    copy_text(copy, sizeof copy, text);
    const char *rest = strptime(copy, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest == NULL) {
        return false;
    }
    double part = *rest == '.' ? strtod(rest, NULL) : 0;
    *seconds = (double)timegm(&tm) + part;
    return true;
}

static struct ps_device_reading read_mark(const struct fact *fact)
{
    double scale = fact->meaning->scale == 0 ? 1 : fact->meaning->scale;
    double seconds = fact->number * scale;
    bool known = fact->is_number || read_date(fact->text, &seconds);
    return (struct ps_device_reading){known ? seconds : 0, known};
}

static void add_model(struct reader *reader, const struct fact *fact)
{
    if (!reader->format->json) {
        add_label_model(reader, fact);
        return;
    }
    struct ps_vitals_model *model = model_of(reader, fact->index);
    if (model == NULL) {
        return;
    }
    if (fact->meaning->target == PS_VITALS_TO_MODEL) {
        copy_text(model->name, sizeof model->name, fact->text);
        model->listed = model->listed || fact->meaning->loaded;
    } else if (fact->meaning->target == PS_VITALS_TO_MODEL_LOADED) {
        model->loaded = ps_str_eq(fact->text, ps_str_from(fact->meaning->when));
        model->listed = true;
    } else if (fact->meaning->target == PS_VITALS_TO_MODEL_MARK) {
        model->mark = read_mark(fact);
    } else if (fact->is_number && fact->number >= 0) {
        model->bytes = ps_device_known(model->bytes.value + fact->number);
    }
}

/* JSON: element in element, 4096 of them at most. */
static struct ps_vitals_batch *batch_of(struct reader *reader, size_t key)
{
    struct ps_vitals *vitals = reader->vitals;
    for (size_t i = vitals->batch_count; i > 0; i--) {
        if (reader->batch_keys[i - 1] == key) {
            return &vitals->batches[i - 1];
        }
    }
    const struct ps_vitals_model *model = model_of(reader, key / INNER_MOST);
    if (model == NULL || vitals->batch_count == PS_VITALS_BATCHES_MAX) {
        vitals->batches_left_out++;
        return NULL;
    }
    reader->batch_keys[vitals->batch_count] = key;
    struct ps_vitals_batch *batch = &vitals->batches[vitals->batch_count++];
    *batch = (struct ps_vitals_batch){.model = (size_t)(model - vitals->models)};
    return batch;
}

static void add_batch(struct reader *reader, const struct fact *fact, double value)
{
    struct ps_vitals_batch *batch = value >= 0 ? batch_of(reader, fact->index) : NULL;
    if (batch == NULL) {
        return;
    }
    switch ((enum ps_vitals_batch_part)fact->meaning->field) {
    case PS_VITALS_BATCH_SIZE:
        batch->size = value;
        break;
    case PS_VITALS_BATCH_COUNT:
        batch->count = value;
        break;
    case PS_VITALS_BATCH_SECONDS:
        batch->seconds += value;
        break;
    }
}

/* "asleep" from a page that knows no more does not hide that the weights are gone. */
static void add_state(struct ps_vitals *vitals, enum ps_vitals_state state)
{
    if (state != PS_VITALS_ASLEEP || vitals->state != PS_VITALS_EMPTY) {
        vitals->state = state;
    }
}

static void apply(struct reader *reader, const struct fact *fact, struct ps_str path)
{
    const struct ps_vitals_meaning *meaning = fact->meaning;
    double value = fact->number * (meaning->scale == 0 ? 1 : meaning->scale);
    switch (meaning->target) {
    case PS_VITALS_TO_FIELD:
        if (fact->is_number && fact->number >= 0) {
            add_field(reader->vitals, meaning, value);
        }
        break;
    case PS_VITALS_TO_DEVICE:
        if (fact->is_number) {
            add_device(reader, fact, meaning->field, value);
        }
        break;
    case PS_VITALS_TO_DEVICE_UUID:
    case PS_VITALS_TO_DEVICE_NAME:
    case PS_VITALS_TO_DEVICE_INDEX:
        name_device(reader, fact);
        break;
    case PS_VITALS_TO_ANY_DEVICE:
        add_any_device(reader, fact, path);
        break;
    case PS_VITALS_TO_MODEL:
    case PS_VITALS_TO_MODEL_BYTES:
    case PS_VITALS_TO_MODEL_LOADED:
    case PS_VITALS_TO_MODEL_MARK:
        add_model(reader, fact);
        break;
    case PS_VITALS_TO_BATCH:
        if (fact->is_number) {
            add_batch(reader, fact, value);
        }
        break;
    case PS_VITALS_TO_STATE:
        add_state(reader->vitals, (enum ps_vitals_state)meaning->field);
        break;
    case PS_VITALS_TO_SIMULATED:
        reader->vitals->simulated = true;
        break;
    }
}

/* --- pages of metrics ------------------------------------------------------------------------- */

/* Counters end in _total in one version of an exporter and do not in another. */
static struct ps_str plain(struct ps_str name)
{
    struct ps_str tail = PS_STR("_total");
    return ps_str_ends_with(name, tail) ? ps_str_first(name, name.len - tail.len) : name;
}

static bool is_called(const struct ps_vitals_meaning *meaning, struct ps_str name)
{
    return ps_str_eq(ps_str_from(meaning->name), name);
}

static bool want(void *ctx, struct ps_str name)
{
    const struct reader *reader = ctx;
    name = plain(name);
    for (const struct ps_vitals_meaning *row = reader->format->meanings; row->name != NULL; row++) {
        if (is_called(row, name)) {
            return true;
        }
    }
    return false;
}

/* The number is the sample's, or a label's where the row names one without saying what it has to
 * be.
 */
static bool read_fact(const struct ps_vitals_meaning *row,
                      const struct ps_exposition_sample *sample, bool dcgm, struct fact *fact)
{
    fact->number = sample->value;
    fact->is_number = sample->finite && believable(sample->value, dcgm);
    if (row->label == NULL) {
        return true;
    }
    fact->text = ps_exposition_label(sample, ps_str_from(row->label));
    if (row->when != NULL) {
        bool is = ps_str_eq(fact->text, ps_str_from(row->when));
        return is && (row->target != PS_VITALS_TO_STATE || sample->value == 1);
    }
    fact->is_number = ps_str_to_double(fact->text, &fact->number) == PS_OK;
    return fact->text.len > 0;
}

static void on_sample(void *ctx, const struct ps_exposition_sample *sample)
{
    struct reader *reader = ctx;
    struct ps_str name = plain(sample->name);
    bool dcgm = reader->format == &ps_vitals_formats[PS_VITALS_PAGE_DCGM];
    for (const struct ps_vitals_meaning *row = reader->format->meanings; row->name != NULL; row++) {
        struct fact fact = {.meaning = row};
        if (is_called(row, name) && read_fact(row, sample, dcgm, &fact)) {
            char instance[PS_DEVICE_TEXT];
            struct ps_str part = ps_exposition_label(sample, PS_STR("GPU_I_ID"));
            fact.key = row->key == NULL ? (struct ps_str){"", 0}
                                        : ps_exposition_label(sample, ps_str_from(row->key));
            if (dcgm && part.len > 0 && part.len < 16 && fact.key.len < 64) {
                snprintf(instance, sizeof instance, "%.*s/%.*s", PS_STR_ARG(fact.key),
                         PS_STR_ARG(part));
                fact.key = ps_str_from(instance);
            }
            apply(reader, &fact, name);
        }
    }
}

static int read_text(struct reader *reader, struct ps_str page, char why[PS_VITALS_WHY])
{
    const struct ps_exposition_reader calls = {want, on_sample, reader};
    size_t line;
    int err = ps_exposition_read(page, &calls, &line);
    if (err != PS_OK) {
        snprintf(why, PS_VITALS_WHY, "%s: line %zu: %s", reader->format->name, line,
                 err == PS_ELIMIT ? "too long" : "not a sample");
    }
    return err;
}

/* --- pages of JSON ---------------------------------------------------------------------------- */

/* A row for the path? *count: how many it counts. */
static bool meets(const struct ps_vitals_meaning *row, const struct ps_leaf *leaf, double *count)
{
    struct ps_str name = ps_str_from(row->name);
    *count = 0;
    if (row->target == PS_VITALS_TO_ANY_DEVICE) {
        return ps_str_starts_with(leaf->path, name);
    }
    if (row->how == PS_VITALS_COUNT && row->when == NULL &&
        ps_str_ends_with(leaf->path, PS_STR("[]"))) {
        *count = 1;
        return ps_str_eq(ps_str_first(leaf->path, leaf->path.len - 2), name);
    }
    return ps_str_eq(leaf->path, name);
}

static bool is_word(const struct ps_leaf *leaf)
{
    return leaf->type == PS_LEAF_STRING || leaf->type == PS_LEAF_TRUE ||
           leaf->type == PS_LEAF_FALSE || leaf->type == PS_LEAF_NUMBER;
}

static bool leaf_fact(const struct ps_vitals_meaning *row, const struct ps_leaf *leaf, double count,
                      struct fact *fact)
{
    fact->text = leaf->text;
    fact->is_number = leaf->type == PS_LEAF_NUMBER &&
                      ps_str_to_double(leaf->text, &fact->number) == PS_OK &&
                      believable(fact->number, false);
    bool is = row->when == NULL || ps_str_eq(leaf->text, ps_str_from(row->when));
    if (row->how == PS_VITALS_COUNT) {
        fact->number = row->when == NULL ? count : is ? 1 : 0;
        fact->is_number = row->when == NULL || is_word(leaf);
        return true;
    }
    if (leaf->type == PS_LEAF_ARRAY && row->target == PS_VITALS_TO_FIELD) {
        fact->is_number = true; /* a list that may be empty: nothing is 0 */
        fact->number = 0;
        return true;
    }
    return is_word(leaf) && (is || row->target == PS_VITALS_TO_MODEL_LOADED);
}

static void on_leaf(void *ctx, const struct ps_leaf *leaf)
{
    struct reader *reader = ctx;
    double count;
    for (const struct ps_vitals_meaning *row = reader->format->meanings; row->name != NULL; row++) {
        struct fact fact = {.meaning = row};
        if (meets(row, leaf, &count) && leaf_fact(row, leaf, count, &fact)) {
            bool inner = leaf->indexes > 1 && (row->target == PS_VITALS_TO_MODEL || row->target == PS_VITALS_TO_BATCH);
            if (inner && leaf->index[1] >= INNER_MOST) {
                continue;
            }
            fact.index = leaf->indexes == 0 ? 0 : leaf->index[0];
            fact.index = inner ? fact.index * INNER_MOST + leaf->index[1] : fact.index;
            apply(reader, &fact, leaf->path);
        }
    }
}

static int read_json(struct reader *reader, struct ps_str page, char why[PS_VITALS_WHY])
{
    size_t offset;
    int err = ps_leaf_walk(page, on_leaf, reader, &offset);
    if (err != PS_OK) {
        snprintf(why, PS_VITALS_WHY, "%s: byte %zu: %s", reader->format->name, offset,
                 err == PS_ELIMIT ? "nested too deeply" : "not JSON");
    }
    return err;
}

int ps_vitals_read(struct ps_vitals *vitals, enum ps_vitals_page page, struct ps_str text,
                   char why[PS_VITALS_WHY])
{
    PS_CHECK(page < PS_VITALS_PAGES);
    struct reader reader = {.vitals = vitals,
                            .format = &ps_vitals_formats[page],
                            .first_model = vitals->model_count,
                            .first_device = vitals->device_count};
    return reader.format->json ? read_json(&reader, text, why) : read_text(&reader, text, why);
}

/* --- what follows from the rest ----------------------------------------------------------------
 */

/* One entry for each name; nameless ones go. */
static void merge_models(struct ps_vitals *vitals)
{
    size_t kept = 0;
    for (size_t i = 0; i < vitals->model_count; i++) {
        struct ps_vitals_model *model = &vitals->models[i];
        struct ps_vitals_model *same = find_model(vitals, model->name, kept);
        if (model->name[0] == '\0') {
            continue;
        }
        if (same == NULL) {
            vitals->models[kept++] = *model;
        } else if (model->listed || !same->listed) {
            model->bytes = model->bytes.known ? model->bytes : same->bytes;
            *same = *model;
        }
    }
    vitals->model_count = kept;
}

static void complete_device(struct ps_device *device)
{
    struct ps_device_reading *total = &device->readings[PS_DEVICE_MEMORY_TOTAL];
    struct ps_device_reading *used = &device->readings[PS_DEVICE_MEMORY_USED];
    struct ps_device_reading *spare = &device->readings[PS_DEVICE_MEMORY_FREE];
    const struct ps_device_reading *reserved = &device->readings[PS_DEVICE_MEMORY_RESERVED];
    double taken = reserved->known ? reserved->value : 0;
    if (!total->known && used->known && spare->known) {
        *total = ps_device_known(used->value + spare->value + taken);
    } else if (!used->known && total->known && spare->known && spare->value <= total->value) {
        *used = ps_device_known(total->value - spare->value);
    } else if (!spare->known && total->known && used->known && used->value <= total->value) {
        *spare = ps_device_known(total->value - used->value);
    }
}

static void add_ratio(struct ps_vitals *vitals, int field, int part, int whole)
{
    const struct ps_device_reading *of = &vitals->readings[whole];
    const struct ps_device_reading *is = &vitals->readings[part];
    if (!vitals->readings[field].known && of->known && is->known && of->value > 0) {
        vitals->readings[field] = ps_device_known(is->value / of->value);
    }
}

static bool in_unit(struct ps_device_reading reading)
{
    return reading.value >= 0 && reading.value <= 1.0001;
}

/* A share outside 0 to 1 is none. */
static void check_ratio(struct ps_vitals *vitals, int field)
{
    if (!in_unit(vitals->readings[field])) {
        vitals->readings[field] = (struct ps_device_reading){0};
    }
}

static void add_fragmentation(struct ps_vitals *vitals)
{
    struct ps_device_reading reserved = vitals->readings[PS_VITALS_ALLOCATOR_RESERVED];
    struct ps_device_reading active = vitals->readings[PS_VITALS_ALLOCATOR_ACTIVE];
    if (vitals->device_count == 1 && reserved.known && active.known && reserved.value > 0 &&
        active.value >= 0 && active.value <= reserved.value) {
        vitals->devices[0].readings[PS_DEVICE_FRAGMENTATION] =
            ps_device_known(100 * (reserved.value - active.value) / reserved.value);
    }
}

void ps_vitals_finish(struct ps_vitals *vitals)
{
    merge_models(vitals);
    for (size_t i = 0; i < vitals->device_count; i++) {
        complete_device(&vitals->devices[i]);
    }
    check_ratio(vitals, PS_VITALS_KV_USE);
    add_ratio(vitals, PS_VITALS_KV_USE, PS_VITALS_KV_BLOCKS_USED, PS_VITALS_KV_BLOCKS_TOTAL);
    add_ratio(vitals, PS_VITALS_PREFIX_HIT_RATE, PS_VITALS_PREFIX_HITS, PS_VITALS_PREFIX_QUERIES);
    check_ratio(vitals, PS_VITALS_PREFIX_HIT_RATE);
    add_fragmentation(vitals);
}

/* --- views ------------------------------------------------------------------------------------ */

int ps_vitals_snapshot(const struct ps_vitals *vitals, const char *source, ps_time taken,
                       struct ps_device_snapshot **out)
{
    struct ps_device_snapshot *snapshot = NULL;
    static_assert(PS_VITALS_DEVICES_MAX <= PS_DEVICES_MAX, "all of them fit");
    if (vitals->device_count == 0) {
        return PS_ENOTFOUND;
    }
    int err = ps_device_snapshot_new(&snapshot, vitals->device_count, 0);
    if (err != PS_OK) {
        return err;
    }
    memcpy(snapshot->devices, vitals->devices, vitals->device_count * sizeof *vitals->devices);
    snapshot->source = source;
    snapshot->taken = taken;
    snapshot->simulated = vitals->simulated;
    snapshot->complete = true;
    *out = snapshot;
    return PS_OK;
}

static struct ps_device_reading sum_devices(const struct ps_vitals *vitals,
                                            enum ps_device_field field)
{
    double sum = 0;
    for (size_t i = 0; i < vitals->device_count; i++) {
        if (!vitals->devices[i].readings[field].known) {
            return (struct ps_device_reading){0};
        }
        sum += vitals->devices[i].readings[field].value;
    }
    return (struct ps_device_reading){sum, vitals->device_count > 0};
}

struct ps_device_reading ps_vitals_device_used(const struct ps_vitals *vitals)
{
    return sum_devices(vitals, PS_DEVICE_MEMORY_USED);
}

struct ps_device_reading ps_vitals_device_total(const struct ps_vitals *vitals)
{
    return sum_devices(vitals, PS_DEVICE_MEMORY_TOTAL);
}

struct ps_device_reading ps_vitals_kv_capacity(const struct ps_vitals *vitals)
{
    const struct ps_device_reading *readings = vitals->readings;
    struct ps_device_reading blocks = readings[PS_VITALS_KV_BLOCKS_TOTAL];
    struct ps_device_reading each = readings[PS_VITALS_KV_BLOCK_TOKENS];
    struct ps_device_reading used = readings[PS_VITALS_KV_TOKENS_USED];
    struct ps_device_reading share = readings[PS_VITALS_KV_USE];
    if (blocks.known && each.known && blocks.value * each.value >= 1) {
        return ps_device_known(blocks.value * each.value);
    }
    bool enough = used.known && share.known && share.value >= KV_SHARE_LEAST && used.value >= 1;
    return enough ? ps_device_known(used.value / share.value) : (struct ps_device_reading){0};
}

bool ps_vitals_is_busy(const struct ps_vitals *vitals, bool *known)
{
    struct ps_device_reading running = vitals->readings[PS_VITALS_RUNNING];
    struct ps_device_reading waiting = vitals->readings[PS_VITALS_WAITING];
    *known = running.known || waiting.known;
    return (running.known && running.value > 0) || (waiting.known && waiting.value > 0);
}

/* --- who was used ----------------------------------------------------------------------------- */

/* Dates come with rounding. */
#define SAME_MARK 0.05

void ps_vitals_watch(struct ps_vitals *vitals, const struct ps_vitals *before, ps_time now)
{
    for (size_t i = 0; i < vitals->model_count; i++) {
        struct ps_vitals_model *model = &vitals->models[i];
        const struct ps_vitals_model *then = NULL;
        for (size_t k = 0; before != NULL && k < before->model_count; k++) {
            then = strcmp(before->models[k].name, model->name) == 0 ? &before->models[k] : then;
        }
        bool same = then != NULL && then->mark.known && then->loaded &&
                    fabs(then->mark.value - model->mark.value) < SAME_MARK;
        model->used = !model->mark.known ? 0 : same ? then->used : now;
    }
}

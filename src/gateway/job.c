#include "gateway/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/json.h"
#include "gateway/sticky.h"

enum { TEXT_MAX = 256, FILES_MAX = 64, INSERT_MAX = 48, ID_DIGITS = 32, DEPTH_MAX = 64 };

/* A text of an answer or a query; what does not fit is as good as absent. */
struct text {
    size_t len;
    char bytes[TEXT_MAX];
};

/* What an object of an answer said so far. */
enum field { FIELD_OTHER, FIELD_JOB, FIELD_NAME, FIELD_FOLDER, FIELD_TYPE };

struct ps_job {
    enum ps_sticky_by by;
    bool is_get;
    struct ps_budget *budget;
    struct ps_sticky_key peer;
    struct ps_sticky_key client;
    struct ps_sticky_key job;
    struct ps_sticky_key file;
    size_t insert_at;
    size_t insert_len;
    char insert[INSERT_MAX];

    /* the answer */
    int status;
    struct ps_json *json; /* NULL = it is not read */
    unsigned depth;
    bool has_entry; /* an object inside the outer one */
    enum field field;
    struct text name;
    struct text folder;
    struct text type;
    size_t file_count;
    struct ps_sticky_key files[FILES_MAX];
};

/* --- the question ----------------------------------------------------------------------------- */

static void set_text(struct text *text, struct ps_str value)
{
    text->len = value.len <= sizeof text->bytes ? value.len : 0;
    if (text->len > 0) {
        memcpy(text->bytes, value.ptr, text->len);
    }
}

static struct ps_str text_of(const struct text *text)
{
    return (struct ps_str){text->bytes, text->len};
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* A value of a form (WHATWG URL, 5.1). */
static void decode(struct ps_str value, struct text *out)
{
    out->len = 0;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i] == '+' ? ' ' : value.ptr[i];
        if (c == '%' && value.len - i > 2 && hex_digit(value.ptr[i + 1]) >= 0 &&
            hex_digit(value.ptr[i + 2]) >= 0) {
            c = (char)(hex_digit(value.ptr[i + 1]) * 16 + hex_digit(value.ptr[i + 2]));
            i += 2;
        }
        if (out->len == sizeof out->bytes) {
            out->len = 0;
            return;
        }
        out->bytes[out->len++] = c;
    }
}

/* The first value of that name in a query; empty without. */
static void query_value(struct ps_str query, struct ps_str name, struct text *out)
{
    struct ps_str pair;
    out->len = 0;
    while (query.len > 0 && ps_str_split(&query, '&', &pair)) {
        size_t equals = ps_str_find(pair, '=');
        if (ps_str_eq(ps_str_first(pair, equals), name)) {
            decode(ps_str_skip(pair, equals + 1), out);
            return;
        }
    }
}

/* The server takes an id that the client brings. So the gateway brings one where the client has
 * none yet: the page gets it back in the first message, as its own, and its prompts will carry it.
 */
static void invent_client(struct ps_job *job, bool has_query, struct ps_rng *rng)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t bits[2] = {ps_rng_next(rng), ps_rng_next(rng)};
    struct ps_str name = has_query ? PS_STR("&clientId=") : PS_STR("?clientId=");
    memcpy(job->insert, name.ptr, name.len);
    for (size_t i = 0; i < ID_DIGITS; i++) {
        job->insert[name.len + i] = digits[bits[i / 16] >> 4 * (i % 16) & 15];
    }
    job->insert_len = name.len + ID_DIGITS;
    job->client =
        ps_sticky_key(PS_STICKY_KEY_CLIENT, (struct ps_str){job->insert + name.len, ID_DIGITS});
}

static void read_client(struct ps_job *job, struct ps_str target, struct ps_str query,
                        struct ps_rng *rng)
{
    struct text id;
    query_value(query, PS_STR("clientId"), &id);
    job->client = ps_sticky_key(PS_STICKY_KEY_CLIENT, text_of(&id));
    if (!ps_sticky_key_is_set(job->client)) {
        job->insert_at = target.len;
        invent_client(job, ps_str_find(target, '?') < target.len, rng);
    }
}

static void read_file(struct ps_job *job, struct ps_str query)
{
    struct text name;
    struct text folder;
    struct text type;
    query_value(query, PS_STR("filename"), &name);
    query_value(query, PS_STR("subfolder"), &folder);
    query_value(query, PS_STR("type"), &type);
    struct ps_str kind = type.len > 0 ? text_of(&type) : PS_STR("output");
    job->file =
        ps_sticky_key_join(job->peer, ps_sticky_key_file(kind, text_of(&folder), text_of(&name)));
}

static void read_target(struct ps_job *job, struct ps_str target, struct ps_rng *rng)
{
    struct ps_str path = ps_str_first(target, ps_str_find(target, '?'));
    struct ps_str query = ps_str_skip(target, path.len + 1);
    if (job->by == PS_STICKY_CLIENT) {
        read_client(job, target, query, rng);
    } else if (job->by == PS_STICKY_FILE) {
        read_file(job, query);
    } else if (job->by == PS_STICKY_JOB_PATH) {
        while (ps_str_find(path, '/') < path.len) {
            path = ps_str_skip(path, ps_str_find(path, '/') + 1);
        }
        job->job = ps_sticky_key(PS_STICKY_KEY_JOB, path);
    }
}

int ps_job_new(struct ps_job **out, const struct ps_operation *operation,
               const struct ps_job_caller *caller, struct ps_rng *rng)
{
    struct ps_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        return PS_ENOMEM;
    }
    job->by = operation->sticky;
    job->is_get = caller->is_get;
    job->budget = caller->budget;
    /* Whoever shares a key or an address is told apart by the other. */
    job->peer = ps_sticky_key_join(
        ps_sticky_key(PS_STICKY_KEY_PEER, caller->peer),
        ps_sticky_key(PS_STICKY_KEY_PEER, caller->tenant.len > 0 ? caller->tenant : PS_STR("-")));
    read_target(job, caller->target, rng);
    *out = job;
    return PS_OK;
}

void ps_job_free(struct ps_job *job)
{
    if (job != NULL) {
        ps_json_free(job->json);
        free(job);
    }
}

struct ps_str ps_job_insert(const struct ps_job *job, size_t *at)
{
    *at = job->insert_at;
    return (struct ps_str){job->insert, job->insert_len};
}

/* --- where to --------------------------------------------------------------------------------- */

static bool prefer(struct ps_pick *pick, struct ps_backend *backend, struct ps_sticky *sticky,
                   struct ps_sticky_key key, ps_time now)
{
    uint32_t id = ps_sticky_find(sticky, key, now);
    int index = id == 0 ? -1 : ps_backend_index(backend, id);
    pick->prefer = index < 0 ? 0 : (unsigned)index + 1;
    return index >= 0;
}

void ps_job_place(const struct ps_job *job, const struct ps_request *request,
                  struct ps_backend *backend, ps_time now, struct ps_pick *pick)
{
    struct ps_sticky *sticky = ps_backend_sticky(backend);
    const struct ps_sticky_key none = {0, 0};
    bool submits = job->by == PS_STICKY_PROMPT && !job->is_get;
    struct ps_sticky_key client = submits && request != NULL ? request->client : job->client;
    struct ps_sticky_key work =
        request != NULL && ps_sticky_key_is_set(request->job) ? request->job : job->job;
    struct ps_sticky_key file =
        submits && request != NULL ? ps_sticky_key_join(job->peer, request->file) : job->file;
    bool by_client = submits || job->by == PS_STICKY_CLIENT;
    pick->sticky = by_client ? client.a : job->peer.a;
    if (sticky == NULL) {
        return;
    }
    /* What is there goes before who asks: a graph without its picture fails. */
    const struct ps_sticky_key keys[] = {work, file, client, by_client ? none : job->peer};
    for (size_t i = 0; i < PS_ARRAY_LEN(keys); i++) {
        if (prefer(pick, backend, sticky, keys[i], now)) {
            return;
        }
    }
}

/* --- the answer ------------------------------------------------------------------------------- */

bool ps_job_is_elsewhere(const struct ps_job *job, int status, uint64_t length)
{
    if (!job->is_get) {
        return false;
    }
    if (job->by == PS_STICKY_FILE) {
        return status == 404;
    }
    return job->by == PS_STICKY_JOB_PATH && (status == 404 || (status == 200 && length <= 2));
}

static int on_key(void *ctx, const unsigned char *bytes, size_t len)
{
    static const struct {
        struct ps_str name;
        enum field field;
        bool upload; /* what an upload's answer calls it */
    } fields[] = {
        {PS_STR_INIT("prompt_id"), FIELD_JOB, false},
        {PS_STR_INIT("filename"), FIELD_NAME, false},
        {PS_STR_INIT("name"), FIELD_NAME, true},
        {PS_STR_INIT("subfolder"), FIELD_FOLDER, false},
        {PS_STR_INIT("type"), FIELD_TYPE, false},
    };
    struct ps_job *job = ctx;
    struct ps_str name = {(const char *)bytes, len};
    job->field = FIELD_OTHER;
    for (size_t i = 0; i < PS_ARRAY_LEN(fields); i++) {
        if (ps_str_eq(fields[i].name, name) && (!fields[i].upload || job->by == PS_STICKY_UPLOAD)) {
            job->field = fields[i].field;
        }
    }
    return 1;
}

static int on_string(void *ctx, const unsigned char *bytes, size_t len)
{
    struct ps_job *job = ctx;
    struct ps_str value = {(const char *)bytes, len};
    switch (job->field) {
    case FIELD_OTHER:
        break;
    case FIELD_JOB:
        if (job->depth == 1) {
            job->job = ps_sticky_key(PS_STICKY_KEY_JOB, value);
        }
        break;
    case FIELD_NAME:
        set_text(&job->name, value);
        break;
    case FIELD_FOLDER:
        set_text(&job->folder, value);
        break;
    case FIELD_TYPE:
        set_text(&job->type, value);
        break;
    }
    job->field = FIELD_OTHER;
    return 1;
}

static void forget_texts(struct ps_job *job)
{
    job->name.len = 0;
    job->folder.len = 0;
    job->type.len = 0;
}

static int on_open(void *ctx)
{
    struct ps_job *job = ctx;
    forget_texts(job);
    job->field = FIELD_OTHER;
    job->depth++;
    job->has_entry = job->has_entry || job->depth == 2;
    return job->depth <= DEPTH_MAX;
}

static int on_close(void *ctx)
{
    struct ps_job *job = ctx;
    struct ps_str type = job->type.len > 0 ? text_of(&job->type) : PS_STR("output");
    struct ps_sticky_key file =
        ps_sticky_key_file(type, text_of(&job->folder), text_of(&job->name));
    if (job->name.len > 0 && ps_sticky_key_is_set(file) && job->file_count < FILES_MAX) {
        job->files[job->file_count++] = ps_sticky_key_join(job->peer, file);
    }
    forget_texts(job);
    job->depth--;
    return 1;
}

static const yajl_callbacks calls = {
    .yajl_string = on_string,
    .yajl_start_map = on_open,
    .yajl_map_key = on_key,
    .yajl_end_map = on_close,
    .yajl_start_array = on_open,
    .yajl_end_array = on_close,
};

/* Only these say something that is to be learned. */
static bool is_read(const struct ps_job *job, int status)
{
    return status == 200 &&
           ((job->by == PS_STICKY_PROMPT && !job->is_get) || job->by == PS_STICKY_UPLOAD ||
            (job->by == PS_STICKY_JOB_PATH && job->is_get));
}

void ps_job_begin(struct ps_job *job, int status)
{
    ps_json_free(job->json);
    job->json = NULL;
    job->status = status;
    job->depth = 0;
    job->has_entry = false;
    job->file_count = 0;
    forget_texts(job);
    if (is_read(job, status)) {
        PS_IGNORE(ps_json_new(&job->json, &calls, job, job->budget)); /* then nothing is learned */
    }
}

void ps_job_read(struct ps_job *job, struct ps_str bytes)
{
    if (job->json != NULL && ps_json_feed(job->json, bytes) != PS_OK) {
        ps_json_free(job->json); /* what can't be read teaches nothing more */
        job->json = NULL;
    }
}

void ps_job_learn(struct ps_job *job, const struct ps_request *request, struct ps_backend *backend,
                  struct ps_endpoint *endpoint, uint64_t work, ps_time now)
{
    struct ps_sticky *sticky = ps_backend_sticky(backend);
    bool whole = job->json != NULL && ps_json_end(job->json) == PS_OK;
    bool submitted = whole && job->by == PS_STICKY_PROMPT;
    bool opened = job->by == PS_STICKY_CLIENT && job->status == 101;
    if (sticky == NULL) {
        return;
    }
    if (submitted) {
        ps_sticky_learn(sticky, job->job, endpoint, work, now);
        ps_sticky_learn(sticky, request == NULL ? job->client : request->client, endpoint, 0, now);
    }
    if (opened) {
        ps_sticky_learn(sticky, job->client, endpoint, 0, now);
    }
    if (submitted || opened || (whole && job->by == PS_STICKY_UPLOAD)) {
        ps_sticky_learn(sticky, job->peer, endpoint, 0, now);
    }
    for (size_t i = 0; whole && i < job->file_count; i++) {
        ps_sticky_learn(sticky, job->files[i], endpoint, 0, now);
    }
    if (whole && job->by == PS_STICKY_JOB_PATH && job->has_entry) {
        ps_sticky_learn(sticky, job->job, endpoint, 0, now); /* it is done: no work any more */
    }
}

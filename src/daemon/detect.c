#include "daemon/detect.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "io/loop.h"
#include "operate/inquiry.h"

#define BODY_LIMIT    ((size_t)64 * 1024)
#define PROBE_TIMEOUT PS_SECOND

/* What is asked, in this order, until something is proven. */
enum probe {
    MODELS,
    VERSION,
    SERVER_INFO,
    OLLAMA_VERSION,
    PROPS,
    TRITON,
    SYSTEM_STATS,
    INFO,
    SD_MEMORY,
    PROBE_COUNT
};

static const struct ps_str probe_paths[PROBE_COUNT] = {
    [MODELS] = PS_STR_INIT("/v1/models"),
    [VERSION] = PS_STR_INIT("/version"),
    [SERVER_INFO] = PS_STR_INIT("/get_server_info"),
    [OLLAMA_VERSION] = PS_STR_INIT("/api/version"),
    [PROPS] = PS_STR_INIT("/props"),
    [TRITON] = PS_STR_INIT("/v2"),
    [SYSTEM_STATS] = PS_STR_INIT("/system_stats"),
    [INFO] = PS_STR_INIT("/info"),
    [SD_MEMORY] = PS_STR_INIT("/sdapi/v1/memory"),
};

enum strength { NOTHING, WEAK, LIKELY, PROOF };

/* The member at `where` (names and places, parted by dots) exists, and has this text unless NULL.
 * Where two members are named, both must be there. */
struct clue {
    enum probe probe;
    enum ps_engine engine;
    enum strength strength;
    const char *where;
    const char *text;
    const char *also;
};

static const struct clue clues[] = {
    {MODELS, PS_ENGINE_VLLM, PROOF, "data.0.owned_by", "vllm", NULL},
    {MODELS, PS_ENGINE_SGLANG, PROOF, "data.0.owned_by", "sglang", NULL},
    {MODELS, PS_ENGINE_LLAMACPP, PROOF, "data.0.owned_by", "llamacpp", NULL},
    {MODELS, PS_ENGINE_TRTLLM, PROOF, "data.0.owned_by", "tensorrt_llm", NULL},
    {MODELS, PS_ENGINE_OPENAI, LIKELY, "object", "list", "data"},
    {VERSION, PS_ENGINE_VLLM, WEAK, "version", NULL, NULL},
    {SERVER_INFO, PS_ENGINE_SGLANG, PROOF, "version", NULL, "model_path"},
    {OLLAMA_VERSION, PS_ENGINE_OLLAMA, PROOF, "version", NULL, NULL},
    {PROPS, PS_ENGINE_LLAMACPP, PROOF, "default_generation_settings", NULL, NULL},
    {PROPS, PS_ENGINE_LLAMACPP, PROOF, "build_info", NULL, NULL},
    {TRITON, PS_ENGINE_TRITON, PROOF, "name", "triton", NULL},
    {TRITON, PS_ENGINE_TRITON, PROOF, "version", NULL, "extensions"},
    {SYSTEM_STATS, PS_ENGINE_COMFYUI, PROOF, "system", NULL, "devices"},
    {INFO, PS_ENGINE_TEI, PROOF, "model_id", NULL, "model_type"},
    {INFO, PS_ENGINE_TGI, PROOF, "model_id", NULL, "max_total_tokens"},
    {SD_MEMORY, PS_ENGINE_A1111, PROOF, "ram", NULL, "cuda"},
};

/* Where an engine says its version. */
static const struct {
    enum ps_engine engine;
    enum probe probe;
    const char *where;
} versions[] = {
    {PS_ENGINE_VLLM, VERSION, "version"},
    {PS_ENGINE_TRTLLM, VERSION, "version"},
    {PS_ENGINE_SGLANG, SERVER_INFO, "version"},
    {PS_ENGINE_OLLAMA, OLLAMA_VERSION, "version"},
    {PS_ENGINE_LLAMACPP, PROPS, "build_info"},
    {PS_ENGINE_TRITON, TRITON, "version"},
    {PS_ENGINE_COMFYUI, SYSTEM_STATS, "system.comfyui_version"},
    {PS_ENGINE_TEI, INFO, "version"},
    {PS_ENGINE_TGI, INFO, "version"},
};

struct ps_detect {
    struct ps_loop *loop;
    struct ps_tls *tls; /* borrowed; the pool holds a reference */
    struct ps_backend *backend;
    struct ps_endpoint *endpoint;
    struct ps_client_pool *pool;
    struct ps_inquiry *inquiry;
    enum probe probe; /* under way */
    unsigned asked;   /* bit per probe */
    enum strength strength;
    bool answered; /* at least one */
    struct ps_detected found;
    ps_detect_fn *on_result;
    void *ctx;
};

/* --- reading an answer ------------------------------------------------------------------------ */

/* The member or item that a name or place means; NULL when there is none. */
static const json_t *step_into(const json_t *json, struct ps_str name)
{
    uint64_t place;
    if (json_is_array(json) && ps_str_to_u64(name, &place) == PS_OK) {
        return json_array_get(json, (size_t)place);
    }
    char key[64];
    if (name.len >= sizeof key) {
        return NULL;
    }
    memcpy(key, name.ptr, name.len);
    key[name.len] = '\0';
    return json_object_get(json, key);
}

static const json_t *member(const json_t *json, const char *where)
{
    struct ps_str rest = ps_str_from(where);
    struct ps_str name;
    while (json != NULL && ps_str_split(&rest, '.', &name)) {
        json = step_into(json, name);
    }
    return json_is_null(json) ? NULL : json;
}

static bool is_proven(const struct clue *clue, const json_t *json)
{
    const json_t *value = member(json, clue->where);
    if (value == NULL || (clue->also != NULL && member(json, clue->also) == NULL)) {
        return false;
    }
    if (clue->text == NULL) {
        return true;
    }
    return json_is_string(value) && strcmp(json_string_value(value), clue->text) == 0;
}

bool ps_detect_copy_text(char *out, size_t size, const json_t *json)
{
    const char *text = json_string_value(json);
    size_t len = text == NULL ? 0 : json_string_length(json);
    if (len == 0 || len >= size) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e) {
            return false;
        }
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

static void add_model(struct ps_detected *found, const json_t *name)
{
    if (found->model_count < PS_DETECT_MODELS_MAX &&
        ps_detect_copy_text(found->models[found->model_count], PS_DETECT_MODEL, name)) {
        found->model_count++;
    }
}

static void read_models(struct ps_detect *detect, const json_t *json)
{
    if (detect->probe == MODELS) {
        const json_t *list = json_object_get(json, "data");
        for (size_t i = 0; i < json_array_size(list); i++) {
            add_model(&detect->found, json_object_get(json_array_get(list, i), "id"));
        }
    } else if (detect->probe == INFO && detect->found.model_count == 0) {
        add_model(&detect->found, json_object_get(json, "model_id"));
    }
}

/* The strongest clue that an answer proves, or NULL. */
static const struct clue *strongest(enum probe probe, const json_t *json)
{
    const struct clue *best = NULL;
    for (size_t i = 0; i < PS_ARRAY_LEN(clues); i++) {
        const struct clue *clue = &clues[i];
        if (clue->probe == probe && (best == NULL || clue->strength > best->strength) &&
            is_proven(clue, json)) {
            best = clue;
        }
    }
    return best;
}

static void read_engine(struct ps_detect *detect, const json_t *json, bool simulated)
{
    const struct clue *clue = strongest(detect->probe, json);
    if (clue != NULL && clue->strength > detect->strength) {
        detect->strength = clue->strength;
        detect->found.identity = (struct ps_identity){
            .engine = clue->engine, .simulated = simulated, .asked = (uint8_t)detect->probe};
    }
}

/* Is this where the engine says its version? Then out[PS_ENDPOINT_VERSION] gets it, if it is a
 * text that can be shown. */
static bool find_version(enum ps_engine engine, enum probe probe, const json_t *json, char *out)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(versions); i++) {
        if (versions[i].engine == engine && versions[i].probe == probe) {
            const json_t *text = member(json, versions[i].where);
            (void)ps_detect_copy_text(out, PS_ENDPOINT_VERSION, text);
            return text != NULL;
        }
    }
    return false;
}

static void read_version(struct ps_detect *detect, const json_t *json)
{
    struct ps_identity *identity = &detect->found.identity;
    if (find_version(identity->engine, detect->probe, json, identity->version)) {
        identity->asked = (uint8_t)detect->probe; /* it tells more than the proof */
    }
}

static void read_answer(struct ps_detect *detect, const struct ps_inquiry_answer *answer)
{
    json_t *json = json_loadb(answer->body.ptr, answer->body.len, 0, NULL);
    if (json != NULL) {
        read_engine(detect, json, answer->simulated);
        read_version(detect, json);
        read_models(detect, json);
        json_decref(json);
    }
}

/* --- asking again ----------------------------------------------------------------------------- */

struct ps_str ps_detect_path(const struct ps_identity *known)
{
    return known->engine == PS_ENGINE_AUTO || known->asked >= PROBE_COUNT
               ? PS_STR("")
               : probe_paths[known->asked];
}

static bool is_still(const struct ps_identity *known, const json_t *json)
{
    const struct clue *clue = strongest((enum probe)known->asked, json);
    char version[PS_ENDPOINT_VERSION] = "";
    bool told = find_version(known->engine, (enum probe)known->asked, json, version);
    bool other =
        clue == NULL ? !told : clue->engine != known->engine && (clue->strength > WEAK || !told);
    return !other && strcmp(version, known->version) == 0;
}

/* A server that is busy, still loading or shy says nothing about what it is. */
static bool is_evasive(int status)
{
    return status >= 500 || status == 401 || status == 403 || status == 408 || status == 429;
}

enum ps_detect_again ps_detect_check(const struct ps_identity *known,
                                     const struct ps_inquiry_answer *answer)
{
    if (answer->err != PS_OK || is_evasive(answer->status)) {
        return PS_DETECT_SILENT;
    }
    if (answer->status != 200 || answer->cut || answer->simulated != known->simulated) {
        return PS_DETECT_OTHER;
    }
    json_t *json = json_loadb(answer->body.ptr, answer->body.len, 0, NULL);
    bool same = json != NULL && is_still(known, json);
    json_decref(json);
    return same ? PS_DETECT_SAME : PS_DETECT_OTHER;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* The next probe, or PROBE_COUNT: an engine that is proven is asked only for its version. */
static enum probe next_probe(const struct ps_detect *detect)
{
    enum probe next = PROBE_COUNT;
    if (detect->strength < PROOF) {
        for (next = MODELS; next < PROBE_COUNT && (detect->asked >> next & 1) != 0; next++) {
        }
        return next;
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(versions); i++) {
        bool asked = (detect->asked >> versions[i].probe & 1) != 0;
        if (versions[i].engine == detect->found.identity.engine && !asked) {
            next = versions[i].probe;
        }
    }
    return next;
}

void ps_detect_cancel(struct ps_detect *detect)
{
    if (detect != NULL) {
        ps_inquiry_cancel(detect->inquiry);
        ps_pool_free(detect->pool);
        ps_endpoint_unref(detect->endpoint);
        ps_backend_unref(detect->backend);
        free(detect);
    }
}

static void finish(struct ps_detect *detect, int err)
{
    detect->found.err = detect->answered ? PS_OK : err;
    detect->on_result(detect->ctx, detect->backend, detect->endpoint, &detect->found);
    ps_detect_cancel(detect);
}

static void on_answer(void *ctx, const struct ps_inquiry_answer *answer);

static int ask(struct ps_detect *detect)
{
    const struct ps_inquiry_target target = {.loop = detect->loop,
                                             .tls = detect->tls,
                                             .backend = detect->backend,
                                             .endpoint = detect->endpoint};
    detect->probe = next_probe(detect);
    detect->asked |= 1u << detect->probe;
    return ps_inquiry_get(&detect->inquiry, &target, detect->pool, probe_paths[detect->probe],
                          BODY_LIMIT, PROBE_TIMEOUT, on_answer, detect);
}

static void on_answer(void *ctx, const struct ps_inquiry_answer *answer)
{
    struct ps_detect *detect = ctx;
    detect->inquiry = NULL;
    detect->answered = detect->answered || answer->err == PS_OK;
    if (answer->err == PS_OK && answer->status == 200 && !answer->cut) {
        read_answer(detect, answer);
    }
    bool gone = answer->err != PS_OK && answer->phase == PS_CALL_CONNECT;
    if (gone || next_probe(detect) == PROBE_COUNT) {
        finish(detect, answer->err);
        return;
    }
    int err = ask(detect);
    if (err != PS_OK) {
        finish(detect, err);
    }
}

int ps_detect_start(struct ps_detect **out, struct ps_loop *loop, struct ps_tls *tls,
                    struct ps_backend *backend, struct ps_endpoint *endpoint,
                    ps_detect_fn *on_result, void *ctx)
{
    struct ps_detect *detect = calloc(1, sizeof *detect);
    if (detect == NULL) {
        return PS_ENOMEM;
    }
    detect->loop = loop;
    detect->tls = tls;
    detect->backend = ps_backend_ref(backend);
    detect->endpoint = ps_endpoint_ref(endpoint);
    detect->on_result = on_result;
    detect->ctx = ctx;
    const struct ps_inquiry_target target = {
        .loop = loop, .tls = tls, .backend = backend, .endpoint = endpoint};
    int err = ps_inquiry_pool(&detect->pool, &target);
    err = err != PS_OK ? err : ask(detect);
    if (err != PS_OK) {
        ps_detect_cancel(detect);
        return err;
    }
    *out = detect;
    return PS_OK;
}

#include "daemon/detect.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "daemon/inquiry.h"
#include "io/loop.h"

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
    const char *text; /* "true" is the JSON literal too */
    const char *also;
};

static const struct clue clues[] = {
    {MODELS, PS_ENGINE_SIM, PROOF, "simulated", "true", "data"},
    {MODELS, PS_ENGINE_VLLM, PROOF, "data.0.owned_by", "vllm", NULL},
    {MODELS, PS_ENGINE_SGLANG, PROOF, "data.0.owned_by", "sglang", NULL},
    {MODELS, PS_ENGINE_LLAMACPP, PROOF, "data.0.owned_by", "llamacpp", NULL},
    {MODELS, PS_ENGINE_TRTLLM, PROOF, "data.0.owned_by", "tensorrt_llm", NULL},
    {MODELS, PS_ENGINE_OPENAI, LIKELY, "object", "list", "data"},
    {VERSION, PS_ENGINE_SIM, PROOF, "simulated", "true", "version"},
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
    {PS_ENGINE_SIM, VERSION, "version"},
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
    return json_is_true(value)
               ? strcmp(clue->text, "true") == 0
               : json_is_string(value) && strcmp(json_string_value(value), clue->text) == 0;
}

/* Copies a text that is printable ASCII and fits; others are as good as absent. */
static bool copy_text(char *out, size_t size, const json_t *json)
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
        copy_text(found->models[found->model_count], PS_DETECT_MODEL, name)) {
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

static void read_engine(struct ps_detect *detect, const json_t *json)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(clues); i++) {
        const struct clue *clue = &clues[i];
        if (clue->probe == detect->probe && clue->strength > detect->strength &&
            is_proven(clue, json)) {
            detect->strength = clue->strength;
            detect->found.engine = clue->engine;
            detect->found.version[0] = '\0'; /* that was another one's */
        }
    }
}

static void read_version(struct ps_detect *detect, const json_t *json)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(versions); i++) {
        if (versions[i].engine == detect->found.engine && versions[i].probe == detect->probe) {
            (void)copy_text(detect->found.version, PS_DETECT_VERSION,
                            member(json, versions[i].where));
        }
    }
}

static void read_answer(struct ps_detect *detect, struct ps_str body)
{
    json_t *json = json_loadb(body.ptr, body.len, 0, NULL);
    if (json != NULL) {
        read_engine(detect, json);
        read_version(detect, json);
        read_models(detect, json);
        json_decref(json);
    }
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
        if (versions[i].engine == detect->found.engine && !asked) {
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
        read_answer(detect, answer->body);
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

#include "operate/hooks.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "gpu/leaf.h"

const char *const ps_rung_names[] = {"prefix_cache", "host_cache", "kv_limit", "unload", "sleep",
                                     "deep_sleep",   "checkpoint", "restart",  "wake",   NULL};
const char *const ps_hook_frees_names[] = {"kv_blocks", "host_memory", "device_memory", "nothing"};
const char *const ps_hook_answer_names[] = {"done", "busy", "missing", "denied", "failed"};
const struct ps_str ps_hook_signature_header = PS_STR_INIT("x-trtllm-runtime-control-auth");

/* clang-format off */
#define HOOK(who, what, gives) .adapter = PS_ADAPTER_##who, .rung = PS_RUNG_##what, .frees = PS_HOOK_##gives
#define EXPECTS(what) .expects = PS_HOOK_EXPECTS_##what
#define SHOWS(what) .shows = PS_HOOK_SHOWS_##what

const struct ps_hook ps_hooks[] = {
    {HOOK(VLLM, PREFIX_CACHE, KV_BLOCKS), .method = "POST", .path = "/reset_prefix_cache", SHOWS(ANSWER),
     .needs = "VLLM_SERVER_DEV_MODE=1", .cost = "prompts that begin alike are computed again"},
    {HOOK(VLLM, SLEEP, DEVICE_BYTES), .method = "POST", .path = "/sleep?level=1", EXPECTS(DEVICE), .share = 1,
     SHOWS(STATE), .state = PS_VITALS_ASLEEP, .needs = "VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode",
     .cost = "requests fail until it is woken, which takes 0.1 s to some seconds; weights go to host memory"},
    {HOOK(VLLM, DEEP_SLEEP, DEVICE_BYTES), .method = "POST", .path = "/sleep?level=2", EXPECTS(DEVICE), .share = 1,
     SHOWS(STATE), .state = PS_VITALS_ASLEEP, .needs = "VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode",
     .cost = "requests fail until it is woken and its weights are loaded again"},
    {HOOK(VLLM, WAKE, NOTHING), .method = "POST", .path = "/wake_up", SHOWS(STATE), .state = PS_VITALS_AWAKE,
     .needs = "VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode", .cost = "memory is taken again"},

    {HOOK(SGLANG, PREFIX_CACHE, KV_BLOCKS), .method = "POST", .path = "/flush_cache", .busy = 400,
     .cost = "prompts that begin alike are computed again"},
    {HOOK(SGLANG, SLEEP, DEVICE_BYTES), .method = "POST", .path = "/release_memory_occupation",
     .body = "{\"tags\":[\"kv_cache\"]}", .busy = 400, EXPECTS(UNKNOWN), .needs = "--enable-memory-saver",
     .cost = "requests fail until it is woken"},
    {HOOK(SGLANG, DEEP_SLEEP, DEVICE_BYTES), .deepens = true, .method = "POST", .path = "/release_memory_occupation",
     .body = "{\"tags\":[\"kv_cache\",\"weights\"]}", .busy = 400, EXPECTS(DEVICE), .share = 1,
     .needs = "--enable-memory-saver", .cost = "requests fail until it is woken; weights go to host memory"},
    {HOOK(SGLANG, WAKE, NOTHING), .method = "POST", .path = "/resume_memory_occupation", .body = "{}",
     .needs = "--enable-memory-saver", .cost = "memory is taken again"},

    {HOOK(TRTLLM, SLEEP, DEVICE_BYTES), .method = "POST", .path = "/release_memory",
     .body = "{\"tags\":[\"kv_cache\"]}", .is_signed = true, .busy = 409, EXPECTS(UNKNOWN), SHOWS(STATE),
     .state = PS_VITALS_ASLEEP, .needs = "--enable_sleep_mode and TRTLLM_RUNTIME_CONTROL_API_KEY",
     .cost = "requests fail until it is woken"},
    {HOOK(TRTLLM, DEEP_SLEEP, DEVICE_BYTES), .deepens = true, .method = "POST", .path = "/release_memory", .is_signed = true,
     .busy = 409, EXPECTS(HELD), .share = 1, SHOWS(STATE), .state = PS_VITALS_ASLEEP,
     .needs = "--enable_sleep_mode and TRTLLM_RUNTIME_CONTROL_API_KEY",
     .cost = "requests fail until it is woken; it drains itself first"},
    {HOOK(TRTLLM, WAKE, NOTHING), .method = "POST", .path = "/resume_memory", .is_signed = true, .busy = 409,
     SHOWS(STATE), .state = PS_VITALS_AWAKE,
     .needs = "--enable_sleep_mode and TRTLLM_RUNTIME_CONTROL_API_KEY", .cost = "memory is taken again"},

    {HOOK(TRITON, UNLOAD, DEVICE_BYTES), .method = "POST", .path = "/v2/repository/models/{model}/unload",
     .per_model = true, .others = true, EXPECTS(MODEL), .share = 1, SHOWS(MODEL),
     .needs = "--model-control-mode=explicit",
     .cost = "the model answers 400 until it is loaded again; TensorFlow never gives memory back"},
    {HOOK(OLLAMA, UNLOAD, DEVICE_BYTES), .method = "POST", .path = "/api/generate",
     .body = "{\"model\":\"{model}\",\"keep_alive\":0}", .per_model = true, .others = true, EXPECTS(MODEL),
     .share = 1, SHOWS(MODEL), .cost = "the next request for the model loads it"},
    {HOOK(LLAMACPP, PREFIX_CACHE, KV_BLOCKS), .method = "POST", .path = "/slots/0?action=erase",
     .needs = "the slots endpoint", .cost = "the slot's prompt is computed again"},
    {HOOK(LLAMACPP, UNLOAD, DEVICE_BYTES), .method = "POST", .path = "/models/unload",
     .body = "{\"model\":\"{model}\"}", .per_model = true, EXPECTS(UNKNOWN), SHOWS(MODEL),
     .needs = "router mode", .cost = "the next request for the model loads it"},
    {HOOK(COMFYUI, UNLOAD, DEVICE_BYTES), .method = "POST", .path = "/free",
     .body = "{\"unload_models\":true,\"free_memory\":true}", EXPECTS(ALLOCATOR), .share = 1,
     SHOWS(ALLOCATOR), .cost = "the next workflow loads its models; read between two workflows only"},
    {HOOK(A1111, UNLOAD, DEVICE_BYTES), .method = "POST", .path = "/sdapi/v1/unload-checkpoint", .busy = 400,
     EXPECTS(ALLOCATOR), .share = 1, SHOWS(ALLOCATOR), .needs = "--api",
     .cost = "the next picture loads the checkpoint"},
    {HOOK(LMSTUDIO, UNLOAD, DEVICE_BYTES), .method = "POST", .path = "/api/v1/models/unload",
     .body = "{\"instance_id\":\"{model}\"}", .per_model = true, EXPECTS(UNKNOWN), SHOWS(MODEL),
     .cost = "the next request for the model loads it"},
    {HOOK(LLAMASWAP, UNLOAD, DEVICE_BYTES), .method = "POST", .path = "/api/models/unload/{model}",
     .per_model = true, EXPECTS(UNKNOWN), SHOWS(MODEL), .cost = "the next request for the model loads it"},
    {HOOK(LMCACHE, HOST_CACHE, HOST_MEMORY), .method = "POST", .path = "/clear",
     .body = "{\"instance_id\":\"{model}\",\"location\":\"LocalCPUBackend\"}", .per_model = true,
     .running = true, .needs = "enable_controller: True and its controller",
     .cost = "prompts that were cached in host memory are computed again"},

    /* Of this machine; path is what is shown. */
    {HOOK(COUNT, KV_LIMIT, DEVICE_BYTES), .means = PS_HOOK_LIMITS, .path = "kvcached", .running = true, EXPECTS(SPARE),
     .share = 1,     .needs = "kvcached, and gpu.servers[].kvcached",
     .cost = "no more requests at a time than now until it is woken; what runs keeps what it has"},
    {HOOK(COUNT, CHECKPOINT, DEVICE_BYTES), .means = PS_HOOK_TOGGLES, .path = "cuda-checkpoint --toggle", EXPECTS(DEVICE),
     .share = 1, .needs = "driver 550 or newer, cuda-checkpoint, gpu.servers[].pid_file; one GPU, no IPC, no UVM",
     .cost = "the process stands still until it is woken; host memory takes what the device held; after an error "
             "only a restart helps"},
    {HOOK(COUNT, RESTART, DEVICE_BYTES), .means = PS_HOOK_RUNS, .path = "restart", EXPECTS(UNKNOWN),
     .needs = "gpu.servers[].restart", .cost = "requests fail until it has loaded its model again; its caches are empty"},
    {HOOK(COUNT, WAKE, NOTHING), .means = PS_HOOK_UNDOES, .path = "undo",
     .needs = "that it was checkpointed or limited from here", .cost = "memory is taken again"},
};
/* clang-format on */

const size_t ps_hook_count = PS_ARRAY_LEN(ps_hooks);

const struct ps_hook *ps_hook_find(enum ps_adapter_id adapter, enum ps_rung rung)
{
    for (size_t i = 0; i < ps_hook_count; i++) {
        if (ps_hooks[i].adapter == adapter && ps_hooks[i].rung == rung) {
            return &ps_hooks[i];
        }
    }
    return NULL;
}

/* --- the call --------------------------------------------------------------------------------- */

/* RFC 3986: what is not unreserved is escaped, so that a name is one segment whatever it holds. */
static int append_segment(struct ps_buf *out, struct ps_str text)
{
    int err = PS_OK;
    for (size_t i = 0; i < text.len && err == PS_OK; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != '\0' && strchr("-._~", c) != NULL);
        err = plain ? ps_buf_append(out, &text.ptr[i], 1) : ps_buf_printf(out, "%%%02X", c);
    }
    return err;
}

typedef int append_fn(struct ps_buf *out, struct ps_str text);

static int expand(struct ps_buf *out, const char *pattern, struct ps_str model, append_fn *append)
{
    static const char mark[] = "{model}";
    const char *at = pattern == NULL ? NULL : strstr(pattern, mark);
    if (at == NULL) {
        return ps_buf_append_str(out, ps_str_from(pattern));
    }
    int err = ps_buf_append(out, pattern, (size_t)(at - pattern));
    err = err != PS_OK ? err : append(out, model);
    return err != PS_OK ? err : ps_buf_append_str(out, ps_str_from(at + sizeof mark - 1));
}

int ps_hook_write(const struct ps_hook *hook, struct ps_str model, struct ps_buf *path,
                  struct ps_buf *body)
{
    int err = expand(path, hook->path, model, append_segment);
    return err != PS_OK ? err : expand(body, hook->body, model, ps_buf_append_json);
}

void ps_hook_sign(struct ps_str key, struct ps_str body, char out[PS_HOOK_SIGNATURE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    PS_CHECK(key.len <= PS_HOOK_KEY_MAX);
    PS_CHECK(HMAC(EVP_sha256(), key.ptr, (int)key.len,
                  (const unsigned char *)(body.len > 0 ? body.ptr : ""), body.len, digest,
                  &len) != NULL);
    size_t at = (size_t)snprintf(out, PS_HOOK_SIGNATURE, "sha256=");
    for (unsigned i = 0; i < len; i++) {
        at += (size_t)snprintf(out + at, PS_HOOK_SIGNATURE - at, "%02x", digest[i]);
    }
}

/* --- the answer ------------------------------------------------------------------------------- */

struct success {
    bool told;
    bool yes;
};

static void on_leaf(void *ctx, const struct ps_leaf *leaf)
{
    struct success *success = ctx;
    if (ps_str_eq(leaf->path, PS_STR("success"))) {
        success->told = true;
        success->yes = leaf->type == PS_LEAF_TRUE;
    }
}

/* Newer versions say with 200 whether they did it; older ones say nothing. */
static bool says_no(struct ps_str body)
{
    struct success success = {0};
    size_t offset;
    return body.len > 0 && ps_leaf_walk(body, on_leaf, &success, &offset) == PS_OK &&
           success.told && !success.yes;
}

enum ps_hook_answer ps_hook_judge(const struct ps_hook *hook, int status, struct ps_str body)
{
    if (status / 100 == 2) {
        return hook->shows == PS_HOOK_SHOWS_ANSWER && says_no(body) ? PS_HOOK_BUSY : PS_HOOK_DONE;
    }
    if (hook->busy != 0 && status == hook->busy) {
        return PS_HOOK_BUSY;
    }
    if (status == 401 || status == 403) {
        return PS_HOOK_DENIED;
    }
    bool missing = status == 404 || status == 405 || status == 501 ||
                   (hook->adapter == PS_ADAPTER_TRITON && (status == 503 || status == 400));
    return missing ? PS_HOOK_MISSING : PS_HOOK_FAILED;
}

/* --- what it frees ---------------------------------------------------------------------------- */

static const struct ps_vitals_model *find_model(const struct ps_vitals *vitals, const char *name)
{
    for (size_t i = 0; i < vitals->model_count; i++) {
        if (strcmp(vitals->models[i].name, name) == 0) {
            return &vitals->models[i];
        }
    }
    return NULL;
}

static struct ps_device_reading share_of(struct ps_device_reading reading, double share)
{
    return (struct ps_device_reading){reading.value * share, reading.known};
}

struct ps_device_reading ps_hook_expected(const struct ps_hook *hook,
                                          const struct ps_vitals *vitals, const char *model,
                                          struct ps_device_reading alone)
{
    const struct ps_vitals_model *entry;
    switch (hook->expects) {
    case PS_HOOK_EXPECTS_MODEL:
        entry = find_model(vitals, model);
        return entry == NULL ? (struct ps_device_reading){0} : share_of(entry->bytes, hook->share);
    case PS_HOOK_EXPECTS_HELD:
        return share_of(vitals->readings[PS_VITALS_HELD], hook->share);
    case PS_HOOK_EXPECTS_ALLOCATOR:
        return share_of(vitals->readings[PS_VITALS_ALLOCATOR_RESERVED], hook->share);
    case PS_HOOK_EXPECTS_DEVICE:
        return share_of(alone, hook->share);
    case PS_HOOK_EXPECTS_SPARE:
        return share_of(alone, hook->share);
    case PS_HOOK_EXPECTS_NONE:
    case PS_HOOK_EXPECTS_UNKNOWN:
        break;
    }
    return (struct ps_device_reading){0};
}

static bool allocator_fell(const struct ps_vitals *before, const struct ps_vitals *after,
                           bool *known)
{
    struct ps_device_reading then = before->readings[PS_VITALS_ALLOCATOR_RESERVED];
    struct ps_device_reading now = after->readings[PS_VITALS_ALLOCATOR_RESERVED];
    *known = then.known && now.known;
    return *known && (now.value < then.value || now.value == 0);
}

static bool state_is(const struct ps_hook *hook, enum ps_vitals_state state, bool *known)
{
    *known = state != PS_VITALS_STATE_UNKNOWN;
    return state == hook->state || (hook->state == PS_VITALS_ASLEEP && state == PS_VITALS_EMPTY);
}

bool ps_hook_shown(const struct ps_hook *hook, const struct ps_vitals *before,
                   const struct ps_vitals *after, const char *model, bool *known)
{
    const struct ps_vitals_model *entry;
    *known = false;
    switch (hook->shows) {
    case PS_HOOK_SHOWS_STATE:
        return state_is(hook, after->state, known);
    case PS_HOOK_SHOWS_MODEL:
        entry = find_model(after, model);
        *known = true;
        return entry == NULL || !entry->loaded;
    case PS_HOOK_SHOWS_ALLOCATOR:
        return allocator_fell(before, after, known);
    case PS_HOOK_SHOWS_NOTHING:
    case PS_HOOK_SHOWS_ANSWER:
        break;
    }
    return false;
}

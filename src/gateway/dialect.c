/* The calls, from the documentation and sources of the servers; see dialect.h. Which of them were
 * seen with a real server says docs/engines.md. */
#include "gateway/dialect.h"

#include "base/check.h"

#define READ      PS_OPERATION_READ
#define ANY       PS_OPERATION_ANY_TYPE
#define ONCE      PS_OPERATION_ONCE
#define ADMIN     PS_OPERATION_ADMIN
#define ADMIN_GET PS_OPERATION_ADMIN_GET
#define MODEL     PS_OPERATION_MODEL
#define STREAM    PS_OPERATION_STREAM
#define LENIENT   PS_OPERATION_LENIENT

/* clang-format off */

/* Sorted by path, byte by byte: they are searched by halves. */
static const struct ps_operation exact[] = {
    {PS_STR_INIT("/abort_request"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/api/chat"), PS_DIALECT_OLLAMA, PS_REQUEST_CHAT, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/api/copy"), PS_DIALECT_OLLAMA, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/api/create"), PS_DIALECT_OLLAMA, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/api/delete"), PS_DIALECT_OLLAMA, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/api/embed"), PS_DIALECT_OLLAMA, PS_REQUEST_EMBEDDINGS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/api/embeddings"), PS_DIALECT_OLLAMA, PS_REQUEST_EMBEDDINGS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/api/extensions"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_PEER},
    {PS_STR_INIT("/api/free"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/api/generate"), PS_DIALECT_OLLAMA, PS_REQUEST_COMPLETIONS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/api/interrupt"), PS_DIALECT_COMFYUI, PS_REQUEST_META, READ | ANY | LENIENT, PS_STICKY_JOB_BODY},
    {PS_STR_INIT("/api/object_info"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_PEER},
    {PS_STR_INIT("/api/prompt"), PS_DIALECT_COMFYUI, PS_REQUEST_JOB, READ | ANY | ONCE | LENIENT, PS_STICKY_PROMPT},
    {PS_STR_INIT("/api/ps"), PS_DIALECT_OLLAMA, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/api/pull"), PS_DIALECT_OLLAMA, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/api/push"), PS_DIALECT_OLLAMA, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/api/queue"), PS_DIALECT_COMFYUI, PS_REQUEST_META, READ | ANY | LENIENT, PS_STICKY_JOB_BODY},
    {PS_STR_INIT("/api/show"), PS_DIALECT_OLLAMA, PS_REQUEST_META, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/api/system_stats"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_PEER},
    {PS_STR_INIT("/api/tags"), PS_DIALECT_OLLAMA, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/api/upload/image"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ONCE, PS_STICKY_UPLOAD},
    {PS_STR_INIT("/api/upload/mask"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ONCE, PS_STICKY_UPLOAD},
    {PS_STR_INIT("/api/version"), PS_DIALECT_OLLAMA, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/api/view"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_FILE},
    {PS_STR_INIT("/api/ws"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_CLIENT},
    {PS_STR_INIT("/apply-template"), PS_DIALECT_LLAMACPP, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/chat/completions"), PS_DIALECT_OPENAI, PS_REQUEST_CHAT, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/classify"), PS_DIALECT_OPENAI, PS_REQUEST_RANK, READ | LENIENT, PS_STICKY_NONE},
    {PS_STR_INIT("/clear_hicache_storage_backend"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/collective_rpc"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/completion"), PS_DIALECT_LLAMACPP, PS_REQUEST_COMPLETIONS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/completions"), PS_DIALECT_LLAMACPP, PS_REQUEST_COMPLETIONS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/configure_logging"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/continue_generation"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/decode"), PS_DIALECT_TEI, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/destroy_weights_update_group"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/detokenize"), PS_DIALECT_TEI, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/embed"), PS_DIALECT_TEI, PS_REQUEST_EMBEDDINGS, READ | LENIENT, PS_STICKY_NONE},
    {PS_STR_INIT("/embed_all"), PS_DIALECT_TEI, PS_REQUEST_EMBEDDINGS, READ | LENIENT, PS_STICKY_NONE},
    {PS_STR_INIT("/embed_sparse"), PS_DIALECT_TEI, PS_REQUEST_EMBEDDINGS, READ | LENIENT, PS_STICKY_NONE},
    {PS_STR_INIT("/embedding"), PS_DIALECT_LLAMACPP, PS_REQUEST_EMBEDDINGS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/embeddings"), PS_DIALECT_LLAMACPP, PS_REQUEST_EMBEDDINGS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/encode"), PS_DIALECT_TEI, PS_REQUEST_EMBEDDINGS, READ | LENIENT, PS_STICKY_NONE},
    {PS_STR_INIT("/extensions"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_PEER},
    {PS_STR_INIT("/flush_cache"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/free"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/generate"), PS_DIALECT_GENERATE, PS_REQUEST_COMPLETIONS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/generate_stream"), PS_DIALECT_GENERATE, PS_REQUEST_COMPLETIONS, READ | ANY | STREAM, PS_STICKY_NONE},
    {PS_STR_INIT("/history"), PS_DIALECT_COMFYUI, PS_REQUEST_META, READ | ANY | LENIENT, PS_STICKY_JOB_BODY},
    {PS_STR_INIT("/infill"), PS_DIALECT_LLAMACPP, PS_REQUEST_COMPLETIONS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/info"), PS_DIALECT_TEI, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/init_weights_update_group"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/interrupt"), PS_DIALECT_COMFYUI, PS_REQUEST_META, READ | ANY | LENIENT, PS_STICKY_JOB_BODY},
    {PS_STR_INIT("/load_lora_adapter"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/lora-adapters"), PS_DIALECT_LLAMACPP, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/models/load"), PS_DIALECT_LLAMACPP, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/models/unload"), PS_DIALECT_LLAMACPP, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/object_info"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_PEER},
    {PS_STR_INIT("/pause"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/pause_generation"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/pooling"), PS_DIALECT_OPENAI, PS_REQUEST_EMBEDDINGS, READ | LENIENT, PS_STICKY_NONE},
    {PS_STR_INIT("/predict"), PS_DIALECT_TEI, PS_REQUEST_RANK, READ | LENIENT, PS_STICKY_NONE},
    {PS_STR_INIT("/prompt"), PS_DIALECT_COMFYUI, PS_REQUEST_JOB, READ | ANY | ONCE | LENIENT, PS_STICKY_PROMPT},
    {PS_STR_INIT("/props"), PS_DIALECT_LLAMACPP, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/queue"), PS_DIALECT_COMFYUI, PS_REQUEST_META, READ | ANY | LENIENT, PS_STICKY_JOB_BODY},
    {PS_STR_INIT("/release_memory"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/release_memory_occupation"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/rerank"), PS_DIALECT_TEI, PS_REQUEST_RANK, READ | LENIENT, PS_STICKY_NONE},
    {PS_STR_INIT("/reranking"), PS_DIALECT_LLAMACPP, PS_REQUEST_RANK, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/reset_encoder_cache"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/reset_mm_cache"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/reset_prefix_cache"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/resume"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/resume_memory"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/resume_memory_occupation"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/scale_elastic_ep"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/score"), PS_DIALECT_OPENAI, PS_REQUEST_RANK, READ | LENIENT, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/create/embedding"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/create/hypernetwork"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/img2img"), PS_DIALECT_A1111, PS_REQUEST_IMAGES, READ, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/options"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/refresh-checkpoints"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/refresh-loras"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/refresh-vae"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/reload-checkpoint"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/server-kill"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/server-restart"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/server-stop"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/train/embedding"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/train/hypernetwork"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/txt2img"), PS_DIALECT_A1111, PS_REQUEST_IMAGES, READ, PS_STICKY_NONE},
    {PS_STR_INIT("/sdapi/v1/unload-checkpoint"), PS_DIALECT_A1111, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/set_internal_state"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/similarity"), PS_DIALECT_TEI, PS_REQUEST_RANK, READ | LENIENT, PS_STICKY_NONE},
    {PS_STR_INIT("/sleep"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/slots"), PS_DIALECT_LLAMACPP, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/start_profile"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/stop_profile"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/system_stats"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_PEER},
    {PS_STR_INIT("/tokenize"), PS_DIALECT_TEI, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/unload_lora_adapter"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/update_weights"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/update_weights_from_disk"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/update_weights_from_distributed"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/update_weights_from_tensor"), PS_DIALECT_GENERATE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/upload/image"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ONCE, PS_STICKY_UPLOAD},
    {PS_STR_INIT("/upload/mask"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ONCE, PS_STICKY_UPLOAD},
    {PS_STR_INIT("/v1/chat/completions"), PS_DIALECT_OPENAI, PS_REQUEST_CHAT, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/v1/completions"), PS_DIALECT_OPENAI, PS_REQUEST_COMPLETIONS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/v1/embeddings"), PS_DIALECT_OPENAI, PS_REQUEST_EMBEDDINGS, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/v1/images/generations"), PS_DIALECT_OPENAI, PS_REQUEST_IMAGES, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/v1/load_lora_adapter"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/v1/messages"), PS_DIALECT_ANTHROPIC, PS_REQUEST_CHAT, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/v1/models"), PS_DIALECT_OPENAI, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/v1/rerank"), PS_DIALECT_OPENAI, PS_REQUEST_RANK, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/v1/responses"), PS_DIALECT_OPENAI, PS_REQUEST_RESPONSES, READ | ANY | ONCE, PS_STICKY_NONE},
    {PS_STR_INIT("/v1/score"), PS_DIALECT_OPENAI, PS_REQUEST_RANK, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/v1/unload_lora_adapter"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/v2"), PS_DIALECT_KSERVE, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/health/live"), PS_DIALECT_KSERVE, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/health/ready"), PS_DIALECT_KSERVE, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/logging"), PS_DIALECT_KSERVE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/stats"), PS_DIALECT_KSERVE, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/repository/index"), PS_DIALECT_KSERVE, PS_REQUEST_META, 0, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/rerank"), PS_DIALECT_OPENAI, PS_REQUEST_RANK, READ, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/trace/setting"), PS_DIALECT_KSERVE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/view"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_FILE},
    {PS_STR_INIT("/wake_up"), PS_DIALECT_OPENAI, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/ws"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_CLIENT},
};

/* Tried in this order. */
static const struct ps_operation patterns[] = {
    {PS_STR_INIT("/api/blobs/*"), PS_DIALECT_OLLAMA, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/history/*"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_JOB_PATH},
    {PS_STR_INIT("/customnode/**"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/manager/**"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/object_info/*"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_PEER},
    {PS_STR_INIT("/api/history/*"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_JOB_PATH},
    {PS_STR_INIT("/api/customnode/**"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/api/manager/**"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/api/object_info/*"), PS_DIALECT_COMFYUI, PS_REQUEST_META, 0, PS_STICKY_PEER},
    {PS_STR_INIT("/v2/customnode/**"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/manager/**"), PS_DIALECT_COMFYUI, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/slots/*"), PS_DIALECT_LLAMACPP, PS_REQUEST_META, ADMIN | ADMIN_GET, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/infer"), PS_DIALECT_KSERVE, PS_REQUEST_INFER, READ | ANY | MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/generate"), PS_DIALECT_KSERVE, PS_REQUEST_COMPLETIONS, READ | ANY | MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/generate_stream"), PS_DIALECT_KSERVE, PS_REQUEST_COMPLETIONS, READ | ANY | MODEL | STREAM, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/ready"), PS_DIALECT_KSERVE, PS_REQUEST_META, MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/config"), PS_DIALECT_KSERVE, PS_REQUEST_META, MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/stats"), PS_DIALECT_KSERVE, PS_REQUEST_META, MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*"), PS_DIALECT_KSERVE, PS_REQUEST_META, MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/versions/*/infer"), PS_DIALECT_KSERVE, PS_REQUEST_INFER, READ | ANY | MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/versions/*/generate"), PS_DIALECT_KSERVE, PS_REQUEST_COMPLETIONS, READ | ANY | MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/versions/*/generate_stream"), PS_DIALECT_KSERVE, PS_REQUEST_COMPLETIONS, READ | ANY | MODEL | STREAM, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/versions/*/ready"), PS_DIALECT_KSERVE, PS_REQUEST_META, MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/versions/*/config"), PS_DIALECT_KSERVE, PS_REQUEST_META, MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/versions/*/stats"), PS_DIALECT_KSERVE, PS_REQUEST_META, MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/versions/*"), PS_DIALECT_KSERVE, PS_REQUEST_META, MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/models/*/trace/setting"), PS_DIALECT_KSERVE, PS_REQUEST_META, ADMIN | MODEL, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/repository/models/**"), PS_DIALECT_KSERVE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/systemsharedmemory/**"), PS_DIALECT_KSERVE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
    {PS_STR_INIT("/v2/cudasharedmemory/**"), PS_DIALECT_KSERVE, PS_REQUEST_META, ADMIN, PS_STICKY_NONE},
};

/* A route that is `openai` takes these wherever they are below it: the end of the path decides. */
static const struct ps_operation openai[] = {
    {PS_STR_INIT("/chat/completions"), PS_DIALECT_OPENAI, PS_REQUEST_CHAT, READ | ANY, PS_STICKY_NONE},
    {PS_STR_INIT("/completions"), PS_DIALECT_OPENAI, PS_REQUEST_COMPLETIONS, READ, PS_STICKY_NONE},
    {PS_STR_INIT("/embeddings"), PS_DIALECT_OPENAI, PS_REQUEST_EMBEDDINGS, READ, PS_STICKY_NONE},
    {PS_STR_INIT("/images/generations"), PS_DIALECT_OPENAI, PS_REQUEST_IMAGES, READ, PS_STICKY_NONE},
    {PS_STR_INIT("/responses"), PS_DIALECT_OPENAI, PS_REQUEST_RESPONSES, READ, PS_STICKY_NONE},
    {PS_STR_INIT(""), PS_DIALECT_OPENAI, PS_REQUEST_OTHER, READ, PS_STICKY_NONE},
};
/* clang-format on */

/* --- searching -------------------------------------------------------------------------------- */

static int compare(struct ps_str a, struct ps_str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = memcmp(a.ptr, b.ptr, len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static const struct ps_operation *find_exact(struct ps_str path)
{
    size_t low = 0;
    size_t high = PS_ARRAY_LEN(exact);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(path, exact[middle].path);
        if (order == 0) {
            return &exact[middle];
        }
        low = order > 0 ? middle + 1 : low;
        high = order < 0 ? middle : high;
    }
    return NULL;
}

/* Takes the next segment, without its slash, off a path that begins with one. */
static struct ps_str next_segment(struct ps_str *path)
{
    struct ps_str rest = ps_str_skip(*path, 1);
    struct ps_str segment = ps_str_first(rest, ps_str_find(rest, '/'));
    *path = ps_str_skip(rest, segment.len);
    return segment;
}

static bool matches(struct ps_str pattern, struct ps_str path)
{
    while (pattern.len > 0 && path.len > 0) {
        struct ps_str wanted = next_segment(&pattern);
        if (ps_str_eq(wanted, PS_STR("**"))) {
            return true;
        }
        struct ps_str segment = next_segment(&path);
        if (segment.len == 0 || !(ps_str_eq(wanted, PS_STR("*")) || ps_str_eq(wanted, segment))) {
            return false;
        }
    }
    return pattern.len == 0 && path.len == 0;
}

static const struct ps_operation *find_pattern(struct ps_str path)
{
    if (memchr(path.ptr + 1, '/', path.len - 1) == NULL) {
        return NULL; /* all of them have two segments */
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(patterns); i++) {
        /* Most paths differ in the second byte from all of them. */
        if (patterns[i].path.ptr[1] == path.ptr[1] && matches(patterns[i].path, path)) {
            return &patterns[i];
        }
    }
    return NULL;
}

const struct ps_operation *ps_dialect_find(struct ps_str path)
{
    while (path.len > 1 && path.ptr[path.len - 1] == '/') {
        path.len--;
    }
    if (path.len < 2 || path.ptr[0] != '/') {
        return NULL;
    }
    const struct ps_operation *found = find_exact(path);
    return found != NULL ? found : find_pattern(path);
}

const struct ps_operation *ps_dialect_openai(struct ps_str path)
{
    size_t i = 0;
    while (!ps_str_ends_with(path, openai[i].path)) {
        i++; /* the last row ends every path */
    }
    return &openai[i];
}

const struct ps_operation *ps_dialect_row(size_t n)
{
    if (n < PS_ARRAY_LEN(exact)) {
        return &exact[n];
    }
    n -= PS_ARRAY_LEN(exact);
    return n < PS_ARRAY_LEN(patterns) ? &patterns[n] : NULL;
}

bool ps_dialect_is_admin(const struct ps_operation *operation, struct ps_str method)
{
    if (operation == NULL || (operation->flags & (ADMIN | ADMIN_GET)) == 0) {
        return false;
    }
    bool reads = ps_str_eq(method, PS_STR("GET")) || ps_str_eq(method, PS_STR("HEAD")) ||
                 ps_str_eq(method, PS_STR("OPTIONS"));
    return (operation->flags & (reads ? ADMIN_GET : ADMIN)) != 0;
}

/* --- words ------------------------------------------------------------------------------------ */

const char *ps_request_kind_text(enum ps_request_kind kind)
{
    static const char *const names[] = {
        [PS_REQUEST_OTHER] = "other",
        [PS_REQUEST_CHAT] = "chat",
        [PS_REQUEST_COMPLETIONS] = "completions",
        [PS_REQUEST_EMBEDDINGS] = "embeddings",
        [PS_REQUEST_IMAGES] = "images",
        [PS_REQUEST_RESPONSES] = "responses",
        [PS_REQUEST_RANK] = "rank",
        [PS_REQUEST_INFER] = "infer",
        [PS_REQUEST_JOB] = "job",
        [PS_REQUEST_META] = "meta",
    };
    return names[kind];
}

bool ps_request_generates(enum ps_request_kind kind)
{
    return kind == PS_REQUEST_CHAT || kind == PS_REQUEST_COMPLETIONS ||
           kind == PS_REQUEST_RESPONSES;
}

enum ps_error_shape ps_dialect_errors(enum ps_dialect dialect)
{
    switch (dialect) {
    case PS_DIALECT_OPENAI:
    case PS_DIALECT_LLAMACPP:
    case PS_DIALECT_COMFYUI: /* its pages read error.message */
        return PS_ERROR_OPENAI;
    case PS_DIALECT_ANTHROPIC:
        return PS_ERROR_ANTHROPIC;
    case PS_DIALECT_OLLAMA:
    case PS_DIALECT_KSERVE:
    case PS_DIALECT_GENERATE:
    case PS_DIALECT_TEI:
        return PS_ERROR_TEXT;
    case PS_DIALECT_A1111: /* FastAPI's clients read `detail`, which a problem has */
    case PS_DIALECT_NONE:
    case PS_DIALECT_COUNT:
        break;
    }
    return PS_ERROR_PROBLEM;
}

/* The names come from the servers' documentation and source as they were read for
 * docs/gpu-optimizer.md; what was compared with a running server says the table there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/vitals_pages.h"

#define MIB 1048576.0

#define ROW(text, to, ...)                                       \
    {                                                            \
        .name = (text), .target = PS_VITALS_TO_##to, __VA_ARGS__ \
    }
#define FIELD(text, what, ...)  ROW(text, FIELD, .field = PS_VITALS_##what, __VA_ARGS__)
#define DEVICE(text, what, ...) ROW(text, DEVICE, .field = PS_DEVICE_##what, __VA_ARGS__)
#define STATE(text, what, ...)  ROW(text, STATE, .field = PS_VITALS_##what, __VA_ARGS__)
#define BATCH(member, part, times)                                                         \
    ROW("model_stats[].batch_stats[]." member, BATCH, .field = PS_VITALS_BATCH_##part, \
        .scale = (times))

/* clang-format off */

/* What a simulated server says of the device is on a page of its own: /sim/state. */
#define SIMULATED ROW("penstock_simulated", SIMULATED)

/* Version 0 says gpu_, version 1 says kv_; engines of one server (data parallel) are told apart by a label. */
static const struct ps_vitals_meaning vllm[] = {
    FIELD("vllm:num_requests_running", RUNNING),
    ROW("vllm:num_requests_running", MODEL, .key = "model_name"),
    FIELD("vllm:num_requests_waiting", WAITING),
    FIELD("vllm:num_requests_waiting_by_reason", WAITING, .label = "reason",
     .when = "capacity", .rank = 1),
    FIELD("vllm:gpu_cache_usage_perc", KV_USE, .how = PS_VITALS_MOST),
    FIELD("vllm:kv_cache_usage_perc", KV_USE, .how = PS_VITALS_MOST, .rank = 1),
    FIELD("vllm:cache_config_info", KV_BLOCKS_TOTAL, .label = "num_gpu_blocks"),
    FIELD("vllm:cache_config_info", KV_BLOCK_TOKENS, .label = "block_size", .how = PS_VITALS_MOST),
    FIELD("vllm:gpu_prefix_cache_queries", PREFIX_QUERIES),
    FIELD("vllm:gpu_prefix_cache_hits", PREFIX_HITS),
    FIELD("vllm:prefix_cache_queries", PREFIX_QUERIES, .rank = 1),
    FIELD("vllm:prefix_cache_hits", PREFIX_HITS, .rank = 1),
    FIELD("vllm:gpu_prefix_cache_hit_rate", PREFIX_HIT_RATE, .how = PS_VITALS_MOST),
    FIELD("vllm:num_preemptions", PREEMPTIONS),
    FIELD("vllm:prompt_tokens", PROMPT_TOKENS),
    FIELD("vllm:generation_tokens", GENERATED_TOKENS),
    STATE("vllm:engine_sleep_state", AWAKE, .label = "sleep_state", .when = "awake"),
    STATE("vllm:engine_sleep_state", ASLEEP, .label = "sleep_state",
     .when = "weights_offloaded"),
    STATE("vllm:engine_sleep_state", EMPTY, .label = "sleep_state", .when = "discard_all"),
    SIMULATED,
    {0},
};

static const struct ps_vitals_meaning vllm_sleep[] = {
    STATE("is_sleeping", ASLEEP, .when = "true"),
    STATE("is_sleeping", AWAKE, .when = "false"),
    {0},
};

static const struct ps_vitals_meaning sglang[] = {
    FIELD("sglang:num_running_reqs", RUNNING),
    ROW("sglang:num_running_reqs", MODEL, .key = "model_name"),
    FIELD("sglang:num_queue_reqs", WAITING),
    FIELD("sglang:token_usage", KV_USE, .how = PS_VITALS_MOST),
    FIELD("sglang:num_used_tokens", KV_TOKENS_USED),
    FIELD("sglang:cache_hit_rate", PREFIX_HIT_RATE, .how = PS_VITALS_MOST),
    FIELD("sglang:prompt_tokens", PROMPT_TOKENS),
    FIELD("sglang:generation_tokens", GENERATED_TOKENS),
    SIMULATED,
    {0},
};

static const struct ps_vitals_meaning trtllm[] = {
    FIELD("trtllm_num_requests_running", RUNNING),
    ROW("trtllm_num_requests_running", MODEL, .key = "model_name"),
    FIELD("trtllm_num_requests_waiting", WAITING),
    FIELD("trtllm_kv_cache_utilization", KV_USE, .how = PS_VITALS_MOST),
    FIELD("trtllm_kv_cache_used_blocks", KV_BLOCKS_USED),
    FIELD("trtllm_kv_cache_used_blocks", KV_BLOCKS_TOTAL),
    FIELD("trtllm_kv_cache_free_blocks", KV_BLOCKS_TOTAL),
    FIELD("trtllm_kv_cache_hit_rate", PREFIX_HIT_RATE, .how = PS_VITALS_MOST),
    FIELD("trtllm_gpu_memory_usage_bytes", HELD),
    SIMULATED,
    {0},
};

static const struct ps_vitals_meaning trtllm_status[] = {
    STATE("state", AWAKE, .when = "running"),
    STATE("state", CHANGING, .when = "parking"),
    STATE("state", ASLEEP, .when = "parked"),
    STATE("state", CHANGING, .when = "waking"),
    STATE("state", FAILED, .when = "failed"),
    {0},
};

static const struct ps_vitals_meaning triton[] = {
    FIELD("nv_inference_pending_request_count", WAITING),
    DEVICE("nv_gpu_memory_total_bytes", MEMORY_TOTAL, .key = "gpu_uuid"),
    DEVICE("nv_gpu_memory_used_bytes", MEMORY_USED, .key = "gpu_uuid"),
    DEVICE("nv_gpu_utilization", BUSY, .key = "gpu_uuid", .scale = 100),
    DEVICE("nv_gpu_power_usage", POWER, .key = "gpu_uuid"),
    DEVICE("nv_gpu_power_limit", POWER_LIMIT, .key = "gpu_uuid"),
    DEVICE("nv_energy_consumption", ENERGY, .key = "gpu_uuid"),
    SIMULATED,
    {0},
};

/* Models that are ready; an unloaded one is not listed here. */
static const struct ps_vitals_meaning triton_stats[] = {
    ROW("model_stats[].name", MODEL, .loaded = true),
    ROW("model_stats[].memory_usage[].byte_size", MODEL_BYTES),
    ROW("model_stats[].last_inference", MODEL_MARK, .scale = 1e-3),
    BATCH("batch_size", SIZE, 1),
    BATCH("compute_infer.count", COUNT, 1),
    BATCH("compute_input.ns", SECONDS, 1e-9),
    BATCH("compute_infer.ns", SECONDS, 1e-9),
    BATCH("compute_output.ns", SECONDS, 1e-9),
    {0},
};

static const struct ps_vitals_meaning llamacpp[] = {
    FIELD("llamacpp:requests_processing", RUNNING),
    FIELD("llamacpp:requests_deferred", WAITING),
    FIELD("llamacpp:kv_cache_usage_ratio", KV_USE, .how = PS_VITALS_MOST),
    FIELD("llamacpp:kv_cache_tokens", KV_TOKENS_USED),
    FIELD("llamacpp:prompt_tokens", PROMPT_TOKENS),
    FIELD("llamacpp:tokens_predicted", GENERATED_TOKENS),
    SIMULATED,
    {0},
};

static const struct ps_vitals_meaning llamacpp_slots[] = {
    FIELD("[].is_processing", RUNNING, .how = PS_VITALS_COUNT, .when = "true"),
    {0},
};

static const struct ps_vitals_meaning llamacpp_props[] = {
    STATE("is_sleeping", EMPTY, .when = "true"),
    STATE("is_sleeping", AWAKE, .when = "false"),
    {0},
};

static const struct ps_vitals_meaning llamacpp_models[] = {
    ROW("data[].id", MODEL),
    ROW("data[].status.value", MODEL_LOADED, .when = "loaded"),
    {0},
};

static const struct ps_vitals_meaning ollama[] = {
    ROW("models[].name", MODEL, .loaded = true),
    ROW("models[].size_vram", MODEL_BYTES),
    ROW("models[].expires_at", MODEL_MARK), /* moves on when a request ends */
    FIELD("models[].size_vram", HELD),
    FIELD("models", HELD, .how = PS_VITALS_SUM), /* nothing loaded: nothing held */
    ROW("simulated", SIMULATED, .when = "true"),
    {0},
};

static const struct ps_vitals_meaning comfyui[] = {
    ROW("devices[].index", DEVICE_INDEX),
    ROW("devices[].name", DEVICE_NAME),
    DEVICE("devices[].vram_total", MEMORY_TOTAL),
    DEVICE("devices[].vram_free", MEMORY_FREE),
    FIELD("devices[].torch_vram_total", ALLOCATOR_RESERVED),
    FIELD("devices[].torch_vram_total", ALLOCATOR_ACTIVE),
    FIELD("devices[].torch_vram_free", ALLOCATOR_ACTIVE, .scale = -1),
    ROW("simulated", SIMULATED, .when = "true"),
    {0},
};

static const struct ps_vitals_meaning comfyui_queue[] = {
    FIELD("queue_running", RUNNING, .how = PS_VITALS_COUNT),
    FIELD("queue_pending", WAITING, .how = PS_VITALS_COUNT),
    {0},
};

static const struct ps_vitals_meaning a1111[] = {
    DEVICE("cuda.system.total", MEMORY_TOTAL),
    DEVICE("cuda.system.used", MEMORY_USED),
    DEVICE("cuda.system.free", MEMORY_FREE),
    FIELD("cuda.reserved.current", ALLOCATOR_RESERVED),
    FIELD("cuda.allocated.current", ALLOCATOR_ACTIVE),
    FIELD("cuda.events.retries", ALLOCATOR_RETRIES),
    FIELD("cuda.events.oom", OUT_OF_MEMORY),
    ROW("simulated", SIMULATED, .when = "true"),
    {0},
};

static const struct ps_vitals_meaning a1111_progress[] = {
    FIELD("state.job_count", RUNNING),
    {0},
};

static const struct ps_vitals_meaning tgi[] = {
    FIELD("tgi_batch_current_size", RUNNING),
    FIELD("tgi_queue_size", WAITING),
    SIMULATED,
    {0},
};

static const struct ps_vitals_meaning tei[] = {
    FIELD("te_queue_size", WAITING),
    SIMULATED,
    {0},
};

static const struct ps_vitals_meaning lmstudio[] = {
    ROW("models[].loaded_instances[].id", MODEL, .loaded = true),
    {0},
};

static const struct ps_vitals_meaning llamaswap[] = {
    ROW("running[].model", MODEL, .loaded = true),
    {0},
};

static const struct ps_vitals_meaning sim[] = {
    ROW("simulated", SIMULATED, .when = "true"),
    DEVICE("device.total_bytes", MEMORY_TOTAL),
    DEVICE("device.used_bytes", MEMORY_USED),
    DEVICE("device.free_bytes", MEMORY_FREE),
    FIELD("device.out_of_memory", OUT_OF_MEMORY),
    FIELD("device.allocation_retries", ALLOCATOR_RETRIES),
    {0},
};

/* Release 4.6 gave many fields other names and keeps these as aliases. Memory is in MiB, energy in mJ. */
#define DCGM(NAME, WHAT, ...) DEVICE("DCGM_FI_" NAME, WHAT, .key = "UUID", __VA_ARGS__)
static const struct ps_vitals_meaning dcgm[] = {
    DCGM("DEV_FB_USED", MEMORY_USED, .scale = MIB),
    ROW("DCGM_FI_DEV_FB_USED", DEVICE_INDEX, .key = "UUID", .label = "gpu"),
    ROW("DCGM_FI_DEV_FB_USED", DEVICE_NAME, .key = "UUID", .label = "modelName"),
    DCGM("DEV_FB_FREE", MEMORY_FREE, .scale = MIB),
    DCGM("DEV_FB_RESERVED", MEMORY_RESERVED, .scale = MIB),
    DCGM("DEV_FB_TOTAL", MEMORY_TOTAL, .scale = MIB),
    DCGM("DEV_GPU_UTIL", BUSY),
    DCGM("DEV_MEM_COPY_UTIL", MEMORY_BUSY),
    DCGM("DEV_POWER_USAGE", POWER),
    DCGM("DEV_TOTAL_ENERGY_CONSUMPTION", ENERGY, .scale = 1e-3),
    DCGM("DEV_GPU_TEMP", TEMPERATURE),
    DCGM("DEV_MEMORY_TEMP", MEMORY_TEMPERATURE),
    DCGM("DEV_SM_CLOCK", CLOCK),
    DCGM("DEV_MEM_CLOCK", MEMORY_CLOCK),
    DCGM("DEV_PCIE_REPLAY_COUNTER", PCIE_REPLAYS),
    DCGM("DEV_CORRECTABLE_REMAPPED_ROWS", ROWS_CORRECTED),
    DCGM("DEV_UNCORRECTABLE_REMAPPED_ROWS", ROWS_UNCORRECTED),
    DCGM("DEV_ROW_REMAP_FAILURE", ROWS_FAILED),
    DCGM("PROF_GR_ENGINE_ACTIVE", BUSY, .scale = 100, .rank = 1),
    DCGM("PROF_GR_ENGINE_UTIL_RATIO", BUSY, .scale = 100, .rank = 1),
    DCGM("PROF_SM_ACTIVE", SM, .scale = 100),
    DCGM("PROF_SM_OCCUPANCY", SM_OCCUPANCY, .scale = 100),
    DCGM("PROF_PIPE_TENSOR_ACTIVE", TENSOR, .scale = 100),
    DCGM("PROF_DRAM_ACTIVE", DRAM, .scale = 100),
    DCGM("PROF_PCIE_TX_BYTES", PCIE_TX),
    DCGM("PROF_PCIE_RX_BYTES", PCIE_RX),
    {0},
};
#undef DCGM

static const struct ps_vitals_meaning remote[] = {
    ROW("devices[].index", DEVICE_INDEX),
    ROW("devices[].uuid", DEVICE_UUID),
    ROW("devices[].name", DEVICE_NAME),
    ROW("devices[].simulated", SIMULATED, .when = "true"),
    DEVICE("devices[].total_mb", MEMORY_TOTAL, .scale = MIB),
    DEVICE("devices[].used_mb", MEMORY_USED, .scale = MIB),
    DEVICE("devices[].free_mb", MEMORY_FREE, .scale = MIB),
    DEVICE("devices[].reserved_mb", MEMORY_RESERVED, .scale = MIB),
    ROW("devices[].", ANY_DEVICE),
    {0},
};

const struct ps_vitals_format ps_vitals_formats[PS_VITALS_PAGES] = {
    [PS_VITALS_PAGE_VLLM] = {"vLLM's metrics", false, vllm},
    [PS_VITALS_PAGE_VLLM_SLEEP] = {"vLLM's is_sleeping", true, vllm_sleep},
    [PS_VITALS_PAGE_SGLANG] = {"SGLang's metrics", false, sglang},
    [PS_VITALS_PAGE_TRTLLM] = {"TensorRT-LLM's metrics", false, trtllm},
    [PS_VITALS_PAGE_TRTLLM_STATUS] = {"TensorRT-LLM's memory_status", true, trtllm_status},
    [PS_VITALS_PAGE_TRITON] = {"Triton's metrics", false, triton},
    [PS_VITALS_PAGE_TRITON_STATS] = {"Triton's statistics", true, triton_stats},
    [PS_VITALS_PAGE_LLAMACPP] = {"llama.cpp's metrics", false, llamacpp},
    [PS_VITALS_PAGE_LLAMACPP_SLOTS] = {"llama.cpp's slots", true, llamacpp_slots},
    [PS_VITALS_PAGE_LLAMACPP_PROPS] = {"llama.cpp's props", true, llamacpp_props},
    [PS_VITALS_PAGE_LLAMACPP_MODELS] = {"llama.cpp's models", true, llamacpp_models},
    [PS_VITALS_PAGE_OLLAMA] = {"Ollama's ps", true, ollama},
    [PS_VITALS_PAGE_COMFYUI] = {"ComfyUI's system_stats", true, comfyui},
    [PS_VITALS_PAGE_COMFYUI_QUEUE] = {"ComfyUI's queue", true, comfyui_queue},
    [PS_VITALS_PAGE_A1111] = {"A1111's memory", true, a1111},
    [PS_VITALS_PAGE_A1111_PROGRESS] = {"A1111's progress", true, a1111_progress},
    [PS_VITALS_PAGE_TGI] = {"TGI's metrics", false, tgi},
    [PS_VITALS_PAGE_TEI] = {"TEI's metrics", false, tei},
    [PS_VITALS_PAGE_LMSTUDIO] = {"LM Studio's models", true, lmstudio},
    [PS_VITALS_PAGE_LLAMASWAP] = {"llama-swap's running", true, llamaswap},
    [PS_VITALS_PAGE_SIM] = {"a simulated server's state", true, sim},
    [PS_VITALS_PAGE_DCGM] = {"dcgm-exporter's metrics", false, dcgm},
    [PS_VITALS_PAGE_REMOTE] = {"another Penstock's profile", true, remote},
};
/* clang-format on */

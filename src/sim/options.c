#include "sim/options.h"

#include <stddef.h>

#include "base/check.h"
#include "version.h"

#define AT(field) offsetof(struct ps_sim_opts, field)

/* clang-format off */
const struct ps_option ps_sim_options[] = {
    {"memory", PS_OPTION_BYTES, AT(memory), "24GiB", "memory of the device",
     .min = 1 << 20, .max = 1e15},
    {"context", PS_OPTION_BYTES, AT(context), "400MiB", "memory that the driver and the process take",
     .min = 0},
    {"weights", PS_OPTION_BYTES, AT(weights), "15GiB", "memory of the weights", .min = 0},
    {"activations", PS_OPTION_BYTES, AT(activations), "1GiB", "memory reserved for the largest step",
     .min = 0},
    {"gpu_memory_utilization", PS_OPTION_DOUBLE, AT(gpu_memory_utilization), "0.9",
     "share of the memory that the language model takes at start, cache included",
     .min = 0.01, .max = 1},
    {"kv_bytes_per_token", PS_OPTION_BYTES, AT(kv_bytes_per_token), "128KiB",
     "key-value cache of one token", .min = 0, .max = 1e9},
    {"kv_tokens", PS_OPTION_U64, AT(kv_tokens), "0",
     "tokens that the key-value cache holds; 0: as many as gpu_memory_utilization leaves room for",
     .min = 0, .max = 1e8},
    {"image_bytes_per_pixel", PS_OPTION_BYTES, AT(image_bytes_per_pixel), "1KiB",
     "memory that one pixel takes while an image is made", .min = 1, .max = 1e9},
    {"work_bytes_per_token", PS_OPTION_BYTES, AT(work_bytes_per_token), "0",
     "memory that a request takes beside the cache while it runs, for each token of prompt and answer",
     .min = 0, .max = 1e9},
    {"leak_bytes", PS_OPTION_BYTES, AT(leak_bytes), "0",
     "memory that each request leaves behind, of what it took, until its model leaves the device", .min = 0},
    {"prefill_rate", PS_OPTION_DOUBLE, AT(prefill_rate), "10000", "prompt tokens per second",
     .min = 0.001, .max = 1e12},
    {"decode_base", PS_OPTION_SPAN, AT(decode_base), "8ms", "time of a step, whatever is in it", .min = 0},
    {"decode_per_seq", PS_OPTION_SPAN, AT(decode_per_seq), "50us", "added by each sequence that decodes",
     .min = 0},
    {"kv_read_rate", PS_OPTION_DOUBLE, AT(kv_read_rate), "16000000",
     "cached tokens that a step reads per second", .min = 0.001, .max = 1e15},
    {"image_rate", PS_OPTION_DOUBLE, AT(image_rate), "20000000", "pixels times steps per second",
     .min = 0.001, .max = 1e15},
    {"load_rate", PS_OPTION_DOUBLE, AT(load_rate), "5e9", "bytes of weights per second from disk",
     .min = 1, .max = 1e15},
    {"wake_rate", PS_OPTION_DOUBLE, AT(wake_rate), "50e9",
     "bytes of weights per second from the memory of the host", .min = 1, .max = 1e15},
    {"unload_delay", PS_OPTION_SPAN, AT(unload_delay), "0s",
     "time until released memory is free on the device, half of it to one and a half", .min = 0},
    {"speed", PS_OPTION_DOUBLE, AT(speed), "1", "how many times faster than that time passes",
     .min = 0.001, .max = 1e6},
    {"max_num_seqs", PS_OPTION_U64, AT(max_num_seqs), "256", "sequences that run at once",
     .min = 1, .max = 65536},
    {"max_num_batched_tokens", PS_OPTION_U64, AT(max_num_batched_tokens), "2048",
     "tokens in one step; longer prompts are cut into chunks", .min = 1, .max = 1e6},
    {"max_queue", PS_OPTION_U64, AT(max_queue), "0",
     "requests at once, above that they are refused; 0: no limit", .min = 0, .max = 1e6},
    {"max_batch", PS_OPTION_U64, AT(max_batch), "0",
     "inputs of one request where the engine has such a limit; 0: none of its own", .min = 0,
     .max = 1e6},
    {"keep_alive", PS_OPTION_SPAN, AT(keep_alive), "5m",
     "how long an idle model stays loaded where models are loaded on demand", .min = 0},
    {"max_model_len", PS_OPTION_U64, AT(max_model_len), "0",
     "tokens of prompt and answer together; 0: as many as the cache holds, at most 131072",
     .min = 0, .max = 1e8},
    {"embedding_dimensions", PS_OPTION_U64, AT(embedding_dimensions), "768",
     "length of an embedding unless the request says less", .min = 1, .max = 8192},
    {"max_body", PS_OPTION_BYTES, AT(max_body), "32MiB", "largest request body",
     .min = 1, .max = 1 << 30},
    {"seed", PS_OPTION_U64, AT(seed), "0", "changes all answers", .min = 0},
    {"fail_rate", PS_OPTION_DOUBLE, AT(fail_rate), "0", "share of requests answered with 500",
     .min = 0, .max = 1},
    {"latency_first", PS_OPTION_SPAN, AT(latency_first), "0s", "added before the first token", .min = 0},
    {"lie_delay", PS_OPTION_SPAN, AT(lie_delay), "5s",
     "with the lie \"late\": when the memory really leaves; not divided by speed", .min = 0},
    {"metrics_lag", PS_OPTION_SPAN, AT(metrics_lag), "0s",
     "how old the page of metrics is; not divided by speed", .min = 0},
    {0},
};
/* clang-format on */

const char *const ps_sim_lie_names[] = {"none", "keep", "late", "half", "busy", NULL};

static const char *const default_models[] = {"sim"};

void ps_sim_opts_init(struct ps_sim_opts *opts)
{
    /* numbers only: nothing is allocated, so nothing can fail */
    PS_CHECK(ps_option_init(ps_sim_options, opts) == PS_OK);
    opts->models = default_models;
    opts->model_count = 1;
    opts->prefix_caching = true;
    opts->personality = NULL;
    opts->version = PS_VERSION "+simulated";
    opts->control_key = NULL;
    opts->dev_mode = true;
    opts->sleep_mode = false;
    opts->metrics = false;
    opts->explicit_control = false;
    opts->router = false;
    opts->lie = PS_SIM_LIE_NONE;
}

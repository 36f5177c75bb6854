#include "operate/gpu_opts.h"

#include <stdio.h>
#include <string.h>

#include "http/url.h"

/* clang-format off */
const struct ps_option ps_gpu_batch_options[] = {
    PS_OPTION_ROW(ps_gpu_batch_opts, p95, SPAN, "0s",
     "how long a request may take 19 times in 20; the recommended batch is the best that keeps to it; 0 = no objective",
     .max = 3.6e12),
    PS_OPTION_ROW(ps_gpu_batch_opts, most, U64, "0",
     "the largest batch that is recommended; 0 = what was seen decides", .max = 512),
    {0},
};

const struct ps_option ps_gpu_options[] = {
    PS_OPTION_ROW(ps_gpu_opts, mode, ENUM, "advise",
     "`off`: memory is only watched; `advise`: what could be freed is planned and said; `auto`: it is freed, with "
     "`rungs` and nothing else", .names = ps_optimizer_mode_names),
    PS_OPTION_ROW(ps_gpu_opts, target_percent, DOUBLE, "75",
     "how full a device (or the cache of an engine that preallocates) may be", .min = 1, .max = 100),
    PS_OPTION_ROW(ps_gpu_opts, rungs, STRINGS, "prefix_cache",
     "what `auto` may do: `prefix_cache`, `host_cache`, `kv_limit`, `unload`, `sleep`, `deep_sleep`, `checkpoint`, "
     "`restart`"),
    PS_OPTION_ROW(ps_gpu_opts, trust_unverified, BOOL, "no",
     "make calls too that were never tried against a real server; without it they stay dry runs"),
    PS_OPTION_ROW(ps_gpu_opts, act_on_busy, BOOL, "no",
     "take memory from servers that work on requests, too"),
    PS_OPTION_ROW(ps_gpu_opts, margin_percent, DOUBLE, "0",
     "a cleanup of its own begins so much below the target, and ends twice as much below it", .min = 0, .max = 25),
    PS_OPTION_ROW(ps_gpu_opts, idle_after, SPAN, "0s",
     "a model that nobody used for so long may be unloaded while others of its server work, where the server tells "
     "(Ollama, Triton); 0 = a server that works on requests is left alone", .max = 3.6e12),
    PS_OPTION_ROW(ps_gpu_opts, in_flight, ENUM, "fixed",
     "`fixed`: what each upstream's `admission` says; `auto`: no more than its memory holds, too, and less while it "
     "runs short", .names = ps_throttle_mode_names),
    PS_OPTION_ROW(ps_gpu_opts, hold, SPAN, "5s",
     "how long it has to be over the target before something is done", .max = 3.6e12),
    PS_OPTION_ROW(ps_gpu_opts, cool_down, SPAN, "60s",
     "from the end of a cleanup to the next; grows while nothing can be done", .min = 1e9, .max = 8.64e13),
    PS_OPTION_ROW(ps_gpu_opts, interval, SPAN, "1s",
     "how often each server and source is asked how it is; 0 = never", .max = 3.6e12),
    PS_OPTION_ROW(ps_gpu_opts, timeout, SPAN, "1s",
     "how long all answers of one server may take together", .min = 1e6, .max = 6e10),
    PS_OPTION_ROW(ps_gpu_opts, drivers, BOOL, "yes",
     "ask this machine's drivers (NVIDIA's library, the kernel's amdgpu)", .no_reload = true),
    PS_OPTION_ROW(ps_gpu_opts, nvml_library, STRING, NULL,
     "NVIDIA's library (`libnvidia-ml.so.1`), where the system does not find it by name", .path = true,
     .no_reload = true),
    PS_OPTION_ROW(ps_gpu_opts, runtime_key, SECRET, NULL,
     "TensorRT-LLM's `TRTLLM_RUNTIME_CONTROL_API_KEY`, which signs calls about its memory"),
    PS_OPTION_ROW(ps_gpu_opts, batch, SECTION, NULL,
     "which batch sizes (or numbers of requests in flight) are recommended", .table = ps_gpu_batch_options),
    PS_OPTION_ROW(ps_gpu_opts, sources, LIST, NULL,
     "GPUs elsewhere, and servers that are no upstreams", .table = ps_source_options,
     .item_size = sizeof(struct ps_source_opts)),
    PS_OPTION_ROW(ps_gpu_opts, servers, LIST, NULL,
     "what this machine can do to servers of its own, for the rungs `kv_limit`, `checkpoint` and `restart`",
     .table = ps_server_means_options, .item_size = sizeof(struct ps_server_means_opts)),
    PS_OPTION_ROW(ps_gpu_opts, cuda_checkpoint, STRING, "cuda-checkpoint",
     "NVIDIA's program of that name, for the rung `checkpoint`"),
    {0},
};
/* clang-format on */

enum ps_rung ps_gpu_rung(struct ps_str name)
{
    int rung = 0;
    while (rung < PS_RUNG_COUNT && !ps_str_eq(name, ps_str_from(ps_rung_names[rung]))) {
        rung++;
    }
    return (enum ps_rung)rung;
}

int ps_gpu_rungs(const struct ps_option_strings *names, unsigned *out, const char **bad)
{
    unsigned bits = 0;
    for (size_t i = 0; i < names->count; i++) {
        enum ps_rung rung = ps_gpu_rung(ps_str_from(names->items[i]));
        if (rung == PS_RUNG_COUNT || rung == PS_RUNG_WAKE) {
            *bad = names->items[i];
            return PS_EINVAL;
        }
        bits |= 1u << rung;
    }
    *out = bits;
    return PS_OK;
}

static void check_source(const struct ps_source_opts *sources, size_t at,
                         ps_gpu_mistake_fn *on_mistake, void *ctx)
{
    const struct ps_source_opts *source = &sources[at];
    struct ps_url url;
    char path[64];
    char sentence[96];
    if (source->url != NULL && ps_url_parse(ps_str_from(source->url), &url) != PS_OK) {
        snprintf(path, sizeof path, "gpu.sources[%zu].url", at);
        on_mistake(ctx, path, "expected a URL such as http://127.0.0.1:9400");
    }
    for (size_t i = 0; i < at && source->name != NULL; i++) {
        if (sources[i].name != NULL && strcmp(sources[i].name, source->name) == 0) {
            snprintf(path, sizeof path, "gpu.sources[%zu].name", at);
            snprintf(sentence, sizeof sentence, "the same as in gpu.sources[%zu]", i);
            on_mistake(ctx, path, sentence);
            return;
        }
    }
}

static void check_servers(const struct ps_option_list *servers, ps_gpu_mistake_fn *on_mistake,
                          void *ctx)
{
    const struct ps_server_means_opts *opts = servers->items;
    struct ps_url url;
    char path[64];
    for (size_t i = 0; i < servers->count; i++) {
        if (opts[i].url != NULL && ps_url_parse(ps_str_from(opts[i].url), &url) != PS_OK) {
            snprintf(path, sizeof path, "gpu.servers[%zu].url", i);
            on_mistake(ctx, path, "expected a URL such as http://127.0.0.1:8000");
        }
    }
}

void ps_gpu_check_opts(const struct ps_gpu_opts *opts, ps_gpu_mistake_fn *on_mistake, void *ctx)
{
    char sentence[192];
    unsigned rungs;
    const char *bad;
    if (ps_gpu_rungs(&opts->rungs, &rungs, &bad) != PS_OK) {
        snprintf(
            sentence, sizeof sentence,
            "`%.64s` is no rung: prefix_cache, host_cache, kv_limit, unload, sleep, deep_sleep, "
            "checkpoint or restart",
            bad);
        on_mistake(ctx, "gpu.rungs", sentence);
    }
    check_servers(&opts->servers, on_mistake, ctx);
    if (opts->sources.count > PS_OPTIMIZER_TARGETS) {
        snprintf(sentence, sizeof sentence, "at most %d", PS_OPTIMIZER_TARGETS);
        on_mistake(ctx, "gpu.sources", sentence);
        return;
    }
    for (size_t i = 0; i < opts->sources.count; i++) {
        check_source(opts->sources.items, i, on_mistake, ctx);
    }
}

void ps_gpu_optimizer_opts(const struct ps_gpu_opts *opts, struct ps_optimizer_opts *out)
{
    const char *bad;
    *out = (struct ps_optimizer_opts){.target_percent = opts->target_percent,
                                      .trust_unverified = opts->trust_unverified,
                                      .act_on_busy = opts->act_on_busy,
                                      .margin_percent = opts->margin_percent,
                                      .idle_after = opts->idle_after,
                                      .hold = opts->hold,
                                      .cool_down = opts->cool_down};
    PS_IGNORE(ps_gpu_rungs(&opts->rungs, &out->rungs, &bad)); /* checked with the configuration */
}

void ps_gpu_scrape_opts(const struct ps_gpu_opts *opts, struct ps_scrape_opts *out)
{
    *out = (struct ps_scrape_opts){.interval = opts->interval,
                                   .timeout = opts->timeout,
                                   .sources = &opts->sources,
                                   .runtime_key = opts->runtime_key};
}

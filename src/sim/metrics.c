#include "sim/metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "base/check.h"

static const double seconds_bounds[] = {0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                        1.0,   2.5,  5.0,  7.5,  10,   20,   40,  80,   160, 0};
static const double gap_bounds[] = {0.001, 0.0025, 0.005, 0.01,  0.015, 0.02, 0.025,
                                    0.03,  0.04,   0.05,  0.075, 0.1,   0.15, 0.2,
                                    0.3,   0.4,    0.5,   0.75,  1.0,   0};
static const double tokens_bounds[] = {1,    2,    5,    10,    20,    50,    100,    200, 500,
                                       1000, 2000, 5000, 10000, 20000, 50000, 100000, 0};

/* What all writers below need. */
struct page {
    struct ps_buf *out;
    const char *model;
    int err; /* the first failure; nothing is written after it */
};

void ps_sim_metrics_init(struct ps_sim_metrics *metrics)
{
    *metrics = (struct ps_sim_metrics){
        .first_token.bounds = seconds_bounds,
        .inter_token.bounds = gap_bounds,
        .end_to_end.bounds = seconds_bounds,
        .queue.bounds = seconds_bounds,
        .prompt_tokens.bounds = tokens_bounds,
        .generation_tokens.bounds = tokens_bounds,
    };
}

void ps_sim_metrics_add(struct ps_sim_metrics *metrics, const struct ps_sim_seq *seq, bool stopped,
                        ps_time now)
{
    ps_sim_tally_add(&metrics->end_to_end, ps_span_seconds(now - seq->arrived));
    ps_sim_tally_add(&metrics->queue, ps_span_seconds(seq->started - seq->arrived));
    ps_sim_tally_add(&metrics->prompt_tokens, (double)seq->prompt_tokens);
    ps_sim_tally_add(&metrics->generation_tokens, (double)seq->generated);
    if (stopped) {
        metrics->stopped++;
    } else {
        metrics->length++;
    }
}

static void head(struct page *page, const char *name, const char *type, const char *help)
{
    if (page->err == PS_OK) {
        page->err =
            ps_buf_printf(page->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
    }
}

/* labels: more of them, each followed by a comma, or "". */
static void value(struct page *page, const char *name, const char *labels, double number)
{
    if (page->err == PS_OK) {
        page->err = ps_buf_printf(page->out,
                                  "%s{%sengine=\"0\",model_name=\"%s\",simulated=\"true\"} %.15g\n",
                                  name, labels, page->model, number);
    }
}

static void single(struct page *page, const char *name, const char *type, const char *help,
                   double number)
{
    head(page, name, type, help);
    value(page, name, "", number);
}

static void bucket(struct page *page, const char *name, const char *bound, uint64_t count)
{
    if (page->err == PS_OK) {
        page->err =
            ps_buf_printf(page->out,
                          "%s_bucket{engine=\"0\",le=\"%s\",model_name=\"%s\",simulated=\"true\"} "
                          "%" PRIu64 "\n",
                          name, bound, page->model, count);
    }
}

static void histogram(struct page *page, const char *name, const char *help,
                      const struct ps_sim_tally *tally)
{
    char text[64];
    uint64_t below = 0;
    head(page, name, "histogram", help);
    for (size_t i = 0; tally->bounds[i] != 0; i++) {
        below += tally->counts[i];
        (void)snprintf(text, sizeof text, "%g", tally->bounds[i]);
        bucket(page, name, text, below);
    }
    bucket(page, name, "+Inf", tally->count);
    (void)snprintf(text, sizeof text, "%s_sum", name);
    value(page, text, "", tally->sum);
    (void)snprintf(text, sizeof text, "%s_count", name);
    value(page, text, "", (double)tally->count);
}

static double cache_usage(const struct ps_sim_engine *engine)
{
    const struct ps_sim_blocks *blocks = ps_sim_engine_blocks(engine);
    double count = ps_sim_blocks_count(blocks);
    return (count - ps_sim_blocks_idle(blocks)) / count;
}

static void write_gauges(struct page *page, const struct ps_sim_engine *engine)
{
    const struct ps_sim_stats *stats = ps_sim_engine_stats(engine);
    single(page, "vllm:num_requests_running", "gauge", "Sequences in the batch.",
           (double)stats->running);
    single(page, "vllm:num_requests_waiting", "gauge", "Sequences that wait.",
           (double)(stats->waiting + stats->delayed));
    head(page, "vllm:num_requests_waiting_by_reason", "gauge", "Sequences that wait, by reason.");
    value(page, "vllm:num_requests_waiting_by_reason", "reason=\"capacity\",",
          (double)stats->waiting);
    value(page, "vllm:num_requests_waiting_by_reason", "reason=\"deferred\",",
          (double)stats->delayed);
    single(page, "vllm:kv_cache_usage_perc", "gauge", "Share of the cache blocks in use, 0 to 1.",
           cache_usage(engine));
    single(page, "vllm:gpu_cache_usage_perc", "gauge", "Old name of vllm:kv_cache_usage_perc.",
           cache_usage(engine));
}

static void write_counters(struct page *page, const struct ps_sim_engine *engine)
{
    const struct ps_sim_stats *stats = ps_sim_engine_stats(engine);
    single(page, "vllm:prompt_tokens_total", "counter", "Prompt tokens.",
           (double)stats->prompt_tokens);
    single(page, "vllm:generation_tokens_total", "counter", "Generated tokens.",
           (double)stats->generated_tokens);
    single(page, "vllm:prefix_cache_queries_total", "counter",
           "Prompt tokens looked up in the cache.", (double)stats->prefix_queries);
    single(page, "vllm:prefix_cache_hits_total", "counter", "Prompt tokens found in the cache.",
           (double)stats->prefix_hits);
    single(page, "vllm:num_preemptions_total", "counter", "Sequences that lost their cache blocks.",
           (double)stats->preemptions);
}

static void write_requests(struct page *page, const struct ps_sim_metrics *metrics)
{
    const char *name = "vllm:request_success_total";
    head(page, name, "counter", "Finished sequences.");
    value(page, name, "finished_reason=\"stop\",", (double)metrics->stopped);
    value(page, name, "finished_reason=\"length\",", (double)metrics->length);
    value(page, name, "finished_reason=\"abort\",", (double)metrics->aborted);
    histogram(page, "vllm:time_to_first_token_seconds", "Arrival to first token.",
              &metrics->first_token);
    histogram(page, "vllm:inter_token_latency_seconds", "Token to token.", &metrics->inter_token);
    histogram(page, "vllm:time_per_output_token_seconds", "Old name of the above.",
              &metrics->inter_token);
    histogram(page, "vllm:e2e_request_latency_seconds", "Arrival to last token.",
              &metrics->end_to_end);
    histogram(page, "vllm:request_queue_time_seconds", "Arrival to first step.", &metrics->queue);
    histogram(page, "vllm:request_prompt_tokens", "Prompt tokens of a request.",
              &metrics->prompt_tokens);
    histogram(page, "vllm:request_generation_tokens", "Generated tokens of a request.",
              &metrics->generation_tokens);
}

static void write_config(struct page *page, const struct ps_sim_engine *engine,
                         const struct ps_sim_opts *opts)
{
    char labels[200];
    (void)snprintf(labels, sizeof labels,
                   "block_size=\"%u\",num_gpu_blocks=\"%" PRIu32 "\",gpu_memory_utilization=\"%g\","
                   "enable_prefix_caching=\"%s\",",
                   PS_SIM_BLOCK_TOKENS, ps_sim_blocks_count(ps_sim_engine_blocks(engine)),
                   opts->gpu_memory_utilization, opts->prefix_caching ? "True" : "False");
    head(page, "vllm:cache_config_info", "gauge", "How the cache is laid out.");
    value(page, "vllm:cache_config_info", labels, 1);
}

/* The device's bytes by kind; the kinds up to and with "free" add up to the total. */
struct kind {
    const char *name;
    size_t offset;
};

static const struct kind kinds[] = {
    {"context", offsetof(struct ps_sim_usage, context)},
    {"weights", offsetof(struct ps_sim_usage, weights)},
    {"activations", offsetof(struct ps_sim_usage, activations)},
    {"kv_cache", offsetof(struct ps_sim_usage, kv_cache)},
    {"transient", offsetof(struct ps_sim_usage, transient)},
    {"fragmentation", offsetof(struct ps_sim_usage, fragmentation)},
    {"cached", offsetof(struct ps_sim_usage, cached)},
    {"free", offsetof(struct ps_sim_usage, free)},
    {"used", offsetof(struct ps_sim_usage, used)},
    {"reserved", offsetof(struct ps_sim_usage, reserved)},
};

static uint64_t bytes_of(const struct ps_sim_usage *usage, const struct kind *kind)
{
    return *(const uint64_t *)(const void *)((const char *)usage + kind->offset);
}

static void write_device(struct page *page, const struct ps_sim_engine *engine)
{
    const struct ps_sim_device *device = ps_sim_engine_device(engine);
    struct ps_sim_usage usage = ps_sim_device_usage(device);
    head(page, "penstock_sim_device_bytes", "gauge", "Memory of the simulated device by kind.");
    for (size_t i = 0; i < PS_ARRAY_LEN(kinds); i++) {
        char label[40];
        (void)snprintf(label, sizeof label, "kind=\"%s\",", kinds[i].name);
        value(page, "penstock_sim_device_bytes", label, (double)bytes_of(&usage, &kinds[i]));
    }
    single(page, "penstock_sim_device_total_bytes", "gauge", "Memory of the simulated device.",
           (double)device->memory);
    single(page, "penstock_sim_out_of_memory_total", "counter", "Allocations that failed.",
           (double)device->out_of_memory);
    single(page, "penstock_sim_allocation_retries_total", "counter",
           "Allocations that had to give unused segments back first.", (double)device->retries);
}

static void write_own(struct page *page, const struct ps_sim_metrics *metrics,
                      const struct ps_sim_engine *engine)
{
    const struct ps_sim_stats *stats = ps_sim_engine_stats(engine);
    single(page, "penstock_sim_steps_total", "counter", "Steps of the engine.",
           (double)stats->steps);
    single(page, "penstock_sim_computed_prompt_tokens_total", "counter",
           "Prompt tokens computed, not found in the cache; recomputed ones again.",
           (double)stats->computed_prompt_tokens);
    single(page, "penstock_sim_canceled_total", "counter", "Sequences whose client went away.",
           (double)stats->canceled);
    single(page, "penstock_sim_images_total", "counter", "Image jobs finished.",
           (double)stats->images);
    single(page, "penstock_sim_refused_total", "counter", "Requests answered with 4xx.",
           (double)metrics->refused);
    single(page, "penstock_sim_failed_total", "counter", "Requests answered with 5xx.",
           (double)metrics->failed);
}

int ps_sim_metrics_write(struct ps_buf *out, const struct ps_sim_metrics *metrics,
                         const struct ps_sim_engine *engine, const struct ps_sim_opts *opts,
                         const char *model)
{
    struct page page = {.out = out, .model = model};
    single(&page, "penstock_simulated", "gauge", "1: nothing here was measured on a GPU.", 1);
    write_gauges(&page, engine);
    write_counters(&page, engine);
    write_requests(&page, metrics);
    histogram(&page, "vllm:iteration_tokens_total", "Tokens in a step.",
              &ps_sim_engine_stats(engine)->step_tokens);
    write_config(&page, engine, opts);
    write_device(&page, engine);
    write_own(&page, metrics, engine);
    return page.err;
}

/* --- the same as JSON ------------------------------------------------------------------------- */

static int state_device(struct ps_buf *out, const struct ps_sim_device *device)
{
    struct ps_sim_usage usage = ps_sim_device_usage(device);
    int err = ps_buf_printf(out, "\"device\":{\"total_bytes\":%" PRIu64, device->memory);
    for (size_t i = 0; i < PS_ARRAY_LEN(kinds) && err == PS_OK; i++) {
        err = ps_buf_printf(out, ",\"%s_bytes\":%" PRIu64, kinds[i].name,
                            bytes_of(&usage, &kinds[i]));
    }
    return err != PS_OK ? err
                        : ps_buf_printf(out,
                                        ",\"out_of_memory\":%" PRIu64
                                        ",\"allocation_retries\":%" PRIu64 "},",
                                        device->out_of_memory, device->retries);
}

static int state_blocks(struct ps_buf *out, const struct ps_sim_blocks *blocks)
{
    uint32_t count = ps_sim_blocks_count(blocks);
    uint32_t idle = ps_sim_blocks_idle(blocks);
    return ps_buf_printf(out,
                         "\"blocks\":{\"tokens_per_block\":%u,\"total\":%" PRIu32
                         ",\"used\":%" PRIu32 ",\"idle\":%" PRIu32 ",\"cached\":%" PRIu32 "},",
                         PS_SIM_BLOCK_TOKENS, count, count - idle, idle,
                         ps_sim_blocks_cached(blocks));
}

static int state_stats(struct ps_buf *out, const struct ps_sim_stats *stats)
{
    int err = ps_buf_printf(out,
                            "\"sequences\":{\"running\":%zu,\"waiting\":%zu,\"delayed\":%zu,"
                            "\"images\":%zu,\"canceled\":%" PRIu64 ",\"preemptions\":%" PRIu64 "},",
                            stats->running, stats->waiting, stats->delayed, stats->images_queued,
                            stats->canceled, stats->preemptions);
    return err != PS_OK ? err
                        : ps_buf_printf(out,
                                        "\"tokens\":{\"prompt\":%" PRIu64 ",\"generated\":%" PRIu64
                                        ",\"computed_prompt\":%" PRIu64
                                        ",\"prefix_queries\":%" PRIu64 ",\"prefix_hits\":%" PRIu64
                                        "},\"steps\":%" PRIu64 ",\"images\":%" PRIu64 ",",
                                        stats->prompt_tokens, stats->generated_tokens,
                                        stats->computed_prompt_tokens, stats->prefix_queries,
                                        stats->prefix_hits, stats->steps, stats->images);
}

int ps_sim_metrics_state(struct ps_buf *out, const struct ps_sim_metrics *metrics,
                         const struct ps_sim_engine *engine, const struct ps_sim_opts *opts,
                         const char *model)
{
    int err =
        ps_buf_printf(out,
                      "{\"simulated\":true,\"model\":\"%s\",\"seed\":%" PRIu64 ",\"speed\":%g,"
                      "\"max_model_len\":%" PRIu64 ",",
                      model, opts->seed, opts->speed, ps_sim_engine_max_model_len(engine));
    err = err == PS_OK ? state_device(out, ps_sim_engine_device(engine)) : err;
    err = err == PS_OK ? state_blocks(out, ps_sim_engine_blocks(engine)) : err;
    err = err == PS_OK ? state_stats(out, ps_sim_engine_stats(engine)) : err;
    return err != PS_OK ? err
                        : ps_buf_printf(out,
                                        "\"requests\":{\"stopped\":%" PRIu64 ",\"length\":%" PRIu64
                                        ",\"aborted\":%" PRIu64 ",\"refused\":%" PRIu64
                                        ",\"failed\":%" PRIu64 "}}",
                                        metrics->stopped, metrics->length, metrics->aborted,
                                        metrics->refused, metrics->failed);
}

#include "sim/state.h"

#include <inttypes.h>

#include "base/writer.h"
#include "sim/usage.h"

static int put_head(struct ps_buf *out, const struct ps_sim_desk *desk)
{
    const struct ps_sim_opts *opts = desk->opts;
    int err = ps_buf_printf(out, "{\"simulated\":true,\"engine\":\"%s\",\"version\":\"",
                            desk->personality->name);
    err = PS_THEN(err, ps_buf_append_json(out, ps_str_from(opts->version)));
    return PS_THEN(
        err, ps_buf_printf(out,
                           "\",\"model\":\"%s\",\"seed\":%" PRIu64 ",\"speed\":%g,"
                           "\"max_model_len\":%" PRIu64 ",\"lie\":\"%s\",\"lie_delay_seconds\":%g,"
                           "\"metrics_lag_seconds\":%g,",
                           opts->models[0], opts->seed, opts->speed,
                           ps_sim_engine_max_model_len(desk->engine), ps_sim_lie_names[opts->lie],
                           ps_span_seconds(opts->lie_delay), ps_span_seconds(opts->metrics_lag)));
}

static int put_device(struct ps_buf *out, const struct ps_sim_device *device)
{
    struct ps_sim_usage usage = ps_sim_device_usage(device);
    int err = ps_buf_printf(out, "\"device\":{\"total_bytes\":%" PRIu64, device->memory);
    for (size_t i = 0; i < PS_SIM_USAGE_KINDS && err == PS_OK; i++) {
        err = ps_buf_printf(out, ",\"%s_bytes\":%" PRIu64, ps_sim_usage_name(i),
                            ps_sim_usage_bytes(&usage, i));
    }
    return PS_THEN(err, ps_buf_printf(out,
                                      ",\"out_of_memory\":%" PRIu64
                                      ",\"allocation_retries\":%" PRIu64 "},",
                                      device->out_of_memory, device->retries));
}

static int put_slot(struct ps_buf *out, const struct ps_sim_desk *desk, size_t index)
{
    const struct ps_sim_slot *slot = &desk->memory.slots[index];
    bool pending = slot->due[0] != PS_NEVER || slot->due[1] != PS_NEVER || slot->due[2] != PS_NEVER;
    return ps_buf_printf(
        out,
        "%s{\"name\":\"%s\",\"says\":{\"weights\":%s,\"activations\":%s,\"kv_cache\":%s},"
        "\"bytes\":{\"weights\":%" PRIu64 ",\"activations\":%" PRIu64 ",\"kv_cache\":%" PRIu64
        ",\"pool\":%" PRIu64 ",\"active\":%" PRIu64 ",\"leaked\":%" PRIu64
        "},\"leaving\":%s,\"loading\":%s,\"users\":%zu,\"loads\":%" PRIu64
        ",\"idle_seconds\":%.3f}",
        index == 0 ? "" : ",", desk->opts->models[index],
        slot->held & PS_SIM_WEIGHTS ? "true" : "false",
        slot->held & PS_SIM_ACTIVATIONS ? "true" : "false",
        slot->held & PS_SIM_KV_CACHE ? "true" : "false", slot->bytes[0], slot->bytes[1],
        slot->bytes[2], slot->bytes[PS_SIM_POOL], slot->active, slot->leaked, pending ? "true" : "false",
        slot->held != 0 && slot->ready > ps_sim_desk_now(desk) ? "true" : "false", slot->users,
        slot->loads, slot->users > 0 ? 0.0 : ps_span_seconds(ps_sim_desk_now(desk) - slot->used));
}

static int put_models(struct ps_buf *out, const struct ps_sim_desk *desk)
{
    int err = ps_buf_printf(out, "\"releases\":%" PRIu64 ",\"models\":[", desk->memory.releases);
    for (size_t i = 0; i < desk->memory.count && err == PS_OK; i++) {
        err = put_slot(out, desk, i);
    }
    return PS_THEN(err, ps_buf_append_str(out, PS_STR("],")));
}

static int put_blocks(struct ps_buf *out, const struct ps_sim_blocks *blocks)
{
    uint32_t count = ps_sim_blocks_count(blocks);
    uint32_t idle = ps_sim_blocks_idle(blocks);
    return ps_buf_printf(out,
                         "\"blocks\":{\"tokens_per_block\":%u,\"total\":%" PRIu32
                         ",\"used\":%" PRIu32 ",\"idle\":%" PRIu32 ",\"cached\":%" PRIu32 "},",
                         PS_SIM_BLOCK_TOKENS, count, count - idle, idle,
                         ps_sim_blocks_cached(blocks));
}

static int put_stats(struct ps_buf *out, const struct ps_sim_stats *stats)
{
    int err = ps_buf_printf(out,
                            "\"sequences\":{\"running\":%zu,\"waiting\":%zu,\"delayed\":%zu,"
                            "\"images\":%zu,\"canceled\":%" PRIu64 ",\"preemptions\":%" PRIu64 "},",
                            stats->running, stats->waiting, stats->delayed, stats->images_queued,
                            stats->canceled, stats->preemptions);
    return PS_THEN(err, ps_buf_printf(out,
                                      "\"tokens\":{\"prompt\":%" PRIu64 ",\"generated\":%" PRIu64
                                      ",\"computed_prompt\":%" PRIu64 ",\"prefix_queries\":%" PRIu64
                                      ",\"prefix_hits\":%" PRIu64 "},\"steps\":%" PRIu64
                                      ",\"images\":%" PRIu64 ",",
                                      stats->prompt_tokens, stats->generated_tokens,
                                      stats->computed_prompt_tokens, stats->prefix_queries,
                                      stats->prefix_hits, stats->steps, stats->images));
}

int ps_sim_state_write(struct ps_buf *out, const struct ps_sim_desk *desk)
{
    const struct ps_sim_metrics *metrics = &desk->metrics;
    int err = put_head(out, desk);
    err = PS_THEN(err, put_device(out, ps_sim_engine_device(desk->engine)));
    err = PS_THEN(err, put_models(out, desk));
    err = PS_THEN(err, put_blocks(out, ps_sim_engine_blocks(desk->engine)));
    err = PS_THEN(err, put_stats(out, ps_sim_engine_stats(desk->engine)));
    return PS_THEN(err, ps_buf_printf(out,
                                      "\"requests\":{\"stopped\":%" PRIu64 ",\"length\":%" PRIu64
                                      ",\"aborted\":%" PRIu64 ",\"refused\":%" PRIu64
                                      ",\"failed\":%" PRIu64 "}}",
                                      metrics->stopped, metrics->length, metrics->aborted,
                                      metrics->refused, metrics->failed));
}

void ps_sim_state_answer(const struct ps_sim_ask *ask)
{
    ps_buf_clear(&ask->desk->scratch);
    int err = ps_sim_state_write(&ask->desk->scratch, ask->desk);
    ps_sim_ask_scratch(ask, err, PS_STR("application/json"));
}

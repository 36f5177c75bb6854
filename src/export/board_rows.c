/* The table of the board. */
#include "export/board.h"

#define LATENCY    {.family = "penstock_traffic_latency_seconds"}
#define FIRST      {.family = "penstock_traffic_first_token_seconds"}
#define LOOKUPS    {"penstock_cache_answers_total", "result", {"hit", "stale", "miss", "collapsed"}}
#define MACHINE    {.family = "penstock_machine_cpu_seconds_total"}
#define BY_DEVICE  .by = {"source", "index"}
#define BY_SERVER  .by = {"upstream", "endpoint"}
#define MIB        (1.0 / 1048576)

const char *const ps_board_group_names[PS_BOARD_GROUPS] = {
    [PS_BOARD_TRAFFIC] = "traffic",     [PS_BOARD_GPU] = "gpu",
    [PS_BOARD_CACHE] = "cache",         [PS_BOARD_QUEUE] = "queue",
    [PS_BOARD_UPSTREAMS] = "upstreams", [PS_BOARD_PROCESS] = "process",
};

/* clang-format off */
const struct ps_board_row ps_board_rows[] = {
    {"requests", "requests/s", PS_BOARD_TRAFFIC, "Requests answered, errors and refusals too", PS_BOARD_RATE,
     .of = {.family = "penstock_traffic_requests_total"}},
    {"errors", "requests/s", PS_BOARD_TRAFFIC, "Of these, answered with a status of 500 or more", PS_BOARD_RATE,
     .of = {"penstock_traffic_requests_total", "code", {"5*"}}},
    {"error_percent", "%", PS_BOARD_TRAFFIC, "errors, of requests", PS_BOARD_RATIO,
     .of = {"penstock_traffic_requests_total", "code", {"5*"}}, .over = {.family = "penstock_traffic_requests_total"},
     .factor = 100},
    {"latency_p50_ms", "ms", PS_BOARD_TRAFFIC, "Half of the requests took no longer, from first to last byte",
     PS_BOARD_QUANTILE, .of = LATENCY, .quantile = 0.5, .factor = 1000},
    {"latency_p95_ms", "ms", PS_BOARD_TRAFFIC, "95 of 100 requests took no longer", PS_BOARD_QUANTILE, .of = LATENCY,
     .quantile = 0.95, .factor = 1000},
    {"latency_p99_ms", "ms", PS_BOARD_TRAFFIC, "99 of 100 requests took no longer", PS_BOARD_QUANTILE, .of = LATENCY,
     .quantile = 0.99, .factor = 1000},
    {"ttft_p50_ms", "ms", PS_BOARD_TRAFFIC, "Time to the first token of a stream: half of them had it by then",
     PS_BOARD_QUANTILE, .of = FIRST, .quantile = 0.5, .factor = 1000},
    {"ttft_p95_ms", "ms", PS_BOARD_TRAFFIC, "Time to the first token of a stream: 95 of 100 had it by then",
     PS_BOARD_QUANTILE, .of = FIRST, .quantile = 0.95, .factor = 1000},
    {"tokens", "tokens/s", PS_BOARD_TRAFFIC, "Tokens that servers wrote, counted when an answer has ended",
     PS_BOARD_RATE, .of = {"penstock_traffic_tokens_total", "kind", {"output"}}},
    {"prompt_tokens", "tokens/s", PS_BOARD_TRAFFIC, "Tokens that servers read, counted when an answer has ended",
     PS_BOARD_RATE, .of = {"penstock_traffic_tokens_total", "kind", {"input"}}},
    {"retries", "requests/s", PS_BOARD_TRAFFIC, "Requests sent again after a failed try", PS_BOARD_RATE,
     .of = {.family = "penstock_traffic_retries_total"}},

    {"gpu", "%", PS_BOARD_GPU, "Memory in use of the device under the highest pressure", PS_BOARD_MOST,
     .of = {.family = "penstock_gpu_used_ratio"}, .factor = 100},
    {"gpu_effective_percent", "%", PS_BOARD_GPU,
     "How full it is for requests: the key-value cache of an engine that takes the whole device, otherwise as gpu",
     PS_BOARD_MOST, .of = {.family = "penstock_gpu_effective_ratio"}, .factor = 100},
    {"gpu_level", "level", PS_BOARD_GPU, "Pressure: 0 low, 1 medium, 2 high, 3 critical", PS_BOARD_MOST,
     .of = {.family = "penstock_gpu_level"}},
    {"gpu_seconds_to_critical", "s", PS_BOARD_GPU,
     "Time until memory runs out if things go on as they are; absent while that is not in sight", PS_BOARD_MOST,
     .of = {.family = "penstock_gpu_to_critical_seconds"}},
    {"gpu_busy_percent", "%", PS_BOARD_GPU, "Time in which a kernel ran, on the busiest device", PS_BOARD_MOST,
     .of = {.family = "penstock_gpu_busy_ratio"}, .factor = 100},
    {"gpu_power_watts", "W", PS_BOARD_GPU, "Power that all devices draw", PS_BOARD_SUM,
     .of = {.family = "penstock_gpu_power_watts"}},
    {"gpu_temperature_celsius", "°C", PS_BOARD_GPU, "Temperature of the hottest device", PS_BOARD_MOST,
     .of = {.family = "penstock_gpu_temperature_celsius"}},
    {"gpu_memory_percent", "%", PS_BOARD_GPU, "Memory in use, of the device's", PS_BOARD_SHARE,
     .of = {.family = "penstock_gpu_memory_used_bytes"}, .over = {.family = "penstock_gpu_memory_total_bytes"},
     .factor = 100, BY_DEVICE},
    {"gpu_memory_used_mb", "MiB", PS_BOARD_GPU, "Memory in use", PS_BOARD_SUM,
     .of = {.family = "penstock_gpu_memory_used_bytes"}, .factor = MIB, BY_DEVICE},
    {"gpu_device_busy_percent", "%", PS_BOARD_GPU, "Time in which a kernel ran", PS_BOARD_MOST,
     .of = {.family = "penstock_gpu_busy_ratio"}, .factor = 100, BY_DEVICE},
    {"gpu_device_power_watts", "W", PS_BOARD_GPU, "Power drawn", PS_BOARD_SUM,
     .of = {.family = "penstock_gpu_power_watts"}, BY_DEVICE},
    {"gpu_device_temperature_celsius", "°C", PS_BOARD_GPU, "Temperature of the chip", PS_BOARD_MOST,
     .of = {.family = "penstock_gpu_temperature_celsius"}, BY_DEVICE},
    {"gpu_process_memory_mb", "MiB", PS_BOARD_GPU,
     "Memory of the processes that work for an endpoint; without upstream: of those that nobody knows",
     PS_BOARD_SUM, .of = {.family = "penstock_gpu_process_memory_bytes"}, .factor = MIB,
     .by = {"source", "index", "upstream", "endpoint"}},
    {"gpu_server_percent", "%", PS_BOARD_GPU, "How full the server is, as gpu_effective_percent", PS_BOARD_MOST,
     .of = {.family = "penstock_gpu_server_effective_ratio"}, .factor = 100, BY_SERVER},
    {"gpu_server_level", "level", PS_BOARD_GPU, "Pressure of the server, as gpu_level", PS_BOARD_MOST,
     .of = {.family = "penstock_gpu_server_level"}, BY_SERVER},
    {"gpu_server_seconds_to_critical", "s", PS_BOARD_GPU, "As gpu_seconds_to_critical, of the server",
     PS_BOARD_MOST, .of = {.family = "penstock_gpu_server_to_critical_seconds"}, BY_SERVER},
    {"gpu_server_kv_percent", "%", PS_BOARD_GPU, "Share of the key-value cache that living requests hold",
     PS_BOARD_MOST, .of = {.family = "penstock_gpu_server_kv_ratio"}, .factor = 100, BY_SERVER},

    {"cache_hit_percent", "%", PS_BOARD_CACHE, "Answers from memory or Redis, of all that could have been",
     PS_BOARD_RATIO, .of = {"penstock_cache_answers_total", "result", {"hit", "stale"}}, .over = LOOKUPS, .factor = 100},
    {"cache_hits", "answers/s", PS_BOARD_CACHE, "Answers from memory or Redis", PS_BOARD_RATE,
     .of = {"penstock_cache_answers_total", "result", {"hit", "stale"}}},
    {"cache_misses", "answers/s", PS_BOARD_CACHE, "Answers that a server had to make", PS_BOARD_RATE,
     .of = {"penstock_cache_answers_total", "result", {"miss"}}},
    {"cache_coalesced", "answers/s", PS_BOARD_CACHE, "Answers from a call that was under way for another request",
     PS_BOARD_RATE, .of = {"penstock_cache_answers_total", "result", {"collapsed"}}},
    {"cache_l1_hits", "hits/s", PS_BOARD_CACHE, "Look-ups that memory answered", PS_BOARD_RATE,
     .of = {"penstock_cache_l1_lookups_total", "result", {"hit"}}},
    {"cache_l2_hits", "hits/s", PS_BOARD_CACHE, "Look-ups that Redis answered", PS_BOARD_RATE,
     .of = {"penstock_cache_l2_fetches_total", "result", {"hit"}}},
    {"cache_gpu_seconds_saved", "GPU-seconds", PS_BOARD_CACHE, "Time of servers that answers from the cache saved, in all",
     PS_BOARD_SUM, .of = {.family = "penstock_cache_gpu_seconds_saved_total"}},
    {"cache_gpus_saved", "GPU-seconds/s", PS_BOARD_CACHE, "The same per second: servers' worth of work that is not done twice",
     PS_BOARD_RATE, .of = {.family = "penstock_cache_gpu_seconds_saved_total"}},
    {"cache_entries", "answers", PS_BOARD_CACHE, "Answers in memory", PS_BOARD_SUM,
     .of = {.family = "penstock_cache_entries"}},
    {"cache_mb", "MiB", PS_BOARD_CACHE, "Memory that answers take", PS_BOARD_SUM,
     .of = {.family = "penstock_cache_bytes"}, .factor = MIB},
    {"cache_node_operations", "operations/s", PS_BOARD_CACHE, "Commands sent to the cache server", PS_BOARD_RATE,
     .of = {.family = "penstock_cache_node_operations_total"}, .by = {"node"}},
    {"cache_node_up", "0 or 1", PS_BOARD_CACHE, "1 while the cache server is asked, 0 while it is left alone",
     PS_BOARD_MOST, .of = {.family = "penstock_cache_node_up"}, .by = {"node"}},

    {"in_flight", "requests", PS_BOARD_QUEUE, "Requests that servers work on", PS_BOARD_SUM,
     .of = {.family = "penstock_admit_in_flight"}},
    {"queue", "requests", PS_BOARD_QUEUE, "Requests waiting at the admission gate", PS_BOARD_SUM,
     .of = {.family = "penstock_admit_queued"}},
    {"queue_wait_p95_ms", "ms", PS_BOARD_QUEUE, "95 of 100 requests that ended had not waited longer at the gate",
     PS_BOARD_QUANTILE, .of = {.family = "penstock_traffic_queue_seconds"}, .quantile = 0.95, .factor = 1000},
    {"refused", "requests/s", PS_BOARD_QUEUE, "Requests that the admission gate refused", PS_BOARD_RATE,
     .of = {.family = "penstock_admit_refused_total"}},

    {"upstream_healthy", "0 or 1", PS_BOARD_UPSTREAMS, "1 when requests may be sent to the endpoint", PS_BOARD_MOST,
     .of = {.family = "penstock_backend_up"}, BY_SERVER},
    {"upstream_in_flight", "requests", PS_BOARD_UPSTREAMS, "Requests in flight at the endpoint", PS_BOARD_SUM,
     .of = {.family = "penstock_backend_in_flight"}, BY_SERVER},
    {"upstream_requests", "requests/s", PS_BOARD_UPSTREAMS, "Requests sent to the endpoint, retries too",
     PS_BOARD_RATE, .of = {.family = "penstock_backend_requests_total"}, BY_SERVER},
    {"upstream_running", "requests", PS_BOARD_UPSTREAMS, "Requests that the server says it works on", PS_BOARD_SUM,
     .of = {.family = "penstock_gpu_server_running"}, BY_SERVER},
    {"upstream_waiting", "requests", PS_BOARD_UPSTREAMS, "Requests that wait inside the server for room",
     PS_BOARD_SUM, .of = {.family = "penstock_gpu_server_waiting"}, BY_SERVER},
    {"upstream_failures", "tries/s", PS_BOARD_UPSTREAMS, "Tries at the upstream that failed", PS_BOARD_RATE,
     .of = {.family = "penstock_traffic_upstream_failures_total"}, .by = {"upstream"}},

    {"cpu", "%", PS_BOARD_PROCESS, "Processors of this machine that are busy", PS_BOARD_RATIO,
     .of = {"penstock_machine_cpu_seconds_total", "state", {"busy"}}, .over = MACHINE, .factor = 100},
    {"process_cpu_percent", "%", PS_BOARD_PROCESS, "Of the machine's processors, what this process uses",
     PS_BOARD_RATIO, .of = {.family = "penstock_process_cpu_seconds_total"}, .over = MACHINE, .factor = 100},
    {"memory_percent", "%", PS_BOARD_PROCESS, "Memory of this machine that is not available", PS_BOARD_MOST,
     .of = {.family = "penstock_machine_memory_used_ratio"}, .factor = 100},
    {"memory_mb", "MiB", PS_BOARD_PROCESS, "Memory of this process that is resident", PS_BOARD_SUM,
     .of = {.family = "penstock_process_resident_bytes"}, .factor = MIB},
    {"buffered_mb", "MiB", PS_BOARD_PROCESS, "Bodies that are held for clients and upstreams", PS_BOARD_SUM,
     .of = {.family = "penstock_process_buffered_bytes"}, .factor = MIB},
    {"descriptors", "files", PS_BOARD_PROCESS, "Open file descriptors", PS_BOARD_SUM,
     .of = {.family = "penstock_process_open_descriptors"}},
};
/* clang-format on */

const size_t ps_board_row_count = sizeof ps_board_rows / sizeof ps_board_rows[0];

/* --- told to others --------------------------------------------------------------------------- */

static int write_member(struct ps_buf *out, const char *before, const char *text)
{
    int err = ps_buf_append_str(out, ps_str_from(before));
    err = err != PS_OK ? err : ps_buf_append_json(out, ps_str_from(text));
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\""));
}

static int write_row(const struct ps_board_row *row, struct ps_buf *out)
{
    int err = write_member(out, "{\"name\":\"", row->name);
    err = err != PS_OK ? err : write_member(out, ",\"unit\":\"", row->unit);
    err = err != PS_OK ? err : write_member(out, ",\"group\":\"", ps_board_group_names[row->group]);
    err = err != PS_OK ? err : write_member(out, ",\"help\":\"", row->help);
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR(",\"labels\":["));
    for (size_t i = 0; i < PS_BOARD_BY && row->by[i] != NULL && err == PS_OK; i++) {
        err = write_member(out, i == 0 ? "\"" : ",\"", row->by[i]);
    }
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("]}"));
}

int ps_board_write_rows(struct ps_buf *out)
{
    int err = ps_buf_append_str(out, PS_STR("["));
    for (size_t i = 0; i < ps_board_row_count && err == PS_OK; i++) {
        err = i == 0 ? PS_OK : ps_buf_append_str(out, PS_STR(","));
        err = err != PS_OK ? err : write_row(&ps_board_rows[i], out);
    }
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("]"));
}

static int write_labels(const struct ps_board_row *row, struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; i < PS_BOARD_BY && row->by[i] != NULL && err == PS_OK; i++) {
        err = ps_buf_printf(out, "%s`%s`", i == 0 ? "" : ", ", row->by[i]);
    }
    return err;
}

int ps_board_manual(struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; i < ps_board_row_count && err == PS_OK; i++) {
        const struct ps_board_row *row = &ps_board_rows[i];
        if (i == 0 || row->group != ps_board_rows[i - 1].group) {
            err = ps_buf_printf(out,
                                "%s### %s\n\n| Name | Unit | Labels | What it says | From |\n"
                                "|---|---|---|---|---|\n",
                                i == 0 ? "" : "\n", ps_board_group_names[row->group]);
        }
        err = err != PS_OK ? err : ps_buf_printf(out, "| `%s` | %s | ", row->name, row->unit);
        err = err != PS_OK ? err : write_labels(row, out);
        err = err != PS_OK ? err
                           : ps_buf_printf(out, " | %s | `%s` |\n", row->help, row->of.family);
    }
    return err;
}

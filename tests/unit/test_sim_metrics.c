/* The numbers come out under vLLM's names, and say that they are simulated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "io/loop.h"
#include "sim/engines.h"
#include "sim/state.h"

struct bench {
    struct ps_sim_opts opts;
    struct ps_loop *loop;
    struct ps_sim_desk desk;
    struct ps_buf out;
};

static void open_bench(struct bench *bench, size_t limit)
{
    memset(bench, 0, sizeof *bench);
    ps_sim_opts_init(&bench->opts);
    bench->out = ps_buf_make(limit);
    assert_int_equal(ps_loop_new(&bench->loop, &ps_clock_real), PS_OK);
    assert_int_equal(ps_sim_desk_start(&bench->desk, bench->loop, &bench->opts), PS_OK);
}

static void close_bench(struct bench *bench)
{
    ps_sim_desk_stop(&bench->desk);
    ps_loop_free(bench->loop);
    ps_buf_fini(&bench->out);
}

static void text_holds_the_names_that_vllm_has(void **state)
{
    (void)state;
    static const char *const names[] = {
        "vllm:num_requests_running{engine=\"0\",model_name=\"sim\",simulated=\"true\"} 0\n",
        "vllm:num_requests_waiting{",
        "vllm:num_requests_waiting_by_reason{reason=\"capacity\",",
        "vllm:kv_cache_usage_perc{",
        "vllm:gpu_cache_usage_perc{",
        "vllm:prompt_tokens_total{",
        "vllm:generation_tokens_total{",
        "vllm:prefix_cache_queries_total{",
        "vllm:prefix_cache_hits_total{",
        "vllm:num_preemptions_total{",
        "vllm:request_success_total{finished_reason=\"abort\",",
        "vllm:e2e_request_latency_seconds_bucket{le=\"0.005\",",
        "vllm:time_to_first_token_seconds_bucket{le=\"+Inf\",",
        "vllm:time_to_first_token_seconds_sum{",
        "vllm:time_to_first_token_seconds_count{",
        "model_name=\"sim\",simulated=\"true\"} 2\n",
        "penstock_simulated{engine=\"0\",model_name=\"sim\",simulated=\"true\"} 1\n",
        "penstock_sim_device_bytes{kind=\"weights\",",
    };
    struct bench bench;
    open_bench(&bench, 1 << 20);
    ps_sim_tally_add(&bench.desk.metrics.first_token, 0.03);
    ps_sim_tally_add(&bench.desk.metrics.first_token, 1000);
    assert_int_equal(ps_sim_desk_metrics(&bench.desk, &bench.out), PS_OK);
    assert_int_equal(ps_buf_append(&bench.out, "", 1), PS_OK);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strstr(bench.out.data, names[i]) == NULL) {
            fail_msg("%s is missing", names[i]);
        }
    }
    assert_int_equal(bench.desk.metrics.first_token.counts[3], 1);
    assert_int_equal(bench.desk.metrics.first_token.counts[PS_SIM_TALLY_BOUNDS], 1);
    close_bench(&bench);
}

static void state_is_json_whose_bytes_add_up(void **state)
{
    (void)state;
    static const char *const kinds[] = {"context_bytes",  "weights_bytes",   "activations_bytes",
                                        "kv_cache_bytes", "transient_bytes", "fragmentation_bytes",
                                        "cached_bytes",   "free_bytes"};
    struct bench bench;
    open_bench(&bench, 1 << 20);
    assert_int_equal(ps_sim_state_write(&bench.out, &bench.desk), PS_OK);
    json_t *json = json_loadb(bench.out.data, bench.out.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    assert_true(json_is_true(json_object_get(json, "simulated")));
    json_t *device = json_object_get(json, "device");
    json_int_t sum = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        assert_true(json_is_integer(json_object_get(device, kinds[i])));
        sum += json_integer_value(json_object_get(device, kinds[i]));
    }
    assert_int_equal(sum, json_integer_value(json_object_get(device, "total_bytes")));
    json_decref(json);
    close_bench(&bench);
}

static void full_buffer_is_told(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench, 500);
    assert_int_equal(ps_sim_desk_metrics(&bench.desk, &bench.out), PS_ELIMIT);
    close_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_holds_the_names_that_vllm_has),
        cmocka_unit_test(state_is_json_whose_bytes_add_up),
        cmocka_unit_test(full_buffer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

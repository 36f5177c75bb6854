/* test_penstock_gpu - the GPU optimizer through the library's header alone: made-up drivers, a
 * server that is made up too, and nothing at all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <penstock/penstock.h>

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "../helpers/http_mock.h"
#include "../helpers/nvml_fake.h"
#include "base/clock.h"

/* The thread sanitizer can't live with them. */
#if defined(__SANITIZE_THREAD__)
#define NEW_THREADS_AFTER_FORK false
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NEW_THREADS_AFTER_FORK false
#endif
#endif
#ifndef NEW_THREADS_AFTER_FORK
#define NEW_THREADS_AFTER_FORK true
#endif

#define MIB      1048576.0
#define PATIENCE (60 * PS_SECOND) /* on a machine that others use; every wait ends sooner */

static struct ps_gpu_optimizer *optimizer_of(const char *text)
{
    struct ps_gpu_optimizer *optimizer = NULL;
    if (ps_gpu_optimizer_new_text(&optimizer, text, strlen(text)) != PS_OK) {
        fail_msg("%s", ps_last_error());
    }
    return optimizer;
}

static void assert_ok(int err)
{
    if (err != PS_OK) {
        fail_msg("%d: %s", err, ps_last_error());
    }
}

static void assert_says(const char *part)
{
    if (strstr(ps_last_error(), part) == NULL) {
        fail_msg("'%s' is not in: %s", part, ps_last_error());
    }
}

static struct ps_gpu_profile profile_of(struct ps_gpu_optimizer *optimizer)
{
    struct ps_gpu_profile profile;
    assert_ok(ps_gpu_optimizer_profile(optimizer, &profile));
    return profile;
}

static ps_time give_up;

static void be_patient(void)
{
    give_up = ps_clock_now(&ps_clock_real) + PATIENCE;
}

static bool go_on(const char *what)
{
    if (ps_clock_now(&ps_clock_real) > give_up) {
        fail_msg("waited too long: %s", what);
    }
    usleep(10000);
    return true;
}

/* --- nothing to ask --------------------------------------------------------------------------- */

static void names_are_those_of_the_page(void **state)
{
    (void)state;
    assert_string_equal(ps_gpu_level_name(PS_GPU_LEVEL_UNKNOWN), "unknown");
    assert_string_equal(ps_gpu_level_name(PS_GPU_LEVEL_CRITICAL), "critical");
    assert_string_equal(ps_gpu_level_name((enum ps_gpu_level)99), "unknown");
    assert_string_equal(ps_gpu_outcome_name(PS_GPU_OUTCOME_NO_RUNG), "no_rung");
    assert_string_equal(ps_gpu_outcome_name((enum ps_gpu_outcome)99), "unknown");
}

static void without_a_source_each_call_names_the_settings(void **state)
{
    (void)state;
    struct ps_gpu_optimizer *optimizer = optimizer_of("gpu: {drivers: no}");
    struct ps_gpu_profile profile = {.index = 7};
    struct ps_gpu_prediction prediction;
    struct ps_gpu_cleanup cleanup;
    char *json = NULL;
    assert_int_equal(ps_gpu_optimizer_profile(optimizer, &profile), PS_ENOTFOUND);
    assert_says("gpu.drivers is no");
    assert_says("gpu.sources names no server or exporter");
    assert_int_equal(profile.index, 7); /* left alone */
    assert_int_equal(ps_gpu_optimizer_predict_cleanup_need(optimizer, &prediction), PS_ENOTFOUND);
    assert_says("gpu.sources");
    assert_int_equal(ps_gpu_optimizer_aggressive_cleanup(optimizer, NULL, &cleanup), PS_ENOTFOUND);
    assert_says("gpu.sources");
    assert_int_equal(ps_gpu_optimizer_profile_json(optimizer, &json), PS_ENOTFOUND);
    assert_int_equal(ps_gpu_optimizer_report(optimizer, &json), PS_ENOTFOUND);
    assert_int_equal(ps_gpu_optimizer_recommendations(optimizer, &json), PS_ENOTFOUND);
    assert_says("gpu.sources");
    assert_null(json);
    ps_free(json);
    ps_gpu_optimizer_free(optimizer);
    ps_gpu_optimizer_free(NULL);
}

static void what_does_not_answer_is_told(void **state)
{
    (void)state;
    struct ps_gpu_optimizer *optimizer =
        optimizer_of("gpu:\n  nvml_library: /nowhere/libnvidia-ml.so.1\n"
                     "  sources: [{name: rack, kind: dcgm, url: 'http://127.0.0.1:1'}]\n");
    struct ps_gpu_profile profile;
    int err = ps_gpu_optimizer_profile(optimizer, &profile);
    if (err == PS_ENOTFOUND) { /* this machine has no other driver */
        assert_says("/nowhere/libnvidia-ml.so.1");
        assert_says("rack (dcgm): ");
    }
    ps_gpu_optimizer_free(optimizer);
}

static void mistakes_are_told_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"gpu: {modus: auto}", "text:1:7: gpu.modus: unknown key 'modus' in gpu"},
        {"listen: x\ngpu:\n  rungs: [restart_all]\n",
         "text:3:10: gpu.rungs: `restart_all` is no rung"},
        {"gpu:\n  sources:\n    - {name: a, url: ftp}\n",
         "text:3:22: gpu.sources[0].url: expected a URL"},
        {"gpu:\n  sources:\n    - {name: a, url: 'http://a'}\n    - {name: a, url: 'http://b'}\n",
         "text:4:14: gpu.sources[1].name: the same as in gpu.sources[0]"},
        {"gpu:\n  sources: [{name: a, kind: oracle, url: 'http://a'}]\n", "gpu.sources[0].kind"},
        {"gpu:\n  sources: [{name: a, url: 'https://a', ca_file: /nowhere.pem}]\n", "/nowhere.pem"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct ps_gpu_optimizer *optimizer = NULL;
        assert_int_equal(ps_gpu_optimizer_new_text(&optimizer, rows[i].text, strlen(rows[i].text)),
                         PS_EINVAL);
        assert_says(rows[i].says);
        assert_null(optimizer);
    }
    struct ps_gpu_optimizer *optimizer = NULL;
    assert_int_equal(ps_gpu_optimizer_new(&optimizer, "/nowhere.yaml"), PS_EINVAL);
    assert_says("cannot read /nowhere.yaml");
}

/* --- a driver --------------------------------------------------------------------------------- */

struct scene {
    struct nvml_fake fake;
    struct http_mock mock;
    char config[PATH_MAX + 1024];
    struct ps_gpu_optimizer *optimizer;

    /* the server */
    _Atomic bool loaded;
    _Atomic bool lies;   /* says that it unloads, and does not */
    _Atomic bool silent; /* does not answer calls */
    _Atomic unsigned calls;
};

static int enter(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    nvml_fake_open(&scene->fake, "nvidia-ml");
    *state = scene;
    return 0;
}

static int leave(void **state)
{
    struct scene *scene = *state;
    ps_gpu_optimizer_free(scene->optimizer);
    ps_shutdown();
    unsetenv("PENSTOCK_CONFIG");
    if (scene->mock.port != 0) {
        http_mock_stop(&scene->mock);
    }
    nvml_fake_close(&scene->fake);
    free(scene);
    return 0;
}

static void open_driver(struct scene *scene)
{
    snprintf(scene->config, sizeof scene->config, "gpu: {nvml_library: %s}", scene->fake.path);
    scene->optimizer = optimizer_of(scene->config);
}

static void a_driver_is_all_that_it_takes(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_prediction prediction;
    char *json = NULL;
    open_driver(scene);
    struct ps_gpu_profile profile = profile_of(scene->optimizer);
    assert_true(profile.total_bytes == 24576 * MIB && profile.used_bytes == 8192 * MIB);
    assert_true(profile.reserved_bytes == 512 * MIB && isnan(profile.fragmentation_percent));
    assert_true(profile.utilization_percent > 33.3 && profile.utilization_percent < 33.4);
    assert_true(profile.effective_percent == profile.utilization_percent);
    assert_string_equal(profile.basis, "device");
    assert_int_equal(profile.level, PS_GPU_LEVEL_LOW);
    assert_string_equal(profile.source, "nvml");
    assert_string_equal(profile.server, "");
    assert_true(profile.simulated && profile.uuid[0] != '\0');
    assert_int_equal(profile.index, 0);
    assert_true(profile.devices >= 1);
    assert_int_equal(profile.servers, 0);
    assert_ok(ps_gpu_optimizer_predict_cleanup_need(scene->optimizer, &prediction));
    assert_false(prediction.needed);
    assert_string_equal(prediction.basis, "forecast");
    assert_true(isnan(prediction.probability) && isnan(prediction.low) && isnan(prediction.high));
    assert_int_equal(prediction.level, PS_GPU_LEVEL_LOW);
    assert_ok(ps_gpu_optimizer_profile_json(scene->optimizer, &json));
    assert_non_null(strstr(json, "\"devices\":[{"));
    assert_non_null(strstr(json, "\"pressure_level\":\"low\""));
    ps_free(json);
}

/* Six hundred megabytes a second: in half a minute it is full. */
static void memory_that_fills_up_is_foreseen(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_prediction prediction = {.seconds_to_critical = NAN};
    open_driver(scene);
    assert_int_equal(profile_of(scene->optimizer).level, PS_GPU_LEVEL_LOW);
    be_patient();
    ps_time began = ps_clock_now(&ps_clock_real);
    while (isnan(prediction.seconds_to_critical) && go_on("a forecast")) {
        double used = 8192 + 600 * ps_span_seconds(ps_clock_now(&ps_clock_real) - began);
        nvml_fake_set(&scene->fake, "used_mib", used < 23500 ? (long)used : 23500);
        assert_ok(ps_gpu_optimizer_predict_cleanup_need(scene->optimizer, &prediction));
    }
    assert_string_equal(prediction.basis, "forecast");
    assert_true(prediction.seconds_to_critical >= 0 && prediction.seconds_to_critical < 61);
    nvml_fake_set(&scene->fake, "used_mib", 23900);
    be_patient();
    while (profile_of(scene->optimizer).level < PS_GPU_LEVEL_MEDIUM && go_on("a level")) {
    }
}

static void nothing_can_be_done_about_a_device_alone(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_cleanup cleanup;
    char *json = NULL;
    open_driver(scene);
    assert_ok(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, NULL, &cleanup));
    assert_int_equal(cleanup.outcome, PS_GPU_OUTCOME_NO_RUNG);
    assert_int_equal(cleanup.step_count, 0);
    assert_true(cleanup.reason[0] != '\0' && isnan(cleanup.freed_bytes));
    assert_true(cleanup.target_percent == 75);
    assert_ok(ps_gpu_optimizer_report(scene->optimizer, &json));
    assert_non_null(strstr(json, "\"cleanups\":[{"));
    ps_free(json);
    assert_ok(ps_gpu_optimizer_recommendations(scene->optimizer, &json));
    assert_non_null(strstr(json, "[{\"id\":\"no_rung\""));
    ps_free(json);
}

static void a_driver_that_hangs_holds_nobody_up(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_profile profile;
    nvml_fake_set(&scene->fake, "hang_init", 1);
    open_driver(scene);
    assert_int_equal(ps_gpu_optimizer_profile(scene->optimizer, &profile), PS_ENOTFOUND);
    assert_says("nvml: hung");
    nvml_fake_set(&scene->fake, "hang_init", 0);
    be_patient();
    while (ps_gpu_optimizer_profile(scene->optimizer, &profile) != PS_OK && go_on("the driver")) {
    }
    nvml_fake_set(&scene->fake, "hang_memory", 1);
    assert_ok(ps_gpu_optimizer_profile(scene->optimizer, &profile));
    be_patient(); /* what nobody measures any more has no level */
    while (profile_of(scene->optimizer).level != PS_GPU_LEVEL_UNKNOWN && go_on("the loss")) {
    }
    nvml_fake_set(&scene->fake, "hang_memory", 0);
}

/* --- a server --------------------------------------------------------------------------------- */

/* An Ollama with one model, which is most of what the driver says is in use. */
static bool answer(void *ctx, const char *line, const char *body, int *status, char *out,
                   size_t size)
{
    struct scene *scene = ctx;
    if (strncmp(line, "GET /api/ps ", 12) == 0) {
        snprintf(out, size, "{\"models\":[%s]}",
                 atomic_load(&scene->loaded)
                     ? "{\"name\":\"m:latest\",\"model\":\"m:latest\",\"size\":12582912000,"
                       "\"size_vram\":12582912000}"
                     : "");
        return true;
    }
    if (strncmp(line, "POST /api/generate ", 19) == 0 && strstr(body, "\"keep_alive\":0") != NULL) {
        atomic_fetch_add(&scene->calls, 1);
        if (atomic_load(&scene->silent)) {
            return false;
        }
        atomic_store(&scene->loaded, false);
        if (!atomic_load(&scene->lies)) {
            nvml_fake_set(&scene->fake, "used_mib", 10000);
        }
        snprintf(out, size, "{\"model\":\"m:latest\",\"done\":true,\"done_reason\":\"unload\"}");
        return true;
    }
    *status = 404;
    snprintf(out, size, "no");
    return true;
}

static void open_server(struct scene *scene, const char *more)
{
    nvml_fake_set(&scene->fake, "used_mib", 22000);
    atomic_store(&scene->loaded, true);
    http_mock_start(&scene->mock, answer, scene);
    snprintf(scene->config, sizeof scene->config,
             "gpu:\n  nvml_library: %s\n  interval: 100ms\n  timeout: 10s\n%s"
             "  sources: [{name: box, kind: ollama, url: 'http://127.0.0.1:%u'}]\n",
             scene->fake.path, more, scene->mock.port);
    scene->optimizer = optimizer_of(scene->config);
}

static void a_server_is_measured_by_the_driver(void **state)
{
    struct scene *scene = *state;
    char server[PS_GPU_TEXT];
    open_server(scene, "");
    struct ps_gpu_profile profile = profile_of(scene->optimizer);
    snprintf(server, sizeof server, "box http://127.0.0.1:%u", scene->mock.port);
    assert_string_equal(profile.server, server);
    assert_true(profile.effective_percent > 89 && profile.effective_percent < 90);
    assert_true(profile.used_bytes == 22000 * MIB);
    assert_string_equal(profile.source, "nvml");
    assert_true(profile.level >= PS_GPU_LEVEL_LOW);
    assert_int_equal(profile.servers, 1);
    be_patient();
    while (profile_of(scene->optimizer).level < PS_GPU_LEVEL_MEDIUM && go_on("a level")) {
    }
}

static void what_was_never_tried_stays_a_plan(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_cleanup cleanup;
    struct ps_gpu_order order = {.level = "unload", .dry_run = true};
    open_server(scene, "");
    assert_ok(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, &order, &cleanup));
    assert_int_equal(cleanup.outcome, PS_GPU_OUTCOME_PLANNED);
    assert_true(cleanup.dry_run && isnan(cleanup.freed_bytes));
    assert_int_equal(cleanup.step_count, 1);
    assert_string_equal(cleanup.steps[0].rung, "unload");
    assert_string_equal(cleanup.steps[0].model, "m:latest");
    assert_string_equal(cleanup.steps[0].verdict, "dry_run");
    assert_true(cleanup.steps[0].expected_bytes == 12000 * MIB);
    order.dry_run = false;
    assert_ok(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, &order, &cleanup));
    assert_int_equal(cleanup.outcome, PS_GPU_OUTCOME_NO_RUNG);
    assert_non_null(strstr(cleanup.reason, "gpu.trust_unverified"));
    order.level = "prefix_cache"; /* does not go as far */
    assert_ok(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, &order, &cleanup));
    assert_int_equal(cleanup.outcome, PS_GPU_OUTCOME_NO_RUNG);
    assert_int_equal(cleanup.step_count, 0);
    assert_int_equal(atomic_load(&scene->calls), 0);
}

static void memory_is_freed_and_measured(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_cleanup cleanup;
    const struct ps_gpu_order order = {.level = "unload", .target_percent = 60};
    char *json = NULL;
    open_server(scene, "  trust_unverified: yes\n");
    assert_ok(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, &order, &cleanup));
    assert_int_equal(cleanup.outcome, PS_GPU_OUTCOME_TARGET_MET);
    assert_int_equal(cleanup.step_count, 1);
    assert_string_equal(cleanup.steps[0].verdict, "freed");
    assert_true(cleanup.freed_bytes == 12000 * MIB);
    assert_true(cleanup.percent_before > 89 && cleanup.percent_after < 41);
    assert_true(cleanup.target_percent == 60);
    assert_int_equal(atomic_load(&scene->calls), 1);
    assert_ok(ps_gpu_optimizer_report(scene->optimizer, &json));
    assert_non_null(strstr(json, "\"outcome\":\"target_met\""));
    ps_free(json);
    assert_ok(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, &order, &cleanup));
    assert_int_equal(cleanup.outcome, PS_GPU_OUTCOME_TARGET_MET); /* there was nothing to do */
    assert_int_equal(cleanup.step_count, 0);
}

static void a_lie_is_found(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_cleanup cleanup;
    const struct ps_gpu_order order = {.level = "unload"};
    open_server(scene, "  trust_unverified: yes\n");
    atomic_store(&scene->lies, true);
    assert_ok(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, &order, &cleanup));
    assert_int_equal(cleanup.outcome, PS_GPU_OUTCOME_EXHAUSTED);
    assert_string_equal(cleanup.steps[0].verdict, "not_freed");
    assert_true(cleanup.freed_bytes == 0);
    assert_non_null(strstr(cleanup.steps[0].reason, "of 12000 MiB are free"));
}

static void the_time_is_kept(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_cleanup cleanup;
    const struct ps_gpu_order order = {.level = "unload", .limit_ms = 300};
    open_server(scene, "  trust_unverified: yes\n");
    atomic_store(&scene->silent, true);
    assert_ok(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, &order, &cleanup));
    assert_int_equal(cleanup.outcome, PS_GPU_OUTCOME_ENDED);
    assert_string_equal(cleanup.reason, "the time is up");
    assert_int_equal(cleanup.step_count, 1);
    assert_string_equal(cleanup.steps[0].verdict, "stopped");
    assert_true(isnan(cleanup.freed_bytes));
    atomic_store(&scene->silent, false); /* and the next may begin */
    assert_ok(ps_gpu_optimizer_aggressive_cleanup(
        scene->optimizer, &(struct ps_gpu_order){.level = "unload"}, &cleanup));
    assert_int_equal(cleanup.outcome, PS_GPU_OUTCOME_TARGET_MET);
}

static void nonsense_and_what_is_off_are_refused(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_cleanup cleanup = {.step_count = 7};
    static const struct ps_gpu_order wrong[] = {
        {.level = "everything"},
        {.target_percent = 101},
        {.target_percent = NAN},
        {.limit_ms = -1},
    };
    open_server(scene, "  mode: off\n");
    for (size_t i = 0; i < PS_ARRAY_LEN(wrong); i++) {
        assert_int_equal(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, &wrong[i], &cleanup),
                         PS_EINVAL);
        assert_int_equal(cleanup.step_count, 7);
    }
    assert_int_equal(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, NULL, &cleanup),
                     PS_ECANCELED);
    assert_says("gpu.mode");
    assert_int_equal(cleanup.step_count, 7);
}

/* --- batches ---------------------------------------------------------------------------------- */

/* A server's batches: 20 ms and 1 ms a row, 256 MiB a row. */
static void observe(struct ps_gpu_optimizer *optimizer, uint64_t size, unsigned times)
{
    const struct ps_gpu_batch_seen batch = {.model = "bge-m3",
                                            .shape = "512",
                                            .size = size,
                                            .seconds = 0.02 + 0.001 * (double)size,
                                            .memory_bytes = 256 * MIB * (double)size};
    for (unsigned i = 0; i < times; i++) {
        assert_ok(ps_gpu_optimizer_observe_batch(optimizer, &batch));
    }
}

static uint64_t best(struct ps_gpu_optimizer *optimizer, double free_bytes, double p95_ms,
                     const char *limit)
{
    const struct ps_gpu_batch_goal goal = {
        .model = "bge-m3", .shape = "512", .free_bytes = free_bytes, .p95_ms = p95_ms};
    struct ps_gpu_batch_advice advice;
    assert_ok(ps_gpu_optimizer_optimize_batch_size(optimizer, &goal, &advice));
    assert_string_equal(advice.limited_by, limit);
    assert_true(advice.size == 0 || (advice.expected_p95_ms > 20 && advice.rows_per_second > 40));
    assert_true(advice.size == 0 || advice.expected_memory_bytes <= free_bytes);
    return advice.size;
}

static void a_batch_is_as_large_as_memory_and_time_let_it(void **state)
{
    (void)state;
    struct ps_gpu_optimizer *optimizer = optimizer_of("gpu: {drivers: no}");
    struct ps_gpu_batch_advice advice = {.size = 7};
    const struct ps_gpu_batch_goal goal = {.model = "bge-m3", .shape = "512"};
    assert_int_equal(ps_gpu_optimizer_optimize_batch_size(optimizer, &goal, &advice), PS_ENOTFOUND);
    assert_says("no batch of bge-m3");
    assert_int_equal(advice.size, 7);
    observe(optimizer, 1, 2);
    assert_int_equal(best(optimizer, 64 * 256 * MIB, 0, "samples"), 0);
    for (uint64_t size = 1; size <= 64; size *= 2) {
        observe(optimizer, size, 12);
    }
    uint64_t whole = best(optimizer, 40 * 256 * MIB, 0, "memory");
    uint64_t half = best(optimizer, 20 * 256 * MIB, 0, "memory");
    uint64_t quick = best(optimizer, 40 * 256 * MIB, 40, "latency");
    assert_true(whole > 30 && whole <= 40);
    assert_true(half > 15 && half <= 20);
    assert_true(quick > 10 && quick < 21);
    assert_ok(ps_gpu_optimizer_optimize_batch_size(optimizer, &goal, &advice)); /* no device */
    assert_true(advice.size > whole && !isnan(advice.expected_memory_bytes));
    assert_ok(ps_gpu_optimizer_observe_batch(
        optimizer, &(struct ps_gpu_batch_seen){.model = "bge-m3",
                                               .shape = "512",
                                               .size = 24,
                                               .memory_bytes = 40 * 256 * MIB,
                                               .out_of_memory = true}));
    assert_true(best(optimizer, 40 * 256 * MIB, 0, "memory") < 24);
    ps_gpu_optimizer_free(optimizer);
}

static void the_room_for_batches_is_that_of_the_device(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_batch_advice advice;
    const struct ps_gpu_batch_goal goal = {.model = "bge-m3", .shape = "512"};
    char *json = NULL;
    nvml_fake_set(&scene->fake, "used_mib", 18432 - 20 * 256); /* three quarters are 18432 MiB */
    open_driver(scene);
    for (uint64_t size = 1; size <= 64; size *= 2) {
        observe(scene->optimizer, size, 12);
    }
    assert_ok(ps_gpu_optimizer_optimize_batch_size(scene->optimizer, &goal, &advice));
    assert_string_equal(advice.limited_by, "memory");
    assert_true(advice.size > 15 && advice.size <= 20);
    assert_ok(ps_gpu_optimizer_report(scene->optimizer, &json));
    assert_non_null(strstr(json, "\"library\""));
    assert_non_null(strstr(json, "\"bge-m3\""));
    ps_free(json);
}

static void a_batch_that_can_not_be_is_refused(void **state)
{
    (void)state;
    struct ps_gpu_optimizer *optimizer = optimizer_of("gpu: {drivers: no}");
    static const struct ps_gpu_batch_seen wrong[] = {
        {.model = "m", .size = 0, .seconds = 1},
        {.model = "m", .size = 513, .seconds = 1},
        {.model = "m", .size = 1, .seconds = -1},
        {.model = "m", .size = 1, .seconds = NAN},
        {.model = "m", .size = 1, .memory_bytes = INFINITY},
        {.model = "", .size = 1, .seconds = 1},
        {.size = 1, .seconds = 1},
        {.model = "m\n", .size = 1, .seconds = 1},
        {.model = "m", .shape = "0123456789012345678901234567890123", .size = 1, .seconds = 1},
    };
    static const struct ps_gpu_batch_goal goals[] = {
        {.model = NULL}, {.model = "m", .p95_ms = -1}, {.model = "m", .most = 513}};
    struct ps_gpu_batch_advice advice;
    for (size_t i = 0; i < PS_ARRAY_LEN(wrong); i++) {
        assert_int_equal(ps_gpu_optimizer_observe_batch(optimizer, &wrong[i]), PS_EINVAL);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(goals); i++) {
        assert_int_equal(ps_gpu_optimizer_optimize_batch_size(optimizer, &goals[i], &advice),
                         PS_EINVAL);
    }
    ps_gpu_optimizer_free(optimizer);
}

/* --- one for all ------------------------------------------------------------------------------ */

/* Writes a file that goes with the scene. */
static void write_config(char *path, const char *text)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void *take_default(void *arg)
{
    (void)arg;
    return ps_gpu_optimizer_default();
}

static void there_is_one_default_and_a_child_makes_its_own(void **state)
{
    struct scene *scene = *state;
    pthread_t threads[4];
    void *taken[4];
    char path[] = "/tmp/ps-gpu-XXXXXX";
    char none[] = "/tmp/ps-gpu-XXXXXX";
    snprintf(scene->config, sizeof scene->config,
             "listen: [127.0.0.1:1]\ngpu: {nvml_library: %s}\n", scene->fake.path);
    write_config(path, scene->config);
    write_config(none, "gpu: {drivers: no}\n");
    setenv("PENSTOCK_CONFIG", path, 1);
    for (size_t i = 0; i < PS_ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_default, NULL), 0);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], &taken[i]);
        assert_non_null(taken[i]);
        assert_ptr_equal(taken[i], taken[0]);
    }
    assert_non_null(ps_cache_default()); /* both kinds at once */
    assert_int_equal(profile_of(ps_gpu_optimizer_default()).level, PS_GPU_LEVEL_LOW);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct ps_gpu_profile profile;
        setenv("PENSTOCK_CONFIG", none, 1); /* a driver may not like to be forked */
        bool fine = ps_gpu_optimizer_profile(taken[0], &profile) == PS_ECLOSED;
        ps_gpu_optimizer_free(taken[0]);
        if (NEW_THREADS_AFTER_FORK) {
            struct ps_gpu_optimizer *own = ps_gpu_optimizer_default();
            fine = fine && own != NULL && own != taken[0];
            fine = fine && ps_gpu_optimizer_profile(own, &profile) == PS_ENOTFOUND;
        }
        ps_shutdown();
        _exit(fine ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(profile_of(ps_gpu_optimizer_default()).level, PS_GPU_LEVEL_LOW);
    ps_shutdown();
    setenv("PENSTOCK_CONFIG", "/nowhere.yaml", 1);
    assert_null(ps_gpu_optimizer_default());
    assert_says("/nowhere.yaml");
    unlink(path);
    unlink(none);
}

enum { ROUNDS = 60 };

/* One of the threads; cmocka can't fail in it, so it says what was wrong. */
struct worker {
    struct ps_gpu_optimizer *optimizer;
    pthread_t thread;
    char wrong[160]; /* "" = nothing */
};

static void expect(struct worker *worker, const char *call, int err)
{
    if (err != PS_OK && worker->wrong[0] == '\0') {
        snprintf(worker->wrong, sizeof worker->wrong, "%s: %d, %s", call, err, ps_last_error());
    }
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    const struct ps_gpu_order order = {.level = "unload", .dry_run = true};
    struct ps_gpu_profile profile;
    struct ps_gpu_prediction prediction;
    struct ps_gpu_cleanup cleanup;
    for (int i = 0; i < ROUNDS && worker->wrong[0] == '\0'; i++) {
        char *json = NULL;
        expect(worker, "profile", ps_gpu_optimizer_profile(worker->optimizer, &profile));
        expect(worker, "predict",
               ps_gpu_optimizer_predict_cleanup_need(worker->optimizer, &prediction));
        int err = ps_gpu_optimizer_aggressive_cleanup(worker->optimizer, &order, &cleanup);
        expect(worker, "cleanup", err == PS_EBUSY ? PS_OK : err);
        expect(worker, "report", ps_gpu_optimizer_report(worker->optimizer, &json));
        ps_free(json);
    }
    return NULL;
}

static void many_threads_use_one_optimizer(void **state)
{
    struct scene *scene = *state;
    struct worker workers[4];
    open_server(scene, "");
    for (size_t i = 0; i < PS_ARRAY_LEN(workers); i++) {
        workers[i] = (struct worker){.optimizer = scene->optimizer};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(workers); i++) {
        pthread_join(workers[i].thread, NULL);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(workers); i++) {
        assert_string_equal(workers[i].wrong, "");
    }
}

static void *clean_slowly(void *arg)
{
    struct scene *scene = arg;
    struct ps_gpu_cleanup cleanup;
    const struct ps_gpu_order order = {.level = "unload", .limit_ms = 2000};
    bool fine = ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, &order, &cleanup) == PS_OK &&
                cleanup.outcome == PS_GPU_OUTCOME_ENDED;
    return fine ? scene : NULL;
}

static void one_cleanup_runs_at_a_time_and_nobody_else_waits(void **state)
{
    struct scene *scene = *state;
    struct ps_gpu_cleanup cleanup;
    pthread_t thread;
    void *fine = NULL;
    open_server(scene, "  trust_unverified: yes\n");
    atomic_store(&scene->silent, true);
    assert_int_equal(pthread_create(&thread, NULL, clean_slowly, scene), 0);
    be_patient();
    while (atomic_load(&scene->calls) == 0 && go_on("the call")) {
    }
    assert_int_equal(ps_gpu_optimizer_aggressive_cleanup(scene->optimizer, NULL, &cleanup),
                     PS_EBUSY);
    assert_says("a cleanup is under way");
    (void)profile_of(scene->optimizer);
    pthread_join(thread, &fine);
    assert_non_null(fine);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_page),
        cmocka_unit_test(without_a_source_each_call_names_the_settings),
        cmocka_unit_test(what_does_not_answer_is_told),
        cmocka_unit_test(mistakes_are_told_with_their_place),
        TEST(a_driver_is_all_that_it_takes),
        TEST(memory_that_fills_up_is_foreseen),
        TEST(nothing_can_be_done_about_a_device_alone),
        TEST(a_driver_that_hangs_holds_nobody_up),
        TEST(a_server_is_measured_by_the_driver),
        TEST(what_was_never_tried_stays_a_plan),
        TEST(memory_is_freed_and_measured),
        TEST(a_lie_is_found),
        TEST(the_time_is_kept),
        TEST(nonsense_and_what_is_off_are_refused),
        cmocka_unit_test(a_batch_is_as_large_as_memory_and_time_let_it),
        TEST(the_room_for_batches_is_that_of_the_device),
        cmocka_unit_test(a_batch_that_can_not_be_is_refused),
        TEST(there_is_one_default_and_a_child_makes_its_own),
        TEST(many_threads_use_one_optimizer),
        TEST(one_cleanup_runs_at_a_time_and_nobody_else_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

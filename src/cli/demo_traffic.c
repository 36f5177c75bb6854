/* demo_traffic - see demo_traffic.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_traffic.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "io/loop.h"
#include "load/generator.h"

#define KEY_RATE        (20000.0 / 600) /* both samples end together */
#define SHARED_PACE     0.3 /* of the trace's, on average */
#define SWELL           0.9
#define SWELL_PERIOD    (60 * PS_SECOND)
#define TRACES_LAST     (600 * PS_SECOND)
#define MODEL           "sim"
#define IN_FLIGHT_MAX   4096
#define REQUEST_TIMEOUT (120 * PS_SECOND)

const char *const ps_demo_traffic_files[PS_DEMO_LANES] = {
    [PS_DEMO_CHATS] = PS_DEMO_CHAT_TRACE,
    [PS_DEMO_KEYS] = PS_DEMO_KEY_TRACE,
    [PS_DEMO_MODELS] = PS_DEMO_CHAT_TRACE,
};

/* ------------------------------------------------------------------------------------- samples */

/* Are the samples in this folder? Then it is the one. */
static bool is_data(struct ps_demo_traffic *traffic, const char *start, const char *end)
{
    char file[4200];
    snprintf(traffic->data, sizeof traffic->data, "%s%s", start, end);
    snprintf(file, sizeof file, "%s/%s", traffic->data, PS_DEMO_CHAT_TRACE);
    if (access(file, R_OK) != 0) {
        return false;
    }
    snprintf(file, sizeof file, "%s/%s", traffic->data, PS_DEMO_KEY_TRACE);
    return access(file, R_OK) == 0;
}

bool ps_demo_traffic_find(struct ps_demo_traffic *traffic, const char *wanted)
{
    char self[3900];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len < 0 ? 0 : len] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    return wanted != NULL
               ? is_data(traffic, wanted, "")
               : is_data(traffic, self, "/../share/penstock") || is_data(traffic, self, "/../data");
}

/* --------------------------------------------------------------------------------------- lanes */

static void on_lane_end(struct ps_demo_traffic *traffic, const struct ps_demo_lane *lane, int err)
{
    traffic->ended++;
    if (err != PS_OK || traffic->ended == traffic->begun) {
        traffic->on_end(traffic->ctx, err, ps_generator_error(lane->generator));
    }
}

static void on_chat_end(void *ctx, int err)
{
    struct ps_demo_traffic *traffic = ctx;
    on_lane_end(traffic, &traffic->view->lanes[PS_DEMO_CHATS], err);
}

static void on_key_end(void *ctx, int err)
{
    struct ps_demo_traffic *traffic = ctx;
    on_lane_end(traffic, &traffic->view->lanes[PS_DEMO_KEYS], err);
}

static void on_model_end(void *ctx, int err)
{
    struct ps_demo_traffic *traffic = ctx;
    on_lane_end(traffic, &traffic->view->lanes[PS_DEMO_MODELS], err);
}

static void on_chat_result(void *ctx, const struct ps_session_result *result)
{
    struct ps_demo_traffic *traffic = ctx;
    ps_demo_view_add(&traffic->view->lanes[PS_DEMO_CHATS], result);
}

static void on_key_result(void *ctx, const struct ps_session_result *result)
{
    struct ps_demo_traffic *traffic = ctx;
    ps_demo_view_add(&traffic->view->lanes[PS_DEMO_KEYS], result);
}

static void on_model_result(void *ctx, const struct ps_session_result *result)
{
    struct ps_demo_traffic *traffic = ctx;
    ps_demo_view_add(&traffic->view->lanes[PS_DEMO_MODELS], result);
}

static const struct ps_generator_ops lane_ops[PS_DEMO_LANES] = {
    [PS_DEMO_CHATS] = {.on_result = on_chat_result, .on_end = on_chat_end},
    [PS_DEMO_KEYS] = {.on_result = on_key_result, .on_end = on_key_end},
    [PS_DEMO_MODELS] = {.on_result = on_model_result, .on_end = on_model_end},
};

/* What the lanes don't share: pace, and what the requests say. */
static struct ps_generator_opts opts_of(const struct ps_demo_traffic *traffic, size_t which)
{
    struct ps_generator_opts opts = {
        .pace = {.speed = traffic->speed},
        .max_in_flight = IN_FLIGHT_MAX,
        .timeout = REQUEST_TIMEOUT,
        .second = traffic->targets[1],
    };
    if (which == PS_DEMO_MODELS) {
        opts.pace.speed *= SHARED_PACE;
        opts.pace.swell = SWELL;
        opts.pace.period = (ps_span)((double)SWELL_PERIOD / traffic->speed);
        opts.pace.duration = (ps_span)((double)TRACES_LAST / traffic->speed);
    }
    return opts;
}

static struct ps_requests_opts requests_of(const struct ps_demo_traffic *traffic, size_t which, const char *path)
{
    struct ps_requests_opts requests = {
        .trace = {.path = path, .seed = 1 + which, .key_rate = which == PS_DEMO_KEYS ? KEY_RATE : 0},
        .prompt = {.model = MODEL, .ignore_eos = true, .protocol = traffic->view->engine->protocol},
    };
    if (which == PS_DEMO_MODELS) {
        requests.prompt.models = ps_demo_server_models;
        requests.prompt.protocol = PS_PROTOCOL_OPENAI;
    }
    return requests;
}

static int make_generator(struct ps_demo_traffic *traffic, size_t which, struct ps_requests_error *error)
{
    char path[4200];
    struct ps_demo_lane *lane = &traffic->view->lanes[which];
    struct ps_requests *requests = NULL;
    snprintf(path, sizeof path, "%s/%s", traffic->data, ps_demo_traffic_files[which]);
    const struct ps_requests_opts source = requests_of(traffic, which, path);
    const struct ps_generator_opts opts = opts_of(traffic, which);
    lane->speed = opts.pace.speed;
    int err = ps_catalogue_new(&lane->catalogue, &source, error);
    if (err == PS_OK) {
        err = ps_requests_new(&requests, lane->catalogue, traffic->targets[0], error);
    }
    return err != PS_OK ? err
                        : ps_generator_new(&lane->generator, traffic->loop, traffic->targets[0], requests,
                                           &opts, &lane_ops[which], traffic);
}

static int start_lane(struct ps_demo_traffic *traffic, size_t which)
{
    struct ps_requests_error error = {"out of memory"};
    int err = make_generator(traffic, which, &error);
    if (err != PS_OK) {
        snprintf(traffic->error, sizeof traffic->error, "%s", error.text);
        return err;
    }
    traffic->begun++;
    ps_generator_start(traffic->view->lanes[which].generator, ps_loop_now(traffic->loop));
    return PS_OK;
}

int ps_demo_traffic_start(struct ps_demo_traffic *traffic)
{
    const struct ps_demo_engine *engine = traffic->view->engine;
    const char *const names[PS_DEMO_LANES] = {
        [PS_DEMO_CHATS] = engine->chats,
        [PS_DEMO_KEYS] = engine->embeddings ? "embeddings" : NULL,
        [PS_DEMO_MODELS] = "models",
    };
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < PS_DEMO_LANES; i++) {
        traffic->view->lanes[i].name = names[i];
        err = names[i] == NULL ? PS_OK : start_lane(traffic, i);
    }
    return err;
}

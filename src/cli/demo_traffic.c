/* demo_traffic - see demo_traffic.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_traffic.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "load/plan.h"
#include "load/replay.h"

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
        traffic->on_end(traffic->ctx, err, ps_replay_error(lane->replay));
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

static const struct ps_replay_ops lane_ops[PS_DEMO_LANES] = {
    [PS_DEMO_CHATS] = {.on_result = on_chat_result, .on_end = on_chat_end},
    [PS_DEMO_KEYS] = {.on_result = on_key_result, .on_end = on_key_end},
    [PS_DEMO_MODELS] = {.on_result = on_model_result, .on_end = on_model_end},
};

/* What the lanes don't share: pace, and what the requests say. */
static struct ps_replay_opts opts_of(const struct ps_demo_traffic *traffic, size_t which)
{
    struct ps_replay_opts opts = {
        .pace = {.speed = traffic->speed},
        .prompt = {.model = MODEL, .ignore_eos = true, .protocol = traffic->view->engine->protocol},
        .max_in_flight = IN_FLIGHT_MAX,
        .timeout = REQUEST_TIMEOUT,
        .second = traffic->targets[1],
    };
    if (which == PS_DEMO_MODELS) {
        opts.pace.speed *= SHARED_PACE;
        opts.pace.swell = SWELL;
        opts.pace.period = (ps_span)((double)SWELL_PERIOD / traffic->speed);
        opts.pace.duration = (ps_span)((double)TRACES_LAST / traffic->speed);
        opts.prompt.models = ps_demo_server_models;
        opts.prompt.protocol = PS_PROTOCOL_OPENAI;
    }
    return opts;
}

static int start_lane(struct ps_demo_traffic *traffic, size_t which)
{
    char path[4200];
    struct ps_plan *plan = NULL;
    struct ps_plan_error error;
    const char *file = ps_demo_traffic_files[which];
    snprintf(path, sizeof path, "%s/%s", traffic->data, file);
    struct ps_plan_opts source = {
        .path = path, .seed = 1 + which, .key_rate = which == PS_DEMO_KEYS ? KEY_RATE : 0};
    int err = ps_plan_open(&plan, &source, &error);
    if (err != PS_OK) {
        snprintf(traffic->error, sizeof traffic->error, "%s", error.text);
        return err;
    }
    struct ps_replay_opts opts = opts_of(traffic, which);
    struct ps_demo_lane *lane = &traffic->view->lanes[which];
    err = ps_replay_new(&lane->replay, traffic->loop, traffic->targets[0], plan, &opts,
                        &lane_ops[which], traffic);
    if (err != PS_OK) {
        snprintf(traffic->error, sizeof traffic->error, "%s: %s", file, ps_err_text(err));
        return err;
    }
    traffic->begun++;
    ps_replay_start(lane->replay);
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

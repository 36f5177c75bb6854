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
#define MODEL           "sim"
#define IN_FLIGHT_MAX   4096
#define REQUEST_TIMEOUT (120 * PS_SECOND)

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
    on_lane_end(traffic, &traffic->view->lanes[0], err);
}

static void on_key_end(void *ctx, int err)
{
    struct ps_demo_traffic *traffic = ctx;
    on_lane_end(traffic, &traffic->view->lanes[1], err);
}

static void on_chat_result(void *ctx, const struct ps_session_result *result)
{
    struct ps_demo_traffic *traffic = ctx;
    ps_demo_view_add(&traffic->view->lanes[0], result);
}

static void on_key_result(void *ctx, const struct ps_session_result *result)
{
    struct ps_demo_traffic *traffic = ctx;
    ps_demo_view_add(&traffic->view->lanes[1], result);
}

static const struct ps_replay_ops lane_ops[PS_DEMO_LANES] = {
    {.on_result = on_chat_result, .on_end = on_chat_end},
    {.on_result = on_key_result, .on_end = on_key_end},
};

static int start_lane(struct ps_demo_traffic *traffic, size_t which, const char *file,
                      double key_rate)
{
    char path[4200];
    struct ps_plan *plan = NULL;
    struct ps_plan_error error;
    snprintf(path, sizeof path, "%s/%s", traffic->data, file);
    struct ps_plan_opts source = {.path = path, .seed = 1, .key_rate = key_rate};
    int err = ps_plan_open(&plan, &source, &error);
    if (err != PS_OK) {
        snprintf(traffic->error, sizeof traffic->error, "%s", error.text);
        return err;
    }
    struct ps_replay_opts opts = {
        .pace = {.speed = traffic->speed},
        .prompt = {.model = MODEL, .ignore_eos = true, .protocol = traffic->view->engine->protocol},
        .max_in_flight = IN_FLIGHT_MAX,
        .timeout = REQUEST_TIMEOUT,
        .second = traffic->targets[1],
    };
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
    int err = PS_OK;
    traffic->view->lanes[0].name = engine->chats;
    traffic->view->lanes[1].name = "embeddings";
    if (engine->chats != NULL) {
        err = start_lane(traffic, 0, PS_DEMO_CHAT_TRACE, 0);
    }
    if (err == PS_OK && engine->embeddings) {
        err = start_lane(traffic, 1, PS_DEMO_KEY_TRACE, KEY_RATE);
    }
    return err;
}

/* demo_view - what the demo shows: traffic, servers and gateway, once a second.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_VIEW_H
#define PS_CLI_DEMO_VIEW_H

#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/demo_engine.h"
#include "cli/demo_server.h"
#include "cli/demo_story.h"
#include "cli/probe.h"
#include "cli/screen.h"
#include "load/generator.h"
#include "load/window.h"

/* The streams of requests: to the equal servers, and to the one that is shared. */
enum { PS_DEMO_CHATS, PS_DEMO_KEYS, PS_DEMO_MODELS, PS_DEMO_LANES };

#define PS_DEMO_GATEWAYS 2

/* One stream of requests. */
struct ps_demo_lane {
    const char *name;
    struct ps_catalogue *catalogue;
    struct ps_generator *generator; /* NULL = not begun */
    double speed;
    struct ps_window ttft;
    struct ps_window latency;
    uint64_t sent_before; /* as of the last drawing, for rates */
    uint64_t texts_before;
};

/* One simulated GPU server. */
struct ps_demo_server {
    char url[96];
    struct ps_probe *state; /* its own account of itself */
};

struct ps_demo_gateway {
    char address[80]; /* where it listens */
    char url[96];
    struct ps_probe *metrics;
    struct ps_probe *cache; /* its /api/cache/stats */
};

struct ps_demo_view {
    const struct ps_demo_engine *engine;
    struct ps_screen screen;
    struct ps_demo_gateway gateways[PS_DEMO_GATEWAYS];
    size_t gateway_count;
    struct ps_demo_lane lanes[PS_DEMO_LANES];
    struct ps_demo_server servers[PS_DEMO_SERVERS];
    struct ps_demo_story story; /* of the servers' memory */
    uint64_t told;              /* events of it that were shown */
    double speed;
    bool over; /* the traces are at their end, and the servers serve on */
    ps_time began;
    ps_time drawn;
};

/* Counts a result of a lane. */
void ps_demo_view_add(struct ps_demo_lane *lane, const struct ps_session_result *result);

/* Shows everything as it is: rewritten in place on a terminal, as a few plain lines elsewhere. */
void ps_demo_view_draw(struct ps_demo_view *view, ps_time now);

#endif

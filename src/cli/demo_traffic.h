/* demo_traffic - the recorded requests that the demo plays: chats, embeddings of recorded keys, and
 * chats with many models.
 *
 * Each trace is played once, in its order. Two are played at their pace. The keys are those of a
 * shop's cache, so the embeddings repeat as its keys did; the chats have no recorded text, so that
 * none of them does. The third is the trace of chats again, slower and at a rate that rises and
 * falls, for the models that share a server; which of them is asked is drawn.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_TRAFFIC_H
#define PS_CLI_DEMO_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "cli/demo_view.h"

#define PS_DEMO_CHAT_TRACE "azure2023_conv_10min.csv.gz"
#define PS_DEMO_KEY_TRACE  "cache2k_web07_20k.u32be.gz"

struct ps_loop;
struct ps_target;

/* The trace of each lane. */
extern const char *const ps_demo_traffic_files[PS_DEMO_LANES];

struct ps_demo_traffic {
    struct ps_demo_view *view; /* its lanes are filled in; borrowed */
    struct ps_loop *loop;
    struct ps_target *targets[PS_DEMO_GATEWAYS]; /* take turns; the second may be NULL */
    double speed;
    /* All of it was played and answered (PS_OK), or a trace broke off and `why` says where. */
    void (*on_end)(void *ctx, int err, const char *why);
    void *ctx;
    char data[4096]; /* the folder of the traces */
    char error[700]; /* of ps_demo_traffic_start() */
    size_t begun;
    size_t ended;
};

/* Finds the folder: `wanted`, or without it (NULL) where they were installed, or those of a
 * checkout. The traces stand beside the program: installed in ../share/penstock, in a checkout in
 * ../data. False: data is the last one that was looked at. */
bool ps_demo_traffic_find(struct ps_demo_traffic *traffic, const char *wanted);

/* Begins; what the engine can't be asked for is not played. PS_OK, or error says what is wrong. */
PS_MUST_CHECK int ps_demo_traffic_start(struct ps_demo_traffic *traffic);

#endif

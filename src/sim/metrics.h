/* metrics - how requests went, which the engine does not know.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_METRICS_H
#define PS_SIM_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/engine.h"
#include "sim/tally.h"

struct ps_sim_metrics {
    struct ps_sim_tally first_token; /* seconds */
    struct ps_sim_tally inter_token;
    struct ps_sim_tally end_to_end;
    struct ps_sim_tally queue;
    struct ps_sim_tally compute; /* first step to the end */
    struct ps_sim_tally prompt_tokens;
    struct ps_sim_tally generation_tokens;
    uint64_t stopped; /* sequences by how they ended */
    uint64_t length;
    uint64_t aborted;
    uint64_t requests; /* that were let in */
    uint64_t refused;  /* 4xx */
    uint64_t failed;   /* 5xx */
};

void ps_sim_metrics_init(struct ps_sim_metrics *metrics);

/* Adds a finished sequence. */
void ps_sim_metrics_add(struct ps_sim_metrics *metrics, const struct ps_sim_seq *seq, bool stopped,
                        ps_time now);

#endif

/* metrics - the numbers of the simulated server, under vLLM's names.
 *
 * Every series carries model_name and engine as vLLM's do, and simulated="true"; the gauge
 * penstock_simulated says it once more. What vLLM has no name for is called penstock_sim_*.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_METRICS_H
#define PS_SIM_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "sim/engine.h"
#include "sim/options.h"
#include "sim/tally.h"

/* What the engine doesn't know: how requests went. */
struct ps_sim_metrics {
    struct ps_sim_tally first_token; /* seconds */
    struct ps_sim_tally inter_token;
    struct ps_sim_tally end_to_end;
    struct ps_sim_tally queue;
    struct ps_sim_tally prompt_tokens;
    struct ps_sim_tally generation_tokens;
    uint64_t stopped; /* requests by how they ended */
    uint64_t length;
    uint64_t aborted;
    uint64_t refused; /* 4xx */
    uint64_t failed;  /* 5xx */
};

void ps_sim_metrics_init(struct ps_sim_metrics *metrics);

/* Adds a finished sequence. */
void ps_sim_metrics_add(struct ps_sim_metrics *metrics, const struct ps_sim_seq *seq, bool stopped,
                        ps_time now);

/* Appends the Prometheus text format, 0.0.4. `model` is the label's value, without characters
 * that need an escape. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_metrics_write(struct ps_buf *out, const struct ps_sim_metrics *metrics,
                                       const struct ps_sim_engine *engine,
                                       const struct ps_sim_opts *opts, const char *model);

/* Appends the device, the cache and the queues as JSON: the answer of GET /sim/state. Errors as
 * above. */
PS_MUST_CHECK int ps_sim_metrics_state(struct ps_buf *out, const struct ps_sim_metrics *metrics,
                                       const struct ps_sim_engine *engine,
                                       const struct ps_sim_opts *opts, const char *model);

#endif

/* sim - the simulated server: an engine behind the HTTP surface of a vLLM server.
 *
 * One loop, one timer: the timer is the end of the engine's step. Each request is a call, which
 * holds a sequence per prompt; tokens become events as the steps end. A client that reads slowly
 * gets fewer and larger events (the text is not buffered, it is made again from its seed), one that
 * is gone frees its sequences at once.
 *
 *      request --> call --> sequences --> engine
 *                    ^------- tokens -------+        timer: ps_sim_engine_tick()
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_SIM_H
#define PS_SIM_SIM_H

#include "base/err.h"
#include "sim/options.h"

struct ps_address;
struct ps_loop;
struct ps_sim;

/* Creates a server on the loop; the options (and the names in them) are borrowed and outlive it. A
 * name may hold letters, digits and "._-/:". PS_OK; PS_ELIMIT: the model doesn't fit on the device;
 * PS_EINVAL: max_model_len is more than the cache holds, or a name is not a name; PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_new(struct ps_sim **out, struct ps_loop *loop,
                             const struct ps_sim_opts *opts);

/* Listens; the port 0 picks a free one. Errors of ps_server_listen(). */
PS_MUST_CHECK int ps_sim_listen(struct ps_sim *sim, const struct ps_address *at);

/* Where it listens, or NULL. */
const struct ps_address *ps_sim_address(const struct ps_sim *sim);

/* Ends everything at once. NULL is fine. */
void ps_sim_free(struct ps_sim *sim);

#endif

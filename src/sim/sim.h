/* sim - the simulated server: one engine behind the HTTP surface of one of ten.
 *
 * One loop, one timer. A request becomes an ask once its body is there, the personality's table
 * says who answers it, and inference becomes a call, which holds a sequence per prompt.
 *
 *      request --> ask --> route of the personality --> answered at once
 *                                  +--> call --> sequences --> engine
 *                                         ^------- tokens -------+     timer: ps_sim_desk_tick()
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
 * PS_EINVAL: max_model_len is more than the cache holds, a name is not a name, or there are too
 * many; PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_new(struct ps_sim **out, struct ps_loop *loop,
                             const struct ps_sim_opts *opts);

/* Listens, on one more address each time; the port 0 picks a free one. Errors of
 * ps_server_listen(). */
PS_MUST_CHECK int ps_sim_listen(struct ps_sim *sim, const struct ps_address *at);

/* The n-th address where it listens, or NULL. */
const struct ps_address *ps_sim_address(const struct ps_sim *sim, size_t n);

/* Ends everything at once. NULL is fine. */
void ps_sim_free(struct ps_sim *sim);

#endif

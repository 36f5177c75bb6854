/* page - a page of metrics in the Prometheus text format, 0.0.4, as the imitated servers write it.
 *
 * Every series carries the labels that the engine puts on all of its series, and simulated="true".
 * The first failure is kept and nothing is written after it.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_PAGE_H
#define PS_SIM_PAGE_H

#include "base/buf.h"
#include "sim/desk.h"
#include "sim/tally.h"

struct ps_sim_page {
    struct ps_buf *out;
    const char *labels; /* of every series: a=\"b\", each followed by a comma; or "" */
    int err;            /* PS_OK, PS_ELIMIT or PS_ENOMEM */
};

void ps_sim_page_head(struct ps_sim_page *page, const char *name, const char *type,
                      const char *help);

/* labels: more of them, each followed by a comma, or "". */
void ps_sim_page_value(struct ps_sim_page *page, const char *name, const char *labels,
                       double number);

/* Head and value of a series that stands alone. */
void ps_sim_page_single(struct ps_sim_page *page, const char *name, const char *type,
                        const char *help, double number);

void ps_sim_page_histogram(struct ps_sim_page *page, const char *name, const char *help,
                           const struct ps_sim_tally *tally);

/* What no engine has a name for, as penstock_sim_*: the device's bytes by kind, steps, failures;
 * and penstock_simulated, which says that nothing here was measured on a GPU. */
void ps_sim_page_own(struct ps_sim_page *page, const struct ps_sim_desk *desk);

/* Share of the cache blocks in use, 0 to 1. */
double ps_sim_page_cache_usage(const struct ps_sim_desk *desk);

#endif

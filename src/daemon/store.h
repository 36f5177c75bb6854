/* store - the section `store`: where the ledger is, how long it keeps, and how it fares.
 *
 * Made once; a reload changes how long rows stay, nothing else.
 *
 * Thread: control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_STORE_H
#define PS_DAEMON_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "observe/metric.h"

struct ps_ledger;
struct ps_loop;
struct ps_store;

struct ps_store_opts {
    char *path; /* "auto", "off" or "", or a file */
    ps_span retention;
    uint64_t max_rows;
};

extern const struct ps_option ps_store_options[];
extern const struct ps_metric_family ps_store_metric_families[];

/* Where the ledger is to be, or NULL: nowhere. free() it. `auto` is $STATE_DIRECTORY/ledger.db,
 * which systemd sets for a service, else $XDG_STATE_HOME/penstock/ledger.db, else nowhere: a
 * program that is only tried leaves no files behind. *standard (or NULL) tells that a folder of
 * that place may be made. */
char *ps_store_path(const struct ps_store_opts *opts, bool *standard);

/* Opens the ledger and publishes its figures; nowhere is fine. What goes wrong with the file later
 * is said in the log. PS_OK, PS_ENOMEM or PS_ELIMIT. */
PS_MUST_CHECK int ps_store_new(struct ps_store **out, const struct ps_store_opts *opts,
                               struct ps_loop *loop, struct ps_metrics *metrics);

/* After everybody who writes. NULL is fine. */
void ps_store_free(struct ps_store *store);

void ps_store_set(struct ps_store *store, const struct ps_store_opts *opts);

/* NULL: nothing is kept. */
struct ps_ledger *ps_store_ledger(struct ps_store *store);

#endif

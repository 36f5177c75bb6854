/* config_check - does a configuration make sense as a whole?
 *
 * The tables have checked each value for itself; here is what takes two of them: names that must
 * exist, addresses that need a token or a tenant before they may be reached from elsewhere, routes
 * that can never be taken.
 *
 * Thread: owned by the caller's thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_CONFIG_CHECK_H
#define PS_DAEMON_CONFIG_CHECK_H

#include "base/err.h"
#include "daemon/config.h"
#include "config/report.h"
#include "config/yaml.h"

/* Adds what is wrong to the report, with the places that are known. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_config_check(const struct ps_config *config,
                                  const struct ps_config_places *places,
                                  struct ps_config_report *report);

/* Loads the certificates, keys and authorities that the configuration names, and forgets them. */
void ps_config_check_files(const struct ps_config *config, const struct ps_config_places *places,
                           struct ps_config_report *report);

#endif

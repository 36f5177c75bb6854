/* settings - the section `cache` of a configuration, for a program that uses the library.
 *
 * It is read out of the same file that the gateway reads; what else is in there is passed over.
 *
 * Thread: the caller's; reads files and the environment.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LIB_SETTINGS_H
#define PS_LIB_SETTINGS_H

#include "base/err.h"
#include "base/str.h"
#include "gateway/tier.h"

struct ps_settings {
    struct ps_cache_opts cache;
};

/* Reads a file, or with NULL none: the defaults. PS_OK, PS_ENOMEM, or PS_EINVAL: ps_last_error()
 * says what is wrong where. */
PS_MUST_CHECK int ps_settings_load(struct ps_settings *out, const char *file);

/* Likewise from text. */
PS_MUST_CHECK int ps_settings_parse(struct ps_settings *out, struct ps_str text);

void ps_settings_fini(struct ps_settings *settings);

#endif

/* settings - sections of a configuration, for a program that uses the library.
 *
 * They are read out of the same file that the gateway reads; what else is in there is passed over.
 *
 * Thread: the caller's; reads files and the environment.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LIB_SETTINGS_H
#define PS_LIB_SETTINGS_H

#include "base/err.h"
#include "base/option.h"
#include "base/str.h"

/* Looks for mistakes that no row of the table can find, and tells each. */
typedef void ps_settings_tell_fn(void *ctx, const char *path, const char *sentence);
typedef void ps_settings_check_fn(const void *settings, ps_settings_tell_fn *tell, void *ctx);

/* Reads a file, or with NULL none: the defaults. `table` has a row for each section; check may be
 * NULL. PS_OK: ps_option_fini() frees what is in *out. PS_ENOMEM, or PS_EINVAL: ps_last_error()
 * says what is wrong where; then there is nothing to be freed. */
PS_MUST_CHECK int ps_settings_load(const struct ps_option *table, void *out, const char *file,
                                   ps_settings_check_fn *check);

/* Likewise from text. */
PS_MUST_CHECK int ps_settings_parse(const struct ps_option *table, void *out, struct ps_str text,
                                    ps_settings_check_fn *check);

#endif

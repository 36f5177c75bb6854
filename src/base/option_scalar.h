/* option_scalar - one value of a table of options, as text and back.
 *
 * Private to base/option*.c: what a row says about its field ends here, how rows hang together is
 * in option.c.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_OPTION_SCALAR_H
#define PS_BASE_OPTION_SCALAR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/option.h"
#include "base/str.h"

/* Is there a character that no option may hold (control characters but tab)? */
bool ps_option_has_control(struct ps_str text);

/* Reads BOOL, U64, BYTES, SPAN, DOUBLE and ENUM into *field. PS_OK, or PS_EINVAL and a reason. */
PS_MUST_CHECK int ps_option_scalar_parse(const struct ps_option *row, void *field,
                                         struct ps_str text, char *reason, size_t size);

/* Appends the value of the same types. */
PS_MUST_CHECK int ps_option_scalar_print(const struct ps_option *row, const void *field,
                                         struct ps_buf *out);

/* Appends one of the row's bounds as a value of its type: 1e10 ns reads "10s". */
PS_MUST_CHECK int ps_option_bound_print(const struct ps_option *row, double bound,
                                        struct ps_buf *out);

/* Appends text as one YAML scalar, quoted where it would otherwise mean something else. */
PS_MUST_CHECK int ps_option_quote(struct ps_str text, struct ps_buf *out);

/* How far apart two names are: insertions, deletions, replacements and swapped neighbours (optimal
 * string alignment). SIZE_MAX for names longer than 63 bytes. */
size_t ps_option_distance(struct ps_str a, struct ps_str b);

#endif

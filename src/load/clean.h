/* clean - text from outside, made fit to be kept and shown.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_CLEAN_H
#define PS_LOAD_CLEAN_H

#include <stddef.h>

#include "base/str.h"

/* Copies what fits into text[0..size), terminated: what is not UTF-8 becomes U+FFFD, control characters and
 * the marks that turn the direction of writing become spaces; no character is cut in two. Returns text. */
char *ps_clean_text(struct ps_str from, char *text, size_t size);

/* The same for a URL, without "user:password@", without query and fragment. Returns text. */
char *ps_clean_url(struct ps_str url, char *text, size_t size);

#endif

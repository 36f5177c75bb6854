/* log - one line per event on standard error, as key=value.
 *
 *      2026-01-02T03:04:05.678Z info  backend is healthy upstream=vllm endpoint=127.0.0.1:8000
 *
 * Only daemon/ and cli/ log; everything below them returns an error or calls an observer that they
 * passed in. Values are quoted when needed and control characters are escaped, so that nobody can
 * forge a line. Secrets are never passed here.
 *
 * Thread: any; a line is written with one write().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_LOG_H
#define PS_BASE_LOG_H

enum ps_log_level { PS_LOG_DEBUG, PS_LOG_INFO, PS_LOG_WARN, PS_LOG_ERROR };

/* Lines below this level are dropped. Call before threads start; PS_LOG_INFO is the default. */
void ps_log_set_level(enum ps_log_level level);

/* Writes one line: the event in words, then pairs of C strings key, value, ended by NULL.
 * Example: ps_log(PS_LOG_INFO, "listening", "address", "127.0.0.1:5000", NULL). */
void ps_log(enum ps_log_level level, const char *event, ...) __attribute__((sentinel));

#endif

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

#include <stddef.h>

enum ps_log_level { PS_LOG_DEBUG, PS_LOG_INFO, PS_LOG_WARN, PS_LOG_ERROR };

/* Lines below this level are dropped. Call before threads start; PS_LOG_INFO is the default. */
void ps_log_set_level(enum ps_log_level level);

/* Writes one line: the event in words, then at most 24 pairs of C strings key, value,
 * ended by NULL.
 * Example: ps_log(PS_LOG_INFO, "listening", "address", "127.0.0.1:5000", NULL). */
void ps_log(enum ps_log_level level, const char *event, ...) __attribute__((sentinel));

/* Who wants to hear what is logged, too: of level info and above, whatever the least level is that
 * is written. Called by whoever logs, so: quick, from any thread, and nothing is logged in it. The
 * arguments are borrowed. */
struct ps_log_pair {
    const char *key;
    const char *value;
};
typedef void ps_log_tap(void *ctx, enum ps_log_level level, const char *event,
                        const struct ps_log_pair *pairs, size_t count);

/* One for the process; NULL takes it away. When it returns the one before is not called any more.
 */
void ps_log_set_tap(ps_log_tap *tap, void *ctx);

#endif

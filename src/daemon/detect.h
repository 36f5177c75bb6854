/* detect - which engine answers at an endpoint, found out by asking it.
 *
 * A few GETs, one after the other, each known to be answered in a telling way by one engine; what
 * the answers prove is a table. Everything that comes back is bounded and treated as hostile: an
 * answer that makes no sense proves nothing.
 *
 * One of the questions is kept with what was found: asked again, its answer alone tells whether the
 * same engine in the same version is still there. Health does that with every check.
 *
 * Thread: the control loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_DETECT_H
#define PS_DAEMON_DETECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "gateway/backend.h"

struct ps_detect;
struct ps_inquiry_answer;
struct ps_loop;
struct ps_tls;

#define PS_DETECT_MODELS_MAX 32
#define PS_DETECT_MODEL      128 /* with the terminator */

struct ps_detected {
    struct ps_identity identity;
    int err;            /* PS_OK, or why no probe was answered at all */
    size_t model_count; /* as listed; names that don't fit or print are left out */
    char models[PS_DETECT_MODELS_MAX][PS_DETECT_MODEL];
};

/* `found` is valid during the call, and the detection is gone. */
typedef void ps_detect_fn(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint,
                          const struct ps_detected *found);

/* Begins to ask an endpoint of a backend; `tls` as in the gateway's list (or NULL). References are
 * taken. PS_OK: on_result comes once, from the loop, within 10 s, unless it is cancelled.
 * PS_ERESOLVE (no address yet), PS_EINVAL (an https URL without a context) or PS_ENOMEM: it won't.
 */
PS_MUST_CHECK int ps_detect_start(struct ps_detect **out, struct ps_loop *loop, struct ps_tls *tls,
                                  struct ps_backend *backend, struct ps_endpoint *endpoint,
                                  ps_detect_fn *on_result, void *ctx);

/* Ends it without a result. NULL is fine. */
void ps_detect_cancel(struct ps_detect *detect);

/* Copies a JSON string that is printable ASCII and fits into out[size], terminator included. False, and
 * out untouched: it is as good as absent. For names that servers give. */
bool ps_detect_copy_text(char *out, size_t size, const json_t *json);

/* The path whose answer tells a known identity again; empty when nothing is known. */
struct ps_str ps_detect_path(const struct ps_identity *known);

enum ps_detect_again {
    PS_DETECT_SAME,
    PS_DETECT_OTHER, /* detect anew: another engine, version, or a simulation now (or not any more)
                      */
    PS_DETECT_SILENT /* no telling: no answer in time, or an error that a busy server gives */
};

/* What an answer to ps_detect_path() says. */
enum ps_detect_again ps_detect_check(const struct ps_identity *known,
                                     const struct ps_inquiry_answer *answer);

#endif

/* otlp_decode - an OTLP request for metrics out of protobuf or JSON, both into the same structs.
 *
 * Everything comes from anywhere: what gzip makes of a body, and what the structs take, is bounded
 * before it is made. JSON follows the rules of OTLP/HTTP: lowerCamelCase keys, 64-bit integers as
 * text or number, ids in hex, enums as numbers, unknown keys ignored.
 *
 * Source: the OTLP specification 1.x, "OTLP/HTTP"; the JSON mapping of proto3 where it says
 * nothing.
 *
 * Thread: pure functions on the caller's structs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_OTLP_DECODE_H
#define PS_EXPORT_OTLP_DECODE_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define PS_OTLP_BODY_MOST   (8u << 20)  /* bytes of a body after gzip */
#define PS_OTLP_MEMORY_MOST (64u << 20) /* bytes of what is made of it */

struct Ps__Otlp__ExportMetricsServiceRequest;

struct ps_otlp_request {
    struct Ps__Otlp__ExportMetricsServiceRequest *message;
    struct ps_otlp_arena *arena;
};

/* Appends what a gzip body holds. PS_OK, PS_EPARSE (not gzip, or cut short), PS_ELIMIT (beyond the
 * limit of `out`) or PS_ENOMEM. */
PS_MUST_CHECK int ps_otlp_gunzip(struct ps_str body, struct ps_buf *out);

/* PS_OK, PS_EPARSE (malformed; `reason` says what, in printable ASCII), PS_ELIMIT or PS_ENOMEM.
 * After PS_OK free it with ps_otlp_request_fini(). */
PS_MUST_CHECK int ps_otlp_decode_protobuf(struct ps_otlp_request *out, struct ps_str body,
                                          char *reason, size_t size);
PS_MUST_CHECK int ps_otlp_decode_json(struct ps_otlp_request *out, struct ps_str body, char *reason,
                                      size_t size);
void ps_otlp_request_fini(struct ps_otlp_request *request);

#endif

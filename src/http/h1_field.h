/* h1_field - the names that HTTP/1.1 gives meaning to: methods, header names, reason phrases.
 *
 * A header name is looked up once, while it is parsed; from then on everybody compares a small
 * number. The number is also a bit in a 64-bit set, so that "all but these" is one AND.
 *
 * Thread: constants only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_H1_FIELD_H
#define PS_HTTP_H1_FIELD_H

#include <stdint.h>

#include "base/str.h"

/* Methods that somebody compares. Every other registered method is PS_H1_METHOD_OTHER; a method
 * that is in no registry is refused by the parser (501). */
enum ps_h1_method {
    PS_H1_METHOD_UNKNOWN,
    PS_H1_METHOD_GET,
    PS_H1_METHOD_HEAD,
    PS_H1_METHOD_POST,
    PS_H1_METHOD_PUT,
    PS_H1_METHOD_DELETE,
    PS_H1_METHOD_CONNECT,
    PS_H1_METHOD_OPTIONS,
    PS_H1_METHOD_TRACE,
    PS_H1_METHOD_PATCH,
    PS_H1_METHOD_OTHER,
};

/* X(ID, "name"): the header names that the parser knows, lower case. At most 63, because each is
 * a bit of a set. */
/* clang-format off */
#define PS_H1_FIELD_TABLE(X)                                                                       \
    X(HOST, "host")                                                                                \
    X(CONNECTION, "connection")                                                                    \
    X(CONTENT_LENGTH, "content-length")                                                            \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                      \
    X(KEEP_ALIVE, "keep-alive")                                                                    \
    X(PROXY_CONNECTION, "proxy-connection")                                                        \
    X(PROXY_AUTHENTICATE, "proxy-authenticate")                                                    \
    X(PROXY_AUTHORIZATION, "proxy-authorization")                                                  \
    X(TE, "te")                                                                                    \
    X(TRAILER, "trailer")                                                                          \
    X(UPGRADE, "upgrade")                                                                          \
    X(EXPECT, "expect")                                                                            \
    X(AUTHORIZATION, "authorization")                                                              \
    X(ACCEPT, "accept")                                                                            \
    X(ACCEPT_ENCODING, "accept-encoding")                                                          \
    X(CONTENT_TYPE, "content-type")                                                                \
    X(CONTENT_ENCODING, "content-encoding")                                                        \
    X(COOKIE, "cookie")                                                                            \
    X(SET_COOKIE, "set-cookie")                                                                    \
    X(ORIGIN, "origin")                                                                            \
    X(REFERER, "referer")                                                                          \
    X(USER_AGENT, "user-agent")                                                                    \
    X(DATE, "date")                                                                                \
    X(SERVER, "server")                                                                            \
    X(CACHE_CONTROL, "cache-control")                                                              \
    X(PRAGMA, "pragma")                                                                            \
    X(AGE, "age")                                                                                  \
    X(EXPIRES, "expires")                                                                          \
    X(ETAG, "etag")                                                                                \
    X(VARY, "vary")                                                                                \
    X(LOCATION, "location")                                                                        \
    X(RETRY_AFTER, "retry-after")                                                                  \
    X(RANGE, "range")                                                                              \
    X(IF_NONE_MATCH, "if-none-match")                                                              \
    X(VIA, "via")                                                                                  \
    X(FORWARDED, "forwarded")                                                                      \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                          \
    X(X_FORWARDED_HOST, "x-forwarded-host")                                                        \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                      \
    X(X_FORWARDED_PORT, "x-forwarded-port")                                                        \
    X(X_REAL_IP, "x-real-ip")                                                                      \
    X(X_REQUEST_ID, "x-request-id")                                                                \
    X(TRACEPARENT, "traceparent")                                                                  \
    X(TRACESTATE, "tracestate")                                                                    \
    X(X_API_KEY, "x-api-key")                                                                      \
    X(API_KEY, "api-key")                                                                          \
    X(X_ACCEL_BUFFERING, "x-accel-buffering")                                                      \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key")                                                      \
    X(SEC_WEBSOCKET_VERSION, "sec-websocket-version")                                              \
    X(SEC_WEBSOCKET_PROTOCOL, "sec-websocket-protocol")                                            \
    X(SEC_WEBSOCKET_ACCEPT, "sec-websocket-accept")                                                \
    X(SEC_WEBSOCKET_EXTENSIONS, "sec-websocket-extensions")                                        \
    X(SEC_FETCH_SITE, "sec-fetch-site")                                                            \
    X(ACCESS_CONTROL_REQUEST_METHOD, "access-control-request-method")                              \
    X(ACCESS_CONTROL_REQUEST_HEADERS, "access-control-request-headers")                            \
    X(ACCESS_CONTROL_ALLOW_ORIGIN, "access-control-allow-origin")                                  \
    X(ACCESS_CONTROL_EXPOSE_HEADERS, "access-control-expose-headers")                              \
    X(STRICT_TRANSPORT_SECURITY, "strict-transport-security")                                      \
    X(IDEMPOTENCY_KEY, "idempotency-key")
/* clang-format on */

enum ps_h1_field {
    PS_H1_FIELD_OTHER, /* any name that is not in the table */
#define PS_H1_FIELD_ENUM(id, name) PS_H1_##id,
    PS_H1_FIELD_TABLE(PS_H1_FIELD_ENUM)
#undef PS_H1_FIELD_ENUM
        PS_H1_FIELD_COUNT
};

/* The bit of a header in a set of headers. PS_H1_BIT(PS_H1_FIELD_OTHER) stands for all others. */
#define PS_H1_BIT(id) (UINT64_C(1) << (id))

/* The headers that concern one connection and never pass a proxy (RFC 9110, 7.6.1). */
#define PS_H1_HOP_BY_HOP                                                                     \
    (PS_H1_BIT(PS_H1_CONNECTION) | PS_H1_BIT(PS_H1_KEEP_ALIVE) |                             \
     PS_H1_BIT(PS_H1_PROXY_CONNECTION) | PS_H1_BIT(PS_H1_PROXY_AUTHENTICATE) |               \
     PS_H1_BIT(PS_H1_PROXY_AUTHORIZATION) | PS_H1_BIT(PS_H1_TE) | PS_H1_BIT(PS_H1_TRAILER) | \
     PS_H1_BIT(PS_H1_TRANSFER_ENCODING) | PS_H1_BIT(PS_H1_UPGRADE))

/* The number of a header name in any case of letters; PS_H1_FIELD_OTHER when it is not known. */
enum ps_h1_field ps_h1_field_find(struct ps_str name);

/* The lower case name of a number; the empty view for PS_H1_FIELD_OTHER. */
struct ps_str ps_h1_field_name(enum ps_h1_field id);

/* The number of a method name, which is case-sensitive; PS_H1_METHOD_UNKNOWN when the method is in
 * no registry. */
enum ps_h1_method ps_h1_method_find(struct ps_str name);

/* The name of a method; the empty view for PS_H1_METHOD_UNKNOWN and PS_H1_METHOD_OTHER. */
struct ps_str ps_h1_method_name(enum ps_h1_method method);

/* The registered reason phrase of a status; "Unknown" when there is none. */
struct ps_str ps_h1_reason(int status);

#endif

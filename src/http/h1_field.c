/* h1_field - see h1_field.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/h1_field.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

static_assert(PS_H1_FIELD_COUNT <= 64, "a set of headers is a 64-bit word");

static const struct ps_str field_names[PS_H1_FIELD_COUNT] = {PS_STR_INIT(""),
#define FIELD_NAME(id, name) PS_STR_INIT(name),
                                                             PS_H1_FIELD_TABLE(FIELD_NAME)
#undef FIELD_NAME
};

/* Is a name of `len` token bytes the known lower case name? Setting bit 5 folds letters and leaves
 * '-' alone; no other token byte becomes one of those. */
static inline bool is_name(const char *name, const char *known, size_t len)
{
    while (len >= 8) {
        uint64_t a;
        uint64_t b;
        memcpy(&a, name, 8);
        memcpy(&b, known, 8);
        if ((a | UINT64_C(0x2020202020202020)) != b) {
            return false;
        }
        name += 8;
        known += 8;
        len -= 8;
    }
    for (size_t i = 0; i < len; i++) {
        if ((name[i] | 0x20) != known[i]) {
            return false;
        }
    }
    return true;
}

#define TRY(id)                                                     \
    if (is_name(name.ptr, field_names[PS_H1_##id].ptr, name.len)) { \
        return PS_H1_##id;                                          \
    }

/* By length, because the length is known and few names share one. */
enum ps_h1_field ps_h1_field_find(struct ps_str name)
{
    switch (name.len) {
    case 2:
        TRY(TE)
        break;
    case 3:
        TRY(AGE)
        TRY(VIA)
        break;
    case 4:
        TRY(HOST)
        TRY(DATE)
        TRY(ETAG)
        TRY(VARY)
        break;
    case 5:
        TRY(RANGE)
        break;
    case 6:
        TRY(ACCEPT)
        TRY(COOKIE)
        TRY(ORIGIN)
        TRY(SERVER)
        TRY(EXPECT)
        TRY(PRAGMA)
        break;
    case 7:
        TRY(REFERER)
        TRY(UPGRADE)
        TRY(TRAILER)
        TRY(EXPIRES)
        TRY(API_KEY)
        break;
    case 8:
        TRY(LOCATION)
        break;
    case 9:
        TRY(FORWARDED)
        TRY(X_REAL_IP)
        TRY(X_API_KEY)
        break;
    case 10:
        TRY(CONNECTION)
        TRY(USER_AGENT)
        TRY(KEEP_ALIVE)
        TRY(SET_COOKIE)
        TRY(TRACESTATE)
        break;
    case 11:
        TRY(TRACEPARENT)
        TRY(RETRY_AFTER)
        break;
    case 12:
        TRY(CONTENT_TYPE)
        TRY(X_REQUEST_ID)
        break;
    case 13:
        TRY(AUTHORIZATION)
        TRY(CACHE_CONTROL)
        TRY(IF_NONE_MATCH)
        break;
    case 14:
        TRY(CONTENT_LENGTH)
        TRY(SEC_FETCH_SITE)
        break;
    case 15:
        TRY(ACCEPT_ENCODING)
        TRY(X_FORWARDED_FOR)
        TRY(IDEMPOTENCY_KEY)
        break;
    case 16:
        TRY(CONTENT_ENCODING)
        TRY(PROXY_CONNECTION)
        TRY(X_FORWARDED_HOST)
        TRY(X_FORWARDED_PORT)
        break;
    case 17:
        TRY(TRANSFER_ENCODING)
        TRY(X_FORWARDED_PROTO)
        TRY(SEC_WEBSOCKET_KEY)
        TRY(X_ACCEL_BUFFERING)
        break;
    case 18:
        TRY(PROXY_AUTHENTICATE)
        break;
    case 19:
        TRY(PROXY_AUTHORIZATION)
        break;
    case 20:
        TRY(SEC_WEBSOCKET_ACCEPT)
        break;
    case 21:
        TRY(SEC_WEBSOCKET_VERSION)
        break;
    case 22:
        TRY(SEC_WEBSOCKET_PROTOCOL)
        break;
    case 24:
        TRY(SEC_WEBSOCKET_EXTENSIONS)
        break;
    case 25:
        TRY(STRICT_TRANSPORT_SECURITY)
        break;
    case 27:
        TRY(ACCESS_CONTROL_ALLOW_ORIGIN)
        break;
    case 29:
        TRY(ACCESS_CONTROL_REQUEST_METHOD)
        TRY(ACCESS_CONTROL_EXPOSE_HEADERS)
        break;
    case 30:
        TRY(ACCESS_CONTROL_REQUEST_HEADERS)
        break;
    default:
        break;
    }
    return PS_H1_FIELD_OTHER;
}

#undef TRY

struct ps_str ps_h1_field_name(enum ps_h1_field id)
{
    return (unsigned)id < PS_H1_FIELD_COUNT ? field_names[id] : field_names[PS_H1_FIELD_OTHER];
}

static const struct ps_str method_names[] = {
    [PS_H1_METHOD_UNKNOWN] = PS_STR_INIT(""),
    [PS_H1_METHOD_GET] = PS_STR_INIT("GET"),
    [PS_H1_METHOD_HEAD] = PS_STR_INIT("HEAD"),
    [PS_H1_METHOD_POST] = PS_STR_INIT("POST"),
    [PS_H1_METHOD_PUT] = PS_STR_INIT("PUT"),
    [PS_H1_METHOD_DELETE] = PS_STR_INIT("DELETE"),
    [PS_H1_METHOD_CONNECT] = PS_STR_INIT("CONNECT"),
    [PS_H1_METHOD_OPTIONS] = PS_STR_INIT("OPTIONS"),
    [PS_H1_METHOD_TRACE] = PS_STR_INIT("TRACE"),
    [PS_H1_METHOD_PATCH] = PS_STR_INIT("PATCH"),
    [PS_H1_METHOD_OTHER] = PS_STR_INIT(""),
};

/* The rest of the IANA method registry that HTTP/1.1 peers commonly know. */
static const struct ps_str other_methods[] = {
    PS_STR_INIT("ACL"),       PS_STR_INIT("BIND"),       PS_STR_INIT("CHECKOUT"),
    PS_STR_INIT("COPY"),      PS_STR_INIT("LINK"),       PS_STR_INIT("LOCK"),
    PS_STR_INIT("MERGE"),     PS_STR_INIT("MKACTIVITY"), PS_STR_INIT("MKCALENDAR"),
    PS_STR_INIT("MKCOL"),     PS_STR_INIT("MOVE"),       PS_STR_INIT("PROPFIND"),
    PS_STR_INIT("PROPPATCH"), PS_STR_INIT("REBIND"),     PS_STR_INIT("REPORT"),
    PS_STR_INIT("SEARCH"),    PS_STR_INIT("UNBIND"),     PS_STR_INIT("UNLINK"),
    PS_STR_INIT("UNLOCK"),
};

enum ps_h1_method ps_h1_method_find(struct ps_str name)
{
    for (int method = PS_H1_METHOD_GET; method < PS_H1_METHOD_OTHER; method++) {
        if (ps_str_eq(name, method_names[method])) {
            return (enum ps_h1_method)method;
        }
    }
    for (size_t i = 0; i < sizeof other_methods / sizeof other_methods[0]; i++) {
        if (ps_str_eq(name, other_methods[i])) {
            return PS_H1_METHOD_OTHER;
        }
    }
    return PS_H1_METHOD_UNKNOWN;
}

struct ps_str ps_h1_method_name(enum ps_h1_method method)
{
    return (unsigned)method <= PS_H1_METHOD_OTHER ? method_names[method]
                                                  : method_names[PS_H1_METHOD_UNKNOWN];
}

/* X(status, phrase): the registry of RFC 9110 and the later ones that servers send. */
/* clang-format off */
#define REASON_TABLE(X)                                                                            \
    X(100, "Continue") X(101, "Switching Protocols") X(102, "Processing") X(103, "Early Hints")    \
    X(200, "OK") X(201, "Created") X(202, "Accepted") X(203, "Non-Authoritative Information")      \
    X(204, "No Content") X(205, "Reset Content") X(206, "Partial Content")                         \
    X(207, "Multi-Status") X(208, "Already Reported") X(226, "IM Used")                            \
    X(300, "Multiple Choices") X(301, "Moved Permanently") X(302, "Found") X(303, "See Other")     \
    X(304, "Not Modified") X(305, "Use Proxy") X(307, "Temporary Redirect")                        \
    X(308, "Permanent Redirect")                                                                   \
    X(400, "Bad Request") X(401, "Unauthorized") X(402, "Payment Required") X(403, "Forbidden")    \
    X(404, "Not Found") X(405, "Method Not Allowed") X(406, "Not Acceptable")                      \
    X(407, "Proxy Authentication Required") X(408, "Request Timeout") X(409, "Conflict")           \
    X(410, "Gone") X(411, "Length Required") X(412, "Precondition Failed")                         \
    X(413, "Content Too Large") X(414, "URI Too Long") X(415, "Unsupported Media Type")            \
    X(416, "Range Not Satisfiable") X(417, "Expectation Failed") X(421, "Misdirected Request")     \
    X(422, "Unprocessable Content") X(423, "Locked") X(424, "Failed Dependency")                   \
    X(425, "Too Early") X(426, "Upgrade Required") X(428, "Precondition Required")                 \
    X(429, "Too Many Requests") X(431, "Request Header Fields Too Large")                          \
    X(451, "Unavailable For Legal Reasons")                                                        \
    X(500, "Internal Server Error") X(501, "Not Implemented") X(502, "Bad Gateway")                \
    X(503, "Service Unavailable") X(504, "Gateway Timeout")                                        \
    X(505, "HTTP Version Not Supported") X(506, "Variant Also Negotiates")                         \
    X(507, "Insufficient Storage") X(508, "Loop Detected")                                         \
    X(511, "Network Authentication Required")
/* clang-format on */

struct ps_str ps_h1_reason(int status)
{
    switch (status) {
#define REASON(code, phrase) \
    case code:               \
        return PS_STR(phrase);
        REASON_TABLE(REASON)
#undef REASON
    default:
        return PS_STR("Unknown");
    }
}

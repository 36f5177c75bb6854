/* session - the life of one request: sent, streamed, measured, over.
 *
 *   intended      sent        first text            end
 *      |---lag-----|---ttft------|---- stream --------|
 *      |------------ corrected latency ---------------|
 *                  |---------- latency ---------------|
 *
 * A session holds no body: what was to be sent is given to the connection, what comes back is looked
 * at as it passes. It never retries and never follows a redirect. An answer counts as a success only
 * when it is whole: a stream must end as its protocol says, an error inside a stream is an error. What
 * is handed in as a job ends when its picture is there.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_SESSION_H
#define PS_LOAD_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/str.h"
#include "load/plan.h"
#include "load/protocol.h"

struct ps_loop;
struct ps_session;
struct ps_target;

/* X(NAME, "what the report calls it") */
#define PS_FAILURE_TABLE(X)                                                                        \
    X(NONE, "none")                                                                                \
    X(REFUSED, "connection refused")                                                               \
    X(CONNECT_TIMEOUT, "connecting timed out")                                                     \
    X(UNREACHABLE, "unreachable")                                                                  \
    X(TLS, "TLS failed")                                                                           \
    X(RESET, "connection broken")                                                                  \
    X(TIMEOUT, "timed out")                                                                        \
    X(STATUS, "HTTP status")                                                                       \
    X(REDIRECT, "redirect, not followed")                                                          \
    X(STREAM_ERROR, "error inside a stream")                                                       \
    X(STREAM_CUT, "stream without its end")                                                        \
    X(BAD_ANSWER, "answer not understood")                                                         \
    X(PORTS, "no free local port")                                                                 \
    X(GENERATOR, "generator out of resources")

enum ps_failure {
#define PS_FAILURE_ENUM(name, text) PS_FAILURE_##name,
    PS_FAILURE_TABLE(PS_FAILURE_ENUM)
#undef PS_FAILURE_ENUM
        PS_FAILURE_COUNT
};

const char *ps_failure_text(enum ps_failure failure);

/* What was measured. Times that never came are 0. */
struct ps_session_result {
    enum ps_failure failure; /* PS_FAILURE_NONE: a success */
    bool cancelled;          /* broken off on purpose: neither a success nor a failure */
    enum ps_plan_kind kind;
    int status; /* HTTP; 0 = no head came */
    ps_time intended;
    ps_time sent;
    ps_time first_byte; /* the head of the answer was there */
    ps_time first_text; /* chat: the first event with text */
    ps_time last_text;
    ps_time end;
    uint64_t texts;         /* events with text */
    uint64_t bytes;         /* of the answer's body */
    uint64_t prompt_tokens; /* as the server counted; else as planned */
    uint64_t output_tokens; /* as the server counted; else events with text */
    bool counted;           /* the server sent its usage */
    const char *detail;     /* of a failure: what the server or the connection said; valid in the call */
};

struct ps_session_ops {
    /* An event with text came, `gap` after the one before; the first: -1. May be NULL. */
    void (*on_text)(void *ctx, ps_span gap);
    /* It is over; the session is gone after this. Not called after a cancel. */
    void (*on_done)(void *ctx, const struct ps_session_result *result);
};

/* What to send: borrowed until ps_session_start() returns. */
struct ps_session_request {
    enum ps_framing framing; /* of the answer */
    enum ps_plan_kind kind;
    uint32_t prompt_tokens;
    struct ps_str head; /* whole, with the blank line */
    struct ps_str body;
    int status;   /* what counts as a success; 0 = any of 2xx */
    bool is_head; /* the method is HEAD */
    bool cancel;  /* break it off when the first text is there (the head, where no text comes) */
    ps_time intended;
    ps_span timeout; /* for the whole request */
};

/* Sends a request. `list` gets the session while it lives. PS_OK: on_done follows, unless it is
 * cancelled; PS_ENOMEM, PS_ELIMIT (descriptors): it was not sent. */
PS_MUST_CHECK int ps_session_start(struct ps_list *list, struct ps_loop *loop,
                                   struct ps_target *target,
                                   const struct ps_session_request *request,
                                   const struct ps_session_ops *ops, void *ctx);

/* Ends every session of the list at once, without on_done. Returns how many there were. */
size_t ps_session_cancel_all(struct ps_list *list);

#endif

/* session_private - a session from inside: what session.c and session_job.c share.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_SESSION_PRIVATE_H
#define PS_LOAD_SESSION_PRIVATE_H

#include <stdbool.h>

#include "base/buf.h"
#include "http/client.h"
#include "http/sse.h"
#include "io/loop.h"
#include "load/protocol.h"
#include "load/session.h"

#define PS_SESSION_DETAIL_MAX 240u
#define PS_SESSION_HEAD_MAX   (64u * 1024u)

struct ps_session_job; /* session_job.c */

struct ps_session {
    struct ps_list link;
    struct ps_timer deadline;
    struct ps_loop *loop;
    struct ps_target *target;
    struct ps_call *call; /* NULL = none under way */
    const struct ps_session_ops *ops;
    void *ctx;
    enum ps_framing framing;
    struct ps_sse sse;       /* of events */
    struct ps_buf line;      /* of lines: the one that is cut */
    struct ps_session_job *job; /* or NULL */
    struct ps_session_result result;
    int status;     /* what counts as a success; 0 = any of 2xx */
    bool streaming; /* the answer comes in pieces, as it should */
    bool any;       /* any stream will do: each piece is a text, and it ends where it ends */
    bool cancel;    /* break it off at the first text */
    bool done;      /* the piece that ends it came */
    bool explained; /* detail is the message of an error's body, not its beginning */
    size_t detail_len;
    char detail[PS_SESSION_DETAIL_MAX];
};

/* Tells the result and frees the session. It ends when the bytes that are looked at came; without a call, now. */
void ps_session_finish(struct ps_session *session, enum ps_failure failure);

/* What the report will say of a failure. */
void ps_session_explain(struct ps_session *session, const char *text);

/* Takes the head of an answer; one that is no success fails the session when it ends, and its body
 * goes to ps_session_keep_detail(). */
void ps_session_note_head(struct ps_session *session, const struct ps_h1_head *head);
void ps_session_keep_detail(struct ps_session *session, struct ps_str data);

/* The call broke: finishes. */
void ps_session_fail_call(struct ps_session *session, const struct ps_call_error *error);

/* Sends a request of this session. PS_OK and session->call is set; PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_session_send(struct ps_session *session, const struct ps_call_request *request,
                                  const struct ps_call_ops *ops);

/* --- session_job.c: a request whose answer is the id of a job */

/* Sends the request and sees the job through. PS_OK or an error as above. */
PS_MUST_CHECK int ps_session_job_start(struct ps_session *session, const struct ps_call_request *request);
void ps_session_job_free(struct ps_session_job *job); /* NULL is fine */

#endif

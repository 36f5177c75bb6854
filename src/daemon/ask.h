/* ask - a request to a reserved path, on its way from the loop where it arrived to control and back.
 *
 * The loop that has the connection collects the (small) body; then the ask is complete in itself and may
 * travel. Only `exchange` belongs to that loop, and only there it is touched.
 *
 *      worker: collect --> letter --> control: answer --> letter --> worker: respond
 *
 * Thread: one at a time; a letter hands it over.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_ASK_H
#define PS_DAEMON_ASK_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"
#include "io/address.h"
#include "io/mailbox.h"

struct ps_budget;
struct ps_exchange;
struct ps_live;
struct ps_live_counter;

struct ps_ask {
    struct ps_letter letter;
    struct ps_exchange *exchange;  /* of the first loop; NULL when the client has left */
    struct ps_mailbox *reply_to;   /* where the answer goes; NULL = same loop */
    void (*on_complete)(void *ctx, struct ps_ask *ask); /* the body is there */
    void *ctx;

    /* the request; views into `text` */
    struct ps_buf text;
    struct ps_str method, path, query, host, origin, authorization, cookie, content_type, accept, accept_encoding,
        if_none_match, content_encoding;
    struct ps_buf body;
    struct ps_budget *budget; /* counts the body */
    struct ps_address peer;
    bool is_tls;
    const struct ps_live_counter *counter; /* of the first loop: hears of the end of a connection that leaves it */

    /* the answer */
    int status;           /* 101: the connection goes to `live`, which answers */
    struct ps_live *live;
    const char *reply_type; /* content type; static */
    struct ps_buf headers;  /* more whole lines */
    struct ps_buf reply;

    /* an answer that comes later: who sets `pending` calls on_answered once, on control's loop */
    bool pending;
    void (*on_answered)(struct ps_ask *ask);
    struct ps_ask *next; /* the clerk's */
    void (*work)(void *ctx, struct ps_ask *ask);
    void *work_ctx;
};

/* Collects the exchange's request, then calls on_complete on this loop, which owns the ask from then on. A
 * client that leaves before ends it silently; a body for which `budget` has no room is answered 503. */
void ps_ask_begin(struct ps_exchange *exchange, struct ps_budget *budget,
                  void (*on_complete)(void *ctx, struct ps_ask *ask), void *ctx);

/* Fills the status and content type (static text) in; the reply is written to ask->reply. */
void ps_ask_type(struct ps_ask *ask, int status, const char *type);

/* Fills an error in, as problem+json (RFC 9457). */
void ps_ask_problem(struct ps_ask *ask, int status, const char *code, const char *detail);

/* On the first loop: sends the answer, if the client is still there, and frees the ask. */
void ps_ask_finish(struct ps_ask *ask);

#endif

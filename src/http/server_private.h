/* server_private - what server.c (connections) and exchange.c (answers) share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_SERVER_PRIVATE_H
#define PS_HTTP_SERVER_PRIVATE_H

#include "base/buf.h"
#include "base/list.h"
#include "http/server.h"
#include "io/loop.h"

enum { PS_SERVER_MAX_LISTENERS = 16, PS_SERVER_DATE_LEN = 29 };

struct ps_server_listener {
    struct ps_server *server;
    struct ps_listener *listener;
    struct ps_tls *tls; /* or NULL */
};

struct ps_server {
    struct ps_loop *loop;
    struct ps_server_opts opts;
    struct ps_h1_scratch scratch;
    struct ps_server_listener listeners[PS_SERVER_MAX_LISTENERS];
    size_t listener_count;
    struct ps_list connections;
    size_t connection_count;
    size_t upgraded_count; /* handed over and not yet gone */
    struct ps_task idle_task;
    void (*on_idle)(void *ctx);
    void *on_idle_ctx;
    bool draining;
    ps_time date_second;
    char date[PS_SERVER_DATE_LEN + 1];
};

/* One client connection. */
struct ps_connection {
    struct ps_list link;
    struct ps_server *server;
    struct ps_stream *stream; /* NULL once closed or handed over */
    struct ps_exchange *exchange;
    struct ps_h1 h1;
    struct ps_timer timer; /* fires at or before the deadline; see connection_deadline() */
    struct ps_task pump;   /* after a pause: the end may be known without another byte */
    struct ps_task burial; /* frees the struct when nobody below can hold it any more */
    struct ps_address peer;
    ps_time since; /* when it became idle, or its head began, or its lingering */
    bool is_tls;
    bool counted;     /* on_gone is owed */
    bool proven;      /* a first head has arrived: it may idle longer now */
    bool is_closing;  /* no further request is read */
    bool lingering;   /* the answer is out; what the client still sends is dropped */
    bool in_on_data;  /* the loop over the input will go on by itself */
    bool dead;
};

struct ps_exchange {
    struct ps_connection *connection;
    const struct ps_exchange_ops *ops; /* NULL until handled, and after the end */
    void *ctx;
    struct ps_task flush; /* sends a head that no body followed in this turn */
    struct ps_buf head_out;
    uint64_t body_received;
    uint64_t length_left; /* of the answer, when its length is known */
    ps_time started_at;
    ps_time resumed_at; /* the client's time to send its body counts from here */
    bool request_done;
    bool paused;
    bool continue_due; /* 100 Continue is owed */
    bool started;
    bool ended;
    bool chunked;   /* the answer */
    bool no_body;   /* HEAD, 204, 304 */
    bool known_length;
    bool until_close; /* the end of the connection is the end of the answer (HTTP/1.0) */
    bool keep_alive;
    struct ps_h1_head head; /* views into what follows the struct */
};

/* Copies a parsed head behind a new exchange. NULL when out of memory. */
struct ps_exchange *ps_exchange_new(struct ps_connection *connection, const struct ps_h1_head *head);
void ps_exchange_free(struct ps_exchange *exchange);

/* Sends 100 Continue when it is owed and the handler wants the body. */
void ps_exchange_continue(struct ps_exchange *exchange);

/* The client may send its body now: its time begins. */
void ps_connection_watch_body(struct ps_connection *connection);

/* Closes now. Tells the handler on_abort when an exchange is under way. */
void ps_connection_kill(struct ps_connection *connection);

/* The answer and, if it was wanted, the request are complete: next request, lingering, or close. */
void ps_connection_finish(struct ps_connection *connection);

/* Bytes were written: when the client did not take them all, its time to read runs. */
void ps_connection_watch_output(struct ps_connection *connection);

/* Answers a request that broke the rules and closes. */
void ps_connection_refuse(struct ps_connection *connection, int status, const char *detail);

#endif

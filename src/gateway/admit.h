/* admit - the gate in front of an upstream: how many requests may be inside, and who is next.
 *
 * One gate per upstream, shared by all workers. A request that finds no free slot waits in a
 * bounded queue; a freed slot goes to the first waiter of the highest class, whichever worker it
 * lives on.
 *
 *      enter --> ADMITTED ------------------------------> leave
 *        |-----> QUEUED --> notify(ticket) on hand-over --> leave
 *        |            \---> cancel (client gone, deadline)
 *        `-----> REFUSED: the queue is full (429) or the gate is closed (503)
 *
 * The state is under one mutex per gate. It is held for a few pointer writes, never across a system
 * call or a callback, so a worker waits well under a microsecond for it; a lock-free queue with
 * cancellation, classes and two bounds would be slower in the common case and could not be reasoned
 * about.
 *
 * A ticket that is handed over is notified after the mutex is released. Between the two its owner
 * may cancel it: the slot then passes on at once, and the ticket's memory must stay until the
 * notification has come. ps_gate_cancel() says which of the two cases it is.
 *
 * Thread: any, but for one ticket: enter, cancel and leave of a ticket belong to its owner's
 * thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ADMIT_H
#define PS_GATEWAY_ADMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/option.h"

enum ps_priority { PS_PRIORITY_HIGH, PS_PRIORITY_NORMAL, PS_PRIORITY_LOW, PS_PRIORITY_COUNT };

/* "high", "normal", "low", NULL: for options of type ENUM. */
extern const char *const ps_priority_names[];

/* The section `admission` of an upstream. */
struct ps_admit_opts {
    uint64_t max_in_flight;        /* requests inside; 0 = no bound */
    uint64_t max_in_flight_tokens; /* tokens reserved by them; 0 = no bound */
    uint64_t max_queue;            /* waiting requests */
    uint64_t max_queue_bytes;      /* bytes of their bodies */
    ps_span max_wait;              /* a waiter's deadline; kept by the worker's own timer */
};

extern const struct ps_option ps_admit_options[];

enum ps_admission {
    PS_ADMITTED,
    PS_QUEUED,
    PS_REFUSED_FULL,  /* capacity exists but is contended: 429 */
    PS_REFUSED_CLOSED /* no capacity: 503 */
};

struct ps_gate;

/* One request at the gate; embedded in the request. The owner fills the upper part before entering.
 */
struct ps_ticket {
    enum ps_priority priority;
    uint64_t tokens; /* estimated; given back on leaving */
    uint64_t prompt; /* of these: what its memory begins with; counted while waiting */
    uint64_t bytes;  /* buffered body, counted while waiting */
    /* The slot is the ticket's: called on the thread that freed it, outside the mutex. It must not
     * block: post a letter to the owner. A cancelled ticket may still get it (see above). */
    void (*notify)(struct ps_ticket *ticket);

    /* private */
    struct ps_list node;
    ps_time entered;
    int state;
};

/* Creates an open gate. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_gate_new(struct ps_gate **out, const struct ps_admit_opts *opts);

/* Frees a gate that nobody is inside of or waiting for. NULL is fine. */
void ps_gate_free(struct ps_gate *gate);

/* Adapts the bounds in place (reload); waiters that fit now are handed over. Those inside stay even
 * when the new bound is lower. */
void ps_gate_configure(struct ps_gate *gate, const struct ps_admit_opts *opts, ps_time now);

/* Bounds that hold beside those of the options (0 = none), for who watches the upstream's memory;
 * waiters that fit now are handed over, those inside stay. */
void ps_gate_throttle(struct ps_gate *gate, uint64_t in_flight, uint64_t tokens, ps_time now);

/* Refuses newcomers from now on (or admits them again). Waiters keep their place. */
void ps_gate_close(struct ps_gate *gate, bool closed);

/* Asks for a slot. A request with more tokens than the whole bound gets in when nobody else is
 * inside. The ticket must be new or zeroed, or out of the gate. */
enum ps_admission ps_gate_enter(struct ps_gate *gate, struct ps_ticket *ticket, ps_time now);

/* Gives back the slot of an admitted (or notified) ticket; the ticket is out and may be freed. */
void ps_gate_leave(struct ps_gate *gate, struct ps_ticket *ticket, ps_time now);

/* Gives up a ticket that returned PS_QUEUED and whose notification has not been seen. True: it is
 * out, no notification will come, the memory is free. False: it had just been handed over; the slot
 * has passed on to the next, the notification has come or will come exactly once, keep the memory
 * until then and do NOT leave. */
PS_MUST_CHECK bool ps_gate_cancel(struct ps_gate *gate, struct ps_ticket *ticket, ps_time now);

/* How long a refused client should wait, from the rate at which slots became free lately and the
 * length of the queue; between 1 s and 60 s. */
ps_span ps_gate_retry_after(struct ps_gate *gate, ps_time now);

struct ps_gate_stats {
    uint64_t in_flight;
    uint64_t in_flight_tokens;
    uint64_t queued[PS_PRIORITY_COUNT];
    uint64_t queued_bytes;
    uint64_t queued_tokens;  /* of those who wait, as estimated ... */
    uint64_t queued_prompts; /* ... and what of it their memory begins with */
    uint64_t admitted_total; /* at once or after waiting */
    uint64_t waited_total;   /* those of them that had to wait */
    uint64_t refused_total;
    uint64_t canceled_total;
    uint64_t max_in_flight; /* as configured; 0 = no bound */
    ps_span waited_sum; /* by those that were admitted after waiting */
};

/* A consistent copy. */
void ps_gate_read(struct ps_gate *gate, struct ps_gate_stats *out);

/* For tests: do the counters agree with the lists? */
bool ps_gate_is_sane(struct ps_gate *gate);

#endif

/* live_hub - the inside of the hub: its thread, who is connected, and who follows what.
 *
 * Subscribers of the same keys share a set, and a set has one frame a second. Who joins one waits in `fresh` for a
 * first frame, with the history; it is made once for all that wait, and kept for those who come in the same second.
 *
 *      second: default frame came with it    others: ask control, one set at a time    first frames: likewise
 *
 * A frame goes to hundreds at once, to thousands a few at a time (daemon/live_pace.h), so that requests come between.
 *
 * Thread: the hub's, but for what says otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_LIVE_HUB_H
#define PS_DAEMON_LIVE_HUB_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "daemon/live.h"
#include "daemon/live_keys.h"
#include "daemon/live_pace.h"
#include "http/ws.h"
#include "io/address.h"
#include "io/loop.h"
#include "io/mailbox.h"

enum { PS_LIVE_SETS_MOST = 64, PS_LIVE_FRAME_MOST = 4 * 1024 * 1024 };

struct ps_live_set {
    struct ps_list link;
    struct ps_list members; /* have had their first frame */
    struct ps_list fresh;   /* wait for it */
    struct ps_live_keys keys;
    struct ps_ws_frame *first; /* of this second; NULL = not made yet */

    /* the frame that is being sent, and the member that gets it next; members that come in are put before it */
    struct ps_list sending_link;
    struct ps_ws_frame *frame;
    struct ps_list *cursor;

    struct ps_list want_link;
    bool wants_frame;
    bool wants_first;
};

/* A question to control; there is one at a time. */
struct ps_live_want {
    struct ps_letter letter;
    struct ps_live_hub *hub;
    struct ps_live_set *set; /* NULL: nothing is asked */
    bool first;
    int err;
    struct ps_buf text; /* the answer */
};

/* A connection, on its way to the hub and there. */
struct ps_live_subscriber {
    struct ps_letter letter;
    struct ps_list link; /* in one of the lists of its set */
    struct ps_live_hub *hub;
    struct ps_live_set *set;
    struct ps_ws *ws;
    struct ps_stream *stream; /* until it has arrived */
    struct ps_address peer;
    struct ps_live_counter counter;
    bool deflate;
};

/* What a second brings. */
struct ps_live_second {
    struct ps_letter letter;
    bool has_text;
    struct ps_buf text; /* the frame of the default set */
};

enum ps_live_end { PS_LIVE_LEFT, PS_LIVE_LOST, PS_LIVE_BROKE_RULES, PS_LIVE_STOPPED, PS_LIVE_ENDS };

struct ps_live_hub {
    struct ps_loop *loop;
    struct ps_mailbox *mailbox; /* letters to the hub; any thread */
    pthread_t thread;
    bool started;

    /* the hub's own */
    struct ps_live_set everything; /* the default set */
    struct ps_list sets;           /* the others */
    struct ps_list wants;          /* sets about which control is to be asked */
    struct ps_list sending;        /* sets whose frame is not with everybody yet */
    struct ps_timer turn_timer;
    struct ps_live_pace pace; /* of what is being sent */
    struct ps_timer end_timer;
    struct ps_live_want want;
    unsigned firsts; /* frames with history for single sets that were asked for in this second */
    struct ps_ws_tally tally;
    struct ps_ws_tally published; /* the part of it that the counters have */
    ps_span ping_interval;
    bool draining; /* goodbyes were said */
    bool ending;   /* the loop ends with the last subscriber */
    struct ps_letter stop;

    /* shared */
    _Atomic size_t count;     /* connections that were taken and have not ended */
    _Atomic size_t followers; /* those of the default set */
    _Atomic unsigned unread;  /* seconds that wait in the mailbox */
    _Atomic bool closed;      /* nobody is taken any more */

    /* constant */
    struct ps_mailbox *control;
    void (*on_want)(struct ps_letter *letter, void *live); /* on control's loop */
    struct ps_counter *counters[3];                        /* frames, bytes, skipped */
    struct ps_counter *ends[PS_LIVE_ENDS];
};

/* Main thread. The mailbox of control and the counters are the caller's. PS_OK, PS_ENOMEM, PS_EIO. */
PS_MUST_CHECK int ps_live_hub_start(struct ps_live_hub *hub);
void ps_live_hub_stop(struct ps_live_hub *hub); /* joins the thread */
void ps_live_hub_fini(struct ps_live_hub *hub); /* after it, when nobody posts any more */

/* Any thread: hands a letter over. on_delivery is set here. */
void ps_live_hub_arrive(struct ps_live_hub *hub, struct ps_live_subscriber *subscriber);
void ps_live_hub_second(struct ps_live_hub *hub, struct ps_live_second *second);
void ps_live_hub_drain(struct ps_live_hub *hub);
void ps_live_hub_set_ping(struct ps_live_hub *hub, ps_span interval);

/* Control's thread: the answer to a want. */
void ps_live_hub_answer(struct ps_live_want *want);

/* The connection is over before it arrived: tells its counter, frees it. */
void ps_live_subscriber_end(struct ps_live_subscriber *subscriber);

#endif

#include "daemon/live.h"

#include <stdlib.h>

#include "base/check.h"
#include "daemon/live_hub.h"
#include "gateway/answer.h"
#include "http/server.h"
#include "io/stream.h"

enum { UNREAD_MOST = 2 }; /* seconds that the hub may be behind before it misses one */

/* clang-format off */
const struct ps_option ps_live_options[] = {
    PS_OPTION_ROW(ps_live_opts, max_subscribers, U64, "16000",
     "connections to `/ws/metrics` at once; beyond them the answer is 503", .min = 1, .max = 1000000),
    PS_OPTION_ROW(ps_live_opts, ping_interval, SPAN, "20s",
     "how long a subscriber may be silent before it is asked whether it is still there, and as long again before it is "
     "let go", .min = 1e9, .max = 3.6e12),
    PS_OPTION_ROW(ps_live_opts, compress, BOOL, "yes",
     "frames are compressed for who asks for it (permessage-deflate), once for all"),
    {0},
};

enum { ROW_SUBSCRIBERS, ROW_REFUSED, ROW_FRAMES, ROW_BYTES, ROW_SKIPPED, ROW_ENDED };

const struct ps_metric_family ps_live_metric_families[] = {
    [ROW_SUBSCRIBERS] = {.name = "penstock_live_subscribers", .type = PS_METRIC_GAUGE,
     .help = "Connections to /ws/metrics"},
    [ROW_REFUSED] = {.name = "penstock_live_refused_total", .type = PS_METRIC_COUNTER,
     .help = "Connections to /ws/metrics that were refused: there were dashboard.max_subscribers"},
    [ROW_FRAMES] = {.name = "penstock_live_frames_total", .type = PS_METRIC_COUNTER,
     .help = "Frames that were sent to subscribers"},
    [ROW_BYTES] = {.name = "penstock_live_sent_bytes_total", .type = PS_METRIC_COUNTER, .unit = "bytes",
     .help = "Bytes that were sent to subscribers, before TLS"},
    [ROW_SKIPPED] = {.name = "penstock_live_skipped_total", .type = PS_METRIC_COUNTER,
     .help = "Frames that a subscriber missed because it read too slowly"},
    [ROW_ENDED] = {.name = "penstock_live_ended_total", .type = PS_METRIC_COUNTER, .labels = {"reason"},
     .help = "Connections to /ws/metrics that ended: the subscriber left, was lost (went without a word, or did not "
             "answer), broke the protocol's rules, or was sent away when the server stopped"},
    {0},
};
/* clang-format on */

static const char *const end_names[PS_LIVE_ENDS] = {"left", "lost", "protocol", "stopped"};

struct ps_live {
    struct ps_live_hub hub;
    struct ps_mailbox *mailbox; /* questions of the hub, on control's loop */
    struct ps_metrics *metrics;
    ps_live_encode_fn *encode;
    void *ctx;
    struct ps_metric_handle *subscribers;
    struct ps_counter *refused;
    _Atomic uint64_t max_subscribers;
    _Atomic bool compress;
};

/* --- frames ----------------------------------------------------------------------------------- */

/* The hub wants to know something; its set does not change meanwhile. */
static void on_want(struct ps_letter *letter, void *receiver)
{
    struct ps_live *live = receiver;
    struct ps_live_want *want = PS_CONTAINER_OF(letter, struct ps_live_want, letter);
    const struct ps_live_keys *keys = &want->set->keys;
    const char *const *items = keys->count == 0 ? NULL : (const char *const *)keys->items;
    want->err = live->encode(live->ctx, items, keys->count, want->first, &want->text);
    ps_live_hub_answer(want);
}

void ps_live_second(struct ps_live *live)
{
    if (ps_live_subscribers(live) == 0 ||
        atomic_load_explicit(&live->hub.unread, memory_order_relaxed) >= UNREAD_MOST) {
        return;
    }
    struct ps_live_second *second = calloc(1, sizeof *second);
    if (second == NULL) {
        return;
    }
    second->text = ps_buf_make(PS_LIVE_FRAME_MOST);
    if (atomic_load_explicit(&live->hub.followers, memory_order_relaxed) > 0) {
        second->has_text = live->encode(live->ctx, NULL, 0, false, &second->text) == PS_OK;
    }
    ps_live_hub_second(&live->hub, second);
}

size_t ps_live_subscribers(const struct ps_live *live)
{
    return atomic_load_explicit(&live->hub.count, memory_order_relaxed);
}

/* --- who comes -------------------------------------------------------------------------------- */

/* Takes a place. False: there is none, and the exchange is answered. */
static bool enter(struct ps_live *live, struct ps_exchange *exchange)
{
    struct ps_answer answer = {.status = 503, .retry_after = 5 * PS_SECOND};
    if (atomic_load_explicit(&live->hub.closed, memory_order_relaxed)) {
        answer.code = "stopping";
        ps_answer_errorf(exchange, &answer, "the server is stopping");
        return false;
    }
    size_t before = atomic_fetch_add_explicit(&live->hub.count, 1, memory_order_relaxed);
    if (before < atomic_load_explicit(&live->max_subscribers, memory_order_relaxed)) {
        return true;
    }
    atomic_fetch_sub_explicit(&live->hub.count, 1, memory_order_relaxed);
    ps_counter_add_shared(live->refused, 1);
    answer.code = "too_many_subscribers";
    ps_answer_errorf(exchange, &answer, "there are as many subscribers as dashboard.max_subscribers allows");
    return false;
}

static void refuse(struct ps_exchange *exchange, const struct ps_ws_handshake *handshake)
{
    struct ps_answer answer = {.status = handshake->status, .code = "websocket_needed"};
    if (handshake->status == 426) {
        answer.headers = PS_STR(PS_WS_UPGRADE_HEADERS);
    } else if (handshake->status == 405) {
        answer.headers = PS_STR("Allow: GET\r\n");
    }
    ps_answer_errorf(exchange, &answer, "%s", handshake->reason);
}

/* The handshake's last part; the subscriber has its place. */
static void hand_over(struct ps_live *live, struct ps_exchange *exchange, const struct ps_ws_handshake *handshake,
                      struct ps_live_subscriber *subscriber)
{
    struct ps_server *server = ps_exchange_server(exchange);
    struct ps_stream *stream = ps_ws_accept(exchange, handshake, PS_STR(""));
    if (stream == NULL) { /* it could not be sent: the server has told already that the client is gone */
        atomic_fetch_sub_explicit(&live->hub.count, 1, memory_order_relaxed);
        free(subscriber);
        return;
    }
    ps_server_moved(server);
    subscriber->stream = ps_stream_detach(stream);
    if (subscriber->stream == NULL) {
        ps_live_subscriber_end(subscriber);
        return;
    }
    ps_live_hub_arrive(&live->hub, subscriber);
}

void ps_live_take(struct ps_live *live, struct ps_exchange *exchange, const struct ps_live_counter *counter)
{
    struct ps_ws_handshake handshake;
    ps_ws_handshake_read(&handshake, ps_exchange_head(exchange));
    if (handshake.status != 101) {
        refuse(exchange, &handshake);
        return;
    }
    if (!enter(live, exchange)) {
        return;
    }
    struct ps_live_subscriber *subscriber = calloc(1, sizeof *subscriber);
    if (subscriber == NULL) {
        atomic_fetch_sub_explicit(&live->hub.count, 1, memory_order_relaxed);
        ps_exchange_reset(exchange);
        return;
    }
    handshake.deflate = handshake.deflate && atomic_load_explicit(&live->compress, memory_order_relaxed);
    subscriber->hub = &live->hub;
    subscriber->peer = *ps_exchange_peer(exchange);
    subscriber->counter = *counter;
    subscriber->deflate = handshake.deflate;
    hand_over(live, exchange, &handshake, subscriber);
}

/* --- life ------------------------------------------------------------------------------------- */

static double read_subscribers(void *context)
{
    return (double)ps_live_subscribers(context);
}

static int publish(struct ps_live *live)
{
    const char *bad = NULL;
    struct ps_metrics *metrics = live->metrics;
    const struct ps_metric_family *rows = ps_live_metric_families;
    int err = ps_metrics_declare(metrics, rows, &bad);
    PS_CHECK(bad == NULL);
    err = err != PS_OK ? err
                       : ps_metric_watch(metrics, &rows[ROW_SUBSCRIBERS], NULL, read_subscribers, live,
                                         &live->subscribers);
    err = err != PS_OK ? err : ps_metric_counter(metrics, &rows[ROW_REFUSED], NULL, &live->refused);
    for (size_t i = 0; i < PS_ARRAY_LEN(live->hub.counters) && err == PS_OK; i++) {
        err = ps_metric_counter(metrics, &rows[ROW_FRAMES + i], NULL, &live->hub.counters[i]);
    }
    for (size_t i = 0; i < PS_LIVE_ENDS && err == PS_OK; i++) {
        err = ps_metric_counter(metrics, &rows[ROW_ENDED], PS_LABELS(ps_str_from(end_names[i])), &live->hub.ends[i]);
    }
    return err;
}

static void unpublish(struct ps_live *live)
{
    ps_metric_unwatch(live->metrics, live->subscribers, live);
    ps_metric_put(live->metrics, live->refused == NULL ? NULL : &live->refused->handle);
    for (size_t i = 0; i < PS_ARRAY_LEN(live->hub.counters); i++) {
        ps_metric_put(live->metrics, live->hub.counters[i] == NULL ? NULL : &live->hub.counters[i]->handle);
    }
    for (size_t i = 0; i < PS_LIVE_ENDS; i++) {
        ps_metric_put(live->metrics, live->hub.ends[i] == NULL ? NULL : &live->hub.ends[i]->handle);
    }
}

int ps_live_new(struct ps_live **out, const struct ps_live_opts *opts, struct ps_loop *loop,
                struct ps_metrics *metrics, ps_live_encode_fn *encode, void *ctx)
{
    struct ps_live *live = calloc(1, sizeof *live);
    if (live == NULL) {
        return PS_ENOMEM;
    }
    live->metrics = metrics;
    live->encode = encode;
    live->ctx = ctx;
    live->hub.on_want = on_want;
    live->hub.ping_interval = opts->ping_interval;
    atomic_store(&live->max_subscribers, opts->max_subscribers);
    atomic_store(&live->compress, opts->compress);
    int err = publish(live);
    err = err != PS_OK ? err : ps_mailbox_new(&live->mailbox, loop, live);
    live->hub.control = live->mailbox;
    err = err != PS_OK ? err : ps_live_hub_start(&live->hub);
    if (err != PS_OK) {
        ps_live_free(live);
        return err;
    }
    *out = live;
    return PS_OK;
}

void ps_live_set(struct ps_live *live, const struct ps_live_opts *opts)
{
    atomic_store_explicit(&live->max_subscribers, opts->max_subscribers, memory_order_relaxed);
    atomic_store_explicit(&live->compress, opts->compress, memory_order_relaxed);
    ps_live_hub_set_ping(&live->hub, opts->ping_interval);
}

void ps_live_drain(struct ps_live *live)
{
    ps_live_hub_drain(&live->hub);
}

void ps_live_free(struct ps_live *live)
{
    if (live != NULL) {
        ps_live_hub_stop(&live->hub);
        ps_mailbox_free(live->mailbox); /* what the hub still asked is answered */
        ps_live_hub_fini(&live->hub);
        unpublish(live);
        free(live);
    }
}

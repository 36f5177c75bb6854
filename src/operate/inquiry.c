#include "operate/inquiry.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "gateway/backend.h"
#include "http/h1_write.h"
#include "io/loop.h"
#include "io/stream.h"

enum { HEAD_LIMIT = 16 * 1024, DATE_LIMIT = 48 };

struct ps_inquiry {
    struct ps_loop *loop;
    struct ps_call *call;     /* a GET */
    struct ps_stream *stream; /* a connection */
    struct ps_timer timer;
    struct ps_buf body;
    int status;
    bool simulated;
    bool cut;
    char date[DATE_LIMIT];
    size_t date_len;
    ps_inquiry_fn *on_answer;
    void *ctx;
};

void ps_inquiry_cancel(struct ps_inquiry *inquiry)
{
    if (inquiry == NULL) {
        return;
    }
    ps_timer_clear(inquiry->loop, &inquiry->timer);
    ps_call_cancel(inquiry->call);
    ps_stream_free(inquiry->stream);
    ps_buf_fini(&inquiry->body);
    free(inquiry);
}

/* Answers and frees; the call or stream is closed if it is still there. */
static void finish(struct ps_inquiry *inquiry, int err, enum ps_call_phase phase,
                   const char *detail)
{
    struct ps_inquiry done = *inquiry;
    inquiry->body = ps_buf_make(0);
    ps_inquiry_cancel(inquiry);
    struct ps_inquiry_answer answer = {.err = err,
                                       .phase = phase,
                                       .detail = detail,
                                       .status = err == PS_OK ? done.status : 0,
                                       .simulated = done.simulated,
                                       .body = ps_buf_str(&done.body),
                                       .cut = done.cut,
                                       .date = {done.date, done.date_len}};
    done.on_answer(done.ctx, &answer);
    ps_buf_fini(&done.body);
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_inquiry *inquiry = PS_CONTAINER_OF(timer, struct ps_inquiry, timer);
    (void)now;
    finish(inquiry, PS_ETIMEOUT, inquiry->status == 0 ? PS_CALL_HEAD : PS_CALL_BODY, NULL);
}

static int new_inquiry(struct ps_inquiry **out, struct ps_loop *loop, size_t limit, ps_span timeout,
                       ps_inquiry_fn *on_answer, void *ctx)
{
    struct ps_inquiry *inquiry = calloc(1, sizeof *inquiry);
    if (inquiry == NULL) {
        return PS_ENOMEM;
    }
    inquiry->loop = loop;
    inquiry->body = ps_buf_make(limit);
    inquiry->on_answer = on_answer;
    inquiry->ctx = ctx;
    inquiry->timer.on_time = on_time;
    int err = ps_timer_set(loop, &inquiry->timer, ps_loop_now(loop) + timeout);
    if (err != PS_OK) {
        free(inquiry);
        return err;
    }
    *out = inquiry;
    return PS_OK;
}

/* --- where to --------------------------------------------------------------------------------- */

/* The address, the context and the name for TLS; the caller frees *host. */
static int find_way(const struct ps_inquiry_target *target, struct ps_address *address,
                    struct ps_tls **tls, char **host)
{
    struct ps_endpoint *endpoint = target->endpoint;
    if (endpoint->url.tls && target->tls == NULL) {
        return PS_EINVAL;
    }
    struct ps_addresses *addresses = ps_endpoint_addresses(endpoint);
    if (addresses == NULL || addresses->count == 0) {
        ps_addresses_unref(addresses);
        return PS_ERESOLVE;
    }
    *address = addresses->items[target->address % addresses->count];
    ps_addresses_unref(addresses);
    *tls = endpoint->url.tls ? target->tls : NULL;
    const char *name = target->backend == NULL ? NULL : target->backend->tls.server_name;
    *host = ps_str_dup(name != NULL ? ps_str_from(name) : endpoint->url.host);
    return *host == NULL ? PS_ENOMEM : PS_OK;
}

int ps_inquiry_pool(struct ps_client_pool **out, const struct ps_inquiry_target *target)
{
    struct ps_pool_opts opts;
    char *host = NULL;
    ps_pool_opts_init(&opts);
    int err = find_way(target, &opts.address, &opts.tls, &host);
    if (err == PS_OK) {
        opts.server_name = host;
        opts.max_idle = 1;
        err = ps_pool_new(out, target->loop, &opts);
    }
    free(host);
    return err;
}

/* --- a GET ------------------------------------------------------------------------------------ */

static void on_head(void *ctx, const struct ps_h1_head *head)
{
    struct ps_inquiry *inquiry = ctx;
    if (head->status == 101) {
        finish(inquiry, PS_EPARSE, PS_CALL_HEAD, "it wants another protocol");
        return;
    }
    inquiry->status = head->status;
    const struct ps_h1_header *mark = ps_h1_head_find_name(head, PS_STR("x-simulated"));
    inquiry->simulated = mark != NULL && ps_str_ieq(mark->value, PS_STR("true"));
    const struct ps_h1_header *date = ps_h1_head_find_name(head, PS_STR("date"));
    if (date != NULL && date->value.len > 0 && date->value.len <= sizeof inquiry->date) {
        memcpy(inquiry->date, date->value.ptr, date->value.len);
        inquiry->date_len = date->value.len;
    }
}

static void on_body(void *ctx, struct ps_str data)
{
    struct ps_inquiry *inquiry = ctx;
    size_t room = inquiry->body.limit - inquiry->body.len;
    inquiry->cut = data.len > room;
    if (ps_buf_append_str(&inquiry->body, ps_str_first(data, room)) != PS_OK) {
        inquiry->cut = true;
    }
    if (inquiry->cut) {
        finish(inquiry, PS_OK, PS_CALL_BODY, NULL);
    }
}

static void on_end(void *ctx, struct ps_str trailers)
{
    struct ps_inquiry *inquiry = ctx;
    (void)trailers;
    inquiry->call = NULL;
    finish(inquiry, PS_OK, PS_CALL_BODY, NULL);
}

static void on_error(void *ctx, const struct ps_call_error *error)
{
    struct ps_inquiry *inquiry = ctx;
    inquiry->call = NULL;
    finish(inquiry, error->err, error->phase, error->detail);
}

static const struct ps_call_ops call_ops = {
    .on_head = on_head, .on_body = on_body, .on_end = on_end, .on_error = on_error};

/* The path of the endpoint's URL without query and without the slash at its end. */
static struct ps_str base_path(const struct ps_url *url)
{
    struct ps_str path = ps_str_first(url->path, ps_str_find(url->path, '?'));
    return ps_str_ends_with(path, PS_STR("/")) ? ps_str_first(path, path.len - 1) : path;
}

/* The line of the key: the request's own, or the backend's. */
static int write_key(struct ps_buf *out, const struct ps_inquiry_target *target,
                     struct ps_str bearer, struct ps_buf *text)
{
    const char *key = target->backend == NULL ? NULL : target->backend->api_key;
    struct ps_str value = bearer.len > 0 ? bearer : ps_str_from(key);
    if (value.len == 0) {
        return PS_OK;
    }
    ps_buf_clear(text);
    int err = ps_buf_printf(text, "Bearer %.*s", PS_STR_ARG(value));
    return err != PS_OK ? err : ps_h1_write_header(out, PS_STR("Authorization"), ps_buf_str(text));
}

static int write_framing(struct ps_buf *out, const struct ps_inquiry_request *request,
                         struct ps_buf *text)
{
    if (ps_str_eq(request->method, PS_STR("GET"))) {
        return PS_OK;
    }
    ps_buf_clear(text);
    int err = ps_buf_append_u64(text, request->body.len);
    err = err != PS_OK ? err : ps_h1_write_header(out, PS_STR("Content-Length"), ps_buf_str(text));
    if (err == PS_OK && request->body.len > 0) {
        err = ps_h1_write_header(out, PS_STR("Content-Type"), PS_STR("application/json"));
    }
    return err;
}

static int write_lines(struct ps_buf *out, const struct ps_inquiry_target *target,
                       const struct ps_inquiry_request *request)
{
    int err = ps_h1_write_header(out, PS_STR("Host"), target->endpoint->url.authority);
    err = err != PS_OK ? err : ps_h1_write_header(out, PS_STR("User-Agent"), PS_STR("penstock"));
    err = err != PS_OK
              ? err
              : ps_h1_write_header(out, PS_STR("Accept"), PS_STR("application/json, */*;q=0.5"));
    if (err == PS_OK && request->header_name.len > 0) {
        err = ps_h1_write_header(out, request->header_name, request->header_value);
    }
    return err;
}

static int write_head(struct ps_buf *out, const struct ps_inquiry_target *target,
                      const struct ps_inquiry_request *request)
{
    struct ps_buf text = ps_buf_make(HEAD_LIMIT);
    int err = ps_buf_append_str(&text, base_path(&target->endpoint->url));
    err = err != PS_OK ? err : ps_buf_append_str(&text, request->path);
    err = err != PS_OK ? err : ps_h1_write_request_line(out, request->method, ps_buf_str(&text));
    err = err != PS_OK ? err : write_lines(out, target, request);
    err = err != PS_OK ? err : write_key(out, target, request->bearer, &text);
    err = err != PS_OK ? err : write_framing(out, request, &text);
    if (text.data != NULL) {
        explicit_bzero(text.data, text.cap);
    }
    ps_buf_fini(&text);
    return err != PS_OK ? err : ps_h1_write_head_end(out);
}

int ps_inquiry_ask(struct ps_inquiry **out, const struct ps_inquiry_target *target,
                   struct ps_client_pool *pool, const struct ps_inquiry_request *request,
                   size_t limit, ps_span timeout, ps_inquiry_fn *on_answer, void *ctx)
{
    struct ps_buf head = ps_buf_make(HEAD_LIMIT);
    struct ps_inquiry *inquiry = NULL;
    int err = write_head(&head, target, request);
    err = err != PS_OK ? err : new_inquiry(&inquiry, target->loop, limit, timeout, on_answer, ctx);
    if (err == PS_OK) {
        struct ps_call_request call = {.head = ps_buf_str(&head), .body = request->body};
        err = ps_call_start(&inquiry->call, pool, &call, &call_ops, inquiry);
    }
    ps_buf_fini(&head);
    if (err != PS_OK) {
        ps_inquiry_cancel(inquiry);
        return err;
    }
    *out = inquiry;
    return PS_OK;
}

int ps_inquiry_get(struct ps_inquiry **out, const struct ps_inquiry_target *target,
                   struct ps_client_pool *pool, struct ps_str path, size_t limit, ps_span timeout,
                   ps_inquiry_fn *on_answer, void *ctx)
{
    const struct ps_inquiry_request request = {.method = PS_STR("GET"), .path = path};
    return ps_inquiry_ask(out, target, pool, &request, limit, timeout, on_answer, ctx);
}

/* --- a connection ----------------------------------------------------------------------------- */

static void on_connect(void *ctx)
{
    struct ps_inquiry *inquiry = ctx;
    inquiry->status = 200;
    finish(inquiry, PS_OK, PS_CALL_CONNECT, NULL);
}

static size_t on_data(void *ctx, struct ps_str data)
{
    (void)ctx;
    return data.len;
}

/* What OpenSSL says is static: it outlives the stream. */
static void on_close(void *ctx, int err)
{
    const struct ps_inquiry *inquiry = ctx;
    finish(ctx, err, PS_CALL_CONNECT, err == PS_ETLS ? ps_stream_tls_error(inquiry->stream) : NULL);
}

static const struct ps_stream_ops stream_ops = {
    .on_connect = on_connect, .on_data = on_data, .on_close = on_close};

int ps_inquiry_connect(struct ps_inquiry **out, const struct ps_inquiry_target *target,
                       ps_span timeout, ps_inquiry_fn *on_answer, void *ctx)
{
    struct ps_inquiry *inquiry = NULL;
    struct ps_stream_opts opts = {.ops = &stream_ops};
    struct ps_address address;
    char *host = NULL;
    int err = find_way(target, &address, &opts.tls, &host);
    err = err != PS_OK ? err : new_inquiry(&inquiry, target->loop, 0, timeout, on_answer, ctx);
    if (err == PS_OK) {
        opts.ctx = inquiry;
        opts.server_name = host;
        err = ps_stream_connect(&inquiry->stream, target->loop, &address, &opts);
    }
    free(host);
    if (err != PS_OK) {
        ps_inquiry_cancel(inquiry);
        return err;
    }
    *out = inquiry;
    return PS_OK;
}

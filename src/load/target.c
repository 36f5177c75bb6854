/* target - see target.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/target.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "http/h1_write.h"
#include "http/url.h"
#include "io/address.h"
#include "io/loop.h"
#include "io/stream.h"
#include "io/tls.h"
#include "version.h"

#define HEAD_MAX (64u * 1024u)
#define IDLE_MAX 100000u
#define REACH_TIMEOUT (3 * PS_SECOND)
#define OWN_HEADERS 3 /* host, user-agent, authorization */

struct header {
    char *name;
    char *value;
};

struct ps_target {
    struct ps_loop *loop;
    struct ps_client_pool *pool;
    struct ps_tls *tls;
    char *name;      /* scheme and authority */
    char *host;      /* to resolve and to verify */
    char *authority; /* the Host header */
    char *prefix;    /* of each path */
    struct header *headers; /* that every request has */
    size_t header_count;
    ps_span connect_timeout;
    ps_target_fn *on_ready;
    void *ctx;
    struct ps_address address;
    struct ps_stream *reach; /* the connection of ps_target_reach() */
    struct ps_timer reach_deadline;
    ps_target_fn *on_reached;
    void *reach_ctx;
    bool resolving;
    bool freed; /* while the resolver was still at work */
};

static int say(struct ps_target_error *error, int err, const char *what, const char *why)
{
    snprintf(error->text, sizeof error->text, "%s: %s", what, why);
    return err;
}

/* ------------------------------------------------------------------------------------- parts */

static int copy_url(struct ps_target *target, const struct ps_url *url, bool whole_url)
{
    struct ps_str path = url->path;
    path.len = whole_url ? 0 : ps_str_find(path, '?');
    while (path.len > 0 && path.ptr[path.len - 1] == '/') {
        path.len--;
    }
    if (ps_str_ends_with(path, PS_STR("/v1"))) {
        path.len -= 3;
    }
    target->host = ps_str_dup(url->host);
    target->authority = ps_str_dup(url->authority);
    target->prefix = ps_str_dup(path);
    if (asprintf(&target->name, "%s://%.*s", url->tls ? "https" : "http",
                 PS_STR_ARG(url->authority)) < 0) {
        target->name = NULL;
    }
    bool whole = target->host != NULL && target->authority != NULL && target->prefix != NULL &&
                 target->name != NULL;
    return whole ? PS_OK : PS_ENOMEM;
}

/* The last one of a name holds: what the user says goes before what is said by default. */
static struct header *find_header(const struct ps_target *target, struct ps_str name)
{
    for (size_t i = 0; i < target->header_count; i++) {
        if (ps_str_ieq(ps_str_from(target->headers[i].name), name)) {
            return &target->headers[i];
        }
    }
    return NULL;
}

/* What frames a request is not the user's to say. */
static bool is_framing(struct ps_str name)
{
    return ps_str_ieq(name, PS_STR("content-length")) || ps_str_ieq(name, PS_STR("transfer-encoding"));
}

int ps_target_check_header(struct ps_str name, struct ps_str value)
{
    struct ps_buf probe = ps_buf_make(HEAD_MAX);
    int err = is_framing(name) ? PS_EINVAL : ps_h1_write_header(&probe, name, value);
    ps_buf_fini(&probe);
    return err;
}

static int set_header(struct ps_target *target, struct ps_str name, struct ps_str value)
{
    int err = ps_target_check_header(name, value);
    struct header *header = find_header(target, name);
    if (err != PS_OK) {
        return err;
    }
    header = header != NULL ? header : &target->headers[target->header_count];
    struct header old = *header;
    *header = (struct header){ps_str_dup(name), ps_str_dup(value)};
    target->header_count += old.name == NULL ? 1 : 0;
    free(old.name);
    free(old.value);
    return header->name == NULL || header->value == NULL ? PS_ENOMEM : PS_OK;
}

static int add_header(struct ps_target *target, const char *text, struct ps_target_error *error)
{
    struct ps_str line = ps_str_from(text);
    struct ps_str name = ps_str_first(line, ps_str_find(line, ':'));
    struct ps_str value = ps_str_trim(ps_str_skip(line, name.len + 1));
    int err = name.len == line.len ? PS_EINVAL : set_header(target, name, value);
    return err == PS_EINVAL ? say(error, err, text, "expected a header as \"name: value\"") : err;
}

static int set_key(struct ps_target *target, const char *key, struct ps_target_error *error)
{
    char *value = NULL;
    if (asprintf(&value, "Bearer %s", key) < 0) {
        return PS_ENOMEM;
    }
    int err = set_header(target, PS_STR("authorization"), ps_str_from(value));
    free(value);
    return err == PS_EINVAL ? say(error, err, "the API key", "it holds a forbidden byte") : err;
}

static int set_headers(struct ps_target *target, const struct ps_target_opts *opts,
                       struct ps_target_error *error)
{
    target->headers = calloc(opts->header_count + OWN_HEADERS, sizeof *target->headers);
    if (target->headers == NULL) {
        return PS_ENOMEM;
    }
    int err = set_header(target, PS_STR("host"), ps_str_from(target->authority));
    if (err == PS_OK) {
        err = set_header(target, PS_STR("user-agent"), PS_STR("penstock/" PS_VERSION));
    }
    if (err == PS_OK && opts->api_key != NULL) {
        err = set_key(target, opts->api_key, error);
    }
    for (size_t i = 0; err == PS_OK && i < opts->header_count; i++) {
        err = add_header(target, opts->headers[i], error);
    }
    return err;
}

static int make_tls(struct ps_target *target, const struct ps_target_opts *opts,
                    struct ps_target_error *error)
{
    struct ps_tls_error why = {""};
    int err = ps_tls_new_client(&target->tls, opts->ca_file, !opts->insecure, &why);
    return err == PS_ETLS ? say(error, err, "TLS", why.text) : err;
}

static int make_pool(struct ps_target *target, const struct ps_address *address)
{
    struct ps_pool_opts opts;
    ps_pool_opts_init(&opts);
    opts.address = *address;
    opts.tls = target->tls;
    opts.server_name = target->host;
    opts.max_idle = IDLE_MAX;
    opts.stamp = true;
    if (target->connect_timeout > 0) {
        opts.connect_timeout = target->connect_timeout;
    }
    /* Deadlines are the session's: one for the whole request, so that each failure has one cause. */
    opts.head_timeout = 0;
    opts.idle_timeout = 0;
    return ps_pool_new(&target->pool, target->loop, &opts);
}

/* -------------------------------------------------------------------------------------- life */

static void destroy(struct ps_target *target)
{
    if (target->loop != NULL) { /* a target that is only checked has none */
        ps_timer_clear(target->loop, &target->reach_deadline);
    }
    ps_stream_free(target->reach);
    ps_pool_free(target->pool);
    ps_tls_unref(target->tls);
    for (size_t i = 0; i < target->header_count; i++) {
        free(target->headers[i].name);
        free(target->headers[i].value);
    }
    free(target->headers);
    free(target->name);
    free(target->host);
    free(target->authority);
    free(target->prefix);
    free(target);
}

static void on_resolved(void *ctx, int err, const struct ps_address *addresses, size_t count)
{
    struct ps_target *target = ctx;
    target->resolving = false;
    if (target->freed) {
        destroy(target);
        return;
    }
    char why[400] = "";
    if (err == PS_OK && count == 0) {
        err = PS_ERESOLVE;
    }
    if (err == PS_OK) {
        target->address = addresses[0];
        err = make_pool(target, &addresses[0]);
    }
    if (err != PS_OK) {
        snprintf(why, sizeof why, "%s: %s", target->host, ps_err_text(err));
    }
    target->on_ready(target->ctx, err, why);
}

/* Everything that needs no loop; *url points into the options. */
static int fill(struct ps_target *target, const struct ps_target_opts *opts, struct ps_url *url,
                struct ps_target_error *error)
{
    if (ps_url_parse(ps_str_from(opts->url), url) != PS_OK) {
        return say(error, PS_EINVAL, opts->url, "expected http://host[:port] or https://...");
    }
    int err = copy_url(target, url, opts->whole_url);
    if (err == PS_OK) {
        err = set_headers(target, opts, error);
    }
    return err == PS_OK && url->tls ? make_tls(target, opts, error) : err;
}

int ps_target_check(const struct ps_target_opts *opts, struct ps_target_error *error)
{
    struct ps_target *target = calloc(1, sizeof *target);
    struct ps_url url;
    snprintf(error->text, sizeof error->text, "%s", ps_err_text(PS_ENOMEM));
    if (target == NULL) {
        return PS_ENOMEM;
    }
    int err = fill(target, opts, &url, error);
    destroy(target);
    return err;
}

int ps_target_new(struct ps_target **out, struct ps_loop *loop, const struct ps_target_opts *opts,
                  ps_target_fn *on_ready, void *ctx, struct ps_target_error *error)
{
    struct ps_target *target = calloc(1, sizeof *target);
    snprintf(error->text, sizeof error->text, "%s", ps_err_text(PS_ENOMEM));
    if (target == NULL) {
        return PS_ENOMEM;
    }
    target->loop = loop;
    target->on_ready = on_ready;
    target->ctx = ctx;
    target->connect_timeout = opts->connect_timeout;
    struct ps_url url;
    int err = fill(target, opts, &url, error);
    if (err == PS_OK) {
        err = ps_resolve(target->loop, ps_str_from(target->host), url.port, on_resolved, target);
        target->resolving = err == PS_OK;
    }
    if (err != PS_OK) {
        destroy(target);
        return err;
    }
    *out = target;
    return PS_OK;
}

void ps_target_free(struct ps_target *target)
{
    if (target == NULL) {
        return;
    }
    if (target->resolving) {
        target->freed = true;
        return;
    }
    destroy(target);
}

/* ------------------------------------------------------------------------------------- reach */

static void reached(struct ps_target *target, int err, const char *why)
{
    char text[400];
    char address[PS_ADDRESS_TEXT];
    snprintf(text, sizeof text, "%s (%s): %s", target->name, ps_address_text(&target->address, address), why);
    ps_timer_clear(target->loop, &target->reach_deadline);
    ps_stream_free(target->reach);
    target->reach = NULL;
    target->on_reached(target->reach_ctx, err, text);
}

static void on_connect(void *ctx)
{
    reached(ctx, PS_OK, "");
}

static size_t on_data(void *ctx, struct ps_str data)
{
    (void)ctx;
    return data.len;
}

static void on_close(void *ctx, int err)
{
    struct ps_target *target = ctx;
    const char *tls = ps_stream_tls_error(target->reach);
    char why[300];
    snprintf(why, sizeof why, "%s%s%s", ps_err_text(err), tls[0] != '\0' ? ": " : "", tls);
    reached(target, err, why);
}

static const struct ps_stream_ops reach_ops = {.on_connect = on_connect, .on_data = on_data, .on_close = on_close};

static void on_deadline(struct ps_timer *timer, ps_time now)
{
    struct ps_target *target = PS_CONTAINER_OF(timer, struct ps_target, reach_deadline);
    (void)now;
    if (target->reach == NULL) {
        reached(target, PS_EREFUSED, ps_err_text(PS_EREFUSED));
    } else {
        reached(target, PS_ETIMEOUT, "no connection in time");
    }
}

int ps_target_reach(struct ps_target *target, ps_target_fn *on_reached, void *ctx)
{
    const struct ps_stream_opts opts = {
        .ops = &reach_ops, .ctx = target, .tls = target->tls, .server_name = target->host};
    ps_span patience = target->connect_timeout > 0 ? target->connect_timeout : REACH_TIMEOUT;
    target->on_reached = on_reached;
    target->reach_ctx = ctx;
    target->reach_deadline.on_time = on_deadline;
    int err = ps_stream_connect(&target->reach, target->loop, &target->address, &opts);
    if (err == PS_EREFUSED || err == PS_EUNREACHABLE) {
        patience = 0; /* told from the loop, like everything else */
        err = PS_OK;
    }
    err = err != PS_OK ? err
                       : ps_timer_set(target->loop, &target->reach_deadline,
                                      ps_loop_now(target->loop) + patience);
    if (err != PS_OK) {
        ps_stream_free(target->reach); /* or it would tell once more */
        target->reach = NULL;
    }
    return err;
}

/* --------------------------------------------------------------------------------------- use */

struct ps_client_pool *ps_target_pool(const struct ps_target *target)
{
    return target->pool;
}

const char *ps_target_name(const struct ps_target *target)
{
    return target->name;
}

static int write_start(const struct ps_target *target, struct ps_str method, struct ps_str path,
                       struct ps_buf *out)
{
    struct ps_buf whole = ps_buf_make(HEAD_MAX);
    int err = ps_buf_append_str(&whole, ps_str_from(target->prefix));
    if (err == PS_OK) {
        err = ps_buf_append_str(&whole, path);
    }
    if (err == PS_OK) {
        err = ps_h1_write_request_line(out, method, ps_buf_str(&whole));
    }
    ps_buf_fini(&whole);
    return err;
}

static bool is_among(struct ps_str name, const struct ps_target_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (ps_str_ieq(ps_str_from(request->headers[i].name), name)) {
            return true;
        }
    }
    return false;
}

static int write_default(const struct ps_target *target, const struct ps_target_request *request,
                         struct ps_str name, struct ps_str value, struct ps_buf *out)
{
    bool said = value.len == 0 || is_among(name, request) || find_header(target, name) != NULL;
    return said ? PS_OK : ps_h1_write_header(out, name, value);
}

static int write_headers(const struct ps_target *target, const struct ps_target_request *request,
                         struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < target->header_count; i++) {
        struct ps_str name = ps_str_from(target->headers[i].name);
        err = is_among(name, request)
                  ? PS_OK
                  : ps_h1_write_header(out, name, ps_str_from(target->headers[i].value));
    }
    for (size_t i = 0; err == PS_OK && i < request->header_count; i++) {
        err = ps_h1_write_header(out, ps_str_from(request->headers[i].name),
                                 ps_str_from(request->headers[i].value));
    }
    err = err == PS_OK ? write_default(target, request, PS_STR("accept"), request->accept, out) : err;
    if (err == PS_OK && request->has_body) {
        err = write_default(target, request, PS_STR("content-type"), request->type, out);
    }
    return err;
}

int ps_target_write(const struct ps_target *target, const struct ps_target_request *request,
                    struct ps_buf *out)
{
    int err = write_start(target, request->method, request->path, out);
    err = err == PS_OK ? write_headers(target, request, out) : err;
    if (err == PS_OK && request->has_body) {
        err = ps_h1_write_header_u64(out, PS_STR("content-length"), request->body_len);
    }
    return err == PS_OK ? ps_h1_write_head_end(out) : err;
}

int ps_target_head(const struct ps_target *target, struct ps_str path, struct ps_str accept,
                   size_t body_len, struct ps_buf *out)
{
    const struct ps_target_request request = {
        .method = body_len > 0 ? PS_STR("POST") : PS_STR("GET"),
        .path = path,
        .accept = accept,
        .type = PS_STR("application/json"),
        .has_body = body_len > 0,
        .body_len = body_len,
    };
    return ps_target_write(target, &request, out);
}

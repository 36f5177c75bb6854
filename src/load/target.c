/* target - see target.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/target.h"

#include <stdio.h>
#include <stdlib.h>

#include "http/h1_write.h"
#include "http/url.h"
#include "io/address.h"
#include "io/loop.h"
#include "io/tls.h"
#include "version.h"

#define HEAD_MAX (64u * 1024u)
#define IDLE_MAX 4096u

struct ps_target {
    struct ps_loop *loop;
    struct ps_client_pool *pool;
    struct ps_tls *tls;
    char *name;      /* scheme and authority */
    char *host;      /* to resolve and to verify */
    char *authority; /* the Host header */
    char *prefix;    /* of each path */
    struct ps_buf fixed; /* header lines that every request has */
    ps_span connect_timeout;
    ps_target_fn *on_ready;
    void *ctx;
    bool resolving;
    bool freed; /* while the resolver was still at work */
};

static int say(struct ps_target_error *error, int err, const char *what, const char *why)
{
    snprintf(error->text, sizeof error->text, "%s: %s", what, why);
    return err;
}

/* ------------------------------------------------------------------------------------- parts */

static int copy_url(struct ps_target *target, const struct ps_url *url)
{
    struct ps_str path = url->path;
    path.len = ps_str_find(path, '?');
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

static int add_header(struct ps_target *target, const char *text, struct ps_target_error *error)
{
    struct ps_str line = ps_str_from(text);
    struct ps_str name = ps_str_first(line, ps_str_find(line, ':'));
    struct ps_str value = ps_str_trim(ps_str_skip(line, name.len + 1));
    int err = name.len == line.len ? PS_EINVAL : ps_h1_write_header(&target->fixed, name, value);
    return err == PS_EINVAL ? say(error, err, text, "expected a header as \"name: value\"") : err;
}

static int write_fixed(struct ps_target *target, const struct ps_target_opts *opts,
                       struct ps_target_error *error)
{
    struct ps_buf *out = &target->fixed;
    int err = ps_h1_write_header(out, PS_STR("host"), ps_str_from(target->authority));
    if (err == PS_OK) {
        err = ps_h1_write_header(out, PS_STR("user-agent"), PS_STR("penstock/" PS_VERSION));
    }
    for (size_t i = 0; err == PS_OK && i < opts->header_count; i++) {
        err = add_header(target, opts->headers[i], error);
    }
    if (err != PS_OK || opts->api_key == NULL) {
        return err;
    }
    char *value = NULL;
    if (asprintf(&value, "Bearer %s", opts->api_key) < 0) {
        return PS_ENOMEM;
    }
    err = ps_h1_write_header(out, PS_STR("authorization"), ps_str_from(value));
    free(value);
    return err == PS_EINVAL ? say(error, err, "the API key", "it holds a forbidden byte") : err;
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
    ps_pool_free(target->pool);
    ps_tls_unref(target->tls);
    ps_buf_fini(&target->fixed);
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
        err = make_pool(target, &addresses[0]);
    }
    if (err != PS_OK) {
        snprintf(why, sizeof why, "%s: %s", target->host, ps_err_text(err));
    }
    target->on_ready(target->ctx, err, why);
}

static int fill(struct ps_target *target, const struct ps_target_opts *opts,
                struct ps_target_error *error)
{
    struct ps_url url;
    if (ps_url_parse(ps_str_from(opts->url), &url) != PS_OK) {
        return say(error, PS_EINVAL, opts->url, "expected http://host[:port] or https://...");
    }
    int err = copy_url(target, &url);
    if (err == PS_OK) {
        err = write_fixed(target, opts, error);
    }
    if (err == PS_OK && url.tls) {
        err = make_tls(target, opts, error);
    }
    if (err == PS_OK) {
        err = ps_resolve(target->loop, ps_str_from(target->host), url.port, on_resolved, target);
        target->resolving = err == PS_OK;
    }
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
    target->fixed = ps_buf_make(HEAD_MAX);
    int err = fill(target, opts, error);
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

int ps_target_head(const struct ps_target *target, struct ps_str path, struct ps_str accept,
                   size_t body_len, struct ps_buf *out)
{
    int err = write_start(target, body_len > 0 ? PS_STR("POST") : PS_STR("GET"), path, out);
    if (err == PS_OK) {
        err = ps_buf_append_str(out, ps_buf_str(&target->fixed));
    }
    if (err == PS_OK) {
        err = ps_h1_write_header(out, PS_STR("accept"), accept);
    }
    if (err == PS_OK && body_len > 0) {
        err = ps_h1_write_header(out, PS_STR("content-type"), PS_STR("application/json"));
    }
    if (err == PS_OK && body_len > 0) {
        err = ps_h1_write_header_u64(out, PS_STR("content-length"), body_len);
    }
    return err == PS_OK ? ps_h1_write_head_end(out) : err;
}

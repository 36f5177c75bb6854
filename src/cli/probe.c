/* probe - see probe.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/probe.h"

#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "http/client.h"
#include "io/loop.h"
#include "load/target.h"

#define PAGE_MAX (2u << 20)
#define PATIENCE (2 * PS_SECOND)

struct ps_probe {
    struct ps_loop *loop;
    struct ps_target *target;
    struct ps_call *call;
    struct ps_timer deadline;
    char *path;
    ps_probe_fn *on_answer;
    void *ctx;
    struct ps_buf page;    /* of the last good answer */
    struct ps_buf arriving;
    struct ps_buf why; /* of the last answer that was not good */
    int status;
    bool ready;
    bool wanted; /* asked before the name was resolved */
};

/* What arrived takes the place of what was there. */
static void keep(struct ps_probe *probe, struct ps_buf *place)
{
    struct ps_buf old = *place;
    *place = probe->arriving;
    probe->arriving = old;
    ps_buf_clear(&probe->arriving);
}

static void settle(struct ps_probe *probe, int status)
{
    ps_timer_clear(probe->loop, &probe->deadline);
    probe->call = NULL;
    keep(probe, status == 200 ? &probe->page : &probe->why);
    if (probe->on_answer != NULL) {
        probe->on_answer(probe->ctx, status);
    }
}

static void on_head(void *ctx, const struct ps_h1_head *head)
{
    struct ps_probe *probe = ctx;
    probe->status = head->status;
}

static void on_body(void *ctx, struct ps_str data)
{
    struct ps_probe *probe = ctx;
    if (ps_buf_append_str(&probe->arriving, data) != PS_OK) {
        probe->status = 0; /* too large to be a page of ours */
    }
}

static void on_end(void *ctx, struct ps_str trailers)
{
    struct ps_probe *probe = ctx;
    (void)trailers;
    settle(probe, probe->status);
}

/* There was no answer. */
static void fail(struct ps_probe *probe, const char *why)
{
    ps_buf_clear(&probe->arriving);
    PS_IGNORE(ps_buf_append_str(&probe->arriving, ps_str_from(why))); /* less is known without */
    settle(probe, 0);
}

static void on_error(void *ctx, const struct ps_call_error *error)
{
    const char *detail = error->detail;
    fail(ctx, detail != NULL && detail[0] != '\0' ? detail : ps_err_text(error->err));
}

static void on_deadline(struct ps_timer *timer, ps_time now)
{
    struct ps_probe *probe = PS_CONTAINER_OF(timer, struct ps_probe, deadline);
    (void)now;
    ps_call_cancel(probe->call);
    fail(probe, "no answer within 2 s");
}

static const struct ps_call_ops call_ops = {
    .on_head = on_head,
    .on_body = on_body,
    .on_end = on_end,
    .on_error = on_error,
};

static int send_request(struct ps_probe *probe)
{
    struct ps_buf head = ps_buf_make(PAGE_MAX);
    probe->status = 0;
    int err = ps_target_head(probe->target, ps_str_from(probe->path), PS_STR("*/*"), 0, &head);
    if (err == PS_OK) {
        err = ps_timer_set(probe->loop, &probe->deadline, ps_loop_now(probe->loop) + PATIENCE);
    }
    if (err == PS_OK) {
        struct ps_call_request request = {.head = ps_buf_str(&head)};
        err = ps_call_start(&probe->call, ps_target_pool(probe->target), &request, &call_ops, probe);
    }
    if (err != PS_OK) {
        ps_timer_clear(probe->loop, &probe->deadline);
    }
    ps_buf_fini(&head);
    return err;
}

void ps_probe_ask(struct ps_probe *probe)
{
    if (!probe->ready) {
        probe->wanted = true;
    } else if (probe->call == NULL && send_request(probe) != PS_OK) {
        probe->call = NULL; /* out of memory or descriptors: the next time, perhaps */
    }
}

static void on_target(void *ctx, int err, const char *why)
{
    struct ps_probe *probe = ctx;
    probe->ready = err == PS_OK;
    if (probe->ready && probe->wanted) {
        ps_probe_ask(probe);
    } else if (!probe->ready) {
        fail(probe, why);
    }
}

int ps_probe_new(struct ps_probe **out, struct ps_loop *loop, const char *url, const char *path,
                 ps_probe_fn *on_answer, void *ctx)
{
    const struct ps_target_opts server = {.url = url};
    return ps_probe_open(out, loop, &server, path, on_answer, ctx);
}

int ps_probe_open(struct ps_probe **out, struct ps_loop *loop, const struct ps_target_opts *server,
                  const char *path, ps_probe_fn *on_answer, void *ctx)
{
    struct ps_probe *probe = calloc(1, sizeof *probe);
    if (probe == NULL) {
        return PS_ENOMEM;
    }
    struct ps_target_error error;
    probe->loop = loop;
    probe->deadline.on_time = on_deadline;
    probe->on_answer = on_answer;
    probe->ctx = ctx;
    probe->page = ps_buf_make(PAGE_MAX);
    probe->arriving = ps_buf_make(PAGE_MAX);
    probe->why = ps_buf_make(PAGE_MAX);
    probe->path = ps_str_dup(ps_str_from(path));
    int err = probe->path == NULL ? PS_ENOMEM : PS_OK;
    if (err == PS_OK) {
        err = ps_target_new(&probe->target, loop, server, on_target, probe, &error);
    }
    if (err != PS_OK) {
        ps_probe_free(probe);
        return err;
    }
    *out = probe;
    return PS_OK;
}

void ps_probe_free(struct ps_probe *probe)
{
    if (probe == NULL) {
        return;
    }
    ps_timer_clear(probe->loop, &probe->deadline);
    ps_call_cancel(probe->call);
    ps_target_free(probe->target);
    ps_buf_fini(&probe->page);
    ps_buf_fini(&probe->arriving);
    ps_buf_fini(&probe->why);
    free(probe->path);
    free(probe);
}

struct ps_str ps_probe_body(const struct ps_probe *probe)
{
    return ps_buf_str(&probe->page);
}

struct ps_str ps_probe_why(const struct ps_probe *probe)
{
    return ps_buf_str(&probe->why);
}

/* ----------------------------------------------------------------------------- metrics pages */

/* One line: name, labels in braces (or none), value. False when it is of another name. */
static bool read_series(struct ps_str line, struct ps_str name, struct ps_str label, double *value)
{
    if (!ps_str_starts_with(line, name)) {
        return false;
    }
    struct ps_str rest = ps_str_skip(line, name.len);
    struct ps_str labels = {NULL, 0};
    if (rest.len > 0 && rest.ptr[0] == '{') {
        const char *end = memrchr(rest.ptr, '}', rest.len);
        if (end == NULL) {
            return false;
        }
        labels = ps_str_first(rest, (size_t)(end - rest.ptr));
        rest = ps_str_skip(rest, labels.len + 1);
    }
    if (rest.len == 0 || rest.ptr[0] != ' ' || (label.len > 0 && !ps_str_contains(labels, label))) {
        return false;
    }
    struct ps_str number = ps_str_trim(rest);
    return ps_str_to_double(ps_str_first(number, ps_str_find(number, ' ')), value) == PS_OK;
}

double ps_probe_sum(struct ps_str page, const char *name, const char *label)
{
    double sum = NAN;
    struct ps_str line;
    while (page.len > 0 && ps_str_split(&page, '\n', &line)) {
        double value = 0;
        if (read_series(line, ps_str_from(name), ps_str_from(label), &value)) {
            sum = isnan(sum) ? value : sum + value;
        }
    }
    return sum;
}

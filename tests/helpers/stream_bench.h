/* stream_bench - two ends of a connection on one loop, plain and over TLS: what the tests of streams share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_STREAM_BENCH_H
#define PS_TESTS_STREAM_BENCH_H

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "certificate.h"
#include "io/loop.h"
#include "io/stream.h"
#include "io/stream_private.h"
#include "io/tls.h"

enum { NEVER = -1, IN_CONNECT, IN_DATA, IN_DRAIN, IN_CLOSE };

struct bench;

/* One end of the connection. */
struct end {
    struct bench *bench;
    struct ps_stream *stream;
    struct ps_buf got;
    size_t take;     /* bytes that on_data uses at most */
    int free_in;     /* the callback that frees the stream */
    int resume_in_data;
    struct ps_str on_connect_write;
    int connects;
    int drains;
    int closes;
    int calls; /* of on_data */
    int err;
};

struct bench {
    struct ps_loop *loop;
    struct ps_listener *listener;
    struct ps_tls *server_tls;
    struct ps_tls *client_tls;
    struct ps_budget budget;
    struct end client;
    struct end server;
    struct ps_task watch;
    bool (*done)(struct bench *bench);
    ps_time give_up;
    unsigned turns;
    int accepted_fd; /* when no stream is wanted */
    bool keep_fd;
    bool watch_hangup;
    bool stamp;
    int send_room;
    struct ps_loop *other;
    struct ps_task stop;
    struct ps_str offered;
    size_t sent;
    int offers;
};

static struct certificate certificate;

/* --- running ---------------------------------------------------------------------------------- */

static inline void on_watch(struct ps_task *task)
{
    struct bench *bench = PS_CONTAINER_OF(task, struct bench, watch);
    bench->turns++;
    bool late = ps_clock_now(&ps_clock_real) > bench->give_up;
    if (late || bench->done(bench)) {
        ps_loop_stop(bench->loop);
    } else {
        ps_loop_defer(bench->loop, task);
    }
}

static inline void run_until(struct bench *bench, bool (*done)(struct bench *bench))
{
    bench->done = done;
    bench->turns = 0;
    bench->give_up = ps_clock_now(&ps_clock_real) + 10 * PS_SECOND;
    bench->watch.on_turn = on_watch;
    ps_loop_defer(bench->loop, &bench->watch);
    ps_loop_run(bench->loop);
    assert_true(done(bench));
}

static inline bool after_a_while(struct bench *bench) /* turns too: our time may pass while others run */
{
    return bench->turns > 100 &&
           ps_clock_now(&ps_clock_real) > bench->give_up - 10 * PS_SECOND + 30 * PS_MILLISECOND;
}

static inline bool both_stand(struct bench *bench)
{
    return bench->client.connects + bench->client.closes > 0 && bench->server.stream != NULL &&
           (bench->server_tls == NULL || bench->server.connects > 0 || bench->server.closes > 0);
}

static inline bool client_closed(struct bench *bench)
{
    return bench->client.closes > 0;
}

static inline bool client_is_free(struct bench *bench)
{
    return bench->client.stream == NULL;
}

static inline bool server_is_free(struct bench *bench)
{
    return bench->server.stream == NULL;
}

static inline bool server_closed(struct bench *bench)
{
    return bench->server.closes > 0;
}

/* --- an end ----------------------------------------------------------------------------------- */

static inline void maybe_free(struct end *end, int where)
{
    if (end->free_in == where) {
        ps_stream_free(end->stream);
        end->stream = NULL;
    }
}

static inline void on_connect(void *ctx)
{
    struct end *end = ctx;
    end->connects++;
    if (end->on_connect_write.len > 0) {
        assert_int_equal(ps_stream_write(end->stream, &end->on_connect_write, 1), PS_OK);
    }
    maybe_free(end, IN_CONNECT);
}

static inline size_t on_data(void *ctx, struct ps_str data)
{
    struct end *end = ctx;
    struct ps_str used = ps_str_first(data, end->take);
    end->calls++;
    PS_CHECK(data.len > 0);
    PS_CHECK(ps_buf_append_str(&end->got, used) == PS_OK);
    if (end->resume_in_data > 0) {
        end->resume_in_data--;
        ps_stream_resume(end->stream);
    }
    maybe_free(end, IN_DATA);
    return used.len;
}

static inline void on_drain(void *ctx)
{
    struct end *end = ctx;
    end->drains++;
    maybe_free(end, IN_DRAIN);
}

static inline void on_close(void *ctx, int err)
{
    struct end *end = ctx;
    end->closes++;
    end->err = err;
    maybe_free(end, IN_CLOSE);
}

static const struct ps_stream_ops end_ops = {on_connect, on_data, on_drain, on_close};

static inline void init_end(struct bench *bench, struct end *end)
{
    end->bench = bench;
    end->take = SIZE_MAX;
    end->free_in = NEVER;
    end->got = ps_buf_make(64u << 20);
}

static inline void on_accept(void *ctx, int fd, const struct ps_address *peer)
{
    struct bench *bench = ctx;
    assert_true(ps_address_is_loopback(peer));
    if (bench->keep_fd) {
        bench->accepted_fd = fd;
        return;
    }
    if (bench->server.stream != NULL) {
        close(fd); /* of somebody who dials a port that was another's a moment ago */
        return;
    }
    if (bench->send_room > 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bench->send_room, sizeof bench->send_room);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bench->send_room, sizeof bench->send_room);
    }
    struct ps_stream_opts opts = {.ops = &end_ops, .ctx = &bench->server, .tls = bench->server_tls,
                                  .budget = &bench->budget, .watch_hangup = bench->watch_hangup};
    assert_int_equal(ps_stream_accept(&bench->server.stream, bench->loop, fd, &opts), PS_OK);
}

static inline int setup(void **state)
{
    bool tls = *state != NULL && *(const bool *)*state;
    struct bench *bench = calloc(1, sizeof *bench);
    struct ps_address at;
    struct ps_tls_error error;
    bench->budget.limit = 64 << 20;
    init_end(bench, &bench->client);
    init_end(bench, &bench->server);
    int err = ps_loop_new(&bench->loop, &ps_clock_real);
    err = err != PS_OK ? err : ps_address_parse(PS_STR("127.0.0.1:0"), &at);
    err = err != PS_OK ? err : ps_listener_new(&bench->listener, bench->loop, &at, on_accept, bench);
    if (err == PS_OK && tls) {
        err = ps_tls_new_server(&bench->server_tls, certificate.cert, certificate.key, &error);
        err = err != PS_OK ? err : ps_tls_new_client(&bench->client_tls, certificate.cert, true, &error);
    }
    *state = bench;
    return err;
}

static inline int teardown(void **state)
{
    struct bench *bench = *state;
    ps_stream_free(bench->client.stream);
    ps_stream_free(bench->server.stream);
    ps_listener_free(bench->listener);
    ps_loop_free(bench->loop);
    ps_loop_free(bench->other);
    ps_tls_unref(bench->server_tls);
    ps_tls_unref(bench->client_tls);
    ps_buf_fini(&bench->client.got);
    ps_buf_fini(&bench->server.got);
    int64_t leaked = bench->budget.used;
    free(bench);
    return leaked == 0 ? 0 : -1;
}

static inline void dial(struct bench *bench, const char *server_name)
{
    struct ps_stream_opts opts = {.ops = &end_ops, .ctx = &bench->client, .tls = bench->client_tls,
                                  .budget = &bench->budget, .server_name = server_name,
                                  .stamp = bench->stamp};
    assert_int_equal(ps_stream_connect(&bench->client.stream, bench->loop,
                                       ps_listener_address(bench->listener), &opts), PS_OK);
}

static inline void join(struct bench *bench)
{
    dial(bench, "localhost");
    run_until(bench, both_stand);
    assert_int_equal(bench->client.connects, 1);
}

static inline void tell(struct end *end, struct ps_str text)
{
    assert_int_equal(ps_stream_write(end->stream, &text, 1), PS_OK);
}

/* Bytes whose place can be told. */
static inline struct ps_str pattern(size_t len)
{
    char *bytes = malloc(len);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (char)(i * 2654435761u >> 13);
    }
    return (struct ps_str){bytes, len};
}

static inline void assert_got(const struct end *end, struct ps_str want)
{
    assert_int_equal(end->got.len, want.len);
    assert_memory_equal(end->got.data, want.ptr, want.len);
}

static size_t wanted;

static inline bool server_has_wanted(struct bench *bench)
{
    return bench->server.got.len >= wanted;
}

static inline bool client_has_wanted(struct bench *bench)
{
    return bench->client.got.len >= wanted;
}

/* --- as rows of a test program, whose group begins and ends with the certificate ---------------- */

static const bool over_tls = true;

#define PLAIN(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TLS(name)                                                                                  \
    {                                                                                              \
        #name "_over_tls", name, setup, teardown, (void *)(uintptr_t)&over_tls                     \
    }
#define BOTH(name) PLAIN(name), TLS(name)

static inline int make_certificate(void **state)
{
    (void)state;
    certificate_make(&certificate, NULL);
    return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -1 : 0;
}

static inline int drop_certificate(void **state)
{
    (void)state;
    certificate_drop(&certificate);
    return 0;
}

#endif

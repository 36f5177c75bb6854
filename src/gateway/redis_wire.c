#include "gateway/redis_wire.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "base/check.h"
#include "gateway/redis_hub.h"
#include "gateway/redis_reply.h"
#include "io/loop.h"
#include "io/stream.h"

enum {
    MAX_WORDS = 16,
    MAX_ITEMS = 256 * 1024, /* in one reply: the map of a thousand nodes in small pieces */
    REPLY_MORE = 64 * 1024  /* bytes of a reply beyond the longest value */
};

/* What is said at the beginning, in this order. */
enum greeting { GREET_AUTH, GREET_SELECT, GREET_STATE, GREET_COUNT };

struct ps_redis_wire {
    struct ps_loop *loop;
    struct ps_redis_hub *hub;
    struct ps_redis_node *node;
    const struct ps_redis_wire_ops *ops;
    void *ctx;
    struct ps_lookup *lookup;
    struct ps_stream *stream;
    struct ps_redis_reader *reader;
    struct ps_timer timer; /* to be ready */
    struct ps_task failure;
    struct ps_task burial;
    int error; /* that `failure` tells of */
    enum greeting greetings[GREET_COUNT];
    size_t greeting_count;
    size_t greeted; /* replies that came */
    bool ready;
    bool dead;
};

/* --- commands --------------------------------------------------------------------------------- */

int ps_redis_command(struct ps_str *out, const struct ps_str *words, size_t count)
{
    const char *argv[MAX_WORDS];
    size_t lens[MAX_WORDS];
    char *text = NULL;
    PS_CHECK(count <= MAX_WORDS);
    for (size_t i = 0; i < count; i++) {
        argv[i] = words[i].ptr == NULL ? "" : words[i].ptr;
        lens[i] = words[i].len;
    }
    long long len = redisFormatCommandArgv(&text, (int)count, argv, lens);
    if (len < 0) {
        return PS_ENOMEM;
    }
    *out = (struct ps_str){text, (size_t)len};
    return PS_OK;
}

void ps_redis_command_free(struct ps_str command)
{
    if (command.ptr != NULL) {
        redisFreeCommand((char *)(uintptr_t)command.ptr);
    }
}

/* --- the end ---------------------------------------------------------------------------------- */

static void on_burial(struct ps_task *task)
{
    struct ps_redis_wire *wire = PS_CONTAINER_OF(task, struct ps_redis_wire, burial);
    ps_redis_reader_free(wire->reader);
    free(wire);
}

void ps_redis_wire_free(struct ps_redis_wire *wire)
{
    if (wire == NULL || wire->dead) {
        return;
    }
    wire->dead = true;
    ps_timer_clear(wire->loop, &wire->timer);
    ps_task_clear(&wire->failure);
    ps_lookup_cancel(wire->lookup);
    ps_stream_free(wire->stream);
    wire->stream = NULL;
    ps_loop_defer(wire->loop, &wire->burial); /* the reader too may be in use above us */
}

/* Tells once. */
static void down(struct ps_redis_wire *wire, int err, const char *reason)
{
    if (!wire->dead) {
        if (!wire->ready) {
            atomic_fetch_add(&wire->node->next_address, 1);
        }
        wire->ops->on_down(wire->ctx, err, reason);
    }
}

static void on_failure(struct ps_task *task)
{
    struct ps_redis_wire *wire = PS_CONTAINER_OF(task, struct ps_redis_wire, failure);
    down(wire, wire->error, ps_err_text(wire->error));
}

static void fail_later(struct ps_redis_wire *wire, int err)
{
    wire->error = err;
    ps_loop_defer(wire->loop, &wire->failure);
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_redis_wire *wire = PS_CONTAINER_OF(timer, struct ps_redis_wire, timer);
    const char *what = wire->lookup != NULL        ? "the name could not be looked up in time"
                       : wire->stream == NULL      ? "no connection in time"
                       : wire->greeting_count == 0 ? "no connection in time"
                                                   : "connected, but no reply in time";
    (void)now;
    down(wire, PS_ETIMEOUT, what);
}

/* --- greetings -------------------------------------------------------------------------------- */

static int say(struct ps_redis_wire *wire, enum greeting greeting, const struct ps_str *words,
               size_t count)
{
    struct ps_str command;
    int err = ps_redis_command(&command, words, count);
    if (err != PS_OK) {
        return err;
    }
    wire->greetings[wire->greeting_count++] = greeting;
    err = ps_stream_write(wire->stream, &command, 1);
    if (greeting == GREET_AUTH) {
        explicit_bzero((char *)(uintptr_t)command.ptr, command.len);
    }
    ps_redis_command_free(command);
    return err;
}

static int greet(struct ps_redis_wire *wire)
{
    const struct ps_redis_hub *hub = wire->hub;
    struct ps_str name = ps_str_from(hub->username);
    struct ps_str password = ps_str_from(hub->password);
    char number[24];
    int err = PS_OK;
    if (hub->password != NULL && name.len > 0) {
        err = say(wire, GREET_AUTH, (struct ps_str[]){PS_STR("AUTH"), name, password}, 3);
    } else if (hub->password != NULL) {
        err = say(wire, GREET_AUTH, (struct ps_str[]){PS_STR("AUTH"), password}, 2);
    }
    if (err == PS_OK && hub->opts.database != 0) {
        int len = snprintf(number, sizeof number, "%llu", (unsigned long long)hub->opts.database);
        err =
            say(wire, GREET_SELECT, (struct ps_str[]){PS_STR("SELECT"), {number, (size_t)len}}, 2);
    }
    if (err == PS_OK && hub->cluster) {
        return say(wire, GREET_STATE, (struct ps_str[]){PS_STR("CLUSTER"), PS_STR("INFO")}, 2);
    }
    return err != PS_OK ? err : say(wire, GREET_STATE, (struct ps_str[]){PS_STR("PING")}, 1);
}

/* The first word of an error is its kind; what follows may repeat what was sent, a password too. */
static void describe(const struct ps_redis_reply *reply, enum greeting greeting, char *text,
                     size_t size)
{
    static const char *const whats[] = {
        [GREET_AUTH] = "AUTH", [GREET_SELECT] = "SELECT", [GREET_STATE] = "the first command"};
    char kind[24] = "";
    if (reply->type == PS_REDIS_ERROR) {
        size_t len = 0;
        while (len < sizeof kind - 1 && len < reply->text.len && reply->text.ptr[len] >= 'A' &&
               reply->text.ptr[len] <= 'Z') {
            kind[len] = reply->text.ptr[len];
            len++;
        }
        kind[len] = '\0';
    }
    if (reply->type == PS_REDIS_STRING) {
        snprintf(text, size, "the cluster says that it is not well");
    } else {
        snprintf(text, size, "%s was refused%s%s", whats[greeting], kind[0] == '\0' ? "" : ": ",
                 kind);
    }
}

static bool is_welcome(const struct ps_redis_wire *wire, const struct ps_redis_reply *reply,
                       enum greeting greeting)
{
    if (greeting != GREET_STATE) {
        return ps_redis_reply_is(reply, PS_STR("OK"));
    }
    return wire->hub->cluster ? reply->type == PS_REDIS_STRING &&
                                    ps_str_contains(reply->text, PS_STR("cluster_state:ok"))
                              : ps_redis_reply_is(reply, PS_STR("PONG"));
}

static void on_greeting(struct ps_redis_wire *wire, const struct ps_redis_reply *reply)
{
    char text[96];
    enum greeting greeting = wire->greetings[wire->greeted++];
    if (!is_welcome(wire, reply, greeting)) {
        describe(reply, greeting, text, sizeof text);
        down(wire, PS_EDENIED, text);
        return;
    }
    if (wire->greeted == wire->greeting_count) {
        ps_timer_clear(wire->loop, &wire->timer);
        wire->ready = true;
        ps_redis_count(&wire->node->connections, 1);
        wire->ops->on_ready(wire->ctx);
    }
}

/* --- the stream ------------------------------------------------------------------------------- */

static void on_connect(void *ctx)
{
    struct ps_redis_wire *wire = ctx;
    int err = greet(wire);
    if (err != PS_OK) {
        fail_later(wire, err);
    }
}

static void on_reply(struct ps_redis_wire *wire, struct ps_redis_reply *reply)
{
    if (wire->ready) {
        wire->ops->on_reply(wire->ctx, reply);
    } else if (wire->greeted < wire->greeting_count) {
        on_greeting(wire, reply);
    } else {
        down(wire, PS_EPARSE, "it spoke without being asked");
    }
    ps_redis_reply_free(reply);
}

static const char *fault_of(int err)
{
    return err == PS_EPARSE   ? "what it sent is not the Redis protocol"
           : err == PS_ELIMIT ? "a reply was larger than may be"
                              : ps_err_text(err);
}

static size_t on_data(void *ctx, struct ps_str data)
{
    struct ps_redis_wire *wire = ctx;
    struct ps_redis_reader *reader = wire->reader;
    ps_redis_count(&wire->node->bytes_in, data.len);
    int err = ps_redis_reader_feed(reader, data);
    while (err == PS_OK && !wire->dead) {
        struct ps_redis_reply *reply = NULL;
        err = ps_redis_reader_next(reader, &reply);
        if (err != PS_OK || reply == NULL) {
            break;
        }
        on_reply(wire, reply);
    }
    if (err != PS_OK) {
        down(wire, err, fault_of(err));
    }
    return data.len;
}

static void on_close(void *ctx, int err)
{
    struct ps_redis_wire *wire = ctx;
    char text[256];
    const char *why = err == PS_ETLS ? ps_stream_tls_error(wire->stream) : "";
    snprintf(text, sizeof text, "%s%s%s", ps_err_text(err), why[0] == '\0' ? "" : ": ", why);
    down(wire, err, text);
}

static const struct ps_stream_ops stream_ops = {
    .on_connect = on_connect, .on_data = on_data, .on_close = on_close};

/* --- opening ---------------------------------------------------------------------------------- */

static int connect_to(struct ps_redis_wire *wire, const struct ps_address *address,
                      struct ps_str host)
{
    char *name =
        ps_str_dup(wire->hub->server_name != NULL ? ps_str_from(wire->hub->server_name) : host);
    if (name == NULL) {
        return PS_ENOMEM;
    }
    struct ps_stream_opts opts = {.ops = &stream_ops,
                                  .ctx = wire,
                                  .tls = wire->node->local ? NULL : wire->hub->tls,
                                  .server_name = name};
    int err = ps_stream_connect(&wire->stream, wire->loop, address, &opts);
    free(name);
    return err;
}

static void on_addresses(void *ctx, int err, const struct ps_address *addresses, size_t count)
{
    struct ps_redis_wire *wire = ctx;
    struct ps_str host;
    uint16_t port;
    wire->lookup = NULL;
    if (err == PS_OK) {
        ps_redis_name_split(ps_str_from(wire->node->where), &host, &port);
        err = connect_to(wire, &addresses[atomic_load(&wire->node->next_address) % count], host);
    }
    if (err != PS_OK) {
        down(wire, err, ps_err_text(err));
    }
}

static int open_local(struct ps_redis_wire *wire)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct ps_address address = {.len = sizeof un};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", wire->node->where);
    memcpy(&address.storage, &un, sizeof un);
    return connect_to(wire, &address, PS_STR("localhost"));
}

/* A name is looked up for every connection: a node that failed may have come back elsewhere. */
static int open_wire(struct ps_redis_wire *wire)
{
    struct ps_str host;
    uint16_t port;
    struct ps_address address;
    if (wire->node->local) {
        return open_local(wire);
    }
    ps_redis_name_split(ps_str_from(wire->node->where), &host, &port);
    if (ps_address_parse_host(host, port, &address) == PS_OK) {
        return connect_to(wire, &address, host);
    }
    return ps_lookup_start(&wire->lookup, wire->loop, host, port, on_addresses, wire);
}

int ps_redis_wire_new(struct ps_redis_wire **out, struct ps_loop *loop, struct ps_redis_hub *hub,
                      struct ps_redis_node *node, const struct ps_redis_wire_ops *ops, void *ctx)
{
    struct ps_redis_wire *wire = calloc(1, sizeof *wire);
    struct ps_redis_bounds bounds = {.max_bytes = (size_t)hub->opts.max_value + REPLY_MORE,
                                     .max_items = MAX_ITEMS};
    if (wire == NULL) {
        return PS_ENOMEM;
    }
    *wire = (struct ps_redis_wire){.loop = loop, .hub = hub, .node = node, .ops = ops, .ctx = ctx};
    wire->timer.on_time = on_time;
    wire->failure.on_turn = on_failure;
    wire->burial.on_turn = on_burial;
    int err = ps_redis_reader_new(&wire->reader, &bounds);
    err = err != PS_OK
              ? err
              : ps_timer_set(loop, &wire->timer, ps_loop_now(loop) + hub->opts.connect_timeout);
    if (err != PS_OK) {
        ps_redis_reader_free(wire->reader);
        free(wire);
        return err;
    }
    err = open_wire(wire);
    if (err != PS_OK) {
        fail_later(wire, err);
    }
    *out = wire;
    return PS_OK;
}

/* --- use -------------------------------------------------------------------------------------- */

bool ps_redis_wire_is_ready(const struct ps_redis_wire *wire)
{
    return wire->ready && !wire->dead;
}

int ps_redis_wire_write(struct ps_redis_wire *wire, const struct ps_str *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ps_redis_count(&wire->node->bytes_out, parts[i].len);
    }
    return ps_stream_write(wire->stream, parts, count);
}

ps_time ps_redis_wire_last_read(const struct ps_redis_wire *wire)
{
    return wire->stream == NULL ? 0 : ps_stream_last_read(wire->stream);
}

bool ps_redis_wire_is_inside(const struct ps_redis_wire *wire)
{
    return ps_redis_reader_is_inside(wire->reader);
}

#include "daemon/statsd_port.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/spawn.h"
#include "export/statsd.h"
#include "io/address.h"

enum {
    BATCH = 64,       /* datagrams of one call */
    ROUNDS = 16,      /* calls at one socket before the next has its turn */
    DATAGRAM = 65536, /* bytes; UDP has at most 65,507 */
    TICK_MS = 1000,
    PATH_ROOM = sizeof((struct sockaddr_un){0}.sun_path),
};

/* clang-format off */
const struct ps_option ps_statsd_port_options[] = {
    PS_OPTION_ROW(ps_statsd_port_opts, listen, STRINGS, NULL,
     "where StatsD and DogStatsD arrive: `127.0.0.1:8125` (UDP) or `unix:/path` (Unix datagrams); none = off. "
     "Nobody is asked who he is: keep it on this machine", .no_reload = true),
    PS_OPTION_ROW(ps_statsd_port_opts, receive_buffer, BYTES, "8MiB",
     "what the kernel may hold for each UDP socket until it is taken; a program without CAP_NET_ADMIN gets at most "
     "net.core.rmem_max", .min = 65536, .max = 1073741824, .no_reload = true),
    PS_OPTION_ROW(ps_statsd_port_opts, interval, SPAN, "10s",
     "how long a set counts different values", .min = 1e9, .max = 3.6e12, .no_reload = true),
    {0},
};

enum { ROW_DATAGRAMS, ROW_DROPPED, ROWS };

const struct ps_metric_family ps_statsd_port_metric_families[] = {
    [ROW_DATAGRAMS] = {.name = "penstock_statsd_datagrams_total", .type = PS_METRIC_COUNTER,
     .help = "Datagrams taken", .labels = {"listen"}},
    [ROW_DROPPED] = {.name = "penstock_statsd_dropped_datagrams_total", .type = PS_METRIC_COUNTER,
     .help = "Datagrams that the kernel dropped because its buffer was full", .labels = {"listen"}},
    {0},
};
/* clang-format on */

struct listener {
    char *name;           /* as configured */
    char path[PATH_ROOM]; /* of a Unix socket that is ours; empty = none */
    int fd;               /* -1 = none */
    struct ps_counter *datagrams;
    struct ps_metric_handle *dropped;
    struct ps_statsd_port *port;
    /* who collects */
    uint32_t last_drops; /* the kernel counts in 32 bits */
    uint64_t drops;
};

struct ps_statsd_port {
    struct ps_metrics *metrics;
    struct ps_statsd *statsd;
    struct listener listeners[PS_STATSD_LISTEN_MOST];
    size_t count;
    unsigned shard; /* 0 = none */
    int stop_fd;
    bool started;
    pthread_t thread;

    /* the thread's own */
    char *room; /* BATCH datagrams */
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
};

/* ---- addresses */

static bool is_unix(struct ps_str text, struct ps_str *path)
{
    *path = ps_str_skip(text, 5);
    return ps_str_starts_with(text, PS_STR("unix:"));
}

const char *ps_statsd_port_objection(struct ps_str listen, bool *open)
{
    struct ps_str path;
    struct ps_address address;
    if (open != NULL) {
        *open = false;
    }
    if (is_unix(listen, &path)) {
        return path.len == 0 || path.ptr[0] != '/' ? "the path of a socket has to be absolute"
               : path.len >= PATH_ROOM             ? "the path of a socket may have 107 bytes"
                                                   : NULL;
    }
    if (ps_address_parse(listen, &address) != PS_OK) {
        return "not an address like 127.0.0.1:8125 or unix:/path";
    }
    if (open != NULL) {
        *open = !ps_address_is_loopback(&address);
    }
    return NULL;
}

/* ---- sockets */

/* A socket that an earlier run has left behind is removed; one that somebody reads is not. */
static int clear_path(const struct sockaddr_un *name)
{
    struct stat info;
    if (lstat(name->sun_path, &info) != 0) {
        return PS_OK;
    }
    if (!S_ISSOCK(info.st_mode)) {
        return PS_EBUSY;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return ps_err_from_errno(errno);
    }
    bool taken = connect(fd, (const struct sockaddr *)name, sizeof *name) == 0;
    close(fd);
    return taken ? PS_EBUSY : unlink(name->sun_path) == 0 ? PS_OK : ps_err_from_errno(errno);
}

static int open_unix(struct listener *listener, struct ps_str path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, path.ptr, path.len);
    int err = clear_path(&name);
    if (err != PS_OK) {
        return err;
    }
    listener->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0 || bind(listener->fd, (const struct sockaddr *)&name, sizeof name) != 0) {
        return ps_err_from_errno(errno);
    }
    memcpy(listener->path, name.sun_path, path.len);
    /* As open as loopback is: any program of this machine. */
    return chmod(name.sun_path, 0666) == 0 ? PS_OK : ps_err_from_errno(errno);
}

/* The kernel doubles what is asked for and tells that. */
static void widen(const struct listener *listener, uint64_t bytes)
{
    int wanted = (int)bytes;
    int got = 0;
    socklen_t len = sizeof got;
    if (setsockopt(listener->fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof wanted) != 0) {
        (void)setsockopt(listener->fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof wanted);
    }
    if (getsockopt(listener->fd, SOL_SOCKET, SO_RCVBUF, &got, &len) == 0 && got / 2 < wanted) {
        char text[32];
        snprintf(text, sizeof text, "%d", got / 2);
        ps_log(PS_LOG_WARN, "statsd gets a smaller buffer than configured: raise net.core.rmem_max",
               "address", listener->name, "bytes", text, NULL);
    }
}

static int open_udp(struct listener *listener, uint64_t buffer)
{
    struct ps_address address;
    int off = 0;
    int err = ps_address_parse(ps_str_from(listener->name), &address);
    if (err != PS_OK) {
        return err;
    }
    const struct sockaddr *name = (const struct sockaddr *)&address.storage;
    listener->fd = socket(name->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0) {
        return ps_err_from_errno(errno);
    }
    if (name->sa_family == AF_INET6) {
        (void)setsockopt(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    widen(listener, buffer);
    return bind(listener->fd, name, address.len) == 0 ? PS_OK : ps_err_from_errno(errno);
}

static int open_listener(struct listener *listener, uint64_t buffer)
{
    struct ps_str path;
    bool local = is_unix(ps_str_from(listener->name), &path);
    int err = ps_statsd_port_objection(ps_str_from(listener->name), NULL) != NULL ? PS_EINVAL
              : local ? open_unix(listener, path)
                      : open_udp(listener, buffer);
    if (err != PS_OK) {
        ps_log(PS_LOG_ERROR, "can't listen for statsd", "address", listener->name, "reason",
               ps_err_text(err), NULL);
    } else {
        ps_log(PS_LOG_INFO, "listening for statsd", "address", listener->name, NULL);
    }
    return err;
}

/* ---- metrics */

/* Under the registry's lock, so that one thread at a time is here. */
static double read_dropped(void *context)
{
    struct listener *listener = context;
    uint32_t told[SK_MEMINFO_VARS];
    socklen_t len = sizeof told;
    if (getsockopt(listener->fd, SOL_SOCKET, SO_MEMINFO, told, &len) != 0 ||
        len <= SK_MEMINFO_DROPS * sizeof told[0]) {
        return NAN;
    }
    listener->drops += told[SK_MEMINFO_DROPS] - listener->last_drops;
    listener->last_drops = told[SK_MEMINFO_DROPS];
    return (double)listener->drops;
}

static int publish(struct ps_statsd_port *port, struct listener *listener)
{
    struct ps_str name = ps_str_from(listener->name);
    int err = ps_metric_counter(port->metrics, &ps_statsd_port_metric_families[ROW_DATAGRAMS],
                                PS_LABELS(name), &listener->datagrams);
    return err != PS_OK || listener->path[0] != '\0'
               ? err
               : ps_metric_watch(port->metrics, &ps_statsd_port_metric_families[ROW_DROPPED],
                                 PS_LABELS(name), read_dropped, listener, &listener->dropped);
}

/* ---- the thread */

static void on_fault(void *ctx, enum ps_statsd_fault fault, struct ps_str line, const char *reason)
{
    char text[256];
    (void)ctx;
    snprintf(text, sizeof text, "%.*s", PS_STR_ARG(ps_str_first(line, sizeof text - 1)));
    ps_log(PS_LOG_WARN, "a line of statsd is not taken; more of the kind are only counted",
           "result", ps_statsd_fault_name(fault), "line", text, "reason",
           reason[0] == '\0' ? "-" : reason, NULL);
}

static void take_message(struct ps_statsd_port *port, const struct mmsghdr *message, ps_time now)
{
    struct ps_str datagram = {message->msg_hdr.msg_iov->iov_base, message->msg_len};
    if (message->msg_hdr.msg_flags & MSG_TRUNC) {
        ps_statsd_truncated(port->statsd, datagram, now);
    } else {
        ps_statsd_take(port->statsd, datagram, now);
    }
}

/* Takes what has arrived at a socket, but not for ever. */
static void take_all(struct ps_statsd_port *port, struct listener *listener)
{
    int count = BATCH;
    for (int round = 0; round < ROUNDS && count == BATCH; round++) {
        count = recvmmsg(listener->fd, port->messages, BATCH, MSG_DONTWAIT, NULL);
        ps_time now = ps_clock_now(&ps_clock_real);
        for (int i = 0; i < count; i++) {
            take_message(port, &port->messages[i], now);
        }
        if (count > 0) {
            ps_counter_add(listener->datagrams, port->shard, (uint64_t)count);
        }
    }
}

static void *run(void *ctx)
{
    struct ps_statsd_port *port = ctx;
    struct pollfd items[PS_STATSD_LISTEN_MOST + 1];
    for (size_t i = 0; i < port->count; i++) {
        items[i] = (struct pollfd){.fd = port->listeners[i].fd, .events = POLLIN};
    }
    items[port->count] = (struct pollfd){.fd = port->stop_fd, .events = POLLIN};
    while (items[port->count].revents == 0) {
        (void)poll(items, port->count + 1, TICK_MS);
        for (size_t i = 0; i < port->count; i++) {
            take_all(port, &port->listeners[i]);
        }
        ps_statsd_tick(port->statsd, ps_clock_now(&ps_clock_real));
    }
    return NULL;
}

/* ---- life */

/* Pages that no datagram ever reached are not there. */
static int make_room(struct ps_statsd_port *port)
{
    void *room = mmap(NULL, (size_t)BATCH * DATAGRAM, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) {
        return PS_ENOMEM;
    }
    port->room = room;
    for (size_t i = 0; i < BATCH; i++) {
        port->pieces[i] = (struct iovec){port->room + i * DATAGRAM, DATAGRAM};
        port->messages[i].msg_hdr = (struct msghdr){.msg_iov = &port->pieces[i], .msg_iovlen = 1};
    }
    port->stop_fd = eventfd(0, EFD_CLOEXEC);
    return port->stop_fd < 0 ? ps_err_from_errno(errno) : PS_OK;
}

static int open_all(struct ps_statsd_port *port, const struct ps_statsd_port_opts *opts)
{
    const char *bad = NULL;
    int err = ps_metrics_declare(port->metrics, ps_statsd_port_metric_families, &bad);
    PS_CHECK(bad == NULL);
    for (size_t i = 0; i < opts->listen.count && err == PS_OK; i++) {
        struct listener *listener = &port->listeners[port->count++];
        *listener = (struct listener){.fd = -1, .port = port};
        listener->name = ps_str_dup(ps_str_from(opts->listen.items[i]));
        err = listener->name == NULL ? PS_ENOMEM : open_listener(listener, opts->receive_buffer);
        err = err != PS_OK ? err : publish(port, listener);
    }
    return err;
}

static int make_book(struct ps_statsd_port *port, const struct ps_statsd_port_opts *opts,
                     struct ps_custom *custom)
{
    int err = ps_metrics_shard_get(port->metrics, &port->shard);
    struct ps_statsd_opts book = {.custom = custom,
                                  .metrics = port->metrics,
                                  .shard = port->shard,
                                  .interval = opts->interval,
                                  .on_fault = on_fault};
    return err != PS_OK ? err : ps_statsd_new(&port->statsd, &book);
}

int ps_statsd_port_new(struct ps_statsd_port **out, const struct ps_statsd_port_opts *opts,
                       struct ps_custom *custom, struct ps_metrics *metrics)
{
    if (opts->listen.count == 0) {
        *out = NULL;
        return PS_OK;
    }
    struct ps_statsd_port *port =
        opts->listen.count > PS_STATSD_LISTEN_MOST ? NULL : calloc(1, sizeof *port);
    if (port == NULL) {
        return PS_ENOMEM;
    }
    port->metrics = metrics;
    port->stop_fd = -1;
    int err = make_room(port);
    err = err != PS_OK ? err : make_book(port, opts, custom);
    err = err != PS_OK ? err : open_all(port, opts);
    err = err != PS_OK ? err : ps_spawn(&port->thread, run, port);
    port->started = err == PS_OK;
    if (err != PS_OK) {
        ps_statsd_port_free(port);
        return err;
    }
    *out = port;
    return PS_OK;
}

static void close_listener(struct ps_statsd_port *port, struct listener *listener)
{
    if (listener->dropped != NULL) {
        ps_metric_unwatch(port->metrics, listener->dropped, listener);
    }
    ps_metric_put(port->metrics, listener->datagrams == NULL ? NULL : &listener->datagrams->handle);
    if (listener->fd >= 0) {
        close(listener->fd);
    }
    if (listener->path[0] != '\0') {
        unlink(listener->path);
    }
    free(listener->name);
}

void ps_statsd_port_free(struct ps_statsd_port *port)
{
    if (port == NULL) {
        return;
    }
    if (port->started) {
        uint64_t one = 1;
        PS_CHECK(write(port->stop_fd, &one, sizeof one) == sizeof one);
        pthread_join(port->thread, NULL);
    }
    for (size_t i = 0; i < port->count; i++) {
        close_listener(port, &port->listeners[i]);
    }
    ps_statsd_free(port->statsd);
    if (port->shard != 0) {
        ps_metrics_shard_put(port->metrics, port->shard);
    }
    if (port->stop_fd >= 0) {
        close(port->stop_fd);
    }
    if (port->room != NULL) {
        munmap(port->room, (size_t)BATCH * DATAGRAM);
    }
    free(port);
}

/* curve - a server whose curve is known: how much it carries, when it recovers, what it leaks.
 *
 *      curve queue SERVERS MEAN_MS [SHAPE]      that many at a time, gamma-distributed times, the rest waits
 *                                               carries SERVERS / MEAN
 *      curve batch SIZE BASE_MS EACH_US         up to SIZE at a time, BASE + EACH n: carries SIZE / (BASE + EACH SIZE)
 *      curve limit RATE MEAN_MS                 above RATE a second it answers 503
 *
 *      hurt=RATE,SECONDS,EXTRA_MS     when 50 requests came faster than RATE, each answer of the next SECONDS takes EXTRA longer
 *      leak=MIB,PERCENT,SECONDS,NOISE memory of MIB grows by PERCENT within SECONDS of requests, under a sawtooth of NOISE
 *                                     percent (garbage that is collected) and a wobble of a tenth of that
 *
 * The first line on standard output is its port. HTTP/1.1 on one thread and raw epoll, times on the monotonic clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { HEAD_MAX = 65536, SERVERS_MAX = 4096, RECENT = 50 };

enum kind { QUEUE, BATCH, LIMIT };

struct conn {
    int fd;
    char *in;
    size_t len;
    int64_t due; /* of the answer */
    bool refused, busy, closed;
    struct conn *next; /* that waits for a batch */
};

static struct {
    int epfd, timer, listener;
    enum kind kind;
    unsigned servers, shape;
    double mean, each; /* ns */
    int64_t free_at[SERVERS_MAX];
    struct conn *first, **last; /* waiting for a batch */
    size_t waiting;
    int64_t batch_until;
    double tokens;
    int64_t tokens_at;
    int64_t hurt_within, hurt_for, hurt_extra, hurt_until, arrived[RECENT];
    size_t arrivals;
    double leak_bytes, leak_share, leak_for, noise;
    int64_t leak_began;
    struct conn **heap;
    size_t count, cap;
    uint64_t seed;
} up = {.last = &up.first, .seed = 88172645463325252u};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static double unit(void)
{
    up.seed ^= up.seed << 13;
    up.seed ^= up.seed >> 7;
    up.seed ^= up.seed << 17;
    return (double)(up.seed >> 11) * 0x1p-53;
}

static double draw(double mean)
{
    double sum = 0;
    for (unsigned i = 0; i < up.shape; i++) {
        sum -= log(1 - unit()) * mean / up.shape;
    }
    return up.shape == 0 ? mean : sum;
}

/* ---- answers, by the time that they are due ---- */

static void heap_swap(size_t a, size_t b)
{
    struct conn *conn = up.heap[a];
    up.heap[a] = up.heap[b];
    up.heap[b] = conn;
}

static void heap_push(struct conn *conn)
{
    if (up.count == up.cap) {
        up.cap = up.cap > 0 ? up.cap * 2 : 1024;
        up.heap = realloc(up.heap, up.cap * sizeof(struct conn *));
        if (up.heap == NULL) {
            bench_die("heap");
        }
    }
    size_t at = up.count++;
    up.heap[at] = conn;
    for (; at > 0 && up.heap[at]->due < up.heap[(at - 1) / 2]->due; at = (at - 1) / 2) {
        heap_swap(at, (at - 1) / 2);
    }
}

static struct conn *heap_pop(void)
{
    struct conn *conn = up.heap[0];
    up.heap[0] = up.heap[--up.count];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < up.count; child++) {
            least = up.heap[child]->due < up.heap[least]->due ? child : least;
        }
        if (least == at) {
            return conn;
        }
        heap_swap(at, least);
        at = least;
    }
}

static void arm(void)
{
    int64_t due = up.count > 0 ? up.heap[0]->due : INT64_MAX;
    if (up.kind == BATCH && up.waiting > 0 && up.batch_until < due) {
        due = up.batch_until;
    }
    struct itimerspec when = {.it_value = {.tv_sec = 0, .tv_nsec = 0}};
    if (due != INT64_MAX) {
        when.it_value = (struct timespec){.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000 + (due % 1000000000 == 0)};
    }
    timerfd_settime(up.timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void schedule(struct conn *conn, int64_t due)
{
    conn->due = due + (bench_now() < up.hurt_until ? up.hurt_extra : 0);
    heap_push(conn);
}

/* ---- services ---- */

static void queue_take(struct conn *conn, int64_t now)
{
    size_t least = 0;
    for (size_t i = 1; i < up.servers; i++) {
        least = up.free_at[i] < up.free_at[least] ? i : least;
    }
    int64_t begin = up.free_at[least] > now ? up.free_at[least] : now;
    up.free_at[least] = begin + (int64_t)draw(up.mean);
    schedule(conn, up.free_at[least]);
}

static void limit_take(struct conn *conn, int64_t now)
{
    up.tokens = fmin(up.tokens + (double)(now - up.tokens_at) / 1e9 * up.servers, 2);
    up.tokens_at = now;
    conn->refused = up.tokens < 1;
    up.tokens -= conn->refused ? 0 : 1;
    schedule(conn, now + (conn->refused ? 200000 : (int64_t)draw(up.mean)));
}

static void batch_begin(int64_t now)
{
    if (up.waiting == 0 || up.batch_until > now) {
        return;
    }
    size_t n = up.waiting < up.servers ? up.waiting : up.servers;
    up.batch_until = now + (int64_t)(draw(up.mean) + up.each * (double)n);
    for (size_t i = 0; i < n; i++) {
        struct conn *conn = up.first;
        up.first = conn->next;
        up.last = up.first == NULL ? &up.first : up.last;
        up.waiting--;
        schedule(conn, up.batch_until);
    }
}

/* What grows with time, what is collected now and then, and what wobbles: pages are touched, and given back. */
static void leak(int64_t now)
{
    static char *area;
    static size_t shown;
    if (up.leak_bytes <= 0) {
        return;
    }
    if (area == NULL) {
        up.leak_began = now;
        area = mmap(NULL, (size_t)(up.leak_bytes * 3), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED) {
            bench_die("mmap");
        }
    }
    double seconds = (double)(now - up.leak_began) / 1e9;
    double garbage = fmod(seconds, 2.3) / 2.3 * up.noise;
    double want = up.leak_bytes * (1 + garbage + up.noise * 0.1 * (unit() - 0.5) + up.leak_share * seconds / up.leak_for);
    size_t pages = (size_t)(want / 4096);
    for (; shown < pages; shown++) {
        area[shown * 4096] = 1;
    }
    if (shown > pages) {
        madvise(area + pages * 4096, (shown - pages) * 4096, MADV_DONTNEED);
        shown = pages;
    }
}

static void take(struct conn *conn)
{
    int64_t now = bench_now();
    int64_t *recent = &up.arrived[up.arrivals++ % RECENT];
    if (up.arrivals > RECENT && now - *recent < up.hurt_within) {
        up.hurt_until = now + up.hurt_for;
    }
    *recent = now;
    leak(now);
    conn->busy = true;
    conn->refused = false;
    if (up.kind == QUEUE) {
        queue_take(conn, now);
    } else if (up.kind == LIMIT) {
        limit_take(conn, now);
    } else {
        conn->next = NULL;
        *up.last = conn;
        up.last = &conn->next;
        up.waiting++;
        batch_begin(now);
    }
}

/* ---- connections ---- */

/* A connection that is closed while its answer is due goes when that is. */
static void conn_close(struct conn *conn)
{
    if (conn->fd >= 0) {
        close(conn->fd);
        conn->fd = -1;
    }
    conn->closed = true;
    if (!conn->busy) {
        free(conn->in);
        free(conn);
    }
}

/* Bytes of the request at the start of what arrived; 0: it is not there yet. */
static size_t request_len(struct conn *conn)
{
    conn->in[conn->len] = '\0';
    char *end = strstr(conn->in, "\r\n\r\n");
    if (end == NULL) {
        return 0;
    }
    size_t head = (size_t)(end - conn->in) + 4;
    char *length = strcasestr(conn->in, "\r\ncontent-length:");
    size_t body = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
    return conn->len >= head + body ? head + body : 0;
}

static void conn_read(struct conn *conn)
{
    ssize_t n = read(conn->fd, conn->in + conn->len, HEAD_MAX - conn->len);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        conn_close(conn);
        return;
    }
    conn->len += n > 0 ? (size_t)n : 0;
    size_t len = request_len(conn);
    if (len > 0 && !conn->busy) {
        memmove(conn->in, conn->in + len, conn->len - len);
        conn->len -= len;
        take(conn);
    } else if (conn->len == HEAD_MAX) {
        conn_close(conn);
    }
}

static void answer(struct conn *conn)
{
    static const char fine[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    conn->busy = false;
    if (conn->closed) {
        conn_close(conn);
        return;
    }
    const char *text = conn->refused ? full : fine;
    if (send(conn->fd, text, strlen(text), MSG_NOSIGNAL) < 0) {
        shutdown(conn->fd, SHUT_RDWR); /* reading it will close it */
    }
}

static void on_time(void)
{
    uint64_t ticks = 0;
    (void)!read(up.timer, &ticks, sizeof ticks);
    int64_t now = bench_now();
    while (up.count > 0 && up.heap[0]->due <= now) {
        answer(heap_pop());
    }
    if (up.kind == BATCH) {
        batch_begin(now);
    }
}

static void on_accept(void)
{
    for (int fd; (fd = accept4(up.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct conn *conn = calloc(1, sizeof *conn);
        if (conn == NULL || (conn->in = malloc(HEAD_MAX + 1)) == NULL) {
            bench_die("conn");
        }
        conn->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        epoll_ctl(up.epfd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    up.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(up.listener, (struct sockaddr *)&address, len) != 0 || listen(up.listener, 4096) != 0 ||
        getsockname(up.listener, (struct sockaddr *)&address, &len) != 0) {
        bench_die("listen");
    }
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
}

static void read_more(const char *word)
{
    double a = 0;
    double b = 0;
    double c = 0;
    double d = 0;
    if (sscanf(word, "hurt=%lf,%lf,%lf", &a, &b, &c) == 3) {
        up.hurt_within = (int64_t)(RECENT / a * 1e9);
        up.hurt_for = (int64_t)(b * 1e9);
        up.hurt_extra = (int64_t)(c * 1e6);
    } else if (sscanf(word, "leak=%lf,%lf,%lf,%lf", &a, &b, &c, &d) == 4) {
        up.leak_bytes = a * 1048576;
        up.leak_share = b / 100;
        up.leak_for = c;
        up.noise = d / 100;
    } else {
        up.shape = (unsigned)strtoul(word, NULL, 10);
    }
}

static void read_arguments(int argc, char **argv)
{
    bool batch = argc > 1 && strcmp(argv[1], "batch") == 0;
    if (argc < (batch ? 5 : 4)) {
        bench_die("usage: curve queue|batch|limit ...");
    }
    up.kind = batch ? BATCH : strcmp(argv[1], "limit") == 0 ? LIMIT : QUEUE;
    up.servers = (unsigned)strtoul(argv[2], NULL, 10);
    up.mean = strtod(argv[3], NULL) * 1e6;
    up.each = batch ? strtod(argv[4], NULL) * 1e3 : 0;
    up.shape = 1;
    for (int i = batch ? 5 : 4; i < argc; i++) {
        read_more(argv[i]);
    }
    if (up.servers == 0 || (up.kind == QUEUE && up.servers > SERVERS_MAX)) {
        bench_die("servers");
    }
}

int main(int argc, char **argv)
{
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    bench_prepare();
    read_arguments(argc, argv);
    up.epfd = epoll_create1(EPOLL_CLOEXEC);
    up.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    listen_somewhere();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &up.listener};
    epoll_ctl(up.epfd, EPOLL_CTL_ADD, up.listener, &event);
    event.data.ptr = &up.timer;
    epoll_ctl(up.epfd, EPOLL_CTL_ADD, up.timer, &event);
    while (!stopping) {
        struct epoll_event events[64];
        int n = epoll_wait(up.epfd, events, 64, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &up.listener) {
                on_accept();
            } else if (events[i].data.ptr == &up.timer) {
                on_time();
            } else {
                conn_read(events[i].data.ptr);
            }
        }
        arm();
    }
    return 0;
}

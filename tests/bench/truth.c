/* truth - servers that know what really happened, for measuring those who measure.
 *
 *      truth canned PORT                       answers every 100 us what has come, as fast as one core can
 *      truth delays PORT STALL_AT STALL        answers after a drawn time (log-normal, median 20 ms); what arrives
 *                                              in a stall (seconds after the first request) is answered at its end
 *      truth streams PORT GAP_MS EVENTS        chats: the first event after 50 to 550 ms, then one every GAP_MS; the usage
 *                                              at the end says as "completion_tokens" when the first was sent, in ns
 *      truth spin RATE SECONDS EARLY_US        no server: sleeps, then spins, and prints how late it was
 *
 * Each answer is stamped with the monotonic clock right before it is sent. GET /truth gives, as JSON in
 * milliseconds, what clients have seen: from the arrival of a request to the stamp of its (first) answer.
 *
 * Thread: one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNS_MAX = 32768, REQUESTS_MAX = 4 << 20, EVENTS = 512 };

#define CANNED "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello world\n"
#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define EVENT "data: {\"choices\":[{\"delta\":{\"content\":\"token\"}}]}\n\n"
#define CHUNK "33\r\n" EVENT "\r\n"
#define LAST "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"

enum mode { MODE_CANNED, MODE_DELAYS, MODE_STREAMS };

struct conn {
    int64_t arrived;
    int64_t due;    /* of its next answer or event */
    int64_t stamp;  /* of its first event */
    size_t place;   /* in the heap, from 1; 0 = not there */
    int left;       /* events */
    int matched;    /* of the four bytes that end a head */
    bool truth;     /* it asked for /truth */
};

static struct {
    enum mode mode;
    int epfd;
    int listener;
    struct conn conns[CONNS_MAX]; /* by descriptor */
    int heap[CONNS_MAX];
    size_t heap_len;
    double *ms; /* of each request */
    size_t requests;
    uint64_t random;
    int64_t first; /* request */
    double stall_at, stall;
    int64_t gap;
    int events;
} server;

static double draw(void)
{
    uint64_t z = (server.random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* --- a heap of connections by due time --- */

static bool before(size_t a, size_t b)
{
    return server.conns[server.heap[a]].due < server.conns[server.heap[b]].due;
}

static void swap(size_t a, size_t b)
{
    int fd = server.heap[a];
    server.heap[a] = server.heap[b];
    server.heap[b] = fd;
    server.conns[server.heap[a]].place = a + 1;
    server.conns[server.heap[b]].place = b + 1;
}

static void settle(size_t i)
{
    while (i > 0 && before(i, (i - 1) / 2)) {
        swap(i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < server.heap_len; child++) {
            least = before(child, least) ? child : least;
        }
        if (least == i) {
            return;
        }
        swap(i, least);
        i = least;
    }
}

static void set_due(int fd, int64_t due)
{
    struct conn *conn = &server.conns[fd];
    conn->due = due;
    if (conn->place == 0) {
        server.heap[server.heap_len] = fd;
        conn->place = ++server.heap_len;
    }
    settle(conn->place - 1);
}

static void forget(int fd)
{
    struct conn *conn = &server.conns[fd];
    if (conn->place == 0) {
        return;
    }
    size_t at = conn->place - 1;
    server.heap_len--;
    if (at != server.heap_len) {
        swap(at, server.heap_len);
        conn->place = 0;
        settle(at);
    }
    conn->place = 0;
}

/* --- answers --- */

static void say(int fd, const char *text, size_t len)
{
    ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
    (void)n; /* small enough for any socket; who has gone is noticed when reading */
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double *sorted, size_t count, double share)
{
    size_t rank = (size_t)ceil(share * (double)count);
    return count == 0 ? 0 : sorted[rank == 0 ? 0 : rank - 1];
}

static int write_truth(double *ms, size_t count, char *out, size_t size)
{
    qsort(ms, count, sizeof *ms, compare);
    return snprintf(out, size,
                    "{\"count\":%zu,\"median\":%.4f,\"p90\":%.4f,\"p95\":%.4f,\"p99\":%.4f,\"max\":%.4f}", count,
                    percentile(ms, count, 0.5), percentile(ms, count, 0.9), percentile(ms, count, 0.95),
                    percentile(ms, count, 0.99), percentile(ms, count, 1));
}

static void answer_truth(int fd)
{
    char body[400], text[600];
    int len = write_truth(server.ms, server.requests, body, sizeof body);
    len = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len, body);
    say(fd, text, (size_t)len);
}

static void note(struct conn *conn)
{
    if (server.requests < REQUESTS_MAX) {
        server.ms[server.requests++] = (double)(bench_now() - conn->arrived) / 1e6;
    }
}

static void say_last(int fd, const struct conn *conn)
{
    char usage[200], text[400];
    int len = snprintf(usage, sizeof usage, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":%lld}}\n\n",
                       (long long)conn->stamp);
    len = snprintf(text, sizeof text, "%x\r\n%s\r\n" LAST, (unsigned)len, usage);
    say(fd, text, (size_t)len);
}

static void on_due(int fd)
{
    struct conn *conn = &server.conns[fd];
    if (server.mode == MODE_DELAYS) {
        forget(fd);
        note(conn);
        say(fd, CANNED, sizeof CANNED - 1);
        return;
    }
    if (conn->left == server.events) {
        note(conn);
        conn->stamp = bench_now();
        say(fd, STREAM CHUNK, sizeof STREAM CHUNK - 1);
    } else {
        say(fd, CHUNK, sizeof CHUNK - 1);
    }
    if (--conn->left > 0) {
        set_due(fd, conn->due + server.gap);
    } else {
        forget(fd);
        say_last(fd, conn);
    }
}

static void on_request(int fd, struct conn *conn)
{
    if (conn->truth) {
        answer_truth(fd);
        return;
    }
    if (server.mode == MODE_CANNED) {
        say(fd, CANNED, sizeof CANNED - 1);
        return;
    }
    conn->arrived = bench_now();
    server.first = server.first == 0 ? conn->arrived : server.first;
    if (server.mode == MODE_STREAMS) {
        conn->left = server.events;
        set_due(fd, conn->arrived + (int64_t)((50 + 500 * draw()) * 1e6));
        return;
    }
    double normal = sqrt(-2 * log(1 - draw())) * cos(2 * 3.14159265358979323846 * draw());
    int64_t due = conn->arrived + (int64_t)(20e6 * exp(0.5 * normal));
    double from = (double)(due - server.first) / 1e9;
    bool stalled = from >= server.stall_at && from < server.stall_at + server.stall;
    set_due(fd, stalled ? server.first + (int64_t)((server.stall_at + server.stall) * 1e9) : due);
}

/* --- connections --- */

static void on_readable(int fd)
{
    char text[16384];
    struct conn *conn = &server.conns[fd];
    ssize_t n = read(fd, text, sizeof text);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            forget(fd);
            close(fd);
        }
        return;
    }
    if (conn->matched == 0 && n > 10) {
        conn->truth = memcmp(text, "GET /truth", 10) == 0;
    }
    for (ssize_t i = 0; i < n; i++) { /* heads without bodies are all that comes here */
        conn->matched = text[i] == "\r\n\r\n"[conn->matched] ? conn->matched + 1 : text[i] == '\r' ? 1 : 0;
        if (conn->matched == 4) {
            conn->matched = 0;
            on_request(fd, conn);
        }
    }
}

static void on_acceptable(void)
{
    int fd;
    while ((fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int on = 1;
        if (fd >= CONNS_MAX) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        memset(&server.conns[fd], 0, sizeof server.conns[fd]);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(server.epfd, EPOLL_CTL_ADD, fd, &event);
    }
}

/* To wait for several requests costs a fraction of waiting for each, so that the core of those who are measured is what holds
 * them up, and not this one. */
static void gather(void)
{
    struct timespec nap = {.tv_nsec = BENCH_MS / 10};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
}

static void serve(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server.listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(server.listener, 8192) != 0) {
        bench_die("listen");
    }
    server.epfd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = server.listener};
    epoll_ctl(server.epfd, EPOLL_CTL_ADD, server.listener, &event);
    for (;;) {
        struct epoll_event events[EVENTS];
        int64_t until = server.heap_len == 0 ? INT64_MAX : server.conns[server.heap[0]].due;
        if (server.mode == MODE_CANNED) {
            gather();
        }
        int count = bench_wait(server.epfd, events, EVENTS, until);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == server.listener) {
                on_acceptable();
            } else {
                on_readable(events[i].data.fd);
            }
        }
        while (server.heap_len > 0 && server.conns[server.heap[0]].due <= bench_now()) {
            on_due(server.heap[0]);
        }
    }
}

/* --- the bare loop --- */

static void spin(double rate, double seconds, double early_us)
{
    size_t count = (size_t)(rate * seconds);
    double *ms = calloc(count, sizeof *ms);
    char text[400];
    int64_t start = bench_now() + 20 * BENCH_MS;
    for (size_t i = 0; i < count; i++) {
        int64_t due = start + (int64_t)((double)i / rate * 1e9);
        int64_t wake = due - (int64_t)(early_us * 1e3);
        struct timespec ts = {.tv_sec = wake / BENCH_SEC, .tv_nsec = wake % BENCH_SEC};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
        int64_t now;
        do {
            now = bench_now();
        } while (now < due);
        ms[i] = (double)(now - due) / 1e6;
    }
    write_truth(ms, count, text, sizeof text);
    puts(text);
    free(ms);
}

int main(int argc, char **argv)
{
    bench_prepare();
    if (argc < 3) {
        fprintf(stderr, "truth canned|delays|streams|spin ...\n");
        return 2;
    }
    if (strcmp(argv[1], "spin") == 0 && argc == 5) {
        spin(atof(argv[2]), atof(argv[3]), atof(argv[4]));
        return 0;
    }
    server.mode = strcmp(argv[1], "delays") == 0 ? MODE_DELAYS : strcmp(argv[1], "streams") == 0 ? MODE_STREAMS : MODE_CANNED;
    server.random = 42;
    if (server.mode == MODE_DELAYS && argc == 5) {
        server.stall_at = atof(argv[3]);
        server.stall = atof(argv[4]);
    } else if (server.mode == MODE_STREAMS && argc == 5) {
        server.gap = (int64_t)(atof(argv[3]) * 1e6);
        server.events = atoi(argv[4]);
    }
    server.ms = calloc(REQUESTS_MAX, sizeof *server.ms);
    serve(atoi(argv[2]));
    return 0;
}

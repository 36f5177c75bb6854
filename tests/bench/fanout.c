/* fanout - thousands of WebSocket subscribers in one thread: who gets which second's frame, and how late.
 *
 * Frames are text that holds "time":SECONDS near its beginning, the wall clock's second that it belongs to; its
 * delivery is counted from there, on the same machine's clock. What follows is read and dropped; pings are answered.
 *
 *      connect (ramp) --> all have a first message: prints a line --> measures --> end of standard input: report
 *
 * With PAUSE it looks for what has come every so many microseconds, instead of being woken by each frame: waking another
 * core is the sender's work, which subscribers on other machines don't cause.
 *
 * Thread: one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"
#include "hist.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PREFIX = 160, READ_SIZE = 256 * 1024, BATCH = 512, PER_TURN = 200 };

struct conn {
    int fd;
    bool open;            /* the handshake is done */
    unsigned char prefix[PREFIX]; /* of the head, or of the frame under way */
    size_t prefix_len;
    uint64_t left; /* of the frame, beyond the prefix */
    bool told;     /* this frame's delivery is counted */
    int64_t last_second;
    uint64_t seconds; /* in the measured time */
    uint64_t at_last; /* of these, in the second that was last */
};

static struct {
    int port;
    const char *path;
    unsigned conns;
    struct timespec pause;
    int epfd;
    struct conn *all;
    unsigned opened, started, first;
    int64_t begin; /* the first whole second that counts */
    uint64_t messages, bytes, pings, lost;
    struct hist delivery;
    char *scratch;
} run;

static int64_t wall(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * BENCH_SEC + ts.tv_nsec;
}

/* ---- connecting */

static void dial(struct conn *conn)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)run.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&to, sizeof to) != 0) {
        bench_die("connect");
    }
    char ask[512];
    int len = snprintf(ask, sizeof ask,
                       "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                       run.path, run.port);
    if (write(conn->fd, ask, (size_t)len) != len) {
        bench_die("handshake");
    }
    fcntl(conn->fd, F_SETFL, fcntl(conn->fd, F_GETFL) | O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    epoll_ctl(run.epfd, EPOLL_CTL_ADD, conn->fd, &event);
}

/* ---- frames */

static void count(struct conn *conn, const char *text, size_t len)
{
    const char *at = memmem(text, len, "\"time\":", 7);
    if (at == NULL) {
        bench_die("a frame without its time");
    }
    double second = strtod(at + 7, NULL);
    int64_t now = wall();
    run.messages++;
    if (conn->last_second == 0) {
        run.first++;
        conn->last_second = (int64_t)second;
        return;
    }
    if ((int64_t)second <= conn->last_second || run.begin == 0 || (int64_t)second < run.begin) {
        return;
    }
    int64_t late = now - (int64_t)(second * 1e9);
    hist_add(&run.delivery, late);
    if (late < BENCH_SEC) {
        conn->at_last = 1;
        conn->seconds++;
    }
    conn->last_second = (int64_t)second;
}

static void answer_ping(struct conn *conn, const unsigned char *payload, size_t len)
{
    unsigned char frame[6 + 125] = {0x8a, (unsigned char)(0x80 | len)};
    memcpy(frame + 6, payload, len);
    run.pings++;
    if (write(conn->fd, frame, 6 + len) < 0) {
        run.lost++;
    }
}

static void lose(struct conn *conn)
{
    run.lost++;
    close(conn->fd);
    conn->fd = -1;
}

/* The length of the frame's head, or 0 while it is not there; *len is the payload's. */
static size_t frame_head(const struct conn *conn, uint64_t *len)
{
    const unsigned char *p = conn->prefix;
    size_t more = conn->prefix_len < 2 ? 0 : p[1] == 126 ? 2 : p[1] == 127 ? 8 : 0;
    if (conn->prefix_len < 2 + more || conn->prefix_len < 2) {
        return 0;
    }
    *len = more == 0 ? p[1] : 0;
    for (size_t i = 0; i < more; i++) {
        *len = *len << 8 | p[2 + i];
    }
    return 2 + more;
}

/* Looks at what stands in the prefix; true when the frame is complete. */
static bool look(struct conn *conn)
{
    uint64_t len = 0;
    size_t head = frame_head(conn, &len);
    if (head == 0) {
        return false;
    }
    size_t want = head + len < PREFIX ? head + (size_t)len : PREFIX;
    if (conn->prefix_len < want) {
        return false;
    }
    unsigned opcode = conn->prefix[0] & 0x0f;
    if (opcode == 9 && len <= 125) {
        answer_ping(conn, conn->prefix + head, (size_t)len);
    } else if (opcode == 8) {
        lose(conn);
        return false;
    }
    conn->left = head + len - want;
    conn->told = opcode <= 2;
    if (conn->left == 0 && conn->told) {
        count(conn, (const char *)conn->prefix + head, want - head);
    }
    return true;
}

static size_t needed(const struct conn *conn)
{
    uint64_t len = 0;
    size_t head = frame_head(conn, &len);
    if (head == 0) {
        return conn->prefix_len < 2 ? 2 : 2 + (conn->prefix[1] == 126 ? 2u : 8u);
    }
    return head + len < PREFIX ? head + (size_t)len : PREFIX;
}

static void use_frames(struct conn *conn, const char *data, size_t len)
{
    while (len > 0 && conn->fd >= 0) {
        if (conn->left > 0) {
            size_t take = len < conn->left ? len : (size_t)conn->left;
            conn->left -= take;
            data += take;
            len -= take;
            if (conn->left == 0 && conn->told) { /* whole: its time still stands in the prefix */
                count(conn, (const char *)conn->prefix + 2, PREFIX - 2);
            }
            if (conn->left == 0) {
                conn->prefix_len = 0;
            }
            continue;
        }
        size_t take = needed(conn) - conn->prefix_len;
        take = len < take ? len : take;
        memcpy(conn->prefix + conn->prefix_len, data, take);
        conn->prefix_len += take;
        data += take;
        len -= take;
        if (look(conn) && conn->left == 0) {
            conn->prefix_len = 0;
        }
    }
}

static void use(struct conn *conn, const char *data, size_t len)
{
    while (!conn->open && len > 0) { /* the handshake's answer, up to its empty line */
        conn->prefix[conn->prefix_len % 4] = (unsigned char)*data;
        conn->prefix_len++;
        data++;
        len--;
        size_t n = conn->prefix_len;
        if (n >= 4 && conn->prefix[(n - 1) % 4] == '\n' && conn->prefix[(n - 2) % 4] == '\r' &&
            conn->prefix[(n - 3) % 4] == '\n') {
            conn->open = true;
            conn->prefix_len = 0;
            run.opened++;
        }
    }
    use_frames(conn, data, len);
}

static void on_readable(struct conn *conn)
{
    ssize_t n = conn->fd < 0 ? 0 : read(conn->fd, run.scratch, READ_SIZE);
    if (n > 0) {
        run.bytes += (uint64_t)n;
        use(conn, run.scratch, (size_t)n);
    } else if (conn->fd >= 0 && (n == 0 || (errno != EAGAIN && errno != EINTR))) {
        lose(conn);
    }
}

/* ---- the run */

static void report(void)
{
    int64_t end = wall() / BENCH_SEC; /* this second is not over */
    uint64_t got = 0;
    for (unsigned i = 0; i < run.conns; i++) {
        bool in_last = run.all[i].last_second >= end && run.all[i].at_last != 0;
        got += run.all[i].seconds - (in_last ? 1 : 0);
    }
    int64_t seconds = end > run.begin ? end - run.begin : 0;
    uint64_t due = (uint64_t)seconds * run.conns;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"conns\":%u,\"seconds\":%lld,\"due\":%llu,\"in_time\":%llu,\"messages\":%llu,\"bytes\":%llu,"
           "\"pings\":%llu,\"lost\":%llu,\"cpu\":%.3f,",
           run.conns, (long long)seconds, (unsigned long long)due, (unsigned long long)got,
           (unsigned long long)run.messages, (unsigned long long)run.bytes, (unsigned long long)run.pings,
           (unsigned long long)run.lost,
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    hist_print(&run.delivery, "delivery");
    printf("}\n");
}

static void turn(int timeout)
{
    struct epoll_event events[BATCH];
    if (timeout > 0 && run.pause.tv_nsec > 0) {
        nanosleep(&run.pause, NULL);
        timeout = 0;
    }
    int n = epoll_wait(run.epfd, events, BATCH, timeout);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == NULL) { /* the end of standard input */
            report();
            exit(0);
        }
        on_readable(events[i].data.ptr);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: fanout PORT PATH CONNECTIONS [PAUSE]\n");
        return 2;
    }
    bench_prepare();
    run.port = atoi(argv[1]);
    run.path = argv[2];
    run.conns = (unsigned)atoi(argv[3]);
    run.pause.tv_nsec = argc == 5 ? atoi(argv[4]) * 1000l : 0;
    run.epfd = epoll_create1(EPOLL_CLOEXEC);
    run.all = calloc(run.conns, sizeof *run.all);
    run.scratch = malloc(READ_SIZE);
    struct epoll_event stop = {.events = EPOLLIN | EPOLLHUP, .data.ptr = NULL};
    if (run.epfd < 0 || run.all == NULL || run.scratch == NULL ||
        epoll_ctl(run.epfd, EPOLL_CTL_ADD, STDIN_FILENO, &stop) != 0) {
        bench_die("prepare");
    }
    int64_t give_up = bench_now() + 30 * BENCH_SEC;
    while (run.first < run.conns) {
        for (int i = 0; i < PER_TURN && run.started < run.conns; i++) {
            dial(&run.all[run.started++]);
        }
        turn(run.started < run.conns ? 0 : 10);
        if (bench_now() > give_up || run.lost > 0) {
            fprintf(stderr, "of %u subscribers %u are connected, %u have a message, %llu were lost\n", run.conns,
                    run.opened, run.first, (unsigned long long)run.lost);
            return 1;
        }
    }
    run.begin = wall() / BENCH_SEC + 1;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        turn(1000);
    }
}

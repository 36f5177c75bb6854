/* sender - sends a frame of JSON to whoever connects, once a second, and does nothing else.
 *
 * It stands beside a program that is measured: what its subscribers cost a load on the same cores is what the kernel and
 * they themselves take, whoever sends. Any request is answered with 101, and nothing that
 * follows is read. It is to run as SCHED_IDLE: whoever else wants the core has it after the frame under way.
 *
 *      sender PORT FILE      FILE: the frame's text, with "time":SECONDS of ten digits in it
 *
 * Thread: one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAME_MAX = 65535, CONNS_MAX = 20000, TURN = 16, DIGITS = 10, EVENTS = 64 };

static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

static struct {
    int epfd, listener;
    int *fds;
    size_t count, sent, all;
    char frame[4 + FRAME_MAX + 1];
    size_t len;
    char *digits;
    int64_t second;
} run;

static int64_t wall(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * BENCH_SEC + ts.tv_nsec;
}

static void read_frame(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t len = file == NULL ? 0 : fread(run.frame + 4, 1, FRAME_MAX, file);
    char *at = strstr(run.frame + 4, "\"time\":");
    if (at == NULL || len < 126) {
        bench_die("no frame of 126 bytes and more with its time");
    }
    fclose(file);
    run.digits = at + 7;
    run.len = 4 + len;
    run.frame[0] = (char)0x81;
    run.frame[1] = 126;
    run.frame[2] = (char)(len >> 8);
    run.frame[3] = (char)(len & 0xff);
}

static void put_second(int64_t second)
{
    char text[24];
    snprintf(text, sizeof text, "%010lld", (long long)second);
    memcpy(run.digits, text, DIGITS);
}

static void open_listener(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    run.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(run.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN};
    if (bind(run.listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(run.listener, 4096) != 0 ||
        epoll_ctl(run.epfd, EPOLL_CTL_ADD, run.listener, &event) != 0) {
        bench_die("listen");
    }
}

/* The handshake's request is short and there when the connection is, or soon. */
static void take(void)
{
    char ask[1024];
    int one = 1;
    int fd = accept4(run.listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || run.count == CONNS_MAX) {
        bench_die("accept");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (recv(fd, ask, sizeof ask, 0) <= 0) { /* who only looked whether somebody listens */
        close(fd);
        return;
    }
    put_second(wall() / BENCH_SEC);
    if (send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0 || send(fd, run.frame, run.len, MSG_NOSIGNAL) < 0) {
        close(fd);
        return;
    }
    run.fds[run.count++] = fd;
}

static void send_some(void)
{
    for (int i = 0; i < TURN && run.sent < run.all; i++, run.sent++) {
        (void)!send(run.fds[run.sent], run.frame, run.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

/* What is due by now; returns when to look again, on the monotonic clock. */
static int64_t turn(void)
{
    int64_t at = wall();
    int64_t now = bench_now();
    if (run.sent == run.all && at / BENCH_SEC == run.second) {
        return now + BENCH_SEC - at % BENCH_SEC;
    }
    if (run.sent == run.all) {
        run.second = at / BENCH_SEC;
        run.sent = 0;
        run.all = run.count;
        put_second(run.second);
    }
    send_some();
    return now;
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    if (argc != 3) {
        fprintf(stderr, "usage: sender PORT FILE\n");
        return 2;
    }
    bench_prepare();
    read_frame(argv[2]);
    run.fds = calloc(CONNS_MAX, sizeof *run.fds);
    run.epfd = epoll_create1(EPOLL_CLOEXEC);
    if (run.fds == NULL || run.epfd < 0) {
        bench_die("prepare");
    }
    open_listener(atoi(argv[1]));
    for (;;) {
        int64_t next = turn();
        if (bench_wait(run.epfd, events, EVENTS, next) > 0) {
            take();
        }
    }
}

/* statsd - sends lines of StatsD at a rate, for tests/bench/statsd.py.
 *
 *      bench_statsd ADDRESS LINES_PER_SECOND LINES_PER_DATAGRAM SECONDS
 *
 * ADDRESS is a port of 127.0.0.1 or the path of a Unix socket. Sixty-four series: counters, timers
 * and gauges in turns, with two tags each. A burst goes out every millisecond. Prints what was sent.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

enum { SERIES = 64, DATAGRAM = 8192, BATCH = 256 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int open_socket(const char *address)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in net = {.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)strtoul(address, NULL, 10)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int is_unix = address[0] == '/';
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_DGRAM, 0);
    if (is_unix) {
        snprintf(local.sun_path, sizeof local.sun_path, "%s", address);
    }
    const struct sockaddr *to = is_unix ? (const void *)&local : (const void *)&net;
    if (fd < 0 || connect(fd, to, is_unix ? sizeof local : sizeof net) != 0) {
        perror("bench_statsd");
        exit(1);
    }
    return fd;
}

static size_t write_line(char *out, size_t room, unsigned n)
{
    static const char *const kinds[] = {"c", "ms", "c", "g"};
    const char *kind = kinds[n % 4];
    int len = snprintf(out, room, "app.%s.requests:%u|%s|#route:r%u,node:n%u\n", kind,
                       n % 997 + 1, kind, n % SERIES, n % SERIES / 8);
    return (size_t)len;
}

/* Datagrams made in advance: only sending costs time. */
struct datagram {
    char text[DATAGRAM];
    size_t len;
};

static struct datagram *make(unsigned per)
{
    struct datagram *all = calloc(BATCH, sizeof *all);
    unsigned line = 0;
    for (unsigned i = 0; all != NULL && i < BATCH; i++) {
        for (unsigned k = 0; k < per; k++) {
            all[i].len += write_line(all[i].text + all[i].len, sizeof all[i].text - all[i].len, line++);
        }
    }
    return all;
}

static void send_some(int fd, struct datagram *all, unsigned long from, unsigned long count)
{
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
    while (count > 0) {
        unsigned n = count < BATCH ? (unsigned)count : BATCH;
        for (unsigned i = 0; i < n; i++) {
            struct datagram *one = &all[(from + i) % BATCH];
            pieces[i] = (struct iovec){one->text, one->len};
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &pieces[i], .msg_iovlen = 1}};
        }
        int sent = sendmmsg(fd, messages, n, 0);
        if (sent < 0) {
            perror("bench_statsd");
            exit(1);
        }
        from += (unsigned long)sent;
        count -= (unsigned long)sent;
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "bench_statsd ADDRESS LINES_PER_SECOND LINES_PER_DATAGRAM SECONDS\n");
        return 2;
    }
    double rate = strtod(argv[2], NULL);
    unsigned per = (unsigned)strtoul(argv[3], NULL, 10);
    double seconds = strtod(argv[4], NULL);
    int fd = open_socket(argv[1]);
    struct datagram *all = make(per);
    unsigned long total = (unsigned long)(rate * seconds / per);
    unsigned long sent = 0;
    double began = now();
    while (all != NULL && sent < total) {
        unsigned long due = (unsigned long)((now() - began) * rate / per);
        due = due < total ? due : total;
        if (due > sent) {
            send_some(fd, all, sent, due - sent);
            sent = due;
        }
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
    printf("{\"lines\":%lu,\"datagrams\":%lu,\"seconds\":%.6f}\n", sent * per, sent, now() - began);
    free(all);
    return 0;
}

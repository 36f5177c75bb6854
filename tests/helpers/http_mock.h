/* http_mock - a server that says what a test tells it to: on a thread of its own, one answer for
 * each connection.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_HTTP_MOCK_H
#define PS_TESTS_HTTP_MOCK_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

enum { HTTP_MOCK_PEERS = 32, HTTP_MOCK_BYTES = 8192 };

/* The answer to a request, whose first line and body are handed in: a status and a body. False:
 * none comes, and the connection stays open. Called on the mock's thread. */
typedef bool http_mock_fn(void *ctx, const char *line, const char *body, int *status, char *answer,
                          size_t size);

struct http_mock_peer {
    int fd; /* -1 = free */
    size_t len;
    bool held; /* it gets no answer */
    char bytes[HTTP_MOCK_BYTES];
};

struct http_mock {
    uint16_t port;
    http_mock_fn *answer;
    void *ctx;
    int listener;
    int stop[2];
    pthread_t thread;
    struct http_mock_peer peers[HTTP_MOCK_PEERS];
};

static inline void http_mock_close(struct http_mock_peer *peer)
{
    close(peer->fd);
    peer->fd = -1;
}

static inline void http_mock_send(struct http_mock *mock, struct http_mock_peer *peer,
                                  const char *body)
{
    char head[160];
    char answer[HTTP_MOCK_BYTES];
    char line[256];
    int status = 200;
    snprintf(line, sizeof line, "%.*s", (int)strcspn(peer->bytes, "\r"), peer->bytes);
    peer->held = !mock->answer(mock->ctx, line, body, &status, answer, sizeof answer);
    if (peer->held) {
        return;
    }
    int len = snprintf(head, sizeof head,
                       "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
                       strlen(answer));
    (void)send(peer->fd, head, (size_t)len, MSG_NOSIGNAL);
    (void)send(peer->fd, answer, strlen(answer), MSG_NOSIGNAL);
    http_mock_close(peer);
}

/* Answers as soon as the whole request is there. */
static inline void http_mock_read(struct http_mock *mock, struct http_mock_peer *peer)
{
    ssize_t n = recv(peer->fd, peer->bytes + peer->len, sizeof peer->bytes - 1 - peer->len, 0);
    if (n <= 0) {
        http_mock_close(peer);
        return;
    }
    peer->len += (size_t)n;
    peer->bytes[peer->len] = '\0';
    char *body = strstr(peer->bytes, "\r\n\r\n");
    const char *length = strcasestr(peer->bytes, "content-length:");
    size_t wanted = length == NULL ? 0 : strtoul(length + strlen("content-length:"), NULL, 10);
    if (body != NULL && !peer->held && strlen(body + 4) >= wanted) {
        http_mock_send(mock, peer, body + 4);
    }
}

static inline void http_mock_accept(struct http_mock *mock)
{
    int fd = accept(mock->listener, NULL, NULL);
    for (size_t i = 0; i < HTTP_MOCK_PEERS && fd >= 0; i++) {
        if (mock->peers[i].fd < 0) {
            mock->peers[i].fd = fd;
            mock->peers[i].len = 0;
            mock->peers[i].held = false;
            return;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

static inline void *http_mock_run(void *arg)
{
    struct http_mock *mock = arg;
    struct pollfd fds[HTTP_MOCK_PEERS + 2];
    for (;;) {
        fds[0] = (struct pollfd){.fd = mock->stop[0], .events = POLLIN};
        fds[1] = (struct pollfd){.fd = mock->listener, .events = POLLIN};
        for (size_t i = 0; i < HTTP_MOCK_PEERS; i++) {
            fds[i + 2] = (struct pollfd){.fd = mock->peers[i].fd, .events = POLLIN};
        }
        (void)poll(fds, PS_ARRAY_LEN(fds), -1);
        if (fds[0].revents != 0) {
            return NULL;
        }
        for (size_t i = 0; i < HTTP_MOCK_PEERS; i++) {
            if (fds[i + 2].fd >= 0 && fds[i + 2].revents != 0) {
                http_mock_read(mock, &mock->peers[i]);
            }
        }
        if (fds[1].revents != 0) {
            http_mock_accept(mock);
        }
    }
}

static inline void http_mock_start(struct http_mock *mock, http_mock_fn *answer, void *ctx)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof in;
    memset(mock, 0, sizeof *mock);
    mock->answer = answer;
    mock->ctx = ctx;
    for (size_t i = 0; i < HTTP_MOCK_PEERS; i++) {
        mock->peers[i].fd = -1;
    }
    mock->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    PS_CHECK(mock->listener >= 0);
    PS_CHECK(bind(mock->listener, (struct sockaddr *)&in, sizeof in) == 0);
    PS_CHECK(listen(mock->listener, 16) == 0 && pipe(mock->stop) == 0);
    PS_CHECK(getsockname(mock->listener, (struct sockaddr *)&in, &len) == 0);
    mock->port = ntohs(in.sin_port);
    PS_CHECK(pthread_create(&mock->thread, NULL, http_mock_run, mock) == 0);
}

static inline void http_mock_stop(struct http_mock *mock)
{
    PS_CHECK(write(mock->stop[1], "", 1) == 1);
    pthread_join(mock->thread, NULL);
    for (size_t i = 0; i < HTTP_MOCK_PEERS; i++) {
        if (mock->peers[i].fd >= 0) {
            close(mock->peers[i].fd);
        }
    }
    close(mock->listener);
    close(mock->stop[0]);
    close(mock->stop[1]);
}

#endif

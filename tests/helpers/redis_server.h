/* redis_server - the packaged redis-server for a test: started on free ports, stopped by its
 * process id.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_REDIS_SERVER_H
#define PS_TESTS_REDIS_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"

enum { SERVER_ARGS = 48 };

struct redis_server {
    pid_t pid; /* 0 = not running */
    uint16_t port;
    uint16_t tls_port;
    char folder[64];
    char *args[SERVER_ARGS];
    size_t arg_count;
};

static inline bool redis_server_is_installed(void)
{
    return system("PATH=$PATH:/usr/sbin command -v redis-server >/dev/null 2>&1") == 0;
}

/* Leaves the case where there is no server to run it with. */
static inline void redis_server_need(bool is_there)
{
    if (!is_there) {
        print_message("redis-server is not installed: nothing is tested against a real one\n");
        skip();
    }
}

/* A port that was free a moment ago. */
static inline uint16_t redis_server_free_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    PS_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof in) == 0);
    PS_CHECK(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    close(fd);
    return ntohs(in.sin_port);
}

static inline void redis_server_arg(struct redis_server *server, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline void redis_server_arg(struct redis_server *server, const char *format, ...)
{
    va_list args;
    char text[256];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    PS_CHECK(server->arg_count < SERVER_ARGS - 1);
    server->args[server->arg_count++] = strdup(text);
}

static inline int redis_server_connect(uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    PS_CHECK(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&in, sizeof in) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Says something to the server behind the client's back; gives the beginning of the reply. */
static inline void redis_server_say(uint16_t port, const char *line, char *reply, size_t size)
{
    int fd = redis_server_connect(port);
    PS_CHECK(fd >= 0);
    PS_CHECK(send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line));
    ssize_t n = recv(fd, reply, size - 1, 0);
    reply[n > 0 ? n : 0] = '\0';
    close(fd);
}

/* Starts it, again on the same ports if it ran before, and waits until it listens. It ends with the
 * thread that started it: a test that aborts leaves none behind, which would hold its output open.
 */
static inline void redis_server_run(struct redis_server *server)
{
    pid_t test = getpid();
    fflush(stdout);
    server->pid = fork();
    if (server->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != test) {
            _exit(126); /* it was gone before the line above */
        }
        setenv("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin", 1);
        execvp(server->args[0], server->args);
        _exit(127);
    }
    PS_CHECK(server->pid > 0);
    ps_time give_up = ps_clock_now(&ps_clock_real) + 20 * PS_SECOND;
    for (;;) {
        int fd = server->port == 0 ? 0 : redis_server_connect(server->port);
        PS_CHECK(ps_clock_now(&ps_clock_real) < give_up &&
                 waitpid(server->pid, NULL, WNOHANG) == 0);
        if (fd >= 0) {
            close(fd);
            return;
        }
        usleep(10000);
    }
}

/* The options that every one has; add others with redis_server_arg() before it runs. */
static inline void redis_server_init(struct redis_server *server)
{
    *server = (struct redis_server){.port = redis_server_free_port()};
    snprintf(server->folder, sizeof server->folder, "/tmp/ps-redis-XXXXXX");
    PS_CHECK(mkdtemp(server->folder) != NULL);
    const char *words[] = {"redis-server", "--bind", "127.0.0.1",  "--save", "",
                           "--appendonly", "no",     "--loglevel", "warning"};
    for (size_t i = 0; i < PS_ARRAY_LEN(words); i++) {
        redis_server_arg(server, "%s", words[i]);
    }
    redis_server_arg(server, "--port");
    redis_server_arg(server, "%u", server->port);
    redis_server_arg(server, "--dir");
    redis_server_arg(server, "%s", server->folder);
    redis_server_arg(server, "--logfile");
    redis_server_arg(server, "%s/redis.log", server->folder);
}

static inline void redis_server_signal(struct redis_server *server, int signum)
{
    PS_CHECK(server->pid > 0 && kill(server->pid, signum) == 0);
}

static inline void redis_server_kill(struct redis_server *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
        server->pid = 0;
    }
}

static inline void redis_server_fini(struct redis_server *server)
{
    char command[96];
    redis_server_kill(server);
    for (size_t i = 0; i < server->arg_count; i++) {
        free(server->args[i]);
    }
    server->arg_count = 0;
    if (server->folder[0] != '\0') {
        snprintf(command, sizeof command, "rm -rf %s", server->folder);
        PS_CHECK(system(command) == 0);
    }
}

#endif

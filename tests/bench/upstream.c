/* upstream - the server behind every proxy of a benchmark: HTTP/1.1 on one thread and raw epoll.
 *
 * It does as little as a server can, so that the proxy in front is what a measurement sees, and it
 * is exact about time: a delay of 5 ms is 5 ms, and every event of a stream carries its number and
 * the time at which it left. Before the end of a stream comes the checksum of all its bytes.
 *
 *   GET /1k, /health, /v1/models      a short fixed answer
 *   POST /v1/chat/completions         JSON of about 1 KB with usage; with "stream":true a stream
 *   POST /v1/chat/completions?16k     the same of about 16 KB
 *
 * The header `x-bench: delay=5,first=500,chunks=20,gap=25` (or the same behind `?`) says how long
 * to wait before an answer or a first event, how many events to send, and how far apart, in ms.
 *
 * Thread: one. SIGTERM prints what was served as JSON and ends it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HEAD_MAX = 16384, /* longest request head */
    KEEP_MAX = 1024,  /* bytes at the start of a body that are looked at */
    READ_SIZE = 262144,
    OUT_MAX = 4 << 20, /* a stream whose reader is this far behind is cut */
    EVENT_MAX = 512,
};

enum phase { READ_HEAD, READ_BODY, WAITING, STREAMING };

struct plan {
    int64_t delay; /* ns before an answer that is no stream */
    int64_t first; /* ns before the first event */
    int64_t gap;   /* ns between events */
    unsigned chunks;
};

struct conn {
    int fd;
    enum phase phase;
    bool close_after;
    bool chat;
    bool large;
    bool chunked;
    bool want_write;
    struct plan plan;
    /* request */
    char *head; /* only while a head arrives in pieces */
    size_t head_len;
    uint64_t body_left;
    struct bench_chunked decoder;
    char *keep; /* the start of the body, zero-terminated; only while a body is read */
    size_t keep_len;
    /* answer */
    int64_t due;    /* when the timer fires */
    size_t heap_at; /* place in the heap, 0 when not in it */
    unsigned sent_events;
    bool want_usage;
    uint64_t sum;
    char *out; /* what the socket did not take yet */
    size_t out_len;
    size_t out_cap;
};

static struct {
    int epfd;
    int listener;
    struct conn **heap; /* from 1 */
    size_t heap_len;
    size_t heap_cap;
    char *scratch;
    char plain[2048], chat[4096], large[20480], models[1024], health[256];
    uint64_t requests, streams, finished, aborted, bad, accepted;
} up;

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

/* ---- timers: a binary heap on the due time ---- */

static void heap_set(size_t at, struct conn *conn)
{
    up.heap[at] = conn;
    conn->heap_at = at;
}

static void heap_up(size_t at)
{
    struct conn *conn = up.heap[at];
    while (at > 1 && up.heap[at / 2]->due > conn->due) {
        heap_set(at, up.heap[at / 2]);
        at /= 2;
    }
    heap_set(at, conn);
}

static void heap_down(size_t at)
{
    struct conn *conn = up.heap[at];
    for (;;) {
        size_t child = at * 2;
        if (child < up.heap_len && up.heap[child + 1]->due < up.heap[child]->due) {
            child++;
        }
        if (child > up.heap_len || up.heap[child]->due >= conn->due) {
            break;
        }
        heap_set(at, up.heap[child]);
        at = child;
    }
    heap_set(at, conn);
}

static void timer_stop(struct conn *conn)
{
    size_t at = conn->heap_at;
    if (at == 0) {
        return;
    }
    conn->heap_at = 0;
    struct conn *last = up.heap[up.heap_len--];
    if (last != conn) {
        heap_set(at, last);
        heap_up(at);
        heap_down(last->heap_at);
    }
}

static void timer_start(struct conn *conn, int64_t due)
{
    timer_stop(conn);
    if (up.heap_len + 2 > up.heap_cap) {
        up.heap_cap = up.heap_cap > 0 ? up.heap_cap * 2 : 1024;
        up.heap = realloc(up.heap, up.heap_cap * sizeof *up.heap);
        if (up.heap == NULL) {
            bench_die("heap");
        }
    }
    conn->due = due;
    heap_set(++up.heap_len, conn);
    heap_up(up.heap_len);
}

/* ---- connections ---- */

static void conn_close(struct conn *conn)
{
    up.aborted += conn->phase == STREAMING || conn->phase == WAITING;
    timer_stop(conn);
    close(conn->fd);
    free(conn->head);
    free(conn->keep);
    free(conn->out);
    free(conn);
}

static void conn_watch(struct conn *conn, bool want_write)
{
    if (conn->want_write != want_write) {
        struct epoll_event event = {.events = EPOLLIN | (want_write ? EPOLLOUT : 0u),
                                    .data.ptr = conn};
        conn->want_write = want_write;
        if (epoll_ctl(up.epfd, EPOLL_CTL_MOD, conn->fd, &event) != 0) {
            bench_die("epoll_ctl");
        }
    }
}

/* Keeps what the socket did not take. False when the reader is too far behind. */
static bool conn_keep(struct conn *conn, const char *data, size_t len)
{
    if (conn->out_len + len > OUT_MAX) {
        return false;
    }
    if (conn->out_len + len > conn->out_cap) {
        conn->out_cap = (conn->out_len + len) * 2;
        conn->out = realloc(conn->out, conn->out_cap);
        if (conn->out == NULL) {
            bench_die("out");
        }
    }
    memcpy(conn->out + conn->out_len, data, len);
    conn->out_len += len;
    conn_watch(conn, true);
    return true;
}

static bool conn_send(struct conn *conn, const char *data, size_t len)
{
    if (conn->out_len > 0) {
        return conn_keep(conn, data, len);
    }
    ssize_t n = send(conn->fd, data, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        return false;
    }
    size_t taken = n < 0 ? 0 : (size_t)n;
    return taken == len || conn_keep(conn, data + taken, len - taken);
}

static bool conn_flush(struct conn *conn)
{
    ssize_t n = send(conn->fd, conn->out, conn->out_len, MSG_NOSIGNAL);
    if (n < 0) {
        return errno == EAGAIN;
    }
    conn->out_len -= (size_t)n;
    memmove(conn->out, conn->out + n, conn->out_len);
    if (conn->out_len == 0) {
        free(conn->out);
        conn->out = NULL;
        conn->out_cap = 0;
        conn_watch(conn, false);
    }
    return true;
}

/* ---- answers ---- */

/* Back to reading. False when the connection is to be closed. */
static bool answer_end(struct conn *conn)
{
    conn->phase = READ_HEAD;
    free(conn->keep);
    conn->keep = NULL;
    return !conn->close_after;
}

static const char *answer_for(const struct conn *conn)
{
    return conn->large ? up.large : conn->chat ? up.chat : up.plain;
}

static bool send_chunk(struct conn *conn, const char *data, size_t len)
{
    char chunk[EVENT_MAX + 32];
    int n = snprintf(chunk, sizeof chunk, "%zx\r\n", len);
    memcpy(chunk + n, data, len);
    memcpy(chunk + n + len, "\r\n", 2);
    return conn_send(conn, chunk, (size_t)n + len + 2);
}

static bool stream_begin(struct conn *conn, int64_t now)
{
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                               "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
    conn->phase = STREAMING;
    conn->sent_events = 0;
    conn->sum = BENCH_FNV_START;
    conn->want_usage = conn->keep != NULL && strstr(conn->keep, "include_usage") != NULL;
    up.streams++;
    timer_start(conn, now + conn->plan.first);
    return conn_send(conn, head, sizeof head - 1);
}

/* The last events: the checksum of all before it, the usage if it was asked for, the end mark. */
static bool stream_end(struct conn *conn)
{
    char event[EVENT_MAX];
    int n = snprintf(event, sizeof event,
                     "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\","
                     "\"created\":1700000000,\"model\":\"bench\",\"choices\":[{\"index\":0,"
                     "\"delta\":{},\"finish_reason\":\"stop\"}],\"events\":%u,"
                     "\"sum\":\"%016llx\"}\n\n",
                     conn->sent_events, (unsigned long long)conn->sum);
    if (!send_chunk(conn, event, (size_t)n)) {
        return false;
    }
    if (conn->want_usage) {
        n = snprintf(event, sizeof event,
                     "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\","
                     "\"created\":1700000000,\"model\":\"bench\",\"choices\":[],\"usage\":{"
                     "\"prompt_tokens\":64,\"completion_tokens\":%u,\"total_tokens\":%u}}\n\n",
                     conn->sent_events, conn->sent_events + 64);
        if (!send_chunk(conn, event, (size_t)n)) {
            return false;
        }
    }
    static const char done[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    up.finished++;
    return conn_send(conn, done, sizeof done - 1) && answer_end(conn);
}

static bool stream_event(struct conn *conn)
{
    if (conn->sent_events == conn->plan.chunks) {
        return stream_end(conn);
    }
    char event[EVENT_MAX];
    int n = snprintf(event, sizeof event,
                     "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\","
                     "\"created\":1700000000,\"model\":\"bench\",\"choices\":[{\"index\":0,"
                     "\"delta\":{\"content\":\" token-%06u\"},\"finish_reason\":null}],"
                     "\"n\":%u,\"t\":%lld}\n\n",
                     conn->sent_events, conn->sent_events, (long long)bench_now());
    conn->sum = bench_fnv(conn->sum, event, (size_t)n);
    conn->sent_events++;
    /* The end follows the last event at once; all others keep the beat whatever was late. */
    bool last = conn->sent_events == conn->plan.chunks;
    timer_start(conn, last ? conn->due : conn->due + conn->plan.gap);
    return send_chunk(conn, event, (size_t)n);
}

static bool on_timer(struct conn *conn)
{
    timer_stop(conn);
    if (conn->phase == STREAMING) {
        return stream_event(conn);
    }
    const char *text = answer_for(conn);
    return conn_send(conn, text, strlen(text)) && answer_end(conn);
}

static bool answer(struct conn *conn)
{
    up.requests++;
    if (conn->chat && conn->keep != NULL &&
        (strstr(conn->keep, "\"stream\":true") || strstr(conn->keep, "\"stream\": true"))) {
        return stream_begin(conn, bench_now());
    }
    if (conn->plan.delay > 0) {
        conn->phase = WAITING;
        timer_start(conn, bench_now() + conn->plan.delay);
        return true;
    }
    const char *text = answer_for(conn);
    return conn_send(conn, text, strlen(text)) && answer_end(conn);
}

/* ---- requests ---- */

static void plan_number(struct plan *plan, const char *name, size_t len, double value)
{
    int64_t ns = (int64_t)(value * (double)BENCH_MS);
    if (len == 5 && memcmp(name, "delay", 5) == 0) {
        plan->delay = ns;
    } else if (len == 5 && memcmp(name, "first", 5) == 0) {
        plan->first = ns;
    } else if (len == 3 && memcmp(name, "gap", 3) == 0) {
        plan->gap = ns;
    } else if (len == 6 && memcmp(name, "chunks", 6) == 0) {
        plan->chunks = (unsigned)value;
    }
}

/* Reads name=number pairs, whatever stands between them. */
static void plan_read(struct plan *plan, const char *text, size_t len)
{
    const char *end = text + len;
    for (const char *at = text; at < end;) {
        size_t name = strspn(at, "abcdefghijklmnopqrstuvwxyz");
        if (name == 0 || at[name] != '=') {
            at += name + 1;
            continue;
        }
        char *stop;
        double value = strtod(at + name + 1, &stop);
        plan_number(plan, at, name, value);
        at = stop;
    }
}

static bool bad_request(struct conn *conn)
{
    static const char text[] =
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    up.bad++;
    (void)conn_send(conn, text, sizeof text - 1);
    return false;
}

static void read_fields(struct conn *conn, const char *head, size_t len)
{
    size_t n;
    const char *value = bench_header(head, len, "x-bench:", &n);
    if (value != NULL) {
        plan_read(&conn->plan, value, n);
    }
    value = bench_header(head, len, "content-length:", &n);
    conn->body_left = value != NULL ? strtoull(value, NULL, 10) : 0;
    value = bench_header(head, len, "transfer-encoding:", &n);
    conn->chunked = value != NULL && n == 7 && strncasecmp(value, "chunked", 7) == 0;
    value = bench_header(head, len, "connection:", &n);
    conn->close_after = value != NULL && n == 5 && strncasecmp(value, "close", 5) == 0;
    value = bench_header(head, len, "expect:", &n);
    if (value != NULL) {
        static const char go[] = "HTTP/1.1 100 Continue\r\n\r\n";
        (void)conn_send(conn, go, sizeof go - 1);
    }
}

/* Takes a whole head of len bytes that ends in an empty line and a zero byte behind it. */
static bool on_head(struct conn *conn, const char *head, size_t len)
{
    const char *target = memchr(head, ' ', len);
    const char *line_end = memchr(head, '\r', len);
    if (target == NULL || line_end == NULL || target > line_end) {
        return bad_request(conn);
    }
    target++;
    conn->plan = (struct plan){.chunks = 20, .gap = 25 * BENCH_MS};
    size_t target_len = strcspn(target, " \r");
    const char *query = memchr(target, '?', target_len);
    if (query != NULL) {
        plan_read(&conn->plan, query, target_len - (size_t)(query - target));
    }
    conn->chat = strncmp(target, "/v1/chat/completions", 20) == 0;
    conn->large = strncmp(target, "/v1/chat/completions?16k", 24) == 0;
    const char *fields = line_end + 2;
    read_fields(conn, fields, len - (size_t)(fields - head));
    if (!conn->chunked && conn->body_left == 0) {
        if (strncmp(target, "/v1/models", 10) == 0 || strncmp(target, "/health", 7) == 0) {
            const char *text = target[1] == 'v' ? up.models : up.health;
            return conn_send(conn, text, strlen(text)) && answer_end(conn);
        }
        return answer(conn);
    }
    conn->phase = READ_BODY;
    conn->decoder = (struct bench_chunked){0};
    conn->keep_len = 0;
    conn->keep = malloc(KEEP_MAX + 1);
    if (conn->keep == NULL) {
        bench_die("keep");
    }
    conn->keep[0] = '\0';
    return true;
}

static void keep_start(struct conn *conn, const char *data, size_t len)
{
    size_t room = KEEP_MAX - conn->keep_len;
    size_t take = len < room ? len : room;
    memcpy(conn->keep + conn->keep_len, data, take);
    conn->keep_len += take;
    conn->keep[conn->keep_len] = '\0';
}

/* Drops up to len bytes of the body; *taken says how many. */
static bool on_body(struct conn *conn, const char *data, size_t len, size_t *taken)
{
    if (!conn->chunked) {
        *taken = len < conn->body_left ? len : (size_t)conn->body_left;
        keep_start(conn, data, *taken);
        conn->body_left -= *taken;
        return conn->body_left > 0 || answer(conn);
    }
    const char *piece;
    size_t piece_len;
    *taken = bench_chunked_read(&conn->decoder, data, len, &piece, &piece_len);
    keep_start(conn, piece, piece_len);
    if (conn->decoder.state == BENCH_CHUNK_BAD) {
        return bad_request(conn);
    }
    return conn->decoder.state != BENCH_CHUNK_DONE || answer(conn);
}

/* A head that did not come in one read waits in conn->head. */
static bool head_piece(struct conn *conn, const char *data, size_t len, size_t *taken)
{
    if (conn->head == NULL) {
        conn->head = malloc(HEAD_MAX + 1);
        conn->head_len = 0;
        if (conn->head == NULL) {
            bench_die("head");
        }
    }
    size_t before = conn->head_len;
    size_t room = HEAD_MAX - before;
    size_t take = len < room ? len : room;
    memcpy(conn->head + before, data, take);
    conn->head_len += take;
    conn->head[conn->head_len] = '\0';
    char *end = strstr(conn->head, "\r\n\r\n");
    if (end == NULL) {
        *taken = take;
        return conn->head_len < HEAD_MAX || bad_request(conn);
    }
    size_t head_len = (size_t)(end - conn->head) + 4;
    *taken = head_len - before;
    conn->head[head_len] = '\0';
    bool go_on = on_head(conn, conn->head, head_len);
    free(conn->head);
    conn->head = NULL;
    return go_on;
}

/* The data is followed by a zero byte. */
static bool on_data(struct conn *conn, const char *data, size_t len)
{
    while (len > 0) {
        size_t taken = 0;
        bool go_on;
        if (conn->phase == READ_BODY) {
            go_on = on_body(conn, data, len, &taken);
        } else if (conn->phase != READ_HEAD) {
            return bad_request(conn); /* nobody pipelines behind an answer under way */
        } else {
            const char *end = conn->head == NULL ? strstr(data, "\r\n\r\n") : NULL;
            if (end != NULL) {
                taken = (size_t)(end - data) + 4;
                go_on = on_head(conn, data, taken);
            } else {
                go_on = head_piece(conn, data, len, &taken);
            }
        }
        if (!go_on) {
            return false;
        }
        data += taken;
        len -= taken;
    }
    return true;
}

static bool on_readable(struct conn *conn)
{
    ssize_t n = recv(conn->fd, up.scratch, READ_SIZE, 0);
    if (n <= 0) {
        return n < 0 && errno == EAGAIN;
    }
    up.scratch[n] = '\0';
    return on_data(conn, up.scratch, (size_t)n);
}

static void on_accept(void)
{
    for (;;) {
        int fd = accept4(up.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *conn = calloc(1, sizeof *conn);
        if (conn == NULL) {
            bench_die("conn");
        }
        conn->fd = fd;
        up.accepted++;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        if (epoll_ctl(up.epfd, EPOLL_CTL_ADD, fd, &event) != 0) {
            bench_die("epoll_ctl");
        }
    }
}

static void on_event(const struct epoll_event *event)
{
    struct conn *conn = event->data.ptr;
    if (conn == NULL) {
        on_accept();
        return;
    }
    bool ok = true;
    if ((event->events & EPOLLOUT) != 0) {
        ok = conn_flush(conn);
    }
    if (ok && (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        ok = on_readable(conn);
    }
    if (!ok) {
        conn_close(conn);
    }
}

/* ---- life ---- */

static void make_answer(char *out, size_t size, const char *type, const char *body)
{
    int n =
        snprintf(out, size, "HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n%s",
                 type, strlen(body), body);
    if (n < 0 || (size_t)n >= size) {
        bench_die("answer");
    }
}

/* A completed chat whose content has `len` characters. */
static void make_chat(char *out, size_t size, const char *words, int len)
{
    static char body[20000];
    int n = snprintf(body, sizeof body,
                     "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,"
                     "\"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                     "\"content\":\"%.*s\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{"
                     "\"prompt_tokens\":64,\"completion_tokens\":187,\"total_tokens\":251}}",
                     len, words);
    if (n < 0 || (size_t)n >= sizeof body) {
        bench_die("answer");
    }
    make_answer(out, size, "application/json", body);
}

static void make_answers(void)
{
    static char words[16385];
    for (size_t i = 0; i < sizeof words - 1; i++) {
        words[i] = "the quick brown fox jumps over the lazy dog "[i % 44];
    }
    make_chat(up.chat, sizeof up.chat, words, 750);
    make_chat(up.large, sizeof up.large, words, 16100);
    words[1024] = '\0';
    make_answer(up.plain, sizeof up.plain, "text/plain", words);
    make_answer(up.models, sizeof up.models, "application/json",
                "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\","
                "\"created\":1700000000,\"owned_by\":\"bench\"}]}");
    make_answer(up.health, sizeof up.health, "text/plain", "ok");
}

static void start(int port)
{
    bench_prepare();
    up.scratch = malloc(READ_SIZE + 1);
    up.epfd = epoll_create1(EPOLL_CLOEXEC);
    up.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(up.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (up.scratch == NULL || up.epfd < 0 || up.listener < 0 ||
        bind(up.listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(up.listener, 16384) != 0) {
        bench_die("listen");
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(up.epfd, EPOLL_CTL_ADD, up.listener, &event) != 0) {
        bench_die("epoll_ctl");
    }
    make_answers();
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

static void fire_timers(void)
{
    int64_t now = bench_now();
    while (up.heap_len > 0 && up.heap[1]->due <= now) {
        struct conn *conn = up.heap[1];
        if (!on_timer(conn)) {
            conn_close(conn);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 || strcmp(argv[1], "--port") != 0) {
        fprintf(stderr, "usage: upstream --port PORT\n");
        return 2;
    }
    start(atoi(argv[2]));
    struct epoll_event events[256];
    while (!stopping) {
        int n = bench_wait(up.epfd, events, 256, up.heap_len > 0 ? up.heap[1]->due : INT64_MAX);
        for (int i = 0; i < n; i++) {
            on_event(&events[i]);
        }
        fire_timers();
    }
    printf("{\"requests\":%llu,\"streams\":%llu,\"finished\":%llu,\"aborted\":%llu,\"bad\":%llu,"
           "\"accepted\":%llu}\n",
           (unsigned long long)up.requests, (unsigned long long)up.streams,
           (unsigned long long)up.finished, (unsigned long long)up.aborted,
           (unsigned long long)up.bad, (unsigned long long)up.accepted);
    return 0;
}

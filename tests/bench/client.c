/* client - the load of a benchmark: HTTP/1.1 over raw epoll on one thread, results as JSON.
 *
 *   closed loop   each connection sends its next request when the answer is there
 *   open loop     (--rate) requests have times at which they are due, whatever the server does;
 *                 a latency counts from the due time ("corrected"), and beside it from the sending
 *
 * Every byte of an answer is looked at: plain bodies are compared with the first one, streams are
 * checked event by event against the number and the checksum that the bench upstream puts in.
 *
 *   connect (ramp) --> warm up --> measure --> nothing new, wait for what is under way --> report
 *
 * The processor time of the processes named by --watch is read when measuring starts and ends.
 *
 * Thread: one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"
#include "hist.h"
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 8192, EVENT_MAX = 1024, READ_SIZE = 65536, REFERENCE_MAX = 1 << 20 };

enum phase { CLOSED, CONNECTING, IDLE, SENDING, HEAD, BODY };

struct conn {
    int fd;
    enum phase phase;
    bool counted; /* sent inside the measured time */
    bool queued;  /* in the ring of idle connections */
    unsigned served;
    int64_t open_at; /* when it may connect */
    int64_t due;     /* of the request under way */
    int64_t sent;
    size_t out_at;
    unsigned question;
    /* answer */
    char *head; /* only while a head arrives in pieces */
    size_t head_len;
    bool chunked;
    bool close_after;
    uint64_t body_left;
    uint64_t body_len;
    uint64_t body_sum; /* of a stream's events */
    struct bench_chunked decoder;
    /* stream */
    char *event;
    size_t event_len;
    unsigned events;
    int64_t last_event;
    bool sum_seen;
    bool end_seen;
    bool damaged;
};

struct usage {
    double own, watched;
};

static struct bench_load opt;

static struct {
    int epfd;
    char *request;
    size_t request_len;
    char *digits; /* in it, of the question's number */
    size_t asked; /* requests so far */
    char *scratch;
    struct conn *conns;
    /* connections that wait for a request: a ring, so that all of them take part */
    struct conn **idle;
    size_t idle_at, idle_len;
    /* requests that wait for a connection: their due times, a ring that grows */
    int64_t *pending;
    size_t pending_at, pending_len, pending_cap;
    int64_t next_due, begin, end, give_up;
    unsigned opened, under_way;
    bool measuring, over;
    struct usage usage_at_begin, usage_at_end;
    int64_t begun, ended;
    /* results */
    uint64_t total, done, errors, bad_status, damaged, unfinished, reconnects, bytes, events;
    char *reference; /* the first plain answer, which all others must equal */
    uint64_t reference_len;
    const struct conn *reference_conn; /* whose answer it is */
    bool reference_whole;
    char first_error[160];
    struct hist corrected, uncorrected, ttft, gap, lag;
} run;

static void conn_open(struct conn *conn);
static void conn_ready(struct conn *conn);

static struct usage usage_now(void)
{
    return (struct usage){.own = bench_load_process_ns(getpid()),
                          .watched = bench_load_watched_ns(&opt)};
}

/* ---- failure ---- */

static void note_error(const struct conn *conn, const char *what)
{
    run.errors++;
    if (run.first_error[0] == '\0') {
        snprintf(run.first_error, sizeof run.first_error, "%s (phase %d, errno %d)", what,
                 (int)conn->phase, errno);
    }
}

static void conn_close(struct conn *conn)
{
    if (conn->phase == CLOSED) {
        return;
    }
    if (conn->phase >= SENDING) {
        run.under_way--;
    }
    close(conn->fd);
    free(conn->head);
    conn->head = NULL;
    conn->phase = CLOSED;
}

static void conn_fail(struct conn *conn, const char *what)
{
    note_error(conn, what);
    bool opened = conn->phase != CONNECTING;
    conn_close(conn);
    run.opened -= opened;
    /* A refused connection is tried again a little later, or the loop would do nothing else. */
    conn->open_at = bench_now() + 20 * BENCH_MS;
}

/* ---- sending ---- */

static void conn_watch(struct conn *conn, uint32_t what, int op)
{
    struct epoll_event event = {.events = what, .data.ptr = conn};
    if (epoll_ctl(run.epfd, op, conn->fd, &event) != 0) {
        bench_die("epoll_ctl");
    }
}

static void conn_write(struct conn *conn)
{
    bool waited = conn->out_at > 0;
    if (opt.trace != NULL) {
        char number[BENCH_QUESTION_DIGITS + 1];
        snprintf(number, sizeof number, "%010u", conn->question);
        memcpy(run.digits, number, BENCH_QUESTION_DIGITS);
    }
    ssize_t n =
        send(conn->fd, run.request + conn->out_at, run.request_len - conn->out_at, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        conn_fail(conn, "send");
        return;
    }
    conn->out_at += n > 0 ? (size_t)n : 0;
    if (conn->out_at < run.request_len) {
        conn_watch(conn, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
        return;
    }
    if (waited) {
        conn_watch(conn, EPOLLIN, EPOLL_CTL_MOD);
    }
    conn->phase = HEAD;
}

static void conn_request(struct conn *conn, int64_t due)
{
    conn->phase = SENDING;
    conn->due = due;
    conn->sent = bench_now();
    conn->counted = run.measuring;
    conn->out_at = 0;
    if (opt.trace != NULL) {
        conn->question = opt.questions[run.asked % opt.question_count];
    }
    run.asked++;
    conn->body_len = 0;
    conn->body_sum = BENCH_FNV_START;
    conn->events = 0;
    conn->event_len = 0;
    conn->last_event = 0;
    conn->sum_seen = conn->end_seen = conn->damaged = false;
    run.under_way++;
    conn_write(conn);
}

static bool is_enough(void)
{
    return opt.requests > 0 && run.asked >= opt.requests;
}

static void conn_ready(struct conn *conn)
{
    conn->phase = IDLE;
    if (run.over || is_enough()) {
        return;
    }
    if (opt.rate <= 0) {
        conn_request(conn, bench_now());
        return;
    }
    if (run.pending_len > 0) {
        int64_t due = run.pending[run.pending_at];
        run.pending_at = (run.pending_at + 1) % run.pending_cap;
        run.pending_len--;
        conn_request(conn, due);
        return;
    }
    if (!conn->queued) {
        conn->queued = true;
        run.idle[(run.idle_at + run.idle_len) % opt.conns] = conn;
        run.idle_len++;
    }
}

static void pending_push(int64_t due)
{
    if (run.pending_len == run.pending_cap) {
        size_t cap = run.pending_cap > 0 ? run.pending_cap * 2 : 1024;
        int64_t *grown = malloc(cap * sizeof *grown);
        if (grown == NULL) {
            bench_die("pending");
        }
        for (size_t i = 0; i < run.pending_len; i++) {
            grown[i] = run.pending[(run.pending_at + i) % run.pending_cap];
        }
        free(run.pending);
        run.pending = grown;
        run.pending_at = 0;
        run.pending_cap = cap;
    }
    run.pending[(run.pending_at + run.pending_len) % run.pending_cap] = due;
    run.pending_len++;
}

/* Gives each request that is due to the connection that waited longest. */
static void send_due(int64_t now)
{
    while (run.next_due <= now) {
        int64_t due = run.next_due;
        run.next_due += (int64_t)((double)BENCH_SEC / opt.rate);
        struct conn *conn = NULL;
        while (run.idle_len > 0 && (conn == NULL || conn->phase != IDLE)) {
            conn = run.idle[run.idle_at];
            conn->queued = false;
            run.idle_at = (run.idle_at + 1) % opt.conns;
            run.idle_len--;
        }
        if (conn != NULL && conn->phase == IDLE) {
            conn_request(conn, due);
        } else {
            pending_push(due);
        }
    }
}

/* ---- answers ---- */

static void count_answer(struct conn *conn, int64_t now)
{
    run.total++;
    if (opt.stream) {
        conn->damaged |= !conn->sum_seen || !conn->end_seen;
    } else if (!run.reference_whole) {
        run.reference_whole = conn == run.reference_conn;
    } else {
        conn->damaged |= conn->body_len != run.reference_len;
    }
    if (conn->damaged) {
        run.damaged++;
        note_error(conn, "an answer differs from what was sent");
    }
    if (conn->counted) {
        run.done++;
        run.bytes += conn->body_len;
        hist_add(&run.corrected, now - conn->due);
        hist_add(&run.uncorrected, now - conn->sent);
    }
}

static void on_answer(struct conn *conn)
{
    count_answer(conn, bench_now());
    run.under_way--;
    conn->phase = IDLE;
    conn->served++;
    if (conn->close_after || (opt.reuse > 0 && conn->served >= opt.reuse)) {
        conn_close(conn);
        run.opened--;
        run.reconnects++;
        conn->open_at = 0;
        if (!run.over) {
            conn_open(conn);
        }
        return;
    }
    conn_ready(conn);
}

/* The number behind "name": in an event, or -1. */
static long long event_number(const char *event, const char *name)
{
    const char *at = strstr(event, name);
    return at != NULL ? strtoll(at + strlen(name), NULL, 10) : -1;
}

static void on_token(struct conn *conn, long long number, int64_t now)
{
    conn->damaged |= number != (long long)conn->events;
    if (conn->counted && conn->events == 0) {
        hist_add(&run.ttft, now - conn->due);
    }
    if (run.measuring) {
        if (conn->events > 0) {
            hist_add(&run.gap, now - conn->last_event);
        }
        hist_add(&run.lag, now - event_number(conn->event, "\"t\":"));
    }
    run.events++;
    conn->events++;
    conn->last_event = now;
    conn->body_sum = bench_fnv(conn->body_sum, conn->event, conn->event_len);
}

static void on_sse_event(struct conn *conn, int64_t now)
{
    conn->event[conn->event_len] = '\0';
    const char *sum = strstr(conn->event, "\"sum\":\"");
    long long number = event_number(conn->event, "\"n\":");
    if (number >= 0 && !conn->sum_seen) {
        on_token(conn, number, now);
    } else if (sum != NULL) {
        conn->sum_seen = true;
        conn->damaged |= strtoull(sum + 7, NULL, 16) != conn->body_sum;
    } else if (strcmp(conn->event, "data: [DONE]\n\n") == 0) {
        conn->end_seen = true;
    } else {
        conn->damaged |= strstr(conn->event, "\"usage\":") == NULL;
    }
}

/* Cuts a stream into its events, which end in an empty line. */
static void on_sse_bytes(struct conn *conn, const char *data, size_t len, int64_t now)
{
    if (conn->event == NULL && (conn->event = malloc(EVENT_MAX + 1)) == NULL) {
        bench_die("event");
    }
    for (size_t at = 0; at < len && !conn->damaged;) {
        const char *eol = memchr(data + at, '\n', len - at);
        size_t stop = eol != NULL ? (size_t)(eol - data) + 1 : len;
        if (conn->event_len + (stop - at) > EVENT_MAX) {
            conn->damaged = true;
            return;
        }
        memcpy(conn->event + conn->event_len, data + at, stop - at);
        conn->event_len += stop - at;
        at = stop;
        if (conn->event_len >= 2 && memcmp(conn->event + conn->event_len - 2, "\n\n", 2) == 0) {
            on_sse_event(conn, now);
            conn->event_len = 0;
        }
    }
}

/* The first connection that gets a body keeps it, for all later ones to be compared with. */
static void keep_reference(const struct conn *conn, const char *data, size_t len)
{
    if (run.reference_conn == NULL) {
        run.reference_conn = conn;
    }
    if (conn == run.reference_conn && run.reference_len + len <= REFERENCE_MAX) {
        memcpy(run.reference + run.reference_len, data, len);
        run.reference_len += len;
    }
}

static void on_body_bytes(struct conn *conn, const char *data, size_t len, int64_t now)
{
    if (opt.stream) {
        on_sse_bytes(conn, data, len, now);
    } else if (run.reference_whole) {
        /* Compared, not summed: a checksum of every body would cost more than the exchange. */
        conn->damaged |= conn->body_len + len > run.reference_len ||
                         memcmp(run.reference + conn->body_len, data, len) != 0;
    } else {
        keep_reference(conn, data, len);
    }
    conn->body_len += len;
}

/* Takes a whole head. False when the answer cannot be read. */
static bool on_head(struct conn *conn, const char *head, size_t len)
{
    size_t n;
    if (len < 12 || memcmp(head, "HTTP/1.1 ", 9) != 0) {
        return false;
    }
    if (memcmp(head + 9, "200", 3) != 0) {
        run.bad_status++;
        conn->damaged = true;
        if (run.first_error[0] == '\0') {
            snprintf(run.first_error, sizeof run.first_error, "status %.3s", head + 9);
        }
    }
    const char *value = bench_header(head, len, "content-length:", &n);
    conn->body_left = value != NULL ? strtoull(value, NULL, 10) : 0;
    value = bench_header(head, len, "transfer-encoding:", &n);
    conn->chunked = value != NULL;
    conn->decoder = (struct bench_chunked){0};
    value = bench_header(head, len, "connection:", &n);
    conn->close_after = value != NULL && n == 5 && strncasecmp(value, "close", 5) == 0;
    conn->phase = BODY;
    return true;
}

static bool head_piece(struct conn *conn, const char *data, size_t len, size_t *taken)
{
    if (conn->head == NULL) {
        conn->head_len = 0;
        if ((conn->head = malloc(HEAD_MAX + 1)) == NULL) {
            bench_die("head");
        }
    }
    size_t before = conn->head_len;
    size_t take = len < HEAD_MAX - before ? len : HEAD_MAX - before;
    memcpy(conn->head + before, data, take);
    conn->head_len += take;
    conn->head[conn->head_len] = '\0';
    char *end = strstr(conn->head, "\r\n\r\n");
    if (end == NULL) {
        *taken = take;
        return conn->head_len < HEAD_MAX;
    }
    *taken = (size_t)(end - conn->head) + 4 - before;
    bool ok = on_head(conn, conn->head, before + *taken);
    free(conn->head);
    conn->head = NULL;
    return ok;
}

/* Takes one step through the data. False when it cannot be read. */
static bool answer_step(struct conn *conn, const char *data, size_t len, size_t *taken, int64_t now)
{
    if (conn->phase == HEAD) {
        const char *end = conn->head == NULL ? strstr(data, "\r\n\r\n") : NULL;
        if (end == NULL) {
            return head_piece(conn, data, len, taken);
        }
        *taken = (size_t)(end - data) + 4;
        return on_head(conn, data, *taken);
    }
    if (!conn->chunked) {
        *taken = len < conn->body_left ? len : (size_t)conn->body_left;
        conn->body_left -= *taken;
        on_body_bytes(conn, data, *taken, now);
        return true;
    }
    const char *piece;
    size_t piece_len;
    *taken = bench_chunked_read(&conn->decoder, data, len, &piece, &piece_len);
    on_body_bytes(conn, piece, piece_len, now);
    return conn->decoder.state != BENCH_CHUNK_BAD;
}

static bool body_is_over(const struct conn *conn)
{
    return conn->phase == BODY &&
           (conn->chunked ? conn->decoder.state == BENCH_CHUNK_DONE : conn->body_left == 0);
}

static void on_readable(struct conn *conn)
{
    ssize_t n = recv(conn->fd, run.scratch, READ_SIZE, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0 && conn->phase == IDLE) {
        conn_close(conn);
        run.opened--;
        run.reconnects++;
        conn->open_at = 0;
        return;
    }
    if (n <= 0) {
        conn_fail(conn, n < 0 ? "recv" : "closed before the answer was whole");
        return;
    }
    run.scratch[n] = '\0';
    int64_t now = opt.stream ? bench_now() : 0;
    for (size_t at = 0; at < (size_t)n;) {
        size_t taken = 0;
        if (conn->phase != HEAD && conn->phase != BODY) {
            conn_fail(conn, "bytes behind an answer");
            return;
        }
        if (!answer_step(conn, run.scratch + at, (size_t)n - at, &taken, now)) {
            conn_fail(conn, "an answer that cannot be read");
            return;
        }
        at += taken;
        if (body_is_over(conn)) {
            if (at < (size_t)n) {
                conn_fail(conn, "bytes behind an answer");
                return;
            }
            on_answer(conn);
            return;
        }
    }
}

/* ---- connections ---- */

static void conn_open(struct conn *conn)
{
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        bench_die("socket");
    }
    int one = 1;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)opt.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    conn->phase = CONNECTING;
    conn->served = 0;
    if (connect(conn->fd, (struct sockaddr *)&address, sizeof address) != 0 &&
        errno != EINPROGRESS) {
        conn_fail(conn, "connect");
        return;
    }
    conn_watch(conn, EPOLLOUT, EPOLL_CTL_ADD);
}

static void on_connected(struct conn *conn)
{
    int err = 0;
    socklen_t len = sizeof err;
    getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err != 0) {
        errno = err;
        conn_fail(conn, "connect");
        return;
    }
    conn_watch(conn, EPOLLIN, EPOLL_CTL_MOD);
    run.opened++;
    conn_ready(conn);
}

static void on_event(const struct epoll_event *event)
{
    struct conn *conn = event->data.ptr;
    if (conn->phase == CONNECTING) {
        on_connected(conn);
        return;
    }
    if (conn->phase == SENDING && (event->events & EPOLLOUT) != 0) {
        conn_write(conn);
    }
    if (conn->phase != CLOSED && (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        on_readable(conn);
    }
}

/* Opens what may be opened by now; returns when to look again. */
static int64_t open_conns(int64_t now)
{
    int64_t next = INT64_MAX;
    for (unsigned i = 0; i < opt.conns && !run.over; i++) {
        struct conn *conn = &run.conns[i];
        if (conn->phase != CLOSED) {
            continue;
        }
        if (conn->open_at <= now) {
            conn_open(conn);
        }
        if (conn->phase == CLOSED && conn->open_at < next) {
            next = conn->open_at;
        }
    }
    return next;
}

/* ---- the run ---- */

static void begin_measuring(int64_t now)
{
    run.measuring = true;
    run.begun = now;
    run.usage_at_begin = usage_now();
}

static void end_measuring(int64_t now)
{
    run.over = true;
    run.measuring = false;
    run.ended = now;
    run.usage_at_end = usage_now();
    run.give_up = now + (int64_t)(opt.drain * (double)BENCH_SEC);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What is due now; returns when to wake up at the latest. */
static int64_t turn(int64_t now, int64_t *next_open)
{
    if (!run.measuring && !run.over && now >= run.begin) {
        begin_measuring(now);
    }
    if (run.measuring && (now >= run.end || is_enough())) {
        end_measuring(now);
    }
    if (run.over) {
        return run.give_up;
    }
    if (now >= *next_open || run.opened < opt.conns) {
        *next_open = open_conns(now);
    }
    if (opt.rate > 0) {
        send_due(now);
    }
    int64_t until = run.measuring ? run.end : run.begin;
    return earlier(until, earlier(*next_open, opt.rate > 0 ? run.next_due : INT64_MAX));
}

static void loop(void)
{
    struct epoll_event events[256];
    int64_t next_open = 0;
    for (;;) {
        int64_t now = bench_now();
        int64_t until = turn(now, &next_open);
        if (run.over && (run.under_way == 0 || now >= run.give_up)) {
            run.unfinished = run.under_way;
            return;
        }
        int n = bench_wait(run.epfd, events, 256, until);
        for (int i = 0; i < n; i++) {
            on_event(&events[i]);
        }
    }
}

static void prepare(void)
{
    bench_prepare();
    run.request = bench_load_request(&opt, &run.request_len, &run.digits);
    run.epfd = epoll_create1(EPOLL_CLOEXEC);
    run.scratch = malloc(READ_SIZE + 1);
    run.conns = calloc(opt.conns, sizeof *run.conns);
    run.idle = calloc(opt.conns, sizeof(struct conn *));
    run.reference = malloc(REFERENCE_MAX);
    if (run.epfd < 0 || run.scratch == NULL || run.conns == NULL || run.idle == NULL ||
        run.reference == NULL) {
        bench_die("prepare");
    }
    int64_t now = bench_now();
    int64_t ramp = (int64_t)(opt.ramp * (double)BENCH_SEC);
    for (unsigned i = 0; i < opt.conns; i++) {
        run.conns[i].open_at = now + ramp * i / opt.conns;
    }
    run.next_due = now + ramp + 20 * BENCH_MS;
    run.begin = now + ramp + (int64_t)(opt.warmup * (double)BENCH_SEC);
    run.end = run.begin + (int64_t)(opt.seconds * (double)BENCH_SEC);
}

static void report(void)
{
    double wall = (double)(run.ended - run.begun);
    double watched = run.usage_at_end.watched - run.usage_at_begin.watched;
    double own = run.usage_at_end.own - run.usage_at_begin.own;
    printf("{\"seconds\":%.3f,\"total\":%llu,\"requests\":%llu,\"rate\":%.1f,\"errors\":%llu,"
           "\"bad_status\":%llu,\"damaged\":%llu,\"unfinished\":%llu,\"pending\":%zu,"
           "\"reconnects\":%llu,\"bytes\":%llu,\"events\":%llu,\"first_error\":\"%s\",",
           wall / 1e9, (unsigned long long)run.total, (unsigned long long)run.done,
           (double)run.done / (wall / 1e9), (unsigned long long)run.errors,
           (unsigned long long)run.bad_status, (unsigned long long)run.damaged,
           (unsigned long long)run.unfinished, run.pending_len, (unsigned long long)run.reconnects,
           (unsigned long long)run.bytes, (unsigned long long)run.events, run.first_error);
    printf("\"own_busy\":%.4f,\"watched_busy\":%.4f,\"watched_us_per_request\":%.3f,", own / wall,
           watched / wall, run.done > 0 ? watched / 1e3 / (double)run.done : 0);
    hist_print(&run.corrected, "latency");
    printf(",");
    hist_print(&run.uncorrected, "latency_uncorrected");
    printf(",");
    hist_print(&run.ttft, "ttft");
    printf(",");
    hist_print(&run.gap, "gap");
    printf(",");
    hist_print(&run.lag, "lag");
    printf("}\n");
}

int main(int argc, char **argv)
{
    if (!bench_load_read(&opt, argc, argv)) {
        return 2;
    }
    prepare();
    loop();
    report();
    return 0;
}

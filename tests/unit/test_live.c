/* test_live - the hub with an encoder that can be counted: who gets which frame, and how often one is made.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "daemon/live.h"

#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "../helpers/turns.h"
#include "daemon/live_hub.h"
#include "http/server.h"

enum { CLIENTS = 80 };

#define ASK                                                                                                            \
    "GET /ws/metrics HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

struct bench {
    struct turns turns;
    struct ps_metrics *metrics;
    struct ps_server *server;
    struct ps_live *live;
    struct ps_live_opts opts;
    struct ps_live_counter counter;
    _Atomic int gone; /* counted by the hub's thread */
    int seconds;
    int firsts;  /* frames made with history, of all sets */
    int frames;  /* without */
    int fails;   /* this many calls of the encoder fail */
    size_t bulk; /* bytes that each frame has beside */
    struct raw clients[CLIENTS];
    size_t count;
    struct raw *watched;
    const char *want;
    int want_gone;
};

/* "[first ]second N of a b" */
static int encode(void *ctx, const char *const *keys, size_t count, bool first, struct ps_buf *out)
{
    struct bench *bench = ctx;
    assert_true((keys == NULL) == (count == 0));
    if (bench->fails > 0) {
        bench->fails--;
        return PS_ENOMEM;
    }
    bench->firsts += first ? 1 : 0;
    bench->frames += first ? 0 : 1;
    int err = ps_buf_printf(out, "<%ssecond %d of", first ? "first " : "", bench->seconds);
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = ps_buf_printf(out, " %s", keys[i]);
    }
    for (size_t i = 0; i < bench->bulk && err == PS_OK; i++) {
        err = ps_buf_append_str(out, PS_STR("."));
    }
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR(">"));
}

/* As in the program: the answer comes from outside of the reading. */
struct guest {
    struct ps_task task;
    struct bench *bench;
    struct ps_exchange *exchange;
};

static void on_turn(struct ps_task *task)
{
    struct guest *guest = PS_CONTAINER_OF(task, struct guest, task);
    ps_live_take(guest->bench->live, guest->exchange, &guest->bench->counter);
    free(guest);
}

static void on_request(void *ctx, struct ps_exchange *exchange)
{
    struct bench *bench = ctx;
    struct guest *guest = calloc(1, sizeof *guest);
    *guest = (struct guest){.task.on_turn = on_turn, .bench = bench, .exchange = exchange};
    ps_exchange_handle(exchange, NULL, NULL);
    ps_loop_defer(bench->turns.loop, &guest->task);
}

static void on_gone(void *ctx, const struct ps_address *peer)
{
    struct bench *bench = ctx;
    assert_true(ps_address_is_loopback(peer));
    bench->gone++;
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    struct ps_metrics_opts metrics = {.shards = 2};
    struct ps_server_opts server;
    bench->opts = (struct ps_live_opts){.max_subscribers = 70, .ping_interval = PS_HOUR, .compress = true};
    bench->counter = (struct ps_live_counter){on_gone, bench};
    ps_server_opts_init(&server);
    server.on_request = on_request;
    server.ctx = bench;
    *state = bench;
    int err = ps_loop_new(&bench->turns.loop, &ps_clock_real);
    err = err != PS_OK ? err : ps_metrics_new(&bench->metrics, &metrics);
    err = err != PS_OK ? err : ps_server_new(&bench->server, bench->turns.loop, &server);
    return err != PS_OK ? err
                        : ps_live_new(&bench->live, &bench->opts, bench->turns.loop, bench->metrics, encode, bench);
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    for (size_t i = 0; i < bench->count; i++) {
        raw_close(&bench->clients[i]);
    }
    ps_server_free(bench->server);
    ps_live_free(bench->live);
    ps_loop_free(bench->turns.loop);
    ps_metrics_free(bench->metrics);
    free(bench);
    return 0;
}

static bool has_wanted(void *ctx)
{
    const struct bench *bench = ctx;
    return raw_has(bench->watched, bench->want);
}

static void await(struct bench *bench, struct raw *client, const char *text)
{
    bench->watched = client;
    bench->want = text;
    bench->turns.raws[0] = client;
    if (!turns_until(&bench->turns, has_wanted, bench)) {
        print_message("got: %.*s\n", PS_STR_ARG(ps_buf_str(&client->got)));
        fail_msg("never came: %s", text);
    }
}

static bool all_gone(void *ctx)
{
    struct bench *bench = ctx;
    return bench->gone >= bench->want_gone;
}

static void await_gone(struct bench *bench, int count)
{
    bench->want_gone = count;
    assert_true(turns_until(&bench->turns, all_gone, bench));
}

static struct raw *dial(struct bench *bench)
{
    int pair[2];
    struct ps_address peer;
    struct raw *client = &bench->clients[bench->count++];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0); /* the hub's loop unblocks its end */
    assert_int_equal(ps_address_parse(PS_STR("127.0.0.1:1234"), &peer), PS_OK);
    raw_init(client, pair[1]);
    ps_server_adopt(bench->server, pair[0], &peer, NULL);
    raw_write(client, ASK);
    return client;
}

static struct raw *join(struct bench *bench)
{
    struct raw *client = dial(bench);
    await(bench, client, "<first second ");
    await(bench, client, ">");
    ps_buf_clear(&client->got);
    return client;
}

/* A text frame, masked with zeros. */
static void tell(struct raw *client, const char *text)
{
    size_t len = strlen(text);
    char head[8] = {(char)0x81, (char)(0x80 | (len < 126 ? len : 126)), (char)(len >> 8), (char)len};
    size_t head_len = len < 126 ? 6 : 8;
    memset(head + head_len - 4, 0, 4);
    assert_int_equal(send(client->fd, head, head_len, MSG_NOSIGNAL), head_len);
    assert_int_equal(send(client->fd, text, len, MSG_NOSIGNAL), len);
}

static void tick(struct bench *bench)
{
    bench->seconds++;
    ps_live_second(bench->live);
}

static void rest(struct bench *bench)
{
    turns_rest(&bench->turns);
}

static double metric(struct bench *bench, size_t row, const char *label)
{
    struct ps_counter *counter;
    struct ps_metric_labels labels = {{ps_str_from(label)}};
    assert_int_equal(ps_metric_counter(bench->metrics, &ps_live_metric_families[row], label == NULL ? NULL : &labels,
                                       &counter), PS_OK);
    uint64_t value = ps_counter_read(bench->metrics, counter);
    ps_metric_put(bench->metrics, &counter->handle);
    return (double)value;
}

/* --- cases ------------------------------------------------------------------------------------ */

static void each_second_brings_one_frame_to_all(void **state)
{
    struct bench *bench = *state;
    struct raw *a = join(bench);
    struct raw *b = join(bench);
    assert_int_equal(ps_live_subscribers(bench->live), 2);
    assert_int_equal(bench->firsts, 1); /* of the same second: made once */
    tick(bench);
    await(bench, a, "<second 1 of>");
    await(bench, b, "<second 1 of>");
    assert_int_equal(bench->frames, 1);
    struct raw *c = join(bench); /* a new second, a new first frame */
    assert_int_equal(bench->firsts, 2);
    tick(bench);
    await(bench, c, "<second 2 of>");
    assert_false(raw_has(c, "second 1"));
    assert_int_equal(bench->frames, 2);
}

static void nobody_costs_nothing(void **state)
{
    struct bench *bench = *state;
    tick(bench);
    struct raw *client = join(bench);
    raw_close(client);
    await_gone(bench, 1);
    tick(bench);
    rest(bench);
    assert_int_equal(bench->frames, 0);
    assert_int_equal(ps_live_subscribers(bench->live), 0);
    client = dial(bench);
    await(bench, client, "<first second 2 of>"); /* not the one of before */
}

static void equal_sets_share_a_frame_and_get_its_history_first(void **state)
{
    struct bench *bench = *state;
    struct raw *a = join(bench);
    struct raw *b = join(bench);
    struct raw *c = join(bench);
    tell(a, "{\"subscribe\":[\"y\",\"x\"]}");
    await(bench, a, "<first second 0 of x y>");
    tell(b, "{\"subscribe\":[\"x\",\"y\",\"x\"]}");
    await(bench, b, "<first second 0 of x y>");
    assert_int_equal(bench->firsts, 2);
    tick(bench);
    await(bench, a, "<second 1 of x y>");
    await(bench, b, "<second 1 of x y>");
    await(bench, c, "<second 1 of>");
    assert_false(raw_has(a, "<second 1 of>"));
    assert_int_equal(bench->frames, 2);
    tell(b, "{\"unsubscribe\":[\"y\",\"never there\"]}");
    await(bench, b, "<first second 1 of x>");
    tell(b, "{\"subscribe\":[\"z\"]}");
    await(bench, b, "<first second 1 of x z>");
    tell(b, "{\"unsubscribe\":[\"x\",\"z\"]}");
    await(bench, b, "<first second 1 of>");
    tick(bench);
    await(bench, b, "<second 2 of>");
}

static void what_is_no_message_is_answered_and_changes_nothing(void **state)
{
    struct bench *bench = *state;
    struct raw *client = join(bench);
    static const char *const rows[] = {
        "", "x", "[]", "{}", "{\"subscribe\":\"gpu\"}", "{\"subscribe\":[]}", "{\"subscribe\":[1]}",
        "{\"subscribe\":[\"\"]}", "{\"subscribe\":[\"a\"],\"unsubscribe\":[\"b\"]}", "{\"subscribe\":[\"a\"],\"x\":1}",
        "{\"subscribe\":[\"a\"],\"subscribe\":[\"b\"]}", "{\"subscribe\":[\"a\\u0000b\"]}", "{\"subscribe\":[\"a\"]}}",
        "{\"subscribe\":[\"a\",null]}", "[[[[[[[[[[[[[[[[",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        ps_buf_clear(&client->got);
        tell(client, rows[i]);
        await(bench, client, "{\"type\":\"error\",\"code\":\"invalid_message\",\"message\":\"");
    }
    tick(bench);
    await(bench, client, "<second 1 of>");
}

static void keys_have_their_bound(void **state)
{
    struct bench *bench = *state;
    struct raw *client = join(bench);
    struct ps_buf text = ps_buf_make(64 * 1024);
    for (int round = 0; round < 2; round++) { /* 500 are taken, then one more is not */
        ps_buf_clear(&text);
        assert_int_equal(ps_buf_append_str(&text, PS_STR("{\"subscribe\":[\"k\"")), PS_OK);
        for (int i = 1; i < 500 + round; i++) {
            assert_int_equal(ps_buf_printf(&text, ",\"k%d\"", i), PS_OK);
        }
        assert_int_equal(ps_buf_append(&text, "]}", 3), PS_OK);
        tell(client, text.data);
        await(bench, client, round == 0 ? "<first second 0 of k k1 k10" : "\"code\":\"too_many_keys\"");
    }
    ps_buf_clear(&text);
    assert_int_equal(ps_buf_append_str(&text, PS_STR("{\"subscribe\":[\"")), PS_OK);
    for (int i = 0; i < 1025; i++) {
        assert_int_equal(ps_buf_append_str(&text, PS_STR("x")), PS_OK);
    }
    assert_int_equal(ps_buf_append(&text, "\"]}", 4), PS_OK);
    tell(client, text.data);
    await(bench, client, "key 0 is not a text of 1 to 1024 bytes");
    tell(client, "{\"subscribe\":[\"one more\"]}");
    await(bench, client, "at most 500 keys in all");
    ps_buf_fini(&text);
}

static void sets_have_their_bound(void **state)
{
    struct bench *bench = *state;
    char text[64];
    for (int i = 0; i < 65; i++) {
        struct raw *client = join(bench);
        snprintf(text, sizeof text, "{\"subscribe\":[\"key%d\"]}", i);
        tell(client, text);
        bench->seconds += i % 16 == 15;
        i % 16 == 15 ? ps_live_second(bench->live) : (void)0; /* so many firsts a second */
        await(bench, client, i < 64 ? "<first second" : "\"code\":\"too_many_sets\"");
    }
    ps_buf_clear(&bench->clients[64].got);
    tell(&bench->clients[64], "{\"subscribe\":[\"key3\"]}"); /* one that is there */
    tick(bench);
    await(bench, &bench->clients[64], "of key3>");
    raw_close(&bench->clients[0]);
    await_gone(bench, 1);
    tell(&bench->clients[64], "{\"unsubscribe\":[\"key3\"]}"); /* back, and to the place that is free now */
    tell(&bench->clients[64], "{\"subscribe\":[\"free\"]}");
    tick(bench);
    await(bench, &bench->clients[64], "of free>");
}

static void a_flood_of_changes_costs_control_little(void **state)
{
    struct bench *bench = *state;
    struct raw *client = join(bench);
    char text[64];
    for (int i = 0; i < 200; i++) {
        snprintf(text, sizeof text, "{\"subscribe\":[\"key%d\"]}", i);
        tell(client, text);
        if (i % 20 == 19) {
            rest(bench);
        }
    }
    assert_in_range(bench->firsts, 1, 17);
    tick(bench);
    await(bench, client, "key199");
    assert_in_range(bench->firsts, 2, 18);
}

static void a_frame_that_could_not_be_made_is_made_later(void **state)
{
    struct bench *bench = *state;
    bench->fails = 1;
    struct raw *client = dial(bench);
    rest(bench);
    await(bench, client, "101 Switching");
    assert_false(raw_has(client, "<"));
    tick(bench);
    await(bench, client, "<first second 1 of>");
    bench->fails = 1;
    tick(bench);
    tick(bench);
    await(bench, client, "<second 3 of>");
    assert_false(raw_has(client, "<second 2 of>"));
}

static void places_are_bounded(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < 70; i++) {
        dial(bench);
    }
    for (int i = 0; i < 70; i++) {
        await(bench, &bench->clients[i], "<first");
    }
    struct raw *late = dial(bench);
    await(bench, late, "HTTP/1.1 503 ");
    await(bench, late, "Retry-After: 5\r\n");
    await(bench, late, "too_many_subscribers");
    assert_int_equal(metric(bench, 1, NULL), 1);
    raw_close(&bench->clients[3]);
    await_gone(bench, 1);
    join(bench);
    bench->opts.max_subscribers = 1;
    ps_live_set(bench->live, &bench->opts);
    await(bench, dial(bench), "HTTP/1.1 503 ");
    assert_int_equal(ps_live_subscribers(bench->live), 70); /* nobody is sent away */
}

static void what_does_not_ask_for_a_websocket_is_told_so(void **state)
{
    struct bench *bench = *state;
    struct raw *client = &bench->clients[bench->count++];
    int pair[2];
    struct ps_address peer;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0); /* the hub's loop unblocks its end */
    assert_int_equal(ps_address_parse(PS_STR("127.0.0.1:1234"), &peer), PS_OK);
    raw_init(client, pair[1]);
    ps_server_adopt(bench->server, pair[0], &peer, NULL);
    raw_write(client, "GET /ws/metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    await(bench, client, "HTTP/1.1 426 Upgrade Required\r\n");
    await(bench, client, "Upgrade: websocket\r\n");
    await(bench, client, "Sec-WebSocket-Version: 13\r\n");
    await(bench, client, "websocket_needed");
    assert_int_equal(ps_live_subscribers(bench->live), 0);
}

static void a_slow_reader_misses_frames_and_nobody_else_does(void **state)
{
    struct bench *bench = *state;
    struct raw *slow = join(bench);
    struct raw *quick = join(bench);
    char want[40];
    bench->bulk = 300 * 1000;
    for (int i = 1; i <= 20; i++) {
        tick(bench);
        snprintf(want, sizeof want, "<second %d of.", i);
        await(bench, quick, want);
        ps_buf_clear(&quick->got);
    }
    assert_true(metric(bench, 4, NULL) >= 10);
    await(bench, slow, "<second 20 of");
    assert_false(raw_has(slow, "<second 12 of"));
}

static void goodbyes_are_said_and_counted(void **state)
{
    struct bench *bench = *state;
    struct raw *leaves = join(bench);
    struct raw *breaks = join(bench);
    struct raw *binary = join(bench);
    struct raw *lost = join(bench);
    struct raw *stays = join(bench);
    assert_int_equal(send(leaves->fd, "\x88\x82\0\0\0\0\x03\xe8", 8, MSG_NOSIGNAL), 8);
    assert_int_equal(send(breaks->fd, "\x81\x01x", 3, MSG_NOSIGNAL), 3);
    assert_int_equal(send(binary->fd, "\x82\x81\0\0\0\0x", 7, MSG_NOSIGNAL), 7);
    await(bench, leaves, "\x88\x02\x03\xe8");
    await(bench, breaks, "\x03\xea");
    await(bench, binary, "\x03\xeb");
    raw_close(leaves);
    raw_close(breaks);
    raw_close(binary);
    raw_close(lost);
    await_gone(bench, 4);
    ps_live_drain(bench->live);
    await(bench, stays, "\x03\xe9" "the server is stopping");
    await(bench, dial(bench), "HTTP/1.1 503 ");
    raw_close(stays);
    await_gone(bench, 5);
    assert_int_equal(metric(bench, 5, "left"), 1);
    assert_int_equal(metric(bench, 5, "protocol"), 2);
    assert_int_equal(metric(bench, 5, "lost"), 1);
    assert_int_equal(metric(bench, 5, "stopped"), 1);
}

static void who_does_not_answer_the_last_goodbye_is_cut_off(void **state)
{
    struct bench *bench = *state;
    struct raw *client = join(bench);
    tell(client, "{\"subscribe\":[\"x\"]}");
    await(bench, client, "of x>");
    ps_live_free(bench->live);
    bench->live = NULL;
    assert_int_equal(bench->gone, 1);
    raw_read(client);
    assert_true(client->ended);
}

/* The thread of that name, of this process; 0: there is none. */
static pid_t find_thread(const char *name)
{
    pid_t found = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char path[300];
        char text[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "re");
        if (file != NULL && fgets(text, sizeof text, file) != NULL && strncmp(text, name, strlen(name)) == 0) {
            found = (pid_t)strtol(entry->d_name, NULL, 10);
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    closedir(dir);
    return found;
}

static void its_thread_steps_back_for_requests(void **state)
{
    struct bench *bench = *state;
    join(bench); /* the thread has run */
    pid_t thread = find_thread("live\n");
    assert_true(thread > 0);
    assert_int_equal(sched_getscheduler(thread), SCHED_BATCH);
    int own = getpriority(PRIO_PROCESS, 0); /* 19 is the most */
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)thread), own < 14 ? own + 5 : 19);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        CASE(each_second_brings_one_frame_to_all),
        CASE(nobody_costs_nothing),
        CASE(its_thread_steps_back_for_requests),
        CASE(equal_sets_share_a_frame_and_get_its_history_first),
        CASE(what_is_no_message_is_answered_and_changes_nothing),
        CASE(keys_have_their_bound),
        CASE(sets_have_their_bound),
        CASE(a_flood_of_changes_costs_control_little),
        CASE(a_frame_that_could_not_be_made_is_made_later),
        CASE(places_are_bounded),
        CASE(what_does_not_ask_for_a_websocket_is_told_so),
        CASE(a_slow_reader_misses_frames_and_nobody_else_does),
        CASE(goodbyes_are_said_and_counted),
        CASE(who_does_not_answer_the_last_goodbye_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

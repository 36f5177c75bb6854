/* test_redis_real - the second tier against the packaged redis-server; skipped where there is none.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../helpers/redis_server.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../helpers/certificate.h"
#include "../helpers/redis_story.h"

struct scene {
    struct redis_server server;
    struct story story;
    struct certificate certificate;
    char url[128];
};

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    if (redis_server_is_installed()) {
        redis_server_init(&scene->server);
        snprintf(scene->url, sizeof scene->url, "redis://127.0.0.1:%u", scene->server.port);
    }
    story_init(&scene->story);
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    story_fini(&scene->story);
    redis_server_fini(&scene->server);
    if (scene->certificate.folder[0] != '\0') {
        certificate_drop(&scene->certificate);
    }
    free(scene);
    return 0;
}

/* The scene of a case, or no case. */
static struct scene *enter(void **state)
{
    struct scene *scene = *state;
    redis_server_need(scene->server.port != 0);
    return scene;
}

static struct scene *enter_running(void **state)
{
    struct scene *scene = enter(state);
    redis_server_run(&scene->server);
    story_open(&scene->story, scene->url);
    return scene;
}

/* --- values ----------------------------------------------------------------------------------- */

static void values_come_back(void **state)
{
    struct scene *scene = enter_running(state);
    struct story *story = &scene->story;
    static char even[200000];
    static char random[200000];
    struct ps_redis_node_stats stats;
    uint64_t bits = 1;
    for (size_t i = 0; i < sizeof random; i++) {
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        random[i] = (char)(bits >> 33);
        even[i] = "word "[i % 5];
    }
    assert_int_equal(story_ask(story, 1), PS_REDIS_MISS);
    story_store(story, 1, PS_STR("an answer"));
    story_store(story, 2, PS_STR(""));
    story_store(story, 3, (struct ps_str){even, sizeof even});
    story_store(story, 4, (struct ps_str){random, sizeof random});
    uint8_t key[PS_REDIS_KEY_BYTES];
    story_key(key, 1);
    assert_int_equal(ps_redis_delete(story->redis, key), PS_OK);
    assert_int_equal(story_ask(story, 1), PS_REDIS_MISS);
    stats = story_stats(story);
    assert_int_equal(stats.sets, 4);
    assert_int_equal(stats.hits, 4);
    assert_int_equal(stats.errors, 0);
    assert_int_equal(stats.connections, 1);
}

static void a_value_goes_when_its_time_is_over(void **state)
{
    struct scene *scene = enter_running(state);
    struct story *story = &scene->story;
    char reply[64];
    assert_int_equal(story_set(story, 1, PS_STR("short"), PS_SECOND), PS_OK);
    assert_int_equal(story_set(story, 2, PS_STR("long"), PS_MINUTE), PS_OK);
    assert_int_equal(story_ask(story, 2), PS_REDIS_HIT);
    story_pass(story, 1100 * PS_MILLISECOND);
    assert_int_equal(story_ask(story, 1), PS_REDIS_MISS);
    assert_int_equal(story_ask(story, 2), PS_REDIS_HIT);
    redis_server_say(scene->server.port, "DBSIZE\r\n", reply, sizeof reply);
    assert_string_equal(reply, ":1\r\n"); /* the server forgot it too */
}

static void a_thousand_lookups_at_once_are_all_told(void **state)
{
    struct scene *scene = enter_running(state);
    struct story *story = &scene->story;
    for (uint64_t i = 0; i < 500; i++) {
        assert_int_equal(story_set(story, i, PS_STR("x"), PS_MINUTE), PS_OK);
    }
    assert_int_equal(story_ask(story, 499), PS_REDIS_HIT);
    for (uint64_t i = 0; i < 1000; i++) {
        story_get(story, i);
    }
    story_until(story, "a thousand outcomes", story_is_quiet, story);
    assert_int_equal(story->outcomes[PS_REDIS_HIT], 501);
    assert_int_equal(story->outcomes[PS_REDIS_MISS], 500);
    assert_int_equal(story->busy, 0);
}

/* What a stranger, or a disk gone wrong, made of our values. */
static void damaged_and_forged_values_are_refused(void **state)
{
    struct scene *scene = enter_running(state);
    struct story *story = &scene->story;
    static const char *const damages[][2] = {{"SETRANGE", "70 X"},
                                             {"APPEND", "X"},
                                             {"SET", "rubbish"},
                                             {"SETRANGE", "0 Q"},
                                             {"SETRANGE", "8 Q"}};
    char name[PS_REDIS_KEY_BYTES * 2 + 32] = "penstock:1:";
    char line[256];
    char reply[64];
    uint8_t key[PS_REDIS_KEY_BYTES];
    story_key(key, 1);
    for (size_t i = 0; i < PS_REDIS_KEY_BYTES; i++) {
        snprintf(name + 11 + 2 * i, 3, "%02x", key[i]);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(damages); i++) {
        story_store(story, 1, PS_STR("an answer of some length"));
        snprintf(line, sizeof line, "%s %s %s\r\n", damages[i][0], name, damages[i][1]);
        redis_server_say(scene->server.port, line, reply, sizeof reply);
        assert_true(reply[0] == ':' || reply[0] == '+');
        assert_int_equal(story_ask(story, 1), PS_REDIS_REJECTED);
    }
    snprintf(line, sizeof line, "DEL %s\r\n", name);
    redis_server_say(scene->server.port, line, reply, sizeof reply);
    snprintf(line, sizeof line, "LPUSH %s a\r\n", name);
    redis_server_say(scene->server.port, line, reply, sizeof reply);
    assert_int_equal(story_ask(story, 1), PS_REDIS_FAILED);
    assert_int_equal(story_stats(story).rejected, PS_ARRAY_LEN(damages));
    assert_int_equal(story->downs, 0);
}

static void a_full_node_still_answers(void **state)
{
    struct scene *scene = enter_running(state);
    struct story *story = &scene->story;
    char reply[64];
    story_store(story, 1, PS_STR("there before"));
    redis_server_say(scene->server.port, "CONFIG SET maxmemory 1\r\n", reply, sizeof reply);
    assert_string_equal(reply, "+OK\r\n");
    assert_int_equal(story_set(story, 2, PS_STR("too much"), PS_MINUTE), PS_OK);
    assert_int_equal(story_ask(story, 2), PS_REDIS_MISS);
    assert_int_equal(story_ask(story, 1), PS_REDIS_HIT);
    assert_int_equal(story_stats(story).set_failures, 1);
    redis_server_say(scene->server.port, "CONFIG SET maxmemory 0\r\n", reply, sizeof reply);
    story_store(story, 2, PS_STR("room again"));
    assert_int_equal(story->downs, 0);
}

/* --- ways to get there ------------------------------------------------------------------------ */

static void use_every_command(struct story *story);

static void a_user_logs_in_and_takes_a_database(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    char reply[64];
    static const char *const user[] = {/* what docs/cache-redis.md says is enough */
                                       "--user",
                                       "gate",
                                       "on",
                                       ">s3cret",
                                       "~penstock:*",
                                       "&penstock:*",
                                       "-@all",
                                       "+auth",
                                       "+select",
                                       "+ping",
                                       "+get",
                                       "+set",
                                       "+unlink",
                                       "+dbsize",
                                       "+zadd",
                                       "+zrangebyscore",
                                       "+zremrangebyscore",
                                       "+zremrangebyrank",
                                       "+pexpire",
                                       "+publish",
                                       "+subscribe"};
    for (size_t i = 0; i < PS_ARRAY_LEN(user); i++) {
        redis_server_arg(&scene->server, "%s", user[i]);
    }
    redis_server_run(&scene->server);
    story->opts.username = ps_str_dup(PS_STR("gate"));
    story->opts.password = ps_str_dup(PS_STR("s3cret"));
    story->opts.database = 3;
    story_open(story, scene->url);
    story_store(story, 1, PS_STR("private"));
    redis_server_say(scene->server.port, "SELECT 3\r\n", reply, sizeof reply);
    assert_string_equal(reply, "+OK\r\n");
    use_every_command(story);
    assert_int_equal(story_stats(story).errors, 0);
    story_close(story);
    free(story->opts.password);
    story->opts.password = ps_str_dup(PS_STR("wrong"));
    story_open(story, scene->url);
    story_until(story, "the refusal", story_is_down, story);
    assert_string_equal(story->reason, "AUTH was refused: WRONGPASS");
    assert_int_equal(story_ask(story, 1), -1);
}

static void a_unix_socket_will_do(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    redis_server_arg(&scene->server, "--unixsocket");
    redis_server_arg(&scene->server, "%s/redis.sock", scene->server.folder);
    redis_server_run(&scene->server);
    snprintf(scene->url, sizeof scene->url, "unix://%s/redis.sock", scene->server.folder);
    story_open(story, scene->url);
    story_store(story, 1, PS_STR("near"));
}

static void run_with_tls(struct scene *scene)
{
    certificate_make(&scene->certificate, NULL);
    scene->server.tls_port = redis_server_free_port();
    redis_server_arg(&scene->server, "--tls-port");
    redis_server_arg(&scene->server, "%u", scene->server.tls_port);
    redis_server_arg(&scene->server, "--tls-cert-file");
    redis_server_arg(&scene->server, "%s", scene->certificate.cert);
    redis_server_arg(&scene->server, "--tls-key-file");
    redis_server_arg(&scene->server, "%s", scene->certificate.key);
    redis_server_arg(&scene->server, "--tls-ca-cert-file");
    redis_server_arg(&scene->server, "%s", scene->certificate.cert);
    redis_server_run(&scene->server);
    snprintf(scene->url, sizeof scene->url, "rediss://localhost:%u", scene->server.tls_port);
}

/* The server asks for a certificate unless it is told otherwise. */
static void tls_shows_and_checks_certificates(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    static char large[300000];
    run_with_tls(scene);
    story->opts.tls.ca_file = ps_str_dup(ps_str_from(scene->certificate.cert));
    story->opts.tls.certificate_file = ps_str_dup(ps_str_from(scene->certificate.cert));
    story->opts.tls.key_file = ps_str_dup(ps_str_from(scene->certificate.key));
    story->opts.compress_above = 0;
    story_open(story, scene->url);
    story_store(story, 1, PS_STR("sealed"));
    story_store(story, 2, (struct ps_str){large, sizeof large});
    story_close(story);
    free(story->opts.tls.ca_file);
    story->opts.tls.ca_file = NULL; /* an authority that nobody knows */
    story_open(story, scene->url);
    story_until(story, "the refusal", story_is_down, story);
    if (strstr(story->reason, "certificate") == NULL) {
        fail_msg("%s", story->reason);
    }
}

static void tls_without_a_certificate_of_ours_is_refused_by_the_server(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    run_with_tls(scene);
    story->opts.tls.ca_file = ps_str_dup(ps_str_from(scene->certificate.cert));
    story_open(story, scene->url);
    story_until(story, "the refusal", story_is_down, story);
}

/* --- faults ----------------------------------------------------------------------------------- */

static void be_impatient(struct story *story)
{
    story->opts.timeout = 2 * PS_MILLISECOND;
    story->opts.breaker.stall = 100 * PS_MILLISECOND;
    story->opts.connect_timeout = 200 * PS_MILLISECOND;
}

static bool ask_until_down(void *ctx)
{
    struct story *story = ctx;
    if (story->open == 0 && story->downs == 0) {
        story_get(story, 1);
    }
    return story->downs > 0;
}

static bool ask_until_up(void *ctx)
{
    struct story *story = ctx;
    return story->ups > 0;
}

static void a_stopped_server_is_left_alone_and_found_again(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    be_impatient(story);
    redis_server_run(&scene->server);
    story_open(story, scene->url);
    story_until(story, "the first figure", story_is_quiet, story);
    story_pass(story, 300 * PS_MILLISECOND);
    story->downs = story->ups = 0; /* a machine in use by others may have had its own pauses */
    redis_server_signal(&scene->server, SIGSTOP);
    ps_time stopped = ps_clock_now(&ps_clock_real);
    story_until(story, "the breaker to open", ask_until_down, story);
    print_message("left alone after %.0f ms\n", ps_span_seconds(story->down_at - stopped) * 1e3);
    assert_int_equal(story_ask(story, 1), -1);
    story_pass(story, 1500 * PS_MILLISECOND);
    assert_int_equal(story->downs, 1); /* it is told once, however often it is tried */
    assert_int_equal(story->ups, 0);
    redis_server_signal(&scene->server, SIGCONT);
    story_until(story, "the server to be found again", ask_until_up, story);
    assert_int_equal(story->downs, 1);
    assert_int_equal(story->ups, 1);
}

static void a_killed_server_is_found_again_without_a_restart_of_ours(void **state)
{
    struct scene *scene = enter_running(state);
    struct story *story = &scene->story;
    story->opts.breaker.backoff = 100 * PS_MILLISECOND;
    story_store(story, 1, PS_STR("lost"));
    redis_server_kill(&scene->server);
    story_until(story, "the breaker to open", story_is_down, story);
    assert_int_equal(story_ask(story, 1), -1);
    assert_int_equal(story->downs, 1);
    redis_server_run(&scene->server);
    story_until(story, "the server to be found again", story_is_up, story);
    assert_int_equal(story_ask(story, 1), PS_REDIS_MISS);
    story_store(story, 1, PS_STR("new"));
    assert_int_equal(story->downs, 1);
    assert_int_equal(story->ups, 1);
}

/* --- threads ---------------------------------------------------------------------------------- */

/* A worker: a loop with a client of the same hub. */
struct worker {
    pthread_t thread;
    struct story story;
    struct ps_redis_hub *hub;
    _Atomic bool *stop;
    int lookups;
};

static bool go_on(void *ctx)
{
    struct worker *worker = ctx;
    if (worker->story.open < 4) {
        story_get(&worker->story, (uint64_t)worker->lookups++ % 64);
        PS_CHECK(worker->lookups % 8 != 0 ||
                 story_set(&worker->story, (uint64_t)worker->lookups % 64, PS_STR("x"),
                           PS_MINUTE) != PS_ENOMEM);
    }
    return *worker->stop;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    PS_CHECK(ps_redis_new(&worker->story.redis, worker->story.loop, worker->hub) == PS_OK);
    worker->story.done = go_on;
    worker->story.ctx = worker;
    worker->story.give_up = ps_clock_now(&ps_clock_real) + STORY_PATIENCE;
    worker->story.timer.on_time = story_on_time;
    PS_CHECK(ps_timer_set(worker->story.loop, &worker->story.timer, 0) == PS_OK);
    ps_loop_run(worker->story.loop);
    story_fini(&worker->story);
    return NULL;
}

static void of_several_workers_one_tells_of_a_change(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    static struct worker workers[3];
    _Atomic bool stop = false;
    story->opts.timeout = 50 * PS_MILLISECOND;
    story->opts.breaker.stall = 400 * PS_MILLISECOND;
    redis_server_run(&scene->server);
    story_open(story, scene->url);
    for (size_t i = 0; i < PS_ARRAY_LEN(workers); i++) {
        story_init(&workers[i].story);
        workers[i].hub = ps_redis_hub_ref(story->hub);
        workers[i].stop = &stop;
        workers[i].story.hub = workers[i].hub;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    story_pass(story, 500 * PS_MILLISECOND);
    story->downs = story->ups = 0;
    redis_server_signal(&scene->server, SIGSTOP);
    story_until(story, "the breaker to open", story_is_down, story);
    story_pass(story, PS_SECOND);
    int downs = story->downs;
    redis_server_signal(&scene->server, SIGCONT);
    story_until(story, "the server to be found again", story_is_up, story);
    stop = true;
    for (size_t i = 0; i < PS_ARRAY_LEN(workers); i++) {
        pthread_join(workers[i].thread, NULL);
    }
    assert_int_equal(downs, 1);
    assert_int_equal(story->ups, 1);
}

/* --- invalidations ---------------------------------------------------------------------------- */

struct listener {
    struct ps_redis_feed *feed;
    _Atomic int wakes;
    _Atomic int reconnected;
    _Atomic int lost;
    int records;
    int read;
    int failed;
    bool ended;
};

static void on_wake(void *ctx, const char *node, ps_time when)
{
    PS_CHECK(node[0] != '\0' && when > 0);
    ((struct listener *)ctx)->wakes++;
}

static void on_reconnected(void *ctx, const char *node)
{
    (void)node;
    ((struct listener *)ctx)->reconnected++;
}

static void on_lost(void *ctx, const char *node)
{
    (void)node;
    ((struct listener *)ctx)->lost++;
}

static const struct ps_redis_feed_ops feed_ops = {on_wake, on_reconnected, on_lost};

static void on_record(void *ctx, struct ps_str record, ps_time when)
{
    PS_CHECK(record.len > 0 && when > 0);
    ((struct listener *)ctx)->records++;
}

static void on_end(void *ctx, size_t done, size_t failed)
{
    struct listener *listener = ctx;
    listener->read += (int)done;
    listener->failed += (int)failed;
    listener->ended = true;
}

static bool has_ended(void *ctx)
{
    return ((struct listener *)ctx)->ended;
}

static bool is_woken(void *ctx)
{
    return ((struct listener *)ctx)->wakes > 0;
}

static bool is_reconnected(void *ctx)
{
    return ((struct listener *)ctx)->reconnected > 0;
}

static bool is_lost(void *ctx)
{
    return ((struct listener *)ctx)->lost > 0;
}

static void append(struct story *story, struct listener *listener, const char *record, ps_time when)
{
    struct ps_redis_op *op = NULL;
    listener->ended = false;
    assert_int_equal(
        ps_redis_log_append(&op, story->redis, ps_str_from(record), when, on_end, listener), PS_OK);
    story_until(story, "the record to be written", has_ended, listener);
}

static int count_records(struct story *story, struct listener *listener, ps_time since)
{
    struct ps_redis_op *op = NULL;
    listener->ended = false;
    listener->records = 0;
    assert_int_equal(ps_redis_log_read(&op, story->redis, since, on_record, on_end, listener),
                     PS_OK);
    story_until(story, "the log to be read", has_ended, listener);
    return listener->records;
}

static void what_was_invalidated_while_away_is_read_afterwards(void **state)
{
    struct scene *scene = enter_running(state);
    struct story *story = &scene->story;
    struct listener listener = {.wakes = 0};
    char reply[64];
    ps_time now = ps_clock_wall(&ps_clock_real);
    assert_int_equal(
        ps_redis_feed_new(&listener.feed, story->loop, story->hub, &feed_ops, &listener), PS_OK);
    story_until(story, "the feed to listen", is_reconnected, &listener);
    append(story, &listener, "one", now);
    story_until(story, "the wake-up", is_woken, &listener);
    append(story, &listener, "one", now); /* again: it is there once */
    assert_int_equal(count_records(story, &listener, 0), 1);
    listener.reconnected = 0;
    redis_server_say(scene->server.port, "CLIENT KILL TYPE pubsub\r\n", reply, sizeof reply);
    assert_string_equal(reply, ":1\r\n");
    story_until(story, "the loss", is_lost, &listener);
    append(story, &listener, "two", now + PS_SECOND);
    story_until(story, "the feed to listen again", is_reconnected, &listener);
    assert_int_equal(count_records(story, &listener, now + PS_MILLISECOND), 1);
    assert_int_equal(count_records(story, &listener, 0), 2);
    assert_int_equal(listener.failed, 0);
    ps_redis_feed_free(listener.feed);
}

static void the_log_keeps_what_is_young_and_not_too_much(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    struct listener listener = {.wakes = 0};
    char record[32];
    ps_time now = ps_clock_wall(&ps_clock_real);
    story->opts.purge_max = 600;
    story->opts.purge_keep = PS_HOUR;
    redis_server_run(&scene->server);
    story_open(story, scene->url);
    append(story, &listener, "too old", now - 2 * PS_HOUR);
    append(story, &listener, "young", now);
    assert_int_equal(count_records(story, &listener, 0), 1);
    for (int i = 0; i < 700; i++) { /* three pages, in which many have the same instant */
        snprintf(record, sizeof record, "record %d", i);
        append(story, &listener, record, now + (i / 300) * PS_MILLISECOND);
    }
    assert_int_equal(count_records(story, &listener, 0), 600);
    assert_int_equal(listener.failed, 0);
}

static void use_every_command(struct story *story)
{
    struct listener listener = {.wakes = 0};
    uint8_t key[PS_REDIS_KEY_BYTES];
    assert_int_equal(
        ps_redis_feed_new(&listener.feed, story->loop, story->hub, &feed_ops, &listener), PS_OK);
    story_until(story, "the feed to listen", is_reconnected, &listener);
    append(story, &listener, "one", ps_clock_wall(&ps_clock_real));
    story_until(story, "the wake-up", is_woken, &listener);
    assert_int_equal(count_records(story, &listener, 0), 1);
    ps_redis_feed_free(listener.feed);
    story_key(key, 1);
    assert_int_equal(ps_redis_delete(story->redis, key), PS_OK);
    assert_int_equal(story_ask(story, 1), PS_REDIS_MISS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write() */
    const struct CMUnitTest tests[] = {
        TEST(values_come_back),
        TEST(a_value_goes_when_its_time_is_over),
        TEST(a_thousand_lookups_at_once_are_all_told),
        TEST(damaged_and_forged_values_are_refused),
        TEST(a_full_node_still_answers),
        TEST(a_user_logs_in_and_takes_a_database),
        TEST(a_unix_socket_will_do),
        TEST(tls_shows_and_checks_certificates),
        TEST(tls_without_a_certificate_of_ours_is_refused_by_the_server),
        TEST(a_stopped_server_is_left_alone_and_found_again),
        TEST(a_killed_server_is_found_again_without_a_restart_of_ours),
        TEST(of_several_workers_one_tells_of_a_change),
        TEST(what_was_invalidated_while_away_is_read_afterwards),
        TEST(the_log_keeps_what_is_young_and_not_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

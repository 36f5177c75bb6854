/* test_redis_slow - the second tier against a real Redis Cluster of six: slots that move and
 * masters that die under load. Skipped where there is no redis-server.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../helpers/redis_server.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../helpers/redis_story.h"

enum { KEYS = 2000, NODES = 6 };

struct scene {
    struct story story;
    char folder[64];
    unsigned base; /* port of the first node; 0 = no cluster */
    char url[64];
    pid_t child;
    int status;
    uint64_t turn; /* of the load */
};

/* --- the cluster ------------------------------------------------------------------------------ */

static bool is_free(unsigned port)
{
    int on = 1;
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool fine = bind(fd, (struct sockaddr *)&in, sizeof in) == 0;
    close(fd);
    return fine;
}

/* Six ports in a row, and those 10,000 above. */
static unsigned find_base(void)
{
    for (unsigned base = 20000 + (unsigned)getpid() % 1000 * 6; base < 30000; base += NODES) {
        bool fine = true;
        for (unsigned i = 0; fine && i < NODES; i++) {
            fine = is_free(base + i) && is_free(base + i + 10000);
        }
        if (fine) {
            return base;
        }
    }
    return 0;
}

static int run_tool(const struct scene *scene, const char *what)
{
    char command[512];
    const char *source = getenv("PS_SOURCE");
    snprintf(command, sizeof command,
             "%s/tools/redis-cluster.sh %s --dir %s/cluster --base-port %u >/dev/null",
             source == NULL ? "." : source, what, scene->folder, scene->base);
    return system(command);
}

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    story_init(&scene->story);
    *state = scene;
    if (!redis_server_is_installed()) {
        return 0;
    }
    snprintf(scene->folder, sizeof scene->folder, "/tmp/ps-cluster-XXXXXX");
    PS_CHECK(mkdtemp(scene->folder) != NULL);
    scene->base = find_base();
    snprintf(scene->url, sizeof scene->url, "127.0.0.1:%u", scene->base);
    return run_tool(scene, "start");
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    char command[96];
    int err = 0;
    story_fini(&scene->story);
    if (scene->base != 0) {
        err = run_tool(scene, "stop");
        snprintf(command, sizeof command, "rm -rf %s", scene->folder);
        err = err != 0 ? err : system(command);
    }
    free(scene);
    return err;
}

static bool everything_is_known(void *ctx)
{
    return story_stats(ctx).slots == 16384;
}

/* The story of a case: the cluster's map is known and the keys are stored. */
static struct scene *enter(void **state)
{
    struct scene *scene = *state;
    struct story *story = &scene->story;
    redis_server_need(scene->base != 0);
    story->opts.cluster = true;
    story->opts.breaker.stall = 2 * PS_SECOND;
    story->opts.connect_timeout = 2 * PS_SECOND;
    story->opts.max_pending = 10000;
    story_open(story, scene->url);
    story_until(story, "the map", everything_is_known, story);
    for (uint64_t i = 0; i < KEYS; i++) {
        assert_int_equal(story_set(story, i, PS_STR("an answer of the cluster"), 10 * PS_MINUTE),
                         PS_OK);
    }
    return scene;
}

/* Looks all keys up; gives the hits. */
static int look_all_up(struct story *story)
{
    int before = story->outcomes[PS_REDIS_HIT];
    for (uint64_t i = 0; i < KEYS; i++) {
        story_get(story, i);
    }
    story_until(story, "all lookups", story_is_quiet, story);
    if (story->outcomes[PS_REDIS_HIT] - before != KEYS) {
        print_message(
            "%d hits, %d misses, %d late, %d rejected, %d failed, %d refused; down %d times (%s)\n",
            story->outcomes[0] - before, story->outcomes[1], story->outcomes[2], story->outcomes[3],
            story->outcomes[4], story->busy, story->downs, story->reason);
    }
    return story->outcomes[PS_REDIS_HIT] - before;
}

/* --- slots that move -------------------------------------------------------------------------- */

/* A lookup and a store now and then, while the child is at work. */
static bool load_until_child_ends(void *ctx)
{
    struct scene *scene = ctx;
    struct story *story = &scene->story;
    for (int i = 0; i < 8 && story->open < 64; i++) {
        story_get(story, scene->turn++ % KEYS);
    }
    PS_CHECK(story_set(story, scene->turn * 7 % KEYS, PS_STR("an answer of the cluster"),
                       10 * PS_MINUTE) != PS_EINVAL);
    return scene->child == 0 || waitpid(scene->child, &scene->status, WNOHANG) != 0;
}

static void node_id(const struct scene *scene, unsigned node, char id[41])
{
    char reply[128];
    redis_server_say((uint16_t)(scene->base + node), "CLUSTER MYID\r\n", reply, sizeof reply);
    assert_true(memcmp(reply, "$40\r\n", 5) == 0);
    memcpy(id, reply + 5, 40);
    id[40] = '\0';
}

static void reshard(struct scene *scene, unsigned from, unsigned to, const char *slots)
{
    char ids[2][41];
    node_id(scene, from, ids[0]);
    node_id(scene, to, ids[1]);
    fflush(stdout);
    scene->child = fork();
    if (scene->child == 0) {
        PS_CHECK(freopen("/dev/null", "w", stdout) != NULL);
        execlp("redis-cli", "redis-cli", "--cluster", "reshard", scene->url, "--cluster-from",
               ids[0], "--cluster-to", ids[1], "--cluster-slots", slots, "--cluster-yes",
               (char *)NULL);
        _exit(127);
    }
    story_until(&scene->story, "the slots to move", load_until_child_ends, scene);
    assert_true(WIFEXITED(scene->status) && WEXITSTATUS(scene->status) == 0);
    story_until(&scene->story, "the lookups to end", story_is_quiet, &scene->story);
}

static void slots_move_under_load_and_nothing_is_lost(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    assert_int_equal(look_all_up(story), KEYS);
    reshard(scene, 0, 1, "400");
    reshard(scene, 2, 0, "400");
    struct ps_redis_node_stats stats = story_stats(story);
    print_message("%d lookups while slots moved: %d hits, %d misses, %d failed, %d refused; %llu "
                  "redirections\n",
                  (int)scene->turn, story->outcomes[PS_REDIS_HIT] - KEYS,
                  story->outcomes[PS_REDIS_MISS], story->outcomes[PS_REDIS_FAILED], story->busy,
                  (unsigned long long)stats.redirects);
    assert_true(stats.redirects > 0);
    assert_int_equal(story->outcomes[PS_REDIS_FAILED], 0);
    assert_int_equal(story->outcomes[PS_REDIS_REJECTED], 0);
    assert_int_equal(story->busy, 0);
    assert_int_equal(story->downs, 0);
    assert_int_equal(look_all_up(story), KEYS);
}

/* --- masters that die ------------------------------------------------------------------------- */

static void signal_node(const struct scene *scene, unsigned node, int signum)
{
    char path[160];
    int pid = 0;
    snprintf(path, sizeof path, "%s/cluster/%u/redis.pid", scene->folder, scene->base + node);
    FILE *file = fopen(path, "r");
    char text[32] = "";
    uint64_t number = 0;
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_int_equal(ps_str_to_u64(ps_str_first(ps_str_from(text), strcspn(text, "\n")), &number),
                     PS_OK);
    pid = (int)number;
    assert_int_equal(kill(pid, signum), 0);
}

/* Is every key answered by somebody again? Asked with a lookup of each of the first hundred. */
static bool all_are_served(void *ctx)
{
    struct story *story = ctx;
    if (story->open > 0) {
        return false;
    }
    bool fine = story->outcomes[PS_REDIS_HIT] == 100;
    if (!fine) {
        memset(story->outcomes, 0, sizeof story->outcomes);
        for (uint64_t i = 0; i < 100; i++) {
            story_get(story, i);
        }
    }
    return fine;
}

static void a_master_dies_and_its_replica_takes_over(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    assert_int_equal(look_all_up(story), KEYS);
    story_pass(story, PS_SECOND); /* what was stored is with the replicas */
    signal_node(scene, 1, SIGKILL);
    story_until(story, "the death to be noticed", story_is_down, story);
    assert_int_equal(story->downs, 1);
    ps_time killed = story->down_at;
    story_until(story, "the replica to take over", all_are_served, story);
    print_message("all keys are served again after %.1f s\n",
                  ps_span_seconds(ps_clock_now(&ps_clock_real) - killed));
    assert_int_equal(look_all_up(story), KEYS);
    assert_int_equal(run_tool(scene, "start"), 0); /* the dead one comes back as a replica */
    assert_int_equal(look_all_up(story), KEYS);
    assert_int_equal(story->downs, 1);
}

static void a_master_stands_still_and_its_replica_takes_over(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    assert_int_equal(look_all_up(story), KEYS);
    story_close(story);
    story->opts.timeout = 20 * PS_MILLISECOND;
    story->opts.breaker.stall = 500 * PS_MILLISECOND;
    story_open(story, scene->url);
    story_until(story, "the map", everything_is_known, story);
    story_until(story, "the keys", all_are_served, story);
    story_pass(story, PS_SECOND);
    signal_node(scene, 2, SIGSTOP);
    memset(story->outcomes, 0, sizeof story->outcomes);
    story_until(story, "it to be left alone", story_is_down, story);
    story_until(story, "the replica to take over", all_are_served, story);
    signal_node(scene, 2, SIGCONT);
    story_pass(story,
               3 * PS_SECOND); /* it learns that it is a replica now, and says MOVED until we do */
    memset(story->outcomes, 0, sizeof story->outcomes);
    story_until(story, "all keys", all_are_served, story);
}

/* --- invalidations ---------------------------------------------------------------------------- */

struct listener {
    int wakes;
    int reconnected;
    int records;
    int done;
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
    (void)ctx;
    (void)node;
}

static const struct ps_redis_feed_ops feed_ops = {on_wake, on_reconnected, on_lost};

static void on_record(void *ctx, struct ps_str record, ps_time when)
{
    (void)when;
    ((struct listener *)ctx)->records += ps_str_eq(record, PS_STR("purge *"));
}

static void on_end(void *ctx, size_t done, size_t failed)
{
    struct listener *listener = ctx;
    listener->done = (int)done - (int)failed;
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

static bool is_listening(void *ctx)
{
    return ((struct listener *)ctx)->reconnected > 0;
}

static void append(struct story *story, struct listener *listener, ps_time when)
{
    struct ps_redis_op *op = NULL;
    listener->ended = false;
    listener->wakes = 0;
    assert_int_equal(
        ps_redis_log_append(&op, story->redis, PS_STR("purge *"), when, on_end, listener), PS_OK);
    story_until(story, "the record to be written", has_ended, listener);
}

static int owner_of_log(const struct scene *scene)
{
    char name[64];
    (void)scene;
    snprintf(name, sizeof name, "CLUSTER KEYSLOT {purge}\r\n");
    char reply[64];
    redis_server_say((uint16_t)scene->base, name, reply, sizeof reply);
    unsigned slot = (unsigned)strtoul(reply + 1, NULL, 10);
    return slot <= 5460 ? 0 : slot <= 10922 ? 1 : 2;
}

static void the_log_survives_its_master(void **state)
{
    struct scene *scene = enter(state);
    struct story *story = &scene->story;
    struct listener listener = {.wakes = 0};
    struct ps_redis_feed *feed = NULL;
    struct ps_redis_op *op = NULL;
    ps_time now = ps_clock_wall(&ps_clock_real);
    assert_int_equal(ps_redis_feed_new(&feed, story->loop, story->hub, &feed_ops, &listener),
                     PS_OK);
    story_until(story, "the feed to listen", is_listening, &listener);
    append(story, &listener, now);
    assert_int_equal(listener.done, 1);
    story_until(story, "the wake-up", is_woken, &listener);
    story_pass(story, PS_SECOND);
    listener.reconnected = 0;
    signal_node(scene, (unsigned)owner_of_log(scene), SIGKILL);
    story_until(story, "the feed to listen at the replica", is_listening, &listener);
    assert_int_equal(
        ps_redis_log_read(&op, story->redis, now - PS_SECOND, on_record, on_end, &listener), PS_OK);
    listener.ended = false;
    story_until(story, "the log to be read", has_ended, &listener);
    assert_int_equal(listener.records, 1);
    append(story, &listener, now + PS_SECOND);
    assert_int_equal(listener.done, 1);
    story_until(story, "the wake-up", is_woken, &listener);
    ps_redis_feed_free(feed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(slots_move_under_load_and_nothing_is_lost),
        TEST(a_master_dies_and_its_replica_takes_over),
        TEST(a_master_stands_still_and_its_replica_takes_over),
        TEST(the_log_survives_its_master),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_penstock - the library through its header alone: in memory, then with a real redis-server,
 * which is skipped where there is none.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <penstock/penstock.h>

#include "../helpers/redis_server.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PATIENCE (60 * PS_SECOND) /* on a machine that others use; every wait ends sooner */

static struct ps_cache *cache_of(const char *text)
{
    struct ps_cache *cache = NULL;
    if (ps_cache_new_text(&cache, text, strlen(text)) != PS_OK) {
        fail_msg("%s", ps_last_error());
    }
    return cache;
}

static int set(struct ps_cache *cache, const char *key, const char *value)
{
    struct ps_cache_key name = ps_cache_key_text(key);
    return ps_cache_set(cache, &name, value, strlen(value), NULL);
}

/* Is this the value of the key? NULL: it has none. */
static bool is_value(struct ps_cache *cache, const char *key, const char *value)
{
    struct ps_cache_key name = ps_cache_key_text(key);
    struct ps_cache_view view;
    int err = ps_cache_get(cache, &name, &view);
    if (err != PS_OK) {
        assert_int_equal(err, PS_ENOTFOUND);
        return value == NULL;
    }
    bool same =
        value != NULL && view.len == strlen(value) && memcmp(view.data, value, view.len) == 0;
    ps_cache_release(&view);
    assert_null(view.data);
    ps_cache_release(&view);
    return same;
}

static struct ps_cache_stats stats_of(struct ps_cache *cache)
{
    struct ps_cache_stats stats;
    assert_int_equal(ps_cache_stats(cache, &stats), PS_OK);
    return stats;
}

/* --- all of it -------------------------------------------------------------------------------- */

static void every_code_has_a_sentence(void **state)
{
    (void)state;
    assert_string_equal(ps_strerror(PS_OK), "success");
    assert_string_equal(ps_strerror(PS_ENOTFOUND), "not found");
    assert_string_equal(ps_strerror(12345), "unknown error");
    assert_true(ps_version()[0] >= '0' && ps_version()[0] <= '9');
}

/* --- in memory -------------------------------------------------------------------------------- */

static void what_is_stored_is_found(void **state)
{
    (void)state;
    struct ps_cache *cache = cache_of("");
    struct ps_cache_key key = ps_cache_key_text("a");
    struct ps_cache_view view;
    assert_true(is_value(cache, "a", NULL));
    assert_int_equal(set(cache, "a", "one"), PS_OK);
    assert_int_equal(set(cache, "b", ""), PS_OK);
    assert_true(is_value(cache, "a", "one"));
    assert_true(is_value(cache, "b", ""));
    assert_int_equal(ps_cache_get(cache, &key, &view), PS_OK);
    assert_false(view.stale || view.l2);
    assert_true(view.age >= 0 && view.age < 3600);
    assert_int_equal(set(cache, "a", "two"), PS_OK);
    assert_true(is_value(cache, "a", "two"));
    ps_cache_free(cache);
    assert_memory_equal(view.data, "one", 3); /* it is held */
    ps_cache_release(&view);
    ps_cache_release(NULL);
    ps_cache_free(NULL);
}

static void tenants_share_nothing(void **state)
{
    (void)state;
    struct ps_cache *cache = cache_of("");
    struct ps_cache_view view;
    const struct ps_cache_key acme = {.bytes = "k", .len = 1, .tenant = "acme"};
    const struct ps_cache_key other = {.bytes = "k", .len = 1, .tenant = "other"};
    const struct ps_cache_key nobody = {.bytes = "k", .len = 1, .tenant = ""};
    assert_int_equal(ps_cache_set(cache, &acme, "x", 1, NULL), PS_OK);
    assert_int_equal(ps_cache_get(cache, &other, &view), PS_ENOTFOUND);
    assert_true(is_value(cache, "k", NULL));
    assert_int_equal(ps_cache_set(cache, &nobody, "y", 1, NULL), PS_OK);
    assert_true(is_value(cache, "k", "y"));
    assert_int_equal(ps_cache_invalidate_pattern(cache, "*", "other", NULL), PS_OK);
    assert_int_equal(ps_cache_get(cache, &acme, &view), PS_OK);
    ps_cache_release(&view);
    assert_int_equal(ps_cache_invalidate_pattern(cache, "*", "acme", NULL), PS_OK);
    assert_int_equal(ps_cache_get(cache, &acme, &view), PS_ENOTFOUND);
    assert_true(is_value(cache, "k", "y"));
    ps_cache_free(cache);
}

static void a_hash_is_what_the_header_says(void **state)
{
    (void)state;
    char hash[PS_CACHE_HEX];
    char tenant[300];
    struct ps_cache_key key = ps_cache_key_text("What is a penstock?");
    assert_int_equal(ps_cache_key_hash(&key, hash), PS_OK);
    assert_string_equal(hash, "a087508967efcfa97348a12ce37902551cd4549fddc80f62de9aa692dbd60366");
    key = (struct ps_cache_key){.bytes = "\0\1\2", .len = 3, .tenant = "acme"};
    assert_int_equal(ps_cache_key_hash(&key, hash), PS_OK);
    assert_string_equal(hash, "487542e77c5045a324fa0c458c5d1823b6a2d7008a6fc8c7ef9ed779f3fcdc46");
    memset(tenant, 't', sizeof tenant);
    tenant[299] = '\0';
    key.tenant = tenant;
    assert_int_equal(ps_cache_key_hash(&key, hash), PS_EINVAL);
    assert_non_null(strstr(ps_last_error(), "tenant"));
}

static void time_passes(void **state)
{
    (void)state;
    struct ps_cache *cache = cache_of("");
    struct ps_cache_key key = ps_cache_key_text("a");
    struct ps_cache_view view;
    struct ps_cache_about about = {.ttl_ms = 1, .stale_ms = 3600 * 1000};
    assert_int_equal(ps_cache_set(cache, &key, "x", 1, &about), PS_OK);
    usleep(5000);
    assert_int_equal(ps_cache_get(cache, &key, &view), PS_OK);
    assert_true(view.stale);
    ps_cache_release(&view);
    about.stale_ms = 0;
    assert_int_equal(ps_cache_set(cache, &key, "x", 1, &about), PS_OK);
    usleep(5000);
    assert_int_equal(ps_cache_get(cache, &key, &view), PS_ENOTFOUND);
    ps_cache_free(cache);
}

static void what_is_invalid_is_not_found_or_stored(void **state)
{
    (void)state;
    struct ps_cache *cache = cache_of("");
    static const char *const tags[] = {"faq", "v2"};
    struct ps_cache_key key = ps_cache_key_text("a");
    struct ps_cache_told told = {7, 7};
    struct ps_cache_about about = {
        .route = "chat", .model = "llama", .tags = tags, .tags_count = 2, .seconds = 30};
    assert_int_equal(ps_cache_set(cache, &key, "x", 1, &about), PS_OK);
    assert_int_equal(set(cache, "b", "y"), PS_OK);
    assert_int_equal(ps_cache_invalidate_pattern(cache, "chat/*/v2", NULL, &told), PS_OK);
    assert_int_equal(told.done + told.failed, 0);
    assert_true(is_value(cache, "a", NULL));
    assert_true(is_value(cache, "b", "y"));
    assert_int_equal(ps_cache_set(cache, &key, "x", 1, &about), PS_ECANCELED); /* asked before */
    about.seconds = 0;
    assert_int_equal(ps_cache_set(cache, &key, "x", 1, &about), PS_OK);
    assert_int_equal(ps_cache_invalidate(cache, &key, NULL), PS_OK);
    assert_true(is_value(cache, "a", NULL));
    assert_true(is_value(cache, "b", "y"));
    assert_int_equal(ps_cache_invalidate_pattern(cache, "", NULL, NULL), PS_EINVAL);
    assert_true(strlen(ps_last_error()) > 0);
    ps_cache_free(cache);
}

static void what_can_not_be_is_refused(void **state)
{
    (void)state;
    struct ps_cache *cache = cache_of("cache: {l1: {size: 1MiB, max_entry: 64KiB}}\n");
    static const char *const tags[17] = {"", "", "", "", "", "", "", "", "",
                                         "", "", "", "", "", "", "", ""};
    static char large[65536];
    static char name[258];
    memset(name, 'n', 257);
    struct ps_cache_key key = ps_cache_key_text("a");
    const struct ps_cache_about wrong[] = {
        {.ttl_ms = -1},
        {.stale_ms = -1},
        {.ttl_ms = INT64_MAX},
        {.seconds = -1},
        {.seconds = (double)INFINITY},
        {.seconds = (double)NAN},
        {.tags = tags, .tags_count = 17},
        {.route = name},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(wrong); i++) {
        assert_int_equal(ps_cache_set(cache, &key, "x", 1, &wrong[i]), PS_EINVAL);
        assert_true(strlen(ps_last_error()) > 0);
    }
    assert_int_equal(ps_cache_set(cache, &key, large, sizeof large, NULL), PS_ELIMIT);
    assert_true(is_value(cache, "a", NULL));
    ps_cache_free(cache);
}

static void figures_add_up(void **state)
{
    (void)state;
    struct ps_cache *cache = cache_of("");
    struct ps_cache_key key = ps_cache_key_text("a");
    char node[PS_CACHE_NODE_NAME];
    struct ps_cache_about about = {.seconds = 2};
    size_t count = 7;
    assert_true(stats_of(cache).hit_rate_percent < 0);
    assert_true(is_value(cache, "a", NULL));
    assert_int_equal(ps_cache_set(cache, &key, "x", 1, &about), PS_OK);
    for (int i = 0; i < 3; i++) {
        assert_true(is_value(cache, "a", "x"));
    }
    struct ps_cache_stats stats = stats_of(cache);
    assert_int_equal(stats.lookups, 4);
    assert_int_equal(stats.l1_hits, 3);
    assert_int_equal(stats.l2_hits, 0);
    assert_true(stats.hit_rate_percent > 74.9 && stats.hit_rate_percent < 75.1);
    assert_true(stats.gpu_seconds_saved > 5.9 && stats.gpu_seconds_saved < 6.1);
    assert_int_equal(stats.entries, 1);
    assert_true(stats.bytes > 0 && stats.bytes <= stats.bytes_max);
    assert_int_equal(stats.l2_nodes, 0);
    assert_false(stats.l2_ready);
    assert_int_equal(ps_cache_assigned_node(cache, &key, node, sizeof node), PS_ENOTFOUND);
    assert_int_equal(ps_cache_node_distribution(cache, NULL, 0, &count), PS_OK);
    assert_int_equal(count, 0);
    ps_cache_free(cache);
}

static void without_a_thread_what_is_over_leaves_all_the_same(void **state)
{
    (void)state;
    struct ps_cache *cache = cache_of("");
    char key[16];
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "old %d", i);
        assert_int_equal(set(cache, key, "x"), PS_OK);
    }
    assert_int_equal(ps_cache_invalidate_pattern(cache, "*", NULL, NULL), PS_OK);
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "new %d", i);
        assert_int_equal(set(cache, key, "x"), PS_OK);
    }
    assert_int_equal(stats_of(cache).invalidated, 300);
    ps_cache_free(cache);
}

/* --- configuration ---------------------------------------------------------------------------- */

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/ps-library-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    char path[96];
    (void)state;
    ps_shutdown();
    unsetenv("PENSTOCK_CONFIG");
    snprintf(path, sizeof path, "%s/penstock.yaml", folder);
    unlink(path);
    return rmdir(folder);
}

static const char *write_file(const char *text)
{
    static char path[96];
    snprintf(path, sizeof path, "%s/penstock.yaml", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

/* The gateway's file, of which the library knows a section. */
static void a_mistake_is_told_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } rows[] = {
        {"cache:\n  l1: {size: 5}\n", ":2:14: cache.l1.size: "},
        {"routes: []\ncache:\n  l2: {}\n",
         ":3:3: cache.l2: unknown key 'l2' in cache; did you mean 'l1'?"},
        {"cahe: {}\n", ":1:1: cahe: unknown key 'cahe'; did you mean 'cache'?"},
        {"cache: {l1: {shards: 3}}\n", "cache.l1: "},
        {"cache: {redis: {nodes: [http://x]}}\n", "a node's url"},
        {"cache: {redis: {nodes: ['redis://${PS_TEST_UNSET}']}}\n", "PS_TEST_UNSET"},
        {"{", ":"},
    };
    struct ps_cache *cache = NULL;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        assert_int_equal(ps_cache_new(&cache, write_file(rows[i].text)), PS_EINVAL);
        assert_null(cache);
        if (strstr(ps_last_error(), rows[i].said) == NULL) {
            fail_msg("row %zu: %s", i, ps_last_error());
        }
    }
    assert_int_equal(ps_cache_new(&cache, "/nowhere/penstock.yaml"), PS_EINVAL);
    assert_string_equal(ps_last_error(), "cannot read /nowhere/penstock.yaml: not found");
    assert_int_equal(ps_cache_new(&cache, "/tmp"), PS_EINVAL);
    assert_string_equal(ps_last_error(), "cannot read /tmp: it is a folder");
}

static void *take_default(void *arg)
{
    (void)arg;
    return ps_cache_default();
}

static void there_is_one_default_and_it_reads_the_file_of_the_environment(void **state)
{
    (void)state;
    pthread_t threads[4];
    void *taken[4];
    setenv("PENSTOCK_CONFIG", write_file("listen: [127.0.0.1:1]\ncache: {l1: {size: 3MiB}}\n"), 1);
    for (size_t i = 0; i < PS_ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_default, NULL), 0);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], &taken[i]);
        assert_non_null(taken[i]);
        assert_ptr_equal(taken[i], taken[0]);
    }
    assert_int_equal(stats_of(ps_cache_default()).bytes_max, 3 << 20);
    assert_int_equal(set(ps_cache_default(), "a", "x"), PS_OK);
    ps_shutdown();
    ps_shutdown();
    assert_true(is_value(ps_cache_default(), "a", NULL)); /* a new one */
    ps_shutdown();
    setenv("PENSTOCK_CONFIG", write_file("cache: 3\n"), 1);
    assert_null(ps_cache_default());
    assert_non_null(strstr(ps_last_error(), ":1:8: cache: expected a mapping"));
    unsetenv("PENSTOCK_CONFIG");
    assert_non_null(ps_cache_default());
}

static void a_child_makes_its_own(void **state)
{
    (void)state;
    struct ps_cache *mine = cache_of("");
    assert_int_equal(set(ps_cache_default(), "a", "x"), PS_OK);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct ps_cache_key key = ps_cache_key_text("a");
        struct ps_cache_view view;
        bool fine = ps_cache_get(mine, &key, &view) == PS_ECLOSED;
        fine = fine && ps_cache_default() != NULL;
        fine = fine && ps_cache_get(ps_cache_default(), &key, &view) == PS_ENOTFOUND;
        ps_cache_free(mine);
        ps_shutdown();
        _exit(fine ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(is_value(ps_cache_default(), "a", "x"));
    ps_cache_free(mine);
}

/* --- with servers ----------------------------------------------------------------------------- */

struct scene {
    struct redis_server server;
    struct ps_cache *a, *b;
};

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    if (redis_server_is_installed()) {
        redis_server_init(&scene->server);
    }
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    ps_cache_free(scene->a);
    ps_cache_free(scene->b);
    redis_server_fini(&scene->server);
    free(scene);
    return 0;
}

/* Two milliseconds are what benchmarks are about; here it is what comes back. */
static struct ps_cache *open_cache(struct scene *scene)
{
    char text[512];
    snprintf(
        text, sizeof text,
        "cache:\n  redis:\n    nodes: [{url: redis://127.0.0.1:%u, name: one}]\n"
        "    timeout: 10s\n    connect_timeout: 10s\n    breaker: {stall: 20s, backoff: 50ms}\n",
        scene->server.port);
    return cache_of(text);
}

static ps_time give_up;

static bool go_on(const char *what)
{
    if (ps_clock_now(&ps_clock_real) > give_up) {
        fail_msg("waited too long: %s", what);
    }
    usleep(2000);
    return true;
}

static void be_patient(void)
{
    give_up = ps_clock_now(&ps_clock_real) + PATIENCE;
}

static void wait_ready(struct ps_cache *cache)
{
    be_patient();
    while (!stats_of(cache).l2_ready && go_on("L2 to be ready")) {
    }
}

static struct scene *enter(void **state)
{
    struct scene *scene = *state;
    redis_server_need(scene->server.port != 0);
    redis_server_run(&scene->server);
    scene->a = open_cache(scene);
    scene->b = open_cache(scene);
    wait_ready(scene->a);
    wait_ready(scene->b);
    return scene;
}

static void wait_value(struct ps_cache *cache, const char *key, const char *value)
{
    be_patient();
    while (!is_value(cache, key, value) && go_on("a value")) {
    }
}

static void two_caches_share_what_the_server_has(void **state)
{
    struct scene *scene = enter(state);
    struct ps_cache_key key = ps_cache_key_text("a");
    struct ps_cache_told told = {7, 7};
    struct ps_cache_about about = {.model = "llama", .seconds = 2};
    struct ps_cache_node node;
    char name[PS_CACHE_NODE_NAME];
    size_t count = 0;
    assert_int_equal(ps_cache_set(scene->a, &key, "shared", 6, &about), PS_OK);
    assert_int_equal(set(scene->a, "b", "too"), PS_OK);
    wait_value(scene->b, "a", "shared");
    wait_value(scene->b, "b", "too");
    struct ps_cache_stats stats = stats_of(scene->b);
    assert_int_equal(stats.l2_hits, 2);
    assert_int_equal(stats.l2_nodes, 1);
    assert_int_equal(stats.l2_errors, 0);
    assert_true(stats.l2_lookups >= 2 && stats.l2_p99_ms > 0);
    assert_true(stats.gpu_seconds_saved > 1.9 && stats.gpu_seconds_saved < 2.1);
    assert_int_equal(ps_cache_assigned_node(scene->a, &key, name, sizeof name), PS_OK);
    assert_string_equal(name, "one");
    assert_int_equal(ps_cache_node_distribution(scene->a, &node, 1, &count), PS_OK);
    assert_int_equal(count, 1);
    assert_string_equal(node.name, "one");
    assert_true(node.up && node.slots > 65536 && node.share_percent > 99.9);
    assert_int_equal(ps_cache_invalidate_pattern(scene->a, "llama", NULL, &told), PS_OK);
    assert_int_equal(told.done, 1);
    assert_int_equal(told.failed, 0);
    assert_true(is_value(scene->a, "a", NULL));
    wait_value(scene->b, "a", NULL);
    assert_true(is_value(scene->b, "b", "too"));
}

static void a_large_value_is_in_the_server_alone(void **state)
{
    struct scene *scene = enter(state);
    static char large[5 << 20];
    struct ps_cache_key key = ps_cache_key_text("large");
    struct ps_cache_view view;
    memset(large, 'x', sizeof large);
    assert_int_equal(ps_cache_set(scene->a, &key, large, sizeof large, NULL), PS_ELIMIT);
    be_patient();
    while (ps_cache_get(scene->b, &key, &view) != PS_OK && go_on("the value")) {
    }
    assert_true(view.l2);
    assert_int_equal(view.len, sizeof large);
    assert_memory_equal(view.data, large, sizeof large);
    ps_cache_release(&view);
}

static void a_dead_server_costs_hits_and_nothing_else(void **state)
{
    struct scene *scene = enter(state);
    struct ps_cache_told told = {7, 7};
    struct ps_cache_node node;
    size_t count = 0;
    assert_int_equal(set(scene->a, "a", "x"), PS_OK);
    redis_server_kill(&scene->server);
    be_patient();
    do {
        assert_int_equal(ps_cache_node_distribution(scene->a, &node, 1, &count), PS_OK);
    } while (node.up && is_value(scene->a, "none", NULL) && go_on("the loss"));
    assert_true(is_value(scene->a, "a", "x"));
    assert_int_equal(set(scene->a, "b", "y"), PS_OK);
    assert_true(is_value(scene->a, "b", "y"));
    assert_int_equal(ps_cache_invalidate_pattern(scene->a, "*", NULL, &told), PS_OK);
    assert_int_equal(told.done, 0);
    assert_int_equal(told.failed, 1);
    assert_true(is_value(scene->a, "a", NULL));
    assert_int_equal(ps_cache_invalidate_pattern(scene->a, "b*", NULL, NULL), PS_OK);
    assert_int_equal(set(scene->a, "b", "y"), PS_OK); /* on its way when the cache goes */
}

/* --- threads ---------------------------------------------------------------------------------- */

enum { ROUNDS = 400 };

/* One of the threads; cmocka can't fail in it, so it says what was wrong. */
struct worker {
    struct ps_cache *cache;
    pthread_t thread;
    size_t canceled; /* sets that met another thread's invalidation */
    char wrong[160]; /* "" = nothing */
};

static void expect_code(struct worker *worker, const char *call, int round, int err)
{
    if (err != PS_OK && worker->wrong[0] == '\0') {
        snprintf(worker->wrong, sizeof worker->wrong, "%s in round %d: %d, %s", call, round, err,
                 ps_last_error());
    }
}

static void expect(struct worker *worker, const char *what, int round, bool holds)
{
    if (!holds && worker->wrong[0] == '\0') {
        snprintf(worker->wrong, sizeof worker->wrong, "%s in round %d", what, round);
    }
}

/* The value, or when there is none a new one, which another thread may invalidate while it is
 * made: the header says so. */
static void get_or_set(struct worker *worker, int round, const struct ps_cache_key *key)
{
    struct ps_cache_view view;
    int err = ps_cache_get(worker->cache, key, &view);
    if (err == PS_OK) {
        expect(worker, "another value", round,
               view.len == key->len && memcmp(view.data, key->bytes, view.len) == 0);
        ps_cache_release(&view);
        return;
    }
    expect_code(worker, "get", round, err == PS_ENOTFOUND ? PS_OK : err);
    err = ps_cache_set(worker->cache, key, key->bytes, key->len, NULL);
    worker->canceled += err == PS_ECANCELED ? 1 : 0;
    expect_code(worker, "set", round, err == PS_ECANCELED ? PS_OK : err);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    char key[16];
    struct ps_cache_stats stats;
    struct ps_cache_told told;
    for (int i = 0; i < ROUNDS && worker->wrong[0] == '\0'; i++) {
        snprintf(key, sizeof key, "key %d", i % 50);
        struct ps_cache_key name = ps_cache_key_text(key);
        get_or_set(worker, i, &name);
        if (i % 40 == 0) {
            expect_code(worker, "invalidate", i,
                        ps_cache_invalidate(worker->cache, &name, i % 80 == 0 ? &told : NULL));
            expect_code(worker, "stats", i, ps_cache_stats(worker->cache, &stats));
            expect(worker, "more hits than look-ups", i, stats.l1_hits <= stats.lookups);
        }
    }
    return NULL;
}

static void many_threads_use_one_cache(void **state)
{
    struct scene *scene = enter(state);
    struct worker workers[4] = {
        {.cache = scene->a}, {.cache = scene->b}, {.cache = scene->a}, {.cache = scene->b}};
    for (size_t i = 0; i < PS_ARRAY_LEN(workers); i++) {
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(workers); i++) {
        pthread_join(workers[i].thread, NULL);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(workers); i++) {
        assert_string_equal(workers[i].wrong, "");
    }
    assert_int_equal(stats_of(scene->a).lookups, 2 * ROUNDS);
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
#define TEST(name)      cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_sentence),
        cmocka_unit_test(what_is_stored_is_found),
        cmocka_unit_test(tenants_share_nothing),
        cmocka_unit_test(a_hash_is_what_the_header_says),
        cmocka_unit_test(time_passes),
        cmocka_unit_test(what_is_invalid_is_not_found_or_stored),
        cmocka_unit_test(what_can_not_be_is_refused),
        cmocka_unit_test(figures_add_up),
        cmocka_unit_test(without_a_thread_what_is_over_leaves_all_the_same),
        FILE_TEST(a_mistake_is_told_with_its_place),
        FILE_TEST(there_is_one_default_and_it_reads_the_file_of_the_environment),
        FILE_TEST(a_child_makes_its_own),
        TEST(two_caches_share_what_the_server_has),
        TEST(a_large_value_is_in_the_server_alone),
        TEST(a_dead_server_costs_hits_and_nothing_else),
        TEST(many_threads_use_one_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* promises - what docs/specification.md promises of the library's C functions, asked of them: a line of JSON.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <penstock/penstock.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* How many of 310 samples are kept. */
static size_t kept_samples(void)
{
    struct ps_dashboard_point points[PS_DASHBOARD_SAMPLES + 50];
    struct ps_dashboard *dashboard = ps_dashboard_default();
    size_t count = 0;
    for (int i = 0; i < 310; i++) {
        const struct ps_dashboard_value value = {"gpu", i};
        (void)ps_dashboard_broadcast(dashboard, &value, 1);
    }
    int err = ps_dashboard_recent_history(dashboard, "gpu", points, PS_DASHBOARD_SAMPLES + 50, &count);
    return err == PS_OK && points[count - 1].value == 309 ? count : 0;
}

/* Each key is set once and asked for twice, and one in ten was never set. */
static double hit_rate(struct ps_cache *cache)
{
    struct ps_cache_stats stats = {.hit_rate_percent = -1};
    for (int i = 0; i < 100; i++) {
        char name[16];
        struct ps_cache_view view;
        (void)snprintf(name, sizeof name, "key %d", i);
        const struct ps_cache_key key = ps_cache_key_text(name);
        if (i % 10 != 0) {
            (void)ps_cache_set(cache, &key, "value", 5, NULL);
        }
        for (int j = 0; j < 2; j++) {
            if (ps_cache_get(cache, &key, &view) == PS_OK) {
                ps_cache_release(&view);
            }
        }
    }
    (void)ps_cache_stats(cache, &stats);
    return stats.hit_rate_percent;
}

/* Is every key on the same node when it is asked for again, and is each of three nodes somebody's? */
static bool same_nodes(const char *text)
{
    struct ps_cache *caches[2] = {NULL, NULL};
    unsigned seen = 0;
    bool same = ps_cache_new_text(&caches[0], text, strlen(text)) == PS_OK &&
                ps_cache_new_text(&caches[1], text, strlen(text)) == PS_OK;
    for (int i = 0; same && i < 100; i++) {
        char name[16], nodes[2][PS_CACHE_NODE_NAME] = {"", "?"};
        (void)snprintf(name, sizeof name, "key %d", i);
        const struct ps_cache_key key = ps_cache_key_text(name);
        for (int j = 0; j < 2; j++) {
            same = same && ps_cache_assigned_node(caches[j], &key, nodes[j], sizeof nodes[j]) == PS_OK;
        }
        same = same && strcmp(nodes[0], nodes[1]) == 0;
        seen |= 1u << (nodes[0][strlen(nodes[0]) - 1] - '0');
    }
    ps_cache_free(caches[0]);
    ps_cache_free(caches[1]);
    return same && seen == 0xe;
}

int main(void)
{
    size_t kept = kept_samples();
    double rate = hit_rate(ps_cache_default());
    bool same = same_nodes("cache: {redis: {nodes: [\"redis://127.0.0.1:1\", \"redis://127.0.0.1:2\", "
                           "\"redis://127.0.0.1:3\"]}}");
    printf("{\"samples\":%zu,\"hit_rate_percent\":%.2f,\"same_node\":%s}\n", kept, rate, same ? "true" : "false");
    ps_shutdown();
    return 0;
}

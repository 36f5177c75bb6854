/* cache - answers that cost GPU time are asked for once.
 *
 * Usage: PENSTOCK_CONFIG=penstock.yaml example_cache      without the variable: in memory alone
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <penstock/penstock.h>

#include <stdio.h>
#include <string.h>

/* Stands for the model. */
static const char *ask_model(const char *question)
{
    return strcmp(question, "What is a penstock?") == 0
               ? "The gate that lets water under pressure into a turbine."
               : "I don't know.";
}

/* Stores what the model says; a hit will save the 2.5 seconds that it took. */
static int ask_and_remember(struct ps_cache *cache, const char *question)
{
    static const char *const tags[] = {"faq"};
    const char *answer = ask_model(question);
    const struct ps_cache_key key = ps_cache_key_text(question);
    const struct ps_cache_about about = {
        .route = "chat",
        .model = "llama-3.1-8b",
        .tags = tags,
        .tags_count = 1,
        .ttl_ms = 3600 * 1000,
        .seconds = 2.5,
    };
    return ps_cache_set(cache, &key, answer, strlen(answer), &about);
}

static void look(struct ps_cache *cache, const char *question)
{
    const struct ps_cache_key key = ps_cache_key_text(question);
    struct ps_cache_view view;
    if (ps_cache_get(cache, &key, &view) == PS_OK) {
        printf("hit:  %.*s\n", (int)view.len, (const char *)view.data);
        ps_cache_release(&view);
    } else {
        printf("miss: %s\n", question);
    }
}

/* Where a key is: its hash, and the server that has it. */
static void locate(struct ps_cache *cache, const char *question)
{
    const struct ps_cache_key key = ps_cache_key_text(question);
    char hash[PS_CACHE_HEX] = "";
    char node[PS_CACHE_NODE_NAME] = "none, there is only memory";
    if (ps_cache_key_hash(&key, hash) == PS_OK) {
        printf("hash: %s\n", hash);
    }
    (void)ps_cache_assigned_node(cache, &key, node, sizeof node); /* without one it stays */
    printf("node: %s\n", node);
}

static void print_stats(struct ps_cache *cache)
{
    struct ps_cache_stats stats;
    if (ps_cache_stats(cache, &stats) == PS_OK) {
        printf("rate: %.1f %% of %llu look-ups, %.1f GPU seconds saved\n", stats.hit_rate_percent,
               (unsigned long long)stats.lookups, stats.gpu_seconds_saved);
    }
}

static int tell(struct ps_cache *cache)
{
    const char *question = "What is a penstock?";
    struct ps_cache_told told;
    look(cache, question); /* a miss, unless somebody asked before */
    int err = ask_and_remember(cache, question);
    if (err != PS_OK) {
        return err;
    }
    look(cache, question);
    locate(cache, question);
    print_stats(cache);
    err = ps_cache_invalidate_pattern(cache, "llama*", NULL, &told);
    if (err == PS_OK) {
        printf("gone: llama*, %zu servers told, %zu later\n", told.done, told.failed);
        look(cache, question);
    }
    return err;
}

int main(void)
{
    struct ps_cache *cache = ps_cache_default();
    int err = cache == NULL ? PS_EINVAL : tell(cache);
    if (err != PS_OK) {
        fprintf(stderr, "example_cache: %s: %s\n", ps_strerror(err), ps_last_error());
    }
    ps_shutdown();
    return err == PS_OK ? 0 : 1;
}

/* control_reload - see control_reload.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "daemon/control_reload.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "daemon/config.h"

static void log_report(const struct ps_config_report *report, const char *path)
{
    struct ps_buf text = ps_buf_make(64 * 1024);
    if (ps_config_report_print(report, path, &text) == PS_OK && text.len > 0) {
        fwrite(text.data, 1, text.len, stderr);
    }
    ps_buf_fini(&text);
}

static bool same_strings(const struct ps_option_strings *a, const struct ps_option_strings *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++) {
        same = strcmp(a->items[i], b->items[i]) == 0;
    }
    return same;
}

static bool same_cache(const struct ps_cache_opts *a, const struct ps_cache_opts *b)
{
    const struct ps_redis_node_opts *left = a->redis.nodes.items;
    const struct ps_redis_node_opts *right = b->redis.nodes.items;
    bool same = a->l1.size == b->l1.size && a->l1.max_entry == b->l1.max_entry && a->l1.policy == b->l1.policy &&
                a->l1.max_age == b->l1.max_age && a->redis.cluster == b->redis.cluster &&
                a->redis.timeout == b->redis.timeout && a->redis.nodes.count == b->redis.nodes.count;
    for (size_t i = 0; same && i < a->redis.nodes.count; i++) {
        same = strcmp(left[i].url, right[i].url) == 0 && left[i].weight == right[i].weight;
    }
    return same;
}

static const char *store_path(const struct ps_config *config)
{
    return config->store.path == NULL ? "" : config->store.path;
}

/* What a running process can't change is said, not silently ignored. */
static void warn_unchangeable(const struct ps_config *before, const struct ps_config *after)
{
    const struct {
        const char *field;
        bool same;
    } rows[] = {
        {"listen", same_strings(&before->listen, &after->listen)},
        {"admin.listen", same_strings(&before->admin.listen, &after->admin.listen)},
        {"workers", before->workers == after->workers},
        {"max_buffered", before->max_buffered == after->max_buffered},
        {"access_log", strcmp(before->access_log, after->access_log) == 0},
        {"metrics.statsd.listen", same_strings(&before->metrics.statsd.listen, &after->metrics.statsd.listen)},
        {"store.path", strcmp(store_path(before), store_path(after)) == 0},
        {"history", before->history.max_series == after->history.max_series &&
                        before->history.points == after->history.points},
        {"cache", same_cache(&before->cache, &after->cache)},
        {"tls", (before->tls.certificate == NULL) == (after->tls.certificate == NULL)},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        if (!rows[i].same) {
            ps_log(PS_LOG_WARN, "this change takes effect after a restart", "field", rows[i].field, NULL);
        }
    }
}

/* The file as it is now, under the command line as it was. */
static int load_again(const struct ps_control_opts *opts, struct ps_config **out, struct ps_config_report *report)
{
    struct ps_config *config = NULL;
    int err = ps_config_load(&config, opts->path, report);
    if (err != PS_OK) {
        return err;
    }
    err = opts->amend(opts->ctx, config);
    err = err != PS_OK ? err : ps_config_validate(config, report);
    if (err != PS_OK) {
        ps_config_free(config);
        return err;
    }
    *out = config;
    return PS_OK;
}

int ps_control_reload(const struct ps_control_opts *opts, const struct ps_config *before, struct ps_config **out)
{
    struct ps_config_report report = {0};
    int err = load_again(opts, out, &report);
    log_report(&report, opts->path);
    ps_config_report_fini(&report);
    if (err == PS_OK) {
        warn_unchangeable(before, *out);
    }
    return err;
}

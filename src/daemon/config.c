#include "daemon/config.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/roff.h"
#include "daemon/config_check.h"
#include "daemon/reserved.h"
#include "gateway/backend.h"
#include "gateway/route.h"
#include "gateway/tenant.h"
#include "http/url.h"
#include "io/address.h"

enum { MOST_WORKERS = 64 };

static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};
static_assert(PS_LOG_DEBUG == 0 && PS_LOG_ERROR == 3, "level_names follows enum ps_log_level");

/* clang-format off */
static const struct ps_option cors_options[] = {
    PS_OPTION_ROW(ps_cors_opts, origins, STRINGS, NULL,
     "pages of these origins may call the gateway from a browser, such as `https://app.example`; `*` = all"),
    {0},
};

static const struct ps_option tls_options[] = {
    PS_OPTION_ROW(ps_tls_opts, certificate, STRING, NULL,
     "PEM file with the certificate and its chain; with it every address of `listen` speaks TLS", .path = true),
    PS_OPTION_ROW(ps_tls_opts, key_file, STRING, NULL,
     "PEM file with the private key", .path = true),
    {0},
};

static const struct ps_option token_options[] = {
    PS_OPTION_ROW(ps_token_opts, name, STRING, NULL,
     "what logs call the token", .required = true),
    PS_OPTION_ROW(ps_token_opts, role, ENUM, "read",
     "what it opens: `read` looks, `ingest` hands in metrics, `admin` does everything", .names = ps_role_names),
    PS_OPTION_ROW(ps_token_opts, token, SECRET, NULL,
     "what the caller sends as `Authorization: Bearer TOKEN`", .required = true),
    {0},
};

static const struct ps_option admin_options[] = {
    PS_OPTION_ROW(ps_admin_opts, listen, STRINGS, NULL,
     "addresses for the reserved paths alone; the gateway's addresses then keep only the health paths",
     .no_reload = true),
    PS_OPTION_ROW(ps_admin_opts, tokens, LIST, NULL,
     "who may use the reserved paths; without any they answer on loopback only", .table = token_options,
     .item_size = sizeof(struct ps_token_opts)),
    {0},
};

static const struct ps_option metrics_options[] = {
    PS_OPTION_ROW(ps_metrics_page_opts, public, BOOL, "no",
     "`GET /metrics` needs no token"),
    PS_OPTION_ROW(ps_metrics_page_opts, max_custom, U64, "200",
     "metrics that others may register: by `POST /api/metrics`, OTLP and StatsD together", .min = 1, .max = 10000,
     .no_reload = true),
    PS_OPTION_ROW(ps_metrics_page_opts, statsd, SECTION, NULL,
     "figures that come as StatsD or DogStatsD", .table = ps_statsd_port_options),
    {0},
};

const struct ps_option ps_config_options[] = {
    PS_OPTION_ROW(ps_config, listen, STRINGS, "127.0.0.1:5000, [::1]:5000",
     "addresses of the gateway, numeric, with port; `:5000` is every address", .no_reload = true),
    PS_OPTION_ROW(ps_config, workers, U64, "0",
     "threads that carry requests; 0 = one per core", .max = MOST_WORKERS, .no_reload = true),
    PS_OPTION_ROW(ps_config, access_log, STRING, "off",
     "one JSON line per request: `off`, `stderr`, or a file, which SIGUSR1 reopens"),
    PS_OPTION_ROW(ps_config, log_level, ENUM, "info",
     "least level of the lines on standard error", .names = level_names),
    PS_OPTION_ROW(ps_config, max_body, BYTES, "32MiB",
     "largest body of a request; beyond it the answer is 413", .min = 1024, .max = 1099511627776.0),
    PS_OPTION_ROW(ps_config, max_buffered, BYTES, "0",
     "most bytes held back for all requests together; beyond it the answer is 503; 0 = a quarter of memory",
     .max = 1125899906842624.0, .no_reload = true),
    PS_OPTION_ROW(ps_config, max_connections, U64, "20000",
     "most client connections at once, of all workers together (and as many on admin.listen)", .min = 1, .max = 1000000),
    PS_OPTION_ROW(ps_config, max_connections_per_address, U64, "0",
     "most connections from one address; 0 = no limit of its own", .max = 1000000),
    PS_OPTION_ROW(ps_config, max_head, BYTES, "32KiB",
     "largest head of a request; beyond it the answer is 431", .min = 1024, .max = 1048576),
    PS_OPTION_ROW(ps_config, max_headers, U64, "100",
     "most header lines of a request; beyond it the answer is 431", .min = 8, .max = 1000),
    PS_OPTION_ROW(ps_config, head_timeout, SPAN, "10s",
     "longest time from the first byte of a request to the end of its head; then 408",
     .min = 1e6, .max = 3.6e12),
    PS_OPTION_ROW(ps_config, body_timeout, SPAN, "30s",
     "longest pause inside a request's body; then 408", .min = 1e6, .max = 3.6e12),
    PS_OPTION_ROW(ps_config, keep_alive_timeout, SPAN, "75s",
     "how long a connection may stay idle between two requests", .min = 1e6, .max = 8.64e13),
    PS_OPTION_ROW(ps_config, send_timeout, SPAN, "60s",
     "how long a client may refuse to take a byte of its answer", .min = 1e6, .max = 3.6e12),
    PS_OPTION_ROW(ps_config, drain_timeout, SPAN, "30s",
     "how long requests may still run after SIGTERM", .max = 8.64e13),
    PS_OPTION_ROW(ps_config, trusted_proxies, STRINGS, NULL,
     "networks such as `10.0.0.0/8` whose `X-Forwarded-*` headers are believed"),
    PS_OPTION_ROW(ps_config, cors, SECTION, NULL,
     "calls from pages in browsers", .table = cors_options),
    PS_OPTION_ROW(ps_config, tls, SECTION, NULL,
     "TLS towards clients; the files are read again on SIGHUP", .table = tls_options),
    PS_OPTION_ROW(ps_config, admin, SECTION, NULL,
     "who reaches Penstock's own pages and API", .table = admin_options),
    PS_OPTION_ROW(ps_config, metrics, SECTION, NULL,
     "figures: who reads them, and who hands in his own", .table = metrics_options),
    PS_OPTION_ROW(ps_config, cache, SECTION, NULL,
     "answers that are remembered; which ones, the routes say", .table = ps_cache_options),
    PS_OPTION_ROW(ps_config, gpu, SECTION, NULL,
     "memory of GPUs: who tells how full it is, and what may be done about it", .table = ps_gpu_options),
    PS_OPTION_ROW(ps_config, store, SECTION, NULL,
     "what outlives a restart", .table = ps_store_options),
    PS_OPTION_ROW(ps_config, history, SECTION, NULL,
     "what all numbers were: second by second in memory, by minutes and hours in the file of `store.path`",
     .table = ps_history_options),
    PS_OPTION_ROW(ps_config, dashboard, SECTION, NULL,
     "the figures of each second, pushed to whoever watches", .table = ps_live_options),
    PS_OPTION_ROW(ps_config, upstreams, LIST, NULL,
     "the inference servers", .table = ps_upstream_options, .item_size = sizeof(struct ps_upstream_opts)),
    PS_OPTION_ROW(ps_config, routes, LIST, NULL,
     "which requests go where; without any, the OpenAI paths and everything else go to the first upstream",
     .table = ps_route_options, .item_size = sizeof(struct ps_route_opts)),
    PS_OPTION_ROW(ps_config, models, LIST, NULL,
     "names that clients ask for, and what serves them", .table = ps_model_options,
     .item_size = sizeof(struct ps_model_opts)),
    PS_OPTION_ROW(ps_config, tenants, LIST, NULL,
     "who may use the gateway; without any it answers on loopback only", .table = ps_tenant_options,
     .item_size = sizeof(struct ps_tenant_opts), .word = "open",
     .word_offset = offsetof(struct ps_config, tenants_open)),
    {0},
};
/* clang-format on */

int ps_config_default(struct ps_config **out)
{
    struct ps_config *config = calloc(1, sizeof *config);
    if (config == NULL) {
        return PS_ENOMEM;
    }
    int err = ps_option_init(ps_config_options, config);
    if (err != PS_OK) {
        ps_config_free(config);
        return err;
    }
    *out = config;
    return PS_OK;
}

void ps_config_free(struct ps_config *config)
{
    if (config != NULL) {
        ps_option_fini(ps_config_options, config);
        free(config);
    }
}

static bool is_one_of(const char *text, const char *const *words)
{
    while (*words != NULL && strcmp(*words, text) != 0) {
        words++;
    }
    return *words != NULL;
}

/* A value that is a path or a word. */
static int resolve_path(char **field, const char *const *words,
                        const struct ps_config_source *source)
{
    char *path = *field;
    if (path == NULL || is_one_of(path, words)) {
        return PS_OK;
    }
    *field = ps_config_resolve(source, path);
    free(path);
    return *field == NULL ? PS_ENOMEM : PS_OK;
}

static int resolve_paths(struct ps_config *config, const struct ps_config_source *source)
{
    static const char *const log_words[] = {"off", "stderr", NULL};
    static const char *const store_words[] = {"auto", "off", "", NULL};
    int err = resolve_path(&config->access_log, log_words, source);
    return err != PS_OK ? err : resolve_path(&config->store.path, store_words, source);
}

static int parse(struct ps_config **out, struct ps_str text, const struct ps_config_source *source,
                 bool files, struct ps_config_report *report)
{
    struct ps_config *config = NULL;
    struct ps_config_places places = {0};
    int err = ps_config_default(&config);
    if (err != PS_OK) {
        return err;
    }
    err = ps_config_yaml_read(ps_config_options, config, text, source, &places, report);
    if (err == PS_EPARSE) { /* half a file says nothing about its sense */
        err = PS_EINVAL;
        goto out;
    }
    if (err == PS_OK || err == PS_EINVAL) {
        int sense = ps_config_check(config, &places, report);
        err = sense == PS_ENOMEM ? sense : err;
    }
    if (err == PS_OK && files) {
        ps_config_check_files(config, &places, report);
    }
    err = err == PS_OK ? resolve_paths(config, source) : err;
    err = err == PS_OK && report->errors > 0 ? PS_EINVAL : err;
out:
    ps_config_places_fini(&places);
    ps_config_report_sort(report);
    if (err != PS_OK) {
        ps_config_free(config);
        return err;
    }
    *out = config;
    return PS_OK;
}

int ps_config_parse(struct ps_config **out, struct ps_str text,
                    const struct ps_config_source *source, struct ps_config_report *report)
{
    return parse(out, text, source, false, report);
}

static const char *environment(void *ctx, const char *name)
{
    (void)ctx;
    return getenv(name);
}

/* Reads a whole file, and says so in the report when that fails. PS_OK, PS_EINVAL or PS_ENOMEM. */
static int read_text(const char *path, bool regular, struct ps_buf *text, bool *is_public,
                     struct ps_config_report *report)
{
    int err = ps_config_read_file(path, PS_CONFIG_LARGEST, regular, text, is_public);
    if (err == PS_OK || err == PS_ENOMEM) {
        return err;
    }
    ps_config_report_add(report, false, 0, 0, "", "cannot be read: %s",
                         err == PS_ELIMIT   ? "larger than 1MiB"
                         : err == PS_EINVAL ? "not a file"
                                            : ps_err_text(err));
    return PS_EINVAL;
}

/* The folder of a file; free() it. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL || slash == path ? 1 : (size_t)(slash - path);
    return slash == NULL ? strdup(".") : ps_str_dup((struct ps_str){path, len});
}

static void forget(struct ps_buf *text)
{
    if (text->data != NULL) {
        explicit_bzero(text->data, text->cap);
    }
    ps_buf_fini(text);
}

int ps_config_load(struct ps_config **out, const char *path, struct ps_config_report *report)
{
    struct ps_buf text = ps_buf_make(0);
    int err = read_text(path, false, &text, NULL, report);
    if (err != PS_OK) {
        return err;
    }
    char *folder = folder_of(path);
    err = folder == NULL ? PS_ENOMEM : PS_OK;
    if (err == PS_OK) {
        struct ps_config_source source = {.folder = folder, .lookup = environment};
        err = parse(out, ps_buf_str(&text), &source, true, report);
    }
    free(folder);
    forget(&text);
    return err;
}

/* --- for the doctor ----------------------------------------------------------------------------
 */

static int examine(struct ps_config *config, struct ps_str text, const char *folder,
                   struct ps_config_report *report)
{
    struct ps_config_source source = {.folder = folder, .lookup = environment};
    struct ps_config_places places = {0};
    int err = ps_config_yaml_read(ps_config_options, config, text, &source, &places, report);
    if (err == PS_OK || err == PS_EINVAL) {
        int sense = ps_config_check(config, &places, report);
        err = sense == PS_ENOMEM ? sense : err;
    }
    ps_config_places_fini(&places);
    ps_config_report_sort(report);
    if (err != PS_ENOMEM && resolve_paths(config, &source) != PS_OK) {
        return PS_ENOMEM;
    }
    return err == PS_OK && report->errors > 0 ? PS_EINVAL : err;
}

int ps_config_examine(struct ps_config **out, const char *path, bool *is_public,
                      struct ps_config_report *report)
{
    struct ps_buf text = ps_buf_make(0);
    struct ps_config *config = NULL;
    int err = read_text(path, true, &text, is_public, report);
    if (err != PS_OK) {
        return err == PS_ENOMEM ? err : PS_EPARSE;
    }
    char *folder = folder_of(path);
    err = folder == NULL ? PS_ENOMEM : ps_config_default(&config);
    err = err == PS_OK ? examine(config, ps_buf_str(&text), folder, report) : err;
    free(folder);
    forget(&text);
    if (err == PS_EPARSE || err == PS_ENOMEM) {
        ps_config_free(config);
        return err;
    }
    *out = config;
    return err;
}

#define NOT_OURS "not read" /* what no_files puts in the place of a file's content */

static const char *no_environment(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
    return NOT_OURS;
}

static void note_secret(void *ctx, const char *secret)
{
    bool *found = ctx;
    *found = *found || strstr(secret, NOT_OURS) == NULL;
}

bool ps_config_holds_secrets(const char *path)
{
    struct ps_config_source source = {.lookup = no_environment, .no_files = true};
    struct ps_config_places places = {0};
    struct ps_config_report report = {0};
    struct ps_config *config = NULL;
    struct ps_buf text = ps_buf_make(0);
    bool found = false;
    if (read_text(path, true, &text, NULL, &report) == PS_OK &&
        ps_config_default(&config) == PS_OK) {
        PS_IGNORE(ps_config_yaml_read(ps_config_options, config, ps_buf_str(&text), &source,
                                      &places, &report));
        ps_config_each_secret(config, note_secret, &found);
    }
    ps_config_free(config);
    ps_config_places_fini(&places);
    ps_config_report_fini(&report);
    forget(&text);
    return found;
}

static void each_secret(const struct ps_option *table, const void *opts,
                        void (*on_secret)(void *ctx, const char *secret), void *ctx)
{
    for (const struct ps_option *row = table; row->type != PS_OPTION_END; row++) {
        const void *field = (const char *)opts + row->offset;
        if (row->type == PS_OPTION_SECRET && *(char *const *)field != NULL) {
            on_secret(ctx, *(char *const *)field);
        } else if (row->type == PS_OPTION_SECTION) {
            each_secret(row->table, field, on_secret, ctx);
        } else if (row->type == PS_OPTION_LIST) {
            const struct ps_option_list *list = field;
            for (size_t i = 0; i < list->count; i++) {
                each_secret(row->table, (const char *)list->items + i * row->item_size, on_secret,
                            ctx);
            }
        }
    }
}

void ps_config_each_secret(const struct ps_config *config,
                           void (*on_secret)(void *ctx, const char *secret), void *ctx)
{
    each_secret(ps_config_options, config, on_secret, ctx);
}

int ps_config_validate(const struct ps_config *config, struct ps_config_report *report)
{
    struct ps_config_places places = {0};
    size_t errors = report->errors;
    int err = ps_config_check(config, &places, report);
    if (err == PS_OK) {
        ps_config_check_files(config, &places, report);
        err = report->errors > errors ? PS_EINVAL : PS_OK;
    }
    return err;
}

int ps_config_yaml(const struct ps_config *config, bool all, struct ps_buf *out)
{
    return ps_option_yaml(ps_config_options, config, 0, all, out);
}

/* Ahead of all the tables; marked up as Markdown and base/roff.h both understand it. */
static const char about[] =
    "One YAML file, `penstock serve --config FILE`. An empty file is valid. Unknown keys are "
    "errors, and so\n"
    "are repeated keys, anchors, aliases, tags and a second document; `penstock config --check "
    "FILE` names\n"
    "every mistake at once.\n\n"
    "- A **size** is `512`, `64KiB`, `32MiB`, `2GiB` (or `kB`, `MB`, `GB`), a **time** "
    "`250us`, `50ms`, `10s`,\n"
    "  `5m`, `2h`, `1d`, a **number** `1000`, `20k`, `1M`.\n"
    "- In text and secrets `${NAME}` is replaced by that environment variable, which must be "
    "set; a literal\n"
    "  `${` is written `$${`.\n"
    "- A **secret** `key` may be given as `key_file`: the path of a file that holds it.\n"
    "- Relative **files** are looked for in the folder of the configuration file.\n";

int ps_config_manual(struct ps_buf *out)
{
    int err = ps_buf_printf(out,
                            "# Configuration\n\n"
                            "<!-- Generated by `penstock config --reference`. -->\n\n"
                            "%s\n## Top level\n\n",
                            about);
    return err == PS_OK ? ps_option_manual(ps_config_options, "", out) : err;
}

int ps_config_page(const char *version, const char *date, FILE *out)
{
    struct ps_roff page = {.out = out};
    ps_roff_title(&page, "penstock.yaml", 5, version, date);
    ps_roff_name(&page, "penstock.yaml", "the configuration of penstock serve");
    ps_roff_heading(&page, 1, "Description");
    ps_roff_text(&page, ps_str_from(about));
    ps_roff_heading(&page, 1, "Keys");
    int err = ps_option_roff(ps_config_options, "", &page);
    ps_roff_heading(&page, 1, "See also");
    ps_roff_text(&page, PS_STR("`penstock`(1), `penstock-serve`(1), `penstock-config`(1)"));
    return err;
}

static const struct ps_option *row_of(const struct ps_option *table, const char *name)
{
    const struct ps_option *row = ps_option_find(table, ps_str_from(name));
    PS_CHECK(row != NULL);
    return row;
}

int ps_config_add_listen(struct ps_config *config, struct ps_str address, bool first)
{
    struct ps_address parsed;
    char reason[128];
    const struct ps_option *row = row_of(ps_config_options, "listen");
    if (ps_address_parse(address, &parsed) != PS_OK) {
        return PS_EINVAL;
    }
    if (first) {
        ps_option_clear(row, config);
    }
    return ps_option_add(row, config, address, reason, sizeof reason);
}

static int find_or_add_upstream(struct ps_config *config, struct ps_str name,
                                struct ps_upstream_opts **out)
{
    struct ps_upstream_opts *items = config->upstreams.items;
    char reason[128];
    for (size_t i = 0; i < config->upstreams.count; i++) {
        if (ps_str_eq(ps_str_from(items[i].name), name)) {
            *out = &items[i];
            return PS_OK;
        }
    }
    void *item = NULL;
    int err = ps_option_push(row_of(ps_config_options, "upstreams"), config, &item);
    if (err == PS_OK) {
        *out = item;
        err = ps_option_set(row_of(ps_upstream_options, "name"), item, name, reason, sizeof reason);
    }
    return err;
}

int ps_config_add_endpoint(struct ps_config *config, struct ps_str name, struct ps_str url)
{
    struct ps_url parsed;
    struct ps_upstream_opts *upstream = NULL;
    const struct ps_option *row = row_of(ps_upstream_options, "endpoints");
    char reason[128];
    void *endpoint = NULL;
    if (ps_url_parse(url, &parsed) != PS_OK) {
        return PS_EINVAL;
    }
    int err = find_or_add_upstream(config, name, &upstream);
    err = err == PS_OK ? ps_option_push(row, upstream, &endpoint) : err;
    return err == PS_OK
               ? ps_option_set(row_of(row->table, "url"), endpoint, url, reason, sizeof reason)
               : err;
}

unsigned ps_config_workers(const struct ps_config *config)
{
    cpu_set_t set;
    if (config->workers > 0) {
        return (unsigned)config->workers;
    }
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return cores < 1 ? 1 : cores > MOST_WORKERS ? MOST_WORKERS : (unsigned)cores;
}

uint64_t ps_config_max_buffered(const struct ps_config *config)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long size = sysconf(_SC_PAGESIZE);
    if (config->max_buffered > 0 || pages <= 0 || size <= 0) {
        return config->max_buffered > 0 ? config->max_buffered : (uint64_t)1 << 28;
    }
    return (uint64_t)pages * (uint64_t)size / 4;
}

bool ps_config_is_loopback(const struct ps_option_strings *listen)
{
    struct ps_address address;
    for (size_t i = 0; i < listen->count; i++) {
        if (ps_address_parse(ps_str_from(listen->items[i]), &address) != PS_OK ||
            !ps_address_is_loopback(&address)) {
            return false;
        }
    }
    return true;
}

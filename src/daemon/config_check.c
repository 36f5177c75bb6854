#include "daemon/config_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/reserved.h"
#include "gateway/backend.h"
#include "gateway/route.h"
#include "gateway/tenant.h"
#include "http/url.h"
#include "io/address.h"
#include "io/tls.h"

enum { PATH_SIZE = 256, SHORT_TOKEN = 16, DIGEST_DIGITS = 64 };

struct check {
    const struct ps_config *config;
    const struct ps_config_places *places;
    struct ps_config_report *report;
    char path[PATH_SIZE]; /* what is being looked at */
};

/* Sets what is being looked at. */
static void look_at(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void look_at(struct check *check, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(check->path, sizeof check->path, format, args);
    va_end(args);
}

/* Once the report is full only the number matters, and looking for places costs time. */
static struct ps_config_place place_of(const struct check *check)
{
    const struct ps_config_place *place = NULL;
    if (check->report->count < PS_CONFIG_FINDINGS) {
        place = ps_config_places_find(check->places, check->path);
    }
    return place == NULL ? (struct ps_config_place){NULL, 0, 0} : *place;
}

#define ERROR(check, ...)                                                               \
    do {                                                                                \
        struct ps_config_place at = place_of(check);                                    \
        ps_config_report_add((check)->report, false, at.line, at.column, (check)->path, \
                             __VA_ARGS__);                                              \
    } while (0)
#define WARNING(check, ...)                                                            \
    do {                                                                               \
        struct ps_config_place at = place_of(check);                                   \
        ps_config_report_add((check)->report, true, at.line, at.column, (check)->path, \
                             __VA_ARGS__);                                             \
    } while (0)

/* Was something already found wrong in `part`? Then what follows from it need not be said. */
static bool is_wrong(const struct check *check, const char *part)
{
    size_t len = strlen(part);
    for (size_t i = 0; i < check->report->count; i++) {
        const struct ps_config_finding *found = &check->report->items[i];
        if (!found->warning && strncmp(found->field, part, len) == 0 &&
            (found->field[len] == '\0' || found->field[len] == '.' || found->field[len] == '[')) {
            return true;
        }
    }
    return false;
}

/* --- names that must be there, once
 * --------------------------------------------------------------- */

struct name {
    const char *text;
    size_t index;
};

struct names {
    struct name *items; /* sorted by text, then by index */
    size_t count;
};

static int compare_names(const void *left, const void *right)
{
    const struct name *a = left;
    const struct name *b = right;
    int order = strcmp(a->text, b->text);
    return order != 0 ? order : (a->index > b->index) - (a->index < b->index);
}

/* The text at `offset` of every item that has one. */
static int collect(const struct ps_option_list *list, size_t item_size, size_t offset,
                   struct names *out)
{
    struct name *items = calloc(list->count + 1, sizeof *items);
    size_t count = 0;
    if (items == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < list->count; i++) {
        const char *item = (const char *)list->items + i * item_size;
        const char *text = *(char *const *)(const void *)(item + offset);
        if (text != NULL) {
            items[count++] = (struct name){text, i};
        }
    }
    qsort(items, count, sizeof *items, compare_names);
    *out = (struct names){items, count};
    return PS_OK;
}

static bool knows(const struct names *names, const char *text)
{
    size_t low = 0;
    size_t high = names->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(names->items[middle].text, text);
        if (order == 0) {
            return true;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return false;
}

/* Reports every item whose text an earlier one has; the text itself is not shown, it may be a
 * secret. */
static void check_unique(struct check *check, const struct names *names, const char *list,
                         const char *field)
{
    for (size_t i = 1; i < names->count; i++) {
        if (strcmp(names->items[i - 1].text, names->items[i].text) == 0) {
            look_at(check, "%s[%zu].%s", list, names->items[i].index, field);
            ERROR(check, "the same as in %s[%zu]", list, names->items[i - 1].index);
        }
    }
}

static int check_unique_field(struct check *check, const struct ps_option_list *list,
                              size_t item_size, size_t offset, const char *name, const char *field)
{
    struct names names = {NULL, 0};
    int err = collect(list, item_size, offset, &names);
    if (err == PS_OK) {
        check_unique(check, &names, name, field);
        free(names.items);
    }
    return err;
}

/* --- addresses
 * ------------------------------------------------------------------------------------ */

static void check_addresses(struct check *check, const struct ps_option_strings *listen,
                            const char *name)
{
    struct ps_address address;
    for (size_t i = 0; i < listen->count; i++) {
        look_at(check, "%s[%zu]", name, i);
        if (ps_address_parse(ps_str_from(listen->items[i]), &address) != PS_OK) {
            ERROR(
                check,
                "expected a numeric address with port such as 127.0.0.1:5000, [::1]:5000 or :5000");
        }
        for (size_t j = 0; j < i && j < 64; j++) {
            if (strcmp(listen->items[i], listen->items[j]) == 0) {
                ERROR(check, "the same as %s[%zu]", name, j);
                break;
            }
        }
    }
}

/* An address may be on both lists only with port 0, which is a new one each time. */
static void check_shared_addresses(struct check *check)
{
    const struct ps_option_strings *ours = &check->config->listen;
    const struct ps_option_strings *admin = &check->config->admin.listen;
    for (size_t i = 0; i < admin->count && i < 64; i++) {
        for (size_t j = 0; j < ours->count && j < 64; j++) {
            if (strcmp(admin->items[i], ours->items[j]) == 0 &&
                !ps_str_ends_with(ps_str_from(ours->items[j]), PS_STR(":0"))) {
                look_at(check, "admin.listen[%zu]", i);
                ERROR(check, "the gateway listens there already (listen[%zu])", j);
            }
        }
    }
}

static void check_listen(struct check *check)
{
    const struct ps_config *config = check->config;
    look_at(check, "listen");
    if (config->listen.count == 0) {
        ERROR(check, "at least one address is needed");
    }
    check_addresses(check, &config->listen, "listen");
    check_addresses(check, &config->admin.listen, "admin.listen");
    check_shared_addresses(check);
}

static void check_networks(struct check *check)
{
    const struct ps_option_strings *networks = &check->config->trusted_proxies;
    struct ps_network network;
    for (size_t i = 0; i < networks->count; i++) {
        look_at(check, "trusted_proxies[%zu]", i);
        if (ps_network_parse(ps_str_from(networks->items[i]), &network) != PS_OK) {
            ERROR(check, "expected a network such as 10.0.0.0/8, fd00::/8 or a single address");
        }
    }
}

static void check_origins(struct check *check)
{
    const struct ps_option_strings *origins = &check->config->cors.origins;
    struct ps_url url;
    for (size_t i = 0; i < origins->count; i++) {
        look_at(check, "cors.origins[%zu]", i);
        struct ps_str origin = ps_str_from(origins->items[i]);
        bool any = ps_str_eq(origin, PS_STR("*"));
        if (!any && (ps_url_parse(origin, &url) != PS_OK || url.path.len > 0)) {
            ERROR(check, "expected an origin such as https://app.example (no path), or *");
        }
    }
}

/* --- who may come in
 * ------------------------------------------------------------------------------ */

/* RFC 6750 2.1: what can be sent behind "Bearer ". */
static bool is_bearer(const char *token)
{
    for (; *token != '\0'; token++) {
        if (*token <= ' ' || *token > '~') {
            return false;
        }
    }
    return true;
}

static int check_tokens(struct check *check)
{
    const struct ps_option_list *list = &check->config->admin.tokens;
    const struct ps_token_opts *tokens = list->items;
    for (size_t i = 0; i < list->count; i++) {
        look_at(check, "admin.tokens[%zu].token", i);
        if (tokens[i].token == NULL) {
            continue;
        }
        if (!is_bearer(tokens[i].token)) {
            ERROR(check, "must consist of visible ASCII characters");
        } else if (strlen(tokens[i].token) < SHORT_TOKEN) {
            WARNING(check, "is shorter than %d characters and may be guessed", SHORT_TOKEN);
        }
    }
    int err = check_unique_field(check, list, sizeof *tokens, offsetof(struct ps_token_opts, name),
                                 "admin.tokens", "name");
    return err != PS_OK
               ? err
               : check_unique_field(check, list, sizeof *tokens,
                                    offsetof(struct ps_token_opts, token), "admin.tokens", "token");
}

/* A tenant's key must never open admin paths. */
static int check_keys(struct check *check)
{
    const struct ps_option_list *list = &check->config->tenants;
    const struct ps_tenant_opts *tenants = list->items;
    struct names tokens = {NULL, 0};
    int err = collect(&check->config->admin.tokens, sizeof(struct ps_token_opts),
                      offsetof(struct ps_token_opts, token), &tokens);
    for (size_t i = 0; i < list->count && err == PS_OK; i++) {
        look_at(check, "tenants[%zu].key", i);
        const char *key = tenants[i].key;
        if (key != NULL && !is_bearer(key)) {
            ERROR(check, "must consist of visible ASCII characters");
        } else if (key != NULL && knows(&tokens, key)) {
            ERROR(check, "is also a token of admin.tokens");
        }
    }
    free(tokens.items);
    return err;
}

static bool is_digest(const char *text)
{
    return strlen(text) == DIGEST_DIGITS && strspn(text, "0123456789abcdefABCDEF") == DIGEST_DIGITS;
}

static int check_tenants(struct check *check)
{
    const struct ps_option_list *list = &check->config->tenants;
    const struct ps_tenant_opts *tenants = list->items;
    for (size_t i = 0; i < list->count; i++) {
        char item[64];
        snprintf(item, sizeof item, "tenants[%zu]", i);
        look_at(check, "%s", item);
        if (tenants[i].key == NULL && tenants[i].key_sha256.count == 0 && !is_wrong(check, item)) {
            ERROR(check, "needs a key (key, key_file or key_sha256)");
        }
        for (size_t j = 0; j < tenants[i].key_sha256.count; j++) {
            look_at(check, "tenants[%zu].key_sha256[%zu]", i, j);
            if (!is_digest(tenants[i].key_sha256.items[j])) {
                ERROR(check, "expected the 64 hexadecimal digits of a SHA-256");
            }
        }
    }
    int err = check_unique_field(check, list, sizeof *tenants,
                                 offsetof(struct ps_tenant_opts, name), "tenants", "name");
    err = err == PS_OK ? check_unique_field(check, list, sizeof *tenants,
                                            offsetof(struct ps_tenant_opts, key), "tenants", "key")
                       : err;
    return err == PS_OK ? check_keys(check) : err;
}

/* Beyond loopback nobody comes in unnamed, unless the operator has said so. */
static void check_access(struct check *check)
{
    const struct ps_config *config = check->config;
    bool split = config->admin.listen.count > 0;
    const struct ps_option_strings *reserved = split ? &config->admin.listen : &config->listen;
    const char *name = split ? "admin.listen" : "listen";
    bool readable = !is_wrong(check, "listen");
    if (!ps_config_is_loopback(reserved) && config->admin.tokens.count == 0 &&
        !is_wrong(check, "admin.tokens") && !is_wrong(check, name)) {
        look_at(check, "%s", name);
        ERROR(check,
              "beyond loopback the reserved paths (such as /metrics) need a token: set "
              "admin.tokens%s",
              split ? "" : ", or put them elsewhere with admin.listen");
        ps_config_report_fix(
            check->report,
            split ? "admin: {tokens: [{name: ops, role: admin, token_file: ops.token}]}"
                  : "admin: {tokens: [{name: ops, role: admin, token_file: ops.token}]}, "
                    "or admin: {listen: 127.0.0.1:9000}");
    }
    if (!ps_config_is_loopback(&config->listen) && config->tenants.count == 0 &&
        !config->tenants_open && readable && !is_wrong(check, "tenants")) {
        look_at(check, "listen");
        ERROR(check,
              "beyond loopback the gateway needs tenants, or `tenants: open` to serve anybody");
        ps_config_report_fix(check->report, "tenants: [{name: first, key_file: first.key}], or "
                                            "listen: 127.0.0.1:5000");
    }
}

/* --- where requests go
 * ---------------------------------------------------------------------------- */

static void check_endpoints(struct check *check, const struct ps_upstream_opts *upstream,
                            size_t index)
{
    const struct ps_endpoint_opts *endpoints = upstream->endpoints.items;
    struct ps_url url;
    char field[64];
    snprintf(field, sizeof field, "upstreams[%zu].endpoints", index);
    look_at(check, "%s", field);
    if (upstream->endpoints.count > PS_BACKEND_ENDPOINTS_MAX) {
        ERROR(check, "at most %d endpoints", PS_BACKEND_ENDPOINTS_MAX);
    } else if (upstream->endpoints.count == 0 && !is_wrong(check, field)) {
        ERROR(check, "at least one endpoint is needed");
    }
    for (size_t i = 0; i < upstream->endpoints.count; i++) {
        look_at(check, "upstreams[%zu].endpoints[%zu].url", index, i);
        if (endpoints[i].url != NULL &&
            ps_url_parse(ps_str_from(endpoints[i].url), &url) != PS_OK) {
            ERROR(check, "expected a URL such as http://127.0.0.1:8000");
        }
    }
}

static void on_gpu_mistake(void *ctx, const char *path, const char *sentence)
{
    struct check *check = ctx;
    look_at(check, "%s", path);
    ERROR(check, "%s", sentence);
}

static int check_upstreams(struct check *check)
{
    const struct ps_option_list *list = &check->config->upstreams;
    const struct ps_upstream_opts *upstreams = list->items;
    for (size_t i = 0; i < list->count; i++) {
        check_endpoints(check, &upstreams[i], i);
        look_at(check, "upstreams[%zu].api_key", i);
        if (upstreams[i].api_key != NULL && !is_bearer(upstreams[i].api_key)) {
            ERROR(check, "must consist of visible ASCII characters");
        }
    }
    return check_unique_field(check, list, sizeof *upstreams,
                              offsetof(struct ps_upstream_opts, name), "upstreams", "name");
}

/* The upstream that comes nearest to what was written, for a hint. */
static void report_missing(struct check *check, const struct names *names, const char *text)
{
    struct ps_option rows[2] = {{.name = "", .type = PS_OPTION_STRING}, {0}};
    bool shown = check->report->count < PS_CONFIG_FINDINGS;
    for (size_t i = 0; i < names->count && shown; i++) {
        rows[0].name = names->items[i].text;
        if (ps_option_nearest(rows, ps_str_from(text)) != NULL) {
            ERROR(check, "there is no upstream '%.64s'; did you mean '%.64s'?", text, rows[0].name);
            ps_config_report_fix(check->report, "write '%.64s'", rows[0].name);
            return;
        }
    }
    ERROR(check, "there is no upstream '%.64s'", text);
}

static void check_path(struct check *check, const char *path)
{
    const char *star = strchr(path, '*');
    if (path[0] != '/') {
        ERROR(check, "must begin with /");
    } else if (star != NULL && star[1] != '\0') {
        ERROR(check, "* is allowed at the end only");
    } else if (strpbrk(path, "?# ") != NULL) {
        ERROR(check, "must be a path, without query, fragment or blanks");
    } else if (check->config->admin.listen.count > 0 ? ps_reserved_health(ps_str_from(path))
                                                     : ps_reserved_path(ps_str_from(path))) {
        WARNING(check, "Penstock answers %s itself, so this route is never taken", path);
    }
}

static void check_routes(struct check *check, const struct names *upstreams)
{
    const struct ps_route_opts *routes = check->config->routes.items;
    size_t count = check->config->routes.count;
    look_at(check, "routes");
    bool any = check->config->upstreams.count > 0;
    if (count > 0 && !any && !is_wrong(check, "upstreams")) {
        ERROR(check, "there are no upstreams to go to");
    }
    for (size_t i = 0; i < count; i++) {
        look_at(check, "routes[%zu].path", i);
        if (routes[i].path != NULL) {
            check_path(check, routes[i].path);
        }
        look_at(check, "routes[%zu].upstream", i);
        if (any && routes[i].upstream != NULL && !knows(upstreams, routes[i].upstream)) {
            report_missing(check, upstreams, routes[i].upstream);
        }
    }
}

static int check_models(struct check *check, const struct names *upstreams)
{
    const struct ps_model_opts *models = check->config->models.items;
    for (size_t i = 0; i < check->config->models.count; i++) {
        look_at(check, "models[%zu].upstream", i);
        if (models[i].upstream != NULL && !knows(upstreams, models[i].upstream)) {
            report_missing(check, upstreams, models[i].upstream);
        }
    }
    return check_unique_field(check, &check->config->models, sizeof *models,
                              offsetof(struct ps_model_opts, name), "models", "name");
}

/* What only the modules themselves know, once everything above is fine. */
static int check_tables(struct check *check)
{
    const struct ps_config *config = check->config;
    struct ps_route_table *routes = NULL;
    struct ps_tenants *tenants = NULL;
    char reason[256] = "";
    int err = PS_OK;
    if (config->upstreams.count > 0) {
        err = ps_route_table_new(&routes, &config->routes, &config->upstreams, &config->models,
                                 reason, sizeof reason);
        ps_route_table_free(routes);
    }
    if (err == PS_EINVAL) {
        look_at(check, "routes");
        ERROR(check, "%s", reason);
        err = PS_OK;
    }
    if (err == PS_OK && config->tenants.count > 0) {
        err = ps_tenants_new(&tenants, &config->tenants, NULL, NULL, reason, sizeof reason);
        ps_tenants_unref(tenants);
    }
    if (err == PS_EINVAL) {
        look_at(check, "tenants");
        ERROR(check, "%s", reason);
        err = PS_OK;
    }
    return err;
}

static int check_paths(struct check *check)
{
    struct names upstreams = {NULL, 0};
    int err = check_upstreams(check);
    err = err == PS_OK ? collect(&check->config->upstreams, sizeof(struct ps_upstream_opts),
                                 offsetof(struct ps_upstream_opts, name), &upstreams)
                       : err;
    if (err == PS_OK) {
        check_routes(check, &upstreams);
        err = check_models(check, &upstreams);
    }
    free(upstreams.items);
    return err;
}

static void check_tls(struct check *check)
{
    const struct ps_tls_opts *tls = &check->config->tls;
    look_at(check, "tls");
    if ((tls->certificate == NULL) != (tls->key_file == NULL) && !is_wrong(check, "tls")) {
        ERROR(check, "certificate and key_file are needed both");
    }
}

static void check_statsd(struct check *check)
{
    const struct ps_option_strings *listen = &check->config->metrics.statsd.listen;
    look_at(check, "metrics.statsd.listen");
    if (listen->count > PS_STATSD_LISTEN_MOST) {
        ERROR(check, "at most %d addresses", PS_STATSD_LISTEN_MOST);
    }
    for (size_t i = 0; i < listen->count; i++) {
        bool open;
        const char *why = ps_statsd_port_objection(ps_str_from(listen->items[i]), &open);
        look_at(check, "metrics.statsd.listen[%zu]", i);
        if (why != NULL) {
            ERROR(check, "%s", why);
        } else if (open) {
            WARNING(check, "StatsD knows no tokens: whoever reaches this address can write metrics");
        }
    }
}

int ps_config_check(const struct ps_config *config, const struct ps_config_places *places,
                    struct ps_config_report *report)
{
    struct check check = {.config = config, .places = places, .report = report};
    check_listen(&check);
    check_networks(&check);
    check_origins(&check);
    check_tls(&check);
    int err = check_tokens(&check);
    err = err == PS_OK ? check_tenants(&check) : err;
    err = err == PS_OK ? check_paths(&check) : err;
    ps_gpu_check_opts(&config->gpu, on_gpu_mistake, &check);
    check_statsd(&check);
    if (err == PS_OK) {
        check_access(&check);
    }
    return err == PS_OK && report->errors == 0 ? check_tables(&check) : err;
}

static void check_upstream_files(struct check *check, const struct ps_upstream_opts *upstream,
                                 size_t index)
{
    struct ps_tls *tls = NULL;
    struct ps_tls_error error = {""};
    look_at(check, "upstreams[%zu].tls.ca_file", index);
    if (upstream->tls.ca_file != NULL) {
        if (ps_tls_new_client(&tls, upstream->tls.ca_file, upstream->tls.verify, &error) != PS_OK) {
            ERROR(check, "%s", error.text);
        }
        ps_tls_unref(tls);
    }
}

/* Everything that the caches would complain of at the start; nothing is opened. */
static void check_cache(struct check *check)
{
    const struct ps_cache_opts *cache = &check->config->cache;
    struct ps_tiers_opts opts = {.l1 = &cache->l1, .redis = &cache->redis};
    struct ps_tiers *tiers = NULL;
    char reason[256] = "";
    look_at(check, "cache");
    if (ps_tiers_new(&tiers, &opts, reason, sizeof reason) == PS_EINVAL) {
        ERROR(check, "%s", reason);
    }
    ps_tiers_free(tiers);
}

void ps_config_check_files(const struct ps_config *config, const struct ps_config_places *places,
                           struct ps_config_report *report)
{
    struct check check = {.config = config, .places = places, .report = report};
    const struct ps_upstream_opts *upstreams = config->upstreams.items;
    struct ps_tls *tls = NULL;
    struct ps_tls_error error = {""};
    look_at(&check, "tls");
    if (config->tls.certificate != NULL && config->tls.key_file != NULL) {
        if (ps_tls_new_server(&tls, config->tls.certificate, config->tls.key_file, &error) !=
            PS_OK) {
            ERROR(&check, "%s", error.text);
        }
        ps_tls_unref(tls);
    }
    for (size_t i = 0; i < config->upstreams.count; i++) {
        check_upstream_files(&check, &upstreams[i], i);
    }
    check_cache(&check);
}

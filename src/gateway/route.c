#include "gateway/route.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "gateway/backend.h"
#include "gateway/dialect.h"
#include "gateway/entry.h"
#include "gateway/path.h"

#define PATH_MAX_DECODED 16384

static const char *const kind_names[] = {"plain", "openai", "inference", NULL};
static const char *const choice_names[] = {"auto", "yes", "no", NULL};

/* clang-format off */
const struct ps_option ps_route_options[] = {
    {"name", PS_OPTION_STRING, offsetof(struct ps_route_opts, name), NULL,
     "what the route is called in metrics and logs; its path by default", .min = 0},
    {"path", PS_OPTION_STRING, offsetof(struct ps_route_opts, path), NULL,
     "exact path, or a prefix with a trailing *", .required = true},
    {"methods", PS_OPTION_STRINGS, offsetof(struct ps_route_opts, methods), NULL,
     "methods that it serves; all by default (GET includes HEAD)", .min = 0},
    {"host", PS_OPTION_STRING, offsetof(struct ps_route_opts, host), NULL,
     "only requests to this host", .min = 0},
    {"kind", PS_OPTION_ENUM, offsetof(struct ps_route_opts, kind), "plain",
     "plain passes bytes; inference reads the calls that it knows by their path (model, tokens, usage) in the engine's own dialect; openai reads every POST as OpenAI's", .names = kind_names},
    {"upstream", PS_OPTION_STRING, offsetof(struct ps_route_opts, upstream), NULL,
     "where it leads; the first upstream by default", .min = 0},
    {"idempotent", PS_OPTION_ENUM, offsetof(struct ps_route_opts, idempotent), "auto",
     "may a request that was fully sent be sent again; auto = inference and GET, HEAD, OPTIONS, but no jobs", .names = choice_names},
    {"engine_admin", PS_OPTION_ENUM, offsetof(struct ps_route_opts, engine_admin), "auto",
     "let calls through that administer the engine (/api/pull, /sleep, /free, ...); auto = only if the path is exact", .names = choice_names},
    {"priority", PS_OPTION_ENUM, offsetof(struct ps_route_opts, priority), "normal",
     "its class at the admission gate", .names = ps_priority_names},
    {"first_byte_timeout", PS_OPTION_SPAN, offsetof(struct ps_route_opts, first_byte_timeout), "0s",
     "longest wait for the head of an answer; 0 = the upstream's", .min = 0},
    {"idle_timeout", PS_OPTION_SPAN, offsetof(struct ps_route_opts, idle_timeout), "0s",
     "longest gap inside an answer; 0 = the upstream's", .min = 0},
    {"cache", PS_OPTION_ENUM, offsetof(struct ps_route_opts, cache.use), "auto",
     "remember answers: auto = of GET and HEAD, where they allow it; yes = of POST as well, where the same question has the same answer; no = none", .names = choice_names},
    {"sampled", PS_OPTION_BOOL, offsetof(struct ps_route_opts, cache.sampled), "no",
     "with cache: yes, remember answers too that were drawn at random: chats and completions without temperature 0 or a seed, images without a seed", .min = 0},
    {"cache_ttl", PS_OPTION_SPAN, offsetof(struct ps_route_opts, cache.ttl), "1h",
     "how long the answer to a POST is fresh", .min = 1e9, .max = 3e16},
    {"cache_stale", PS_OPTION_SPAN, offsetof(struct ps_route_opts, cache.stale), "0s",
     "how long after that it may be sent while it is asked for anew in the background", .max = 3e16},
    {"cache_stale_on_error", PS_OPTION_SPAN, offsetof(struct ps_route_opts, cache.stale_on_error), "0s",
     "how long after that it may be sent when the upstream fails", .max = 3e16},
    {"cache_shared", PS_OPTION_BOOL, offsetof(struct ps_route_opts, cache.shared), "no",
     "tenants get each other's answers", .min = 0},
    {"cache_tags", PS_OPTION_STRINGS, offsetof(struct ps_route_opts, cache.tags), NULL,
     "names by which its answers can be invalidated, beside those of the header X-Penstock-Cache-Tags", .min = 0},
    {0},
};

const struct ps_option ps_model_options[] = {
    {"name", PS_OPTION_STRING, offsetof(struct ps_model_opts, name), NULL,
     "the model's name as clients write it", .required = true},
    {"upstream", PS_OPTION_STRING, offsetof(struct ps_model_opts, upstream), NULL,
     "the upstream that serves it", .required = true},
    {"target", PS_OPTION_STRING, offsetof(struct ps_model_opts, target), NULL,
     "its name on that upstream; the same by default", .min = 0},
    {"price", PS_OPTION_SECTION, offsetof(struct ps_model_opts, price), NULL,
     "what its tokens cost; the upstream's price by default", .table = ps_price_options},
    {0},
};
/* clang-format on */

struct alias {
    struct ps_str name;
    struct ps_str target; /* empty = the same */
    size_t upstream;
    struct ps_price price;
};

struct ps_route_table {
    struct ps_route *routes;           /* in the order in which they are tried */
    struct ps_option_strings *methods; /* one per route */
    struct ps_option_strings *tags;    /* likewise */
    size_t count;
    struct alias *aliases;
    size_t alias_count;
    struct ps_option_strings *models; /* one per upstream */
    size_t upstream_count;
    struct ps_option_strings texts; /* owns every text of the table */
};

/* What a table is made from, and where a complaint goes. */
struct source {
    const struct ps_route_opts *routes;
    size_t route_count;
    const struct ps_upstream_opts *upstreams;
    size_t upstream_count;
    const struct ps_model_opts *models;
    size_t model_count;
    char *reason;
    size_t size;
};

/* The routes of a configuration that has upstreams but no routes. */
static char post[] = "POST";
static char *post_only[] = {post};
/* clang-format off */
static const struct {
    const char *path;
    enum ps_route_kind kind;
    enum ps_choice idempotent;
} usual[] = {
    {"/v1/chat/completions", PS_ROUTE_OPENAI, PS_AUTO},
    {"/v1/completions", PS_ROUTE_OPENAI, PS_AUTO},
    {"/v1/embeddings", PS_ROUTE_OPENAI, PS_AUTO},
    {"/v1/images/generations", PS_ROUTE_OPENAI, PS_AUTO},
    {"/v1/responses", PS_ROUTE_OPENAI, PS_NO}, /* it may store and go on in the background */
    {"/api/*", PS_ROUTE_INFERENCE, PS_AUTO}, /* Ollama; these are routes of their own to be counted apart */
    {"/v2/*", PS_ROUTE_INFERENCE, PS_AUTO},
    {"/sdapi/*", PS_ROUTE_INFERENCE, PS_AUTO},
    {"/*", PS_ROUTE_INFERENCE, PS_AUTO},
};
/* clang-format on */

/* ---------------------------------------------------------------- copying texts */

/* A copy that the table owns; NULL when out of memory. */
static const char *keep(struct ps_route_table *table, const char *text)
{
    struct ps_option_strings *texts = &table->texts;
    char *copy = ps_str_dup(ps_str_from(text));
    char **grown = realloc(texts->items, (texts->count + 1) * sizeof *grown);
    if (grown != NULL) {
        texts->items = grown;
    }
    if (grown == NULL || copy == NULL) {
        free(copy);
        return NULL;
    }
    texts->items[texts->count++] = copy;
    return copy;
}

static int keep_str(struct ps_route_table *table, const char *text, struct ps_str *out)
{
    const char *copy = keep(table, text == NULL ? "" : text);
    *out = ps_str_from(copy);
    return copy == NULL ? PS_ENOMEM : PS_OK;
}

/* The copy's array is owned by the copy, its texts by the table. */
static int keep_strings(struct ps_route_table *table, const struct ps_option_strings *from,
                        struct ps_option_strings *out)
{
    out->items = calloc(from->count + 1, sizeof *out->items);
    if (out->items == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < from->count; i++) {
        if (keep(table, from->items[i]) == NULL) {
            return PS_ENOMEM;
        }
        out->items[out->count++] = table->texts.items[table->texts.count - 1];
    }
    return PS_OK;
}

/* ---------------------------------------------------------------- compiling */

static int find_upstream(const struct source *source, const char *kind, const char *name,
                         const char *upstream, size_t *out)
{
    for (size_t i = 0; i < source->upstream_count; i++) {
        if (upstream == NULL || strcmp(source->upstreams[i].name, upstream) == 0) {
            *out = i;
            return PS_OK;
        }
    }
    if (upstream == NULL) {
        snprintf(source->reason, source->size, "%s %s needs an upstream and there is none", kind,
                 name);
    } else {
        snprintf(source->reason, source->size, "%s %s names the upstream %s, which does not exist",
                 kind, name, upstream);
    }
    return PS_EINVAL;
}

static int check_path(const struct source *source, const char *text)
{
    struct ps_str path = ps_str_from(text);
    const char *why = NULL;
    size_t star = ps_str_find(path, '*');
    if (path.len == 0 || path.ptr[0] != '/') {
        why = "does not begin with /";
    } else if (star + 1 < path.len) {
        why = "has a * that is not at its end";
    } else if (ps_str_contains(path, PS_STR("?"))) {
        why = "has a query";
    } else if (ps_path_classify(path, &why) == PS_PATH_PLAIN) {
        return PS_OK;
    }
    snprintf(source->reason, source->size, "route path %s: %s", text,
             why == NULL ? "has encoded or doubled characters" : why);
    return PS_EINVAL;
}

static int keep_tags(struct ps_route_table *table, const struct source *source,
                     struct ps_route *route, const struct ps_option_strings *tags)
{
    bool fit = tags->count <= PS_ENTRY_TAGS_MAX;
    for (size_t i = 0; fit && i < tags->count; i++) {
        fit = strlen(tags->items[i]) <= PS_ENTRY_NAME_MAX;
    }
    if (!fit) {
        snprintf(source->reason, source->size, "route %s: at most %d cache_tags of %d bytes",
                 route->name, PS_ENTRY_TAGS_MAX, PS_ENTRY_NAME_MAX);
        return PS_EINVAL;
    }
    struct ps_option_strings *copy = &table->tags[route->index];
    int err = keep_strings(table, tags, copy);
    route->cache.tags = *copy;
    return err;
}

static int add_route(struct ps_route_table *table, const struct source *source,
                     const struct ps_route_opts *opts)
{
    size_t index = table->count;
    struct ps_route *route = &table->routes[index];
    *route = (struct ps_route){
        .index = index,
        .kind = (enum ps_route_kind)opts->kind,
        .priority = (enum ps_priority)opts->priority,
        .idempotent = (enum ps_choice)opts->idempotent,
        .first_byte_timeout = opts->first_byte_timeout,
        .idle_timeout = opts->idle_timeout,
        .cache = opts->cache,
    };
    route->cache.tags = (struct ps_option_strings){0};
    int err = check_path(source, opts->path);
    if (err != PS_OK) {
        return err;
    }
    route->name = keep(table, opts->name != NULL ? opts->name : opts->path);
    if (route->name == NULL) {
        return PS_ENOMEM;
    }
    err = find_upstream(source, "route", route->name, opts->upstream, &route->upstream);
    if (err == PS_OK) {
        err = keep_str(table, opts->path, &route->path);
    }
    if (err == PS_OK) {
        err = keep_str(table, opts->host, &route->host);
    }
    if (err == PS_OK) {
        table->count++; /* from here on its methods and tags are freed with the table */
        err = keep_strings(table, &opts->methods, &table->methods[index]);
    }
    if (err == PS_OK) {
        err = keep_tags(table, source, route, &opts->cache.tags);
    }
    route->methods = &table->methods[index];
    route->prefix = ps_str_ends_with(route->path, PS_STR("*"));
    route->admin = opts->engine_admin == PS_AUTO ? !route->prefix : opts->engine_admin == PS_YES;
    route->path.len -= route->prefix;
    return err;
}

static int add_usual_routes(struct ps_route_table *table, const struct source *source)
{
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < PS_ARRAY_LEN(usual); i++) {
        char path[64];
        snprintf(path, sizeof path, "%s", usual[i].path);
        struct ps_route_opts opts = {
            .path = path,
            .kind = usual[i].kind,
            .idempotent = usual[i].idempotent,
            .priority = PS_PRIORITY_NORMAL,
            .cache = {.ttl = PS_HOUR},
        };
        if (usual[i].kind == PS_ROUTE_OPENAI) {
            opts.methods = (struct ps_option_strings){post_only, 1};
        }
        err = add_route(table, source, &opts);
    }
    return err;
}

/* Host before none, exact before prefix, long before short, else as written. */
static int compare(const void *left, const void *right)
{
    const struct ps_route *a = left;
    const struct ps_route *b = right;
    if ((a->host.len == 0) != (b->host.len == 0)) {
        return a->host.len == 0 ? 1 : -1;
    }
    if (a->prefix != b->prefix) {
        return a->prefix ? 1 : -1;
    }
    if (a->path.len != b->path.len) {
        return a->path.len < b->path.len ? 1 : -1;
    }
    return a->index < b->index ? -1 : 1;
}

static bool methods_hold(const struct ps_option_strings *methods, struct ps_str method)
{
    for (size_t i = 0; i < methods->count; i++) {
        struct ps_str item = ps_str_from(methods->items[i]);
        bool head = ps_str_eq(item, PS_STR("GET")) && ps_str_eq(method, PS_STR("HEAD"));
        if (head || ps_str_eq(item, method)) {
            return true;
        }
    }
    return methods->count == 0;
}

static bool methods_meet(const struct ps_option_strings *a, const struct ps_option_strings *b)
{
    bool meet = a->count == 0 || b->count == 0;
    for (size_t i = 0; i < a->count; i++) {
        meet = meet || methods_hold(b, ps_str_from(a->items[i]));
    }
    return meet;
}

/* Sorted routes with the same path are neighbours. */
static int check_twins(const struct ps_route_table *table, const struct source *source)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct ps_route *a = &table->routes[i];
        for (size_t j = i + 1; j < table->count; j++) {
            const struct ps_route *b = &table->routes[j];
            if (a->prefix == b->prefix && ps_str_eq(a->path, b->path) &&
                ps_str_ieq(a->host, b->host) && methods_meet(a->methods, b->methods)) {
                snprintf(source->reason, source->size,
                         "routes %s and %s have the same path, host and method", a->name, b->name);
                return PS_EINVAL;
            }
        }
    }
    return PS_OK;
}

static int add_routes(struct ps_route_table *table, const struct source *source)
{
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < source->route_count; i++) {
        err = add_route(table, source, &source->routes[i]);
    }
    if (err == PS_OK && source->route_count == 0 && source->upstream_count > 0) {
        err = add_usual_routes(table, source);
    }
    if (err != PS_OK) {
        return err;
    }
    if (table->count > 1) {
        qsort(table->routes, table->count, sizeof *table->routes, compare);
    }
    for (size_t i = 0; i < table->count; i++) {
        table->routes[i].index = i;
    }
    return check_twins(table, source);
}

static int add_alias(struct ps_route_table *table, const struct source *source,
                     const struct ps_model_opts *opts)
{
    struct alias *alias = &table->aliases[table->alias_count];
    for (size_t i = 0; i < table->alias_count; i++) {
        if (ps_str_eq(table->aliases[i].name, ps_str_from(opts->name))) {
            snprintf(source->reason, source->size, "model %s is there twice", opts->name);
            return PS_EINVAL;
        }
    }
    int err = find_upstream(source, "model", opts->name, opts->upstream, &alias->upstream);
    if (err == PS_OK) {
        err = keep_str(table, opts->name, &alias->name);
    }
    if (err == PS_OK) {
        err = keep_str(table, opts->target, &alias->target);
    }
    alias->price = ps_price_make(&opts->price);
    table->alias_count += err == PS_OK;
    return err;
}

static int add_models(struct ps_route_table *table, const struct source *source)
{
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < source->upstream_count; i++) {
        table->upstream_count++;
        err = keep_strings(table, &source->upstreams[i].models, &table->models[i]);
    }
    for (size_t i = 0; err == PS_OK && i < source->model_count; i++) {
        err = add_alias(table, source, &source->models[i]);
    }
    return err;
}

static int allocate(struct ps_route_table **out, const struct source *source)
{
    struct ps_route_table *table = calloc(1, sizeof *table);
    if (table == NULL) {
        return PS_ENOMEM;
    }
    size_t most = source->route_count + PS_ARRAY_LEN(usual);
    table->routes = calloc(most, sizeof *table->routes);
    table->methods = calloc(most, sizeof *table->methods);
    table->tags = calloc(most, sizeof *table->tags);
    table->aliases = calloc(source->model_count + 1, sizeof *table->aliases);
    table->models = calloc(source->upstream_count + 1, sizeof *table->models);
    if (table->routes == NULL || table->methods == NULL || table->tags == NULL || table->aliases == NULL ||
        table->models == NULL) {
        ps_route_table_free(table);
        return PS_ENOMEM;
    }
    *out = table;
    return PS_OK;
}

int ps_route_table_new(struct ps_route_table **out, const struct ps_option_list *routes,
                       const struct ps_option_list *upstreams, const struct ps_option_list *models,
                       char *reason, size_t size)
{
    struct source source = {
        .routes = routes->items,
        .route_count = routes->count,
        .upstreams = upstreams->items,
        .upstream_count = upstreams->count,
        .models = models->items,
        .model_count = models->count,
        .reason = reason,
        .size = size,
    };
    struct ps_route_table *table = NULL;
    int err = allocate(&table, &source);
    if (err == PS_OK) {
        err = add_routes(table, &source);
    }
    if (err == PS_OK) {
        err = add_models(table, &source);
    }
    if (err != PS_OK) {
        ps_route_table_free(table);
        return err;
    }
    *out = table;
    return PS_OK;
}

void ps_route_table_free(struct ps_route_table *table)
{
    if (table == NULL) {
        return;
    }
    for (size_t i = 0; i < table->count; i++) {
        free(table->methods[i].items);
        free(table->tags[i].items);
    }
    for (size_t i = 0; i < table->upstream_count; i++) {
        free(table->models[i].items);
    }
    for (size_t i = 0; i < table->texts.count; i++) {
        free(table->texts.items[i]);
    }
    free(table->texts.items);
    free(table->routes);
    free(table->methods);
    free(table->tags);
    free(table->aliases);
    free(table->models);
    free(table);
}

size_t ps_route_table_count(const struct ps_route_table *table)
{
    return table->count;
}

const struct ps_route *ps_route_table_at(const struct ps_route_table *table, size_t n)
{
    return n < table->count ? &table->routes[n] : NULL;
}

/* ---------------------------------------------------------------- matching */

static struct ps_str without_port(struct ps_str host)
{
    if (host.len > 0 && host.ptr[0] == '[') {
        size_t end = ps_str_find(host, ']');
        return ps_str_first(host, end + 1);
    }
    return ps_str_first(host, ps_str_find(host, ':'));
}

static bool route_has(const struct ps_route *route, struct ps_str host, struct ps_str path)
{
    if (route->host.len > 0 && !ps_str_ieq(route->host, host)) {
        return false;
    }
    return route->prefix ? ps_str_starts_with(path, route->path) : ps_str_eq(path, route->path);
}

static enum ps_route_result find(const struct ps_route_table *table, struct ps_str method,
                                 struct ps_str host, struct ps_str path,
                                 const struct ps_route **out)
{
    const struct ps_route *other = NULL;
    for (size_t i = 0; i < table->count; i++) {
        const struct ps_route *route = &table->routes[i];
        if (!route_has(route, host, path)) {
            continue;
        }
        if (methods_hold(route->methods, method)) {
            *out = route;
            return PS_ROUTE_FOUND;
        }
        other = other == NULL ? route : other;
    }
    *out = other;
    return other == NULL ? PS_ROUTE_NONE : PS_ROUTE_METHOD;
}

/* Would somebody who decodes the path take another way? */
static bool is_ambiguous(const struct ps_route_table *table, struct ps_str method,
                         struct ps_str host, struct ps_str path, enum ps_route_result result,
                         const struct ps_route *route)
{
    char room[PATH_MAX_DECODED];
    struct ps_str decoded;
    if (ps_path_decode(path, room, sizeof room, &decoded) != PS_OK) {
        return true;
    }
    const struct ps_route *other = NULL;
    return find(table, method, host, decoded, &other) != result || other != route ||
           ps_dialect_find(decoded) != ps_dialect_find(path);
}

/* What the call is, as far as the route wants to know. False: it administers the engine, and may
 * not. */
static bool find_operation(const struct ps_route *route, struct ps_str method, struct ps_str path,
                           const struct ps_operation **out)
{
    if (route->kind == PS_ROUTE_OPENAI && !route->prefix && route->admin) {
        *out = ps_dialect_openai(path);
        return true;
    }
    const struct ps_operation *operation = ps_dialect_find(path);
    bool admin = ps_dialect_is_admin(operation, method);
    if (route->kind == PS_ROUTE_INFERENCE || admin) {
        *out = operation;
    } else if (route->kind == PS_ROUTE_OPENAI) {
        *out = ps_dialect_openai(path);
    }
    return !admin || route->admin;
}

enum ps_route_result ps_route_match(const struct ps_route_table *table, struct ps_str method,
                                    struct ps_str host, struct ps_str path,
                                    struct ps_route_match *out)
{
    const char *reason = NULL;
    enum ps_path_class class = ps_path_classify(path, &reason);
    *out = (struct ps_route_match){.reason = reason};
    if (class == PS_PATH_FORBIDDEN) {
        return PS_ROUTE_REFUSED;
    }
    host = without_port(host);
    enum ps_route_result result = find(table, method, host, path, &out->route);
    if (class == PS_PATH_ENCODED && is_ambiguous(table, method, host, path, result, out->route)) {
        out->route = NULL;
        out->reason = "the path's encoding hides another route";
        return PS_ROUTE_REFUSED;
    }
    if (result == PS_ROUTE_FOUND && !find_operation(out->route, method, path, &out->operation)) {
        return PS_ROUTE_ADMIN;
    }
    return result;
}

static int append_methods(const struct ps_route *route, size_t start, struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < route->methods->count; i++) {
        struct ps_str method = ps_str_from(route->methods->items[i]);
        struct ps_str so_far = ps_str_skip(ps_buf_str(out), start);
        struct ps_str part;
        bool there = false;
        while (ps_str_next_member(&so_far, &part)) {
            there = there || ps_str_eq(part, method);
        }
        if (!there) {
            err = ps_buf_printf(out, "%s%.*s", out->len > start ? ", " : "", PS_STR_ARG(method));
        }
    }
    return err;
}

int ps_route_write_allow(const struct ps_route_table *table, struct ps_str host, struct ps_str path,
                         struct ps_buf *out)
{
    size_t start = out->len;
    int err = PS_OK;
    host = without_port(host);
    for (size_t i = 0; err == PS_OK && i < table->count; i++) {
        if (route_has(&table->routes[i], host, path)) {
            err = append_methods(&table->routes[i], start, out);
        }
    }
    return err;
}

bool ps_route_is_idempotent(const struct ps_route *route, const struct ps_operation *operation,
                            struct ps_str method)
{
    if (ps_dialect_is_admin(operation, method)) {
        return false;
    }
    if (route->idempotent != PS_AUTO) {
        return route->idempotent == PS_YES;
    }
    if (ps_str_eq(method, PS_STR("GET")) || ps_str_eq(method, PS_STR("HEAD")) ||
        ps_str_eq(method, PS_STR("OPTIONS"))) {
        return true;
    }
    return operation != NULL && (operation->flags & PS_OPERATION_READ) != 0 &&
           (operation->flags & PS_OPERATION_ONCE) == 0;
}

/* ---------------------------------------------------------------- models */

static bool lists(const struct ps_option_strings *models, struct ps_str model)
{
    for (size_t i = 0; i < models->count; i++) {
        if (ps_str_eq(ps_str_from(models->items[i]), model)) {
            return true;
        }
    }
    return false;
}

static const struct alias *find_alias(const struct ps_route_table *table, struct ps_str model)
{
    for (size_t i = 0; i < table->alias_count; i++) {
        if (ps_str_eq(table->aliases[i].name, model)) {
            return &table->aliases[i];
        }
    }
    return NULL;
}

int ps_route_resolve(const struct ps_route_table *table, const struct ps_route *route,
                     struct ps_str model, struct ps_route_model *out)
{
    struct ps_route_model result = {.upstream = route->upstream, .target = PS_STR("")};
    const struct alias *alias = model.len == 0 ? NULL : find_alias(table, model);
    if (alias != NULL) {
        result.upstream = alias->upstream;
        result.target = alias->target;
        result.price = ps_price_is_known(&alias->price) ? &alias->price : NULL;
        *out = result;
        return PS_OK;
    }
    if (model.len == 0 || lists(&table->models[route->upstream], model)) {
        *out = result;
        return PS_OK;
    }
    for (size_t i = 0; i < table->upstream_count; i++) {
        if (lists(&table->models[i], model)) {
            result.upstream = i;
            *out = result;
            return PS_OK;
        }
    }
    if (table->models[route->upstream].count > 0) {
        return PS_ENOTFOUND;
    }
    *out = result;
    return PS_OK;
}

struct ps_str ps_route_model_name(const struct ps_route_table *table, size_t n)
{
    if (n < table->alias_count) {
        return table->aliases[n].name;
    }
    n -= table->alias_count;
    for (size_t i = 0; i < table->upstream_count; i++) {
        if (n < table->models[i].count) {
            return ps_str_from(table->models[i].items[n]);
        }
        n -= table->models[i].count;
    }
    return PS_STR("");
}

/* gpu_attribution - see gpu_attribution.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "operate/gpu_attribution.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/gateway.h"
#include "operate/scrape.h"

#define CACHES    4  /* snapshots of sources whose owners are kept */
#define NAMES_MAX 64 /* routes or models that are told of one process */

/* The owners of one look at /proc. */
struct cache {
    struct ps_attribution *found; /* reference; NULL = not in use */
    uint64_t stamp;
    struct ps_gpu_owner *owners; /* of each user */
};

struct ps_gpu_attribution {
    struct ps_gateway *gateway; /* reference; NULL: none yet */
    json_t *routes;             /* a list of names for each upstream */
    json_t *models;             /* likewise: those that the configuration leads there */
    struct cache caches[CACHES];
    size_t next; /* the oldest cache is replaced */
};

static void forget(struct ps_gpu_attribution *attribution)
{
    for (size_t i = 0; i < CACHES; i++) {
        struct cache *cache = &attribution->caches[i];
        ps_attribution_unref(cache->found);
        free(cache->owners);
        *cache = (struct cache){0};
    }
    json_decref(attribution->routes);
    json_decref(attribution->models);
    attribution->routes = NULL;
    attribution->models = NULL;
    ps_gateway_unref(attribution->gateway);
    attribution->gateway = NULL;
}

int ps_gpu_attribution_new(struct ps_gpu_attribution **out)
{
    *out = calloc(1, sizeof **out);
    return *out == NULL ? PS_ENOMEM : PS_OK;
}

void ps_gpu_attribution_free(struct ps_gpu_attribution *attribution)
{
    if (attribution != NULL) {
        forget(attribution);
        free(attribution);
    }
}

/* --- what leads to an upstream ---------------------------------------------------------------- */

static bool resolves(const struct ps_route_table *table, const struct ps_route *route,
                     struct ps_str model, size_t upstream)
{
    struct ps_route_model result;
    return route->kind != PS_ROUTE_PLAIN &&
           ps_route_resolve(table, route, model, &result) == PS_OK && result.upstream == upstream;
}

static bool route_leads(const struct ps_route_table *table, const struct ps_route *route,
                        size_t upstream)
{
    bool leads = route->upstream == upstream;
    struct ps_str model;
    for (size_t n = 0; !leads && (model = ps_route_model_name(table, n)).len > 0; n++) {
        leads = resolves(table, route, model, upstream);
    }
    return leads;
}

static json_t *routes_to(const struct ps_route_table *table, size_t upstream)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ps_route_table_count(table); i++) {
        const struct ps_route *route = ps_route_table_at(table, i);
        if (json_array_size(list) < NAMES_MAX && route_leads(table, route, upstream)) {
            json_array_append_new(list, json_string(route->name));
        }
    }
    return list;
}

static bool model_leads(const struct ps_route_table *table, struct ps_str model, size_t upstream)
{
    for (size_t i = 0; i < ps_route_table_count(table); i++) {
        if (resolves(table, ps_route_table_at(table, i), model, upstream)) {
            return true;
        }
    }
    return false;
}

static json_t *models_to(const struct ps_route_table *table, size_t upstream)
{
    json_t *list = json_array();
    struct ps_str model;
    for (size_t n = 0; (model = ps_route_model_name(table, n)).len > 0; n++) {
        if (json_array_size(list) < NAMES_MAX && model_leads(table, model, upstream)) {
            json_array_append_new(list, json_stringn(model.ptr, model.len));
        }
    }
    return list;
}

int ps_gpu_attribution_set(struct ps_gpu_attribution *attribution, struct ps_gateway *gateway)
{
    if (gateway != NULL) {
        ps_gateway_ref(gateway);
    }
    forget(attribution);
    attribution->gateway = gateway;
    if (gateway == NULL) {
        return PS_OK;
    }
    attribution->routes = json_array();
    attribution->models = json_array();
    for (size_t i = 0; i < gateway->backend_count; i++) {
        json_array_append_new(attribution->routes, routes_to(gateway->routes, i));
        json_array_append_new(attribution->models, models_to(gateway->routes, i));
    }
    if (json_array_size(attribution->routes) < gateway->backend_count ||
        json_array_size(attribution->models) < gateway->backend_count) {
        forget(attribution);
        return PS_ENOMEM;
    }
    return PS_OK;
}

/* --- whose a process is ----------------------------------------------------------------------- */

static bool convert(const struct ps_address *from, struct ps_attribution_address *to)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    to->port = ps_address_port(from);
    if (from->storage.ss_family == AF_INET) {
        memcpy(&v4, &from->storage, sizeof v4);
        memcpy(to->bytes, mapped, sizeof mapped);
        memcpy(to->bytes + sizeof mapped, &v4.sin_addr, sizeof v4.sin_addr);
        return true;
    }
    memcpy(&v6, &from->storage, sizeof v6);
    memcpy(to->bytes, &v6.sin6_addr, sizeof to->bytes);
    return from->storage.ss_family == AF_INET6;
}

/* The nearest kin that answers at one of the endpoint's addresses. */
static enum ps_attribution_kin kin_at(const struct ps_attribution *found, size_t place,
                                      struct ps_endpoint *endpoint, unsigned *steps)
{
    enum ps_attribution_kin best = PS_ATTRIBUTION_NONE;
    struct ps_addresses *addresses = ps_endpoint_addresses(endpoint);
    for (size_t i = 0; addresses != NULL && i < addresses->count; i++) {
        struct ps_attribution_address address;
        unsigned far = 0;
        enum ps_attribution_kin kin = convert(&addresses->items[i], &address)
                                          ? ps_attribution_find(found, place, &address, &far)
                                          : PS_ATTRIBUTION_NONE;
        if (kin != PS_ATTRIBUTION_NONE && (best == PS_ATTRIBUTION_NONE || kin < best)) {
            best = kin;
            *steps = far;
        }
    }
    ps_addresses_unref(addresses);
    return best;
}

struct choice {
    struct ps_gpu_owner owner;
    unsigned steps;
    bool doubtful; /* several upstreams are as near, and it can't work for both */
};

/* One that listens itself, or whose parent does, may well listen at two addresses. */
static void consider(struct choice *choice, const struct ps_backend *backend,
                     const struct ps_endpoint *endpoint, enum ps_attribution_kin kin,
                     unsigned steps)
{
    enum ps_attribution_kin best = choice->owner.kin;
    bool tree = kin == PS_ATTRIBUTION_SELF || kin == PS_ATTRIBUTION_ABOVE;
    if (best == PS_ATTRIBUTION_NONE || kin < best ||
        (kin == best && tree && steps < choice->steps)) {
        *choice =
            (struct choice){{.backend = backend, .endpoint = endpoint, .kin = kin}, steps, false};
    } else if (kin == best && !tree && backend != choice->owner.backend) {
        choice->doubtful = true;
    }
}

static struct ps_gpu_owner choose(const struct ps_gateway *gateway,
                                  const struct ps_attribution *found, size_t place)
{
    struct choice choice = {0};
    for (size_t i = 0; i < gateway->backend_count; i++) {
        const struct ps_backend *backend = gateway->backends[i];
        for (size_t j = 0; j < backend->count; j++) {
            unsigned steps = 0;
            enum ps_attribution_kin kin = kin_at(found, place, backend->endpoints[j], &steps);
            if (kin != PS_ATTRIBUTION_NONE) {
                consider(&choice, backend, backend->endpoints[j], kin, steps);
            }
        }
    }
    if (choice.owner.kin == PS_ATTRIBUTION_NONE || choice.doubtful) {
        return (struct ps_gpu_owner){.unknown = choice.doubtful ? "ambiguous"
                                                : ps_attribution_denied(found, place)
                                                    ? "no_permission"
                                                    : "no_endpoint"};
    }
    return choice.owner;
}

/* Changes when an endpoint's addresses do. */
static uint64_t stamp_of(const struct ps_gateway *gateway)
{
    uint64_t stamp = 0;
    for (size_t i = 0; i < gateway->backend_count; i++) {
        for (size_t j = 0; j < gateway->backends[i]->count; j++) {
            stamp += atomic_load(&gateway->backends[i]->endpoints[j]->generation);
        }
    }
    return stamp;
}

static bool fill(struct cache *cache, const struct ps_gateway *gateway,
                 struct ps_attribution *found, uint64_t stamp)
{
    size_t count = ps_attribution_count(found);
    struct ps_gpu_owner *owners = calloc(count + 1, sizeof *owners);
    if (owners == NULL) {
        return false;
    }
    for (size_t place = 0; place < count; place++) {
        owners[place] = choose(gateway, found, place);
    }
    ps_attribution_ref(found);
    ps_attribution_unref(cache->found);
    free(cache->owners);
    *cache = (struct cache){found, stamp, owners};
    return true;
}

/* The owners of all users, or NULL when out of memory. */
static const struct ps_gpu_owner *owners_of(struct ps_gpu_attribution *attribution,
                                            struct ps_attribution *found)
{
    uint64_t stamp = stamp_of(attribution->gateway);
    struct cache *cache = NULL;
    for (size_t i = 0; i < CACHES && cache == NULL; i++) {
        cache = attribution->caches[i].found == found ? &attribution->caches[i] : NULL;
    }
    if (cache != NULL && cache->stamp == stamp) {
        return cache->owners;
    }
    if (cache == NULL) {
        cache = &attribution->caches[attribution->next++ % CACHES];
    }
    return fill(cache, attribution->gateway, found, stamp) ? cache->owners : NULL;
}

struct ps_gpu_owner ps_gpu_attribution_owner(struct ps_gpu_attribution *attribution,
                                             const struct ps_device_snapshot *snapshot,
                                             const struct ps_device_process *process)
{
    size_t place = ps_device_place(snapshot, process);
    bool seen = process->sight == PS_DEVICE_SEEN;
    const struct ps_gpu_owner *owners = place == SIZE_MAX || attribution->gateway == NULL
                                            ? NULL
                                            : owners_of(attribution, snapshot->attribution);
    return owners != NULL ? owners[place]
                          : (struct ps_gpu_owner){.unknown = seen ? "not_looked_yet" : NULL};
}

/* --- as JSON ---------------------------------------------------------------------------------- */

const char *ps_gpu_attribution_engine(const struct ps_gpu_owner *owner)
{
    enum ps_engine engine = owner->backend == NULL ? PS_ENGINE_AUTO : owner->backend->engine;
    if (owner->endpoint != NULL && (engine == PS_ENGINE_AUTO || engine == PS_ENGINE_OPENAI) &&
        owner->endpoint->identity.engine != PS_ENGINE_AUTO) {
        engine = owner->endpoint->identity.engine;
    }
    return engine == PS_ENGINE_AUTO ? "" : ps_engine_names[engine];
}

/* What the server says it has loaded. */
static json_t *loaded_models(const struct ps_vitals *vitals)
{
    json_t *list = json_array();
    for (size_t i = 0; i < vitals->model_count && i < NAMES_MAX; i++) {
        if (!vitals->models[i].listed || vitals->models[i].loaded) {
            json_array_append_new(list, json_string(vitals->models[i].name));
        }
    }
    return list;
}

/* Where it does not say, what the configuration leads to it. */
static json_t *models_of(const struct ps_gpu_attribution *attribution,
                         const struct ps_scrape *scrape, const struct ps_gpu_owner *owner)
{
    json_t *list = NULL;
    for (size_t i = 0; i < ps_scrape_count(scrape) && list == NULL; i++) {
        struct ps_scrape_view view;
        ps_scrape_read(scrape, i, 0, &view);
        if (view.id == owner->endpoint->id && view.result != NULL &&
            view.result->vitals.model_count > 0) {
            list = loaded_models(&view.result->vitals);
        }
    }
    return list != NULL ? list
                        : json_incref(json_array_get(attribution->models, owner->backend->index));
}

static void add_name(json_t *list, json_t *name)
{
    json_t *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        if (json_equal(one, name)) {
            return;
        }
    }
    json_array_append(list, name);
}

/* One server may be an endpoint of several upstreams. */
static json_t *routes_of(const struct ps_gpu_attribution *attribution,
                         const struct ps_gpu_owner *owner)
{
    json_t *list = json_array();
    const struct ps_gateway *gateway = attribution->gateway;
    for (size_t i = 0; i < gateway->backend_count; i++) {
        bool has = false;
        for (size_t j = 0; j < gateway->backends[i]->count && !has; j++) {
            has = strcmp(gateway->backends[i]->endpoints[j]->text, owner->endpoint->text) == 0;
        }
        json_t *names = json_array_get(attribution->routes, i);
        for (size_t j = 0; has && j < json_array_size(names); j++) {
            add_name(list, json_array_get(names, j));
        }
    }
    return list;
}

/* An empty list says nothing. */
static void add_list(json_t *process, const char *name, json_t *list)
{
    if (json_array_size(list) > 0) {
        json_object_set(process, name, list);
    }
    json_decref(list);
}

void ps_gpu_attribution_add(struct ps_gpu_attribution *attribution, const struct ps_scrape *scrape,
                            const struct ps_gpu_owner *owner, json_t *process)
{
    if (owner->backend == NULL) {
        if (owner->unknown != NULL) {
            json_object_set_new(process, "unattributed", json_string(owner->unknown));
        }
        return;
    }
    const char *engine = ps_gpu_attribution_engine(owner);
    if (engine[0] != '\0') {
        json_object_set_new(process, "engine", json_string(engine));
    }
    json_object_set_new(process, "upstream", json_string(owner->backend->name));
    json_object_set_new(process, "endpoint", json_string(owner->endpoint->text));
    json_object_set_new(process, "kin", json_string(ps_attribution_kin_names[owner->kin]));
    add_list(process, "routes", routes_of(attribution, owner));
    add_list(process, "models", models_of(attribution, scrape, owner));
}

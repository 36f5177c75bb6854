#include "operate/scrape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/list.h"
#include "gateway/gateway.h"
#include "io/address.h"
#include "io/loop.h"
#include "io/tls.h"
#include "operate/hooks.h"

#define PAGE_LIMIT   ((size_t)4 * 1024 * 1024)
#define ANSWER_LIMIT ((size_t)64 * 1024)
#define LONGEST_WAIT (30 * PS_SECOND)
#define MISSING_FOR  PS_MINUTE
#define STALE_AFTER  3                    /* intervals */
#define FIRST_SOURCE UINT32_C(0x40000000) /* ids of sources; endpoints count from 1 */

/* clang-format off */
const struct ps_option ps_source_options[] = {
    PS_OPTION_ROW(ps_source_opts, name, STRING, NULL,
     "what reports call it", .required = true),
    PS_OPTION_ROW(ps_source_opts, kind, ENUM, "dcgm",
     "`dcgm` (a dcgm-exporter), `remote` (another Penstock), or a server that is no upstream: `vllm`, `sglang`, "
     "`trtllm`, `triton`, `ollama`, `llamacpp`, `comfyui`, `a1111`, `tgi`, `tei`, `lmstudio`, `llama-swap`, "
     "`lmcache` (its controller)", .names = ps_adapter_source_names),
    PS_OPTION_ROW(ps_source_opts, url, STRING, NULL,
     "where it answers, such as `http://10.0.0.7:9400`", .required = true),
    PS_OPTION_ROW(ps_source_opts, token, SECRET, NULL,
     "sent as `Authorization: Bearer TOKEN`, such as a server's API key; a `remote` Penstock needs one with the role "
     "`read`"),
    PS_OPTION_ROW(ps_source_opts, instance, STRING, NULL,
     "`lmcache`: the instance whose copies in host memory may be forgotten"),
    PS_OPTION_ROW(ps_source_opts, ca_file, STRING, NULL,
     "PEM file with the authorities that are trusted, for `https`; without it the system's", .path = true),
    {0},
};
/* clang-format on */

const char *const ps_scrape_state_names[] = {"starting", "fresh", "stale", "failed"};

/* A server or exporter that is asked. Its timer is always in the loop's heap. */
struct spot {
    struct ps_list link;
    struct ps_scrape *scrape;
    uint32_t id;
    enum ps_adapter_id adapter;
    char *name;
    char *instance;
    char *token;
    struct ps_backend *backend; /* reference; NULL = a source */
    struct ps_endpoint *endpoint;
    struct ps_tls *tls; /* reference, or NULL */
    struct ps_timer timer;
    struct ps_lookup *lookup; /* of a source's name */
    struct ps_client_pool *pool;
    uint32_t generation; /* of the pool's address */
    size_t address;
    bool kept; /* in the new configuration */

    /* the round */
    struct ps_inquiry *inquiry;
    struct ps_vitals *vitals; /* in the making */
    size_t page;
    ps_time began;
    bool again;                        /* somebody is in a hurry */
    ps_time missing[PS_ADAPTER_PAGES]; /* until then the page is not asked for */

    /* what is known */
    struct ps_scrape_result *result;
    unsigned failures; /* in a row */
    char why[PS_SCRAPE_WHY];
};

struct ps_scrape {
    struct ps_loop *loop;
    struct ps_gateway *gateway; /* reference */
    struct ps_list spots;
    size_t count;
    ps_span interval;
    ps_span timeout;
    char *key;
    uint32_t next_source;
    ps_scrape_fn *on_round;
    void *ctx;
};

/* --- results ---------------------------------------------------------------------------------- */

struct ps_scrape_result *ps_scrape_result_ref(struct ps_scrape_result *result)
{
    result->refs++;
    return result;
}

void ps_scrape_result_unref(struct ps_scrape_result *result)
{
    if (result != NULL && --result->refs == 0) {
        ps_device_snapshot_unref(result->devices);
        free(result);
    }
}

static const char *source_of(const struct spot *spot)
{
    return spot->adapter == PS_ADAPTER_DCGM     ? "dcgm"
           : spot->adapter == PS_ADAPTER_REMOTE ? "remote"
                                                : "engine";
}

static int make_result(struct spot *spot, ps_time now)
{
    struct ps_scrape_result *result = calloc(1, sizeof *result);
    if (result == NULL) {
        return PS_ENOMEM;
    }
    ps_vitals_finish(spot->vitals);
    result->refs = 1;
    result->taken = now;
    result->took = now - spot->began;
    result->vitals = *spot->vitals;
    ps_vitals_watch(&result->vitals, spot->result == NULL ? NULL : &spot->result->vitals, now);
    int err = ps_vitals_snapshot(&result->vitals, source_of(spot), now, &result->devices);
    if (err == PS_ENOMEM) {
        free(result);
        return err;
    }
    ps_scrape_result_unref(spot->result);
    spot->result = result;
    return PS_OK;
}

/* --- a round ---------------------------------------------------------------------------------- */

static void close_pool(struct spot *spot)
{
    ps_pool_free(spot->pool);
    spot->pool = NULL;
}

static ps_span wait_after(const struct spot *spot)
{
    ps_span wait = spot->scrape->interval;
    for (unsigned i = 0; i < spot->failures && wait < LONGEST_WAIT; i++) {
        wait *= 2;
    }
    return spot->failures > 0 && wait > LONGEST_WAIT ? LONGEST_WAIT : wait;
}

static void set_timer(struct spot *spot, ps_time when)
{
    PS_IGNORE(ps_timer_set(spot->scrape->loop, &spot->timer, when)); /* it is in the heap already */
}

static void end_round(struct spot *spot, bool good)
{
    struct ps_scrape *scrape = spot->scrape;
    ps_time now = ps_loop_now(scrape->loop);
    uint32_t id = spot->id;
    free(spot->vitals);
    spot->vitals = NULL;
    spot->failures = good ? 0 : spot->failures + (spot->failures < 16 ? 1 : 0);
    if (good) {
        spot->why[0] = '\0';
    } else {
        close_pool(spot);
        spot->address++;
    }
    ps_time next = spot->began + wait_after(spot);
    set_timer(spot, spot->again ? now : next > now ? next : now);
    spot->again = false;
    scrape->on_round(scrape->ctx, id);
}

static void fail(struct spot *spot, const char *what, const char *reason)
{
    snprintf(spot->why, sizeof spot->why, "%.60s: %.95s", what, reason);
    end_round(spot, false);
}

static const struct ps_adapter_page *page_of(const struct spot *spot)
{
    return &ps_adapters[spot->adapter].pages[spot->page];
}

static bool is_simulated(const struct spot *spot)
{
    return spot->endpoint->identity.simulated || (spot->vitals != NULL && spot->vitals->simulated);
}

static bool is_due(const struct spot *spot, const struct ps_adapter_page *page)
{
    if (spot->missing[spot->page] > spot->began) {
        return false;
    }
    switch (page->when) {
    case PS_ADAPTER_ALWAYS:
    case PS_ADAPTER_OPTIONAL:
        return true;
    case PS_ADAPTER_NO_STATE:
        return spot->vitals->state == PS_VITALS_STATE_UNKNOWN;
    case PS_ADAPTER_SIGNED:
        return spot->scrape->key != NULL;
    case PS_ADAPTER_SIMULATED:
        return is_simulated(spot);
    }
    return false;
}

static void ask_page(struct spot *spot);

static void next_page(struct spot *spot)
{
    spot->page++;
    ask_page(spot);
}

/* A page that is not there, or not now: the others may still be. */
static void skip_page(struct spot *spot, ps_time now)
{
    spot->missing[spot->page] = now + MISSING_FOR;
    next_page(spot);
}

static void on_page(void *ctx, const struct ps_inquiry_answer *answer)
{
    struct spot *spot = ctx;
    const struct ps_adapter_page *page = page_of(spot);
    char why[PS_VITALS_WHY];
    spot->inquiry = NULL;
    if (answer->err != PS_OK) {
        fail(spot, page->path, ps_err_text(answer->err));
    } else if (answer->status != 200 && page->when != PS_ADAPTER_ALWAYS) {
        skip_page(spot, ps_loop_now(spot->scrape->loop));
    } else if (answer->status != 200) {
        snprintf(why, sizeof why, "status %d", answer->status);
        fail(spot, page->path, why);
    } else if (answer->cut) {
        fail(spot, page->path, "larger than 4 MiB");
    } else if (ps_vitals_read(spot->vitals, page->page, answer->body, why) != PS_OK) {
        fail(spot, page->path, why);
    } else {
        spot->vitals->simulated = spot->vitals->simulated || answer->simulated;
        next_page(spot);
    }
}

static struct ps_inquiry_target target_of(const struct spot *spot)
{
    return (struct ps_inquiry_target){.loop = spot->scrape->loop,
                                      .tls = spot->tls,
                                      .backend = spot->backend,
                                      .endpoint = spot->endpoint,
                                      .address = spot->address};
}

static void sign(const struct ps_scrape *scrape, struct ps_str body,
                 struct ps_inquiry_request *request, char text[PS_HOOK_SIGNATURE])
{
    ps_hook_sign(ps_str_from(scrape->key), body, text);
    request->header_name = ps_hook_signature_header;
    request->header_value = ps_str_from(text);
}

static void ask_page(struct spot *spot)
{
    const struct ps_scrape *scrape = spot->scrape;
    const struct ps_inquiry_target target = target_of(spot);
    ps_time now = ps_loop_now(scrape->loop);
    char signature[PS_HOOK_SIGNATURE];
    while (spot->page < PS_ADAPTER_PAGES && page_of(spot)->path != NULL &&
           !is_due(spot, page_of(spot))) {
        spot->page++;
    }
    if (spot->page == PS_ADAPTER_PAGES || page_of(spot)->path == NULL) {
        bool good = make_result(spot, now) == PS_OK;
        end_round(spot, good);
        return;
    }
    const struct ps_adapter_page *page = page_of(spot);
    struct ps_inquiry_request request = {.method = PS_STR("GET"),
                                         .path = ps_str_from(page->path),
                                         .bearer = ps_str_from(spot->token)};
    if (page->when == PS_ADAPTER_SIGNED) {
        sign(scrape, (struct ps_str){"", 0}, &request, signature);
    }
    ps_span left = spot->began + scrape->timeout - now;
    int err = left <= 0 ? PS_ETIMEOUT
                        : ps_inquiry_ask(&spot->inquiry, &target, spot->pool, &request, PAGE_LIMIT,
                                         left, on_page, spot);
    if (err != PS_OK) {
        fail(spot, page->path, ps_err_text(err));
    }
}

static int open_pool(struct spot *spot)
{
    const struct ps_inquiry_target target = target_of(spot);
    uint32_t generation = atomic_load(&spot->endpoint->generation);
    if (spot->pool != NULL && spot->generation != generation) {
        close_pool(spot);
    }
    spot->generation = generation;
    return spot->pool != NULL ? PS_OK : ps_inquiry_pool(&spot->pool, &target);
}

static void on_addresses(void *ctx, int err, const struct ps_address *addresses, size_t count)
{
    struct spot *spot = ctx;
    spot->lookup = NULL;
    err = err != PS_OK ? err : ps_endpoint_set_addresses(spot->endpoint, addresses, count);
    spot->began = ps_loop_now(spot->scrape->loop);
    if (err != PS_OK) {
        fail(spot, "name", ps_err_text(err));
        return;
    }
    set_timer(spot, spot->began);
}

/* Health looks up the names of endpoints; the name of a source is looked up here, again after each
 * failure. True: wait for it. */
static bool look_up(struct spot *spot)
{
    const struct ps_url *url = &spot->endpoint->url;
    struct ps_address address;
    bool known = atomic_load(&spot->endpoint->generation) > 0;
    if (spot->backend != NULL || spot->lookup != NULL || (known && spot->failures == 0)) {
        return spot->lookup != NULL;
    }
    if (ps_address_parse_host(url->host, url->port, &address) == PS_OK) {
        PS_IGNORE(ps_endpoint_set_addresses(spot->endpoint, &address, 1));
        return false;
    }
    return !known && ps_lookup_start(&spot->lookup, spot->scrape->loop, url->host, url->port,
                                     on_addresses, spot) == PS_OK;
}

/* The engine that is asked has to be known; whoever wants to be left alone is. */
static enum ps_adapter_id adapter_of(const struct ps_backend *backend,
                                     const struct ps_endpoint *endpoint)
{
    enum ps_engine engine = backend->engine;
    if (engine != PS_ENGINE_AUTO && backend->health.interval <= 0) {
        return PS_ADAPTER_COUNT;
    }
    bool vague = engine == PS_ENGINE_AUTO || engine == PS_ENGINE_OPENAI;
    return ps_adapter_of(vague ? endpoint->identity.engine : engine);
}

/* Another engine than before: what was known is forgotten. */
static void follow_engine(struct spot *spot)
{
    enum ps_adapter_id id =
        spot->backend == NULL ? spot->adapter : adapter_of(spot->backend, spot->endpoint);
    if (id != spot->adapter) {
        ps_scrape_result_unref(spot->result);
        spot->result = NULL;
        spot->failures = 0;
        spot->why[0] = '\0';
        memset(spot->missing, 0, sizeof spot->missing);
        spot->adapter = id;
    }
}

static void begin_round(struct spot *spot, ps_time now)
{
    follow_engine(spot);
    if (spot->adapter == PS_ADAPTER_COUNT || look_up(spot)) {
        return;
    }
    spot->began = now;
    spot->page = 0;
    int err = open_pool(spot);
    spot->vitals = err == PS_OK ? malloc(sizeof *spot->vitals) : NULL;
    err = err == PS_OK && spot->vitals == NULL ? PS_ENOMEM : err;
    if (err != PS_OK) {
        fail(spot, "connection", ps_err_text(err));
        return;
    }
    ps_vitals_init(spot->vitals);
    ask_page(spot);
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct spot *spot = PS_CONTAINER_OF(timer, struct spot, timer);
    ps_span interval = spot->scrape->interval;
    set_timer(spot, interval > 0 ? now + interval : PS_NEVER);
    if (interval > 0 && spot->vitals == NULL) {
        begin_round(spot, now);
    }
}

void ps_scrape_hurry(struct ps_scrape *scrape, uint32_t id)
{
    PS_LIST_FOREACH (node, &scrape->spots) {
        struct spot *spot = PS_CONTAINER_OF(node, struct spot, link);
        if (spot->id == id) {
            spot->again = spot->vitals != NULL;
            if (!spot->again) {
                set_timer(spot, ps_loop_now(scrape->loop));
            }
        }
    }
}

/* --- the set of spots ------------------------------------------------------------------------- */

static void spot_free(struct spot *spot)
{
    if (spot->link.next != NULL) {
        ps_list_remove(&spot->link);
        spot->scrape->count--;
    }
    ps_timer_clear(spot->scrape->loop, &spot->timer);
    ps_lookup_cancel(spot->lookup);
    ps_inquiry_cancel(spot->inquiry);
    close_pool(spot);
    free(spot->vitals);
    ps_scrape_result_unref(spot->result);
    ps_backend_unref(spot->backend);
    ps_endpoint_unref(spot->endpoint);
    ps_tls_unref(spot->tls);
    free(spot->name);
    free(spot->instance);
    if (spot->token != NULL) {
        explicit_bzero(spot->token, strlen(spot->token));
    }
    free(spot->token);
    free(spot);
}

/* Takes the endpoint. */
static int spot_new_take(struct spot **out, struct ps_scrape *scrape, struct ps_endpoint *endpoint,
                         const char *name)
{
    struct spot *spot = calloc(1, sizeof *spot);
    if (spot == NULL) {
        ps_endpoint_unref(endpoint);
        return PS_ENOMEM;
    }
    spot->scrape = scrape;
    spot->endpoint = endpoint;
    spot->adapter = PS_ADAPTER_COUNT;
    spot->name = strdup(name);
    spot->instance = strdup("");
    spot->timer.on_time = on_time;
    int err = spot->name == NULL || spot->instance == NULL ? PS_ENOMEM : PS_OK;
    err = err != PS_OK ? err : ps_timer_set(scrape->loop, &spot->timer, ps_loop_now(scrape->loop));
    if (err != PS_OK) {
        spot_free(spot);
        return err;
    }
    ps_list_push(&scrape->spots, &spot->link);
    scrape->count++;
    *out = spot;
    return PS_OK;
}

static struct spot *find_endpoint(struct ps_scrape *scrape, const struct ps_endpoint *endpoint)
{
    PS_LIST_FOREACH (node, &scrape->spots) {
        struct spot *spot = PS_CONTAINER_OF(node, struct spot, link);
        if (spot->endpoint == endpoint) {
            return spot;
        }
    }
    return NULL;
}

/* Ties the spot of an endpoint to the new gateway. Its connection goes: what it was made with may
 * have changed. */
static int set_endpoint(struct ps_scrape *scrape, struct ps_backend *backend, struct ps_tls *tls,
                        struct ps_endpoint *endpoint)
{
    struct spot *spot = find_endpoint(scrape, endpoint);
    if (spot == NULL) {
        int err = spot_new_take(&spot, scrape, ps_endpoint_ref(endpoint), backend->name);
        if (err != PS_OK) {
            return err;
        }
        spot->id = endpoint->id;
    }
    if (spot->vitals == NULL) {
        close_pool(spot);
    }
    ps_backend_unref(spot->backend);
    spot->backend = ps_backend_ref(backend);
    ps_tls_unref(spot->tls);
    spot->tls = tls == NULL ? NULL : ps_tls_ref(tls);
    spot->kept = true;
    follow_engine(spot);
    return PS_OK;
}

static int set_endpoints(struct ps_scrape *scrape, struct ps_gateway *gateway)
{
    int err = PS_OK;
    for (size_t i = 0; gateway != NULL && i < gateway->backend_count && err == PS_OK; i++) {
        struct ps_backend *backend = gateway->backends[i];
        for (size_t j = 0; j < backend->count && err == PS_OK; j++) {
            err = set_endpoint(scrape, backend, gateway->tls[i], backend->endpoints[j]);
        }
    }
    return err;
}

static int copy_text(char **out, const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);
    if (text != NULL && copy == NULL) {
        return PS_ENOMEM;
    }
    free(*out);
    *out = copy;
    return PS_OK;
}

static int add_source(struct ps_scrape *scrape, const struct ps_source_opts *opts, char *reason,
                      size_t size)
{
    struct ps_endpoint *endpoint = NULL;
    struct ps_tls *tls = NULL;
    struct ps_tls_error error;
    struct spot *spot = NULL;
    int err = ps_endpoint_new(&endpoint, opts->url);
    if (err == PS_OK && endpoint->url.tls &&
        ps_tls_new_client(&tls, opts->ca_file, true, &error) != PS_OK) {
        snprintf(reason, size, "gpu.sources: %s: %s", opts->name, error.text);
        err = PS_EINVAL;
    }
    if (err != PS_OK) {
        ps_endpoint_unref(endpoint);
        return err == PS_EPARSE ? PS_EINVAL : err;
    }
    err = spot_new_take(&spot, scrape, endpoint, opts->name);
    if (err != PS_OK) {
        ps_tls_unref(tls);
        return err;
    }
    spot->id = FIRST_SOURCE + scrape->next_source++;
    spot->tls = tls;
    spot->kept = true;
    spot->adapter = ps_adapter_of_source(opts->kind);
    err = copy_text(&spot->token, opts->token);
    return err != PS_OK ? err
                        : copy_text(&spot->instance, opts->instance == NULL ? "" : opts->instance);
}

/* Sources have no state worth keeping over a reload: they are made anew. */
static int set_sources(struct ps_scrape *scrape, const struct ps_option_list *sources, char *reason,
                       size_t size)
{
    int first = PS_OK;
    for (size_t i = 0; i < sources->count; i++) {
        const struct ps_source_opts *items = sources->items;
        int err = add_source(scrape, &items[i], reason, size);
        first = first != PS_OK ? first : err;
    }
    return first;
}

static void drop_others(struct ps_scrape *scrape)
{
    struct ps_list *node = scrape->spots.next;
    while (node != &scrape->spots) {
        struct spot *spot = PS_CONTAINER_OF(node, struct spot, link);
        node = node->next;
        if (!spot->kept) {
            spot_free(spot);
        } else {
            set_timer(spot, ps_loop_now(scrape->loop));
        }
    }
}

int ps_scrape_set(struct ps_scrape *scrape, struct ps_gateway *gateway,
                  const struct ps_scrape_opts *opts, char *reason, size_t size)
{
    struct ps_gateway *before = scrape->gateway;
    PS_LIST_FOREACH (node, &scrape->spots) {
        PS_CONTAINER_OF(node, struct spot, link)->kept = false;
    }
    snprintf(reason, size, "out of memory");
    scrape->gateway = gateway == NULL ? NULL : ps_gateway_ref(gateway);
    scrape->interval = opts->interval;
    scrape->timeout = opts->timeout;
    int err = copy_text(&scrape->key, opts->runtime_key);
    err = err != PS_OK ? err : set_endpoints(scrape, gateway);
    err = err != PS_OK ? err : set_sources(scrape, opts->sources, reason, size);
    drop_others(scrape);
    ps_gateway_unref(before);
    return err;
}

void ps_scrape_look(struct ps_scrape *scrape)
{
    ps_time now = ps_loop_now(scrape->loop);
    PS_LIST_FOREACH (node, &scrape->spots) {
        struct spot *spot = PS_CONTAINER_OF(node, struct spot, link);
        if (spot->backend != NULL && spot->vitals == NULL &&
            spot->adapter != adapter_of(spot->backend, spot->endpoint)) {
            set_timer(spot, now);
        }
    }
}

int ps_scrape_new(struct ps_scrape **out, struct ps_loop *loop, ps_scrape_fn *on_round, void *ctx)
{
    struct ps_scrape *scrape = calloc(1, sizeof *scrape);
    if (scrape == NULL) {
        return PS_ENOMEM;
    }
    scrape->loop = loop;
    scrape->on_round = on_round;
    scrape->ctx = ctx;
    ps_list_init(&scrape->spots);
    *out = scrape;
    return PS_OK;
}

void ps_scrape_free(struct ps_scrape *scrape)
{
    if (scrape == NULL) {
        return;
    }
    while (!ps_list_is_empty(&scrape->spots)) {
        spot_free(PS_LIST_FIRST(&scrape->spots, struct spot, link));
    }
    ps_gateway_unref(scrape->gateway);
    if (scrape->key != NULL) {
        explicit_bzero(scrape->key, strlen(scrape->key));
    }
    free(scrape->key);
    free(scrape);
}

/* --- reading and asking ----------------------------------------------------------------------- */

/* Endpoints whose engine nobody knows are there and are not shown. */
static bool is_shown(const struct spot *spot)
{
    return spot->adapter != PS_ADAPTER_COUNT;
}

size_t ps_scrape_count(const struct ps_scrape *scrape)
{
    size_t count = 0;
    PS_LIST_FOREACH (node, &scrape->spots) {
        count += is_shown(PS_CONTAINER_OF(node, struct spot, link)) ? 1 : 0;
    }
    return count;
}

static enum ps_scrape_state state_of(const struct spot *spot, ps_span age)
{
    if (spot->result == NULL) {
        return spot->failures > 0 ? PS_SCRAPE_FAILED : PS_SCRAPE_STARTING;
    }
    ps_span limit = STALE_AFTER * spot->scrape->interval;
    limit = limit < STALE_AFTER * PS_SECOND ? STALE_AFTER * PS_SECOND : limit;
    return spot->scrape->interval == 0 || age > limit ? PS_SCRAPE_STALE : PS_SCRAPE_FRESH;
}

static void fill_view(const struct spot *spot, ps_time now, struct ps_scrape_view *view)
{
    bool is_upstream = spot->backend != NULL;
    ps_span age = spot->result == NULL ? 0 : now - spot->result->taken;
    *view = (struct ps_scrape_view){
        .id = spot->id,
        .adapter = spot->adapter,
        .name = spot->name,
        .endpoint = spot->endpoint->text,
        .instance = spot->instance,
        .host = spot->endpoint->url.host,
        .is_upstream = is_upstream,
        .upstream = is_upstream ? spot->endpoint : NULL,
        .simulated = spot->endpoint->identity.simulated ||
                     (spot->result != NULL && spot->result->vitals.simulated),
        .backend = spot->backend,
        .in_flight = is_upstream ? atomic_load(&spot->endpoint->requests) : 0,
        .state = state_of(spot, age),
        .why = spot->why,
        .age = age,
        .result = spot->result,
    };
}

void ps_scrape_read(const struct ps_scrape *scrape, size_t n, ps_time now,
                    struct ps_scrape_view *view)
{
    PS_LIST_FOREACH (node, &scrape->spots) {
        const struct spot *spot = PS_CONTAINER_OF(node, struct spot, link);
        if (is_shown(spot) && n-- == 0) {
            fill_view(spot, now, view);
            return;
        }
    }
    PS_CHECK(false);
}

int ps_scrape_ask(struct ps_scrape *scrape, uint32_t id, const struct ps_inquiry_request *request,
                  ps_span timeout, struct ps_inquiry **out, ps_inquiry_fn *on_answer, void *ctx)
{
    PS_LIST_FOREACH (node, &scrape->spots) {
        struct spot *spot = PS_CONTAINER_OF(node, struct spot, link);
        if (spot->id == id) {
            const struct ps_inquiry_target target = target_of(spot);
            struct ps_inquiry_request own = *request;
            struct ps_client_pool *pool = NULL;
            int err = ps_inquiry_pool(&pool, &target);
            own.bearer = ps_str_from(spot->token);
            err = err != PS_OK ? err
                               : ps_inquiry_ask(out, &target, pool, &own, ANSWER_LIMIT, timeout,
                                                on_answer, ctx);
            ps_pool_free(pool); /* the call goes on */
            return err;
        }
    }
    return PS_ENOTFOUND;
}

struct ps_str ps_scrape_key(const struct ps_scrape *scrape)
{
    return ps_str_from(scrape->key);
}

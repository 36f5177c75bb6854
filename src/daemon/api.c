#include "daemon/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/ask.h"
#include "daemon/caches.h"
#include "daemon/clerk.h"
#include "daemon/numbers.h"
#include "daemon/page.h"
#include "daemon/panel.h"
#include "daemon/recorder.h"
#include "daemon/site.h"
#include "gateway/forward.h"
#include "http/h1_field.h"
#include "operate/gpu.h"
#include "version.h"

enum { SESSIONS = 64, SESSION_BYTES = 32 };

static const ps_span session_life = 12 * PS_HOUR;

/* A browser that showed a token once. */
struct session {
    char id[2 * SESSION_BYTES + 1];
    unsigned char digest[32]; /* of the token: the session ends with it */
    ps_time until;
};

struct ps_api {
    struct ps_numbers numbers;
    struct ps_clerk *clerk;
    const struct ps_site *site;
    struct ps_caches *caches;
    struct ps_gpu *gpu;
    struct ps_live *live;
    struct ps_panel *panel;
    struct ps_recorder *recorder;
    struct session sessions[SESSIONS];
    size_t next_session; /* the oldest is replaced */
    bool draining;
};

int ps_api_new(struct ps_api **out, const struct ps_numbers *numbers, struct ps_clerk *clerk)
{
    struct ps_api *api = calloc(1, sizeof *api);
    if (api == NULL) {
        return PS_ENOMEM;
    }
    api->numbers = *numbers;
    api->clerk = clerk;
    *out = api;
    return PS_OK;
}

void ps_api_free(struct ps_api *api)
{
    free(api);
}

void ps_api_set_site(struct ps_api *api, const struct ps_site *site)
{
    api->site = site;
}

void ps_api_set_caches(struct ps_api *api, struct ps_caches *caches)
{
    api->caches = caches;
}

void ps_api_set_gpu(struct ps_api *api, struct ps_gpu *gpu)
{
    api->gpu = gpu;
}

void ps_api_set_live(struct ps_api *api, struct ps_live *live)
{
    api->live = live;
}

void ps_api_set_recorder(struct ps_api *api, struct ps_recorder *recorder)
{
    api->recorder = recorder;
}

void ps_api_set_panel(struct ps_api *api, struct ps_panel *panel)
{
    api->panel = panel;
}

void ps_api_set_draining(struct ps_api *api)
{
    api->draining = true;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void text(struct ps_ask *ask, int status, const char *type)
{
    ps_ask_type(ask, status, type);
}

static void add_header(struct ps_ask *ask, const char *line)
{
    PS_IGNORE(ps_buf_append_str(&ask->headers, ps_str_from(line)));
}

static void problem(struct ps_ask *ask, int status, const char *code, const char *detail)
{
    ps_ask_problem(ask, status, code, detail);
}

/* --- access ----------------------------------------------------------------------------------- */

static struct session *session_of(struct ps_api *api, struct ps_str cookies, ps_time now)
{
    struct ps_str pair;
    while (ps_str_split(&cookies, ';', &pair)) {
        pair = ps_str_trim(pair);
        if (!ps_str_starts_with(pair, PS_STR(PS_SESSION_COOKIE "="))) {
            continue;
        }
        struct ps_str id = ps_str_skip(pair, sizeof PS_SESSION_COOKIE);
        for (size_t i = 0; i < SESSIONS; i++) {
            struct session *session = &api->sessions[i];
            if (session->until > now && ps_str_eq_constant_time(id, ps_str_from(session->id))) {
                return session;
            }
        }
    }
    return NULL;
}

static struct ps_str bearer(const struct ps_ask *ask)
{
    struct ps_str value = ask->authorization;
    return ps_str_istarts_with(value, PS_STR("bearer ")) ? ps_str_trim(ps_str_skip(value, 7)) : PS_STR("");
}

static bool is_post(const struct ps_ask *ask)
{
    return ps_str_eq(ask->method, PS_STR("POST"));
}

static bool is_front(const struct ps_ask *ask)
{
    return ps_str_eq(ask->path, PS_STR("/")) || ps_str_eq(ask->path, PS_STR("/dashboard.html"));
}

/* A page shows its token to get a cookie. */
static bool is_login(const struct ps_ask *ask)
{
    return is_front(ask) && is_post(ask);
}

/* The digest of the token that the caller has shown, now or when it signed in. False: none. */
static bool digest_of(struct ps_api *api, const struct ps_ask *ask, ps_time now, unsigned char digest[32])
{
    struct ps_str token = bearer(ask);
    if (token.len > 0) {
        ps_site_digest(token, digest);
        return true;
    }
    /* A cookie makes no other cookie: a session ends when its time is over. */
    const struct session *session = is_login(ask) ? NULL : session_of(api, ask->cookie, now);
    if (session != NULL) {
        memcpy(digest, session->digest, sizeof session->digest);
    }
    return session != NULL;
}

static enum ps_role role_of(struct ps_api *api, const struct ps_ask *ask, ps_time now)
{
    unsigned char digest[32];
    return digest_of(api, ask, now, digest) ? ps_site_role(api->site, digest) : PS_ROLE_NONE;
}

/* Who asks, for the records: the name of the token; without tokens it is somebody on this machine. */
static const char *name_of(struct ps_api *api, const struct ps_ask *ask, ps_time now)
{
    unsigned char digest[32];
    const char *name = digest_of(api, ask, now, digest) ? ps_site_token_name(api->site, digest) : NULL;
    return name == NULL ? "loopback" : name;
}

static bool is_read(const struct ps_ask *ask)
{
    return ps_str_eq(ask->method, PS_STR("GET")) || ps_str_eq(ask->method, PS_STR("HEAD"));
}

/* A browser that opens the page. */
static bool is_page(const struct ps_ask *ask)
{
    return is_front(ask) && is_read(ask) && ps_page_is_wanted(&ps_page_embedded, ask);
}

static enum ps_role role_needed(const struct ps_ask *ask)
{
    return is_login(ask) ? PS_ROLE_READ : ps_reserved_role(ask->path, ask->method);
}

/* An origin other than the one that the page itself would have. */
static bool is_foreign(const struct ps_ask *ask)
{
    struct ps_str host = ps_origin_host(ask->origin);
    return ask->origin.len > 0 && (host.len == 0 || !ps_str_ieq(host, ask->host));
}

/* Returns true when the ask may go on; otherwise it is answered. */
static bool check_access(struct ps_api *api, struct ps_ask *ask, ps_time now)
{
    if (is_foreign(ask)) {
        problem(ask, 403, "origin_not_allowed", "pages of another origin may not ask here");
        return false;
    }
    if (ps_reserved_health(ask->path)) {
        return true;
    }
    if (api->site->token_count == 0) {
        if (ps_address_is_loopback(&ask->peer) && ps_host_is_loopback(ask->host)) {
            return true;
        }
        problem(ask, 403, "loopback_only",
                "without admin.tokens only this machine is served, under a name of this machine");
        return false;
    }
    enum ps_role need = role_needed(ask);
    if (need == PS_ROLE_READ && api->site->config->metrics.public && ps_str_eq(ask->path, PS_STR("/metrics"))) {
        return true;
    }
    enum ps_role has = role_of(api, ask, now);
    if (has == PS_ROLE_NONE) {
        add_header(ask, "WWW-Authenticate: Bearer realm=\"penstock\"\r\n");
    }
    if (has == PS_ROLE_NONE && is_page(ask)) {
        ps_page_answer(&ps_page_embedded, ask, 401); /* it has the form to sign in with */
        return false;
    }
    if (has == PS_ROLE_NONE) {
        problem(ask, 401, "token_needed", "this path needs an admin token");
        return false;
    }
    if (!ps_role_allows(has, need)) {
        problem(ask, 403, "role_not_enough", "the token's role does not allow this");
        return false;
    }
    return true;
}

/* --- handlers --------------------------------------------------------------------------------- */

static void answer_healthz(struct ps_api *api, struct ps_ask *ask)
{
    (void)api;
    text(ask, 200, "application/json");
    PS_IGNORE(ps_buf_append_str(&ask->reply, PS_STR("{\"status\":\"ok\",\"version\":\"" PS_VERSION "\"}\n")));
}

static size_t usable_backends(const struct ps_gateway *gateway, ps_time now)
{
    size_t usable = 0;
    for (size_t i = 0; i < gateway->backend_count; i++) {
        usable += ps_backend_is_usable(gateway->backends[i], now) ? 1 : 0;
    }
    return usable;
}

/* Ready means: a request that comes now has somewhere to go. */
static void answer_readyz(struct ps_api *api, struct ps_ask *ask, ps_time now)
{
    const struct ps_gateway *gateway = api->site->gateway;
    if (api->draining) {
        problem(ask, 503, "draining", "shutting down");
    } else if (gateway->backend_count == 0) {
        problem(ask, 503, "no_upstream", "no upstream is configured");
    } else if (usable_backends(gateway, now) == 0) {
        problem(ask, 503, "no_endpoint", "no upstream has a usable endpoint");
    } else {
        text(ask, 200, "application/json");
        PS_IGNORE(ps_buf_append_str(&ask->reply, PS_STR("{\"status\":\"ready\"}\n")));
    }
}

static void answer_summary(struct ps_api *api, struct ps_ask *ask)
{
    char reason[160];
    text(ask, 200, "application/json");
    int err = ps_panel_write_summary(api->panel, ask->query, &ask->reply, reason, sizeof reason);
    if (err == PS_EINVAL) {
        problem(ask, 400, "invalid_request", reason);
    } else if (err != PS_OK) {
        problem(ask, 503, "no_memory", "out of memory");
    }
}

static void answer_cache_stats(struct ps_api *api, struct ps_ask *ask)
{
    text(ask, 200, "application/json");
    if (ps_caches_write_stats(api->caches, &ask->reply) != PS_OK) {
        problem(ask, 503, "no_memory", "out of memory");
    }
}

static void answer_invalidate(struct ps_api *api, struct ps_ask *ask)
{
    char reason[160];
    text(ask, 200, "application/json");
    int err = ps_caches_invalidate(api->caches, ps_buf_str(&ask->body), &ask->reply, reason, sizeof reason);
    if (err == PS_EINVAL) {
        problem(ask, 400, "invalid_request", reason);
    } else if (err != PS_OK) {
        problem(ask, 503, "no_memory", "out of memory");
    }
}

typedef int write_gpu_fn(struct ps_gpu *gpu, struct ps_buf *out);

static void answer_gpu(struct ps_api *api, struct ps_ask *ask, write_gpu_fn *write)
{
    text(ask, 200, "application/json");
    int err = write(api->gpu, &ask->reply);
    if (err == PS_ENOTFOUND) {
        char why[1024];
        ps_gpu_explain(api->gpu, why, sizeof why);
        problem(ask, 503, "no_gpu_source", why);
    } else if (err != PS_OK) {
        problem(ask, 503, "no_memory", "out of memory");
    }
}

static void answer_batch_size(struct ps_api *api, struct ps_ask *ask)
{
    char reason[200];
    text(ask, 200, "application/json");
    int err = ps_gpu_write_batch(api->gpu, ask->query, &ask->reply, reason, sizeof reason);
    if (err == PS_EINVAL) {
        problem(ask, 400, "invalid_request", reason);
    } else if (err == PS_ENOTFOUND) {
        problem(ask, 404, "not_seen", reason);
    } else if (err != PS_OK) {
        problem(ask, 503, "no_memory", "out of memory");
    }
}

static void answer_cleanup(struct ps_api *api, struct ps_ask *ask, ps_time now)
{
    char reason[200];
    bool done;
    int err = ps_gpu_cleanup(api->gpu, ps_buf_str(&ask->body), name_of(api, ask, now), &ask->reply, &done, reason,
                             sizeof reason);
    text(ask, done ? 200 : 202, "application/json");
    if (err == PS_EINVAL) {
        problem(ask, 400, "invalid_request", reason);
    } else if (err == PS_EBUSY || err == PS_ECANCELED) {
        problem(ask, 409, err == PS_EBUSY ? "cleanup_running" : "optimizer_off", reason);
    } else if (err != PS_OK) {
        problem(ask, 503, "no_memory", "out of memory");
    }
}

/* Whoever has the connection does the rest. */
static void answer_live(struct ps_api *api, struct ps_ask *ask)
{
    ask->live = api->live;
    ask->status = 101;
}

static int write_backend(const struct ps_backend *backend, struct ps_buf *out)
{
    char engine[PS_IDENTITY_TEXT];
    bool configured = backend->engine != PS_ENGINE_AUTO;
    int err = ps_buf_printf(out, "  %s%s%s\n", backend->name, configured ? ", configured as " : "",
                            configured ? ps_engine_names[backend->engine] : "");
    for (size_t i = 0; i < backend->count && err == PS_OK; i++) {
        const struct ps_endpoint *endpoint = backend->endpoints[i];
        err = ps_buf_printf(out, "    %-40s %-24s %-10s %lld in flight, %llu requests\n", endpoint->text,
                            ps_identity_text(&endpoint->identity, engine),
                            ps_endpoint_state_text(ps_endpoint_state_of(endpoint)),
                            (long long)atomic_load(&endpoint->requests),
                            (unsigned long long)atomic_load(&endpoint->requests_total));
    }
    return err;
}

static const struct ps_str no_upstream_text = PS_STR_INIT(
    "No inference server is configured yet, so there is nothing to pass requests on to.\n"
    "Start it with the address of one or more:\n\n"
    "    penstock serve --upstream http://127.0.0.1:8000\n\n"
    "or with a configuration file (`penstock config --reference` is its manual):\n\n"
    "    penstock serve --config penstock.yaml\n\n"
    "No server at hand? `penstock demo` starts simulated ones.\n");

/* For a terminal, and for builds without the page. */
static void answer_front(struct ps_api *api, struct ps_ask *ask)
{
    const struct ps_gateway *gateway = api->site->gateway;
    struct ps_buf *out = &ask->reply;
    int err = ps_buf_append_str(out, PS_STR("Penstock " PS_VERSION "\n\n"));
    if (err == PS_OK && gateway->backend_count == 0) {
        err = ps_buf_append_str(out, no_upstream_text);
    } else if (err == PS_OK) {
        err = ps_buf_append_str(out, PS_STR("Upstreams:\n"));
        for (size_t i = 0; i < gateway->backend_count && err == PS_OK; i++) {
            err = write_backend(gateway->backends[i], out);
        }
    }
    err = err != PS_OK ? err
                       : ps_buf_append_str(out, PS_STR("\n/metrics has the numbers, /healthz and /readyz the state.\n"));
    if (err == PS_OK) {
        err = ps_buf_append_str(out, ps_page_embedded.plain.len > 0
                                         ? PS_STR("This is for terminals: a browser sees the live page here.\n")
                                         : PS_STR("This build has no live page: it needs npm, or -Dpage=enabled.\n"));
    }
    text(ask, 200, "text/plain; charset=utf-8");
    add_header(ask, "Cache-Control: no-store\r\nVary: Accept\r\nX-Content-Type-Options: nosniff\r\n");
    if (err != PS_OK) {
        problem(ask, 503, "no_memory", "out of memory");
    }
}

/* A page shows its token once and gets a cookie that scripts can't read. */
static void answer_login(struct ps_api *api, struct ps_ask *ask, ps_time now)
{
    unsigned char bytes[SESSION_BYTES];
    if (api->site->token_count == 0) {
        problem(ask, 404, "no_tokens", "no admin.tokens are configured: there is nothing to sign in to");
        return;
    }
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) {
        problem(ask, 503, "no_randomness", "the system gives no random numbers");
        return;
    }
    struct session *session = &api->sessions[api->next_session++ % SESSIONS];
    for (size_t i = 0; i < sizeof bytes; i++) {
        snprintf(session->id + 2 * i, 3, "%02x", bytes[i]);
    }
    ps_site_digest(bearer(ask), session->digest);
    session->until = now + session_life;
    PS_IGNORE(ps_buf_printf(&ask->headers, "Set-Cookie: %s=%s; HttpOnly; SameSite=Strict; Path=/; Max-Age=%d%s\r\n",
                            PS_SESSION_COOKIE, session->id, (int)(session_life / PS_SECOND),
                            ask->is_tls ? "; Secure" : ""));
    text(ask, 204, "");
}

static void refuse_method(struct ps_ask *ask, const char *allow)
{
    PS_IGNORE(ps_buf_printf(&ask->headers, "Allow: %s\r\n", allow));
    problem(ask, 405, "method_not_allowed", "this path does not take this method");
}

/* What a form can send is never taken for JSON. */
static bool is_type_taken(const struct ps_ask *ask)
{
    struct ps_str type = ps_str_trim(ps_str_first(ask->content_type, ps_str_find(ask->content_type, ';')));
    return ps_str_ieq(type, PS_STR("application/json")) ||
           (ps_str_eq(ask->path, PS_STR("/api/otlp/v1/metrics")) &&
            ps_str_ieq(type, PS_STR("application/x-protobuf")));
}

static void dispatch(struct ps_api *api, struct ps_ask *ask, ps_time now)
{
    if (is_login(ask)) {
        answer_login(api, ask, now);
    } else if (is_post(ask) && !is_type_taken(ask)) {
        problem(ask, 415, "json_needed", "this path takes application/json");
    } else if (is_page(ask)) {
        ps_page_answer(&ps_page_embedded, ask, 200);
    } else if (is_front(ask)) {
        is_read(ask) ? answer_front(api, ask) : refuse_method(ask, "GET, HEAD, POST");
    } else if (ps_str_eq(ask->path, PS_STR("/healthz"))) {
        is_read(ask) ? answer_healthz(api, ask) : refuse_method(ask, "GET, HEAD");
    } else if (ps_str_eq(ask->path, PS_STR("/readyz"))) {
        is_read(ask) ? answer_readyz(api, ask, now) : refuse_method(ask, "GET, HEAD");
    } else if (ps_str_eq(ask->path, PS_STR("/metrics"))) {
        is_read(ask) ? ps_clerk_take(api->clerk, ask, ps_numbers_page, &api->numbers)
                     : refuse_method(ask, "GET, HEAD");
    } else if (ps_str_eq(ask->path, PS_STR("/ws/metrics"))) {
        is_read(ask) ? answer_live(api, ask) : refuse_method(ask, "GET");
    } else if (ps_str_eq(ask->path, PS_STR("/api/metrics"))) {
        is_read(ask)   ? ps_clerk_take(api->clerk, ask, ps_numbers_listing, &api->numbers)
        : is_post(ask) ? ps_clerk_take(api->clerk, ask, ps_numbers_intake, &api->numbers)
                       : refuse_method(ask, "GET, HEAD, POST");
    } else if (ps_str_eq(ask->path, PS_STR("/api/history"))) {
        is_read(ask) ? ps_recorder_answer(api->recorder, ask) : refuse_method(ask, "GET, HEAD");
    } else if (ps_str_eq(ask->path, PS_STR("/api/dashboard/summary"))) {
        is_read(ask) ? answer_summary(api, ask) : refuse_method(ask, "GET, HEAD");
    } else if (ps_str_eq(ask->path, PS_STR("/api/otlp/v1/metrics"))) {
        is_post(ask) ? ps_clerk_take(api->clerk, ask, ps_numbers_otlp, &api->numbers) : refuse_method(ask, "POST");
    } else if (ps_str_eq(ask->path, PS_STR("/api/cache/stats"))) {
        is_read(ask) ? answer_cache_stats(api, ask) : refuse_method(ask, "GET, HEAD");
    } else if (ps_str_eq(ask->path, PS_STR("/api/cache/invalidate"))) {
        is_post(ask) ? answer_invalidate(api, ask) : refuse_method(ask, "POST");
    } else if (ps_str_eq(ask->path, PS_STR("/api/gpu/profile"))) {
        is_read(ask) ? answer_gpu(api, ask, ps_gpu_write_profile) : refuse_method(ask, "GET, HEAD");
    } else if (ps_str_eq(ask->path, PS_STR("/api/gpu/report"))) {
        is_read(ask) ? answer_gpu(api, ask, ps_gpu_write_report) : refuse_method(ask, "GET, HEAD");
    } else if (ps_str_eq(ask->path, PS_STR("/api/gpu/batch-size"))) {
        is_read(ask) ? answer_batch_size(api, ask) : refuse_method(ask, "GET, HEAD");
    } else if (ps_str_eq(ask->path, PS_STR("/api/gpu/cleanup"))) {
        is_post(ask) ? answer_cleanup(api, ask, now) : refuse_method(ask, "POST");
    } else if (ps_reserved_path(ask->path)) {
        problem(ask, 501, "not_in_this_version", "this path is reserved; this version does not answer it");
    } else {
        problem(ask, 404, "not_found", "only the reserved paths are on this port");
    }
}

void ps_api_answer(struct ps_api *api, struct ps_ask *ask, ps_time now)
{
    if (check_access(api, ask, now)) {
        dispatch(api, ask, now);
    }
}

#include "gateway/tenant.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "base/check.h"
#include "gateway/limit.h"

static const char *const period_names[] = {"month", "day", NULL};

/* clang-format off */
const struct ps_option ps_tenant_options[] = {
    {"name", PS_OPTION_STRING, offsetof(struct ps_tenant_opts, name), NULL,
     "what the tenant is called in metrics and logs", .required = true},
    {"key", PS_OPTION_SECRET, offsetof(struct ps_tenant_opts, key), NULL,
     "its API key; kept as SHA-256 only", .min = 0},
    {"key_sha256", PS_OPTION_STRINGS, offsetof(struct ps_tenant_opts, key_sha256), NULL,
     "SHA-256 of its API key in 64 hex digits; several while keys are rotated", .min = 0},
    {"requests_per_minute", PS_OPTION_U64, offsetof(struct ps_tenant_opts, requests_per_minute), "0",
     "requests that it may send in a minute; 0 = no limit, here and below", .max = PS_RATE_MAX},
    {"tokens_per_minute", PS_OPTION_U64, offsetof(struct ps_tenant_opts, tokens_per_minute), "0",
     "tokens that it may use in a minute; reserved by estimate, settled by usage", .max = PS_RATE_MAX},
    {"max_in_flight", PS_OPTION_U64, offsetof(struct ps_tenant_opts, max_in_flight), "0",
     "requests that it may have open at a time", .max = 1e9},
    {"budget_usd", PS_OPTION_DOUBLE, offsetof(struct ps_tenant_opts, budget_usd), "0",
     "US dollars that it may spend in a period", .max = 9e6},
    {"budget_period", PS_OPTION_ENUM, offsetof(struct ps_tenant_opts, budget_period), "month",
     "the period of the budget, in UTC", .names = period_names},
    {"max_buffered_percent", PS_OPTION_U64, offsetof(struct ps_tenant_opts, max_buffered_percent), "50",
     "the share of max_buffered that its requests and answers may fill", .min = 1, .max = 100, .no_reload = true},
    {"priority", PS_OPTION_ENUM, offsetof(struct ps_tenant_opts, priority), "normal",
     "its class at the admission gate", .names = ps_priority_names},
    {0},
};
/* clang-format on */

struct digest {
    unsigned char bytes[SHA256_DIGEST_LENGTH];
};

/* What outlives a reload. */
struct ps_tenant_state {
    _Atomic uint32_t refs;
    struct ps_rate requests;
    struct ps_rate tokens;
    struct ps_purse purse;
    _Atomic int64_t in_flight;
    struct ps_budget buffer;
};

/* A digest and whose it is; the table is probed linearly from the digest's first bytes. */
struct slot {
    struct digest digest;
    uint32_t tenant; /* 1 + index; 0 = free */
};

struct ps_tenants {
    _Atomic uint32_t refs;
    size_t count;
    struct ps_tenant *items;
    size_t slot_count; /* a power of two, at least twice the keys */
    struct slot *slots;
};

static struct digest digest_of(struct ps_str key)
{
    struct digest digest;
    SHA256((const unsigned char *)(key.len == 0 ? "" : key.ptr), key.len, digest.bytes);
    return digest;
}

static size_t slot_of(const struct ps_tenants *tenants, const struct digest *digest)
{
    uint64_t first = 0;
    memcpy(&first, digest->bytes, sizeof first);
    return (size_t)first & (tenants->slot_count - 1);
}

static bool digest_eq(const struct digest *a, const struct digest *b)
{
    return CRYPTO_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static const struct slot *find_slot(const struct ps_tenants *tenants, const struct digest *digest)
{
    size_t at = slot_of(tenants, digest);
    while (tenants->slots[at].tenant != 0 && !digest_eq(&tenants->slots[at].digest, digest)) {
        at = (at + 1) & (tenants->slot_count - 1);
    }
    return &tenants->slots[at];
}

/* ---------------------------------------------------------------- making a table */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_digest(const char *text, struct digest *out)
{
    if (strlen(text) != 2 * sizeof out->bytes) {
        return false;
    }
    for (size_t i = 0; i < sizeof out->bytes; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out->bytes[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}

static int add_key(struct ps_tenants *tenants, size_t index, const struct digest *digest,
                   char *reason, size_t size)
{
    const struct slot *slot = find_slot(tenants, digest);
    if (slot->tenant != 0) {
        snprintf(reason, size, "tenant %s has a key that tenant %s has too",
                 tenants->items[index].name, tenants->items[slot->tenant - 1].name);
        return PS_EINVAL;
    }
    tenants->slots[slot - tenants->slots] = (struct slot){*digest, (uint32_t)index + 1};
    return PS_OK;
}

static int add_keys(struct ps_tenants *tenants, size_t index, const struct ps_tenant_opts *opts,
                    char *reason, size_t size)
{
    int err = PS_OK;
    if (opts->key != NULL && opts->key[0] != '\0') {
        struct digest digest = digest_of(ps_str_from(opts->key));
        err = add_key(tenants, index, &digest, reason, size);
    } else if (opts->key_sha256.count == 0) {
        snprintf(reason, size, "tenant %s has neither key nor key_sha256", opts->name);
        err = PS_EINVAL;
    }
    for (size_t i = 0; err == PS_OK && i < opts->key_sha256.count; i++) {
        struct digest digest;
        if (!read_digest(opts->key_sha256.items[i], &digest)) {
            snprintf(reason, size, "key_sha256 of tenant %s is not 64 hex digits", opts->name);
            return PS_EINVAL;
        }
        err = add_key(tenants, index, &digest, reason, size);
    }
    return err;
}

static const struct ps_tenant *find_name(const struct ps_tenants *tenants, const char *name)
{
    for (size_t i = 0; tenants != NULL && i < tenants->count; i++) {
        if (strcmp(tenants->items[i].name, name) == 0) {
            return &tenants->items[i];
        }
    }
    return NULL;
}

static struct ps_tenant_state *state_new(const struct ps_tenant_opts *opts, struct ps_budget *whole)
{
    struct ps_tenant_state *state = calloc(1, sizeof *state);
    if (state == NULL) {
        return NULL;
    }
    atomic_init(&state->refs, 1);
    state->buffer.parent = whole;
    state->buffer.limit = INT64_MAX;
    if (whole != NULL) {
        state->buffer.limit = whole->limit / 100 * (int64_t)opts->max_buffered_percent;
    }
    return state;
}

static void state_unref(struct ps_tenant_state *state)
{
    if (state != NULL && atomic_fetch_sub(&state->refs, 1) == 1) {
        free(state);
    }
}

static int add_tenant(struct ps_tenants *tenants, const struct ps_tenant_opts *opts,
                      const struct ps_tenants *previous, struct ps_budget *whole, char *reason,
                      size_t size)
{
    if (find_name(tenants, opts->name) != NULL) {
        snprintf(reason, size, "tenant %s is there twice", opts->name);
        return PS_EINVAL;
    }
    char *name = ps_str_dup(ps_str_from(opts->name));
    if (name == NULL) {
        return PS_ENOMEM;
    }
    const struct ps_tenant *old = find_name(previous, opts->name);
    struct ps_tenant_state *state = old == NULL ? state_new(opts, whole) : old->state;
    if (state == NULL) {
        free(name);
        return PS_ENOMEM;
    }
    if (old != NULL) {
        atomic_fetch_add(&state->refs, 1);
    }
    size_t index = tenants->count++;
    tenants->items[index] = (struct ps_tenant){
        .name = name,
        .requests_per_minute = opts->requests_per_minute,
        .tokens_per_minute = opts->tokens_per_minute,
        .max_in_flight = opts->max_in_flight,
        .budget = (int64_t)(opts->budget_usd * 1e9 + 0.5),
        .period = (enum ps_budget_period)opts->budget_period,
        .priority = (enum ps_priority)opts->priority,
        .index = index,
        .state = state,
    };
    return add_keys(tenants, index, opts, reason, size);
}

static int allocate(struct ps_tenants **out, const struct ps_tenant_opts *opts, size_t count)
{
    size_t keys = 1;
    for (size_t i = 0; i < count; i++) {
        keys += 1 + opts[i].key_sha256.count;
    }
    struct ps_tenants *tenants = calloc(1, sizeof *tenants);
    if (tenants == NULL) {
        return PS_ENOMEM;
    }
    atomic_init(&tenants->refs, 1);
    tenants->slot_count = 4;
    while (tenants->slot_count < 2 * keys) {
        tenants->slot_count *= 2;
    }
    tenants->items = calloc(count + 1, sizeof *tenants->items);
    tenants->slots = calloc(tenants->slot_count, sizeof *tenants->slots);
    if (tenants->items == NULL || tenants->slots == NULL) {
        ps_tenants_unref(tenants);
        return PS_ENOMEM;
    }
    *out = tenants;
    return PS_OK;
}

int ps_tenants_new(struct ps_tenants **out, const struct ps_option_list *opts,
                   const struct ps_tenants *previous, struct ps_budget *whole, char *reason,
                   size_t size)
{
    const struct ps_tenant_opts *items = opts->items;
    struct ps_tenants *tenants = NULL;
    int err = allocate(&tenants, items, opts->count);
    for (size_t i = 0; err == PS_OK && i < opts->count; i++) {
        err = add_tenant(tenants, &items[i], previous, whole, reason, size);
    }
    if (err != PS_OK) {
        ps_tenants_unref(tenants);
        return err;
    }
    *out = tenants;
    return PS_OK;
}

struct ps_tenants *ps_tenants_ref(struct ps_tenants *tenants)
{
    atomic_fetch_add_explicit(&tenants->refs, 1, memory_order_relaxed);
    return tenants;
}

void ps_tenants_unref(struct ps_tenants *tenants)
{
    if (tenants == NULL || atomic_fetch_sub(&tenants->refs, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < tenants->count; i++) {
        state_unref(tenants->items[i].state);
        free((void *)(uintptr_t)tenants->items[i].name);
    }
    free(tenants->items);
    free(tenants->slots);
    free(tenants);
}

/* ---------------------------------------------------------------- looking up */

size_t ps_tenants_count(const struct ps_tenants *tenants)
{
    return tenants->count;
}

const struct ps_tenant *ps_tenants_at(const struct ps_tenants *tenants, size_t n)
{
    return n < tenants->count ? &tenants->items[n] : NULL;
}

const struct ps_tenant *ps_tenants_find(const struct ps_tenants *tenants, struct ps_str key)
{
    if (key.len == 0) {
        return NULL;
    }
    struct digest digest = digest_of(key);
    const struct slot *slot = find_slot(tenants, &digest);
    return slot->tenant == 0 ? NULL : &tenants->items[slot->tenant - 1];
}

struct ps_str ps_tenant_bearer(struct ps_str authorization)
{
    static const struct ps_str word = PS_STR_INIT("Bearer");
    struct ps_str text = ps_str_trim(authorization);
    if (!ps_str_istarts_with(text, word) || text.len <= word.len || text.ptr[word.len] != ' ') {
        return PS_STR("");
    }
    return ps_str_trim(ps_str_skip(text, word.len));
}

struct ps_budget *ps_tenant_buffer(const struct ps_tenant *tenant)
{
    return &tenant->state->buffer;
}

const char *ps_tenant_limit_text(enum ps_tenant_limit limit)
{
    switch (limit) {
    case PS_LIMIT_NONE:
        break;
    case PS_LIMIT_REQUESTS:
        return "requests";
    case PS_LIMIT_TOKENS:
        return "tokens";
    case PS_LIMIT_BUDGET:
        return "budget";
    case PS_LIMIT_IN_FLIGHT:
        return "in_flight";
    }
    return "";
}

/* ---------------------------------------------------------------- reserving and settling */

static bool enter(struct ps_tenant_state *state, uint64_t limit)
{
    int64_t inside = atomic_load_explicit(&state->in_flight, memory_order_relaxed);
    do {
        if (limit != 0 && inside >= (int64_t)limit) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&state->in_flight, &inside, inside + 1));
    return true;
}

static uint32_t period_of(const struct ps_tenant *tenant, ps_time wall, ps_span *left)
{
    return tenant->period == PS_BUDGET_DAY ? ps_purse_day(wall, left) : ps_purse_month(wall, left);
}

static struct ps_tenant_decision refuse(enum ps_tenant_limit limit, ps_span wait)
{
    bool never = wait == PS_NEVER;
    return (struct ps_tenant_decision){limit, never ? 0 : wait, never};
}

/* Each step gives back what the earlier ones took when it refuses. */
static struct ps_tenant_decision reserve_budget(const struct ps_tenant *tenant, int64_t cost,
                                                ps_time wall, struct ps_tenant_grant *grant)
{
    ps_span left = 0;
    grant->period = period_of(tenant, wall, &left);
    grant->cost = 0;
    if (tenant->budget > 0) {
        if (!ps_purse_take(&tenant->state->purse, tenant->budget, cost, grant->period)) {
            return refuse(PS_LIMIT_BUDGET, cost > tenant->budget ? PS_NEVER : left);
        }
        grant->cost = cost;
    }
    return (struct ps_tenant_decision){0};
}

static struct ps_tenant_decision reserve_tokens(const struct ps_tenant *tenant, uint64_t tokens,
                                                int64_t cost, ps_time now, ps_time wall,
                                                struct ps_tenant_grant *grant)
{
    uint64_t limit = tenant->tokens_per_minute;
    ps_span wait = 0;
    grant->tokens = 0;
    if (limit != 0) {
        if (!ps_rate_take(&tenant->state->tokens, limit, tokens, now, &wait)) {
            return refuse(PS_LIMIT_TOKENS, wait);
        }
        grant->tokens = tokens;
    }
    struct ps_tenant_decision decision = reserve_budget(tenant, cost, wall, grant);
    if (decision.limit != PS_LIMIT_NONE && limit != 0) {
        ps_rate_settle(&tenant->state->tokens, limit, tokens, 0, now);
    }
    return decision;
}

static struct ps_tenant_decision reserve_request(const struct ps_tenant *tenant, uint64_t tokens,
                                                 int64_t cost, ps_time now, ps_time wall,
                                                 struct ps_tenant_grant *grant)
{
    uint64_t limit = tenant->requests_per_minute;
    ps_span wait = 0;
    if (limit != 0 && !ps_rate_take(&tenant->state->requests, limit, 1, now, &wait)) {
        return refuse(PS_LIMIT_REQUESTS, wait);
    }
    struct ps_tenant_decision decision = reserve_tokens(tenant, tokens, cost, now, wall, grant);
    if (decision.limit != PS_LIMIT_NONE && limit != 0) {
        ps_rate_settle(&tenant->state->requests, limit, 1, 0, now);
    }
    return decision;
}

struct ps_tenant_decision ps_tenant_reserve(const struct ps_tenant *tenant, uint64_t tokens,
                                            int64_t cost, ps_time now, ps_time wall,
                                            struct ps_tenant_grant *grant)
{
    struct ps_tenant_grant taken = {.held = true};
    if (!enter(tenant->state, tenant->max_in_flight)) {
        return refuse(PS_LIMIT_IN_FLIGHT, PS_SECOND);
    }
    struct ps_tenant_decision decision =
        reserve_request(tenant, tokens, cost < 0 ? 0 : cost, now, wall, &taken);
    if (decision.limit != PS_LIMIT_NONE) {
        atomic_fetch_sub(&tenant->state->in_flight, 1);
        return decision;
    }
    *grant = taken;
    return decision;
}

void ps_tenant_settle(const struct ps_tenant *tenant, struct ps_tenant_grant *grant,
                      uint64_t tokens, int64_t cost, ps_time now)
{
    PS_CHECK(grant->held);
    struct ps_tenant_state *state = tenant->state;
    if (tenant->tokens_per_minute != 0) {
        ps_rate_settle(&state->tokens, tenant->tokens_per_minute, grant->tokens, tokens, now);
    }
    if (tenant->budget > 0) {
        ps_purse_settle(&state->purse, grant->cost, cost < 0 ? 0 : cost, grant->period);
    }
    atomic_fetch_sub(&state->in_flight, 1);
    *grant = (struct ps_tenant_grant){0};
}

void ps_tenant_return(const struct ps_tenant *tenant, struct ps_tenant_grant *grant, ps_time now)
{
    if (tenant->requests_per_minute != 0) {
        ps_rate_settle(&tenant->state->requests, tenant->requests_per_minute, 1, 0, now);
    }
    ps_tenant_settle(tenant, grant, 0, 0, now);
}

/* ---------------------------------------------------------------- figures */

void ps_tenant_read(const struct ps_tenant *tenant, ps_time now, ps_time wall,
                    struct ps_tenant_figures *out)
{
    struct ps_tenant_state *state = tenant->state;
    struct ps_tenant_figures figures = {
        .requests_limit = tenant->requests_per_minute,
        .tokens_limit = tenant->tokens_per_minute,
        .budget_limit = tenant->budget,
        .in_flight = (uint64_t)atomic_load(&state->in_flight),
    };
    if (figures.requests_limit != 0) {
        figures.requests_remaining =
            ps_rate_left(&state->requests, figures.requests_limit, now, &figures.requests_reset);
    }
    if (figures.tokens_limit != 0) {
        figures.tokens_remaining =
            ps_rate_left(&state->tokens, figures.tokens_limit, now, &figures.tokens_reset);
    }
    if (figures.budget_limit != 0) {
        ps_span left = 0;
        int64_t rest =
            tenant->budget - ps_purse_taken(&state->purse, period_of(tenant, wall, &left));
        figures.budget_remaining = rest < 0 ? 0 : rest;
    }
    *out = figures;
}

static uint64_t seconds_up(ps_span span)
{
    return (uint64_t)((span + PS_SECOND - 1) / PS_SECOND);
}

/* Durations as OpenAI writes them: 20ms, 1s, 6m0s. */
static int write_span(struct ps_buf *out, ps_span span)
{
    uint64_t ms = (uint64_t)((span + PS_MILLISECOND - 1) / PS_MILLISECOND);
    if (ms < 1000) {
        return ps_buf_printf(out, "%llums", (unsigned long long)ms);
    }
    uint64_t seconds = seconds_up(span);
    if (seconds < 60) {
        return ps_buf_printf(out, "%llus", (unsigned long long)seconds);
    }
    return ps_buf_printf(out, "%llum%llus", (unsigned long long)(seconds / 60),
                         (unsigned long long)(seconds % 60));
}

static int write_set(struct ps_buf *out, const char *what, uint64_t limit, uint64_t left,
                     ps_span reset)
{
    int err = ps_buf_printf(out,
                            "x-ratelimit-limit-%s: %llu\r\n"
                            "x-ratelimit-remaining-%s: %llu\r\n"
                            "x-ratelimit-reset-%s: ",
                            what, (unsigned long long)limit, what, (unsigned long long)left, what);
    if (err == PS_OK) {
        err = write_span(out, reset);
    }
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("\r\n")) : err;
}

static int write_policy(struct ps_buf *out, const struct ps_tenant_figures *figures)
{
    const char *comma = figures->requests_limit != 0 && figures->tokens_limit != 0 ? ", " : "";
    int err = ps_buf_append_str(out, PS_STR("RateLimit-Policy: "));
    if (err == PS_OK && figures->requests_limit != 0) {
        err = ps_buf_printf(out, "\"requests\";q=%llu;w=60",
                            (unsigned long long)figures->requests_limit);
    }
    if (err == PS_OK && figures->tokens_limit != 0) {
        err = ps_buf_printf(out, "%s\"tokens\";q=%llu;w=60", comma,
                            (unsigned long long)figures->tokens_limit);
    }
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("\r\n")) : err;
}

static int write_state(struct ps_buf *out, const struct ps_tenant_figures *figures)
{
    const char *comma = figures->requests_limit != 0 && figures->tokens_limit != 0 ? ", " : "";
    int err = ps_buf_append_str(out, PS_STR("RateLimit: "));
    if (err == PS_OK && figures->requests_limit != 0) {
        err = ps_buf_printf(out, "\"requests\";r=%llu;t=%llu",
                            (unsigned long long)figures->requests_remaining,
                            (unsigned long long)seconds_up(figures->requests_reset));
    }
    if (err == PS_OK && figures->tokens_limit != 0) {
        err = ps_buf_printf(out, "%s\"tokens\";r=%llu;t=%llu", comma,
                            (unsigned long long)figures->tokens_remaining,
                            (unsigned long long)seconds_up(figures->tokens_reset));
    }
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("\r\n")) : err;
}

int ps_tenant_write_headers(const struct ps_tenant *tenant, ps_time now, ps_time wall,
                            struct ps_buf *out)
{
    struct ps_tenant_figures figures;
    ps_tenant_read(tenant, now, wall, &figures);
    if (figures.requests_limit == 0 && figures.tokens_limit == 0) {
        return PS_OK;
    }
    size_t before = out->len;
    int err = write_policy(out, &figures);
    if (err == PS_OK) {
        err = write_state(out, &figures);
    }
    if (err == PS_OK && figures.requests_limit != 0) {
        err = write_set(out, "requests", figures.requests_limit, figures.requests_remaining,
                        figures.requests_reset);
    }
    if (err == PS_OK && figures.tokens_limit != 0) {
        err = write_set(out, "tokens", figures.tokens_limit, figures.tokens_remaining,
                        figures.tokens_reset);
    }
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}

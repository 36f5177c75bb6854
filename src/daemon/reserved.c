#include "daemon/reserved.h"

#include "base/check.h"

const char *const ps_role_names[] = {"read", "ingest", "admin", NULL};

/* clang-format off */
static const struct reserved {
    struct ps_str path;
    bool health;
    bool ingest; /* POST hands in metrics */
} table[] = {
    {PS_STR_INIT("/healthz"), true, false},
    {PS_STR_INIT("/readyz"), true, false},
    {PS_STR_INIT("/"), false, false},
    {PS_STR_INIT("/dashboard.html"), false, false},
    {PS_STR_INIT("/metrics"), false, false},
    {PS_STR_INIT("/ws/metrics"), false, false},
    {PS_STR_INIT("/api/gpu/profile"), false, false},
    {PS_STR_INIT("/api/gpu/report"), false, false},
    {PS_STR_INIT("/api/gpu/cleanup"), false, false},
    {PS_STR_INIT("/api/gpu/batch-size"), false, false},
    {PS_STR_INIT("/api/dashboard/summary"), false, false},
    {PS_STR_INIT("/api/cache/stats"), false, false},
    {PS_STR_INIT("/api/cache/invalidate"), false, false},
    {PS_STR_INIT("/api/forecast"), false, false},
    {PS_STR_INIT("/api/alerts"), false, false},
    {PS_STR_INIT("/api/alerts/rules"), false, false},
    {PS_STR_INIT("/api/alerts/silences"), false, false},
    {PS_STR_INIT("/api/cost/summary"), false, false},
    {PS_STR_INIT("/api/cost/export.csv"), false, false},
    {PS_STR_INIT("/api/anomalies"), false, false},
    {PS_STR_INIT("/api/traces"), false, false},
    {PS_STR_INIT("/api/metrics"), false, true},
    {PS_STR_INIT("/api/history"), false, false},
    {PS_STR_INIT("/api/otlp/v1/metrics"), false, true},
};
/* clang-format on */

static const struct reserved *find(struct ps_str path)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(table); i++) {
        if (ps_str_eq(table[i].path, path)) {
            return &table[i];
        }
    }
    return NULL;
}

bool ps_reserved_path(struct ps_str path)
{
    return find(path) != NULL;
}

bool ps_reserved_health(struct ps_str path)
{
    const struct reserved *row = find(path);
    return row != NULL && row->health;
}

enum ps_role ps_reserved_role(struct ps_str path, struct ps_str method)
{
    const struct reserved *row = find(path);
    if (row != NULL && row->health) {
        return PS_ROLE_NONE;
    }
    if (ps_str_eq(method, PS_STR("GET")) || ps_str_eq(method, PS_STR("HEAD")) ||
        ps_str_eq(method, PS_STR("OPTIONS"))) {
        return PS_ROLE_READ;
    }
    bool hands_in = row != NULL && row->ingest && ps_str_eq(method, PS_STR("POST"));
    return hands_in ? PS_ROLE_INGEST : PS_ROLE_ADMIN;
}

bool ps_role_allows(enum ps_role has, enum ps_role need)
{
    return need == PS_ROLE_NONE || has == PS_ROLE_ADMIN || has == need;
}

struct ps_str ps_reserved_at(size_t n)
{
    return n < PS_ARRAY_LEN(table) ? table[n].path : (struct ps_str){"", 0};
}

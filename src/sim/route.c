#include "sim/route.h"

bool ps_sim_route_fits(struct ps_str pattern, struct ps_str path,
                       struct ps_str names[PS_SIM_ROUTE_NAMES])
{
    size_t count = 0;
    struct ps_str want;
    struct ps_str have;
    for (size_t i = 0; i < PS_SIM_ROUTE_NAMES; i++) {
        names[i] = PS_STR("");
    }
    while (ps_str_split(&pattern, '/', &want)) {
        if (!ps_str_split(&path, '/', &have)) {
            return false;
        }
        bool open = ps_str_eq(want, PS_STR("{}"));
        if (open ? have.len == 0 || count == PS_SIM_ROUTE_NAMES : !ps_str_eq(want, have)) {
            return false;
        }
        if (open) {
            names[count++] = have;
        }
    }
    return path.ptr == NULL;
}

const struct ps_sim_route *ps_sim_route_find(const struct ps_sim_routes *routes,
                                             const struct ps_sim_opts *opts,
                                             enum ps_h1_method method, struct ps_str path,
                                             struct ps_str names[PS_SIM_ROUTE_NAMES], bool *known)
{
    method = method == PS_H1_METHOD_HEAD ? PS_H1_METHOD_GET : method;
    *known = false;
    if (routes->alias.len > 0 && ps_str_starts_with(path, routes->alias)) {
        path = ps_str_skip(path, routes->alias.len);
    }
    for (size_t i = 0; i < routes->count; i++) {
        const struct ps_sim_route *row = &routes->rows[i];
        if ((row->exists == NULL || row->exists(opts)) &&
            ps_sim_route_fits(row->pattern, path, names)) {
            if (method == row->method) {
                return row;
            }
            *known = true;
        }
    }
    return NULL;
}

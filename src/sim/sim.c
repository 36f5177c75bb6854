#include "sim/sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "http/server.h"
#include "sim/ask.h"
#include "sim/desk.h"

#define MOST_CONNECTIONS 16384u

struct ps_sim {
    struct ps_sim_desk desk;
    struct ps_server *server;
};

static void on_request(void *ctx, struct ps_exchange *exchange)
{
    struct ps_sim *sim = ctx;
    ps_sim_ask_start(&sim->desk, exchange);
}

static void on_refused(void *ctx, int status, const struct ps_address *peer)
{
    (void)status;
    (void)peer;
    struct ps_sim *sim = ctx;
    sim->desk.metrics.refused++;
}

/* --- life ------------------------------------------------------------------------------------- */

/* Names stand in JSON, in labels and in messages as they are. */
static bool is_name(const char *name)
{
    return name[0] != '\0' && strlen(name) <= 200 &&
           name[strspn(name,
                       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:")] ==
               '\0';
}

static int check_names(const struct ps_sim_opts *opts)
{
    for (size_t i = 0; i < opts->model_count; i++) {
        if (!is_name(opts->models[i])) {
            return PS_EINVAL;
        }
    }
    return opts->model_count > 0 ? PS_OK : PS_EINVAL;
}

static int new_server(struct ps_sim *sim)
{
    struct ps_server_opts opts;
    ps_server_opts_init(&opts);
    opts.on_request = on_request;
    opts.on_refused = on_refused;
    opts.ctx = sim;
    opts.max_body = sim->desk.opts->max_body;
    opts.max_connections = MOST_CONNECTIONS;
    opts.budget = &sim->desk.budget;
    opts.refusal_headers = PS_STR(PS_SIM_HEADERS);
    return ps_server_new(&sim->server, sim->desk.loop, &opts);
}

int ps_sim_new(struct ps_sim **out, struct ps_loop *loop, const struct ps_sim_opts *opts)
{
    int err = check_names(opts);
    if (err != PS_OK) {
        return err;
    }
    struct ps_sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL) {
        return PS_ENOMEM;
    }
    err = ps_sim_desk_start(&sim->desk, loop, opts);
    err = err == PS_OK ? new_server(sim) : err;
    if (err != PS_OK) {
        ps_sim_free(sim);
        return err;
    }
    *out = sim;
    return PS_OK;
}

int ps_sim_listen(struct ps_sim *sim, const struct ps_address *at)
{
    return ps_server_listen(sim->server, at, NULL);
}

const struct ps_address *ps_sim_address(const struct ps_sim *sim, size_t n)
{
    return ps_server_address(sim->server, n);
}

void ps_sim_free(struct ps_sim *sim)
{
    if (sim == NULL) {
        return;
    }
    ps_server_free(sim->server); /* every call hears on_abort */
    ps_sim_desk_stop(&sim->desk);
    free(sim);
}

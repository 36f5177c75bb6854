#include "cli/sim.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/args.h"
#include "io/address.h"
#include "io/loop.h"
#include "sim/options.h"
#include "sim/sim.h"

#define MOST_ROWS    40
#define LONGEST_NAME 40

struct opts {
    struct ps_sim_opts sim;
    const char *listen;
    struct ps_arg_list models;
    bool no_prefix_caching;
};

/* The table that ps_args_parse() wants, made from the one in sim/options. */
struct table {
    struct ps_arg rows[MOST_ROWS];
    char names[MOST_ROWS][LONGEST_NAME];
    size_t count;
};

static const char notes[] =
    "Nothing that it reports was measured on a GPU: every answer says simulated.\n"
    "Routes: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models,\n"
    "/v1/images/generations, /health, /version, /metrics, /reset_prefix_cache, /sim/state.\n";

static enum ps_arg_type arg_type(enum ps_option_type type)
{
    switch (type) {
    case PS_OPTION_U64:
        return PS_ARG_U64;
    case PS_OPTION_BYTES:
        return PS_ARG_BYTES;
    case PS_OPTION_SPAN:
        return PS_ARG_SPAN;
    case PS_OPTION_DOUBLE:
        return PS_ARG_DOUBLE;
    default:
        return PS_ARG_END; /* options that a simulation has no rows of */
    }
}

/* "max_num_seqs" is written --max-num-seqs. */
static const char *add_name(struct table *table, const char *name)
{
    char *text = table->names[table->count];
    (void)snprintf(text, LONGEST_NAME, "--%s", name);
    for (char *c = text; *c != '\0'; c++) {
        *c = *c == '_' ? '-' : *c;
    }
    return text;
}

static void add_row(struct table *table, const struct ps_option *option)
{
    PS_CHECK(table->count + 1 < MOST_ROWS && arg_type(option->type) != PS_ARG_END);
    table->rows[table->count] = (struct ps_arg){
        .name = add_name(table, option->name),
        .type = arg_type(option->type),
        .offset = offsetof(struct opts, sim) + option->offset,
        .fallback = option->fallback,
        .help = option->help,
        .min = option->min,
        .max = option->max,
    };
    table->count++;
}

static void make_table(struct table *table)
{
    static const struct ps_arg own[] = {
        {"--listen", PS_ARG_TEXT, offsetof(struct opts, listen), "ADDR:PORT", "127.0.0.1:8000",
         .help = "where to serve; port 0 picks a free one"},
        {"--model", PS_ARG_LIST, offsetof(struct opts, models), "NAME",
         .help = "name of a model that is served, \"sim\" unless given; may be repeated"},
        {"--no-prefix-caching", PS_ARG_FLAG, offsetof(struct opts, no_prefix_caching),
         .help = "compute every prompt from its beginning"},
    };
    memset(table, 0, sizeof *table);
    for (size_t i = 0; i < PS_ARRAY_LEN(own); i++) {
        table->rows[table->count++] = own[i];
    }
    for (const struct ps_option *option = ps_sim_options; option->name != NULL; option++) {
        add_row(table, option);
    }
}

/* Thousands of streams need as many descriptors. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void on_signal(void *ctx, int signum)
{
    (void)signum;
    ps_loop_stop(ctx);
}

static int fail(const char *what, int err)
{
    (void)fprintf(stderr, "penstock sim: %s: %s\n", what, ps_err_text(err));
    return 1;
}

static int say_why_not(int err)
{
    switch (err) {
    case PS_ELIMIT:
        fputs("penstock sim: the model does not fit: weights, activations and context leave no room\n"
              "for cache blocks within --gpu-memory-utilization of --memory, or there would be more\n"
              "than 2^24 blocks\n", stderr);
        return 1;
    case PS_EINVAL:
        fputs("penstock sim: --max-model-len is more than the cache holds, or a --model name has\n"
              "characters other than letters, digits and . _ - / :\n", stderr);
        return 1;
    default:
        return fail("can't create the server", err);
    }
}

static int serve(struct ps_loop *loop, struct ps_sim *sim, const char *where, const struct ps_address *at)
{
    int err = ps_sim_listen(sim, at);
    if (err != PS_OK) {
        return fail(where, err);
    }
    char text[PS_ADDRESS_TEXT];
    printf("penstock sim: listening on %s (simulated)\n",
           ps_address_text(ps_sim_address(sim), text));
    (void)fflush(stdout);
    ps_loop_run(loop);
    return 0;
}

static int run(const struct opts *opts, const struct ps_address *at)
{
    struct ps_loop *loop = NULL;
    struct ps_sim *sim = NULL;
    int status = 1;
    int err = ps_loop_new(&loop, &ps_clock_real);
    err = err == PS_OK ? ps_loop_on_signal(loop, SIGTERM, on_signal, loop) : err;
    err = err == PS_OK ? ps_loop_on_signal(loop, SIGINT, on_signal, loop) : err;
    if (err != PS_OK) {
        (void)fail("can't start", err);
        goto out;
    }
    err = ps_sim_new(&sim, loop, &opts->sim);
    if (err != PS_OK) {
        status = say_why_not(err);
        goto out;
    }
    status = serve(loop, sim, opts->listen, at);
out:
    ps_sim_free(sim);
    ps_loop_free(loop);
    return status;
}

/* The rows and their names: large, and filled once. */
static const struct ps_arg *make_args(void)
{
    static struct table table;
    if (table.count == 0) {
        make_table(&table);
    }
    return table.rows;
}

static int run_command(int argc, char **argv);

const struct ps_command ps_sim_command = {
    .name = "sim",
    .brief = "a simulated GPU inference server",
    .summary = "A simulated GPU inference server that speaks like vLLM.",
    .make_args = make_args,
    .notes = notes,
    .success = "it was asked to end, and did",
    .failure = "it could not start; standard error says why",
    .run = run_command,
};

static int run_command(int argc, char **argv)
{
    struct opts opts = {0};
    ps_sim_opts_init(&opts.sim);
    int err = ps_args_parse(&ps_sim_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    struct ps_address at;
    if (ps_address_parse(ps_str_from(opts.listen), &at) != PS_OK) {
        return ps_args_usage_error(&ps_sim_command, "--listen %s: expected an address such as 127.0.0.1:8000", opts.listen);
    }
    if (opts.models.count > 0) {
        opts.sim.models = opts.models.items;
        opts.sim.model_count = opts.models.count;
    }
    opts.sim.prefix_caching = !opts.no_prefix_caching;
    raise_descriptors();
    (void)signal(SIGPIPE, SIG_IGN);
    return run(&opts, &at);
}

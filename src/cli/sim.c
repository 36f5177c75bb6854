#include "cli/sim.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/args.h"
#include "base/check.h"
#include "base/clock.h"
#include "io/address.h"
#include "io/loop.h"
#include "sim/engines.h"
#include "sim/options.h"
#include "sim/sim.h"

#define MOST_ROWS    64
#define LONGEST_NAME 40

struct opts {
    struct ps_sim_opts sim;
    const char *engine;
    const char *listen;
    const char *metrics_listen;
    const char *version;
    const char *lie;
    const char *model_control;
    struct ps_arg_list models;
    bool no_prefix_caching;
    bool no_dev_mode;
    bool sleep_mode;
    bool metrics;
    bool router;
};

/* Where to listen; the second is for metrics alone, and only where it is asked for. */
struct places {
    struct ps_address at[2];
    size_t count;
};

/* The table that ps_args_parse() wants, made from the one in sim/options. */
struct table {
    struct ps_arg rows[MOST_ROWS];
    char names[MOST_ROWS][LONGEST_NAME];
    size_t count;
};

static const char notes[] =
    "Nothing that it reports was measured on a GPU: every answer says simulated. The defaults\n"
    "above are those of the engine that was named. docs/sim.md lists each engine's routes;\n"
    "GET /sim/state tells the truth about any of them. TensorRT-LLM's memory calls need\n"
    "TRTLLM_RUNTIME_CONTROL_API_KEY in the environment, as the real ones do.\n";

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

/* What the engine has as its default, or the table's. */
static const char *fallback_of(const struct ps_option *option,
                               const struct ps_sim_personality *personality)
{
    const struct ps_sim_default *row = personality->defaults;
    for (; row != NULL && row->option != NULL; row++) {
        if (strcmp(row->option, option->name) == 0) {
            return row->text;
        }
    }
    return option->fallback;
}

static void add_row(struct table *table, const struct ps_option *option,
                    const struct ps_sim_personality *personality)
{
    PS_CHECK(table->count + 1 < MOST_ROWS && arg_type(option->type) != PS_ARG_END);
    table->rows[table->count] = (struct ps_arg){
        .name = add_name(table, option->name),
        .type = arg_type(option->type),
        .offset = offsetof(struct opts, sim) + option->offset,
        .fallback = fallback_of(option, personality),
        .help = option->help,
        .min = option->min,
        .max = option->max,
    };
    table->count++;
}

static const char *const control_names[] = {"none", "explicit", NULL};

static void make_table(struct table *table, const struct ps_sim_personality *personality)
{
    static const struct ps_arg own[] = {
        {"--engine", PS_ARG_TEXT, offsetof(struct opts, engine), "NAME", "vllm",
         .help = "which server it imitates", .names = ps_sim_engine_names},
        {"--engine-version", PS_ARG_TEXT, offsetof(struct opts, version), "TEXT",
         .help = "the version that it reports; its own unless given"},
        {"--listen", PS_ARG_TEXT, offsetof(struct opts, listen), "ADDR:PORT", "127.0.0.1:8000",
         .help = "where to serve; port 0 picks a free one"},
        {"--metrics-listen", PS_ARG_TEXT, offsetof(struct opts, metrics_listen), "ADDR:PORT",
         .help = "a second address for the same routes, as Triton has one for its metrics"},
        {"--model", PS_ARG_LIST, offsetof(struct opts, models), "NAME",
         .help = "name of a model that is served, \"sim\" unless given; may be repeated"},
        {"--no-prefix-caching", PS_ARG_FLAG, offsetof(struct opts, no_prefix_caching),
         .help = "compute every prompt from its beginning"},
        {"--no-dev-mode", PS_ARG_FLAG, offsetof(struct opts, no_dev_mode),
         .help = "vLLM without VLLM_SERVER_DEV_MODE: no memory and cache calls"},
        {"--enable-sleep-mode", PS_ARG_FLAG, offsetof(struct opts, sleep_mode),
         .help = "memory can be released: vLLM's sleep mode, SGLang's memory saver, TensorRT-LLM's "
                 "sleep mode"},
        {"--enable-metrics", PS_ARG_FLAG, offsetof(struct opts, metrics),
         .help = "SGLang and llama.cpp: publish metrics (the others always do)"},
        {"--model-control-mode", PS_ARG_TEXT, offsetof(struct opts, model_control), "MODE", "none",
         .help = "Triton: explicit lets clients load and unload models", .names = control_names},
        {"--router", PS_ARG_FLAG, offsetof(struct opts, router),
         .help = "llama.cpp: router mode, models are loaded on demand and unloaded by call"},
        {"--lie", PS_ARG_TEXT, offsetof(struct opts, lie), "WHICH", "none",
         .help = "what is untrue about released memory; see also --lie-delay", .names = ps_sim_lie_names},
    };
    memset(table, 0, sizeof *table);
    for (size_t i = 0; i < PS_ARRAY_LEN(own); i++) {
        table->rows[table->count++] = own[i];
    }
    for (const struct ps_option *option = ps_sim_options; option->name != NULL; option++) {
        add_row(table, option, personality);
    }
}

/* The engine decides on the defaults of the other options, so it is looked for before they are
 * read. What is wrong with it is said later. */
static const struct ps_sim_personality *find_engine(int argc, char **argv)
{
    static const char name[] = "--engine";
    const char *text = "vllm";
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], name, sizeof name - 1) != 0) {
            continue;
        }
        const char *rest = argv[i] + sizeof name - 1;
        if (*rest == '=') {
            text = rest + 1;
        } else if (*rest == '\0' && i + 1 < argc) {
            text = argv[++i];
        }
    }
    return ps_sim_engines_find(ps_str_from(text));
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
        fputs(
            "penstock sim: the model does not fit: weights, activations and context leave no room\n"
            "for cache blocks within --gpu-memory-utilization of --memory, or there would be more\n"
            "than 2^24 blocks; or models that are all loaded at start are more than the device "
            "holds\n",
            stderr);
        return 1;
    case PS_EINVAL:
        fputs("penstock sim: --max-model-len is more than the cache holds, or a --model name has\n"
              "characters other than letters, digits and . _ - / :, or there are more than 32 "
              "models\n",
              stderr);
        return 1;
    default:
        return fail("can't create the server", err);
    }
}

static int serve(struct ps_loop *loop, struct ps_sim *sim, const struct places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        char text[PS_ADDRESS_TEXT];
        int err = ps_sim_listen(sim, &places->at[i]);
        if (err != PS_OK) {
            return fail(ps_address_text(&places->at[i], text), err);
        }
        printf(i == 0 ? "penstock sim: listening on %s (simulated)\n"
                      : "penstock sim: metrics on %s (simulated)\n",
               ps_address_text(ps_sim_address(sim, i), text));
    }
    (void)fflush(stdout);
    ps_loop_run(loop);
    return 0;
}

static int run(const struct opts *opts, const struct places *places)
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
    status = serve(loop, sim, places);
out:
    ps_sim_free(sim);
    ps_loop_free(loop);
    return status;
}

/* --- what was asked for ----------------------------------------------------------------------- */

static int read_place(const char *option, const char *text, struct places *places)
{
    if (text == NULL) {
        return 0;
    }
    if (ps_address_parse(ps_str_from(text), &places->at[places->count]) != PS_OK) {
        return ps_args_usage_error(&ps_sim_command, "%s %s: expected an address such as 127.0.0.1:8000",
                                   option, text);
    }
    places->count++;
    return 0;
}

/* It is one of them: the table's names see to that. */
static enum ps_sim_lie find_lie(const char *text)
{
    size_t i = 0;
    while (strcmp(text, ps_sim_lie_names[i]) != 0) {
        i++;
    }
    return (enum ps_sim_lie)i;
}

static void read_switches(struct opts *opts)
{
    if (opts->models.count > 0) {
        opts->sim.models = opts->models.items;
        opts->sim.model_count = opts->models.count;
    }
    if (opts->version != NULL) {
        opts->sim.version = opts->version;
    }
    opts->sim.lie = find_lie(opts->lie);
    opts->sim.explicit_control = strcmp(opts->model_control, "explicit") == 0;
    opts->sim.prefix_caching = !opts->no_prefix_caching;
    opts->sim.dev_mode = !opts->no_dev_mode;
    opts->sim.sleep_mode = opts->sleep_mode;
    opts->sim.metrics = opts->metrics;
    opts->sim.router = opts->router;
    opts->sim.control_key = getenv("TRTLLM_RUNTIME_CONTROL_API_KEY");
}

/* --- the command ------------------------------------------------------------------------------ */

/* The rows as the manual has them. They and their names are large, and filled once. */
static const struct ps_arg *make_args(void)
{
    static struct table table;
    if (table.count == 0) {
        make_table(&table, &ps_sim_vllm);
    }
    return table.rows;
}

static int run_command(int argc, char **argv);

const struct ps_command ps_sim_command = {
    .name = "sim",
    .brief = "a simulated GPU inference server",
    .summary = "A simulated GPU inference server that speaks like one of ten engines.",
    .make_args = make_args,
    .notes = notes,
    .success = "it was asked to end, and did",
    .failure = "it could not start; standard error says why",
    .run = run_command,
};

static int run_command(int argc, char **argv)
{
    static struct table table;
    struct opts opts = {0};
    struct places places = {.count = 0};
    const struct ps_sim_personality *personality = find_engine(argc, argv);
    personality = personality == NULL ? &ps_sim_vllm : personality; /* the parser says what is wrong with it */
    struct ps_command command = ps_sim_command;
    command.make_args = NULL;
    command.args = table.rows;
    ps_sim_opts_init(&opts.sim);
    make_table(&table, personality);
    int err = ps_args_parse(&command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    if (read_place("--listen", opts.listen, &places) != 0 ||
        read_place("--metrics-listen", opts.metrics_listen, &places) != 0) {
        return 2;
    }
    bool router = opts.router && personality == &ps_sim_llamacpp;
    opts.sim.personality = router ? &ps_sim_llamacpp_router : personality;
    read_switches(&opts);
    raise_descriptors();
    (void)signal(SIGPIPE, SIG_IGN);
    return run(&opts, &places);
}

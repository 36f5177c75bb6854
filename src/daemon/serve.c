#include "daemon/serve.h"

#include <stdio.h>

#include "base/args.h"
#include "daemon/config.h"
#include "daemon/control.h"

struct serve_opts {
    const char *config;
    struct ps_arg_list upstreams;
    struct ps_arg_list listen;
    uint64_t workers;
};

static const struct ps_arg serve_args[] = {
    {"--config", PS_ARG_TEXT, offsetof(struct serve_opts, config), "FILE", .help = "the configuration, in YAML"},
    {"--upstream", PS_ARG_LIST, offsetof(struct serve_opts, upstreams), "URL",
     .help = "an inference server, without --config; repeated: they share the requests"},
    {"--listen", PS_ARG_LIST, offsetof(struct serve_opts, listen), "ADDR:PORT",
     .help = "where to serve; repeated: all of them (127.0.0.1:5000 and [::1]:5000 without it)"},
    {"--workers", PS_ARG_U64, offsetof(struct serve_opts, workers), "N",
     .help = "threads that carry requests; 0 is one for each core", .min = 0, .max = 64},
    {0},
};

static int run_command(int argc, char **argv);

const struct ps_command ps_serve_command = {
    .name = "serve",
    .brief = "the gateway, in front of your inference servers",
    .summary = "The gateway: carries requests to inference servers and their answers back.",
    .args = serve_args,
    .notes = "Signals: HUP reads the configuration again, USR1 reopens the access log, TERM lets\n"
             "requests end.\n",
    .success = "it was asked to end, and did",
    .failure = "it could not serve; standard error says why",
    .run = run_command,
};

static void print_report(struct ps_config_report *report, const char *file)
{
    struct ps_buf text = ps_buf_make(64 * 1024);
    if (ps_config_report_print(report, file, &text) == PS_OK) {
        fprintf(stderr, "%.*s", PS_STR_ARG(ps_buf_str(&text)));
    }
    ps_buf_fini(&text);
    ps_config_report_fini(report);
}

static int add_upstreams(const struct serve_opts *opts, struct ps_config *config)
{
    if (opts->config != NULL && opts->upstreams.count > 0) {
        return ps_args_usage_error(&ps_serve_command, "--upstream is for starting without --config: the file names the servers");
    }
    for (size_t i = 0; i < opts->upstreams.count; i++) {
        const char *url = opts->upstreams.items[i];
        int err = ps_config_add_endpoint(config, PS_STR("default"), ps_str_from(url));
        if (err != PS_OK) {
            return ps_args_usage_error(&ps_serve_command, "--upstream: '%s' is not a URL like http://127.0.0.1:8000", url);
        }
    }
    return 0;
}

/* What the command line says goes over what the file says, at the start and at each reload. `bad` gets the
 * address that is none. */
static int amend(const struct serve_opts *opts, struct ps_config *config, const char **bad)
{
    for (size_t i = 0; i < opts->listen.count; i++) {
        int err = ps_config_add_listen(config, ps_str_from(opts->listen.items[i]), i == 0);
        if (err != PS_OK) {
            *bad = opts->listen.items[i];
            return err;
        }
    }
    config->workers = opts->workers > 0 ? opts->workers : config->workers;
    return PS_OK;
}

static int on_reload(void *ctx, struct ps_config *config)
{
    const char *bad = NULL;
    return amend(ctx, config, &bad);
}

static int apply(const struct serve_opts *opts, struct ps_config *config)
{
    const char *bad = NULL;
    int status = add_upstreams(opts, config);
    if (status == 0 && amend(opts, config, &bad) != PS_OK) {
        status = ps_args_usage_error(&ps_serve_command, "--listen: '%s' is not an address like 127.0.0.1:5000",
                                     bad == NULL ? "" : bad);
    }
    return status;
}

static int load(const struct serve_opts *opts, struct ps_config **out)
{
    struct ps_config_report report = {0};
    struct ps_config *config = NULL;
    int err = opts->config == NULL ? ps_config_default(&config) : ps_config_load(&config, opts->config, &report);
    print_report(&report, opts->config);
    if (err != PS_OK) {
        return 1;
    }
    int status = apply(opts, config);
    if (status == 0 && (opts->listen.count > 0 || opts->upstreams.count > 0)) {
        struct ps_config_report again = {0};
        status = ps_config_validate(config, &again) == PS_OK ? 0 : 1;
        print_report(&again, "command line");
    }
    if (status != 0) {
        ps_config_free(config);
        return status;
    }
    *out = config;
    return 0;
}

static int run_command(int argc, char **argv)
{
    struct serve_opts opts = {0};
    struct ps_control_opts control = {0};
    int err = ps_args_parse(&ps_serve_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    int status = load(&opts, &control.config);
    if (status != 0) {
        return status;
    }
    control.path = opts.config;
    control.amend = on_reload;
    control.ctx = &opts;
    control.print_yaml = opts.config == NULL && opts.upstreams.count > 0;
    control.default_listen = opts.config == NULL && opts.listen.count == 0;
    return ps_control_run(&control);
}

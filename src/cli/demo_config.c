/* demo_config - see demo_config.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_config.h"

#include <stdio.h>

#include "base/buf.h"
#include "cli/demo_server.h"

#define CONFIG_MAX 8192

static int write_redis(const struct ps_demo_config *config, struct ps_buf *out)
{
    return config->nodes == NULL ? PS_OK
                                 : ps_buf_printf(out,
                                                 "cache:\n"
                                                 "  redis:\n"
                                                 "    cluster: yes\n"
                                                 "    nodes: [%s]\n",
                                                 config->nodes);
}

static int write_servers(const struct ps_demo_config *config, struct ps_buf *out)
{
    int err = ps_buf_append_str(out, PS_STR("upstreams:\n  - name: default\n    endpoints:\n"));
    for (size_t i = 0; err == PS_OK && i < PS_DEMO_SHARED; i++) {
        err = ps_buf_printf(out, "      - %s\n", config->servers[i]);
    }
    err = err != PS_OK ? err
                       : ps_buf_printf(out, "  - name: shared\n    endpoints: [\"%s\"]\nmodels:\n",
                                       config->servers[PS_DEMO_SHARED]);
    for (size_t i = 0; err == PS_OK && ps_demo_server_models[i] != NULL; i++) {
        err = ps_buf_printf(out, "  - {name: %s, upstream: shared}\n", ps_demo_server_models[i]);
    }
    return err;
}

/* Quicker than the defaults, so that there is something to see. */
static int write_gpu(const struct ps_demo_config *config, struct ps_buf *out)
{
    return ps_buf_append_str(
        out,
        config->cleans
            ? PS_STR(
                  "# The servers are simulated, so calls may be trusted that were never tried\n"
                  "# against a real one. In front of real servers leave that at \"no\" until you\n"
                  "# have seen what a dry run plans.\n"
                  "gpu:\n"
                  "  mode: auto\n"
                  "  trust_unverified: yes\n"
                  "  rungs: [unload]\n"
                  "  idle_after: 5s\n"
                  "  margin_percent: 15\n"
                  "  hold: 5s\n"
                  "  cool_down: 15s\n"
                  "  drivers: no\n")
            : PS_STR("# The other gateway does it.\n"
                     "gpu: {mode: \"off\", drivers: no}\n"));
}

static int write_all(const struct ps_demo_config *config, struct ps_buf *out)
{
    int err = ps_buf_printf(out, "listen: [\"%s\"]\nstore: {path: off}\n", config->listen);
    err = err != PS_OK ? err : write_redis(config, out);
    err = err != PS_OK ? err : write_gpu(config, out);
    err = err != PS_OK ? err : write_servers(config, out);
    return err != PS_OK ? err
                        : ps_buf_append_str(
                              out, PS_STR("routes:\n"
                                          "  - {path: \"/*\", kind: inference, cache: yes}\n"));
}

int ps_demo_config_write(const struct ps_demo_config *config, const char *path)
{
    struct ps_buf text = ps_buf_make(CONFIG_MAX);
    int err = write_all(config, &text);
    FILE *file = err == PS_OK ? fopen(path, "wxe") : NULL;
    if (err == PS_OK && file == NULL) {
        err = PS_EIO;
    }
    if (file != NULL) {
        size_t written = fwrite(text.data, 1, text.len, file);
        err = fclose(file) == 0 && written == text.len ? PS_OK : PS_EIO;
    }
    ps_buf_fini(&text);
    return err;
}

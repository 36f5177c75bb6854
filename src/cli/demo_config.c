/* demo_config - see demo_config.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_config.h"

#include <stdio.h>

#include "base/buf.h"

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
    for (size_t i = 0; err == PS_OK && i < config->server_count; i++) {
        err = ps_buf_printf(out, "      - %s\n", config->servers[i]);
    }
    return err;
}

static int write_all(const struct ps_demo_config *config, struct ps_buf *out)
{
    int err = ps_buf_printf(out, "listen: [\"%s\"]\nstore: {path: off}\n", config->listen);
    err = err != PS_OK ? err : write_redis(config, out);
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

/* fuzz_option - any bytes as a configuration file.
 *
 * Besides not breaking: what was understood is written as YAML, and that must be understood again
 * and come out the same. Secrets are written as *** and files are not read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "daemon/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *lookup(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "NAME") == 0 ? "value" : strcmp(name, "BAD") == 0 ? "\xff\n\x01" : NULL;
}

static void print_report(const struct ps_config_report *report)
{
    struct ps_buf out = ps_buf_make(1024 * 1024);
    int err = ps_config_report_print(report, "file", &out);
    PS_CHECK(err == PS_OK);
    PS_CHECK(report->count <= PS_CONFIG_FINDINGS);
    ps_buf_fini(&out);
}

/* Secrets all become the same text, so keys and tokens may clash: only the shape is asked for. */
static void read_again(struct ps_str yaml, const struct ps_config_source *source)
{
    struct ps_config_report report = {0};
    struct ps_config_places places = {0};
    struct ps_config *config = NULL;
    struct ps_buf again = ps_buf_make(64 * 1024 * 1024);
    int err = ps_config_default(&config);
    PS_CHECK(err == PS_OK);
    err = ps_config_yaml_read(ps_config_options, config, yaml, source, &places, &report);
    PS_CHECK(err == PS_OK && report.errors == 0);
    err = ps_config_yaml(config, false, &again);
    PS_CHECK(err == PS_OK);
    PS_CHECK(ps_str_eq(ps_buf_str(&again), yaml));
    ps_buf_fini(&again);
    ps_config_free(config);
    ps_config_places_fini(&places);
    ps_config_report_fini(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_config_source source = {.lookup = lookup, .no_files = true};
    struct ps_config_report report = {0};
    struct ps_config *config = NULL;
    struct ps_buf yaml = ps_buf_make(PS_CONFIG_LARGEST);
    int err = ps_config_parse(&config, (struct ps_str){(const char *)data, size}, &source, &report);
    PS_CHECK((err == PS_OK) == (report.errors == 0));
    print_report(&report);
    if (err == PS_OK && ps_config_yaml(config, false, &yaml) == PS_OK) {
        read_again(ps_buf_str(&yaml), &source);
    }
    ps_buf_fini(&yaml);
    ps_config_free(config);
    ps_config_report_fini(&report);
    return 0;
}

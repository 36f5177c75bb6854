#include "lib/settings.h"

#include <stdlib.h>
#include <string.h>

#include "config/yaml.h"
#include "lib/process.h"

/* clang-format off */
static const struct ps_option settings_options[] = {
    PS_OPTION_ROW(ps_settings, cache, SECTION, NULL,
     "answers that are remembered", .table = ps_cache_options),
    {0},
};
/* clang-format on */

static const char *look_up(void *ctx, const char *name)
{
    (void)ctx;
    return getenv(name);
}

/* The first mistake as a sentence. */
static int say_first(struct ps_config_report *report, const char *name)
{
    struct ps_buf text = ps_buf_make(64 << 10);
    ps_config_report_sort(report);
    while (report->count > 0 && report->items[0].warning) {
        struct ps_config_finding passed = report->items[0];
        report->count--;
        memmove(report->items, report->items + 1, report->count * sizeof passed);
        report->items[report->count] = passed; /* freed with the others */
    }
    PS_IGNORE(ps_config_report_print(report, name, &text));
    struct ps_str line = ps_str_first(ps_buf_str(&text), ps_str_find(ps_buf_str(&text), '\n'));
    int err = ps_process_fail(PS_EINVAL, "%.*s", PS_STR_ARG(line));
    ps_buf_fini(&text);
    return err;
}

static int parse(struct ps_settings *out, struct ps_str text, const char *folder, const char *name)
{
    const struct ps_config_source source = {.folder = folder, .lookup = look_up, .others = true};
    struct ps_config_places places = {.items = NULL};
    struct ps_config_report report = {.items = NULL};
    int err = ps_option_init(settings_options, out);
    if (err == PS_OK) {
        err = ps_config_yaml_read(settings_options, out, text, &source, &places, &report);
    }
    if (err != PS_OK) {
        ps_settings_fini(out);
        err = err == PS_ENOMEM ? err : say_first(&report, name);
    }
    ps_config_places_fini(&places);
    ps_config_report_fini(&report);
    return err;
}

static int load(struct ps_settings *out, const char *file, struct ps_str text)
{
    const char *slash = strrchr(file, '/');
    char *folder =
        slash == NULL ? strdup(".") : ps_str_dup((struct ps_str){file, (size_t)(slash - file) + 1});
    int err = folder == NULL ? PS_ENOMEM : parse(out, text, folder, file);
    free(folder);
    return err;
}

int ps_settings_load(struct ps_settings *out, const char *file)
{
    struct ps_buf text = ps_buf_make(0);
    if (file == NULL) {
        return ps_option_init(settings_options, out);
    }
    int err = ps_config_read_file(file, PS_CONFIG_LARGEST, false, &text, NULL);
    if (err != PS_OK) {
        const char *why = err == PS_ELIMIT   ? "larger than 1MiB"
                          : err == PS_EINVAL ? "it is a folder"
                                             : ps_err_text(err);
        return err == PS_ENOMEM ? err : ps_process_fail(PS_EINVAL, "cannot read %s: %s", file, why);
    }
    err = load(out, file, ps_buf_str(&text));
    ps_buf_fini(&text);
    return err;
}

int ps_settings_parse(struct ps_settings *out, struct ps_str text)
{
    return parse(out, text, NULL, "text");
}

void ps_settings_fini(struct ps_settings *settings)
{
    ps_option_fini(settings_options, settings);
}

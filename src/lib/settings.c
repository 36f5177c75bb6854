#include "lib/settings.h"

#include <stdlib.h>
#include <string.h>

#include "config/yaml.h"
#include "lib/process.h"

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
    for (size_t i = 0; i < report->count && report->items[0].warning; i++) {
        struct ps_config_finding passed = report->items[0]; /* goes to the end */
        memmove(report->items, report->items + 1, (report->count - 1) * sizeof passed);
        report->items[report->count - 1] = passed;
    }
    PS_IGNORE(ps_config_report_print(report, name, &text));
    struct ps_str line = ps_str_first(ps_buf_str(&text), ps_str_find(ps_buf_str(&text), '\n'));
    int err = ps_process_fail(PS_EINVAL, "%.*s", PS_STR_ARG(line));
    ps_buf_fini(&text);
    return err;
}

/* Where a mistake that was found later stands. */
struct check {
    const struct ps_config_places *places;
    struct ps_config_report *report;
};

static void tell(void *ctx, const char *path, const char *sentence)
{
    struct check *check = ctx;
    const struct ps_config_place *place = ps_config_places_find(check->places, path);
    ps_config_report_add(check->report, false, place == NULL ? 0 : place->line,
                         place == NULL ? 0 : place->column, path, "%s", sentence);
}

/* What is read, and from where. */
struct reading {
    const struct ps_option *table;
    ps_settings_check_fn *check; /* or NULL */
    const char *folder;          /* NULL = the working directory */
    const char *name;            /* in sentences */
};

static int read_checked(const struct reading *reading, void *out, struct ps_str text,
                        struct ps_config_places *places, struct ps_config_report *report)
{
    const struct ps_config_source source = {
        .folder = reading->folder, .lookup = look_up, .others = true};
    struct check check = {places, report};
    int err = ps_option_init(reading->table, out);
    err = err != PS_OK ? err
                       : ps_config_yaml_read(reading->table, out, text, &source, places, report);
    if (err == PS_OK && reading->check != NULL) {
        reading->check(out, tell, &check);
        err = report->errors > 0 ? PS_EINVAL : PS_OK;
    }
    return err;
}

static int parse(const struct reading *reading, void *out, struct ps_str text)
{
    struct ps_config_places places = {.items = NULL};
    struct ps_config_report report = {.items = NULL};
    int err = read_checked(reading, out, text, &places, &report);
    if (err != PS_OK) {
        ps_option_fini(reading->table, out);
        err = err == PS_ENOMEM ? ps_process_no_memory() : say_first(&report, reading->name);
    }
    ps_config_places_fini(&places);
    ps_config_report_fini(&report);
    return err;
}

static int parse_file(struct reading *reading, void *out, const char *file, struct ps_str text)
{
    const char *slash = strrchr(file, '/');
    char *folder =
        slash == NULL ? strdup(".") : ps_str_dup((struct ps_str){file, (size_t)(slash - file) + 1});
    reading->folder = folder;
    int err = folder == NULL ? ps_process_no_memory() : parse(reading, out, text);
    free(folder);
    return err;
}

static int fail_file(int err, const char *file)
{
    const char *why = err == PS_ELIMIT   ? "larger than 1MiB"
                      : err == PS_EINVAL ? "it is a folder"
                                         : ps_err_text(err);
    return err == PS_ENOMEM ? ps_process_no_memory()
                            : ps_process_fail(PS_EINVAL, "cannot read %s: %s", file, why);
}

static int load_defaults(const struct ps_option *table, void *out)
{
    int err = ps_option_init(table, out);
    if (err != PS_OK) {
        ps_option_fini(table, out);
        return ps_process_no_memory();
    }
    return PS_OK;
}

int ps_settings_load(const struct ps_option *table, void *out, const char *file,
                     ps_settings_check_fn *check)
{
    struct reading reading = {.table = table, .check = check, .name = file};
    struct ps_buf text = ps_buf_make(0);
    if (file == NULL) {
        return load_defaults(table, out);
    }
    int err = ps_config_read_file(file, PS_CONFIG_LARGEST, false, &text, NULL);
    if (err != PS_OK) {
        return fail_file(err, file);
    }
    err = parse_file(&reading, out, file, ps_buf_str(&text));
    ps_buf_fini(&text);
    return err;
}

int ps_settings_parse(const struct ps_option *table, void *out, struct ps_str text,
                      ps_settings_check_fn *check)
{
    const struct reading reading = {.table = table, .check = check, .name = "text"};
    return parse(&reading, out, text);
}

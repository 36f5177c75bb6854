/* The YAML reader: every mistake at once, each with its place. */
#include "config/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct limit {
    uint64_t most;
    int64_t wait;
};

struct server {
    char *url;
    uint64_t weight;
};

struct group {
    char *name;
    char *key;
    struct ps_option_list servers;
    struct limit limit;
};

struct file {
    struct ps_option_strings listen;
    uint64_t workers;
    bool quiet;
    char *log;
    char *certificate;
    struct limit limit;
    struct ps_option_list groups;
    bool open;
};

static const struct ps_option limit_options[] = {
    PS_OPTION_ROW(limit, most, U64, "5", "most", .max = 10),
    PS_OPTION_ROW(limit, wait, SPAN, "1s", "wait"),
    {0},
};

static const struct ps_option server_options[] = {
    PS_OPTION_ROW(server, url, STRING, NULL, "where it is", .required = true),
    PS_OPTION_ROW(server, weight, U64, "1", "share"),
    {0},
};

static const struct ps_option group_options[] = {
    PS_OPTION_ROW(group, name, STRING, NULL, "what it is called", .required = true),
    PS_OPTION_ROW(group, key, SECRET, NULL, "its key"),
    PS_OPTION_ROW(group, servers, LIST, NULL, "its servers", .table = server_options,
                  .item_size = sizeof(struct server), .shorthand = "url"),
    PS_OPTION_ROW(group, limit, SECTION, NULL, "its limits", .table = limit_options),
    {0},
};

static const struct ps_option file_options[] = {
    PS_OPTION_ROW(file, listen, STRINGS, "here, there", "addresses"),
    PS_OPTION_ROW(file, workers, U64, "2", "threads"),
    PS_OPTION_ROW(file, quiet, BOOL, "no", "says nothing"),
    PS_OPTION_ROW(file, log, STRING, "off", "log"),
    PS_OPTION_ROW(file, certificate, STRING, NULL, "certificate", .path = true),
    PS_OPTION_ROW(file, limit, SECTION, NULL, "limits", .table = limit_options),
    PS_OPTION_ROW(file, groups, LIST, NULL, "groups", .table = group_options,
                  .item_size = sizeof(struct group), .word = "open",
                  .word_offset = offsetof(struct file, open)),
    {0},
};

static const char *lookup(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "NAME") == 0 ? "value" : strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

struct run {
    struct file file;
    struct ps_config_places places;
    struct ps_config_report report;
    char *printed;
    int err;
};

static void read_from(struct run *run, struct ps_str text, const struct ps_config_source *source)
{
    struct ps_buf out = ps_buf_make(1024 * 1024);
    *run = (struct run){.err = PS_OK};
    assert_int_equal(ps_option_init(file_options, &run->file), PS_OK);
    run->err =
        ps_config_yaml_read(file_options, &run->file, text, source, &run->places, &run->report);
    ps_config_report_sort(&run->report);
    assert_int_equal(ps_config_report_print(&run->report, "f", &out), PS_OK);
    run->printed = ps_str_dup(ps_buf_str(&out));
    assert_non_null(run->printed);
    ps_buf_fini(&out);
}

static void read_text_in(struct run *run, struct ps_str text, const char *folder)
{
    const struct ps_config_source source = {.folder = folder, .lookup = lookup};
    read_from(run, text, &source);
}

static void end(struct run *run)
{
    ps_option_fini(file_options, &run->file);
    ps_config_places_fini(&run->places);
    ps_config_report_fini(&run->report);
    free(run->printed);
}

static void assert_finds(const char *text, const char *printed)
{
    struct run run;
    read_text_in(&run, ps_str_from(text), NULL);
    assert_string_equal(run.printed, printed);
    assert_int_equal(run.err == PS_OK, *printed == '\0');
    end(&run);
}

static void the_empty_file_leaves_the_defaults(void **state)
{
    static const char *const texts[] = {"", "\n", "# nothing\n", "---\n", "--- ~\n...\n", "{}\n"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct run run;
        read_text_in(&run, ps_str_from(texts[i]), NULL);
        assert_int_equal(run.err, PS_OK);
        assert_int_equal(run.file.workers, 2);
        assert_int_equal(run.file.listen.count, 2);
        end(&run);
    }
}

static void values_reach_their_fields(void **state)
{
    struct run run;
    (void)state;
    read_text_in(&run,
                 PS_STR("listen: [a, \"b c\"]\n"
                        "workers: 20k\n"
                        "quiet: on\n"
                        "log: 'x ${NAME}'\n"
                        "limit: {most: 7}\n"
                        "groups:\n"
                        "  - name: one\n"
                        "    key: s3cret\n"
                        "    servers:\n"
                        "      - http://a:1\n"
                        "      - {url: http://b:2, weight: 3}\n"
                        "    limit:\n"
                        "      wait: 50ms\n"
                        "  - name: two\n"),
                 NULL);
    assert_string_equal(run.printed, "");
    assert_int_equal(run.file.listen.count, 2);
    assert_string_equal(run.file.listen.items[1], "b c");
    assert_int_equal(run.file.workers, 20000);
    assert_true(run.file.quiet);
    assert_string_equal(run.file.log, "x value");
    assert_int_equal(run.file.limit.most, 7);
    assert_int_equal(run.file.groups.count, 2);
    const struct group *groups = run.file.groups.items;
    const struct server *servers = groups[0].servers.items;
    assert_string_equal(groups[0].key, "s3cret");
    assert_int_equal(groups[0].servers.count, 2);
    assert_string_equal(servers[0].url, "http://a:1");
    assert_int_equal(servers[0].weight, 1);
    assert_int_equal(servers[1].weight, 3);
    assert_int_equal(groups[0].limit.wait, 50000000);
    assert_string_equal(groups[1].name, "two");
    assert_int_equal(groups[1].limit.most, 5);
    const struct ps_config_place *place =
        ps_config_places_find(&run.places, "groups[0].servers[1].weight");
    assert_int_equal(place->line, 11);
    assert_int_equal(place->column, 35);
    place = ps_config_places_find(&run.places, "groups[0].servers[0].url");
    assert_string_equal(place->path, "groups[0].servers[0]");
    assert_null(ps_config_places_find(&run.places, "work"));
    end(&run);
}

static void a_list_may_be_one_text_and_the_word_may_stand_for_it(void **state)
{
    struct run run;
    (void)state;
    read_text_in(&run, PS_STR("listen: alone\ngroups: open\n"), NULL);
    assert_int_equal(run.err, PS_OK);
    assert_int_equal(run.file.listen.count, 1);
    assert_true(run.file.open);
    end(&run);
    read_text_in(&run, PS_STR("listen: []\ngroups:\nlog:\nlimit:\n"), NULL);
    assert_int_equal(run.err, PS_OK);
    assert_int_equal(run.file.listen.count, 0);
    assert_false(run.file.open);
    assert_string_equal(run.file.log, "off");
    end(&run);
}

static void every_mistake_is_named_with_its_place(void **state)
{
    (void)state;
    assert_finds(
        "wokers: 4\n"
        "workers: many\n"
        "quiet: [1]\n"
        "limit:\n"
        "  most: 11\n"
        "  wait: 5\n"
        "  unheard: {a: [b, {c: d}]}\n"
        "groups:\n"
        "  - name: one\n"
        "    servers: [{wieght: 2}, 7, [x]]\n"
        "  - key: k\n"
        "  - text\n"
        "workers: 3\n",
        "f:1:1: wokers: unknown key 'wokers'; did you mean 'workers'?\n"
        "f:2:10: workers: expected a whole number such as 1000 or 20k\n"
        "f:3:8: quiet: expected a single value, found a list\n"
        "f:5:9: limit.most: must be at most 10\n"
        "f:6:9: limit.wait: expected a time such as 250us, 50ms, 10s, 5m or 2h\n"
        "f:7:3: limit.unheard: unknown key 'unheard' in limit\n"
        "f:10:15: groups[0].servers[0].url: is required (where it is)\n"
        "f:10:16: groups[0].servers[0].wieght: unknown key 'wieght' in groups[0].servers[0]; "
        "did you mean 'weight'?\n"
        "f:10:31: groups[0].servers[2]: expected a mapping or text, found a list\n"
        "f:11:5: groups[1].name: is required (what it is called)\n"
        "f:12:5: groups[2]: expected a mapping, found text\n"
        "f:13:1: workers: given twice\n");
}

/* As a library reads its section of the program's file. */
static void what_is_somebody_elses_is_passed_over(void **state)
{
    (void)state;
    static const char text[] =
        "routes: [{path: /a, to: \"${UNSET}\"}]\nworkers: 3\nother: {a: {b: c}}\n"
        "limti: {most: 1}\nlimit: {most: 4, others: 1}\n";
    const struct ps_config_source source = {.lookup = lookup, .others = true};
    struct run run;
    read_from(&run, ps_str_from(text), &source);
    assert_int_equal(run.err, PS_EINVAL);
    assert_int_equal(run.file.workers, 3);
    assert_int_equal(run.file.limit.most, 4);
    assert_string_equal(run.printed, "f:4:1: limti: unknown key 'limti'; did you mean 'limit'?\n"
                                     "f:5:18: limit.others: unknown key 'others' in limit\n");
    end(&run);
}

static void wrong_kinds_are_explained(void **state)
{
    (void)state;
    assert_finds("- a\n", "f:1:1: expected a mapping of options, found a list\n");
    assert_finds("text\n", "f:1:1: expected a mapping of options, found text\n");
    assert_finds("workers:\n", "f:1:9: workers: a value is missing\n");
    assert_finds("limit: 5\n", "f:1:8: limit: expected a mapping, found text\n");
    assert_finds("groups: opne\n",
                 "f:1:9: groups: expected a list or the word 'open', found text\n");
    assert_finds("listen: {a: b}\n", "f:1:9: listen: expected a list of text, found a mapping\n");
    assert_finds("listen: [[a], ~, b]\n", "f:1:10: listen[0]: expected text, found a list\n"
                                          "f:1:15: listen[1]: expected text, found nothing\n");
    assert_finds("? [a]\n: b\nworkers: x\n",
                 "f:1:3: a key must be text, found a list\n"
                 "f:3:10: workers: expected a whole number such as 1000 or 20k\n");
    assert_finds("groups: [{name: }]\n", "f:1:17: groups[0].name: a value is missing\n");
    assert_finds("groups: [{name: \"${EMPTY}\"}]\n", "f:1:17: groups[0].name: must not be empty\n");
}

static void what_yaml_can_do_beyond_data_is_refused(void **state)
{
    (void)state;
    assert_finds("log: &a x\nworkers: *a\n", "f:1:6: log: anchors (&) are not allowed here\n"
                                             "f:2:10: workers: aliases (*) are not allowed here\n");
    assert_finds("log: !!str x\n", "f:1:6: log: tags (!) are not allowed here\n");
    assert_finds("limit: !x {most: 99}\n", "f:1:8: limit: tags (!) are not allowed here\n");
    assert_finds("listen: [&x a]\n", "f:1:10: listen: anchors (&) are not allowed here\n");
    assert_finds("&k log: x\nworkers: x\n",
                 "f:1:1: anchors (&) are not allowed here\n"
                 "f:2:10: workers: expected a whole number such as 1000 or 20k\n");
    assert_finds("<<: {log: x}\n", "f:1:1: <<: unknown key '<<'\n");
    assert_finds("log: a\n---\nlog: b\n", "f:2:1: only one document is allowed\n");
}

static void what_is_no_yaml_is_reported_with_what_came_before(void **state)
{
    struct run run;
    (void)state;
    read_text_in(&run, PS_STR("wokers: 1\nlog: \"a\nworkers: 2\n"), NULL);
    assert_int_equal(run.err, PS_EPARSE);
    assert_int_equal(run.report.errors, 2);
    assert_int_equal(run.report.items[0].line, 1);
    assert_true(run.report.items[1].line >= 2);
    end(&run);
    read_text_in(&run, PS_STR("log: \xff\xfe\n"), NULL);
    assert_int_equal(run.err, PS_EPARSE);
    end(&run);
    read_text_in(&run, PS_STR("log: \"a\\0b\"\n"), NULL);
    assert_string_equal(run.printed, "f:1:6: log: must not hold control characters\n");
    end(&run);
}

static void nesting_and_size_are_bounded(void **state)
{
    struct run run;
    char deep[100];
    (void)state;
    memset(deep, '[', sizeof deep);
    memcpy(deep, "x: ", 3);
    read_text_in(&run, (struct ps_str){deep, sizeof deep}, NULL);
    assert_int_equal(run.err, PS_EPARSE);
    assert_non_null(strstr(run.printed, "nested deeper than 16"));
    end(&run);
    char *large = malloc(PS_CONFIG_LARGEST + 1);
    assert_non_null(large);
    memset(large, ' ', PS_CONFIG_LARGEST + 1);
    read_text_in(&run, (struct ps_str){large, PS_CONFIG_LARGEST + 1}, NULL);
    assert_string_equal(run.printed, "f: larger than 1MiB\n");
    end(&run);
    free(large);
}

static void only_so_many_mistakes_are_kept(void **state)
{
    struct ps_buf text = ps_buf_make(65536);
    struct run run;
    (void)state;
    for (int i = 0; i < 70; i++) {
        assert_int_equal(ps_buf_printf(&text, "nonsense%d: 1\n", i), PS_OK);
    }
    read_text_in(&run, ps_buf_str(&text), NULL);
    assert_int_equal(run.report.count, PS_CONFIG_FINDINGS);
    assert_int_equal(run.report.errors, 70);
    assert_non_null(strstr(run.printed, "f: and 20 more\n"));
    end(&run);
    ps_buf_fini(&text);
}

static void keys_are_shown_without_control_characters(void **state)
{
    (void)state;
    assert_finds("\"a\\e[31m\\n\": 1\n", "f:1:1: a?[31m?: unknown key 'a?[31m?'\n");
}

static void a_missing_variable_is_named(void **state)
{
    (void)state;
    assert_finds("log: ${NOPE}\nlisten: [\"${NOPE2}\"]\n",
                 "f:1:6: log: the environment variable NOPE is not set\n"
                 "f:2:10: listen[0]: the environment variable NOPE2 is not set\n");
}

/* --- files --------------------------------------------------------------------------------------
 */

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/penstock-config-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"key", "empty", "large", "lines", "public"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

static void write_file(const char *name, const char *text, size_t len, mode_t mode)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void assert_key(const char *yaml, const char *key, const char *said)
{
    struct run run;
    read_text_in(&run, ps_str_from(yaml), folder);
    const struct group *groups = run.file.groups.items;
    if (key == NULL) {
        assert_null(groups[0].key);
    } else {
        assert_string_equal(groups[0].key, key);
    }
    if (said == NULL) {
        assert_string_equal(run.printed, "");
    } else {
        assert_non_null(strstr(run.printed, said));
    }
    end(&run);
}

static void a_secret_may_be_in_a_file(void **state)
{
    char *large = calloc(1, PS_CONFIG_SECRET_LARGEST + 2);
    (void)state;
    assert_non_null(large);
    memset(large, 'x', PS_CONFIG_SECRET_LARGEST + 1);
    write_file("key", "hidden value\r\n", 14, 0600);
    write_file("empty", "\n", 1, 0600);
    write_file("lines", "a\nb\n", 4, 0600);
    write_file("public", "known\n", 6, 0644);
    write_file("large", large, PS_CONFIG_SECRET_LARGEST + 1, 0600);
    free(large);
    assert_key("groups: [{name: a, key_file: key}]\n", "hidden value", NULL);
    assert_key("groups: [{name: a, key_file: public}]\n", "known", "may be read by every user");
    assert_key("groups: [{name: a, key_file: none}]\n", NULL, "not found");
    assert_key("groups: [{name: a, key_file: .}]\n", NULL, "not a regular file");
    assert_key("groups: [{name: a, key_file: /dev/zero}]\n", NULL, "not a regular file");
    assert_key("groups: [{name: a, key_file: large}]\n", NULL, "larger than 16KiB");
    assert_key("groups: [{name: a, key_file: empty}]\n", NULL, "must not be empty");
    assert_key("groups: [{name: a, key_file: lines}]\n", NULL, "must not hold control characters");
    assert_key("groups: [{name: a, key_file: [x]}]\n", NULL,
               "expected the path of a file, found a list");
    assert_key("groups: [{name: a, key: inline, key_file: key}]\n", "inline",
               "give either key or key_file");
    assert_key("groups: [{name: a, key_file: key, key: inline}]\n", "hidden value",
               "give either key or key_file");
    assert_key("groups: [{name: a, name_file: key}]\n", NULL, "unknown key 'name_file'");
}

static void files_are_looked_for_beside_the_configuration(void **state)
{
    struct run run;
    (void)state;
    read_text_in(&run, PS_STR("certificate: tls/a.pem\n"), "/etc/penstock");
    assert_string_equal(run.file.certificate, "/etc/penstock/tls/a.pem");
    end(&run);
    read_text_in(&run, PS_STR("certificate: /b.pem\n"), "/etc/penstock");
    assert_string_equal(run.file.certificate, "/b.pem");
    end(&run);
    read_text_in(&run, PS_STR("certificate: c.pem\n"), NULL);
    assert_string_equal(run.file.certificate, "c.pem");
    end(&run);
}

static void a_secret_is_never_repeated(void **state)
{
    struct run run;
    (void)state;
    read_text_in(&run,
                 PS_STR("groups:\n"
                        "  - {name: a, key: \"s3cret\\n\", limit: s3cret, servers: s3cret}\n"
                        "  - s3cret\n"
                        "workers: s3cret\nquiet: s3cret\nlimit: {most: s3cret, wait: s3cret}\n"),
                 NULL);
    assert_true(run.report.errors >= 8);
    assert_null(strstr(run.printed, "s3cret"));
    end(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_empty_file_leaves_the_defaults),
        cmocka_unit_test(values_reach_their_fields),
        cmocka_unit_test(a_list_may_be_one_text_and_the_word_may_stand_for_it),
        cmocka_unit_test(every_mistake_is_named_with_its_place),
        cmocka_unit_test(what_is_somebody_elses_is_passed_over),
        cmocka_unit_test(wrong_kinds_are_explained),
        cmocka_unit_test(what_yaml_can_do_beyond_data_is_refused),
        cmocka_unit_test(what_is_no_yaml_is_reported_with_what_came_before),
        cmocka_unit_test(nesting_and_size_are_bounded),
        cmocka_unit_test(only_so_many_mistakes_are_kept),
        cmocka_unit_test(keys_are_shown_without_control_characters),
        cmocka_unit_test(a_missing_variable_is_named),
        cmocka_unit_test_setup_teardown(a_secret_may_be_in_a_file, make_folder, remove_folder),
        cmocka_unit_test(files_are_looked_for_beside_the_configuration),
        cmocka_unit_test(a_secret_is_never_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Options: text to fields and back. */
#include "base/option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

struct inner {
    uint64_t depth;
    double shift;
    char *label;
};

struct item {
    char *url;
    uint64_t weight;
};

struct outer {
    bool on;
    uint64_t count;
    uint64_t bytes;
    int64_t wait;
    double share;
    char *text;
    char *file;
    char *token;
    int color;
    struct ps_option_strings words;
    struct inner inner;
    struct ps_option_list items;
    bool open;
};

static const char *const colors[] = {"red", "green", "blue", NULL};

static const struct ps_option inner_options[] = {
    PS_OPTION_ROW(inner, depth, U64, "3", "how deep", .max = 9),
    PS_OPTION_ROW(inner, shift, DOUBLE, "-1", "how far", .min = -2, .max = 5),
    PS_OPTION_ROW(inner, label, STRING, "plain", "what it is called"),
    {0},
};

static const struct ps_option item_options[] = {
    PS_OPTION_ROW(item, url, STRING, NULL, "where", .required = true),
    PS_OPTION_ROW(item, weight, U64, "1", "how much", .min = 1, .max = 100),
    {0},
};

static const struct ps_option options[] = {
    PS_OPTION_ROW(outer, on, BOOL, "yes", "a switch"),
    PS_OPTION_ROW(outer, count, U64, "20k", "a number", .min = 1, .max = 1e6),
    PS_OPTION_ROW(outer, bytes, BYTES, "64KiB", "a size", .max = 1048576),
    PS_OPTION_ROW(outer, wait, SPAN, "1500ms", "a time", .min = 1e6, .max = 1e10),
    PS_OPTION_ROW(outer, share, DOUBLE, "0.75", "a share", .min = 0.1, .max = 1),
    PS_OPTION_ROW(outer, text, STRING, NULL, "a text"),
    PS_OPTION_ROW(outer, file, STRING, NULL, "a file", .path = true),
    PS_OPTION_ROW(outer, token, SECRET, NULL, "a secret"),
    PS_OPTION_ROW(outer, color, ENUM, "green", "a color", .names = colors, .no_reload = true),
    PS_OPTION_ROW(outer, words, STRINGS, "one, two", "some words"),
    PS_OPTION_ROW(outer, inner, SECTION, NULL, "a section", .table = inner_options),
    PS_OPTION_ROW(outer, items, LIST, NULL, "a list", .table = item_options,
                  .item_size = sizeof(struct item), .shorthand = "url", .word = "open",
                  .word_offset = offsetof(struct outer, open)),
    {0},
};

static const struct ps_option *row(const char *name)
{
    const struct ps_option *found = ps_option_find(options, ps_str_from(name));
    assert_non_null(found);
    return found;
}

static char reason[256];

static int set(struct outer *opts, const char *name, const char *text)
{
    reason[0] = '\0';
    return ps_option_set(row(name), opts, ps_str_from(text), reason, sizeof reason);
}

static int setup(void **state)
{
    static struct outer opts;
    memset(&opts, 0xa5, sizeof opts); /* init must not rely on zeroed memory */
    *state = &opts;
    return ps_option_init(options, &opts);
}

static int teardown(void **state)
{
    ps_option_fini(options, *state);
    return 0;
}

static void defaults_are_parsed_from_the_rows(void **state)
{
    const struct outer *opts = *state;
    assert_true(opts->on);
    assert_int_equal(opts->count, 20000);
    assert_int_equal(opts->bytes, 65536);
    assert_int_equal(opts->wait, 1500 * PS_MILLISECOND);
    assert_true(opts->share == 0.75);
    assert_null(opts->text);
    assert_int_equal(opts->color, 1);
    assert_int_equal(opts->words.count, 2);
    assert_string_equal(opts->words.items[1], "two");
    assert_int_equal(opts->inner.depth, 3);
    assert_string_equal(opts->inner.label, "plain");
    assert_int_equal(opts->items.count, 0);
    assert_false(opts->open);
    for (const struct ps_option *at = options; at->type != PS_OPTION_END; at++) {
        assert_true(ps_option_is_default(at, opts));
    }
}

static void every_word_for_yes_and_no_is_understood(void **state)
{
    static const char *const words[] = {"yes", "no", "true", "false", "on", "off", "YES", "False"};
    struct outer *opts = *state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        assert_int_equal(set(opts, "on", words[i]), PS_OK);
        assert_int_equal(opts->on, i % 2 == 0);
    }
    assert_int_equal(set(opts, "on", "1"), PS_EINVAL);
    assert_string_equal(reason, "expected yes or no");
}

static void sizes_are_read_with_binary_and_decimal_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"512", 512},
                {"512B", 512},
                {"64KiB", 65536},
                {"1.5KiB", 1536},
                {"2kB", 2000},
                {"3MB", 3000000},
                {"1GiB", 1073741824},
                {"0.5MiB", 524288},
                {"16383PiB", UINT64_MAX},
                {"1TB", 1000000000000}};
    static const char *const bad[] = {"",
                                      "KiB",
                                      "-1",
                                      "1 KiB",
                                      "1kib",
                                      "1.KiB",
                                      ".5KiB",
                                      "1.0001KiB",
                                      "0x10",
                                      "1e3",
                                      "99999999999999999999",
                                      "17000000TiB",
                                      "1.1234567890KiB",
                                      "5.5"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t bytes = 1;
        int err = ps_option_parse_bytes(ps_str_from(good[i].text), &bytes);
        if (good[i].bytes == UINT64_MAX) {
            assert_int_equal(err, PS_EINVAL);
            continue;
        }
        assert_int_equal(err, PS_OK);
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t bytes = 77;
        assert_int_equal(ps_option_parse_bytes(ps_str_from(bad[i]), &bytes), PS_EINVAL);
        assert_int_equal(bytes, 77);
    }
}

static void times_need_a_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t span;
    } good[] = {{"0", 0},
                {"0s", 0},
                {"250us", 250000},
                {"50ms", 50000000},
                {"0.5s", 500000000},
                {"5m", 300000000000},
                {"2h", 2 * PS_HOUR},
                {"1d", 24 * PS_HOUR},
                {"7ns", 7}};
    static const char *const bad[] = {"",   "5",  "s",     "-1s",     "1 s",
                                      "5S", "1w", "1.5ns", "300000d", "1h30m"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t span = -1;
        assert_int_equal(ps_option_parse_span(ps_str_from(good[i].text), &span), PS_OK);
        assert_int_equal(span, good[i].span);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t span = 77;
        assert_int_equal(ps_option_parse_span(ps_str_from(bad[i]), &span), PS_EINVAL);
        assert_int_equal(span, 77);
    }
}

static void a_bad_value_is_explained_and_changes_nothing(void **state)
{
    struct outer *opts = *state;
    assert_int_equal(set(opts, "count", "many"), PS_EINVAL);
    assert_string_equal(reason, "expected a whole number such as 1000 or 20k");
    assert_int_equal(set(opts, "count", "0"), PS_EINVAL);
    assert_string_equal(reason, "must be at least 1");
    assert_int_equal(set(opts, "count", "2M"), PS_EINVAL);
    assert_string_equal(reason, "must be at most 1000000");
    assert_int_equal(opts->count, 20000);
    assert_int_equal(set(opts, "bytes", "2MiB"), PS_EINVAL);
    assert_string_equal(reason, "must be at most 1MiB");
    assert_int_equal(set(opts, "wait", "10us"), PS_EINVAL);
    assert_string_equal(reason, "must be at least 1ms");
    assert_int_equal(set(opts, "wait", "11s"), PS_EINVAL);
    assert_string_equal(reason, "must be at most 10s");
    assert_int_equal(set(opts, "share", "0.05"), PS_EINVAL);
    assert_string_equal(reason, "must be at least 0.1");
    assert_int_equal(set(opts, "share", "nan"), PS_EINVAL);
    assert_int_equal(
        ps_option_set(&inner_options[1], &opts->inner, PS_STR("-3"), reason, sizeof reason),
        PS_EINVAL);
    assert_string_equal(reason, "must be at least -2");
    assert_int_equal(set(opts, "color", "pink"), PS_EINVAL);
    assert_string_equal(reason, "expected red, green or blue");
    assert_int_equal(opts->color, 1);
    assert_int_equal(set(opts, "inner", "x"), PS_EINVAL);
    assert_int_equal(set(opts, "items", "x"), PS_EINVAL);
}

static void text_may_not_hold_control_characters(void **state)
{
    static const char *const bad[] = {"a\nb",     "a\r",          "\x01",         "a\x7f",
                                      "\xc2\x85", "\xe2\x80\xa8", "\xef\xbb\xbfx"};
    struct outer *opts = *state;
    assert_int_equal(set(opts, "text", "fine\t\xc3\xa9"), PS_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(set(opts, "text", bad[i]), PS_EINVAL);
        assert_int_equal(set(opts, "token", bad[i]), PS_EINVAL);
        assert_int_equal(set(opts, "words", bad[i]), PS_EINVAL);
        assert_null(strstr(reason, bad[i]));
    }
    assert_int_equal(ps_option_set(row("text"), opts, PS_STR("a\0b"), reason, sizeof reason),
                     PS_EINVAL);
    assert_string_equal(opts->text, "fine\t\xc3\xa9");
    assert_int_equal(opts->words.count, 2);
}

static void empty_text_is_absent_and_an_empty_secret_is_refused(void **state)
{
    struct outer *opts = *state;
    assert_int_equal(set(opts, "text", "x"), PS_OK);
    assert_int_equal(set(opts, "text", ""), PS_OK);
    assert_null(opts->text);
    assert_int_equal(set(opts, "token", ""), PS_EINVAL);
    assert_string_equal(reason, "must not be empty");
}

static void one_text_replaces_a_list_and_add_appends(void **state)
{
    struct outer *opts = *state;
    assert_int_equal(set(opts, "words", "alone"), PS_OK);
    assert_int_equal(opts->words.count, 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ps_option_add(row("words"), opts, PS_STR("more"), reason, sizeof reason),
                         PS_OK);
    }
    assert_int_equal(opts->words.count, 21);
    ps_option_clear(row("words"), opts);
    assert_int_equal(opts->words.count, 0);
    assert_false(ps_option_is_default(row("words"), opts));
}

static void pushed_items_have_their_defaults(void **state)
{
    struct outer *opts = *state;
    for (int i = 0; i < 9; i++) {
        void *item = NULL;
        assert_int_equal(ps_option_push(row("items"), opts, &item), PS_OK);
        assert_int_equal(((struct item *)item)->weight, 1);
        assert_null(((struct item *)item)->url);
        assert_int_equal(ps_option_set(&item_options[0], item, PS_STR("u"), reason, sizeof reason),
                         PS_OK);
    }
    assert_int_equal(opts->items.count, 9);
    assert_false(ps_option_is_default(row("items"), opts));
}

static void the_nearest_name_is_found_within_a_third(void **state)
{
    (void)state;
    assert_string_equal(ps_option_nearest(options, PS_STR("cuont")), "count"); /* swapped */
    assert_string_equal(ps_option_nearest(options, PS_STR("colr")), "color");
    assert_string_equal(ps_option_nearest(options, PS_STR("tokenn")), "token");
    assert_string_equal(ps_option_nearest(options, PS_STR("o")), "on");
    assert_null(ps_option_nearest(options, PS_STR("upstreams")));
    assert_null(ps_option_nearest(options, PS_STR("")));
    char longest[200];
    memset(longest, 'c', sizeof longest);
    assert_null(ps_option_nearest(options, (struct ps_str){longest, sizeof longest}));
}

static const char *lookup(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "HOST") == 0 ? "example" : strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

static void variables_are_replaced_and_a_missing_one_is_named(void **state)
{
    static const struct {
        const char *text;
        const char *result;
    } good[] = {{"", ""},
                {"plain", "plain"},
                {"http://${HOST}:80/", "http://example:80/"},
                {"${HOST}${HOST}", "exampleexample"},
                {"${EMPTY}", ""},
                {"$HOST costs 5$", "$HOST costs 5$"},
                {"$${HOST}", "${HOST}"},
                {"$$${HOST}", "$${HOST}"},
                {"a$$b", "a$$b"}};
    static const char *const bad[] = {"${", "${HOST", "${}", "${1A}", "${A B}", "${HO$}"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char *out = NULL;
        assert_int_equal(
            ps_option_expand(ps_str_from(good[i].text), lookup, NULL, &out, reason, sizeof reason),
            PS_OK);
        assert_string_equal(out, good[i].result);
        free(out);
    }
    char *out = NULL;
    assert_int_equal(
        ps_option_expand(PS_STR("x${NOPE}y"), lookup, NULL, &out, reason, sizeof reason),
        PS_EINVAL);
    assert_string_equal(reason, "the environment variable NOPE is not set");
    assert_int_equal(ps_option_expand(PS_STR("${HOST}"), NULL, NULL, &out, reason, sizeof reason),
                     PS_EINVAL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(
            ps_option_expand(ps_str_from(bad[i]), lookup, NULL, &out, reason, sizeof reason),
            PS_EINVAL);
    }
    assert_null(out);
}

static void assert_yaml(const struct outer *opts, bool all, const char *expected)
{
    struct ps_buf out = ps_buf_make(65536);
    assert_int_equal(ps_option_yaml(options, opts, 0, all, &out), PS_OK);
    assert_int_equal(ps_buf_append(&out, "", 1), PS_OK);
    assert_string_equal(out.data, expected);
    ps_buf_fini(&out);
}

static void yaml_shows_only_what_differs(void **state)
{
    struct outer *opts = *state;
    void *item = NULL;
    assert_yaml(opts, false, "");
    assert_int_equal(set(opts, "wait", "90s"), PS_EINVAL);
    assert_int_equal(set(opts, "wait", "9s"), PS_OK);
    assert_int_equal(set(opts, "text", "yes: ${no}"), PS_OK);
    assert_int_equal(set(opts, "token", "very secret"), PS_OK);
    assert_int_equal(set(opts, "words", "a b"), PS_OK);
    opts->inner.depth = 4;
    assert_int_equal(ps_option_push(row("items"), opts, &item), PS_OK);
    assert_int_equal(
        ps_option_set(&item_options[0], item, PS_STR("http://a:1/"), reason, sizeof reason), PS_OK);
    assert_int_equal(ps_option_push(row("items"), opts, &item), PS_OK);
    assert_int_equal(ps_option_set(&item_options[0], item, PS_STR("u"), reason, sizeof reason),
                     PS_OK);
    ((struct item *)item)->weight = 7;
    assert_yaml(opts, false,
                "wait: 9s\n"
                "text: \"yes: $${no}\"\n"
                "token: \"***\"\n"
                "words: [\"a b\"]\n"
                "inner:\n"
                "  depth: 4\n"
                "items:\n"
                "  - http://a:1/\n"
                "  - url: u\n"
                "    weight: 7\n");
}

static void yaml_of_everything_names_every_row(void **state)
{
    struct outer *opts = *state;
    opts->open = true;
    assert_yaml(opts, true,
                "on: yes\n"
                "count: 20000\n"
                "bytes: 64KiB\n"
                "wait: 1500ms\n"
                "share: 0.75\n"
                "text:\n"
                "file:\n"
                "token:\n"
                "color: green\n"
                "words: [one, two]\n"
                "inner:\n"
                "  depth: 3\n"
                "  shift: -1\n"
                "  label: plain\n"
                "items: open\n");
}

static void text_that_looks_like_something_else_is_quoted(void **state)
{
    static const char *const quoted[] = {"yes", "No", "null", "~",  "-",   "- a", "a: b",
                                         "a#",  "*a", "&a",   "!a", "a,b", "[a]", "{a}",
                                         "a:",  "'",  "\"",   "%a", "@a",  " a",  "1 2"};
    struct outer *opts = *state;
    for (size_t i = 0; i < sizeof quoted / sizeof *quoted; i++) {
        struct ps_buf out = ps_buf_make(1024);
        assert_int_equal(set(opts, "text", quoted[i]), PS_OK);
        assert_int_equal(ps_option_print(row("text"), opts, &out), PS_OK);
        assert_int_equal(out.data[0], '"');
        assert_int_equal(out.data[out.len - 1], '"');
        ps_buf_fini(&out);
    }
}

static void numbers_print_as_what_reads_back_the_same(void **state)
{
    static const uint64_t sizes[] = {0, 1, 1023, 1024, 1500, 1536, 5000000, 1048576};
    static const double shares[] = {0.1, 1.0 / 3, 0.75, 1, 0.123456789012345};
    struct outer *opts = *state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct ps_buf out = ps_buf_make(64);
        uint64_t again = 1;
        opts->bytes = sizes[i];
        assert_int_equal(ps_option_print(row("bytes"), opts, &out), PS_OK);
        assert_int_equal(ps_option_parse_bytes(ps_buf_str(&out), &again), PS_OK);
        assert_int_equal(again, sizes[i]);
        ps_buf_fini(&out);
    }
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        struct ps_buf out = ps_buf_make(64);
        opts->share = shares[i];
        assert_int_equal(ps_option_print(row("share"), opts, &out), PS_OK);
        opts->share = 0;
        assert_int_equal(ps_option_set(row("share"), opts, ps_buf_str(&out), reason, sizeof reason),
                         PS_OK);
        assert_true(opts->share == shares[i]);
        ps_buf_fini(&out);
    }
}

static void the_manual_says_everything_in_the_rows(void **state)
{
    static const char *const lines[] = {
        "| `on` | yes or no | `yes` | a switch. |\n",
        "| `count` | number from 1 up to 1000000 | `20k` | a number. |\n",
        "| `shift` | number from -2 up to 5 | `-1` | how far. |\n",
        "| `wait` | time from 1ms up to 10s | `1500ms` | a time. |\n",
        "| `file` | file | none | a file. |\n",
        "| `token` | secret | none | a secret. `token_file` names a file that holds it. |\n",
        "| `color` | one of `red`, `green`, `blue` | `green` | a color.",
        " A change needs a restart. |\n",
        "| `items` | list | none | a list. The word `open` may stand instead of the list.",
        " An item that is plain text is its `url`. |\n",
        "\n## `inner`\n\nA section.\n\n",
        "\n## `items[]`\n\nA list.\n\n",
        "| `url` | text | required | where. |\n"};
    struct ps_buf out = ps_buf_make(65536);
    (void)state;
    assert_int_equal(ps_option_manual(options, "", &out), PS_OK);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_true(ps_str_contains(ps_buf_str(&out), ps_str_from(lines[i])));
    }
    ps_buf_fini(&out);
}

static void writing_stops_at_the_buffers_limit(void **state)
{
    struct outer *opts = *state;
    struct ps_buf out = ps_buf_make(40);
    assert_int_equal(ps_option_manual(options, "", &out), PS_ELIMIT);
    ps_buf_clear(&out);
    assert_int_equal(ps_option_yaml(options, opts, 0, true, &out), PS_ELIMIT);
    assert_int_equal(out.len, 0);
    ps_buf_fini(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_parsed_from_the_rows),
        TEST(every_word_for_yes_and_no_is_understood),
        TEST(sizes_are_read_with_binary_and_decimal_units),
        TEST(times_need_a_unit),
        TEST(a_bad_value_is_explained_and_changes_nothing),
        TEST(text_may_not_hold_control_characters),
        TEST(empty_text_is_absent_and_an_empty_secret_is_refused),
        TEST(one_text_replaces_a_list_and_add_appends),
        TEST(pushed_items_have_their_defaults),
        TEST(the_nearest_name_is_found_within_a_third),
        TEST(variables_are_replaced_and_a_missing_one_is_named),
        TEST(yaml_shows_only_what_differs),
        TEST(yaml_of_everything_names_every_row),
        TEST(text_that_looks_like_something_else_is_quoted),
        TEST(numbers_print_as_what_reads_back_the_same),
        TEST(the_manual_says_everything_in_the_rows),
        TEST(writing_stops_at_the_buffers_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

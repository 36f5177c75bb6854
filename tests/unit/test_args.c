/* test_args - command lines against a table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/args.h"

struct opts {
    const char *file;
    double speed;
    uint64_t limit;
    uint64_t memory;
    int64_t duration;
    bool quiet;
    const char *name;
    struct ps_arg_list headers;
    const char *colour;
};

static const char *const colours[] = {"red", "green", NULL};

static const struct ps_arg table[] = {
    {"FILE", PS_ARG_WORD, offsetof(struct opts, file), .required = true},
    {"--speed", PS_ARG_DOUBLE, offsetof(struct opts, speed), "X", "1", .min = 0.5, .max = 10},
    {"--limit", PS_ARG_U64, offsetof(struct opts, limit), "N", .help = "x"},
    {"--memory", PS_ARG_BYTES, offsetof(struct opts, memory), "BYTES", "1KiB", .help = "x"},
    {"--duration", PS_ARG_SPAN, offsetof(struct opts, duration), "D", .help = "x"},
    {"--quiet", PS_ARG_FLAG, offsetof(struct opts, quiet), .help = "x"},
    {"--name", PS_ARG_TEXT, offsetof(struct opts, name), .help = "x"},
    {"--header", PS_ARG_LIST, offsetof(struct opts, headers), .help = "x"},
    {"--colour", PS_ARG_TEXT, offsetof(struct opts, colour), "NAME", "green", .names = colours},
    {0},
};

static const struct ps_command command = {.name = "test", .summary = "A test.", .args = table};

static struct opts opts;

static int parse_with(const struct ps_command *with, char *words)
{
    char *argv[32] = {words};
    int argc = 0;
    char *rest = NULL;
    for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = word;
    }
    return ps_args_parse(with, argc, argv, &opts);
}

#define PARSE(text) parse_with(&command, (char[]){text})

static void both_ways_of_writing_a_value_are_read(void **state)
{
    (void)state;
    assert_int_equal(PARSE("test --speed 2.5 trace --limit=7 --quiet --duration=1m --header a:b "
                           "--header c:d --memory 2MiB --name="), PS_OK);
    assert_string_equal(opts.file, "trace");
    assert_true(opts.speed > 2.49 && opts.speed < 2.51);
    assert_int_equal(opts.limit, 7);
    assert_int_equal(opts.memory, 2 << 20);
    assert_int_equal(opts.duration, PS_MINUTE);
    assert_true(opts.quiet);
    assert_string_equal(opts.name, "");
    assert_int_equal(opts.headers.count, 2);
    assert_string_equal(opts.headers.items[1], "c:d");
}

static void what_is_not_given_has_its_default(void **state)
{
    (void)state;
    memset(&opts, 0xff, sizeof opts);
    assert_int_equal(PARSE("test trace"), PS_OK);
    assert_true(opts.speed > 0.99 && opts.speed < 1.01);
    assert_int_equal(opts.memory, 1024);
    assert_int_equal(opts.limit, 0);
    assert_null(opts.name);
    assert_false(opts.quiet);
    assert_int_equal(opts.headers.count, 0);
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    assert_int_equal(PARSE("test -- --speed"), PS_OK);
    assert_string_equal(opts.file, "--speed");
}

static void mistakes_are_refused(void **state)
{
    (void)state;
    assert_int_equal(PARSE("test"), PS_EINVAL);
    assert_int_equal(PARSE("test a b"), PS_EINVAL);
    assert_int_equal(PARSE("test a --speeed 2"), PS_EINVAL);
    assert_int_equal(PARSE("test a --speed"), PS_EINVAL);
    assert_int_equal(PARSE("test a --speed fast"), PS_EINVAL);
    assert_int_equal(PARSE("test a --speed 11"), PS_EINVAL);
    assert_int_equal(PARSE("test a --limit -1"), PS_EINVAL);
    assert_int_equal(PARSE("test a --quiet=yes"), PS_EINVAL);
    assert_int_equal(PARSE("test a --duration 5"), PS_EINVAL);
    assert_int_equal(PARSE("test a -q"), PS_EINVAL);
}

static void a_named_value_is_one_of_the_names(void **state)
{
    (void)state;
    assert_int_equal(PARSE("test a"), PS_OK);
    assert_string_equal(opts.colour, "green");
    assert_int_equal(PARSE("test a --colour red"), PS_OK);
    assert_string_equal(opts.colour, "red");
    assert_int_equal(PARSE("test a --colour blue"), PS_EINVAL);
    assert_int_equal(PARSE("test a --colour="), PS_EINVAL);
}

static const struct ps_arg *make_rows(void)
{
    return table;
}

static void rows_that_are_made_are_read_alike(void **state)
{
    (void)state;
    const struct ps_command made = {.name = "test", .summary = "A test.", .make_args = make_rows};
    assert_ptr_equal(ps_command_args(&made), table);
    assert_int_equal(parse_with(&made, (char[]){"test trace --limit 7"}), PS_OK);
    assert_int_equal(opts.limit, 7);
}

static void an_exit_status_has_words_of_its_own_or_the_usual_ones(void **state)
{
    (void)state;
    const struct ps_command own = {.name = "test", .failure = "the trace broke off"};
    assert_string_equal(ps_command_status(&own, 0), "it went well");
    assert_string_equal(ps_command_status(&own, 1), "the trace broke off");
    assert_string_equal(ps_command_status(&own, 2), "wrong usage");
    assert_null(ps_command_status(&own, 3));
}

static void help_wins_over_what_is_missing(void **state)
{
    (void)state;
    assert_int_equal(PARSE("test --help"), PS_ECANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_of_writing_a_value_are_read),
        cmocka_unit_test(what_is_not_given_has_its_default),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(a_named_value_is_one_of_the_names),
        cmocka_unit_test(rows_that_are_made_are_read_alike),
        cmocka_unit_test(an_exit_status_has_words_of_its_own_or_the_usual_ones),
        cmocka_unit_test(help_wins_over_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

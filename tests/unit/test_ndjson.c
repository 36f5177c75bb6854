/* ndjson - lines of every cut, and lines that never end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "http/ndjson.h"

/* Feeds the text in pieces of `step` bytes, each in a block of its own; joins the lines with '|'.
 */
static void split(const char *text, size_t step, size_t bound, char *out)
{
    struct ps_ndjson lines;
    struct ps_str rest = ps_str_from(text);
    ps_ndjson_init(&lines, bound);
    out[0] = '\0';
    while (rest.len > 0) {
        struct ps_str piece = ps_str_first(rest, step);
        char *copy = malloc(piece.len);
        assert_non_null(copy);
        memcpy(copy, piece.ptr, piece.len);
        struct ps_str input = {copy, piece.len};
        struct ps_str line;
        while (ps_ndjson_next(&lines, &input, &line)) {
            strncat(out, line.ptr, line.len);
            strcat(out, "|");
        }
        assert_int_equal(input.len, 0);
        free(copy);
        rest = ps_str_skip(rest, piece.len);
    }
    struct ps_str last = ps_ndjson_rest(&lines);
    if (last.len > 0) {
        strncat(out, last.ptr, last.len);
    }
    ps_ndjson_fini(&lines);
}

static void lines_are_the_same_in_every_cut(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *lines;
    } cases[] = {
        {"{\"a\":1}\n{\"b\":2}\n", "{\"a\":1}|{\"b\":2}|"},
        {"{\"a\":1}\r\n\r\n\n{\"b\":2}", "{\"a\":1}|{\"b\":2}"},
        {"\n\n\n", ""},
        {"", ""},
        {"x", "x"},
        {"short\n0123456789012345678901234567890\nagain\n", "short|again|"},
        {"0123456789012345678901234567890", ""},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        for (size_t step = 1; step < 40; step++) {
            char out[128];
            split(cases[i].text, step, 16, out);
            assert_string_equal(out, cases[i].lines);
        }
    }
}

static void an_endless_line_costs_no_memory(void **state)
{
    (void)state;
    struct ps_ndjson lines;
    char piece[1000];
    struct ps_str line;
    memset(piece, 'x', sizeof piece);
    ps_ndjson_init(&lines, 4096);
    for (int i = 0; i < 10000; i++) {
        struct ps_str input = {piece, sizeof piece};
        assert_false(ps_ndjson_next(&lines, &input, &line));
        assert_true(lines.held.cap <= 4096);
    }
    struct ps_str input = PS_STR("\nnext\n");
    assert_true(ps_ndjson_next(&lines, &input, &line));
    assert_true(ps_str_eq(line, PS_STR("next")));
    ps_ndjson_fini(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_the_same_in_every_cut),
        cmocka_unit_test(an_endless_line_costs_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

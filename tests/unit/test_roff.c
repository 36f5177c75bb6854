/* test_roff - texts become manual pages.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/args_complete.h"
#include "base/args_manual.h"
#include "base/roff.h"

static char *written; /* of the page under test */
static size_t length;

static struct ps_roff open_page(void)
{
    FILE *out = open_memstream(&written, &length);
    assert_non_null(out);
    return (struct ps_roff){.out = out};
}

static void expect(struct ps_roff *page, const char *text)
{
    assert_int_equal(fclose(page->out), 0);
    assert_string_equal(written, text);
    free(written);
    written = NULL;
}

static void expect_text(const char *text, const char *roff)
{
    struct ps_roff page = open_page();
    ps_roff_text(&page, ps_str_from(text));
    expect(&page, roff);
}

static void what_roff_would_read_is_escaped(void **state)
{
    (void)state;
    expect_text("--a \\n 'b' \"c\" ~^", "\\-\\-a \\en \\(aqb\\(aq \\(dqc\\(dq \\(ti\\(ha\n");
    expect_text(".TH x", "\\&.TH x\n");
    expect_text("'br", "\\(aqbr\n");
    expect_text("one. .two", "one.\n\\&.two\n");
}

static void marks_change_the_font_and_three_asterisks_do_not(void **state)
{
    (void)state;
    expect_text("a `b c` d", "a \\fBb c\\fR d\n");
    expect_text("a **b** c", "a \\fIb\\fR c\n");
    expect_text("secrets as ***", "secrets as ***\n");
    expect_text("`/v1/**`", "\\fB/v1/**\\fR\n");
    expect_text("never `closed", "never \\fBclosed\\fR\n");
}

static void each_sentence_begins_a_line(void **state)
{
    (void)state;
    expect_text("One. Two!\nThree", "One.\nTwo!\nThree\n");
}

static void paragraphs_lists_and_lines_as_they_are(void **state)
{
    (void)state;
    expect_text("a\n\nb\n\n- c\n  d\n- e\n\nf",
                "a\n.PP\nb\n.IP \\(bu 2\nc d\n.IP \\(bu 2\ne\n.PP\nf\n");
    expect_text("a\n  b  c\n  d\ne", "a\n.PP\n.nf\n  b  c\n  d\n.fi\n.PP\ne\n");
    expect_text("", "");
}

static void no_line_is_longer_than_80_bytes(void **state)
{
    (void)state;
    struct ps_roff page = open_page();
    for (int i = 0; i < 50; i++) {
        ps_roff_text(&page,
                     PS_STR("a word and `--another-one` and **more** of them, `a-b-c` and so on"));
    }
    assert_int_equal(fclose(page.out), 0);
    for (char *line = written; *line != '\0'; line += strcspn(line, "\n") + 1) {
        assert_in_range(strcspn(line, "\n"), 1, 80);
    }
    free(written);
}

static void title_name_heading_and_term(void **state)
{
    (void)state;
    struct ps_roff page = open_page();
    ps_roff_title(&page, "penstock-sim", 1, "1.2", "2025-01-02");
    ps_roff_name(&page, "penstock-sim", "a brief");
    ps_roff_heading(&page, 2, "upstreams[]");
    ps_roff_term(&page, "`--speed` **X**");
    expect(&page, ".TH PENSTOCK\\-SIM 1 \"2025-01-02\" \"Penstock 1.2\"\n"
                  ".SH NAME\npenstock-sim \\- a brief\n"
                  ".SS upstreams[]\n"
                  ".TP\n\\fB\\-\\-speed\\fR \\fIX\\fR\n");
}

/* ---------------------------------------------------------------------------- a whole program */

static const char *const colours[] = {"red", "green", NULL};

static const struct ps_arg paint_args[] = {
    {"FILE", PS_ARG_WORD, 0, .help = "what to paint", .required = true},
    {"--colour", PS_ARG_TEXT, 0, "NAME", "red", .help = "which", .names = colours},
    {"--for", PS_ARG_SPAN, 0, .help = "how long", .min = 1, .max = 60},
    {"--wet", PS_ARG_FLAG, 0, .help = "it's [not] dry: yet"},
    {0},
};

static const struct ps_command paint = {
    .name = "paint",
    .brief = "paints",
    .summary = "Paints a file.",
    .args = paint_args,
    .notes = "Let it dry.",
    .failure = "it fell off",
};

static const struct ps_command *const commands[] = {&paint, NULL};

static const struct ps_program program = {.version = "1.2",
                                          .date = "2025-01-02",
                                          .brief = "a brief",
                                          .summary = "S.",
                                          .files = "F.",
                                          .commands = commands};

static void expect_within(const char *needle)
{
    if (strstr(written, needle) == NULL) {
        fail_msg("not there: %s\nin:\n%s", needle, written);
    }
}

static void a_page_says_all_that_the_rows_say(void **state)
{
    (void)state;
    struct ps_roff page = open_page();
    assert_int_equal(ps_command_manual(&program, &paint, page.out), PS_OK);
    assert_int_equal(fclose(page.out), 0);
    expect_within("\\fBpenstock paint\\fR \\fIFILE\\fR\n[\\fIOPTIONS\\fR]\n");
    expect_within("Paints a file.\n.PP\nLet it dry.\n");
    expect_within("\\fB\\-\\-colour\\fR \\fINAME\\fR\nwhich (default \\fBred\\fR, one of "
                  "\\fBred\\fR, \\fBgreen\\fR)\n");
    expect_within("\\fB\\-\\-for\\fR \\fITIME\\fR\nhow long (at least 1s, at most 1m)\n");
    expect_within("\\fIFILE\\fR\nwhat to paint (required)\n");
    expect_within(".TP\n1\nit fell off\n.TP\n2\nwrong usage\n");
    free(written);
}

static void completion_offers_what_the_rows_say(void **state)
{
    (void)state;
    struct ps_roff page = open_page();
    ps_args_complete_bash(&program, page.out);
    assert_int_equal(fclose(page.out), 0);
    expect_within("paint:--colour:*) _penstock_offer -W 'red green' -- \"$cur\" ;;\n");
    expect_within("    paint:--for:*) ;;\n");
    expect_within("-W '--colour --for --wet --help'");
    free(written);
    page = open_page();
    ps_args_complete_zsh(&program, page.out);
    assert_int_equal(fclose(page.out), 0);
    expect_within("'--colour=[which]:NAME:(red green)'");
    expect_within("'--wet[it'\\''s \\[not\\] dry\\: yet]'");
    expect_within("':FILE:_files'");
    free(written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_roff_would_read_is_escaped),
        cmocka_unit_test(marks_change_the_font_and_three_asterisks_do_not),
        cmocka_unit_test(each_sentence_begins_a_line),
        cmocka_unit_test(paragraphs_lists_and_lines_as_they_are),
        cmocka_unit_test(no_line_is_longer_than_80_bytes),
        cmocka_unit_test(title_name_heading_and_term),
        cmocka_unit_test(a_page_says_all_that_the_rows_say),
        cmocka_unit_test(completion_offers_what_the_rows_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A writer: the pieces in order, until the first that does not fit. */
#include "base/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void pieces_stand_in_order_and_strings_are_escaped(void **state)
{
    (void)state;
    struct ps_buf buf = ps_buf_make(100);
    struct ps_writer out = {&buf, PS_OK};
    ps_writer_text(&out, "{\"a\":");
    ps_writer_string(&out, PS_STR("x\"\n\xff"));
    ps_writer_str(&out, PS_STR(",\"b\":"));
    ps_writer_u64(&out, UINT64_MAX);
    ps_writer_printf(&out, ",\"c\":%.3g}", 0.5);
    assert_int_equal(out.err, PS_OK);
    assert_true(
        ps_str_eq(ps_buf_str(&buf),
                  PS_STR("{\"a\":\"x\\\"\\n\xef\xbf\xbd\",\"b\":18446744073709551615,\"c\":0.5}")));
    ps_buf_fini(&buf);
}

static void the_first_failure_stays_and_nothing_is_written_after_it(void **state)
{
    (void)state;
    struct ps_buf buf = ps_buf_make(4);
    struct ps_writer out = {&buf, PS_OK};
    ps_writer_text(&out, "123");
    ps_writer_text(&out, "45");
    assert_int_equal(out.err, PS_ELIMIT);
    ps_writer_text(&out, "4");
    ps_writer_string(&out, PS_STR(""));
    ps_writer_u64(&out, 4);
    ps_writer_printf(&out, "%d", 4);
    assert_int_equal(out.err, PS_ELIMIT);
    assert_true(ps_str_eq(ps_buf_str(&buf), PS_STR("123")));
    out.err = PS_ENOMEM; /* of somebody else's piece */
    ps_writer_text(&out, "4");
    assert_int_equal(out.err, PS_ENOMEM);
    ps_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_stand_in_order_and_strings_are_escaped),
        cmocka_unit_test(the_first_failure_stays_and_nothing_is_written_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

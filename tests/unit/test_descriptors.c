/* test_descriptors - open descriptors are counted, in both ways, without naming them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "daemon/descriptors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

enum { MORE = 600 }; /* over two questions of poll() */

static void both_ways_agree_and_follow_what_is_opened(void **state)
{
    (void)state;
    int fds[MORE];
    size_t before = 0;
    size_t now = 0;
    assert_int_equal(ps_descriptors_count(&before), PS_OK);
    for (int i = 0; i < MORE; i++) {
        fds[i] = dup(STDOUT_FILENO);
        assert_true(fds[i] >= 0);
    }
    assert_int_equal(ps_descriptors_count(&now), PS_OK);
    assert_int_equal(now, before + MORE);
    assert_int_equal(ps_descriptors_poll(&now), PS_OK);
    assert_int_equal(now, before + MORE);
    for (int i = 0; i < MORE; i++) {
        close(fds[i]);
    }
    assert_int_equal(ps_descriptors_count(&now), PS_OK);
    assert_int_equal(now, before);
    assert_int_equal(ps_descriptors_poll(&now), PS_OK); /* the table stays large */
    assert_int_equal(now, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_agree_and_follow_what_is_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

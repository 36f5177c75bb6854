/* A condition's deadline is on the steady clock, and is waited for. */
#include "base/condition.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void wait_for(ps_span span)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition;
    ps_condition_init(&condition);
    ps_time before = ps_clock_now(&ps_clock_real);
    struct timespec until = ps_condition_deadline(span);
    int late = 0;
    pthread_mutex_lock(&mutex);
    while (late == 0) {
        late = pthread_cond_timedwait(&condition, &mutex, &until);
    }
    pthread_mutex_unlock(&mutex);
    assert_int_equal(late, ETIMEDOUT);
    assert_true(ps_clock_now(&ps_clock_real) - before >= span);
    pthread_cond_destroy(&condition);
}

static void a_deadline_is_waited_for_and_one_that_is_past_is_not(void **state)
{
    (void)state;
    wait_for(3 * PS_MILLISECOND);
    wait_for(0);
    wait_for(-PS_HOUR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deadline_is_waited_for_and_one_that_is_past_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

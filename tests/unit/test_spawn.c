/* A spawned thread hears no signals, and whoever made it hears those that it did. */
#include "base/spawn.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void *read_mask(void *ctx)
{
    pthread_sigmask(SIG_BLOCK, NULL, ctx);
    return ctx;
}

static void a_spawned_thread_hears_no_signals_and_its_maker_as_before(void **state)
{
    (void)state;
    pthread_t thread;
    sigset_t before;
    sigset_t mask;
    void *result;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(ps_spawn(&thread, read_mask, &mask), PS_OK);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &mask);
    assert_true(sigismember(&mask, SIGTERM));
    assert_true(sigismember(&mask, SIGHUP));
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), sigismember(&before, SIGTERM));
    assert_int_equal(sigismember(&mask, SIGHUP), sigismember(&before, SIGHUP));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spawned_thread_hears_no_signals_and_its_maker_as_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

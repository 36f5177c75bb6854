/* test_exec - programs of others: how they end, what they said, and that none outstays its time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/exec.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../helpers/tree.h"
#include "io/loop.h"

#define LONG (60 * PS_SECOND)

struct stage {
    struct ps_loop *loop;
    struct ps_exec *exec;
    unsigned ends;
    struct ps_exec_end end;
    char output[PS_EXEC_KEPT + 1];
};

static void on_end(void *ctx, const struct ps_exec_end *end)
{
    struct stage *stage = ctx;
    stage->ends++;
    stage->end = *end;
    memcpy(stage->output, end->output.ptr, end->output.len);
    stage->output[end->output.len] = '\0';
    ps_loop_stop(stage->loop);
}

static void open_stage(struct stage *stage)
{
    memset(stage, 0, sizeof *stage);
    assert_int_equal(ps_loop_new(&stage->loop, &ps_clock_real), PS_OK);
}

static int run(struct stage *stage, ps_span timeout, const char *const *words)
{
    int err = ps_exec_start(&stage->exec, stage->loop, words, timeout, on_end, stage);
    if (err == PS_OK) {
        ps_loop_run(stage->loop);
    }
    return err;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void ends_and_words_are_told_as_they_are(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    assert_int_equal(run(&stage, LONG, WORDS("sh", "-c", "echo one; echo two >&2; exit 3")), PS_OK);
    assert_int_equal(stage.end.status, 3);
    assert_int_equal(stage.end.signum, 0);
    assert_false(stage.end.late);
    assert_string_equal(stage.output, "one\ntwo\n");
    /* No shell looks at the words. */
    assert_int_equal(run(&stage, LONG, WORDS("printf", "%s", "a b; $(exit 1) '*'")), PS_OK);
    assert_string_equal(stage.output, "a b; $(exit 1) '*'");
    assert_int_equal(run(&stage, LONG, WORDS("sh", "-c", "cat; kill -9 $$")), PS_OK);
    assert_int_equal(stage.end.status, -1);
    assert_int_equal(stage.end.signum, SIGKILL);
    assert_int_equal(stage.ends, 3);
    ps_loop_free(stage.loop);
}

static void of_much_that_is_said_the_last_is_kept(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    assert_int_equal(run(&stage, LONG, WORDS("sh", "-c", "yes abc | head -c 200000; printf end")),
                     PS_OK);
    assert_int_equal(strlen(stage.output), PS_EXEC_KEPT);
    assert_string_equal(stage.output + PS_EXEC_KEPT - 3, "end");
    ps_loop_free(stage.loop);
}

static void what_can_not_be_started_is_an_error(void **state)
{
    struct stage stage;
    struct tree tree;
    char path[128];
    (void)state;
    open_stage(&stage);
    tree_open(&tree);
    tree_put(&tree, "plain", "no program");
    (void)snprintf(path, sizeof path, "%s/plain", tree.root);
    assert_int_equal(run(&stage, LONG, WORDS("/nonexistent/program")), PS_ENOTFOUND);
    assert_int_equal(run(&stage, LONG, WORDS("no-program-is-called-so")), PS_ENOTFOUND);
    assert_int_equal(run(&stage, LONG, WORDS(path)), PS_EDENIED);
    assert_int_equal(stage.ends, 0);
    tree_close(&tree);
    ps_loop_free(stage.loop);
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

/* Orphans are reaped by whoever is first of all processes; a dead one may wait for that. */
static bool is_dead(pid_t pid)
{
    char path[64];
    char line[256] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        (void)!fgets(line, sizeof line, file);
        (void)fclose(file);
    }
    const char *behind = strrchr(line, ')');
    return is_gone(pid) || (behind != NULL && behind[2] == 'Z');
}

static void one_that_takes_too_long_is_killed_with_its_children(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    assert_int_equal(run(&stage, 200 * PS_MILLISECOND,
                         WORDS("sh", "-c", "sleep 1000 & echo $!; trap '' TERM; wait")),
                     PS_OK);
    assert_true(stage.end.late);
    assert_int_equal(stage.end.signum, SIGKILL);
    pid_t child = (pid_t)strtol(stage.output, NULL, 10);
    if (child > 0) { /* a slow machine may not have come so far */
        for (int i = 0; i < 10000 && !is_dead(child); i++) {
            (void)nanosleep(&(const struct timespec){.tv_nsec = 1000000}, NULL);
        }
        assert_true(is_dead(child));
    }
    ps_loop_free(stage.loop);
}

static void one_that_is_cancelled_is_killed_and_says_nothing_more(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    assert_int_equal(
        ps_exec_start(&stage.exec, stage.loop, WORDS("sleep", "1000"), LONG, on_end, &stage),
        PS_OK);
    ps_exec_cancel(stage.exec);
    ps_exec_cancel(NULL);
    ps_loop_free(stage.loop); /* waits for its end */
    assert_int_equal(stage.ends, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_and_words_are_told_as_they_are),
        cmocka_unit_test(of_much_that_is_said_the_last_is_kept),
        cmocka_unit_test(what_can_not_be_started_is_an_error),
        cmocka_unit_test(one_that_takes_too_long_is_killed_with_its_children),
        cmocka_unit_test(one_that_is_cancelled_is_killed_and_says_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

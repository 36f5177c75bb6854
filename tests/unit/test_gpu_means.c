/* test_gpu_means - real programs and real shared memory: limits fall and rise again, a process is
 * stopped and woken, a server is started anew, and failures say what went wrong.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "operate/gpu_means.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../helpers/tree.h"
#include "base/check.h"
#include "io/loop.h"

#define URL "http://127.0.0.1:8000"

struct stage {
    struct tree tree;
    struct ps_loop *loop;
    struct ps_gpu_means *means;
    char program[128], said[128], pid_file[128], kv[64], kv_path[96];
    struct ps_timer timer;
    ps_time give_up;
    unsigned ends;
    enum ps_hook_answer answer;
    char why[PS_GPU_MEANS_WHY];
};

static void on_end(void *ctx, enum ps_hook_answer answer, const char *why)
{
    struct stage *stage = ctx;
    stage->ends++;
    stage->answer = answer;
    (void)snprintf(stage->why, sizeof stage->why, "%s", why);
    ps_loop_stop(stage->loop);
}

static void put_program(struct stage *stage, const char *name, const char *lines)
{
    char path[192];
    char text[512];
    (void)snprintf(text, sizeof text, "#!/bin/sh\necho \"$@\" >>%s\n%s\n", stage->said, lines);
    tree_put(&stage->tree, name, text);
    (void)snprintf(path, sizeof path, "%s/%s", stage->tree.root, name);
    assert_int_equal(chmod(path, 0700), 0);
}

static void set(struct stage *stage, char *kvcached)
{
    char restart[192];
    (void)snprintf(restart, sizeof restart, "%s/restart", stage->tree.root);
    char *words[] = {restart, (char *)(uintptr_t) "my unit"};
    struct ps_server_means_opts server = {.url = (char *)(uintptr_t)URL "/",
                                          .restart = {words, 2},
                                          .pid_file = stage->pid_file,
                                          .kvcached = kvcached};
    struct ps_option_list servers = {&server, 1};
    assert_int_equal(ps_gpu_means_set(stage->means, &servers, stage->program), PS_OK);
}

static int set_up(void **state)
{
    static struct stage stage;
    memset(&stage, 0, sizeof stage);
    tree_open(&stage.tree);
    (void)snprintf(stage.program, sizeof stage.program, "%s/checkpoint", stage.tree.root);
    (void)snprintf(stage.said, sizeof stage.said, "%s/said", stage.tree.root);
    (void)snprintf(stage.pid_file, sizeof stage.pid_file, "%s/pid", stage.tree.root);
    (void)snprintf(stage.kv, sizeof stage.kv, "penstock-test-%d", (int)getpid());
    (void)snprintf(stage.kv_path, sizeof stage.kv_path, "/dev/shm/%s", stage.kv);
    put_program(&stage, "checkpoint", "exit 0");
    put_program(&stage, "restart", "exit 0");
    tree_put(&stage.tree, "pid", "4711\n");
    tree_check(ps_loop_new(&stage.loop, &ps_clock_real) == PS_OK, "loop");
    tree_check(ps_gpu_means_new(&stage.means, stage.loop, on_end, &stage) == PS_OK, "means");
    *state = &stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    ps_gpu_means_free(stage->means);
    ps_loop_free(stage->loop);
    unlink(stage->kv_path);
    tree_close(&stage->tree);
    return 0;
}

static struct ps_optimizer_target look(struct stage *stage)
{
    struct ps_optimizer_target target = {0};
    ps_gpu_means_look(stage->means, URL, &target);
    return target;
}

static void call(struct stage *stage, enum ps_rung rung, ps_span timeout)
{
    const struct ps_hook *hook = ps_hook_find(PS_ADAPTER_COUNT, rung);
    stage->ends = 0;
    assert_int_equal(ps_gpu_means_call(stage->means, URL, hook, timeout), PS_OK);
    assert_int_equal(stage->ends, 0); /* not from inside */
    assert_int_equal(ps_gpu_means_call(stage->means, URL, hook, timeout), PS_EBUSY);
    ps_loop_run(stage->loop);
    assert_int_equal(stage->ends, 1);
}

static void assert_said(struct stage *stage, const char *text)
{
    char got[256] = "";
    FILE *file = fopen(stage->said, "re");
    assert_non_null(file);
    size_t len = fread(got, 1, sizeof got - 1, file);
    (void)fclose(file);
    got[len] = '\0';
    assert_string_equal(got, text);
}

static void write_kv(struct stage *stage, int64_t limit, int64_t used, int64_t ahead, size_t size)
{
    const int64_t numbers[4] = {limit, used, ahead, 0};
    int fd = open(stage->kv_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, numbers, size), size);
    close(fd);
}

static void assert_kv(struct stage *stage, int64_t limit, int64_t used, int64_t ahead)
{
    int64_t numbers[3];
    int fd = open(stage->kv_path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, numbers, sizeof numbers), sizeof numbers);
    close(fd);
    assert_int_equal(numbers[0], limit);
    assert_int_equal(numbers[1], used);
    assert_int_equal(numbers[2], ahead);
}

static void a_server_that_nobody_named_is_left_alone(void **state)
{
    struct stage *stage = *state;
    assert_int_equal(look(stage).means, 0);
    assert_int_equal(ps_gpu_means_call(stage->means, URL,
                                       ps_hook_find(PS_ADAPTER_COUNT, PS_RUNG_RESTART), PS_SECOND),
                     PS_ENOTFOUND);
}

static void a_command_gets_its_words_and_says_how_it_ended(void **state)
{
    struct stage *stage = *state;
    set(stage, NULL);
    assert_int_equal(look(stage).means, 1u << PS_RUNG_CHECKPOINT | 1u << PS_RUNG_RESTART);
    call(stage, PS_RUNG_RESTART, 60 * PS_SECOND);
    assert_int_equal(stage->answer, PS_HOOK_DONE);
    assert_said(stage, "my unit\n");
    put_program(stage, "restart", "echo first; printf 'no such\\033 unit\\n\\n' >&2; exit 4");
    call(stage, PS_RUNG_RESTART, 60 * PS_SECOND);
    assert_int_equal(stage->answer, PS_HOOK_FAILED);
    assert_string_equal(stage->why, "it ended with 4: no such? unit");
    put_program(stage, "restart", "sleep 1000");
    call(stage, PS_RUNG_RESTART, 100 * PS_MILLISECOND);
    assert_int_equal(stage->answer, PS_HOOK_FAILED);
    assert_string_equal(stage->why, "it was killed: its time was up");
}

static void a_process_is_stopped_and_woken_and_another_one_is_not_it(void **state)
{
    struct stage *stage = *state;
    set(stage, NULL);
    call(stage, PS_RUNG_CHECKPOINT, 60 * PS_SECOND);
    assert_int_equal(stage->answer, PS_HOOK_DONE);
    assert_true(look(stage).stopped);
    set(stage, NULL); /* a reload forgets nothing */
    assert_true(look(stage).stopped);
    assert_true((look(stage).means & 1u << PS_RUNG_WAKE) != 0);
    assert_int_equal(ps_gpu_means_call(stage->means, URL,
                                       ps_hook_find(PS_ADAPTER_COUNT, PS_RUNG_CHECKPOINT),
                                       PS_SECOND),
                     PS_EBUSY); /* a second toggle would wake it */
    put_program(stage, "checkpoint", "exit 1");
    call(stage, PS_RUNG_WAKE, 60 * PS_SECOND);
    assert_int_equal(stage->answer, PS_HOOK_FAILED);
    assert_true(look(stage).stopped);
    put_program(stage, "checkpoint", "exit 0");
    call(stage, PS_RUNG_WAKE, 60 * PS_SECOND);
    assert_false(look(stage).stopped);
    assert_said(stage, "--toggle --pid 4711\n--toggle --pid 4711\n--toggle --pid 4711\n");
    call(stage, PS_RUNG_CHECKPOINT, 60 * PS_SECOND);
    tree_put(&stage->tree, "pid", "4712");
    assert_false(look(stage).stopped);
    for (size_t i = 0; i < 4; i++) {
        static const char *const bad[] = {"", "1", "-5", "12 34"};
        tree_put(&stage->tree, "pid", bad[i]);
        assert_int_equal(ps_gpu_means_call(stage->means, URL,
                                           ps_hook_find(PS_ADAPTER_COUNT, PS_RUNG_CHECKPOINT),
                                           PS_SECOND),
                         PS_ENOTFOUND);
    }
}

static void a_limit_falls_to_what_is_used_and_rises_again(void **state)
{
    struct stage *stage = *state;
    set(stage, stage->kv);
    assert_false(look(stage).spare.known);
    write_kv(stage, 8000, 2000, 3000, 24);
    assert_true(look(stage).spare.value == 3000);
    call(stage, PS_RUNG_KV_LIMIT, PS_SECOND);
    assert_int_equal(stage->answer, PS_HOOK_DONE);
    assert_kv(stage, 2000, 2000, 3000);
    write_kv(stage, 2000, 100, 300, 24); /* never to nothing: an eighth of what it was */
    assert_true(look(stage).limited && look(stage).spare.value == 0);
    call(stage, PS_RUNG_KV_LIMIT, PS_SECOND);
    assert_kv(stage, 1000, 100, 300);
    call(stage, PS_RUNG_WAKE, PS_SECOND);
    assert_kv(stage, 8000, 100, 300);
    assert_false(look(stage).limited);
}

static void memory_of_another_shape_is_not_written(void **state)
{
    struct stage *stage = *state;
    set(stage, stage->kv);
    write_kv(stage, 8000, 2000, 3000, 32); /* the revisioned one */
    assert_false(look(stage).spare.known);
    call(stage, PS_RUNG_KV_LIMIT, PS_SECOND);
    assert_int_equal(stage->answer, PS_HOOK_FAILED);
    assert_non_null(strstr(stage->why, "not that of a kvcached"));
    write_kv(stage, -1, 2000, 3000, 24);
    assert_false(look(stage).spare.known);
    write_kv(stage, 8000, 2000, 3000, 24);
    int fd = open(stage->kv_path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    call(stage, PS_RUNG_KV_LIMIT, PS_SECOND);
    assert_int_equal(stage->answer, PS_HOOK_BUSY);
    close(fd);
    assert_kv(stage, 8000, 2000, 3000);
    set(stage, (char *)(uintptr_t) "../etc/passwd");
    assert_false(look(stage).spare.known);
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct stage *stage = PS_CONTAINER_OF(timer, struct stage, timer);
    if (look(stage).stopped || now > stage->give_up) {
        ps_loop_stop(stage->loop);
    } else {
        assert_int_equal(ps_timer_set(stage->loop, timer, now + PS_MILLISECOND), PS_OK);
    }
}

static void what_is_not_waited_for_goes_on_to_its_end(void **state)
{
    struct stage *stage = *state;
    const struct ps_hook *hook = ps_hook_find(PS_ADAPTER_COUNT, PS_RUNG_CHECKPOINT);
    set(stage, NULL);
    put_program(stage, "checkpoint", "sleep 0.1");
    assert_int_equal(ps_gpu_means_call(stage->means, URL, hook, 60 * PS_SECOND), PS_OK);
    ps_gpu_means_ignore(stage->means);
    stage->timer.on_time = on_time;
    stage->give_up = ps_loop_now(stage->loop) + 30 * PS_SECOND;
    assert_int_equal(ps_timer_set(stage->loop, &stage->timer, 0), PS_OK);
    ps_loop_run(stage->loop);
    assert_true(look(stage).stopped);
    assert_int_equal(stage->ends, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_server_that_nobody_named_is_left_alone),
        T(a_command_gets_its_words_and_says_how_it_ended),
        T(a_process_is_stopped_and_woken_and_another_one_is_not_it),
        T(a_limit_falls_to_what_is_used_and_rises_again),
        T(memory_of_another_shape_is_not_written),
        T(what_is_not_waited_for_goes_on_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

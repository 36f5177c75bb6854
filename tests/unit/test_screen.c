/* test_screen - lines that are rewritten in place, on a terminal that others use, too.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "cli/screen.h"

/* A session of its own whose terminal is `path`; the story is told there. */
static pid_t in_terminal(const char *path, void story(FILE *terminal))
{
    pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    (void)setsid();
    signal(SIGTTOU, SIG_IGN);
    FILE *terminal = fopen(path, "r+");
    bool good = terminal != NULL && ioctl(fileno(terminal), TIOCSCTTY, 0) == 0 &&
                tcsetpgrp(fileno(terminal), getpgrp()) == 0 && setenv("TERM", "xterm", 1) == 0;
    if (good) {
        story(terminal);
    }
    _exit(good ? 0 : 1);
}

/* What the story wrote, until the terminal was closed. */
static void watch(void story(FILE *terminal), char *seen, size_t size)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master) == 0 && unlockpt(master) == 0, 1);
    pid_t pid = in_terminal(ptsname(master), story);
    size_t len = 0;
    ssize_t got;
    while (len + 1 < size && (got = read(master, seen + len, size - 1 - len)) > 0) {
        len += (size_t)got;
    }
    seen[len] = '\0';
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(master);
}

static void two_pictures(FILE *terminal)
{
    struct ps_screen screen;
    ps_screen_init(&screen, terminal);
    ps_screen_draw(&screen, PS_STR("first\n"));
    ps_screen_draw(&screen, PS_STR("second\n"));
}

static void a_picture_takes_the_place_of_the_one_before(void **state)
{
    char seen[512];
    (void)state;
    watch(two_pictures, seen, sizeof seen);
    assert_string_equal(seen, "first\x1b[K\r\n\x1b[J\r\x1b[1Asecond\x1b[K\r\n\x1b[J");
}

/* Another job has the terminal, then it is given back. */
static void three_pictures_one_of_them_behind(FILE *terminal)
{
    struct ps_screen screen;
    ps_screen_init(&screen, terminal);
    ps_screen_draw(&screen, PS_STR("first\n"));
    pid_t other = fork();
    if (other == 0) {
        pause();
    }
    PS_CHECK(setpgid(other, other) == 0 && tcsetpgrp(fileno(terminal), other) == 0);
    ps_screen_draw(&screen, PS_STR("second\n"));
    ps_screen_wipe(&screen);
    PS_CHECK(tcsetpgrp(fileno(terminal), getpgrp()) == 0);
    ps_screen_draw(&screen, PS_STR("third\n"));
    kill(other, SIGKILL);
    (void)waitpid(other, NULL, 0);
}

static void a_job_in_the_background_draws_nothing(void **state)
{
    char seen[512];
    (void)state;
    watch(three_pictures_one_of_them_behind, seen, sizeof seen);
    assert_string_equal(seen, "first\x1b[K\r\n\x1b[Jthird\x1b[K\r\n\x1b[J");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_takes_the_place_of_the_one_before),
        cmocka_unit_test(a_job_in_the_background_draws_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* child - see child.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_SHOWN 2048
#define SELF "/proc/self/exe"

/* In the new process, before it is another program: async-signal-safe calls only. */
static void become(pid_t parent, int log, const char *program, bool self, char *const *argv)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(126); /* the parent was gone before the line above */
    }
    (void)setpgid(0, 0);
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0) {
        _exit(126);
    }
    if (nothing > STDERR_FILENO) {
        close(nothing);
    }
    execv(program, argv);
    if (self) {
        execv(SELF, argv); /* the file was replaced or removed meanwhile */
    }
    _exit(127);
}

static int start(struct ps_child *child, const char *name, const char *program, bool self,
                 char *const *argv, const char *log)
{
    memset(child, 0, sizeof *child);
    snprintf(child->name, sizeof child->name, "%s", name);
    snprintf(child->log, sizeof child->log, "%s", log);
    int file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) {
        return ps_err_from_errno(errno);
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        become(parent, file, program, self, argv);
    }
    close(file);
    if (pid < 0) {
        return PS_ELIMIT;
    }
    child->pid = pid;
    child->running = true;
    return PS_OK;
}

int ps_child_start(struct ps_child *child, const char *name, char *const *argv, const char *log)
{
    /* By its own path, so that lists of processes show the program's name and not "exe". */
    char program[4096];
    ssize_t len = readlink(SELF, program, sizeof program - 1);
    program[len < 0 ? 0 : len] = '\0';
    return start(child, name, program, true, argv, log);
}

int ps_child_start_program(struct ps_child *child, const char *name, const char *program,
                           char *const *argv, const char *log)
{
    return start(child, name, program, false, argv, log);
}

bool ps_child_poll(struct ps_child *child)
{
    if (child->running && waitpid(child->pid, &child->status, WNOHANG) == child->pid) {
        child->running = false;
    }
    return child->running;
}

void ps_child_signal(struct ps_child *child, int signum)
{
    if (child->running) {
        (void)kill(child->pid, signum);
    }
}

static bool any_running(struct ps_child *children, size_t count)
{
    bool running = false;
    for (size_t i = 0; i < count; i++) {
        running = ps_child_poll(&children[i]) || running;
    }
    return running;
}

static void signal_all(struct ps_child *children, size_t count, int signum)
{
    for (size_t i = 0; i < count; i++) {
        ps_child_signal(&children[i], signum);
    }
}

void ps_child_end_all(struct ps_child *children, size_t count, ps_span grace)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    ps_time deadline = ps_clock_now(&ps_clock_real) + grace;
    signal_all(children, count, SIGTERM);
    while (any_running(children, count) && ps_clock_now(&ps_clock_real) < deadline) {
        nanosleep(&pause, NULL);
    }
    signal_all(children, count, SIGKILL);
    while (any_running(children, count)) {
        nanosleep(&pause, NULL);
    }
}

const char *ps_child_end_text(const struct ps_child *child, char *text, size_t size)
{
    if (WIFSIGNALED(child->status)) {
        snprintf(text, size, "was killed by signal %d", WTERMSIG(child->status));
    } else {
        snprintf(text, size, "ended with status %d", WEXITSTATUS(child->status));
    }
    return text;
}

void ps_child_print_log(const struct ps_child *child, FILE *out)
{
    char tail[LOG_SHOWN];
    FILE *file = fopen(child->log, "re");
    if (file == NULL) {
        return;
    }
    if (fseek(file, -(long)sizeof tail, SEEK_END) != 0) {
        rewind(file); /* it is shorter than that */
    }
    size_t len = fread(tail, 1, sizeof tail, file);
    fclose(file);
    fwrite(tail, 1, len, out);
}

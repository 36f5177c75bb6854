#include "io/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "io/loop.h"

enum { ROOM = 1024 };

struct ps_exec {
    uv_process_t process;
    uv_pipe_t pipe; /* what it says */
    struct ps_loop *loop;
    struct ps_timer timer;
    ps_exec_fn *on_end; /* NULL: cancelled */
    void *ctx;
    unsigned handles; /* that are not closed yet */
    bool exited, quiet;
    bool started;
    struct ps_exec_end end;
    char room[ROOM];
    char kept[PS_EXEC_KEPT];
    size_t kept_len;
};

/* --- its end ---------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct ps_exec *exec = handle->data;
    if (--exec->handles == 0) {
        free(exec);
    }
}

static void release(struct ps_exec *exec)
{
    ps_timer_clear(exec->loop, &exec->timer);
    uv_close((uv_handle_t *)&exec->pipe, on_closed);
    uv_close((uv_handle_t *)&exec->process, on_closed);
}

static void kill_all(struct ps_exec *exec)
{
    if (exec->started && !exec->exited) {
        kill(-exec->process.pid, SIGKILL); /* the group: it may have children */
    }
}

/* Over once it has ended and said all; a grandchild that keeps the pipe is not waited for. */
static void consider_end(struct ps_exec *exec)
{
    if (!exec->exited || (!exec->quiet && !exec->end.late)) {
        return;
    }
    exec->end.output = (struct ps_str){exec->kept, exec->kept_len};
    if (exec->on_end != NULL) {
        exec->on_end(exec->ctx, &exec->end);
    }
    exec->on_end = NULL;
    release(exec);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signum)
{
    struct ps_exec *exec = process->data;
    exec->exited = true;
    exec->end.status = signum != 0 ? -1 : (int)status;
    exec->end.signum = signum;
    consider_end(exec);
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_exec *exec = PS_CONTAINER_OF(timer, struct ps_exec, timer);
    (void)now;
    exec->end.late = true;
    kill_all(exec);
    consider_end(exec);
}

/* --- what it says ----------------------------------------------------------------------------- */

static void keep(struct ps_exec *exec, const char *bytes, size_t len)
{
    if (len > PS_EXEC_KEPT) {
        bytes += len - PS_EXEC_KEPT;
        len = PS_EXEC_KEPT;
    }
    size_t over = exec->kept_len + len > PS_EXEC_KEPT ? exec->kept_len + len - PS_EXEC_KEPT : 0;
    memmove(exec->kept, exec->kept + over, exec->kept_len - over);
    memcpy(exec->kept + exec->kept_len - over, bytes, len);
    exec->kept_len += len - over;
}

static void on_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
    struct ps_exec *exec = handle->data;
    (void)wanted;
    *out = uv_buf_init(exec->room, ROOM);
}

static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct ps_exec *exec = stream->data;
    if (n > 0) {
        keep(exec, bytes->base, (size_t)n);
    } else if (n < 0) {
        exec->quiet = true;
        uv_read_stop(stream);
        consider_end(exec);
    }
}

/* --- its start -------------------------------------------------------------------------------- */

/* Both of its outputs go into one pipe, so that what it says stays in order. */
static int spawn(struct ps_exec *exec, uv_loop_t *uv, const char *const *words)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return ps_err_from_errno(errno);
    }
    uv_stdio_container_t stdio[] = {{.flags = UV_IGNORE},
                                    {.flags = UV_INHERIT_FD, .data.fd = ends[1]},
                                    {.flags = UV_INHERIT_FD, .data.fd = ends[1]}};
    uv_process_options_t opts = {.file = words[0],
                                 .args = (char **)(uintptr_t)words,
                                 .exit_cb = on_exit_of,
                                 .flags = UV_PROCESS_DETACHED,
                                 .stdio_count = 3,
                                 .stdio = stdio};
    int error = uv_spawn(uv, &exec->process, &opts);
    exec->started = error == 0;
    close(ends[1]);
    if (uv_pipe_open(&exec->pipe, ends[0]) != 0) {
        close(ends[0]);
        return PS_EIO;
    }
    return error == 0 ? PS_OK : ps_err_from_errno(-error);
}

/* Whatever could not be started goes; what was, when its end is known. */
static void give_up(struct ps_exec *exec)
{
    exec->on_end = NULL;
    exec->end.late = true;
    if (exec->started) {
        kill_all(exec);
    } else {
        release(exec);
    }
}

int ps_exec_start(struct ps_exec **out, struct ps_loop *loop, const char *const *words,
                  ps_span timeout, ps_exec_fn *on_end, void *ctx)
{
    uv_loop_t *uv = ps_loop_uv(loop);
    struct ps_exec *exec = calloc(1, sizeof *exec);
    if (exec == NULL) {
        return PS_ENOMEM;
    }
    *exec = (struct ps_exec){.loop = loop, .on_end = on_end, .ctx = ctx, .handles = 2};
    exec->timer.on_time = on_time;
    exec->process.data = exec;
    exec->pipe.data = exec;
    uv_pipe_init(uv, &exec->pipe, 0);
    int err = spawn(exec, uv, words); /* makes the handle, whatever becomes of it */
    err = err != PS_OK || uv_read_start((uv_stream_t *)&exec->pipe, on_room, on_bytes) == 0
              ? err
              : PS_EIO;
    err = err != PS_OK ? err : ps_timer_set(loop, &exec->timer, ps_loop_now(loop) + timeout);
    if (err != PS_OK) {
        give_up(exec);
        return err;
    }
    *out = exec;
    return PS_OK;
}

void ps_exec_cancel(struct ps_exec *exec)
{
    if (exec != NULL) {
        ps_timer_clear(exec->loop, &exec->timer);
        give_up(exec);
    }
}

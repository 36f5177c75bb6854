#include "operate/gpu_means.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "io/exec.h"
#include "io/loop.h"

enum { MOST_WORDS = 32 };

/* clang-format off */
const struct ps_option ps_server_means_options[] = {
    PS_OPTION_ROW(ps_server_means_opts, url, STRING, NULL,
     "the server, as an endpoint or a source has it", .required = true),
    PS_OPTION_ROW(ps_server_means_opts, restart, STRINGS, NULL,
     "a command that starts it anew, word by word (no shell): `[systemctl, restart, vllm]`"),
    PS_OPTION_ROW(ps_server_means_opts, pid_file, STRING, NULL,
     "a file with the id of the one process that has the device, for `checkpoint`", .path = true),
    PS_OPTION_ROW(ps_server_means_opts, kvcached, STRING, NULL,
     "the name of kvcached's shared memory in /dev/shm, for `kv_limit`"),
    {0},
};
/* clang-format on */

struct server {
    char *url;
    char **restart; /* NULL-terminated; NULL = none */
    char *pid_file;
    char *kvcached;
    int stopped;  /* the process that was checkpointed from here; 0 = none */
    int64_t full; /* the cache's limit before it was lowered from here; 0 = it was not */
};

struct ps_gpu_means {
    struct ps_loop *loop;
    ps_gpu_means_fn *on_end;
    void *ctx;
    struct server *servers;
    size_t count;
    char *program; /* cuda-checkpoint */

    /* under way */
    struct ps_exec *exec;
    struct ps_task task; /* the end of what took no time */
    bool heard;
    enum ps_hook_means what;
    char *url; /* of the server; a reload may drop it meanwhile */
    int pid;
    enum ps_hook_answer answer;
    char why[PS_GPU_MEANS_WHY];
};

/* What kvcached and its tools share; csrc/inc/mem_info_tracker.hpp. */
struct kv_memory {
    int64_t limit;
    int64_t used;
    int64_t ahead;
};
static_assert(sizeof(struct kv_memory) == 24, "another size is another version");

/* --- servers ---------------------------------------------------------------------------------- */

static void free_server(struct server *server)
{
    for (size_t i = 0; server->restart != NULL && server->restart[i] != NULL; i++) {
        free(server->restart[i]);
    }
    free(server->restart);
    free(server->url);
    free(server->pid_file);
    free(server->kvcached);
    *server = (struct server){0};
}

static void free_servers(struct server *servers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free_server(&servers[i]);
    }
    free(servers);
}

/* With or without a slash at the end. */
static bool same_url(const char *a, const char *b)
{
    struct ps_str left = ps_str_from(a);
    struct ps_str right = ps_str_from(b);
    left.len -= ps_str_ends_with(left, PS_STR("/")) ? 1 : 0;
    right.len -= ps_str_ends_with(right, PS_STR("/")) ? 1 : 0;
    return ps_str_ieq(left, right);
}

static struct server *find(const struct ps_gpu_means *means, const char *url)
{
    for (size_t i = 0; i < means->count; i++) {
        if (same_url(means->servers[i].url, url)) {
            return &means->servers[i];
        }
    }
    return NULL;
}

static char *copy(const char *text)
{
    return text == NULL || text[0] == '\0' ? NULL : strdup(text);
}

static int copy_words(const struct ps_option_strings *from, char ***out)
{
    size_t count = from->count < MOST_WORDS ? from->count : MOST_WORDS;
    if (count == 0) {
        return PS_OK;
    }
    *out = calloc(count + 1, sizeof **out);
    for (size_t i = 0; *out != NULL && i < count; i++) {
        (*out)[i] = strdup(from->items[i]);
        if ((*out)[i] == NULL) {
            return PS_ENOMEM;
        }
    }
    return *out == NULL ? PS_ENOMEM : PS_OK;
}

static int copy_server(const struct ps_gpu_means *means, const struct ps_server_means_opts *from,
                       struct server *to)
{
    const struct server *before = find(means, from->url);
    to->url = strdup(from->url);
    to->pid_file = copy(from->pid_file);
    to->kvcached = copy(from->kvcached);
    to->stopped = before == NULL ? 0 : before->stopped;
    to->full = before == NULL ? 0 : before->full;
    int err = copy_words(&from->restart, &to->restart);
    return to->url == NULL ? PS_ENOMEM : err;
}

int ps_gpu_means_set(struct ps_gpu_means *means, const struct ps_option_list *servers,
                     const char *program)
{
    const struct ps_server_means_opts *opts = servers->items;
    struct server *copies = calloc(servers->count + 1, sizeof *copies);
    char *path = strdup(program == NULL ? "cuda-checkpoint" : program);
    int err = copies == NULL || path == NULL ? PS_ENOMEM : PS_OK;
    for (size_t i = 0; i < servers->count && err == PS_OK; i++) {
        err = copy_server(means, &opts[i], &copies[i]);
    }
    if (err != PS_OK) {
        free_servers(copies, copies == NULL ? 0 : servers->count);
        free(path);
        return err;
    }
    free_servers(means->servers, means->count);
    free(means->program);
    means->servers = copies;
    means->count = servers->count;
    means->program = path;
    return PS_OK;
}

/* --- a process -------------------------------------------------------------------------------- */

/* The number in the file; 0: there is none that could be a process. */
static int read_pid(const char *path)
{
    char text[32];
    uint64_t pid = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0) {
        close(fd);
    }
    struct ps_str digits = {text, n > 0 ? (size_t)n : 0};
    digits = ps_str_trim(ps_str_first(digits, ps_str_find(digits, '\n')));
    return ps_str_to_u64(digits, &pid) == PS_OK && pid > 1 && pid < INT32_MAX ? (int)pid : 0;
}

/* Another process is one that nobody stopped. */
static bool is_stopped(const struct server *server)
{
    return server->stopped != 0 && server->pid_file != NULL &&
           read_pid(server->pid_file) == server->stopped;
}

/* --- kvcached --------------------------------------------------------------------------------- */

static int refuse(struct ps_gpu_means *means, enum ps_hook_answer answer, const char *why)
{
    means->answer = answer;
    snprintf(means->why, sizeof means->why, "%s", why);
    return PS_EIO;
}

/* Opens the memory; *out is what is in it. The descriptor, or -1 with the reason in errno (0: it is
 * not what we know). */
static int open_kv(const char *name, int flags, struct kv_memory *out)
{
    char path[256];
    struct stat info;
    errno = 0;
    int len = snprintf(path, sizeof path, "/dev/shm/%s", name);
    if (strchr(name, '/') != NULL || name[0] == '.' || len < 0 || (size_t)len >= sizeof path) {
        return -1;
    }
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return -1;
    }
    bool fits = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
                info.st_size == (off_t)sizeof *out && pread(fd, out, sizeof *out, 0) == sizeof *out;
    if (!fits || out->limit <= 0 || out->used < 0 || out->ahead < 0) {
        close(fd);
        errno = 0;
        return -1;
    }
    return fd;
}

/* The limit falls to what is in use, and never to nothing: somebody is to be served afterwards. */
static int64_t low_limit(const struct server *server, const struct kv_memory *memory)
{
    int64_t least = (server->full > 0 ? server->full : memory->limit) / 8;
    int64_t low = memory->used > least ? memory->used : least;
    return low < memory->limit ? low : memory->limit;
}

/* What lies ahead of the requests and would go. Unknown where nothing can be read. */
static struct ps_device_reading spare_of(const struct server *server)
{
    struct kv_memory memory;
    int fd = server->kvcached == NULL ? -1 : open_kv(server->kvcached, O_RDONLY, &memory);
    if (fd < 0) {
        return (struct ps_device_reading){0};
    }
    close(fd);
    double over = (double)memory.used + (double)memory.ahead - (double)low_limit(server, &memory);
    return ps_device_known(over > 0 ? over : 0);
}

/* Changes the first number and keeps the others, under the lock that kvcached takes. */
static int write_limit(struct ps_gpu_means *means, struct server *server, bool raise)
{
    struct kv_memory memory;
    int fd = open_kv(server->kvcached, O_RDWR, &memory);
    if (fd < 0) {
        return refuse(means, PS_HOOK_FAILED,
                      errno == 0 ? "its shared memory is not that of a kvcached that is known"
                                 : strerror(errno));
    }
    int err = PS_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        err = refuse(means, PS_HOOK_BUSY, "its shared memory is locked");
    } else if (pread(fd, &memory, sizeof memory, 0) != sizeof memory) {
        err = refuse(means, PS_HOOK_FAILED, "its shared memory can't be read");
    } else {
        int64_t limit = raise ? server->full : low_limit(server, &memory);
        if (pwrite(fd, &limit, sizeof limit, 0) != sizeof limit) {
            err = refuse(means, PS_HOOK_FAILED, strerror(errno));
        } else {
            server->full = raise ? 0 : server->full > 0 ? server->full : memory.limit;
        }
    }
    close(fd); /* and with it the lock */
    return err;
}

/* --- looking ---------------------------------------------------------------------------------- */

void ps_gpu_means_look(struct ps_gpu_means *means, const char *url,
                       struct ps_optimizer_target *target)
{
    const struct server *server = find(means, url);
    if (server == NULL) {
        return;
    }
    target->spare = spare_of(server);
    target->stopped = is_stopped(server);
    target->limited = server->full > 0;
    bool undo = target->stopped || target->limited;
    target->means = (target->spare.known ? 1u << PS_RUNG_KV_LIMIT : 0) |
                    (server->pid_file != NULL ? 1u << PS_RUNG_CHECKPOINT : 0) |
                    (server->restart != NULL ? 1u << PS_RUNG_RESTART : 0) |
                    (undo ? 1u << PS_RUNG_WAKE : 0);
}

/* --- doing ------------------------------------------------------------------------------------ */

static void finish(struct ps_gpu_means *means)
{
    free(means->url);
    means->url = NULL;
    if (means->heard) {
        means->heard = false;
        means->on_end(means->ctx, means->answer, means->why);
    }
}

static void on_task(struct ps_task *task)
{
    finish(PS_CONTAINER_OF(task, struct ps_gpu_means, task));
}

/* The last line of what a program said, in characters that a log may have. */
static void take_words(struct ps_gpu_means *means, const struct ps_exec_end *end)
{
    struct ps_str text = end->output;
    while (text.len > 0 && (unsigned char)text.ptr[text.len - 1] <= ' ') {
        text.len--;
    }
    for (size_t n; (n = ps_str_find(text, '\n')) < text.len;) {
        text = ps_str_skip(text, n + 1);
    }
    char line[96];
    size_t len = text.len < sizeof line - 1 ? text.len : sizeof line - 1;
    for (size_t i = 0; i < len; i++) {
        line[i] = text.ptr[i] >= ' ' && text.ptr[i] < 127 ? text.ptr[i] : '?';
    }
    line[len] = '\0';
    if (end->late) {
        snprintf(means->why, sizeof means->why, "it was killed: its time was up");
    } else if (end->signum != 0) {
        snprintf(means->why, sizeof means->why, "signal %d ended it", end->signum);
    } else {
        snprintf(means->why, sizeof means->why, "it ended with %d%s%s", end->status,
                 len > 0 ? ": " : "", line);
    }
}

static void note_done(struct ps_gpu_means *means)
{
    struct server *server = find(means, means->url);
    if (server != NULL && means->what == PS_HOOK_TOGGLES) {
        server->stopped = server->stopped == means->pid ? 0 : means->pid;
    } else if (server != NULL) {
        server->stopped = 0; /* started anew */
        server->full = 0;
    }
}

static void on_exec_end(void *ctx, const struct ps_exec_end *end)
{
    struct ps_gpu_means *means = ctx;
    means->exec = NULL;
    bool done = end->status == 0 && !end->late;
    means->answer = done ? PS_HOOK_DONE : PS_HOOK_FAILED;
    means->why[0] = '\0';
    if (done) {
        note_done(means);
    } else {
        take_words(means, end);
    }
    finish(means);
}

static int run(struct ps_gpu_means *means, const char *const *words, ps_span timeout)
{
    return ps_exec_start(&means->exec, means->loop, words, timeout, on_exec_end, means);
}

static int toggle(struct ps_gpu_means *means, const struct server *server, ps_span timeout)
{
    char pid[16];
    means->pid = server->pid_file == NULL ? 0 : read_pid(server->pid_file);
    if (means->pid == 0) {
        return PS_ENOTFOUND;
    }
    snprintf(pid, sizeof pid, "%d", means->pid);
    const char *const words[] = {means->program, "--toggle", "--pid", pid, NULL};
    return run(means, words, timeout);
}

/* Takes no time, and is over at the end of this turn. */
static int limit(struct ps_gpu_means *means, struct server *server, bool raise)
{
    means->answer = PS_HOOK_DONE;
    means->why[0] = '\0';
    PS_IGNORE(write_limit(means, server, raise)); /* says so in answer */
    ps_loop_defer(means->loop, &means->task);
    return PS_OK;
}

static int begin(struct ps_gpu_means *means, struct server *server, const struct ps_hook *hook,
                 ps_span timeout)
{
    bool stopped = is_stopped(server);
    means->what = hook->means;
    switch (hook->means) {
    case PS_HOOK_LIMITS:
        return limit(means, server, false);
    case PS_HOOK_RUNS:
        return run(means, (const char *const *)server->restart, timeout);
    case PS_HOOK_TOGGLES:
        return stopped ? PS_EBUSY : toggle(means, server, timeout);
    case PS_HOOK_UNDOES:
        means->what = PS_HOOK_TOGGLES;
        return stopped ? toggle(means, server, timeout) : limit(means, server, true);
    case PS_HOOK_ASKS:
        break;
    }
    return PS_EINVAL;
}

int ps_gpu_means_call(struct ps_gpu_means *means, const char *url, const struct ps_hook *hook,
                      ps_span timeout)
{
    struct server *server = find(means, url);
    if (server == NULL || means->url != NULL) {
        return server == NULL ? PS_ENOTFOUND : PS_EBUSY;
    }
    means->url = strdup(url);
    int err = means->url == NULL ? PS_ENOMEM : begin(means, server, hook, timeout);
    means->heard = err == PS_OK;
    if (err != PS_OK) {
        free(means->url);
        means->url = NULL;
    }
    return err;
}

void ps_gpu_means_ignore(struct ps_gpu_means *means)
{
    means->heard = false;
}

/* --- life ------------------------------------------------------------------------------------- */

int ps_gpu_means_new(struct ps_gpu_means **out, struct ps_loop *loop, ps_gpu_means_fn *on_end,
                     void *ctx)
{
    struct ps_gpu_means *means = calloc(1, sizeof *means);
    if (means == NULL) {
        return PS_ENOMEM;
    }
    means->loop = loop;
    means->on_end = on_end;
    means->ctx = ctx;
    means->task.on_turn = on_task;
    *out = means;
    return PS_OK;
}

void ps_gpu_means_free(struct ps_gpu_means *means)
{
    if (means != NULL) {
        ps_exec_cancel(means->exec);
        ps_task_clear(&means->task);
        free_servers(means->servers, means->count);
        free(means->program);
        free(means->url);
        free(means);
    }
}

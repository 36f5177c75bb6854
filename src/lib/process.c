#include "lib/process.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "version.h"

/* A thread's own, as errno is. */
static _Thread_local char last_error[512];

/* shared, atomic. A library has no other place for it than the process. */
static _Atomic unsigned generation;

static void on_child(void)
{
    atomic_fetch_add(&generation, 1);
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, on_child);
}

unsigned ps_process_generation(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, watch_forks);
    return atomic_load(&generation);
}

int ps_process_fail(int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(last_error, sizeof last_error, format, args);
    va_end(args);
    return err;
}

int ps_process_no_memory(void)
{
    return ps_process_fail(PS_ENOMEM, "%s", ps_err_text(PS_ENOMEM));
}

const char *ps_last_error(void)
{
    return last_error;
}

const char *ps_strerror(int err)
{
    return ps_err_text(err);
}

void ps_free(void *memory)
{
    free(memory);
}

const char *ps_version(void)
{
    return PS_VERSION;
}

#include "lib/instance.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/err.h"
#include "penstock/penstock.h"

/* What the promise of one for all needs a global for. Under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ps_instance *latest;

static void lock_all(void)
{
    pthread_mutex_lock(&lock);
}

static void unlock_all(void)
{
    pthread_mutex_unlock(&lock);
}

/* Takes the latest that was made out, which is freed without the lock. NULL: there is none. */
static void *take(void (**end)(void *object))
{
    struct ps_instance *instance = latest;
    void *object = NULL;
    if (instance != NULL) {
        object = instance->object;
        *end = instance->end;
        instance->object = NULL;
        latest = instance->next;
    }
    return object;
}

/* Threads and locks of the parent's are not there in a child: its objects are left where they are.
 */
static void forget_all(void)
{
    void (*end)(void *object);
    while (take(&end) != NULL) {
    }
    unlock_all();
}

/* A child must not find the lock held by a thread that it does not have. */
static void watch_forks(void)
{
    (void)pthread_atfork(lock_all, unlock_all, forget_all);
}

void *ps_instance_get(struct ps_instance *instance)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, watch_forks);
    lock_all();
    if (instance->object == NULL &&
        instance->make(&instance->object, getenv("PENSTOCK_CONFIG")) == PS_OK) {
        instance->next = latest;
        latest = instance;
    }
    void *object = instance->object;
    unlock_all();
    return object;
}

void ps_shutdown(void)
{
    void (*end)(void *object);
    for (;;) {
        lock_all();
        void *object = take(&end);
        unlock_all();
        if (object == NULL) {
            return;
        }
        end(object);
    }
}

/* nvml_events - see nvml_events.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/nvml_events.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS   250 /* one wait for an event: how long an end may take */
#define CALM_US   (WAIT_MS * 1000)
#define UUID_SIZE PS_DEVICE_TEXT

struct slot {
    ps_nvml_device handle; /* constant, like the next two */
    char uuid[UUID_SIZE];
    bool tells;
    struct ps_device_xids xids; /* under the mutex */
};

struct ps_nvml_events {
    struct ps_nvml_library *library; /* constant, but for its book, which is atomic */
    ps_nvml_event_set set;
    pthread_t thread;
    pthread_mutex_t mutex; /* held for a count or a copy */
    bool stopping;         /* under the mutex */
    size_t count;
    struct slot slots[];
};

static bool is_stopping(struct ps_nvml_events *events)
{
    pthread_mutex_lock(&events->mutex);
    bool stopping = events->stopping;
    pthread_mutex_unlock(&events->mutex);
    return stopping;
}

/* The handle of an event is the one we have, as far as was seen; its UUID decides where it is not.
 */
static struct slot *find(struct ps_nvml_events *events, ps_nvml_device handle)
{
    char uuid[UUID_SIZE] = "";
    for (size_t i = 0; i < events->count; i++) {
        if (events->slots[i].handle == handle) {
            return &events->slots[i];
        }
    }
    if (events->library->UUID == NULL ||
        events->library->UUID(handle, uuid, sizeof uuid - 1) != PS_NVML_OK) {
        return NULL;
    }
    for (size_t i = 0; i < events->count; i++) {
        if (uuid[0] != '\0' && strcmp(events->slots[i].uuid, uuid) == 0) {
            return &events->slots[i];
        }
    }
    return NULL;
}

static void take(struct ps_nvml_events *events, const struct ps_nvml_event *event)
{
    struct slot *slot = (event->type & PS_NVML_EVENT_XID) != 0 ? find(events, event->device) : NULL;
    if (slot != NULL) {
        pthread_mutex_lock(&events->mutex);
        ps_device_add_xid(&slot->xids, (uint32_t)event->data, ps_clock_now(events->library->clock));
        pthread_mutex_unlock(&events->mutex);
    }
}

static void *run_thread(void *arg)
{
    struct ps_nvml_events *events = arg;
    while (!is_stopping(events)) {
        struct ps_nvml_event event = {0};
        int code = events->library->EVENT_WAIT(events->set, &event, WAIT_MS);
        ps_toll_add(&events->library->book, PS_NVML_KIND_EVENT_WAIT, 0,
                    code == PS_NVML_TIMEOUT ? 0 : code);
        if (code == PS_NVML_OK) {
            take(events, &event);
        } else if (code != PS_NVML_TIMEOUT) {
            (void)usleep(CALM_US); /* a lost card makes every wait fail at once */
        }
    }
    return NULL;
}

static bool listen_to(struct ps_nvml_events *events, const struct ps_nvml_card *card,
                      struct slot *slot)
{
    struct ps_nvml_library *library = events->library;
    uint64_t types = PS_NVML_EVENT_XID;
    memcpy(slot->uuid, card->device.uuid, sizeof slot->uuid);
    slot->handle = card->handle;
    if (library->EVENT_SUPPORTED != NULL &&
        (PS_NVML_CALL(library, EVENT_SUPPORTED, card->handle, &types) != PS_NVML_OK ||
         (types & PS_NVML_EVENT_XID) == 0)) {
        return false;
    }
    slot->tells = PS_NVML_CALL(library, EVENT_REGISTER, card->handle, PS_NVML_EVENT_XID,
                               events->set) == PS_NVML_OK;
    return slot->tells;
}

static int listen_to_all(struct ps_nvml_events *events, const struct ps_nvml_card *cards)
{
    bool any = false;
    if (PS_NVML_CALL(events->library, EVENT_CREATE, &events->set) != PS_NVML_OK) {
        events->set = NULL;
        return PS_ENOTFOUND;
    }
    for (size_t i = 0; i < events->count; i++) {
        any = listen_to(events, &cards[i], &events->slots[i]) || any;
    }
    return any ? PS_OK : PS_ENOTFOUND;
}

static void free_events(struct ps_nvml_events *events)
{
    if (events->set != NULL && events->library->EVENT_FREE != NULL) {
        (void)PS_NVML_CALL(events->library, EVENT_FREE, events->set);
    }
    pthread_mutex_destroy(&events->mutex);
    free(events);
}

int ps_nvml_events_start(struct ps_nvml_events **out, struct ps_nvml_library *library,
                         const struct ps_nvml_card *cards, size_t count)
{
    if (library->EVENT_WAIT == NULL || library->EVENT_REGISTER == NULL) {
        return PS_ENOTFOUND;
    }
    struct ps_nvml_events *events = calloc(1, sizeof *events + count * sizeof events->slots[0]);
    if (events == NULL) {
        return PS_ENOMEM;
    }
    pthread_mutex_init(&events->mutex, NULL);
    events->library = library;
    events->count = count;
    int err = listen_to_all(events, cards);
    if (err == PS_OK && pthread_create(&events->thread, NULL, run_thread, events) != 0) {
        err = PS_ELIMIT;
    }
    if (err != PS_OK) {
        free_events(events);
        return err;
    }
    *out = events;
    return PS_OK;
}

bool ps_nvml_events_read(struct ps_nvml_events *events, size_t i, struct ps_device_xids *out)
{
    if (i >= events->count || !events->slots[i].tells) {
        return false;
    }
    pthread_mutex_lock(&events->mutex);
    *out = events->slots[i].xids;
    pthread_mutex_unlock(&events->mutex);
    return true;
}

void ps_nvml_events_merge(struct ps_nvml_events *events, size_t i,
                          const struct ps_device_xids *before)
{
    if (i < events->count) {
        pthread_mutex_lock(&events->mutex);
        ps_device_merge_xids(&events->slots[i].xids, before);
        pthread_mutex_unlock(&events->mutex);
    }
}

/* Deadlines of joins are on the clock of the day. */
static bool join_within(pthread_t thread, ps_span patience)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    ps_time sum = (ps_time)at.tv_sec * PS_SECOND + at.tv_nsec + patience;
    struct timespec until = {.tv_sec = sum / PS_SECOND, .tv_nsec = sum % PS_SECOND};
    return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

bool ps_nvml_events_stop(struct ps_nvml_events *events, ps_span patience)
{
    if (events == NULL) {
        return true;
    }
    pthread_mutex_lock(&events->mutex);
    events->stopping = true;
    pthread_mutex_unlock(&events->mutex);
    if (!join_within(events->thread, patience)) {
        pthread_detach(events->thread);
        return false;
    }
    free_events(events);
    return true;
}

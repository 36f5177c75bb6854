#include "observe/event.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct ps_events {
    pthread_mutex_t lock;
    size_t most;
    uint64_t count;
    struct ps_buf *lines; /* line n at n % most */
};

int ps_events_new(struct ps_events **out, size_t most)
{
    struct ps_events *events = calloc(1, sizeof *events);
    if (events == NULL) {
        return PS_ENOMEM;
    }
    events->most = most;
    events->lines = calloc(most, sizeof *events->lines);
    if (events->lines == NULL) {
        free(events);
        return PS_ENOMEM;
    }
    pthread_mutex_init(&events->lock, NULL);
    *out = events;
    return PS_OK;
}

void ps_events_free(struct ps_events *events)
{
    if (events == NULL) {
        return;
    }
    for (size_t i = 0; i < events->most; i++) {
        ps_buf_fini(&events->lines[i]);
    }
    pthread_mutex_destroy(&events->lock);
    free(events->lines);
    free(events);
}

/* All of it or nothing: a line without its last field is still JSON. */
static int put_field(struct ps_buf *line, const char *before, const char *key, const char *value)
{
    size_t len = line->len;
    int err = ps_buf_append_str(line, ps_str_from(before));
    err = err != PS_OK ? err : ps_buf_append_json(line, ps_str_from(key));
    err = err != PS_OK ? err : ps_buf_append_str(line, PS_STR("\":\""));
    err = err != PS_OK ? err : ps_buf_append_json(line, ps_str_from(value));
    err = err != PS_OK ? err : ps_buf_append_str(line, PS_STR("\""));
    if (err == PS_OK && line->len + 2 > line->limit) {
        err = PS_ELIMIT; /* the braces that close it */
    }
    if (err != PS_OK) {
        line->len = len;
    }
    return err;
}

static int write_line(struct ps_buf *line, ps_time wall, enum ps_log_level level, const char *text,
                      const struct ps_log_pair *pairs, size_t count)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    int err =
        ps_buf_printf(line, "{\"time\":%lld.%03d,\"level\":\"%s\"", (long long)(wall / PS_SECOND),
                      (int)(wall % PS_SECOND / PS_MILLISECOND), names[level]);
    err = err != PS_OK ? err : put_field(line, ",\"", "text", text);
    err = err != PS_OK ? err : ps_buf_append_str(line, PS_STR(",\"fields\":{"));
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = put_field(line, i == 0 ? "\"" : ",\"", pairs[i].key, pairs[i].value);
    }
    if (err == PS_OK || err == PS_ELIMIT) {
        err = ps_buf_append_str(line, PS_STR("}}"));
    }
    return err;
}

void ps_events_add(struct ps_events *events, ps_time wall, enum ps_log_level level,
                   const char *text, const struct ps_log_pair *pairs, size_t count)
{
    struct ps_buf line = ps_buf_make(PS_EVENT_BYTES);
    if (write_line(&line, wall, level, text, pairs, count) != PS_OK) {
        ps_buf_clear(&line);
    }
    pthread_mutex_lock(&events->lock);
    struct ps_buf *place = &events->lines[++events->count % events->most];
    struct ps_buf old = *place;
    *place = line;
    pthread_mutex_unlock(&events->lock);
    ps_buf_fini(&old);
}

uint64_t ps_events_count(struct ps_events *events)
{
    pthread_mutex_lock(&events->lock);
    uint64_t count = events->count;
    pthread_mutex_unlock(&events->lock);
    return count;
}

int ps_events_write(struct ps_events *events, uint64_t after, uint64_t last, struct ps_buf *out)
{
    int err = PS_OK;
    bool some = false;
    pthread_mutex_lock(&events->lock);
    uint64_t kept = events->count < events->most ? events->count : events->most;
    uint64_t first = events->count - kept + 1;
    last = last < events->count ? last : events->count;
    for (uint64_t n = after < first ? first : after + 1; n <= last && err == PS_OK; n++) {
        const struct ps_buf *line = &events->lines[n % events->most];
        if (line->len > 0) {
            err = some ? ps_buf_append_str(out, PS_STR(",")) : PS_OK;
            err = err != PS_OK ? err : ps_buf_append_str(out, ps_buf_str(line));
            some = true;
        }
    }
    pthread_mutex_unlock(&events->lock);
    return err;
}

#include "gateway/purge.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/glob.h"

enum { NAME_MAX_BYTES = 4 * PS_ENTRY_NAME_MAX + 3 };

struct record {
    struct ps_purge purge; /* its views point into text */
    uint32_t position;
    char text[];
};

struct ps_purge_log {
    pthread_rwlock_t lock;
    _Atomic uint32_t position; /* changes under the lock */
    ps_time floor;             /* what was asked for at or before is invalid */
    ps_span keep;
    size_t max;
    size_t first; /* of the ring */
    size_t count;
    struct record *ring[];
};

int ps_purge_log_new(struct ps_purge_log **out, size_t max, ps_span keep)
{
    PS_CHECK(max > 0);
    struct ps_purge_log *log = calloc(1, sizeof *log + max * sizeof log->ring[0]);
    if (log == NULL) {
        return PS_ENOMEM;
    }
    if (pthread_rwlock_init(&log->lock, NULL) != 0) {
        free(log);
        return PS_ENOMEM;
    }
    log->floor = INT64_MIN;
    log->keep = keep;
    log->max = max;
    *out = log;
    return PS_OK;
}

static struct record *record_at(const struct ps_purge_log *log, size_t i)
{
    return log->ring[(log->first + i) % log->max];
}

static void drop_first(struct ps_purge_log *log)
{
    free(record_at(log, 0));
    log->first = (log->first + 1) % log->max;
    log->count--;
}

void ps_purge_log_free(struct ps_purge_log *log)
{
    if (log == NULL) {
        return;
    }
    while (log->count > 0) {
        drop_first(log);
    }
    pthread_rwlock_destroy(&log->lock);
    free(log);
}

/* ---------------------------------------------------------------- adding */

static bool purge_is_valid(const struct ps_purge *purge)
{
    return (purge->kind == PS_PURGE_KEY ||
            (purge->text.len > 0 && purge->text.len <= PS_PURGE_TEXT_MAX)) &&
           (!purge->has_tenant || purge->tenant.len <= PS_ENTRY_NAME_MAX);
}

static struct record *record_new(const struct ps_purge *purge, ps_time now)
{
    size_t text_len = purge->kind == PS_PURGE_KEY ? 0 : purge->text.len;
    size_t tenant_len = purge->has_tenant ? purge->tenant.len : 0;
    struct record *record = malloc(sizeof *record + text_len + tenant_len);
    if (record == NULL) {
        return NULL;
    }
    record->purge = *purge;
    record->purge.at = purge->at < now ? purge->at : now;
    record->purge.text = (struct ps_str){record->text, text_len};
    record->purge.tenant = (struct ps_str){record->text + text_len, tenant_len};
    if (text_len > 0) {
        memcpy(record->text, purge->text.ptr, text_len);
    }
    if (tenant_len > 0) {
        memcpy(record->text + text_len, purge->tenant.ptr, tenant_len);
    }
    return record;
}

static bool same_purge(const struct ps_purge *a, const struct ps_purge *b)
{
    return a->kind == b->kind && a->at == b->at && ps_str_eq(a->text, b->text) &&
           a->has_tenant == b->has_tenant && ps_str_eq(a->tenant, b->tenant) &&
           (a->kind != PS_PURGE_KEY || ps_key_eq(&a->key, &b->key));
}

static bool is_there(const struct ps_purge_log *log, const struct ps_purge *purge)
{
    for (size_t i = 0; i < log->count; i++) {
        if (same_purge(&record_at(log, i)->purge, purge)) {
            return true;
        }
    }
    return false;
}

static bool is_over(const struct ps_purge_log *log, ps_time at, ps_time now)
{
    return now - at > log->keep;
}

/* Room for one more: what is over goes, then the oldest becomes the floor. */
static void make_room(struct ps_purge_log *log, ps_time now)
{
    while (log->count > 0 && is_over(log, record_at(log, 0)->purge.at, now)) {
        drop_first(log);
    }
    if (log->count == log->max) {
        ps_time at = record_at(log, 0)->purge.at;
        log->floor = at > log->floor ? at : log->floor;
        drop_first(log);
    }
}

int ps_purge_log_add(struct ps_purge_log *log, const struct ps_purge *purge, ps_time now)
{
    if (!purge_is_valid(purge)) {
        return PS_EINVAL;
    }
    struct record *record = record_new(purge, now);
    if (record == NULL) {
        return PS_ENOMEM;
    }
    pthread_rwlock_wrlock(&log->lock);
    if (!is_over(log, record->purge.at, now) && !is_there(log, &record->purge)) {
        make_room(log, now);
        record->position = atomic_load_explicit(&log->position, memory_order_relaxed) + 1;
        log->ring[(log->first + log->count++) % log->max] = record;
        atomic_store_explicit(&log->position, record->position, memory_order_release);
        record = NULL;
    }
    pthread_rwlock_unlock(&log->lock);
    free(record);
    return PS_OK;
}

/* ---------------------------------------------------------------- matching */

static size_t append(char *out, size_t at, struct ps_str part)
{
    if (part.len > 0) {
        memcpy(out + at, part.ptr, part.len);
    }
    return at + part.len;
}

static bool pattern_hits_tag(const struct ps_entry *entry, struct ps_str pattern, struct ps_str tag)
{
    char name[NAME_MAX_BYTES];
    size_t len = append(name, 0, ps_entry_route(entry));
    len = append(name, len, PS_STR("/"));
    len = append(name, len, ps_entry_model(entry));
    len = append(name, len, PS_STR("/"));
    len = append(name, len, ps_entry_tenant(entry));
    len = append(name, len, PS_STR("/"));
    len = append(name, len, tag);
    return ps_glob_match(pattern, (struct ps_str){name, len}) ||
           (tag.len > 0 && ps_glob_match(pattern, tag));
}

static bool pattern_hits(const struct ps_entry *entry, struct ps_str pattern)
{
    struct ps_str tag = {NULL, 0};
    size_t at = 0;
    bool hits = ps_glob_match(pattern, ps_entry_route(entry)) ||
                ps_glob_match(pattern, ps_entry_model(entry)) ||
                ps_glob_match(pattern, ps_entry_tenant(entry));
    hits = hits || (entry->tags_count == 0 && pattern_hits_tag(entry, pattern, tag));
    while (!hits && ps_entry_next_tag(entry, &at, &tag)) {
        hits = pattern_hits_tag(entry, pattern, tag);
    }
    return hits;
}

static bool has_tag(const struct ps_entry *entry, struct ps_str wanted)
{
    struct ps_str tag;
    size_t at = 0;
    while (ps_entry_next_tag(entry, &at, &tag)) {
        if (ps_str_eq(tag, wanted)) {
            return true;
        }
    }
    return false;
}

static bool purge_hits(const struct ps_purge *purge, const struct ps_entry *entry,
                       const struct ps_key *key)
{
    if (entry->born > purge->at ||
        (purge->has_tenant && !ps_str_eq(purge->tenant, ps_entry_tenant(entry)))) {
        return false;
    }
    switch (purge->kind) {
    case PS_PURGE_PATTERN:
        return pattern_hits(entry, purge->text);
    case PS_PURGE_TAG:
        return has_tag(entry, purge->text);
    case PS_PURGE_KEY:
        return ps_key_eq(&purge->key, key);
    }
    return true;
}

/* Newest first: an entry has seen all but the last few. */
static bool newer_hits(const struct ps_purge_log *log, uint32_t seen, const struct ps_entry *entry,
                       const struct ps_key *key)
{
    for (size_t i = log->count; i > 0; i--) {
        const struct record *record = record_at(log, i - 1);
        if ((int32_t)(record->position - seen) <= 0) {
            break;
        }
        if (purge_hits(&record->purge, entry, key)) {
            return true;
        }
    }
    return false;
}

bool ps_purge_log_is_ahead(const struct ps_purge_log *log, const struct ps_entry *entry)
{
    return atomic_load_explicit(&log->position, memory_order_acquire) !=
           atomic_load_explicit(&entry->purges, memory_order_relaxed);
}

bool ps_purge_log_hits(struct ps_purge_log *log, struct ps_entry *entry, const struct ps_key *key)
{
    if (!ps_purge_log_is_ahead(log, entry)) {
        return false;
    }
    pthread_rwlock_rdlock(&log->lock);
    uint32_t seen = atomic_load_explicit(&entry->purges, memory_order_relaxed);
    uint32_t position = atomic_load_explicit(&log->position, memory_order_relaxed);
    bool hits = entry->born <= log->floor || newer_hits(log, seen, entry, key);
    pthread_rwlock_unlock(&log->lock);
    if (!hits) {
        atomic_store_explicit(&entry->purges, position, memory_order_relaxed);
    }
    return hits;
}

size_t ps_purge_log_count(struct ps_purge_log *log)
{
    pthread_rwlock_rdlock(&log->lock);
    size_t count = log->count;
    pthread_rwlock_unlock(&log->lock);
    return count;
}

#include "gateway/sticky.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"
#include "gateway/endpoint.h"

enum { NAME_MAX_BYTES = 512 };

struct entry {
    struct ps_list age;  /* oldest first; or in the list of free ones */
    struct ps_list work; /* of those whose work counts, oldest first */
    struct entry *next;  /* in the bucket */
    struct ps_sticky_key key;
    struct ps_endpoint *endpoint; /* reference */
    uint64_t booked;              /* of the endpoint's tokens; 0 = not in the list `work` */
    ps_time learned;
};

struct ps_sticky {
    pthread_mutex_t mutex;
    struct ps_list ages;
    struct ps_list works;
    struct ps_list unused;
    struct entry *entries;
    struct entry **buckets;
    size_t capacity;
    size_t count;
};

/* --- keys ------------------------------------------------------------------------------------- */

static struct ps_sticky_key hash(enum ps_sticky_key_kind kind, struct ps_str text)
{
    uint64_t seed = 2 * (uint64_t)kind;
    return (struct ps_sticky_key){ps_str_hash(text, seed), ps_str_hash(text, seed + 1) | 1};
}

struct ps_sticky_key ps_sticky_key(enum ps_sticky_key_kind kind, struct ps_str text)
{
    return text.len == 0 ? (struct ps_sticky_key){0, 0} : hash(kind, text);
}

/* Appends what fits; returns false when it does not. */
static bool append(char *out, size_t *len, struct ps_str text)
{
    if (text.len > NAME_MAX_BYTES - *len) {
        return false;
    }
    if (text.len > 0) {
        memcpy(out + *len, text.ptr, text.len);
    }
    *len += text.len;
    return true;
}

struct ps_sticky_key ps_sticky_key_file(struct ps_str type, struct ps_str folder,
                                        struct ps_str name)
{
    char text[NAME_MAX_BYTES];
    size_t len = 0;
    bool fits =
        append(text, &len, type) && append(text, &len, PS_STR(":")) && append(text, &len, folder) &&
        append(text, &len, folder.len > 0 ? PS_STR("/") : PS_STR("")) && append(text, &len, name);
    return fits && name.len > 0 ? hash(PS_STICKY_KEY_FILE, (struct ps_str){text, len})
                                : (struct ps_sticky_key){0, 0};
}

struct ps_sticky_key ps_sticky_key_join(struct ps_sticky_key left, struct ps_sticky_key right)
{
    struct ps_sticky_key both[2] = {left, right};
    if (!ps_sticky_key_is_set(left) || !ps_sticky_key_is_set(right)) {
        return (struct ps_sticky_key){0, 0};
    }
    return hash(PS_STICKY_KEY_FILE, (struct ps_str){(const char *)both, sizeof both});
}

/* --- the table, with the mutex held ----------------------------------------------------------- */

static struct entry **bucket_of(struct ps_sticky *sticky, struct ps_sticky_key key)
{
    return &sticky->buckets[key.a % sticky->capacity];
}

static struct entry *find(struct ps_sticky *sticky, struct ps_sticky_key key)
{
    struct entry *entry = *bucket_of(sticky, key);
    while (entry != NULL && (entry->key.a != key.a || entry->key.b != key.b)) {
        entry = entry->next;
    }
    return entry;
}

static void unbook(struct entry *entry)
{
    if (entry->booked > 0) {
        ps_list_remove(&entry->work);
        atomic_fetch_sub_explicit(&entry->endpoint->tokens, (int64_t)entry->booked,
                                  memory_order_relaxed);
        entry->booked = 0;
    }
}

static void book(struct ps_sticky *sticky, struct entry *entry, uint64_t work)
{
    if (work > 0 && work <= INT64_MAX) {
        entry->booked = work;
        ps_list_push(&sticky->works, &entry->work);
        atomic_fetch_add_explicit(&entry->endpoint->tokens, (int64_t)work, memory_order_relaxed);
    }
}

static void forget(struct ps_sticky *sticky, struct entry *entry)
{
    struct entry **link = bucket_of(sticky, entry->key);
    while (*link != entry) {
        link = &(*link)->next;
    }
    *link = entry->next;
    unbook(entry);
    ps_endpoint_unref(entry->endpoint);
    entry->endpoint = NULL;
    ps_list_remove(&entry->age);
    ps_list_push(&sticky->unused, &entry->age);
    sticky->count--;
}

/* Lets go what is too old; both lists are in the order of time. */
static void sweep(struct ps_sticky *sticky, ps_time now)
{
    while (!ps_list_is_empty(&sticky->works)) {
        struct entry *entry = PS_LIST_FIRST(&sticky->works, struct entry, work);
        if (now - entry->learned < PS_STICKY_WORK) {
            break;
        }
        unbook(entry);
    }
    while (!ps_list_is_empty(&sticky->ages)) {
        struct entry *entry = PS_LIST_FIRST(&sticky->ages, struct entry, age);
        if (now - entry->learned < PS_STICKY_LIFE) {
            break;
        }
        forget(sticky, entry);
    }
}

/* A free entry; the oldest makes room. */
static struct entry *take_entry(struct ps_sticky *sticky)
{
    if (ps_list_is_empty(&sticky->unused)) {
        forget(sticky, PS_LIST_FIRST(&sticky->ages, struct entry, age));
    }
    struct entry *entry = PS_LIST_FIRST(&sticky->unused, struct entry, age);
    ps_list_remove(&entry->age);
    return entry;
}

/* --- for any thread --------------------------------------------------------------------------- */

void ps_sticky_learn(struct ps_sticky *sticky, struct ps_sticky_key key,
                     struct ps_endpoint *endpoint, uint64_t work, ps_time now)
{
    if (!ps_sticky_key_is_set(key)) {
        return;
    }
    pthread_mutex_lock(&sticky->mutex);
    sweep(sticky, now);
    struct entry *old = find(sticky, key);
    if (old != NULL) {
        forget(sticky, old);
    }
    struct entry *entry = take_entry(sticky);
    struct entry **bucket = bucket_of(sticky, key);
    entry->key = key;
    entry->endpoint = ps_endpoint_ref(endpoint);
    entry->learned = now;
    entry->next = *bucket;
    *bucket = entry;
    ps_list_push(&sticky->ages, &entry->age);
    sticky->count++;
    book(sticky, entry, work);
    pthread_mutex_unlock(&sticky->mutex);
}

uint32_t ps_sticky_find(struct ps_sticky *sticky, struct ps_sticky_key key, ps_time now)
{
    if (!ps_sticky_key_is_set(key)) {
        return 0;
    }
    pthread_mutex_lock(&sticky->mutex);
    sweep(sticky, now);
    const struct entry *entry = find(sticky, key);
    uint32_t id = entry == NULL ? 0 : entry->endpoint->id;
    pthread_mutex_unlock(&sticky->mutex);
    return id;
}

size_t ps_sticky_count(struct ps_sticky *sticky)
{
    pthread_mutex_lock(&sticky->mutex);
    size_t count = sticky->count;
    pthread_mutex_unlock(&sticky->mutex);
    return count;
}

int ps_sticky_new(struct ps_sticky **out, size_t capacity)
{
    PS_CHECK(capacity > 0);
    struct ps_sticky *sticky = calloc(1, sizeof *sticky);
    if (sticky == NULL) {
        return PS_ENOMEM;
    }
    sticky->entries = calloc(capacity, sizeof *sticky->entries);
    sticky->buckets = calloc(capacity, sizeof *sticky->buckets);
    if (sticky->entries == NULL || sticky->buckets == NULL ||
        pthread_mutex_init(&sticky->mutex, NULL) != 0) {
        free(sticky->entries);
        free(sticky->buckets);
        free(sticky);
        return PS_ENOMEM;
    }
    sticky->capacity = capacity;
    ps_list_init(&sticky->ages);
    ps_list_init(&sticky->works);
    ps_list_init(&sticky->unused);
    for (size_t i = 0; i < capacity; i++) {
        ps_list_push(&sticky->unused, &sticky->entries[i].age);
    }
    *out = sticky;
    return PS_OK;
}

void ps_sticky_free(struct ps_sticky *sticky)
{
    if (sticky == NULL) {
        return;
    }
    while (!ps_list_is_empty(&sticky->ages)) {
        forget(sticky, PS_LIST_FIRST(&sticky->ages, struct entry, age));
    }
    pthread_mutex_destroy(&sticky->mutex);
    free(sticky->entries);
    free(sticky->buckets);
    free(sticky);
}

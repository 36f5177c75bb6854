#include "observe/metric_memo.h"

#include <stdlib.h>
#include <string.h>

#include "observe/metric_label.h"
#include "observe/metric_registry.h"

enum { WAYS = 2, KEY_MAX = 112, ENTRIES_MAX = 1 << 20 };

/* A key is the values one behind the other, each after a byte of length. */
struct entry {
    uint64_t hash; /* 0 = empty */
    const struct ps_metric_family *family;
    struct ps_metric_handle *handle;
    struct ps_counter *folded; /* where the handle is an overflow series: what counts look-ups */
    uint16_t len;
    char key[KEY_MAX + 6];
};

struct ps_metric_memo {
    struct ps_metrics *metrics;
    uint64_t generation;
    uint64_t seed;
    size_t mask; /* pairs of entries - 1 */
    struct entry *entries;
    struct ps_metric_handle *passing; /* what the last look-up gave and no entry holds */
};

int ps_metric_memo_new(struct ps_metric_memo **out, struct ps_metrics *metrics, size_t entries)
{
    if (entries == 0 || entries > ENTRIES_MAX) {
        return PS_EINVAL;
    }
    struct ps_metric_memo *memo = calloc(1, sizeof *memo);
    if (memo == NULL) {
        return PS_ENOMEM;
    }
    size_t pairs = 1;
    while (pairs * WAYS < entries) {
        pairs *= 2;
    }
    memo->metrics = metrics;
    memo->seed = metrics->seed;
    memo->mask = pairs - 1;
    memo->generation = atomic_load_explicit(&metrics->generation, memory_order_acquire);
    memo->entries = calloc(pairs * WAYS, sizeof *memo->entries);
    if (memo->entries == NULL) {
        free(memo);
        return PS_ENOMEM;
    }
    *out = memo;
    return PS_OK;
}

static void forget(struct ps_metric_memo *memo)
{
    for (size_t i = 0; i < (memo->mask + 1) * WAYS; i++) {
        ps_metric_put(memo->metrics, memo->entries[i].handle);
        memo->entries[i].handle = NULL;
        memo->entries[i].hash = 0;
    }
    ps_metric_put(memo->metrics, memo->passing);
    memo->passing = NULL;
}

void ps_metric_memo_free(struct ps_metric_memo *memo)
{
    if (memo == NULL) {
        return;
    }
    forget(memo);
    free(memo->entries);
    free(memo);
}

/* ---- keys */

/* Copies the values into the key; returns its length, or 0 where they are too long for an entry. A
 * family without labels has the key "\0". */
static size_t make_key(const struct ps_metric_family *family, const struct ps_metric_labels *labels,
                       char key[KEY_MAX])
{
    size_t len = 0;
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && family->labels[i] != NULL; i++) {
        struct ps_str value = labels == NULL ? PS_STR("") : labels->values[i];
        if (len + 1 + value.len > KEY_MAX) {
            return 0;
        }
        key[len++] = (char)value.len;
        if (value.len > 0) {
            memcpy(key + len, value.ptr, value.len);
        }
        len += value.len;
    }
    if (len == 0) {
        key[len++] = '\0';
    }
    return len;
}

static uint64_t mixed(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Quick rather than proof against whoever chooses values: two keys that fall together only push
 * each other out, and the registry, whose hash is proof, answers instead. */
static uint64_t hash_of(const char *key, size_t len, const struct ps_metric_family *family,
                        uint64_t seed)
{
    uint64_t hash = seed ^ (uintptr_t)family;
    for (; len > sizeof hash; len -= sizeof hash, key += sizeof hash) {
        uint64_t word;
        memcpy(&word, key, sizeof word);
        hash = mixed(hash ^ word, 0x9e3779b97f4a7c15u);
    }
    uint64_t word = len;
    memcpy(&word, key, len);
    hash = mixed(hash ^ word ^ (uint64_t)len << 59, 0xd6e8feb86659fd93u);
    return hash == 0 ? 1 : hash;
}

/* ---- look-up */

static bool is_hit(const struct entry *entry, uint64_t hash, const struct ps_metric_family *family,
                   const char *key, size_t len)
{
    return entry->hash == hash && entry->family == family && entry->len == len &&
           memcmp(entry->key, key, len) == 0;
}

/* The series counts how often it had to stand for another, whoever asked for it. */
static struct ps_counter *folded_of(struct ps_metrics *metrics, struct ps_metric_handle *handle)
{
    struct ps_metric_series *series = PS_CONTAINER_OF(handle, struct ps_metric_series, handle);
    if (!series->overflow) {
        return NULL;
    }
    pthread_mutex_lock(&metrics->lock);
    struct ps_counter *folded = ps_metric_set_of(metrics, handle->family)->folded;
    pthread_mutex_unlock(&metrics->lock);
    return folded;
}

/* Takes the first place of its pair; what was there takes the second. */
static void enter(struct ps_metric_memo *memo, struct entry *pair, const struct entry *fresh)
{
    ps_metric_put(memo->metrics, pair[1].handle);
    pair[1] = pair[0];
    pair[0] = *fresh;
}

static int ask(struct ps_metric_memo *memo, const struct ps_metric_family *family,
               const struct ps_metric_labels *labels, struct ps_metric_handle **out)
{
    ps_metric_put(memo->metrics, memo->passing);
    memo->passing = NULL;
    return ps_metric_any(memo->metrics, family, labels, out);
}

int ps_metric_memo_find(struct ps_metric_memo *memo, const struct ps_metric_family *family,
                        const struct ps_metric_labels *labels, struct ps_metric_handle **out)
{
    struct entry fresh;
    uint64_t now = atomic_load_explicit(&memo->metrics->generation, memory_order_acquire);
    if (__builtin_expect(now != memo->generation, 0)) {
        forget(memo);
        memo->generation = now;
    }
    size_t len = make_key(family, labels, fresh.key);
    if (len == 0) {
        int err = ask(memo, family, labels, out);
        memo->passing = err == PS_OK ? *out : NULL;
        return err;
    }
    uint64_t hash = hash_of(fresh.key, len, family, memo->seed);
    struct entry *pair = &memo->entries[(hash >> 32 & memo->mask) * WAYS];
    for (size_t i = 0; i < WAYS; i++) {
        if (is_hit(&pair[i], hash, family, fresh.key, len)) {
            if (__builtin_expect(pair[i].folded != NULL, 0)) {
                ps_counter_add_shared(pair[i].folded, 1);
            }
            *out = pair[i].handle;
            return PS_OK;
        }
    }
    int err = ask(memo, family, labels, out);
    if (err == PS_OK) {
        fresh.hash = hash;
        fresh.family = family;
        fresh.handle = *out;
        fresh.folded = folded_of(memo->metrics, *out);
        fresh.len = (uint16_t)len;
        enter(memo, pair, &fresh);
    }
    return err;
}

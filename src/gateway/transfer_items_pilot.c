/* The pilot's side of requests for several things; see transfer_items.h. */
#include <stdlib.h>
#include <string.h>

#include "gateway/tier.h"
#include "gateway/transfer_items.h"

struct ps_pilot_items {
    struct ps_items_split *split;
    size_t count;
    struct ps_key keys[];
};

struct ps_pilot_items *ps_pilot_items_new(const struct ps_flying_items *flying,
                                          struct ps_budget *budget)
{
    struct ps_pilot_items *items = NULL;
    if (flying == NULL ||
        (items = calloc(1, sizeof *items + flying->count * sizeof items->keys[0])) == NULL) {
        return NULL;
    }
    items->count = flying->count;
    memcpy(items->keys, flying->keys, flying->count * sizeof items->keys[0]);
    if (ps_items_split_new(&items->split, flying->form, flying->weights, flying->count,
                           PS_TRANSFER_ITEMS_ANSWER_MAX, budget) != PS_OK) {
        free(items);
        return NULL;
    }
    return items;
}

void ps_pilot_items_free(struct ps_pilot_items *items)
{
    if (items != NULL) {
        ps_items_split_free(items->split);
        free(items);
    }
}

void ps_pilot_items_feed(struct ps_pilot_items *items, struct ps_str bytes)
{
    if (items != NULL) {
        PS_IGNORE(ps_items_split_feed(items->split, bytes)); /* its end says it again */
    }
}

/* What one item is a part of is shared out. */
static void share(const struct ps_items_split *split, size_t i, struct ps_entry_spec *spec)
{
    double nanoseconds = spec->seconds * 1e9;
    uint64_t span = nanoseconds > 0 && nanoseconds < 0x1p53 ? (uint64_t)nanoseconds : 0;
    uint64_t tokens = spec->prompt_tokens < PS_USAGE_TOKENS_MAX ? spec->prompt_tokens : 0;
    spec->seconds = (double)ps_items_split_share(split, span, i) / 1e9;
    spec->prompt_tokens = ps_items_split_share(split, tokens, i);
}

static int store_piece(struct ps_transfer *transfer, size_t i, struct ps_entry_spec spec)
{
    const struct ps_pilot_items *items = transfer->pilot->items;
    struct ps_buf piece = ps_buf_make(SIZE_MAX);
    struct ps_entry *entry = NULL;
    int err = ps_items_split_piece(items->split, i, &piece);
    if (err != PS_OK) {
        ps_buf_fini(&piece);
        return err;
    }
    share(items->split, i, &spec);
    spec.body = ps_buf_str(&piece);
    spec.release = free;
    spec.release_ctx = piece.data;
    err = ps_entry_new(&entry, &spec);
    err = err != PS_OK ? err : ps_tier_store(transfer->lane->tier, &items->keys[i], entry);
    ps_entry_unref(entry);
    return err;
}

bool ps_pilot_items_store(struct ps_transfer *transfer)
{
    const struct ps_pilot_items *items = transfer->pilot->items;
    struct ps_str tags[PS_ENTRY_TAGS_MAX];
    struct ps_entry_spec spec;
    if (ps_items_split_end(items->split) != PS_OK) {
        return false;
    }
    ps_pilot_describe(transfer, tags, &spec);
    bool all = true;
    for (size_t i = 0; i < items->count; i++) {
        all = store_piece(transfer, i, spec) == PS_OK && all;
    }
    return all;
}

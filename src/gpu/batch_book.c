#include "gpu/batch_book.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct ps_str ps_batch_shape_any = PS_STR_INIT("any");

void ps_batch_book_init(struct ps_batch_book *book)
{
    memset(book, 0, sizeof *book);
}

void ps_batch_book_fini(struct ps_batch_book *book)
{
    for (size_t i = 0; i < book->count; i++) {
        free(book->entries[i]);
    }
    book->count = 0;
}

static void copy_name(char *out, size_t size, struct ps_str name)
{
    size_t len = name.len < size - 1 ? name.len : size - 1;
    for (size_t i = 0; i < len; i++) {
        out[i] = name.ptr[i] >= ' ' && name.ptr[i] <= '~' ? name.ptr[i] : '?';
    }
    out[len] = '\0';
}

static struct ps_batch_entry *find(const struct ps_batch_book *book, const char *model,
                                   const char *shape)
{
    for (size_t i = 0; i < book->count; i++) {
        struct ps_batch_entry *entry = book->entries[i];
        if (strcmp(entry->model, model) == 0 && strcmp(entry->shape, shape) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* A new one, or the one that was not used for the longest time. */
static struct ps_batch_entry *make_room(struct ps_batch_book *book)
{
    if (book->count < PS_BATCH_BOOK_MOST) {
        struct ps_batch_entry *made = malloc(sizeof *made);
        if (made != NULL) {
            book->entries[book->count++] = made;
        }
        return made;
    }
    struct ps_batch_entry *oldest = book->entries[0];
    for (size_t i = 1; i < book->count; i++) {
        oldest = book->entries[i]->used < oldest->used ? book->entries[i] : oldest;
    }
    return oldest;
}

struct ps_batch_entry *ps_batch_book_at(struct ps_batch_book *book, struct ps_str model,
                                        struct ps_str shape, ps_time now)
{
    char model_name[PS_BATCH_BOOK_NAME];
    char shape_name[PS_BATCH_BOOK_SHAPE];
    copy_name(model_name, sizeof model_name, model);
    copy_name(shape_name, sizeof shape_name, shape);
    struct ps_batch_entry *entry = find(book, model_name, shape_name);
    if (entry == NULL) {
        entry = make_room(book);
        if (entry == NULL) {
            return NULL;
        }
        memcpy(entry->model, model_name, sizeof model_name);
        memcpy(entry->shape, shape_name, sizeof shape_name);
        entry->turns = 1;
        ps_batch_model_init(&entry->batch);
    }
    entry->used = now;
    return entry;
}

/* The model of all entries; "" when there are several, or none. */
static const char *only_model(const struct ps_batch_book *book)
{
    for (size_t i = 1; i < book->count; i++) {
        if (strcmp(book->entries[i]->model, book->entries[0]->model) != 0) {
            return "";
        }
    }
    return book->count == 0 ? "" : book->entries[0]->model;
}

struct ps_batch_entry *ps_batch_book_find(const struct ps_batch_book *book, struct ps_str model,
                                          struct ps_str shape)
{
    char model_name[PS_BATCH_BOOK_NAME];
    char shape_name[PS_BATCH_BOOK_SHAPE];
    copy_name(model_name, sizeof model_name, model.len > 0 ? model : ps_str_from(only_model(book)));
    copy_name(shape_name, sizeof shape_name, shape.len > 0 ? shape : ps_batch_shape_any);
    return find(book, model_name, shape_name);
}

/* --- shapes ----------------------------------------------------------------------------------- */

#define LEAST_SIDE UINT64_C(16)
#define MOST_SIDE  (UINT64_C(1) << 40)

static uint64_t side_of(uint64_t tokens)
{
    uint64_t side = LEAST_SIDE;
    while (side < tokens && side < MOST_SIDE) {
        side *= 4;
    }
    return side;
}

void ps_batch_shape_write(char shape[PS_BATCH_BOOK_SHAPE], uint64_t prompt, uint64_t answer)
{
    unsigned long long first = side_of(prompt);
    unsigned long long second = side_of(answer);
    if (answer == 0) {
        (void)snprintf(shape, PS_BATCH_BOOK_SHAPE, "p%llu", first);
    } else {
        (void)snprintf(shape, PS_BATCH_BOOK_SHAPE, "p%llu-a%llu", first, second);
    }
}

uint64_t ps_batch_shape_answer(uint64_t answer)
{
    return answer == 0 ? 0 : side_of(answer) / 2;
}

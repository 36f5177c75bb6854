/* The part of items that reads and writes requests; see items.h. */
#include "gateway/items.h"

#include <stdlib.h>

#include "base/check.h"
#include "gateway/json_view.h"

/* An item of the list, by its place in the body. */
struct item {
    size_t at;
    size_t len;
    uint32_t weight;
};

struct ps_items_ask {
    enum ps_items_form form;
    struct ps_budget *budget;
    size_t taken; /* from the budget */
    struct ps_buf body;
    struct ps_buf items; /* struct item */
    size_t open;         /* behind the bracket that opens the list */
    size_t close;        /* of the bracket that closes it */
};

/* ---------------------------------------------------------------- forms and twins */

enum ps_items_form ps_items_form_of(const struct ps_operation *operation)
{
    bool embeds = operation != NULL && operation->kind == PS_REQUEST_EMBEDDINGS;
    if (!embeds) {
        return PS_ITEMS_NONE;
    }
    if (operation->dialect == PS_DIALECT_TEI) {
        return ps_str_starts_with(operation->path, PS_STR("/embed")) ? PS_ITEMS_TEI : PS_ITEMS_NONE;
    }
    bool openai = operation->dialect == PS_DIALECT_OPENAI &&
                  ps_str_ends_with(operation->path, PS_STR("/embeddings"));
    return openai ? PS_ITEMS_OPENAI : PS_ITEMS_NONE;
}

struct sorted {
    const struct ps_key *key;
    uint32_t i;
};

static int compare(const void *a, const void *b)
{
    const struct sorted *left = a;
    const struct sorted *right = b;
    int order = memcmp(left->key->bytes, right->key->bytes, sizeof left->key->bytes);
    return order != 0 ? order : (left->i > right->i) - (left->i < right->i);
}

int ps_items_find_twins(const struct ps_key *keys, size_t n, uint32_t *first)
{
    struct sorted *sorted = malloc((n == 0 ? 1 : n) * sizeof *sorted);
    if (sorted == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = (struct sorted){&keys[i], (uint32_t)i};
    }
    qsort(sorted, n, sizeof *sorted, compare);
    for (size_t i = 0; i < n; i++) {
        bool twin = i > 0 && ps_key_eq(sorted[i].key, sorted[i - 1].key);
        first[sorted[i].i] = twin ? first[sorted[i - 1].i] : sorted[i].i;
    }
    free(sorted);
    return PS_OK;
}

/* ---------------------------------------------------------------- life */

int ps_items_ask_new(struct ps_items_ask **out, enum ps_items_form form, struct ps_budget *budget)
{
    struct ps_items_ask *ask = calloc(1, sizeof *ask);
    if (ask == NULL) {
        return PS_ENOMEM;
    }
    ask->form = form;
    ask->budget = budget;
    ask->body = ps_buf_make(SIZE_MAX);
    ask->items = ps_buf_make(PS_ITEMS_MAX * sizeof(struct item));
    *out = ask;
    return PS_OK;
}

void ps_items_ask_free(struct ps_items_ask *ask)
{
    if (ask != NULL) {
        ps_budget_give(ask->budget, ask->taken);
        ps_buf_fini(&ask->body);
        ps_buf_fini(&ask->items);
        free(ask);
    }
}

/* What a buffer has grown by counts. */
static int append(struct ps_items_ask *ask, struct ps_buf *to, const void *bytes, size_t len)
{
    size_t before = to->cap;
    int err = ps_buf_append(to, bytes, len);
    size_t grown = to->cap - before;
    if (err == PS_OK && grown > 0) {
        err = ps_budget_take(ask->budget, grown);
        ask->taken += err == PS_OK ? grown : 0;
    }
    return err;
}

int ps_items_ask_feed(struct ps_items_ask *ask, struct ps_str bytes)
{
    return append(ask, &ask->body, bytes.ptr, bytes.len);
}

/* ---------------------------------------------------------------- reading */

/* The list in the body. A name with escapes may be any, and one that comes twice has no meaning. */
static int find_list(const struct ps_items_ask *ask, struct ps_str *list)
{
    struct ps_str wanted = ask->form == PS_ITEMS_TEI ? PS_STR("inputs") : PS_STR("input");
    struct ps_str body = ps_json_view_trim(ps_buf_str(&ask->body));
    struct ps_str rest = ps_json_view_inside(body);
    struct ps_str name;
    struct ps_str value;
    size_t found = ps_json_view_type(body) == '{' ? 0 : 2;
    while (found < 2 && ps_json_view_next_member(&rest, &name, &value)) {
        if (ps_str_eq(name, wanted)) {
            *list = value;
            found++;
        } else if (ps_str_find(name, '\\') < name.len) {
            return PS_EPARSE;
        }
    }
    bool is_list = found == 1 && list->len >= 2 && ps_json_view_type(*list) == '[';
    return is_list ? PS_OK : PS_EPARSE;
}

/* Bytes of a text, numbers of a list: what its tokens are guessed by. */
static uint32_t weigh(struct ps_str item)
{
    size_t weight = 1;
    if (ps_json_view_type(item) == '[') {
        for (size_t i = 0; i < item.len; i++) {
            weight += item.ptr[i] == ',';
        }
    } else if (ps_json_view_type(item) == '"' && item.len > 2) {
        weight = item.len - 2;
    }
    return weight < UINT32_MAX ? (uint32_t)weight : UINT32_MAX;
}

static int read_items(struct ps_items_ask *ask, struct ps_str list)
{
    struct ps_str rest = ps_json_view_inside(list);
    struct ps_str text;
    while (ps_json_view_next_item(&rest, &text)) {
        char type = ps_json_view_type(text);
        if (type != '"' && type != '[') {
            return PS_EPARSE;
        }
        size_t at = (size_t)(text.ptr - ask->body.data);
        struct item item = {at, text.len, weigh(text)};
        int err = append(ask, &ask->items, &item, sizeof item);
        if (err != PS_OK) {
            return err;
        }
    }
    return ask->items.len == 0 ? PS_EPARSE : PS_OK;
}

int ps_items_ask_end(struct ps_items_ask *ask)
{
    struct ps_str list;
    int err = find_list(ask, &list);
    if (err == PS_OK) {
        ask->open = (size_t)(list.ptr - ask->body.data) + 1;
        ask->close = ask->open + list.len - 2;
        err = read_items(ask, list);
    }
    return err;
}

/* ---------------------------------------------------------------- what was read */

static const struct item *item_at(const struct ps_items_ask *ask, size_t i)
{
    PS_CHECK(i < ps_items_ask_count(ask));
    return (const struct item *)(const void *)ask->items.data + i;
}

size_t ps_items_ask_count(const struct ps_items_ask *ask)
{
    return ask->items.len / sizeof(struct item);
}

uint32_t ps_items_ask_weight(const struct ps_items_ask *ask, size_t i)
{
    return item_at(ask, i)->weight;
}

struct ps_str ps_items_ask_body(const struct ps_items_ask *ask)
{
    return ps_buf_str(&ask->body);
}

struct ps_str ps_items_ask_head(const struct ps_items_ask *ask)
{
    return ps_str_first(ps_buf_str(&ask->body), ask->open);
}

struct ps_str ps_items_ask_item(const struct ps_items_ask *ask, size_t i)
{
    const struct item *item = item_at(ask, i);
    return (struct ps_str){ask->body.data + item->at, item->len};
}

struct ps_str ps_items_ask_tail(const struct ps_items_ask *ask)
{
    return ps_str_skip(ps_buf_str(&ask->body), ask->close);
}

int ps_items_ask_write(const struct ps_items_ask *ask, const uint32_t *wanted, size_t n,
                       struct ps_chunks *out)
{
    int err = ps_chunks_append(out, ps_items_ask_head(ask));
    for (size_t i = 0; i < n && err == PS_OK; i++) {
        err = i == 0 ? PS_OK : ps_chunks_append(out, PS_STR(","));
        err = err != PS_OK ? err : ps_chunks_append(out, ps_items_ask_item(ask, wanted[i]));
    }
    return err != PS_OK ? err : ps_chunks_append(out, ps_items_ask_tail(ask));
}

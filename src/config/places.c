#include <stdlib.h>
#include <string.h>

#include "config/yaml.h"

enum { MOST_PLACES = 100000 };

void ps_config_places_fini(struct ps_config_places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        free(places->items[i].path);
    }
    free(places->items);
    *places = (struct ps_config_places){0};
}

void ps_config_places_add(struct ps_config_places *places, const char *path, unsigned line,
                          unsigned column)
{
    if (places->count == MOST_PLACES) {
        return;
    }
    if (places->count == places->cap) {
        size_t cap = places->cap == 0 ? 32 : places->cap * 2;
        struct ps_config_place *items = reallocarray(places->items, cap, sizeof *items);
        if (items == NULL) {
            return;
        }
        places->items = items;
        places->cap = cap;
    }
    char *copy = strdup(path);
    if (copy != NULL) {
        places->items[places->count++] = (struct ps_config_place){copy, line, column};
    }
}

/* Is `outer` the path itself or a part of its beginning that ends where a name ends? */
static bool surrounds(const char *outer, const char *path)
{
    size_t len = strlen(outer);
    return strncmp(outer, path, len) == 0 &&
           (path[len] == '\0' || path[len] == '.' || path[len] == '[');
}

const struct ps_config_place *ps_config_places_find(const struct ps_config_places *places,
                                                    const char *path)
{
    const struct ps_config_place *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < places->count; i++) {
        size_t len = strlen(places->items[i].path);
        if (len > most && surrounds(places->items[i].path, path)) {
            best = &places->items[i];
            most = len;
        }
    }
    return best;
}

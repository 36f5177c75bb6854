/* yaml - a YAML document becomes a struct, row by row of an option table.
 *
 * Strict, because a configuration that is half understood is worse than none: unknown and repeated
 * keys, wrong kinds, aliases, anchors, tags and a second document are mistakes. Reading goes on
 * behind a mistake so that all of them are reported at once.
 *
 *      libyaml events --> mapping --> row of the table --> ps_option_set --> field
 *                            |             `--> nested table (SECTION, LIST)
 *                            `--> places: where each value stands, for the checks that come later
 *
 * Thread: owned by one thread; reads files that `*_file` keys name.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CONFIG_YAML_H
#define PS_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/option.h"
#include "base/str.h"
#include "config/report.h"

#define PS_CONFIG_LARGEST        ((size_t)1024 * 1024) /* bytes of a configuration file */
#define PS_CONFIG_DEEPEST        16                    /* nested mappings and lists */
#define PS_CONFIG_SECRET_LARGEST ((size_t)16 * 1024)   /* bytes of a file that holds a secret */

/* Where the text comes from and what it may refer to. */
struct ps_config_source {
    const char *folder;          /* relative files start here; NULL = the working directory */
    ps_option_lookup_fn *lookup; /* ${NAME}; NULL = no variable is set */
    void *lookup_ctx;
    bool no_files; /* `*_file` keys of secrets are accepted but not read (fuzzing) */
    bool others;   /* top-level keys that the table has not, nor anything like them, are somebody
                      else's: passed over */
};

/* Where a value stands. */
struct ps_config_place {
    char *path; /* "routes[2].upstream" */
    unsigned line;
    unsigned column;
};

/* A zero-initialised struct is empty and ready. */
struct ps_config_places {
    struct ps_config_place *items;
    size_t count;
    size_t cap;
};

void ps_config_places_fini(struct ps_config_places *places);

/* Remembers a place. Out of memory, or behind a hundred thousand, it is forgotten: then a finding
 * gets the place of what is around. */
void ps_config_places_add(struct ps_config_places *places, const char *path, unsigned line,
                          unsigned column);

/* The place of a value, or of the nearest thing around it that was written down; NULL when nothing
 * of it was. */
const struct ps_config_place *ps_config_places_find(const struct ps_config_places *places,
                                                    const char *path);

/* Reads `text` into `opts`, which holds the defaults already (ps_option_init). Mistakes go to
 * `report`; what could be understood is in `opts`. PS_OK when nothing is wrong, PS_EINVAL when
 * there are mistakes, PS_EPARSE when the rest could not be read because of one, PS_ENOMEM. */
PS_MUST_CHECK int ps_config_yaml_read(const struct ps_option *table, void *opts, struct ps_str text,
                                      const struct ps_config_source *source,
                                      struct ps_config_places *places,
                                      struct ps_config_report *report);

/* Reads a whole file of at most `largest` bytes. PS_OK, PS_ELIMIT when it is larger, PS_ENOMEM, or
 * what the system said (see ps_err_from_errno). With `regular` anything but a regular file is
 * PS_EINVAL; `is_public` is_public tells whether every user may read it; both may be left out
 * (false, NULL). */
PS_MUST_CHECK int ps_config_read_file(const char *path, size_t largest, bool regular,
                                      struct ps_buf *out, bool *is_public);

/* `path` as seen from the source's folder; free() it. NULL when out of memory. */
char *ps_config_resolve(const struct ps_config_source *source, const char *path);

#endif

/* leaf - walks a JSON text and hands over what it meets, each with its path.
 *
 *      {"devices":[{"vram_free":7}]}   ->   "devices"              opens an array
 *                                           "devices[]"            opens an object, index 0
 *                                           "devices[].vram_free"  a number, "7", index 0
 *
 * A table of paths then says what a page means, and no tree is built: reading needs no allocation,
 * and what nobody asked for is only checked for its grammar. That is RFC 8259, the whole text, no
 * duplicate check. What lies deeper than the bound, or under a longer path, makes the text
 * PS_ELIMIT.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_LEAF_H
#define PS_GPU_LEAF_H

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

#define PS_LEAF_DEPTH 24
#define PS_LEAF_PATH  512

enum ps_leaf_type {
    PS_LEAF_OBJECT, /* opens */
    PS_LEAF_ARRAY,  /* opens */
    PS_LEAF_STRING, /* text: between the quotes, escapes and all */
    PS_LEAF_NUMBER, /* text: as written */
    PS_LEAF_TRUE,
    PS_LEAF_FALSE,
    PS_LEAF_NULL
};

struct ps_leaf {
    struct ps_str path;  /* "" is the whole; member names as written */
    const size_t *index; /* of each [] in the path, from the left */
    size_t indexes;
    enum ps_leaf_type type;
    struct ps_str text;
};

/* The leaf is valid during the call. */
typedef void ps_leaf_fn(void *ctx, const struct ps_leaf *leaf);

/* PS_OK; PS_EPARSE or PS_ELIMIT: *offset says at which byte; what came before was handed over. */
PS_MUST_CHECK int ps_leaf_walk(struct ps_str text, ps_leaf_fn *on_leaf, void *ctx, size_t *offset);

#endif

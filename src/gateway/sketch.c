#include "gateway/sketch.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 4,
    BLOCK_WORDS = 8,       /* one line of the processor's cache */
    ENTRIES_PER_BLOCK = 4, /* 32 counters an entry */
    /* Look-ups from one halved word to the next. With two words an entry every counter is halved
     * once in 30 look-ups an entry: long enough to tell ten from one. */
    HALVE_EVERY = 15
};

int ps_sketch_init(struct ps_sketch *sketch, uint64_t entries)
{
    uint64_t blocks = 16;
    while (blocks < UINT64_C(1) << 40 && blocks * ENTRIES_PER_BLOCK < entries) {
        blocks *= 2;
    }
    uint64_t *words = calloc(blocks * BLOCK_WORDS, sizeof *words);
    if (words == NULL) {
        return PS_ENOMEM;
    }
    *sketch = (struct ps_sketch){.words = words, .blocks = blocks};
    return PS_OK;
}

void ps_sketch_fini(struct ps_sketch *sketch)
{
    free(sketch->words);
    *sketch = (struct ps_sketch){0};
}

size_t ps_sketch_bytes(const struct ps_sketch *sketch)
{
    return (size_t)sketch->blocks * BLOCK_WORDS * sizeof *sketch->words;
}

/* A key is a SHA-256: any of its bits are as good as a hash. Row r has two words of the block. */
struct place {
    uint64_t *word;
    unsigned shift;
};

static void find_places(const struct ps_sketch *sketch, const struct ps_key *key,
                        struct place places[ROWS])
{
    uint64_t block;
    uint32_t bits;
    memcpy(&block, key->bytes + 8, sizeof block);
    memcpy(&bits, key->bytes + 16, sizeof bits);
    uint64_t *words = sketch->words + (block & (sketch->blocks - 1)) * BLOCK_WORDS;
    for (unsigned row = 0; row < ROWS; row++, bits >>= 5) {
        places[row].word = words + 2 * row + (bits >> 4 & 1);
        places[row].shift = (bits & 15) * 4;
    }
}

static unsigned count_at(struct place place)
{
    return (unsigned)(*place.word >> place.shift & 15);
}

static unsigned least(const struct place places[ROWS])
{
    unsigned min = PS_SKETCH_MAX;
    for (unsigned row = 0; row < ROWS; row++) {
        unsigned count = count_at(places[row]);
        min = count < min ? count : min;
    }
    return min;
}

static void age(struct ps_sketch *sketch)
{
    if (++sketch->since < HALVE_EVERY) {
        return;
    }
    sketch->since = 0;
    uint64_t *word = &sketch->words[sketch->sweep];
    *word = *word >> 1 & UINT64_C(0x7777777777777777);
    sketch->sweep = (sketch->sweep + 1) & (sketch->blocks * BLOCK_WORDS - 1);
}

void ps_sketch_add(struct ps_sketch *sketch, const struct ps_key *key)
{
    struct place places[ROWS];
    find_places(sketch, key, places);
    unsigned min = least(places);
    for (unsigned row = 0; min < PS_SKETCH_MAX && row < ROWS; row++) {
        if (count_at(places[row]) == min) {
            *places[row].word += UINT64_C(1) << places[row].shift;
        }
    }
    age(sketch);
}

unsigned ps_sketch_estimate(const struct ps_sketch *sketch, const struct ps_key *key)
{
    struct place places[ROWS];
    find_places(sketch, key, places);
    return least(places);
}

#include "sim/words.h"

#include <stddef.h>

#include "base/check.h"

static const char *const vocabulary[] = {
    "water ",   "gate ",    "river ",   "turbine ", "pressure ", "flow ",    "valve ",  "level ",
    "stone ",   "channel ", "lake ",    "mill ",    "wheel ",    "light ",   "power ",  "night ",
    "morning ", "engine ",  "current ", "winter ",  "summer ",   "rain ",    "snow ",   "ice ",
    "bridge ",  "bank ",    "boat ",    "harbour ", "wind ",     "hill ",    "valley ", "meadow ",
    "path ",    "house ",   "window ",  "door ",    "table ",    "letter ",  "number ", "measure ",
    "slow ",    "quick ",   "deep ",    "shallow ", "clear ",    "cold ",    "warm ",   "quiet ",
    "steady ",  "narrow ",  "wide ",    "early ",   "late ",     "old ",     "new ",    "small ",
    "runs ",    "falls ",   "turns ",   "opens ",   "closes ",   "carries ", "holds ",  "fills ",
    "drives ",  "meets ",   "leaves ",  "finds ",   "keeps ",    "counts ",  "waits ",  "begins ",
    "the ",     "a ",       "this ",    "that ",    "each ",     "every ",   "one ",    "another ",
    "and ",     "or ",      "but ",     "then ",    "when ",     "while ",   "where ",  "because ",
    "in ",      "on ",      "under ",   "over ",    "through ",  "behind ",  "before ", "after ",
};

static void begin_word(struct ps_sim_words *words)
{
    if (words->left == 0) {
        words->left = (uint8_t)(5 + ps_rng_below(&words->rng, 10));
        words->begin = true;
    }
    words->rest = vocabulary[ps_rng_below(&words->rng, PS_ARRAY_LEN(vocabulary))];
    words->left--;
}

struct ps_sim_words ps_sim_words_make(uint64_t seed)
{
    return (struct ps_sim_words){.rng = ps_rng_make(seed), .rest = ""};
}

/* The last word of a sentence gets a full stop before its space. */
static char next_letter(struct ps_sim_words *words)
{
    if (*words->rest == '\0') {
        begin_word(words);
    }
    if (words->left == 0 && *words->rest == ' ' && !words->stopped) {
        words->stopped = true;
        return '.';
    }
    words->stopped = false;
    char letter = *words->rest++;
    if (words->begin) {
        words->begin = false;
        letter = (char)(letter - 'a' + 'A');
    }
    return letter;
}

void ps_sim_words_next(struct ps_sim_words *words, char *token)
{
    for (size_t i = 0; i < PS_SIM_TOKEN_BYTES; i++) {
        token[i] = next_letter(words);
    }
}

int ps_sim_words_write(struct ps_buf *out, uint64_t seed, uint64_t bytes)
{
    struct ps_sim_words words = ps_sim_words_make(seed);
    int err = PS_OK;
    for (uint64_t left = bytes; left > 0 && err == PS_OK;) {
        char token[PS_SIM_TOKEN_BYTES];
        size_t part = left < sizeof token ? (size_t)left : sizeof token;
        ps_sim_words_next(&words, token);
        err = ps_buf_append(out, token, part);
        left -= part;
    }
    return err;
}

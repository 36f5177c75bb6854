/* demo_server - see demo_server.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_server.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define MOST_WORDS 64
#define WORD       80

const char *const ps_demo_server_models[] = {
    "support", "search", "code",     "summary", "translate", "mail", "legal",   "sales", "planning",
    "hiring",  "press",  "training", "risk",    "audit",     "lab",  "archive", NULL,
};

/* A command line that is being put together; the words are copies. */
struct line {
    char words[MOST_WORDS][WORD];
    char *argv[MOST_WORDS + 1];
    size_t count;
};

static void add(struct line *line, const char *word)
{
    PS_CHECK(line->count < MOST_WORDS && strlen(word) < WORD);
    snprintf(line->words[line->count], WORD, "%s", word);
    line->argv[line->count] = line->words[line->count];
    line->count++;
}

static void add_option(struct line *line, const char *name, const char *value)
{
    add(line, name);
    add(line, value);
}

/* Models of 1.4 GiB: all of them together don't leave much of the card. */
static void add_shared(struct line *line)
{
    static const char *const options[][2] = {
        {"--engine", "ollama"},   {"--weights", "1200MiB"},         {"--activations", "128MiB"},
        {"--kv-tokens", "65536"}, {"--kv-bytes-per-token", "2KiB"}, {"--max-num-seqs", "32"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(options); i++) {
        add_option(line, options[i][0], options[i][1]);
    }
    for (size_t i = PS_ARRAY_LEN(ps_demo_server_models) - 1; i > 0; i--) {
        add_option(line, "--model", ps_demo_server_models[i - 1]);
    }
}

static void add_plain(struct line *line, const struct ps_demo_engine *engine)
{
    add_option(line, "--engine", engine->name);
    if (engine->parallel != NULL) {
        add_option(line, "--max-num-seqs", engine->parallel);
    }
}

int ps_demo_server_start(struct ps_child *child, const struct ps_demo_engine *engine, size_t which,
                         const char *listen, const char *log)
{
    struct line line = {.count = 0};
    char name[32];
    char seed[8];
    snprintf(name, sizeof name, "simulated GPU server %zu", which + 1);
    snprintf(seed, sizeof seed, "%zu", which + 1);
    add(&line, "penstock");
    add(&line, "sim");
    add_option(&line, "--listen", listen);
    add_option(&line, "--seed", seed);
    if (which == PS_DEMO_SHARED) {
        add_shared(&line);
    } else {
        add_plain(&line, engine);
    }
    return ps_child_start(child, name, line.argv, log);
}

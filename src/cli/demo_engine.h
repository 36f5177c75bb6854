/* demo_engine - what the demo plays for each engine that can be simulated.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_ENGINE_H
#define PS_CLI_DEMO_ENGINE_H

#include <stdbool.h>

#include "load/protocol.h"

struct ps_demo_engine {
    const char *name; /* as `penstock sim --engine` knows it */
    enum ps_protocol protocol;
    const char *chats;   /* what the recorded chats become: "chat", "pictures"; NULL = not played */
    bool embeddings;     /* the recorded keys are played */
    bool shows_memory;   /* a server's gauge is its device's memory, not its key-value cache */
    const char *parallel; /* sequences at once on a server; NULL = the engine's own default */
    const char *example; /* a command to try: path, and a body in single quotes */
};

/* The names that there are, and NULL. */
extern const char *const ps_demo_engine_names[];

/* The row of one of these names. */
const struct ps_demo_engine *ps_demo_engine_find(const char *name);

#endif

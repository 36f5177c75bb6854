/* demo_server - the simulated GPU servers of the demo.
 *
 *      GPU 1, GPU 2   the engine that was asked for, each with one model: what the recorded chats
 * and embeddings go to GPU 3          Ollama with a dozen models that share one card. Whoever is
 * asked for is loaded and stays, so that a rising load fills the card with models which hardly
 *                     anybody uses: what a cleanup can take back
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_SERVER_H
#define PS_CLI_DEMO_SERVER_H

#include <stddef.h>

#include "base/err.h"
#include "cli/child.h"
#include "cli/demo_engine.h"

#define PS_DEMO_SERVERS 3
#define PS_DEMO_SHARED  2 /* which of them is shared by many models */

/* Their names, most wanted first, and NULL. */
extern const char *const ps_demo_server_models[];

/* Starts one of them as `penstock sim`, to listen at the address. What ps_child_start() says. */
PS_MUST_CHECK int ps_demo_server_start(struct ps_child *child, const struct ps_demo_engine *engine,
                                       size_t which, const char *listen, const char *log);

#endif

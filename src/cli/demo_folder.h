/* demo_folder - where the demo keeps logs, configurations and what its processes write.
 *
 * It is removed at the end. A demo that was killed could not do that: the next one does it, for a
 * folder that nobody has locked any more.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_FOLDER_H
#define PS_CLI_DEMO_FOLDER_H

#include "base/err.h"

struct ps_demo_folder {
    char path[64]; /* "" = none */
    int lock;      /* of a file in it, held until the process is gone */
};

/* Makes a folder for this user alone, and removes those that killed demos left behind. PS_OK, or
 * what the system says. */
PS_MUST_CHECK int ps_demo_folder_make(struct ps_demo_folder *folder);

/* Removes it with all that is in it. One that is all zero is fine. */
void ps_demo_folder_remove(struct ps_demo_folder *folder);

#endif

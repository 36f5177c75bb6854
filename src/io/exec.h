/* exec - runs a program of somebody else, with a time limit, and hears how it ended.
 *
 * Words, never a shell: what a word holds is only ever one argument. The program has an empty
 * standard input and a process group of its own, which is killed when its time is up; of what it
 * says the last bytes are kept, standard output and standard error together.
 *
 * Thread: the loop's owner.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_IO_EXEC_H
#define PS_IO_EXEC_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#define PS_EXEC_KEPT 512 /* bytes of its output */

struct ps_exec;
struct ps_loop;

struct ps_exec_end {
    bool late;            /* it was killed because its time was up */
    int status;           /* its exit status; -1: a signal ended it */
    int signum;           /* that signal; 0 = none */
    struct ps_str output; /* the last of it; valid during the call */
};

typedef void ps_exec_fn(void *ctx, const struct ps_exec_end *end);

/* Starts words[0], looked for on the PATH, with the words behind it (NULL-terminated; copied).
 * PS_OK: on_end comes once, not from inside. PS_ENOTFOUND, PS_EDENIED, PS_ENOMEM, PS_EIO...: it did
 * not start. */
PS_MUST_CHECK int ps_exec_start(struct ps_exec **out, struct ps_loop *loop,
                                const char *const *words, ps_span timeout, ps_exec_fn *on_end,
                                void *ctx);

/* Kills it; on_end does not come any more. NULL is fine. */
void ps_exec_cancel(struct ps_exec *exec);

#endif

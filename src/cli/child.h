/* child - another copy of this program, or another program, started, watched and ended.
 *
 * A child can't outlive its parent: the kernel kills it when the parent is gone, however it went. It has
 * a process group of its own, so that Ctrl-C reaches the parent alone and the parent ends its
 * children in order. What it prints goes to a file.
 *
 * Thread: the main thread, and the one that calls ps_child_start() must live as long as the child.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_CHILD_H
#define PS_CLI_CHILD_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/err.h"

#define PS_CHILD_PATH 256

struct ps_child {
    char name[32]; /* for messages */
    char log[PS_CHILD_PATH];
    pid_t pid; /* 0 = not started */
    bool running;
    int status; /* as of waitpid(), when it has ended */
};

/* Starts this executable with the arguments argv[1..] (NULL-terminated, argv[0] is shown in lists of
 * processes). Everything is copied. PS_OK, PS_EIO or PS_ELIMIT. */
PS_MUST_CHECK int ps_child_start(struct ps_child *child, const char *name, char *const *argv,
                                 const char *log);

/* The same with the executable at the path `program`. */
PS_MUST_CHECK int ps_child_start_program(struct ps_child *child, const char *name,
                                         const char *program, char *const *argv, const char *log);

/* Is it still running? Reaps it when not. */
bool ps_child_poll(struct ps_child *child);

/* Sends a signal if it runs. */
void ps_child_signal(struct ps_child *child, int signum);

/* Ends all of them, politely and after `grace` not, and waits: it sleeps, the loop must be over. */
void ps_child_end_all(struct ps_child *children, size_t count, ps_span grace);

/* How it ended: "ended with status 1", "was killed by signal 9". Returns text. */
const char *ps_child_end_text(const struct ps_child *child, char *text, size_t size);

/* Prints the last lines of what it said. */
void ps_child_print_log(const struct ps_child *child, FILE *out);

#endif

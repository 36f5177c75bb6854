/* control - the control plane: starts and stops the workers, answers the reserved paths, reloads.
 *
 * It runs on the main thread. Signals come here: SIGHUP reads the configuration again, SIGUSR1 reopens the
 * access log, SIGTERM and SIGINT drain, a second one stops at once.
 *
 *      setup: metrics, budget, logs, site, health, admin port, workers      teardown: the mirror
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_CONTROL_H
#define PS_DAEMON_CONTROL_H

#include <stdbool.h>

struct ps_config;

struct ps_control_opts {
    struct ps_config *config; /* taken over */
    const char *path;         /* where it came from, for SIGHUP; NULL = the command line */
    /* Puts what the command line says over a file that was read again. PS_OK or an error. */
    int (*amend)(void *ctx, struct ps_config *config);
    void *ctx;
    bool print_yaml;          /* print the equivalent file once the engines are known */
    bool default_listen;      /* the address is the built-in one: a missing IPv6 is no error */
};

/* Serves until a signal ends it. Returns the exit status; failures are logged. */
int ps_control_run(const struct ps_control_opts *opts);

#endif

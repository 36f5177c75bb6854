/* spawn - see spawn.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/spawn.h"

#include <signal.h>

int ps_spawn(pthread_t *thread, void *(*run)(void *ctx), void *ctx)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? PS_OK : PS_ELIMIT;
}

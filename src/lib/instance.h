/* instance - the one object of a kind that a *_default() function makes, and ps_shutdown().
 *
 * Thread: any. One lock for all of them is held while one is made.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LIB_INSTANCE_H
#define PS_LIB_INSTANCE_H

/* Static, in the file that makes such objects. */
struct ps_instance {
    int (*make)(void **out, const char *file); /* as ps_cache_new() */
    void (*end)(void *object);
    void *object;             /* the rest is instance.c's */
    struct ps_instance *next; /* made before it */
};

/* The object; made from the file that PENSTOCK_CONFIG names when there is none, or when the process
 * was forked since. NULL: ps_last_error(). */
void *ps_instance_get(struct ps_instance *instance);

#endif

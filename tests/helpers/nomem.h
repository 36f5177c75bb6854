/* nomem - allocations that a test makes fail.
 *
 * For one source file of a test that meson.build links with nomem_dep (--wrap): our own allocations pass
 * through here and the libraries' do not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_NOMEM_H
#define PS_TESTS_NOMEM_H

#include <stdbool.h>
#include <stddef.h>

static long nomem_left = -1; /* allocations that succeed before one fails; -1 = all do */
static bool nomem_failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

/* Fails once: what comes after must cope with what is half done. */
static bool nomem_refuse(void)
{
    if (nomem_left < 0 || nomem_left-- > 0) {
        return false;
    }
    nomem_failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return nomem_refuse() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return nomem_refuse() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return nomem_refuse() ? NULL : __real_realloc(old, size);
}

#endif

/* check - assertions that stay on.
 *
 * PS_CHECK states what the programmer promised. It is never used for what came from the network, a
 * file, a driver or a peer: those are errors to be returned.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_CHECK_H
#define PS_BASE_CHECK_H

/* Prints the place and the broken promise, then aborts. Does not return. */
_Noreturn void ps_check_failed(const char *file, int line, const char *condition);

#define PS_CHECK(condition)                                                                        \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            ps_check_failed(__FILE__, __LINE__, #condition);                                       \
        }                                                                                          \
    } while (0)

/* The struct that holds `member`, from a pointer to that member. */
#define PS_CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define PS_ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#endif

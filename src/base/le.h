/* le - numbers as little-endian bytes, whatever the machine.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_LE_H
#define PS_BASE_LE_H

#include <stddef.h>
#include <stdint.h>

/* Writes the lower `bytes` bytes (at most 8) of a number. */
static inline void ps_le_put(void *at, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        ((unsigned char *)at)[i] = (unsigned char)(number >> (8 * i));
    }
}

/* Reads `bytes` bytes (at most 8). */
static inline uint64_t ps_le_take(const void *at, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++) {
        number |= (uint64_t)((const unsigned char *)at)[i] << (8 * i);
    }
    return number;
}

#endif

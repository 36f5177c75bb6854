/* metric_sketch - about how many different things were there, in 1 KiB.
 *
 * HyperLogLog with 1024 registers (Flajolet, Fusy, Gandouet, Meunier 2007): off by about 3 %; few
 * things are counted by empty registers instead (linear counting), which is nearly exact.
 *
 * Thread: the caller locks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_METRIC_SKETCH_H
#define PS_OBSERVE_METRIC_SKETCH_H

#include <stdint.h>

#define PS_METRIC_SKETCH 1024 /* bytes; all zero = nothing seen */

/* Sees a thing by a good 64-bit hash of it. */
void ps_metric_sketch_add(uint8_t sketch[PS_METRIC_SKETCH], uint64_t hash);

/* About how many different hashes it has seen. */
double ps_metric_sketch_count(const uint8_t sketch[PS_METRIC_SKETCH]);

#endif

/* second - see second.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/second.h"

#include <math.h>

struct ps_second ps_second_make(double at, double span)
{
    return (struct ps_second){
        .at = at,
        .span = span,
        .target_rps = NAN,
        .cpu_percent = NAN,
        .target_cpu_percent = NAN,
        .target_memory_bytes = NAN,
        .target_descriptors = NAN,
    };
}

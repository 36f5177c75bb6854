/* device_manual - prints the table of readings of docs/gpu.md from the one that the program has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>

#include "gpu/device.h"

int main(void)
{
    puts("| reading | unit | what it is |\n|---|---|---|");
    for (size_t i = 0; i < PS_DEVICE_FIELDS; i++) {
        printf("| `%s` | %s | %s |\n", ps_device_rows[i].name, ps_device_rows[i].unit,
               ps_device_rows[i].text);
    }
    return 0;
}

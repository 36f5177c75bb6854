/* fuzz_vitals - whatever a server might answer on its pages; the first byte chooses which.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "gpu/vitals.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ps_vitals vitals;
    struct ps_device_snapshot *snapshot = NULL;
    char why[PS_VITALS_WHY];
    if (size == 0) {
        return 0;
    }
    ps_vitals_init(&vitals);
    enum ps_vitals_page page = (enum ps_vitals_page)(data[0] % PS_VITALS_PAGES);
    if (ps_vitals_read(&vitals, page, (struct ps_str){(const char *)data + 1, size - 1}, why) !=
        PS_OK) {
        PS_CHECK(memchr(why, '\0', sizeof why) != NULL);
        return 0;
    }
    ps_vitals_finish(&vitals);
    struct ps_device_reading use = vitals.readings[PS_VITALS_KV_USE];
    PS_CHECK(!use.known || (use.value >= 0 && use.value <= 1.0001));
    if (ps_vitals_snapshot(&vitals, "fuzz", 0, &snapshot) == PS_OK) {
        PS_CHECK(snapshot->device_count == vitals.device_count);
        ps_device_snapshot_unref(snapshot);
    }
    return 0;
}

/* fuzz_owner - whatever /proc might say of a process.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "gpu/owner.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str text = {(const char *)data, size};
    struct ps_owner owner;
    char id[PS_OWNER_CONTAINER];
    if (ps_owner_parse_stat(text, &owner) == PS_OK) {
        PS_CHECK(memchr(owner.name, '\0', sizeof owner.name) != NULL);
    }
    char group[PS_OWNER_GROUP];
    bool grouped = ps_owner_parse_group(text, group);
    PS_CHECK(memchr(group, '\0', sizeof group) != NULL && grouped == (group[0] != '\0'));
    bool found = ps_owner_parse_cgroup(text, id);
    PS_CHECK(strlen(id) == (found ? PS_OWNER_CONTAINER - 1 : 0));
    return 0;
}

/* fuzz_amdgpu - whatever a descriptor might say of its owner.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "gpu/amdgpu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_amdgpu_client client;
    if (ps_amdgpu_parse_client((struct ps_str){(const char *)data, size}, &client)) {
        size_t len = strlen(client.bus);
        PS_CHECK(len > 0 && len < sizeof client.bus);
    }
    return 0;
}

/* fuzz_attribution - whatever /proc might say of sockets, addresses and published ports.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "gpu/attribution_net.h"

#define MOST 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const struct ps_attribution_address *address)
{
    char text[PS_ATTRIBUTION_TEXT];
    PS_CHECK(strchr(ps_attribution_text(address, text), ':') != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str text = {(const char *)data, size};
    struct ps_str rest = text;
    struct ps_str line;
    struct ps_attribution_address one = {0};
    struct ps_attribution_address other = {0};
    struct ps_attribution_address locals[MOST];
    uint64_t inode;
    bool listens;
    while (ps_str_split(&rest, '\n', &line)) {
        if (ps_attribution_parse_socket(line, &one, &inode, &listens)) {
            check_text(&one);
        }
    }
    size_t count = ps_attribution_parse_locals(text, text, locals, MOST);
    PS_CHECK(count <= MOST);
    for (size_t i = 0; i < count; i++) {
        PS_CHECK(locals[i].port == 0);
        check_text(&locals[i]);
    }
    if (ps_attribution_parse_proxy(text, &one, &other)) {
        PS_CHECK(one.port != 0 && other.port != 0);
        check_text(&other);
    }
    return 0;
}

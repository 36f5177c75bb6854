/* fuzz_address - texts that name a place: URLs, addresses, networks, hosts and origins.
 *
 * What is accepted must print and read back as the same, and its parts must lie inside the text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/gateway.h"
#include "http/url.h"
#include "io/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct ps_str whole, struct ps_str part)
{
    PS_CHECK(part.len <= whole.len);
    PS_CHECK(part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

static void check_url(struct ps_str text)
{
    struct ps_url url;
    if (ps_url_parse(text, &url) == PS_OK) {
        check_inside(text, url.host);
        check_inside(text, url.path);
        check_inside(text, url.authority);
        PS_CHECK(url.host.len > 0 && url.port > 0);
        PS_CHECK(url.path.len == 0 || url.path.ptr[0] == '/');
        for (size_t i = 0; i < text.len; i++) {
            PS_CHECK((unsigned char)text.ptr[i] > 0x20 && (unsigned char)text.ptr[i] < 0x7f);
        }
    }
}

static void check_address(struct ps_str text)
{
    struct ps_address address;
    struct ps_address again;
    struct ps_network network;
    char printed[PS_ADDRESS_TEXT];
    if (ps_address_parse(text, &address) == PS_OK) {
        ps_address_text(&address, printed);
        PS_CHECK(ps_address_parse(ps_str_from(printed), &again) == PS_OK);
        PS_CHECK(ps_address_eq(&address, &again));
    }
    if (ps_network_parse(text, &network) == PS_OK) {
        PS_CHECK(ps_network_holds(&network, &network.base));
    }
    if (ps_address_parse_host(text, 1, &address) == PS_OK && ps_address_is_loopback(&address)) {
        PS_CHECK(ps_str_find(text, ':') < text.len || ps_host_is_loopback(text));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    PS_CHECK(copy != NULL);
    memcpy(copy, data, size);
    struct ps_str text = {copy, size};
    check_url(text);
    check_address(text);
    struct ps_str host = ps_origin_host(text);
    check_inside(text, host);
    if (ps_host_is_loopback(host)) {
        PS_CHECK(host.len > 0);
    }
    ps_host_is_loopback(text);
    free(copy);
    return 0;
}

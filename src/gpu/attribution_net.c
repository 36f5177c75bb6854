/* attribution_net - see attribution_net.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/attribution_net.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V4_DIGITS  8
#define V6_DIGITS  32
#define PREFIX     12   /* bytes before an IPv4 address that is mapped */
#define LISTENING  0x0a /* TCP_LISTEN */
#define FIELD_ST   3
#define FIELD_LAST 9
#define TEXT       64

/* --- addresses -------------------------------------------------------------------------------- */

static const uint8_t mapped[PREFIX] = {[10] = 0xff, [11] = 0xff};

static void set_v4(struct ps_attribution_address *address, const uint8_t bytes[4])
{
    static const uint8_t any[4] = {0};
    memset(address->bytes, 0, sizeof address->bytes);
    if (memcmp(bytes, any, sizeof any) != 0) {
        memcpy(address->bytes, mapped, PREFIX);
        memcpy(address->bytes + PREFIX, bytes, 4);
    }
}

static bool is_mapped(const uint8_t bytes[16])
{
    return memcmp(bytes, mapped, PREFIX) == 0;
}

bool ps_attribution_is_any(const struct ps_attribution_address *address)
{
    static const uint8_t any[16] = {0};
    return memcmp(address->bytes, any, sizeof any) == 0;
}

bool ps_attribution_is_loopback(const struct ps_attribution_address *address)
{
    static const uint8_t one[16] = {[15] = 1};
    return memcmp(address->bytes, one, sizeof one) == 0 ||
           (is_mapped(address->bytes) && address->bytes[PREFIX] == 127);
}

const char *ps_attribution_text(const struct ps_attribution_address *address, char *text)
{
    char host[INET6_ADDRSTRLEN] = "*";
    bool v4 = is_mapped(address->bytes);
    if (!ps_attribution_is_any(address)) {
        (void)inet_ntop(v4 ? AF_INET : AF_INET6, address->bytes + (v4 ? PREFIX : 0), host,
                        sizeof host);
    }
    bool plain = v4 || ps_attribution_is_any(address);
    (void)snprintf(text, PS_ATTRIBUTION_TEXT, plain ? "%s:%u" : "[%s]:%u", host, address->port);
    return text;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool parse_hex(struct ps_str text, uint32_t *out)
{
    uint32_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_of(text.ptr[i]);
        if (digit < 0 || value >> 28 != 0) {
            return false;
        }
        value = value << 4 | (uint32_t)digit;
    }
    *out = value;
    return text.len > 0;
}

/* The kernel prints addresses as words of the machine's byte order. */
static bool parse_words(struct ps_str text, uint8_t *out, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        uint32_t word;
        if (!parse_hex(ps_str_first(ps_str_skip(text, i * V4_DIGITS), V4_DIGITS), &word)) {
            return false;
        }
        memcpy(out + 4 * i, &word, sizeof word);
    }
    return true;
}

static bool parse_local(struct ps_str text, struct ps_attribution_address *out)
{
    uint8_t bytes[16] = {0};
    uint32_t port;
    size_t colon = ps_str_find(text, ':');
    struct ps_str address = ps_str_first(text, colon);
    if (!parse_hex(ps_str_skip(text, colon + 1), &port) || port > UINT16_MAX ||
        (address.len != V4_DIGITS && address.len != V6_DIGITS) ||
        !parse_words(address, bytes, address.len / V4_DIGITS)) {
        return false;
    }
    if (address.len == V4_DIGITS) {
        set_v4(out, bytes);
    } else if (is_mapped(bytes)) {
        set_v4(out, bytes + PREFIX);
    } else {
        memcpy(out->bytes, bytes, sizeof bytes);
    }
    out->port = (uint16_t)port;
    return true;
}

/* --- sockets ---------------------------------------------------------------------------------- */

/* "  sl  local_address rem_address   st tx_queue:rx_queue tr:when retrnsmt uid timeout inode ..." */
bool ps_attribution_parse_socket(struct ps_str line, struct ps_attribution_address *at,
                                 uint64_t *inode, bool *listens)
{
    struct ps_str field;
    uint32_t state = 0;
    bool good = true;
    int i = 0;
    while (good && i <= FIELD_LAST && ps_str_split(&line, ' ', &field)) {
        if (field.len == 0) {
            continue;
        }
        good = i == 1          ? parse_local(field, at)
               : i == FIELD_ST ? parse_hex(field, &state)
               : i == FIELD_LAST ? ps_str_to_u64(field, inode) == PS_OK
                                 : true;
        i++;
    }
    *listens = state == LISTENING;
    return good && i > FIELD_LAST;
}

/* --- local addresses -------------------------------------------------------------------------- */

/* "           |-- 172.17.0.2" and behind it "              /32 host LOCAL". */
static size_t parse_trie(struct ps_str text, struct ps_attribution_address *out, size_t most)
{
    struct ps_str line;
    struct ps_str leaf = {"", 0};
    size_t count = 0;
    while (ps_str_split(&text, '\n', &line) && count < most) {
        line = ps_str_trim(line);
        if (ps_str_starts_with(line, PS_STR("|-- "))) {
            leaf = ps_str_skip(line, 4);
        } else if (ps_str_eq(line, PS_STR("/32 host LOCAL")) && leaf.len < TEXT) {
            char copy[TEXT];
            uint8_t bytes[4];
            memcpy(copy, leaf.ptr, leaf.len);
            copy[leaf.len] = '\0';
            if (inet_pton(AF_INET, copy, bytes) == 1) {
                out[count].port = 0;
                set_v4(&out[count++], bytes);
            }
        }
    }
    return count;
}

/* "fe80000000000000025056fffe3aafd0 02 40 20 80     eth0": bytes as they are sent. */
static bool parse_inet6(struct ps_str line, struct ps_attribution_address *out)
{
    if (ps_str_find(line, ' ') != V6_DIGITS) {
        return false;
    }
    for (size_t i = 0; i < sizeof out->bytes; i++) {
        uint32_t byte;
        if (!parse_hex(ps_str_first(ps_str_skip(line, 2 * i), 2), &byte)) {
            return false;
        }
        out->bytes[i] = (uint8_t)byte;
    }
    out->port = 0;
    return true;
}

size_t ps_attribution_parse_locals(struct ps_str fib_trie, struct ps_str if_inet6,
                                   struct ps_attribution_address *out, size_t most)
{
    struct ps_str line;
    size_t count = parse_trie(fib_trie, out, most);
    while (ps_str_split(&if_inet6, '\n', &line) && count < most) {
        count += parse_inet6(line, &out[count]) ? 1 : 0;
    }
    return count;
}

/* --- docker-proxy ----------------------------------------------------------------------------- */

static bool parse_address(struct ps_str text, struct ps_attribution_address *out)
{
    char copy[TEXT];
    uint8_t bytes[16];
    if (text.len >= sizeof copy) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, bytes) == 1) {
        set_v4(out, bytes);
        return true;
    }
    if (inet_pton(AF_INET6, copy, bytes) == 1) {
        memcpy(out->bytes, bytes, sizeof bytes);
        return true;
    }
    return false;
}

static bool parse_port(struct ps_str text, uint16_t *out)
{
    uint64_t port;
    if (ps_str_to_u64(text, &port) != PS_OK || port == 0 || port > UINT16_MAX) {
        return false;
    }
    *out = (uint16_t)port;
    return true;
}

enum { FROM_ADDRESS = 1, FROM_PORT = 2, TO_ADDRESS = 4, TO_PORT = 8, TCP = 16, ALL = 31 };

/* Which of the five an argument and its value give, if they give one. */
static int take(struct ps_str name, struct ps_str value, struct ps_attribution_address *from,
                struct ps_attribution_address *to)
{
    if (ps_str_eq(name, PS_STR("-host-ip"))) {
        return parse_address(value, from) ? FROM_ADDRESS : 0;
    }
    if (ps_str_eq(name, PS_STR("-host-port"))) {
        return parse_port(value, &from->port) ? FROM_PORT : 0;
    }
    if (ps_str_eq(name, PS_STR("-container-ip"))) {
        return parse_address(value, to) ? TO_ADDRESS : 0;
    }
    if (ps_str_eq(name, PS_STR("-container-port"))) {
        return parse_port(value, &to->port) ? TO_PORT : 0;
    }
    return ps_str_eq(name, PS_STR("-proto")) && ps_str_eq(value, PS_STR("tcp")) ? TCP : 0;
}

bool ps_attribution_parse_proxy(struct ps_str arguments, struct ps_attribution_address *from,
                                struct ps_attribution_address *to)
{
    struct ps_str name = {"", 0};
    struct ps_str value;
    int got = 0;
    while (ps_str_split(&arguments, '\0', &value)) {
        got |= take(name, value, from, to);
        name = value;
    }
    return got == ALL;
}

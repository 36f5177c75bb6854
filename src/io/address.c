#include "io/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "base/check.h"
#include "io/loop.h"

enum { MAX_RESOLVED = 16 };

/* The parts of a sockaddr, seen as IPv4 or IPv6. */
static const struct sockaddr_in *as_v4(const struct ps_address *address)
{
    return (const void *)&address->storage;
}

static const struct sockaddr_in6 *as_v6(const struct ps_address *address)
{
    return (const void *)&address->storage;
}

static bool is_v4(const struct ps_address *address)
{
    return address->storage.ss_family == AF_INET;
}

int ps_address_parse_host(struct ps_str host, uint16_t port, struct ps_address *out)
{
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    if (host.len == 0 || host.len >= sizeof text || memchr(host.ptr, '\0', host.len) != NULL) {
        return PS_EPARSE;
    }
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    struct ps_address address = {.len = 0};
    if (inet_pton(AF_INET, text, &v4) == 1) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = v4};
        memcpy(&address.storage, &in, sizeof in);
        address.len = sizeof in;
    } else if (inet_pton(AF_INET6, text, &v6) == 1) {
        struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = v6};
        memcpy(&address.storage, &in, sizeof in);
        address.len = sizeof in;
    } else {
        return PS_EPARSE;
    }
    *out = address;
    return PS_OK;
}

int ps_address_parse(struct ps_str text, struct ps_address *out)
{
    struct ps_str host = text;
    struct ps_str port_text;
    uint64_t port;
    if (text.len > 0 && text.ptr[0] == '[') {
        size_t close = ps_str_find(text, ']');
        if (close + 1 >= text.len || text.ptr[close + 1] != ':') {
            return PS_EPARSE;
        }
        host = ps_str_skip(ps_str_first(text, close), 1);
        if (ps_str_find(host, ':') == host.len) {
            return PS_EPARSE; /* brackets are for IPv6 */
        }
        port_text = ps_str_skip(text, close + 2);
    } else {
        size_t colon = ps_str_find(text, ':');
        host = colon == 0 ? PS_STR("::") : ps_str_first(text, colon);
        port_text = ps_str_skip(text, colon + 1);
    }
    if (ps_str_to_u64(port_text, &port) != PS_OK || port > UINT16_MAX) {
        return PS_EPARSE;
    }
    return ps_address_parse_host(host, (uint16_t)port, out);
}

/* Dotted decimal without printf: it is asked for on every request. */
static void write_v4(const struct ps_address *address, char *text)
{
    const unsigned char *bytes = (const void *)&as_v4(address)->sin_addr;
    for (int i = 0; i < 4; i++) {
        unsigned n = bytes[i];
        if (n >= 100) {
            *text++ = (char)('0' + n / 100);
        }
        if (n >= 10) {
            *text++ = (char)('0' + n / 10 % 10);
        }
        *text++ = (char)('0' + n % 10);
        *text++ = i < 3 ? '.' : '\0';
    }
}

const char *ps_address_host_text(const struct ps_address *address, char *text)
{
    if (address->len > 0 && is_v4(address)) {
        write_v4(address, text);
        return text;
    }
    const void *bytes = is_v4(address) ? (const void *)&as_v4(address)->sin_addr
                                       : (const void *)&as_v6(address)->sin6_addr;
    if (address->len == 0 ||
        inet_ntop(address->storage.ss_family, bytes, text, PS_ADDRESS_TEXT) == NULL) {
        snprintf(text, PS_ADDRESS_TEXT, "-");
    }
    return text;
}

const char *ps_address_text(const struct ps_address *address, char *text)
{
    char host[PS_ADDRESS_TEXT];
    ps_address_host_text(address, host);
    int port = ps_address_port(address);
    snprintf(text, PS_ADDRESS_TEXT, is_v4(address) ? "%.60s:%d" : "[%.60s]:%d", host, port);
    return text;
}

bool ps_address_eq(const struct ps_address *a, const struct ps_address *b)
{
    return a->len == b->len && memcmp(&a->storage, &b->storage, a->len) == 0;
}

uint16_t ps_address_port(const struct ps_address *address)
{
    return address->len == 0 ? 0
                             : ntohs(is_v4(address) ? as_v4(address)->sin_port : as_v6(address)->sin6_port);
}

void ps_address_set_port(struct ps_address *address, uint16_t port)
{
    if (is_v4(address)) {
        ((struct sockaddr_in *)(void *)&address->storage)->sin_port = htons(port);
    } else {
        ((struct sockaddr_in6 *)(void *)&address->storage)->sin6_port = htons(port);
    }
}

/* The address as 16 bytes, IPv4 in its mapped form, so that both kinds compare. */
static void mapped_bytes(const struct ps_address *address, unsigned char out[16])
{
    if (is_v4(address)) {
        memset(out, 0, 10);
        memset(out + 10, 0xff, 2);
        memcpy(out + 12, &as_v4(address)->sin_addr, 4);
    } else {
        memcpy(out, &as_v6(address)->sin6_addr, 16);
    }
}

bool ps_address_is_loopback(const struct ps_address *address)
{
    static const unsigned char v6_loopback[16] = {[15] = 1};
    static const unsigned char v4_mapped[12] = {[10] = 0xff, [11] = 0xff};
    unsigned char bytes[16];
    if (address->len == 0) {
        return false;
    }
    mapped_bytes(address, bytes);
    return memcmp(bytes, v6_loopback, 16) == 0 || (memcmp(bytes, v4_mapped, 12) == 0 && bytes[12] == 127);
}

int ps_network_parse(struct ps_str text, struct ps_network *out)
{
    size_t slash = ps_str_find(text, '/');
    struct ps_network network;
    int err = ps_address_parse_host(ps_str_first(text, slash), 0, &network.base);
    if (err != PS_OK) {
        return PS_EPARSE;
    }
    unsigned most = is_v4(&network.base) ? 32 : 128;
    uint64_t bits = most;
    if (slash < text.len && (ps_str_to_u64(ps_str_skip(text, slash + 1), &bits) != PS_OK || bits > most)) {
        return PS_EPARSE;
    }
    network.bits = (unsigned)bits + (128 - most);
    *out = network;
    return PS_OK;
}

bool ps_network_holds(const struct ps_network *network, const struct ps_address *address)
{
    unsigned char a[16];
    unsigned char b[16];
    if (address->len == 0) {
        return false;
    }
    mapped_bytes(&network->base, a);
    mapped_bytes(address, b);
    unsigned whole = network->bits / 8;
    unsigned rest = network->bits % 8;
    unsigned char mask = (unsigned char)(0xff00u >> rest);
    return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] & mask) == (b[whole] & mask));
}

/* --- resolving -------------------------------------------------------------------------------- */

struct ps_lookup {
    uv_getaddrinfo_t req;
    struct ps_loop *loop;
    ps_resolve_fn *on_result;
    void *ctx;
    uint16_t port;
};

static size_t collect(const struct addrinfo *list, uint16_t port, struct ps_address *out)
{
    size_t count = 0;
    for (; list != NULL && count < MAX_RESOLVED; list = list->ai_next) {
        if (list->ai_addrlen <= sizeof out[count].storage) {
            out[count] = (struct ps_address){.len = list->ai_addrlen};
            memcpy(&out[count].storage, list->ai_addr, list->ai_addrlen);
            ps_address_set_port(&out[count], port);
            count++;
        }
    }
    return count;
}

static void on_looked_up(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct ps_lookup *lookup = req->data;
    struct ps_address addresses[MAX_RESOLVED];
    size_t count = status == 0 ? collect(list, lookup->port, addresses) : 0;
    uv_freeaddrinfo(list);
    if (lookup->on_result != NULL && !ps_loop_is_closing(lookup->loop)) {
        lookup->on_result(lookup->ctx, count > 0 ? PS_OK : PS_ERESOLVE, addresses, count);
    }
    free(lookup);
}

int ps_lookup_start(struct ps_lookup **out, struct ps_loop *loop, struct ps_str host, uint16_t port,
                    ps_resolve_fn *on_result, void *ctx)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct ps_lookup *lookup = calloc(1, sizeof *lookup);
    char *name = ps_str_dup(host);
    int err = PS_ENOMEM;
    if (lookup == NULL || name == NULL) {
        goto out;
    }
    *lookup = (struct ps_lookup){.loop = loop, .on_result = on_result, .ctx = ctx, .port = port};
    lookup->req.data = lookup;
    err = uv_getaddrinfo(ps_loop_uv(loop), &lookup->req, on_looked_up, name, NULL, &hints) == 0
              ? PS_OK
              : PS_ENOMEM;
out:
    free(name);
    if (err != PS_OK) {
        free(lookup);
        return err;
    }
    *out = lookup;
    return PS_OK;
}

void ps_lookup_cancel(struct ps_lookup *lookup)
{
    if (lookup != NULL) {
        lookup->on_result = NULL;
        uv_cancel((uv_req_t *)&lookup->req); /* helps only while it waits for a thread */
    }
}

int ps_resolve(struct ps_loop *loop, struct ps_str host, uint16_t port, ps_resolve_fn *on_result,
               void *ctx)
{
    struct ps_lookup *lookup = NULL;
    return ps_lookup_start(&lookup, loop, host, port, on_result, ctx);
}

#include "gateway/redis_slots.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "gateway/redis_reply.h"
#include "io/address.h"

/* --- keys ------------------------------------------------------------------------------------- */

/* CRC-16/XMODEM: polynomial 0x1021, nothing reflected, starts with 0. */
static uint16_t crc16(struct ps_str text)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < text.len; i++) {
        crc = (uint16_t)(crc ^ ((unsigned)(unsigned char)text.ptr[i] << 8));
        for (int bit = 0; bit < 8; bit++) {
            crc = (uint16_t)((crc & 0x8000u) != 0 ? ((unsigned)crc << 1) ^ 0x1021u
                                                  : (unsigned)crc << 1);
        }
    }
    return crc;
}

uint16_t ps_redis_slot(struct ps_str key)
{
    size_t open = ps_str_find(key, '{');
    if (open < key.len) {
        struct ps_str rest = ps_str_skip(key, open + 1);
        size_t close = ps_str_find(rest, '}');
        if (close > 0 && close < rest.len) {
            key = ps_str_first(rest, close);
        }
    }
    return crc16(key) % PS_REDIS_SLOTS;
}

/* --- names ------------------------------------------------------------------------------------ */

static bool is_host(struct ps_str host)
{
    bool fine = host.len > 0 && host.len <= 253;
    for (size_t i = 0; fine && i < host.len; i++) {
        char c = host.ptr[i];
        fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '-' || c == '_';
    }
    return fine;
}

int ps_redis_name(struct ps_str host, uint64_t port, char name[PS_REDIS_NAME_MAX])
{
    struct ps_address address;
    if (port == 0 || port > UINT16_MAX) {
        return PS_EINVAL;
    }
    if (ps_address_parse_host(host, (uint16_t)port, &address) == PS_OK) {
        char text[PS_ADDRESS_TEXT];
        snprintf(name, PS_REDIS_NAME_MAX, "%s", ps_address_text(&address, text));
        return PS_OK;
    }
    if (!is_host(host)) {
        return PS_EINVAL;
    }
    snprintf(name, PS_REDIS_NAME_MAX, "%.*s:%u", PS_STR_ARG(host), (unsigned)port);
    for (char *c = name; *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
    }
    return PS_OK;
}

void ps_redis_name_split(struct ps_str name, struct ps_str *host, uint16_t *port)
{
    size_t colon = name.len;
    while (colon > 0 && name.ptr[colon - 1] != ':') {
        colon--;
    }
    uint64_t number = 0;
    PS_IGNORE(ps_str_to_u64(ps_str_skip(name, colon), &number));
    struct ps_str before = ps_str_first(name, colon > 0 ? colon - 1 : 0);
    if (before.len > 2 && before.ptr[0] == '[') {
        before = ps_str_skip(ps_str_first(before, before.len - 1), 1);
    }
    *host = before;
    *port = (uint16_t)number;
}

/* --- redirections ----------------------------------------------------------------------------- */

/* "host:port", where an IPv6 address may come without brackets. */
static int read_target(struct ps_str text, struct ps_str asked, char name[PS_REDIS_NAME_MAX])
{
    size_t colon = text.len;
    uint64_t port;
    while (colon > 0 && text.ptr[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0 || ps_str_to_u64(ps_str_skip(text, colon), &port) != PS_OK) {
        return PS_EPARSE;
    }
    struct ps_str host = ps_str_first(text, colon - 1);
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        host = ps_str_skip(ps_str_first(host, host.len - 1), 1);
    }
    host = host.len == 0 || ps_str_eq(host, PS_STR("?")) ? asked : host;
    return ps_redis_name(host, port, name);
}

struct ps_redis_move ps_redis_read_move(struct ps_str error, struct ps_str asked)
{
    struct ps_redis_move move = {.kind = PS_REDIS_NO_REDIRECT};
    struct ps_str word = {NULL, 0};
    struct ps_str number = {NULL, 0};
    struct ps_str target = {NULL, 0};
    struct ps_str rest = error;
    uint64_t slot;
    if (!ps_str_split(&rest, ' ', &word) || !ps_str_split(&rest, ' ', &number) ||
        !ps_str_split(&rest, ' ', &target) || ps_str_to_u64(number, &slot) != PS_OK ||
        slot >= PS_REDIS_SLOTS || read_target(target, asked, move.name) != PS_OK) {
        return move;
    }
    move.slot = (uint16_t)slot;
    if (ps_str_eq(word, PS_STR("MOVED"))) {
        move.kind = PS_REDIS_MOVED;
    } else if (ps_str_eq(word, PS_STR("ASK"))) {
        move.kind = PS_REDIS_ASK;
    }
    return move;
}

/* --- the map ---------------------------------------------------------------------------------- */

static int find_or_add(struct ps_redis_map *map, const char *name, uint16_t *index)
{
    for (size_t i = 0; i < map->count; i++) {
        if (strcmp(map->names[i], name) == 0) {
            *index = (uint16_t)i;
            return PS_OK;
        }
    }
    if (map->count == PS_REDIS_MASTERS_MAX) {
        return PS_ELIMIT;
    }
    if ((map->count & (map->count - 1)) == 0) { /* full at every power of two */
        size_t cap = map->count == 0 ? 1 : 2 * map->count;
        void *grown = realloc(map->names, cap * sizeof *map->names);
        if (grown == NULL) {
            return PS_ENOMEM;
        }
        map->names = grown;
    }
    snprintf(map->names[map->count], PS_REDIS_NAME_MAX, "%s", name);
    *index = (uint16_t)map->count++;
    return PS_OK;
}

/* [first, last, [host, port, ...], replicas...]; a host that is not known is nil, empty or "?". */
static int read_range(struct ps_redis_map *map, const struct ps_redis_reply *range,
                      struct ps_str asked)
{
    char name[PS_REDIS_NAME_MAX];
    uint16_t owner;
    const struct ps_redis_reply *first = ps_redis_reply_item(range, 0, PS_REDIS_INTEGER);
    const struct ps_redis_reply *last = ps_redis_reply_item(range, 1, PS_REDIS_INTEGER);
    const struct ps_redis_reply *master = ps_redis_reply_item(range, 2, PS_REDIS_ARRAY);
    if (first == NULL || last == NULL || master == NULL || first->integer < 0 ||
        last->integer < first->integer || last->integer >= PS_REDIS_SLOTS) {
        return PS_EPARSE;
    }
    const struct ps_redis_reply *host = ps_redis_reply_item(master, 0, PS_REDIS_STRING);
    const struct ps_redis_reply *port = ps_redis_reply_item(master, 1, PS_REDIS_INTEGER);
    bool known = host != NULL && host->text.len > 0 && !ps_str_eq(host->text, PS_STR("?"));
    if (port == NULL || port->integer < 0 ||
        ps_redis_name(known ? host->text : asked, (uint64_t)port->integer, name) != PS_OK) {
        return PS_EPARSE;
    }
    int err = find_or_add(map, name, &owner);
    for (int64_t slot = first->integer; err == PS_OK && slot <= last->integer; slot++) {
        map->owners[slot] = owner;
    }
    return err;
}

int ps_redis_map_read(struct ps_redis_map **out, const struct ps_redis_reply *reply,
                      struct ps_str asked)
{
    if (reply->type != PS_REDIS_ARRAY || reply->count > PS_REDIS_SLOTS) {
        return PS_EPARSE;
    }
    struct ps_redis_map *map = calloc(1, sizeof *map);
    if (map == NULL) {
        return PS_ENOMEM;
    }
    for (size_t slot = 0; slot < PS_REDIS_SLOTS; slot++) {
        map->owners[slot] = PS_REDIS_NOBODY;
    }
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < reply->count; i++) {
        err = read_range(map, reply->items[i], asked);
    }
    if (err == PS_OK && map->count == 0) {
        err = PS_EPARSE;
    }
    if (err != PS_OK) {
        ps_redis_map_free(map);
        return err;
    }
    *out = map;
    return PS_OK;
}

void ps_redis_map_free(struct ps_redis_map *map)
{
    if (map != NULL) {
        free(map->names);
        free(map);
    }
}

/* h1_head - see h1_head.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/h1_head.h"

#include <string.h>

const struct ps_h1_header *ps_h1_head_find(const struct ps_h1_head *head, enum ps_h1_field id)
{
    if ((head->seen & PS_H1_BIT(id)) == 0) {
        return NULL;
    }
    for (size_t i = 0; i < head->header_count; i++) {
        if (head->headers[i].id == id) {
            return &head->headers[i];
        }
    }
    return NULL;
}

const struct ps_h1_header *ps_h1_head_find_name(const struct ps_h1_head *head, struct ps_str name)
{
    enum ps_h1_field id = ps_h1_field_find(name);
    if (id != PS_H1_FIELD_OTHER) {
        return ps_h1_head_find(head, id);
    }
    for (size_t i = 0; i < head->header_count; i++) {
        if (ps_str_ieq(head->headers[i].name, name)) {
            return &head->headers[i];
        }
    }
    return NULL;
}

bool ps_h1_head_connection_has(const struct ps_h1_head *head, struct ps_str name)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (head->headers[i].id != PS_H1_CONNECTION) {
            continue;
        }
        struct ps_str rest = head->headers[i].value;
        struct ps_str option;
        while (ps_str_next_member(&rest, &option)) {
            if (ps_str_ieq(option, name)) {
                return true;
            }
        }
    }
    return false;
}

size_t ps_h1_head_copy_size(const struct ps_h1_head *head)
{
    return head->header_count * sizeof *head->headers + head->raw.len;
}

/* The view's place in the copy. A path may be a literal "/" that is not in the head. */
static struct ps_str moved(struct ps_str view, struct ps_str from, const char *to)
{
    bool inside = view.ptr != NULL && view.ptr >= from.ptr && view.ptr <= from.ptr + from.len;
    return inside ? (struct ps_str){to + (view.ptr - from.ptr), view.len} : view;
}

void ps_h1_head_copy(struct ps_h1_head *out, const struct ps_h1_head *head, void *memory)
{
    struct ps_h1_header *headers = memory;
    char *raw = (char *)(headers + head->header_count);
    struct ps_str from = head->raw;
    memcpy(raw, from.ptr, from.len);
    *out = *head;
    for (size_t i = 0; i < head->header_count; i++) {
        headers[i] = head->headers[i];
        headers[i].name = moved(headers[i].name, from, raw);
        headers[i].value = moved(headers[i].value, from, raw);
    }
    out->headers = headers;
    out->raw.ptr = raw;
    out->method = moved(head->method, from, raw);
    out->target = moved(head->target, from, raw);
    out->path = moved(head->path, from, raw);
    out->host = moved(head->host, from, raw);
    out->reason = moved(head->reason, from, raw);
    out->upgrade_protocol = moved(head->upgrade_protocol, from, raw);
}

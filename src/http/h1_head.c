/* h1_head - see h1_head.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/h1_head.h"

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

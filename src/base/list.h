/* list - intrusive doubly linked list; the element carries its node.
 *
 * A head is a node that points at itself when the list is empty.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_LIST_H
#define PS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

struct ps_list {
    struct ps_list *next;
    struct ps_list *prev;
};

static inline void ps_list_init(struct ps_list *head)
{
    head->next = head;
    head->prev = head;
}

static inline bool ps_list_is_empty(const struct ps_list *head)
{
    return head->next == head;
}

/* Inserts node before `at`; at the end of the list when `at` is its head. */
static inline void ps_list_push(struct ps_list *at, struct ps_list *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

/* Takes the node out of its list and leaves it pointing at itself; safe to repeat. */
static inline void ps_list_remove(struct ps_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    ps_list_init(node);
}

/* The first element of a list that is not empty. */
#define PS_LIST_FIRST(head, type, member) PS_CONTAINER_OF((head)->next, type, member)

/* Walks the nodes; the current one must not be removed inside. */
#define PS_LIST_FOREACH(node, head)                                                                \
    for (struct ps_list *node = (head)->next; node != (head); node = node->next)

#endif

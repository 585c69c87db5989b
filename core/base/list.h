/*
 * An intrusive doubly linked list. The head and each member are a `struct list`; unlinking is idempotent, so a
 * destructor may always do it.
 */
#ifndef MTA_BASE_LIST_H
#define MTA_BASE_LIST_H

#include "core/base/assert.h"

#include <stdbool.h>

struct list {
    struct list *prev, *next;
};

#define LIST_ITEM(l, T, m) CONTAINER_OF(l, T, m)
/* Walks a list; the current member may be unlinked or freed in the body, no other. */
#define LIST_FOREACH(it, head)                                                                                         \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head); it = it##_next, it##_next = it->next)

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}
/* Is this member in a list? (Also false for a zeroed node.) */
static inline bool list_linked(const struct list *l)
{
    return l->next != NULL && l->next != l;
}
static inline void list_append(struct list *head, struct list *l)
{
    MTA_ASSERT(!list_linked(l));
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}
static inline void list_prepend(struct list *head, struct list *l)
{
    list_append(head->next, l); /* before the first */
}
static inline void list_remove(struct list *l)
{
    if (!list_linked(l))
        return;
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}
/* Takes the first member off the list; NULL when empty. */
static inline struct list *list_shift(struct list *head)
{
    struct list *first = head->next;

    if (first == head)
        return NULL;
    list_remove(first);
    return first;
}
/* Moves all members of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#endif

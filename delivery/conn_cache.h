/*
 * Idle connections that the next message may use, by up to two names each (where the mail was to go, and the server's
 * address), for a time, and a bounded number of them. It knows nothing of what a connection is.
 */
#ifndef MTA_DELIVERY_CONN_CACHE_H
#define MTA_DELIVERY_CONN_CACHE_H

#include "core/loop/timer.h"

#define CONN_CACHE_MOST 200 /* idle connections; the one that is idle for longest makes room */

struct conn_cache;

/* Embedded in a connection; zeroed. */
struct conn_idle {
    struct conn_cache *cache; /* NULL: not in one */
    struct list by_age;
    struct conn_entry {
        struct list link;
        struct conn_bucket *bucket;
        struct conn_idle *idle;
    } by[2];
    struct timer timer;
    /* Not wanted any more, and not in the cache any more: to be closed in a polite way. */
    void (*expire)(struct conn_idle *);
};

struct conn_cache *conn_cache_new(struct loop *);
/* Expires what is there. Nulls the pointer. */
void conn_cache_free(struct conn_cache **);
void conn_cache_close_all(struct conn_cache *);
/* Keeps a connection for at most idle_ms. `second` may be NULL. Names are copied. */
void conn_cache_put(struct conn_cache *, struct conn_idle *, const char *first, const char *second, uint64_t idle_ms);
/* Takes the connection of this name that was used last; NULL when there is none. */
struct conn_idle *conn_cache_take(struct conn_cache *, const char *name);
/* Takes this one out, without a call of expire: its end has come by itself. */
void conn_cache_remove(struct conn_idle *);

#endif

/*
 * Pools of connections to MySQL and MariaDB servers. A pool holds a few connections to one set of servers (`hosts` of
 * query files that say the same about how to connect) and gives each to one query at a time. Loop thread only.
 */
#ifndef MTA_LOOKUP_MYSQL_POOL_H
#define MTA_LOOKUP_MYSQL_POOL_H

#include "lookup/mysql_conn.h"

struct mysql_pool;
struct mysql_pools;

struct mysql_pools *mysql_pools_new(struct loop *);
/* All pools must have been given back. Nulls the pointer; NULL in it is fine. */
void mysql_pools_free(struct mysql_pools **);
/* The pool for what the query file says; shared by all that say the same. */
struct mysql_pool *mysql_pool_get(struct mysql_pools *, struct query_file *);
struct mysql_pool *mysql_pool_ref(struct mysql_pool *);
/* Gives it back; the last one closes it. Connections in use and wishes must have been given back before. */
void mysql_pool_put(struct mysql_pool **);

/* A wish for a connection; embed it, zeroed. */
struct mysql_wish {
    struct list link;
    /* Called once, from the loop: a connection, which the callee then has; or NULL and why there is none. */
    void (*fn)(struct mysql_wish *, struct mysql_conn *, const char *why);
};
/*
 * Asks for a connection: an idle one, or a new one as long as there are few. When servers fail, the wish is answered
 * with NULL as soon as no connection is left nor being made; how long it waits otherwise is the caller's to bound.
 * False, and no callback, when too many wait already.
 */
bool mysql_pool_wish(struct mysql_pool *, struct mysql_wish *);
/* Takes a wish back; fine when it was answered. */
void mysql_pool_unwish(struct mysql_pool *, struct mysql_wish *);

/* Has this connection served a query before? Then the server may have dropped it meanwhile. */
bool mysql_pool_is_reused(const struct mysql_conn *);
/* Gives a connection back that is ready for another query. */
void mysql_pool_release(struct mysql_conn *);
/* Gives a connection back that must not be used again: closes it. */
void mysql_pool_drop(struct mysql_conn *);
/*
 * The same for one that failed; the idle ones to the same server, which may have been lost with it, are closed, too.
 * `server_down`: the server is to blame, others are preferred for retry_interval.
 */
void mysql_pool_fail(struct mysql_conn *, bool server_down, const char *why);

#endif

/*
 * Connections to MySQL and MariaDB servers on the loop, by the non-blocking API of libmariadb. A pool holds a few
 * connections to one set of servers (`hosts` of query files that say the same about how to connect) and gives each to
 * one query at a time. Loop thread only.
 */
#ifndef MTA_LOOKUP_MYSQL_POOL_H
#define MTA_LOOKUP_MYSQL_POOL_H

#include "lookup/query_file.h"

struct st_mysql; /* MYSQL */
struct mysql_conn;
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

struct st_mysql *mysql_conn_handle(struct mysql_conn *);
/* Has it served a query before? Then the server may have dropped it meanwhile. */
bool mysql_conn_is_reused(const struct mysql_conn *);

/*
 * One step of a dialogue on a connection: `start` begins a call of libmariadb and `cont` goes on with it, both answer
 * what it waits for, 0 when it is over. Then `after` answers the step that comes next; MYSQL_STEP_END says that it has
 * given the connection back.
 */
#define MYSQL_STEP_END (-1)
struct mysql_step {
    int (*start)(void *arg);
    int (*cont)(void *arg, int ready);
    int (*after)(void *arg);
};
/*
 * Goes through the steps from `first`. After limit_ms, or when the connection cannot be watched, `stuck` is called from
 * the loop; it must give the connection up with mysql_conn_fail or mysql_conn_drop.
 */
void mysql_conn_run(struct mysql_conn *, const struct mysql_step *steps, int first, uint64_t limit_ms,
                    void (*stuck)(void *arg), void *arg);

/* Gives a connection back that is ready for another query. */
void mysql_conn_release(struct mysql_conn *);
/*
 * Shuts the connection down and makes the call that libmariadb is in the middle of fail at once, with the step's
 * `cont`; no step comes after it. What is left to do is to release results, which cannot block then, and to close it.
 */
void mysql_conn_break(struct mysql_conn *);
/* Closes a connection that must not be used again. */
void mysql_conn_drop(struct mysql_conn *);
/*
 * Closes a connection that failed, and the idle ones to the same server, which may have been lost with it.
 * `server_down`: the server is to blame, others are preferred for retry_interval.
 */
void mysql_conn_fail(struct mysql_conn *, bool server_down, const char *why);

#endif

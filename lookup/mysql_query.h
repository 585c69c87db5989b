/* One query of a mysql: table: connection, escaped statement, all rows of all result sets, one retry. */
#ifndef MTA_LOOKUP_MYSQL_QUERY_H
#define MTA_LOOKUP_MYSQL_QUERY_H

#include "lookup/mysql_pool.h"

struct mysql_query;

/* The end of a query: the answer (which has its own error), or `failure` when there is none. Borrowed for the call. */
typedef void mysql_query_fn(void *owner, struct query_answer *, const char *failure);

/*
 * Asks for `key`, which qualifies. `done` is called once, from the loop, never inside this call and at the latest after
 * the query file's timeout; the query is released then. `pool` is borrowed until then.
 */
struct mysql_query *mysql_query_begin(struct loop *, struct mysql_pool *pool, struct query_file *, const char *key,
                                      mysql_query_fn *done, void *owner);
/* Gives up a query that is not done; no callback afterwards. Nulls the pointer. */
void mysql_query_cancel(struct mysql_query **);

#endif

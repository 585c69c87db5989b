/*
 * What the files of queue_sql share: the connection, its statements, values bound to them. Only queue_sql*.c and
 * queue_list.c include this, and with it sqlite3.h.
 */
#ifndef MTA_QUEUE_QUEUE_SQL_INT_H
#define MTA_QUEUE_QUEUE_SQL_INT_H

#include "core/queue/queue_sql.h"

#include <sqlite3.h>

enum queue_statement {
#define STATEMENT(id, sql) QUEUE_SQL_##id,
#include "core/queue/queue_statements.def"
#undef STATEMENT
    QUEUE_STATEMENTS
};

struct queue_sql {
    sqlite3 *db;
    bool reader;
    bool relaxed; /* synchronous = NORMAL at the moment */
    sqlite3_stmt *statements[QUEUE_STATEMENTS];
    unsigned lost_syncs;
    unsigned wal_pages, wal_base; /* pages in the log; how many of them the last checkpoint saw */
    struct status error;
    char detail[200];
};

/* A value to be bound: untrusted text never becomes part of a statement. */
struct queue_value {
    enum { QUEUE_VALUE_INT, QUEUE_VALUE_TEXT, QUEUE_VALUE_BYTES } type;
    uint64_t number;
    struct slice bytes;
};
#define INT(v)   ((struct queue_value){.type = QUEUE_VALUE_INT, .number = (v)})
#define TEXT(v)  ((struct queue_value){.type = QUEUE_VALUE_TEXT, .bytes = slice_str(v)})
#define BYTES(v) ((struct queue_value){.type = QUEUE_VALUE_BYTES, .bytes = (v)})

/* Keeps what went wrong for queue_sql_error; false, for the caller to return. */
bool queue_sql_failed(struct queue_sql *);
/* A statement ready to be stepped; NULL after an error. */
sqlite3_stmt *queue_sql_query(struct queue_sql *, enum queue_statement, const struct queue_value *, size_t n);
/* 1: a row; 0: no more; -1: failed. After 0 and -1 the statement is free again; else sqlite3_reset frees it. */
int queue_sql_next(struct queue_sql *, sqlite3_stmt *);
/* Runs a statement that answers no rows. */
bool queue_sql_run(struct queue_sql *, enum queue_statement, const struct queue_value *, size_t n);
/* The number in a query's first row; *value stays as it is when there is none. */
bool queue_sql_number(struct queue_sql *, sqlite3_stmt *, uint64_t *value, bool *found);

#define VALUES(...)                                                                                                    \
    (const struct queue_value[])                                                                                       \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define RUN(q, which, ...)                                                                                             \
    queue_sql_run((q), (which), VALUES(__VA_ARGS__), sizeof(VALUES(__VA_ARGS__)) / sizeof(struct queue_value))
#define QUERY(q, which, ...)                                                                                           \
    queue_sql_query((q), (which), VALUES(__VA_ARGS__), sizeof(VALUES(__VA_ARGS__)) / sizeof(struct queue_value))

#endif

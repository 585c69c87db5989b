/*
 * One connection to a MySQL or MariaDB server by the non-blocking API of libmariadb: it is made, dialogues are led on
 * it step by step, it is closed. Loop thread only.
 */
#ifndef MTA_LOOKUP_MYSQL_CONN_H
#define MTA_LOOKUP_MYSQL_CONN_H

#include "lookup/query_file.h"

struct st_mysql; /* MYSQL */
struct mysql_conn;

/*
 * Connects to file->host[host]. `done` is called once, from the loop, with NULL or with what went wrong (valid until
 * the connection is closed, which is the caller's to do in either case). Takes a quarter of the file's timeout at most,
 * or all of it where a thread is needed.
 */
struct mysql_conn *mysql_conn_connect(struct loop *, struct query_file *file, size_t host,
                                      void (*done)(void *arg, const char *error), void *arg);
/*
 * Is a thread needed to connect? libmariadb resolves names, and reads certificate and option files, without regard to
 * the loop.
 */
bool mysql_conn_needs_thread(const struct query_file *, const struct query_host *);
/* The `arg` of mysql_conn_connect. */
void *mysql_conn_arg(const struct mysql_conn *);
struct st_mysql *mysql_conn_handle(struct mysql_conn *);
/* Is a connection without a dialogue still there, as far as one can tell from here? */
bool mysql_conn_is_alive(const struct mysql_conn *);
/* Closes, whatever is going on. Nulls the pointer; NULL in it is fine. */
void mysql_conn_close(struct mysql_conn **);

/*
 * One step of a dialogue: `start` begins a call of libmariadb and `cont` goes on with it, both answer what it waits
 * for, 0 when it is over. Then `after` answers the step that comes next; MYSQL_STEP_END ends the dialogue, and the
 * connection may have been closed by then.
 */
#define MYSQL_STEP_END (-1)
struct mysql_step {
    int (*start)(void *arg);
    int (*cont)(void *arg, int ready);
    int (*after)(void *arg);
};
/*
 * Goes through the steps from `first`. After limit_ms, or when the connection cannot be watched, `stuck` is called from
 * the loop; the connection is good for nothing then but to be closed. `after` is to call mysql_conn_rest when it ends
 * the dialogue on a connection that goes on living.
 */
void mysql_conn_run(struct mysql_conn *, const struct mysql_step *steps, int first, uint64_t limit_ms,
                    void (*stuck)(void *arg), void *arg);
/* The dialogue is over: its time does not run any more. */
void mysql_conn_rest(struct mysql_conn *);
/*
 * Shuts the connection down and makes the call that libmariadb is in the middle of fail at once, with the step's
 * `cont`; no step comes after it. What is left to do is to release results, which cannot block then, and to close.
 */
void mysql_conn_break(struct mysql_conn *);

#endif

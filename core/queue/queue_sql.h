/*
 * The queue's database: schema, statements, transactions; the only user of sqlite3.h here. It knows nothing of the
 * loop: each object is one connection, used by one thread at a time. Functions that answer bool leave the reason of a
 * false in queue_sql_error; the caller then rolls back.
 */
#ifndef MTA_QUEUE_QUEUE_SQL_H
#define MTA_QUEUE_QUEUE_SQL_H

#include "core/queue/queue.h"

struct queue_sql;

/*
 * Before opening: false when the files of the queue are such that mail in them would be lost by opening them; *why says
 * what to do.
 */
bool queue_sql_check_files(const char *path, struct status *why);
/* After opening: false when the database is damaged. A large one is not looked through. */
bool queue_sql_check(struct queue_sql *, const char *path, struct status *why);
/* The writing connection: creates or migrates. NULL when the file is not a queue that we can use: *why says what to do.
 */
struct queue_sql *queue_sql_open(const char *path, struct status *why);
/* A connection for queries beside the writing one, which is open already. */
struct queue_sql *queue_sql_open_reader(const char *path, struct status *why);
/* A connection that only reads, beside a server or without one; NULL when the file is not a queue of this version. */
struct queue_sql *queue_sql_open_viewer(const char *path, struct status *why);
/* The last connection to be closed checkpoints. */
void queue_sql_close(struct queue_sql **);

/* QUEUE_FULL or QUEUE_WRITE, of the last function that failed; and what SQLite said of it, for the log. */
const struct status *queue_sql_error(const struct queue_sql *);
const char *queue_sql_detail(const struct queue_sql *);

bool queue_sql_begin(struct queue_sql *); /* a write transaction; for a reader, a snapshot */
bool queue_sql_commit(struct queue_sql *);
void queue_sql_rollback(struct queue_sql *);
/* Between transactions: do commits wait until they are on the disk? (They do at first; a later durable one covers all.)
 */
bool queue_sql_durable(struct queue_sql *, bool durable);

/* A piece of a message that is not complete yet. */
bool queue_sql_put_piece(struct queue_sql *, uint64_t qid, unsigned index, struct slice bytes);
/* The message itself, after `pieces` pieces; with none of them its content is `body`. */
bool queue_sql_put_message(struct queue_sql *, const struct envelope *, unsigned pieces, struct slice body);
/* Removes the pieces of a message that will never be complete. */
bool queue_sql_drop_incoming(struct queue_sql *, uint64_t qid);
/* Up to `room` messages that are not complete. */
bool queue_sql_incoming(struct queue_sql *, uint64_t *qids, size_t room, size_t *count);

/* See queue_record and queue_commit_report. *removed: the message went with its last recipient. */
bool queue_sql_record(struct queue_sql *, uint64_t qid, uint64_t now_us, const struct queue_result *, size_t count,
                      bool *removed);
bool queue_sql_reported(struct queue_sql *, const struct queue_reported *, bool *removed);

/* See queue_load_due, queue_read, queue_load_reports; results live in the arena. */
bool queue_sql_find_due(struct queue_sql *, struct arena *, const struct queue_due *, struct queue_batch *);
/* *message: is there such a message? *content: has it that piece, or does it end before? False is damage. */
bool queue_sql_read(struct queue_sql *, struct arena *, uint64_t qid, unsigned index, struct queue_piece *,
                    bool *message, bool *content);
bool queue_sql_find_reports(struct queue_sql *, struct arena *, uint64_t qid, struct queue_reports *);
/* See queue_count. */
bool queue_sql_count(struct queue_sql *, struct queue_totals *);
/* The greatest qid there has been, or the mark; 0 in a new queue. */
bool queue_sql_last_qid(struct queue_sql *, uint64_t *qid);

/* No id up to this one is to be given out again, whatever the clock says. */
bool queue_sql_put_mark(struct queue_sql *, uint64_t qid);

/*
 * How often the disk has failed to write what it had taken: what was not on the disk for sure before may be lost, and
 * no later success says otherwise.
 */
unsigned queue_sql_lost_syncs(const struct queue_sql *);
/* Pages in the write-ahead log since the last checkpoint. */
unsigned queue_sql_wal_pages(const struct queue_sql *);
/* Pages of the database that hold nothing; 0 when that cannot be said. */
unsigned queue_sql_free_pages(struct queue_sql *);
/* Moves the log into the database; failure is no harm: the next one does it. */
void queue_sql_checkpoint(struct queue_sql *);
/* Gives up to `most` free pages back to the file system when more than `keep` are free. Are there more to give? */
bool queue_sql_shrink(struct queue_sql *, unsigned keep, unsigned most);

#endif

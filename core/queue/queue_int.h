/*
 * What the files of the queue share: the queue itself and the jobs for its two threads. Private to core/queue.
 */
#ifndef MTA_QUEUE_QUEUE_INT_H
#define MTA_QUEUE_QUEUE_INT_H

#include "core/loop/work.h"
#include "core/queue/queue_sql.h"

#define QUEUE_PIECE 65536u /* bytes of content in one row */

struct queue {
    struct loop *loop;
    char *directory;
    int lock;
    struct worker *writer, *reader;
    void (*on_commit)(void *arg, const struct envelope *);
    void *on_commit_arg;
    void (*on_remove)(void *arg, uint64_t qid);
    void *on_remove_arg;
    struct timer upkeep;
    bool upkeep_wanted; /* something was written since the last upkeep */
    bool upkeep_running;
    bool closing;
    uint64_t room, room_until_ms; /* bytes for new mail, and how long that is good for */

    /* the writer thread's */
    struct queue_sql *write_db;
    bool failing;            /* the last transaction failed: log only changes */
    bool short_of_room;      /* what is left is for deliveries */
    unsigned log_pages_most; /* a longer log is moved into the database */
    uint64_t *litter;        /* incomplete messages whose pieces could not be removed yet */
    size_t nlitter;

    /* the reader thread's */
    uint64_t damaged; /* the last message that was said to be */
    struct queue_sql *read_db;
};

struct queue_job;

/* What a job does; a row for each kind. */
struct queue_job_kind {
    const char *name; /* for the log */
    /*
     * On the job's thread, inside a transaction, with the database of that thread. False: the database failed; the
     * transaction is rolled back, and a write that shared it with others runs once more alone. Thus it may run twice.
     */
    bool (*run)(struct queue_job *, struct queue_sql *);
    /* On the job's thread, after the transaction: it holds; or it failed for good, `status` says why. NULL: no matter.
     */
    void (*committed)(struct queue_job *);
    void (*failed)(struct queue_job *);
    bool passing; /* a write that need not be on the disk before `done` */
    bool grows;   /* a write of new mail: must not take the last room, see queue.short_of_room */
};

/* Embedded in a request. */
struct queue_job {
    struct worker_job work;
    const struct queue_job_kind *kind;
    struct queue *queue;
    struct status status;
    void (*done)(struct queue_job *);
};

/* `done` is called from the loop. */
void queue_submit_write(struct queue *, struct queue_job *, const struct queue_job_kind *,
                        void (*done)(struct queue_job *));
void queue_submit_read(struct queue *, struct queue_job *, const struct queue_job_kind *,
                       void (*done)(struct queue_job *));
/* Writer thread (at first the opener), before new mail is written: sets short_of_room and log_pages_most; logs changes.
 */
void queue_space_check(struct queue *);
/* Writer thread: an incomplete message is to be removed later. */
void queue_litter(struct queue *, uint64_t qid);
/* Finishes an op whose result is the job's status. */
void queue_finish_status(struct op *, const struct queue_job *);
/* Loop: tells the hook. */
void queue_removed(struct queue *, uint64_t qid);

#endif

/*
 * The queue: messages that we answered 250 for. Durable before it says so; see design.md section 4. One SQLite
 * database (queue_directory/queue.db, WAL, synchronous=FULL), one writer thread with natural group commit, a reader
 * thread with a connection of its own. This header is all that callers know of the store.
 *
 * Content is kept with lines that end in '\n' (no '\r'), headers added by us included.
 */
#ifndef MTA_QUEUE_QUEUE_H
#define MTA_QUEUE_QUEUE_H

#include "core/base/status.h"
#include "core/loop/op.h"
#include "core/queue/envelope.h"

struct queue;

struct queue_options {
    const char *directory; /* queue_directory; must exist and be writable */
};

/*
 * Opens or creates; blocking, at start. Refuses (NULL, one line that says what to do in *why) a corrupt or newer
 * database, a missing or read-only directory, a second instance on the same queue (lock file). Incoming messages that
 * a crash left unfinished are removed.
 */
struct queue *queue_open(struct loop *, const struct queue_options *, struct status *why);
/* Waits for everything submitted, checkpoints, closes. Blocking, at exit. */
void queue_close(struct queue **);

/* ---- receiving ---- */

/*
 * Bytes of room for new mail where the queue is, as of at most a second ago: what is free, but for a reserve that is
 * left to deliveries. False: that is not known; queue_look_for_room finds out.
 */
bool queue_room(const struct queue *, uint64_t *bytes);
/* Asks the file system, off the loop; then queue_room knows, unless it failed or took too long. */
void queue_look_for_room(struct queue *, struct op_scope *, op_done_fn *done, void *owner);

struct queue_writer;

/* Starts a message; costs nothing until content comes. */
struct queue_writer *queue_begin(struct queue *, uint64_t qid);
/*
 * Appends content. Up to 64 KiB wait in memory, more goes to the writer thread in chunks meanwhile; small messages are
 * thus written whole in the transaction that commits them. Errors show at commit (and by queue_writer_failed).
 */
void queue_write(struct queue_writer *, struct slice);
/*
 * Bytes handed to the writer thread and not yet taken by it (the last 64 KiB, which wait in memory, do not count):
 * stop reading from the client above a few hundred KiB.
 */
size_t queue_write_pending(const struct queue_writer *);
/* Calls fn(arg) once from the loop when pending is below `below`; one at a time; dropped by commit and abort. */
void queue_write_wait(struct queue_writer *, size_t below, void (*fn)(void *arg), void *arg);
uint64_t queue_written(const struct queue_writer *); /* bytes of content so far */
/* NULL while all is well; else why the commit is going to fail. */
const struct status *queue_writer_failed(const struct queue_writer *);
/*
 * Makes the message durable: envelope (copied; size and queued_us are filled in, rcpts, at least one, get ids) and
 * content in one transaction. The callback comes after fdatasync; result always a const struct status *: OK (OP_OK),
 * QUEUE_WRITE or QUEUE_FULL (OP_TEMPFAIL). Takes the writer. When nobody waits any more, the message is queued all the
 * same. A committed message is offered to the hook of queue_on_commit just before the callback.
 */
void queue_commit(struct queue_writer **, struct op_scope *, const struct envelope *, op_done_fn *done, void *owner);
/* Forgets the message and what was already written of it. */
void queue_abort(struct queue_writer **);
/*
 * The scheduler's hook: a fresh message, all its recipients due now. The envelope is borrowed for the call. NULL: no
 * hook any more.
 */
void queue_on_commit(struct queue *, void (*fn)(void *arg, const struct envelope *), void *arg);

/* ---- delivering ---- */

/*
 * Messages with recipients that are due at now_us, earliest first, at most `limit` recipients, of messages whose qid
 * is not in `busy` (in any order, borrowed for the call). Recipients that are due only after horizon_us were given
 * their time by a clock that was ahead: they count as due. With `reports`, it lists messages too that have recipients
 * whose report is not queued yet.
 */
struct queue_due {
    uint64_t now_us, horizon_us;
    size_t limit;
    const uint64_t *busy;
    size_t nbusy;
    const char *const *crowded; /* domains in lower case: recipients of theirs are passed over */
    size_t ncrowded;
    uint64_t from_us; /* what was due before is known to be busy or of crowded domains */
    bool reports;
};
/* Result of OP_OK: struct queue_batch, whose envelopes hold only the due recipients. OP_TEMPFAIL: const struct status *
 */
struct queue_batch {
    const struct envelope *const *messages;
    size_t count;
    uint64_t damaged;        /* a message that is due and cannot be read; 0: none */
    uint64_t looked_to_us;   /* all that was due before this time has been looked at; 0: nothing was */
    bool passed_over;        /* there are recipients of crowded domains */
    uint64_t next_due_us;    /* when the earliest recipient not in this batch is due; 0: none */
    const uint64_t *reports; /* messages that wait for one, at most QUEUE_REPORTS_MOST; may be in `messages` too */
    size_t nreports;
};
#define QUEUE_REPORTS_MOST 100
void queue_load_due(struct queue *, struct op_scope *, const struct queue_due *, op_done_fn *done, void *owner);

/* One piece of content. Result of OP_OK: struct queue_piece; OP_TEMPFAIL: const struct status *. */
struct queue_piece {
    struct slice bytes; /* empty: the end was before */
    bool last;          /* nothing follows */
};
/* Reads piece number `index` (0, 1, ...: about 64 KiB each) of a message. */
void queue_read(struct queue *, struct op_scope *, uint64_t qid, unsigned index, op_done_fn *done, void *owner);

enum queue_outcome {
    QUEUE_DELIVERED, /* the recipient is done: kept until its report is queued, if there is something to report */
    QUEUE_DEFERRED,  /* try again at next_us */
    QUEUE_FAILED,    /* for good: the same as delivered, with `action` FAILED */
};
struct queue_result {
    uint64_t rcpt_id;
    enum queue_outcome outcome;
    enum envelope_action action; /* to be reported; NONE: nothing */
    uint64_t next_us;            /* QUEUE_DEFERRED */
    const char *dsn;             /* "5.1.1"; may be NULL, as `text`, when nothing is kept */
    const char *text;            /* what the log line said */
};
/*
 * Records results of one attempt in one transaction (borrowed, copied). A message that has no recipient left is removed
 * in the same transaction. Callback: OP_OK with const bool * (was the message removed?), or OP_TEMPFAIL with const
 * struct status *.
 */
void queue_record(struct queue *, struct op_scope *, uint64_t qid, const struct queue_result *, size_t count,
                  op_done_fn *done, void *owner);

/*
 * Recipients of `qid` whose report is not queued yet (in the order of their ids, at most QUEUE_REPORT_RCPTS):
 * rcpt.action says what there is to report. Result of OP_OK: struct queue_reports, of nothing when there is no such
 * message; OP_TEMPFAIL: const struct status *.
 */
struct queue_report {
    struct envelope_rcpt rcpt;
    const char *dsn, *text;
    uint64_t at_us; /* when it happened */
};
struct queue_reports {
    const struct envelope *message; /* without recipients; NULL: there is none */
    const struct queue_report *reports;
    size_t count;
};
#define QUEUE_REPORT_RCPTS 5000
void queue_load_reports(struct queue *, struct op_scope *, uint64_t qid, op_done_fn *done, void *owner);
/* Recipients of a message that have been reported. */
struct queue_reported {
    uint64_t qid;
    const uint64_t *ids;
    size_t count;
    enum envelope_action then; /* what is to be reported of them now; NONE: nothing more */
};
/*
 * A report and what it changes in one transaction: commits `report` (taken; NULL: none is due) as queue_commit does;
 * with `then` NONE removes those recipients that will not be tried again, and the message when none is left. Result
 * always a const struct status *.
 */
void queue_commit_report(struct queue *, struct op_scope *, const struct queue_reported *, struct queue_writer **report,
                         const struct envelope *report_envelope, op_done_fn *done, void *owner);
/*
 * How much there is. Result of OP_OK: struct queue_totals; OP_TEMPFAIL: const struct status *;
 * OP_TIMEOUT after 5 s.
 */
struct queue_totals {
    uint64_t messages;
    uint64_t rcpts; /* that are to be tried */
};
void queue_count(struct queue *, struct op_scope *, op_done_fn *done, void *owner);
/* Another hook: a message has left the queue. Comes before the callback of the call that removed it. NULL: no hook. */
void queue_on_remove(struct queue *, void (*fn)(void *arg, uint64_t qid), void *arg);

#endif

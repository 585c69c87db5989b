/*
 * The receiving side of the queue (see queue.h): content on its way in, commit, abort, reports. Called by the SMTP
 * server's transactions and by the bounce maker; hands jobs to the writer thread.
 *
 * A writer gathers content until a piece of 64 KiB is full and more comes; what is gathered at the end goes with the
 * commit, so that a small message is written once, in the transaction that makes it durable. The writer lives until
 * its last job, which is its commit or abort, is done: the jobs of one writer share it.
 */
#include "core/base/alloc.h"
#include "core/queue/queue_int.h"

#define FIRST_ROOM 4096u

struct queue_writer {
    struct queue *queue;
    uint64_t qid;
    char *buffer; /* the piece being gathered */
    size_t used, room;
    unsigned pieces; /* handed to the writer thread before that one */
    uint64_t written;
    size_t pending;
    struct status error; /* the first piece that failed */
    void (*wait_fn)(void *arg);
    void *wait_arg;
    size_t wait_below;
    struct loop_task wait_task;

    /* the writer thread's */
    bool broken;         /* a piece is missing */
    unsigned lost_syncs; /* of the database, before the first piece */
    struct status cause;
};

struct queue_writer *queue_begin(struct queue *q, uint64_t qid)
{
    struct queue_writer *w = NEW(struct queue_writer);

    w->queue = q;
    w->qid = qid;
    w->error = w->cause = status_ok();
    return w;
}

static void writer_free(struct queue_writer *w)
{
    mem_free(w->buffer);
    mem_free(w);
}

/* ---- pieces ---- */

struct piece_job {
    struct queue_job job;
    struct queue_writer *writer;
    unsigned index;
    char *bytes;
    size_t n;
};

/* New mail must leave deliveries some room: nothing more of this message is written. */
static void mind_room(struct queue_job *job, struct queue_writer *w)
{
    if (!job->queue->short_of_room || w->broken)
        return;
    w->broken = true;
    w->cause = status_of(STATUS_QUEUE_FULL);
}

/* Pieces wait for the commit's fdatasync; one that failed before may have been about them. */
static void mind_syncs(struct queue_writer *w, const struct queue_sql *db)
{
    if (w->broken || w->lost_syncs == queue_sql_lost_syncs(db))
        return;
    w->broken = true;
    w->cause = status_of(STATUS_QUEUE_WRITE);
}

static bool piece_run(struct queue_job *job, struct queue_sql *db)
{
    struct piece_job *p = CONTAINER_OF(job, struct piece_job, job);

    if (p->index == 0)
        p->writer->lost_syncs = queue_sql_lost_syncs(db);
    mind_syncs(p->writer, db);
    mind_room(job, p->writer);
    if (p->writer->broken)
        job->status = p->writer->cause;
    return p->writer->broken || queue_sql_put_piece(db, p->writer->qid, p->index, slice_make(p->bytes, p->n));
}

static void piece_failed(struct queue_job *job)
{
    struct queue_writer *w = CONTAINER_OF(job, struct piece_job, job)->writer;

    w->broken = true;
    w->cause = job->status;
}

static void wake(void *arg)
{
    struct queue_writer *w = arg;
    void (*fn)(void *) = w->wait_fn;

    w->wait_fn = NULL;
    if (fn != NULL)
        fn(w->wait_arg);
}

static void piece_done(struct queue_job *job)
{
    struct piece_job *p = CONTAINER_OF(job, struct piece_job, job);
    struct queue_writer *w = p->writer;

    w->pending -= p->n;
    if (!status_is_ok(&job->status) && status_is_ok(&w->error))
        w->error = job->status;
    mem_free(p->bytes);
    mem_free(p);
    if (w->wait_fn != NULL && w->pending < w->wait_below)
        wake(w);
}

static void hand_over(struct queue_writer *w)
{
    static const struct queue_job_kind kind = {
        .name = "receiving", .run = piece_run, .failed = piece_failed, .passing = true, .grows = true};
    struct piece_job *p = NEW(struct piece_job);

    p->writer = w;
    p->index = w->pieces++;
    p->bytes = w->buffer;
    p->n = w->used;
    w->buffer = NULL;
    w->used = w->room = 0;
    w->pending += p->n;
    queue_submit_write(w->queue, &p->job, &kind, piece_done);
}

static void make_room(struct queue_writer *w, size_t more)
{
    size_t room = w->room > 0 ? w->room : FIRST_ROOM;

    while (room < w->used + more && room < QUEUE_PIECE)
        room *= 2;
    if (room != w->room)
        w->buffer = mem_resize(w->buffer, room);
    w->room = room;
}

void queue_write(struct queue_writer *w, struct slice in)
{
    w->written += in.n;
    if (!status_is_ok(&w->error))
        return;
    while (in.n > 0) {
        size_t n;

        if (w->used == QUEUE_PIECE)
            hand_over(w);
        make_room(w, in.n);
        n = in.n < w->room - w->used ? in.n : w->room - w->used;
        memcpy(w->buffer + w->used, in.p, n);
        w->used += n;
        in = slice_from(in, n);
    }
}

size_t queue_write_pending(const struct queue_writer *w)
{
    return w->pending;
}

uint64_t queue_written(const struct queue_writer *w)
{
    return w->written;
}

const struct status *queue_writer_failed(const struct queue_writer *w)
{
    return status_is_ok(&w->error) ? NULL : &w->error;
}

void queue_write_wait(struct queue_writer *w, size_t below, void (*fn)(void *arg), void *arg)
{
    w->wait_below = below;
    w->wait_fn = fn;
    w->wait_arg = arg;
    if (w->pending < below)
        loop_defer(w->queue->loop, &w->wait_task, wake, w);
}

/* Ends the caller's use of the writer. */
static struct queue_writer *take(struct queue_writer **wp)
{
    struct queue_writer *w = *wp;

    *wp = NULL;
    loop_defer_cancel(&w->wait_task);
    w->wait_fn = NULL;
    return w;
}

/* ---- abort ---- */

struct abort_job {
    struct queue_job job;
    struct queue_writer *writer;
};

static bool abort_run(struct queue_job *job, struct queue_sql *db)
{
    return queue_sql_drop_incoming(db, CONTAINER_OF(job, struct abort_job, job)->writer->qid);
}

static void abort_failed(struct queue_job *job)
{
    queue_litter(job->queue, CONTAINER_OF(job, struct abort_job, job)->writer->qid);
}

static void abort_done(struct queue_job *job)
{
    struct abort_job *a = CONTAINER_OF(job, struct abort_job, job);

    writer_free(a->writer);
    mem_free(a);
}

void queue_abort(struct queue_writer **wp)
{
    static const struct queue_job_kind kind = {
        .name = "aborting", .run = abort_run, .failed = abort_failed, .passing = true};
    struct queue_writer *w;
    struct abort_job *a;

    if (*wp == NULL)
        return;
    w = take(wp);
    if (w->pieces == 0) {
        writer_free(w);
        return;
    }
    a = NEW(struct abort_job);
    a->writer = w;
    queue_submit_write(w->queue, &a->job, &kind, abort_done);
}

/* ---- commit ---- */

struct commit_job {
    struct op op;
    struct queue_job job;
    struct arena arena;
    struct queue_writer *writer; /* NULL: no report is due */
    struct envelope *envelope;
    struct queue_reported reported; /* what this is the report of */
    bool removed;                   /* did that message go? */
};

static bool put_message(struct commit_job *c, struct queue_sql *db)
{
    struct queue_writer *w = c->writer;
    struct slice rest = slice_make(w->buffer, w->used);

    c->envelope->queued_us = clock_wall_us();
    if (w->pieces == 0)
        return queue_sql_put_message(db, c->envelope, 0, rest);
    return queue_sql_put_piece(db, w->qid, w->pieces, rest) &&
           queue_sql_put_message(db, c->envelope, w->pieces + 1, SLICE_EMPTY);
}

static bool commit_run(struct queue_job *job, struct queue_sql *db)
{
    struct commit_job *c = CONTAINER_OF(job, struct commit_job, job);

    if (c->writer != NULL && c->writer->pieces > 0)
        mind_syncs(c->writer, db);
    if (c->writer != NULL)
        mind_room(job, c->writer);
    if (c->writer != NULL && c->writer->broken) {
        job->status = c->writer->cause;
        return queue_sql_drop_incoming(db, c->writer->qid);
    }
    if (c->writer != NULL && !put_message(c, db))
        return false;
    return c->reported.ids == NULL || queue_sql_reported(db, &c->reported, &c->removed);
}

static void commit_failed(struct queue_job *job)
{
    struct commit_job *c = CONTAINER_OF(job, struct commit_job, job);

    if (c->writer != NULL && c->writer->pieces > 0)
        queue_litter(job->queue, c->writer->qid);
}

static void commit_release(struct op *op)
{
    struct commit_job *c = CONTAINER_OF(op, struct commit_job, op);

    arena_clear(&c->arena);
    mem_free(c);
}

static void commit_done(struct queue_job *job)
{
    struct commit_job *c = CONTAINER_OF(job, struct commit_job, job);
    struct queue *q = job->queue;

    if (c->writer != NULL)
        writer_free(c->writer);
    if (status_is_ok(&job->status)) {
        if (c->envelope != NULL && q->on_commit != NULL)
            q->on_commit(q->on_commit_arg, c->envelope);
        if (c->removed)
            queue_removed(q, c->reported.qid);
    }
    queue_finish_status(&c->op, job);
}

/* The envelope as it is going to be in the queue. */
static void seal(struct commit_job *c, const struct envelope *given)
{
    struct envelope *e = envelope_copy(&c->arena, given);

    MTA_ASSERT(e->qid == c->writer->qid && e->nrcpts > 0);
    e->size = c->writer->written;
    for (size_t i = 0; i < e->nrcpts; i++)
        e->rcpts[i].id = i + 1;
    c->envelope = e;
}

static struct commit_job *commit_new(struct queue *q, struct op_scope *scope, struct queue_writer **wp,
                                     const struct envelope *e, op_done_fn *done, void *owner)
{
    struct commit_job *c = NEW(struct commit_job);

    op_start(&c->op, q->loop, scope, "queue commit", 0, done, owner, commit_release);
    if (wp != NULL && *wp != NULL) {
        c->writer = take(wp);
        seal(c, e);
    }
    return c;
}

static const struct queue_job_kind commit_kind = {
    .name = "commit", .run = commit_run, .failed = commit_failed, .grows = true};

void queue_commit(struct queue_writer **wp, struct op_scope *scope, const struct envelope *e, op_done_fn *done,
                  void *owner)
{
    struct queue *q = (*wp)->queue;
    struct commit_job *c = commit_new(q, scope, wp, e, done, owner);

    queue_submit_write(q, &c->job, &commit_kind, commit_done);
}

void queue_commit_report(struct queue *q, struct op_scope *scope, const struct queue_reported *reported,
                         struct queue_writer **report, const struct envelope *report_envelope, op_done_fn *done,
                         void *owner)
{
    struct commit_job *c = commit_new(q, scope, report, report_envelope, done, owner);
    uint64_t *ids = arena_new_array(&c->arena, reported->count, sizeof *ids);

    c->reported = *reported;
    c->reported.ids = ids;
    memcpy(ids, reported->ids, reported->count * sizeof *ids);
    queue_submit_write(q, &c->job, &commit_kind, commit_done);
}

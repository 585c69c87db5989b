/*
 * The delivering side of the queue (see queue.h): due recipients, content, results, what is to be reported. Called by
 * the scheduler, the transports and the bounce maker; queries run on the reader thread, results on the writer thread.
 */
#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "core/queue/queue_int.h"

#define COUNT_MS 5000 /* a person waits for it */

/* A query, its arguments and its answer. */
struct query {
    struct op op;
    struct queue_job job;
    struct arena arena;
    uint64_t qid;
    unsigned index;
    struct queue_due due;
    union {
        struct queue_batch batch;
        struct queue_piece piece;
        struct queue_reports reports;
        struct queue_totals totals;
    } result;
};

static struct query *query_of(struct queue_job *job)
{
    return CONTAINER_OF(job, struct query, job);
}

static void query_release(struct op *op)
{
    struct query *r = CONTAINER_OF(op, struct query, op);

    arena_clear(&r->arena);
    mem_free(r);
}

static void query_done(struct queue_job *job)
{
    struct query *r = query_of(job);

    if (status_is_ok(&job->status))
        op_finish(&r->op, OP_OK, &r->result);
    else
        op_finish(&r->op, OP_TEMPFAIL, &job->status);
}

static struct query *query_new(struct queue *q, struct op_scope *scope, const char *name, op_done_fn *done, void *owner)
{
    struct query *r = NEW(struct query);

    op_start(&r->op, q->loop, scope, name, 0, done, owner, query_release);
    return r;
}

/* The query worked but there is nothing to answer with. */
static void no_such(struct query *r, bool message)
{
    char id[ID_TEXT];

    if (message)
        r->job.status = status_make(STATUS_SYSTEM, "message %s is not in the queue", id_format(id, r->qid));
    else
        r->job.status = status_make(STATUS_QUEUE_WRITE, "content of message %s is damaged", id_format(id, r->qid));
}

/* ---- due recipients ---- */

/* Says it once for each message, or nearly so. */
static void tell_damage(struct queue *q, uint64_t qid)
{
    char id[ID_TEXT];
    struct log_ctx ctx = {.qid = id_format(id, qid)};

    if (qid == 0 || qid == q->damaged)
        return;
    q->damaged = qid;
    log_event(LOG_QUEUE_ERROR, &ctx, "this message is damaged and cannot be delivered: check the queue database in %s",
              q->directory);
}

static bool due_run(struct queue_job *job, struct queue_sql *db)
{
    struct query *r = query_of(job);

    if (!queue_sql_find_due(db, &r->arena, &r->due, &r->result.batch))
        return false;
    tell_damage(job->queue, r->result.batch.damaged);
    return true;
}

void queue_load_due(struct queue *q, struct op_scope *scope, const struct queue_due *due, op_done_fn *done, void *owner)
{
    static const struct queue_job_kind kind = {.name = "looking for due recipients", .run = due_run};
    struct query *r = query_new(q, scope, "queue due", done, owner);
    uint64_t *busy = arena_new_array(&r->arena, due->nbusy, sizeof *busy);
    const char **crowded = arena_new_array(&r->arena, due->ncrowded, sizeof *crowded);

    r->due = *due;
    if (due->nbusy > 0)
        memcpy(busy, due->busy, due->nbusy * sizeof *busy);
    r->due.busy = busy;
    for (size_t i = 0; i < due->ncrowded; i++)
        crowded[i] = arena_strdup(&r->arena, due->crowded[i]);
    r->due.crowded = crowded;
    queue_submit_read(q, &r->job, &kind, query_done);
}

/* ---- content ---- */

static bool read_run(struct queue_job *job, struct queue_sql *db)
{
    struct query *r = query_of(job);
    bool message, content;

    if (!queue_sql_read(db, &r->arena, r->qid, r->index, &r->result.piece, &message, &content))
        return false;
    if (!message || !content)
        no_such(r, !message);
    return true;
}

void queue_read(struct queue *q, struct op_scope *scope, uint64_t qid, unsigned index, op_done_fn *done, void *owner)
{
    static const struct queue_job_kind kind = {.name = "reading a message", .run = read_run};
    struct query *r = query_new(q, scope, "queue read", done, owner);

    r->qid = qid;
    r->index = index;
    queue_submit_read(q, &r->job, &kind, query_done);
}

/* ---- what is to be reported ---- */

static bool reports_run(struct queue_job *job, struct queue_sql *db)
{
    struct query *r = query_of(job);

    return queue_sql_find_reports(db, &r->arena, r->qid, &r->result.reports);
}

void queue_load_reports(struct queue *q, struct op_scope *scope, uint64_t qid, op_done_fn *done, void *owner)
{
    static const struct queue_job_kind kind = {.name = "looking for reports", .run = reports_run};
    struct query *r = query_new(q, scope, "queue reports", done, owner);

    r->qid = qid;
    queue_submit_read(q, &r->job, &kind, query_done);
}

/* ---- how much there is ---- */

static bool count_run(struct queue_job *job, struct queue_sql *db)
{
    return queue_sql_count(db, &query_of(job)->result.totals);
}

void queue_count(struct queue *q, struct op_scope *scope, op_done_fn *done, void *owner)
{
    static const struct queue_job_kind kind = {.name = "counting", .run = count_run};

    struct query *r = NEW(struct query);

    op_start(&r->op, q->loop, scope, "queue count", COUNT_MS, done, owner, query_release);
    queue_submit_read(q, &r->job, &kind, query_done);
}

/* ---- results ---- */

struct record {
    struct op op;
    struct queue_job job;
    struct arena arena;
    uint64_t qid, now_us;
    struct queue_result *results;
    size_t count;
    bool removed;
};

static bool record_run(struct queue_job *job, struct queue_sql *db)
{
    struct record *r = CONTAINER_OF(job, struct record, job);

    return queue_sql_record(db, r->qid, r->now_us, r->results, r->count, &r->removed);
}

static void record_release(struct op *op)
{
    struct record *r = CONTAINER_OF(op, struct record, op);

    arena_clear(&r->arena);
    mem_free(r);
}

static void record_done(struct queue_job *job)
{
    struct record *r = CONTAINER_OF(job, struct record, job);

    if (!status_is_ok(&job->status)) {
        op_finish(&r->op, OP_TEMPFAIL, &job->status);
        return;
    }
    if (r->removed)
        queue_removed(job->queue, r->qid);
    op_finish(&r->op, OP_OK, &r->removed);
}

static struct queue_result *copy_results(struct arena *a, const struct queue_result *from, size_t count)
{
    struct queue_result *to = arena_new_array(a, count, sizeof *to);

    for (size_t i = 0; i < count; i++) {
        to[i] = from[i];
        to[i].dsn = arena_strdup(a, from[i].dsn);
        to[i].text = arena_strdup(a, from[i].text);
    }
    return to;
}

void queue_record(struct queue *q, struct op_scope *scope, uint64_t qid, const struct queue_result *results,
                  size_t count, op_done_fn *done, void *owner)
{
    static const struct queue_job_kind kind = {.name = "recording results", .run = record_run};
    struct record *r = NEW(struct record);

    op_start(&r->op, q->loop, scope, "queue record", 0, done, owner, record_release);
    r->qid = qid;
    r->now_us = clock_wall_us();
    r->results = copy_results(&r->arena, results, count);
    r->count = count;
    queue_submit_write(q, &r->job, &kind, record_done);
}

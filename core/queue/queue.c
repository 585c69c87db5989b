/*
 * The queue as a whole: opening and closing it, and its two threads. queue_writer.c (receiving) and queue_ops.c
 * (delivering) hand jobs to them; see queue.h for what callers see, design.md section 4 for why.
 *
 * The writer thread runs whatever waits as one transaction: natural group commit. When that fails, each job runs once
 * more alone, so that one cannot take down others. It owns the write-ahead log too: it is moved into the database when
 * it has grown, and by the upkeep a while after writes, which also removes what aborted messages left behind and gives
 * free pages back. The reader thread runs queries with a connection of its own, never disturbed by commits.
 */
#include "core/queue/queue.h"

#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "core/queue/queue_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define UPKEEP_DELAY_MS 5000
#define UPKEEP_AGAIN_MS 50
#define FREE_PAGES      1024 /* 4 MiB stay free in the file for the messages to come */
#define SHRINK_PAGES    1024 /* given back in one go */
#define UNFINISHED_MOST 4096
#define LOCK_PAUSE_MS   50
#define LOCK_TRIES      40

/* ---- the writer thread ---- */

static struct queue_job *job_of(struct list *link)
{
    return CONTAINER_OF(link, struct queue_job, work.link);
}

/* Runs the jobs from `first` up to `end` as one transaction. */
static bool transaction(struct queue_sql *db, struct list *first, const struct list *end)
{
    bool lasting = false;

    for (struct list *it = first; it != end; it = it->next)
        lasting = lasting || !job_of(it)->kind->passing;
    if (!queue_sql_durable(db, lasting) || !queue_sql_begin(db))
        return false;
    for (struct list *it = first; it != end; it = it->next) {
        struct queue_job *job = job_of(it);

        job->status = status_ok();
        if (!job->kind->run(job, db))
            return false;
    }
    return queue_sql_commit(db);
}

static void tell_committed(struct queue *q, struct list *first, const struct list *end)
{
    for (struct list *it = first; it != end; it = it->next)
        if (job_of(it)->kind->committed != NULL)
            job_of(it)->kind->committed(job_of(it));
    if (q->failing)
        log_event(LOG_QUEUE_WARNING, NULL, "queue database in %s works again", q->directory);
    q->failing = false;
}

static void tell_failed(struct queue *q, struct queue_job *job)
{
    job->status = *queue_sql_error(q->write_db);
    if (!q->failing)
        log_event(LOG_QUEUE_ERROR, NULL, "queue database in %s: %s failed: %s", q->directory, job->kind->name,
                  queue_sql_detail(q->write_db));
    q->failing = true;
    if (job->kind->failed != NULL)
        job->kind->failed(job);
}

static void write_each(struct queue *q, struct list *jobs)
{
    LIST_FOREACH(it, jobs)
    {
        if (transaction(q->write_db, it, it->next)) {
            tell_committed(q, it, it->next);
        } else {
            tell_failed(q, job_of(it));
            queue_sql_rollback(q->write_db);
        }
    }
}

static bool any_grows(const struct list *jobs)
{
    LIST_FOREACH(it, jobs)
    {
        if (job_of(it)->kind->grows)
            return true;
    }
    return false;
}

static void write_batch(void *ctx, struct list *jobs)
{
    struct queue *q = ctx;

    if (any_grows(jobs))
        queue_space_check(q);
    if (transaction(q->write_db, jobs->next, jobs)) {
        tell_committed(q, jobs->next, jobs);
    } else {
        queue_sql_rollback(q->write_db);
        /* Room in the log that a checkpoint frees may be all that is left on a full disk. */
        queue_sql_checkpoint(q->write_db);
        write_each(q, jobs);
    }
    if (queue_sql_wal_pages(q->write_db) > q->log_pages_most)
        queue_sql_checkpoint(q->write_db);
}

void queue_litter(struct queue *q, uint64_t qid)
{
    q->litter = mem_resize(q->litter, (q->nlitter + 1) * sizeof *q->litter);
    q->litter[q->nlitter++] = qid;
}

/* ---- upkeep ---- */

struct upkeep {
    struct queue_job job;
    uint64_t mark;     /* ids will not reach it until the next upkeep */
    uint64_t again_ms; /* there is more to do after this time; 0: not until something is written */
};

static bool upkeep_run(struct queue_job *job, struct queue_sql *db)
{
    for (size_t i = 0; i < job->queue->nlitter; i++)
        if (!queue_sql_drop_incoming(db, job->queue->litter[i]))
            return false;
    return queue_sql_put_mark(db, CONTAINER_OF(job, struct upkeep, job)->mark);
}

static void upkeep_committed(struct queue_job *job)
{
    struct queue *q = job->queue;

    q->nlitter = 0;
    if (queue_sql_shrink(q->write_db, FREE_PAGES, SHRINK_PAGES))
        CONTAINER_OF(job, struct upkeep, job)->again_ms = UPKEEP_AGAIN_MS;
    queue_sql_checkpoint(q->write_db);
}

static void upkeep_failed(struct queue_job *job)
{
    CONTAINER_OF(job, struct upkeep, job)->again_ms = UPKEEP_DELAY_MS;
}

static void upkeep_start(void *arg);

static void upkeep_done(struct queue_job *job)
{
    struct upkeep *u = CONTAINER_OF(job, struct upkeep, job);
    struct queue *q = job->queue;
    uint64_t delay_ms = q->upkeep_wanted ? UPKEEP_DELAY_MS : u->again_ms;

    q->upkeep_running = false;
    if (delay_ms > 0 && !q->closing)
        timer_start(q->loop, &q->upkeep, delay_ms, upkeep_start, q);
    mem_free(u);
}

static void upkeep_start(void *arg)
{
    static const struct queue_job_kind kind = {
        .name = "upkeep",
        .run = upkeep_run,
        .committed = upkeep_committed,
        .failed = upkeep_failed,
        .passing = true,
    };
    struct queue *q = arg;
    struct upkeep *u = NEW(struct upkeep);

    q->upkeep_running = true;
    u->mark = id_ahead();
    queue_submit_write(q, &u->job, &kind, upkeep_done);
    q->upkeep_wanted = false;
}

/* ---- jobs, from the loop ---- */

static void on_done(struct worker_job *work)
{
    struct queue_job *job = CONTAINER_OF(work, struct queue_job, work);

    job->done(job);
}

static void submit(struct queue *q, struct worker *to, struct queue_job *job, const struct queue_job_kind *kind,
                   void (*done)(struct queue_job *))
{
    job->queue = q;
    job->kind = kind;
    job->done = done;
    worker_submit(to, &job->work, on_done);
}

void queue_submit_write(struct queue *q, struct queue_job *job, const struct queue_job_kind *kind,
                        void (*done)(struct queue_job *))
{
    submit(q, q->writer, job, kind, done);
    q->upkeep_wanted = true;
    if (!q->upkeep_running && !timer_active(&q->upkeep))
        timer_start(q->loop, &q->upkeep, UPKEEP_DELAY_MS, upkeep_start, q);
}

void queue_submit_read(struct queue *q, struct queue_job *job, const struct queue_job_kind *kind,
                       void (*done)(struct queue_job *))
{
    submit(q, q->reader, job, kind, done);
}

void queue_finish_status(struct op *op, const struct queue_job *job)
{
    op_finish(op, status_is_ok(&job->status) ? OP_OK : OP_TEMPFAIL, &job->status);
}

void queue_on_commit(struct queue *q, void (*fn)(void *arg, const struct envelope *), void *arg)
{
    q->on_commit = fn;
    q->on_commit_arg = arg;
}

void queue_on_remove(struct queue *q, void (*fn)(void *arg, uint64_t qid), void *arg)
{
    q->on_remove = fn;
    q->on_remove_arg = arg;
}

void queue_removed(struct queue *q, uint64_t qid)
{
    if (q->on_remove != NULL)
        q->on_remove(q->on_remove_arg, qid);
}

/* ---- the reader thread ---- */

static void read_failed(struct queue *q, struct queue_job *job)
{
    job->status = *queue_sql_error(q->read_db);
    log_event(LOG_QUEUE_ERROR, NULL, "queue database in %s: %s failed: %s", q->directory, job->kind->name,
              queue_sql_detail(q->read_db));
}

/* One snapshot for all that waits; a query that fails is no matter to the others. */
static void read_batch(void *ctx, struct list *jobs)
{
    struct queue *q = ctx;
    bool begun = queue_sql_begin(q->read_db);

    LIST_FOREACH(it, jobs)
    {
        struct queue_job *job = job_of(it);

        job->status = status_ok();
        if (!begun || !job->kind->run(job, q->read_db))
            read_failed(q, job);
    }
    queue_sql_rollback(q->read_db);
}

/* ---- opening and closing ---- */

static struct status bad_directory(const char *directory, int error)
{
    if (error == ENOENT || error == ENOTDIR)
        return status_make(STATUS_CONFIG_BAD,
                           "queue_directory %s does not exist: create it and give it to the user that mta runs as",
                           directory);
    return status_make(STATUS_CONFIG_BAD,
                       "queue_directory %s cannot be written (%s): give it to the user that mta runs as", directory,
                       strerror(error));
}

static struct status in_use(const char *directory, int lock)
{
    char pid[24] = "";
    ssize_t n = pread(lock, pid, sizeof pid - 1, 0);

    pid[n > 0 ? n : 0] = '\0';
    return status_make(STATUS_CONFIG_BAD,
                       "another mta (process %ld) uses the queue in %s: stop it first, or set another queue_directory",
                       strtol(pid, NULL, 10), directory);
}

/* Takes the lock that says whose queue this is, for life; -1 and *why when it cannot be had. */
/*
 * The lock belongs to the open file, which a child has too between fork and exec: one that a kill -9 of ours left
 * there lets go within moments, so a lock that is taken is tried for a while.
 */
static bool lock_soon(int fd)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};

    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (i == LOCK_TRIES)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

static int lock_directory(const char *directory, struct status *why)
{
    char *path = mem_printf("%s/lock", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    mem_free(path);
    if (fd < 0) {
        *why = bad_directory(directory, errno);
        return -1;
    }
    if (!lock_soon(fd)) {
        *why = in_use(directory, fd);
        close(fd);
        return -1;
    }
    /* Only for the message above: a full disk is no reason not to start. */
    if (ftruncate(fd, 0) != 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
        log_event(LOG_QUEUE_WARNING, NULL, "cannot write %s/lock: %s", directory, strerror(errno));
    return fd;
}

/* SQLite would let everyone read a new file. */
static void create_private(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
}

static bool open_databases(struct queue *q, struct status *why)
{
    char *path = mem_printf("%s/queue.db", q->directory);

    if (queue_sql_check_files(path, why)) {
        create_private(path);
        q->write_db = queue_sql_open(path, why);
        if (q->write_db != NULL && !queue_sql_check(q->write_db, path, why))
            queue_sql_close(&q->write_db);
    }
    q->read_db = q->write_db == NULL ? NULL : queue_sql_open_reader(path, why);
    mem_free(path);
    return q->read_db != NULL;
}

/* Before the threads run: removes what a crash left half received, or leaves that to the upkeep. */
static bool drop_unfinished(struct queue *q)
{
    uint64_t *qids = mem_new_array(UNFINISHED_MOST, sizeof *qids);
    size_t count = 0;
    bool ok = queue_sql_incoming(q->write_db, qids, UNFINISHED_MOST, &count);

    for (size_t i = 0; i < count; i++)
        queue_litter(q, qids[i]);
    mem_free(qids);
    if (ok && count > 0 && queue_sql_begin(q->write_db)) {
        for (size_t i = 0; i < count && ok; i++)
            ok = queue_sql_drop_incoming(q->write_db, q->litter[i]);
        if (ok && queue_sql_commit(q->write_db))
            q->nlitter = 0;
        queue_sql_rollback(q->write_db);
    }
    return ok;
}

/*
 * Messages that are gone have used ids too. After a crash, which forgets the last one, ids go on beyond all that there
 * can have been; failure is no harm before the clock is set back, too.
 */
static void put_mark(struct queue *q, uint64_t mark)
{
    if (queue_sql_begin(q->write_db) && queue_sql_put_mark(q->write_db, mark))
        queue_sql_commit(q->write_db);
    queue_sql_rollback(q->write_db);
}

static bool take_over(struct queue *q, struct status *why)
{
    uint64_t last = 0;

    q->lock = lock_directory(q->directory, why);
    if (q->lock < 0 || !open_databases(q, why))
        return false;
    if (!drop_unfinished(q) || !queue_sql_last_qid(q->write_db, &last))
        log_event(LOG_QUEUE_ERROR, NULL, "queue database in %s: %s", q->directory, queue_sql_detail(q->write_db));
    id_seen(last);
    put_mark(q, id_ahead());
    return true;
}

static void release(struct queue **qp)
{
    struct queue *q = *qp;

    *qp = NULL;
    queue_sql_close(&q->read_db);
    queue_sql_close(&q->write_db);
    if (q->lock >= 0)
        close(q->lock);
    mem_free(q->litter);
    mem_free(q->directory);
    mem_free(q);
}

struct queue *queue_open(struct loop *loop, const struct queue_options *options, struct status *why)
{
    struct queue *q = NEW(struct queue);

    q->loop = loop;
    q->directory = mem_strdup(options->directory);
    if (!take_over(q, why)) {
        release(&q);
        return NULL;
    }
    queue_space_check(q);
    q->writer = worker_new(loop, "queue-writer", write_batch, q);
    q->reader = worker_new(loop, "queue-reader", read_batch, q);
    return q;
}

void queue_close(struct queue **qp)
{
    struct queue *q = *qp;

    if (q == NULL)
        return;
    *qp = NULL;
    q->closing = true;
    timer_stop(&q->upkeep);
    worker_free(&q->reader);
    worker_free(&q->writer);
    put_mark(q, id_last());
    release(&q);
}

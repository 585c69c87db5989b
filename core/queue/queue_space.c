/*
 * Room for the queue: see queue.h. New mail must not take the last of it: results of deliveries, which make room, need
 * some themselves, for the write-ahead log and for moving it into the database. So a reserve is left to them. Free
 * pages inside the database are as good as free disk.
 *
 * The SMTP server asks before it takes a message. The system is asked on the reader thread, since a network file
 * system that hangs would hold up the loop, and the answer is good for a second, however many messages come. The
 * writer thread asks once more when it has mail to write.
 */
#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/queue/queue_int.h"

#include <errno.h>
#include <sys/statvfs.h>

#define PAGE         4096u
#define LOG_PAGES    2000u      /* 8 MiB: a larger log gains nothing, and a checkpoint of it takes some milliseconds */
#define RESERVE      (8u << 20) /* as much as the log may hold */
#define RESERVE_PART 16         /* of a small disk no more than this part */
#define PLENTY       (1u << 30) /* bytes: it need not be known better */
#define GOOD_FOR_MS  1000
#define PATIENCE_MS  2000 /* for a reader that is busy, or a disk that hangs */

struct space {
    uint64_t room, reserve; /* bytes: there are, are to be left */
};

/* False: the system does not say. */
static bool look(const struct queue *q, struct queue_sql *db, struct space *space)
{
    struct statvfs fs;

    if (statvfs(q->directory, &fs) != 0)
        return false;
    space->room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (space->room < PLENTY)
        space->room += (uint64_t)queue_sql_free_pages(db) * PAGE;
    space->reserve = (uint64_t)fs.f_blocks * fs.f_frsize / RESERVE_PART;
    if (space->reserve > RESERVE)
        space->reserve = RESERVE;
    return true;
}

static uint64_t less(uint64_t bytes, uint64_t by)
{
    return bytes > by ? bytes - by : 0;
}

/* ---- the writer thread ---- */

/*
 * What is in the log and not in the database yet needs its room once more. On a small disk it is moved in good time,
 * while there is room to move it to.
 */
void queue_space_check(struct queue *q)
{
    uint64_t unmoved = (uint64_t)queue_sql_wal_pages(q->write_db) * PAGE;
    struct space now;
    bool is_short;

    q->log_pages_most = LOG_PAGES;
    if (!look(q, q->write_db, &now))
        return;
    if (now.room / 2 / PAGE < LOG_PAGES)
        q->log_pages_most = (unsigned)(now.room / 2 / PAGE);
    is_short = less(now.room, unmoved) <= now.reserve;
    if (is_short != q->short_of_room)
        log_event(LOG_QUEUE_WARNING, NULL,
                  is_short ? "no room in %s but what deliveries need: new mail is refused"
                           : "there is room in %s again: new mail is accepted",
                  q->directory);
    q->short_of_room = is_short;
}

/* ---- for the SMTP server ---- */

struct look {
    struct op op;
    struct queue_job job;
    uint64_t room;
};

static bool look_run(struct queue_job *job, struct queue_sql *db)
{
    struct look *l = CONTAINER_OF(job, struct look, job);
    struct space now;

    if (look(job->queue, db, &now))
        l->room = less(now.room, now.reserve);
    else
        job->status = status_make(STATUS_SYSTEM, "%s: %s", job->queue->directory, strerror(errno));
    return true;
}

static void look_done(struct queue_job *job)
{
    struct look *l = CONTAINER_OF(job, struct look, job);

    if (status_is_ok(&job->status)) {
        job->queue->room = l->room;
        job->queue->room_until_ms = loop_now_ms(job->queue->loop) + GOOD_FOR_MS;
    }
    queue_finish_status(&l->op, job);
}

static void look_release(struct op *op)
{
    mem_free(CONTAINER_OF(op, struct look, op));
}

bool queue_room(const struct queue *q, uint64_t *bytes)
{
    *bytes = q->room;
    return loop_now_ms(q->loop) < q->room_until_ms;
}

void queue_look_for_room(struct queue *q, struct op_scope *scope, op_done_fn *done, void *owner)
{
    static const struct queue_job_kind kind = {.name = "looking for room", .run = look_run};
    struct look *l = NEW(struct look);

    op_start(&l->op, q->loop, scope, "queue room", PATIENCE_MS, done, owner, look_release);
    queue_submit_read(q, &l->job, &kind, look_done);
}

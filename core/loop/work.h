/*
 * Blocking work off the loop, in two forms: an op that runs a function on the thread pool, and a worker, one thread of
 * its own that gets everything which waits as one batch (the queue's writer: natural group commit).
 */
#ifndef MTA_LOOP_WORK_H
#define MTA_LOOP_WORK_H

#include "core/loop/op.h"

/* Runs on a pool thread. What `arg` points to belongs to the op while it runs. */
typedef enum op_status work_fn(void *arg);

/*
 * Runs fn(arg) on the pool; the callback gets its status and `arg` as result; then free_arg(arg), also when nobody
 * waits any more. Work that has begun cannot be stopped: with a time-out it goes on and its result is dropped.
 */
void work_run(struct loop *, struct op_scope *, const char *name, uint64_t timeout_ms, work_fn *fn, void *arg,
              void (*free_arg)(void *arg), op_done_fn *done, void *owner);

/*
 * Starts the pool's threads now. Later, when there may be no more threads to be had, libuv would end the process for
 * the want of them.
 */
void work_start(struct loop *);

struct worker;

/* Embedded in a back end's request; zeroed. */
struct worker_job {
    struct list link;
    void (*done)(struct worker_job *);
};

/*
 * On the worker's thread: `jobs` is a list of worker_job.link in order of submission; all of them must be worked on
 * before it returns. They stay linked.
 */
typedef void worker_batch_fn(void *ctx, struct list *jobs);

/* `name` (at most 15 characters) is the thread's. */
struct worker *worker_new(struct loop *, const char *name, worker_batch_fn *batch, void *ctx);
/* Hands over a job. After its batch, done(job) is called from the loop. Loop thread only. */
void worker_submit(struct worker *, struct worker_job *, void (*done)(struct worker_job *));
/* Jobs submitted whose done has not run. */
size_t worker_pending(const struct worker *);
/* Finishes what was submitted (the done functions run inside this call), ends the thread, releases. Blocks: at exit. */
void worker_free(struct worker **);

#endif

/*
 * Blocking work off the loop: an op on libuv's thread pool, and a worker with a thread of its own that takes
 * everything which waits as one batch.
 */
#include "core/loop/work.h"

#include "core/base/alloc.h"
#include "core/loop/loop_int.h"

#include <pthread.h>
#include <string.h>

struct work {
    struct op op;
    uv_work_t req;
    work_fn *fn;
    void *arg;
    void (*free_arg)(void *arg);
    enum op_status status;
};

static void work_release(struct op *op)
{
    struct work *w = (struct work *)op;

    if (w->free_arg != NULL)
        w->free_arg(w->arg);
    mem_free(w);
}

static void work_on_thread(uv_work_t *req)
{
    struct work *w = CONTAINER_OF(req, struct work, req);

    w->status = w->fn(w->arg);
}

static void work_after(uv_work_t *req, int status)
{
    struct work *w = CONTAINER_OF(req, struct work, req);

    op_finish(&w->op, status == 0 ? w->status : OP_TEMPFAIL, w->arg);
}

void work_run(struct loop *loop, struct op_scope *scope, const char *name, uint64_t timeout_ms, work_fn *fn, void *arg,
              void (*free_arg)(void *arg), op_done_fn *done, void *owner)
{
    struct work *w = NEW(struct work);

    w->fn = fn;
    w->arg = arg;
    w->free_arg = free_arg;
    op_start(&w->op, loop, scope, name, timeout_ms, done, owner, work_release);
    MTA_ASSERT(uv_queue_work(&loop->uv, &w->req, work_on_thread, work_after) == 0);
}

static void nothing(uv_work_t *req)
{
    (void)req;
}

static void started(uv_work_t *req, int status)
{
    (void)status;
    mem_free(req);
}

void work_start(struct loop *loop)
{
    MTA_ASSERT(uv_queue_work(&loop->uv, NEW(uv_work_t), nothing, started) == 0);
}

struct worker {
    struct loop *loop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list waiting, finished; /* under lock */
    bool quit;                     /* under lock */
    bool idle;                     /* under lock: the thread sleeps and must be woken */
    uv_async_t *async;
    size_t pending; /* loop thread */
    worker_batch_fn *batch;
    void *ctx;
    char name[16];
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct list jobs;

    list_init(&jobs);
    pthread_setname_np(pthread_self(), w->name);
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (list_empty(&w->waiting) && !w->quit) {
            w->idle = true;
            pthread_cond_wait(&w->wake, &w->lock);
        }
        w->idle = false;
        if (list_empty(&w->waiting))
            break;
        list_splice(&jobs, &w->waiting);
        pthread_mutex_unlock(&w->lock);
        w->batch(w->ctx, &jobs);
        pthread_mutex_lock(&w->lock);
        list_splice(&w->finished, &jobs);
        uv_async_send(w->async);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void run_finished(struct worker *w)
{
    struct list done, *it;

    list_init(&done);
    pthread_mutex_lock(&w->lock);
    list_splice(&done, &w->finished);
    pthread_mutex_unlock(&w->lock);
    while ((it = list_shift(&done)) != NULL) {
        struct worker_job *job = LIST_ITEM(it, struct worker_job, link);

        if (--w->pending == 0)
            uv_unref((uv_handle_t *)w->async);
        job->done(job);
    }
}

static void worker_on_async(uv_async_t *h)
{
    struct worker *w = h->data;

    if (w != NULL)
        run_finished(w);
}

struct worker *worker_new(struct loop *loop, const char *name, worker_batch_fn *batch, void *ctx)
{
    struct worker *w = NEW(struct worker);

    w->loop = loop;
    w->batch = batch;
    w->ctx = ctx;
    memcpy(w->name, name, strnlen(name, sizeof w->name - 1));
    list_init(&w->waiting);
    list_init(&w->finished);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    w->async = NEW(uv_async_t);
    MTA_ASSERT(uv_async_init(&loop->uv, w->async, worker_on_async) == 0);
    w->async->data = w;
    uv_unref((uv_handle_t *)w->async); /* an idle worker does not keep the loop alive */
    MTA_ASSERT(pthread_create(&w->thread, NULL, worker_main, w) == 0);
    return w;
}

void worker_submit(struct worker *w, struct worker_job *job, void (*done)(struct worker_job *))
{
    bool wake;

    job->done = done;
    if (w->pending++ == 0)
        uv_ref((uv_handle_t *)w->async);
    pthread_mutex_lock(&w->lock);
    list_append(&w->waiting, &job->link);
    wake = w->idle;
    pthread_mutex_unlock(&w->lock);
    if (wake)
        pthread_cond_signal(&w->wake);
}

size_t worker_pending(const struct worker *w)
{
    return w->pending;
}

static void free_async(uv_handle_t *h)
{
    mem_free(h);
}

void worker_free(struct worker **wp)
{
    struct worker *w = *wp;

    if (w == NULL)
        return;
    *wp = NULL;
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_mutex_unlock(&w->lock);
    pthread_cond_signal(&w->wake);
    pthread_join(w->thread, NULL);
    run_finished(w);
    w->async->data = NULL;
    uv_close((uv_handle_t *)w->async, free_async);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    mem_free(w);
}

/*
 * Slices of handshakes on the thread pool, see tls_pool.h. Called by tls_handshake.c. The bound leaves threads of the
 * pool to mailbox files and tables, and keeps a storm of clients from making more threads ready to run than there are
 * processors, which would take the loop's turn from it.
 */
#include "tls/tls_pool.h"

#include <unistd.h>

#define WIDTH_MAX 8 /* half of the pool's threads */

static struct {
    bool ready;
    unsigned width, running;
    struct op_scope scope;
    struct list begun, fresh; /* tls_job.link */
} pool;

static void get_ready(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    if (pool.ready)
        return;
    pool.ready = true;
    pool.width = cpus < 1 ? 1 : cpus > WIDTH_MAX ? WIDTH_MAX : (unsigned)cpus;
    op_scope_init(&pool.scope, "TLS handshakes");
    list_init(&pool.begun);
    list_init(&pool.fresh);
}

unsigned tls_pool_width(void)
{
    get_ready();
    return pool.width;
}

static enum op_status run(void *arg)
{
    struct tls_job *job = arg;

    job->work(job);
    return OP_OK;
}

static void start_next(struct loop *loop);

static void ran(void *owner, enum op_status status, const void *result)
{
    struct loop *loop = owner;
    struct tls_job *job = (struct tls_job *)result;

    (void)status;
    pool.running--;
    start_next(loop);
    job->done(job);
}

static void start_next(struct loop *loop)
{
    while (pool.running < pool.width) {
        struct list *it = list_shift(&pool.begun);

        if (it == NULL)
            it = list_shift(&pool.fresh);
        if (it == NULL)
            return;
        pool.running++;
        work_run(loop, &pool.scope, "TLS handshake", 0, run, LIST_ITEM(it, struct tls_job, link), NULL, ran, loop);
    }
}

void tls_pool_submit(struct loop *loop, struct tls_job *job, bool begun)
{
    get_ready();
    list_append(begun ? &pool.begun : &pool.fresh, &job->link);
    start_next(loop);
}

bool tls_pool_cancel(struct tls_job *job)
{
    bool waits = list_linked(&job->link);

    list_remove(&job->link);
    return waits;
}

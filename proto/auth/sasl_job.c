/*
 * Threads for libsasl2: see sasl_job.h. Used by sasl_exchange.c. A thread takes the job that has waited longest, and
 * puts it into the list of finished ones; an eventfd, which the loop watches while somebody waits for a job, tells of
 * it. A thread that had nothing to do for a while ends.
 */
#include "proto/auth/sasl_job.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/loop/fdwatch.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define IDLE_S 30

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list waiting, finished; /* under lock */
    size_t nwaiting;               /* under lock */
    unsigned threads, idle;        /* under lock */
    unsigned hanging;              /* under lock: threads with an abandoned job */
    int event;                     /* -1: not made yet */
    /* loop thread */
    struct fdwatch watch;
    size_t awaited; /* submitted, neither done nor abandoned */
} lane = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .waiting = {&lane.waiting, &lane.waiting},
          .finished = {&lane.finished, &lane.finished},
          .event = -1};

/* ---- on a thread ---- */

/* The next job, or NULL when there was none for long. With the lock held. */
static struct sasl_job *take(void)
{
    struct timespec until;
    struct list *it;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += IDLE_S;
    lane.idle++;
    while (list_empty(&lane.waiting) && rc == 0)
        rc = pthread_cond_timedwait(&lane.wake, &lane.lock, &until);
    lane.idle--;
    it = list_shift(&lane.waiting);
    if (it == NULL)
        return NULL;
    lane.nwaiting--;
    return LIST_ITEM(it, struct sasl_job, link);
}

/* With the lock held, but not while the job runs. */
static void run(struct sasl_job *job)
{
    job->state = SASL_JOB_RUNS;
    pthread_mutex_unlock(&lane.lock);
    job->fn(job);
    pthread_mutex_lock(&lane.lock);
    if (job->abandoned != NULL) {
        lane.hanging--;
        pthread_mutex_unlock(&lane.lock);
        job->abandoned(job);
        pthread_mutex_lock(&lane.lock);
        return;
    }
    job->state = SASL_JOB_FINISHED;
    list_append(&lane.finished, &job->link);
    eventfd_write(lane.event, 1);
}

static void *thread_main(void *arg)
{
    struct sasl_job *job;

    pthread_mutex_lock(&lane.lock);
    pthread_setname_np(pthread_self(), "sasl");
    while ((job = take()) != NULL)
        run(job);
    lane.threads--;
    pthread_mutex_unlock(&lane.lock);
    return arg;
}

/* ---- on the loop's ---- */

/* With the lock held. Signals are the loop's. */
static void start_thread(void)
{
    pthread_attr_t detached;
    pthread_t thread;
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    lane.threads += pthread_create(&thread, &detached, thread_main, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&detached);
}

static void no_longer_awaited(void)
{
    if (--lane.awaited == 0)
        fdwatch_stop(&lane.watch);
}

static struct sasl_job *finished_job(void)
{
    struct list *it;

    pthread_mutex_lock(&lane.lock);
    it = list_shift(&lane.finished);
    pthread_mutex_unlock(&lane.lock);
    return it == NULL ? NULL : LIST_ITEM(it, struct sasl_job, link);
}

static void on_event(void *arg, int events)
{
    struct sasl_job *job;
    eventfd_t n;

    (void)arg;
    (void)events;
    eventfd_read(lane.event, &n);
    while ((job = finished_job()) != NULL) {
        no_longer_awaited();
        job->done(job);
    }
}

static bool watch(struct loop *loop)
{
    if (lane.event < 0)
        lane.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return lane.event >= 0 && fdwatch_start(loop, &lane.watch, lane.event, FDWATCH_READ, on_event, NULL);
}

bool sasl_job_submit(struct loop *loop, struct sasl_job *job, void (*fn)(struct sasl_job *),
                     void (*done)(struct sasl_job *))
{
    bool ok;

    if (!watch(loop))
        return false;
    job->fn = fn;
    job->done = done;
    job->state = SASL_JOB_WAITS;
    lane.awaited++;
    pthread_mutex_lock(&lane.lock);
    list_append(&lane.waiting, &job->link);
    lane.nwaiting++;
    if (lane.nwaiting > lane.idle && lane.threads < SASL_JOB_THREADS)
        start_thread();
    else
        pthread_cond_signal(&lane.wake);
    ok = lane.threads > 0;
    if (!ok) {
        list_remove(&job->link);
        lane.nwaiting--;
    }
    pthread_mutex_unlock(&lane.lock);
    if (!ok)
        no_longer_awaited();
    return ok;
}

void sasl_job_abandon(struct sasl_job *job, void (*free_job)(struct sasl_job *))
{
    bool runs;

    pthread_mutex_lock(&lane.lock);
    runs = job->state == SASL_JOB_RUNS;
    if (runs) {
        job->abandoned = free_job;
        lane.hanging++;
    } else if (job->state == SASL_JOB_WAITS)
        lane.nwaiting--;
    list_remove(&job->link);
    pthread_mutex_unlock(&lane.lock);
    no_longer_awaited();
    if (!runs)
        free_job(job);
}

bool sasl_job_all_hang(void)
{
    bool all;

    pthread_mutex_lock(&lane.lock);
    all = lane.hanging >= SASL_JOB_THREADS;
    pthread_mutex_unlock(&lane.lock);
    return all;
}

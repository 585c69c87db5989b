/*
 * Threads for libsasl2, which may block for good: it waits for an answer of saslauthd without a time limit, and cannot
 * be interrupted. So these are not the threads of the pool (core/loop/work.h), which others need and whose work is
 * waited for at exit; one that hangs is forsaken. At most SASL_JOB_THREADS, started when needed; the rest waits in
 * order. Loop thread only, one loop at a time.
 */
#ifndef MTA_AUTH_SASL_JOB_H
#define MTA_AUTH_SASL_JOB_H

#include "core/loop/loop.h"

#define SASL_JOB_THREADS 8

/* Embedded, zeroed; belongs to the thread from sasl_job_submit until done is called. */
struct sasl_job {
    struct list link;
    void (*fn)(struct sasl_job *);
    void (*done)(struct sasl_job *);
    void (*abandoned)(struct sasl_job *); /* NULL: somebody waits for it */
    void *owner;                          /* whoever submits it */
    enum { SASL_JOB_WAITS, SASL_JOB_RUNS, SASL_JOB_FINISHED } state;
};

/* Runs fn(job) on a thread, then done(job) from the loop. False: there is no thread to be had, and done never comes. */
bool sasl_job_submit(struct loop *, struct sasl_job *, void (*fn)(struct sasl_job *), void (*done)(struct sasl_job *));
/*
 * Nobody waits for it any more, done is not called: calls free_job(job) now, or on its thread when that is done with
 * it, which may be never; the loop is not kept alive for that.
 */
void sasl_job_abandon(struct sasl_job *, void (*free_job)(struct sasl_job *));
/* Does every thread hang in what was abandoned? Then one more job would only wait. */
bool sasl_job_all_hang(void);

#endif

/*
 * Slices of handshakes on the threads of the pool: as many at a time as the machine has processors, the others wait in
 * order, those that go on before those that begin. For the loop's thread.
 */
#ifndef MTA_TLS_POOL_H
#define MTA_TLS_POOL_H

#include "core/loop/work.h"

/* Embedded, zeroed. */
struct tls_job {
    struct list link;
    void (*work)(struct tls_job *); /* on a thread */
    void (*done)(struct tls_job *); /* from the loop, after it */
};

/* How many slices run at a time. */
unsigned tls_pool_width(void);
/* `begun`: this is not the first slice of its handshake. */
void tls_pool_submit(struct loop *, struct tls_job *, bool begun);
/* Takes back a job that has not begun to run; false: it runs, and done will be called. */
bool tls_pool_cancel(struct tls_job *);

#endif

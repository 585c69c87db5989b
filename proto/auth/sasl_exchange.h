/*
 * An authentication by libsasl2, server's or client's, as the loop sees it: one op for each step, whose work a thread
 * of sasl_job.c does; its time limit; and what holds when libsasl2 does not come back.
 */
#ifndef MTA_AUTH_SASL_EXCHANGE_H
#define MTA_AUTH_SASL_EXCHANGE_H

#include "core/loop/op.h"
#include "proto/auth/sasl_job.h"

#define SASL_EXCHANGE_TIMEOUT_MS 30000 /* for one step, the wait for a thread included */

struct sasl_exchange;

struct sasl_exchange_kind {
    const char *name;                     /* the ops' */
    void (*work)(struct sasl_job *);      /* a step; on a thread */
    void *(*result)(struct sasl_job *);   /* after it; on the loop: what the op is finished with */
    void *(*failure)(const char *reason); /* the same when libsasl2 could not be asked, or gave no answer in time */
    void (*free_result)(void *);
    void (*free_job)(struct sasl_job *); /* any thread */
};

/* `job` is the first member of what a step works on; it is the exchange's from now on. */
struct sasl_exchange *sasl_exchange_new(struct loop *, const struct sasl_exchange_kind *, struct sasl_job *job);
/* Between steps, to prepare the next; NULL once an exchange has failed. */
struct sasl_job *sasl_exchange_job(struct sasl_exchange *);
/* One step: the op's status is OP_OK, its result what `result` or `failure` made. */
void sasl_exchange_ask(struct sasl_exchange *, struct op_scope *, op_done_fn *done, void *owner);
/* A step that needs no thread: finishes an op with `result`. */
void sasl_exchange_say(struct sasl_exchange *, void *result, struct op_scope *, op_done_fn *done, void *owner);
/* Also while an op is under way, whose callback then never comes. */
void sasl_exchange_end(struct sasl_exchange *);

#endif

/*
 * An authentication by libsasl2 as the loop sees it: see sasl_exchange.h. What a thread works on is an object of its
 * own, so that the exchange can lose it to a thread that hangs.
 */
#include "proto/auth/sasl_exchange.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"

#define TOO_LATE "no answer from libsasl2 in time; does saslauthd hang?"

struct sasl_call {
    struct op op;
    struct sasl_exchange *exchange; /* NULL once it has ended */
    const struct sasl_exchange_kind *kind;
    void *result;
};

struct sasl_exchange {
    struct loop *loop;
    const struct sasl_exchange_kind *kind;
    struct sasl_job *job; /* NULL: lost */
    bool busy;            /* a thread has the job, or it waits for one */
    struct sasl_call *call;
    struct timer timer;
};

static void call_release(struct op *op)
{
    struct sasl_call *c = (struct sasl_call *)op;

    if (c->exchange != NULL)
        c->exchange->call = NULL;
    if (c->result != NULL)
        c->kind->free_result(c->result);
    mem_free(c);
}

static void finish(struct sasl_exchange *x, void *result)
{
    x->call->result = result;
    op_finish(&x->call->op, OP_OK, result);
}

static void lose_job(struct sasl_exchange *x)
{
    struct sasl_job *job = x->job;

    timer_stop(&x->timer);
    x->job = NULL;
    if (job == NULL)
        return;
    if (x->busy)
        sasl_job_abandon(job, x->kind->free_job);
    else
        x->kind->free_job(job);
    x->busy = false;
}

static void on_abandoned(struct op *op)
{
    struct sasl_exchange *x = ((struct sasl_call *)op)->exchange;

    lose_job(x);
    finish(x, NULL);
}

static void on_timeout(void *arg)
{
    struct sasl_exchange *x = arg;

    lose_job(x);
    finish(x, x->kind->failure(TOO_LATE));
}

static void on_done(struct sasl_job *job)
{
    struct sasl_exchange *x = job->owner;

    x->busy = false;
    timer_stop(&x->timer);
    finish(x, x->kind->result(job));
}

static void start_call(struct sasl_exchange *x, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct sasl_call *c = NEW(struct sasl_call);

    MTA_ASSERT(x->call == NULL || op_detached(&x->call->op));
    if (x->call != NULL)
        x->call->exchange = NULL;
    c->exchange = x;
    c->kind = x->kind;
    x->call = c;
    op_start(&c->op, x->loop, scope, x->kind->name, 0, done, owner, call_release);
    c->op.abandoned = on_abandoned;
}

struct sasl_exchange *sasl_exchange_new(struct loop *loop, const struct sasl_exchange_kind *kind, struct sasl_job *job)
{
    struct sasl_exchange *x = NEW(struct sasl_exchange);

    x->loop = loop;
    x->kind = kind;
    x->job = job;
    return x;
}

struct sasl_job *sasl_exchange_job(struct sasl_exchange *x)
{
    MTA_ASSERT(!x->busy);
    return x->job;
}

void sasl_exchange_ask(struct sasl_exchange *x, struct op_scope *scope, op_done_fn *done, void *owner)
{
    const char *trouble = NULL;

    start_call(x, scope, done, owner);
    if (x->job == NULL || sasl_job_all_hang())
        trouble = TOO_LATE;
    else if (!sasl_job_submit(x->loop, x->job, x->kind->work, on_done))
        trouble = "no thread for libsasl2 can be started";
    if (trouble != NULL) {
        finish(x, x->kind->failure(trouble));
        return;
    }
    x->job->owner = x;
    x->busy = true;
    timer_start(x->loop, &x->timer, SASL_EXCHANGE_TIMEOUT_MS, on_timeout, x);
}

void sasl_exchange_say(struct sasl_exchange *x, void *result, struct op_scope *scope, op_done_fn *done, void *owner)
{
    start_call(x, scope, done, owner);
    finish(x, result);
}

void sasl_exchange_end(struct sasl_exchange *x)
{
    struct sasl_call *c = x->call;

    if (c != NULL && !op_detached(&c->op))
        op_abandon(&c->op);
    if (c != NULL)
        c->exchange = NULL;
    lose_job(x);
    mem_free(x);
}

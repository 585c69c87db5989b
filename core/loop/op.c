/*
 * The one asynchronous mechanism: see op.h for its rules. Back ends own ops, owners hold scopes; a finished op is
 * delivered and released from a deferred task, so nothing calls back inside a start call.
 */
#include "core/loop/op.h"

#include "core/loop/loop_int.h"

void op_scope_init(struct op_scope *s, const char *who)
{
    list_init(&s->ops);
    s->closed = false;
    s->who = who;
    s->trace = NULL;
}

void op_scope_init_within(struct op_scope *s, const char *who, const struct op_scope *outer)
{
    op_scope_init(s, who);
    s->trace = outer->trace;
}

static void detach(struct op *op)
{
    list_remove(&op->in_scope);
    timer_stop(&op->timeout);
    op->done = NULL;
    op->owner = NULL;
}

void op_abandon(struct op *op)
{
    detach(op);
    if (op->abandoned != NULL && !op->finished)
        op->abandoned(op);
}

void op_scope_cancel(struct op_scope *s)
{
    struct list *it;

    while ((it = list_shift(&s->ops)) != NULL)
        op_abandon(LIST_ITEM(it, struct op, in_scope));
}

void op_scope_close(struct op_scope *s)
{
    s->closed = true;
    op_scope_cancel(s);
}

static void deliver(struct op *op, enum op_status status, const void *result)
{
    op_done_fn *done = op->done;
    void *owner = op->owner;

    if (done == NULL)
        return;
    detach(op);
    done(owner, status, result);
}

static void on_timeout(void *arg)
{
    deliver(arg, OP_TIMEOUT, NULL);
    op_abandon(arg);
}

static void on_finished(void *arg)
{
    struct op *op = arg;

    deliver(op, op->status, op->result);
    list_remove(&op->in_all);
    op->loop->nops--;
    op->release(op);
}

void op_start(struct op *op, struct loop *loop, struct op_scope *scope, const char *name, uint64_t timeout_ms,
              op_done_fn *done, void *owner, void (*release)(struct op *))
{
    MTA_ASSERT(!scope->closed);
    MTA_ASSERT(op->loop == NULL && done != NULL && release != NULL);
    op->loop = loop;
    op->name = name;
    op->started_ms = loop_now_ms(loop);
    op->done = done;
    op->owner = owner;
    op->release = release;
    list_append(&scope->ops, &op->in_scope);
    list_append(&loop->ops, &op->in_all);
    loop->nops++;
    if (timeout_ms > 0)
        timer_start(loop, &op->timeout, timeout_ms, on_timeout, op);
}

void op_finish(struct op *op, enum op_status status, const void *result)
{
    MTA_ASSERT(!op->finished);
    op->finished = true;
    op->status = status;
    op->result = result;
    timer_stop(&op->timeout);
    loop_defer(op->loop, &op->task, on_finished, op);
}

size_t op_live(const struct loop *l)
{
    return l->nops;
}

void op_each(const struct loop *l, void (*fn)(void *arg, const struct op *), void *arg)
{
    LIST_FOREACH(it, &l->ops)
    fn(arg, LIST_ITEM(it, const struct op, in_all));
}

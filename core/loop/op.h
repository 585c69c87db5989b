/*
 * The one asynchronous mechanism. A request is an `op`: the first member of a heap object that its back end owns,
 * listed in the `op_scope` that is embedded in whoever waits for it.
 *
 *  1. The callback runs at most once and never inside the start call; failure to start is delivered the same way.
 *  2. Never after cancel: op_scope_close detaches every op; the back end keeps it until it is done, the late result is
 *     dropped.
 *  3. The op leaves the scope before its callback runs, so the callback may start new ops or close the scope.
 *  4. Results are borrowed for the call.
 *  5. Time-outs belong to the op: it is detached, the callback gets OP_TIMEOUT, a later answer is dropped.
 *  7. Detaching is not undoing: what the op was to do may still happen.
 */
#ifndef MTA_LOOP_OP_H
#define MTA_LOOP_OP_H

#include "core/loop/timer.h"

enum op_status {
    OP_OK,
    OP_NOTFOUND,
    OP_TEMPFAIL,
    OP_TIMEOUT,
};

/* `result` is what the back end's header says; NULL unless it says otherwise. */
typedef void op_done_fn(void *owner, enum op_status, const void *result);

struct op_scope {
    struct list ops;
    bool closed;
    const char *who; /* for diagnosis */
    void *trace;     /* who wants to know what is asked in it: struct table_trace; NULL: nobody */
};

struct op {
    struct list in_scope;
    struct list in_all;
    struct loop *loop;
    const char *name;
    uint64_t started_ms;
    op_done_fn *done; /* NULL once delivered or detached */
    void *owner;
    void (*release)(struct op *);
    void (*abandoned)(struct op *);
    struct timer timeout;
    struct loop_task task;
    enum op_status status;
    const void *result;
    bool finished;
};

void op_scope_init(struct op_scope *, const char *who);
/* The scope of what an op of `outer` waits for itself: whoever traces that one hears of this one too. */
void op_scope_init_within(struct op_scope *, const char *who, const struct op_scope *outer);
/* Detaches every op; none of their callbacks runs any more. Idempotent. No op may be started in it afterwards. */
void op_scope_close(struct op_scope *);
/* As close, but the scope may be used again: for a transaction that is reset. */
void op_scope_cancel(struct op_scope *);
static inline bool op_scope_idle(const struct op_scope *s)
{
    return list_empty(&s->ops);
}

/*
 * For back ends. op_start enlists `op` (zeroed memory inside the back end's request) in the scope; timeout_ms 0 is no
 * time-out. `release` frees the request; it is called exactly once, from the loop, after op_finish was called and the
 * callback, if still wanted, has run.
 */
void op_start(struct op *, struct loop *, struct op_scope *, const char *name, uint64_t timeout_ms, op_done_fn *done,
              void *owner, void (*release)(struct op *));
/* The back end is done with the request: delivers `status` and `result` (valid until release) from the loop. Once. */
void op_finish(struct op *, enum op_status, const void *result);
/*
 * A back end that can stop early sets op->abandoned after op_start: called, once, when the last one who waited is gone
 * (time-out, cancel) and op_finish has not been called yet, which is to be done all the same.
 */
/* Detaches this op alone, as the end of its scope would. Not after its callback has run. */
void op_abandon(struct op *);
/* Does nobody wait for the answer any more? Back ends may then skip work that has no lasting effect. */
static inline bool op_detached(const struct op *op)
{
    return op->done == NULL;
}
/* Ops that are not released yet: shutdown waits for zero, tests assert it. */
size_t op_live(const struct loop *);
/* Walks the live ops for diagnosis. */
void op_each(const struct loop *, void (*fn)(void *arg, const struct op *), void *arg);

#endif

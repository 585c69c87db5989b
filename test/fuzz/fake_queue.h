/*
 * A queue in memory in place of core/queue/queue*.c: what the SMTP server calls of queue.h, and no thread. It is the
 * linker that puts it there: a symbol that the driver has is not looked for in the library. Commits are answered from
 * the loop, after as many turns as the input says; they fail, and the disk is slow, when the input says so.
 */
#ifndef TEST_FUZZ_FAKE_QUEUE_H
#define TEST_FUZZ_FAKE_QUEUE_H

#include "fuzz/fuzz.h"

#include "core/base/id.h"
#include "core/queue/queue.h"

/* A message that was committed. */
struct fake_message {
    struct arena arena;
    struct envelope *envelope;
    struct buf content;
};

#define FAKE_MESSAGES_MOST 64

struct queue {
    struct loop *loop;
    bool fails, slow, full;
    bool room_known; /* somebody has asked, since the last fake_queue_clear */
    unsigned delay;  /* turns of the loop until a question is answered */
    struct fake_message messages[FAKE_MESSAGES_MOST];
    size_t n;
    size_t writers; /* alive: each is to be committed or aborted */
};

struct queue_writer {
    struct queue *queue;
    uint64_t qid;
    struct buf content;
    size_t pending;
    struct loop_task room;
    void (*on_room)(void *arg);
    void *arg;
};

/* What is answered after some turns. */
struct fake_op {
    struct op op;
    struct queue *queue;
    struct loop_task task;
    unsigned left;
    bool looks_for_room;
    struct status status;
};

static inline void fake_queue_clear(struct queue *q)
{
    for (size_t i = 0; i < q->n; i++) {
        arena_clear(&q->messages[i].arena);
        buf_release(&q->messages[i].content);
    }
    memset(q->messages, 0, sizeof q->messages[0] * q->n);
    q->n = 0;
    q->room_known = false;
}

struct queue_writer *queue_begin(struct queue *q, uint64_t qid)
{
    struct queue_writer *w = NEW(struct queue_writer);

    MTA_ASSERT(qid != 0);
    w->queue = q;
    w->qid = qid;
    q->writers++;
    return w;
}

void queue_write(struct queue_writer *w, struct slice text)
{
    if (text.n > 0)
        buf_add_slice(&w->content, text);
    if (w->queue->slow)
        w->pending += text.n << 12; /* so that inputs of a few hundred bytes reach the limits */
}

size_t queue_write_pending(const struct queue_writer *w)
{
    return w->pending;
}

static void fake_room(void *arg)
{
    struct queue_writer *w = arg;

    w->pending = 0;
    w->on_room(w->arg);
}

void queue_write_wait(struct queue_writer *w, size_t below, void (*fn)(void *arg), void *arg)
{
    MTA_ASSERT(below > 0 && !list_linked(&w->room.link));
    w->on_room = fn;
    w->arg = arg;
    loop_defer(w->queue->loop, &w->room, fake_room, w);
}

uint64_t queue_written(const struct queue_writer *w)
{
    return buf_len(&w->content);
}

const struct status *queue_writer_failed(const struct queue_writer *w)
{
    (void)w;
    return NULL;
}

static void fake_writer_free(struct queue_writer **wp)
{
    struct queue_writer *w = *wp;

    *wp = NULL;
    w->queue->writers--;
    loop_defer_cancel(&w->room);
    buf_release(&w->content);
    mem_free(w);
}

static void fake_release(struct op *op)
{
    mem_free(CONTAINER_OF(op, struct fake_op, op));
}

static void fake_turn(void *arg)
{
    struct fake_op *o = arg;

    if (o->left-- > 0) {
        loop_defer(o->queue->loop, &o->task, fake_turn, o);
        return;
    }
    o->queue->room_known = o->queue->room_known || o->looks_for_room;
    op_finish(&o->op, status_is_ok(&o->status) ? OP_OK : OP_TEMPFAIL, &o->status);
}

static void fake_start(struct queue *q, struct op_scope *scope, bool looks_for_room, struct status status,
                       op_done_fn *done, void *owner)
{
    struct fake_op *o = NEW(struct fake_op);

    o->queue = q;
    o->left = q->delay;
    o->looks_for_room = looks_for_room;
    o->status = status;
    op_start(&o->op, q->loop, scope, "fake queue", 0, done, owner, fake_release);
    loop_defer(q->loop, &o->task, fake_turn, o);
}

bool queue_room(const struct queue *q, uint64_t *bytes)
{
    *bytes = q->full ? 1000 : UINT64_MAX;
    return q->room_known;
}

void queue_look_for_room(struct queue *q, struct op_scope *scope, op_done_fn *done, void *owner)
{
    fake_start(q, scope, true, status_ok(), done, owner);
}

void queue_commit(struct queue_writer **wp, struct op_scope *scope, const struct envelope *e, op_done_fn *done,
                  void *owner)
{
    struct queue_writer *w = *wp;
    struct queue *q = w->queue;

    MTA_ASSERT(e->qid == w->qid && e->nrcpts > 0 && e->sender != NULL && q->n < FAKE_MESSAGES_MOST);
    if (!q->fails) {
        struct fake_message *m = &q->messages[q->n++];

        m->envelope = envelope_copy(&m->arena, e);
        m->content = w->content;
        w->content = (struct buf){0};
    }
    fake_writer_free(wp);
    fake_start(q, scope, false, q->fails ? status_of(STATUS_QUEUE_FULL) : status_ok(), done, owner);
}

void queue_abort(struct queue_writer **wp)
{
    fake_writer_free(wp);
}

#endif

/*
 * Reading a message's content: see content.h. Called by pipe.c, maildir.c and bounce.c; each piece is a read on the
 * queue's reader thread.
 */
#include "delivery/content.h"

void content_init(struct content *c, struct queue *queue, uint64_t qid, struct op_scope *scope,
                  const struct content_events *events, void *owner)
{
    *c = (struct content){.queue = queue, .qid = qid, .scope = scope, .events = events, .owner = owner};
}

static void on_read(void *arg, enum op_status status, const void *result)
{
    struct content *c = arg;
    const struct queue_piece *piece = result;

    if (status != OP_OK) {
        const struct status why = result != NULL ? *(const struct status *)result : status_of(STATUS_SYSTEM);

        c->events->on_failure(c->owner, &why);
        return;
    }
    c->events->on_piece(c->owner, piece->bytes, piece->last);
}

void content_next(struct content *c)
{
    queue_read(c->queue, c->scope, c->qid, c->next++, on_read, c);
}

void content_seek(struct content *c, unsigned index)
{
    c->next = index;
}

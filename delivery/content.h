/*
 * The content of a queued message, piece by piece, for whoever sends it on: pipe, maildir, bounce. One piece at a
 * time is in memory; the next is read when it is asked for.
 */
#ifndef MTA_DELIVERY_CONTENT_H
#define MTA_DELIVERY_CONTENT_H

#include "core/queue/queue.h"

struct content_events {
    /* A piece, borrowed for the call; `last`: there is no more. Never comes from inside content_next. */
    void (*on_piece)(void *owner, struct slice bytes, bool last);
    /* The queue cannot be read, for now: nothing comes any more. */
    void (*on_failure)(void *owner, const struct status *why);
};

/* Embed it. It holds nothing: closing the scope ends it. */
struct content {
    struct queue *queue;
    uint64_t qid;
    struct op_scope *scope;
    const struct content_events *events;
    void *owner;
    unsigned next; /* the piece that content_next asks for */
};

void content_init(struct content *, struct queue *, uint64_t qid, struct op_scope *, const struct content_events *,
                  void *owner);
/* Asks for the next piece. One at a time, and not after the last. */
void content_next(struct content *);
/* Piece number `index` (0 is the first) is what content_next asks for now. */
void content_seek(struct content *, unsigned index);

#endif

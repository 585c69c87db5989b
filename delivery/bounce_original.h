/*
 * The copy of an original message, or of its header section, that a delivery report returns. Used by bounce.c.
 */
#ifndef MTA_DELIVERY_BOUNCE_ORIGINAL_H
#define MTA_DELIVERY_BOUNCE_ORIGINAL_H

#include "core/base/buf.h"
#include "delivery/content.h"
#include "proto/grammar/header.h"

struct bounce_original;

struct bounce_original_how {
    struct queue *queue;
    uint64_t qid; /* whose content is copied */
    struct queue_writer *to;
    bool headers_only;
    uint64_t limit; /* bytes of a header section that are returned; it is cut between two headers */
    /* It is all there, and ends in a newline; or why it is not, for now (NULL: it is). From the loop, once. */
    void (*done)(void *owner, const struct status *why);
    void *owner;
};

/* Embed it, zero-initialised. */
struct bounce_original {
    struct bounce_original_how how;
    struct content content;
    struct header_scan scan;
    uint64_t written;
    struct buf part; /* of the header section, not settled yet */
    bool in_line;    /* the last byte written was not the end of a line */
};

/* Starts. To end it early close the scope, and commit or abort the writer. */
void bounce_original_copy(struct bounce_original *, const struct bounce_original_how *, struct op_scope *);
/* Gives memory back, when it has ended. */
void bounce_original_clear(struct bounce_original *);

#endif

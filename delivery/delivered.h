/*
 * Was this message delivered to this address before? A scanner for "Delivered-To: ADDRESS" in the header section of
 * content that comes in pieces: flag D's loop detection. Pure.
 */
#ifndef MTA_DELIVERY_DELIVERED_H
#define MTA_DELIVERY_DELIVERED_H

#include "core/base/buf.h"

/* Zero-initialise, then delivered_init; delivered_release gives the memory back. */
struct delivered {
    bool over; /* the header section has ended, or `found`: feeding more changes nothing */
    bool found;
    struct buf address, line;
    bool too_long; /* the line cannot be the one, it is longer than that */
    bool first;    /* nothing was read yet */
};

/* `address` is in internal form; the header is compared with its external form, without regard to case. */
void delivered_init(struct delivered *, const char *address);
void delivered_feed(struct delivered *, struct slice piece);
void delivered_release(struct delivered *);

#endif

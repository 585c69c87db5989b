/*
 * A filter between the buffers of a stream and the kernel; tls/ makes the one there is. It begins with a hold, in which
 * its handshake has the stream for itself, in clear, with events of its own; the owner's events rest. Once started, raw
 * input goes through `decode` and the owner's output through `encode`, and all that stream.h promises holds for the
 * plain text. A stream has at most one filter, which it keeps until it is closed.
 */
#ifndef MTA_LOOP_STREAM_FILTER_H
#define MTA_LOOP_STREAM_FILTER_H

#include "core/loop/stream.h"

/* Raw bytes that are read ahead of the filter, and given to the kernel in one piece. */
#define STREAM_FILTER_RAW_MAX 65536u

enum stream_filter_state {
    STREAM_FILTER_MORE,   /* nothing to be had before more raw input comes */
    STREAM_FILTER_FULL,   /* `plain` has no room for what there is */
    STREAM_FILTER_END,    /* the peer ended in order; answered again when asked again */
    STREAM_FILTER_BROKEN, /* *error says why; answered again when asked again */
};

struct stream_filter {
    /* Takes what it can from the front of `raw` (after it, with `eof`, the peer sends no more), appends to `plain` what
     * its cap allows. `reply` is for what the peer gets without the owner's doing. */
    enum stream_filter_state (*decode)(void *arg, struct buf *raw, bool eof, struct buf *plain, struct buf *reply,
                                       const char **error);
    /* Appends what the kernel is to get for all of `plain`. */
    void (*encode)(void *arg, struct slice plain, struct buf *raw);
    /* The last that the peer gets: the owner has given up the stream in order. */
    void (*finish)(void *arg, struct buf *raw);
    /* The stream is closed: the last call, at any time after the attachment. */
    void (*closed)(void *arg);
};

/*
 * Begins the hold: until it is started `events` (with filter_arg) see the stream and stream_write writes in clear. An
 * end that the owner has heard of already is told again, to them.
 */
void stream_filter_attach(struct stream *, const struct stream_filter *, void *filter_arg,
                          const struct stream_events *events, size_t input_max);
/*
 * Ends the hold; `unread` is raw input that was consumed and not used, to be decoded before what else there is. The
 * owner's events come from a deferred task on, so after what was deferred before.
 */
void stream_filter_start(struct stream *, struct slice unread);
/* The argument of this filter; NULL when the stream has none, or it is not started. */
void *stream_filter_arg(const struct stream *, const struct stream_filter *);
struct loop *stream_loop(const struct stream *);

#endif

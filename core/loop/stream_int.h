/* What the files of streams and listeners share; not for others. */
#ifndef MTA_LOOP_STREAM_INT_H
#define MTA_LOOP_STREAM_INT_H

#include "core/loop/loop_int.h"
#include "core/loop/stream_filter.h"

#define STREAM_MAGIC 0x5354524du

struct stream {
    uint32_t magic;
    struct loop *loop;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    const struct stream_events *events; /* NULL: the owner has let go */
    void *arg;
    struct buf in, out;
    struct buf writing; /* with libuv, while write.data is set */
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct loop_task flush;
    struct timer linger;
    struct stream_layer *layer; /* NULL: no filter */
    bool reading, paused, ended, failed, closing;
    bool finishing, shut; /* given up by stream_finish; shutdown sent */
};

/* A filter and its side of the stream. */
struct stream_layer {
    const struct stream_filter *filter;
    void *filter_arg;
    bool holding; /* the filter's handshake has the stream; what follows is the owner's, for afterwards */
    bool owner_paused;
    const struct stream_events *owner_events;
    void *owner_arg;
    size_t owner_input_max;
    struct buf raw_in, raw_out;
    struct loop_task pump;
    bool starting;    /* pump has not run since the start */
    const char *late; /* the connection failed meanwhile */
    bool more;        /* there is plain text to be had, or an end to be told, when the owner can take it */
    bool eof;         /* the kernel has said so */
    bool finished;    /* the filter's last words are in raw_out */
};

/* Is there a filter at work? */
static inline bool stream_filtered(const struct stream *s)
{
    return s->layer != NULL && !s->layer->holding;
}
/* May raw input be read? */
bool stream_filter_wants(const struct stream *);
/* More raw input (empty: the end of it) for the filter, whose room allows for it. */
void stream_filter_input(struct stream *, struct slice);
/* The owner can take more than before. */
void stream_filter_kick(struct stream *);
/* The buffer that the kernel is to get the next from, filled by a piece. */
struct buf *stream_filter_output(struct stream *);
/* All output is with the kernel and the owner has given up: are there last words, now in the output? */
bool stream_filter_finish(struct stream *);
/* The connection failed: is the owner to hear of it later, after what was deferred before? */
bool stream_filter_delays(struct stream *, const char *error);
/* The stream is closing; and: is closed. */
void stream_filter_closing(struct stream *);
void stream_filter_free(struct stream *);

/* Of stream.c: starts or stops reading as things are; tells the end; has the output written in this turn. */
void stream_read_or_not(struct stream *);
void stream_end(struct stream *, const char *error);
void stream_flush_later(struct stream *);

/* Accepts the waiting connection, *fd is its descriptor; NULL when that fails. */
struct stream *stream_accept(struct loop *, uv_stream_t *server, int *fd);
/* A stream that is not connected; `handle` is what to connect, of type UV_TCP or UV_NAMED_PIPE. */
struct stream *stream_unconnected(struct loop *, uv_handle_type, uv_stream_t **handle);

#endif

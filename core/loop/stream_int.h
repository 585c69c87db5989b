/* What the listener needs of the stream; not for others. */
#ifndef MTA_LOOP_STREAM_INT_H
#define MTA_LOOP_STREAM_INT_H

#include "core/loop/loop_int.h"
#include "core/loop/stream.h"

/* Accepts the waiting connection, *fd is its descriptor; NULL when that fails. */
struct stream *stream_accept(struct loop *, uv_stream_t *server, int *fd);
/* A stream that is not connected; `handle` is what to connect, of type UV_TCP or UV_NAMED_PIPE. */
struct stream *stream_unconnected(struct loop *, uv_handle_type, uv_stream_t **handle);

#endif

/*
 * A buffered connection. Input is collected in a bounded buffer that the owner consumes; output is corked until the
 * end of the loop's turn. All callbacks come from the loop; none after stream_close has returned.
 */
#ifndef MTA_LOOP_STREAM_H
#define MTA_LOOP_STREAM_H

#include "core/base/buf.h"
#include "core/loop/loop.h"

struct stream;

struct stream_events {
    /* There is new input: look at stream_input, take what is wanted with stream_consume. */
    void (*on_data)(void *arg);
    /* The peer sends no more (input not yet consumed stays available), or the connection failed: `error` is a text
     * such as "connection reset by peer", NULL for an orderly end. Called once. */
    void (*on_end)(void *arg, const char *error);
    /* All output is with the kernel; NULL if not wanted. */
    void (*on_drain)(void *arg);
};

/*
 * Input is limited to `input_max` bytes: when that much waits unconsumed, reading pauses until some is consumed.
 */
void stream_set_events(struct stream *, const struct stream_events *, void *arg, size_t input_max);
/* What has come and is not consumed; valid until the next callback. */
struct slice stream_input(const struct stream *);
void stream_consume(struct stream *, size_t n);
/* Stops and resumes reading from the kernel. A new stream reads as soon as it has events. */
void stream_pause(struct stream *);
void stream_resume(struct stream *);
/* Appends to the output, which the kernel gets at the end of this turn. Fine on a failed stream (dropped). */
void stream_write(struct stream *, struct slice);
/* Bytes of output not yet with the kernel: the owner's means to bound it. */
size_t stream_pending(const struct stream *);
/* Closes at once; what is still to be written is dropped. Nulls the pointer. */
void stream_close(struct stream **);
/* Gives up the stream, which goes on writing what is pending for at most linger_ms and then closes. Nulls the pointer.
 */
void stream_finish(struct stream **, uint64_t linger_ms);

/* Addresses as numeric text, "127.0.0.1", "2001:db8::1", or "unknown"; a v4-mapped IPv6 address is given as IPv4. */
struct stream_addr {
    char host[64];
    int port;
    int family; /* 4, 6, or 0 for a UNIX socket */
};
struct stream_addr stream_peer(const struct stream *);
struct stream_addr stream_local(const struct stream *);

/* ---- listening ---- */

struct listener;

/*
 * Listens at `host` ("" or "*": all addresses of that family; numeric otherwise) and port (0: any). IPv6 sockets take
 * IPv6 only. `accept` gets each connection; the stream is the callee's. On failure NULL, and why in err.
 */
struct listener *listener_open(struct loop *, const char *host, int port, void (*accept)(void *arg, struct stream *),
                               void *arg, char *err, size_t err_size);
/* Another `arg` for connections from now on. */
void listener_set_arg(struct listener *, void *arg);
/* The port really bound. */
int listener_port(const struct listener *);
void listener_close(struct listener **);

/* ---- for tests and local peers: a connected stream on an open socket descriptor, which it takes ---- */
struct stream *stream_from_fd(struct loop *, int fd);

#endif

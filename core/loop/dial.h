/* Connecting: to a host and port, or to a UNIX socket. */
#ifndef MTA_LOOP_DIAL_H
#define MTA_LOOP_DIAL_H

#include "core/loop/op.h"
#include "core/loop/stream.h"

struct dial_target {
    const char *path; /* a UNIX socket; NULL: host and port */
    const char *host; /* "192.0.2.1", "2001:db8::1", or a name, which the system's resolver is asked for on a thread */
    int port;
    const char *source;  /* numeric address to come from; NULL: the system chooses */
    bool source_or_fail; /* fail where `source` cannot be used, rather than come from elsewhere */
};

/*
 * Connects; the target is copied. Several addresses of a name are tried in turn, each for its part of timeout_ms.
 * OP_OK: dial_take(result) gives the connection to the caller; one that is not taken is closed. It reads as soon as it
 * has events. OP_TEMPFAIL: dial_error(result) says why. OP_TIMEOUT, after timeout_ms (0: the kernel's own time-out).
 * An attempt that is cancelled ends at once.
 */
void dial_start(struct loop *, struct op_scope *, const struct dial_target *, uint64_t timeout_ms, op_done_fn *done,
                void *owner);
struct stream *dial_take(const void *result);
const char *dial_error(const void *result);

#endif

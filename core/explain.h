/*
 * `mta explain`: what would happen to mail for an address, shown by doing it: a session that stops before DATA, the
 * expansion of aliases, the routes, each with the tables that were asked. Run in the server on a request through the
 * control socket, or by the sub-command itself when no server is there.
 */
#ifndef MTA_EXPLAIN_H
#define MTA_EXPLAIN_H

#include "core/setup.h"
#include "delivery/transport.h"

struct explain_args {
    const char *address;
    const char *from;     /* "" is the null sender */
    const char *client;   /* numeric address */
    const char *helo;     /* what the client says after EHLO */
    const char *listener; /* by name; NULL: the first one */
    bool json;
};

/* Fills in `args`, which points into argv; false, and why in err (a line), when something is wrong. */
bool explain_parse(int argc, const char *const *argv, struct explain_args *args, struct buf *err);

/*
 * Result of OP_OK: const struct slice *, the text or the JSON object with a newline at its end. Bounded by the
 * time-outs of the tables. Result of OP_NOTFOUND: the same, why it cannot be done. The transports must live until the
 * callback or the end of the scope.
 */
void explain_start(struct loop *, struct op_scope *, const struct setup *, struct transports *,
                   const struct explain_args *, op_done_fn *done, void *owner);

#endif

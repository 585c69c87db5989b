/*
 * A server that answers each request with one reply: what tcp: and socketmap: have in common. A few connections, made
 * when they are needed and closed when they were idle for a while; one request at a time on each.
 */
#ifndef MTA_LOOKUP_REMOTE_H
#define MTA_LOOKUP_REMOTE_H

#include "core/loop/dial.h"
#include "lookup/table_int.h"

struct remote;

#define REMOTE_MALFORMED SIZE_MAX

struct remote_protocol {
    size_t reply_max; /* bytes of a whole reply, as it is sent */
    /* Appends the request for the key. */
    void (*request)(struct buf *out, const struct table *, const char *key);
    /* The bytes of the reply at the start of `in` and what is in it; 0: not all is there yet; REMOTE_MALFORMED. */
    size_t (*frame)(struct slice in, struct slice *reply);
    /* Answers the lookup. False: the reply is malformed, and the lookup not answered. */
    bool (*answer)(struct table_op *, struct slice reply);
};

/*
 * `table` and what `target` points to live as long. Every lookup is answered within REMOTE_TIMEOUT_MS; one that a
 * server closes the connection on, after it has answered others on it, is asked once more on a new one.
 */
struct remote *remote_new(struct table *, const struct remote_protocol *, const struct dial_target *target);
void remote_ask(struct remote *, struct table_op *);
/* Lets go of the lookups. */
void remote_free(struct remote **);

#define REMOTE_TIMEOUT_MS 10000

/*
 * Reads "host:port", "[address]:port"; the host is allocated, the port may be the name of a service. False, and why,
 * when it is malformed. Blocks: reads /etc/services.
 */
bool remote_parse_inet(struct slice text, char **host, int *port, struct buf *why);

#endif

/*
 * The next hop of SMTP and LMTP, as transport_maps, relayhost and virtual_transport write it: "example.com",
 * "[mx.example.com]:587", "inet:127.0.0.1:24", "unix:private/lmtp"; several, with commas between them, are tried in
 * turn. Pure.
 */
#ifndef MTA_DELIVERY_SMTPC_NEXTHOP_H
#define MTA_DELIVERY_SMTPC_NEXTHOP_H

#include "core/base/arena.h"

struct smtpc_nexthop {
    const char *text;   /* as it is written */
    const char *path;   /* of a UNIX socket; else NULL */
    const char *host;   /* a domain, or a host; an address has no brackets and no "IPv6:" */
    const char *domain; /* the same with its brackets, if it has them: what policies are looked up by */
    int port;
    bool by_mx; /* the domain's mail hosts are meant, not the host of this name */
};

/*
 * Takes the next one off *rest; `port` is the one to use where none is written. 1; 0 when there is none left; -1 when
 * it is none: only `text` is set then. Strings are in the arena.
 */
int smtpc_nexthop_next(struct slice *rest, bool lmtp, int port, struct arena *, struct smtpc_nexthop *);

#endif

/*
 * The host name of a client: what its address says (PTR), believed when that name has the address. Used by the SMTP
 * server for each session.
 */
#ifndef MTA_LOOKUP_DNS_PEER_H
#define MTA_LOOKUP_DNS_PEER_H

#include "lookup/dns.h"

enum dns_peer_status {
    DNS_PEER_OK,
    DNS_PEER_TEMPFAIL, /* no answer: it may have one */
    DNS_PEER_NONE,     /* there is none */
    DNS_PEER_FORGED,   /* there is one, and it is not this address's */
};

struct dns_peer {
    const char *name;         /* verified, or "unknown" */
    const char *reverse_name; /* what the address says, or "unknown" */
    enum dns_peer_status name_status, reverse_status;
    const char *warning; /* for the log; NULL: none */
};

/* The answer without asking: of a session that is not looked up. 127.0.0.1 and ::1 are "localhost". */
struct dns_peer dns_peer_unasked(const char *address);
/*
 * OP_OK with a struct dns_peer, borrowed, within a few seconds: names that have not come by then are DNS_PEER_TEMPFAIL.
 */
void dns_peer_ask(struct dns *, const char *address, struct op_scope *, op_done_fn *done, void *owner);

#endif

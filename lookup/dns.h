/*
 * DNS by c-ares on the loop: addresses, MX, PTR. Answers are cached for their time to live, in bounds. What DNS says is
 * untrusted: names are checked before anybody sees them.
 */
#ifndef MTA_LOOKUP_DNS_H
#define MTA_LOOKUP_DNS_H

#include "core/base/buf.h"
#include "core/conf/conf.h"
#include "core/loop/op.h"

struct dns;

/* With the servers of `resolver`, or the system's. NULL, and complaints in err, "resolver: text". */
struct dns *dns_new(struct loop *, const struct conf *, struct buf *err);
/* The servers of another configuration, or those that /etc/resolv.conf has now; what was asked is asked again. False,
 * and everything as it was, when they cannot be used. */
bool dns_reload(struct dns *, const struct conf *, struct buf *err);
/* What is under way ends as OP_TEMPFAIL. */
void dns_free(struct dns **);
struct loop *dns_loop(const struct dns *);

struct dns_address {
    char text[46];
    int family; /* 4 or 6 */
};
struct dns_mx {
    const char *name; /* "" is the null MX */
    int preference;
};
struct dns_answer {
    const struct dns_address *addresses; /* dns_ask_addresses */
    size_t naddresses;
    const struct dns_mx *mx; /* dns_ask_mx, in the order of the answer */
    size_t nmx;
    const char *const *names; /* dns_ask_ptr */
    size_t nnames;
    const char *why; /* not OP_OK: "Host not found", "Host not found, try again", ..., for logs and replies */
    bool no_domain;  /* OP_NOTFOUND: the name does not exist at all (NXDOMAIN), not only for this type */
    bool malformed;  /* OP_NOTFOUND: not a name that DNS can have */
    bool unusable;   /* OP_NOTFOUND: there is something, of which nothing can be used */
};

/*
 * OP_OK with at least one item, OP_NOTFOUND (no such name or no such record), OP_TEMPFAIL (SERVFAIL, time-out, no
 * server); the result is a struct dns_answer, borrowed. Names may be internationalised (IDNA 2008 by libidn2).
 */
void dns_ask_addresses(struct dns *, const char *name, bool ipv4, bool ipv6, struct op_scope *, op_done_fn *done,
                       void *owner);
void dns_ask_mx(struct dns *, const char *name, struct op_scope *, op_done_fn *done, void *owner);
void dns_ask_ptr(struct dns *, const char *address, struct op_scope *, op_done_fn *done, void *owner);

#endif

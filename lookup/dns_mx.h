/*
 * The hosts that take the mail of a domain, in the order to try them: RFC 5321 section 5.1, RFC 7505 (null MX), the
 * address of a host in brackets. Used by the SMTP and LMTP client for each attempt.
 */
#ifndef MTA_LOOKUP_DNS_MX_H
#define MTA_LOOKUP_DNS_MX_H

#include "core/base/status.h"
#include "lookup/dns.h"

/* One address to try. */
struct dns_mail_host {
    const char *name;    /* of the host, for HELO, TLS and the log; an address when that is all there is */
    const char *address; /* "192.0.2.1" */
    int family;          /* 4 or 6 */
    int preference;      /* 0 without MX */
};

struct dns_mail_answer {
    const struct dns_mail_host *hosts; /* OP_OK: at least one */
    size_t n;
    bool self;            /* this host is one of the domain's mail hosts, and those that come after it are left out */
    struct status status; /* not OP_OK: what it means for the recipients, with Postfix's text */
};

/* How hosts are looked for: parameters of the transport. */
struct dns_mail_opts {
    const char *host_lookup;        /* smtp_host_lookup: "dns", "native", "dns, native" */
    const char *address_preference; /* smtp_address_preference: "any", "ipv4", "ipv6" */
    bool balance_protocols;         /* smtp_balance_inet_protocols */
    bool randomize;                 /* smtp_randomize_addresses */
    int mx_address_limit;           /* smtp_mx_address_limit, 0: none */
    bool ignore_mx_lookup_error;
    bool defer_if_no_mx_address_found;
    bool by_mx;       /* false: the destination is a host, "[host]", or LMTP */
    bool detect_loop; /* mail of a domain whose best mail host is this one "loops back to myself": 5.4.6 */
};

/*
 * `domain` may be internationalised, an address ("192.0.2.1", "IPv6:...") or "localhost". OP_OK, OP_NOTFOUND (a lasting
 * failure) or OP_TEMPFAIL; the result is a struct dns_mail_answer, borrowed. Time-outs are the resolver's.
 */
void dns_mail_hosts(struct dns *, const struct conf *, const struct dns_mail_opts *, const char *domain,
                    struct op_scope *, op_done_fn *done, void *owner);

#endif

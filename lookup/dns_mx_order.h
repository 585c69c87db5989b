/* Which of a domain's mail hosts are tried, and in what order: RFC 5321 section 5.1, as Postfix does it. Pure. */
#ifndef MTA_LOOKUP_DNS_MX_ORDER_H
#define MTA_LOOKUP_DNS_MX_ORDER_H

#include "lookup/dns_mx.h"

struct dns_mx_order {
    int family_first; /* 4 or 6; 0: any */
    bool randomize;
    bool balance;
    size_t limit; /* 0: none */
};

/* Orders the hosts and answers how many of them are left, from the first. */
size_t dns_mx_order(struct dns_mail_host *hosts, size_t n, const struct dns_mx_order *);

#endif

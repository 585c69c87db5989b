/*
 * What DNS said about one name and type: made of a reply, or of a failure; immutable and counted, since the cache and
 * whoever asked hold it at the same time.
 */
#ifndef MTA_LOOKUP_DNS_SET_H
#define MTA_LOOKUP_DNS_SET_H

#include "core/base/arena.h"
#include "lookup/dns.h"

enum dns_type {
    DNS_TYPE_A = 1,
    DNS_TYPE_CNAME = 5,
    DNS_TYPE_SOA = 6,
    DNS_TYPE_PTR = 12,
    DNS_TYPE_MX = 15,
    DNS_TYPE_AAAA = 28,
};

#define DNS_SET_MAX   100 /* more records of a set are not looked at */
#define DNS_CHAIN_MAX 16  /* CNAMEs one after the other; resolvers follow about as many */

struct dns_set {
    unsigned refs;
    enum op_status status;    /* OP_OK: at least one record */
    struct dns_answer answer; /* the records; lives as long as the set */
    uint32_t ttl_s;           /* of the records, or of their absence */
    const char *alias;        /* the reply ends in a CNAME to this name, which is to be asked for; else NULL */
    unsigned chain;           /* CNAMEs that were followed to there */
    struct arena arena;
};

/*
 * Reads the reply to a question about `name` (lower case). Names in it that no host can have are left out. One
 * reference; a reply that cannot be read gives a set with OP_TEMPFAIL.
 */
struct dns_set *dns_set_parse(const unsigned char *reply, size_t n, enum dns_type, const char *name);
/* OP_TEMPFAIL with this text, which must last. */
struct dns_set *dns_set_failed(const char *why);
/* OP_NOTFOUND: the CNAMEs have no end. */
struct dns_set *dns_set_looped(void);
struct dns_set *dns_set_ref(struct dns_set *);
/* Nulls the pointer; NULL in it is fine. */
void dns_set_unref(struct dns_set **);

#endif

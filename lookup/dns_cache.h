/*
 * The answers of DNS, kept for their time to live: an hour at most, a minute where there was nothing, a second after a
 * failure. Bounded by number and by memory; what was not used for longest goes first. One for each struct dns.
 */
#ifndef MTA_LOOKUP_DNS_CACHE_H
#define MTA_LOOKUP_DNS_CACHE_H

#include "lookup/dns_set.h"

struct dns_cache;

struct dns_cache *dns_cache_new(size_t entries_max, size_t bytes_max);
void dns_cache_free(struct dns_cache **);
/* A new reference; NULL when there is none, or none any more. */
struct dns_set *dns_cache_get(struct dns_cache *, struct slice key, uint64_t now_ms);
/* Takes a reference of its own, unless the set is not to be kept. */
void dns_cache_put(struct dns_cache *, struct slice key, struct dns_set *, uint64_t now_ms);
size_t dns_cache_count(const struct dns_cache *);

#endif

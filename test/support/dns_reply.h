/* Replies of name servers for tests, put together record by record. */
#ifndef MTA_TEST_SUPPORT_DNS_REPLY_H
#define MTA_TEST_SUPPORT_DNS_REPLY_H

#include "unit/cmocka_all.h"

#include "core/base/ip.h"
#include "lookup/dns_set.h"

#include <stdio.h>

struct wire {
    unsigned char p[8192];
    size_t n;
};

static inline void wire_u8(struct wire *w, unsigned v)
{
    w->p[w->n++] = (unsigned char)v;
}

static inline void wire_u16(struct wire *w, unsigned v)
{
    wire_u8(w, v >> 8);
    wire_u8(w, v & 255);
}

static inline void wire_u32(struct wire *w, uint32_t v)
{
    wire_u16(w, v >> 16);
    wire_u16(w, v & 0xffff);
}

/* "" is the root. */
static inline void wire_name(struct wire *w, const char *name)
{
    while (*name != '\0') {
        size_t n = strcspn(name, ".");

        wire_u8(w, (unsigned)n);
        memcpy(w->p + w->n, name, n);
        w->n += n;
        name += n + (name[n] == '.');
    }
    wire_u8(w, 0);
}

/* The header, with nothing in it yet but the question. */
static inline void wire_begin(struct wire *w, unsigned rcode, const char *name, enum dns_type type)
{
    w->n = 0;
    wire_u16(w, 1);
    wire_u16(w, 0x8180 | rcode);
    wire_u16(w, 1);
    wire_u16(w, 0);
    wire_u16(w, 0);
    wire_u16(w, 0);
    wire_name(w, name);
    wire_u16(w, (unsigned)type);
    wire_u16(w, 1);
}

/* Owner, type, class, TTL; answers where the length of the data is to go. Counted in the answer section. */
static inline size_t wire_record(struct wire *w, const char *owner, enum dns_type type, uint32_t ttl)
{
    w->p[7]++;
    wire_name(w, owner);
    wire_u16(w, (unsigned)type);
    wire_u16(w, 1);
    wire_u32(w, ttl);
    wire_u16(w, 0);
    return w->n;
}

static inline void wire_end(struct wire *w, size_t start)
{
    size_t len = w->n - start;

    w->p[start - 2] = (unsigned char)(len >> 8);
    w->p[start - 1] = (unsigned char)(len & 255);
}

static inline void wire_address(struct wire *w, const char *owner, const char *address, uint32_t ttl)
{
    struct ip ip;
    size_t start, n;

    assert_true(ip_parse(slice_str(address), &ip));
    n = ip.family == 4 ? 4 : 16;
    start = wire_record(w, owner, ip.family == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA, ttl);
    memcpy(w->p + w->n, ip.bytes, n);
    w->n += n;
    wire_end(w, start);
}

/* CNAME, PTR; MX with a preference of 0 or more. */
static inline void wire_names(struct wire *w, const char *owner, enum dns_type type, int preference, const char *name,
                              uint32_t ttl)
{
    size_t start = wire_record(w, owner, type, ttl);

    if (type == DNS_TYPE_MX)
        wire_u16(w, (unsigned)preference);
    wire_name(w, name);
    wire_end(w, start);
}

/* In the authority section: goes behind all answers. */
static inline void wire_soa(struct wire *w, const char *owner, uint32_t ttl, uint32_t nothing)
{
    size_t start = wire_record(w, owner, DNS_TYPE_SOA, ttl);

    w->p[7]--;
    w->p[9]++;
    wire_name(w, "ns");
    wire_name(w, "hostmaster");
    for (uint32_t i = 0; i < 4; i++)
        wire_u32(w, 1000 + i);
    wire_u32(w, nothing);
    wire_end(w, start);
}

#endif

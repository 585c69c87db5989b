/* Numeric IP addresses and blocks of them, as bytes. Pure. */
#ifndef MTA_BASE_IP_H
#define MTA_BASE_IP_H

#include "core/base/slice.h"

struct ip {
    int family;              /* 4 or 6 */
    unsigned char bytes[16]; /* the first 4 for IPv4; network order */
};

/* "192.0.2.1" or "2001:db8::1"; an IPv4 address mapped into IPv6 is given as IPv4. False when it is neither. */
bool ip_parse(struct slice text, struct ip *);
bool ip_eq(const struct ip *, const struct ip *);

#define IP_BLOCK_TEXT 64 /* room for a printed block and its NUL */

struct ip_block {
    struct ip first;
    unsigned bits; /* length of the prefix */
};

#define IP_BLOCK_WRITTEN 128 /* room for one as it may be written, and its NUL */

enum ip_block_error {
    IP_BLOCK_OK,
    IP_BLOCK_SYNTAX,
    IP_BLOCK_HOST_BITS, /* bits behind the prefix are set; *block is the block without them */
};

/*
 * "192.0.2.0/24", "2001:db8::/32" or a single address. "::ffff:192.0.2.0/120" stays an IPv6 block, which no address of
 * ip_parse is in.
 */
enum ip_block_error ip_block_parse(struct slice text, struct ip_block *);
/*
 * "[addr]/len" and "[addr/len]" without their brackets, and any other text as it is, into `out`; false when the
 * brackets do not match or the text is too long.
 */
bool ip_block_unbracket(struct slice text, char out[IP_BLOCK_WRITTEN]);
bool ip_block_contains(const struct ip_block *, const struct ip *);
/* Prints; returns out. */
const char *ip_block_format(char out[IP_BLOCK_TEXT], const struct ip_block *);

#endif

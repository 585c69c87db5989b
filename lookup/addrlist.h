/*
 * The address list that an alias table answers: addresses as in a message header (RFC 5322 section 3.4), without
 * groups. Pure; what it reads is untrusted.
 */
#ifndef MTA_LOOKUP_ADDRLIST_H
#define MTA_LOOKUP_ADDRLIST_H

#include "core/base/arena.h"

struct addrlist {
    const char **items; /* internal (unquoted) form, as given: with or without a domain */
    size_t count;
};

enum addrlist_result {
    ADDRLIST_OK,
    ADDRLIST_MALFORMED, /* unbalanced quotes or brackets, a control character, an address without a local part */
    ADDRLIST_TOO_MANY,
};

/*
 * Takes a list apart into at most `max` addresses. Commas (and ';') separate; a comma missing between two addresses is
 * supplied, as Postfix does; "Name <address>", comments, quoted strings, address literals and source routes (ignored)
 * are understood. The first address, and no other, may lack its local part: "@example.com". An empty list is OK.
 */
enum addrlist_result addrlist_parse(struct slice text, size_t max, struct arena *, struct addrlist *);

#endif

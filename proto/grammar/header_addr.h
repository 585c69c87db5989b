/*
 * The addresses in a header's value (RFC 5322 section 3.4), in place: where each one is, so that it can be changed and
 * names, comments and folding stay as they were. Pure; what it reads is untrusted.
 */
#ifndef MTA_GRAMMAR_HEADER_ADDR_H
#define MTA_GRAMMAR_HEADER_ADDR_H

#include "core/base/buf.h"

/* One address: value[start, end) is its text, as it is written, without brackets. */
struct header_addr {
    size_t start, end;
    bool bracketed; /* it stands in <> */
};

/* Which headers have addresses, and whose: RFC 5322 section 3.6, as Postfix's cleanup has them. */
enum header_addr_kind {
    HEADER_ADDR_NONE,
    HEADER_ADDR_SENDER,
    HEADER_ADDR_RECIPIENT,
};
enum header_addr_kind header_addr_kind(struct slice name);

/*
 * The next address of `value` from *at on, which moves behind it; false: there is none. A text that is no address
 * ("<>", a group's name) is passed over.
 */
bool header_addr_next(struct slice value, size_t *at, struct header_addr *);
/* Appends an address as it is written in internal form: without quotes, comments and white space. */
void header_addr_internal(struct buf *out, struct slice written);

#endif

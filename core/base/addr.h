/*
 * Mail addresses in internal (unquoted) form taken apart: local part and domain, user and extension. Pure text
 * functions, used by table look-ups, by the server and by delivery; the SMTP grammar of addresses is elsewhere.
 */
#ifndef MTA_BASE_ADDR_H
#define MTA_BASE_ADDR_H

#include "core/base/buf.h"

struct addr_parts {
    struct slice local;
    struct slice domain; /* without the '@' */
    bool has_domain;     /* there is an '@', though perhaps nothing after it */
};

/* Takes an address apart at its right-most '@'; the slices point into `address`. */
struct addr_parts addr_split(struct slice address);

/*
 * Takes a local part apart at the first of `delimiters` (a set of characters): "user" and, with its delimiter, "+ext".
 * False, and *user the whole, when there is none, when the user would be empty, and for names that are never split:
 * postmaster, mailer-daemon, double-bounce and, when '-' is a delimiter, owner-... and ...-request.
 */
bool addr_split_extension(struct slice local, const char *delimiters, struct slice *user, struct slice *extension);

/* Makes ASCII letters lower case, in place: addresses are compared without regard to case. */
void addr_fold(char *address);

/*
 * Appends the address as RFC 5321 writes it: the local part becomes a quoted string when it is no dot-string (8-bit
 * characters are fine in one). The empty address is the null sender and stays empty. False when the buffer's limit is
 * reached.
 */
bool addr_quote(struct buf *out, struct slice address);
/* Would addr_quote change the address? */
bool addr_needs_quotes(struct slice address);
/* Does the local part hold another routing operator: '@', '%' or '!'? Such an address may be a relay attempt. */
bool addr_has_routing(struct slice address);

/*
 * Could mail be sent to this domain? A host name (letters, digits, '-', '_', 8-bit characters; labels of up to 63
 * bytes, 255 in all; not only digits), or an address literal, "[192.0.2.1]" or "[IPv6:2001:db8::1]".
 */
bool addr_domain_valid(struct slice domain);

#endif

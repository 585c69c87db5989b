/*
 * Mail addresses on the wire: the paths of MAIL and RCPT (RFC 5321 section 4.1.2, RFC 6531 section 3.3). What the rest
 * of the program asks of an address is in core/base/addr.h. Internal form is "local@domain" without quotes and
 * NUL-terminated, as in "a b@example.com" for <"a b"@example.com>; an address without a domain is its local part alone,
 * and "" is the null sender. External form has quotes where the grammar wants them. Internal addresses never contain
 * NUL, other control characters or malformed UTF-8. Pure.
 */
#ifndef MTA_GRAMMAR_ADDRESS_H
#define MTA_GRAMMAR_ADDRESS_H

#include "core/base/arena.h"
#include "core/base/buf.h"

#define ADDRESS_MAX 1000 /* bytes of a path; the RFC's 256 is what others must accept, not what we must refuse */

enum address_flag {
    ADDRESS_ALLOW_NULL = 1, /* "<>" is fine (MAIL FROM) */
    ADDRESS_STRICT = 2,     /* insist on the angle brackets (strict_rfc821_envelopes) */
    ADDRESS_UTF8 = 4,       /* SMTPUTF8 was asked for: UTF-8 in the local part and the domain */
};

enum address_result {
    ADDRESS_OK,
    ADDRESS_SYNTAX,
    ADDRESS_TOO_LONG,   /* more than ADDRESS_MAX bytes */
    ADDRESS_NEEDS_UTF8, /* well-formed UTF-8, but ADDRESS_UTF8 was not given */
};

/*
 * Parses what follows "MAIL FROM:" or "RCPT TO:". Spaces before the path are skipped, a source route (@a,@b:) is
 * dropped, and without ADDRESS_STRICT the angle brackets may be missing: the address then ends at white space.
 * On ADDRESS_OK *addr is the internal form, in the arena, and *rest (a part of `in`) is what follows the path, without
 * white space around it: the ESMTP parameters. On any other result neither is set.
 */
enum address_result address_parse_path(struct slice in, unsigned flags, struct arena *, const char **addr,
                                       struct slice *rest);

#endif

/*
 * ESMTP parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), RET, ENVID, NOTIFY, ORCPT (RFC 3461), SMTPUTF8
 * (RFC 6531), AUTH (RFC 4954). Pure; strings of the results live in the arena given.
 */
#ifndef MTA_GRAMMAR_SMTP_PARAM_H
#define MTA_GRAMMAR_SMTP_PARAM_H

#include "core/base/arena.h"
#include "core/base/status.h"

/* Which extensions were offered; the parameters of the others are unknown ones. */
enum smtp_ext {
    SMTP_EXT_SIZE = 1,
    SMTP_EXT_8BITMIME = 2,
    SMTP_EXT_DSN = 4,
    SMTP_EXT_SMTPUTF8 = 8,
    SMTP_EXT_AUTH = 16,
};

enum smtp_body_type {
    SMTP_BODY_TYPE_NONE, /* not said */
    SMTP_BODY_TYPE_7BIT,
    SMTP_BODY_TYPE_8BITMIME,
};

/* RFC 3461 section 4.3; the values are those of enum envelope_ret. */
enum smtp_ret {
    SMTP_RET_NONE,
    SMTP_RET_FULL,
    SMTP_RET_HDRS,
};

/* RFC 3461 section 4.1; the values are those of enum envelope_notify. 0: not given. */
enum smtp_notify {
    SMTP_NOTIFY_NEVER = 1,
    SMTP_NOTIFY_SUCCESS = 2,
    SMTP_NOTIFY_FAILURE = 4,
    SMTP_NOTIFY_DELAY = 8,
};

#define SMTP_ENVID_MAX 100 /* characters as sent: RFC 3461 section 4.4 */
#define SMTP_ORCPT_MAX 500 /* characters as sent: RFC 3461 section 4.2 */
#define SMTP_AUTH_MAX  500 /* characters as sent: RFC 4954 section 5 */

struct smtp_mail_params {
    uint64_t size; /* SIZE=; 0: not given or not known. The caller compares it with message_size_limit */
    enum smtp_body_type body;
    enum smtp_ret ret;
    bool smtputf8;
    const char *envid; /* decoded; NULL: not given */
    const char *auth;  /* decoded from xtext: "<>" or an address as sent; NULL: not given */
};

struct smtp_rcpt_params {
    unsigned notify;   /* enum smtp_notify bits */
    const char *orcpt; /* "type;address", the address decoded; NULL: not given */
};

/*
 * Parses the parameters after the path of MAIL. `enabled` is a set of enum smtp_ext. False: *why is the reply, as
 * Postfix words it, and the result is not to be used: 501 5.5.4 for a bad or repeated parameter, 501 5.7.1 for those of
 * DSN when it is not enabled, 552 5.3.4 for a SIZE beyond 2^63, 555 5.5.4 for an unknown one.
 */
bool smtp_params_mail(struct slice params, unsigned enabled, struct arena *, struct smtp_mail_params *,
                      struct status *why);
/*
 * The same for RCPT. UTF-8 as it is in an ORCPT (RFC 6533) is only accepted when `enabled` has SMTP_EXT_SMTPUTF8: to
 * be given when the transaction's MAIL said SMTPUTF8.
 */
bool smtp_params_rcpt(struct slice params, unsigned enabled, struct arena *, struct smtp_rcpt_params *,
                      struct status *why);

/*
 * Does a MAIL with these parameters say SMTPUTF8? For the caller, who must know it before the path is parsed.
 * `args` is everything after "FROM:", path included; nothing is checked.
 */
bool smtp_params_want_utf8(struct slice args);

#endif

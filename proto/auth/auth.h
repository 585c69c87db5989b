/*
 * SASL in the server (RFC 4422), whoever checks the passwords: Dovecot's auth service, libsasl2, or a table. The SMTP
 * server sees only this. One struct auth for each listener that has smtpd_sasl_auth_enable; a struct auth_exchange for
 * each AUTH command. Challenges and responses are base64 text without line ends, checked for its alphabet here.
 */
#ifndef MTA_AUTH_AUTH_H
#define MTA_AUTH_AUTH_H

#include "core/base/buf.h"
#include "core/conf/conf.h"
#include "core/loop/op.h"
#include "lookup/table.h"

struct auth;
struct auth_exchange;

/*
 * Opens the back end that smtpd_sasl_type names; `tables` must live as long. NULL when that cannot ever work;
 * complaints go to `err`, "PARAMETER: text". A service that is only not there now is no complaint: it is tried again.
 */
struct auth *auth_new(struct loop *, struct tables *, const struct conf *, struct buf *err);
struct auth *auth_ref(struct auth *);
void auth_unref(struct auth **);

/*
 * The mechanisms to offer, "PLAIN LOGIN": those of the back end that smtpd_sasl_security_options (or with `tls`,
 * smtpd_sasl_tls_security_options) and smtpd_sasl_mechanism_filter leave; "" when there are none, or the back end is
 * not there (which was logged). Valid until the next turn of the loop.
 */
const char *auth_mechanisms(struct auth *, bool tls);

/* Who authenticates. Copied. */
struct auth_client {
    const char *addr; /* "192.0.2.1" */
    int port;
    const char *local_addr; /* the server's end */
    int local_port;
    const char *host; /* the server's name: $myhostname */
    bool tls;
};

enum auth_outcome {
    AUTH_SUCCEEDED,    /* user */
    AUTH_CHALLENGE,    /* text: base64 for "334 "; auth_respond goes on */
    AUTH_FAILED,       /* 535 5.7.8; reason */
    AUTH_UNAVAILABLE,  /* 454 4.7.0: the back end failed; reason */
    AUTH_MALFORMED,    /* 501 5.5.2: not base64, or not what the mechanism expects; reason */
    AUTH_NO_MECHANISM, /* 504 5.5.4: not one that is offered */
};

struct auth_answer {
    enum auth_outcome outcome;
    const char *text; /* the challenge; "" */
    const char *user; /* SUCCEEDED: the login as the back end knows it; FAILED: what was tried, when it is known; "" */
    const char *reason; /* a clause for the log, never with a password in it; "" */
};

/*
 * Begins: `initial` is the initial response as in the command, "=" for an empty one, NULL when there was none. The op's
 * status is always OP_OK, its result a struct auth_answer, borrowed. An exchange is over after every outcome but
 * AUTH_CHALLENGE; auth_end frees it in any case, also while an op is under way (whose callback then never comes).
 */
struct auth_exchange *auth_begin(struct auth *, const struct auth_client *, const char *mechanism, const char *initial,
                                 struct op_scope *, op_done_fn *done, void *owner);
/* The client's next response, base64; "" is an empty one. ("*" ends an exchange in the SMTP server, by auth_end.) */
void auth_respond(struct auth_exchange *, const char *response, struct op_scope *, op_done_fn *done, void *owner);
/* Nulls the pointer; NULL in it is fine. */
void auth_end(struct auth_exchange **);

#endif

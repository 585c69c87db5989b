/*
 * SASL in the SMTP client, by libsasl2's client mechanisms (on a thread, since they may block) and XOAUTH2 and
 * OAUTHBEARER, which are a token in a line and ours. Of what the server offers and the filter and options allow,
 * libsasl2 takes the mechanism that it thinks strongest. A token is sent when the filter names its mechanism, or when
 * no other mechanism is left, since what is configured as a password is seldom a token; OAUTHBEARER before XOAUTH2.
 */
#ifndef MTA_AUTH_CLIENT_H
#define MTA_AUTH_CLIENT_H

#include "core/base/buf.h"
#include "core/loop/op.h"

struct auth_client_exchange;

/* What is wanted and what for. Copied. */
struct auth_client_opts {
    const char *mechanisms;       /* what the server offers, "PLAIN LOGIN" */
    const char *filter;           /* smtp_sasl_mechanism_filter: names, "!name", "static:any"; other tables are
                                   * an error; "" is all */
    const char *security_options; /* smtp_sasl_security_options, or its tls variant: "noplaintext, noanonymous" */
    const char *host;             /* the server's name */
    const char *local_addr, *remote_addr; /* "192.0.2.1;25", as libsasl2 wants them; NULL: not known */
    const char *user, *password;          /* the password is the token for XOAUTH2 and OAUTHBEARER; wiped here */
    bool authzid;                         /* send_cyrus_sasl_authzid */
};

enum auth_client_outcome {
    AUTH_CLIENT_SEND,  /* text is what to send: with the first one `mechanism` and "AUTH mechanism text" */
    AUTH_CLIENT_NONE,  /* no mechanism that both sides and the options allow */
    AUTH_CLIENT_ERROR, /* the mechanism gave up; reason */
};

struct auth_client_answer {
    enum auth_client_outcome outcome;
    const char *mechanism;
    const char *text;   /* base64; NULL: no initial response; "" as an initial response is sent as "=" */
    const char *reason; /* never with a password in it; with SEND: why the server refused the token, else "" */
    /* With SEND: 235 may be believed now. Not when the server has still to prove that it knows the password (SCRAM). */
    bool complete;
};

/* The op's status is always OP_OK, its result a struct auth_client_answer, borrowed. Ended by auth_client_end. */
struct auth_client_exchange *auth_client_begin(struct loop *, const struct auth_client_opts *, struct op_scope *,
                                               op_done_fn *done, void *owner);
/* The server's "334 challenge", base64. */
void auth_client_respond(struct auth_client_exchange *, const char *challenge, struct op_scope *, op_done_fn *done,
                         void *owner);
/* Also while an op is under way, whose callback then never comes. Nulls the pointer; NULL in it is fine. */
void auth_client_end(struct auth_client_exchange **);

#endif

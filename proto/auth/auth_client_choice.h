/*
 * Which of the mechanisms that a server offers the SMTP client may use: smtp_sasl_mechanism_filter,
 * smtp_sasl_security_options. Pure.
 */
#ifndef MTA_AUTH_CLIENT_CHOICE_H
#define MTA_AUTH_CLIENT_CHOICE_H

#include "proto/auth/auth_bearer.h"
#include "proto/auth/auth_client.h"

struct auth_client_choice {
    enum auth_bearer bearer; /* NONE: libsasl2 chooses among `mechanisms` */
    struct buf mechanisms;   /* "CRAM-MD5 PLAIN"; "": there is none. To be released. */
    unsigned security;       /* SASL_SEC_* that libsasl2 has to see to */
};

/* False when the filter or the options are wrong: *reason says how. */
bool auth_client_choose(const struct auth_client_opts *, struct auth_client_choice *, const char **reason);

#endif

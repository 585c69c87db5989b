/*
 * The SASL mechanisms that send a token: OAUTHBEARER (RFC 7628) and XOAUTH2, Google's and Microsoft's elder of it.
 * Pure.
 */
#ifndef MTA_AUTH_BEARER_H
#define MTA_AUTH_BEARER_H

#include "core/base/buf.h"

enum auth_bearer {
    AUTH_BEARER_NONE,
    AUTH_BEARER_OAUTHBEARER,
    AUTH_BEARER_XOAUTH2,
};

/* AUTH_BEARER_NONE: it is no mechanism of these. Case does not matter. */
enum auth_bearer auth_bearer_find(struct slice mechanism);
const char *auth_bearer_name(enum auth_bearer);

/*
 * Appends the initial response; false when user or token have a control character in them. `host` may be NULL, `port`
 * 0 is not known.
 */
bool auth_bearer_initial(enum auth_bearer, const char *user, const char *token, const char *host, unsigned port,
                         struct buf *out);
/* What has to be sent after the server has refused the token with `challenge` (RFC 7628 section 3.2.3). */
struct slice auth_bearer_acknowledge(enum auth_bearer);
/* Appends why the token was refused, as the server says it, fit for the log; never with the token in it. */
void auth_bearer_refusal(struct slice challenge, const char *token, struct buf *out);

#endif

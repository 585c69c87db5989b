/*
 * Which of a back end's mechanisms are offered: smtpd_sasl_security_options, its variant under TLS, and
 * smtpd_sasl_mechanism_filter. One for each struct auth.
 */
#ifndef MTA_AUTH_POLICY_H
#define MTA_AUTH_POLICY_H

#include "core/conf/conf.h"
#include "proto/auth/auth_int.h"

struct auth_policy;

/* NULL when a parameter is wrong; complaints go to `err`, "PARAMETER: text", one a line. */
struct auth_policy *auth_policy_new(struct tables *, const struct conf *, struct buf *err);
/* Nulls the pointer; NULL in it is fine. */
void auth_policy_free(struct auth_policy **);
/*
 * May this be offered? Where the filter has a table that has to be asked, a mechanism is offered from the next turns of
 * the loop on, once the table has answered.
 */
bool auth_policy_allows(struct auth_policy *, const struct auth_mechanism *, bool tls);

#endif

/*
 * What another server said, found again in the text of a result: a report names the server and repeats its reply
 * (Remote-MTA and Diagnostic-Code, RFC 3464 sections 2.3.5 and 2.3.6). The queue keeps the text alone.
 */
#ifndef MTA_DELIVERY_BOUNCE_REMOTE_H
#define MTA_DELIVERY_BOUNCE_REMOTE_H

#include "core/base/arena.h"

#include <stdbool.h>

/* False: the text is not of the kind that outcome_refused and outcome_unwelcome make. *host and *reply live in the
 * arena. */
bool bounce_remote(struct arena *, const char *text, const char **host, const char **reply);

#endif

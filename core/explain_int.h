/* What explain.c hands to explain_text.c. */
#ifndef MTA_EXPLAIN_INT_H
#define MTA_EXPLAIN_INT_H

#include "core/base/buf.h"

#include <jansson.h>

/*
 * The answer is one JSON object:
 *   address, sender, client, helo, listener    what was asked
 *   session      { ehlo, mail, rcpt (replies), restrictions: [{list, restriction, verdict}], lookups }
 *   class        of the address's domain
 *   aliases      { expansions: [{address, results}], lookups, error }
 *   recipients   [{address, class, transport, nexthop, command, lookups, error}]
 * where lookups are [{table, key, result, value | why, query}].
 */
void explain_text(const json_t *answer, struct buf *out);
/* The text without control characters and bytes that are no UTF-8: those become "?". */
json_t *explain_string(const char *);

#endif

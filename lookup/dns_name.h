/* Names as DNS has them: internationalised ones become A-labels (IDNA 2008), addresses become names for PTR. Pure. */
#ifndef MTA_LOOKUP_DNS_NAME_H
#define MTA_LOOKUP_DNS_NAME_H

#include "core/base/slice.h"

#define DNS_NAME_MAX 254 /* a name of 253 characters, and its NUL */

/* The name to ask for: lower case, A-labels. False when no host can have it. */
bool dns_name_ascii(const char *name, char out[DNS_NAME_MAX]);
/* Is this, from an answer, the name of a host: letters, digits, '-' and '_' in labels, not only digits? */
bool dns_name_is_host(struct slice name);
/* "1.2.0.192.in-addr.arpa" of "192.0.2.1"; false when it is no address. */
bool dns_name_reverse(const char *address, char out[DNS_NAME_MAX]);

#endif

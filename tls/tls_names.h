/* Is a server's certificate for whom we want to speak to (RFC 6125), or is it one of those that we know? Pure. */
#ifndef MTA_TLS_NAMES_H
#define MTA_TLS_NAMES_H

#include "core/base/buf.h"

#include <mbedtls/x509_crt.h>

/* Whom a connection is for. */
struct tls_names {
    const char *host;    /* the server's, as MX has it */
    const char *nexthop; /* the domain of the mail, or the host: brackets and ":port" do not count */
};

/* Could it be the name of a host? Not an address. */
bool tls_names_is_host(struct slice name);
/* "example.com" of "[example.com]:25"; without the final dot of a host name. */
struct slice tls_names_bare(const char *destination);
/*
 * "hostname", "nexthop", "dot-nexthop" (all below it), names, ".example.com" (all below it), IPv4 addresses;
 * separated by space, comma, colon. Names in subjectAltName count, the subject's common name
 * only when there are none.
 */
bool tls_names_match(const mbedtls_x509_crt *, const char *match, const struct tls_names *);
/* Does one pattern of those fit a name of a certificate, which may be "*.example.com"? */
bool tls_names_fit(struct slice pattern, struct slice name);
/* Whom the certificate is for, in a few words; appended. */
void tls_names_show(const mbedtls_x509_crt *, struct buf *);

/* Is one of the fingerprints in the list, "AB:CD:...", separated by space, comma, '|'? "" is never. */
bool tls_names_print_match(const char *match, const char *fingerprint, const char *key_print);

#endif

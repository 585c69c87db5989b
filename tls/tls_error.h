/* Why TLS failed, in words for a log line. */
#ifndef MTA_TLS_ERROR_H
#define MTA_TLS_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mbedtls/ssl.h>

/* `first`: it was the first record of the peer. */
void tls_error_words(const mbedtls_ssl_context *, int error, bool first, char *to, size_t size);
/* What is wrong with a peer's certificate; `flags` of Mbed TLS; "" when nothing is. */
const char *tls_error_trust(uint32_t flags);

#endif

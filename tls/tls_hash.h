/* Digests, for stored passwords: here because only this folder knows Mbed TLS. Pure; any thread. */
#ifndef MTA_TLS_HASH_H
#define MTA_TLS_HASH_H

#include "core/base/slice.h"

#define TLS_HASH_MOST 64 /* bytes */

/* The digest of the two one after the other by "SHA1", "SHA256", "SHA512"; its length, 0: there is no such digest. */
size_t tls_hash(const char *name, struct slice first, struct slice second, unsigned char digest[TLS_HASH_MOST]);

#endif

/* HMAC-SHA-256 (RFC 2104) by Mbed TLS, for what has to be known again as our own. Pure; any thread. */
#ifndef MTA_TLS_HMAC_H
#define MTA_TLS_HMAC_H

#include "core/base/slice.h"

#include <stdint.h>

#define TLS_HMAC_SIZE 32

void tls_hmac(struct slice key, struct slice text, uint8_t out[static TLS_HMAC_SIZE]);

#endif

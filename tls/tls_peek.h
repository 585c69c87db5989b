/* The server name that a ClientHello asks for, before its handshake. */
#ifndef MTA_TLS_PEEK_H
#define MTA_TLS_PEEK_H

#include "core/base/buf.h"

#define TLS_PEEK_NAME 256

/*
 * Has Mbed TLS read the ClientHello in `raw`, which stays. The name in lower case, "" when there is none that could be
 * a host's. Any thread; a handful of microseconds, and 40 KiB meanwhile.
 */
void tls_peek_name(struct slice raw, char name[TLS_PEEK_NAME]);

#endif

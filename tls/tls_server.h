/*
 * What the TLS parameters of one listener come to: certificates and keys, authorities, versions, ciphers, tickets. Made
 * with the service of a listener and counted, since handshakes and sessions outlive a reload. Certificates that are
 * renewed on disk are taken into use by themselves.
 */
#ifndef MTA_TLS_SERVER_H
#define MTA_TLS_SERVER_H

#include "core/base/buf.h"
#include "core/conf/conf.h"
#include "core/loop/loop.h"

struct tls_server;

/* Does this listener speak TLS at all, must a client use it, does it begin with the first byte? */
bool tls_server_wanted(const struct conf *);
bool tls_server_required(const struct conf *);
bool tls_server_wrapped(const struct conf *);

/*
 * Reads the files (blocks: at start, reload and check only). `listener` names the listener: a ticket of one is no good
 * at another. NULL when a certificate cannot be used; complaints go to `err`, one a line, "PARAMETER: text" or
 * "warning: PARAMETER: text".
 */
struct tls_server *tls_server_new(struct loop *, const struct conf *, const char *listener, struct buf *err);
struct tls_server *tls_server_ref(struct tls_server *);
/* Nulls the pointer; NULL in it is fine. */
void tls_server_unref(struct tls_server **);

#endif

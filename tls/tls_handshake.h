/* The part of a handshake that both roles share. Private to tls/. */
#ifndef MTA_TLS_HANDSHAKE_H
#define MTA_TLS_HANDSHAKE_H

#include "tls/tls_conn.h"

/*
 * Begins a handshake on the stream: an op with a new tls_conn, whose ssl is not set up yet. Once `prepare` has, perhaps
 * after answers of its own, set config, shared and unref, it calls tls_handshake_go. It is called when the first whole
 * record has come, or at once for a client (`speaks_first`).
 */
struct tls_conn *tls_handshake_start(struct stream *, bool speaks_first, uint64_t timeout_ms,
                                     void (*prepare)(struct tls_conn *), struct op_scope *, op_done_fn *done,
                                     void *owner);
/* For prepare: a scope for what it waits for; what has come so far. */
struct op_scope *tls_handshake_scope(const struct tls_conn *);
struct slice tls_handshake_input(const struct tls_conn *);
/* Has `work` run on a thread, with the conn for itself, then `done` from the loop unless nobody waits any more. */
void tls_handshake_run(struct tls_conn *, void (*work)(struct tls_conn *), void (*done)(struct tls_conn *));
void tls_handshake_go(struct tls_conn *);
void tls_handshake_fail(struct tls_conn *, const char *why);

#endif

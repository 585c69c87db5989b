/*
 * TLS on a stream, as a filter below stream_input and stream_write: RFC 8446 and RFC 5246 by Mbed TLS. The handshake is
 * an op; once it is OP_OK the owner of the stream reads and writes as before and never sees a record. An orderly end is
 * the peer's close_notify; an end without it is on_end with the error "TLS connection was truncated".
 */
#ifndef MTA_TLS_STREAM_H
#define MTA_TLS_STREAM_H

#include "core/loop/op.h"
#include "core/loop/stream.h"
#include "tls/tls_server.h"

enum tls_peer_trust {
    TLS_PEER_ANONYMOUS, /* no certificate */
    TLS_PEER_UNTRUSTED, /* one, but no trusted authority stands behind it, or it is expired */
    TLS_PEER_TRUSTED,   /* the chain is good */
    TLS_PEER_VERIFIED,  /* client half: the name, or the fingerprint, is right as well */
};

/* A TLS connection in words; lives as long as the stream. */
struct tls_info {
    const char *protocol; /* "TLSv1.3" */
    const char *cipher;   /* "TLS_AES_256_GCM_SHA384"; OpenSSL's name where it has one, as Postfix logs */
    int bits, alg_bits;   /* 256, 256 */
    const char *exchange; /* "X25519", "secp256r1", ...; "" when not known */
    bool resumed;
    enum tls_peer_trust trust;
    const char *peer_cn, *peer_issuer;   /* common names, printable; "" */
    const char *fingerprint, *key_print; /* of the peer's certificate and of its public key, "AB:CD:..."; "" */
    const char *why_untrusted;           /* "self-signed certificate", ...; "" */
    const char *sni;                     /* what the client asked for; "" */
};

/*
 * Asks for the files of a server name's certificate (tls_server_sni_maps): the answer is an op whose result is a NUL
 * terminated list of file names, borrowed. tls is below lookup, so the caller brings the tables.
 */
typedef void tls_sni_fn(void *arg, const char *server_name, struct op_scope *, op_done_fn *done, void *owner);

struct tls_accept_opts {
    uint64_t timeout_ms; /* smtpd_starttls_timeout */
    tls_sni_fn *sni;     /* NULL: there are no such tables */
    void *sni_arg;
};

/*
 * The server's handshake. What is in the stream's input buffer belongs to the handshake: with STARTTLS the caller
 * throws away what came in clear (stream_consume) before. Until the callback the stream's own events are not called and
 * nothing may be written. A reference to the tls_server is held while the stream lives.
 *
 * OP_OK: tls_stream_info. OP_TEMPFAIL, OP_TIMEOUT: the connection is of no more use, close it; tls_error says why, in
 * words ("no shared cipher", "the client sent no TLS", "lost connection"); it is "timed out" for OP_TIMEOUT, whose
 * result is NULL.
 */
void tls_accept(struct stream *, struct tls_server *, const struct tls_accept_opts *, struct op_scope *,
                op_done_fn *done, void *owner);
const char *tls_error(const void *result);

/* NULL: this stream is in clear. */
const struct tls_info *tls_stream_info(const struct stream *);

#endif

/*
 * Sessions that a client may resume, in memory, a bounded number of them. What was found out about the server when its
 * certificate was seen is kept with the session: with TLS 1.3 nothing of it comes again. For the loop's thread.
 */
#ifndef MTA_TLS_SESSION_CACHE_H
#define MTA_TLS_SESSION_CACHE_H

#include "tls/tls_conn.h"

#include <mbedtls/x509_crt.h>

struct tls_session_cache;

/* Never changed once it is made; counted. */
struct tls_session {
    size_t refs;
    struct list link;
    struct buf key;
    uint64_t until_ms;        /* of the loop's clock: not from then on, whatever tickets come meanwhile */
    mbedtls_x509_time expiry; /* of the certificate */
    struct tls_info *peer;
    unsigned char *state; /* as Mbed TLS saves it: secret */
    size_t n;
};

struct tls_session_cache *tls_session_cache_new(size_t most);
void tls_session_cache_free(struct tls_session_cache **);
size_t tls_session_cache_count(const struct tls_session_cache *);

/* A reference to the session of the key; NULL: there is none, it is too old, or the certificate behind it has expired.
 */
struct tls_session *tls_session_cache_find(struct tls_session_cache *, struct slice key, uint64_t now_ms);
/* Keeps the session, instead of the one before with the same key. */
void tls_session_cache_put(struct tls_session_cache *, struct tls_session *);
/* Takes it out if it is (still) there. */
void tls_session_cache_forget(struct tls_session_cache *, struct tls_session *);

/* What the connection can be resumed by, with one reference; NULL: by nothing. */
struct tls_session *tls_session_new(const mbedtls_ssl_context *, struct slice key, uint64_t until_ms,
                                    const mbedtls_x509_time *expiry, const struct tls_info *peer);
void tls_session_unref(struct tls_session **);
/* Any thread: has the handshake, which has not begun, try to resume it. */
void tls_session_offer(const struct tls_session *, mbedtls_ssl_context *);

#endif

/*
 * One TLS connection, of either role: the context of Mbed TLS between two buffers. Private to tls/.
 *
 * Who owns the context: the loop, except while a thread of the pool runs a slice of the handshake (`busy`); it then
 * belongs to that thread with all that is marked so below, and the loop touches none of it, collects raw input in the
 * stream's buffer at most, and puts off the end of the connection until the thread has given it back. Threads share
 * only what does not change or has a lock: the setup with its mbedtls_ssl_config and certificates, which nothing
 * changes once it is made; the keys, a copy a lane, an RSA one locked by Mbed TLS while it signs because of its
 * blinding values; the keys of tickets and the random numbers, locked by Mbed TLS; the key store of PSA, the same.
 * After the handshake everything is done on the loop.
 */
#ifndef MTA_TLS_CONN_H
#define MTA_TLS_CONN_H

#include "core/loop/op.h"
#include "core/loop/stream_filter.h"
#include "tls/tls_pool.h"
#include "tls/tls_stream.h"

#include <mbedtls/md.h>
#include <mbedtls/ssl.h>

#define TLS_ERROR_MAX 240
#define TLS_NAME_MAX  256

struct tls_handshake;
struct tls_conn;

/* What a role adds; all but set_up on the loop. */
struct tls_conn_hooks {
    int (*set_up)(struct tls_conn *);  /* any thread: ssl was set up with config; 0 or an error of Mbed TLS */
    void (*shaken)(struct tls_conn *); /* the handshake is done, info is made */
    void (*failed)(struct tls_conn *); /* the handshake ended otherwise; a thread may still be busy with it */
    void (*ticket)(struct tls_conn *); /* ssl has a new session (TLS 1.3) */
};

struct tls_conn {
    struct loop *loop;
    struct stream *stream; /* NULL: closed */
    bool busy;             /* a thread has what follows up to the line */
    mbedtls_ssl_context ssl;
    const mbedtls_ssl_config *config; /* NULL once ssl is set up with it */
    struct buf *from, *to;            /* what ssl reads and writes */
    bool eof;                         /* nothing more comes after `from` */
    bool first;                       /* not a whole record has been read yet */
    int result;                       /* of mbedtls_ssl_handshake */
    bool resumed;
    char *sni; /* NULL: the client named no server */
    /* ---- the loop's */
    struct tls_handshake *handshake; /* NULL: it is over */
    void *shared;                    /* what ssl is set up from: counted */
    void (*unref)(void *shared);
    const struct tls_conn_hooks *hooks; /* NULL: none */
    struct tls_server *server;
    const mbedtls_md_info_t *digest; /* of fingerprints */
    tls_sni_fn *ask;                 /* as in tls_accept_opts */
    void *ask_arg;
    enum stream_filter_state state; /* END and BROKEN stay */
    const char *why;                /* BROKEN */
    char *broken;                   /* its text, when it is our own */
    size_t uninvited;               /* bytes the peer made us send after the handshake */
    struct tls_info *info;
};

/* The filter of a stream after its handshake; `arg` is the tls_conn. */
extern const struct stream_filter tls_filter;

/* Any thread: sets up ssl if it was not yet, and goes on with the handshake as far as `from` allows. */
void tls_conn_step(struct tls_conn *);
/* For mbedtls_ssl_conf_sni of a server: remembers the name in the tls_conn of the context. */
int tls_conn_take_name(void *unused, mbedtls_ssl_context *, const unsigned char *name, size_t n);
/* Gives the parts of its buffers that hold nothing between records back to the system: some 25 KiB. */
void tls_conn_trim(struct tls_conn *);
/* Releases; nobody may be busy with it. */
void tls_conn_free(struct tls_conn *);

/* tls_info.c: what there is to say about a connection whose handshake is done. */
struct tls_info *tls_info_make(const struct tls_conn *);
void tls_info_free(struct tls_info *);
/* Who the peer is and how far it is trusted; the text of why_untrusted is not copied. */
void tls_info_copy_peer(struct tls_info *to, const struct tls_info *from);

/* tls_handshake.c: the stream was closed during it, or the conn had no other use any more. */
void tls_handshake_closed(struct tls_conn *);

#endif

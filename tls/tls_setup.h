/*
 * Certificates with their keys, authorities and all else that a handshake goes by: made as a whole from files
 * and never changed afterwards, so that handshakes on several threads can read it.
 */
#ifndef MTA_TLS_SETUP_H
#define MTA_TLS_SETUP_H

#include "tls/tls_ciphers.h"
#include "tls/tls_tickets.h"

#include <mbedtls/ssl.h>

/* What does not change with the files. Strings live as long as the options; "" is none. */
struct tls_setup_opts {
    const char *prefix; /* of the parameters, for complaints: "smtpd" */
    bool client;        /* a client's: certificates are optional, authorities are not */
    const char *cert_file, *key_file, *eccert_file, *eckey_file;
    const char *chain_files; /* instead of those four */
    const char *CAfile, *CApath;
    bool default_CA;
    int authmode; /* MBEDTLS_SSL_VERIFY_... */
    int verifydepth;
    struct tls_versions versions;
    int suites[TLS_SUITES_MAX];
    uint16_t groups[TLS_GROUPS_MAX];
    bool preempt;
    struct tls_tickets *tickets; /* NULL: none are given */
};

struct tls_setup;

/*
 * Reads the files: blocks, any thread. With `sni_files` these are read instead of those of the options. `renewal`: a
 * certificate that is not valid now is an error, not a warning. NULL, and why in err, "PARAMETER: text" and "warning:
 * PARAMETER: text" a line each.
 */
struct tls_setup *tls_setup_load(const struct tls_setup_opts *, const char *sni_files, bool renewal, struct buf *err);
/* Have the files changed since they were read? Blocks, any thread. */
bool tls_setup_outdated(const struct tls_setup *);
/*
 * Takes the files as they are now for those that were read, so that only another change counts. As
 * tls_setup_outdated: one thread at a time.
 */
void tls_setup_forget(struct tls_setup *);
/* The certificate of the setup that expires first, and when (Unix time). */
const char *tls_setup_expires(const struct tls_setup *, int64_t *not_after_s);

/* Counted: the loop's thread only. */
struct tls_setup *tls_setup_ref(struct tls_setup *);
void tls_setup_unref(struct tls_setup **);
/*
 * What the next connection goes by. There are several that say the same, each with a copy of the keys, since Mbed TLS
 * locks an RSA key while it signs.
 */
const mbedtls_ssl_config *tls_setup_config(struct tls_setup *);

#endif

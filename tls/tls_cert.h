/*
 * What the files of a certificate and its key come to, looked at without using them: for `mta --check-config --deep`.
 * Blocks (reads files); any thread.
 */
#ifndef MTA_TLS_CERT_H
#define MTA_TLS_CERT_H

#include "core/base/buf.h"

#define TLS_CERT_ERROR 400
#define TLS_CERT_NAMES 200

struct tls_cert_report {
    char error[TLS_CERT_ERROR]; /* why they cannot be used, a clause that names the file; "" when they can be */
    size_t count;               /* certificates in the file */
    size_t unknown;             /* those that could not be understood, in a list of authorities */
    int64_t not_before_s;       /* Unix time between which all certificates of the chain are valid */
    int64_t not_after_s;
    size_t stray;     /* the first certificate that did not issue the one before it, counted from 1; 0: in order */
    bool for_host;    /* the first certificate is for the host name */
    bool key_exposed; /* everyone on this machine can read the key */
    char names[TLS_CERT_NAMES]; /* whom the first certificate is for, "a.example, *.b.example"; "..." when there are
                                   more */
};

/* A file of certificates, the server's or client's own first, and the file of its key, which may be the same. */
void tls_cert_inspect(const char *cert_path, const char *key_path, const char *host, struct tls_cert_report *);
/*
 * Files that are read as one: a key, its certificates, perhaps another key with its certificates, and so on. Answers
 * how many keys there are, at most `most`, each with a report; 1 with an error in it when there is none.
 */
size_t tls_cert_inspect_chains(const char *const *paths, size_t npaths, const char *host,
                               struct tls_cert_report *reports, size_t most);
/* The same of PEM text that was read already; both slices end with a NUL that counts. */
void tls_cert_inspect_pem(struct slice certs, const char *cert_path, struct slice key, const char *key_path,
                          const char *host, struct tls_cert_report *);
/* Appends a file of bounded size; false, and why in report->error. *exposed: everyone on this machine can read it. */
bool tls_cert_read(const char *path, struct buf *, bool *exposed, struct tls_cert_report *);
/* Where the next private key begins in PEM text that ends with a NUL, from `at` on; at the NUL when there is none. */
size_t tls_cert_find_key(struct slice pem, size_t at);
/* A file of certificates of authorities: error, count and unknown are set. */
void tls_cert_inspect_authorities(const char *path, struct tls_cert_report *);

/* Is a name of a certificate ("*.example.com" stands for one label) that of the host (RFC 6125 section 6.4)? */
bool tls_cert_name_matches(struct slice name, struct slice host);

#endif

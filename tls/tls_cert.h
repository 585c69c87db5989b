/*
 * What the files of a certificate and its key come to, looked at without using them: for `mta --check-config --deep`.
 * Blocks (reads files); any thread.
 */
#ifndef MTA_TLS_CERT_H
#define MTA_TLS_CERT_H

#include "core/base/slice.h"

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
/* A file of certificates of authorities: error, count and unknown are set. */
void tls_cert_inspect_authorities(const char *path, struct tls_cert_report *);

/* Is a name of a certificate ("*.example.com" stands for one label) that of the host (RFC 6125 section 6.4)? */
bool tls_cert_name_matches(struct slice name, struct slice host);

#endif

/* What the files of the client half share; not for others. */
#ifndef MTA_TLS_CLIENT_INT_H
#define MTA_TLS_CLIENT_INT_H

#include "core/base/arena.h"
#include "core/base/map.h"
#include "tls/tls_client.h"
#include "tls/tls_session_cache.h"
#include "tls/tls_setup.h"

/* What is offered to a server. */
struct tls_strength {
    struct tls_versions versions;
    enum tls_suite_grade grade;
    const char *exclude;
    int suites[TLS_SUITES_MAX];
};

struct tls_client {
    size_t refs;
    struct loop *loop;
    struct arena arena; /* strings of what follows */
    struct tls_setup_opts opts;
    struct tls_setup *setup;
    struct tls_strength may, mandatory;
    const mbedtls_md_info_t *digest;
    const char *match[TLS_LEVEL_SECURE + 1]; /* of the levels that have one */
    int verifydepth;
    uint64_t session_ms; /* 0: sessions are not kept */
    struct tls_session_cache *sessions;
    struct map old_servers; /* by "address port": TLS 1.3 is not offered to them; forgotten together */
    uint64_t old_since_ms;
};

/* What a policy offers; false: nothing is left. */
bool tls_client_strength(const struct tls_client *, const struct tls_policy *, struct tls_strength *);

#endif

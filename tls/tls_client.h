/*
 * The client half of TLS, for the SMTP and LMTP client: authorities, client certificate, versions and ciphers of one
 * transport; the policy of one destination; a cache of sessions in memory. Counted.
 */
#ifndef MTA_TLS_CLIENT_H
#define MTA_TLS_CLIENT_H

#include "core/base/arena.h"
#include "tls/tls_stream.h"

struct tls_client;

/* smtp_tls_security_level, in the order of their strength. */
enum tls_level {
    TLS_LEVEL_NONE,
    TLS_LEVEL_MAY,         /* if it is offered; whoever the server is */
    TLS_LEVEL_ENCRYPT,     /* or not at all */
    TLS_LEVEL_FINGERPRINT, /* the server's certificate or key is one of those named */
    TLS_LEVEL_VERIFY,      /* trusted authority, and one of smtp_tls_verify_cert_match's names */
    TLS_LEVEL_SECURE,      /* the same with smtp_tls_secure_cert_match */
};

/* The parameters smtp_tls_* (or lmtp_tls_*) of a transport, under their suffix. Borrowed for tls_client_new. */
struct tls_client_opts {
    /* NULL is as "", or what the comment says. */
    const char *prefix; /* "smtp": for complaints, as in "smtp_tls_CAfile: ..." */
    const char *CAfile, *CApath;
    bool append_default_CA;
    const char *cert_file, *key_file, *eccert_file, *eckey_file, *chain_files;
    const char *protocols, *mandatory_protocols; /* all of them */
    const char *ciphers, *mandatory_ciphers;     /* medium */
    const char *exclude_ciphers, *mandatory_exclude_ciphers;
    const char *verify_cert_match; /* hostname */
    const char *secure_cert_match; /* nexthop, dot-nexthop */
    const char *fingerprint_cert_match;
    const char *fingerprint_digest; /* sha256 */
    int scert_verifydepth;
    uint64_t session_cache_timeout_ms; /* 0: sessions are not resumed */
};

/* Reads the files (blocks: at start and reload). NULL, and complaints in err, "PARAMETER: text", when one is bad. */
struct tls_client *tls_client_new(struct loop *, const struct tls_client_opts *, struct buf *err);
struct tls_client *tls_client_ref(struct tls_client *);
void tls_client_unref(struct tls_client **);

/* What holds for one destination; strings live in the arena it was made with. */
struct tls_policy {
    enum tls_level level;
    const char *match; /* names or fingerprints, as in smtp_tls_secure_cert_match; NULL: the parameter of the level */
    const char *protocols; /* NULL: the parameter of the level */
    const char *ciphers;
    const char *exclude;
    const char *servername; /* SNI: a name, "hostname" or "nexthop" (of an address none is sent); NULL: none, so the
                               caller puts smtp_tls_servername here where it is still NULL */
};

/* "may", "encrypt", ...; false: not a level. */
bool tls_level_parse(struct slice word, enum tls_level *);
/*
 * The value of smtp_tls_policy_maps: "secure match=.example.com protocols=>=TLSv1.2". False, and why in err; true, and
 * perhaps "warning: text" in err. Lines. "dane" gives TLS_LEVEL_MAY and a warning; "dane-only" and "tafile=" are
 * errors.
 */
bool tls_policy_parse(const char *text, struct arena *, struct tls_policy *, struct buf *err);

struct tls_connect_opts {
    const struct tls_policy *policy;
    const char *host;    /* the server's name, as MX has it */
    const char *nexthop; /* the domain that mail is for, or the host in brackets */
    const char *address; /* "192.0.2.1"; with the port and the policy a part of the key of the session cache */
    int port;
    uint64_t timeout_ms; /* smtp_starttls_timeout */
};

/*
 * The client's handshake, by a policy whose level is not TLS_LEVEL_NONE; as tls_accept. The options are borrowed for
 * the call; a reference to the tls_client is held while the stream lives. What the server sent in clear after its
 * answer to STARTTLS is taken for TLS, and makes the handshake fail.
 *
 * With OP_OK tls_stream_info says how far the peer is to be trusted (TLS_PEER_VERIFIED: what the policy asks for holds;
 * otherwise why_untrusted says why not): a peer that falls short of its policy is for the caller to refuse, see
 * tls_policy_satisfied. With TLS 1.3 a server that requires a client certificate refuses us only afterwards: on_end
 * with "the peer reports: certificate required".
 */
void tls_connect(struct stream *, struct tls_client *, const struct tls_connect_opts *, struct op_scope *,
                 op_done_fn *done, void *owner);
/* Is this peer good enough for the level? */
bool tls_policy_satisfied(enum tls_level, const struct tls_info *);

#endif

/*
 * The client's half of a handshake: what is offered and said first, how the server's certificate is judged, and the
 * sessions that are kept. Called by the SMTP client. A session is used again only with the same tls_client, server,
 * policy and names, and only when the server was good enough for that policy: what was found then holds still; a
 * session made by resuming ends when the first one does, so that the certificate is looked at again within
 * smtp_tls_session_cache_timeout. RFC 8446, RFC 5246, RFC 6125.
 */
#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "tls/tls_client_int.h"
#include "tls/tls_handshake.h"
#include "tls/tls_names.h"

#include <stdio.h>

/* A server may send many tickets; each that is kept costs the loop some time. */
#define TICKETS_MAX 4
#define WHY_MAX     400

/* Servers that are known to be offered TLS 1.2 alone, and for how long. */
#define OLD_SERVERS_MAX 1000
#define OLD_SERVERS_MS  86400000

/* What goes with a tls_conn of this role, as its `shared`. */
struct connection {
    struct tls_client *client;
    mbedtls_ssl_config config; /* one of the setup's with other versions and suites: what it points to is not its own */
    struct tls_strength strength;
    enum tls_level level;
    char *match, *host, *nexthop;
    struct buf key, server; /* of the session; "address port" */
    struct tls_session *offered;
    uint64_t until_ms; /* how long sessions of this connection are good */
    mbedtls_x509_time expiry;
    unsigned tickets;
    char why[WHY_MAX]; /* for tls_info.why_untrusted */
    bool usable;
    /* ---- the thread's */
    bool seen; /* the server has shown a certificate */
};

static void release(void *shared)
{
    struct connection *k = shared;

    tls_session_unref(&k->offered);
    buf_release(&k->key);
    buf_release(&k->server);
    mem_free(k->match);
    mem_free(k->host);
    mem_free(k->nexthop);
    tls_client_unref(&k->client);
    mem_free(k);
}

/* ---- on a thread ---- */

/* Names are judged by the policy, not by what was sent as SNI. */
static int look_at_certificate(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    struct connection *k = arg;

    (void)crt;
    k->seen = true;
    if (depth == 0)
        *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
    if (depth > k->client->verifydepth + 1) /* OpenSSL's depth: certificates between the server's and the authority's */
        *flags |= MBEDTLS_X509_BADCERT_OTHER;
    return 0;
}

static int set_up(struct tls_conn *c)
{
    struct connection *k = c->shared;
    int error = mbedtls_ssl_set_hostname(&c->ssl, c->sni);

    mbedtls_ssl_set_verify(&c->ssl, look_at_certificate, k);
    if (k->offered != NULL)
        tls_session_offer(k->offered, &c->ssl);
    return error;
}

/* ---- judgement ---- */

bool tls_policy_satisfied(enum tls_level level, const struct tls_info *info)
{
    return level < TLS_LEVEL_FINGERPRINT || info->trust == TLS_PEER_VERIFIED;
}

static void name_mismatch(struct connection *k, const mbedtls_x509_crt *crt)
{
    struct buf text = {0};

    buf_add_str(&text, "the certificate is for ");
    tls_names_show(crt, &text);
    snprintf(k->why, sizeof k->why, "%s", buf_cstr(&text));
    buf_release(&text);
}

static void judge(struct connection *k, const mbedtls_x509_crt *crt, struct tls_info *info)
{
    struct tls_names names = {k->host, k->nexthop};

    if (k->level == TLS_LEVEL_FINGERPRINT) {
        if (tls_names_print_match(k->match, info->fingerprint, info->key_print))
            info->trust = TLS_PEER_VERIFIED;
        else
            snprintf(k->why, sizeof k->why, "the certificate is not one of those expected");
    } else if (k->level >= TLS_LEVEL_VERIFY && info->trust == TLS_PEER_TRUSTED) {
        if (tls_names_match(crt, k->match, &names))
            info->trust = TLS_PEER_VERIFIED;
        else
            name_mismatch(k, crt);
    }
    if (info->trust == TLS_PEER_VERIFIED || k->why[0] != '\0')
        info->why_untrusted = k->why;
}

/* ---- sessions ---- */

static void keep_session(struct tls_conn *c)
{
    struct connection *k = c->shared;
    struct tls_session *s;

    if (k->client->session_ms == 0 || !tls_policy_satisfied(k->level, c->info))
        return;
    s = tls_session_new(&c->ssl, buf_slice(&k->key), k->until_ms, &k->expiry, c->info);
    if (s != NULL)
        tls_session_cache_put(k->client->sessions, s);
    tls_session_unref(&s);
}

static void ticket(struct tls_conn *c)
{
    struct connection *k = c->shared;

    if (k->tickets++ < TICKETS_MAX)
        keep_session(c);
}

static void resumed(struct connection *k, struct tls_info *info)
{
    info->resumed = true;
    tls_info_copy_peer(info, k->offered->peer);
    if (info->trust == TLS_PEER_VERIFIED)
        info->why_untrusted = k->why;
    k->until_ms = k->offered->until_ms;
    k->expiry = k->offered->expiry;
}

static void shaken(struct tls_conn *c)
{
    struct connection *k = c->shared;
    const mbedtls_x509_crt *crt = mbedtls_ssl_get_peer_cert(&c->ssl);

    if (k->offered != NULL && !k->seen) {
        resumed(k, c->info);
    } else if (crt != NULL) {
        k->until_ms = loop_now_ms(c->loop) + k->client->session_ms;
        k->expiry = crt->valid_to;
        judge(k, crt, c->info);
    }
    tls_session_unref(&k->offered);
    if (mbedtls_ssl_get_version_number(&c->ssl) == MBEDTLS_SSL_VERSION_TLS1_2)
        keep_session(c);
}

/*
 * Offered both versions, the server has chosen TLS 1.2, and that failed. Some do not take PKCS #1 before PSS, and PSS
 * Mbed TLS has in TLS 1.3 only: offered TLS 1.2 alone it does not speak of it.
 */
static bool is_old(const struct tls_conn *c)
{
    const struct connection *k = c->shared;

    return !c->busy && k->offered == NULL && c->result < 0 && c->result != MBEDTLS_ERR_SSL_WANT_READ &&
           k->strength.versions.v12 && k->strength.versions.v13 &&
           mbedtls_ssl_get_version_number(&c->ssl) == MBEDTLS_SSL_VERSION_TLS1_2;
}

static void remember_old(struct tls_client *client, const struct connection *k, uint64_t now_ms)
{
    if (client->old_servers.count >= OLD_SERVERS_MAX)
        map_clear(&client->old_servers);
    if (client->old_servers.count == 0)
        client->old_since_ms = now_ms;
    map_put(&client->old_servers, buf_slice(&k->server), client);
}

static bool is_remembered(struct tls_client *client, const struct connection *k, uint64_t now_ms)
{
    if (now_ms - client->old_since_ms > OLD_SERVERS_MS)
        map_clear(&client->old_servers);
    return map_get(&client->old_servers, buf_slice(&k->server)) != NULL;
}

/* The next connection does without the session: the server may have become another. */
static void failed(struct tls_conn *c)
{
    struct connection *k = c->shared;

    if (k->offered != NULL)
        tls_session_cache_forget(k->client->sessions, k->offered);
    if (is_old(c))
        remember_old(k->client, k, loop_now_ms(c->loop));
}

static const struct tls_conn_hooks hooks = {set_up, shaken, failed, ticket};

/* ---- the beginning ---- */

/* A NUL between the parts, which are texts: no two lists make the same key. */
static void add_key(struct connection *k, const char *part)
{
    buf_add_char(&k->key, part == NULL ? '-' : '+');
    buf_add_slice(&k->key, slice_str(part));
    buf_add_char(&k->key, '\0');
}

static void make_key(struct connection *k, const struct tls_connect_opts *o, const char *sni)
{
    bool names = o->policy->level >= TLS_LEVEL_VERIFY;

    buf_printf(&k->key, "%d %d %d ", o->policy->level, o->port, names);
    add_key(k, o->address);
    add_key(k, o->host);
    add_key(k, names ? o->nexthop : NULL);
    add_key(k, k->match);
    add_key(k, o->policy->protocols);
    add_key(k, o->policy->ciphers);
    add_key(k, o->policy->exclude);
    add_key(k, sni);
}

/* SNI has names of hosts only (RFC 6066 section 3). */
static char *choose_sni(const struct tls_connect_opts *o)
{
    const char *want = o->policy->servername;
    struct slice name;

    if (want == NULL || want[0] == '\0')
        return NULL;
    if (slice_ieq(slice_str(want), SLICE_LIT("hostname")))
        want = o->host;
    else if (slice_ieq(slice_str(want), SLICE_LIT("nexthop")))
        want = o->nexthop;
    name = tls_names_bare(want);
    return tls_names_is_host(name) ? mem_dup(name.p, name.n) : NULL;
}

/*
 * PKCS #1 before PSS: Mbed TLS offers both when it offers TLS 1.2 and 1.3, but cannot use PSS in TLS 1.2, where OpenSSL
 * takes the first that suits it. In TLS 1.3 only PSS is allowed (RFC 8446 section 4.2.3).
 */
static const uint16_t signatures[] = {
    MBEDTLS_TLS1_3_SIG_ECDSA_SECP256R1_SHA256, MBEDTLS_TLS1_3_SIG_ECDSA_SECP384R1_SHA384,
    MBEDTLS_TLS1_3_SIG_ECDSA_SECP521R1_SHA512, MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA256,
    MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA384,       MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA512,
    MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA256,    MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA384,
    MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA512,    MBEDTLS_TLS1_3_SIG_NONE,
};

static void configure(struct connection *k)
{
    mbedtls_ssl_config *conf = &k->config;
    struct tls_versions v = k->strength.versions;
    bool sessions = k->client->session_ms > 0;

    *conf = *tls_setup_config(k->client->setup);
    mbedtls_ssl_conf_min_tls_version(conf, v.v12 ? MBEDTLS_SSL_VERSION_TLS1_2 : MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_max_tls_version(conf, v.v13 ? MBEDTLS_SSL_VERSION_TLS1_3 : MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_ciphersuites(conf, k->strength.suites);
    mbedtls_ssl_conf_sig_algs(conf, signatures);
    mbedtls_ssl_conf_session_tickets(conf, sessions ? MBEDTLS_SSL_SESSION_TICKETS_ENABLED
                                                    : MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
        conf, sessions ? MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED
                       : MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_DISABLED);
    /* A session is never resumed without new keys: forward secrecy. */
    mbedtls_ssl_conf_tls13_key_exchange_modes(conf, sessions ? MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ALL
                                                             : MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL);
}

static void prepare(struct tls_conn *c)
{
    struct connection *k = c->shared;

    if (!k->usable) {
        tls_handshake_fail(c, "the TLS policy leaves no version or no cipher");
        return;
    }
    configure(k);
    c->config = &k->config;
    tls_handshake_go(c);
}

void tls_connect(struct stream *s, struct tls_client *client, const struct tls_connect_opts *o, struct op_scope *scope,
                 op_done_fn *done, void *owner)
{
    const struct tls_policy *p = o->policy;
    struct connection *k = NEW(struct connection);
    struct tls_conn *c = tls_handshake_start(s, true, o->timeout_ms, prepare, scope, done, owner);
    const char *match = p->match != NULL ? p->match : client->match[p->level];

    MTA_ASSERT(p->level != TLS_LEVEL_NONE);
    k->client = tls_client_ref(client);
    k->level = p->level;
    k->match = mem_strdup(match == NULL ? "" : match);
    k->host = mem_strdup(o->host);
    k->nexthop = mem_strdup(o->nexthop);
    k->usable = tls_client_strength(client, p, &k->strength);
    buf_printf(&k->server, "%s %d", o->address, o->port);
    if (k->strength.versions.v12 && is_remembered(client, k, loop_now_ms(c->loop)))
        k->strength.versions.v13 = false;
    c->sni = choose_sni(o);
    c->shared = k;
    c->unref = release;
    c->hooks = &hooks;
    c->digest = client->digest;
    make_key(k, o, c->sni);
    if (client->session_ms > 0)
        k->offered = tls_session_cache_find(client->sessions, buf_slice(&k->key), loop_now_ms(c->loop));
}

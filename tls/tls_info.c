/*
 * A connection in words: see struct tls_info. Called when a handshake is done. Fingerprints as Postfix and OpenSSL make
 * them: of the certificate as it was sent, and of its SubjectPublicKeyInfo (RFC 5280 section 4.1).
 */
#include "core/base/alloc.h"
#include "tls/tls_ciphers.h"
#include "tls/tls_conn.h"
#include "tls/tls_error.h"

#include <mbedtls/oid.h>
#include <mbedtls/x509_crt.h>

static char *printable(struct slice text)
{
    char *to = mem_dup(text.p, text.n);

    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)to[i] < 32 || to[i] == 127)
            to[i] = '?';
    return to;
}

/* The last one, as the most specific. */
static char *common_name(const mbedtls_x509_name *name)
{
    struct slice found = SLICE_LIT("");

    for (; name != NULL; name = name->next)
        if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &name->oid) == 0)
            found = slice_make(name->val.p, name->val.len < TLS_NAME_MAX ? name->val.len : TLS_NAME_MAX);
    return printable(found);
}

static char *fingerprint(const mbedtls_md_info_t *digest, const mbedtls_x509_buf *of)
{
    static const char hex[] = "0123456789ABCDEF";
    unsigned char sum[MBEDTLS_MD_MAX_SIZE];
    size_t n = mbedtls_md_get_size(digest);
    char text[3 * MBEDTLS_MD_MAX_SIZE];

    if (n == 0 || mbedtls_md(digest, of->p, of->len, sum) != 0)
        return mem_strdup("");
    for (size_t i = 0; i < n; i++) {
        text[3 * i] = hex[sum[i] >> 4];
        text[3 * i + 1] = hex[sum[i] & 15];
        text[3 * i + 2] = ':';
    }
    return mem_dup(text, 3 * n - 1);
}

static void about_peer(struct tls_info *info, const struct tls_conn *c)
{
    const mbedtls_x509_crt *crt = mbedtls_ssl_get_peer_cert(&c->ssl);
    uint32_t flags;

    if (crt == NULL)
        return;
    flags = mbedtls_ssl_get_verify_result(&c->ssl);
    info->trust = flags == 0 ? TLS_PEER_TRUSTED : TLS_PEER_UNTRUSTED;
    info->why_untrusted = tls_error_trust(flags);
    if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0 && crt->issuer_raw.len == crt->subject_raw.len &&
        memcmp(crt->issuer_raw.p, crt->subject_raw.p, crt->issuer_raw.len) == 0)
        info->why_untrusted = "self-signed certificate";
    info->peer_cn = common_name(&crt->subject);
    info->peer_issuer = common_name(&crt->issuer);
    info->fingerprint = fingerprint(c->digest, &crt->raw);
    info->key_print = fingerprint(c->digest, &crt->pk_raw);
}

struct tls_info *tls_info_make(const struct tls_conn *c)
{
    struct tls_info *info = NEW(struct tls_info);
    const struct tls_suite *suite = tls_suite_find(mbedtls_ssl_get_ciphersuite_id_from_ssl(&c->ssl));

    info->protocol = mbedtls_ssl_get_version(&c->ssl);
    info->cipher = suite == NULL ? mbedtls_ssl_get_ciphersuite(&c->ssl) : suite->name;
    info->bits = info->alg_bits = suite == NULL ? 0 : suite->bits;
    info->resumed = c->resumed;
    info->exchange = ""; /* Mbed TLS does not tell */
    info->why_untrusted = "";
    info->peer_cn = info->peer_issuer = info->fingerprint = info->key_print = "";
    info->sni = c->sni == NULL ? "" : c->sni;
    about_peer(info, c);
    return info;
}

static void forget_peer(struct tls_info *info)
{
    if (info->trust == TLS_PEER_ANONYMOUS)
        return;
    mem_free((char *)info->peer_cn);
    mem_free((char *)info->peer_issuer);
    mem_free((char *)info->fingerprint);
    mem_free((char *)info->key_print);
}

void tls_info_copy_peer(struct tls_info *to, const struct tls_info *from)
{
    forget_peer(to);
    to->trust = from->trust;
    to->why_untrusted = from->why_untrusted;
    to->peer_cn = to->peer_issuer = to->fingerprint = to->key_print = "";
    if (from->trust == TLS_PEER_ANONYMOUS)
        return;
    to->peer_cn = mem_strdup(from->peer_cn);
    to->peer_issuer = mem_strdup(from->peer_issuer);
    to->fingerprint = mem_strdup(from->fingerprint);
    to->key_print = mem_strdup(from->key_print);
}

void tls_info_free(struct tls_info *info)
{
    if (info != NULL)
        forget_peer(info);
    mem_free(info);
}

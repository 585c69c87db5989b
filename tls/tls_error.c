/*
 * Errors of Mbed TLS and alerts of the peer (RFC 8446 section 6.2) in words. Called when a handshake or a connection
 * fails. Owns nothing.
 */
#include "tls/tls_error.h"

#include <stdio.h>

#include <mbedtls/error.h>

struct words {
    int value;
    const char *text;
};

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

static const struct words errors[] = {
    {MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION, "no shared TLS version"},
    {MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE, "no shared cipher (or TLS version, or group)"},
    {MBEDTLS_ERR_SSL_CONN_EOF, "lost connection"},
    {MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY, "the peer ended the connection"},
    {MBEDTLS_ERR_SSL_INVALID_MAC, "a record was damaged on the way"},
    {MBEDTLS_ERR_SSL_INVALID_RECORD, "a record is malformed"},
    {MBEDTLS_ERR_SSL_DECODE_ERROR, "a message is malformed"},
    {MBEDTLS_ERR_SSL_ILLEGAL_PARAMETER, "a message has an illegal parameter"},
    {MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE, "a message came out of turn"},
    {MBEDTLS_ERR_SSL_UNEXPECTED_RECORD, "a record came out of turn"},
    {MBEDTLS_ERR_SSL_UNSUPPORTED_EXTENSION, "the peer sent an extension that was not asked for"},
    {MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE, "the client has no certificate"},
    {MBEDTLS_ERR_SSL_BAD_CERTIFICATE, "the peer's certificate cannot be used"},
    {MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED, "there are no authorities to check the peer's certificate by"},
    {MBEDTLS_ERR_SSL_UNRECOGNIZED_NAME, "the server name is not known"},
    {MBEDTLS_ERR_SSL_ALLOC_FAILED, "out of memory"},
    {MBEDTLS_ERR_X509_CERT_VERIFY_FAILED, "the peer's certificate is not trusted"},
};

static const struct words alerts[] = {
    {MBEDTLS_SSL_ALERT_MSG_UNEXPECTED_MESSAGE, "unexpected message"},
    {MBEDTLS_SSL_ALERT_MSG_BAD_RECORD_MAC, "damaged record"},
    {MBEDTLS_SSL_ALERT_MSG_RECORD_OVERFLOW, "record too long"},
    {MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE, "handshake failure: nothing in common"},
    {MBEDTLS_SSL_ALERT_MSG_BAD_CERT, "certificate rejected: bad certificate"},
    {MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT, "certificate rejected: unsupported kind"},
    {MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED, "certificate rejected: revoked"},
    {MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED, "certificate rejected: expired"},
    {MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN, "certificate rejected"},
    {MBEDTLS_SSL_ALERT_MSG_ILLEGAL_PARAMETER, "illegal parameter"},
    {MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA, "certificate rejected: unknown CA"},
    {MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED, "access denied"},
    {MBEDTLS_SSL_ALERT_MSG_DECODE_ERROR, "malformed message"},
    {MBEDTLS_SSL_ALERT_MSG_DECRYPT_ERROR, "a signature or key is wrong"},
    {MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION, "no shared TLS version"},
    {MBEDTLS_SSL_ALERT_MSG_INSUFFICIENT_SECURITY, "insufficient security"},
    {MBEDTLS_SSL_ALERT_MSG_INTERNAL_ERROR, "internal error"},
    {MBEDTLS_SSL_ALERT_MSG_INAPROPRIATE_FALLBACK, "inappropriate fallback"},
    {MBEDTLS_SSL_ALERT_MSG_USER_CANCELED, "cancelled"},
    {MBEDTLS_SSL_ALERT_MSG_NO_RENEGOTIATION, "no renegotiation"},
    {MBEDTLS_SSL_ALERT_MSG_MISSING_EXTENSION, "missing extension"},
    {MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_EXT, "unsupported extension"},
    {MBEDTLS_SSL_ALERT_MSG_UNRECOGNIZED_NAME, "unknown server name"},
    {MBEDTLS_SSL_ALERT_MSG_CERT_REQUIRED, "certificate required"},
    {MBEDTLS_SSL_ALERT_MSG_NO_APPLICATION_PROTOCOL, "no shared application protocol"},
};

static const struct words faults[] = {
    {MBEDTLS_X509_BADCERT_MISSING, "no certificate"},
    {MBEDTLS_X509_BADCERT_REVOKED, "revoked certificate"},
    {MBEDTLS_X509_BADCERT_EXPIRED, "expired certificate"},
    {MBEDTLS_X509_BADCERT_FUTURE, "certificate not yet valid"},
    {MBEDTLS_X509_BADCERT_NOT_TRUSTED, "no trusted authority issued the certificate"},
    {MBEDTLS_X509_BADCERT_CN_MISMATCH, "name mismatch"},
    {MBEDTLS_X509_BADCERT_KEY_USAGE | MBEDTLS_X509_BADCERT_EXT_KEY_USAGE | MBEDTLS_X509_BADCERT_NS_CERT_TYPE,
     "certificate is not for this use"},
    {MBEDTLS_X509_BADCERT_BAD_MD | MBEDTLS_X509_BADCERT_BAD_PK | MBEDTLS_X509_BADCERT_BAD_KEY,
     "certificate with a weak signature or key"},
};

static const char *find(const struct words *table, size_t n, int value)
{
    for (size_t i = 0; i < n; i++)
        if (table[i].value == value)
            return table[i].text;
    return NULL;
}

/* Has a client of TLS 1.2 sent all that it had to? Then it is not for want of a cipher that it is refused. */
static bool all_is_sent(const mbedtls_ssl_context *ssl)
{
    int state = ssl->MBEDTLS_PRIVATE(state);

    return mbedtls_ssl_conf_get_endpoint(ssl->MBEDTLS_PRIVATE(conf)) == MBEDTLS_SSL_IS_CLIENT &&
           (state == MBEDTLS_SSL_SERVER_CHANGE_CIPHER_SPEC || state == MBEDTLS_SSL_NEW_SESSION_TICKET);
}

/* Mbed TLS does not say which alert it was; the record is still there. */
static void alert_words(const mbedtls_ssl_context *ssl, char *to, size_t size)
{
    int alert = ssl->MBEDTLS_PRIVATE(in_msg) == NULL ? -1 : ssl->MBEDTLS_PRIVATE(in_msg)[1];
    const char *text = find(alerts, COUNT(alerts), alert);

    if (alert == MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE && all_is_sent(ssl))
        text = "handshake failure: it may require a client certificate";
    if (text != NULL)
        snprintf(to, size, "the peer reports: %s", text);
    else
        snprintf(to, size, "the peer reports: alert %d", alert);
}

void tls_error_words(const mbedtls_ssl_context *ssl, int error, bool first, char *to, size_t size)
{
    const char *text = find(errors, COUNT(errors), error);
    char detail[160] = "";

    if (error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
        alert_words(ssl, to, size);
        return;
    }
    if (first && error == MBEDTLS_ERR_SSL_INVALID_RECORD)
        text = "the peer did not send TLS";
    if (text != NULL) {
        snprintf(to, size, "%s", text);
        return;
    }
    mbedtls_strerror(error, detail, sizeof detail);
    snprintf(to, size, "the handshake failed (%s)", detail);
}

const char *tls_error_trust(uint32_t flags)
{
    for (size_t i = 0; i < COUNT(faults); i++)
        if ((flags & (uint32_t)faults[i].value) != 0)
            return faults[i].text;
    return flags == 0 ? "" : "certificate chain is too long or malformed";
}

/*
 * The server name in a ClientHello (RFC 6066 section 3), read by a throw-away context of Mbed TLS which stops at the
 * name: the certificate that belongs to it may have to be asked for, and Mbed TLS does not wait for an answer. Called
 * by tls_handshake.c on a thread. Owns nothing.
 */
#include "tls/tls_peek.h"

#include "tls/tls_lib.h"

#include <mbedtls/ssl.h>

static int take_name(void *arg, mbedtls_ssl_context *ssl, const unsigned char *from, size_t n)
{
    char *name = arg;

    (void)ssl;
    if (n >= TLS_PEEK_NAME)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (!ascii_alnum((char)from[i]) && from[i] != '-' && from[i] != '_' && from[i] != '.')
            return -1;
    for (size_t i = 0; i < n; i++)
        name[i] = ascii_lower((char)from[i]);
    return -1; /* stop here */
}

static int stop(mbedtls_ssl_context *ssl)
{
    (void)ssl;
    return -1;
}

static int receive(void *arg, unsigned char *to, size_t n)
{
    struct slice *from = arg;
    size_t part = n < from->n ? n : from->n;

    if (part == 0)
        return MBEDTLS_ERR_SSL_WANT_READ;
    memcpy(to, from->p, part);
    *from = slice_from(*from, part);
    return (int)part;
}

static int send_nothing(void *arg, const unsigned char *from, size_t n)
{
    (void)arg;
    (void)from;
    return (int)n;
}

void tls_peek_name(struct slice raw, char name[TLS_PEEK_NAME])
{
    mbedtls_ssl_config config;
    mbedtls_ssl_context ssl;

    memset(name, 0, TLS_PEEK_NAME);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&ssl);
    if (mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT) == 0) {
        mbedtls_ssl_conf_rng(&config, tls_lib_random, NULL);
        mbedtls_ssl_conf_sni(&config, take_name, name);
        mbedtls_ssl_conf_cert_cb(&config, stop);
        if (mbedtls_ssl_setup(&ssl, &config) == 0) {
            mbedtls_ssl_set_bio(&ssl, &raw, send_nothing, receive, NULL);
            (void)mbedtls_ssl_handshake(&ssl);
        }
    }
    mbedtls_ssl_free(&ssl);
    mbedtls_ssl_config_free(&config);
}

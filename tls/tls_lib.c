/*
 * The process-wide part of Mbed TLS, see tls_lib.h. Called by whoever sets up TLS. The generator is one for all
 * threads: Mbed TLS locks it for each call, which takes microseconds, of a handshake's milliseconds.
 */
#include "tls/tls_lib.h"

#include "core/base/assert.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <psa/crypto.h>

static struct {
    size_t refs;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context drbg;
} lib;

void tls_lib_ref(void)
{
    if (lib.refs++ > 0)
        return;
    MTA_ASSERT(psa_crypto_init() == PSA_SUCCESS);
    mbedtls_entropy_init(&lib.entropy);
    mbedtls_ctr_drbg_init(&lib.drbg);
    MTA_ASSERT(mbedtls_ctr_drbg_seed(&lib.drbg, mbedtls_entropy_func, &lib.entropy, NULL, 0) == 0);
}

void tls_lib_unref(void)
{
    MTA_ASSERT(lib.refs > 0);
    if (--lib.refs > 0)
        return;
    mbedtls_ctr_drbg_free(&lib.drbg);
    mbedtls_entropy_free(&lib.entropy);
    mbedtls_psa_crypto_free();
}

int tls_lib_random(void *unused, unsigned char *to, size_t n)
{
    (void)unused;
    while (n > 0) {
        size_t part = n < MBEDTLS_CTR_DRBG_MAX_REQUEST ? n : MBEDTLS_CTR_DRBG_MAX_REQUEST;
        int error = mbedtls_ctr_drbg_random(&lib.drbg, to, part);

        if (error != 0)
            return error;
        to += part;
        n -= part;
    }
    return 0;
}

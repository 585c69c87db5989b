/* See tls_hmac.h. Called by lookup/srs. */
#include "tls/tls_hmac.h"

#include "core/base/assert.h"

#include <mbedtls/md.h>

void tls_hmac(struct slice key, struct slice text, uint8_t out[static TLS_HMAC_SIZE])
{
    const mbedtls_md_info_t *sha256 = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    int failed =
        mbedtls_md_hmac(sha256, (const unsigned char *)key.p, key.n, (const unsigned char *)text.p, text.n, out);

    MTA_ASSERT(failed == 0); /* it can only be called wrongly */
}

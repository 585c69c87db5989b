/* Digests: see tls_hash.h. Called by the table back end of AUTH on a worker thread. */
#include "tls/tls_hash.h"

#include <mbedtls/md.h>

size_t tls_hash(const char *name, struct slice first, struct slice second, unsigned char digest[TLS_HASH_MOST])
{
    const mbedtls_md_info_t *info = mbedtls_md_info_from_string(name);
    mbedtls_md_context_t context;
    bool ok;

    if (info == NULL)
        return 0;
    mbedtls_md_init(&context);
    ok = mbedtls_md_setup(&context, info, 0) == 0 && mbedtls_md_starts(&context) == 0 &&
         mbedtls_md_update(&context, (const unsigned char *)first.p, first.n) == 0 &&
         mbedtls_md_update(&context, (const unsigned char *)second.p, second.n) == 0 &&
         mbedtls_md_finish(&context, digest) == 0;
    mbedtls_md_free(&context); /* wipes it */
    return ok ? mbedtls_md_get_size(info) : 0;
}

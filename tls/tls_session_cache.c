/*
 * Sessions of the client half, see tls_session_cache.h. Called by tls_connect.c. Owns copies of sessions, as bytes:
 * some 2 KiB each. RFC 8446 section 2.2, RFC 5077.
 */
#include "tls/tls_session_cache.h"

#include "core/base/alloc.h"
#include "core/base/map.h"

#include <mbedtls/platform_util.h>

#define STATE_MAX 8192u

struct tls_session_cache {
    struct map by_key;
    struct list all; /* tls_session.link, the last used last */
    size_t most;
};

/* ---- sessions ---- */

/* Without either a server knows nothing to resume, and the client would offer no other version than before. */
static bool can_resume(const mbedtls_ssl_session *s)
{
    return s->MBEDTLS_PRIVATE(ticket_len) > 0 ||
           (s->MBEDTLS_PRIVATE(tls_version) == MBEDTLS_SSL_VERSION_TLS1_2 && s->MBEDTLS_PRIVATE(id_len) > 0);
}

static unsigned char *save(const mbedtls_ssl_session *s, size_t *n)
{
    unsigned char *to;

    mbedtls_ssl_session_save(s, NULL, 0, n); /* answers how much it is */
    if (*n == 0 || *n > STATE_MAX)
        return NULL;
    to = mem_new(*n);
    if (mbedtls_ssl_session_save(s, to, *n, n) == 0)
        return to;
    mem_free(to);
    return NULL;
}

struct tls_session *tls_session_new(const mbedtls_ssl_context *ssl, struct slice key, uint64_t until_ms,
                                    const mbedtls_x509_time *expiry, const struct tls_info *peer)
{
    struct tls_session *made = NULL;
    mbedtls_ssl_session s;
    unsigned char *state = NULL;
    size_t n = 0;

    mbedtls_ssl_session_init(&s);
    if (mbedtls_ssl_get_session(ssl, &s) == 0 && can_resume(&s))
        state = save(&s, &n);
    mbedtls_ssl_session_free(&s);
    if (state == NULL)
        return NULL;
    made = NEW(struct tls_session);
    made->refs = 1;
    made->until_ms = until_ms;
    made->expiry = *expiry;
    made->peer = NEW(struct tls_info);
    tls_info_copy_peer(made->peer, peer);
    made->state = state;
    made->n = n;
    buf_add_slice(&made->key, key);
    return made;
}

void tls_session_unref(struct tls_session **sp)
{
    struct tls_session *s = *sp;

    *sp = NULL;
    if (s == NULL || --s->refs > 0)
        return;
    mbedtls_platform_zeroize(s->state, s->n);
    mem_free(s->state);
    tls_info_free(s->peer);
    buf_release(&s->key);
    mem_free(s);
}

void tls_session_offer(const struct tls_session *s, mbedtls_ssl_context *ssl)
{
    mbedtls_ssl_session loaded;

    mbedtls_ssl_session_init(&loaded);
    if (mbedtls_ssl_session_load(&loaded, s->state, s->n) == 0)
        (void)mbedtls_ssl_set_session(ssl, &loaded); /* otherwise it is a full handshake */
    mbedtls_ssl_session_free(&loaded);
}

/* ---- the cache ---- */

struct tls_session_cache *tls_session_cache_new(size_t most)
{
    struct tls_session_cache *cache = NEW(struct tls_session_cache);

    cache->most = most;
    list_init(&cache->all);
    return cache;
}

void tls_session_cache_forget(struct tls_session_cache *cache, struct tls_session *s)
{
    if (!list_linked(&s->link))
        return;
    map_remove(&cache->by_key, buf_slice(&s->key));
    list_remove(&s->link);
    tls_session_unref(&s);
}

void tls_session_cache_free(struct tls_session_cache **cp)
{
    struct tls_session_cache *cache = *cp;

    *cp = NULL;
    if (cache == NULL)
        return;
    LIST_FOREACH(it, &cache->all)
    tls_session_cache_forget(cache, LIST_ITEM(it, struct tls_session, link));
    map_clear(&cache->by_key);
    mem_free(cache);
}

size_t tls_session_cache_count(const struct tls_session_cache *cache)
{
    return cache->by_key.count;
}

struct tls_session *tls_session_cache_find(struct tls_session_cache *cache, struct slice key, uint64_t now_ms)
{
    struct tls_session *s = map_get(&cache->by_key, key);

    if (s == NULL)
        return NULL;
    if (now_ms >= s->until_ms || (s->peer->trust >= TLS_PEER_TRUSTED && mbedtls_x509_time_is_past(&s->expiry))) {
        tls_session_cache_forget(cache, s);
        return NULL;
    }
    list_remove(&s->link);
    list_append(&cache->all, &s->link);
    s->refs++;
    return s;
}

void tls_session_cache_put(struct tls_session_cache *cache, struct tls_session *s)
{
    struct tls_session *before = map_get(&cache->by_key, buf_slice(&s->key));

    if (before != NULL)
        tls_session_cache_forget(cache, before);
    else if (tls_session_cache_count(cache) >= cache->most)
        tls_session_cache_forget(cache, LIST_ITEM(cache->all.next, struct tls_session, link));
    s->refs++;
    list_append(&cache->all, &s->link);
    map_put(&cache->by_key, buf_slice(&s->key), s);
}

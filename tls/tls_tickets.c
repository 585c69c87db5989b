/*
 * Ticket keys by listener, see tls_tickets.h. Called when a server's TLS is set up. Mbed TLS makes a new key in each
 * lifetime, keeps the one before, and locks them for each use. RFC 5077, RFC 8446 section 4.6.1.
 */
#include "tls/tls_tickets.h"

#include "core/base/alloc.h"
#include "core/base/list.h"
#include "tls/tls_lib.h"

#include <string.h>

#include <mbedtls/ssl_ticket.h>

struct tls_tickets {
    struct list link;
    size_t refs;
    char *listener;
    uint32_t lifetime_s;
    mbedtls_ssl_ticket_context keys;
};

static _Thread_local bool taken;
static struct list all = {&all, &all};

struct tls_tickets *tls_tickets_get(const char *listener, uint32_t lifetime_s)
{
    struct tls_tickets *t;

    LIST_FOREACH(it, &all)
    {
        t = LIST_ITEM(it, struct tls_tickets, link);
        if (t->lifetime_s == lifetime_s && strcmp(t->listener, listener) == 0) {
            t->refs++;
            return t;
        }
    }
    t = NEW(struct tls_tickets);
    t->refs = 1;
    t->listener = mem_strdup(listener);
    t->lifetime_s = lifetime_s;
    tls_lib_ref();
    mbedtls_ssl_ticket_init(&t->keys);
    MTA_ASSERT(mbedtls_ssl_ticket_setup(&t->keys, tls_lib_random, NULL, MBEDTLS_CIPHER_AES_256_GCM, lifetime_s) == 0);
    list_append(&all, &t->link);
    return t;
}

void tls_tickets_put(struct tls_tickets **tp)
{
    struct tls_tickets *t = *tp;

    *tp = NULL;
    if (t == NULL || --t->refs > 0)
        return;
    list_remove(&t->link);
    mbedtls_ssl_ticket_free(&t->keys);
    tls_lib_unref();
    mem_free(t->listener);
    mem_free(t);
}

static int parse(void *keys, mbedtls_ssl_session *session, unsigned char *ticket, size_t n)
{
    int error = mbedtls_ssl_ticket_parse(keys, session, ticket, n);

    taken = taken || error == 0;
    return error;
}

bool tls_tickets_taken(void)
{
    bool was = taken;

    taken = false;
    return was;
}

void tls_tickets_use(struct tls_tickets *t, mbedtls_ssl_config *conf)
{
    mbedtls_ssl_conf_session_tickets_cb(conf, mbedtls_ssl_ticket_write, parse, &t->keys);
}

/*
 * Restrictions that look at the client's certificate. The handshake asks for one only with smtpd_tls_ask_ccert or
 * smtpd_tls_req_ccert; permit_tls_clientcerts trusts whom the table names, whoever signed the certificate.
 */
#include "lookup/maps.h"
#include "proto/smtpd/smtpd_int.h"

enum restrict_verdict check_tls_all_clientcerts(struct session *s)
{
    return s->tls != NULL && s->tls->trust >= TLS_PEER_TRUSTED ? RESTRICT_PERMIT : RESTRICT_DUNNO;
}

/* The fingerprint of the certificate, or of its key. */
static void on_fingerprint(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;
    const struct maps_address_answer *a = result;

    if (st == OP_OK || st == OP_NOTFOUND)
        restrict_answer(s, st == OP_OK ? RESTRICT_PERMIT : RESTRICT_DUNNO);
    else
        restrict_answer(s, restrict_table_failed(s, a != NULL ? a->why : NULL));
}

enum restrict_verdict check_tls_clientcerts(struct session *s)
{
    struct maps_key keys[2] = {{.extension = ""}, {.extension = ""}};

    if (s->tls == NULL || s->tls->trust == TLS_PEER_ANONYMOUS || maps_empty(s->service->clientcerts))
        return RESTRICT_DUNNO;
    keys[0].text = s->tls->fingerprint;
    keys[1].text = s->tls->key_print;
    maps_find_keys(s->service->clientcerts, &s->scope, keys, keys[1].text[0] != '\0' ? 2 : 1, on_fingerprint, s);
    return RESTRICT_WAIT;
}

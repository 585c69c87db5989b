/*
 * TLS in a session: STARTTLS (RFC 3207) and the handshake of smtpd_tls_wrappermode (RFC 8314), what is
 * logged of them, and what Received: says. The handshake is an op of tls/ in the session's scope, with a time-out of
 * its own; whatever came in clear after STARTTLS is thrown away before, and the session begins anew, so that nothing a
 * third party injected into the clear part is ever worked on.
 */
#include "core/base/alloc.h"
#include "lookup/maps.h"
#include "proto/smtpd/smtpd_int.h"

#define SNI_LABELS_MAX 16 /* of the name that a client asks for */

bool session_tls_active(const struct session *s)
{
    return s->tls != NULL || (s->probe != NULL && tls_server_required(s->conf));
}

bool session_may_starttls(const struct session *s)
{
    return s->service->tls != NULL && !session_tls_active(s);
}

bool session_needs_tls(const struct session *s)
{
    return tls_server_required(s->conf) && !session_tls_active(s);
}

bool session_may_auth(const struct session *s)
{
    return session_tls_active(s) || !(s->conf->smtpd_tls_auth_only || tls_server_required(s->conf));
}

/* ---- certificates by server name ---- */

/* One question to tls_server_sni_maps: the name, then the domains it is in, as ".example.com". */
struct sni_query {
    struct op op;
    struct op_scope scope;
    char *files;
};

static void sni_release(struct op *op)
{
    struct sni_query *q = (struct sni_query *)op;

    op_scope_close(&q->scope);
    mem_free(q->files);
    mem_free(q);
}

/* Nobody waits any more: the session may end, and the tables after it. */
static void sni_abandoned(struct op *op)
{
    struct sni_query *q = (struct sni_query *)op;

    op_scope_close(&q->scope);
    op_finish(op, OP_TEMPFAIL, NULL);
}

static void on_sni(void *owner, enum op_status st, const void *result)
{
    struct sni_query *q = owner;

    if (st == OP_OK)
        q->files = mem_strdup(((const struct maps_address_answer *)result)->value);
    op_finish(&q->op, st, q->files);
}

/* A tls_sni_fn. */
static void sni_find(void *arg, const char *server_name, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct session *s = arg;
    struct sni_query *q = NEW(struct sni_query);

    struct maps_key keys[SNI_LABELS_MAX] = {{0}};
    char *name = mem_strdup(server_name);
    size_t n = 0;

    for (char *c = name; *c != '\0'; c++)
        *c = ascii_lower(*c);
    for (const char *at = name; at != NULL && n < SNI_LABELS_MAX; at = strchr(at + 1, '.'))
        keys[n++].text = at;
    op_start(&q->op, s->server->loop, scope, "certificate by name", 0, done, owner, sni_release);
    q->op.abandoned = sni_abandoned;
    op_scope_init_within(&q->scope, "certificate by name", scope);
    maps_find_keys(s->service->sni_maps, &q->scope, keys, n, on_sni, q);
    mem_free(name);
}

/* ---- in words ---- */

static const char *trust(const struct tls_info *tls)
{
    switch (tls->trust) {
    case TLS_PEER_ANONYMOUS: return "Anonymous";
    case TLS_PEER_UNTRUSTED: return "Untrusted";
    case TLS_PEER_TRUSTED: return "Trusted";
    case TLS_PEER_VERIFIED: break;
    }
    return "Verified";
}

static void log_established(struct session *s)
{
    const struct tls_info *tls = s->tls;
    struct log_ctx log = session_log(s, false);
    bool named = !maps_empty(s->service->sni_maps) && tls->sni[0] != '\0';

    if (s->conf->smtpd_tls_loglevel < 1)
        return;
    if (tls->trust == TLS_PEER_UNTRUSTED)
        log_event(LOG_TLS, &log, "certificate verification failed for %s: %s", session_peer(s), tls->why_untrusted);
    log_event(LOG_TLS, &log, "%s TLS connection established from %s%s%s: %s with cipher %s (%d/%d bits)", trust(tls),
              session_peer(s), named ? " to " : "", named ? tls->sni : "", tls->protocol, tls->cipher, tls->bits,
              tls->alg_bits);
}

/* A name of a certificate, harmless within quotes within a comment. */
static void add_name(struct buf *text, const char *name)
{
    for (; *name != '\0'; name++)
        buf_add_char(text, *name >= ' ' && *name <= '~' && strchr("()\"\\", *name) == NULL ? *name : '?');
}

static void add_certificate(struct session *s, struct buf *text)
{
    if (s->tls->trust != TLS_PEER_ANONYMOUS) {
        buf_add_str(text, "(Client CN \"");
        add_name(text, s->tls->peer_cn);
        buf_add_str(text, "\", Issuer \"");
        add_name(text, s->tls->peer_issuer);
        buf_printf(text, "\" (%s))", s->tls->trust == TLS_PEER_UNTRUSTED ? "not verified" : "verified OK");
    } else if (s->conf->smtpd_tls_ask_ccert || s->conf->smtpd_tls_req_ccert)
        buf_add_str(text, "(Client did not present a certificate)");
    else
        buf_add_str(text, "(No client certificate requested)");
}

const char *session_tls_received(struct session *s)
{
    struct buf text = {0};
    const char *all;

    if (s->tls == NULL || !s->conf->smtpd_tls_received_header)
        return NULL;
    buf_printf(&text, "(using %s with cipher %s (%d/%d bits))\n\t", s->tls->protocol, s->tls->cipher, s->tls->bits,
               s->tls->alg_bits);
    add_certificate(s, &text);
    all = arena_strdup(&s->cmd_arena, buf_cstr(&text));
    buf_release(&text);
    return all;
}

/* ---- the handshake ---- */

/* smtpd_tls_req_ccert: said in answer to the next command, since a client listens only then. */
static void judge_client(struct session *s)
{
    struct log_ctx log = session_log(s, true);

    if (!s->conf->smtpd_tls_req_ccert || !tls_server_required(s->conf) || s->tls->trust >= TLS_PEER_TRUSTED)
        return;
    s->unwelcome =
        s->tls->trust == TLS_PEER_ANONYMOUS ? "No client certificate presented" : "Client certificate not trusted";
    log_event(LOG_REJECT, &log, "abort: TLS from %s: %s", session_peer(s), s->unwelcome);
}

/* False: there is no TLS, and the session is over. */
static bool handshake_over(struct session *s, enum op_status st, const void *result)
{
    struct log_ctx log = session_log(s, false);

    s->handshaking = false;
    if (st != OP_OK) {
        log_event(LOG_TLS, &log, "SSL_accept error from %s: %s", session_peer(s),
                  st == OP_TIMEOUT ? "timed out" : tls_error(result));
        session_lost(s);
        return false;
    }
    s->tls = tls_stream_info(s->stream);
    log_established(s);
    judge_client(s);
    return true;
}

static void shake_hands(struct session *s, op_done_fn *done)
{
    const struct tls_accept_opts opts = {
        .timeout_ms = s->conf->smtpd_starttls_timeout_ms,
        .sni = maps_empty(s->service->sni_maps) ? NULL : sni_find,
        .sni_arg = s,
    };

    s->handshaking = true;
    tls_accept(s->stream, s->service->tls, &opts, &s->scope, done, s);
}

/* ---- smtpd_tls_wrappermode ---- */

static void on_wrapped(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;

    s->waiting = false;
    if (handshake_over(s, st, result))
        session_welcome(s);
}

bool session_wrap(struct session *s)
{
    if (!tls_server_wrapped(s->conf) || s->probe != NULL)
        return false;
    session_waits(s);
    shake_hands(s, on_wrapped);
    return true;
}

/* ---- STARTTLS ---- */

static enum step refuse(struct session *s, int code, const char *dsn, const char *text)
{
    session_reply(s, code, dsn, "%s", text);
    return STEP_DONE;
}

enum step starttls_check(struct session *s)
{
    if (session_tls_active(s))
        return refuse(s, 554, "5.5.1", "Error: TLS already active");
    if (!session_offers(s, EHLO_STARTTLS))
        return refuse(s, 502, "5.5.1", "Error: command not implemented");
    if (s->service->tls == NULL)
        return refuse(s, 454, "4.7.0", "TLS not available due to local problem");
    if (s->txn.open)
        return refuse(s, 503, "5.5.1", "Error: MAIL transaction in progress");
    return STEP_NEXT;
}

static void on_starttls(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;

    s->count[CMD_STARTTLS].all += st != OP_OK; /* dispatch.c counts the others */
    if (handshake_over(s, st, result))
        session_resume(s, STEP_SENT);
}

enum step starttls_act(struct session *s)
{
    session_reply(s, 220, "2.0.0", "Ready to start TLS");
    session_flush(s);
    session_forget(s);
    stream_consume(s->stream, stream_input(s->stream).n);
    shake_hands(s, on_starttls);
    return STEP_WAIT;
}

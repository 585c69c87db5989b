/*
 * TLS in the client: what holds for a destination (smtp_tls_security_level, smtp_tls_policy_maps), STARTTLS (RFC 3207),
 * TLS from the first byte, and what follows when there is none. Called by smtpc.c for a transport, by smtpc_hosts.c for
 * a next hop and a connection, by smtpc_hello.c once the server has said what it can do. Owns the transport's
 * tls_client and policy tables; waits on tables and the handshake.
 *
 * Where TLS is only wanted (level may), a handshake that fails defers the message, or takes it to the next host; once
 * the message is older than minimal_backoff_time the same host is asked again in clear, on a new connection. Not where
 * there is a password for it.
 */
#include "delivery/smtpc_int.h"

#include "core/base/ip.h"
#include "core/base/log.h"
#include "lookup/maps.h"

/* ---- a transport ---- */

static enum tls_level level_of(const struct conf_client *c)
{
    switch (c->tls_security_level) {
    case CONF_TLS_CLIENT_LEVEL_UNSET: break;
    case CONF_TLS_CLIENT_LEVEL_NONE: return TLS_LEVEL_NONE;
    case CONF_TLS_CLIENT_LEVEL_MAY: return TLS_LEVEL_MAY;
    case CONF_TLS_CLIENT_LEVEL_ENCRYPT: return TLS_LEVEL_ENCRYPT;
    case CONF_TLS_CLIENT_LEVEL_FINGERPRINT: return TLS_LEVEL_FINGERPRINT;
    case CONF_TLS_CLIENT_LEVEL_VERIFY: return TLS_LEVEL_VERIFY;
    case CONF_TLS_CLIENT_LEVEL_SECURE: return TLS_LEVEL_SECURE;
    }
    if (c->enforce_tls)
        return c->tls_enforce_peername ? TLS_LEVEL_VERIFY : TLS_LEVEL_ENCRYPT;
    return c->use_tls ? TLS_LEVEL_MAY : TLS_LEVEL_NONE;
}

static struct tls_client *client_new(const struct transport *t, struct buf *err)
{
    const struct conf_client *c = t->conf->client;
    const struct tls_client_opts opts = {
        .prefix = smtpc_prefix(t),
        .CAfile = c->tls_CAfile,
        .CApath = c->tls_CApath,
        .append_default_CA = t->set->conf->tls_append_default_CA,
        .cert_file = c->tls_cert_file,
        .key_file = c->tls_key_file,
        .eccert_file = c->tls_eccert_file,
        .eckey_file = c->tls_eckey_file,
        .chain_files = c->tls_chain_files,
        .protocols = c->tls_protocols,
        .mandatory_protocols = c->tls_mandatory_protocols,
        .ciphers = c->tls_ciphers,
        .mandatory_ciphers = c->tls_mandatory_ciphers,
        .exclude_ciphers = c->tls_exclude_ciphers,
        .mandatory_exclude_ciphers = c->tls_mandatory_exclude_ciphers,
        .verify_cert_match = c->tls_verify_cert_match,
        .secure_cert_match = c->tls_secure_cert_match,
        .fingerprint_cert_match = c->tls_fingerprint_cert_match,
        .fingerprint_digest = c->tls_fingerprint_digest,
        .scert_verifydepth = (int)c->tls_scert_verifydepth,
        .session_cache_timeout_ms = c->tls_session_cache_timeout_ms,
    };

    return tls_client_new(t->loop, &opts, err);
}

void smtpc_tls_open(struct transport *t, struct smtpc_own *own, struct buf *err)
{
    const struct conf_client *c = t->conf->client;
    struct buf why = {0};

    own->level = level_of(c);
    own->policies = smtpc_maps(t, "tls_policy_maps", c->tls_policy_maps, &why);
    if (own->policies != NULL && (own->level > TLS_LEVEL_NONE || !maps_empty(own->policies)))
        own->tls = client_new(t, &why);
    if (c->tls_wrappermode && own->level < TLS_LEVEL_ENCRYPT && c->tls_policy_maps[0] == '\0')
        buf_printf(&why, "%s_tls_wrappermode = yes needs %s_tls_security_level = encrypt, or a stronger one\n",
                   smtpc_prefix(t), smtpc_prefix(t));
    smtpc_complain(t, err, &why);
}

void smtpc_tls_close(struct smtpc_own *own)
{
    maps_free(&own->policies);
    tls_client_unref(&own->tls);
}

/* ---- what holds for a next hop ---- */

static const struct smtpc_own *own_of(const struct smtpc_job *job)
{
    return job->job.transport->own;
}

static struct arena *arena_of(struct smtpc_job *job)
{
    return &job->job.delivery->arena;
}

static void unusable(struct smtpc_job *job)
{
    const struct outcome o = outcome_session("4.7.5", "client TLS configuration problem", false);

    smtpc_hosts_unusable(job, &o);
}

/* The policy is known: what does not depend on it only. */
static void settle(struct smtpc_job *job)
{
    struct tls_policy *p = &job->policy;

    if (job->conf->tls_wrappermode && p->level < TLS_LEVEL_ENCRYPT) {
        transport_job_warn(&job->job, "%s_tls_wrappermode = yes requires the level encrypt, or a stronger one, for %s",
                           smtpc_prefix(job->job.transport), job->destination);
        unusable(job);
        return;
    }
    if (p->level == TLS_LEVEL_MAY && job->hop.path != NULL)
        p->level = TLS_LEVEL_NONE; /* nobody can listen there */
    if (p->servername == NULL && job->conf->tls_servername[0] != '\0')
        p->servername = job->conf->tls_servername;
    smtpc_hosts_again(job);
}

static bool take_policy(struct smtpc_job *job, const char *text)
{
    struct buf said = {0};
    bool ok = tls_policy_parse(text, arena_of(job), &job->policy, &said);
    struct slice rest = buf_slice(&said);

    for (struct slice line; (line = slice_token(&rest, "\n")).n > 0;) {
        if (slice_starts(line, SLICE_LIT("warning: ")))
            line = slice_from(line, strlen("warning: "));
        transport_job_warn(&job->job, "%s_tls_policy_maps, %s: %.*s", smtpc_prefix(job->job.transport),
                           job->destination, (int)line.n, line.p);
    }
    buf_release(&said);
    return ok;
}

static void on_policy(void *owner, enum op_status status, const void *result)
{
    struct smtpc_job *job = owner;
    const struct maps_address_answer *a = result;

    if (status == OP_NOTFOUND) {
        settle(job);
    } else if (status != OP_OK) {
        transport_job_warn(&job->job, "%s_tls_policy_maps, %s: %s", smtpc_prefix(job->job.transport), job->destination,
                           a != NULL && a->why != NULL ? a->why : "timed out");
        unusable(job);
    } else if (take_policy(job, a->value)) {
        job->tls_key = arena_strdup(arena_of(job), a->value);
        settle(job);
    } else {
        unusable(job);
    }
}

/* A name of a domain, which has parents; not "[mx.example.com]:25" and the like. */
static bool is_domain(const char *destination)
{
    struct ip ip;

    return strpbrk(destination, "[]:/") == NULL && !ip_parse(slice_str(destination), &ip);
}

/* "a.example.com", then ".example.com" and ".com". */
static size_t make_keys(struct smtpc_job *job, struct maps_key **keys)
{
    const char *text = job->destination;
    size_t n = 1, dots = 0;

    for (const char *c = text; *c != '\0'; c++)
        dots += *c == '.';
    *keys = arena_new_array(arena_of(job), dots + 1, sizeof **keys);
    (*keys)[0].text = text;
    if (is_domain(text))
        while ((text = strchr(text + 1, '.')) != NULL)
            (*keys)[n++].text = text;
    return n;
}

void smtpc_tls_find(struct smtpc_job *job)
{
    const struct smtpc_own *own = own_of(job);
    struct maps_key *keys;
    size_t n;

    job->policy = (struct tls_policy){.level = own->level};
    job->tls_key = "";
    if (maps_empty(own->policies)) {
        settle(job);
        return;
    }
    n = make_keys(job, &keys);
    maps_find_keys(own->policies, &job->job.scope, keys, n, on_policy, job);
}

/* ---- no TLS, and what then ---- */

static void fail(struct smtpc_job *job, const char *dsn, const char *text)
{
    const struct outcome o = outcome_session(dsn, text, job->policy.level == TLS_LEVEL_MAY);

    smtpc_hello_refuse(job, &o, false);
}

static void handshake_failed(struct smtpc_job *job)
{
    fail(job, "4.7.5", "Cannot start TLS: handshake failure");
}

static void on_password(struct smtpc_job *job, enum op_status status)
{
    if (status == OP_NOTFOUND)
        smtpc_hosts_plain(job);
    else
        handshake_failed(job);
}

static bool may_go_plain(const struct smtpc_job *job)
{
    const struct delivery *d = job->job.delivery;
    uint64_t backoff_us = job->job.transport->set->conf->minimal_backoff_time_ms * 1000;

    return job->policy.level == TLS_LEVEL_MAY && d->active_us >= d->message->arrival_us &&
           d->active_us - d->message->arrival_us >= backoff_us;
}

static void go_plain(struct smtpc_job *job)
{
    op_scope_cancel(&job->job.scope);
    smtpc_token_cancel(job);
    smtpc_conn_close(&job->conn);
    smtpc_auth_find(job, on_password);
}

bool smtpc_tls_lost(struct smtpc_job *job)
{
    const struct smtpc_conn *c = job->conn;
    bool in_hello = c->step < SMTPC_MAIL && (c->step == SMTPC_TLS || c->tls != NULL);

    if (!in_hello || c->uses > 1 || !may_go_plain(job))
        return false;
    go_plain(job);
    return true;
}

/* ---- the handshake ---- */

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

static struct log_ctx log_of(const struct smtpc_job *job)
{
    return (struct log_ctx){.agent = job->job.transport->agent->name, .syslog_name = job->conf->syslog_name};
}

static void log_established(const struct smtpc_job *job, bool good)
{
    const struct tls_info *tls = job->conn->tls;
    const struct log_ctx log = log_of(job);

    if (!good || (job->conf->tls_loglevel >= 2 && tls->trust == TLS_PEER_UNTRUSTED))
        log_event(LOG_TLS, &log, "certificate verification failed for %s: %s", job->conn->relay, tls->why_untrusted);
    if (job->conf->tls_loglevel >= 1)
        log_event(LOG_TLS, &log, "%s TLS connection established to %s: %s with cipher %s (%d/%d bits)", trust(tls),
                  job->conn->relay, tls->protocol, tls->cipher, tls->bits, tls->alg_bits);
}

static void refuse_server(struct smtpc_job *job)
{
    bool trusted = job->policy.level == TLS_LEVEL_FINGERPRINT || job->conn->tls->trust >= TLS_PEER_TRUSTED;
    const struct outcome o =
        outcome_session("4.7.5", trusted ? "Server certificate not verified" : "Server certificate not trusted", false);

    smtpc_hello_refuse(job, &o, true);
}

static void on_shaken(void *owner, enum op_status status, const void *result)
{
    struct smtpc_job *job = owner;
    const struct log_ctx log = log_of(job);
    bool good;

    if (status != OP_OK) {
        log_event(LOG_TLS, &log, "SSL_connect error to %s: %s", job->conn->relay,
                  status == OP_TIMEOUT ? "timed out" : tls_error(result));
        if (may_go_plain(job))
            go_plain(job);
        else
            handshake_failed(job);
        return;
    }
    job->conn->tls = tls_stream_info(job->conn->stream);
    good = tls_policy_satisfied(job->policy.level, job->conn->tls);
    log_established(job, good);
    if (!good)
        refuse_server(job);
    else if (job->conn->step == SMTPC_TLS)
        smtpc_hello_again(job);
    else
        smtpc_hello(job);
}

static void shake_hands(struct smtpc_job *job)
{
    struct smtpc_conn *c = job->conn;
    const struct tls_connect_opts opts = {
        .policy = &job->policy,
        .host = c->host,
        .nexthop = job->hop.domain,
        .address = c->address,
        .port = c->port,
        .timeout_ms = job->conf->starttls_timeout_ms,
    };

    timer_stop(&c->timer);
    tls_connect(c->stream, own_of(job)->tls, &opts, &job->job.scope, on_shaken, job);
}

void smtpc_tls_begin(struct smtpc_job *job)
{
    if (job->conf->tls_wrappermode)
        shake_hands(job);
    else
        smtpc_hello(job);
}

void smtpc_tls_after_hello(struct smtpc_job *job)
{
    struct smtpc_conn *c = job->conn;
    bool offered = (c->features & SMTPC_STARTTLS) != 0;
    const struct log_ctx log = log_of(job);

    if (c->tls != NULL || job->plain) {
        smtpc_auth(job);
    } else if (offered && job->policy.level > TLS_LEVEL_NONE) {
        smtpc_conn_send(c, SLICE_LIT("STARTTLS\r\n"));
        smtpc_conn_step(c, SMTPC_TLS);
    } else if (job->policy.level > TLS_LEVEL_MAY) {
        const struct outcome o = outcome_session(
            "4.7.4", arena_printf(arena_of(job), "TLS is required, but was not offered by host %s", c->peer), false);

        smtpc_hello_refuse(job, &o, true);
    } else {
        if (offered && job->conf->tls_note_starttls_offer)
            log_event(LOG_TLS, &log, "Host offered STARTTLS: [%s]", c->host);
        smtpc_auth(job);
    }
}

void smtpc_got_starttls(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    struct smtpc_conn *c = job->conn;

    (void)a;
    if (r->code / 100 == 2) {
        stream_consume(c->stream, stream_input(c->stream).n); /* in clear: anybody may have said it */
        shake_hands(job);
    } else if (job->policy.level > TLS_LEVEL_MAY || r->code == 421) {
        const struct outcome o = job->policy.level > TLS_LEVEL_MAY
                                     ? outcome_no_starttls(c->peer, r)
                                     : outcome_refused(c->peer, r, smtpc_command(SMTPC_TLS));

        smtpc_hello_refuse(job, &o, r->code != 421);
    } else {
        smtpc_auth(job);
    }
}

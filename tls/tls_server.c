/*
 * What the TLS parameters of a listener come to: see tls_server.h. Made by the server's start and reload, held by its
 * listener and by every connection. Owns the setups in force; tls_renew.c exchanges them, tls_sni.c adds to them.
 */
#include "core/base/alloc.h"
#include "tls/tls_lib.h"
#include "tls/tls_server_int.h"

bool tls_server_wrapped(const struct conf *c)
{
    return c->smtpd_tls_wrappermode;
}

bool tls_server_required(const struct conf *c)
{
    if (c->smtpd_tls_wrappermode)
        return true;
    if (c->smtpd_tls_security_level == CONF_TLS_SERVER_LEVEL_UNSET)
        return c->smtpd_enforce_tls;
    return c->smtpd_tls_security_level == CONF_TLS_SERVER_LEVEL_ENCRYPT;
}

bool tls_server_wanted(const struct conf *c)
{
    if (tls_server_required(c))
        return true;
    if (c->smtpd_tls_security_level == CONF_TLS_SERVER_LEVEL_UNSET)
        return c->smtpd_use_tls;
    return c->smtpd_tls_security_level == CONF_TLS_SERVER_LEVEL_MAY;
}

/* ---- from parameters to options ---- */

static void take_files(struct tls_server *s, const struct conf *c)
{
    struct tls_setup_opts *o = &s->opts;

    o->prefix = "smtpd";
    o->cert_file = arena_strdup(&s->arena, c->smtpd_tls_cert_file);
    o->key_file = arena_strdup(&s->arena, c->smtpd_tls_key_file);
    o->eccert_file = arena_strdup(&s->arena, c->smtpd_tls_eccert_file);
    o->eckey_file = arena_strdup(&s->arena, c->smtpd_tls_eckey_file);
    o->chain_files = arena_strdup(&s->arena, c->smtpd_tls_chain_files);
    o->CAfile = arena_strdup(&s->arena, c->smtpd_tls_CAfile);
    o->CApath = arena_strdup(&s->arena, c->smtpd_tls_CApath);
    o->default_CA = c->tls_append_default_CA;
}

static void take_client_certificates(struct tls_server *s, const struct conf *c, struct buf *err)
{
    struct tls_setup_opts *o = &s->opts;
    bool required = c->smtpd_tls_req_ccert && tls_server_required(c);

    /* Who requires one looks at tls_info.trust: within the handshake a client would not learn why it is refused. */
    o->authmode =
        c->smtpd_tls_ask_ccert || c->smtpd_tls_req_ccert ? MBEDTLS_SSL_VERIFY_OPTIONAL : MBEDTLS_SSL_VERIFY_NONE;
    o->verifydepth = (int)c->smtpd_tls_ccert_verifydepth;
    if (c->smtpd_tls_req_ccert && !required)
        buf_add_str(err, "warning: smtpd_tls_req_ccert: where TLS is not mandatory a certificate is only asked for\n");
    if (required && o->CAfile[0] == '\0' && o->CApath[0] == '\0' && !o->default_CA)
        buf_add_str(err, "warning: smtpd_tls_req_ccert: without smtpd_tls_CAfile or smtpd_tls_CApath no client's "
                         "certificate is trusted, and nobody is let in\n");
}

/* An excluded cipher of either list is out. */
static bool take_ciphers(struct tls_server *s, const struct conf *c, struct buf *err)
{
    bool required = tls_server_required(c);
    struct buf exclude = {0};
    bool ok;

    buf_printf(&exclude, "%s %s", c->smtpd_tls_exclude_ciphers, required ? c->smtpd_tls_mandatory_exclude_ciphers : "");
    ok = tls_suites_select(required ? "smtpd_tls_mandatory_ciphers" : "smtpd_tls_ciphers",
                           (required ? c->smtpd_tls_mandatory_ciphers : c->smtpd_tls_ciphers) == CONF_TLS_GRADE_HIGH
                               ? TLS_SUITE_HIGH
                               : TLS_SUITE_MEDIUM,
                           buf_cstr(&exclude), s->opts.versions, s->opts.suites, err);
    buf_release(&exclude);
    s->opts.preempt = c->tls_preempt_cipherlist;
    return ok && tls_groups_select("smtpd_tls_eecdh_grade", c->smtpd_tls_eecdh_grade, s->opts.groups, err);
}

static bool take_versions(struct tls_server *s, const struct conf *c, struct buf *err)
{
    if (tls_server_required(c))
        return tls_versions_parse("smtpd_tls_mandatory_protocols", c->smtpd_tls_mandatory_protocols, &s->opts.versions,
                                  err);
    return tls_versions_parse("smtpd_tls_protocols", c->smtpd_tls_protocols, &s->opts.versions, err);
}

static bool take_digest(struct tls_server *s, const struct conf *c, struct buf *err)
{
    char name[16] = "";

    for (size_t i = 0; i + 1 < sizeof name && c->smtpd_tls_fingerprint_digest[i] != '\0'; i++)
        name[i] = ascii_upper(c->smtpd_tls_fingerprint_digest[i]);
    s->digest = mbedtls_md_info_from_string(name);
    if (s->digest == NULL)
        buf_printf(err, "smtpd_tls_fingerprint_digest: \"%s\" is not known\n", c->smtpd_tls_fingerprint_digest);
    return s->digest != NULL;
}

/*
 * A session that is resumed has nobody show a certificate, and with TLS 1.3 Mbed TLS does not keep the one of the
 * session before: where certificates are asked for there are no tickets.
 */
static void take_tickets(struct tls_server *s, const struct conf *c, const char *listener)
{
    uint32_t lifetime_s = (uint32_t)(c->smtpd_tls_session_cache_timeout_ms / 1000);

    if (c->smtpd_tls_session_tickets && lifetime_s > 0 && s->opts.authmode == MBEDTLS_SSL_VERIFY_NONE)
        s->opts.tickets = tls_tickets_get(listener, lifetime_s);
}

/* ---- setups in force ---- */

struct tls_slot *tls_server_slot(const struct tls_server *s)
{
    return LIST_ITEM(s->slots.next, struct tls_slot, link);
}

struct tls_slot *tls_slot_new(struct tls_server *s, const char *files, struct tls_setup *setup)
{
    struct tls_slot *slot = NEW(struct tls_slot);

    slot->files = mem_strdup(files);
    slot->setup = setup;
    slot->days_told = INT32_MAX;
    list_init(&slot->waiters);
    list_append(&s->slots, &slot->link);
    s->nslots++;
    return slot;
}

void tls_slot_free(struct tls_server *s, struct tls_slot *slot)
{
    list_remove(&slot->link);
    s->nslots--;
    tls_setup_unref(&slot->setup);
    mem_free(slot->files);
    mem_free(slot);
}

/* ---- the life of a server ---- */

static void server_free(struct tls_server *s)
{
    struct list *it;

    tls_renew_stop(s);
    op_scope_close(&s->scope);
    while ((it = s->slots.next) != &s->slots)
        tls_slot_free(s, LIST_ITEM(it, struct tls_slot, link));
    tls_tickets_put(&s->opts.tickets);
    arena_clear(&s->arena);
    mem_free(s);
    tls_lib_unref();
}

static bool read_conf(struct tls_server *s, const struct conf *c, struct buf *err)
{
    take_files(s, c);
    take_client_certificates(s, c, err);
    return take_versions(s, c, err) && take_ciphers(s, c, err) && take_digest(s, c, err);
}

static bool load(struct tls_server *s, struct buf *err)
{
    struct tls_setup *setup = tls_setup_load(&s->opts, NULL, false, err);

    if (setup == NULL)
        return false;
    tls_slot_new(s, NULL, setup);
    if (tls_renew_expiry(tls_server_slot(s), err))
        buf_add_char(err, '\n');
    return true;
}

struct tls_server *tls_server_new(struct loop *loop, const struct conf *c, const char *listener, struct buf *err)
{
    struct tls_server *s = NEW(struct tls_server);

    tls_lib_ref();
    s->refs = 1;
    s->loop = loop;
    s->check_ms = c->tls_certificate_check_interval_ms;
    list_init(&s->slots);
    op_scope_init(&s->scope, "TLS server");
    if (!read_conf(s, c, err)) {
        server_free(s);
        return NULL;
    }
    take_tickets(s, c, listener);
    if (!load(s, err)) {
        server_free(s);
        return NULL;
    }
    tls_renew_start(s);
    return s;
}

struct tls_server *tls_server_ref(struct tls_server *s)
{
    s->refs++;
    return s;
}

void tls_server_unref(struct tls_server **sp)
{
    struct tls_server *s = *sp;

    *sp = NULL;
    if (s != NULL && --s->refs == 0)
        server_free(s);
}

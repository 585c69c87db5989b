/*
 * What the TLS parameters of a transport come to: see tls_client.h. Made by the SMTP client's start and reload, held by
 * it and by every connection. Owns certificates, authorities, and the sessions that can be resumed, which so go with
 * it: another client certificate, or other authorities, never meet a session of before.
 */
#include "core/base/alloc.h"
#include "tls/tls_client_int.h"
#include "tls/tls_lib.h"

#define SESSIONS_MAX 1000

static const char *keep(struct tls_client *c, const char *text, const char *unset)
{
    return arena_strdup(&c->arena, text == NULL ? unset : text);
}

/* "smtp_tls_" and the suffix, for a complaint. */
static const char *parameter(struct tls_client *c, const char *suffix)
{
    return arena_printf(&c->arena, "%s_tls_%s", c->opts.prefix, suffix);
}

/* ---- from parameters to what is offered ---- */

static bool select_suites(const char *what, struct tls_strength *s, struct buf *err)
{
    return tls_suites_select(what, s->grade, s->exclude, s->versions, s->suites, err);
}

struct names_of_strength {
    const char *protocols, *ciphers;
};

static bool take_strength(struct tls_client *c, struct tls_strength *s, const struct names_of_strength *names,
                          const char *protocols, const char *ciphers, struct buf *err)
{
    const char *what = parameter(c, names->ciphers);

    return tls_versions_parse(parameter(c, names->protocols), protocols == NULL ? "" : protocols, &s->versions, err) &&
           tls_grade_parse(what, ciphers == NULL ? "medium" : ciphers, &s->grade, err) && select_suites(what, s, err);
}

static bool take_strengths(struct tls_client *c, const struct tls_client_opts *o, struct buf *err)
{
    static const struct names_of_strength may = {"protocols", "ciphers"};
    static const struct names_of_strength mandatory = {"mandatory_protocols", "mandatory_ciphers"};

    c->may.exclude = keep(c, o->exclude_ciphers, "");
    c->mandatory.exclude = arena_printf(&c->arena, "%s %s", c->may.exclude,
                                        o->mandatory_exclude_ciphers == NULL ? "" : o->mandatory_exclude_ciphers);
    return take_strength(c, &c->may, &may, o->protocols, o->ciphers, err) &&
           take_strength(c, &c->mandatory, &mandatory, o->mandatory_protocols, o->mandatory_ciphers, err) &&
           tls_groups_select("groups", "auto", c->opts.groups, err);
}

/* An exclusion of the policy takes the place of those of the parameters. */
bool tls_client_strength(const struct tls_client *c, const struct tls_policy *p, struct tls_strength *s)
{
    struct buf ignored = {0};
    bool ok;

    *s = p->level > TLS_LEVEL_MAY ? c->mandatory : c->may;
    if (p->protocols == NULL && p->ciphers == NULL && p->exclude == NULL)
        return true;
    if (p->exclude != NULL)
        s->exclude = p->exclude;
    ok = (p->protocols == NULL || tls_versions_parse("", p->protocols, &s->versions, &ignored)) &&
         (p->ciphers == NULL || tls_grade_parse("", p->ciphers, &s->grade, &ignored)) && select_suites("", s, &ignored);
    buf_release(&ignored);
    return ok;
}

/* ---- the rest ---- */

static void take_files(struct tls_client *c, const struct tls_client_opts *o)
{
    struct tls_setup_opts *to = &c->opts;

    to->client = true;
    to->prefix = keep(c, o->prefix, "smtp");
    to->cert_file = keep(c, o->cert_file, "");
    to->key_file = keep(c, o->key_file, "");
    to->eccert_file = keep(c, o->eccert_file, "");
    to->eckey_file = keep(c, o->eckey_file, "");
    to->chain_files = keep(c, o->chain_files, "");
    to->CAfile = keep(c, o->CAfile, "");
    to->CApath = keep(c, o->CApath, "");
    to->default_CA = o->append_default_CA;
    to->authmode = MBEDTLS_SSL_VERIFY_OPTIONAL; /* the policy judges, after the handshake */
    to->verifydepth = o->scert_verifydepth;
    to->versions = (struct tls_versions){true, true};
}

static void take_matches(struct tls_client *c, const struct tls_client_opts *o)
{
    c->match[TLS_LEVEL_FINGERPRINT] = keep(c, o->fingerprint_cert_match, "");
    c->match[TLS_LEVEL_VERIFY] = keep(c, o->verify_cert_match, "hostname");
    c->match[TLS_LEVEL_SECURE] = keep(c, o->secure_cert_match, "nexthop, dot-nexthop");
    c->verifydepth = o->scert_verifydepth;
    c->session_ms = o->session_cache_timeout_ms;
}

static bool take_digest(struct tls_client *c, const struct tls_client_opts *o, struct buf *err)
{
    char name[16] = "";
    const char *digest = o->fingerprint_digest == NULL ? "sha256" : o->fingerprint_digest;

    for (size_t i = 0; i + 1 < sizeof name && digest[i] != '\0'; i++)
        name[i] = ascii_upper(digest[i]);
    c->digest = mbedtls_md_info_from_string(name);
    if (c->digest == NULL)
        buf_printf(err, "%s_tls_fingerprint_digest: \"%s\" is not known\n", c->opts.prefix, digest);
    return c->digest != NULL;
}

/* ---- the life of a client ---- */

static void client_free(struct tls_client *c)
{
    tls_setup_unref(&c->setup);
    tls_session_cache_free(&c->sessions);
    arena_clear(&c->arena);
    map_clear(&c->old_servers);
    mem_free(c);
    tls_lib_unref();
}

struct tls_client *tls_client_new(struct loop *loop, const struct tls_client_opts *o, struct buf *err)
{
    struct tls_client *c = NEW(struct tls_client);

    tls_lib_ref();
    c->refs = 1;
    c->loop = loop;
    c->sessions = tls_session_cache_new(SESSIONS_MAX);
    take_files(c, o);
    take_matches(c, o);
    if (take_digest(c, o, err) && take_strengths(c, o, err))
        c->setup = tls_setup_load(&c->opts, NULL, false, err);
    if (c->setup == NULL) {
        client_free(c);
        return NULL;
    }
    return c;
}

struct tls_client *tls_client_ref(struct tls_client *c)
{
    c->refs++;
    return c;
}

void tls_client_unref(struct tls_client **cp)
{
    struct tls_client *c = *cp;

    *cp = NULL;
    if (c != NULL && --c->refs == 0)
        client_free(c);
}

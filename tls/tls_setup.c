/*
 * Certificates, keys and settings of a server or client, see tls_setup.h. Made by tls_server.c and tls_client.c, and on
 * a thread of the pool when files were renewed or a server name asks for others. Owns what Mbed TLS read. RFC 5280, RFC
 * 8446.
 */
#include "tls/tls_setup.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "tls/tls_cert.h"
#include "tls/tls_conn.h"
#include "tls/tls_lib.h"
#include "tls/tls_pool.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include <mbedtls/pk.h>

#define CHAINS_MAX 4 /* keys of a server */
#define FILES_MAX  12
#define SEPARATORS " ,\t\r\n"
/* The names of authorities in a CertificateRequest: a client needs them only to choose among several certificates. */
#define NAMES_MAX 8192u

struct file {
    char *path;
    bool exists;
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};

struct chain {
    mbedtls_x509_crt certs;
    mbedtls_pk_context *keys; /* the same one for each lane */
    char *path;
    int64_t not_after_s;
};

struct tls_setup {
    size_t refs;
    unsigned nlanes, next_lane;
    mbedtls_ssl_config *lanes;
    struct chain chains[CHAINS_MAX];
    size_t nchains;
    mbedtls_x509_crt authorities;
    int verifydepth;
    int suites[TLS_SUITES_MAX];
    uint16_t groups[TLS_GROUPS_MAX];
    struct file files[FILES_MAX];
    size_t nfiles;
};

/* ---- which files, and whether they are still the same ---- */

static void look(struct file *f)
{
    struct stat st;

    f->exists = stat(f->path, &st) == 0;
    if (!f->exists)
        return;
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    f->size = st.st_size;
    f->changed = st.st_mtim;
}

static bool same(const struct file *a, const struct file *b)
{
    return a->exists == b->exists &&
           (!a->exists || (a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
                           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec));
}

/* Before it is read, so that a change while it is read is seen later. */
static void watch(struct tls_setup *s, struct slice path)
{
    if (path.n == 0 || s->nfiles == FILES_MAX)
        return;
    s->files[s->nfiles].path = mem_dup(path.p, path.n);
    look(&s->files[s->nfiles++]);
}

static void watch_list(struct tls_setup *s, const char *paths)
{
    struct slice rest = slice_str(paths), one;

    while ((one = slice_token(&rest, SEPARATORS)).n > 0)
        watch(s, one);
}

static void watch_files(struct tls_setup *s, const struct tls_setup_opts *o, const char *chain_files)
{
    if (chain_files[0] != '\0') {
        watch_list(s, chain_files);
    } else {
        watch(s, slice_str(o->cert_file));
        watch(s, slice_str(o->key_file));
        watch(s, slice_str(o->eccert_file));
        watch(s, slice_str(o->eckey_file));
    }
    if (o->authmode != MBEDTLS_SSL_VERIFY_NONE) {
        watch(s, slice_str(o->CAfile));
        watch(s, slice_str(o->CApath));
    }
}

bool tls_setup_outdated(const struct tls_setup *s)
{
    for (size_t i = 0; i < s->nfiles; i++) {
        struct file now = {.path = s->files[i].path};

        look(&now);
        if (!same(&now, &s->files[i]))
            return true;
    }
    return false;
}

void tls_setup_forget(struct tls_setup *s)
{
    for (size_t i = 0; i < s->nfiles; i++)
        look(&s->files[i]);
}

/* ---- certificates and keys ---- */

struct load {
    struct tls_setup *s;
    const char *prefix;
    char what[64]; /* the parameter, for complaints */
    bool renewal;
    struct buf *err;
};

static void name_parameter(struct load *l, const char *suffix)
{
    snprintf(l->what, sizeof l->what, "%s_tls_%s", l->prefix, suffix);
}

static struct slice with_nul(struct buf *b)
{
    buf_cstr(b);
    return slice_make(b->data + b->start, buf_len(b) + 1);
}

static bool check_report(const struct load *l, const struct tls_cert_report *r, const char *cert_path,
                         const char *key_path)
{
    int64_t now = time(NULL);
    const char *when = now < r->not_before_s ? "not valid yet" : now > r->not_after_s ? "expired" : NULL;

    if (r->error[0] != '\0') {
        buf_printf(l->err, "%s: %s\n", l->what, r->error);
        return false;
    }
    if (when != NULL)
        buf_printf(l->err, "%s%s: the certificate in %s is %s\n", l->renewal ? "" : "warning: ", l->what, cert_path,
                   when);
    if (r->key_exposed)
        buf_printf(l->err, "warning: %s: everyone on this machine can read the key in %s\n", l->what, key_path);
    return when == NULL || !l->renewal;
}

/* What was looked at and found good is parsed for use. */
static bool add_chain(const struct load *l, struct slice certs, const char *cert_path, struct slice key,
                      const char *key_path, bool exposed)
{
    struct tls_cert_report r = {.key_exposed = exposed};
    struct chain *c = &l->s->chains[l->s->nchains];
    int error;

    if (l->s->nchains == CHAINS_MAX) {
        buf_printf(l->err, "%s: more than %d keys\n", l->what, CHAINS_MAX);
        return false;
    }
    tls_cert_inspect_pem(certs, cert_path, key, key_path, "", &r);
    if (!check_report(l, &r, cert_path, key_path))
        return false;
    mbedtls_x509_crt_init(&c->certs);
    c->keys = mem_new_array(l->s->nlanes, sizeof *c->keys);
    c->path = mem_strdup(cert_path);
    c->not_after_s = r.not_after_s;
    l->s->nchains++;
    error = mbedtls_x509_crt_parse(&c->certs, (const unsigned char *)certs.p, certs.n);
    for (unsigned i = 0; i < l->s->nlanes; i++) {
        mbedtls_pk_init(&c->keys[i]);
        if (error == 0)
            error =
                mbedtls_pk_parse_key(&c->keys[i], (const unsigned char *)key.p, key.n, NULL, 0, tls_lib_random, NULL);
    }
    for (unsigned i = 0; i < l->s->nlanes && error == 0; i++)
        error = mbedtls_ssl_conf_own_cert(&l->s->lanes[i], &c->certs, &c->keys[i]);
    if (error != 0)
        buf_printf(l->err, "%s: %s cannot be used\n", l->what, cert_path);
    return error == 0;
}

static bool add_files(struct load *l, const char *suffix, const char *cert_path, const char *key_path)
{
    struct tls_cert_report r = {0};
    struct buf certs = {0}, key = {0};
    bool exposed = false, ok;

    if (cert_path[0] == '\0' || strcmp(cert_path, "none") == 0)
        return true;
    if (key_path[0] == '\0')
        key_path = cert_path;
    name_parameter(l, suffix);
    ok = tls_cert_read(cert_path, &certs, &exposed, &r) && tls_cert_read(key_path, &key, &exposed, &r);
    if (!ok)
        buf_printf(l->err, "%s: %s\n", l->what, r.error);
    else
        ok = add_chain(l, with_nul(&certs), cert_path, with_nul(&key), key_path, exposed);
    buf_release(&certs);
    buf_release(&key);
    return ok;
}

/* Keys and certificates in turn. */
static bool add_parts(const struct load *l, struct slice pem, const char *path, bool exposed)
{
    size_t at = tls_cert_find_key(pem, 0);
    bool ok = at + 1 < pem.n;

    if (!ok)
        buf_printf(l->err, "%s: there is no private key in %s\n", l->what, path);
    while (ok && at + 1 < pem.n) {
        size_t end = tls_cert_find_key(pem, at + 1);
        char *text = mem_dup(pem.p + at, end - at);
        struct slice part = slice_make(text, end - at + 1);

        ok = add_chain(l, part, path, part, path, exposed);
        mem_free(text);
        at = end;
    }
    return ok;
}

static bool add_chain_files(const struct load *l, const char *paths)
{
    struct tls_cert_report r = {0};
    struct buf all = {0};
    struct slice rest = slice_str(paths), one;
    char *first = NULL;
    bool ok = true, exposed = false;

    while (ok && (one = slice_token(&rest, SEPARATORS)).n > 0) {
        char *path = mem_dup(one.p, one.n);
        bool this_one = false;

        ok = tls_cert_read(path, &all, &this_one, &r);
        buf_add_char(&all, '\n');
        exposed = exposed || this_one;
        if (first == NULL)
            first = path;
        else
            mem_free(path);
    }
    if (!ok)
        buf_printf(l->err, "%s: %s\n", l->what, r.error);
    else
        ok = add_parts(l, with_nul(&all), first == NULL ? "an empty list" : first, exposed);
    buf_release(&all);
    mem_free(first);
    return ok;
}

/* ---- authorities ---- */

static const char *const default_authorities[] = {
    "/etc/ssl/certs/ca-certificates.crt", /* Debian */
    "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora */
    "/etc/ssl/cert.pem",                  /* Alpine */
};

/* The system's bundle may have certificates of kinds that are not known here. */
static void add_default_authorities(struct tls_setup *s)
{
    for (size_t i = 0; i < sizeof default_authorities / sizeof default_authorities[0]; i++)
        if (mbedtls_x509_crt_parse_file(&s->authorities, default_authorities[i]) >= 0)
            return;
}

static bool add_CAfile(const struct load *l, const char *path)
{
    int error = path[0] == '\0' ? 0 : mbedtls_x509_crt_parse_file(&l->s->authorities, path);

    if (error < 0)
        buf_printf(l->err, "%s_tls_CAfile: %s cannot be read or understood\n", l->prefix, path);
    else if (error > 0)
        buf_printf(l->err, "warning: %s_tls_CAfile: %d of the certificates in %s cannot be understood\n", l->prefix,
                   error, path);
    return error >= 0;
}

static bool add_authorities(const struct load *l, const struct tls_setup_opts *o)
{
    struct tls_setup *s = l->s;

    if (!add_CAfile(l, o->CAfile))
        return false;
    if (o->CApath[0] != '\0' && mbedtls_x509_crt_parse_path(&s->authorities, o->CApath) < 0) {
        buf_printf(l->err, "%s_tls_CApath: %s cannot be read\n", l->prefix, o->CApath);
        return false;
    }
    if (o->default_CA)
        add_default_authorities(s);
    return true;
}

/* OpenSSL's depth: certificates between the client's (0) and the authority's. */
static int check_depth(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    const struct tls_setup *s = arg;

    (void)crt;
    if (depth > s->verifydepth + 1)
        *flags |= MBEDTLS_X509_BADCERT_OTHER;
    return 0;
}

static bool few_names(const mbedtls_x509_crt *first)
{
    size_t n = 0;

    for (const mbedtls_x509_crt *c = first; c != NULL; c = c->next)
        n += c->subject_raw.len + 2;
    return n <= NAMES_MAX;
}

/* ---- settings ---- */

static void configure(struct tls_setup *s, mbedtls_ssl_config *c, const struct tls_setup_opts *o)
{
    mbedtls_ssl_config_init(c);
    MTA_ASSERT(mbedtls_ssl_config_defaults(c, o->client ? MBEDTLS_SSL_IS_CLIENT : MBEDTLS_SSL_IS_SERVER,
                                           MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT) == 0);
    mbedtls_ssl_conf_rng(c, tls_lib_random, NULL);
    mbedtls_ssl_conf_min_tls_version(c, o->versions.v12 ? MBEDTLS_SSL_VERSION_TLS1_2 : MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_max_tls_version(c, o->versions.v13 ? MBEDTLS_SSL_VERSION_TLS1_3 : MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_ciphersuites(c, s->suites);
    mbedtls_ssl_conf_groups(c, s->groups);
    mbedtls_ssl_conf_preference_order(c, o->preempt ? MBEDTLS_SSL_SRV_CIPHERSUITE_ORDER_SERVER
                                                    : MBEDTLS_SSL_SRV_CIPHERSUITE_ORDER_CLIENT);
    mbedtls_ssl_conf_renegotiation(c, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
    mbedtls_ssl_conf_authmode(c, o->authmode);
    mbedtls_ssl_conf_verify(c, check_depth, s);
    mbedtls_ssl_conf_sni(c, tls_conn_take_name, NULL);
    /* A ticket of TLS 1.3 never without new keys: forward secrecy. */
    mbedtls_ssl_conf_tls13_key_exchange_modes(c, o->tickets == NULL
                                                     ? MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL
                                                     : MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ALL);
    if (o->tickets != NULL)
        tls_tickets_use(o->tickets, c);
}

static struct tls_setup *setup_new(const struct tls_setup_opts *o)
{
    struct tls_setup *s = NEW(struct tls_setup);

    s->refs = 1;
    s->nlanes = tls_pool_width();
    s->lanes = mem_new_array(s->nlanes, sizeof *s->lanes);
    s->verifydepth = o->verifydepth;
    memcpy(s->suites, o->suites, sizeof s->suites);
    memcpy(s->groups, o->groups, sizeof s->groups);
    mbedtls_x509_crt_init(&s->authorities);
    for (unsigned i = 0; i < s->nlanes; i++)
        configure(s, &s->lanes[i], o);
    return s;
}

static bool load_chains(struct load *l, const struct tls_setup_opts *o, const char *chain_files)
{
    if (chain_files[0] != '\0')
        return add_chain_files(l, chain_files);
    if (!add_files(l, "cert_file", o->cert_file, o->key_file) ||
        !add_files(l, "eccert_file", o->eccert_file, o->eckey_file))
        return false;
    if (l->s->nchains == 0 && !o->client)
        buf_add_str(l->err, "smtpd_tls_cert_file: TLS needs a certificate\n");
    return l->s->nchains > 0 || o->client;
}

struct tls_setup *tls_setup_load(const struct tls_setup_opts *o, const char *sni_files, bool renewal, struct buf *err)
{
    struct tls_setup *s = setup_new(o);
    const char *chain_files = sni_files != NULL ? sni_files : o->chain_files;
    struct load l = {.s = s, .prefix = o->prefix, .what = "tls_server_sni_maps", .renewal = renewal, .err = err};
    bool ask = o->authmode != MBEDTLS_SSL_VERIFY_NONE;

    if (sni_files == NULL)
        name_parameter(&l, "chain_files");
    watch_files(s, o, chain_files);
    if (!load_chains(&l, o, chain_files) || (ask && !add_authorities(&l, o))) {
        tls_setup_unref(&s);
        return NULL;
    }
    for (unsigned i = 0; ask && i < s->nlanes; i++) {
        if (s->authorities.version != 0)
            mbedtls_ssl_conf_ca_chain(&s->lanes[i], &s->authorities, NULL);
        mbedtls_ssl_conf_cert_req_ca_list(&s->lanes[i], few_names(&s->authorities)
                                                            ? MBEDTLS_SSL_CERT_REQ_CA_LIST_ENABLED
                                                            : MBEDTLS_SSL_CERT_REQ_CA_LIST_DISABLED);
    }
    return s;
}

/* ---- the life of a setup ---- */

struct tls_setup *tls_setup_ref(struct tls_setup *s)
{
    s->refs++;
    return s;
}

static void chain_free(struct chain *c, unsigned nlanes)
{
    for (unsigned i = 0; i < nlanes; i++)
        mbedtls_pk_free(&c->keys[i]);
    mbedtls_x509_crt_free(&c->certs);
    mem_free(c->keys);
    mem_free(c->path);
}

void tls_setup_unref(struct tls_setup **sp)
{
    struct tls_setup *s = *sp;

    *sp = NULL;
    if (s == NULL || --s->refs > 0)
        return;
    for (unsigned i = 0; i < s->nlanes; i++)
        mbedtls_ssl_config_free(&s->lanes[i]);
    for (size_t i = 0; i < s->nchains; i++)
        chain_free(&s->chains[i], s->nlanes);
    for (size_t i = 0; i < s->nfiles; i++)
        mem_free(s->files[i].path);
    mbedtls_x509_crt_free(&s->authorities);
    mem_free(s->lanes);
    mem_free(s);
}

const mbedtls_ssl_config *tls_setup_config(struct tls_setup *s)
{
    return &s->lanes[s->next_lane++ % s->nlanes];
}

const char *tls_setup_expires(const struct tls_setup *s, int64_t *not_after_s)
{
    const struct chain *first = &s->chains[0];

    for (size_t i = 1; i < s->nchains; i++)
        if (s->chains[i].not_after_s < first->not_after_s)
            first = &s->chains[i];
    *not_after_s = first->not_after_s;
    return first->path;
}

/*
 * The deep check's certificates: readable, understood, with their key, valid now and for a while, for our name. Called
 * by check_deep.c; each set of files is read on a thread of the pool.
 */
#include "core/check_deep_int.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/loop/work.h"
#include "lookup/maps.h"
#include "tls/tls_cert.h"

#include <stdarg.h>
#include <time.h>

#define DAY_S     86400
#define SOON_DAYS 30
#define FILES_MAX 8 /* of one list */
#define KEYS_MAX  8 /* in it */

enum what {
    WHAT_PAIR,        /* a certificate and its key */
    WHAT_CHAINS,      /* keys and certificates in one list of files */
    WHAT_AUTHORITIES, /* whom to trust */
};

static const struct parameter {
    const char *name, *key;
    enum what what;
    bool server; /* what clients see, so that our name must be in it */
} parameters[] = {
    {"smtpd_tls_cert_file", "smtpd_tls_key_file", WHAT_PAIR, true},
    {"smtpd_tls_eccert_file", "smtpd_tls_eckey_file", WHAT_PAIR, true},
    {"smtpd_tls_chain_files", NULL, WHAT_CHAINS, true},
    {"smtpd_tls_CAfile", NULL, WHAT_AUTHORITIES, true},
    {"smtp_tls_cert_file", "smtp_tls_key_file", WHAT_PAIR, false},
    {"smtp_tls_eccert_file", "smtp_tls_eckey_file", WHAT_PAIR, false},
    {"smtp_tls_chain_files", NULL, WHAT_CHAINS, false},
    {"smtp_tls_CAfile", NULL, WHAT_AUTHORITIES, false},
};

/* The files of one parameter. It belongs to the op while that runs. */
struct inspection {
    const struct parameter *parameter;
    char *host;
    char *files[FILES_MAX]; /* of WHAT_PAIR: certificate, key */
    size_t nfiles;
    struct tls_cert_report reports[KEYS_MAX];
    size_t nreports;
};

/* ---- what was found ---- */

struct findings {
    enum deep_verdict worst;
    struct buf text;
};

static void find(struct findings *f, enum deep_verdict verdict, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void find(struct findings *f, enum deep_verdict verdict, const char *fmt, ...)
{
    va_list ap;

    f->worst = verdict > f->worst ? verdict : f->worst;
    if (buf_len(&f->text) > 0)
        buf_add_str(&f->text, "; ");
    va_start(ap, fmt);
    buf_vprintf(&f->text, fmt, ap);
    va_end(ap);
}

static void judge_time(const struct tls_cert_report *r, struct findings *f)
{
    int64_t now = (int64_t)time(NULL), left = (r->not_after_s - now) / DAY_S;

    if (left > 0 || r->not_after_s > now)
        find(f, left < SOON_DAYS ? DEEP_WARN : DEEP_OK, "expires in %jd days", (intmax_t)left);
    else
        find(f, DEEP_FAIL, "expired %jd days ago", (intmax_t)-left);
    if (r->not_before_s > now)
        find(f, DEEP_FAIL, "not valid yet, for another %jd days", (intmax_t)((r->not_before_s - now) / DAY_S));
}

static void judge(const struct inspection *i, const struct tls_cert_report *r, struct findings *f)
{
    if (r->error[0] != '\0') {
        find(f, DEEP_FAIL, "%s", r->error);
        return;
    }
    if (i->parameter->what == WHAT_AUTHORITIES) {
        find(f, DEEP_OK, "%zu authorit%s", r->count, r->count == 1 ? "y" : "ies");
        if (r->unknown > 0)
            find(f, DEEP_OK, "%zu more that are of no known kind", r->unknown);
        return;
    }
    find(f, DEEP_OK, "for %s, %zu certificate%s", r->names, r->count, r->count == 1 ? "" : "s");
    judge_time(r, f);
    if (i->parameter->server && !r->for_host)
        find(f, DEEP_WARN, "not for %s (myhostname)", i->host);
    if (r->stray > 0)
        find(f, DEEP_WARN,
             "certificate %zu did not issue the one before it: the order is the server's own first, then "
             "each one's issuer",
             r->stray);
    if (r->key_exposed)
        find(f, DEEP_WARN, "everyone on this machine can read the key");
}

/* ---- looking ---- */

/* On a thread of the pool. */
static enum op_status inspect(void *arg)
{
    struct inspection *i = arg;

    i->nreports = 1;
    switch (i->parameter->what) {
    case WHAT_PAIR: tls_cert_inspect(i->files[0], i->files[1], i->host, &i->reports[0]); break;
    case WHAT_CHAINS:
        i->nreports = tls_cert_inspect_chains((const char *const *)i->files, i->nfiles, i->host, i->reports, KEYS_MAX);
        break;
    case WHAT_AUTHORITIES: tls_cert_inspect_authorities(i->files[0], &i->reports[0]); break;
    }
    return OP_OK;
}

static void inspection_free(void *arg)
{
    struct inspection *i = arg;

    for (size_t f = 0; f < i->nfiles; f++)
        mem_free(i->files[f]);
    mem_free(i->host);
    mem_free(i);
}

static void on_inspected(void *owner, enum op_status status, const void *result)
{
    const struct inspection *i = result;
    struct findings f = {0};

    (void)status;
    for (size_t r = 0; r < i->nreports; r++)
        judge(i, &i->reports[r], &f);
    deep_end(owner, f.worst, "%s", buf_cstr(&f.text));
    buf_release(&f.text);
}

static void look_at(struct deep *d, const struct parameter *p, struct slice files, const char *key,
                    const struct conf_place *place)
{
    struct inspection *i = NEW(struct inspection);
    struct deep_try *t = deep_begin(d, "certificate %.*s%s", (int)files.n, files.p, deep_source(d, p->name, place));

    i->parameter = p;
    i->host = mem_strdup(d->conf->myhostname);
    if (p->what != WHAT_CHAINS)
        i->files[i->nfiles++] = mem_dup(files.p, files.n);
    if (p->what == WHAT_PAIR)
        i->files[i->nfiles++] = mem_strdup(key);
    for (struct slice file; p->what == WHAT_CHAINS && i->nfiles < FILES_MAX && (file = maps_list_item(&files)).n > 0;)
        i->files[i->nfiles++] = mem_dup(file.p, file.n);
    work_run(d->loop, &d->scope, "certificate", 0, inspect, i, inspection_free, on_inspected, t);
}

/* ---- all of them ---- */

/* A listener looks at what it sets itself; the rest has been looked at. */
static bool is_own(struct deep *d, const struct conf_section *listener, const char *name)
{
    struct conf_place own, all;

    if (listener == NULL)
        return true;
    deep_text(d, listener, name, &own);
    deep_text(d, NULL, name, &all);
    return own.line != all.line || strcmp(own.file, all.file) != 0;
}

static void look_at_view(struct deep *d, const struct conf_section *listener)
{
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        const struct parameter *p = &parameters[i];
        struct conf_place place;
        struct slice files = slice_trim(slice_str(deep_text(d, listener, p->name, &place)));
        const char *key = p->key != NULL ? deep_text(d, listener, p->key, NULL) : NULL;

        if (files.n == 0 || slice_ieq(files, SLICE_LIT("none")))
            continue;
        if (is_own(d, listener, p->name) || (key != NULL && is_own(d, listener, p->key)))
            look_at(d, p, files, key, &place);
    }
}

void deep_certs(struct deep *d)
{
    if (d->texts == NULL)
        return;
    look_at_view(d, NULL);
    for (const struct conf_section *l = NULL; (l = conf_texts_next(d->texts, l)) != NULL;)
        look_at_view(d, l);
}

/*
 * Looking at certificates and keys: see tls_cert.h. Called by the deep check of the configuration, on a thread of the
 * pool. Owns nothing; each inspection has its own state of Mbed TLS, random numbers too. RFC 5280, RFC 6125.
 */
#include "tls/tls_cert.h"

#include "core/base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/pem.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

#define FILE_MAX (8u << 20)

static void fail(struct tls_cert_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct tls_cert_report *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(r->error, sizeof r->error, fmt, ap);
    va_end(ap);
}

/* ---- files ---- */

/* Appends the open file; NULL, or what is wrong. */
static const char *read_open(int fd, struct buf *out, bool *exposed)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return strerror(errno);
    if (!S_ISREG(st.st_mode))
        return "it is no file";
    if (st.st_size > FILE_MAX)
        return "it is too large";
    *exposed = (st.st_mode & S_IROTH) != 0;
    for (;;) {
        char *at = buf_reserve(out, 65536);
        ssize_t n = read(fd, at, 65536);

        if (n < 0)
            return strerror(errno);
        if (n == 0)
            return NULL;
        buf_commit(out, (size_t)n);
        if (buf_len(out) > FILE_MAX)
            return "it is too large";
    }
}

bool tls_cert_read(const char *path, struct buf *out, bool *exposed, struct tls_cert_report *r)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const char *why = fd < 0 ? strerror(errno) : read_open(fd, out, exposed);

    if (fd >= 0)
        close(fd);
    if (why != NULL)
        fail(r, "%s cannot be read: %s", path, why);
    return why == NULL;
}

/* ---- validity ---- */

static int64_t unix_time(const mbedtls_x509_time *t)
{
    struct tm tm = {
        .tm_year = t->year - 1900,
        .tm_mon = t->mon - 1,
        .tm_mday = t->day,
        .tm_hour = t->hour,
        .tm_min = t->min,
        .tm_sec = t->sec,
    };

    return timegm(&tm);
}

/* The times that all of them have in common, and whether each was issued by the one that follows. */
static void look_at_chain(const mbedtls_x509_crt *first, struct tls_cert_report *r)
{
    const mbedtls_x509_crt *before = NULL;

    r->not_before_s = INT64_MIN;
    r->not_after_s = INT64_MAX;
    for (const mbedtls_x509_crt *c = first; c != NULL; before = c, c = c->next) {
        int64_t from = unix_time(&c->valid_from), to = unix_time(&c->valid_to);

        r->count++;
        r->not_before_s = from > r->not_before_s ? from : r->not_before_s;
        r->not_after_s = to < r->not_after_s ? to : r->not_after_s;
        if (before != NULL && r->stray == 0 &&
            !slice_eq(slice_make(before->issuer_raw.p, before->issuer_raw.len),
                      slice_make(c->subject_raw.p, c->subject_raw.len)))
            r->stray = r->count;
    }
}

/* ---- names ---- */

bool tls_cert_name_matches(struct slice name, struct slice host)
{
    size_t dot = slice_find(host, '.');

    if (name.n > 2 && name.p[0] == '*' && name.p[1] == '.')
        return dot != SLICE_NOT_FOUND && dot > 0 && slice_ieq(slice_from(name, 1), slice_from(host, dot));
    return name.n > 0 && slice_ieq(name, host);
}

static void take_name(struct tls_cert_report *r, struct slice name, const char *host)
{
    size_t used = strlen(r->names), room = sizeof r->names - used;

    r->for_host = r->for_host || tls_cert_name_matches(name, slice_str(host));
    if (name.n + sizeof ", ..." < room)
        snprintf(r->names + used, room, "%s%.*s", used > 0 ? ", " : "", (int)name.n, name.p);
    else if (room > sizeof ", ..." && (used < 3 || strcmp(r->names + used - 3, "...") != 0))
        snprintf(r->names + used, room, "%s...", used > 0 ? ", " : "");
}

/* The subject's common name is what counts only when there is no name of a host elsewhere (RFC 6125 section 6.4.4). */
static void take_common_name(struct tls_cert_report *r, const mbedtls_x509_crt *crt, const char *host)
{
    for (const mbedtls_x509_name *n = &crt->subject; n != NULL; n = n->next)
        if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &n->oid) == 0)
            take_name(r, slice_make(n->val.p, n->val.len), host);
}

static void look_at_names(const mbedtls_x509_crt *crt, const char *host, struct tls_cert_report *r)
{
    mbedtls_x509_subject_alternative_name name;
    bool any = false;

    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names; s != NULL && s->buf.len > 0; s = s->next) {
        if (mbedtls_x509_parse_subject_alt_name(&s->buf, &name) != 0)
            continue;
        if (name.type == MBEDTLS_X509_SAN_DNS_NAME) {
            take_name(r, slice_make(name.san.unstructured_name.p, name.san.unstructured_name.len), host);
            any = true;
        }
        mbedtls_x509_free_subject_alt_name(&name);
    }
    if (!any)
        take_common_name(r, crt, host);
}

/* ---- keys ---- */

struct random {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context drbg;
};

static void random_init(struct random *rnd)
{
    mbedtls_entropy_init(&rnd->entropy);
    mbedtls_ctr_drbg_init(&rnd->drbg);
    mbedtls_ctr_drbg_seed(&rnd->drbg, mbedtls_entropy_func, &rnd->entropy, NULL, 0);
}

static void random_clear(struct random *rnd)
{
    mbedtls_ctr_drbg_free(&rnd->drbg);
    mbedtls_entropy_free(&rnd->entropy);
}

static const char *error_text(int error, char text[200])
{
    mbedtls_strerror(error, text, 200);
    return text;
}

static const char *key_error(int error, char text[200])
{
    switch (error) {
    case MBEDTLS_ERR_PK_PASSWORD_REQUIRED:
    case MBEDTLS_ERR_PEM_PASSWORD_REQUIRED: return "it is encrypted, and a server has nobody to ask for the password";
    case MBEDTLS_ERR_PEM_NO_HEADER_FOOTER_PRESENT:
    case MBEDTLS_ERR_PK_KEY_INVALID_FORMAT: return "there is no private key in it";
    default: return error_text(error, text);
    }
}

/* Which certificate of the chain the key belongs to, counted from 1; 0: none. */
static size_t key_owner(const mbedtls_x509_crt *first, const mbedtls_pk_context *key, struct random *rnd)
{
    size_t at = 1;

    for (const mbedtls_x509_crt *c = first; c != NULL; c = c->next, at++)
        if (mbedtls_pk_check_pair(&c->pk, key, mbedtls_ctr_drbg_random, &rnd->drbg) == 0)
            return at;
    return 0;
}

/* `pem` ends with a NUL, which Mbed TLS wants counted. */
static void look_at_key(const mbedtls_x509_crt *first, struct slice pem, const char *path, struct tls_cert_report *r)
{
    struct random rnd;
    mbedtls_pk_context key;
    char text[200];
    size_t owner;
    int error;

    random_init(&rnd);
    mbedtls_pk_init(&key);
    error =
        mbedtls_pk_parse_key(&key, (const unsigned char *)pem.p, pem.n, NULL, 0, mbedtls_ctr_drbg_random, &rnd.drbg);
    if (error != 0) {
        fail(r, "the key in %s: %s", path, key_error(error, text));
    } else {
        owner = key_owner(first, &key, &rnd);
        if (owner == 0)
            fail(r, "the key in %s is not that of the certificate", path);
        else if (owner > 1)
            fail(r, "the key in %s belongs to certificate %zu: the server's own is to come first", path, owner);
    }
    mbedtls_pk_free(&key);
    random_clear(&rnd);
}

/* ---- all of it ---- */

static bool parse(mbedtls_x509_crt *crt, struct slice pem, const char *path, struct tls_cert_report *r)
{
    char text[200];
    int error;

    if (strstr(pem.p, "-----BEGIN CERTIFICATE-----") == NULL) {
        fail(r, "there is no certificate in %s", path);
        return false;
    }
    error = mbedtls_x509_crt_parse(crt, (const unsigned char *)pem.p, pem.n);
    if (error < 0)
        fail(r, "%s cannot be understood: %s", path, error_text(error, text));
    else
        r->unknown = (size_t)error;
    return error >= 0;
}

void tls_cert_inspect_pem(struct slice certs, const char *cert_path, struct slice key, const char *key_path,
                          const char *host, struct tls_cert_report *r)
{
    mbedtls_x509_crt crt;

    mbedtls_x509_crt_init(&crt);
    if (parse(&crt, certs, cert_path, r)) {
        look_at_chain(&crt, r);
        look_at_names(&crt, host, r);
        look_at_key(&crt, key, key_path, r);
        if (r->error[0] == '\0' && r->unknown > 0)
            fail(r, "%s: %zu of its certificates cannot be understood", cert_path, r->unknown);
    }
    mbedtls_x509_crt_free(&crt);
}

static struct slice with_nul(struct buf *b)
{
    buf_cstr(b);
    return slice_make(b->data + b->start, buf_len(b) + 1);
}

void tls_cert_inspect(const char *cert_path, const char *key_path, const char *host, struct tls_cert_report *r)
{
    struct buf certs = {0}, key = {0};
    bool ignored;

    *r = (struct tls_cert_report){0};
    if (tls_cert_read(cert_path, &certs, &ignored, r) && tls_cert_read(key_path, &key, &r->key_exposed, r))
        tls_cert_inspect_pem(with_nul(&certs), cert_path, with_nul(&key), key_path, host, r);
    buf_release(&certs);
    buf_release(&key);
}

size_t tls_cert_find_key(struct slice pem, size_t at)
{
    static const char begin[] = "-----BEGIN ", what[] = "PRIVATE KEY-----";

    for (;;) {
        struct slice rest = slice_from(pem, at), label;
        const char *found = rest.n > 0 ? strstr(rest.p, begin) : NULL;

        if (found == NULL)
            return pem.n - 1;
        at = (size_t)(found - pem.p);
        label = slice_from(slice_head(slice_from(pem, at), strcspn(found, "\r\n")), strlen(begin));
        if (label.n >= strlen(what) && slice_eq(slice_from(label, label.n - strlen(what)), slice_str(what)))
            return at;
        at += strlen(begin);
    }
}

static size_t inspect_chains(struct slice pem, const char *path, const char *host, bool exposed,
                             struct tls_cert_report *reports, size_t most)
{
    size_t n = 0, at = tls_cert_find_key(pem, 0);

    while (n < most && at + 1 < pem.n) {
        size_t end = tls_cert_find_key(pem, at + 1);
        char *part = mem_dup(pem.p + at, end - at);

        reports[n] = (struct tls_cert_report){.key_exposed = exposed};
        tls_cert_inspect_pem(slice_make(part, end - at + 1), path, slice_make(part, end - at + 1), path, host,
                             &reports[n]);
        mem_free(part);
        n++;
        at = end;
    }
    if (n == 0)
        fail(&reports[n++], "there is no private key in %s", path);
    return n;
}

size_t tls_cert_inspect_chains(const char *const *paths, size_t npaths, const char *host,
                               struct tls_cert_report *reports, size_t most)
{
    struct buf all = {0};
    bool ok = true, exposed = false;
    size_t n = 1;

    reports[0] = (struct tls_cert_report){0};
    for (size_t i = 0; i < npaths && ok; i++) {
        bool one = false;

        ok = tls_cert_read(paths[i], &all, &one, &reports[0]);
        buf_add_char(&all, '\n');
        exposed = exposed || one;
    }
    if (ok)
        n = inspect_chains(with_nul(&all), paths[0], host, exposed, reports, most);
    buf_release(&all);
    return n;
}

void tls_cert_inspect_authorities(const char *path, struct tls_cert_report *r)
{
    struct buf pem = {0};
    mbedtls_x509_crt crt;
    bool ignored;

    *r = (struct tls_cert_report){0};
    mbedtls_x509_crt_init(&crt);
    if (tls_cert_read(path, &pem, &ignored, r) && parse(&crt, with_nul(&pem), path, r))
        look_at_chain(&crt, r);
    mbedtls_x509_crt_free(&crt);
    buf_release(&pem);
}

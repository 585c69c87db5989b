/*
 * Names and fingerprints of a server's certificate against what a policy asks for: see tls_names.h. Called by
 * tls_connect.c once a handshake is done. Owns nothing. RFC 6125 section 6, RFC 5280 section 4.2.1.6.
 */
#include "tls/tls_names.h"

#include "core/base/ip.h"
#include "tls/tls_cert.h"

#include <arpa/inet.h>

#include <mbedtls/oid.h>

#define SEPARATORS     " ,:\t\r\n"
#define NAME_MAX_BYTES 253
#define SHOWN_MAX      3

/* ---- text ---- */

bool tls_names_is_host(struct slice name)
{
    struct ip ip;

    if (name.n == 0 || name.n > NAME_MAX_BYTES || ip_parse(name, &ip))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        bool dot = name.p[i] == '.';

        if (!ascii_alnum(name.p[i]) && !dot && name.p[i] != '-' && name.p[i] != '_')
            return false;
        if (dot && (i == 0 || i + 1 == name.n || name.p[i - 1] == '.'))
            return false;
    }
    return true;
}

struct slice tls_names_bare(const char *destination)
{
    struct slice d = slice_str(destination), ip_text;
    struct ip ip;
    size_t end = slice_find(d, ']'), colon;

    if (d.n > 0 && d.p[0] == '[' && end != SLICE_NOT_FOUND) {
        d = slice_make(d.p + 1, end - 1);
        ip_text = slice_istarts(d, SLICE_LIT("IPv6:")) ? slice_from(d, 5) : d;
        return ip_parse(ip_text, &ip) ? ip_text : d;
    }
    colon = slice_find(d, ':');
    if (colon != SLICE_NOT_FOUND && !ip_parse(d, &ip))
        d = slice_head(d, colon);
    return d.n > 1 && d.p[d.n - 1] == '.' ? slice_head(d, d.n - 1) : d;
}

/* ---- one pattern and one name ---- */

/* A wildcard stands for hosts of a domain, not for the domains of a registry. */
static bool is_usable(struct slice name)
{
    return !slice_starts(name, SLICE_LIT("*.")) || slice_find(slice_from(name, 2), '.') != SLICE_NOT_FOUND;
}

static bool is_below(struct slice domain, struct slice name)
{
    return name.n > domain.n + 1 && name.p[name.n - domain.n - 1] == '.' &&
           slice_ieq(slice_from(name, name.n - domain.n), domain);
}

bool tls_names_fit(struct slice pattern, struct slice name)
{
    if (!is_usable(name))
        return false;
    if (pattern.n > 1 && pattern.p[0] == '.')
        return is_below(slice_from(pattern, 1), name);
    return tls_cert_name_matches(name, pattern);
}

/* ---- the names of a certificate ---- */

struct name {
    bool is_address;
    struct slice text; /* of a host */
    struct ip ip;
};

static bool take_address(struct slice bytes, struct name *to)
{
    if (bytes.n != 4 && bytes.n != 16)
        return false;
    *to = (struct name){.is_address = true, .ip = {.family = bytes.n == 4 ? 4 : 6}};
    memcpy(to->ip.bytes, bytes.p, bytes.n);
    return true;
}

/* Calls fn with each name until it answers true, which is the answer then. */
static bool each_name(const mbedtls_x509_crt *crt, bool (*fn)(void *arg, const struct name *), void *arg)
{
    mbedtls_x509_subject_alternative_name san;
    struct name name;
    bool any_host = false, found = false;

    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names; s != NULL && s->buf.len > 0 && !found; s = s->next) {
        if (mbedtls_x509_parse_subject_alt_name(&s->buf, &san) != 0)
            continue;
        if (san.type == MBEDTLS_X509_SAN_DNS_NAME) {
            any_host = true;
            name = (struct name){.text = slice_make(san.san.unstructured_name.p, san.san.unstructured_name.len)};
            found = fn(arg, &name);
        } else if (san.type == MBEDTLS_X509_SAN_IP_ADDRESS) {
            found = take_address(slice_make(san.san.unstructured_name.p, san.san.unstructured_name.len), &name) &&
                    fn(arg, &name);
        }
        mbedtls_x509_free_subject_alt_name(&san);
    }
    for (const mbedtls_x509_name *n = &crt->subject; n != NULL && !any_host && !found; n = n->next)
        if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &n->oid) == 0) {
            name = (struct name){.text = slice_make(n->val.p, n->val.len)};
            found = fn(arg, &name);
        }
    return found;
}

static bool fits(void *arg, const struct name *name)
{
    const struct slice *pattern = arg;
    struct ip ip;

    if (ip_parse(*pattern, &ip))
        return name->is_address && ip_eq(&ip, &name->ip);
    return !name->is_address && tls_names_fit(*pattern, name->text);
}

static bool is_for(const mbedtls_x509_crt *crt, struct slice pattern)
{
    return pattern.n > 0 && each_name(crt, fits, &pattern);
}

static bool is_below_nexthop(void *arg, const struct name *name)
{
    const struct slice *domain = arg;

    return !name->is_address && is_usable(name->text) && is_below(*domain, name->text);
}

static bool word_matches(const mbedtls_x509_crt *crt, struct slice word, const struct tls_names *names)
{
    struct slice nexthop = tls_names_bare(names->nexthop);

    if (slice_ieq(word, SLICE_LIT("hostname")))
        return is_for(crt, tls_names_bare(names->host));
    if (slice_ieq(word, SLICE_LIT("nexthop")))
        return is_for(crt, nexthop);
    if (slice_ieq(word, SLICE_LIT("dot-nexthop")))
        return nexthop.n > 0 && each_name(crt, is_below_nexthop, &nexthop);
    return is_for(crt, word);
}

bool tls_names_match(const mbedtls_x509_crt *crt, const char *match, const struct tls_names *names)
{
    struct slice rest = slice_str(match), word;

    while ((word = slice_token(&rest, SEPARATORS)).n > 0)
        if (word_matches(crt, word, names))
            return true;
    return false;
}

/* ---- in words ---- */

struct shown {
    struct buf *to;
    int n;
};

static bool show(void *arg, const struct name *name)
{
    struct shown *s = arg;
    char text[INET6_ADDRSTRLEN];

    if (s->n++ > 0)
        buf_add_str(s->to, s->n > SHOWN_MAX ? ", ..." : ", ");
    if (s->n > SHOWN_MAX)
        return true;
    if (name->is_address)
        buf_add_str(s->to, inet_ntop(name->ip.family == 4 ? AF_INET : AF_INET6, name->ip.bytes, text, sizeof text));
    for (size_t i = 0; i < name->text.n && i < NAME_MAX_BYTES; i++)
        buf_add_char(s->to, name->text.p[i] > 32 && name->text.p[i] < 127 ? name->text.p[i] : '?');
    return false;
}

void tls_names_show(const mbedtls_x509_crt *crt, struct buf *to)
{
    struct shown s = {.to = to};

    each_name(crt, show, &s);
    if (s.n == 0)
        buf_add_str(to, "nobody");
}

/* ---- fingerprints ---- */

/* The same digits; colons do not count. */
static bool same_print(struct slice a, struct slice b)
{
    size_t i = 0, j = 0, digits = 0;

    for (;;) {
        while (i < a.n && a.p[i] == ':')
            i++;
        while (j < b.n && b.p[j] == ':')
            j++;
        if (i == a.n || j == b.n)
            return i == a.n && j == b.n && digits > 0;
        if (ascii_upper(a.p[i++]) != ascii_upper(b.p[j++]))
            return false;
        digits++;
    }
}

bool tls_names_print_match(const char *match, const char *fingerprint, const char *key_print)
{
    struct slice rest = slice_str(match), word;

    while ((word = slice_token(&rest, " ,|\t\r\n")).n > 0)
        if (same_print(word, slice_str(fingerprint)) || same_print(word, slice_str(key_print)))
            return true;
    return false;
}

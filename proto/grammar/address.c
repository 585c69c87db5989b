/*
 * What the program asks of an internal address: see address.h. The parser of paths is in address_path.c. Called by the
 * SMTP server, the rewriter, tables and deliveries; owns nothing. RFC 5321 section 4.1.2, RFC 6531 section 3.3.
 */
#include "proto/grammar/address.h"

#include "core/base/codec.h"

#include <arpa/inet.h>

#define LABEL_MAX   63  /* RFC 1035 section 2.3.4 */
#define DOMAIN_MAX  255 /* RFC 5321 section 4.5.3.1.2 */
#define LITERAL_MAX 64  /* "[IPv6:...]" and then some */

void address_split(const char *addr, struct slice *local, struct slice *domain)
{
    struct slice all = slice_str(addr);
    size_t at = slice_rfind(all, '@');

    *local = slice_head(all, at);
    *domain = at == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from(all, at + 1);
}

/* Names that have a meaning of their own and are never taken apart. */
static bool is_reserved(struct slice local)
{
    return slice_ieq(local, SLICE_LIT("postmaster")) || slice_ieq(local, SLICE_LIT("mailer-daemon")) ||
           slice_ieq(local, SLICE_LIT("double-bounce"));
}

/* owner-list and list-request belong to a mailing list: they are not extensions of "owner" and "list". */
static bool is_list_name(struct slice local)
{
    struct slice request = SLICE_LIT("-request");

    return slice_istarts(local, SLICE_LIT("owner-")) ||
           (local.n > request.n && slice_ieq(slice_from(local, local.n - request.n), request));
}

bool address_split_extension(struct slice local, const char *delimiters, struct slice *user, struct slice *ext)
{
    size_t n = 0;

    *user = local;
    *ext = SLICE_EMPTY;
    if (delimiters == NULL || *delimiters == '\0' || is_reserved(local))
        return false;
    if (strchr(delimiters, '-') != NULL && is_list_name(local))
        return false;
    while (n < local.n && strchr(delimiters, local.p[n]) == NULL)
        n++;
    if (n == 0 || n == local.n)
        return false;
    *user = slice_head(local, n);
    *ext = slice_from(local, n + 1);
    return true;
}

static bool is_atext(char c)
{
    return ascii_alnum(c) || (unsigned char)c > 127 || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool is_dot_string(struct slice local)
{
    if (local.n == 0)
        return false;
    for (size_t i = 0; i < local.n; i++) {
        bool dot = local.p[i] == '.' && i > 0 && i + 1 < local.n && local.p[i - 1] != '.';

        if (!dot && !is_atext(local.p[i]))
            return false;
    }
    return true;
}

void address_quote(struct buf *out, const char *addr)
{
    struct slice local, domain;

    if (*addr == '\0')
        return;
    address_split(addr, &local, &domain);
    if (is_dot_string(local)) {
        buf_add_slice(out, local);
    } else {
        buf_add_char(out, '"');
        for (size_t i = 0; i < local.n; i++) {
            if (local.p[i] == '"' || local.p[i] == '\\')
                buf_add_char(out, '\\');
            buf_add_char(out, local.p[i]);
        }
        buf_add_char(out, '"');
    }
    if (domain.n > 0) {
        buf_add_char(out, '@');
        buf_add_slice(out, domain);
    }
}

/* [1.2.3.4] or [IPv6:...]: RFC 5321 section 4.1.3. No other tag has ever been registered. */
static bool is_literal(struct slice domain)
{
    struct slice tag = SLICE_LIT("IPv6:");
    char text[LITERAL_MAX];
    unsigned char address[sizeof(struct in6_addr)];
    int family = AF_INET;

    if (domain.n < 3 || domain.n >= sizeof text || domain.p[domain.n - 1] != ']')
        return false;
    domain = slice_make(domain.p + 1, domain.n - 2);
    if (slice_istarts(domain, tag)) {
        family = AF_INET6;
        domain = slice_from(domain, tag.n);
    }
    if (domain.n == 0 || slice_find(domain, '\0') != SLICE_NOT_FOUND)
        return false;
    memcpy(text, domain.p, domain.n);
    text[domain.n] = '\0';
    return inet_pton(family, text, address) == 1;
}

static bool is_label(struct slice label, bool utf8)
{
    if (label.n == 0 || label.n > LABEL_MAX || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++) {
        char c = label.p[i];

        if (!ascii_alnum(c) && c != '-' && c != '_' && !(utf8 && (unsigned char)c > 127))
            return false;
    }
    return true;
}

bool address_domain_valid(struct slice domain, bool utf8)
{
    bool numeric = true;

    if (domain.n == 0 || domain.n > DOMAIN_MAX)
        return false;
    if (domain.p[0] == '[')
        return is_literal(domain);
    if (utf8 && !codec_utf8_valid(domain))
        return false;
    for (size_t i = 0; i < domain.n; i++)
        numeric = numeric && (ascii_digit(domain.p[i]) || domain.p[i] == '.');
    if (numeric)
        return false; /* an address without its brackets */
    while (true) {
        size_t dot = slice_find(domain, '.');

        if (!is_label(slice_head(domain, dot), utf8))
            return false;
        if (dot == SLICE_NOT_FOUND)
            return true;
        domain = slice_from(domain, dot + 1);
    }
}

bool address_has_routing(const char *addr)
{
    struct slice local, domain;

    address_split(addr, &local, &domain);
    for (size_t i = 0; i < local.n; i++)
        if (local.p[i] == '@' || local.p[i] == '%' || local.p[i] == '!')
            return true;
    return false;
}

char *address_fold(struct arena *arena, const char *addr, enum address_part part)
{
    char *copy = arena_strdup(arena, addr);
    char *at = part == ADDRESS_PART_ALL ? copy : strrchr(copy, '@');

    for (; at != NULL && *at != '\0'; at++)
        *at = ascii_lower(*at);
    return copy;
}

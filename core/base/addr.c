/* Mail addresses taken apart: see addr.h. RFC 5321 section 4.1.2 for what a dot-string and an address literal are. */
#include "core/base/addr.h"

#include "core/base/assert.h"
#include "core/base/ip.h"

#define LABEL_MAX  63
#define DOMAIN_MAX 255

struct addr_parts addr_split(struct slice address)
{
    size_t at = slice_rfind(address, '@');

    if (at == SLICE_NOT_FOUND)
        return (struct addr_parts){.local = address};
    return (struct addr_parts){slice_head(address, at), slice_from(address, at + 1), true};
}

/* Is this a name that has no extension, whatever the delimiter? */
static bool never_split(struct slice local, const char *delimiters)
{
    static const char *const names[] = {"postmaster", "mailer-daemon", "double-bounce"};
    const struct slice owner = SLICE_LIT("owner-"), request = SLICE_LIT("-request");

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_ieq(local, slice_str(names[i])))
            return true;
    if (strchr(delimiters, '-') == NULL)
        return false;
    return slice_istarts(local, owner) ||
           (local.n > request.n && slice_ieq(slice_from(local, local.n - request.n), request));
}

bool addr_split_extension(struct slice local, const char *delimiters, struct slice *user, struct slice *extension)
{
    size_t n = 0;

    *user = local;
    *extension = SLICE_EMPTY;
    while (n < local.n && (local.p[n] == '\0' || strchr(delimiters, local.p[n]) == NULL))
        n++;
    if (n == 0 || n == local.n || never_split(local, delimiters))
        return false;
    *user = slice_head(local, n);
    *extension = slice_from(local, n);
    return true;
}

void addr_fold(char *address)
{
    for (; *address != '\0'; address++)
        *address = ascii_lower(*address);
}

/* RFC 5322 atext, and 8-bit characters (RFC 6531). */
static bool is_atext(char c)
{
    return ascii_alnum(c) || (unsigned char)c >= 0x80 || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool is_dot_string(struct slice local)
{
    char before = '.';

    for (size_t i = 0; i < local.n; i++) {
        if (local.p[i] == '.' ? before == '.' : !is_atext(local.p[i]))
            return false;
        before = local.p[i];
    }
    return before != '.';
}

bool addr_needs_quotes(struct slice address)
{
    return !is_dot_string(addr_split(address).local);
}

bool addr_quote(struct buf *out, struct slice address)
{
    struct addr_parts parts = addr_split(address);
    bool ok = true;

    if (address.n == 0 || is_dot_string(parts.local))
        return buf_add_slice(out, address);
    ok = buf_add_char(out, '"');
    for (size_t i = 0; ok && i < parts.local.n; i++) {
        char c = parts.local.p[i];

        if (c == '"' || c == '\\')
            ok = buf_add_char(out, '\\');
        ok = ok && buf_add_char(out, c);
    }
    ok = ok && buf_add_char(out, '"');
    return ok && buf_add_slice(out, slice_from(address, parts.local.n));
}

bool addr_has_routing(struct slice address)
{
    struct slice local = addr_split(address).local;

    for (size_t i = 0; i < local.n; i++)
        if (local.p[i] == '@' || local.p[i] == '%' || local.p[i] == '!')
            return true;
    return false;
}

static bool literal_valid(struct slice inner)
{
    const struct slice tag = SLICE_LIT("IPv6:");
    struct ip ip;

    if (slice_istarts(inner, tag))
        return ip_parse(slice_from(inner, tag.n), &ip) && ip.family == 6;
    return ip_parse(inner, &ip) && ip.family == 4;
}

bool addr_domain_valid(struct slice domain)
{
    bool only_digits = true;
    size_t label = 0;

    if (domain.n > 2 && domain.p[0] == '[' && domain.p[domain.n - 1] == ']')
        return literal_valid(slice_make(domain.p + 1, domain.n - 2));
    if (domain.n == 0 || domain.n > DOMAIN_MAX)
        return false;
    for (size_t i = 0; i < domain.n; i++) {
        char c = domain.p[i];
        bool at_edge = label == 0 || i + 1 == domain.n || domain.p[i + 1] == '.';

        if (c == '.' && label > 0 && i + 1 < domain.n) {
            label = 0;
            continue;
        }
        if (!(ascii_alnum(c) || c == '_' || (unsigned char)c >= 0x80 || (c == '-' && !at_edge)) || ++label > LABEL_MAX)
            return false;
        only_digits = only_digits && ascii_digit(c);
    }
    return !only_digits;
}

/*
 * The path of MAIL and RCPT: a recursive-descent parser over one command line, called by the SMTP server for each of
 * them. Owns nothing; the result goes to the caller's arena. RFC 5321 section 4.1.2 and 4.1.3, RFC 6531 section 3.3.
 *
 * Beyond the RFC it takes what real clients send and what cannot be misread: spaces before the path and inside the
 * brackets, missing brackets, several dots in a row, '@' within the local part (which address_has_routing tells).
 */
#include "proto/grammar/address.h"

#include "core/base/addr.h"

#include "core/base/codec.h"

struct parser {
    struct slice in;
    size_t at;
    bool bracket, has_8bit, has_at;
    char out[ADDRESS_MAX + 1]; /* internal form so far */
    size_t n;
};

static bool at_end(const struct parser *p)
{
    return p->at >= p->in.n;
}

static char peek(const struct parser *p)
{
    return at_end(p) ? '\0' : p->in.p[p->at];
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(struct parser *p)
{
    while (!at_end(p) && is_blank(peek(p)))
        p->at++;
}

static bool take(struct parser *p, char c)
{
    if (at_end(p) || peek(p) != c)
        return false;
    p->at++;
    return true;
}

/* Takes one character, a whole sequence of UTF-8, into the result; control characters are in no address. */
static bool keep(struct parser *p)
{
    size_t len = codec_utf8_length(slice_from(p->in, p->at));
    unsigned char c = (unsigned char)peek(p);

    if (len == 0 || c < 32 || c == 127 || (c == 0xC2 && (unsigned char)p->in.p[p->at + 1] < 0xA0)) /* C0, C1 */
        return false;
    p->has_8bit = p->has_8bit || len > 1;
    p->has_at = p->has_at || c == '@';
    if (p->n + len <= ADDRESS_MAX) { /* else the path is too long and this result not used */
        memcpy(p->out + p->n, p->in.p + p->at, len);
        p->n += len;
    }
    p->at += len;
    return true;
}

static bool one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* What follows the opening quote of a quoted string, up to and with the closing one. */
static bool quoted_string(struct parser *p)
{
    while (!take(p, '"')) {
        take(p, '\\');
        if (!keep(p))
            return false;
    }
    /* It must be a whole word: "a"b@c means different things to different readers. */
    return at_end(p) || one_of(peek(p), ".@> \t");
}

/* Is the '@' here the one before the domain? Then no other follows before the path may end. */
static bool at_domain(const struct parser *p)
{
    if (peek(p) != '@')
        return false;
    for (size_t i = p->at + 1; i < p->in.n && !one_of(p->in.p[i], "> \t"); i++)
        if (p->in.p[i] == '@')
            return false;
    return true;
}

static bool local_part(struct parser *p)
{
    bool word_start = true;

    while (!at_end(p) && !at_domain(p)) {
        char c = peek(p);

        if (c == '"' && word_start) {
            p->at++;
            if (!quoted_string(p))
                return false;
            word_start = false;
        } else if (one_of(c, " \t()<>,;:[]\"")) {
            break;
        } else {
            word_start = c == '.' || c == '@';
            take(p, '\\');
            if (!keep(p))
                return false;
        }
    }
    return p->n > 0;
}

/* The text from here to before one of `stops`. */
static struct slice text_until(const struct parser *p, const char *stops)
{
    struct slice text = slice_from(p->in, p->at);

    for (size_t i = 0; i < text.n; i++)
        if (one_of(text.p[i], stops))
            return slice_head(text, i);
    return text;
}

static bool domain(struct parser *p)
{
    struct slice text = text_until(p, " \t>");
    bool rooted = text.n > 1 && text.p[text.n - 1] == '.'; /* the root's dot says nothing in mail */
    size_t end = p->at + text.n;

    text.n -= rooted;
    if (!codec_utf8_valid(text) || !addr_domain_valid(text))
        return false;
    while (p->at + rooted < end)
        if (!keep(p))
            return false;
    p->at = end;
    return true;
}

/* A source route is of no use to us, but must be well-formed: RFC 5321 section 3.6.1 lets us drop it. */
static bool source_route(struct parser *p)
{
    while (take(p, '@')) {
        struct slice text = text_until(p, peek(p) == '[' ? "]> \t" : ",:> \t");

        p->at += text.n;
        text.n += take(p, ']');
        if (!codec_utf8_valid(text) || !addr_domain_valid(text))
            return false;
        if (take(p, ':'))
            return true;
        if (!take(p, ','))
            return false;
    }
    return false;
}

static enum address_result mailbox(struct parser *p, unsigned flags)
{
    size_t start = p->at;

    if (peek(p) == '@' && !source_route(p))
        return ADDRESS_SYNTAX;
    if (p->bracket && p->at == start && peek(p) == '>')
        return flags & ADDRESS_ALLOW_NULL ? ADDRESS_OK : ADDRESS_SYNTAX;
    if (!local_part(p))
        return ADDRESS_SYNTAX;
    if (peek(p) == '@')
        return keep(p) && domain(p) ? ADDRESS_OK : ADDRESS_SYNTAX;
    /* Without a domain an '@' of the local part would be taken for the one before the domain. */
    return p->has_at ? ADDRESS_SYNTAX : ADDRESS_OK;
}

enum address_result address_parse_path(struct slice in, unsigned flags, struct arena *arena, const char **addr,
                                       struct slice *rest)
{
    struct parser p = {.in = in};
    size_t start;
    enum address_result result;

    skip_blanks(&p);
    start = p.at;
    p.bracket = take(&p, '<');
    if (!p.bracket && (at_end(&p) || (flags & ADDRESS_STRICT)))
        return ADDRESS_SYNTAX;
    if (p.bracket)
        skip_blanks(&p);
    result = mailbox(&p, flags);
    if (result != ADDRESS_OK)
        return result;
    if (p.bracket) {
        skip_blanks(&p);
        if (!take(&p, '>'))
            return ADDRESS_SYNTAX;
    }
    if (!at_end(&p) && !is_blank(peek(&p)))
        return ADDRESS_SYNTAX;
    if (p.at - start > ADDRESS_MAX)
        return ADDRESS_TOO_LONG;
    if (p.has_8bit && !(flags & ADDRESS_UTF8))
        return ADDRESS_NEEDS_UTF8;
    *addr = arena_slice_dup(arena, slice_make(p.out, p.n));
    *rest = slice_trim(slice_from(in, p.at));
    return ADDRESS_OK;
}

/* Borrowed text: see slice.h. Pure; used by every parser. */
#include "core/base/slice.h"

bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool slice_ieq(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    return true;
}

bool slice_istarts(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && slice_ieq(slice_head(s, prefix.n), prefix);
}

bool slice_starts(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && slice_eq(slice_head(s, prefix.n), prefix);
}

size_t slice_find(struct slice s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

    return at ? (size_t)(at - s.p) : SLICE_NOT_FOUND;
}

size_t slice_rfind(struct slice s, char c)
{
    const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;

    return at ? (size_t)(at - s.p) : SLICE_NOT_FOUND;
}

struct slice slice_trim(struct slice s)
{
    while (s.n > 0 && ascii_space(s.p[0]))
        s = slice_from(s, 1);
    while (s.n > 0 && ascii_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

struct slice slice_token(struct slice *rest, const char *seps)
{
    struct slice token;

    while (rest->n > 0 && is_one_of(rest->p[0], seps))
        *rest = slice_from(*rest, 1);
    token = *rest;
    token.n = 0;
    while (token.n < rest->n && !is_one_of(rest->p[token.n], seps))
        token.n++;
    *rest = slice_from(*rest, token.n);
    return token;
}

bool slice_u64(struct slice s, uint64_t max, uint64_t *value)
{
    uint64_t v = 0;

    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned)(s.p[i] - '0');

        if (!ascii_digit(s.p[i]) || v > (max - digit) / 10 || digit > max)
            return false;
        v = v * 10 + digit;
    }
    *value = v;
    return true;
}

/* Numeric IP addresses and blocks of them: see ip.h. RFC 4291 section 2.5.5.2 for mapped addresses. */
#include "core/base/ip.h"

#include <arpa/inet.h>
#include <stdio.h>

static bool parse_plain(struct slice text, struct ip *ip)
{
    char copy[INET6_ADDRSTRLEN];

    if (text.n == 0 || text.n >= sizeof copy || memchr(text.p, '\0', text.n) != NULL)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    *ip = (struct ip){0};
    if (inet_pton(AF_INET, copy, ip->bytes) == 1)
        ip->family = 4;
    else if (inet_pton(AF_INET6, copy, ip->bytes) == 1)
        ip->family = 6;
    return ip->family != 0;
}

bool ip_parse(struct slice text, struct ip *ip)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (!parse_plain(text, ip))
        return false;
    if (ip->family == 6 && memcmp(ip->bytes, mapped, sizeof mapped) == 0) {
        struct ip v4 = {.family = 4};

        memcpy(v4.bytes, ip->bytes + sizeof mapped, 4);
        *ip = v4;
    }
    return true;
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* The address with all bits behind the first `bits` cleared. */
static struct ip masked(const struct ip *ip, unsigned bits)
{
    struct ip out = {.family = ip->family};

    memcpy(out.bytes, ip->bytes, bits / 8);
    if (bits % 8 > 0)
        out.bytes[bits / 8] = (unsigned char)(ip->bytes[bits / 8] & (0xff00u >> (bits % 8)));
    return out;
}

enum ip_block_error ip_block_parse(struct slice text, struct ip_block *block)
{
    size_t slash = slice_find(text, '/');
    uint64_t bits;
    struct ip given;

    if (!parse_plain(slice_head(text, slash), &given))
        return IP_BLOCK_SYNTAX;
    bits = given.family == 4 ? 32 : 128;
    if (slash != SLICE_NOT_FOUND && !slice_u64(slice_from(text, slash + 1), bits, &bits))
        return IP_BLOCK_SYNTAX;
    block->bits = (unsigned)bits;
    block->first = masked(&given, block->bits);
    return ip_eq(&given, &block->first) ? IP_BLOCK_OK : IP_BLOCK_HOST_BITS;
}

bool ip_block_unbracket(struct slice text, char out[IP_BLOCK_WRITTEN])
{
    size_t close = slice_find(text, ']');
    struct slice inner = text, tail = SLICE_EMPTY;

    if (text.n > 0 && text.p[0] == '[') {
        if (close == SLICE_NOT_FOUND)
            return false;
        inner = slice_make(text.p + 1, close - 1);
        tail = slice_from(text, close + 1);
        if (tail.n > 0 && tail.p[0] != '/')
            return false;
    }
    return snprintf(out, IP_BLOCK_WRITTEN, "%.*s%.*s", (int)inner.n, inner.n ? inner.p : "", (int)tail.n,
                    tail.n ? tail.p : "") < IP_BLOCK_WRITTEN;
}

bool ip_block_contains(const struct ip_block *block, const struct ip *ip)
{
    struct ip first = masked(ip, ip->family == block->first.family ? block->bits : 0);

    return ip_eq(&first, &block->first);
}

const char *ip_block_format(char out[IP_BLOCK_TEXT], const struct ip_block *block)
{
    char text[INET6_ADDRSTRLEN] = "";

    inet_ntop(block->first.family == 4 ? AF_INET : AF_INET6, block->first.bytes, text, sizeof text);
    snprintf(out, IP_BLOCK_TEXT, "%s/%u", text, block->bits);
    return out;
}

/*
 * cidr:FILE, cidr_table(5): blocks of IPv4 and IPv6 addresses, asked with a numeric address. A key that is none is in
 * no rule. An IPv4 rule says nothing about an IPv6 key, not even when it is negated, and an IPv4 address mapped into
 * IPv6 is an IPv6 key, as in Postfix.
 */
#include "lookup/table_pattern.h"

static bool compile(void *pattern, const struct pattern_text *text, unsigned *groups, struct buf *why)
{
    struct ip_block *block = pattern;
    char plain[IP_BLOCK_WRITTEN], good[IP_BLOCK_TEXT];
    enum ip_block_error error = IP_BLOCK_SYNTAX;

    *groups = 0;
    if (ip_block_unbracket(slice_str(text->text), plain))
        error = ip_block_parse(slice_str(plain), block);
    if (error == IP_BLOCK_SYNTAX)
        buf_printf(why, "\"%.100s\" is not a numeric address or network/length", text->text);
    else if (error == IP_BLOCK_HOST_BITS)
        buf_printf(why, "\"%.100s\" has bits set behind its prefix, perhaps you should use \"%s\" instead", text->text,
                   ip_block_format(good, block));
    return error == IP_BLOCK_OK;
}

static void release(void *pattern)
{
    (void)pattern;
}

static bool begin(struct pattern_subject *s, unsigned groups)
{
    struct ip_block key;

    (void)groups;
    if (slice_find(s->key, '/') != SLICE_NOT_FOUND || ip_block_parse(s->key, &key) != IP_BLOCK_OK)
        return false;
    s->ip = key.first;
    return true;
}

static enum pattern_match match(void *pattern, struct pattern_subject *s, unsigned groups)
{
    const struct ip_block *block = pattern;

    (void)groups;
    if (block->first.family != s->ip.family)
        return PATTERN_NEITHER;
    return ip_block_contains(block, &s->ip) ? PATTERN_YES : PATTERN_NO;
}

static const struct pattern_engine engine = {
    .size = sizeof(struct ip_block),
    .compile = compile,
    .release = release,
    .begin = begin,
    .match = match,
};

TABLE_PATTERN_KIND(cidr);

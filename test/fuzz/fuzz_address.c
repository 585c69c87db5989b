/*
 * Addresses: proto/grammar/address.h and core/base/addr.h. What is accepted is clean, is accepted again in external
 * form and then is the same address; flags only ever widen what is accepted.
 *
 * Input: one byte of flags (enum address_flag), then what follows "RCPT TO:".
 */
#include "fuzz/fuzz.h"

#include "core/base/addr.h"
#include "proto/grammar/address.h"

static bool has_8bit(const char *text)
{
    return codec_has_8bit(slice_str(text));
}

/* Whatever the internal form of an address is, these hold. */
static void check_internal(const char *addr, unsigned flags)
{
    struct slice text = slice_str(addr);
    struct addr_parts parts = addr_split(text);

    MTA_ASSERT(text.n <= ADDRESS_MAX && fuzz_clean(text));
    MTA_ASSERT(text.n > 0 || (flags & ADDRESS_ALLOW_NULL));
    MTA_ASSERT((flags & ADDRESS_UTF8) || !has_8bit(addr));
    MTA_ASSERT(text.n == 0 || parts.local.n > 0);
    MTA_ASSERT(!parts.has_domain || addr_domain_valid(parts.domain));
}

/* External form leads back to the same address, unless it has become too long. */
static void check_quoted(const char *addr, unsigned flags, struct arena *arena)
{
    struct buf path = {0};
    const char *again;
    struct slice rest;

    addr_quote(&path, slice_str(addr));
    MTA_ASSERT(addr[0] == '\0' || addr_needs_quotes(slice_str(addr)) != slice_eq(buf_slice(&path), slice_str(addr)));
    buf_clear(&path);
    buf_add_char(&path, '<');
    addr_quote(&path, slice_str(addr));
    buf_add_char(&path, '>');
    if (buf_len(&path) <= ADDRESS_MAX) {
        MTA_ASSERT(address_parse_path(buf_slice(&path), flags | ADDRESS_STRICT, arena, &again, &rest) == ADDRESS_OK);
        MTA_ASSERT(strcmp(again, addr) == 0 && rest.n == 0);
    }
    buf_release(&path);
}

static void check_extension(const char *addr)
{
    struct slice local = addr_split(slice_str(addr)).local, user, extension;

    if (addr_split_extension(local, "+-", &user, &extension))
        MTA_ASSERT(user.n > 0 && extension.n > 0 && extension.p == user.p + user.n);
    else
        MTA_ASSERT(extension.n == 0);
    MTA_ASSERT(user.n + extension.n == local.n);
}

/* The same text with flags that allow more is the same address. */
static void check_wider(struct slice in, unsigned flags, const char *addr, struct slice rest, struct arena *arena)
{
    unsigned wider = (flags | ADDRESS_ALLOW_NULL | ADDRESS_UTF8) & ~(unsigned)ADDRESS_STRICT;
    const char *again;
    struct slice again_rest;

    MTA_ASSERT(address_parse_path(in, wider, arena, &again, &again_rest) == ADDRESS_OK);
    MTA_ASSERT(strcmp(again, addr) == 0 && slice_eq(again_rest, rest));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size), rest;
    unsigned flags = fuzz_byte(&in) & (ADDRESS_ALLOW_NULL | ADDRESS_STRICT | ADDRESS_UTF8);
    struct arena arena = {0};
    const char *addr;
    enum address_result result = address_parse_path(in, flags, &arena, &addr, &rest);

    if (result == ADDRESS_NEEDS_UTF8) {
        MTA_ASSERT(!(flags & ADDRESS_UTF8));
        flags |= ADDRESS_UTF8;
        result = address_parse_path(in, flags, &arena, &addr, &rest);
        MTA_ASSERT(result == ADDRESS_OK && has_8bit(addr));
    }
    if (result == ADDRESS_OK) {
        MTA_ASSERT(fuzz_within(rest, in) && slice_trim(rest).n == rest.n);
        check_internal(addr, flags);
        check_quoted(addr, flags, &arena);
        check_extension(addr);
        check_wider(in, flags, addr, rest, &arena);
    }
    addr_domain_valid(in);
    addr_has_routing(in);
    arena_clear(&arena);
    return 0;
}

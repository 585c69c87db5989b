/* The server name in a ClientHello: what it may be made of, and how long it may be. */
#include "unit/cmocka_all.h"

#include "tls/tls_lib.h"
#include "tls/tls_peek.h"

static void add_u16(struct buf *b, size_t n)
{
    buf_add_char(b, (char)(n >> 8));
    buf_add_char(b, (char)(n & 255));
}

/* A ClientHello of TLS 1.2 with one extension, the name. */
static struct buf hello(struct slice name)
{
    static const char random[32], rest[] = {0, 0, 2, (char)0xc0, 0x2b, 1, 0}; /* no session, a cipher, no compression */
    size_t extension = name.n + 5, extensions = extension + 4, body = 2 + sizeof random + sizeof rest + 2 + extensions;
    struct buf b = {0};

    buf_add(&b, "\x16\x03\x01", 3);
    add_u16(&b, body + 4);
    buf_add(&b, "\x01", 2);
    add_u16(&b, body);
    buf_add(&b, "\x03\x03", 2);
    buf_add(&b, random, sizeof random);
    buf_add(&b, rest, sizeof rest);
    add_u16(&b, extensions);
    add_u16(&b, 0);
    add_u16(&b, extension);
    add_u16(&b, name.n + 3);
    buf_add_char(&b, 0);
    add_u16(&b, name.n);
    buf_add_slice(&b, name);
    return b;
}

static void only_what_can_be_a_host_is_a_name(void **unused)
{
    static char longest[TLS_PEEK_NAME - 1], longer[TLS_PEEK_NAME], much[10000];
    const struct {
        struct slice asked;
        const char *name;
    } cases[] = {
        {SLICE_LIT("mail.example.com"), "mail.example.com"},
        {SLICE_LIT("Mail.EXAMPLE.com"), "mail.example.com"},
        {SLICE_LIT("a-b_c.example"), "a-b_c.example"},
        {SLICE_LIT("two words"), ""},
        {SLICE_LIT("new\nline"), ""},
        {SLICE_LIT("m\xc3\xbcller.example"), ""},
        {slice_make(longest, sizeof longest), NULL},
        {slice_make(longer, sizeof longer), ""},
        {slice_make(much, sizeof much), ""},
        {SLICE_LIT("mail.example.com\0.evil.example"), ""},
    };

    (void)unused;
    memset(longest, 'a', sizeof longest);
    memset(longer, 'a', sizeof longer);
    memset(much, 'a', sizeof much);
    tls_lib_ref();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf raw = hello(cases[i].asked);
        char name[TLS_PEEK_NAME];

        memset(name, 'x', sizeof name);
        tls_peek_name(buf_slice(&raw), name);
        assert_non_null(memchr(name, '\0', sizeof name));
        if (cases[i].name != NULL)
            assert_string_equal(name, cases[i].name);
        else
            assert_int_equal(strlen(name), cases[i].asked.n);
        buf_release(&raw);
    }
    tls_lib_unref();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_can_be_a_host_is_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Values of smtp_tls_policy_maps, and the names and fingerprints that they go by. */
#include "unit/cmocka_all.h"

#include "tls/tls_client.h"
#include "tls/tls_names.h"

static void levels_have_their_names(void **unused)
{
    static const char *const names[] = {"none", "may", "encrypt", "fingerprint", "verify", "Secure"};
    enum tls_level level;

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_true(tls_level_parse(slice_str(names[i]), &level));
        assert_int_equal(level, i);
    }
    assert_false(tls_level_parse(SLICE_LIT("dane"), &level));
    assert_false(tls_level_parse(SLICE_LIT("may "), &level));
    assert_false(tls_level_parse(SLICE_LIT(""), &level));
}

static void same_text(const char *got, const char *want)
{
    assert_int_equal(got == NULL, want == NULL);
    if (want != NULL)
        assert_string_equal(got, want);
}

static void policies_are_understood(void **unused)
{
    static const struct {
        const char *text;
        struct tls_policy want;
        const char *warning; /* what err begins with */
    } cases[] = {
        {"none", {.level = TLS_LEVEL_NONE}, ""},
        {" may ", {.level = TLS_LEVEL_MAY}, ""},
        {"none match=x", {.level = TLS_LEVEL_NONE}, "warning: \"match=x\" means nothing"},
        {"MAY protocols=TLSv1.2:TLSv1.3", {.level = TLS_LEVEL_MAY, .protocols = "TLSv1.2:TLSv1.3"}, ""},
        {"encrypt protocols=>=TLSv1.2 ciphers=high",
         {.level = TLS_LEVEL_ENCRYPT, .protocols = ">=TLSv1.2", .ciphers = "high"},
         ""},
        {"encrypt, exclude=aNULL:MD5, protocols=",
         {.level = TLS_LEVEL_ENCRYPT, .exclude = "aNULL:MD5", .protocols = ""},
         ""},
        {"secure match=a.example:.b.example match=nexthop",
         {.level = TLS_LEVEL_SECURE, .match = "a.example .b.example nexthop"},
         ""},
        {"verify Match=hostname servername=hostname",
         {.level = TLS_LEVEL_VERIFY, .match = "hostname", .servername = "hostname"},
         ""},
        {"secure { match = a.example : b.example }\t{protocols = TLSv1.2, TLSv1.3}",
         {.level = TLS_LEVEL_SECURE, .match = "a.example   b.example", .protocols = "TLSv1.2, TLSv1.3"},
         ""},
        {"fingerprint match=AB:CD|EF:01 match=23:45",
         {.level = TLS_LEVEL_FINGERPRINT, .match = "AB:CD EF:01 23:45"},
         ""},
        {"may connection_reuse=yes", {.level = TLS_LEVEL_MAY}, ""},
        {"dane", {.level = TLS_LEVEL_MAY}, "warning: \"dane\": DANE is not supported yet"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        struct buf err = {0};
        struct tls_policy got;

        assert_true(tls_policy_parse(cases[i].text, &arena, &got, &err));
        assert_int_equal(got.level, cases[i].want.level);
        same_text(got.match, cases[i].want.match);
        same_text(got.protocols, cases[i].want.protocols);
        same_text(got.ciphers, cases[i].want.ciphers);
        same_text(got.exclude, cases[i].want.exclude);
        same_text(got.servername, cases[i].want.servername);
        if (cases[i].warning[0] == '\0')
            assert_string_equal(buf_cstr(&err), "");
        assert_true(slice_starts(slice_str(buf_cstr(&err)), slice_str(cases[i].warning)));
        buf_release(&err);
        arena_clear(&arena);
    }
}

static void what_is_not_understood_is_an_error(void **unused)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "the TLS policy is empty"},
        {" ,", "the TLS policy is empty"},
        {"secured", "\"secured\": that is not a TLS level"},
        {"dane-only", "\"dane-only\": DANE is not supported yet"},
        {"secure tafile=/x", "\"tafile=/x\": authorities of one destination are not supported"},
        {"may match=x", "\"match=x\": the level matches nothing"},
        {"encrypt match=x", "\"match=x\": the level matches nothing"},
        {"secure match=", "\"match=\": the value is empty"},
        {"secure match=:", "\"match=:\": the value is empty"},
        {"secure match", "\"match\": name=value is expected"},
        {"secure names=x", "\"names=x\": there is no such attribute"},
        {"secure ciphers=", "\"ciphers=\": the value is empty"},
        {"secure ciphers=null", "ciphers: \"null\" is not a grade"},
        {"secure ciphers=high ciphers=high", "\"ciphers=high\": the attribute is there twice"},
        {"secure protocols=TLSv1.4", "protocols: \"TLSv1.4\" is not a TLS version"},
        {"secure protocols=TLSv1", "protocols: \"TLSv1\" leaves neither"},
        {"secure protocols=TLSv1.2 protocols=TLSv1.3", "\"protocols=TLSv1.3\": the attribute is there twice"},
        {"secure servername=a..b", "\"servername=a..b\": that is no host name"},
        {"secure servername=192.0.2.1", "\"servername=192.0.2.1\": that is no host name"},
        {"secure connection_reuse=maybe", "\"connection_reuse=maybe\": yes or no"},
        {"secure { match = x", "\"{ match = x\": a brace is not closed"},
        {"secure }", "\"}\": name=value is expected"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        struct buf err = {0};
        struct tls_policy got;

        assert_false(tls_policy_parse(cases[i].text, &arena, &got, &err));
        assert_true(slice_starts(slice_str(buf_cstr(&err)), slice_str(cases[i].error)));
        buf_release(&err);
        arena_clear(&arena);
    }
}

static void a_policy_is_bounded(void **unused)
{
    static char text[10000];
    struct arena arena = {0};
    struct buf err = {0};
    struct tls_policy got;

    (void)unused;
    memset(text, 'x', sizeof text - 1);
    assert_false(tls_policy_parse(text, &arena, &got, &err));
    assert_string_equal(buf_cstr(&err), "the TLS policy is too long\n");
    buf_release(&err);
    arena_clear(&arena);
}

/* ---- names ---- */

static void patterns_and_names(void **unused)
{
    static const struct {
        const char *pattern, *name;
        bool fits;
    } cases[] = {
        {"mail.example.com", "mail.example.com", true},
        {"mail.example.com", "MAIL.EXAMPLE.COM", true},
        {"mail.example.com", "mail.example.co", false},
        {"mail.example.com", "*.example.com", true},
        {"a.mail.example.com", "*.example.com", false},
        {"example.com", "*.example.com", false},
        {".example.com", "*.example.com", true},
        {".example.com", "a.b.example.com", true},
        {".example.com", "example.com", false},
        {".example.com", ".example.com", false},
        {".example.com", "badexample.com", false},
        {"example.com", "*.com", false},
        {"mail.example.com", "m*.example.com", false},
        {"mail.example.com", "*", false},
        {".com", "*.com", false},
        {"mail.example.com", "", false},
        {"", "", false},
        {".", "a.", false},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(tls_names_fit(slice_str(cases[i].pattern), slice_str(cases[i].name)), cases[i].fits);
    assert_false(tls_names_fit(SLICE_LIT("a.example"), SLICE_LIT("a.example\0.evil.example")));
}

static void destinations_without_their_wrapping(void **unused)
{
    static const char *const cases[][2] = {
        {"example.com", "example.com"},
        {"example.com.", "example.com"},
        {"[mail.example.com]", "mail.example.com"},
        {"[mail.example.com]:587", "mail.example.com"},
        {"mail.example.com:smtp", "mail.example.com"},
        {"[192.0.2.1]:25", "192.0.2.1"},
        {"[IPv6:2001:db8::1]", "2001:db8::1"},
        {"2001:db8::1", "2001:db8::1"},
        {"[2001:db8::1]:25", "2001:db8::1"},
        {"[", "["},
        {"", ""},
        {".", "."},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_true(slice_eq(tls_names_bare(cases[i][0]), slice_str(cases[i][1])));
    assert_int_equal(tls_names_bare(NULL).n, 0);
}

static void fingerprints_match_as_a_whole(void **unused)
{
    static const struct {
        const char *match;
        bool found;
    } cases[] = {
        {"AB:CD:EF", true}, {"ab:cd:ef", true}, {"ABCDEF", true},   {"00:11 | ab:cd:ef", true},
        {"12:34", true},    {"AB:CD", false},   {"AB:CD:E", false}, {"AB:CD:EF:01", false},
        {"", false},        {":", false},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(tls_names_print_match(cases[i].match, "AB:CD:EF", "12:34"), cases[i].found);
    assert_false(tls_names_print_match(": |", "", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_have_their_names),
        cmocka_unit_test(policies_are_understood),
        cmocka_unit_test(what_is_not_understood_is_an_error),
        cmocka_unit_test(a_policy_is_bounded),
        cmocka_unit_test(patterns_and_names),
        cmocka_unit_test(destinations_without_their_wrapping),
        cmocka_unit_test(fingerprints_match_as_a_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

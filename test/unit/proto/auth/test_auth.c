/*
 * What auth.c decides for every back end, shown with the table back end: which mechanisms are offered, which text gets
 * as far as a back end, what a configuration may say.
 */
#include "support/auth_fixture.h"

#define TABLE                                                                                                          \
    "smtpd_sasl_type = table\nsmtpd_sasl_password_maps = inline:{ {user@example.com={PLAIN}secret} }\n"                \
    "smtpd_sasl_local_domain =\n"

static const struct {
    const char *settings;
    const char *clear, *tls; /* what is offered */
} offers[] = {
    {"", "PLAIN LOGIN", "PLAIN LOGIN"},
    {"smtpd_sasl_security_options = noplaintext, noanonymous", "", ""},
    {"smtpd_sasl_security_options = noplaintext noanonymous\nsmtpd_sasl_tls_security_options = noanonymous", "",
     "PLAIN LOGIN"},
    {"smtpd_sasl_security_options = NoActive,nodictionary", "PLAIN LOGIN", "PLAIN LOGIN"},
    {"smtpd_sasl_security_options = mutual_auth", "", ""},
    {"smtpd_sasl_security_options =\nsmtpd_sasl_tls_security_options = forward_secrecy", "PLAIN LOGIN", ""},
    {"smtpd_sasl_mechanism_filter = plain", "PLAIN", "PLAIN"},
    {"smtpd_sasl_mechanism_filter = !plain, static:rest", "LOGIN", "LOGIN"},
    {"smtpd_sasl_mechanism_filter = !login", "", ""}, /* what is not in the list is not offered */
    {"smtpd_sasl_mechanism_filter =", "", ""},
    {"smtpd_sasl_mechanism_filter = inline:{login=x}", "LOGIN", "LOGIN"},
    {"smtpd_sasl_mechanism_filter = fail:broken, plain", "", ""},
};

static void mechanisms_that_are_offered(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(offers); i++) {
        struct auth_fixture f;
        char *settings = mem_printf("%s%s", TABLE, offers[i].settings);

        auth_fixture_open(&f, settings);
        assert_non_null(f.auth);
        while (op_live(f.bench.loop) > 0) /* a table in the filter has been asked */
            loop_turn(f.bench.loop);
        if (strcmp(auth_mechanisms(f.auth, false), offers[i].clear) != 0 ||
            strcmp(auth_mechanisms(f.auth, true), offers[i].tls) != 0)
            fail_msg("%s: \"%s\"", offers[i].settings, auth_mechanisms(f.auth, false));
        auth_fixture_close(&f);
        mem_free(settings);
    }
}

static const struct {
    const char *settings, *complaint;
} mistakes[] = {
    {TABLE "smtpd_sasl_security_options = noanonymus",
     "smtpd_sasl_security_options: \"noanonymus\" is not known; did you mean \"noanonymous\"?\n"},
    {TABLE "smtpd_sasl_security_options =\nsmtpd_sasl_tls_security_options = tls",
     "smtpd_sasl_tls_security_options: \"tls\" is not known; there are noplaintext, noactive, nodictionary, "
     "noanonymous, forward_secrecy, mutual_auth\n"},
    {"smtpd_sasl_type = table", "smtpd_sasl_password_maps: smtpd_sasl_type = table needs a table here\n"},
    {"smtpd_sasl_type = table\nsmtpd_sasl_password_maps = nonsense:x", "smtpd_sasl_password_maps: "},
    {TABLE "smtpd_sasl_mechanism_filter = nonsense:x", "smtpd_sasl_mechanism_filter: "},
};

static void configurations_that_cannot_work(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct auth_fixture f;

        auth_fixture_open(&f, mistakes[i].settings);
        assert_null(f.auth);
        if (strncmp(buf_cstr(&f.complaints), mistakes[i].complaint, strlen(mistakes[i].complaint)) != 0)
            fail_msg("%s", buf_cstr(&f.complaints));
        auth_fixture_close(&f);
    }
}

static void what_is_not_offered_is_not_taken(void **state)
{
    struct auth_fixture f;

    (void)state;
    auth_fixture_open(&f, TABLE "smtpd_sasl_security_options = noplaintext\nsmtpd_sasl_tls_security_options =");
    assert_int_equal(auth_fixture_begin(&f, "PLAIN", NULL), AUTH_NO_MECHANISM);
    auth_fixture_start(&f, "PLAIN", NULL, true);
    assert_int_equal(auth_fixture_wait(&f), AUTH_CHALLENGE);
    assert_int_equal(auth_fixture_begin(&f, "CRAM-MD5", NULL), AUTH_NO_MECHANISM);
    assert_int_equal(auth_fixture_begin(&f, "", NULL), AUTH_NO_MECHANISM);
    auth_fixture_close(&f);
}

/* What is no base64, or not the one way to write it. */
static const char *const malformed[] = {"!!!!",  "AAA",   "AAAAA", "A===", "AA=A",     "AAAA====", "AA==AAAA",
                                        " AAAA", "AAAA ", "AB==",  "AAB=", "\xC3\xA4", "AA-_",     "===="};

static void what_is_not_base64_goes_no_further(void **state)
{
    struct auth_fixture f;

    (void)state;
    auth_fixture_open(&f, TABLE);
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++) {
        if (auth_fixture_begin(&f, "PLAIN", malformed[i]) != AUTH_MALFORMED || strstr(f.reason, "base64") == NULL)
            fail_msg("initial \"%s\": %d %s", malformed[i], (int)f.outcome, f.reason);
        assert_int_equal(auth_fixture_begin(&f, "PLAIN", NULL), AUTH_CHALLENGE);
        if (auth_fixture_respond(&f, malformed[i]) != AUTH_MALFORMED || strstr(f.reason, "base64") == NULL)
            fail_msg("response \"%s\": %d %s", malformed[i], (int)f.outcome, f.reason);
    }
    auth_fixture_close(&f);
}

/* Ended while an answer is under way: it never comes. */
static void an_exchange_may_end_at_any_time(void **state)
{
    struct auth_fixture f;
    static const char *const mechanisms[] = {"PLAIN", "NONE"};

    (void)state;
    auth_fixture_open(&f, TABLE);
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++) {
        auth_fixture_start(&f, mechanisms[i], AUTH_FIXTURE_BASE64("\0user@example.com\0secret"), false);
        auth_end(&f.exchange);
        while (op_live(f.bench.loop) > 0)
            loop_turn(f.bench.loop);
        assert_false(f.done);
    }
    auth_fixture_start(&f, "PLAIN", AUTH_FIXTURE_BASE64("\0user@example.com\0secret"), false);
    op_scope_cancel(&f.bench.scope);
    auth_end(&f.exchange);
    auth_unref(&f.auth); /* what is under way keeps what it needs */
    while (op_live(f.bench.loop) > 0)
        loop_turn(f.bench.loop);
    assert_false(f.done);
    auth_fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mechanisms_that_are_offered),      cmocka_unit_test(configurations_that_cannot_work),
        cmocka_unit_test(what_is_not_offered_is_not_taken), cmocka_unit_test(what_is_not_base64_goes_no_further),
        cmocka_unit_test(an_exchange_may_end_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

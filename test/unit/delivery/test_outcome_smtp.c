/* What becomes of a recipient when the session cannot be made as it is wanted. */
#include "unit/cmocka_all.h"

#include "delivery/outcome.h"

#include <stdio.h>
#include <string.h>

#define PEER "mx.example.com[192.0.2.1]"

static void check(struct outcome o, enum status_class cls, const char *dsn, const char *text, bool destination_ok)
{
    assert_string_equal(o.status.text, text);
    assert_string_equal(o.status.dsn, dsn);
    assert_int_equal(o.status.cls, cls);
    assert_int_equal(o.destination_ok, destination_ok);
    assert_true(o.other_host);
}

static void test_session(void **state)
{
    char longer[2000];

    (void)state;
    check(outcome_session("4.7.5", "no TLS", false), STATUS_TEMPFAIL, "4.7.5", "no TLS", false);
    check(outcome_session("4.7.5", "a\r\nb\x1b", true), STATUS_TEMPFAIL, "4.7.5", "a  b?", true);
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    assert_true(strlen(outcome_session("4.7.0", longer, false).status.text) < sizeof longer - 1);
}

static void test_starttls(void **state)
{
    static const struct {
        struct outcome_reply reply;
        const char *dsn, *said;
    } rows[] = {
        {{454, "4.3.0", "454 4.3.0 not\n454 now"}, "4.3.0", "454 4.3.0 not 454 now"},
        {{554, "5.7.3", "554 5.7.3 never"}, "4.7.3", "554 5.7.3 never"},
        {{334, "3.0.0", "334 what"}, "4.0.0", "334 what"},
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, "TLS is required, but host " PEER " refused to start TLS: %s", rows[i].said);
        check(outcome_no_starttls(PEER, &rows[i].reply), STATUS_TEMPFAIL, rows[i].dsn, text, false);
    }
}

static void test_auth(void **state)
{
    static const struct {
        struct outcome_reply reply;
        bool soft;
        enum status_class cls;
        const char *dsn;
    } rows[] = {
        {{535, "5.7.8", "said"}, true, STATUS_TEMPFAIL, "4.7.8"},
        {{535, "5.7.8", "said"}, false, STATUS_PERMFAIL, "5.7.8"},
        {{454, "4.7.0", "said"}, false, STATUS_TEMPFAIL, "4.7.0"},
        {{199, "1.0.0", "said"}, false, STATUS_TEMPFAIL, "4.0.0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check(outcome_no_auth(PEER, &rows[i].reply, rows[i].soft), rows[i].cls, rows[i].dsn,
              "SASL authentication failed; server " PEER " said: said", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_auth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Restrictions that are not there yet: what is left of a list, and what is said. */
#include "unit/core/conf/conf_fixture.h"

static const struct {
    const char *list, *left, *complaint; /* NULL: none */
} lists[] = {
    {"permit_mynetworks   reject", "permit_mynetworks   reject", NULL},
    {"check_recipient_access hash:/x", "",
     "1: warning: smtpd_recipient_restrictions: check_recipient_access is not supported yet: it has no effect"},
    {"permit_mynetworks, reject_rbl_client zen.example=127.0.0.[1..9], reject", "permit_mynetworks, reject",
     "1: warning: smtpd_recipient_restrictions: reject_rbl_client is not supported yet: it has no effect"},
    {"Reject_Unknown_Sender_Domain permit", "permit",
     "1: warning: smtpd_recipient_restrictions: Reject_Unknown_Sender_Domain is not supported yet: it has no effect"},
    {"check_policy_service { unix:private/policy, timeout = 10s reject } defer", "defer",
     "1: warning: smtpd_recipient_restrictions: check_policy_service is not supported yet: it has no effect"},
    {"check_client_access inline:{ { a = reject } } permit_mynetworks", "permit_mynetworks",
     "1: warning: smtpd_recipient_restrictions: check_client_access is not supported yet: it has no effect"},
    {"hash:/etc/postfix/access, reject", "reject",
     "1: warning: smtpd_recipient_restrictions: hash:/etc/postfix/access is not supported yet: it has no effect"},
    {"greylist, reject", "reject",
     "1: warning: smtpd_recipient_restrictions: greylist is not supported yet: it has no effect"},
    {"permit_dnswl_client list.example, reject", "reject",
     "1: warning: smtpd_recipient_restrictions: permit_dnswl_client is not supported yet: it has no effect"},
    {"warn_if_reject reject, permit_mynetworks", "permit_mynetworks",
     "1: warning: smtpd_recipient_restrictions: warn_if_reject is not supported yet: what follows it does not warn "
     "either"},
    {"warn_if_reject permit_mynetworks, reject", "permit_mynetworks, reject",
     "1: warning: smtpd_recipient_restrictions: warn_if_reject is not supported yet: what follows it does not warn "
     "either"},
    {"warn_if_reject check_sender_access hash:/x, reject", "reject",
     "1: warning: smtpd_recipient_restrictions: check_sender_access is not supported yet: it has no effect"},
    {"permit_mynetworks reject_unauth_destinaton", NULL,
     "1: error: smtpd_recipient_restrictions: unknown restriction reject_unauth_destinaton; did you mean "
     "reject_unauth_destination?"},
    {"check_recipent_access hash:/x", NULL,
     "1: error: smtpd_recipient_restrictions: unknown restriction check_recipent_access; did you mean "
     "check_recipient_access?"},
    {"permit_everybody_at_all", NULL,
     "1: error: smtpd_recipient_restrictions: unknown restriction permit_everybody_at_all"},
    {"reject_rbl_client", NULL, "1: error: smtpd_recipient_restrictions: reject_rbl_client needs an argument"},
};

static void what_is_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct buf text = {0};
        struct fixture f;

        buf_printf(&text, "smtpd_recipient_restrictions = %s\nsmtpd_restriction_classes = strict, greylist\n",
                   lists[i].list);
        fixture_open(&f, buf_cstr(&text));
        if (lists[i].complaint != NULL)
            fixture_expect(&f, lists[i].complaint);
        for (size_t k = 0; k < f.report.n && lists[i].complaint == NULL; k++)
            assert_null(strstr(f.report.items[k].text, "recipient_restrictions"));
        assert_int_equal(f.conf != NULL, lists[i].left != NULL);
        if (lists[i].left != NULL)
            assert_string_equal(f.conf->smtpd_recipient_restrictions, lists[i].left);
        buf_release(&text);
        fixture_close(&f);
    }
}

/* Every list, and that of a listener at its own line. */
static void every_list(void **state)
{
    static const char *const names[] = {"client", "helo", "sender", "relay", "recipient", "data", "end_of_data"};
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[300], wanted[300];

        snprintf(text, sizeof text,
                 "[listener a]\nlisten = :25\nsmtpd_%s_restrictions = reject_unauth_pipelining, reject\n", names[i]);
        snprintf(wanted, sizeof wanted,
                 "3: warning: smtpd_%s_restrictions: reject_unauth_pipelining is not supported yet: it has no effect",
                 names[i]);
        fixture_open_good(&f, text);
        fixture_expect(&f, wanted);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left),
        cmocka_unit_test(every_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

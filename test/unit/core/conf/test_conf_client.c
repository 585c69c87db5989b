/* What a transport of type smtp or lmtp has of smtp_... and lmtp_...: its own, the file's, and the defaults. */
#include "conf_fixture.h"

static const struct conf_client *client(const struct fixture *f, const char *transport)
{
    return conf_transport_find(f->conf, transport)->client;
}

static void defaults(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_good(&f, "");
    assert_string_equal(client(&f, "smtp")->tcp_port, "smtp");
    assert_string_equal(client(&f, "lmtp")->tcp_port, "24");
    assert_int_equal(client(&f, "smtp")->connect_timeout_ms, 30000);
    assert_int_equal(client(&f, "lmtp")->connect_timeout_ms, 0);
    assert_true(client(&f, "relay")->skip_quit_response);
    assert_false(client(&f, "lmtp")->skip_quit_response);
    assert_string_equal(client(&f, "lmtp")->helo_name, f.conf->myhostname);
    assert_true(client(&f, "smtp")->always_send_ehlo);
    assert_null(client(&f, "virtual"));
    fixture_close(&f);
}

/* Each of the two clients has its own parameters, and those of the file are fields of the configuration, too. */
static void of_the_file(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_good(&f, "smtp_mail_timeout = 7s\nlmtp_lhlo_name = l.example\nsmtp_tls_cert_file = /c\n");
    assert_int_equal(f.conf->smtp_mail_timeout_ms, 7000);
    assert_int_equal(client(&f, "smtp")->mail_timeout_ms, 7000);
    assert_int_equal(client(&f, "relay")->mail_timeout_ms, 7000);
    assert_int_equal(client(&f, "lmtp")->mail_timeout_ms, 300000);
    assert_string_equal(client(&f, "lmtp")->helo_name, "l.example");
    assert_string_equal(client(&f, "smtp")->tls_key_file, "/c");
    assert_string_equal(client(&f, "lmtp")->tls_key_file, "");
    fixture_close(&f);
}

static void of_a_section(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_good(&f, "smtp_mail_timeout = 7s\n[transport own]\ntype = smtp\nsmtp_mail_timeout = 9s\n"
                          "myhostname = own.example\nsyslog_name = $service_name/x\nmaxproc = 3\n");
    assert_int_equal(client(&f, "own")->mail_timeout_ms, 9000);
    assert_int_equal(client(&f, "smtp")->mail_timeout_ms, 7000);
    assert_string_equal(client(&f, "own")->helo_name, "own.example");
    assert_string_equal(client(&f, "own")->syslog_name, "own/x");
    assert_int_equal(conf_transport_find(f.conf, "own")->maxproc, 3);
    fixture_close(&f);
}

static void of_master_cf(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_postfix(&f, "inet_protocols = ipv4\nsmtp_rcpt_timeout = 8s\n",
                         "smtp inet n - n - - smtpd\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n"
                         "  -o syslog_name=postfix/$service_name -o smtp_rcpt_timeout=5 -o smtp_fallback_relay=\n");
    assert_non_null(f.conf);
    for (size_t i = 0; i < f.report.n; i++)
        assert_null(strstr(f.report.items[i].text, "relay: -o"));
    assert_int_equal(client(&f, "smtp")->rcpt_timeout_ms, 8000);
    assert_int_equal(client(&f, "relay")->rcpt_timeout_ms, 5000);
    assert_string_equal(client(&f, "relay")->syslog_name, "postfix/relay");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(of_the_file),
        cmocka_unit_test(of_a_section),
        cmocka_unit_test(of_master_cf),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

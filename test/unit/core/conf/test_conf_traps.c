/* Traps: for each the least configuration that has it and its whole line, and one beside it that has not. */
#include "unit/core/conf/conf_fixture.h"

#include <stdlib.h>

#define LDA(flags, args)                                                                                               \
    "virtual_transport = p\n[transport p]\ntype = pipe\nuser = nobody\n" flags "\nargv = "                             \
    "/usr/lib/dovecot/deliver " args
#define USERS "smtpd_client_restrictions = permit_sasl_authenticated, reject\n"

static const struct {
    const char *text, *complaint;
} traps[] = {
    {"virtual_alias_domains = a.example\nmydestination = b.example a.example",
     "1: warning: virtual_alias_domains: a.example is in mydestination too, and that is the one that counts; the order "
     "is mydestination, virtual_alias_domains, virtual_mailbox_domains, relay_domains"},
    {"smtpd_recipient_restrictions = reject_unauth_destination, check_recipient_access hash:/nonexistent/custom",
     "1: warning: smtpd_recipient_restrictions: hash:/nonexistent/custom: No such file or directory: Postfix answers "
     "451 to all mail that gets to this check, until there is one"},
    {"[listener a]\nlisten = :25\nsmtpd_helo_restrictions = check_helo_access proxy:pcre:/nonexistent/helo",
     "3: warning: smtpd_helo_restrictions: proxy:pcre:/nonexistent/helo: No such file or directory: Postfix answers "
     "451 "
     "to all mail that gets to this check, until there is one"},
    {"smtp_sasl_type = dovecot", "1: warning: smtp_sasl_type: this is a type for servers; to log in at another server "
                                 "there is only cyrus, and with "
                                 "smtp_sasl_auth_enable = yes no mail would go out"},
    {"smtpd_sasl_type = dovecot\nsmtpd_sasl_local_domain = $myhostname",
     "2: warning: smtpd_sasl_local_domain: with smtpd_sasl_type = dovecot it means nothing, and nothing asks "
     "saslauthd: "
     "realms are Dovecot's business"},
    {"smtpd_use_tls = yes", "1: warning: smtpd_use_tls: this is obsolete: say smtpd_tls_security_level = may, which "
                            "overrules it whenever it is set"},
    {"smtp_use_tls = yes", "1: warning: smtp_use_tls: this is obsolete: say smtp_tls_security_level = may, which "
                           "overrules it whenever it is set"},
    {"[listener a]\nlisten = :25\nsmtpd_use_tls = yes",
     "3: warning: smtpd_use_tls: this is obsolete: say smtpd_tls_security_level = may, which overrules it whenever it "
     "is set"},
    {"smtpd_tls_session_cache_database = btree:${data_directory}/smtpd_scache",
     "1: warning: smtpd_tls_session_cache_database: this is obsolete: clients keep their sessions themselves, in "
     "tickets, and no file is needed"},
    {"milter_default_action = accept\nsmtpd_milters = inet:localhost:8891",
     "1: warning: milter_default_action: with accept, mail goes on unsigned and unfiltered, and nobody is told, while "
     "a "
     "milter is down; with tempfail its senders try again later"},
    {"milter_protocol = 2", "1: warning: milter_protocol: milters of today speak 6, the default: with less they cannot "
                            "do all that they should"},
    {"smtp_tls_cert_file = /x.pem",
     "1: warning: smtp_tls_cert_file: every server that mail goes to is shown this certificate, which names this "
     "machine and which some refuse: leave it empty unless a server asks for it"},
    {"smtpd_sasl_auth_enable = yes\n[listener a]\nlisten = :587\n" USERS
     "smtpd_recipient_restrictions = permit_sasl_authenticated,reject\n[listener b]\nlisten = :465\n" USERS,
     "6: warning: listener b: the same user meets another policy here than at listener a, by "
     "smtpd_recipient_restrictions"},
    {"virtual_alias_maps = static:x@example.org\n" LDA("flags = R", "-e"),
     "6: warning: transport p: flags: without O nobody can see the address that mail was sent to when an alias has "
     "replaced it; with O it is in X-Original-To:"},
    {"virtual_alias_maps = static:x@example.org\n" LDA("", "-e"),
     "3: warning: transport p: flags: without O nobody can see the address that mail was sent to when an alias has "
     "replaced it; with O it is in X-Original-To:"},
    {"recipient_delimiter = +\n" LDA("", "-e -d ${user}@${nexthop}"),
     "7: warning: transport p: argv: ${user} is without the extension that recipient_delimiter splits off, and no "
     "other "
     "macro has it: the command never sees it (for Dovecot, add -a ${recipient})"},
    {LDA("", "-d ${recipient}"),
     "6: warning: transport p: argv: without -e Dovecot's program says \"delivered\" of mail over quota and returns it "
     "by itself, through /usr/sbin/sendmail; with -e it says why"},
};

/* What of the above must not be said of these. */
static const char *const good[] = {
    "mydestination = a.example\nvirtual_alias_domains = b.example",
    "smtpd_recipient_restrictions = reject_unauth_destination, check_recipient_access hash:/etc/passwd, "
    "check_client_access inline:{a=b}",
    "smtp_sasl_type = cyrus\nsmtp_sasl_path =",
    "smtpd_sasl_local_domain = $myhostname",
    "smtpd_sasl_type = dovecot\nsmtpd_sasl_local_domain =",
    "milter_default_action = accept",
    "milter_default_action = tempfail\nnon_smtpd_milters = inet:localhost:8891",
    "milter_protocol = 6",
    "smtp_tls_cert_file =\nsmtp_tls_chain_files =",
    "smtpd_tls_session_cache_database =",
    /* a port for everyone is another thing than one for users */
    "smtpd_sasl_auth_enable = yes\n[listener a]\nlisten = :25\n[listener b]\nlisten = :465\n" USERS,
    "smtpd_sasl_auth_enable = yes\n[listener a]\nlisten = :587\n" USERS "[listener b]\nlisten = :465\n"
    "smtpd_client_restrictions = permit_sasl_authenticated\n reject\n",
    /* nobody has logged in where nobody can */
    "[listener a]\nlisten = :587\n" USERS "[listener b]\nlisten = :465\n" USERS "smtpd_helo_restrictions = reject\n",
    "recipient_delimiter = +\nvirtual_alias_maps = static:x@example.org\n"
    "p_destination_recipient_limit = 1\n" LDA("flags = DORhu", "-e -a ${recipient} -d ${user}@${nexthop}"),
    "virtual_alias_maps = static:x@example.org\n" LDA("", "-e -a ${original_recipient} -d ${recipient}"),
    LDA("", "-e -d ${user}@${nexthop}"),
    /* not in use */
    "virtual_alias_maps = static:x@example.org\n[transport p]\ntype = pipe\nuser = nobody\nargv = "
    "/usr/lib/dovecot/deliver -d ${user}",
};

static void test_traps(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(traps); i++) {
        struct fixture f;

        fixture_open(&f, traps[i].text);
        fixture_expect(&f, traps[i].complaint);
        fixture_close(&f);
    }
}

static bool is_trap(const char *text)
{
    static const char *const beginnings[] = {"transport p: flags: without",
                                             "transport p: argv: ",
                                             "listener ",
                                             "virtual_alias_domains: ",
                                             "smtpd_recipient_restrictions: inline",
                                             "smtpd_recipient_restrictions: hash"};
    static const char *const ends[] = {"not supported yet: it has no effect",
                                       "cannot be run: No such file or directory"};

    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (strstr(text, ends[i]) != NULL)
            return false;
    for (size_t i = 0; i < ARRAY_LEN(beginnings); i++)
        if (strncmp(text, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_LEN(traps); i++)
        if (strstr(traps[i].complaint, text) != NULL)
            return true;
    return false;
}

static void test_no_traps(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct fixture f;

        fixture_open(&f, good[i]);
        for (size_t c = 0; c < f.report.n; c++)
            if (is_trap(f.report.items[c].text)) {
                fprintf(stderr, "%s\n", good[i]);
                conf_report_print(&f.report, stderr);
                fail();
            }
        fixture_close(&f);
    }
}

/* The same at the lines of master.cf, of every listener. */
static void test_postfix(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_postfix(&f, "smtpd_sasl_auth_enable = yes\nvirtual_transport = dovecot\n",
                         "smtp inet n - n - - smtpd\n"
                         "submission inet n - n - - smtpd\n"
                         "  -o smtpd_tls_security_level=encrypt\n"
                         "  -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n"
                         "  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject\n"
                         "smtps inet n - n - - smtpd\n"
                         "  -o smtpd_tls_wrappermode=yes\n"
                         "  -o smtpd_client_restrictions=permit_sasl_authenticated,reject\n"
                         "dovecot unix - n n - - pipe\n"
                         "  flags=DRhu user=nobody argv=/usr/lib/dovecot/deliver -d ${recipient}\n");
    fixture_expect(&f, "6: warning: listener smtps: the same user meets another policy here than at listener "
                       "submission, by smtpd_recipient_restrictions");
    fixture_expect(&f, "10: warning: transport dovecot: argv: without -e Dovecot's program says \"delivered\" of mail "
                       "over quota and returns it by itself, through /usr/sbin/sendmail; with -e it says why");
    fixture_close(&f);
}

/* ---- values of any name ---- */

static void test_texts(void **state)
{
    char path[] = "/tmp/mta-test-texts-XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");
    const struct conf_section *a, *b;
    struct conf_place place;
    struct conf_texts *t;

    (void)state;
    fputs("own = x\nsmtpd_milters = inet:$own\nsmtpd_banner = ${broken\n[listener a]\nlisten = :25\n[transport p]\n"
          "type = discard\n[listener b]\nlisten = :26\nown = y\nsmtpd_tls_cert_file = /$own.pem\n",
          file);
    fclose(file);
    t = conf_texts_read(path);
    assert_non_null(t);
    a = conf_texts_next(t, NULL);
    b = conf_texts_next(t, a);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(conf_texts_next(t, b));
    assert_string_equal(conf_texts_get(t, NULL, "smtpd_milters", &place), "inet:x");
    assert_string_equal(place.file, path);
    assert_int_equal(place.line, 2);
    assert_string_equal(conf_texts_get(t, a, "smtpd_milters", NULL), "inet:x");
    assert_string_equal(conf_texts_get(t, b, "smtpd_milters", NULL), "inet:y");
    assert_string_equal(conf_texts_get(t, b, "smtpd_tls_key_file", &place), "/y.pem"); /* its default */
    assert_int_equal(place.line, 0);
    assert_string_equal(conf_texts_get(t, NULL, "smtpd_tls_cert_file", NULL), "");
    assert_string_equal(conf_texts_get(t, NULL, "no_such_name", NULL), "");
    assert_null(conf_texts_get(t, NULL, "smtpd_banner", NULL));
    conf_texts_free(&t);
    remove(path);
    assert_null(conf_texts_read(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traps),
        cmocka_unit_test(test_no_traps),
        cmocka_unit_test(test_postfix),
        cmocka_unit_test(test_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

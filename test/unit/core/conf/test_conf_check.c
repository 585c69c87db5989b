/* Every complaint there is: for each the least file that brings it about, and its whole line. */
#include "unit/core/conf/conf_fixture.h"

#include <stdlib.h>
#include <unistd.h>

#define PIPE "[transport p]\ntype = pipe\nuser = nobody\nargv = cat\n"

static const struct {
    const char *text, *complaint;
} complaints[] = {
    /* values */
    {"smtpd_helo_required = maybe", "1: error: smtpd_helo_required: \"maybe\" is neither yes nor no"},
    {"\nsmtpd_timeout = 5y", "2: error: smtpd_timeout: \"5y\" is not a time: a number and one of s, m, h, d, w"},
    {"x = 5000000\nsmtpd_recipient_limit = $x",
     "2: error: smtpd_recipient_limit: 5000000 is out of range: at least 1, at most 1000000"},
    {"smtpd_banner = ${myhostname", "1: error: smtpd_banner: the ${ is not closed in \"${myhostname\""},
    {"myhostname = mail.$mydomain", "1: error: myhostname: it refers to itself: $mydomain -> $myhostname -> $mydomain"},
    {"a = $b\nb = $a\nsmtpd_banner = $myhostname $b", "1: error: a: it refers to itself: $a -> $b -> $a"},
    {"myorigin = /nonexistent/mailname",
     "1: error: myorigin: /nonexistent/mailname cannot be read: No such file or directory"},
    {"myorigin = /etc/passwd", "1: error: myorigin: the first line of /etc/passwd is not a domain name"},
    /* names */
    {"smtpd_tiemout = 5", "1: warning: unused parameter smtpd_tiemout; did you mean smtpd_timeout?"},
    {"nothing_like_it = 5", "1: warning: unused parameter nothing_like_it"},
    {"vitual_destination_recipient_limit = 1", "1: warning: unused parameter vitual_destination_recipient_limit; did "
                                               "you mean virtual_destination_recipient_limit?"},
    {"dovecot_destination_recipient_limit = 1", "1: warning: unused parameter dovecot_destination_recipient_limit"},
    {"smtpd_banner = $myhostnam x",
     "1: warning: smtpd_banner: $myhostnam is not set anywhere and stands for nothing; did you mean $myhostname?"},
    {"smtpd_banner = $myhostname $zzzzzzz",
     "1: warning: smtpd_banner: $zzzzzzz is not set anywhere and stands for nothing"},
    {"[listener a]\nlisten = :25\nsmtpd_tiemout = 5",
     "3: warning: unused parameter smtpd_tiemout; did you mean smtpd_timeout?"},
    {"[listener a]\nlisten = :25\nqueue_run_delay = 5s",
     "3: warning: queue_run_delay is one for the whole server: in a listener it has no effect"},
    {"[listener a]\nlisten = :25\nvirtual_time_limit = 5s",
     "3: warning: virtual_time_limit is one for the whole server: in a listener it has no effect"},
    {"smtp_destination_concurrency_limit = many",
     "1: error: smtp_destination_concurrency_limit: \"many\" is not a number"},
    {"[transport x]\ntype = smtp\nsmtp_helo_timeout = soon",
     "3: error: smtp_helo_timeout: \"soon\" is not a time: a number and one of s, m, h, d, w"},
    {"[transport x]\ntype = lmtp\nlmtp_connect_timeout = $smtp_connect_timout",
     "3: warning: lmtp_connect_timeout: $smtp_connect_timout is not set anywhere and stands for nothing; did you mean "
     "$smtp_connect_timeout?"},
    {"[transport x]\ntype = lmtp\nsmtp_helo_timeout = 5s",
     "3: error: transport x: smtp_helo_timeout is a parameter, which belongs before the first section"},
    {"cyrus_delivery_slot_cost = 7\n[transport cyrus]\ntype = discard\ntransport_rate_delay = 1s",
     "4: error: transport cyrus: unknown setting transport_rate_delay"},
    {"relay_destination_rate_dela = 5s",
     "1: warning: unused parameter relay_destination_rate_dela; did you mean relay_destination_rate_delay?"},
    {"milter_protocl = 5", "1: warning: unused parameter milter_protocl; did you mean milter_protocol?"},
    {"smtpd_command_filter = pcre:/x",
     "1: warning: smtpd_command_filter has no effect: commands are never rewritten: refuse what is wrong, or mend the "
     "client"},
    {"virtual_mailbox_limit_maps = mysql:/x",
     "1: warning: virtual_mailbox_limit_maps has no effect: Maildirs have no quotas here: let Dovecot deliver"},
    {"smtp_skip_5xx_greeting = maybe", "1: error: smtp_skip_5xx_greeting: \"maybe\" is neither yes nor no"},
    {"smtpd_expansion_filter = a$", "1: warning: smtpd_expansion_filter is not supported yet: it has no effect"},
    {"smtpd_restriction_classes = early",
     "1: warning: smtpd_restriction_classes is not supported yet: it has no effect"},
    /* protections that would be missing */
    {"soft_bounce = yes", "1: error: soft_bounce = yes is not supported yet: mail that is to stay in the queue would "
                          "be returned, or refused "
                          "for good"},
    {"smtpd_upstream_proxy_protocol = haproxy",
     "1: error: smtpd_upstream_proxy_protocol = haproxy is not supported yet: every client would have the proxy's "
     "address, and its rights"},
    {"level = scan:x\n[listener a]\nlisten = :25\ncontent_filter = $level",
     "4: error: content_filter = scan:x is not supported yet: mail would be delivered without having been filtered"},
    {"smtpd_tls_security_level = always",
     "1: error: smtpd_tls_security_level: \"always\" is none of: none, may, encrypt"},
    {"content_filter = scan:[127.0.0.1]:10025",
     "1: error: content_filter = scan:[127.0.0.1]:10025 is not supported yet: mail "
     "would be delivered without having been filtered"},
    {"smtpd_milters = inet:127.0.0.1:8891",
     "1: error: smtpd_milters: milters are not supported yet, and mail is to be let in "
     "without them only with milter_default_action = accept"},
    /* hosts and directories */
    {"myhostname = bad_-.example", "1: error: myhostname: \"bad_-.example\" is not a host name"},
    {"myhostname =", "1: error: myhostname: \"\" is not a host name"},
    {"myhostname = 192.0.2.1", "1: error: myhostname: \"192.0.2.1\" is not a host name"},
    {"myhostname = mail", "1: warning: myhostname: \"mail\" is not fully qualified: other servers may refuse it"},
    {"mydomain = a..b", "1: error: mydomain: \"a..b\" is not a domain name"},
    {"myorigin = a b", "1: error: myorigin: \"a b\" is not a domain name"},
    {"compatibility_level = latest", "1: error: compatibility_level: \"latest\" is not a release such as 3.6"},
    {"syslog_name =", "1: error: syslog_name: it is empty"},
    {"smtpd_banner = welcome",
     "1: warning: smtpd_banner: the greeting must begin with $myhostname (RFC 5321 section 4.2)"},
    {"queue_directory = spool", "1: error: queue_directory: \"spool\" does not begin with a slash"},
    {"data_directory =", "1: error: data_directory: \"\" does not begin with a slash"},
    {"proxy_interfaces = no/host",
     "1: error: proxy_interfaces: \"no/host\" is neither an address nor the name of a host"},
    /* classes */
    {"mydestination = a.example b.example\nvirtual_alias_domains = B.example",
     "2: warning: virtual_alias_domains: B.example is in mydestination too, and that is the one that counts; the order "
     "is "
     "mydestination, virtual_alias_domains, virtual_mailbox_domains, relay_domains"},
    {"virtual_alias_domains = a.example\nrelay_domains = a.example",
     "2: warning: relay_domains: a.example is in virtual_alias_domains too, and that is the one that counts; the order "
     "is "
     "mydestination, virtual_alias_domains, virtual_mailbox_domains, relay_domains"},
    /* transports */
    {"virtual_mailbox_domains = a.example\nvirtual_transport = dovecot",
     "2: error: virtual_transport: there is no [transport dovecot]"},
    {"virtual_mailbox_domains = a.example\nvirtual_transport = dovcot:x\n[transport dovecot]\ntype = discard",
     "2: error: virtual_transport: there is no [transport dovcot]; did you mean dovecot?"},
    {"", "0: warning: local_transport: local is not supported yet: mail for $mydestination is deferred"},
    {"virtual_mailbox_domains = a.example",
     "0: warning: virtual_mailbox_base: the directory of the mailboxes is needed, beginning with a slash"},
    {"virtual_mailbox_domains = a.example\nvirtual_mailbox_base = /v\nvirtual_mailbox_maps = static:a/\n"
     "virtual_uid_maps = static:5000",
     "0: warning: virtual_gid_maps: it is empty: no mail can be delivered to a mailbox"},
    {"virtual_mailbox_domains = a.example\nvirtual_mailbox_base = /v\nvirtual_mailbox_limit = 1000",
     "3: error: virtual_mailbox_limit: it is smaller than message_size_limit: mail that was accepted would not fit"},
    /* limits */
    {"minimal_backoff_time = 2h", "1: warning: minimal_backoff_time: it is greater than maximal_backoff_time"},
    {"smtpd_soft_error_limit = 30", "1: warning: smtpd_soft_error_limit: it is greater than smtpd_hard_error_limit"},
    /* reports */
    {"notify_classes = bounce, policy",
     "1: warning: notify_classes: policy has no effect: the postmaster is sent no transcripts of sessions"},
    {"notify_classes = bounces", "1: error: notify_classes: \"bounces\" is none of bounce, 2bounce, delay, policy, "
                                 "protocol, resource, software"},
    {"2bounce_notice_recipient =", "1: error: 2bounce_notice_recipient: it is empty"},
    {"double_bounce_sender =", "1: error: double_bounce_sender: it is empty"},
    /* who may relay */
    {"mynetworks = 192.0.2.5/24",
     "1: error: mynetworks: \"192.0.2.5/24\" has host bits set; the network is 192.0.2.0/24"},
    {"mynetworks = [2001:db8::1]/32",
     "1: error: mynetworks: \"[2001:db8::1]/32\" has host bits set; the network is [2001:db8::]/32"},
    {"mynetworks = 0.0.0.0/0", "1: error: mynetworks: \"0.0.0.0/0\" is everyone: this would be an open relay"},
    {"mynetworks = [::]/0", "1: error: mynetworks: \"[::]/0\" is everyone: this would be an open relay"},
    {"mynetworks = static:all", "1: error: mynetworks: \"static:all\" is everyone: this would be an open relay"},
    {"mynetworks = 64.0.0.0/2",
     "1: warning: mynetworks: \"64.0.0.0/2\" is a large part of the Internet, and all of it may relay"},
    {"mynetworks = ::1/128",
     "1: error: mynetworks: \"::1/128\": an IPv6 network is written in brackets, as in [::1]/128"},
    {"mynetworks = fd00::/8",
     "1: error: mynetworks: \"fd00::/8\": an IPv6 network is written in brackets, as in [::1]/128"},
    {"mynetworks = 10.0.0.0/33", "1: error: mynetworks: \"10.0.0.0/33\": the length after the slash is wrong"},
    {"mynetworks = localhost", "1: error: mynetworks: \"localhost\": this is no address and no network"},
    {"[listener a]\nlisten = :25\nmynetworks = 0.0.0.0/0",
     "3: error: mynetworks: \"0.0.0.0/0\" is everyone: this would be an open relay"},
    {"relay_domains = static:x", "1: error: relay_domains: \"static:x\" is every domain: this would be an open relay"},
    {"smtpd_relay_restrictions = permit_mynetworks",
     "1: error: smtpd_relay_restrictions: neither smtpd_relay_restrictions nor smtpd_recipient_restrictions has "
     "reject_unauth_destination, defer_unauth_destination, reject or defer before a permit: this would be an open "
     "relay"},
    {"compatibility_level = 0\nsmtpd_recipient_restrictions = permit_mynetworks",
     "2: error: smtpd_recipient_restrictions: neither smtpd_relay_restrictions nor smtpd_recipient_restrictions has "
     "reject_unauth_destination, defer_unauth_destination, reject or defer before a permit: this would be an open "
     "relay"},
    /* listeners */
    {"\n[listener a]\nmynetworks = 127.0.0.1",
     "2: error: listener a: listen is missing: the addresses to listen on, as in listen = :25"},
    {"[listener a]\nlisten =", "2: error: listener a: listen is empty"},
    {"[listener a]\nlisten = $x", "2: error: listener a: listen is empty"},
    {"[listener a]\nlisten = ${x", "2: error: listener a: the ${ is not closed in \"${x\""},
    {"[listener a]\nlisten = ::1:25",
     "2: error: listener a: an IPv6 address is written in brackets, as in [::1]:25 in \"::1:25\""},
    {"[listener a]\nlisten = [::1]", "2: error: listener a: the port is missing in \"[::1]\""},
    {"[listener a]\nlisten = 127.0.0.1:0",
     "2: error: listener a: the port is neither a number from 1 to 65535 nor the name of "
     "a service such as smtp, submission, smtps in \"127.0.0.1:0\""},
    {"[listener a]\nlisten = 127.0.0.1:65536",
     "2: error: listener a: the port is neither a number from 1 to 65535 nor the name of "
     "a service such as smtp, submission, smtps in \"127.0.0.1:65536\""},
    {"[listener a]\nlisten = 127.0.0.1",
     "2: error: listener a: the port is neither a number from 1 to 65535 nor the name of "
     "a service such as smtp, submission, smtps in \"127.0.0.1\""},
    {"[listener a]\nlisten = no/host:25",
     "2: error: listener a: \"no/host\" is neither an address nor the name of a host"},
    {"inet_protocols = ipv4\n[listener a]\nlisten = [::1]:25",
     "3: error: listener a: \"[::1]\" gives no address to listen on with this inet_protocols"},
    {"inet_interfaces =", "0: error: listener smtp: \"\" gives no address to listen on with this inet_protocols"},
    {"[listener a]\nlisten = :25\n[listener b]\nlisten = 127.0.0.1:26 :25",
     "3: error: listener b: listener a listens on 0.0.0.0 port 25 already"},
    /* transports' sections */
    {"[transport x]",
     "1: error: transport x: type is missing: one of pipe, smtp, lmtp, maildir, local, discard, error, retry"},
    {"[transport x]\ntype = pip",
     "2: error: transport x: type: \"pip\" is none of: pipe, smtp, lmtp, maildir, local, discard, error, retry"},
    {"[transport x]\ntype = local", "2: warning: transport x: type local is not supported yet: its mail is deferred"},
    {"[transport x]\ntype = maildir\nargv = x", "3: error: transport x: argv is not a setting of type maildir"},
    {"[transport x]\ntype = discard\nmaxprocs = 1",
     "3: error: transport x: unknown setting maxprocs; did you mean maxproc?"},
    {"[transport x]\ntype = discard\ncolour = red", "3: error: transport x: unknown setting colour"},
    {"[transport x]\ntype = discard\nsmtpd_timeout = 1",
     "3: error: transport x: smtpd_timeout is a parameter, which belongs before the first section"},
    {"[transport x]\ntype = discard\nmaxproc = many", "3: error: transport x: maxproc: \"many\" is not a number"},
    {"[transport x]\ntype = discard\nmaxproc = ${", "3: error: transport x: maxproc: the ${ is not closed in \"${\""},
    {"x_time_limit = soon\n[transport x]\ntype = discard",
     "1: error: x_time_limit: \"soon\" is not a time: a number and one of s, m, h, d, w"},
    {"x_time_limit = ${y\n[transport x]\ntype = discard", "1: error: x_time_limit: the ${ is not closed in \"${y\""},
    {"[transport x]\ntype = pipe\nuser = nobody\nargv =",
     "4: error: transport x: argv is missing: the command to run and its arguments"},
    {"[transport x]\ntype = pipe\nuser = nobody",
     "1: error: transport x: argv is missing: the command to run and its arguments"},
    {PIPE "flags = DZ", "5: error: transport p: unknown flag \"Z\": there are DORXhuqFB.>"},
    {PIPE "flags = O", "5: warning: transport p: flags D and O need p_destination_recipient_limit = 1: mail with more "
                       "recipients is deferred"},
    {PIPE "eol = \\x", "5: error: transport p: eol: \"\\x\" has an unknown backslash sequence"},
    {PIPE "eol = x\\", "5: error: transport p: eol: \"x\\\" has an unknown backslash sequence"},
    {PIPE "eol = \\777", "5: error: transport p: eol: \"\\777\" has an unknown backslash sequence"},
    {PIPE "directory = here", "5: error: transport p: directory: \"here\" does not begin with a slash"},
    {PIPE "user = no-such-user", "5: error: transport p: user: there is no user \"no-such-user\""},
    {PIPE "user = nobody:no-such-group", "5: error: transport p: user: there is no group \"no-such-group\""},
    {PIPE "user = root", "5: error: transport p: user: a command never runs as root or with its group"},
    {PIPE "user = nobody:root", "5: error: transport p: user: a command never runs as root or with its group"},
    {"mail_owner = nobody\n" PIPE,
     "4: error: transport p: user: a command never runs as the mail system's user or group "
     "(mail_owner = nobody)"},
    {PIPE "argv = /nonexistent/deliver x",
     "5: warning: transport p: /nonexistent/deliver cannot be run: No such file or directory"},
};

static void every_complaint(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(complaints); i++) {
        struct fixture f;

        fixture_open(&f, complaints[i].text);
        fixture_expect(&f, complaints[i].complaint);
        if ((f.conf == NULL) != (f.report.nerrors > 0))
            fail_msg("%s", complaints[i].text);
        fixture_close(&f);
    }
}

/* What must not be complained about: there is nothing but that local and smtp come later. */
static const char *const fine[] = {
    "",
    "mydestination = $myhostname, localhost.$mydomain, localhost",
    "mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128",
    "mynetworks = !10.0.0.1, !0.0.0.0/0 10.0.0.0/8 /etc/networks hash:/x cdb:/y !static:all",
    "mynetworks = 192.0.2.1",
    "relay_domains =\nrelayhost =\nmailbox_size_limit = 0\nbiff = no\nreadme_directory = no",
    "setgid_group = postdrop\nsmtpd_tls_wrappermode = no\nsmtpd_use_tls = no\nheader_checks =",
    "smtpd_tls_security_level = none",
    "smtpd_enforce_tls = No\nsoft_bounce = no\nmime_header_checks = $header_checks",
    "milter_protocol = 6\nsmtpd_policy_service_default_action = 451  4.3.5 Server configuration\n problem",
    "smtp_sasl_tls_security_options = $smtp_sasl_security_options\nsmtp_sasl_security_options = noplaintext, "
    "noanonymous",
    "lmtp_tls_key_file = \nsmtp_tls_dkey_file = $smtp_tls_dcert_file\nrelay_destination_rate_delay = 0s",
    "default_verp_delimiters = +=\nlocal_destination_concurrency_limit = 2\nlmtp_destination_recipient_limit = 50",
    "fork_delay = 5s\nalias_database = hash:/x\nenable_long_queue_ids = yes\nproxy_read_maps = a b",
    "default_rbl_reply = $rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using "
    "$rbl_domain${rbl_reason?; $rbl_reason}",
    "alias_maps = $alias_database\nvirtual_alias_maps = $default_database_type:/x",
    "multi_instance_name = postfix-a\nsyslog_name = $multi_instance_name",
    "house = permit_sasl_authenticated\nsmtpd_client_restrictions = permit_mynetworks $house",
    "smtpd_banner = $myhostname ${nosuch?x}${nosuch:y}",
    "virtual_maps = hash:/x",
    "notify_classes = bounce, 2BOUNCE delay\ndelay_warning_time = 4\n2bounce_notice_recipient = abuse",
    "smtpd_client_connection_limit_exceptions = 127.0.0.1",
    "virtual_destination_recipient_limit = 1\nerror_initial_destination_concurrency = 2",
    "mydestination = hash:/x, localhost\nvirtual_alias_domains = hash:/x",
    "smtpd_relay_restrictions = permit_mynetworks reject_unauth_destination",
    "smtpd_relay_restrictions = permit\nsmtpd_recipient_restrictions = permit_mynetworks, reject",
    "relay_domains =\nvirtual_mailbox_domains = a.example\nvirtual_mailbox_base = /v\nvirtual_mailbox_maps = "
    "static:a/\n"
    "virtual_uid_maps = static:5000\nvirtual_gid_maps = static:5000",
    "[transport t]\ntype = discard\nmaxproc = $default_process_limit",
};

static void nothing_to_complain_about(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
        struct fixture f;

        fixture_open_good(&f, fine[i]);
        for (size_t k = 0; k < f.report.n; k++)
            if (strstr(f.report.items[k].text, "_transport: ") == NULL)
                fail_msg("%s: %s", fine[i], f.report.items[k].text);
        fixture_close(&f);
    }
}

/* Lists that look as if they kept strangers out. */
static const char *const open_relays[] = {
    "smtpd_relay_restrictions =",
    "smtpd_relay_restrictions = permit, reject_unauth_destination",
    "smtpd_relay_restrictions = warn_if_reject reject_unauth_destination",
    "smtpd_relay_restrictions = warn_if_reject, reject",
    "smtpd_relay_restrictions = check_client_access inline:{ reject = x }",
    "smtpd_relay_restrictions = check_policy_service { inet:x reject }",
    "smtpd_relay_restrictions = permit_mynetworks, reject_unknown_client_hostname",
    "smtpd_relay_restrictions = defer_if_permit",
    "smtpd_relay_restrictions = check_relay_domains",
    "smtpd_restriction_classes = reject_all\nreject_all = reject\nsmtpd_relay_restrictions = reject_all",
    "mynetworks = 127.0.0.1 !!0.0.0.0/0",
    "[listener a]\nlisten = :25\n[listener b]\nlisten = :26\nsmtpd_relay_restrictions = permit",
};

static void open_relays_are_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(open_relays); i++) {
        struct fixture f;

        fixture_open(&f, open_relays[i]);
        if (f.conf != NULL)
            fail_msg("%s", open_relays[i]);
        assert_int_equal(f.report.nerrors, 1);
        for (size_t k = 0; k < f.report.n; k++)
            if (f.report.items[k].severity == CONF_SEVERITY_ERROR)
                assert_non_null(strstr(f.report.items[k].text, "open relay"));
        fixture_close(&f);
    }
}

/* Errors of every kind in one file are all told, each once, though others depend on what is wrong. */
static void all_errors_are_told(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "smtpd_timeout = x\n"
                     "no equals sign\n"
                     "default_destination_recipient_limit = 0\n"
                     "myhostname = ${a\n"
                     "mynetworks = 10.0.0.1/8\n"
                     "[listener a]\nlisten = :25x\nsmtpd_helo_required = perhaps\n"
                     "[transport t]\ntype = pipe\nuser = root\n");
    assert_null(f.conf);
    assert_int_equal(f.report.nerrors, 9); /* two of them in the transport */
    for (size_t i = 1; i < f.report.n; i++)
        assert_true(f.report.items[i - 1].line <= f.report.items[i].line);
    fixture_close(&f);
}

static void no_user_means_root(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "[transport p]\ntype = pipe\nargv = cat\n");
    if (geteuid() == 0)
        fixture_expect(&f, "1: error: transport p: user is missing: the command would run as root");
    else
        assert_non_null(f.conf);
    fixture_close(&f);
}

static void the_report_prints_a_line_each(void **state)
{
    struct conf_report report = {0};
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    (void)state;
    conf_report_add(&report, CONF_SEVERITY_ERROR, "a", 3, "x %d", 1);
    conf_report_add(&report, CONF_SEVERITY_WARNING, "a", 0, "y");
    conf_report_add(&report, CONF_SEVERITY_ERROR, "a", 3, "x 1");
    conf_report_print(&report, f);
    fclose(f);
    assert_string_equal(text, "a:3: error: x 1\na: warning: y\n");
    assert_int_equal(report.nerrors, 1);
    assert_int_equal(report.nwarnings, 1);
    free(text);
    conf_report_clear(&report);
}

static void near_misses(void **state)
{
    static const struct {
        const char *name, *candidate;
        bool near;
    } pairs[] = {
        {"user", "users", true},
        {"usr", "user", true},
        {"tiemout", "timeout", true},
        {"argv", "maxproc", false},
        {"x", "y", true},
        {"ab", "xyz", false},
        {"smtpd_timeout", "SMTPD_TIMEOUT", true},
        {"inet_interface", "inet_interfaces", true},
        {"", "abc", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct conf_near near = {.name = pairs[i].name};

        conf_near_try(&near, pairs[i].candidate);
        if ((near.best != NULL) != pairs[i].near)
            fail_msg("%s %s", pairs[i].name, pairs[i].candidate);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_complaint),
        cmocka_unit_test(nothing_to_complain_about),
        cmocka_unit_test(open_relays_are_errors),
        cmocka_unit_test(all_errors_are_told),
        cmocka_unit_test(no_user_means_root),
        cmocka_unit_test(the_report_prints_a_line_each),
        cmocka_unit_test(near_misses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

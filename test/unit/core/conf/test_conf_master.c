/* master.cf: what services become, and what is said about each thing that is wrong or has no effect. */
#include "unit/core/conf/conf_fixture.h"

#define SMTP   "smtp inet n - n - - smtpd\n"
#define STOCK  " - n n - - "
#define COLUMN "name, type, private, unpriv, chroot, wakeup, maxproc, command"

/* ---- what becomes of a service ---- */

/* The sections as text: "[listener smtp:1] listen=smtp:1 ...", each with its line. */
static void sections_text(const struct conf_source *s, struct buf *out)
{
    for (size_t i = 1; i < s->nsections; i++) {
        const struct conf_section *section = &s->sections[i];

        buf_printf(out, "%s[%s %s:%d]", i > 1 ? "\n" : "",
                   section->kind == CONF_SECTION_LISTENER ? "listener" : "transport", section->name, section->line);
        for (size_t k = 0; k < section->n; k++)
            buf_printf(out, " %s=<%s>:%d", section->items[k].name, section->items[k].value, section->items[k].line);
    }
}

static const struct {
    const char *master, *sections;
} services[] = {
    {"", ""},
    {"# a comment\n\n   # another\n#smtp inet n - n - - smtpd\n#  -o a=b\n", ""},
    {SMTP, "[listener smtp:1] listen=<smtp>:1"},
    {"127.0.0.1:10025\tinet\tn\t-\ty\t-\t-\tsmtpd", "[listener 127.0.0.1:10025:1] listen=<127.0.0.1:10025>:1"},
    {"[::1]:submission inet n - - - - smtpd", "[listener [::1]:submission:1] listen=<[::1]:submission>:1"},
    /* options, each with the line it stands in */
    {"smtp inet n - n - - smtpd -o a=b -oc=d\n  -v\n# no end\n  -o\n  e=f=g -vo h=\n",
     "[listener smtp:1] listen=<smtp>:1 a=<b>:1 c=<d>:1 e=<f=g>:5 h=<>:5"},
    {"smtp inet n - n - - smtpd\n  -o { a = b, c d }\n  -o {e=$f}\n  -o g={h i}\n",
     "[listener smtp:1] listen=<smtp>:1 a=<b, c d>:2 e=<$f>:3 g=<{h i}>:4"},
    {"smtp inet n - n - - smtpd -o { a = { b } { c } }", "[listener smtp:1] listen=<smtp>:1 a=<{ b } { c }>:1"},
    {"smtp inet n - n - - smtpd -o smtpd_timeout=1s -o smtpd_timeout=2s",
     "[listener smtp:1] listen=<smtp>:1 smtpd_timeout=<2s>:1"},
    /* transports of each type */
    {"smtp unix" STOCK "smtp", "[transport smtp:1] type=<smtp>:1"},
    {"relay unix" STOCK "smtp\n -o smtp_fallback_relay=",
     "[transport relay:1] type=<smtp>:1 -o smtp_fallback_relay=<>:2"},
    {"l unix" STOCK "lmtp", "[transport l:1] type=<lmtp>:1"},
    {"v unix" STOCK "virtual", "[transport v:1] type=<maildir>:1"},
    {"l unix" STOCK "local", "[transport l:1] type=<local>:1"},
    {"d unix" STOCK "discard", "[transport d:1] type=<discard>:1"},
    {"e unix" STOCK "error", "[transport e:1] type=<error>:1"},
    {"retry unix" STOCK "error", "[transport retry:1] type=<retry>:1"},
    {"l fifo - n n - 7 lmtp", "[transport l:1] type=<lmtp>:1 maxproc=<7>:1"},
    {"l unix - n n - 0 lmtp", "[transport l:1] type=<lmtp>:1 maxproc=<0>:1"},
    {"dovecot unix - n n - - pipe\n"
     "  flags=DRhu user=vmail:vmail argv=/usr/lib/dovecot/deliver -f ${sender}\n  -d ${user}@${nexthop}\n",
     "[transport dovecot:1] type=<pipe>:1 flags=<DRhu>:2 user=<vmail:vmail>:2 "
     "argv=</usr/lib/dovecot/deliver -f ${sender}  -d ${user}@${nexthop}>:2"},
    {"p unix - n n - 3 pipe -o x=y eol=\\r\\n null_sender= size=9\n  directory=/d USER=u argv=/c { a b } {} argv=z",
     "[transport p:1] type=<pipe>:1 maxproc=<3>:1 -o x=<y>:1 eol=<\\r\\n>:1 null_sender=<>:1 size=<9>:1 "
     "directory=</d>:2 user=<u>:2 argv=</c { a b } {} argv=z>:2"},
    {"p unix" STOCK "pipe {null_sender=a b} { argv=/c x }",
     "[transport p:1] type=<pipe>:1 null_sender=<a b>:1 argv=</c x>:1"},
    /* parts of the server */
    {"pickup unix n - y 60 1 pickup\nqmgr fifo n - n 300 1 oqmgr\ntlsmgr unix - - y 1000? 1 tlsmgr\n"
     "rewrite unix" STOCK "trivial-rewrite\npostlog unix-dgram n - n - 1 postlogd\n",
     ""},
};

static void services_become_sections(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(services); i++) {
        struct fixture f;
        struct buf text = {0};

        fixture_open_postfix(&f, "", services[i].master);
        sections_text(&f.source, &text);
        assert_string_equal(buf_cstr(&text), services[i].sections);
        buf_release(&text);
        fixture_close(&f);
    }
}

/* ---- complaints ---- */

/* All are about master.cf: "LINE: severity: text". */
static const struct {
    const char *master, *complaint;
} complaints[] = {
    {"smtp\n", "1: error: the column type is missing: a service has " COLUMN},
    {SMTP "x unix - n n -\n", "2: error: the column maxproc is missing: a service has " COLUMN},
    {SMTP "x unix - n n - -\n  # no command\n", "2: error: the column command is missing: a service has " COLUMN},
    {"smtp inett n - n - - smtpd", "1: error: \"inett\" is no type of a service; did you mean inet?"},
    {"smtp tcp-socket n - n - - smtpd",
     "1: error: \"tcp-socket\" is no type of a service: there are inet, unix, unix-dgram, fifo, pass"},
    {"smtp inet yes - n - - smtpd", "1: error: \"yes\" in the column private is none of: y, n, -"},
    {"smtp inet n x n - - smtpd", "1: error: \"x\" in the column unpriv is none of: y, n, -"},
    {"smtp inet n - /jail - - smtpd", "1: error: \"/jail\" in the column chroot is none of: y, n, -"},
    {"smtp inet n - n ? - smtpd", "1: error: \"?\" in the column wakeup is neither a number nor -"},
    {"smtp inet n - n - 5? smtpd", "1: error: \"5?\" in the column maxproc is neither a number nor -"},
    {"smtp inet n - n - -1 smtpd", "1: error: \"-1\" in the column maxproc is neither a number nor -"},
    {SMTP "\n\n" SMTP, "4: error: the service smtp inet is there already in line 1"},
    {"  -o a=b\n" SMTP,
     "1: error: the first line must not begin with white space: it would continue the line before it"},
    {"smtp inet n - n - - smptd", "1: error: service smtp: there is no program \"smptd\"; did you mean smtpd?"},
    {SMTP "x unix - n n - - policyd", "2: warning: service x: \"policyd\" is no program of Postfix: it is not started"},
    {"smtp inet n - n - - smtpd\n  -o { a = b\n", "2: error: a } is missing after \"{ a = b\""},
    {"smtp inet n - n - - smtpd -o a={b", "1: error: a } is missing after \"a={b\""},
    {"smtp inet n - n - - smtpd\n  -o {a=b}c", "2: error: text after the } of \"{a=b}c\""},
    {"smtp inet n - n - - smtpd -o", "1: error: service smtp: nothing follows -o"},
    {"smtp inet n - n - - smtpd\n  -o name = value",
     "2: error: service smtp: -o name: name=value is expected, or { name = value } where there is white space in it"},
    {"smtp inet n - n - - smtpd -o =x",
     "1: error: service smtp: -o =x: name=value is expected, or { name = value } where there is white space in it"},
    {"smtp inet n - n - - smtpd\n  -o smtpd_client_restrictions=permit_mynetworks, reject",
     "2: error: service smtp: unexpected \"reject\": a value with white space in it is written -o { name = value }"},
    {"smtp inet n - n - - smtpd -x", "1: error: service smtp: unknown option -x: there are -o and -v"},
    {"x unix" STOCK "discard now",
     "1: error: service x: unexpected \"now\": a value with white space in it is written -o { name = value }"},
    {"p unix" STOCK "pipe flag=D argv=/c", "1: error: service p: unknown attribute flag of pipe; did you mean flags=?"},
    {"p unix" STOCK "pipe\n  /usr/bin/true",
     "2: error: service p: unknown attribute /usr/bin/true of pipe: the command begins with argv="},
    {"p unix" STOCK "pipe chroot=/d argv=/c",
     "1: error: service p: chroot= is not supported: the command would see all files"},
    {"a/b unix" STOCK "discard",
     "1: error: service a/b: this is no name for a transport: letters, digits, '_', '-' and '.'"},
    {"smtp inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd",
     "1: warning: service smtp: postscreen is not supported, and nothing listens here; to take mail in without it, "
     "write smtpd in its place"},
    {"smtp inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd",
     "2: warning: service smtpd: its clients come from postscreen, which is not supported; smtpd takes them itself as "
     "a "
     "service of type inet"},
    {"smtp unix n - n - - smtpd",
     "1: warning: service smtp: a server on a UNIX-domain socket is not supported; smtpd is a service of type inet"},
    {"24 inet n - n - - lmtp", "1: warning: service 24: a delivery agent is a service of type unix"},
    {"628 inet n - n - - qmqpd", "1: warning: service 628: QMQP is not supported; clients have to use SMTP"},
    {"policy unix - n n - 0 spawn\n  user=nobody argv=/usr/bin/policyd-spf",
     "1: warning: service policy: spawn is not supported; start the program by systemd, and give its socket where this "
     "service is named"},
    /* what built-in parts were to do */
    {"cleanup unix n - n - 0 cleanup\n  -o header_checks=regexp:/x",
     "2: warning: service cleanup: -o header_checks is not supported: cleanup is built in, without options of its own"},
    {"cleanup unix n - n - 0 cleanup\nauthclean unix n - n - 0 cleanup -o syslog_name=x -o header_checks=",
     "2: warning: service authclean: one more cleanup is not supported: mail goes through the one that is built in"},
    /* columns without a meaning, said once */
    {"qmgr unix n - y - - qmgr\nsmtp inet n - y - - smtpd\n25 inet n - y - - smtpd",
     "2: warning: the column chroot has no effect: paths are those of the whole system"},
    {"smtp inet n - n - 20 smtpd\nsubmission inet n - n - 20 smtpd",
     "1: warning: the column maxproc of smtpd has no effect: sessions are no processes"},
    /* what the sections' own checks say, at their lines */
    {"smtp inet n - n - - smtpd\n  -o smtpd_timeot=1s",
     "2: warning: unused parameter smtpd_timeot; did you mean smtpd_timeout?"},
    {"smtp inet n - n - - smtpd\n  -o smtpd_timeout=soon",
     "2: error: smtpd_timeout: \"soon\" is not a time: a number and one of s, m, h, d, w"},
    {"smtp inet n - n - - smtpd\n  -o smtpd_banner=$bannner",
     "2: warning: smtpd_banner: $bannner is not set anywhere and stands for nothing"},
    {"smpt inet n - n - - smtpd",
     "1: error: listener smpt: the port is neither a number from 1 to 65535 nor the name of a service such as smtp, "
     "submission, smtps in \"smpt\""},
    {SMTP "25 inet n - n - - smtpd", "2: error: listener 25: listener smtp listens on 0.0.0.0 port 25 already"},
    {SMTP "x unix" STOCK "discard\n  -o syslog_name=postfix/$service_name",
     "3: warning: transport x: -o syslog_name is not supported yet: it has no effect"},
    {SMTP "x unix" STOCK "discard\n  -o smtp_bind_adress=::1",
     "3: warning: transport x: unused parameter smtp_bind_adress; did you mean smtp_bind_address?"},
    {SMTP "p unix" STOCK "pipe flags=Z\n  user=no-such-user argv=/bin/true",
     "3: warning: transport p: user: there is no user \"no-such-user\": its mail is deferred"},
    {SMTP "p unix" STOCK "pipe flags=Z user=nobody argv=/bin/true",
     "2: error: transport p: unknown flag \"Z\": there are DORXhuqFB.>"},
    {SMTP "p unix" STOCK "pipe\n  user=root argv=/bin/true",
     "3: error: transport p: user: a command never runs as root or with its group"},
    /* protections that are not there yet */
    {SMTP "26 inet n - n - - smtpd\n  -o content_filter=scan:x",
     "3: warning: listener 26 is not opened: content_filter = scan:x is not supported yet: mail would be delivered "
     "without having been filtered"},
    {SMTP "26 inet n - n - - smtpd\n  -o smtpd_milters=inet:x:1",
     "3: warning: smtpd_milters: listener 26 is not opened: milters are not supported yet, and mail is to be let in "
     "without them only with milter_default_action = accept"},
    {"smtp inet n - n - - smtpd -o content_filter=scan:x", "0: warning: there is no listener: no mail can come in"},
};

static void every_complaint(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(complaints); i++) {
        struct fixture f;

        fixture_open_postfix(&f, "", complaints[i].master);
        fixture_expect(&f, complaints[i].complaint);
        for (size_t k = 0; k < f.report.n; k++)
            if (f.report.items[k].line > 0)
                assert_string_equal(f.report.items[k].file, "DIR/master.cf");
        fixture_close(&f);
    }
}

static void a_column_is_told_once(void **state)
{
    struct fixture f;
    unsigned n = 0;

    (void)state;
    fixture_open_postfix(&f, "", "smtp inet n - y - 5 smtpd\n26 inet n - y - 5 smtpd\nx unix - - y - - discard\n");
    for (size_t i = 0; i < f.report.n; i++)
        n += strstr(f.report.items[i].text, "column") != NULL;
    assert_int_equal(n, 2);
    fixture_close(&f);
}

/* ---- the snapshot ---- */

/* A listener that demands what is missing is closed, the others are open; theirs are the places and the names. */
static void listeners_of_a_directory(void **state)
{
    struct fixture f;
    struct conf_place place;

    (void)state;
    fixture_open_postfix(&f, "inet_protocols = ipv4\n",
                         SMTP "26 inet n - n - - smtpd\n  -o content_filter=scan:x\n"
                              "127.0.0.1:10025 inet n - n - - smtpd\n  -o smtpd_banner=$myhostname\n"
                              "  -o syslog_name=postfix/$service_name\n");
    assert_non_null(f.conf);
    assert_int_equal(f.conf->nlisteners, 2);
    assert_string_equal(f.conf->listeners[0].listen[0].host, "0.0.0.0");
    assert_int_equal(f.conf->listeners[0].listen[0].port, 25);
    assert_string_equal(f.conf->listeners[1].name, "127.0.0.1:10025");
    assert_string_equal(f.conf->listeners[1].listen[0].host, "127.0.0.1");
    assert_int_equal(f.conf->listeners[1].listen[0].port, 10025);
    assert_string_equal(f.conf->listeners[1].conf->smtpd_banner, "mail.example.org");
    assert_string_equal(f.conf->listeners[1].conf->syslog_name, "postfix/127.0.0.1:10025");
    assert_true(conf_where(f.conf->listeners[1].conf, SLICE_LIT("smtpd_banner"), &place));
    assert_string_equal(place.file, "DIR/master.cf");
    assert_int_equal(place.line, 5);
    assert_string_equal(f.conf->config_directory, "DIR");
    fixture_close(&f);
}

/* A name that only the list of services knows. */
static void port_from_the_list_of_services(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_postfix(&f, "inet_protocols = ipv4\n", "127.0.0.1:https inet n - n - - smtpd\n");
    assert_non_null(f.conf);
    assert_int_equal(f.conf->listeners[0].listen[0].port, 443);
    fixture_close(&f);
}

/* In main.cf a demand is one of all listeners: that is an error, as it is in an mta.conf. */
static void demand_in_main_cf(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_postfix(&f, "content_filter = scan:x\n", SMTP);
    assert_null(f.conf);
    fixture_expect(&f, "2: error: content_filter = scan:x is not supported yet: mail would be delivered without having "
                       "been filtered");
    fixture_close(&f);
}

static void sections_in_main_cf(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_postfix(&f, "[listener a]\nlisten = :25\n", SMTP);
    fixture_expect(&f, "2: error: \"[listener a]\": there are no sections in Postfix's main.cf; its services are in "
                       "master.cf");
    fixture_close(&f);
}

/* What a main.cf means that does not say: Postfix's defaults of long ago, under which nothing keeps strangers out. */
static void no_compatibility_level(void **state)
{
    struct fixture f = {0};

    (void)state;
    fixture_machine(&f.machine, "mail.example.org");
    conf_parse_postfix(SLICE_LIT("smtpd_relay_restrictions = reject_unauth_destination\n"), slice_str(SMTP),
                       "/etc/postfix", &f.source, &f.report);
    f.conf = conf_build_snapshot(&f.source, &f.machine, &f.report);
    assert_non_null(f.conf);
    assert_string_equal(f.conf->compatibility_level, "0");
    assert_true(f.conf->append_dot_mydomain);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(services_become_sections),
        cmocka_unit_test(every_complaint),
        cmocka_unit_test(a_column_is_told_once),
        cmocka_unit_test(listeners_of_a_directory),
        cmocka_unit_test(port_from_the_list_of_services),
        cmocka_unit_test(demand_in_main_cf),
        cmocka_unit_test(sections_in_main_cf),
        cmocka_unit_test(no_compatibility_level),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

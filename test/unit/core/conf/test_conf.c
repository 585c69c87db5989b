/* From text to snapshot: fields, listeners and their views, transports, references. */
#include "unit/core/conf/conf_fixture.h"

#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

static void defaults(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_good(&f, "");
    assert_string_equal(f.conf->myhostname, "mail.example.org");
    assert_string_equal(f.conf->mydomain, "example.org");
    assert_string_equal(f.conf->myorigin, "mail.example.org");
    assert_string_equal(f.conf->mydestination, "mail.example.org, localhost.example.org, localhost");
    assert_string_equal(f.conf->mynetworks, "127.0.0.1/32 192.0.2.77/32 [::1]/128 [2001:db8::7]/128");
    assert_string_equal(f.conf->smtpd_forbid_bare_newline_exclusions, f.conf->mynetworks);
    assert_string_equal(f.conf->smtpd_banner, "mail.example.org ESMTP Postfix");
    assert_string_equal(f.conf->smtpd_relay_restrictions,
                        "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination");
    assert_string_equal(f.conf->relay_domains, "");
    assert_string_equal(f.conf->virtual_alias_maps, "");
    assert_string_equal(f.conf->syslog_name, "postfix");
    assert_string_equal(f.conf->config_directory, ".");
    assert_int_equal(f.conf->smtpd_timeout_ms, 300000);
    assert_int_equal(f.conf->smtpd_hard_error_limit, 20);
    assert_int_equal(f.conf->maximal_queue_lifetime_ms, 5 * 86400000);
    assert_int_equal(f.conf->smtpd_forbid_bare_newline, CONF_BARE_NEWLINE_NORMALIZE);
    assert_false(f.conf->append_dot_mydomain);
    assert_true(f.conf->smtputf8_enable);
    fixture_close(&f);
}

/* A name without a dot becomes fully qualified as in Postfix, with a warning. */
static void unqualified_machine(void **state)
{
    struct fixture f = {0};

    (void)state;
    fixture_machine(&f.machine, "vm");
    conf_parse_text(SLICE_LIT(""), "t.conf", &f.source, &f.report);
    f.conf = conf_build_snapshot(&f.source, &f.machine, &f.report);
    assert_non_null(f.conf);
    assert_string_equal(f.conf->myhostname, "vm.localdomain");
    assert_string_equal(f.conf->mydomain, "localdomain");
    fixture_expect(
        &f, "0: warning: myhostname: it is not set, and this machine's own name has no domain: using vm.localdomain");
    fixture_close(&f);
}

static const struct {
    const char *settings, *mynetworks;
} networks[] = {
    {"mynetworks_style = subnet", "127.0.0.0/8 192.0.2.0/25 [::1]/128 [2001:db8::]/64"},
    {"mynetworks_style = class", "127.0.0.0/8 192.0.2.0/24 [::1]/128 [2001:db8::]/64"},
    {"compatibility_level = 1", "127.0.0.0/8 192.0.2.0/25 [::1]/128 [2001:db8::]/64"},
    {"inet_protocols = ipv4", "127.0.0.1/32 192.0.2.77/32"},
    {"inet_protocols = ipv6", "[::1]/128 [2001:db8::7]/128"},
    {"inet_interfaces = loopback-only", "127.0.0.1/32 [::1]/128"},
    {"inet_interfaces = 192.0.2.77\nmynetworks_style = subnet", "192.0.2.0/25"},
    {"mynetworks = 10.0.0.0/8", "10.0.0.0/8"},
};

static void networks_by_style(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        struct fixture f;

        fixture_open_good(&f, networks[i].settings);
        assert_string_equal(f.conf->mynetworks, networks[i].mynetworks);
        fixture_close(&f);
    }
}

static void compatibility_levels(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_good(&f, "compatibility_level = 0\nsmtpd_relay_restrictions = reject_unauth_destination\n");
    assert_true(f.conf->append_dot_mydomain);
    assert_false(f.conf->smtputf8_enable);
    assert_false(f.conf->smtpd_relay_before_recipient_restrictions);
    assert_string_equal(f.conf->relay_domains, f.conf->mydestination);
    fixture_close(&f);
}

static void origin_from_a_file(void **state)
{
    char path[] = "/tmp/mta-origin-XXXXXX", text[200];
    int fd = mkstemp(path);
    struct fixture f;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "  origin.example \nsecond\n", 25), 25);
    close(fd);
    snprintf(text, sizeof text, "myorigin = %s\nmasters = $myorigin\nsmtpd_discard_ehlo_keywords = $masters\n", path);
    fixture_open_good(&f, text);
    assert_string_equal(f.conf->myorigin, "origin.example");
    assert_string_equal(f.conf->smtpd_discard_ehlo_keywords, "origin.example");
    fixture_close(&f);
    assert_int_equal(truncate(path, 0), 0);
    fixture_open(&f, text);
    assert_null(f.conf);
    snprintf(text, sizeof text, "1: error: myorigin: the first line of %s is empty", path);
    fixture_expect(&f, text);
    assert_int_equal(f.report.nerrors, 1); /* said once, though smtpd_discard_ehlo_keywords depends on it */
    fixture_close(&f);
    unlink(path);
}

/* ---- listeners ---- */

static const struct {
    const char *settings;
    const char *places; /* of all listeners */
} listens[] = {
    {"", "smtp 0.0.0.0 25;smtp :: 25;"},
    {"inet_protocols = ipv4", "smtp 0.0.0.0 25;"},
    {"inet_protocols = ipv6", "smtp :: 25;"},
    {"inet_interfaces = loopback-only", "smtp 127.0.0.1 25;smtp ::1 25;"},
    {"inet_interfaces = 192.0.2.9, [2001:db8::9]", "smtp 192.0.2.9 25;smtp 2001:db8::9 25;"},
    {"inet_interfaces = 192.0.2.9\n[listener a]\nlisten = :2525", "a 192.0.2.9 2525;"},
    {"inet_interfaces = 192.0.2.9\n[listener a]\nlisten = *:2525", "a 0.0.0.0 2525;a :: 2525;"},
    {"[listener a]\nlisten = submission", "a 0.0.0.0 587;a :: 587;"},
    {"[listener a]\nlisten = 127.0.0.1:smtps [::1]:465", "a 127.0.0.1 465;a ::1 465;"},
    {"[listener a]\nlisten = 127.0.0.1:25, 127.0.0.1:25", "a 127.0.0.1 25;"},
    {"port = 2525\n[listener a]\nlisten = 127.0.0.1:$port", "a 127.0.0.1 2525;"},
    {"[listener a]\nlisten = [::1]:25\n[listener b]\nlisten = [::1]:26", "a ::1 25;b ::1 26;"},
    {"[listener a]\nlisten = :25\ninet_interfaces = 127.0.0.1", "a 127.0.0.1 25;"},
};

static void places_to_listen(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(listens); i++) {
        struct fixture f;
        struct buf out = {0};

        fixture_open_good(&f, listens[i].settings);
        for (size_t l = 0; l < f.conf->nlisteners; l++)
            for (size_t k = 0; k < f.conf->listeners[l].nlisten; k++)
                buf_printf(&out, "%s %s %u;", f.conf->listeners[l].name, f.conf->listeners[l].listen[k].host,
                           f.conf->listeners[l].listen[k].port);
        assert_string_equal(buf_cstr(&out), listens[i].places);
        buf_release(&out);
        fixture_close(&f);
    }
}

/* An override is seen by everything that depends on it, in this listener only. */
static void a_listener_has_its_own_view(void **state)
{
    struct fixture f;
    const struct conf *view;

    (void)state;
    fixture_open_good(&f, "smtpd_timeout = 10\nmydestination = $myhostname\n"
                          "[listener smtp]\nlisten = :25\n"
                          "[listener submission]\nlisten = :587\nmyhostname = submit.example.net\n"
                          "syslog_name = postfix/submission\nsmtpd_timeout = 20\n"
                          "smtpd_recipient_restrictions=permit_sasl_authenticated,reject\n"
                          "[transport t]\ntype = discard\n");
    assert_int_equal(f.conf->nlisteners, 2);
    view = f.conf->listeners[1].conf;
    assert_int_equal(f.conf->listeners[1].line, 5);
    assert_string_equal(f.conf->listeners[1].file, "t.conf");
    assert_string_equal(view->syslog_name, "postfix/submission");
    assert_string_equal(view->smtpd_banner, "submit.example.net ESMTP Postfix");
    assert_string_equal(view->mydestination, "submit.example.net");
    assert_string_equal(view->mydomain, "example.net");
    assert_int_equal(view->smtpd_timeout_ms, 20000);
    assert_int_equal(view->nlisteners, 2);
    assert_ptr_equal(view->transports, f.conf->transports);
    assert_int_equal(f.conf->listeners[0].conf->smtpd_timeout_ms, 10000);
    assert_string_equal(f.conf->listeners[0].conf->syslog_name, "postfix");
    assert_string_equal(f.conf->mydestination, "mail.example.org");
    fixture_close(&f);
}

/* A session keeps its listener's view while the snapshot itself is replaced. */
static void a_view_keeps_the_snapshot(void **state)
{
    struct fixture f;
    const struct conf *session;

    (void)state;
    fixture_open_good(&f, "[listener a]\nlisten = :25\nsmtpd_banner = mail.example.org a\n");
    session = conf_ref(f.conf->listeners[0].conf);
    fixture_close(&f);
    assert_string_equal(session->smtpd_banner, "mail.example.org a");
    assert_string_equal(session->listeners[0].name, "a");
    conf_unref(&session);
    assert_null(session);
    conf_unref(&session);
}

static void places_of_settings(void **state)
{
    struct conf_place place = {"unset", 0};
    const struct conf *view;
    struct fixture f;

    (void)state;
    fixture_open_good(&f, "smtpd_timeout = 10\nx = 1\n[listener a]\nlisten = :25\nsmtpd_timeout = $x\n");
    view = f.conf->listeners[0].conf;
    assert_false(conf_where(f.conf, SLICE_LIT("smtpd_banner"), &place));
    assert_string_equal(place.file, "unset");
    assert_true(conf_where(f.conf, SLICE_LIT("smtpd_timeout"), &place));
    assert_string_equal(place.file, "t.conf");
    assert_int_equal(place.line, 1);
    assert_true(conf_where(view, SLICE_LIT("smtpd_timeout"), &place));
    assert_int_equal(place.line, 5);
    assert_true(conf_where(view, SLICE_LIT("x"), &place));
    assert_int_equal(place.line, 2);
    fixture_close(&f);
}

static void own_addresses(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_good(&f, "proxy_interfaces = 198.51.100.5\n");
    assert_int_equal(f.conf->nown_addresses, 5);
    assert_true(conf_is_own_address(f.conf, "127.0.0.1"));
    assert_true(conf_is_own_address(f.conf, "198.51.100.5"));
    assert_true(conf_is_own_address(f.conf, "2001:DB8:0::7"));
    assert_false(conf_is_own_address(f.conf, "198.51.100.6"));
    assert_false(conf_is_own_address(f.conf, "mail.example.org"));
    fixture_close(&f);
    fixture_open_good(&f, "inet_interfaces = 192.0.2.9\n");
    assert_true(conf_is_own_address(f.conf, "192.0.2.9"));
    assert_false(conf_is_own_address(f.conf, "127.0.0.1"));
    fixture_close(&f);
}

/* ---- transports ---- */

static void builtin_transports(void **state)
{
    struct fixture f;
    const struct conf_transport *t;

    (void)state;
    fixture_open_good(
        &f, "command_time_limit = 10\nvirtual_destination_concurrency_limit = 3\ndefault_process_limit = 7\n");
    assert_int_equal(f.conf->ntransports, 7);
    assert_int_equal(conf_transport_find(f.conf, "error")->type, CONF_TRANSPORT_TYPE_ERROR);
    assert_int_equal(conf_transport_find(f.conf, "retry")->type, CONF_TRANSPORT_TYPE_RETRY);
    assert_int_equal(conf_transport_find(f.conf, "discard")->type, CONF_TRANSPORT_TYPE_DISCARD);
    t = conf_transport_find(f.conf, "virtual");
    assert_int_equal(t->type, CONF_TRANSPORT_TYPE_MAILDIR);
    assert_true(t->usable);
    assert_int_equal(t->destination_recipient_limit, 50);
    assert_int_equal(t->destination_concurrency_limit, 3);
    assert_int_equal(t->initial_destination_concurrency, 5);
    assert_int_equal(t->time_limit_ms, 10000);
    assert_int_equal(t->maxproc, 7);
    assert_int_equal(t->line, 0);
    assert_null(conf_transport_find(f.conf, ""));
    fixture_close(&f);
}

static void pipe_transport(void **state)
{
    struct fixture f;
    const struct conf_transport *t;
    struct passwd nobody = *getpwnam("nobody");

    (void)state;
    fixture_open_good(&f, "sender = not this one\ndovecot_destination_recipient_limit = 1\ndovecot_time_limit = 1m\n"
                          "spool = /var/spool\n"
                          "[transport dovecot]\ntype = pipe\nflags=DRhu user=x\nflags = DRhu.>q\nuser = nobody\n"
                          "argv = cat -f ${sender} $$ -d ${user}@${nexthop} { a b }\n"
                          "eol = \\r\\n\\040\\\\\nsize = 1000\nnull_sender =\ndirectory = $spool/x\nmaxproc = 3\n");
    t = conf_transport_find(f.conf, "dovecot");
    assert_non_null(t);
    assert_int_equal(t->type, CONF_TRANSPORT_TYPE_PIPE);
    assert_string_equal(t->argv, "cat -f ${sender} $$ -d ${user}@${nexthop} { a b }");
    assert_int_equal(t->pipe_flags, CONF_PIPE_FLAG_DELIVERED_TO | CONF_PIPE_FLAG_RETURN_PATH |
                                        CONF_PIPE_FLAG_FOLD_DOMAIN | CONF_PIPE_FLAG_FOLD_USER | CONF_PIPE_FLAG_DOT |
                                        CONF_PIPE_FLAG_QUOTE_FROM | CONF_PIPE_FLAG_QUOTE);
    assert_true(t->has_user);
    assert_int_equal(t->uid, nobody.pw_uid);
    assert_int_equal(t->gid, nobody.pw_gid);
    assert_int_equal(t->pipe_eol_len, 4);
    assert_memory_equal(t->pipe_eol, "\r\n \\", 4);
    assert_int_equal(t->size, 1000);
    assert_string_equal(t->null_sender, "");
    assert_string_equal(t->directory, "/var/spool/x");
    assert_int_equal(t->maxproc, 3);
    assert_int_equal(t->destination_recipient_limit, 1);
    assert_int_equal(t->time_limit_ms, 60000);
    assert_int_equal(t->line, 5);
    fixture_close(&f);
}

static void each_flag_has_its_bit(void **state)
{
    static const struct {
        char letter;
        unsigned bit;
    } flags[] = {
        {'D', CONF_PIPE_FLAG_DELIVERED_TO}, {'O', CONF_PIPE_FLAG_ORIGINAL_TO}, {'R', CONF_PIPE_FLAG_RETURN_PATH},
        {'X', CONF_PIPE_FLAG_FINAL},        {'h', CONF_PIPE_FLAG_FOLD_DOMAIN}, {'u', CONF_PIPE_FLAG_FOLD_USER},
        {'q', CONF_PIPE_FLAG_QUOTE},        {'F', CONF_PIPE_FLAG_FROM_LINE},   {'B', CONF_PIPE_FLAG_BLANK_LINE},
        {'.', CONF_PIPE_FLAG_DOT},          {'>', CONF_PIPE_FLAG_QUOTE_FROM}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        struct fixture f;
        char text[200];

        snprintf(text, sizeof text, "[transport p]\ntype = pipe\nuser = nobody\nargv = cat\nflags = %c\n",
                 flags[i].letter);
        fixture_open_good(&f, text);
        assert_int_equal(conf_transport_find(f.conf, "p")->pipe_flags, flags[i].bit);
        fixture_close(&f);
    }
}

static void a_section_replaces_a_builtin(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_good(&f, "[transport virtual]\ntype = discard\n");
    assert_int_equal(f.conf->ntransports, 7);
    assert_int_equal(conf_transport_find(f.conf, "virtual")->type, CONF_TRANSPORT_TYPE_DISCARD);
    fixture_close(&f);
}

/* ---- files ---- */

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "re");
    struct buf text = {0};
    char block[4096], *copy;
    size_t n;

    assert_non_null(f);
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_add(&text, block, n);
    fclose(f);
    copy = strdup(buf_cstr(&text));
    buf_release(&text);
    return copy;
}

/* The file at the top of the tree that this test was compiled from. */
static const char *example_path(void)
{
    static char path[1000];
    const char *tree_end = strstr(__FILE__, "test/unit/");

    assert_non_null(tree_end);
    snprintf(path, sizeof path, "%.*smta.conf.example", (int)(tree_end - __FILE__), __FILE__);
    return path;
}

/* The example loads without an error, and is about the tutorial's set-up. The user need not exist on this machine. */
static void the_example_loads(void **state)
{
    char *text = read_file(example_path()), *user = strstr(text, "vmail:vmail");
    struct fixture f;

    (void)state;
    assert_non_null(user);
    memcpy(user, "nobody     ", 11);
    fixture_open_good(&f, text);
    assert_int_equal(conf_transport_find(f.conf, "dovecot")->destination_recipient_limit, 1);
    assert_string_equal(f.conf->virtual_transport, "dovecot");
    for (size_t i = 0; i < f.report.n; i++)
        if (strstr(f.report.items[i].text, "not supported yet") == NULL &&
            strstr(f.report.items[i].text, "cannot be run") == NULL)
            fail_msg("%d: %s", f.report.items[i].line, f.report.items[i].text);
    fixture_close(&f);
    free(text);
}

static void load_reads_the_machine(void **state)
{
    char path[] = "/tmp/mta-conf-XXXXXX";
    int fd = mkstemp(path);
    struct conf_report report = {0};
    const struct conf *conf;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "mydomain = d.example\n", 21), 21);
    close(fd);
    conf = conf_load(path, &report);
    assert_non_null(conf);
    assert_string_equal(conf->path, path);
    assert_string_equal(conf->config_directory, "/tmp");
    assert_true(conf->myhostname[0] != '\0');
    assert_true(conf_is_own_address(conf, "127.0.0.1"));
    conf_unref(&conf);
    assert_null(conf_load("/nonexistent", &report));
    assert_int_equal(report.nerrors, 1);
    conf_report_clear(&report);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(unqualified_machine),
        cmocka_unit_test(networks_by_style),
        cmocka_unit_test(compatibility_levels),
        cmocka_unit_test(origin_from_a_file),
        cmocka_unit_test(places_to_listen),
        cmocka_unit_test(a_listener_has_its_own_view),
        cmocka_unit_test(a_view_keeps_the_snapshot),
        cmocka_unit_test(places_of_settings),
        cmocka_unit_test(own_addresses),
        cmocka_unit_test(builtin_transports),
        cmocka_unit_test(pipe_transport),
        cmocka_unit_test(each_flag_has_its_bit),
        cmocka_unit_test(a_section_replaces_a_builtin),
        cmocka_unit_test(the_example_loads),
        cmocka_unit_test(load_reads_the_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

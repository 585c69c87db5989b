/* `mta config show`: what is expected is what postconf of Postfix 3.7 prints for the same file. */
#include "unit/core/conf/conf_fixture.h"

#include <stdlib.h>
#include <unistd.h>

struct shown {
    char *out, *err;
    int status;
};

static struct shown show(const char *path, enum conf_show_mode mode, const char *const *names, size_t n)
{
    struct shown s = {0};
    size_t size;
    FILE *out = open_memstream(&s.out, &size), *err = open_memstream(&s.err, &size);

    s.status = conf_show(path, mode, names, n, out, err);
    fclose(out);
    fclose(err);
    return s;
}

static void shown_free(struct shown *s)
{
    free(s->out);
    free(s->err);
}

static void write_file(char *path, const char *text)
{
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static const char file[] = "smtpd_banner = $myhostname\n   and \t more\n"
                           "mydestination =\n"
                           "friends = $others\n"
                           "others = 1\n"
                           "smtpd_client_restrictions = $friends\n"
                           "unused = 1\n"
                           "relayhost = [r.example]\n"
                           "virtual_destination_recipient_limit = 1\n"
                           "other_destination_recipient_limit = 1\n"
                           "p_time_limit = 7s\n"
                           "smtpd_timeout = nonsense\n"
                           "[transport p]\ntype = discard\n";

static const struct {
    enum conf_show_mode mode;
    const char *names[4];
    const char *out, *err;
} cases[] = {
    {CONF_SHOW_ALL,
     {"smtpd_banner", "mydomain", "smtpd_banner"},
     "smtpd_banner = $myhostname and more\nmydomain = example.org\nsmtpd_banner = $myhostname and more\n",
     ""},
    {CONF_SHOW_ALL, {"mydestination", "friends"}, "mydestination =\nfriends = $others\n", ""},
    {CONF_SHOW_ALL, {"nosuch"}, "", "mta: warning: nosuch: unknown parameter\n"},
    {CONF_SHOW_ALL, {"nosuch", "mail_name"}, "mail_name = Postfix\n", "mta: warning: nosuch: unknown parameter\n"},
    {CONF_SHOW_ALL, {"unused"}, "", "mta: warning: unused: unknown parameter\n"},
    {CONF_SHOW_ALL, {"relayhost"}, "relayhost = [r.example]\n", ""},
    {CONF_SHOW_ALL, {"smtpd_milters"}, "", "mta: warning: smtpd_milters: not supported yet: milters\n"},
    {CONF_SHOW_DEFAULTS, {"smtpd_milters"}, "", "mta: warning: smtpd_milters: not supported yet: milters\n"},
    {CONF_SHOW_ALL,
     {"content_filter"},
     "",
     "mta: warning: content_filter: not supported yet: without it mail would be delivered without having been "
     "filtered\n"},
    {CONF_SHOW_ALL,
     {"alias_database"},
     "",
     "mta: warning: alias_database: no parameter here: the text of an alias file is read, and noticed when it "
     "changes\n"},
    {CONF_SHOW_ALL,
     {"fork_delay"},
     "",
     "mta: warning: fork_delay: means nothing here: everything runs in one process\n"},
    {CONF_SHOW_ALL,
     {"qmqpd_timeout"},
     "",
     "mta: warning: qmqpd_timeout: not supported: QMQP is not spoken: use SMTP\n"},
    {CONF_SHOW_ALL,
     {"p_transport_rate_delay", "p_recipient_limit"},
     "p_transport_rate_delay = $default_transport_rate_delay\n",
     "mta: warning: p_recipient_limit: means nothing here: the scheduler needs no such tuning\n"},
    {CONF_SHOW_ALL,
     {"smtpd_tiemout"},
     "",
     "mta: warning: smtpd_tiemout: unknown parameter; did you mean smtpd_timeout?\n"},
    {CONF_SHOW_ALL,
     {"milter_protocl"},
     "",
     "mta: warning: milter_protocl: unknown parameter; did you mean milter_protocol?\n"},
    {CONF_SHOW_ALL,
     {"p_time_limit", "p_destination_recipient_limit"},
     "p_time_limit = 7s\np_destination_recipient_limit = $default_destination_recipient_limit\n",
     ""},
    {CONF_SHOW_ALL, {"smtpd_timeout"}, "smtpd_timeout = nonsense\n", ""},
    {CONF_SHOW_SET, {"mail_name", "smtpd_banner"}, "smtpd_banner = $myhostname and more\n", ""},
    {CONF_SHOW_SET,
     {NULL},
     "friends = $others\nmydestination =\nmydomain = example.org\nothers = 1\np_time_limit = 7s\nrelayhost = "
     "[r.example]\n"
     "smtpd_banner = $myhostname and more\nsmtpd_client_restrictions = $friends\nsmtpd_timeout = nonsense\n"
     "virtual_destination_recipient_limit = 1\n",
     ""},
    {CONF_SHOW_DEFAULTS,
     {"smtpd_banner", "smtpd_timeout", "mydestination"},
     "smtpd_banner = $myhostname ESMTP $mail_name\nsmtpd_timeout = ${stress?{10}:{300}}s\n"
     "mydestination = $myhostname, localhost.$mydomain, localhost\n",
     ""},
    {CONF_SHOW_DEFAULTS, {"friends"}, "", "mta: warning: friends: unknown parameter\n"},
};

static void shows(void **state)
{
    char path[] = "/tmp/mta-show-XXXXXX", unused[300], text[sizeof file + 100];

    (void)state;
    snprintf(text, sizeof text, "mydomain = example.org\n%s", file);
    write_file(path, text);
    snprintf(unused, sizeof unused,
             "mta: warning: %s: unused parameter: unused=1\n"
             "mta: warning: %s: unused parameter: other_destination_recipient_limit=1\n",
             path, path);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char err[600];
        size_t n = 0;
        struct shown s;

        while (n < 4 && cases[i].names[n] != NULL)
            n++;
        s = show(path, cases[i].mode, cases[i].names, n);
        snprintf(err, sizeof err, "%s%s", cases[i].err, cases[i].mode == CONF_SHOW_DEFAULTS ? "" : unused);
        assert_string_equal(s.out, cases[i].out);
        assert_string_equal(s.err, err);
        assert_int_equal(s.status, 0);
        shown_free(&s);
    }
    unlink(path);
}

static void errors_end_it(void **state)
{
    char path[] = "/tmp/mta-show-XXXXXX", wanted[200];
    struct shown s;

    (void)state;
    write_file(path, "mydomain x\n");
    s = show(path, CONF_SHOW_ALL, NULL, 0);
    snprintf(wanted, sizeof wanted, "%s:1: error: the = after the name is missing: \"mydomain x\"\n", path);
    assert_string_equal(s.out, "");
    assert_string_equal(s.err, wanted);
    assert_int_equal(s.status, 1);
    shown_free(&s);
    unlink(path);
    s = show(path, CONF_SHOW_ALL, NULL, 0);
    assert_int_equal(s.status, 1);
    shown_free(&s);
}

/* All rows, sorted, once each. */
static void defaults_are_all_there(void **state)
{
    struct shown s = show("/nonexistent", CONF_SHOW_DEFAULTS, NULL, 0);
    char before[200] = "";
    size_t n = 0;

    (void)state;
    assert_int_equal(s.status, 0);
    for (char *at = s.out, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        char name[200];

        assert_int_equal(sscanf(at, "%199[^ ] =", name), 1);
        assert_true(strcmp(before, name) < 0);
        strcpy(before, name);
        n++;
    }
    assert_int_equal(n, conf_nrows + conf_nbuiltins * conf_ndynamic_rows);
    shown_free(&s);
}

/* What is shown, read again, shows the same; and so do the snapshots made of it. */
static void show_load_show(void **state)
{
    static const enum conf_show_mode modes[] = {CONF_SHOW_ALL, CONF_SHOW_SET, CONF_SHOW_DEFAULTS};
    char first[] = "/tmp/mta-show-XXXXXX";

    (void)state;
    write_file(first, "mydomain = example.org\nmyhostname = mail.$mydomain\nmydestination = a, b,\n c\nx = "
                      "1\nsmtpd_timeout = ${x}0s\n");
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        char second[] = "/tmp/mta-show-XXXXXX";
        struct shown one = show(first, modes[i], NULL, 0), two;
        struct conf_report report = {0};
        const struct conf *conf;

        write_file(second, one.out);
        two = show(second, modes[i], NULL, 0);
        assert_string_equal(one.out, two.out);
        assert_string_equal(two.err, "");
        conf = conf_load(second, &report);
        assert_non_null(conf);
        assert_int_equal(conf->smtpd_timeout_ms, modes[i] == CONF_SHOW_DEFAULTS ? 300000 : 10000);
        conf_unref(&conf);
        conf_report_clear(&report);
        shown_free(&one);
        shown_free(&two);
        unlink(second);
    }
    unlink(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows),
        cmocka_unit_test(errors_end_it),
        cmocka_unit_test(defaults_are_all_there),
        cmocka_unit_test(show_load_show),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

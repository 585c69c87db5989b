/* A server's settings, and certificates that are renewed on disk: taken when they are good, complained of once if not.
 */
#include "unit/tls/tls_fixture.h"

static char log_text[8000];

static void keep(enum log_level level, const char *line, size_t n)
{
    size_t used = strlen(log_text);

    (void)level;
    if (used + n < sizeof log_text) {
        memcpy(log_text + used, line, n);
        log_text[used + n] = '\0';
    }
}

static unsigned times(const char *what)
{
    unsigned n = 0;

    for (const char *p = log_text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

static void settings_that_are_wrong_are_told(void **unused)
{
    static const struct {
        const char *setting, *complaint; /* without "warning: " there is no server */
    } cases[] = {
        {"smtpd_tls_protocols = TLSv1.1", "smtpd_tls_protocols: \"TLSv1.1\" leaves neither TLS 1.2 nor 1.3"},
        {"smtpd_tls_protocols = TLSv9", "smtpd_tls_protocols: \"TLSv9\" is not a TLS version"},
        {"smtpd_tls_security_level = encrypt\nsmtpd_tls_mandatory_protocols = TLSv9",
         "smtpd_tls_mandatory_protocols: "},
        {"smtpd_tls_exclude_ciphers = HIGH", "smtpd_tls_ciphers: no cipher is left"},
        {"smtpd_tls_exclude_ciphers = strange", "warning: smtpd_tls_ciphers: \"strange\" has no counterpart"},
        {"smtpd_tls_eecdh_grade = x", "smtpd_tls_eecdh_grade: "},
        {"smtpd_tls_fingerprint_digest = x", "smtpd_tls_fingerprint_digest: "},
        {"smtpd_tls_chain_files = /nonexistent", "smtpd_tls_chain_files: /nonexistent cannot be read"},
        {"smtpd_tls_cert_file = /nonexistent", "smtpd_tls_cert_file: /nonexistent cannot be read"},
        {"smtpd_tls_cert_file = none\nsmtpd_tls_eccert_file =", "smtpd_tls_cert_file: TLS needs a certificate"},
        {"smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = /nonexistent", "smtpd_tls_CAfile: /nonexistent cannot be read"},
        {"smtpd_tls_req_ccert = yes", "warning: smtpd_tls_req_ccert: where TLS is not mandatory"},
        {"smtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes", "warning: smtpd_tls_req_ccert: without"},
    };
    struct world w = world_make(certs(""));

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf err = {0};
        struct tls_server *s = world_server(&w, "smtp", certs(cases[i].setting), &err);

        assert_non_null(strstr(buf_cstr(&err), cases[i].complaint));
        assert_int_equal(s != NULL, cases[i].complaint[0] == 'w');
        tls_server_unref(&s);
        buf_release(&err);
    }
    world_end(&w);
}

/* ---- renewal ---- */

/* Swaps, as certbot does, what the links cert.pem and cert.key point to. */
static void point_to(const char *name)
{
    char command[400];

    snprintf(command, sizeof command,
             "cd %s && ln -s %s.pem new && mv -T new cert.pem && ln -s %s.key new && mv -T new cert.key", folder, name,
             name);
    assert_int_equal(system(command), 0);
}

static const char *linked(const char *more)
{
    static char text[1000];

    snprintf(text, sizeof text,
             "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s/cert.pem\nsmtpd_tls_key_file = %s/cert.key\n%s",
             folder, folder, more);
    return text;
}

/* Sessions until one of them gets this certificate: none of them fails. */
static void until_certificate(struct world *w, const char *cn)
{
    for (;;) {
        struct client c = {0};
        struct served s = session(w, &c);

        assert_string_equal(s.error, "");
        mbedtls_ssl_session_free(&c.session);
        if (strcmp(c.cn, cn) == 0)
            return;
    }
}

static void until_logged(struct world *w, const char *what)
{
    timer_start(w->loop, &w->tick, 5, wake, w);
    while (strstr(log_text, what) == NULL)
        loop_turn(w->loop);
    timer_stop(&w->tick);
}

static void renewed_certificates_are_taken_into_use(void **unused)
{
    struct world w;

    (void)unused;
    point_to("ec");
    log_text[0] = '\0';
    w = world_make(linked("tls_certificate_check_interval = 1s\n"));
    until_certificate(&w, "CN=ec.example, O=test");
    point_to("other");
    until_certificate(&w, "CN=other.example, O=test");
    assert_int_equal(times("the renewed certificate in "), 1);
    point_to("rsa");
    until_certificate(&w, "CN=rsa.example, O=test");
    world_end(&w);
}

static void bad_ones_are_complained_of_once(void **unused)
{
    struct client c = {0};
    struct served s;
    struct world w;

    (void)unused;
    point_to("ec");
    log_text[0] = '\0';
    w = world_make(linked("tls_certificate_check_interval = 1s\n"));
    unlink(in_folder("cert.key"));
    assert_int_equal(symlink("other.key", in_folder("cert.key")), 0);
    until_logged(&w, "the renewed certificate is not used: smtpd_tls_cert_file: the key in ");
    s = session(&w, &c);
    assert_string_equal(s.error, "");
    assert_string_equal(c.cn, "CN=ec.example, O=test");
    mbedtls_ssl_session_free(&c.session);
    point_to("expired");
    until_logged(&w, "is expired");
    assert_int_equal(times("the key in "), 1);
    point_to("other");
    until_certificate(&w, "CN=other.example, O=test");
    assert_int_equal(times("is not used"), 2);
    world_end(&w);
}

static void days_to_expiry_are_told(void **unused)
{
    static const struct {
        const char *name, *told;
    } cases[] = {{"ec", NULL}, {"days20", "expires in less than 20 days"}, {"days5", "expires in less than 5 days"}};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world w = {.loop = loop_new()};
        struct buf err = {0};

        point_to(cases[i].name);
        w.server = world_server(&w, "smtp", linked(""), &err);
        assert_non_null(w.server);
        if (cases[i].told == NULL)
            assert_string_equal(buf_cstr(&err), "");
        else
            assert_non_null(strstr(buf_cstr(&err), cases[i].told));
        buf_release(&err);
        world_end(&w);
    }
}

static int make_more(void **state)
{
    char command[2000];

    if (make_files(state) != 0)
        return 1;
    log_setup("postfix", "test", LOG_LEVEL_DEBUG, keep);
    snprintf(command, sizeof command,
             "cd %s && for n in days20:20 days5:5 expired:-1; do cp ec.key ${n%%:*}.key; done 2>/dev/null; "
             "openssl req -x509 -new -key ec.key -subj /CN=d -days 20 -out days20.pem && "
             "openssl req -x509 -new -key ec.key -subj /CN=d -days 5 -out days5.pem && "
             "openssl req -new -key ec.key -subj /CN=expired -out e.csr && : >index && "
             "printf '[ca]\\ndefault_ca=x\\n[x]\\ndatabase=index\\nnew_certs_dir=.\\nrand_serial=yes\\n"
             "default_md=sha256\\npolicy=p\\n[p]\\ncommonName=supplied\\n' >e.cnf && "
             "openssl ca -batch -notext -config e.cnf -selfsign -keyfile ec.key -startdate 20200101000000Z "
             "-enddate 20210101000000Z -in e.csr -out expired.pem 2>/dev/null",
             folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_that_are_wrong_are_told),
        cmocka_unit_test(renewed_certificates_are_taken_into_use),
        cmocka_unit_test(bad_ones_are_complained_of_once),
        cmocka_unit_test(days_to_expiry_are_told),
    };

    return cmocka_run_group_tests(tests, make_more, remove_files);
}

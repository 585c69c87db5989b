/* The server's handshake against a client of Mbed TLS: versions, certificates, tickets, failures of each kind. */
#include "unit/tls/tls_fixture.h"

#include "core/loop/work.h"

#define TLS12 MBEDTLS_SSL_VERSION_TLS1_2
#define TLS13 MBEDTLS_SSL_VERSION_TLS1_3

static void each_version_greets_and_ends_in_order(void **unused)
{
    static const int versions[] = {TLS12, TLS13};
    static const char *const names[] = {"TLSv1.2", "TLSv1.3"};
    struct world w = world_make(certs(""));

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct client c = {.min_version = versions[i], .max_version = versions[i], .sni = "Mail.example.com"};
        struct served s = session(&w, &c);

        assert_string_equal(s.error, "");
        assert_int_equal(s.status, OP_OK);
        assert_string_equal(s.protocol, names[i]);
        assert_string_equal(c.version, names[i]);
        assert_string_equal(s.sni, "mail.example.com");
        assert_int_equal(s.trust, TLS_PEER_ANONYMOUS);
        assert_string_equal(s.cn, "");
        assert_false(s.resumed);
        assert_string_equal(c.got, "hello\r\n");
        assert_true(c.ended);
        assert_int_equal(s.got, 5);
        mbedtls_ssl_session_free(&c.session);
    }
    world_end(&w);
}

static void versions_that_are_switched_off_are_refused(void **unused)
{
    static const struct {
        const char *setting;
        int version;
        const char *error;
    } cases[] = {
        {"smtpd_tls_protocols = >=TLSv1.3", TLS12, "no shared TLS version"},
        {"smtpd_tls_protocols = !TLSv1.3", TLS13, "no shared cipher (or TLS version, or group)"},
        {"smtpd_tls_protocols = TLSv1.2", TLS12, ""},
        {"smtpd_tls_protocols = !SSLv2, !SSLv3, !TLSv1, !TLSv1.1", TLS13, ""},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world w = world_make(certs(cases[i].setting));
        struct client c = {.min_version = cases[i].version, .max_version = cases[i].version};
        struct served s = session(&w, &c);

        assert_string_equal(s.error, cases[i].error);
        assert_int_equal(s.status, cases[i].error[0] == '\0' ? OP_OK : OP_TEMPFAIL);
        mbedtls_ssl_session_free(&c.session);
        world_end(&w);
    }
}

/* RSA or ECDSA, as the client can. */
static void the_certificate_suits_the_client(void **unused)
{
    static const int rsa_suite[] = {MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, 0};
    static const int ec_suite[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, 0};
    static const uint16_t rsa_signature[] = {MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA256, MBEDTLS_TLS1_3_SIG_NONE};
    static const uint16_t ec_signature[] = {MBEDTLS_TLS1_3_SIG_ECDSA_SECP256R1_SHA256, MBEDTLS_TLS1_3_SIG_NONE};
    static const struct {
        int version;
        const int *suites;
        const uint16_t *signature;
        const char *cn, *cipher;
    } cases[] = {
        {TLS12, rsa_suite, NULL, "CN=rsa.example, O=test", "ECDHE-RSA-AES256-GCM-SHA384"},
        {TLS12, ec_suite, NULL, "CN=ec.example, O=test", "ECDHE-ECDSA-AES128-SHA256"},
        {TLS13, NULL, rsa_signature, "CN=rsa.example, O=test", NULL},
        {TLS13, NULL, ec_signature, "CN=ec.example, O=test", NULL},
    };
    char chains[200];

    (void)unused;
    snprintf(chains, sizeof chains, "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s/both.all\n", folder);
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        size_t k = i / 2;
        struct world w = world_make(i % 2 == 0 ? certs("") : chains);
        struct client c = {.min_version = cases[k].version,
                           .max_version = cases[k].version,
                           .suites = cases[k].suites,
                           .sig_algs = cases[k].signature};
        struct served s = session(&w, &c);

        assert_string_equal(s.error, "");
        assert_string_equal(c.cn, cases[k].cn);
        if (cases[k].cipher != NULL)
            assert_string_equal(s.cipher, cases[k].cipher);
        mbedtls_ssl_session_free(&c.session);
        world_end(&w);
    }
}

/* ---- tickets ---- */

/* Comes again with what the session before left. */
static struct served again(struct world *w, struct client *before)
{
    struct client c = {.min_version = before->min_version, .max_version = before->max_version, .resuming = true};
    struct served s;

    c.resume = before->session;
    s = session(w, &c);
    assert_string_equal(s.error, "");
    mbedtls_ssl_session_free(&c.session);
    return s;
}

static void tickets_resume_at_the_same_listener_only(void **unused)
{
    static const int versions[] = {TLS12, TLS13};
    struct buf err = {0};

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct world w = world_make(certs(""));
        struct client c = {.min_version = versions[i], .max_version = versions[i]};
        struct tls_server *first = w.server, *other;
        struct served s = session(&w, &c);

        assert_false(s.resumed);
        s = again(&w, &c);
        assert_true(s.resumed);
        other = world_server(&w, "submission", certs(""), &err);
        assert_non_null(other);
        w.server = other;
        s = again(&w, &c);
        assert_false(s.resumed);
        tls_server_unref(&other);
        w.server = world_server(&w, "smtp", certs(""), &err); /* a reload */
        tls_server_unref(&first);
        s = again(&w, &c);
        assert_true(s.resumed);
        tls_server_unref(&w.server);
        w.server = world_server(&w, "smtp", certs("smtpd_tls_session_tickets = no"), &err);
        s = again(&w, &c);
        assert_false(s.resumed);
        mbedtls_ssl_session_free(&c.session);
        world_end(&w);
    }
    buf_release(&err);
}

/* ---- server names ---- */

struct table {
    struct loop *loop;
    unsigned asked;
    char name[100];
    const char *files;
    enum op_status status;
};

static void free_op(struct op *op)
{
    mem_free(op);
}

static void ask(void *arg, const char *name, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct table *t = arg;
    struct op *op = NEW(struct op);

    t->asked++;
    snprintf(t->name, sizeof t->name, "%s", name);
    op_start(op, t->loop, scope, "table", 0, done, owner, free_op);
    op_finish(op, t->status, t->files);
}

static void server_names_have_their_certificates(void **unused)
{
    static const int versions[] = {TLS12, TLS13};
    static const int ec_suites[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
                                    0};
    struct world w = world_make(certs(""));
    struct table t = {.loop = w.loop};

    (void)unused;
    w.opts.sni = ask;
    w.opts.sni_arg = &t;
    for (size_t i = 0; i < 2; i++) {
        static const struct {
            const char *name, *file, *cn, *error;
            enum op_status status;
            unsigned asked;
        } cases[] = {
            {"Other.example", "other.all", "CN=other.example, O=test", "", OP_OK, 1},
            {"other.example", "other.all", "CN=other.example, O=test", "", OP_OK, 1},
            {"unknown.example", "other.all", "CN=ec.example, O=test", "", OP_NOTFOUND, 1},
            {NULL, "other.all", "CN=ec.example, O=test", "", OP_OK, 0},
            {"a b", "other.all", "CN=ec.example, O=test", "", OP_OK, 0},
            {"down.example", "other.all", "", "tls_server_sni_maps cannot be asked for down.example", OP_TEMPFAIL, 1},
            {"missing.example", "missing.all", "", "tls_server_sni_maps: ", OP_OK, 1},
        };
        for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
            struct client c = {
                .min_version = versions[i], .max_version = versions[i], .suites = ec_suites, .sni = cases[k].name};
            struct served s;

            t.asked = 0;
            t.files = in_folder(cases[k].file);
            t.status = cases[k].status;
            s = session(&w, &c);
            assert_memory_equal(s.error, cases[k].error, strlen(cases[k].error));
            assert_int_equal(s.status, cases[k].error[0] == '\0' ? OP_OK : OP_TEMPFAIL);
            assert_int_equal(t.asked, cases[k].asked);
            if (cases[k].error[0] == '\0')
                assert_string_equal(c.cn, cases[k].cn);
            mbedtls_ssl_session_free(&c.session);
        }
    }
    assert_string_equal(t.name, "missing.example");
    world_end(&w);
}

/* ---- client certificates ---- */

static void client_certificates_are_asked_for_and_judged(void **unused)
{
    static const struct {
        const char *setting, *cert;
        enum tls_peer_trust trust;
        const char *cn, *why;
    } cases[] = {
        {"smtpd_tls_ask_ccert = no", "client", TLS_PEER_ANONYMOUS, "", ""},
        {"smtpd_tls_ask_ccert = yes", NULL, TLS_PEER_ANONYMOUS, "", ""},
        {"smtpd_tls_ask_ccert = yes", "client", TLS_PEER_TRUSTED, "client.example", ""},
        {"smtpd_tls_ask_ccert = yes", "stranger", TLS_PEER_UNTRUSTED, "stranger.example", "self-signed certificate"},
        {"smtpd_tls_req_ccert = yes", "stranger", TLS_PEER_UNTRUSTED, "stranger.example", "self-signed certificate"},
        {"smtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes", "stranger", TLS_PEER_UNTRUSTED,
         "stranger.example", "self-signed certificate"},
        {"smtpd_tls_ccert_verifydepth = 0\nsmtpd_tls_ask_ccert = yes", "client", TLS_PEER_TRUSTED, "client.example",
         ""},
        {"smtpd_tls_ask_ccert = yes", "below", TLS_PEER_TRUSTED, "below.example", ""},
        {"smtpd_tls_ccert_verifydepth = 0\nsmtpd_tls_ask_ccert = yes", "below", TLS_PEER_UNTRUSTED, "below.example",
         "certificate chain is too long or malformed"},
    };

    (void)unused;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        size_t k = i / 2;
        char more[300];
        struct world w;
        struct client c = {
            .min_version = i % 2 ? TLS13 : TLS12, .max_version = i % 2 ? TLS13 : TLS12, .cert = cases[k].cert};
        struct served s;

        snprintf(more, sizeof more, "%s\nsmtpd_tls_CAfile = %s/ca.pem\n", cases[k].setting, folder);
        w = world_make(certs(more));
        s = session(&w, &c);
        assert_string_equal(s.error, "");
        assert_int_equal(s.trust, cases[k].trust);
        assert_string_equal(s.cn, cases[k].cn);
        assert_string_equal(s.why, cases[k].why);
        if (s.trust == TLS_PEER_TRUSTED) {
            assert_string_equal(s.issuer, cases[k].cert[0] == 'b' ? "inter.example" : "ca.example");
        }
        if (s.trust == TLS_PEER_TRUSTED && cases[k].cert[0] == 'c') {
            assert_string_equal(s.print, file_text("client.print"));
            assert_string_equal(s.key_print, file_text("client.keyprint"));
        }
        mbedtls_ssl_session_free(&c.session);
        world_end(&w);
    }
}

/* ---- failures ---- */

static void what_is_no_tls_is_told(void **unused)
{
    static const struct {
        const char *sent, *error;
    } cases[] = {
        {"EHLO client.example\r\n", "the peer did not send TLS"},
        {"GET / HTTP/1.1\r\n\r\n", "the peer did not send TLS"},
        {"\x16\x03\x01\x01\xff\x01 and then this is not a hello at all", NULL},
        {"\x80\x2e\x01\x03\x01\x00\x15", "the peer did not send TLS"},
    };
    struct world w = world_make(certs(""));

    (void)unused;
    w.opts.timeout_ms = 300;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct client c = {.instead = cases[i].sent};
        struct served s = session(&w, &c);

        assert_int_equal(s.status, cases[i].error == NULL ? OP_TIMEOUT : OP_TEMPFAIL);
        assert_string_equal(s.error, cases[i].error == NULL ? "timed out" : cases[i].error);
    }
    world_end(&w);
}

static void who_says_nothing_times_out(void **unused)
{
    struct world w = world_make(certs(""));
    struct client c = {.silent = true};
    struct served s;

    (void)unused;
    w.opts.timeout_ms = 50;
    s = session(&w, &c);
    assert_int_equal(s.status, OP_TIMEOUT);
    assert_string_equal(s.error, "timed out");
    world_end(&w);
}

/* The client leaves after each number of bytes, in one version and the other. */
static void a_handshake_cut_anywhere_is_an_error(void **unused)
{
    static const int versions[] = {TLS12, TLS13};
    struct world w = world_make(certs(""));

    (void)unused;
    for (size_t i = 0; i < 2; i++)
        for (size_t n = 1;; n++) {
            struct client c = {.min_version = versions[i], .max_version = versions[i], .cut = n};
            struct served s = session(&w, &c);

            mbedtls_ssl_session_free(&c.session);
            if (c.sent < n)
                break; /* not cut any more */
            if (s.status == OP_OK && s.ended)
                assert_string_equal(s.end_error, "TLS connection was truncated");
            else if (s.status != OP_OK)
                assert_string_equal(s.error, "lost connection");
        }
    world_end(&w);
}

static void the_client_rejects_the_certificate(struct client *c)
{
    client_read(c, c->got, 7);
    mbedtls_ssl_send_alert_message(&c->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL, MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA);
}

static void alerts_are_told_in_words(void **unused)
{
    struct world w = world_make(certs(""));
    struct client c = {.then = the_client_rejects_the_certificate};
    struct served s = session(&w, &c);

    (void)unused;
    assert_string_equal(s.end_error, "the peer reports: certificate rejected: unknown CA");
    mbedtls_ssl_session_free(&c.session);
    world_end(&w);
}

/* The scope is closed, and the stream, in each order, whatever the handshake is at. */
static void it_can_be_called_off_at_any_time(void **unused)
{
    struct world w = world_make(certs(""));

    (void)unused;
    for (int i = 0; i < 60; i++) {
        struct client c = {0};
        struct served s = {0};

        serve(&w, &s, &c);
        timer_start(w.loop, &w.tick, 1, wake, &w);
        for (int turn = 0; turn < i / 2 && !s.answered; turn++)
            loop_turn(w.loop);
        timer_stop(&w.tick);
        if (i % 2 == 0)
            stream_close(&s.stream);
        op_scope_close(&s.scope);
        stream_close(&s.stream);
        run(&w, &s, &c);
        mbedtls_ssl_session_free(&c.session);
    }
    world_end(&w);
}

/* ---- many ---- */

#define MANY 200

static void two_hundred_at_once(void **unused)
{
    static struct client clients[MANY];
    static struct served served[MANY];
    struct world w = world_make(certs(""));

    (void)unused;
    for (size_t i = 0; i < MANY; i++)
        serve(&w, &served[i], &clients[i]);
    for (size_t i = 0; i < MANY; i++) {
        run(&w, &served[i], &clients[i]);
        assert_string_equal(served[i].error, "");
        assert_int_equal(served[i].got, 5);
        mbedtls_ssl_session_free(&clients[i].session);
    }
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_version_greets_and_ends_in_order),
        cmocka_unit_test(versions_that_are_switched_off_are_refused),
        cmocka_unit_test(the_certificate_suits_the_client),
        cmocka_unit_test(tickets_resume_at_the_same_listener_only),
        cmocka_unit_test(server_names_have_their_certificates),
        cmocka_unit_test(client_certificates_are_asked_for_and_judged),
        cmocka_unit_test(what_is_no_tls_is_told),
        cmocka_unit_test(who_says_nothing_times_out),
        cmocka_unit_test(a_handshake_cut_anywhere_is_an_error),
        cmocka_unit_test(alerts_are_told_in_words),
        cmocka_unit_test(it_can_be_called_off_at_any_time),
        cmocka_unit_test(two_hundred_at_once),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}

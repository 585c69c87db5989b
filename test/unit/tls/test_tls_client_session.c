/* Sessions that the client resumes, and which it does not; OpenSSL as the server. */
#include "unit/tls/tls_pair.h"

#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>

static const char *const versions[] = {"TLSv1.2", "TLSv1.3"};

static bool resumes(struct world *w, struct tls_client *c, const struct tls_connect_opts *to)
{
    struct pair p = meet(w, c, to);

    assert_string_equal(p.client.error, "");
    assert_int_equal(p.client.resumed, p.server.resumed);
    return p.client.resumed;
}

static void sessions_are_resumed_and_judged_as_before(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < 4; i++) {
        struct world w = world_make(with(i < 2 ? "good" : "self", ""));
        struct tls_client_opts o = trusting();
        struct tls_client *c = client_make(&w, &o);
        struct tls_policy policy = {.level = i < 2 ? TLS_LEVEL_SECURE : TLS_LEVEL_MAY, .protocols = versions[i % 2]};
        struct tls_connect_opts to = to_mail(&policy);
        struct pair first = meet(&w, c, &to);

        assert_false(first.client.resumed);
        for (size_t times = 0; times < 3; times++) {
            struct pair p = meet(&w, c, &to);

            assert_true(p.client.resumed);
            assert_true(p.server.resumed);
            assert_int_equal(p.client.trust, i < 2 ? TLS_PEER_VERIFIED : TLS_PEER_UNTRUSTED);
            assert_string_equal(p.client.why, i < 2 ? "" : "self-signed certificate");
            assert_string_equal(p.client.cn, first.client.cn);
            assert_string_equal(p.client.issuer, first.client.issuer);
            assert_string_equal(p.client.print, first.client.print);
            assert_string_equal(p.client.key_print, first.client.key_print);
            assert_true(strlen(p.client.print) == 95);
        }
        assert_int_equal(tls_session_cache_count(c->sessions), 1);
        tls_client_unref(&c);
        world_end(&w);
    }
}

static void another_server_policy_or_client_has_another_session(void **unused)
{
    static const struct tls_policy secure = {.level = TLS_LEVEL_SECURE}, verify = {.level = TLS_LEVEL_VERIFY},
                                   may = {.level = TLS_LEVEL_MAY}, encrypt = {.level = TLS_LEVEL_ENCRYPT},
                                   match = {.level = TLS_LEVEL_SECURE, .match = "mail.example.com"},
                                   protocols = {.level = TLS_LEVEL_SECURE, .protocols = ">=TLSv1.2"},
                                   ciphers = {.level = TLS_LEVEL_SECURE, .ciphers = "high"},
                                   exclude = {.level = TLS_LEVEL_SECURE, .exclude = "AES128"},
                                   sni = {.level = TLS_LEVEL_SECURE, .servername = "mail.example.com"};
    static const struct tls_policy *const policies[] = {&secure,    &verify,  &may,     &encrypt, &match,
                                                        &protocols, &ciphers, &exclude, &sni};
    struct world w = world_make(with("good", ""));
    struct tls_client_opts o = trusting();
    struct tls_client *c = client_make(&w, &o), *other = client_make(&w, &o);
    struct tls_connect_opts to = to_mail(&secure);

    (void)unused;
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        to.policy = policies[i];
        assert_false(resumes(&w, c, &to));
    }
    to = to_mail(&secure);
    assert_true(resumes(&w, c, &to));
    assert_false(resumes(&w, other, &to));
    to.address = "192.0.2.2";
    assert_false(resumes(&w, c, &to));
    to.port = 587;
    assert_false(resumes(&w, c, &to));
    to.host = "mx.example.com";
    assert_false(resumes(&w, c, &to));
    to.nexthop = "mail.example.com";
    assert_false(resumes(&w, c, &to));
    to = to_mail(&may);
    to.nexthop = "another.example"; /* many domains have one server, which nothing is asked of */
    assert_true(resumes(&w, c, &to));
    tls_client_unref(&c);
    tls_client_unref(&other);
    world_end(&w);
}

/* It would stay in force when the server has mended its certificate. */
static void what_was_not_good_enough_is_not_resumed(void **unused)
{
    static const struct tls_policy policies[] = {
        {.level = TLS_LEVEL_VERIFY, .protocols = "TLSv1.2"},
        {.level = TLS_LEVEL_VERIFY, .protocols = "TLSv1.3"},
        {.level = TLS_LEVEL_FINGERPRINT, .match = "00:11"},
    };
    struct world w = world_make(with("self", ""));
    struct tls_client_opts o = trusting();
    struct tls_client *c = client_make(&w, &o);

    (void)unused;
    for (size_t i = 0; i < 6; i++) {
        struct tls_connect_opts to = to_mail(&policies[i / 2]);

        assert_false(resumes(&w, c, &to));
    }
    assert_int_equal(tls_session_cache_count(c->sessions), 0);
    tls_client_unref(&c);
    world_end(&w);
}

static void a_server_that_forgot_gets_a_full_handshake(void **unused)
{
    struct buf err = {0};

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct world w = world_make(with("good", ""));
        struct tls_client_opts o = trusting();
        struct tls_client *c = client_make(&w, &o);
        struct tls_policy policy = {.level = TLS_LEVEL_VERIFY, .protocols = versions[i]};
        struct tls_connect_opts to = to_mail(&policy);
        struct tls_server *first = w.server;
        struct pair p;

        assert_false(resumes(&w, c, &to));
        w.server = world_server(&w, "another", with("self", ""), &err); /* another key of tickets */
        assert_non_null(w.server);
        p = meet(&w, c, &to);
        assert_string_equal(p.client.error, "");
        assert_false(p.client.resumed);
        assert_int_equal(p.client.trust, TLS_PEER_UNTRUSTED); /* as it is now */
        tls_server_unref(&first);
        tls_client_unref(&c);
        world_end(&w);
    }
    buf_release(&err);
}

/* Resuming pins the version: when the server is now without it, the next connection is as good as new. */
static void a_session_that_does_harm_is_forgotten(void **unused)
{
    struct buf err = {0};
    struct world w = world_make(with("good", "smtpd_tls_protocols = TLSv1.2"));
    struct tls_client_opts o = trusting();
    struct tls_client *c = client_make(&w, &o);
    struct tls_policy policy = {.level = TLS_LEVEL_VERIFY};
    struct tls_connect_opts to = to_mail(&policy);
    struct tls_server *first = w.server;
    struct pair p = meet(&w, c, &to);

    (void)unused;
    assert_string_equal(p.client.protocol, "TLSv1.2");
    w.server = world_server(&w, "another", with("good", "smtpd_tls_protocols = TLSv1.3"), &err);
    assert_non_null(w.server);
    p = meet(&w, c, &to);
    if (p.client.status != OP_OK)
        p = meet(&w, c, &to);
    assert_string_equal(p.client.error, "");
    assert_string_equal(p.client.protocol, "TLSv1.3");
    assert_int_equal(p.client.trust, TLS_PEER_VERIFIED);
    tls_server_unref(&first);
    tls_client_unref(&c);
    world_end(&w);
    buf_release(&err);
}

static void sessions_can_be_switched_off(void **unused)
{
    struct world w = world_make(with("good", ""));
    struct tls_client_opts o = trusting();
    struct tls_client *c;

    (void)unused;
    o.session_cache_timeout_ms = 0;
    c = client_make(&w, &o);
    for (size_t i = 0; i < 4; i++) {
        struct tls_policy policy = {.level = TLS_LEVEL_MAY, .protocols = versions[i / 2]};
        struct tls_connect_opts to = to_mail(&policy);

        assert_false(resumes(&w, c, &to));
    }
    assert_int_equal(tls_session_cache_count(c->sessions), 0);
    tls_client_unref(&c);
    world_end(&w);
}

/* A session made by resuming ends when the first one does: the certificate is looked at again in time. */
static void resuming_does_not_prolong_a_session(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct world w = world_make(with("good", ""));
        struct tls_client_opts o = trusting();
        struct tls_client *c;
        struct tls_policy policy = {.level = TLS_LEVEL_VERIFY, .protocols = versions[i]};
        struct tls_connect_opts to = to_mail(&policy);
        uint64_t began_ms;
        bool went_on = true;

        o.session_cache_timeout_ms = 1000;
        c = client_make(&w, &o);
        began_ms = loop_now_ms(w.loop);
        assert_false(resumes(&w, c, &to));
        while (loop_now_ms(w.loop) < began_ms + 3000 && went_on)
            went_on = resumes(&w, c, &to);
        assert_false(went_on);
        tls_client_unref(&c);
        world_end(&w);
    }
}

/* ---- the cache by itself ---- */

static struct tls_session *fake(const char *key, uint64_t until_ms, int year, enum tls_peer_trust trust)
{
    struct tls_session *s = NEW(struct tls_session);

    s->refs = 1;
    s->until_ms = until_ms;
    s->expiry = (mbedtls_x509_time){.year = year, .mon = 1, .day = 1};
    s->peer = NEW(struct tls_info);
    s->peer->peer_cn = s->peer->peer_issuer = s->peer->fingerprint = s->peer->key_print = "";
    s->state = mem_new(1);
    s->n = 1;
    buf_add_str(&s->key, key);
    if (trust != TLS_PEER_ANONYMOUS) {
        struct tls_info from = *s->peer;

        from.trust = trust;
        tls_info_copy_peer(s->peer, &from);
    }
    return s;
}

static void put(struct tls_session_cache *cache, struct tls_session *s)
{
    tls_session_cache_put(cache, s);
    tls_session_unref(&s);
}

static bool has(struct tls_session_cache *cache, const char *key, uint64_t now_ms)
{
    struct tls_session *s = tls_session_cache_find(cache, slice_str(key), now_ms);
    bool found = s != NULL;

    tls_session_unref(&s);
    return found;
}

static void the_cache_is_bounded_and_old_things_leave_it(void **unused)
{
    struct tls_session_cache *cache = tls_session_cache_new(3);
    struct tls_session *held;

    (void)unused;
    put(cache, fake("a", 100, 9999, TLS_PEER_TRUSTED));
    put(cache, fake("b", 200, 9999, TLS_PEER_TRUSTED));
    put(cache, fake("c", 200, 9999, TLS_PEER_TRUSTED));
    assert_true(has(cache, "a", 99)); /* used: b is the oldest now */
    put(cache, fake("d", 200, 9999, TLS_PEER_TRUSTED));
    assert_int_equal(tls_session_cache_count(cache), 3);
    assert_false(has(cache, "b", 99));
    assert_false(has(cache, "a", 100));
    assert_int_equal(tls_session_cache_count(cache), 2);
    held = tls_session_cache_find(cache, SLICE_LIT("c"), 0);
    put(cache, fake("c", 300, 9999, TLS_PEER_TRUSTED)); /* instead of it */
    assert_int_equal(tls_session_cache_count(cache), 2);
    assert_true(has(cache, "c", 250));
    tls_session_cache_forget(cache, held); /* it is out already */
    assert_true(has(cache, "c", 250));
    tls_session_unref(&held);
    put(cache, fake("e", 300, 2001, TLS_PEER_VERIFIED)); /* its certificate has expired */
    put(cache, fake("f", 300, 2001, TLS_PEER_UNTRUSTED));
    assert_false(has(cache, "e", 0));
    assert_true(has(cache, "f", 0));
    tls_session_cache_free(&cache);
}

/* ---- OpenSSL ---- */

struct openssl {
    pid_t pid;
    struct sockaddr_un at;
};

static struct openssl openssl_start(const char *cert, const char *const more[4])
{
    struct openssl o = {.at = {.sun_family = AF_UNIX}};
    char pem[100], key[100], log[100], ca[100];

    snprintf(o.at.sun_path, sizeof o.at.sun_path, "%s/s", folder);
    unlink(o.at.sun_path);
    snprintf(pem, sizeof pem, "%s/%s.pem", folder, cert);
    snprintf(key, sizeof key, "%s/%s.key", folder, strcmp(cert, "rsa") == 0 ? "rsa" : "leaf");
    snprintf(log, sizeof log, "%s/s_server.log", folder);
    snprintf(ca, sizeof ca, "%s/ca.pem", folder);
    o.pid = fork();
    assert_true(o.pid >= 0);
    if (o.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a test fails */
        if (freopen(log, "w", stdout) == NULL || freopen(log, "a", stderr) == NULL)
            _exit(126);
        execlp("openssl", "openssl", "s_server", "-unix", o.at.sun_path, "-rev", "-cert", pem, "-key", key, "-CAfile",
               ca, more[0], more[1], more[2], more[3], (char *)NULL);
        _exit(127);
    }
    return o;
}

static void openssl_stop(struct openssl *o)
{
    kill(o->pid, SIGKILL);
    waitpid(o->pid, NULL, 0);
}

/* Once it listens. */
static int openssl_dial(const struct openssl *o)
{
    for (int tries = 0; tries < 1000; tries++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        if (connect(fd, (const struct sockaddr *)&o->at, sizeof o->at) == 0)
            return fd;
        close(fd);
        usleep(20000);
    }
    fail_msg("openssl s_server does not listen");
    return -1;
}

static struct served talk(struct world *w, const struct openssl *o, struct tls_client *c,
                          const struct tls_connect_opts *to)
{
    struct served s = {.greeting = "olleh\n"};

    connect_on(w, &s, openssl_dial(o), c, to);
    while (s.stream != NULL)
        loop_turn(w->loop);
    op_scope_close(&s.scope);
    return s;
}

static void openssl_is_understood_and_resumed(void **unused)
{
    static const struct {
        const char *cert;
        const char *const more[4];
        const char *protocol, *cipher;
        bool resumed;
        const char *protocols;
    } cases[] = {
        {"good", {"-tls1_2"}, "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", true, NULL},
        {"good", {"-tls1_3"}, "TLSv1.3", "TLS_AES_256_GCM_SHA384", true, NULL},
        {"good", {"-tls1_2", "-no_ticket"}, "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", true, NULL}, /* session ids */
        {"good", {"-tls1_3", "-num_tickets", "0"}, "TLSv1.3", "TLS_AES_256_GCM_SHA384", false, NULL},
        {"good", {"-tls1_3", "-groups", "P-384"}, "TLSv1.3", "TLS_AES_256_GCM_SHA384", true, NULL}, /* HelloRetryRequest
                                                                                                     */
        {"rsa", {"-cipher", "ECDHE-RSA-AES128-SHA256", "-tls1_2"}, "TLSv1.2", "ECDHE-RSA-AES128-SHA256", true, NULL},
        {"rsa",
         {"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"},
         "TLSv1.3",
         "TLS_CHACHA20_POLY1305_SHA256",
         true,
         NULL},
        /* It would take PSS, which Mbed TLS has in TLS 1.3 only, were 1.3 offered. */
        {"rsa",
         {"-cipher", "ECDHE-RSA-AES128-SHA256", "-tls1_2", "-serverpref"},
         "TLSv1.2",
         "ECDHE-RSA-AES128-SHA256",
         true,
         "TLSv1.2"},
        {"good", {"-verify", "3"}, "TLSv1.3", "TLS_AES_256_GCM_SHA384", true, NULL},
    };
    struct world w = world_make(with("good", ""));

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct openssl server = openssl_start(cases[i].cert, cases[i].more);
        struct tls_client_opts o = trusting();
        struct tls_client *c = client_make(&w, &o);
        struct tls_policy policy = {.level = strcmp(cases[i].cert, "good") == 0 ? TLS_LEVEL_VERIFY : TLS_LEVEL_MAY,
                                    .servername = "hostname",
                                    .protocols = cases[i].protocols};
        struct tls_connect_opts to = to_mail(&policy);

        for (int times = 0; times < 3; times++) {
            struct served s = talk(&w, &server, c, &to);

            assert_string_equal(s.error, "");
            assert_string_equal(s.end_error, "");
            assert_true(s.got > 0);
            assert_string_equal(s.protocol, cases[i].protocol);
            assert_string_equal(s.cipher, cases[i].cipher);
            assert_int_equal(s.trust, policy.level == TLS_LEVEL_VERIFY ? TLS_PEER_VERIFIED : TLS_PEER_UNTRUSTED);
            assert_int_equal(s.resumed, times > 0 && cases[i].resumed);
        }
        openssl_stop(&server);
        tls_client_unref(&c);
    }
    world_end(&w);
}

/* A server that takes PSS in TLS 1.2, which we cannot: the first connection fails, from then on 1.2 alone is offered.
 */
static void a_server_that_wants_tls12_alone(void **unused)
{
    struct world w = world_make(with("good", ""));
    struct openssl server = openssl_start("rsa", (const char *const[4]){"-tls1_2", "-serverpref"});
    struct tls_client_opts o = trusting();
    struct tls_client *c = client_make(&w, &o);
    struct tls_policy policy = {.level = TLS_LEVEL_MAY};
    struct tls_connect_opts to = to_mail(&policy);
    struct served s;

    (void)unused;
    s = talk(&w, &server, c, &to);
    assert_true(s.error[0] != '\0');
    for (int times = 0; times < 2; times++) {
        s = talk(&w, &server, c, &to);
        assert_string_equal(s.error, "");
        assert_string_equal(s.protocol, "TLSv1.2");
    }
    openssl_stop(&server);
    tls_client_unref(&c);
    world_end(&w);
}

static void openssl_requires_a_certificate(void **unused)
{
    static const struct {
        const char *version;
        bool have;
        const char *error, *end_error;
    } cases[] = {
        {"-tls1_2", true, "", ""},
        {"-tls1_3", true, "", ""},
        {"-tls1_2", false, "the peer reports: handshake failure: it may require a client certificate", ""},
        {"-tls1_3", false, "", "the peer reports: certificate required"},
    };
    struct world w = world_make(with("good", ""));

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct openssl server =
            openssl_start("good", (const char *const[4]){cases[i].version, "-Verify", "3", "-verify_return_error"});
        struct tls_client_opts o = trusting();
        struct tls_policy policy = {.level = TLS_LEVEL_MAY};
        struct tls_connect_opts to = to_mail(&policy);
        struct tls_client *c;
        struct served s;

        o.chain_files = cases[i].have ? in_folder("mine.all") : NULL;
        c = client_make(&w, &o);
        s = talk(&w, &server, c, &to);
        assert_string_equal(s.error, cases[i].error);
        assert_string_equal(s.end_error, cases[i].end_error);
        openssl_stop(&server);
        tls_client_unref(&c);
    }
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_are_resumed_and_judged_as_before),
        cmocka_unit_test(another_server_policy_or_client_has_another_session),
        cmocka_unit_test(what_was_not_good_enough_is_not_resumed),
        cmocka_unit_test(a_server_that_forgot_gets_a_full_handshake),
        cmocka_unit_test(a_session_that_does_harm_is_forgotten),
        cmocka_unit_test(sessions_can_be_switched_off),
        cmocka_unit_test(resuming_does_not_prolong_a_session),
        cmocka_unit_test(the_cache_is_bounded_and_old_things_leave_it),
        cmocka_unit_test(openssl_is_understood_and_resumed),
        cmocka_unit_test(a_server_that_wants_tls12_alone),
        cmocka_unit_test(openssl_requires_a_certificate),
    };

    return cmocka_run_group_tests(tests, make_more_files, remove_files);
}

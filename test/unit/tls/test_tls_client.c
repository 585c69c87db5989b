/* The client's handshake: each level against each kind of certificate, versions, client certificates, failures. */
#include "unit/tls/tls_pair.h"

/* ---- who is trusted ---- */

static const struct {
    const char *cert;
    enum tls_level level;
    const char *match, *host, *nexthop;
    enum tls_peer_trust trust;
    const char *why;
} judgements[] = {
    {"good", TLS_LEVEL_MAY, NULL, NULL, NULL, TLS_PEER_TRUSTED, ""},
    {"good", TLS_LEVEL_ENCRYPT, NULL, "elsewhere.example", NULL, TLS_PEER_TRUSTED, ""},
    {"good", TLS_LEVEL_VERIFY, NULL, NULL, NULL, TLS_PEER_VERIFIED, ""},
    {"good", TLS_LEVEL_VERIFY, NULL, "MAIL.Example.COM.", NULL, TLS_PEER_VERIFIED, ""},
    {"good", TLS_LEVEL_VERIFY, NULL, "[mail.example.com]", NULL, TLS_PEER_VERIFIED, ""},
    {"good", TLS_LEVEL_VERIFY, NULL, "mx.example.com", NULL, TLS_PEER_TRUSTED,
     "the certificate is for mail.example.com, example.net"},
    {"good", TLS_LEVEL_SECURE, NULL, "mx.example.org", "example.com", TLS_PEER_VERIFIED, ""}, /* dot-nexthop */
    {"good", TLS_LEVEL_SECURE, NULL, NULL, "example.net", TLS_PEER_VERIFIED, ""},
    {"good", TLS_LEVEL_SECURE, NULL, NULL, "[mail.example.com]:587", TLS_PEER_VERIFIED, ""},
    {"good", TLS_LEVEL_SECURE, NULL, NULL, "ample.com", TLS_PEER_TRUSTED,
     "the certificate is for mail.example.com, example.net"},
    {"good", TLS_LEVEL_SECURE, NULL, NULL, "example.org", TLS_PEER_TRUSTED,
     "the certificate is for mail.example.com, example.net"},
    {"good", TLS_LEVEL_SECURE, "nexthop", NULL, "example.com", TLS_PEER_TRUSTED,
     "the certificate is for mail.example.com, example.net"},
    {"good", TLS_LEVEL_SECURE, "other.example .example.com", NULL, "example.org", TLS_PEER_VERIFIED, ""},
    {"good", TLS_LEVEL_SECURE, "example.net", NULL, "example.org", TLS_PEER_VERIFIED, ""},
    {"good", TLS_LEVEL_SECURE, "hostname", NULL, "example.org", TLS_PEER_VERIFIED, ""},
    {"wild", TLS_LEVEL_VERIFY, NULL, NULL, NULL, TLS_PEER_VERIFIED, ""},
    {"wild", TLS_LEVEL_VERIFY, NULL, "a.b.example.com", NULL, TLS_PEER_TRUSTED, "the certificate is for *.example.com"},
    {"wild", TLS_LEVEL_VERIFY, NULL, "example.com", NULL, TLS_PEER_TRUSTED, "the certificate is for *.example.com"},
    {"registry", TLS_LEVEL_VERIFY, NULL, "example.com", NULL, TLS_PEER_TRUSTED, "the certificate is for *.com"},
    {"cn", TLS_LEVEL_VERIFY, NULL, NULL, NULL, TLS_PEER_VERIFIED, ""},
    {"cn_unused", TLS_LEVEL_VERIFY, NULL, NULL, NULL, TLS_PEER_TRUSTED, "the certificate is for other.example.com"},
    {"address", TLS_LEVEL_VERIFY, NULL, "192.0.2.1", NULL, TLS_PEER_VERIFIED, ""},
    {"address", TLS_LEVEL_VERIFY, NULL, "[192.0.2.1]", NULL, TLS_PEER_VERIFIED, ""},
    {"address", TLS_LEVEL_SECURE, NULL, NULL, "[IPv6:2001:db8:0::1]", TLS_PEER_VERIFIED, ""},
    {"address", TLS_LEVEL_VERIFY, NULL, "192.0.2.2", NULL, TLS_PEER_TRUSTED,
     "the certificate is for 192.0.2.1, 2001:db8::1, ignored.example"},
    {"self", TLS_LEVEL_MAY, NULL, NULL, NULL, TLS_PEER_UNTRUSTED, "self-signed certificate"},
    {"self", TLS_LEVEL_ENCRYPT, NULL, NULL, NULL, TLS_PEER_UNTRUSTED, "self-signed certificate"},
    {"self", TLS_LEVEL_VERIFY, NULL, NULL, NULL, TLS_PEER_UNTRUSTED, "self-signed certificate"},
    {"expired", TLS_LEVEL_MAY, NULL, NULL, NULL, TLS_PEER_UNTRUSTED, "expired certificate"},
    {"expired", TLS_LEVEL_VERIFY, NULL, NULL, NULL, TLS_PEER_UNTRUSTED, "expired certificate"},
    {"deep", TLS_LEVEL_VERIFY, NULL, NULL, NULL, TLS_PEER_VERIFIED, ""},
    {"rsa", TLS_LEVEL_SECURE, NULL, NULL, NULL, TLS_PEER_UNTRUSTED, "self-signed certificate"},
};

static void each_level_judges_each_certificate(void **unused)
{
    static const char *const versions[] = {"TLSv1.2", "TLSv1.3"};

    (void)unused;
    for (size_t i = 0; i < 2 * sizeof judgements / sizeof judgements[0]; i++) {
        size_t k = i / 2;
        struct world w = world_make(with(judgements[k].cert, ""));
        struct tls_client_opts o = trusting();
        struct tls_client *c = client_make(&w, &o);
        struct tls_policy policy = {
            .level = judgements[k].level, .match = judgements[k].match, .protocols = versions[i % 2]};
        struct tls_connect_opts to = to_mail(&policy);
        struct pair p;

        to.host = judgements[k].host == NULL ? to.host : judgements[k].host;
        to.nexthop = judgements[k].nexthop == NULL ? to.nexthop : judgements[k].nexthop;
        p = meet(&w, c, &to);
        assert_string_equal(p.client.error, "");
        assert_string_equal(p.client.protocol, versions[i % 2]);
        assert_string_equal(p.client.why, judgements[k].why);
        assert_int_equal(p.client.trust, judgements[k].trust);
        assert_string_equal(p.client.sni, "");
        tls_client_unref(&c);
        world_end(&w);
    }
}

static void the_chain_is_not_longer_than_allowed(void **unused)
{
    struct world w = world_make(with("deep", ""));

    (void)unused;
    for (int depth = 0; depth < 2; depth++) {
        struct tls_client_opts o = trusting();
        struct tls_policy policy = {.level = TLS_LEVEL_VERIFY};
        struct tls_connect_opts to = to_mail(&policy);
        struct tls_client *c;

        o.scert_verifydepth = depth;
        c = client_make(&w, &o);
        assert_int_equal(meet(&w, c, &to).client.trust, depth == 0 ? TLS_PEER_UNTRUSTED : TLS_PEER_VERIFIED);
        tls_client_unref(&c);
    }
    world_end(&w);
}

static void without_authorities_nobody_is_trusted(void **unused)
{
    struct world w = world_make(with("good", ""));
    struct tls_client_opts o = {.scert_verifydepth = 9};
    struct tls_client *c = client_make(&w, &o);
    struct tls_policy policy = {.level = TLS_LEVEL_VERIFY};
    struct tls_connect_opts to = to_mail(&policy);
    struct pair p = meet(&w, c, &to);

    (void)unused;
    assert_int_equal(p.client.trust, TLS_PEER_UNTRUSTED);
    assert_string_equal(p.client.why, "no trusted authority issued the certificate");
    tls_client_unref(&c);
    world_end(&w);
}

static void fingerprints_of_certificate_and_key(void **unused)
{
    static const struct {
        const char *file, *digest, *before;
        bool right;
    } cases[] = {
        {"good.print", "sha256", "", true},
        {"leaf.keyprint", NULL, "", true},
        {"leaf.keyprint", "sha256", "00:11:22|", true},
        {"good.sha1", "sha1", "", true},
        {"good.sha1", "sha256", "", false},
        {"client.print", "sha256", "", false},
    };

    (void)unused;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        struct world w = world_make(with("good", ""));
        struct tls_client_opts o = {.scert_verifydepth = 9, .fingerprint_digest = cases[i / 2].digest};
        char match[500];
        struct tls_policy policy = {.level = TLS_LEVEL_FINGERPRINT};
        struct tls_connect_opts to = to_mail(&policy);
        struct tls_client *c;
        struct pair p;

        snprintf(match, sizeof match, "%s%s", cases[i / 2].before, file_text(cases[i / 2].file));
        if (i % 2 == 0)
            o.fingerprint_cert_match = match;
        else
            policy.match = match;
        c = client_make(&w, &o);
        p = meet(&w, c, &to);
        assert_int_equal(p.client.trust, cases[i / 2].right ? TLS_PEER_VERIFIED : TLS_PEER_UNTRUSTED);
        assert_string_equal(p.client.why, cases[i / 2].right ? "" : "the certificate is not one of those expected");
        tls_client_unref(&c);
        world_end(&w);
    }
}

static void what_is_good_enough(void **unused)
{
    (void)unused;
    for (int level = TLS_LEVEL_MAY; level <= TLS_LEVEL_SECURE; level++)
        for (int trust = TLS_PEER_ANONYMOUS; trust <= TLS_PEER_VERIFIED; trust++) {
            struct tls_info info = {.trust = (enum tls_peer_trust)trust};

            assert_int_equal(tls_policy_satisfied((enum tls_level)level, &info),
                             level <= TLS_LEVEL_ENCRYPT || trust == TLS_PEER_VERIFIED);
        }
}

/* ---- what is offered ---- */

static void versions_and_ciphers_of_level_and_policy(void **unused)
{
    static const struct {
        const char *server;
        struct tls_policy policy;
        const char *protocols, *mandatory; /* the client's parameters */
        const char *protocol, *error;
    } cases[] = {
        {"TLSv1.2", {.level = TLS_LEVEL_MAY}, NULL, NULL, "TLSv1.2", ""},
        {"TLSv1.3", {.level = TLS_LEVEL_MAY}, NULL, NULL, "TLSv1.3", ""},
        {"TLSv1.2",
         {.level = TLS_LEVEL_MAY},
         ">=TLSv1.3",
         "TLSv1.2",
         "",
         "the peer reports: handshake failure: nothing in common"},
        {"TLSv1.2", {.level = TLS_LEVEL_ENCRYPT}, ">=TLSv1.3", "TLSv1.2", "TLSv1.2", ""},
        {"TLSv1.3", {.level = TLS_LEVEL_ENCRYPT}, NULL, "!TLSv1.3", "", "the peer reports: no shared TLS version"},
        {"TLSv1.3", {.level = TLS_LEVEL_ENCRYPT, .protocols = ">=TLSv1.2"}, NULL, "!TLSv1.3", "TLSv1.3", ""},
        {"TLSv1.2", {.level = TLS_LEVEL_MAY, .exclude = "AES256:CHACHA20"}, NULL, NULL, "TLSv1.2", ""},
        {"TLSv1.2",
         {.level = TLS_LEVEL_MAY, .exclude = "AES:CHACHA20"},
         NULL,
         NULL,
         "",
         "the TLS policy leaves no version or no cipher"},
        {"TLSv1.2",
         {.level = TLS_LEVEL_MAY, .protocols = "SSLv3"},
         NULL,
         NULL,
         "",
         "the TLS policy leaves no version or no cipher"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char more[100];
        struct world w;
        struct tls_client_opts o = trusting();
        struct tls_connect_opts to = to_mail(&cases[i].policy);
        struct tls_client *c;
        struct pair p;

        snprintf(more, sizeof more, "smtpd_tls_protocols = %s", cases[i].server);
        w = world_make(with("good", more));
        o.protocols = cases[i].protocols;
        o.mandatory_protocols = cases[i].mandatory;
        c = client_make(&w, &o);
        p = meet(&w, c, &to);
        assert_string_equal(p.client.error, cases[i].error);
        assert_string_equal(p.client.protocol, cases[i].protocol);
        if (cases[i].policy.exclude != NULL && p.client.status == OP_OK)
            assert_string_equal(p.client.cipher, "ECDHE-ECDSA-AES128-GCM-SHA256");
        tls_client_unref(&c);
        world_end(&w);
    }
}

static void server_names_are_sent_as_the_policy_says(void **unused)
{
    static const struct {
        const char *servername, *host, *nexthop, *sni;
    } cases[] = {
        {NULL, "mail.example.com", "example.com", ""},
        {"", "mail.example.com", "example.com", ""},
        {"hostname", "mail.example.com.", "example.com", "mail.example.com"},
        {"nexthop", "mail.example.com", "[relay.example.com]:587", "relay.example.com"},
        {"other.example.com", "mail.example.com", "example.com", "other.example.com"},
        {"hostname", "[192.0.2.1]", "example.com", ""},
        {"hostname", "2001:db8::1", "example.com", ""},
    };
    struct world w = world_make(with("good", ""));
    struct tls_client_opts o = trusting();
    struct tls_client *c = client_make(&w, &o);

    (void)unused;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        struct tls_policy policy = {.level = TLS_LEVEL_MAY,
                                    .servername = cases[i / 2].servername,
                                    .protocols = i % 2 == 0 ? "TLSv1.2" : "TLSv1.3"};
        struct tls_connect_opts to = to_mail(&policy);
        struct pair p;

        to.host = cases[i / 2].host;
        to.nexthop = cases[i / 2].nexthop;
        p = meet(&w, c, &to);
        assert_string_equal(p.client.error, "");
        assert_string_equal(p.server.sni, cases[i / 2].sni);
        assert_string_equal(p.client.sni, cases[i / 2].sni);
        assert_int_equal(p.client.trust, TLS_PEER_TRUSTED); /* whatever name was sent */
    }
    tls_client_unref(&c);
    world_end(&w);
}

/* ---- client certificates ---- */

static void a_certificate_is_shown_when_asked_for(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < 8; i++) {
        char more[200];
        bool asked = i % 2 == 1;
        struct world w;
        struct tls_client_opts o = trusting();
        struct tls_policy policy = {.level = TLS_LEVEL_MAY, .protocols = i / 4 == 0 ? "TLSv1.2" : "TLSv1.3"};
        struct tls_connect_opts to = to_mail(&policy);
        struct tls_client *c;
        struct pair p;

        snprintf(more, sizeof more, "smtpd_tls_ask_ccert = %s\nsmtpd_tls_CAfile = %s/ca.pem", asked ? "yes" : "no",
                 folder);
        w = world_make(with("good", more));
        if (i / 2 % 2 == 0)
            o.chain_files = in_folder("mine.all");
        else
            o.eccert_file = in_folder("mine.all");
        c = client_make(&w, &o);
        p = meet(&w, c, &to);
        assert_string_equal(p.client.error, "");
        assert_string_equal(p.server.cn, asked ? "client.example" : "");
        assert_int_equal(p.server.trust, asked ? TLS_PEER_TRUSTED : TLS_PEER_ANONYMOUS);
        tls_client_unref(&c);
        world_end(&w);
    }
}

static void none_is_shown_when_there_is_none(void **unused)
{
    char more[200];
    struct world w;
    struct tls_client_opts o = trusting();
    struct tls_policy policy = {.level = TLS_LEVEL_MAY};
    struct tls_connect_opts to = to_mail(&policy);
    struct tls_client *c;
    struct pair p;

    (void)unused;
    snprintf(more, sizeof more, "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = %s/ca.pem", folder);
    w = world_make(with("good", more));
    c = client_make(&w, &o);
    p = meet(&w, c, &to);
    assert_string_equal(p.client.error, "");
    assert_int_equal(p.server.trust, TLS_PEER_ANONYMOUS);
    tls_client_unref(&c);
    world_end(&w);
}

/* ---- parameters ---- */

static void bad_parameters_are_complained_of(void **unused)
{
    static const struct {
        struct tls_client_opts o;
        const char *complaint;
    } cases[] = {
        {{.prefix = "smtp", .CAfile = "/nonexistent"}, "smtp_tls_CAfile: /nonexistent cannot be read"},
        {{.prefix = "lmtp", .CApath = "/nonexistent"}, "lmtp_tls_CApath: /nonexistent cannot be read"},
        {{.prefix = "smtp", .cert_file = "/nonexistent"}, "smtp_tls_cert_file: /nonexistent cannot be read"},
        {{.prefix = "smtp", .eccert_file = "/nonexistent"}, "smtp_tls_eccert_file: /nonexistent cannot be read"},
        {{.prefix = "smtp", .chain_files = "/nonexistent"}, "smtp_tls_chain_files: /nonexistent cannot be read"},
        {{.prefix = "smtp", .protocols = "TLSv9"}, "smtp_tls_protocols: \"TLSv9\" is not a TLS version"},
        {{.prefix = "smtp", .mandatory_protocols = "SSLv3"}, "smtp_tls_mandatory_protocols: \"SSLv3\" leaves"},
        {{.prefix = "smtp", .ciphers = "strong"}, "smtp_tls_ciphers: \"strong\" is not a grade"},
        {{.prefix = "smtp", .mandatory_ciphers = "null"}, "smtp_tls_mandatory_ciphers: \"null\" is not a grade"},
        {{.prefix = "smtp", .exclude_ciphers = "AES CHACHA20"}, "smtp_tls_ciphers: no cipher is left"},
        {{.prefix = "smtp", .mandatory_exclude_ciphers = "AES CHACHA20"},
         "smtp_tls_mandatory_ciphers: no cipher is left"},
        {{.prefix = "smtp", .fingerprint_digest = "crc32"}, "smtp_tls_fingerprint_digest: \"crc32\" is not known"},
    };
    struct loop *loop = loop_new();

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf err = {0};

        assert_null(tls_client_new(loop, &cases[i].o, &err));
        assert_true(slice_starts(slice_str(buf_cstr(&err)), slice_str(cases[i].complaint)));
        buf_release(&err);
    }
    loop_run(loop);
    loop_free(&loop);
}

static void the_system_authorities_can_be_had(void **unused)
{
    struct world w = world_make(with("good", ""));
    struct tls_client_opts o = {.append_default_CA = true, .CApath = folder, .scert_verifydepth = 9};
    struct tls_policy policy = {.level = TLS_LEVEL_VERIFY};
    struct tls_connect_opts to = to_mail(&policy);
    struct tls_client *c = client_make(&w, &o);

    (void)unused;
    assert_int_equal(meet(&w, c, &to).client.trust, TLS_PEER_VERIFIED); /* ca.pem is in the folder */
    tls_client_unref(&c);
    world_end(&w);
}

/* ---- failures ---- */

/* The other end of a connection of ours. */
static int begin_alone(struct world *w, struct served *s, struct tls_client *c, const struct tls_connect_opts *o)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    connect_on(w, s, fds[1], c, o);
    return fds[0];
}

static void run_alone(struct world *w, struct served *s)
{
    while (s->stream != NULL)
        loop_turn(w->loop);
    op_scope_close(&s->scope);
}

static void what_is_no_tls_is_told(void **unused)
{
    static const struct {
        const char *sent, *error;
        enum op_status status;
    } cases[] = {
        {"220 ready when you are\r\n", "the peer did not send TLS", OP_TEMPFAIL},
        {"454 4.7.0 TLS not available\r\n", "the peer did not send TLS", OP_TEMPFAIL},
        {"\x16\x03\x03\x00\x04\x02\x00\x00\x00", "a message is malformed", OP_TEMPFAIL},
        {"\x15\x03\x03\x00\x02\x02\x50", "the peer reports: internal error", OP_TEMPFAIL},
        {"", "lost connection", OP_TEMPFAIL},
        {"22", "lost connection", OP_TEMPFAIL},
        {NULL, "timed out", OP_TIMEOUT},
    };
    static const size_t lengths[] = {24, 29, 9, 7, 0, 2, 0};
    struct world w = world_make(with("good", ""));
    struct tls_client_opts o = trusting();
    struct tls_client *c = client_make(&w, &o);
    struct tls_policy policy = {.level = TLS_LEVEL_MAY};
    struct tls_connect_opts to = to_mail(&policy);

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct served s = {0};
        int fd;

        to.timeout_ms = cases[i].sent == NULL ? 50 : 60000;
        fd = begin_alone(&w, &s, c, &to);
        if (cases[i].sent != NULL) {
            assert_int_equal(send(fd, cases[i].sent, lengths[i], 0), lengths[i]);
            shutdown(fd, SHUT_WR);
        }
        run_alone(&w, &s);
        assert_int_equal(s.status, cases[i].status);
        assert_string_equal(s.error, cases[i].error);
        close(fd);
    }
    tls_client_unref(&c);
    world_end(&w);
}

/* ---- a server that is cut off ---- */

struct relay {
    int to_client, to_server;
    size_t limit, passed; /* bytes of the server */
    struct pair pair;
};

static size_t move(int from, int to, size_t most)
{
    char bytes[4096];
    ssize_t n = recv(from, bytes, most < sizeof bytes ? most : sizeof bytes, MSG_DONTWAIT);

    if (n <= 0)
        return 0;
    send(to, bytes, (size_t)n, MSG_NOSIGNAL);
    return (size_t)n;
}

/* Until the handshake of the client is over. */
static void pump(struct relay *r)
{
    if (r->to_client < 0 || r->pair.client.answered)
        return;
    move(r->to_client, r->to_server, SIZE_MAX);
    if (r->passed < r->limit)
        r->passed += move(r->to_server, r->to_client, r->limit - r->passed);
    if (r->passed == r->limit) {
        close(r->to_client);
        close(r->to_server);
        r->to_client = -1;
    }
}

static void relay_begin(struct world *w, struct relay *r, struct tls_client *c, const struct tls_connect_opts *o)
{
    int a[2], b[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
    r->to_client = a[0];
    r->to_server = b[0];
    connect_on(w, &r->pair.client, a[1], c, o);
    accept_on(w, &r->pair.server, b[1]);
}

/* Several at a time. */
static void relay_run(struct world *w, struct relay *relays, size_t n)
{
    timer_start(w->loop, &w->tick, 1, wake, w);
    for (size_t open = n; open > 0;) {
        open = 0;
        for (size_t i = 0; i < n; i++) {
            pump(&relays[i]);
            open += !relays[i].pair.client.answered;
        }
        loop_turn(w->loop);
    }
    for (size_t i = 0; i < n; i++) {
        if (relays[i].to_client >= 0) {
            close(relays[i].to_client);
            close(relays[i].to_server);
        }
        pair_run(w, &relays[i].pair);
    }
    timer_stop(&w->tick);
}

#define BATCH  64
#define VARIES 24

static void a_handshake_cut_at_any_byte_is_an_error(void **unused)
{
    static const char *const versions[] = {"TLSv1.2", "TLSv1.3"};
    struct world w = world_make(with("good", ""));
    struct tls_client_opts o = trusting();
    struct tls_client *c = client_make(&w, &o);

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct tls_policy policy = {.level = TLS_LEVEL_MAY, .protocols = versions[i]};
        struct tls_connect_opts to = to_mail(&policy);
        struct relay whole = {.limit = SIZE_MAX, .pair.server.greeting = ""};
        size_t at = 0;

        relay_begin(&w, &whole, c, &to);
        relay_run(&w, &whole, 1);
        assert_int_equal(whole.pair.client.status, OP_OK);
        assert_true(whole.passed > 500);
        /* Another time it may be this much shorter: signatures of ECDSA, and records that are padded to 16 bytes. */
        while (at < whole.passed - VARIES) {
            struct relay relays[BATCH] = {0};
            size_t n = 0;

            for (; n < BATCH && at < whole.passed - VARIES; n++) {
                relays[n].limit = at++;
                to.port = (int)(1000 + at); /* no sessions */
                relay_begin(&w, &relays[n], c, &to);
            }
            relay_run(&w, relays, n);
            for (size_t k = 0; k < n; k++) {
                assert_int_equal(relays[k].pair.client.status, OP_TEMPFAIL);
                assert_true(slice_starts(slice_str(relays[k].pair.client.error), SLICE_LIT("lost connection")));
            }
        }
    }
    tls_client_unref(&c);
    world_end(&w);
}

/* The owner of the server's stream goes away without a word. */
static void on_shaken_leave(void *owner, enum op_status status, const void *result)
{
    struct served *s = owner;

    (void)result;
    s->status = status;
    s->answered = true;
    stream_write(s->stream, SLICE_LIT("hel"));
}

static void an_end_without_close_notify_is_told(void **unused)
{
    struct world w = world_make(with("good", ""));
    struct tls_client_opts o = trusting();
    struct tls_client *c = client_make(&w, &o);
    struct tls_policy policy = {.level = TLS_LEVEL_MAY};
    struct tls_connect_opts to = to_mail(&policy);
    struct pair p = {0};
    int fds[2];

    (void)unused;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    p.server.stream = stream_from_fd(w.loop, fds[0]);
    op_scope_init(&p.server.scope, "test");
    stream_set_events(p.server.stream, &served_events, &p.server, 4096);
    tls_accept(p.server.stream, w.server, &w.opts, &p.server.scope, on_shaken_leave, &p.server);
    connect_on(&w, &p.client, fds[1], c, &to);
    while (!p.client.answered || stream_input(p.client.stream).n < 3)
        loop_turn(w.loop);
    stream_close(&p.server.stream);
    pair_run(&w, &p);
    assert_string_equal(p.client.end_error, "TLS connection was truncated");
    tls_client_unref(&c);
    world_end(&w);
}

/* ---- called off, and many ---- */

static void it_can_be_called_off_at_any_time(void **unused)
{
    struct world w = world_make(with("good", ""));
    struct tls_client_opts o = trusting();
    struct tls_client *c = client_make(&w, &o);
    struct tls_policy policy = {.level = TLS_LEVEL_VERIFY};
    struct tls_connect_opts to = to_mail(&policy);

    (void)unused;
    for (int i = 0; i < 80; i++) {
        struct pair p = {0};

        pair_begin(&w, &p, c, &to);
        timer_start(w.loop, &w.tick, 1, wake, &w);
        for (int turn = 0; turn < i / 2 && !p.client.answered; turn++)
            loop_turn(w.loop);
        timer_stop(&w.tick);
        if (i % 2 == 0)
            stream_close(&p.client.stream);
        op_scope_close(&p.client.scope);
        stream_close(&p.client.stream);
        pair_run(&w, &p);
    }
    tls_client_unref(&c);
    world_end(&w);
}

#define MANY 100

static void a_hundred_at_once(void **unused)
{
    static struct pair pairs[MANY];
    struct world w = world_make(with("good", ""));
    struct tls_client_opts o = trusting();
    struct tls_client *c = client_make(&w, &o), *mine = c;
    struct tls_policy policy = {.level = TLS_LEVEL_SECURE};
    struct tls_connect_opts to = to_mail(&policy);

    (void)unused;
    for (size_t i = 0; i < MANY; i++)
        pair_begin(&w, &pairs[i], c, &to);
    tls_client_unref(&mine); /* the connections have references */
    for (size_t i = 0; i < MANY; i++) {
        pair_run(&w, &pairs[i]);
        assert_string_equal(pairs[i].client.error, "");
        assert_int_equal(pairs[i].client.trust, TLS_PEER_VERIFIED);
        assert_int_equal(pairs[i].client.got, 12);
    }
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_level_judges_each_certificate),
        cmocka_unit_test(the_chain_is_not_longer_than_allowed),
        cmocka_unit_test(without_authorities_nobody_is_trusted),
        cmocka_unit_test(fingerprints_of_certificate_and_key),
        cmocka_unit_test(what_is_good_enough),
        cmocka_unit_test(versions_and_ciphers_of_level_and_policy),
        cmocka_unit_test(server_names_are_sent_as_the_policy_says),
        cmocka_unit_test(a_certificate_is_shown_when_asked_for),
        cmocka_unit_test(none_is_shown_when_there_is_none),
        cmocka_unit_test(bad_parameters_are_complained_of),
        cmocka_unit_test(the_system_authorities_can_be_had),
        cmocka_unit_test(what_is_no_tls_is_told),
        cmocka_unit_test(a_handshake_cut_at_any_byte_is_an_error),
        cmocka_unit_test(an_end_without_close_notify_is_told),
        cmocka_unit_test(it_can_be_called_off_at_any_time),
        cmocka_unit_test(a_hundred_at_once),
    };

    return cmocka_run_group_tests(tests, make_more_files, remove_files);
}

/* SASL in the SMTP client: against libsasl2's own server half, and the mechanisms with a token. */
#include "sasl_fixture.h"

#include "proto/auth/auth_client.h"
#include "proto/auth/auth_client_choice.h"

#include <sasl/sasl.h>

/* ---- which mechanism ---- */

static void choice(void **state)
{
    static const struct {
        const char *offered, *filter, *options;
        enum auth_bearer bearer;
        const char *mechanisms; /* NULL: an error */
        unsigned security;
    } rows[] = {
        {"PLAIN LOGIN", "", "", AUTH_BEARER_NONE, "PLAIN LOGIN", 0},
        {"PLAIN LOGIN", " ", "", AUTH_BEARER_NONE, "PLAIN LOGIN", 0},
        {"PLAIN LOGIN CRAM-MD5", "!login, static:all", "", AUTH_BEARER_NONE, "PLAIN CRAM-MD5", 0},
        {"PLAIN LOGIN", "cram-md5 login", "noanonymous", AUTH_BEARER_NONE, "LOGIN", SASL_SEC_NOANONYMOUS},
        {"PLAIN LOGIN", "gssapi", "", AUTH_BEARER_NONE, "", 0},
        {"PLAIN", "", "noplaintext,noactive\tnodictionary forward_secrecy mutual_auth NoAnonymous", AUTH_BEARER_NONE,
         "PLAIN",
         SASL_SEC_NOPLAINTEXT | SASL_SEC_NOACTIVE | SASL_SEC_NODICTIONARY | SASL_SEC_FORWARD_SECRECY |
             SASL_SEC_MUTUAL_AUTH | SASL_SEC_NOANONYMOUS},
        {"PLAIN", "", "noplain", AUTH_BEARER_NONE, NULL, 0},
        {"PLAIN", "hash:/etc/x", "", AUTH_BEARER_NONE, NULL, 0},
        {"PLAIN", "!cidr:/etc/x, static:all", "", AUTH_BEARER_NONE, NULL, 0},
        /* a token: when it is named, or nothing else is left */
        {"PLAIN XOAUTH2", "", "", AUTH_BEARER_NONE, "PLAIN", 0},
        {"PLAIN XOAUTH2", "xoauth2, plain", "", AUTH_BEARER_XOAUTH2, "PLAIN", 0},
        {"PLAIN XOAUTH2", "static:all", "", AUTH_BEARER_NONE, "PLAIN", 0},
        {"xoauth2", "", "noanonymous", AUTH_BEARER_XOAUTH2, "", SASL_SEC_NOANONYMOUS},
        {"XOAUTH2 OAUTHBEARER", "", "", AUTH_BEARER_OAUTHBEARER, "", 0},
        {"XOAUTH2 OAUTHBEARER", "xoauth2", "", AUTH_BEARER_XOAUTH2, "", 0},
        {"XOAUTH2 PLAIN", "!plain, static:all", "", AUTH_BEARER_XOAUTH2, "", 0},
        {"XOAUTH2 CRAM-MD5", "xoauth2 cram-md5", "noplaintext", AUTH_BEARER_NONE, "CRAM-MD5", SASL_SEC_NOPLAINTEXT},
        {"XOAUTH2", "", "mutual_auth", AUTH_BEARER_NONE, "", SASL_SEC_MUTUAL_AUTH},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct auth_client_opts o = {
            .mechanisms = rows[i].offered, .filter = rows[i].filter, .security_options = rows[i].options};
        struct auth_client_choice c;
        const char *reason;

        if (auth_client_choose(&o, &c, &reason) != (rows[i].mechanisms != NULL))
            fail_msg("row %zu", i);
        if (rows[i].mechanisms != NULL) {
            if (c.bearer != rows[i].bearer || c.security != rows[i].security)
                fail_msg("row %zu: %d, %x", i, c.bearer, c.security);
            assert_string_equal(buf_cstr(&c.mechanisms), rows[i].mechanisms);
        }
        buf_release(&c.mechanisms);
    }
}

/* ---- exchanges ---- */

struct client {
    struct loop *loop;
    struct op_scope scope;
    struct auth_client_exchange *exchange;
    bool answered, has_text, complete;
    enum auth_client_outcome outcome;
    char mechanism[64], text[2048], reason[512];
};

static void on_client(void *owner, enum op_status status, const void *result)
{
    const struct auth_client_answer *a = result;
    struct client *c = owner;

    assert_int_equal(status, OP_OK);
    c->answered = true;
    c->outcome = a->outcome;
    c->has_text = a->text != NULL;
    c->complete = a->complete;
    snprintf(c->mechanism, sizeof c->mechanism, "%s", a->mechanism);
    snprintf(c->text, sizeof c->text, "%s", a->text != NULL ? a->text : "");
    snprintf(c->reason, sizeof c->reason, "%s", a->reason);
    assert_null(strstr(c->reason, SASL_PASSWORD));
}

static void client_wait(struct client *c)
{
    while (!c->answered)
        loop_turn(c->loop);
}

static void client_begin(struct client *c, struct loop *loop, const struct auth_client_opts *o)
{
    memset(c, 0, sizeof *c);
    c->loop = loop;
    op_scope_init(&c->scope, "client");
    c->exchange = auth_client_begin(loop, o, &c->scope, on_client, c);
    assert_false(c->answered);
    client_wait(c);
}

static void client_respond(struct client *c, const char *challenge)
{
    c->answered = false;
    auth_client_respond(c->exchange, challenge, &c->scope, on_client, c);
    assert_false(c->answered);
    client_wait(c);
}

static void client_end(struct client *c)
{
    auth_client_end(&c->exchange);
    assert_null(c->exchange);
    op_scope_close(&c->scope);
}

static struct auth_client_opts options(const char *mechanism, const char *password)
{
    return (struct auth_client_opts){.mechanisms =
                                         "X-NONE ANONYMOUS PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256",
                                     .filter = mechanism,
                                     .security_options = "noanonymous",
                                     .host = "mail.example.com",
                                     .user = SASL_USER,
                                     .password = password};
}

/* The SMTP dialogue between the two, without SMTP. Answers the server's last outcome. */
static enum auth_outcome talk(struct client *c, struct server *s, struct login *l)
{
    assert_int_equal(c->outcome, AUTH_CLIENT_SEND);
    login_begin(l, s, c->mechanism, c->has_text ? c->text : NULL);
    login_wait(l);
    while (l->outcome == AUTH_CHALLENGE && c->outcome == AUTH_CLIENT_SEND) {
        client_respond(c, l->text);
        if (c->outcome == AUTH_CLIENT_SEND) {
            assert_true(c->has_text);
            login_respond(l, c->text);
            login_wait(l);
        }
    }
    return l->outcome;
}

/* In a process without smtpd_sasl_type = cyrus: the first who come have the client's plug-ins loaded, all at once. */
static void without_a_server(void **state)
{
    struct auth_client_opts o = options("PLAIN", SASL_PASSWORD);
    struct loop *loop = loop_new();
    struct client clients[20];

    (void)state;
    memset(clients, 0, sizeof clients);
    for (size_t i = 0; i < 20; i++) {
        clients[i].loop = loop;
        op_scope_init(&clients[i].scope, "client");
        clients[i].exchange = auth_client_begin(loop, &o, &clients[i].scope, on_client, &clients[i]);
    }
    for (size_t i = 0; i < 20; i++) {
        client_wait(&clients[i]);
        assert_int_equal(clients[i].outcome, AUTH_CLIENT_SEND);
        assert_string_equal(clients[i].mechanism, "PLAIN");
        client_end(&clients[i]);
    }
    loop_run(loop);
    assert_int_equal(op_live(loop), 0);
    loop_free(&loop);
}

static void every_mechanism(void **state)
{
    static const struct {
        const char *name;
        bool initial;
    } rows[] = {
        {"PLAIN", true},       {"LOGIN", false},      {"CRAM-MD5", false},
        {"DIGEST-MD5", false}, {"SCRAM-SHA-1", true}, {"SCRAM-SHA-256", true},
    };
    struct server s;

    (void)state;
    server_open(&s);
    for (size_t i = 0; i < 2 * (sizeof rows / sizeof *rows); i++) {
        bool right = i % 2 == 0;
        struct auth_client_opts o = options(rows[i / 2].name, right ? SASL_PASSWORD : "wrong horse");
        enum auth_outcome got;
        struct client c;
        struct login l;

        client_begin(&c, s.loop, &o);
        assert_string_equal(c.mechanism, rows[i / 2].name);
        if (right) /* libsasl2 tries to shorten a second DIGEST-MD5 with the same server (RFC 2831 section 2.2) */
            assert_int_equal(c.has_text, rows[i / 2].initial);
        got = talk(&c, &s, &l);
        if (got != (right ? AUTH_SUCCEEDED : AUTH_FAILED) || c.complete < right)
            fail_msg("%s: server %d %s, client %d %s, complete %d", rows[i / 2].name, got, l.reason, c.outcome,
                     c.reason, c.complete);
        assert_string_equal(l.user, SASL_USER);
        login_end(&l);
        client_end(&c);
    }
    server_close(&s);
    assert_false(sasl_logged(SASL_PASSWORD));
}

/* libsasl2 takes the strongest that is left. */
static void the_best(void **state)
{
    static const struct {
        const char *filter, *options, *mechanism; /* NULL: there is none */
    } rows[] = {
        {"", "noanonymous", "SCRAM-SHA-256"},
        {"!scram-sha-256, !scram-sha-1, static:all", "noanonymous", "DIGEST-MD5"},
        {"plain, cram-md5", "noanonymous", "CRAM-MD5"},
        {"plain, cram-md5", "noplaintext", "CRAM-MD5"},
        {"plain, login", "noplaintext", NULL},
        {"", "mutual_auth", "SCRAM-SHA-256"},
        {"cram-md5", "mutual_auth", NULL},
        {"x-none", "", NULL},
        {"gssapi", "", NULL},
        {"anonymous", "noanonymous", NULL},
    };
    struct server s;

    (void)state;
    server_open(&s);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct auth_client_opts o = options(rows[i].filter, SASL_PASSWORD);
        struct client c;

        o.security_options = rows[i].options;
        client_begin(&c, s.loop, &o);
        if (c.outcome != (rows[i].mechanism == NULL ? AUTH_CLIENT_NONE : AUTH_CLIENT_SEND))
            fail_msg("row %zu: %d %s %s", i, c.outcome, c.mechanism, c.reason);
        assert_string_equal(c.mechanism, rows[i].mechanism == NULL ? "" : rows[i].mechanism);
        client_end(&c);
    }
    server_close(&s);
}

static char *decoded(const char *base64)
{
    struct buf b = {0};
    char *text;

    assert_true(codec_base64_decode(&b, slice_str(base64)));
    text = mem_dup(b.data == NULL ? "" : b.data + b.start, buf_len(&b));
    buf_release(&b);
    return text;
}

static const char *encoded(const char *text)
{
    static char base64[512];
    struct buf b = {0};

    codec_base64_encode(&b, slice_str(text));
    snprintf(base64, sizeof base64, "%s", buf_cstr(&b));
    buf_release(&b);
    return base64;
}

/* Postfix's default: the server decides whom the login may act for, unless send_cyrus_sasl_authzid. */
static void authorization_identity(void **state)
{
    struct server s;

    (void)state;
    server_open(&s);
    for (int authzid = 0; authzid < 2; authzid++) {
        struct auth_client_opts o = options("PLAIN", SASL_PASSWORD);
        struct buf b = {0};
        struct client c;

        o.authzid = authzid != 0;
        client_begin(&c, s.loop, &o);
        assert_true(codec_base64_decode(&b, slice_str(c.text)));
        assert_true(slice_starts(buf_slice(&b),
                                 authzid ? SLICE_LIT(SASL_USER "\0" SASL_USER "\0") : SLICE_LIT("\0" SASL_USER "\0")));
        buf_release(&b);
        client_end(&c);
    }
    server_close(&s);
}

/* A server that does not know the password cannot pretend to. */
static void server_must_prove_itself(void **state)
{
    struct auth_client_opts o = options("SCRAM-SHA-256", SASL_PASSWORD);
    struct server s;
    struct client c;
    struct login l;

    (void)state;
    server_open(&s);
    client_begin(&c, s.loop, &o);
    assert_false(c.complete);
    login_begin(&l, &s, c.mechanism, c.text);
    login_wait(&l);
    client_respond(&c, l.text);
    assert_int_equal(c.outcome, AUTH_CLIENT_SEND);
    assert_false(c.complete); /* a 235 now proves nothing */
    client_respond(&c, encoded("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    assert_int_equal(c.outcome, AUTH_CLIENT_ERROR);
    assert_string_not_equal(c.reason, "");
    login_end(&l);
    client_end(&c);
    server_close(&s);
}

static void what_servers_may_say(void **state)
{
    static const char *const challenges[] = {"not base64", "", "=", "AAAA", "bm9uY2U9"};
    struct server s;

    (void)state;
    server_open(&s);
    for (size_t i = 0; i < sizeof challenges / sizeof *challenges; i++) {
        struct auth_client_opts o = options("DIGEST-MD5", SASL_PASSWORD);
        struct client c;

        client_begin(&c, s.loop, &o);
        client_respond(&c, challenges[i]);
        if (c.outcome != AUTH_CLIENT_ERROR)
            fail_msg("%s: %d", challenges[i], c.outcome);
        client_end(&c);
    }
    for (int wrong = 0; wrong < 2; wrong++) { /* a filter, an option */
        struct auth_client_opts o = options(wrong ? "hash:/x" : "", SASL_PASSWORD);
        struct client c;

        o.security_options = wrong ? "" : "noplaintxt";
        client_begin(&c, s.loop, &o);
        assert_int_equal(c.outcome, AUTH_CLIENT_ERROR);
        client_end(&c);
    }
    server_close(&s);
}

static void ended_early(void **state)
{
    struct auth_client_opts o = options("PLAIN", SASL_PASSWORD);
    struct client c = {0};
    struct server s;

    (void)state;
    server_open(&s);
    op_scope_init(&c.scope, "early");
    c.exchange = auth_client_begin(s.loop, &o, &c.scope, on_client, &c);
    auth_client_end(&c.exchange);
    auth_client_end(&c.exchange);
    assert_true(op_scope_idle(&c.scope));
    loop_run(s.loop);
    assert_false(c.answered);
    op_scope_close(&c.scope);
    server_close(&s);
}

/* ---- tokens ---- */

static void token_is_sent(void **state)
{
    static const struct {
        const char *mechanism, *user, *host, *remote, *text;
    } rows[] = {
        {"XOAUTH2", "user@example.com", "mail.example.com", "192.0.2.1;587",
         "user=user@example.com\1auth=Bearer to.ken\1\1"},
        {"OAUTHBEARER", "user@example.com", "mail.example.com", "192.0.2.1;587",
         "n,a=user@example.com,\1host=mail.example.com\1port=587\1auth=Bearer to.ken\1\1"},
        {"OAUTHBEARER", "a,b=c", NULL, NULL, "n,a=a=2Cb=3Dc,\1auth=Bearer to.ken\1\1"},
        {"OAUTHBEARER", "a\1b", NULL, NULL, NULL},
        {"XOAUTH2", "a\nb", NULL, NULL, NULL},
    };
    struct loop *loop = loop_new();

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct auth_client_opts o = {.mechanisms = rows[i].mechanism,
                                     .filter = "",
                                     .security_options = "noanonymous",
                                     .host = rows[i].host,
                                     .remote_addr = rows[i].remote,
                                     .user = rows[i].user,
                                     .password = "to.ken"};
        struct client c;
        char *text;

        client_begin(&c, loop, &o);
        assert_int_equal(c.outcome, rows[i].text == NULL ? AUTH_CLIENT_ERROR : AUTH_CLIENT_SEND);
        if (rows[i].text != NULL) {
            assert_true(c.complete);
            assert_string_equal(c.mechanism, rows[i].mechanism);
            text = decoded(c.text);
            assert_string_equal(text, rows[i].text);
            mem_free(text);
        }
        client_end(&c);
    }
    loop_run(loop);
    loop_free(&loop);
}

static void token_is_refused(void **state)
{
    static const struct {
        const char *mechanism, *challenge, *reason, *answer;
    } rows[] = {
        {"OAUTHBEARER", "{\"status\":\"invalid_token\"}",
         "the server refused the token: {\"status\":\"invalid_token\"}", "\1"},
        {"XOAUTH2", "{\"status\":\"400\",\n\"scope\":\"x\"}",
         "the server refused the token: {\"status\":\"400\",?\"scope\":\"x\"}", ""},
        {"XOAUTH2", "", "the server refused the token", ""},
        {"XOAUTH2", "you said to.ken!", "the server refused the token", ""}, /* it is a secret all the same */
    };
    struct loop *loop = loop_new();

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct auth_client_opts o = {.mechanisms = rows[i].mechanism,
                                     .filter = rows[i].mechanism,
                                     .security_options = "",
                                     .user = "u",
                                     .password = "to.ken"};
        struct client c;
        char *text;

        client_begin(&c, loop, &o);
        client_respond(&c, encoded(rows[i].challenge));
        assert_int_equal(c.outcome, AUTH_CLIENT_SEND);
        assert_false(c.complete);
        assert_string_equal(c.reason, rows[i].reason);
        text = decoded(c.text);
        assert_string_equal(text, rows[i].answer);
        mem_free(text);
        client_respond(&c, "");
        assert_int_equal(c.outcome, AUTH_CLIENT_ERROR);
        client_end(&c);
    }
    loop_run(loop);
    loop_free(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_is_sent),
        cmocka_unit_test(token_is_refused),
        cmocka_unit_test(choice),
        cmocka_unit_test(without_a_server), /* before a server is opened */
        cmocka_unit_test(every_mechanism),
        cmocka_unit_test(the_best),
        cmocka_unit_test(authorization_identity),
        cmocka_unit_test(server_must_prove_itself),
        cmocka_unit_test(what_servers_may_say),
        cmocka_unit_test(ended_early),
    };

    return cmocka_run_group_tests(tests, sasl_setup, sasl_teardown);
}

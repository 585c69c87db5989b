/* libsasl2 in the server: what it offers, what its answers become, and that one that hangs does no harm. */
#include "sasl_fixture.h"

#include "proto/auth/sasl_job.h"

/* Base64 of bytes, valid until the next but seven. */
static const char *b64(const char *p, size_t n)
{
    static char texts[8][256];
    static unsigned turn;
    struct buf b = {0};
    char *text = texts[turn++ % 8];

    codec_base64_encode(&b, slice_make(p, n));
    snprintf(text, sizeof texts[0], "%s", buf_cstr(&b));
    buf_release(&b);
    return text;
}

#define B64(literal) b64(literal, sizeof(literal) - 1)
#define RIGHT        B64("\0" SASL_USER "\0" SASL_PASSWORD)
#define WRONG        B64("\0" SASL_USER "\0wrong horse")

static void expect(struct login *l, enum auth_outcome outcome, const char *user)
{
    login_wait(l);
    assert_int_equal(l->outcome, outcome);
    assert_string_equal(l->user, user);
}

static void mechanisms_and_their_properties(void **state)
{
    static const struct {
        const char *name;
        unsigned properties;
    } rows[] = {
        {"PLAIN", AUTH_PLAINTEXT | AUTH_ACTIVE | AUTH_DICTIONARY},
        {"LOGIN", AUTH_PLAINTEXT | AUTH_ACTIVE | AUTH_DICTIONARY},
        {"CRAM-MD5", AUTH_ACTIVE | AUTH_DICTIONARY},
        {"SCRAM-SHA-256", AUTH_DICTIONARY | AUTH_MUTUAL},
        {"ANONYMOUS", AUTH_ANONYMOUS | AUTH_ACTIVE | AUTH_DICTIONARY},
    };
    const struct auth_mechanism *list;
    struct server s;
    size_t n;

    (void)state;
    server_open(&s);
    n = auth_backend_cyrus.mechanisms(s.backend, &list);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        size_t i = 0;

        while (i < n && strcmp(list[i].name, rows[r].name) != 0)
            i++;
        if (i == n)
            fail_msg("%s is not there", rows[r].name);
        assert_int_equal(list[i].properties, rows[r].properties);
    }
    server_close(&s);
}

static void plain(void **state)
{
    static const struct {
        const char *initial;
        size_t n;
        enum auth_outcome outcome;
        const char *user, *reason;
    } rows[] = {
#define ROW(initial, outcome, user, reason) {initial, sizeof(initial) - 1, outcome, user, reason}
        ROW("\0" SASL_USER "\0" SASL_PASSWORD, AUTH_SUCCEEDED, SASL_USER, ""),
        ROW("\0user\0" SASL_PASSWORD, AUTH_SUCCEEDED, SASL_USER, ""), /* smtpd_sasl_local_domain */
        ROW(SASL_USER "\0" SASL_USER "\0" SASL_PASSWORD, AUTH_SUCCEEDED, SASL_USER, ""),
        ROW("\0" SASL_USER "\0wrong", AUTH_FAILED, SASL_USER, "authentication failure"),
        ROW("\0nobody@example.com\0wrong", AUTH_FAILED, "nobody@example.com", "authentication failure"),
        ROW("\0user@elsewhere.example\0" SASL_PASSWORD, AUTH_FAILED, "user@elsewhere.example",
            "authentication failure"),
        ROW("other@example.com\0" SASL_USER "\0" SASL_PASSWORD, AUTH_FAILED, "other@example.com",
            "authentication failure"), /* nobody may act for somebody else */
        ROW("\0" SASL_USER, AUTH_MALFORMED, "", "bad protocol / cancel"),
        ROW("garbage", AUTH_MALFORMED, "", "bad protocol / cancel"),
        ROW("\0\0", AUTH_MALFORMED, "", "generic failure"),
        ROW("\0a\nb@example.com\0wrong", AUTH_FAILED, "a?b@example.com", "authentication failure"),
    };
    struct server s;
    struct login l;

    (void)state;
    server_open(&s);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        login_begin(&l, &s, "PLAIN", b64(rows[i].initial, rows[i].n));
        login_wait(&l);
        if (l.outcome != rows[i].outcome)
            fail_msg("row %zu: %d %s", i, l.outcome, l.reason);
        assert_string_equal(l.user, rows[i].user);
        assert_string_equal(l.reason, rows[i].reason);
        login_end(&l);
    }
    server_close(&s);
    assert_false(sasl_logged(SASL_PASSWORD));
}

static void words_in_steps(void **state)
{
    struct server s;
    struct login l;

    (void)state;
    server_open(&s);
    login_begin(&l, &s, "PLAIN", NULL);
    expect(&l, AUTH_CHALLENGE, "");
    assert_string_equal(l.text, "");
    login_respond(&l, RIGHT);
    expect(&l, AUTH_SUCCEEDED, SASL_USER);
    login_end(&l);

    login_begin(&l, &s, "LOGIN", NULL);
    expect(&l, AUTH_CHALLENGE, "");
    assert_string_equal(l.text, B64("Username:"));
    login_respond(&l, B64(SASL_USER));
    expect(&l, AUTH_CHALLENGE, "");
    assert_string_equal(l.text, B64("Password:"));
    login_respond(&l, B64(SASL_PASSWORD));
    expect(&l, AUTH_SUCCEEDED, SASL_USER);
    login_end(&l);

    login_begin(&l, &s, "LOGIN", B64(SASL_USER)); /* the name at once */
    expect(&l, AUTH_CHALLENGE, "");
    login_respond(&l, B64("wrong horse"));
    expect(&l, AUTH_FAILED, SASL_USER);
    login_end(&l);
    server_close(&s);
}

static void what_is_wrong_at_once(void **state)
{
    struct server s;
    struct login l;

    (void)state;
    server_open(&s);
    login_begin(&l, &s, "X-NONE", NULL);
    expect(&l, AUTH_NO_MECHANISM, "");
    login_end(&l);
    login_begin(&l, &s, "PLAIN", "not base64");
    expect(&l, AUTH_MALFORMED, "");
    login_end(&l);
    login_begin(&l, &s, "PLAIN", NULL);
    login_wait(&l);
    login_respond(&l, "AA=A");
    expect(&l, AUTH_MALFORMED, "");
    login_end(&l);
    login_begin(&l, &s, "CRAM-MD5", NULL);
    expect(&l, AUTH_CHALLENGE, "");
    login_respond(&l, B64("nothing"));
    login_wait(&l);
    assert_int_not_equal(l.outcome, AUTH_SUCCEEDED);
    login_end(&l);
    server_close(&s);
}

static void one_application(void **state)
{
    struct server s;
    struct conf other;
    struct buf err = {0};

    (void)state;
    server_open(&s);
    other = s.conf;
    other.smtpd_sasl_path = "another";
    assert_null(auth_backend_cyrus.open(s.loop, NULL, &other, &err));
    assert_non_null(strstr(buf_cstr(&err), "smtpd_sasl_path: "));
    assert_non_null(strstr(buf_cstr(&err), "\"mtatest\""));
    buf_release(&err);
    server_close(&s);
}

/* As when saslauthd is not running: 454, and it is used again when it is there. */
static void dead_saslauthd(void **state)
{
    char *away = mem_printf("%s.away", sasl.mux);
    struct server s;
    struct login l;

    (void)state;
    server_open(&s);
    assert_int_equal(rename(sasl.mux, away), 0);
    login_begin(&l, &s, "PLAIN", RIGHT);
    expect(&l, AUTH_UNAVAILABLE, SASL_USER);
    login_end(&l);
    assert_true(sasl_logged("cannot connect to saslauthd"));
    assert_int_equal(rename(away, sasl.mux), 0);
    login_begin(&l, &s, "PLAIN", RIGHT);
    expect(&l, AUTH_SUCCEEDED, SASL_USER);
    login_end(&l);
    server_close(&s);
    mem_free(away);
}

#define MANY 50

static void many_at_once(void **state)
{
    struct login logins[MANY];
    struct server s;

    (void)state;
    server_open(&s);
    for (size_t i = 0; i < MANY; i++)
        login_begin(&logins[i], &s, "PLAIN", i % 3 == 0 ? WRONG : RIGHT);
    for (size_t i = 0; i < MANY; i++) {
        expect(&logins[i], i % 3 == 0 ? AUTH_FAILED : AUTH_SUCCEEDED, SASL_USER);
        login_end(&logins[i]);
    }
    server_close(&s);
}

/*
 * Sessions go away while saslauthd hangs, in every way; when every thread hangs the next one is refused at once; the
 * loop ends meanwhile; and when saslauthd goes on, so do we.
 */
static void hanging_saslauthd(void **state)
{
    struct login logins[2 * SASL_JOB_THREADS], l;
    struct server s;

    (void)state;
    server_open(&s);
    pthread_mutex_lock(&sasl.gate);
    for (size_t i = 0; i < 2 * SASL_JOB_THREADS; i++)
        login_begin(&logins[i], &s, "PLAIN", RIGHT);
    login_begin(&l, &s, "PLAIN", "not base64"); /* needs no thread */
    expect(&l, AUTH_MALFORMED, "");
    login_end(&l);
    /* The threads have taken the first jobs once others are left over: those that wait are ended in the end. */
    while (!sasl_job_all_hang()) {
        for (size_t i = 0; i < 2 * SASL_JOB_THREADS; i++) {
            op_scope_close(&logins[i].scope);
            auth_backend_cyrus.end(logins[i].exchange);
        }
        for (size_t i = 0; i < 2 * SASL_JOB_THREADS; i++)
            login_begin(&logins[i], &s, "PLAIN", RIGHT);
        usleep(10000);
    }
    for (size_t i = 0; i < 2 * SASL_JOB_THREADS; i++)
        login_end(&logins[i]);
    login_begin(&l, &s, "PLAIN", RIGHT);
    expect(&l, AUTH_UNAVAILABLE, "");
    assert_non_null(strstr(l.reason, "in time"));
    login_end(&l);
    server_close(&s);

    pthread_mutex_unlock(&sasl.gate);
    server_open(&s);
    while (sasl_job_all_hang())
        usleep(10000);
    login_begin(&l, &s, "PLAIN", RIGHT);
    expect(&l, AUTH_SUCCEEDED, SASL_USER);
    login_end(&l);
    server_close(&s);
}

/* An exchange may be ended in its own callback, and before the callback of a finished op. */
static void on_answer_end(void *owner, enum op_status status, const void *result)
{
    struct login *l = owner;
    const struct auth_answer *a = result;

    auth_backend_cyrus.end(l->exchange);
    login_on_answer(l, status, a);
}

static void ended_early(void **state)
{
    static const struct auth_client client = {.host = "mail.example.com"};
    struct server s;
    struct login l = {0};

    (void)state;
    server_open(&s);
    l.server = &s;
    op_scope_init(&l.scope, "early");
    l.exchange = auth_backend_cyrus.begin(s.backend, &client, "PLAIN", WRONG, &l.scope, on_answer_end, &l);
    expect(&l, AUTH_FAILED, SASL_USER);
    op_scope_close(&l.scope);
    login_begin(&l, &s, "X-NONE", NULL); /* finished, and not delivered yet */
    login_end(&l);
    login_begin(&l, &s, "PLAIN", WRONG);
    auth_backend_cyrus.end(l.exchange); /* the scope stays open */
    assert_true(op_scope_idle(&l.scope));
    loop_run(s.loop);
    assert_false(l.answered);
    op_scope_close(&l.scope);
    server_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mechanisms_and_their_properties),
        cmocka_unit_test(plain),
        cmocka_unit_test(words_in_steps),
        cmocka_unit_test(what_is_wrong_at_once),
        cmocka_unit_test(one_application),
        cmocka_unit_test(dead_saslauthd),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(hanging_saslauthd),
        cmocka_unit_test(ended_early),
    };

    return cmocka_run_group_tests(tests, sasl_setup, sasl_teardown);
}

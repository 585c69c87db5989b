/*
 * PLAIN and LOGIN over tables: every outcome, what the login is, that somebody who does not exist costs one computed
 * hash like somebody who does, that a broken table or an unknown scheme is never "wrong password".
 */
#include "support/auth_fixture.h"

#include <crypt.h>
#include <dlfcn.h>
#include <pthread.h>

/* In the place of libcrypt's: counts, on whatever thread. */
static _Atomic unsigned computed, now, most; /* in all, at this moment, at any moment */
static char setting[512];                    /* of the last one */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

char *crypt_r(const char *phrase, const char *with, struct crypt_data *data)
{
    char *(*real)(const char *, const char *, struct crypt_data *) = NULL;
    char *hash;

    *(void **)&real = dlsym(RTLD_NEXT, "crypt_r");
    assert_non_null(real);
    computed++;
    if (++now > most)
        most = now;
    pthread_mutex_lock(&lock);
    snprintf(setting, sizeof setting, "%s", with);
    pthread_mutex_unlock(&lock);
    hash = real(phrase, with, data);
    now--;
    return hash;
}

#define BLOWFISH "$$2y$$05$$UXMbM2.X2Q7WQg7vK66yFeXlvqehTikyY9YDFqE1en72DIl6igx1y" /* as in mta.conf */
#define TABLES                                                                                                         \
    "smtpd_sasl_type = table\n"                                                                                        \
    "smtpd_sasl_password_maps = inline:{ {user@example.com={PLAIN}secret}, {hash@example.com=" BLOWFISH "},"           \
    " {odd@example.com={CRAM-MD5}xxxx}, {locked@example.com=!}, {j\xC3\xB6rg@example.com={PLAIN}secret} }\n"

#define B64 AUTH_FIXTURE_BASE64

struct row {
    const char *bytes; /* of the response to PLAIN */
    size_t n;
    enum auth_outcome outcome;
    const char *user;
};
#define ROW(bytes, outcome, user)                                                                                      \
    {                                                                                                                  \
        bytes, sizeof(bytes) - 1, outcome, user                                                                        \
    }

static const struct row plain_rows[] = {
    ROW("\0user@example.com\0secret", AUTH_SUCCEEDED, "user@example.com"),
    ROW("user@example.com\0user@example.com\0secret", AUTH_SUCCEEDED, "user@example.com"),
    ROW("\0USER@Example.COM\0secret", AUTH_SUCCEEDED, "user@example.com"),
    ROW("\0hash@example.com\0secret", AUTH_SUCCEEDED, "hash@example.com"),
    ROW("\0j\xC3\xB6rg@example.com\0secret", AUTH_SUCCEEDED, "j\xC3\xB6rg@example.com"),
    ROW("\0user@example.com\0Secret", AUTH_FAILED, "user@example.com"),
    ROW("\0user@example.com\0", AUTH_FAILED, "user@example.com"),
    ROW("\0user\0secret", AUTH_FAILED, "user"),
    ROW("\0nobody@example.com\0secret", AUTH_FAILED, "nobody@example.com"),
    ROW("\0locked@example.com\0!", AUTH_FAILED, "locked@example.com"),
    ROW("other@example.com\0user@example.com\0secret", AUTH_FAILED, "user@example.com"),
    ROW("\0odd@example.com\0secret", AUTH_UNAVAILABLE, "odd@example.com"),
    ROW("", AUTH_MALFORMED, ""),
    ROW("\0", AUTH_MALFORMED, ""),
    ROW("\0\0", AUTH_MALFORMED, ""),
    ROW("\0\0secret", AUTH_MALFORMED, ""),
    ROW("user@example.com", AUTH_MALFORMED, ""),
    ROW("\0user@example.com", AUTH_MALFORMED, ""),
    ROW("\0user@example.com\0secret\0", AUTH_MALFORMED, ""),
    ROW("\0user@example.com\0sec\0ret", AUTH_MALFORMED, ""),
    ROW("\0user\n@example.com\0secret", AUTH_MALFORMED, ""),
    ROW("\0user\xFF@example.com\0secret", AUTH_MALFORMED, ""),
};

static void check_plain_row(struct auth_fixture *f, const struct row *r)
{
    const char *response = auth_fixture_base64(r->bytes, r->n);

    if (auth_fixture_begin(f, "PLAIN", r->n == 0 ? "=" : response) != r->outcome || strcmp(f->user, r->user) != 0)
        fail_msg("%s: outcome %d, user \"%s\"", response, (int)f->outcome, f->user);
    assert_int_equal(auth_fixture_begin(f, "plain", NULL), AUTH_CHALLENGE);
    assert_string_equal(f->text, "");
    if (auth_fixture_respond(f, response) != r->outcome || strcmp(f->user, r->user) != 0)
        fail_msg("%s in two steps: outcome %d, user \"%s\"", response, (int)f->outcome, f->user);
    assert_null(strstr(f->reason, "secret"));
}

static void plain(void **state)
{
    struct auth_fixture f;

    (void)state;
    auth_fixture_open(&f, TABLES);
    for (size_t i = 0; i < ARRAY_LEN(plain_rows); i++)
        check_plain_row(&f, &plain_rows[i]);
    auth_fixture_close(&f);
}

static void a_login_may_be_too_long(void **state)
{
    struct auth_fixture f;
    char bytes[400] = {0};

    (void)state;
    auth_fixture_open(&f, TABLES);
    memset(bytes + 1, 'a', 320);
    strcpy(bytes + 322, "secret");
    assert_int_equal(auth_fixture_begin(&f, "PLAIN", auth_fixture_base64(bytes, 328)), AUTH_FAILED);
    memset(bytes + 1, 'a', 321);
    bytes[322] = '\0';
    assert_int_equal(auth_fixture_begin(&f, "PLAIN", auth_fixture_base64(bytes, 329)), AUTH_MALFORMED);
    auth_fixture_close(&f);
}

static void login(void **state)
{
    struct auth_fixture f;

    (void)state;
    auth_fixture_open(&f, TABLES);
    assert_int_equal(auth_fixture_begin(&f, "LOGIN", NULL), AUTH_CHALLENGE);
    assert_string_equal(f.text, B64("Username:"));
    assert_int_equal(auth_fixture_respond(&f, B64("user@example.com")), AUTH_CHALLENGE);
    assert_string_equal(f.text, B64("Password:"));
    assert_int_equal(auth_fixture_respond(&f, B64("secret")), AUTH_SUCCEEDED);
    assert_string_equal(f.user, "user@example.com");

    assert_int_equal(auth_fixture_begin(&f, "LOGIN", B64("user@example.com")), AUTH_CHALLENGE);
    assert_string_equal(f.text, B64("Password:"));
    assert_int_equal(auth_fixture_respond(&f, B64("wrong")), AUTH_FAILED);
    assert_string_equal(f.user, "user@example.com");

    assert_int_equal(auth_fixture_begin(&f, "LOGIN", B64("user@example.com")), AUTH_CHALLENGE);
    assert_int_equal(auth_fixture_respond(&f, ""), AUTH_FAILED);

    assert_int_equal(auth_fixture_begin(&f, "LOGIN", "="), AUTH_MALFORMED);
    assert_int_equal(auth_fixture_begin(&f, "LOGIN", NULL), AUTH_CHALLENGE);
    assert_int_equal(auth_fixture_respond(&f, ""), AUTH_MALFORMED);
    assert_int_equal(auth_fixture_begin(&f, "LOGIN", B64("user@example.com")), AUTH_CHALLENGE);
    assert_int_equal(auth_fixture_respond(&f, B64("sec\0ret")), AUTH_MALFORMED);
    auth_fixture_close(&f);
}

static void a_domain_for_logins_without_one(void **state)
{
    struct auth_fixture f;

    (void)state;
    auth_fixture_open(&f, TABLES "smtpd_sasl_local_domain = example.com");
    assert_int_equal(auth_fixture_begin(&f, "PLAIN", B64("\0user\0secret")), AUTH_SUCCEEDED);
    assert_string_equal(f.user, "user@example.com");
    assert_int_equal(auth_fixture_begin(&f, "PLAIN", B64("\0user@other.example\0secret")), AUTH_FAILED);
    assert_string_equal(f.user, "user@other.example");
    auth_fixture_close(&f);
}

static void a_broken_table_is_not_a_wrong_password(void **state)
{
    struct auth_fixture f;

    (void)state;
    auth_fixture_open(&f, "smtpd_sasl_type = table\nsmtpd_sasl_password_maps = fail:out-of-order\n");
    assert_int_equal(auth_fixture_begin(&f, "PLAIN", B64("\0user@example.com\0secret")), AUTH_UNAVAILABLE);
    assert_non_null(strstr(f.reason, "out-of-order"));
    auth_fixture_close(&f);
}

static void an_unknown_scheme_is_named(void **state)
{
    struct auth_fixture f;

    (void)state;
    auth_fixture_open(&f, TABLES);
    assert_int_equal(auth_fixture_begin(&f, "PLAIN", B64("\0odd@example.com\0secret")), AUTH_UNAVAILABLE);
    assert_string_equal(f.reason,
                        "the stored password of odd@example.com has the scheme CRAM-MD5, which is not supported");
    auth_fixture_close(&f);
}

/* One computed hash each, of the kind that was seen last: at first SHA512-CRYPT. */
static void who_does_not_exist_costs_the_same(void **state)
{
    static const struct row rows[] = {
        ROW("\0nobody@example.com\0secret", AUTH_FAILED, "$6$"),
        ROW("\0hash@example.com\0secret", AUTH_SUCCEEDED, "$2y$05$"),
        ROW("\0hash@example.com\0wrong", AUTH_FAILED, "$2y$05$"),
        ROW("\0nobody@example.com\0secret", AUTH_FAILED, "$2y$05$"),
        ROW("\0hash@example.com\0", AUTH_FAILED, "$2y$05$"),
    };
    struct auth_fixture f;

    (void)state;
    auth_fixture_open(&f, TABLES);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        computed = 0;
        assert_int_equal(auth_fixture_begin(&f, "PLAIN", auth_fixture_base64(rows[i].bytes, rows[i].n)),
                         rows[i].outcome);
        assert_int_equal(computed, 1);
        assert_int_equal(strncmp(setting, rows[i].user, strlen(rows[i].user)), 0);
    }
    auth_fixture_close(&f);
}

/* The password of the user whose hash was seen last is not one for somebody who does not exist. */
static void a_dummy_lets_nobody_in(void **state)
{
    struct auth_fixture f;

    (void)state;
    auth_fixture_open(&f, TABLES);
    assert_int_equal(auth_fixture_begin(&f, "PLAIN", B64("\0user@example.com\0secret")), AUTH_SUCCEEDED);
    assert_int_equal(auth_fixture_begin(&f, "PLAIN", B64("\0nobody@example.com\0secret")), AUTH_FAILED);
    auth_fixture_close(&f);
}

/* Many at once do not take all threads, whoever goes away in the meantime; the others get their answers. */
static void few_are_computed_at_the_same_time(void **state)
{
    struct auth_fixture f;
    struct auth_client client = {.addr = "192.0.2.1", .local_addr = "192.0.2.25", .host = "mail.example.com"};
    struct auth_exchange *exchanges[24];
    struct auth_fixture answers[ARRAY_LEN(exchanges)] = {{.done = false}};
    size_t answered = 0;

    (void)state;
    auth_fixture_open(&f, TABLES);
    most = 0;
    for (size_t i = 0; i < ARRAY_LEN(exchanges); i++)
        exchanges[i] = auth_begin(f.auth, &client, "PLAIN", B64("\0hash@example.com\0secret"), &f.bench.scope,
                                  auth_fixture_on_answer, &answers[i]);
    for (size_t i = 0; i < ARRAY_LEN(exchanges); i += 3)
        auth_end(&exchanges[i]);
    for (int i = 0; i < 3; i++)
        loop_turn(f.bench.loop);
    for (size_t i = 1; i < ARRAY_LEN(exchanges); i += 3)
        auth_end(&exchanges[i]);
    while (op_live(f.bench.loop) > 0)
        loop_turn(f.bench.loop);
    for (size_t i = 2; i < ARRAY_LEN(exchanges); i += 3) {
        answered += answers[i].done && answers[i].outcome == AUTH_SUCCEEDED;
        auth_end(&exchanges[i]);
    }
    assert_int_equal(answered, ARRAY_LEN(exchanges) / 3);
    assert_in_range(most, 1, 4);
    auth_fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(a_login_may_be_too_long),
        cmocka_unit_test(login),
        cmocka_unit_test(a_domain_for_logins_without_one),
        cmocka_unit_test(a_broken_table_is_not_a_wrong_password),
        cmocka_unit_test(an_unknown_scheme_is_named),
        cmocka_unit_test(who_does_not_exist_costs_the_same),
        cmocka_unit_test(a_dummy_lets_nobody_in),
        cmocka_unit_test(few_are_computed_at_the_same_time),
    };

    setenv("UV_THREADPOOL_SIZE", "16", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

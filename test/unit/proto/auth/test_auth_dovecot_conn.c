/*
 * The connection to a scripted Dovecot: every way in which the service can be away, go away, come back, be replaced and
 * be silent.
 */
#include "unit/proto/auth/fake_dovecot.h"

/* ---- which connection ---- */

/* One connection for all that name the same socket, whatever else they say; it closes with the last one. */
static void connection_is_shared(void **state)
{
    struct exchange_of e;
    struct world w;
    void *second;
    char absolute[100];

    (void)state;
    world_open(&w, HELLO, false);
    snprintf(absolute, sizeof absolute, "unix:%s/auth", w.dir);
    w.conf.smtpd_sasl_path = absolute;
    w.conf.smtpd_sasl_service = "submission";
    second = world_backend(&w);
    world_up(&w);
    auth_backend_dovecot.close(w.backend);
    w.backend = second;
    world_begin(&w, &e, "PLAIN", NULL);
    UNTIL(&w, world_got(&w, "service=submission"));
    assert_int_equal(w.naccepted, 1);
    auth_backend_dovecot.close(second); /* a reload: what has begun goes on */
    w.backend = NULL;
    world_say(&w, "OK\t1\tuser=u\n");
    world_expect(&w, &e, AUTH_SUCCEEDED, "u");
    assert_int_equal(w.nclosed, 0);
    world_end(&e);
    UNTIL(&w, w.nclosed == 1);
    assert_int_equal(w.naccepted, 1);
    world_close(&w);
}

static const struct {
    const char *path, *complaint; /* NULL: none */
} paths[] = {
    {"inet:127.0.0.1:1", NULL},
    {"inet:[::1]:1", NULL},
    {"private/auth", NULL},
    {"", "smtpd_sasl_path: is empty"},
    {"unix:", "smtpd_sasl_path: is empty"},
    {"inet:", "smtpd_sasl_path: \"\" is not host:port"},
    {"inet:localhost", "smtpd_sasl_path: \"localhost\" is not host:port"},
    {"inet:localhost:nonsense", "smtpd_sasl_path: \"nonsense\" is neither"},
};

static void paths_are_checked(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, HELLO, false);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct buf err = {0};
        void *backend;

        buf_add_str(&err, "earlier ");
        w.conf.smtpd_sasl_path = paths[i].path;
        backend = auth_backend_dovecot.open(w.loop, NULL, &w.conf, &err);
        assert_true((backend != NULL) == (paths[i].complaint == NULL));
        assert_non_null(strstr(buf_cstr(&err), "earlier "));
        if (backend != NULL)
            auth_backend_dovecot.close(backend);
        else if (strstr(buf_cstr(&err), paths[i].complaint) == NULL)
            fail_msg("%s", buf_cstr(&err));
        buf_release(&err);
    }
    world_close(&w);
}

/* ---- away ---- */

static const struct {
    const char *hello, *why;
} bad_hellos[] = {
    {"VERSION\t2\t0\nMECH\tPLAIN\nDONE\n", "it speaks another version"},
    {"VERSION\t1\t1\nSPID\t12\n", "it is the wrong socket (auth-master?)"},
    {"VERSION\t1\t1\nSPID\t12\nMECH\tPLAIN\nDONE\n", "it is the wrong socket (auth-master?)"},
    {"VERSION\t1\t1\nDONE\n", "it offers no mechanism"},
    {"MECH\tPLAIN\nSPID\t1\nDONE\n", "it does not say its version"},
    {NULL, "it sends a line without an end"},
};

static void bad_handshakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_hellos); i++) {
        struct exchange_of e;
        struct world w;

        world_open(&w, bad_hellos[i].hello, false);
        world_begin(&w, &e, "PLAIN", "AHUAcA==");
        if (bad_hellos[i].hello == NULL) {
            char *endless = mem_new(20001);

            memset(endless, 'x', 20000);
            UNTIL(&w, w.naccepted == 1);
            world_say(&w, endless);
            mem_free(endless);
        }
        world_expect(&w, &e, AUTH_UNAVAILABLE, "");
        assert_non_null(strstr(e.reason, bad_hellos[i].why));
        assert_non_null(strstr(w.log, "mta/smtpd["));
        assert_non_null(strstr(w.log, "warning: SASL: Connect to Dovecot auth socket 'auth' failed: "));
        assert_non_null(strstr(w.log, bad_hellos[i].why));
        assert_int_equal(world_mechanisms(&w), 0);
        assert_false(world_got(&w, "AUTH"));
        world_end(&e);
        world_close(&w);
    }
}

static void away_and_back(void **state)
{
    (void)state;
    for (int inet = 0; inet < 2; inet++) {
        struct exchange_of e;
        struct world w;

        world_open(&w, HELLO, inet);
        world_up(&w);
        world_unlisten(&w);
        world_begin(&w, &e, "PLAIN", "AHUAcA==");
        UNTIL(&w, world_got(&w, AUTH_LINE("1")));
        world_say(&w, "FAIL\t1\tuser=u\n");
        world_expect(&w, &e, AUTH_FAILED, "u");
        world_end(&e);
        world_drop(&w);
        UNTIL(&w, world_mechanisms(&w) == 0);
        world_begin(&w, &e, "PLAIN", "AHUAcA==");
        world_expect(&w, &e, AUTH_UNAVAILABLE, "");
        assert_non_null(strstr(e.reason, "it is not there"));
        world_end(&e);
        for (uint64_t begun = loop_now_ms(w.loop); loop_now_ms(w.loop) - begun < 1500; world_turn(&w))
            assert_int_equal(world_mechanisms(&w), 0); /* asked for all the time */
        assert_int_equal(count_of(w.log, "\n"), 1);
        assert_int_equal(count_of(w.log, "warning: SASL: Connect to Dovecot auth socket '"), 1);
        assert_non_null(strstr(w.log, inet ? "connection refused" : "no such file or directory"));
        world_listen(&w, inet);
        world_up(&w);
        assert_int_equal(count_of(w.log, "\n"), 2);
        assert_non_null(strstr(w.log, "' is back\n"));
        world_begin(&w, &e, "PLAIN", "AHUAcA==");
        UNTIL(&w, world_got(&w, AUTH_LINE("2")));
        world_say(&w, "OK\t2\tuser=u\n");
        world_expect(&w, &e, AUTH_SUCCEEDED, "u");
        world_end(&e);
        world_close(&w);
    }
}

/* Nobody asks, and it is found all the same. */
static void comes_back_by_itself(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, HELLO, false);
    world_unlisten(&w);
    world_drop(&w);
    UNTIL(&w, strstr(w.log, "failed") != NULL || w.naccepted > 0);
    world_drop(&w); /* it may have been faster than we were */
    UNTIL(&w, strstr(w.log, "failed") != NULL);
    world_listen(&w, false);
    UNTIL(&w, strstr(w.log, "is back") != NULL);
    world_close(&w);
}

/* A connection that is lost: what was asked is asked again, once; what the client has answered to cannot be. */
static void lost_in_the_middle(void **state)
{
    struct exchange_of first, second, login, idle;
    struct world w;

    (void)state;
    world_open(&w, HELLO, false);
    world_up(&w);
    world_begin(&w, &login, "LOGIN", NULL);
    world_begin(&w, &idle, "LOGIN", NULL);
    UNTIL(&w, world_got(&w, "AUTH\t2"));
    world_say(&w, "CONT\t1\tVXNlcm5hbWU6\nCONT\t2\tVXNlcm5hbWU6\n");
    world_expect(&w, &login, AUTH_CHALLENGE, "");
    world_expect(&w, &idle, AUTH_CHALLENGE, "");
    world_respond(&login, "dQ==");
    world_begin(&w, &first, "PLAIN", "AHUAcA==");
    world_begin(&w, &second, "PLAIN", "AHUAcA==");
    UNTIL(&w, world_got(&w, AUTH_LINE("4")));
    buf_clear(&w.got);
    world_drop(&w);
    assert_true(world_mechanisms(&w) > 0);
    UNTIL(&w, world_got(&w, AUTH_LINE("5") AUTH_LINE("6"))); /* in order */
    assert_true(world_mechanisms(&w) > 0);                   /* nobody has seen it */
    world_expect(&w, &login, AUTH_UNAVAILABLE, "");
    assert_string_equal(login.reason, "it closed the connection");
    world_respond(&idle, "dQ==");
    world_expect(&w, &idle, AUTH_UNAVAILABLE, "");
    world_say(&w, "OK\t5\tuser=first\n");
    world_expect(&w, &first, AUTH_SUCCEEDED, "first");
    world_drop(&w);
    world_expect(&w, &second, AUTH_UNAVAILABLE, "");
    world_end(&first);
    world_end(&second);
    world_end(&login);
    world_end(&idle);
    UNTIL(&w, w.naccepted == 3);
    assert_string_equal(w.log, "");
    world_close(&w);
}

/* The same with more than Dovecot is given at once: those that were sent go first, the order stays. */
static void lost_with_a_queue(void **state)
{
    enum { N = 1000 };
    static struct exchange_of e[N];
    struct exchange_of login, last;
    struct world w;

    (void)state;
    world_open(&w, HELLO, false);
    world_up(&w);
    world_begin(&w, &login, "LOGIN", NULL);
    UNTIL(&w, world_got(&w, "AUTH\t1\t"));
    world_say(&w, "CONT\t1\tVXNlcm5hbWU6\n");
    world_expect(&w, &login, AUTH_CHALLENGE, "");
    for (int i = 0; i < N; i++)
        world_begin(&w, &e[i], "PLAIN", "AHUAcA==");
    world_respond(&login, "dQ==");
    world_begin(&w, &last, "PLAIN", "AHUAcA==");
    UNTIL(&w, count_of(buf_cstr(&w.got), "AUTH\t") == N + 1);
    assert_false(world_got(&w, "CONT"));
    buf_clear(&w.got);
    world_drop(&w);
    UNTIL(&w, count_of(buf_cstr(&w.got), "AUTH\t") == N);
    world_expect(&w, &login, AUTH_UNAVAILABLE, "");
    world_end(&login);
    assert_false(world_got(&w, "CONT"));
    world_say(&w, "OK\t1002\tuser=first\n");
    world_expect(&w, &e[0], AUTH_SUCCEEDED, "first");
    UNTIL(&w, world_got(&w, "AUTH\t2002\t"));
    world_say(&w, "OK\t2002\tuser=last\n");
    world_expect(&w, &last, AUTH_SUCCEEDED, "last");
    for (int i = 0; i < N; i++)
        world_end(&e[i]);
    world_end(&last);
    world_close(&w);
}

/* One that greets and closes is not tried in a circle, and its requests do not wait for ever. */
static void flapping(void **state)
{
    struct exchange_of e;
    struct world w;
    uint64_t begun;

    (void)state;
    world_open(&w, HELLO, false);
    begun = loop_now_ms(w.loop);
    world_begin(&w, &e, "PLAIN", "AHUAcA=="); /* waits for the handshake */
    UNTIL(&w, world_got(&w, AUTH_LINE("1")));
    world_drop(&w);
    world_expect(&w, &e, AUTH_UNAVAILABLE, "");
    world_end(&e);
    for (; loop_now_ms(w.loop) - begun < 900; world_turn(&w)) {
        assert_int_equal(world_mechanisms(&w), 0);
        assert_int_equal(w.naccepted, 1);
    }
    UNTIL(&w, world_mechanisms(&w) > 0);
    assert_int_equal(w.naccepted, 2);
    world_close(&w);
}

/* It was configured anew: Dovecot would cut the connection of who asks for what it does not offer. */
static void mechanism_is_gone(void **state)
{
    struct exchange_of e, f;
    struct world w;

    (void)state;
    world_open(&w, HELLO, false);
    world_up(&w);
    world_begin(&w, &e, "PLAIN", NULL);
    world_begin(&w, &f, "LOGIN", NULL);
    UNTIL(&w, world_got(&w, "AUTH\t2\t"));
    world_say(&w, "OK\t99\n");
    w.hello = "VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nDONE\n";
    world_turn(&w);
    world_turn(&w);
    world_drop(&w);
    world_expect(&w, &f, AUTH_UNAVAILABLE, "");
    assert_non_null(strstr(f.reason, "not offered any more"));
    UNTIL(&w, world_got(&w, "AUTH\t3\tPLAIN"));
    assert_true(world_got(&w, "\tsecured\n")); /* the older version */
    world_say(&w, "OK\t3\tuser=u\n");
    world_expect(&w, &e, AUTH_SUCCEEDED, "u");
    world_end(&e);
    world_end(&f);
    world_close(&w);
}

/* A socket that takes connections and says nothing. */
static int listen_mute(struct world *w, char *path, size_t size)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(sun.sun_path, sizeof sun.sun_path, "%s/mute", w->dir);
    snprintf(path, size, "unix:%s", sun.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

/* Silence for some seconds: the socket is looked at, and the same process behind it may take its time. */
static void slow(void **state)
{
    struct exchange_of e, login, never;
    struct world w;
    uint64_t begun;
    void *usual;
    char path[sizeof(struct sockaddr_un) + 8];
    int fd;

    (void)state;
    world_open(&w, HELLO, false);
    world_up(&w);
    world_begin(&w, &login, "LOGIN", NULL);
    world_begin(&w, &never, "PLAIN", "AHUAcA==");
    UNTIL(&w, world_got(&w, "AUTH\t2\t"));
    world_say(&w, "CONT\t1\tVXNlcm5hbWU6\n");
    world_expect(&w, &login, AUTH_CHALLENGE, "");
    world_respond(&login, "dQ==");
    UNTIL(&w, w.naccepted == 2);
    UNTIL(&w, w.nclosed == 1);
    assert_non_null(w.peers[0].stream);
    assert_int_equal(count_of(buf_cstr(&w.got), "AUTH\t"), 2);
    world_say(&w, "OK\t1\tuser=u\n");
    world_expect(&w, &login, AUTH_SUCCEEDED, "u");
    world_end(&login);

    /* meanwhile another service, which takes the connection and never greets */
    usual = w.backend;
    fd = listen_mute(&w, path, sizeof path);
    w.conf.smtpd_sasl_path = path;
    w.backend = world_backend(&w);
    world_begin(&w, &e, "PLAIN", "AHUAcA==");
    begun = loop_now_ms(w.loop);
    auth_backend_dovecot.close(w.backend);
    w.backend = usual;
    world_expect(&w, &e, AUTH_UNAVAILABLE, "");
    assert_in_range(loop_now_ms(w.loop) - begun, 9900, 25000);
    assert_string_equal(e.reason, "it does not greet");
    world_end(&e);
    close(fd);
    unlink(path + strlen("unix:"));

    world_expect(&w, &never, AUTH_UNAVAILABLE, "");
    assert_string_equal(never.reason, "it does not answer");
    UNTIL(&w, world_got(&w, "CANCEL\t2\n"));
    assert_non_null(w.peers[0].stream);
    assert_true(world_mechanisms(&w) > 0);
    world_end(&never);
    world_close(&w);
}

/* Another process is behind the socket: the old one, which still has the connection, answers nothing any more. */
static void replaced(void **state)
{
    struct exchange_of e, login;
    struct world w;

    (void)state;
    world_open(&w, HELLO, false);
    world_up(&w);
    world_begin(&w, &login, "LOGIN", NULL);
    UNTIL(&w, world_got(&w, "AUTH\t1\t"));
    world_say(&w, "CONT\t1\tVXNlcm5hbWU6\n");
    world_expect(&w, &login, AUTH_CHALLENGE, "");
    world_respond(&login, "dQ==");
    world_begin(&w, &e, "PLAIN", "AHUAcA==");
    w.hello = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t43\nDONE\n";
    UNTIL(&w, world_got(&w, AUTH_LINE("3")));
    UNTIL(&w, w.nclosed == 1);
    assert_null(w.peers[0].stream);
    world_expect(&w, &login, AUTH_UNAVAILABLE, "");
    assert_string_equal(login.reason, "it was restarted");
    assert_int_equal(world_mechanisms(&w), 1);
    world_say(&w, "OK\t3\tuser=u\n");
    world_expect(&w, &e, AUTH_SUCCEEDED, "u");
    world_end(&e);
    world_end(&login);
    assert_int_equal(w.naccepted, 2);
    assert_string_equal(w.log, "");
    world_close(&w);
}

/* Nobody listens any more, though the connection is still there. */
static void silent_and_gone(void **state)
{
    struct exchange_of e;
    struct world w;

    (void)state;
    world_open(&w, HELLO, true);
    world_up(&w);
    world_unlisten(&w);
    world_begin(&w, &e, "PLAIN", "AHUAcA==");
    world_expect(&w, &e, AUTH_UNAVAILABLE, "");
    assert_string_equal(e.reason, "connection refused");
    assert_int_equal(world_mechanisms(&w), 0);
    UNTIL(&w, w.nclosed == 1);
    assert_int_equal(count_of(w.log, "failed: connection refused\n"), 1);
    world_end(&e);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connection_is_shared),
        cmocka_unit_test(paths_are_checked),
        cmocka_unit_test(bad_handshakes),
        cmocka_unit_test(away_and_back),
        cmocka_unit_test(comes_back_by_itself),
        cmocka_unit_test(lost_in_the_middle),
        cmocka_unit_test(lost_with_a_queue),
        cmocka_unit_test(flapping),
        cmocka_unit_test(mechanism_is_gone),
        cmocka_unit_test(slow),
        cmocka_unit_test(replaced),
        cmocka_unit_test(silent_and_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

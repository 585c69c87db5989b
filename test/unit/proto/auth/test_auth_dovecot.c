/* Authentication by a scripted Dovecot: what it may say and in which pieces, and many exchanges at once. */
#include "unit/proto/auth/fake_dovecot.h"

/* ---- answers ---- */

static const struct {
    const char *reply; /* to id 1 */
    enum auth_outcome outcome;
    const char *text, *user, *reason;
} answers[] = {
    {"OK\t1\tuser=u@hosted.example\n", AUTH_SUCCEEDED, "", "u@hosted.example", ""},
    {"OK\t1\tx=y\tuser=u\001t\nFAIL\t1\n", AUTH_FAILED, "", "", "no user name"},
    {"OK\t1\tuser=admin\0010x\n", AUTH_FAILED, "", "", "no user name"},
    {"OK\t1\tuser=\n", AUTH_FAILED, "", "", "no user name"},
    {"OK\t1\n", AUTH_FAILED, "", "", "no user name"},
    {"OK\t1\tuser=u\tnologin\n", AUTH_FAILED, "", "u", "may not log in here"},
    {"OK\t1\tproxy\tuser=u\n", AUTH_FAILED, "", "u", "may not log in here"},
    {"FAIL\t1\tuser=u\n", AUTH_FAILED, "", "u", ""},
    {"FAIL\t1\n", AUTH_FAILED, "", "", ""},
    {"FAIL\t1\treason=the\001tmoon\tuser=u\n", AUTH_FAILED, "", "u", "the\tmoon"},
    {"FAIL\t1\tuser=u\tauthz\n", AUTH_FAILED, "", "u", "may not act"},
    {"FAIL\t1\tuser=u\tcode=pass_expired\n", AUTH_FAILED, "", "u", "expired"},
    {"FAIL\t1\tuser=u\tcode=user_disabled\n", AUTH_FAILED, "", "u", "disabled"},
    {"FAIL\t1\tuser=u\ttemp\n", AUTH_UNAVAILABLE, "", "u", "it reports"},
    {"FAIL\t1\tcode=temp_fail\treason=no db\n", AUTH_UNAVAILABLE, "", "", "no db"},
    {"CONT\t1\tUGFzc3dvcmQ6\n", AUTH_CHALLENGE, "UGFzc3dvcmQ6", "", ""},
    {"CONT\t1\n", AUTH_CHALLENGE, "", "", ""},
    {"CONT\t1\tnot base64\n", AUTH_UNAVAILABLE, "", "", "challenge"},
    {"CONT\t1\tYQ==\001r\001n250 ok\n", AUTH_UNAVAILABLE, "", "", "challenge"},
    /* what belongs to nobody, or means nothing, is passed over */
    {"\n\t\nHUGO\t1\nOK\nOK\tx\tuser=y\nOK\t-1\tuser=y\nFAIL\t2\nOK\t4294967296\tuser=y\nSPID\t1\nVERSION\t2\t0\nDONE\n"
     "OK\t1\tuser=u\n",
     AUTH_SUCCEEDED, "", "u", ""},
};

static void answers_mean(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct exchange_of e;
        struct world w;

        world_open(&w, HELLO, i % 2 == 0);
        world_up(&w);
        world_begin(&w, &e, "PLAIN", "AHUAcA==");
        UNTIL(&w, world_got(&w, AUTH_LINE("1")));
        world_say(&w, answers[i].reply);
        world_expect(&w, &e, answers[i].outcome, answers[i].user);
        assert_string_equal(e.text, answers[i].text);
        if (answers[i].reason[0] == '\0')
            assert_string_equal(e.reason, "");
        else if (strstr(e.reason, answers[i].reason) == NULL)
            fail_msg("%s", e.reason);
        world_end(&e);
        assert_string_equal(w.log, "");
        world_close(&w);
    }
}

/* The handshake and three answers, in two pieces that are cut at every byte. */
static void pieces(void **state)
{
    static const char replies[] = "CONT\t1\tVXNlcm5hbWU6\nOK\t2\tuser=two\nFAIL\t3\tuser=three\n";
    size_t whole = strlen(HELLO);

    (void)state;
    for (size_t cut = 1; cut < whole + strlen(replies); cut++) {
        struct exchange_of e[3];
        struct world w;
        char *head = mem_dup(HELLO, cut < whole ? cut : whole);

        world_open(&w, head, false);
        if (cut < whole) {
            UNTIL(&w, world_got(&w, "CPID"));
            assert_int_equal(world_mechanisms(&w), 0);
            world_say(&w, &HELLO[cut]);
        }
        world_up(&w);
        world_begin(&w, &e[0], "LOGIN", NULL);
        world_begin(&w, &e[1], "PLAIN", "AHUAcA==");
        world_begin(&w, &e[2], "PLAIN", "AHUAcA==");
        UNTIL(&w, world_got(&w, "AUTH\t3\t"));
        if (cut > whole) {
            stream_write(world_peer(&w)->stream, slice_make(replies, cut - whole));
            world_turn(&w);
            world_turn(&w);
        }
        world_say(&w, replies + (cut > whole ? cut - whole : 0));
        world_expect(&w, &e[0], AUTH_CHALLENGE, "");
        world_expect(&w, &e[1], AUTH_SUCCEEDED, "two");
        world_expect(&w, &e[2], AUTH_FAILED, "three");
        for (int i = 0; i < 3; i++)
            world_end(&e[i]);
        world_close(&w);
        mem_free(head);
    }
}

static void mechanisms_and_their_properties(void **state)
{
    const struct auth_mechanism *items;
    struct world w;

    (void)state;
    world_open(&w,
               "HELLO\nVERSION\t1\t9\nMECH\tplain\tplaintext\nMECH\tA B\nMECH\t\nMECH\n"
               "MECH\tABCDEFGHIJKLMNOPQRSTUVWXYZ0123456\nMECH\tSCRAM-SHA-256-PLUS\tmutual-auth\tchannel-binding\n"
               "MECH\tX_1\tprivate\tforward-secrecy\tmutual-auth\tdictionary\tactive\tanonymous\n"
               "SPID\tx\nCUID\nCOOKIE\nDONE\n",
               true);
    world_up(&w);
    assert_int_equal(auth_backend_dovecot.mechanisms(w.backend, &items), 3);
    assert_string_equal(items[0].name, "PLAIN");
    assert_int_equal(items[0].properties, AUTH_PLAINTEXT);
    assert_string_equal(items[1].name, "SCRAM-SHA-256-PLUS");
    assert_int_equal(items[1].properties, AUTH_MUTUAL | AUTH_PRIVATE);
    assert_string_equal(items[2].name, "X_1");
    assert_int_equal(items[2].properties, AUTH_PRIVATE | AUTH_FORWARD_SECRECY | AUTH_MUTUAL | AUTH_DICTIONARY |
                                              AUTH_ACTIVE | AUTH_ANONYMOUS);
    world_close(&w);
}

/* ---- exchanges ---- */

static void login_in_two_steps(void **state)
{
    struct exchange_of e, f;
    struct world w;

    (void)state;
    world_open(&w, HELLO, false);
    world_up(&w);
    world_begin(&w, &e, "LOGIN", NULL);
    world_begin(&w, &f, "CRAM-MD5", "");
    UNTIL(&w, world_got(&w, "AUTH\t2\tCRAM-MD5"));
    assert_true(world_got(&w, "AUTH\t1\tLOGIN\tservice=smtp\tnologin\tlip=192.0.2.1\tlport=587\trip=192.0.2.7\t"
                              "rport=1234\tsecured=tls\n"));
    assert_true(world_got(&w, "\tresp==\n")); /* an empty initial response */
    world_say(&w, "CONT\t2\tPDE+\nCONT\t1\tVXNlcm5hbWU6\n");
    world_expect(&w, &e, AUTH_CHALLENGE, "");
    assert_string_equal(e.text, "VXNlcm5hbWU6");
    world_expect(&w, &f, AUTH_CHALLENGE, "");
    world_respond(&e, "dQ==");
    world_respond(&f, "");
    UNTIL(&w, world_got(&w, "CONT\t1\tdQ==\nCONT\t2\t\n"));
    world_say(&w, "FAIL\t2\tuser=x\nCONT\t1\tUGFzc3dvcmQ6\n");
    world_expect(&w, &f, AUTH_FAILED, "x");
    world_expect(&w, &e, AUTH_CHALLENGE, "");
    world_respond(&e, "cA==");
    UNTIL(&w, world_got(&w, "CONT\t1\tcA==\n"));
    world_say(&w, "OK\t1\tuser=u\n");
    world_expect(&w, &e, AUTH_SUCCEEDED, "u");
    world_end(&e);
    world_end(&f);
    assert_int_equal(w.naccepted, 1);
    assert_false(world_got(&w, "CANCEL"));
    world_close(&w);
}

/* An end before the answer: Dovecot is told, its late answer harms nobody, the id is not used for somebody else. */
static void end_in_the_middle(void **state)
{
    struct exchange_of e, f;
    struct world w;

    (void)state;
    world_open(&w, HELLO, false);
    world_up(&w);
    world_begin(&w, &e, "PLAIN", "AHUAcA==");
    UNTIL(&w, world_got(&w, AUTH_LINE("1")));
    world_end(&e);
    world_begin(&w, &f, "PLAIN", "AHUAcA==");
    UNTIL(&w, world_got(&w, "CANCEL\t1\nAUTH\t2\t"));
    world_say(&w, "OK\t1\tuser=wrong\nOK\t2\tuser=right\n");
    world_expect(&w, &f, AUTH_SUCCEEDED, "right");
    world_end(&f);
    /* when it is the client's turn, and when the answer is on its way to the callback */
    world_begin(&w, &e, "LOGIN", NULL);
    UNTIL(&w, world_got(&w, "AUTH\t3\t"));
    world_say(&w, "CONT\t3\tVXNlcm5hbWU6\n");
    world_expect(&w, &e, AUTH_CHALLENGE, "");
    world_end(&e);
    UNTIL(&w, world_got(&w, "CANCEL\t3\n"));
    world_begin(&w, &e, "PLAIN", NULL);
    world_end(&e);
    world_close(&w);
    assert_int_equal(e.answers, 0);
}

/* Dovecot ends what a client thinks too long about; an OK that nobody asked for opens nothing. */
static void answer_out_of_turn(void **state)
{
    static const char *const lines[] = {"FAIL\t1\treason=Timeout\n", "OK\t1\tuser=admin\n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct exchange_of e;
        struct world w;

        world_open(&w, HELLO, false);
        world_up(&w);
        world_begin(&w, &e, "LOGIN", NULL);
        UNTIL(&w, world_got(&w, "AUTH\t1\t"));
        world_say(&w, "CONT\t1\tVXNlcm5hbWU6\n");
        world_say(&w, lines[i]);
        world_expect(&w, &e, AUTH_CHALLENGE, "");
        world_turn(&w);
        assert_int_equal(e.answers, 0);
        world_respond(&e, "dQ==");
        world_expect(&w, &e, AUTH_UNAVAILABLE, "");
        world_end(&e);
        world_close(&w);
    }
}

/* More at once than Dovecot is given: the others wait, in order. */
static void a_thousand_at_once(void **state)
{
    enum { N = 1200, MOST = 1000 };
    static struct exchange_of e[N];
    struct world w;
    char line[64];

    (void)state;
    world_open(&w, HELLO, false);
    world_up(&w);
    for (int i = 0; i < N; i++)
        world_begin(&w, &e[i], "PLAIN", "AHUAcA==");
    UNTIL(&w, count_of(buf_cstr(&w.got), "AUTH\t") == MOST);
    world_turn(&w);
    assert_int_equal(count_of(buf_cstr(&w.got), "AUTH\t"), MOST);
    world_end(&e[1]); /* one that was sent, and one that waits */
    world_end(&e[MOST + 1]);
    for (int i = MOST; i > 0; i--) {
        snprintf(line, sizeof line, "OK\t%d\tuser=%d\n", i, i);
        world_say(&w, line);
    }
    UNTIL(&w, count_of(buf_cstr(&w.got), "AUTH\t") == N - 1);
    for (int i = MOST + 1; i < N; i++) {
        snprintf(line, sizeof line, "FAIL\t%d\tuser=%d\n", i, i);
        world_say(&w, line);
    }
    for (int i = 0; i < N; i++) {
        if (e[i].x == NULL)
            continue;
        /* the ones behind the one that left the queue have an id that is one less */
        snprintf(line, sizeof line, "%d", i <= MOST ? i + 1 : i);
        world_expect(&w, &e[i], i < MOST ? AUTH_SUCCEEDED : AUTH_FAILED, line);
        world_end(&e[i]);
    }
    assert_int_equal(w.naccepted, 1);
    world_close(&w);
}

/* Dovecot would cut the connection of all for one line that is too long. */
static void response_too_long(void **state)
{
    struct exchange_of e;
    struct world w;
    char *longest = mem_new(16385), *good = mem_new(12289);

    (void)state;
    memset(longest, 'A', 16384);
    memset(good, 'B', 12288);
    world_open(&w, HELLO, false);
    world_up(&w);
    world_begin(&w, &e, "PLAIN", longest);
    world_expect(&w, &e, AUTH_MALFORMED, "");
    world_end(&e);
    world_begin(&w, &e, "LOGIN", good);
    UNTIL(&w, world_got(&w, "BBBB\n"));
    world_say(&w, "CONT\t1\t\n");
    world_expect(&w, &e, AUTH_CHALLENGE, "");
    world_respond(&e, longest);
    world_expect(&w, &e, AUTH_MALFORMED, "");
    world_end(&e);
    assert_false(world_got(&w, "AAAA"));
    assert_int_equal(w.nclosed, 0);
    world_close(&w);
    mem_free(longest);
    mem_free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_mean),
        cmocka_unit_test(pieces),
        cmocka_unit_test(mechanisms_and_their_properties),
        cmocka_unit_test(login_in_two_steps),
        cmocka_unit_test(end_in_the_middle),
        cmocka_unit_test(answer_out_of_turn),
        cmocka_unit_test(a_thousand_at_once),
        cmocka_unit_test(response_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

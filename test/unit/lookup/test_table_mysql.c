/* mysql: tables against a real MariaDB: what is answered, by how many queries and connections. */
#include "support/mysql_fixture.h"

/* ---- answers ---- */

static const struct row {
    const char *key;
    enum op_status status;
    const char *value;
} rows[] = {
    {"one@example.com", OP_OK, "a@x"},
    {"ONE@Example.com", OP_OK, "a@x"},
    {"two@example.com", OP_OK, "b@x,c@x,d@x"},
    {"null@example.com", OP_NOTFOUND, NULL},
    {"empty@example.com", OP_OK, "e@x"},
    {"absent@example.com", OP_NOTFOUND, NULL},
    {"o'neil@example.com", OP_OK, "quote@x"},
    {"J\xc3\x9cRGEN@example.com", OP_OK, "utf8@x"},
    {"back\\slash@example.com", OP_OK, "bs@x"},
    {"\xf0\x9f\x93\xa7@example.com", OP_OK, "emoji@x"},
    /* attacks */
    {"' OR '1'='1", OP_NOTFOUND, NULL},
    {"' OR 1=1 -- ", OP_NOTFOUND, NULL},
    {"\\' OR 1=1 -- ", OP_NOTFOUND, NULL},
    {"\\\\' OR 1=1 -- ", OP_NOTFOUND, NULL},
    {"\\", OP_NOTFOUND, NULL},
    {"'", OP_NOTFOUND, NULL},
    {"\" OR 1=1 -- ", OP_NOTFOUND, NULL},
    {"\xe4\xb8\xad' OR 1=1 -- ", OP_NOTFOUND, NULL}, /* ends in what could swallow a backslash in GBK */
    {"\xc2\xbf' OR 1=1 -- ", OP_NOTFOUND, NULL},
    {"\x1a\n\r' OR 1=1 -- ", OP_NOTFOUND, NULL},
    {"'; DROP TABLE alias; -- ", OP_NOTFOUND, NULL},
    {"%' OR address LIKE '%", OP_NOTFOUND, NULL},
};

static void expect_rows(struct bench *b, struct table *t)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        bench_expect(b, t, rows[i].key, rows[i].status, rows[i].value);
}

static void answers(void **state)
{
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", QUERY);
    expect_rows(&b, t);
    assert_int_equal(bench_logged("an empty value for \"empty@example.com\" was ignored"), 1);
    assert_int_equal(bench_logged("warning"), 1);
    bench_close(&b);
}

static void answers_by_socket_and_option_file(void **state)
{
    char *hosts = mem_printf("%shosts = unix:%s\n", QUERY, server.socket), *options, *text;
    struct bench b;

    (void)state;
    bench_open(&b);
    expect_rows(&b, make_table(&b, "socket.cf", hosts));
    options = mem_printf("[mail]\nuser=mail\npassword=\"se'cret #1\"\nsocket=%s\n", server.socket);
    bench_write(&b, "my.cnf", options);
    text = mem_printf("dbname = mail\noption_file = %s/my.cnf\noption_group = mail\n%s", b.dir, QUERY);
    bench_write(&b, "options.cf", text);
    expect_rows(&b, bench_table(&b, "mysql", "options.cf"));
    mem_free(hosts);
    mem_free(options);
    mem_free(text);
    bench_close(&b);
}

/* The server says how it takes a backslash; whoever does not listen can be made to run any statement. */
static void attacks_without_backslash_escapes(void **state)
{
    struct bench b;

    (void)state;
    mariadbd_sql(&server, "SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'");
    bench_open(&b);
    expect_rows(&b, make_table(&b, "q.cf", QUERY));
    bench_close(&b);
    mariadbd_sql(&server, "SET GLOBAL sql_mode = DEFAULT");
    /* and when it changes its mind after the greeting: for the first query of a connection */
    mariadbd_sql(&server, "SET GLOBAL init_connect = 'SET sql_mode = \\'NO_BACKSLASH_ESCAPES\\''");
    bench_open(&b);
    bench_expect(&b, make_table(&b, "q.cf", QUERY), "' OR 1=1 -- ", OP_NOTFOUND, NULL);
    bench_close(&b);
    mariadbd_sql(&server, "SET GLOBAL init_connect = ''");
}

/* The server is told our character set even when it would rather not listen while a client connects. */
static void attacks_in_other_character_sets(void **state)
{
    static const char *const charsets[] = {"gbk", "sjis", "big5", "latin1"};
    struct bench b;

    (void)state;
    bench_open(&b);
    mariadbd_sql(&server, "SET GLOBAL character_set_client = gbk");
    bench_expect(&b, make_table(&b, "q.cf", QUERY), "\xe4\xb8\xad' OR 1=1 -- ", OP_NOTFOUND, NULL);
    mariadbd_sql(&server, "SET GLOBAL character_set_client = DEFAULT");
    for (size_t i = 0; i < ARRAY_LEN(charsets); i++) {
        char *text = mem_printf("%scharset = %s\n", QUERY, charsets[i]);
        struct table *t = make_table(&b, charsets[i], text);

        for (size_t j = 0; j < ARRAY_LEN(rows); j++)
            if (strstr(rows[j].key, " OR ") != NULL)
                assert_int_not_equal(bench_ask(&b, t, rows[j].key)->status, OP_OK);
        bench_expect(&b, t, "one@example.com", OP_OK, "a@x");
        mem_free(text);
    }
    bench_expect(&b, make_table(&b, "nosuch.cf", QUERY "charset = nosuch\n"), "k", OP_TEMPFAIL, "character set");
    bench_close(&b);
}

static void parameters(void **state)
{
    static const struct {
        const char *rest, *key;
        enum op_status status;
        const char *value;
    } cases[] = {
        {QUERY "result_format = <%u>\n", "two@example.com", OP_OK, "<b>,<c>,<d>"},
        {QUERY "expansion_limit = 3\n", "two@example.com", OP_OK, "b@x,c@x,d@x"},
        {QUERY "expansion_limit = 2\n", "two@example.com", OP_TEMPFAIL, "expansion_limit"},
        {"table = alias\nselect_field = goto\nwhere_field = address\nadditional_conditions = LIMIT 1\n",
         "one@example.com", OP_OK, "a@x"},
        {"query = SELECT '%1.%2'\n", "u@example.com", OP_OK, "com.example"},
        {"query = SELECT '%d'\n", "user", OP_NOTFOUND, NULL},
        {"query = SELECT 'yes'\ndomain = example.com\n", "u@example.com", OP_OK, "yes"},
        {"query = SELECT 'yes'\ndomain = example.com\n", "u@example.net", OP_NOTFOUND, NULL},
        {"query = SELECT 1, 2.5, NULL, DATE '2020-02-02'\n", "k", OP_OK, "1,2.5,2020-02-02"},
        /* stored procedures */
        {"query = CALL one('%s')\n", "two@example.com", OP_OK, "b@x,c@x"},
        {"query = CALL one('%s')\n", "absent@example.com", OP_NOTFOUND, NULL},
        {"query = CALL none('%s')\n", "k", OP_TEMPFAIL, "no result set"},
        {"query = CALL none('%s')\nrequire_result_set = no\n", "k", OP_NOTFOUND, NULL},
        {"query = CALL two('%s')\n", "k", OP_TEMPFAIL, "more than one result set"},
        {"query = CALL empty_first('%s')\n", "k", OP_OK, "y"},
        {"query = CALL fails('%s')\n", "k", OP_TEMPFAIL, "nosuch"},
        {"query = CALL nosuch('%s')\n", "k", OP_TEMPFAIL, "nosuch"},
        /* errors */
        {"query = SELECT x FROM nosuch\n", "k", OP_TEMPFAIL, "query failed: Table 'mail.nosuch' doesn't exist"},
        {"query = SELEKT\n", "k", OP_TEMPFAIL, "query failed: You have an error in your SQL syntax"},
        {"query = SELECT 1; SELECT 2\n", "k", OP_TEMPFAIL, "query failed"}, /* one statement only */
        {"query = INSERT INTO alias VALUES('%s', 1, 1)\n", "k", OP_TEMPFAIL, "denied"},
        {"query = SELECT %x\n", "k", OP_TEMPFAIL, "is not an expansion"},
        {"query = SELECT REPEAT('x', 600000), REPEAT('y', 600000)\n", "k", OP_TEMPFAIL, "the answer is too long"},
        {"query = SELECT REPEAT('x', 10000000)\n", "k", OP_TEMPFAIL, "query failed"},
        {"query = SELECT seq FROM seq_1_to_1000000\n", "k", OP_TEMPFAIL, "the answer is too long"},
        {"query = LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE alias\n", "k", OP_TEMPFAIL, "query failed"},
    };
    struct bench b;

    (void)state;
    bench_open(&b);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[32];
        struct table *t;

        snprintf(name, sizeof name, "q%zu.cf", i);
        t = make_table(&b, name, cases[i].rest);
        bench_expect(&b, t, cases[i].key, cases[i].status, cases[i].value);
        /* all on one pool: whatever the one before did to its connection, the next is served */
        bench_expect(&b, t, cases[i].key, cases[i].status, cases[i].value);
    }
    bench_close(&b);
}

/* ---- connections ---- */

/* How many connections the tables hold, as the server sees it. */
static long connections(MYSQL *admin)
{
    MYSQL_RES *result;
    long n;

    assert_int_equal(mysql_query(admin, "SELECT COUNT(*) FROM information_schema.processlist WHERE user IN ('mail', "
                                        "'unauthenticated user')"),
                     0);
    assert_non_null(result = mysql_store_result(admin));
    n = atol(mysql_fetch_row(result)[0]);
    mysql_free_result(result);
    return n;
}

/* The server takes a moment to notice that one was closed. */
static bool connections_become(struct bench *b, MYSQL *admin, long n)
{
    for (int i = 0; i < 100; i++) {
        if (connections(admin) == n)
            return true;
        bench_sleep(b, 20);
    }
    return false;
}

static void many_at_once_on_few_connections(void **state)
{
    static struct bench_answer many[200];
    MYSQL *admin = mariadbd_connect(&server);
    struct bench b;
    struct table *t, *u;
    long before;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", PING);
    u = make_table(&b, "u.cf", "query = SELECT 'other'\n"); /* shares the connections */
    before = mariadbd_status_on(admin, "Connections");
    ask_many(&b, t, many, ARRAY_LEN(many));
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), ARRAY_LEN(many));
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        char text[64];

        snprintf(text, sizeof text, "for k%zu@example.com", i);
        assert_string_equal(many[i].text, text);
    }
    bench_expect(&b, u, "k", OP_OK, "other");
    assert_in_range(mariadbd_status_on(admin, "Connections") - before, 1, 8);
    mysql_close(admin);
    bench_close(&b);
}

static void identical_lookups_share_a_query(void **state)
{
    static struct bench_answer many[50];
    MYSQL *admin = mariadbd_connect(&server);
    struct bench b;
    struct table *t;
    long before;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", QUERY);
    bench_expect(&b, t, "absent@example.com", OP_NOTFOUND, NULL);
    before = mariadbd_status_on(admin, "Com_select");
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        many[i] = (struct bench_answer){.loop = b.loop};
        table_lookup(t, &b.scope, i % 2 ? SLICE_LIT("two@example.com") : SLICE_LIT("TWO@example.com"), bench_on_answer,
                     &many[i]);
    }
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), ARRAY_LEN(many));
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        assert_string_equal(many[i].text, "b@x,c@x,d@x");
    assert_int_equal(mariadbd_status_on(admin, "Com_select") - before, 1);
    /* not an answer of the past, though */
    bench_expect(&b, t, "two@example.com", OP_OK, "b@x,c@x,d@x");
    assert_int_equal(mariadbd_status_on(admin, "Com_select") - before, 2);
    mysql_close(admin);
    bench_close(&b);
}

static void idle_connections_are_closed(void **state)
{
    MYSQL *admin = mariadbd_connect(&server);
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    assert_true(connections_become(&b, admin, 0)); /* those of the tests before */
    t = make_table(&b, "q.cf", PING "idle_interval = 1\n");
    bench_expect(&b, t, "k", OP_OK, "for k");
    assert_int_equal(connections(admin), 1);
    bench_sleep(&b, 1200);
    assert_true(connections_become(&b, admin, 0));
    bench_expect(&b, t, "k", OP_OK, "for k");
    mysql_close(admin);
    bench_close(&b);
}

/* A delivery agent that runs for hours must not hold a connection to the database. */
static void children_inherit_no_connection(void **state)
{
    struct bench b;
    int sockets = 0;

    (void)state;
    bench_open(&b);
    bench_expect(&b, make_table(&b, "q.cf", PING), "k", OP_OK, "for k");
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_in peer;
        socklen_t n = sizeof peer;

        if (getpeername(fd, (struct sockaddr *)&peer, &n) == 0 && peer.sin_family == AF_INET) {
            sockets++;
            assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        }
    }
    assert_int_equal(sockets, 1);
    bench_close(&b);
}

static void check_reports(void **state)
{
    struct buf report = {0};
    char *path, *expected;
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", PING "nosuch = 1\n");
    path = bench_path(&b, "q.cf");
    chmod(path, 0644);
    assert_true(table_check(t, &report));
    expected = mem_printf("warning: %s:6: unknown parameter \"nosuch\"\n"
                          "warning: %s: holds a password and can be read by everyone\n",
                          path, path);
    assert_string_equal(buf_cstr(&report), expected);
    chmod(path, 0640);
    buf_clear(&report);
    make_table(&b, "q.cf", "query = %x\nexpansion_limit = many\n");
    assert_false(table_check(t, &report));
    mem_free(expected);
    expected = mem_printf("%s:6: \"many\" is no value for expansion_limit\n"
                          "%s: \"%%x\" is not an expansion; a literal percent sign is written %%%%\n",
                          path, path);
    assert_string_equal(buf_cstr(&report), expected);
    mem_free(expected);
    mem_free(path);
    buf_release(&report);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(answers_by_socket_and_option_file),
        cmocka_unit_test(attacks_without_backslash_escapes),
        cmocka_unit_test(attacks_in_other_character_sets),
        cmocka_unit_test(parameters),
        cmocka_unit_test(many_at_once_on_few_connections),
        cmocka_unit_test(identical_lookups_share_a_query),
        cmocka_unit_test(idle_connections_are_closed),
        cmocka_unit_test(children_inherit_no_connection),
        cmocka_unit_test(check_reports),
    };

    return cmocka_run_group_tests(tests, start_server, stop_server);
}

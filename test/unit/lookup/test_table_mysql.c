/*
 * mysql: tables against a real MariaDB: what is answered, and that whatever happens to the server means a temporary
 * failure within a bounded time and recovery without help.
 */
#include "support/tables.h"

#include "support/mariadbd.h"

#include <errno.h>

static struct mariadbd server;

#define SCHEMA                                                                                                         \
    "CREATE DATABASE mail CHARACTER SET utf8mb4", "CREATE USER 'mail'@'127.0.0.1' IDENTIFIED BY 'se''cret #1'",        \
        "GRANT SELECT, EXECUTE ON mail.* TO 'mail'@'127.0.0.1'",                                                       \
        "CREATE USER 'mail'@'localhost' IDENTIFIED BY 'se''cret #1'",                                                  \
        "GRANT SELECT, EXECUTE ON mail.* TO 'mail'@'localhost'",                                                       \
        "CREATE TABLE mail.alias(address VARCHAR(255), goto VARCHAR(255), extra VARCHAR(255))",                        \
        "INSERT INTO mail.alias VALUES('one@example.com', 'a@x', NULL), ('two@example.com', 'b@x', NULL),"             \
        "('two@example.com', 'c@x', 'd@x'), ('null@example.com', NULL, NULL), ('empty@example.com', '', 'e@x'),"       \
        "('o''neil@example.com', 'quote@x', NULL), ('j\xc3\xbcrgen@example.com', 'utf8@x', NULL),"                     \
        "('back\\\\slash@example.com', 'bs@x', NULL), ('\xf0\x9f\x93\xa7@example.com', 'emoji@x', NULL)",              \
        "CREATE PROCEDURE mail.one(k VARCHAR(255)) SELECT goto FROM mail.alias WHERE address = k",                     \
        "CREATE PROCEDURE mail.none(k VARCHAR(255)) SET @x = k",                                                       \
        "CREATE PROCEDURE mail.two(k VARCHAR(255)) BEGIN SELECT 'x'; SELECT 'y'; END",                                 \
        "CREATE PROCEDURE mail.empty_first(k VARCHAR(255)) BEGIN SELECT 'x' FROM mail.alias WHERE 1 = 0; "             \
        "SELECT 'y'; END",                                                                                             \
        "CREATE PROCEDURE mail.fails(k VARCHAR(255)) BEGIN SELECT 'x'; SELECT * FROM mail.nosuch; END"

static int start_server(void **state)
{
    static const char *const statements[] = {SCHEMA};
    MYSQL *m;

    (void)state;
    mysql_library_init(0, NULL, NULL);
    mariadbd_create(&server);
    m = mariadbd_connect(&server);
    mysql_set_character_set(m, "utf8mb4");
    for (size_t i = 0; i < ARRAY_LEN(statements); i++)
        mariadbd_sql_on(m, statements[i]);
    mysql_close(m);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    mariadbd_destroy(&server);
    return 0;
}

#define QUERY "query = SELECT goto, extra FROM alias WHERE address='%s' ORDER BY goto\n"
#define PING  "query = SELECT 'for %s'\n"

/* The beginning of a query file that connects by TCP. */
static char *account(void)
{
    return mem_printf("user = mail\npassword = se'cret #1\ndbname = mail\n");
}

/* A table with this query file, after the account; without "hosts" it goes to our server by TCP. */
static struct table *make_table(struct bench *b, const char *name, const char *rest)
{
    char *head = account(), *hosts = mem_printf("hosts = 127.0.0.1:%d\n", server.port), *text;
    struct table *t;

    text = mem_printf("%s%s%s", head, strstr(rest, "hosts =") ? "" : hosts, rest);
    bench_write(b, name, text);
    t = bench_table(b, "mysql", name);
    mem_free(head);
    mem_free(hosts);
    mem_free(text);
    return t;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Expects a temporary failure that says `why`, no sooner than `least` and no later than `most` milliseconds from now. */
static void expect_failure(struct bench *b, struct table *t, const char *why, uint64_t least, uint64_t most)
{
    uint64_t began, took;

    bench_sleep(b, 1); /* the loop's clock stood still while the test did something to the server */
    began = now_ms();
    bench_expect(b, t, "key@example.com", OP_TEMPFAIL, why);
    took = now_ms() - began;
    if (took < least || took > most)
        fail_msg("\"%s\" after %ju ms", why, (uintmax_t)took);
}

/* Starts lookups of "k0@example.com" and so on. */
static void ask_many(struct bench *b, struct table *t, struct bench_answer *answers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char key[64];

        answers[i] = (struct bench_answer){.loop = b->loop};
        snprintf(key, sizeof key, "k%zu@example.com", i);
        table_lookup(t, &b->scope, slice_str(key), bench_on_answer, &answers[i]);
    }
}

/* Waits for all; how many were answered OK. */
static size_t wait_many(struct bench *b, const struct bench_answer *answers, size_t n)
{
    size_t ok = 0;

    for (size_t i = 0; i < n; i++) {
        while (!answers[i].done)
            loop_run(b->loop);
        ok += answers[i].status == OP_OK;
    }
    return ok;
}

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

    assert_int_equal(
        mysql_query(admin, "SELECT COUNT(*) FROM information_schema.processlist WHERE user IN ('mail', "
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

/* ---- trouble ---- */

static void server_hangs(void **state)
{
    static struct bench_answer many[30];
    struct bench b;
    struct table *t;
    uint64_t began;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", PING "timeout = 2\n");
    bench_expect(&b, t, "k", OP_OK, "for k");
    mariadbd_freeze(&server);
    expect_failure(&b, t, "timed out", 900, 2300); /* with an idle connection */
    expect_failure(&b, t, "timed out", 300, 2300); /* without */
    began = now_ms();
    ask_many(&b, t, many, ARRAY_LEN(many));
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), 0);
    assert_in_range(now_ms() - began, 300, 2300);
    mariadbd_thaw(&server);
    bench_expect(&b, t, "k", OP_OK, "for k");
    ask_many(&b, t, many, ARRAY_LEN(many));
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), ARRAY_LEN(many));
    bench_close(&b);
}

static void server_dies_and_comes_back(void **state)
{
    static struct bench_answer many[30];
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", PING);
    ask_many(&b, t, many, ARRAY_LEN(many));
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), ARRAY_LEN(many));
    mariadbd_kill(&server, SIGKILL);
    expect_failure(&b, t, "connect to mysql server", 0, 500);
    ask_many(&b, t, many, ARRAY_LEN(many));
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), 0);
    assert_true(bench_logged("connect to mysql server") <= 2); /* not with each lookup */
    mariadbd_start(&server);
    bench_expect(&b, t, "k", OP_OK, "for k");
    assert_int_equal(bench_logged("works again"), 1);
    /* and with lookups under way */
    t = make_table(&b, "slow.cf", "query = SELECT SLEEP(2), '%s'\n");
    ask_many(&b, t, many, ARRAY_LEN(many));
    bench_sleep(&b, 200);
    mariadbd_kill(&server, SIGKILL);
    bench_sleep(&b, 1);
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), 0);
    mariadbd_start(&server);
    bench_expect(&b, t, "k", OP_OK, "0,k");
    bench_close(&b);
}

static void server_drops_idle_connections(void **state)
{
    static struct bench_answer many[20];
    struct bench b;
    struct table *t;

    (void)state;
    mariadbd_sql(&server, "SET GLOBAL wait_timeout = 1");
    bench_open(&b);
    t = make_table(&b, "q.cf", PING);
    ask_many(&b, t, many, ARRAY_LEN(many));
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), ARRAY_LEN(many));
    bench_sleep(&b, 2200);
    bench_expect(&b, t, "k", OP_OK, "for k");
    /* noticed only by the query: the loop has not run since */
    ask_many(&b, t, many, ARRAY_LEN(many));
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), ARRAY_LEN(many));
    nanosleep(&(struct timespec){.tv_sec = 2, .tv_nsec = 200000000}, NULL);
    bench_expect(&b, t, "k", OP_OK, "for k");
    assert_int_equal(bench_logged("warning"), 0);
    mariadbd_sql(&server, "SET GLOBAL wait_timeout = DEFAULT");
    bench_close(&b);
}

static void connection_is_killed(void **state)
{
    MYSQL *admin = mariadbd_connect(&server);
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", "query = SELECT CONNECTION_ID()\n");
    for (int i = 0; i < 20; i++) {
        char sql[64];
        const struct bench_answer *a = bench_ask(&b, t, "k");

        assert_int_equal(a->status, OP_OK);
        snprintf(sql, sizeof sql, "KILL %.20s", a->text);
        mariadbd_sql_on(admin, sql); /* at once: the query may find it half dead */
    }
    assert_int_equal(bench_logged("warning"), 0);
    mysql_close(admin);
    bench_close(&b);
}

/* The query is on its way when the server dies; by the time that is noticed there is another one. */
static void query_is_tried_again(void **state)
{
    struct bench_answer a;
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", PING);
    bench_expect(&b, t, "k", OP_OK, "for k");
    mariadbd_freeze(&server);
    ask_many(&b, t, &a, 1);
    bench_sleep(&b, 50);
    mariadbd_kill(&server, SIGKILL);
    mariadbd_start(&server);
    assert_int_equal(wait_many(&b, &a, 1), 1);
    assert_string_equal(a.text, "for k0@example.com");
    bench_close(&b);
}

static void password_is_wrong_then_right(void **state)
{
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", PING "password = wrong\n");
    expect_failure(&b, t, "Access denied", 0, 1000);
    expect_failure(&b, t, "Access denied", 0, 1000);
    make_table(&b, "q.cf", PING); /* the file is put right */
    bench_sleep(&b, 1100);
    bench_expect(&b, t, "k", OP_OK, "for k");
    expect_failure(&b, make_table(&b, "db.cf", PING "dbname = nosuch\n"), "nosuch", 0, 1000);
    expect_failure(&b, make_table(&b, "user.cf", PING "user = nosuch\n"), "Access denied", 0, 1000);
    bench_close(&b);
}

static void no_connections_left(void **state)
{
    static struct bench_answer many[50];
    MYSQL *admin = mariadbd_connect(&server), *hogs[9];
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    mariadbd_sql_on(admin, "SET GLOBAL max_connections = 10");
    for (size_t i = 0; i < ARRAY_LEN(hogs); i++)
        assert_non_null(hogs[i] = mariadbd_connect(&server));
    t = make_table(&b, "q.cf", PING);
    expect_failure(&b, t, "Too many connections", 0, 1000);
    /* two are enough for everybody */
    mysql_close(hogs[0]);
    mysql_close(hogs[1]);
    for (int i = 0; i < 100 && mariadbd_status_on(admin, "Threads_connected") > 8; i++)
        bench_sleep(&b, 10);
    ask_many(&b, t, many, ARRAY_LEN(many));
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), ARRAY_LEN(many));
    for (size_t i = 2; i < ARRAY_LEN(hogs); i++)
        mysql_close(hogs[i]);
    mariadbd_sql_on(admin, "SET GLOBAL max_connections = DEFAULT");
    ask_many(&b, t, many, ARRAY_LEN(many));
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), ARRAY_LEN(many));
    mysql_close(admin);
    bench_close(&b);
}

static void query_takes_too_long(void **state)
{
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", "query = SELECT SLEEP(10)\ntimeout = 1\n");
    expect_failure(&b, t, "timed out", 900, 1300);
    expect_failure(&b, t, "timed out", 900, 1300);
    bench_expect(&b, make_table(&b, "quick.cf", PING "timeout = 1\n"), "k", OP_OK, "for k");
    bench_close(&b);
}

static void tls_is_not_forgotten(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    /* the server has no TLS */
    bench_expect(&b, make_table(&b, "verify.cf", PING "tls_verify_cert = yes\n"), "k", OP_TEMPFAIL, "connect to mysql");
    bench_expect(&b, make_table(&b, "ca.cf", PING "tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n"), "k",
                 OP_TEMPFAIL, "connect to mysql");
    bench_close(&b);
}

/* ---- several servers ---- */

/* A listening socket that nobody accepts from: connections are made and hear nothing. */
static int silent_server(int *port)
{
    int fd = mariadbd_bound_socket(port);

    assert_int_equal(listen(fd, 4000), 0);
    return fd;
}

/* Connections stay half made, as with a firewall that drops them. */
static void server_does_not_even_accept(void **state)
{
    int port, fd = mariadbd_bound_socket(&port), fill[4];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char *text = mem_printf("%stimeout = 2\nhosts = 127.0.0.1:%d\n", PING, port);
    struct bench_answer many[5];
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    a.sin_port = htons((uint16_t)port);
    assert_int_equal(listen(fd, 0), 0);
    for (size_t i = 0; i < ARRAY_LEN(fill); i++) { /* no room for more */
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(fill[i], (struct sockaddr *)&a, sizeof a) != 0)
            assert_int_equal(errno, EINPROGRESS);
    }
    t = make_table(&b, "q.cf", text);
    expect_failure(&b, t, "timed out", 300, 2300);
    ask_many(&b, t, many, ARRAY_LEN(many));
    bench_sleep(&b, 50);
    tables_free(&b.tables);
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), 0);
    for (size_t i = 0; i < ARRAY_LEN(fill); i++)
        close(fill[i]);
    close(fd);
    mem_free(text);
    bench_close(&b);
}

static void other_servers_stand_in(void **state)
{
    int silent, silent_fd = silent_server(&silent), dead, dead_fd = mariadbd_bound_socket(&dead);
    char *text = mem_printf("%stimeout = 2\nhosts = unix:/no/such/socket, inet:127.0.0.1:%d, 127.0.0.1:%d, "
                            "[::1]:%d\n\t127.0.0.1:%d\n",
                            PING, dead, silent, dead, server.port);
    struct bench b;

    (void)state;
    bench_open(&b);
    for (int i = 0; i < 5; i++) { /* the choice is random */
        char name[32];
        struct table *t;
        uint64_t began;

        snprintf(name, sizeof name, "q%d.cf", i);
        tables_free(&b.tables);
        b.tables = tables_new(b.loop);
        t = make_table(&b, name, text);
        bench_expect(&b, t, "k", OP_OK, "for k");
        began = now_ms();
        bench_expect(&b, t, "k", OP_OK, "for k");
        assert_in_range(now_ms() - began, 0, 300); /* those that failed are not tried again */
    }
    assert_true(bench_logged("connect to mysql server unix:/no/such/socket: ") >= 1);
    close(silent_fd);
    close(dead_fd);
    mem_free(text);
    bench_close(&b);
}

static void all_servers_fail_then_one_works(void **state)
{
    int dead, dead_fd = mariadbd_bound_socket(&dead);
    char *text = mem_printf("%stimeout = 2\nretry_interval = 1000\nhosts = 127.0.0.1:%d 127.0.0.1:%d\n", PING, dead,
                            server.port);
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", text);
    mariadbd_kill(&server, SIGTERM);
    expect_failure(&b, t, "connect to mysql server", 0, 500);
    expect_failure(&b, t, "connect to mysql server", 0, 500);
    mariadbd_start(&server);
    bench_expect(&b, t, "k", OP_OK, "for k"); /* however long retry_interval is: there is nothing better to try */
    close(dead_fd);
    mem_free(text);
    bench_close(&b);
}

static void name_that_does_not_exist(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    expect_failure(&b, make_table(&b, "q.cf", PING "timeout = 2\nhosts = nosuch.invalid\n"), "nosuch.invalid", 0, 2300);
    bench_close(&b);
}

static void waiting_lookups_are_bounded(void **state)
{
    static struct bench_answer many[1500];
    int port, fd = silent_server(&port);
    char *text = mem_printf("%stimeout = 2\nhosts = 127.0.0.1:%d\n", PING, port);
    struct bench b;
    size_t refused = 0;

    (void)state;
    bench_open(&b);
    ask_many(&b, make_table(&b, "q.cf", text), many, ARRAY_LEN(many));
    assert_int_equal(wait_many(&b, many, ARRAY_LEN(many)), 0);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        refused += strstr(many[i].text, "too many lookups wait") != NULL;
    assert_int_equal(refused, 500);
    close(fd);
    mem_free(text);
    bench_close(&b);
}

/* ---- the end ---- */

/* Closes the tables `after` milliseconds into many lookups, whatever each connection is in the middle of by then. */
static void close_after(const char *rest, uint64_t after)
{
    static struct bench_answer many[40];
    struct bench b;
    struct table *t;

    bench_open(&b);
    t = make_table(&b, "q.cf", rest);
    ask_many(&b, t, many, ARRAY_LEN(many));
    if (after > 0)
        bench_sleep(&b, after);
    tables_free(&b.tables);
    loop_run(b.loop);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        assert_true(many[i].done);
    bench_close(&b);
}

static void close_with_lookups_under_way(void **state)
{
    static const char *const queries[] = {
        PING,
        "query = SELECT SLEEP(2), '%s'\n",
        "query = SELECT REPEAT('x', 100000) FROM seq_1_to_100000 WHERE '%s' <> ''\n",
        "query = CALL two('%s')\n",
        PING "option_file = /dev/null\nhosts = 127.0.0.1:1\n",
    };
    static const uint64_t afters[] = {0, 1, 2, 3, 5, 8, 13, 100};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(queries); i++)
        for (size_t j = 0; j < ARRAY_LEN(afters); j++)
            close_after(queries[i], afters[j]);
}

/* The same for those who wait: their scope is closed, the tables live on. */
static void owners_go_away(void **state)
{
    static struct bench_answer many[40];
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = make_table(&b, "q.cf", PING);
    for (int i = 0; i < 10; i++) {
        ask_many(&b, t, many, ARRAY_LEN(many));
        bench_sleep(&b, (uint64_t)i);
        op_scope_cancel(&b.scope);
        for (size_t j = 0; j < ARRAY_LEN(many); j++)
            many[j].done = true; /* so that a late answer is noticed */
        bench_expect(&b, t, "k", OP_OK, "for k");
    }
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
        cmocka_unit_test(server_hangs),
        cmocka_unit_test(server_dies_and_comes_back),
        cmocka_unit_test(server_drops_idle_connections),
        cmocka_unit_test(connection_is_killed),
        cmocka_unit_test(query_is_tried_again),
        cmocka_unit_test(password_is_wrong_then_right),
        cmocka_unit_test(no_connections_left),
        cmocka_unit_test(query_takes_too_long),
        cmocka_unit_test(tls_is_not_forgotten),
        cmocka_unit_test(server_does_not_even_accept),
        cmocka_unit_test(other_servers_stand_in),
        cmocka_unit_test(all_servers_fail_then_one_works),
        cmocka_unit_test(name_that_does_not_exist),
        cmocka_unit_test(waiting_lookups_are_bounded),
        cmocka_unit_test(close_with_lookups_under_way),
        cmocka_unit_test(owners_go_away),
        cmocka_unit_test(check_reports),
    };

    return cmocka_run_group_tests(tests, start_server, stop_server);
}

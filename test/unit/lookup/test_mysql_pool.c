/*
 * mysql: tables and a MariaDB in trouble: whatever happens to the server means a temporary failure within a bounded
 * time, and recovery without help; and nothing is left behind when the tables are closed in the middle of it.
 */
#include "support/mysql_fixture.h"

#include <errno.h>

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
    assert_in_range(now_ms() - began, 300, 2300 + SLACK_MS);
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
    bench_sleep(&b, 200); /* until none is being made */
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
        assert_in_range(now_ms() - began, 0, 450); /* those that failed are not tried again */
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

/* However long the resolver takes, others do not wait for it. */
static void name_that_does_not_exist(void **state)
{
    struct bench_answer a;
    struct bench b;
    uint64_t began;

    (void)state;
    bench_open(&b);
    ask_many(&b, make_table(&b, "q.cf", PING "timeout = 2\nhosts = nosuch.invalid\n"), &a, 1);
    began = now_ms();
    bench_expect(&b, make_table(&b, "ok.cf", PING), "k", OP_OK, "for k");
    assert_in_range(now_ms() - began, 0, 1000);
    assert_int_equal(wait_many(&b, &a, 1), 0);
    assert_int_equal(a.status, OP_TEMPFAIL);
    assert_in_range(now_ms() - began, 0, 2300 + SLACK_MS);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    return cmocka_run_group_tests(tests, start_server, stop_server);
}

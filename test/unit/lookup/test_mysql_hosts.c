/* Which server of a mysql: table is next. */
#include "unit/cmocka_all.h"

#include "core/base/log.h"
#include "core/loop/timer.h"
#include "lookup/mysql_hosts.h"

static void no_log(enum log_level level, const char *line, size_t n)
{
    (void)level;
    (void)line;
    (void)n;
}

struct fixture {
    struct loop *loop;
    struct query_file *file;
    struct mysql_hosts hosts;
};

static void open_hosts(struct fixture *f, const char *hosts)
{
    struct buf text = {0}, report = {0};

    log_setup(NULL, NULL, LOG_LEVEL_INFO, no_log);
    buf_printf(&text, "dbname = x\nquery = x\nretry_interval = 1\nhosts = %s\n", hosts);
    f->file = query_file_mysql.parse("q.cf", buf_slice(&text), &report);
    assert_non_null(f->file);
    buf_release(&text);
    f->loop = loop_new();
    mysql_hosts_init(&f->hosts, f->loop, f->file);
}

static void close_hosts(struct fixture *f)
{
    mysql_hosts_release(&f->hosts);
    query_file_unref(&f->file);
    loop_free(&f->loop);
    log_setup(NULL, NULL, LOG_LEVEL_INFO, NULL);
}

static void stop(void *arg)
{
    loop_stop(arg);
}

static void sleep_ms(struct fixture *f, uint64_t ms)
{
    struct timer t = {0};

    timer_start(f->loop, &t, ms, stop, f->loop);
    loop_run(f->loop);
}

static void sockets_first_then_any(void **state)
{
    int seen[4] = {0};
    struct fixture f;

    (void)state;
    open_hosts(&f, "a unix:/s b localhost");
    for (int i = 0; i < 400; i++)
        seen[mysql_hosts_pick(&f.hosts, 0, false)]++;
    assert_int_equal(seen[0] + seen[2], 0);
    assert_in_range(seen[1], 100, 300); /* at random: what is outside comes once in 10^23 times */
    assert_int_equal(mysql_hosts_pick(&f.hosts, 1 << 1, false), 3);
    for (int i = 0; i < 400; i++)
        seen[mysql_hosts_pick(&f.hosts, 1 << 1 | 1 << 3, false)]++;
    assert_in_range(seen[0], 100, 300);
    assert_int_equal(mysql_hosts_pick(&f.hosts, 1 << 1 | 1 << 3 | 1 << 0, false), 2);
    assert_int_equal(mysql_hosts_pick(&f.hosts, 15, true), MYSQL_HOSTS_NONE);
    close_hosts(&f);
}

static void failed_ones_are_avoided_for_a_while(void **state)
{
    struct fixture f;

    (void)state;
    open_hosts(&f, "a b");
    sleep_ms(&f, 5);
    mysql_hosts_failed(&f.hosts, 0, "x");
    for (int i = 0; i < 50; i++)
        assert_int_equal(mysql_hosts_pick(&f.hosts, 0, false), 1);
    sleep_ms(&f, 5);
    mysql_hosts_failed(&f.hosts, 1, "x");
    assert_int_equal(mysql_hosts_pick(&f.hosts, 0, false), MYSQL_HOSTS_NONE);
    assert_int_equal(mysql_hosts_pick(&f.hosts, 0, true), 0); /* it has had the longest time to recover */
    assert_int_equal(mysql_hosts_pick(&f.hosts, 1 << 0, true), 1);
    mysql_hosts_worked(&f.hosts, 1);
    assert_int_equal(mysql_hosts_pick(&f.hosts, 0, false), 1);
    sleep_ms(&f, 1010);
    assert_int_equal(mysql_hosts_pick(&f.hosts, 1 << 1, false), 0);
    close_hosts(&f);
}

static void the_only_one_is_never_avoided(void **state)
{
    struct fixture f;

    (void)state;
    open_hosts(&f, "a");
    mysql_hosts_failed(&f.hosts, 0, "x");
    assert_int_equal(mysql_hosts_pick(&f.hosts, 0, false), 0);
    assert_int_equal(mysql_hosts_pick(&f.hosts, 1, true), MYSQL_HOSTS_NONE);
    close_hosts(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_first_then_any),
        cmocka_unit_test(failed_ones_are_avoided_for_a_while),
        cmocka_unit_test(the_only_one_is_never_avoided),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The guard over restarts: its file as it is written and read, damaged, out of reach, and on a clock that jumped. */
#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/base/log.h"
#include "proto/auth/auth_guard.h"
#include "proto/auth/auth_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct conf conf = {
    .smtpd_auth_ban_limit = 4, .smtpd_auth_ban_window_ms = 3600000, .smtpd_auth_ban_time_ms = 7200000};
static const struct conf off = {.smtpd_auth_ban_window_ms = 3600000, .smtpd_auth_ban_time_ms = 7200000};

static char folder[64], path[128];
static struct buf logged;
static struct loop *loop;
static struct auth_guard *guard;

static void sink(enum log_level level, const char *line, size_t n)
{
    (void)level;
    buf_add(&logged, line, n);
}

static bool was_logged(const char *what)
{
    return strstr(buf_cstr(&logged), what) != NULL;
}

static void start(void)
{
    loop = loop_new();
    guard = auth_guard_new(loop, path);
}

static void stop(void)
{
    auth_guard_free(&guard);
    loop_run(loop);
    loop_free(&loop);
}

static void restart(void)
{
    stop();
    start();
}

static int begin(void **unused)
{
    (void)unused;
    snprintf(folder, sizeof folder, "/tmp/mta-auth-guard-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/auth_guard", folder);
    log_setup("mta", "host", LOG_LEVEL_INFO, sink);
    start();
    return 0;
}

static int end(void **unused)
{
    (void)unused;
    stop();
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left */
    buf_release(&logged);
    log_setup(NULL, NULL, LOG_LEVEL_INFO, NULL);
    return 0;
}

static struct auth_guard_verdict wrong(const char *addr, const char *login)
{
    return auth_guard_failed(guard, &conf, addr, login);
}

static void wrong_often(int n, const char *addr, const char *login)
{
    while (n-- > 0)
        wrong(addr, login);
}

static bool refused(const char *addr, const char *login)
{
    return auth_guard_ask(guard, &conf, addr, login).refused;
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static char *read_file(void)
{
    struct buf text = {0};
    char *copy;

    assert_int_equal(auth_state_read(path, &text), 0);
    copy = mem_strdup(buf_cstr(&text));
    buf_release(&text);
    return copy;
}

static void it_goes_on_after_a_restart(void **unused)
{
    struct auth_guard_verdict v;

    (void)unused;
    auth_guard_succeeded(guard, &conf, "2001:db8::1", "Müller <x>\n");
    wrong_often(3, "192.0.2.1", "a b+c=d");
    wrong_often(4, "192.0.2.2", "MüLLER <x>\n");
    assert_true(was_logged("address 192.0.2.2 banned for 7200 s after 4 failed authentications"));
    restart();
    assert_int_equal(auth_guard_ask(guard, &conf, "192.0.2.1", NULL).delay_ms, 1000);
    assert_int_equal(auth_guard_ask(guard, &conf, "192.0.2.3", "A B+C=D").delay_ms, 1000);
    v = auth_guard_ask(guard, &conf, "192.0.2.2", NULL);
    assert_true(v.refused && v.left_ms > 7190000 && v.left_ms <= 7201000);
    assert_true(refused("192.0.2.1", "MüLLER <x>\n"));
    assert_false(refused("2001:db8::2", "MüLLER <x>\n"));
    assert_true(wrong("192.0.2.1", "a b+c=d").refused);
    restart();
    assert_true(refused("192.0.2.1", NULL));
}

static void the_file_is_for_nobody_else(void **unused)
{
    struct stat st;

    (void)unused;
    wrong("192.0.2.1", "u");
    stop();
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    start();
}

static void it_is_written_while_the_server_runs(void **unused)
{
    char *text;

    (void)unused;
    wrong_often(4, "192.0.2.1", "u");
    while (access(path, F_OK) != 0)
        loop_turn(loop);
    text = read_file();
    assert_non_null(strstr(text, "address 192.0.2.1 4 "));
    mem_free(text);
}

static void a_limit_of_zero_is_off(void **unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++)
        assert_int_equal(auth_guard_failed(guard, &off, "192.0.2.1", "u").delay_ms, 0);
    assert_false(auth_guard_ask(guard, &conf, "192.0.2.1", "u").refused);
    auth_guard_succeeded(guard, &off, "192.0.2.1", "u");
    stop();
    assert_int_not_equal(access(path, F_OK), 0);
    start();
}

static void a_damaged_file_is_not_used(void **unused)
{
    static const char *const texts[] = {
        "",
        "mta-auth-guard 1\n",
        "mta-auth-guard 2\nend 0\n",
        "mta-auth-guard 1\naddress 192.0.2.9 9 99999999999 99999999999\n",
        "mta-auth-guard 1\naddress 192.0.2.9 9 99999999999 99999999999\nend 2\n",
        "mta-auth-guard 1\naddress 192.0.2.9 9 99999999999 99999999999\nend 1\nmore\n",
        "mta-auth-guard 1\naddress 192.0.2.9 9 99999999999 99999999999\naddress x 9 99999999999 0\nend 2\n",
        "mta-auth-guard 1\naddress 192.0.2.9 9 99999999999 99999999999\naddress 192.0.2.1 9 -1 0\nend 2\n",
        "mta-auth-guard 1\naddress 192.0.2.9 9 99999999999 99999999999\naddress 192.0.2.1 9 1\nend 2\n",
        "mta-auth-guard 1\naddress 192.0.2.9 9 99999999999 99999999999\nlogin u+0 1 2 3\nend 2\n",
        "mta-auth-guard 1\naddress 192.0.2.9 9 99999999999 99999999999\nlogin +00 1 2 3\nend 2\n",
        "mta-auth-guard 1\naddress 192.0.2.9 9 99999999999 99999999999\nwhat u 1 2 3\nend 2\n",
        "mta-auth-guard 1\naddress 192.0.2.9 9 99999999999 99999999999\nplace u 1 2\nend 2\n",
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        stop();
        write_file(texts[i]);
        buf_clear(&logged);
        start();
        assert_true(was_logged("is damaged: counts of failed authentications begin anew"));
        assert_false(refused("192.0.2.9", NULL));
        wrong("192.0.2.1", "u"); /* and it is written anew */
        buf_clear(&logged);
        restart();
        assert_int_equal(buf_len(&logged), 0);
    }
}

/* What was written on another clock: a ban is over, or lasts as long as one can last at the most. */
static void a_clock_that_jumped_does_no_lasting_harm(void **unused)
{
    struct auth_guard_verdict v;

    (void)unused;
    stop();
    write_file("mta-auth-guard 1\naddress 192.0.2.1 9 99999999999 99999999999\naddress 192.0.2.2 9 1000 1000\n"
               "login u 9 9223372036854775 9223372036854775\nplace u 192.0.2.7 9223372036854775\nend 4\n");
    start();
    v = auth_guard_ask(guard, &conf, "192.0.2.1", NULL);
    assert_true(v.refused && v.left_ms <= 28 * 86400000ull);
    assert_int_equal(auth_guard_ask(guard, &conf, "192.0.2.2", NULL).delay_ms, 0);
    assert_true(refused("192.0.2.3", "u"));
    assert_false(refused("192.0.2.7", "u"));
    assert_false(was_logged("damaged"));
}

static void without_its_directory_it_says_so_once(void **unused)
{
    (void)unused;
    stop();
    assert_int_equal(unlink(path) == 0 || rmdir(folder) == 0, 1);
    rmdir(folder);
    start();
    assert_int_equal(buf_len(&logged), 0); /* nothing to be kept, nothing to be said */
    wrong_often(4, "192.0.2.1", NULL);
    buf_clear(&logged);
    while (
        !was_logged("auth_guard: No such file or directory: counts of failed authentications and bans end with this"))
        loop_turn(loop);
    buf_clear(&logged);
    wrong("192.0.2.2", NULL);
    stop();
    assert_int_equal(buf_len(&logged), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    start();
}

static void count_record(void *arg, const struct auth_record *r)
{
    (*(int *)arg) += r->kind == AUTH_RECORD_ADDRESS && r->banned_ms > 0;
}

static void a_ban_that_is_ended_stays_so(void **unused)
{
    int banned = 0;

    (void)unused;
    wrong_often(4, "192.0.2.1", NULL);
    restart();
    auth_guard_each(guard, count_record, &banned);
    assert_int_equal(banned, 1);
    assert_true(auth_guard_unban(guard, "192.0.2.1"));
    assert_false(auth_guard_unban(guard, "192.0.2.1"));
    restart();
    assert_false(refused("192.0.2.1", NULL));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(it_goes_on_after_a_restart),
        TEST(the_file_is_for_nobody_else),
        TEST(it_is_written_while_the_server_runs),
        TEST(a_limit_of_zero_is_off),
        TEST(a_damaged_file_is_not_used),
        TEST(a_clock_that_jumped_does_no_lasting_harm),
        TEST(without_its_directory_it_says_so_once),
        TEST(a_ban_that_is_ended_stays_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The pipe transport with real commands: what they get, how they end, and what they do to annoy us. */
#include "fixture.h"

#include <sqlite3.h>

#define CONTENT "Subject: t\n\nhello\n.\nFrom me\n"
#define COMMAND "argv = %DIR%/command ${user} ${sender} ${recipient} ${nexthop}\n"

static void test_message_and_arguments(void **state)
{
    struct fixture *f = *state;
    char *got;

    make_command(f, "printf '%s|' \"$@\" >args; cat >message; env >env");
    check_result(
        deliver(f,
                pipe_conf("export_environment = TZ=UTC {NAME = some value } NOSUCHVARIABLE", "flags = DRhu\n" COMMAND),
                CONTENT),
        STATUS_OK, "2.0.0", "delivered via p service");
    assert_string_equal(f->results[0].relay, "p");
    got = read_file(path_in(f, "out/message"), NULL);
    assert_string_equal(got, "Return-Path: <s@s.test>\nDelivered-To: a@v.test\n" CONTENT);
    mem_free(got);
    got = read_file(path_in(f, "out/args"), NULL);
    assert_string_equal(got, "a|s@s.test|a@v.test|v.test|");
    mem_free(got);
    got = read_file(path_in(f, "out/env"), NULL);
    assert_non_null(strstr(got, "PATH=/usr/bin:/bin\n"));
    assert_non_null(strstr(got, "TZ=UTC\n"));
    assert_non_null(strstr(got, "NAME=some value\n"));
    assert_null(strstr(got, "HOME="));
    mem_free(got);
    assert_true(was_logged("postfix/pipe["));
    assert_true(was_logged(": to=<a@v.test>, relay=p, delay="));
    assert_true(was_logged("dsn=2.0.0, status=sent (delivered via p service)\n"));
}

static void test_user_and_directory(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char *got;

    make_command(f, ":");
    write_file(path_in(f, "where"), 0755, "#!/bin/sh\npwd >file\nid -G >groups\n");
    assert_int_equal(mkdir(path_in(f, "cwd"), 0777), 0);
    assert_int_equal(chmod(path_in(f, "cwd"), 0777), 0);
    check_result(deliver(f, pipe_conf("", "directory = %DIR%/cwd\nargv = %DIR%/where\n"), CONTENT), STATUS_OK, "2.0.0",
                 "delivered via p service");
    got = read_file(path_in(f, "cwd/file"), NULL);
    assert_memory_equal(got, path_in(f, "cwd"), strlen(path_in(f, "cwd")));
    mem_free(got);
    assert_int_equal(stat(path_in(f, "cwd/file"), &st), 0);
    assert_int_equal(st.st_uid, geteuid() == 0 ? NOBODY : geteuid());
    if (geteuid() == 0) {
        got = read_file(path_in(f, "cwd/groups"), NULL);
        assert_string_equal(got, "65534\n");
        mem_free(got);
    }
}

static void test_several_recipients(void **state)
{
    struct fixture *f = *state;
    struct envelope_rcpt to[] = {{.addr = "a@v.test"}, {.addr = "b+x@v.test"}, {.addr = "c@v.test"}};
    struct envelope e = {.sender = "", .rcpts = to, .nrcpts = 3};
    char *got;

    make_command(f, "cat >message; echo \"$@\" >>args");
    fixture_start(f, pipe_conf("p_destination_recipient_limit = 10\n",
                               "flags = R\nargv = %DIR%/command $user $extension $sender\n"));
    queue_message(f, &e, slice_str(CONTENT));
    run_until(f, 3);
    got = read_file(path_in(f, "out/args"), NULL);
    assert_string_equal(got, "a b c  x  MAILER-DAEMON\n");
    mem_free(got);
    got = read_file(path_in(f, "out/message"), NULL);
    assert_string_equal(got, "Return-Path: <MAILER-DAEMON>\n" CONTENT);
    mem_free(got);
}

static void test_flag_d_with_several_recipients(void **state)
{
    struct fixture *f = *state;
    struct envelope_rcpt to[] = {{.addr = "a@v.test"}, {.addr = "b@v.test"}};
    struct envelope e = {.sender = "", .rcpts = to, .nrcpts = 2};

    make_command(f, "cat >message");
    fixture_start(f, pipe_conf("p_destination_recipient_limit = 10\n", "flags = D\n" COMMAND));
    queue_message(f, &e, slice_str(CONTENT));
    run_until(f, 2);
    check_result(&f->results[0], STATUS_TEMPFAIL, "4.3.5", "mail system configuration error");
    check_result(&f->results[1], STATUS_TEMPFAIL, "4.3.5", "mail system configuration error");
    assert_true(was_logged("warning: "));
    assert_true(was_logged("flags D and O need p_destination_recipient_limit = 1"));
    assert_int_not_equal(access(path_in(f, "out/message"), F_OK), 0);
}

static void test_ends(void **state)
{
    static const struct {
        const char *script;
        enum status_class cls;
        const char *dsn, *text;
    } rows[] = {
        {"cat >/dev/null; echo said something", STATUS_OK, "2.0.0", "delivered via p service (said something)"},
        {"cat >/dev/null; echo nobody; exit 67", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: nobody"},
        {"cat >/dev/null; exit 75", STATUS_TEMPFAIL, "4.3.0", "temporary failure"},
        {"cat >/dev/null; echo 4.2.2 full >&2; exit 67", STATUS_TEMPFAIL, "4.2.2", "full"},
        {"kill -9 $$", STATUS_TEMPFAIL, "4.3.0", "Command died with signal 9: \"%s\""},
        {"exit 3", STATUS_TEMPFAIL, "4.3.0", "Command died with status 3: \"%s\""},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[400];
        const char *s = strstr(rows[i].text, "%s");

        snprintf(text, sizeof text, "%.*s%s%s", s ? (int)(s - rows[i].text) : 400, rows[i].text,
                 s ? path_in(f, "command") : "", s ? s + 2 : "");
        make_command(f, rows[i].script);
        check_result(deliver(f, pipe_conf("", COMMAND), CONTENT), rows[i].cls, rows[i].dsn, text);
    }
}

static void test_cannot_start(void **state)
{
    static const struct {
        const char *settings, *why;
    } rows[] = {
        {"argv = %DIR%/nosuch\n", "no such file or directory"},
        {"argv = %DIR%/notexecutable\n", "permission denied"},
        {"argv = /bin/true\ndirectory = %DIR%/nosuch\n", "no such file or directory"},
    };
    struct fixture *f = *state;

    write_file(path_in(f, "notexecutable"), 0644, "#!/bin/sh\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct result *r;

        r = deliver(f, pipe_conf("", rows[i].settings), CONTENT);
        assert_int_equal(r->r.status.cls, STATUS_TEMPFAIL);
        assert_string_equal(r->r.status.dsn, "4.3.0");
        assert_non_null(strstr(r->r.status.text, "temporary failure: cannot run"));
        assert_non_null(strstr(r->r.status.text, rows[i].why));
        assert_false(r->r.destination_ok);
    }
}

static bool process_gone(const struct fixture *f, const char *pid_file)
{
    char *text = read_file(path_in(f, pid_file), NULL);
    pid_t pid;

    assert_non_null(text);
    pid = (pid_t)atol(text);
    mem_free(text);
    assert_true(pid > 1);
    for (int i = 0; i < 50; i++) {
        char *stat_text = mem_printf("/proc/%d/stat", (int)pid), *line = read_file(stat_text, NULL);
        bool gone = line == NULL || strstr(line, ") Z ") != NULL;

        mem_free(stat_text);
        mem_free(line);
        if (gone)
            return true;
        usleep(100000);
    }
    return false;
}

static uint64_t now_ms(void)
{
    return clock_wall_us() / 1000;
}

static void test_hang(void **state)
{
    struct fixture *f = *state;
    char *text = mem_printf("Command time limit exceeded: \"%s\". Command output: started", path_in(f, "command"));

    make_command(f, "echo $$ >pid; echo started; sleep 600 & echo $! >child; wait");
    check_result(deliver(f, pipe_conf("p_time_limit = 1s\n", COMMAND), CONTENT), STATUS_TEMPFAIL, "4.3.0", text);
    mem_free(text);
    assert_false(f->results[0].r.destination_ok);
    assert_true(process_gone(f, "out/pid"));
    assert_true(process_gone(f, "out/child"));
}

static void test_sigterm_ignored(void **state)
{
    struct fixture *f = *state;
    const uint64_t begun = now_ms();

    make_command(f, "trap '' TERM; echo $$ >pid; while :; do sleep 1; done");
    deliver(f, pipe_conf("p_time_limit = 1s\n", COMMAND), CONTENT);
    assert_int_equal(f->results[0].r.status.cls, STATUS_TEMPFAIL);
    assert_true(process_gone(f, "out/pid"));
    assert_true(now_ms() - begun < 20000);
}

static void test_output_flood(void **state)
{
    struct fixture *f = *state;
    char *content = make_content(3000000);

    make_command(f, "yes 'no such user' | head -c 20000000; cat >/dev/null; exit 67");
    deliver(f, pipe_conf("", COMMAND), content);
    assert_int_equal(f->results[0].r.status.cls, STATUS_PERMFAIL);
    assert_non_null(strstr(f->results[0].r.status.text, "user unknown. Command output: no such user no such user"));
    mem_free(content);
}

static void test_input_closed_early(void **state)
{
    struct fixture *f = *state;
    char *content = make_content(3000000);

    make_command(f, "exec <&-; sleep 0.3; echo enough; exit 0");
    check_result(deliver(f, pipe_conf("", COMMAND), content), STATUS_OK, "2.0.0", "delivered via p service (enough)");
    make_command(f, "exec <&-; sleep 0.3; exit 67");
    check_result(deliver(f, pipe_conf("", COMMAND), content), STATUS_PERMFAIL, "5.1.1", "user unknown");
    mem_free(content);
}

/* A grandchild that keeps the output open does not hold up the result, nor does it live on. */
static void test_forks_away(void **state)
{
    struct fixture *f = *state;
    const uint64_t begun = now_ms();

    make_command(f, "cat >/dev/null; sleep 60 & echo $! >child; exit 0");
    check_result(deliver(f, pipe_conf("", COMMAND), CONTENT), STATUS_OK, "2.0.0", "delivered via p service");
    assert_true(now_ms() - begun < 10000);
    assert_true(process_gone(f, "out/child"));
}

static void check_large(struct fixture *f, const char *settings, const char *before, const char *content)
{
    size_t n;
    char *got;

    check_result(deliver(f, pipe_conf("", settings), content), STATUS_OK, "2.0.0", "delivered via p service");
    got = read_file(path_in(f, "out/message"), &n);
    assert_int_equal(n, strlen(before) + strlen(content));
    assert_memory_equal(got, before, strlen(before));
    assert_memory_equal(got + strlen(before), content, strlen(content));
    mem_free(got);
}

static void test_slow_reader(void **state)
{
    struct fixture *f = *state;
    char *content = make_content(5000000);

    make_command(f, "head -c 100000 >message; sleep 0.5; cat >>message");
    check_large(f, "flags = R\n" COMMAND, "Return-Path: <s@s.test>\n", content);
    mem_free(content);
}

/* A header section of several pieces: `last` is at its end. */
static char *make_long_header(const char *last)
{
    struct buf b = {0};
    char *text;

    for (int i = 0; buf_len(&b) < 200000; i++)
        buf_printf(&b, "X-Filler-%d: some text that fills a header\n", i);
    buf_printf(&b, "%s\n\nbody\n", last);
    text = mem_strdup(buf_cstr(&b));
    buf_release(&b);
    return text;
}

static void test_loop(void **state)
{
    struct fixture *f = *state;
    char *late = make_long_header("Delivered-To: A@V.test");
    const char *contents[] = {"Delivered-To: A@v.TEST\n\n", "X: y\ndelivered-to:a@v.test\n\nbody\n", late};

    make_command(f, "cat >message");
    for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
        check_result(deliver(f, pipe_conf("", "flags = D\n" COMMAND), contents[i]), STATUS_PERMFAIL, "5.4.6",
                     "mail forwarding loop for a@v.test");
        assert_int_not_equal(access(path_in(f, "out/message"), F_OK), 0);
    }
    /* without flag D nobody looks */
    check_result(deliver(f, pipe_conf("", COMMAND), contents[0]), STATUS_OK, "2.0.0", "delivered via p service");
    mem_free(late);
}

static void test_long_header_without_loop(void **state)
{
    struct fixture *f = *state;
    char *content = make_long_header("Delivered-To: b@v.test");

    make_command(f, "cat >message");
    check_large(f, "flags = D\n" COMMAND, "Delivered-To: a@v.test\n", content);
    mem_free(content);
}

static void test_size(void **state)
{
    struct fixture *f = *state;

    make_command(f, "cat >message");
    check_result(deliver(f, pipe_conf("", "size = 20\n" COMMAND), CONTENT), STATUS_PERMFAIL, "5.2.3",
                 "message too large");
    check_result(deliver(f, pipe_conf("", "size = 2000\n" COMMAND), CONTENT), STATUS_OK, "2.0.0",
                 "delivered via p service");
}

static void test_null_sender_and_eol(void **state)
{
    struct fixture *f = *state;
    char *got;

    make_command(f, "cat >message; printf '[%s]' \"$@\" >args");
    fixture_start(
        f,
        pipe_conf("",
                  "flags = R\neol = \\r\\n\nnull_sender =\nargv = %DIR%/command -f ${sender} ${original_recipient}\n"));
    queue_text(f, "", "a@v.test", "A: b\n\nx\n");
    run_until(f, 1);
    got = read_file(path_in(f, "out/message"), NULL);
    assert_string_equal(got, "Return-Path: <>\r\nA: b\r\n\r\nx\r\n");
    mem_free(got);
    got = read_file(path_in(f, "out/args"), NULL);
    assert_string_equal(got, "[-f][][a@v.test]");
    mem_free(got);
}

/* ---- the configuration changes ---- */

static void reload(void *arg)
{
    struct fixture *f = arg;
    const struct conf *conf = fixture_conf(f, "virtual_transport = q\n[transport q]\ntype = discard\n");
    struct buf err = {0};

    assert_true(transports_reload(f->transports, conf, f->rules, &err));
    assert_int_equal(buf_len(&err), 0);
    conf_unref(&conf);
    queue_text(f, "s@s.test", "b@v.test", CONTENT); /* still routed to p */
    write_file(path_in(f, "out/go"), 0644, "");
}

static void test_reload(void **state)
{
    struct fixture *f = *state;
    struct timer timer = {0};

    make_command(f, "cat >message; while [ ! -e go ]; do sleep 0.1; done; echo done");
    fixture_start(f, pipe_conf("", "flags = D\n" COMMAND));
    queue_text(f, "s@s.test", "a@v.test", CONTENT);
    timer_start(f->loop, &timer, 500, reload, f);
    run_until(f, 2);
    check_result(&f->results[0], STATUS_TEMPFAIL, "4.3.0", "mail transport unavailable");
    check_result(&f->results[1], STATUS_OK, "2.0.0", "delivered via p service (done)");
    assert_string_equal(f->results[1].relay, "p");
    assert_true(was_logged("postfix/error["));
}

static void test_mistakes(void **state)
{
    struct fixture *f = *state;
    const struct conf *good, *bad;
    struct transports *none;
    struct buf err = {0}, expected = {0};

    make_command(f, "cat >/dev/null");
    fixture_start(f, pipe_conf("", COMMAND));
    good = conf_ref(f->conf);
    bad = fixture_conf(f, pipe_conf("", "argv = %DIR%/command ${nosuch}\n"));
    buf_printf(&expected, "%s:%d: transport p: unknown macro \"${nosuch}\" in argv\n", path_in(f, "mta.conf"),
               conf_transport_find(bad, "p")->line);
    assert_false(transports_reload(f->transports, bad, f->rules, &err));
    assert_string_equal(buf_cstr(&err), buf_cstr(&expected));
    buf_clear(&err);
    none = transports_new(f->loop, f->tables, f->dns, bad, f->rules, &err);
    assert_null(none);
    assert_string_equal(buf_cstr(&err), buf_cstr(&expected));
    queue_text(f, "s@s.test", "a@v.test", CONTENT); /* the old configuration holds */
    run_until(f, 1);
    assert_int_equal(f->results[0].r.status.cls, STATUS_OK);
    buf_release(&err);
    buf_release(&expected);
    conf_unref(&good);
    conf_unref(&bad);
}

/* ---- cut off ---- */

static void test_cut_off(void **state)
{
    struct fixture *f = *state;
    char *content = make_content(3000000);

    make_command(f, "echo $$ >pid; cat >/dev/null; sleep 600");
    fixture_start(f, pipe_conf("", "flags = D\n" COMMAND));
    queue_text(f, "s@s.test", "a@v.test", content);
    queue_text(f, "s@s.test", "b@v.test", CONTENT);
    run_for(f, 700);
    fixture_stop(f);
    assert_true(process_gone(f, "out/pid"));
    assert_int_equal(f->nresults, 0);
    mem_free(content);
    /* it is all still there */
    make_command(f, "cat >/dev/null");
    fixture_start(f, pipe_conf("", COMMAND));
    run_until(f, 2);
    assert_int_equal(f->results[0].r.status.cls, STATUS_OK);
    assert_int_equal(f->results[1].r.status.cls, STATUS_OK);
}

static void damage(void *arg)
{
    struct fixture *f = arg;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path_in(f, "queue/queue.db"), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM content WHERE piece > 5", NULL, NULL, NULL), SQLITE_OK);
    assert_true(sqlite3_changes(db) > 0);
    sqlite3_close(db);
    write_file(path_in(f, "out/go"), 0644, "");
}

/* A message that cannot be read to its end must not be taken for a whole one. */
static void test_content_lost(void **state)
{
    struct fixture *f = *state;
    struct timer timer = {0};
    char *content = make_content(3000000);

    make_command(f, "while [ ! -e go ]; do sleep 0.1; done; cat >message; echo all >whole");
    fixture_start(f, pipe_conf("", COMMAND));
    queue_text(f, "s@s.test", "a@v.test", content);
    timer_start(f->loop, &timer, 700, damage, f);
    run_until(f, 1);
    assert_int_equal(f->results[0].r.status.cls, STATUS_TEMPFAIL);
    assert_string_equal(f->results[0].r.status.dsn, "4.3.0");
    usleep(300000);
    assert_int_not_equal(access(path_in(f, "out/whole"), F_OK), 0);
    mem_free(content);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_message_and_arguments),
        TEST(test_user_and_directory),
        TEST(test_several_recipients),
        TEST(test_flag_d_with_several_recipients),
        TEST(test_ends),
        TEST(test_cannot_start),
        TEST(test_hang),
        TEST(test_sigterm_ignored),
        TEST(test_output_flood),
        TEST(test_input_closed_early),
        TEST(test_forks_away),
        TEST(test_slow_reader),
        TEST(test_loop),
        TEST(test_long_header_without_loop),
        TEST(test_size),
        TEST(test_null_sender_and_eol),
        TEST(test_reload),
        TEST(test_mistakes),
        TEST(test_cut_off),
        TEST(test_content_lost),
    };

    signal(SIGPIPE, SIG_IGN);
    umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

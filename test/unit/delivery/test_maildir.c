/* The maildir transport: tables -> mailbox, what is written there, and what happens when something is missing. */
#include "fixture.h"

#include <dirent.h>
#include <sqlite3.h>

#define CONTENT "Subject: t\n\nhello\n"

/* Tables by address: mailboxes; users are nobody's or ours. */
static const char *maildir_conf(const char *mailboxes, const char *more)
{
    static char text[3000];
    const int id = geteuid() == 0 ? NOBODY : (int)geteuid(), gid = geteuid() == 0 ? NOBODY : (int)getegid();

    snprintf(text, sizeof text,
             "virtual_transport = virtual\nvirtual_mailbox_base = %%DIR%%/out\nvirtual_mailbox_maps = %s\n"
             "virtual_minimum_uid = 1\nvirtual_uid_maps = static:%d\nvirtual_gid_maps = static:%d\n%s\n",
             mailboxes, id, gid, more);
    return text;
}

#define BOXES                                                                                                          \
    "inline:{{a@v.test=v.test/a/} {b@v.test=v.test/b/} {c@v.test=v.test/c///} {file@v.test=v.test/file} "              \
    "{up@v.test=../up/} "                                                                                              \
    "{middle@v.test=a/../../up/} {dots@v.test=..dots/} {abs@v.test=/abs/}}"

/* The files in a maildir's folder; the first one's content in `content` (to be freed) when not NULL. */
static size_t look(const struct fixture *f, const char *folder, char **content)
{
    const char *path = path_in(f, folder);
    struct dirent *e;
    size_t n = 0;
    DIR *d = opendir(path);

    while (d != NULL && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' && n++ == 0 && content != NULL) {
            char *file = mem_printf("%s/%s", path, e->d_name);

            *content = read_file(file, NULL);
            mem_free(file);
        }
    if (d != NULL)
        closedir(d);
    return n;
}

static void send_to(struct fixture *f, const char *const *rcpts, size_t n, const char *content)
{
    struct envelope_rcpt to[50] = {0};
    struct envelope e = {.sender = "s t@s.test", .rcpts = to, .nrcpts = n};

    for (size_t i = 0; i < n; i++)
        to[i].addr = rcpts[i];
    queue_message(f, &e, slice_str(content));
}

static const struct result *result_of(const struct fixture *f, const char *addr)
{
    for (size_t i = 0; i < f->nresults; i++)
        if (strcmp(f->results[i].addr, addr) == 0)
            return &f->results[i];
    fail_msg("no result for %s", addr);
    return NULL;
}

static void test_delivery(void **state)
{
    struct fixture *f = *state;
    struct envelope_rcpt to = {.addr = "A+ext@V.test", .orig = "alias@v.test"};
    struct envelope e = {.sender = "s t@s.test", .rcpts = &to, .nrcpts = 1};
    struct stat st;
    char *got = NULL;

    fixture_start(f, maildir_conf(BOXES, ""));
    queue_message(f, &e, slice_str(CONTENT));
    run_until(f, 1);
    check_result(&f->results[0], STATUS_OK, "2.0.0", "delivered to maildir");
    assert_string_equal(f->results[0].relay, "virtual");
    assert_int_equal(look(f, "out/v.test/a/new", &got), 1);
    assert_string_equal(
        got, "Return-Path: <\"s t\"@s.test>\nX-Original-To: alias@v.test\nDelivered-To: A+ext@V.test\n" CONTENT);
    mem_free(got);
    assert_int_equal(look(f, "out/v.test/a/tmp", NULL), 0);
    assert_int_equal(stat(path_in(f, "out/v.test/a"), &st), 0);
    assert_int_equal(st.st_uid, geteuid() == 0 ? NOBODY : geteuid());
    assert_true(was_logged("postfix/virtual["));
    assert_true(was_logged(": to=<A+ext@V.test>, orig_to=<alias@v.test>, relay=virtual, delay="));
    assert_true(was_logged("dsn=2.0.0, status=sent (delivered to maildir)\n"));
}

static void test_null_sender_and_no_original(void **state)
{
    struct fixture *f = *state;
    struct envelope_rcpt to = {.addr = "a@v.test", .orig = "alias@v.test"};
    struct envelope e = {.sender = "", .rcpts = &to, .nrcpts = 1};
    char *got = NULL;

    fixture_start(f, maildir_conf(BOXES, "enable_original_recipient = no\n"));
    queue_message(f, &e, slice_str(CONTENT));
    run_until(f, 1);
    assert_int_equal(look(f, "out/v.test/a/new", &got), 1);
    assert_string_equal(got, "Return-Path: <>\nDelivered-To: a@v.test\n" CONTENT);
    mem_free(got);
    assert_false(was_logged("orig_to="));
}

static void test_several_recipients_of_a_large_message(void **state)
{
    static const char *const rcpts[] = {"a@v.test", "nobody@v.test", "b@v.test", "c@v.test"};
    static const char *const folders[] = {"out/v.test/a/new", "out/v.test/b/new", "out/v.test/c/new"};
    const size_t sizes[] = {100, 65536, 300000};
    struct fixture *f = *state;

    for (size_t s = 0; s < 3; s++) {
        char *content = make_content(sizes[s]);

        nftw(path_in(f, "out/v.test"), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        fixture_start(f, maildir_conf(BOXES, ""));
        send_to(f, rcpts, 4, content);
        run_until(f, 4);
        check_result(result_of(f, "nobody@v.test"), STATUS_PERMFAIL, "5.1.1", "unknown user: \"nobody@v.test\"");
        for (size_t i = 0; i < 3; i++) {
            char *got = NULL, *body;

            assert_int_equal(look(f, folders[i], &got), 1);
            body = strstr(got, "Subject: large");
            assert_non_null(body);
            assert_string_equal(body, content);
            mem_free(got);
        }
        assert_int_equal(look(f, "out/v.test/a/tmp", NULL), 0);
        fixture_stop(f);
        fixture_forget_queue(f);
        mem_free(content);
    }
}

static void test_many_messages(void **state)
{
    struct fixture *f = *state;

    fixture_start(f, maildir_conf(BOXES, "virtual_initial_destination_concurrency = 20\n"));
    for (int i = 0; i < 200; i++)
        queue_text(f, "s@s.test", "a@v.test", CONTENT);
    run_until(f, 200);
    assert_int_equal(look(f, "out/v.test/a/new", NULL), 200);
    assert_int_equal(look(f, "out/v.test/a/tmp", NULL), 0);
}

static void test_paths(void **state)
{
    static const struct {
        const char *addr;
        enum status_class cls;
        const char *dsn, *text;
    } rows[] = {
        {"file@v.test", STATUS_TEMPFAIL, "4.3.5", "mailbox path does not end in a slash: only maildirs are supported"},
        {"up@v.test", STATUS_TEMPFAIL, "4.3.5", "mail system configuration error"},
        {"middle@v.test", STATUS_TEMPFAIL, "4.3.5", "mail system configuration error"},
        {"dots@v.test", STATUS_OK, "2.0.0", "delivered to maildir"},
        {"abs@v.test", STATUS_OK, "2.0.0", "delivered to maildir"},
    };
    const char *rcpts[5];
    struct fixture *f = *state;

    for (size_t i = 0; i < 5; i++)
        rcpts[i] = rows[i].addr;
    fixture_start(f, maildir_conf(BOXES, ""));
    send_to(f, rcpts, 5, CONTENT);
    run_until(f, 5);
    for (size_t i = 0; i < 5; i++)
        check_result(result_of(f, rows[i].addr), rows[i].cls, rows[i].dsn, rows[i].text);
    assert_int_equal(look(f, "out/..dots/new", NULL), 1);
    assert_int_equal(look(f, "out/abs/new", NULL), 1);
    assert_int_not_equal(access(path_in(f, "up"), F_OK), 0);
    assert_int_not_equal(access(path_in(f, "out/v.test/file"), F_OK), 0);
    assert_true(was_logged("warning: "));
    assert_true(was_logged(
        "recipient up@v.test: virtual_mailbox_maps gives \"../up/\", which is no maildir below virtual_mailbox_base"));
}

static void test_users(void **state)
{
    static const struct {
        const char *settings, *warning;
    } rows[] = {
        {"virtual_uid_maps = static:5\nvirtual_minimum_uid = 100\n",
         "recipient a@v.test: bad uid \"5\" in virtual_uid_maps"},
        {"virtual_uid_maps = static:0\nvirtual_minimum_uid = 1\n", "bad uid \"0\" in virtual_uid_maps"},
        {"virtual_uid_maps = static:abc\n", "bad uid \"abc\" in virtual_uid_maps"},
        {"virtual_uid_maps = static:-1\n", "bad uid \"-1\" in virtual_uid_maps"},
        {"virtual_uid_maps = static:5000x\n", "bad uid \"5000x\" in virtual_uid_maps"},
        {"virtual_uid_maps = static:99999999999\n", "bad uid \"99999999999\" in virtual_uid_maps"},
        {"virtual_uid_maps = static:4294967295\n", "bad uid \"4294967295\" in virtual_uid_maps"},
        {"virtual_gid_maps = static:0\n", "bad gid \"0\" in virtual_gid_maps"},
        {"virtual_uid_maps = inline:{b@v.test=5000}\n", "recipient a@v.test: not found in virtual_uid_maps"},
        {"virtual_gid_maps = inline:{b@v.test=5000}\n", "recipient a@v.test: not found in virtual_gid_maps"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check_result(deliver(f, maildir_conf(BOXES, rows[i].settings), CONTENT), STATUS_TEMPFAIL, "4.3.5",
                     "mail system configuration error");
        if (!was_logged(rows[i].warning))
            fail_msg("%s: %s", rows[i].settings, logged);
    }
    assert_int_not_equal(access(path_in(f, "out/v.test/a"), F_OK), 0);
}

static void test_table_fails(void **state)
{
    static const char *const settings[] = {
        "virtual_mailbox_maps = texthash:%DIR%/nosuch\n",
        "virtual_uid_maps = texthash:%DIR%/nosuch\n",
        "virtual_gid_maps = texthash:%DIR%/nosuch\n",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < 3; i++)
        check_result(deliver(f, maildir_conf(BOXES, settings[i]), CONTENT), STATUS_TEMPFAIL, "4.3.0",
                     "Temporary lookup failure");
    assert_int_not_equal(access(path_in(f, "out/v.test/a"), F_OK), 0);
}

static void test_cannot_write(void **state)
{
    struct fixture *f = *state;
    const struct result *r;

    write_file(path_in(f, "out/v.test"), 0644, "in the way");
    r = deliver(f, maildir_conf(BOXES, ""), CONTENT);
    assert_int_equal(r->r.status.cls, STATUS_TEMPFAIL);
    assert_string_equal(r->r.status.dsn, "4.2.0");
    assert_non_null(strstr(r->r.status.text, "maildir delivery failed: create maildir file "));
    assert_non_null(strstr(r->r.status.text, "/out/v.test/a/tmp/"));
    assert_non_null(strstr(r->r.status.text, ": Not a directory"));
}

static void test_limit(void **state)
{
    struct fixture *f = *state;
    char *content = make_content(1999);

    check_result(deliver(f, maildir_conf(BOXES, "virtual_mailbox_limit = 2000\nmessage_size_limit = 2000\n"), content),
                 STATUS_PERMFAIL, "5.2.2", "maildir delivery failed: error writing message: File too large");
    assert_int_equal(look(f, "out/v.test/a/tmp", NULL), 0);
    check_result(deliver(f, maildir_conf(BOXES, "virtual_mailbox_limit = 3000\nmessage_size_limit = 2000\n"), content),
                 STATUS_OK, "2.0.0", "delivered to maildir");
    check_result(deliver(f, maildir_conf(BOXES, "virtual_mailbox_limit = 0\nmessage_size_limit = 0\n"), content),
                 STATUS_OK, "2.0.0", "delivered to maildir");
    mem_free(content);
}

static void test_mistakes(void **state)
{
    static const struct {
        const char *settings, *complaint;
    } rows[] = {
        {"virtual_uid_maps = static\n", "virtual_uid_maps: "},
        {"virtual_gid_maps = nosuch:x\n", "virtual_gid_maps: "},
    };
    struct fixture *f = *state;

    fixture_start(f, maildir_conf(BOXES, ""));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct conf *conf = fixture_conf(f, maildir_conf(BOXES, rows[i].settings));
        struct buf err = {0};

        assert_false(transports_reload(f->transports, conf, f->rules, &err));
        if (strstr(buf_cstr(&err), rows[i].complaint) == NULL)
            fail_msg("%s: %s", rows[i].settings, buf_cstr(&err));
        assert_int_equal(slice_find(buf_slice(&err), '\n'), buf_len(&err) - 1);
        conf_unref(&conf);
        buf_release(&err);
    }
}

/* The end of the message is not in the queue any more: nothing of it may appear. */
static void test_content_lost(void **state)
{
    struct fixture *f = *state;
    char *content = make_content(300000);
    sqlite3 *db;

    fixture_start(f, maildir_conf(BOXES, "virtual_transport = retry:later\n"));
    queue_text(f, "s@s.test", "a@v.test", content);
    run_until(f, 1);
    fixture_stop(f);
    assert_int_equal(sqlite3_open(path_in(f, "queue/queue.db"), &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "DELETE FROM content WHERE piece = 2; UPDATE rcpt SET next_us = 1", NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    f->nresults = 0;
    fixture_start(f, maildir_conf(BOXES, ""));
    run_until(f, 1);
    assert_int_equal(f->results[0].r.status.cls, STATUS_TEMPFAIL);
    assert_int_equal(look(f, "out/v.test/a/new", NULL), 0);
    assert_int_equal(look(f, "out/v.test/a/tmp", NULL), 0);
    mem_free(content);
}

/* Stopped at any moment: each message is in the mailbox or in the queue, and no half of one is left. */
static void test_cut_off(void **state)
{
    struct fixture *f = *state;
    char *content = make_content(400000);
    size_t in_box = 0;

    for (unsigned ms = 0; ms < 40; ms += 4) {

        fixture_start(f, maildir_conf(BOXES, ""));
        for (int i = 0; i < 5; i++)
            queue_text(f, "s@s.test", "a@v.test", content);
        while (f->committing > 0)
            run_for(f, 1);
        run_for(f, ms);
        fixture_stop(f);
        assert_int_equal(look(f, "out/v.test/a/tmp", NULL), 0);
        assert_true(look(f, "out/v.test/a/new", NULL) >= in_box + f->nresults);
        in_box = look(f, "out/v.test/a/new", NULL);
        fixture_forget_queue(f);
    }
    mem_free(content);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_delivery),
        TEST(test_null_sender_and_no_original),
        TEST(test_several_recipients_of_a_large_message),
        TEST(test_many_messages),
        TEST(test_paths),
        TEST(test_users),
        TEST(test_table_fails),
        TEST(test_cannot_write),
        TEST(test_limit),
        TEST(test_mistakes),
        TEST(test_content_lost),
        TEST(test_cut_off),
    };

    umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

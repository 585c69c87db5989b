/* The queue as text and as JSON: exact output, hostile text, sizes that do not fit into memory, what is refused. */
#include "unit/core/queue/fixture.h"

#include "core/queue/queue_list.h"

#define T0 1700000000000000u /* Tue Nov 14 22:13:20 UTC 2023; as a queue id 60A24181E4000 */

static char *list(struct fixture *f, enum queue_list_form form)
{
    struct status why = status_ok();
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);

    if (!queue_list(f->directory, form, out, &why))
        fail_msg("%s", why.text);
    fclose(out);
    return text;
}

static void listed(struct fixture *f, enum queue_list_form form, const char *wanted)
{
    char *text = list(f, form);

    assert_string_equal(text, wanted);
    free(text);
}

static void put(struct fixture *f, uint64_t qid, const char *sender, const char *const *addrs, size_t n)
{
    struct envelope *e = sample(f, sender, n);
    struct status s;

    e->qid = e->arrival_us = qid;
    for (size_t i = 0; i < n; i++)
        e->rcpts[i].addr = addrs[i];
    s = commit(f, e, "Subject: test\n\nbody\n");
    assert_true(status_is_ok(&s));
}

/* Three messages; their ids are not in the order in which they were committed. */
static void sample_queue(struct fixture *f)
{
    static const char *const three[] = {"a@example.com", "b@example.com", "c@example.com"};
    static const char *const one[] = {"d@example.com"};

    put(f, T0 + 1000000, "", one, 1);
    put(f, T0, "s@example.org", three, 3);
    put(f, T0 + 2000000, "s@example.org", one, 1);
    fixture_sql(f, "UPDATE rcpt SET attempts = 2, next_us = 1700000300000000, dsn = '4.2.1', text = 'try me later'"
                   " WHERE addr IN ('a@example.com', 'b@example.com')");
    fixture_sql(f, "UPDATE rcpt SET attempts = 1, next_us = NULL, report_us = 1700000005000000, action = 1,"
                   " dsn = '5.1.1', text = 'user unknown' WHERE qid = 1700000001000000");
}

/* ---- what a list looks like ---- */

static void an_empty_queue(void **state)
{
    listed(*state, QUEUE_LIST_TEXT, "Mail queue is empty\n");
    listed(*state, QUEUE_LIST_JSON, "");
}

static void text(void **state)
{
    struct fixture *f = *state;

    sample_queue(f);
    listed(f, QUEUE_LIST_TEXT,
           "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
           "60A24181E4000           20 Tue Nov 14 22:13:20 s@example.org\n"
           "                                                                (try me later)\n"
           "                                               a@example.com\n"
           "                                               b@example.com\n"
           "                                                               (not tried yet)\n"
           "                                               c@example.com\n"
           "\n"
           "60A24182D8240           20 Tue Nov 14 22:13:21 MAILER-DAEMON\n"
           "                                                (to be reported: user unknown)\n"
           "                                               d@example.com\n"
           "\n"
           "60A24183CC480           20 Tue Nov 14 22:13:22 s@example.org\n"
           "                                               d@example.com\n"
           "\n"
           "-- 0 Kbytes in 3 Requests.\n");
}

static void json(void **state)
{
    struct fixture *f = *state;

    sample_queue(f);
    fixture_sql(f, "DELETE FROM message WHERE qid = 1700000002000000");
    fixture_sql(f, "UPDATE rcpt SET orig = 'abuse@example.com' WHERE addr = 'a@example.com'");
    fixture_sql(f, "UPDATE rcpt SET next_us = 1700000060000000 WHERE addr = 'c@example.com'");
    listed(
        f, QUEUE_LIST_JSON,
        "{\"queue_id\":\"60A24181E4000\",\"queue_name\":\"deferred\",\"arrival_time\":1700000000,\"message_size\":20,"
        "\"sender\":\"s@example.org\",\"recipients\":["
        "{\"address\":\"a@example.com\",\"orig_address\":\"abuse@example.com\",\"delay_reason\":\"try me later\","
        "\"dsn\":\"4.2.1\",\"attempts\":2,\"next_attempt\":1700000300,\"report\":null},"
        "{\"address\":\"b@example.com\",\"orig_address\":null,\"delay_reason\":\"try me later\",\"dsn\":\"4.2.1\","
        "\"attempts\":2,\"next_attempt\":1700000300,\"report\":null},"
        "{\"address\":\"c@example.com\",\"orig_address\":null,\"delay_reason\":null,\"dsn\":null,\"attempts\":0,"
        "\"next_attempt\":1700000060,\"report\":null}]}\n"
        "{\"queue_id\":\"60A24182D8240\",\"queue_name\":\"deferred\",\"arrival_time\":1700000001,\"message_size\":20,"
        "\"sender\":\"MAILER-DAEMON\",\"recipients\":["
        "{\"address\":\"d@example.com\",\"orig_address\":null,\"delay_reason\":\"user unknown\",\"dsn\":\"5.1.1\","
        "\"attempts\":1,\"next_attempt\":null,\"report\":\"failed\"}]}\n");
}

static void what_was_not_tried_is_incoming(void **state)
{
    struct fixture *f = *state;
    char *text;

    commit_sample(f, 1);
    text = list(f, QUEUE_LIST_JSON);
    assert_non_null(strstr(text, "\"queue_name\":\"incoming\""));
    free(text);
}

static void hostile_text(void **state)
{
    static const char *const addrs[] = {"a\"\\\x01\n\t\x7f@\xff\xc3y.example",
                                        "\xc3\xa4\"\xe2\x82@\xed\xa0\x80\xf0\x9f"};
    struct fixture *f = *state;
    char *text;

    put(f, T0, "x\x1b[31m y@\xf5.example", addrs, 2);
    fixture_sql(f, "UPDATE rcpt SET text = char(27) || '\"]}' || CAST(x'FE' AS TEXT) WHERE id = 1");
    text = list(f, QUEUE_LIST_TEXT);
    assert_non_null(strstr(text, " \"x?[31m y\"@?.example\n"));
    assert_non_null(strstr(text, " (?\"]}?)\n"));
    assert_non_null(strstr(text, " \"a\\\"\\\\????\"@??y.example\n"));
    assert_non_null(strstr(text, " \"\xc3\xa4\\\"??\"@?????\n"));
    free(text);
#define BAD "\xef\xbf\xbd"
    text = list(f, QUEUE_LIST_JSON);
    assert_non_null(strstr(text, "\"sender\":\"x\\u001b[31m y@" BAD ".example\""));
    assert_non_null(strstr(text, "\"delay_reason\":\"\\u001b\\\"]}" BAD "\""));
    assert_non_null(strstr(text, "\"address\":\"a\\\"\\\\\\u0001\\n\\t\x7f@" BAD BAD "y.example\""));
    assert_non_null(strstr(text, "\"address\":\"\xc3\xa4\\\"" BAD BAD "@" BAD BAD BAD BAD BAD "\""));
    assert_int_equal(strchr(text, '\n') - text, strlen(text) - 1);
    free(text);
}

/* ---- large ones ---- */

static void fill(struct fixture *f, unsigned messages)
{
    char text[400];

    snprintf(
        text, sizeof text,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u)"
        " INSERT INTO message SELECT i * 10, i, 1, 1024, 0, 0, 0, 's@example.org', NULL, NULL, NULL, NULL, NULL FROM n",
        messages);
    fixture_sql(f, text);
    fixture_sql(
        f, "INSERT INTO rcpt(qid, id, next_us, attempts, notify, addr) SELECT qid, 1, 1, 0, 0, 'u@x' FROM message");
}

static void more_than_one_batch(void **state)
{
    struct fixture *f = *state;
    uint64_t qid, before = 0, count = 0;
    char *text, *at;

    fill(f, 1500); /* a whole number of batches */
    text = list(f, QUEUE_LIST_JSON);
    for (at = text; (at = strstr(at, "{\"queue_id\":\"")) != NULL; count++) {
        at += strlen("{\"queue_id\":\"");
        assert_true(id_parse(slice_make(at, strcspn(at, "\"")), &qid));
        assert_true(qid > before);
        before = qid;
    }
    assert_int_equal(count, 1500);
    free(text);
    fixture_sql(f, "DELETE FROM message WHERE qid = 10");
    text = list(f, QUEUE_LIST_TEXT);
    assert_non_null(strstr(text, "\n-- 1499 Kbytes in 1499 Requests.\n"));
    free(text);
}

/* Between what is written no snapshot is held: the log can be started anew at any time. */
struct reader {
    struct fixture *f;
    size_t writes, longest;
};

static ssize_t slow_reader(void *cookie, const char *p, size_t n)
{
    struct reader *r = cookie;

    (void)p;
    fixture_sql(r->f, "UPDATE message SET size = size + 1 WHERE qid = 10");
    assert_int_equal(fixture_sql(r->f, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
    r->writes++;
    if (n > r->longest)
        r->longest = n;
    return (ssize_t)n;
}

static void a_slow_reader_is_no_matter(void **state)
{
    struct reader r = {.f = *state};
    FILE *out = fopencookie(&r, "w", (cookie_io_functions_t){.write = slow_reader});
    struct status why;

    setvbuf(out, NULL, _IONBF, 0);
    fill(r.f, 1600);
    assert_true(queue_list(r.f->directory, QUEUE_LIST_TEXT, out, &why));
    assert_true(r.writes >= 4);
    fclose(out);
}

static ssize_t measure(void *cookie, const char *p, size_t n)
{
    struct reader *r = cookie;

    (void)p;
    r->writes++;
    if (n > r->longest)
        r->longest = n;
    return (ssize_t)n;
}

static void a_message_with_many_recipients(void **state)
{
    struct reader r = {.f = *state};
    FILE *out;
    struct status why;

    fill(r.f, 1);
    fixture_sql(r.f, "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
                     " INSERT INTO rcpt(qid, id, next_us, attempts, notify, addr) SELECT 10, i, 1, 0, 0, 'u@x' FROM n");
    for (int form = QUEUE_LIST_TEXT; form <= QUEUE_LIST_JSON; form++) {
        r.writes = r.longest = 0;
        out = fopencookie(&r, "w", (cookie_io_functions_t){.write = measure});
        setvbuf(out, NULL, _IONBF, 0);
        assert_true(queue_list(r.f->directory, form, out, &why));
        fclose(out);
        assert_true(r.writes > 5);
        assert_true(r.longest < 300000);
    }
}

/* ---- with and without a server ---- */

static void without_a_server(void **state)
{
    struct fixture *f = *state;
    char *text;

    commit_sample(f, 1);
    fixture_close(f);
    text = list(f, QUEUE_LIST_TEXT);
    fixture_open(f);
    assert_non_null(strstr(text, "sender@example.org\n"));
    free(text);
}

static void refused(struct fixture *f, const char *what)
{
    struct status why = status_ok();
    bool ok = queue_list(f->directory, QUEUE_LIST_TEXT, stderr, &why);

    if (ok || strstr(why.text, what) == NULL || strchr(why.text, '\n') != NULL)
        fail_msg("not refused for \"%s\": %s", what, why.text);
}

static void what_is_refused(void **state)
{
    struct fixture *f = *state;
    char directory[64];
    long long version = fixture_sql(f, "PRAGMA user_version");
    char set[64];

    commit_sample(f, 1);
    fixture_sql(f, "PRAGMA user_version = 1");
    refused(f, "has schema 1");
    refused(f, "when it starts");
    fixture_sql(f, "PRAGMA user_version = 99");
    refused(f, "has schema 99");
    refused(f, "newer mta");
    snprintf(set, sizeof set, "PRAGMA user_version = %lld", version);
    fixture_sql(f, set);
    fixture_sql(f, "PRAGMA application_id = 7");
    refused(f, "is not a queue of mta");
    fixture_sql(f, "PRAGMA application_id = 1836343665");
    memcpy(directory, f->directory, sizeof directory);
    snprintf(f->directory, sizeof f->directory, "/nonexistent");
    refused(f, "/nonexistent/queue.db cannot be read: No such file or directory");
    memcpy(f->directory, directory, sizeof directory);
}

static void a_file_that_is_no_database(void **state)
{
    struct fixture f = {0};
    char path[96];
    FILE *file;

    (void)state;
    fixture_directory(&f);
    snprintf(path, sizeof path, "%s/queue.db", f.directory);
    file = fopen(path, "w");
    fputs("This is a letter, and a rather long one, that somebody has put where the queue's database belongs.\n", file);
    fclose(file);
    refused(&f, "queue.db cannot be read: file is not a database");
    fixture_remove(&f);
}

static void an_output_that_is_full(void **state)
{
    struct fixture *f = *state;
    FILE *full = fopen("/dev/full", "w");
    struct status why;

    commit_sample(f, 1);
    assert_false(queue_list(f->directory, QUEUE_LIST_TEXT, full, &why));
    assert_string_equal(why.text, "cannot write: No space left on device");
    fclose(full);
}

/* ---- one message ---- */

static bool show(struct fixture *f, uint64_t qid, char **text, struct status *why)
{
    size_t n;
    FILE *out = open_memstream(text, &n);
    bool ok = queue_show(f->directory, qid, out, why);

    fclose(out);
    return ok;
}

static void one_message(void **state)
{
    struct fixture *f = *state;
    struct status why;
    char *text;

    sample_queue(f);
    assert_true(show(f, T0 + 2000000, &text, &why));
    assert_string_equal(text, "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
                              "60A24183CC480           20 Tue Nov 14 22:13:22 s@example.org\n"
                              "                                               d@example.com\n"
                              "\n"
                              "Subject: test\n\nbody\n");
    free(text);
    assert_false(show(f, T0 + 1, &text, &why));
    assert_string_equal(why.text, "there is no message 60A24181E4001 in the queue");
    assert_string_equal(text, "");
    free(text);
}

static void a_large_message(void **state)
{
    struct fixture *f = *state;
    size_t n = 1000000;
    char *content = mem_new(n + 1), *text;
    struct envelope *e = sample(f, "s@example.org", 1);
    struct status s;

    for (size_t i = 0; i < n; i++)
        content[i] = (char)(i % 78 == 77 ? '\n' : 'a' + i % 23);
    s = commit(f, e, content);
    assert_true(status_is_ok(&s));
    assert_true(show(f, e->qid, &text, &s));
    assert_string_equal(strstr(text, "\n\n") + 2, content);
    free(text);
    mem_free(content);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_empty_queue),
        TEST(text),
        TEST(json),
        TEST(what_was_not_tried_is_incoming),
        TEST(hostile_text),
        TEST(more_than_one_batch),
        TEST(a_slow_reader_is_no_matter),
        TEST(a_message_with_many_recipients),
        TEST(without_a_server),
        TEST(what_is_refused),
        cmocka_unit_test(a_file_that_is_no_database),
        TEST(an_output_that_is_full),
        TEST(one_message),
        TEST(a_large_message),
    };

    setenv("TZ", "UTC", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

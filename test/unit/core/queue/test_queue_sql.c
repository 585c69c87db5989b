/* The database: which files are refused, and what its statements do and cost. */
#include "unit/core/queue/fixture.h"

#include "core/queue/queue_sql.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

struct base {
    char directory[64], path[96];
    struct queue_sql *db;
    struct arena arena;
};

static int setup(void **state)
{
    struct base *b = NEW(struct base);
    struct status why;

    snprintf(b->directory, sizeof b->directory, "/tmp/mta-queue-XXXXXX");
    assert_non_null(mkdtemp(b->directory));
    snprintf(b->path, sizeof b->path, "%s/queue.db", b->directory);
    b->db = queue_sql_open(b->path, &why);
    assert_non_null(b->db);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct base *b = *state;
    char command[128];

    queue_sql_close(&b->db);
    arena_clear(&b->arena);
    snprintf(command, sizeof command, "rm -r %s", b->directory);
    assert_int_equal(system(command), 0);
    mem_free(b);
    return 0;
}

static void run_sql(struct base *b, const char *text)
{
    sqlite3 *db;
    char *error = NULL;

    assert_int_equal(sqlite3_open(b->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s", error);
    sqlite3_close(db);
}

static char *explain(struct base *b, const char *text)
{
    char *plan = arena_strdup(&b->arena, "");
    sqlite3 *db;
    sqlite3_stmt *s;

    assert_int_equal(sqlite3_open(b->path, &db), SQLITE_OK);
    text = arena_printf(&b->arena, "EXPLAIN QUERY PLAN %s", text);
    if (sqlite3_prepare_v2(db, text, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    while (sqlite3_step(s) == SQLITE_ROW)
        plan = arena_printf(&b->arena, "%s%s; ", plan, (const char *)sqlite3_column_text(s, 3));
    sqlite3_finalize(s);
    sqlite3_close(db);
    return plan;
}

static struct envelope one(uint64_t qid, struct envelope_rcpt *rcpts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (rcpts[i].id == 0)
            rcpts[i] = (struct envelope_rcpt){.id = i + 1, .addr = "user@example.com"};
    return (struct envelope){
        .qid = qid, .arrival_us = qid, .queued_us = qid, .sender = "s@example.org", .rcpts = rcpts, .nrcpts = n};
}

static void put(struct base *b, uint64_t qid, size_t nrcpts)
{
    struct envelope_rcpt rcpts[8] = {0};
    struct envelope e = one(qid, rcpts, nrcpts);

    assert_true(queue_sql_begin(b->db));
    assert_true(queue_sql_put_message(b->db, &e, 0, SLICE_LIT("body")));
    assert_true(queue_sql_commit(b->db));
}

static struct queue_batch find(struct base *b, uint64_t now, size_t limit, const uint64_t *busy, size_t nbusy)
{
    struct queue_due due = {
        .now_us = now, .horizon_us = now + 1000000, .limit = limit, .busy = busy, .nbusy = nbusy, .reports = true};
    struct queue_batch batch = {0};

    assert_true(queue_sql_find_due(b->db, &b->arena, &due, &batch));
    return batch;
}

/* ---- refusals ---- */

static void refused(struct base *b, const char *what)
{
    struct status why = status_ok();
    struct queue_sql *db = queue_sql_open(b->path, &why);

    if (db != NULL || strstr(why.text, what) == NULL || strstr(why.text, b->path) == NULL)
        fail_msg("not refused for \"%s\": %s", what, why.text);
    assert_int_equal(why.cls, STATUS_PERMFAIL);
    assert_null(strchr(why.text, '\n'));
}

static void overwrite(struct base *b, off_t at, size_t n)
{
    char *junk = mem_new(n);
    int fd = open(b->path, O_WRONLY);

    memset(junk, 0x5a, n);
    assert_int_equal(pwrite(fd, junk, n, at), n);
    close(fd);
    mem_free(junk);
}

static void damaged_header_is_refused(void **state)
{
    struct base *b = *state;

    queue_sql_close(&b->db);
    overwrite(b, 0, 100);
    refused(b, "is damaged");
}

static void damaged_tables_are_refused(void **state)
{
    struct base *b = *state;
    struct stat st;

    put(b, 1000, 1);
    queue_sql_close(&b->db);
    assert_int_equal(stat(b->path, &st), 0);
    overwrite(b, 4096 * 2, (size_t)st.st_size - 4096 * 2);
    refused(b, "is damaged");
}

static void truncated_file_is_refused(void **state)
{
    struct base *b = *state;

    for (uint64_t i = 1; i < 200; i++)
        put(b, i, 8);
    queue_sql_close(&b->db);
    assert_int_equal(truncate(b->path, 4096 * 3), 0);
    refused(b, "is damaged");
}

static void no_database_at_all_is_refused(void **state)
{
    struct base *b = *state;
    FILE *f;

    queue_sql_close(&b->db);
    f = fopen(b->path, "w");
    fputs("This is a letter, and a rather long one, that somebody has put where the queue's database belongs.\n", f);
    fclose(f);
    refused(b, "is damaged");
}

static void other_database_is_refused(void **state)
{
    struct base *b = *state;

    queue_sql_close(&b->db);
    run_sql(b, "PRAGMA application_id = 7");
    refused(b, "is not a queue of mta");
}

static void newer_schema_is_refused(void **state)
{
    struct base *b = *state;

    queue_sql_close(&b->db);
    run_sql(b, "PRAGMA user_version = 99");
    refused(b, "has schema 99");
}

static void missing_table_is_refused(void **state)
{
    struct base *b = *state;

    queue_sql_close(&b->db);
    run_sql(b, "DROP TABLE incoming");
    refused(b, "is damaged");
}

static void empty_file_is_a_new_queue(void **state)
{
    struct base *b = *state;
    struct status why;

    queue_sql_close(&b->db);
    assert_int_equal(truncate(b->path, 0), 0);
    b->db = queue_sql_open(b->path, &why);
    assert_non_null(b->db);
    put(b, 1000, 1);
}

/* ---- migrations ---- */

/* What version 1 made, with a message whose first recipient has failed and whose second is due. */
static const char version_1[] =
    "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
    "PRAGMA application_id = 1836343665;"
    "CREATE TABLE message(qid INTEGER PRIMARY KEY, arrival_us INTEGER NOT NULL, queued_us INTEGER NOT NULL,"
    " size INTEGER NOT NULL, pieces INTEGER NOT NULL, flags INTEGER NOT NULL, ret INTEGER NOT NULL,"
    " sender TEXT NOT NULL, client_name TEXT, client_addr TEXT, helo TEXT, protocol TEXT, envid TEXT);"
    "CREATE TABLE body(qid INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"
    "CREATE TABLE content(qid INTEGER NOT NULL, piece INTEGER NOT NULL, bytes BLOB NOT NULL);"
    "CREATE UNIQUE INDEX content_piece ON content(qid, piece);"
    "CREATE TABLE incoming(qid INTEGER PRIMARY KEY);"
    "CREATE TABLE rcpt(qid INTEGER NOT NULL, id INTEGER NOT NULL, next_us INTEGER, attempts INTEGER NOT NULL, notify "
    "INTEGER NOT NULL, addr TEXT NOT NULL, orig TEXT, orcpt TEXT,"
    " dsn TEXT, text TEXT, failed_us INTEGER, PRIMARY KEY(qid, id)) WITHOUT ROWID;"
    "CREATE INDEX rcpt_due ON rcpt(next_us) WHERE next_us IS NOT NULL;"
    "CREATE INDEX rcpt_failed ON rcpt(qid) WHERE failed_us IS NOT NULL;"
    "PRAGMA user_version = 1;"
    "INSERT INTO message VALUES(7, 1, 2, 4, 0, 0, 0, 's@example.org', NULL, NULL, NULL, NULL, NULL);"
    "INSERT INTO body VALUES(7, 'body');"
    "INSERT INTO rcpt VALUES(7, 1, NULL, 1, 0, 'no@example.com', NULL, NULL, '5.1.1', 'unknown', 3);"
    "INSERT INTO rcpt VALUES(7, 2, 4, 2, 0, 'yes@example.com', NULL, NULL, '4.0.0', 'later', NULL);";

static void version_1_is_migrated(void **state)
{
    struct base *b = *state;
    struct queue_reports reports = {0};
    struct queue_result late = {2, QUEUE_DEFERRED, ENVELOPE_ACTION_DELAYED, 9, "4.0.1", "later still"};
    struct queue_batch batch;
    struct status why;
    bool removed;

    queue_sql_close(&b->db);
    assert_int_equal(unlink(b->path), 0);
    run_sql(b, version_1);
    for (int opened = 0; opened < 2; opened++) { /* the second time it is up to date */
        queue_sql_close(&b->db);
        b->db = queue_sql_open(b->path, &why);
        if (b->db == NULL)
            fail_msg("%s", why.text);
        batch = find(b, 10, 10, NULL, 0);
        assert_int_equal(batch.count, 1);
        assert_int_equal(batch.messages[0]->nrcpts, 1);
        assert_int_equal(batch.messages[0]->rcpts[0].attempts, 2);
        assert_int_equal(batch.messages[0]->rcpts[0].action, ENVELOPE_ACTION_NONE);
        assert_int_equal(batch.nreports, 1);
        reports = (struct queue_reports){0};
        assert_true(queue_sql_find_reports(b->db, &b->arena, 7, &reports));
        assert_int_equal(reports.count, 1);
        assert_int_equal(reports.reports[0].rcpt.action, ENVELOPE_ACTION_FAILED);
        assert_string_equal(reports.reports[0].rcpt.addr, "no@example.com");
        assert_string_equal(reports.reports[0].text, "unknown");
        assert_int_equal(reports.reports[0].at_us, 3);
    }
    assert_true(queue_sql_record(b->db, 7, 8, &late, 1, &removed));
    reports = (struct queue_reports){0};
    assert_true(queue_sql_find_reports(b->db, &b->arena, 7, &reports));
    assert_int_equal(reports.count, 2);
    assert_int_equal(reports.reports[1].rcpt.action, ENVELOPE_ACTION_DELAYED);
}

/* ---- statements ---- */

static void text_is_never_sql(void **state)
{
    static const char evil[] = "'); DROP TABLE rcpt; --\x01\xff\xfe\"";
    struct base *b = *state;
    struct envelope_rcpt rcpt = {.id = 1, .addr = evil, .orig = evil, .orcpt = evil};
    struct envelope e = one(5, &rcpt, 1);
    struct queue_result result = {1, QUEUE_FAILED, ENVELOPE_ACTION_FAILED, .dsn = evil, .text = evil};
    struct queue_reports reports = {0};
    struct queue_batch batch;
    bool removed;

    e.sender = e.helo = e.client_name = e.client_addr = e.protocol = e.envid = evil;
    assert_true(queue_sql_begin(b->db));
    assert_true(queue_sql_put_message(b->db, &e, 0, slice_make(evil, sizeof evil)));
    assert_true(queue_sql_commit(b->db));
    batch = find(b, 10, 10, NULL, 0);
    assert_int_equal(batch.count, 1);
    assert_string_equal(batch.messages[0]->sender, evil);
    assert_string_equal(batch.messages[0]->envid, evil);
    assert_string_equal(batch.messages[0]->rcpts[0].addr, evil);
    assert_string_equal(batch.messages[0]->rcpts[0].orcpt, evil);
    assert_true(queue_sql_record(b->db, 5, 1, &result, 1, &removed));
    assert_true(queue_sql_find_reports(b->db, &b->arena, 5, &reports));
    assert_string_equal(reports.reports[0].text, evil);
}

static void every_lookup_has_an_index(void **state)
{
    static const struct {
        const char *id, *sql;
    } statements[] = {
#define STATEMENT(id, sql) {#id, sql},
#include "core/queue/queue_statements.def"
#undef STATEMENT
    };
    struct base *b = *state;

    for (size_t i = 0; i < ARRAY_LEN(statements); i++) {
        const char *plan = explain(b, statements[i].sql), *id = statements[i].id;

        /* These walk over exactly what they look for, in order; one counts all there is, for a person who asks. */
        if (strcmp(id, "REPORTS") == 0 || strcmp(id, "LIST_INCOMING") == 0 || strcmp(id, "TOTALS") == 0)
            continue;
        if (strstr(plan, "SCAN") != NULL || strstr(plan, "TEMP B-TREE") != NULL)
            fail_msg("%s: %s", id, plan);
        if (strncmp(id, "DUE", 3) == 0 && strcmp(id, "DUE_RCPTS") != 0 && strcmp(id, "DUE_CROWDED") != 0)
            assert_non_null(strstr(plan, "USING COVERING INDEX rcpt_due (next_us"));
    }
}

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void a_large_queue_is_no_matter(void **state)
{
    struct base *b = *state;
    struct queue_batch batch;
    double began;

    /* 100,000 recipients due in the future, some due now, inserted so that order of rows is not order of time */
    run_sql(b, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
               " INSERT INTO rcpt(qid, id, next_us, attempts, notify, addr)"
               " SELECT i, 1, CASE WHEN i % 10000 = 0 THEN 900000 - i ELSE 1000000 + i END, 0, 0, 'a@b' FROM n;"
               "INSERT INTO message SELECT qid, 1, 1, 1, 0, 0, 0, 's', NULL, NULL, NULL, NULL, NULL FROM rcpt");
    began = cpu_ms();
    batch = find(b, 999999, 100, NULL, 0);
    assert_true(cpu_ms() - began < 50);
    assert_int_equal(batch.count, 10);
    for (size_t i = 0; i < batch.count; i++)
        assert_int_equal(batch.messages[i]->qid, 100000 - i * 10000);
    assert_int_equal(batch.next_due_us, 1000001);
    batch = find(b, 1100000, 7, NULL, 0);
    assert_int_equal(batch.count, 7);
    assert_int_equal(batch.next_due_us, 1100000); /* more of them are due */
}

static void due_recipients_in_order_without_the_busy(void **state)
{
    struct base *b = *state;
    uint64_t busy[] = {300, 100};
    struct queue_batch batch;

    put(b, 400, 2);
    put(b, 100, 1);
    put(b, 300, 1);
    put(b, 200, 3);
    put(b, 900, 1);
    batch = find(b, 500, 100, busy, 2);
    assert_int_equal(batch.count, 2);
    assert_int_equal(batch.messages[0]->qid, 200);
    assert_int_equal(batch.messages[0]->nrcpts, 3);
    assert_int_equal(batch.messages[1]->qid, 400);
    assert_int_equal(batch.messages[1]->nrcpts, 2);
    assert_int_equal(batch.next_due_us, 900);
    batch = find(b, 1000, 4, NULL, 0);
    assert_int_equal(batch.count, 2); /* 100 with one, 200 with three */
    assert_int_equal(batch.next_due_us, 1000);
    batch = find(b, 1000, 3, NULL, 0); /* a message may be cut */
    assert_int_equal(batch.count, 2);
    assert_int_equal(batch.messages[1]->nrcpts, 2);
    batch = find(b, 50, 10, NULL, 0);
    assert_int_equal(batch.count, 0);
    assert_int_equal(batch.next_due_us, 100);
}

static void only_due_recipients_of_a_message(void **state)
{
    struct base *b = *state;
    struct queue_result results[] = {
        {.rcpt_id = 1, .outcome = QUEUE_DEFERRED, .next_us = 5000, .dsn = "4.1.1", .text = "later"},
        {.rcpt_id = 2, .outcome = QUEUE_DELIVERED},
        {3, QUEUE_FAILED, ENVELOPE_ACTION_FAILED, .dsn = "5.1.1", .text = "never"},
    };
    struct queue_batch batch;
    bool removed = true;

    put(b, 100, 4);
    assert_true(queue_sql_record(b->db, 100, 700, results, 3, &removed));
    assert_false(removed);
    batch = find(b, 1000, 10, NULL, 0);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.messages[0]->nrcpts, 1);
    assert_int_equal(batch.messages[0]->rcpts[0].id, 4);
    assert_int_equal(batch.messages[0]->rcpts[0].attempts, 0);
    assert_int_equal(batch.next_due_us, 5000);
    assert_int_equal(batch.nreports, 1);
    assert_int_equal(batch.reports[0], 100);
    batch = find(b, 5000, 10, NULL, 0);
    assert_int_equal(batch.messages[0]->nrcpts, 2);
    assert_int_equal(batch.messages[0]->rcpts[0].id, 1);
    assert_int_equal(batch.messages[0]->rcpts[0].attempts, 1);
}

static void a_time_beyond_the_horizon_is_due(void **state)
{
    struct base *b = *state;
    struct queue_batch batch;

    put(b, 86400000000, 1); /* by a clock that was a day ahead */
    put(b, 1500000, 1);
    batch = find(b, 1000000, 10, NULL, 0);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.messages[0]->qid, 86400000000);
    assert_int_equal(batch.next_due_us, 1500000);
}

static void list_of_reports_is_bounded(void **state)
{
    struct base *b = *state;
    uint64_t busy = 3;
    struct queue_batch batch;

    run_sql(b, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
               " INSERT INTO rcpt(qid, id, report_us, attempts, notify, addr) SELECT i, 1, 5, 0, 0, 'a@b' FROM n");
    batch = find(b, 10, 10, &busy, 1);
    assert_int_equal(batch.nreports, QUEUE_REPORTS_MOST);
    assert_int_equal(batch.reports[0], 1);
    assert_int_equal(batch.reports[2], 4);
}

static void unfinished_messages_are_known(void **state)
{
    struct base *b = *state;
    uint64_t qids[4];
    size_t count;

    assert_true(queue_sql_put_piece(b->db, 10, 0, SLICE_LIT("one")));
    assert_true(queue_sql_put_piece(b->db, 10, 1, SLICE_LIT("two")));
    assert_true(queue_sql_put_piece(b->db, 11, 0, SLICE_LIT("one")));
    assert_true(queue_sql_incoming(b->db, qids, 4, &count));
    assert_int_equal(count, 2);
    assert_true(queue_sql_drop_incoming(b->db, 10));
    assert_true(queue_sql_incoming(b->db, qids, 4, &count));
    assert_int_equal(count, 1);
    assert_int_equal(qids[0], 11);
}

static uint64_t file_size(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static void a_drained_queue_becomes_small(void **state)
{
    struct base *b = *state;
    char *content = mem_new(65536);
    struct queue_result done = {.rcpt_id = 1, .outcome = QUEUE_DELIVERED};
    bool removed;

    assert_true(queue_sql_begin(b->db));
    for (uint64_t qid = 1; qid <= 200; qid++) {
        struct envelope_rcpt rcpt[1] = {0};
        struct envelope e = one(qid, rcpt, 1);

        assert_true(queue_sql_put_message(b->db, &e, 0, slice_make(content, 65536)));
    }
    assert_true(queue_sql_commit(b->db));
    queue_sql_checkpoint(b->db);
    assert_true(file_size(b->path) > 200 * 65536);
    for (uint64_t qid = 1; qid <= 200; qid++)
        assert_true(queue_sql_record(b->db, qid, 1, &done, 1, &removed) && removed);
    while (queue_sql_shrink(b->db, 100, 500))
        ;
    queue_sql_checkpoint(b->db);
    assert_true(file_size(b->path) < 130 * 4096);
    assert_false(queue_sql_shrink(b->db, 100, 500));
    mem_free(content);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(damaged_header_is_refused),
        TEST(damaged_tables_are_refused),
        TEST(truncated_file_is_refused),
        TEST(no_database_at_all_is_refused),
        TEST(other_database_is_refused),
        TEST(newer_schema_is_refused),
        TEST(missing_table_is_refused),
        TEST(empty_file_is_a_new_queue),
        TEST(version_1_is_migrated),
        TEST(text_is_never_sql),
        TEST(every_lookup_has_an_index),
        TEST(a_large_queue_is_no_matter),
        TEST(due_recipients_in_order_without_the_busy),
        TEST(only_due_recipients_of_a_message),
        TEST(a_time_beyond_the_horizon_is_due),
        TEST(list_of_reports_is_bounded),
        TEST(unfinished_messages_are_known),
        TEST(a_drained_queue_becomes_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* sqlite: tables on a real database file. */
#include "support/tables.h"

#include <sqlite3.h>
#include <unistd.h>

static sqlite3 *open_db(struct bench *b, const char *name)
{
    char *path = bench_path(b, name);
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    mem_free(path);
    return db;
}

static void run(sqlite3 *db, const char *sql)
{
    char *error = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
}

static void make_db(struct bench *b, const char *name, const char *sql)
{
    sqlite3 *db = open_db(b, name);

    run(db, sql);
    sqlite3_close(db);
}

/* A query file named `name` on the database t.db. */
static struct table *make_table(struct bench *b, const char *name, const char *rest)
{
    char *text = mem_printf("dbpath = %s/t.db\n%s", b->dir, rest);

    bench_write(b, name, text);
    mem_free(text);
    return bench_table(b, "sqlite", name);
}

#define SCHEMA                                                                                                         \
    "CREATE TABLE alias(address TEXT, goto TEXT, extra TEXT);"                                                         \
    "INSERT INTO alias VALUES('one@example.com', 'a@x', NULL), ('two@example.com', 'b@x', NULL),"                      \
    "('two@example.com', 'c@x', 'd@x'), ('null@example.com', NULL, NULL), ('empty@example.com', '', NULL),"            \
    "('o''neil@example.com', 'quote@x', NULL), ('j\xc3\xbcrgen@example.com', 'utf8@x', NULL),"                         \
    "('back\\slash@example.com', 'bs@x', NULL), ('num@example.com', 42, NULL);"

#define QUERY "query = SELECT goto, extra FROM alias WHERE address='%s' ORDER BY goto\n"

static void answers(void **state)
{
    static const struct {
        const char *key;
        enum op_status status;
        const char *value;
    } rows[] = {
        {"one@example.com", OP_OK, "a@x"},
        {"ONE@Example.com", OP_OK, "a@x"},
        {"two@example.com", OP_OK, "b@x,c@x,d@x"},
        {"null@example.com", OP_NOTFOUND, NULL},
        {"empty@example.com", OP_NOTFOUND, NULL},
        {"absent@example.com", OP_NOTFOUND, NULL},
        {"o'neil@example.com", OP_OK, "quote@x"},
        {"J\xc3\x9cRGEN@example.com", OP_OK, "utf8@x"},
        {"back\\slash@example.com", OP_OK, "bs@x"},
        {"num@example.com", OP_OK, "42"},
        {"' OR '1'='1", OP_NOTFOUND, NULL},
        {"\\' OR 1=1 --", OP_NOTFOUND, NULL},
        {"'; DROP TABLE alias; --", OP_NOTFOUND, NULL},
        {"one@example.com'--", OP_NOTFOUND, NULL},
    };
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    make_db(&b, "t.db", SCHEMA);
    t = make_table(&b, "q.cf", QUERY);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        bench_expect(&b, t, rows[i].key, rows[i].status, rows[i].value);
    assert_int_equal(bench_logged("an empty value for \"empty@example.com\" was ignored"), 1);
    bench_close(&b);
}

static void parameters(void **state)
{
    static const struct {
        const char *rest, *key;
        enum op_status status;
        const char *value;
    } rows[] = {
        {QUERY "result_format = <%u>\n", "two@example.com", OP_OK, "<b>,<c>,<d>"},
        {QUERY "result_format = %S:%s\n", "one@example.com", OP_OK, "one@example.com:a@x"},
        {QUERY "expansion_limit = 3\n", "two@example.com", OP_OK, "b@x,c@x,d@x"},
        {QUERY "expansion_limit = 2\n", "two@example.com", OP_TEMPFAIL, "expansion_limit"},
        {"table = alias\nselect_field = goto\nwhere_field = address\n", "one@example.com", OP_OK, "a@x"},
        {"table = alias\nselect_field = goto\nwhere_field = address\nadditional_conditions = AND extra IS NOT NULL\n",
         "two@example.com", OP_OK, "c@x"},
        {"query = SELECT '%1.%2'\n", "u@example.com", OP_OK, "com.example"},
        {"query = SELECT '%1.%2'\n", "u@com", OP_NOTFOUND, NULL},
        {"query = SELECT '%1.%2'\n", "example.com", OP_NOTFOUND, NULL},
        {"query = SELECT '%u'\n", "@example.com", OP_NOTFOUND, NULL},
        /* domain */
        {"query = SELECT 'yes'\ndomain = example.com, example.org\n", "u@example.org", OP_OK, "yes"},
        {"query = SELECT 'yes'\ndomain = example.com, example.org\n", "u@EXAMPLE.ORG", OP_OK, "yes"},
        {"query = SELECT 'yes'\ndomain = example.com\n", "u@example.net", OP_NOTFOUND, NULL},
        {"query = SELECT 'yes'\ndomain = example.com\n", "u@sub.example.com", OP_NOTFOUND, NULL},
        {"query = SELECT 'yes'\ndomain = example.com\n", "@example.com", OP_NOTFOUND, NULL},
        {"query = SELECT 'yes'\ndomain = example.com\n", "example.com", OP_NOTFOUND, NULL},
        {"query = SELECT 'yes'\ndomain = example.com\n", "u@", OP_NOTFOUND, NULL},
        {"query = SELECT 'yes'\ndomain = !example.com, inline:{example.com=x,example.org=x}\n", "u@example.org", OP_OK,
         "yes"},
        {"query = SELECT 'yes'\ndomain = !example.com, inline:{example.com=x,example.org=x}\n", "u@example.com",
         OP_NOTFOUND, NULL},
        {"query = SELECT 'yes'\ndomain = hash:/no/such/file\n", "u@example.com", OP_TEMPFAIL, "/no/such/file"},
        {"query = SELECT 'yes'\ndomain = /no/such/file\n", "u@example.com", OP_TEMPFAIL, "domain: /no/such/file"},
        /* errors */
        {"query = SELECT x FROM nosuch\n", "k", OP_TEMPFAIL, "no such table: nosuch"},
        {"query = SELEKT\n", "k", OP_TEMPFAIL, "syntax error"},
        {"query = -- nothing\n", "k", OP_TEMPFAIL, "the query is empty"},
        {"query = DELETE FROM alias\n", "k", OP_TEMPFAIL, "readonly"},
        {"query = SELECT %x\n", "k", OP_TEMPFAIL, "is not an expansion"},
        {"query = SELECT '%s'\ntimeout = x\n", "k", OP_TEMPFAIL, "is no value for timeout"},
        {"query = SELECT hex(zeroblob(3000000))\n", "k", OP_TEMPFAIL, "the answer is too long"},
        {"query = WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT count(*) FROM n\ntimeout = 1\n",
         "k", OP_TEMPFAIL, "took too long"},
    };
    struct bench b;

    (void)state;
    bench_open(&b);
    make_db(&b, "t.db", SCHEMA);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[32];

        snprintf(name, sizeof name, "q%zu.cf", i);
        bench_expect(&b, make_table(&b, name, rows[i].rest), rows[i].key, rows[i].status, rows[i].value);
    }
    bench_close(&b);
}

static void writers_are_seen_and_survived(void **state)
{
    struct bench b;
    struct table *t;
    sqlite3 *db;

    (void)state;
    bench_open(&b);
    make_db(&b, "t.db", SCHEMA);
    t = make_table(&b, "q.cf", QUERY);
    bench_expect(&b, t, "new@example.com", OP_NOTFOUND, NULL);
    db = open_db(&b, "t.db");
    run(db, "INSERT INTO alias VALUES('new@example.com', 'n@x', NULL)");
    bench_expect(&b, t, "new@example.com", OP_OK, "n@x");

    run(db, "BEGIN EXCLUSIVE");
    bench_expect(&b, t, "new@example.com", OP_TEMPFAIL, "locked");
    run(db, "COMMIT");
    bench_expect(&b, t, "new@example.com", OP_OK, "n@x");
    assert_int_equal(bench_logged("works again"), 1);

    run(db, "DROP TABLE alias; CREATE TABLE alias(address TEXT, goto TEXT, extra TEXT);");
    bench_expect(&b, t, "new@example.com", OP_NOTFOUND, NULL);
    sqlite3_close(db);
    bench_close(&b);
}

static void write_ahead_log(void **state)
{
    struct bench b;
    struct table *t;
    sqlite3 *db;

    (void)state;
    bench_open(&b);
    db = open_db(&b, "t.db");
    run(db, "PRAGMA journal_mode = WAL;" SCHEMA);
    t = make_table(&b, "q.cf", QUERY);
    run(db, "BEGIN EXCLUSIVE; UPDATE alias SET goto = 'changed'");
    bench_expect(&b, t, "one@example.com", OP_OK, "a@x"); /* readers do not wait for writers */
    run(db, "COMMIT");
    bench_expect(&b, t, "one@example.com", OP_OK, "changed");
    sqlite3_close(db);
    bench_expect(&b, t, "one@example.com", OP_OK, "changed");
    bench_close(&b);
}

static void file_comes_goes_and_is_replaced(void **state)
{
    struct bench b;
    struct table *t;
    char *path, *other;

    (void)state;
    bench_open(&b);
    path = bench_path(&b, "t.db");
    other = bench_path(&b, "other.db");
    t = make_table(&b, "q.cf", QUERY);
    bench_expect(&b, t, "one@example.com", OP_TEMPFAIL, "t.db: No such file");
    make_db(&b, "t.db", SCHEMA);
    bench_expect(&b, t, "one@example.com", OP_OK, "a@x");
    make_db(&b, "other.db", SCHEMA "UPDATE alias SET goto = 'other@x';");
    assert_int_equal(rename(other, path), 0);
    bench_expect(&b, t, "one@example.com", OP_OK, "other@x");
    bench_write(&b, "t.db",
                "this is not a database, however long one looks at it, and it has more than 100 bytes, "
                "which is the length of the header of a real one");
    bench_expect(&b, t, "one@example.com", OP_TEMPFAIL, "not a database");
    assert_int_equal(unlink(path), 0);
    bench_expect(&b, t, "one@example.com", OP_TEMPFAIL, "No such file");
    make_db(&b, "t.db", SCHEMA);
    bench_expect(&b, t, "one@example.com", OP_OK, "a@x");
    mem_free(path);
    mem_free(other);
    bench_close(&b);
}

static void query_file_changes(void **state)
{
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    make_db(&b, "t.db", SCHEMA);
    t = bench_table(&b, "sqlite", "q.cf");
    bench_expect(&b, t, "one@example.com", OP_TEMPFAIL, "q.cf: No such file");
    make_table(&b, "q.cf", QUERY);
    bench_sleep(&b, 1100);
    bench_expect(&b, t, "one@example.com", OP_OK, "a@x");
    make_table(&b, "q.cf", QUERY "result_format = new:%s\n");
    bench_sleep(&b, 1100);
    bench_expect(&b, t, "one@example.com", OP_OK, "new:a@x");
    make_table(&b, "q.cf", "query = '%x'\n"); /* cannot be used: the old one stays */
    bench_sleep(&b, 1100);
    bench_expect(&b, t, "one@example.com", OP_OK, "new:a@x");
    assert_int_equal(bench_logged("is not an expansion"), 1);
    bench_close(&b);
}

static void many_at_once(void **state)
{
    static struct bench_answer answers[1000];
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    make_db(&b, "t.db", SCHEMA);
    t = make_table(&b, "q.cf", "query = SELECT 'for %s'\n");
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        char key[32];

        answers[i] = (struct bench_answer){.loop = b.loop};
        snprintf(key, sizeof key, "k%zu", i);
        table_lookup(t, &b.scope, slice_str(key), bench_on_answer, &answers[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        char text[32];

        while (!answers[i].done)
            loop_run(b.loop);
        snprintf(text, sizeof text, "for k%zu", i);
        assert_string_equal(answers[i].text, text);
    }
    bench_close(&b);
}

static void close_with_lookups_under_way(void **state)
{
    static struct bench_answer answers[300];
    struct bench b;
    struct table *t, *slow;

    (void)state;
    bench_open(&b);
    make_db(&b, "t.db", SCHEMA);
    t = make_table(&b, "q.cf", QUERY);
    slow = make_table(&b, "slow.cf",
                      "query = WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT count(*) FROM n\n"
                      "timeout = 1\n");
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        answers[i] = (struct bench_answer){0};
        table_lookup(i % 2 ? t : slow, &b.scope, SLICE_LIT("one@example.com"), bench_on_answer, &answers[i]);
    }
    tables_free(&b.tables);
    loop_run(b.loop);
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        assert_int_equal(answers[i].status, OP_TEMPFAIL);
    bench_close(&b);
}

static void checks(void **state)
{
    static const struct {
        const char *rest, *report; /* NULL: nothing to complain about */
        bool ok;
    } rows[] = {
        {QUERY, NULL, true},
        {"query = SELECT goto FROM alias WHERE address=%s\n", "warning: ", false}, /* and it does not compile */
        {"query = SELECT %1 FROM alias\n", "warning: ", false},
        {"query = SELECT nosuch FROM alias\n", "no such column: nosuch", false},
        {"query = '%x'\n", "is not an expansion", false},
        {QUERY "domain = nosuch:x\n", "domain: nosuch:x: unsupported table type", false},
        {QUERY "domain = example.com\n", NULL, true},
    };
    struct bench b;

    (void)state;
    bench_open(&b);
    make_db(&b, "t.db", SCHEMA);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf report = {0};
        char name[32];

        snprintf(name, sizeof name, "q%zu.cf", i);
        assert_int_equal(table_check(make_table(&b, name, rows[i].rest), &report), rows[i].ok);
        if (rows[i].report == NULL)
            assert_string_equal(buf_cstr(&report), "");
        else if (strstr(buf_cstr(&report), rows[i].report) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", buf_cstr(&report), rows[i].report);
        buf_release(&report);
    }
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(parameters),
        cmocka_unit_test(writers_are_seen_and_survived),
        cmocka_unit_test(write_ahead_log),
        cmocka_unit_test(file_comes_goes_and_is_replaced),
        cmocka_unit_test(query_file_changes),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(close_with_lookups_under_way),
        cmocka_unit_test(checks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

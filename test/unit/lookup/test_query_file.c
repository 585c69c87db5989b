/* Query files: parameters, defaults, hosts, the older form, complaints; answers of many values. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "lookup/query_file.h"

#define MINIMAL "dbname = mail\nquery = SELECT 1\n"

static struct query_file *parse(const struct file_source_kind *kind, const char *text, struct buf *report)
{
    return kind->parse("q.cf", slice_str(text), report);
}

static struct query_file *parse_clean(const char *text)
{
    struct buf report = {0};
    struct query_file *f = parse(&query_file_mysql, text, &report);

    assert_string_equal(buf_cstr(&report), "");
    buf_release(&report);
    assert_non_null(f);
    return f;
}

static void defaults(void **state)
{
    struct query_file *f = parse_clean(MINIMAL);

    (void)state;
    assert_string_equal(f->dbname, "mail");
    assert_string_equal(f->query, "SELECT 1");
    assert_string_equal(f->charset, "utf8mb4");
    assert_string_equal(f->option_group, "client");
    assert_string_equal(f->result_format, "%s");
    assert_null(f->user);
    assert_null(f->password);
    assert_null(f->option_file);
    assert_null(f->domain);
    assert_false(f->tls_verify_cert);
    assert_true(f->require_result_set);
    assert_int_equal(f->expansion_limit, 0);
    assert_int_equal(f->idle_interval_ms, 60000);
    assert_int_equal(f->retry_interval_ms, 60000);
    assert_int_equal(f->timeout_ms, 10000);
    assert_int_equal(f->nhosts, 1);
    assert_null(f->host[0].host);
    assert_null(f->host[0].socket);
    query_file_unref(&f);
    assert_null(f);
}

static void everything(void **state)
{
    struct query_file *f = parse_clean("# the tutorial's\n"
                                       "user = mail\n"
                                       "password = $ec=ret #1\n" /* neither $ nor = nor # means anything */
                                       "hosts = 127.0.0.1\n"
                                       "dbname = other\n"
                                       "dbname = postfix\n" /* the last one counts */
                                       "query = SELECT goto FROM alias\n"
                                       "  WHERE address='%s'\n"
                                       "  # a comment within\n"
                                       "\tAND active = 1\n"
                                       "result_format = <%s>\n"
                                       "domain = example.com, /file\n"
                                       "expansion_limit = 7\n"
                                       "charset = latin1\n"
                                       "option_file = /etc/my.cnf\n"
                                       "option_group =\n"
                                       "tls_cert_file = /c\n"
                                       "tls_key_file = /k\n"
                                       "tls_CAfile = /a\n"
                                       "tls_CApath = /p\n"
                                       "tls_ciphers = x:y\n"
                                       "tls_verify_cert = YES\n"
                                       "require_result_set = no\n"
                                       "idle_interval = 5\n"
                                       "retry_interval=0\n"
                                       "timeout = 3s\n");

    (void)state;
    assert_string_equal(f->password, "$ec=ret #1");
    assert_string_equal(f->dbname, "postfix");
    assert_string_equal(f->query, "SELECT goto FROM alias  WHERE address='%s'\tAND active = 1");
    assert_string_equal(f->result_format, "<%s>");
    assert_string_equal(f->domain, "example.com, /file");
    assert_string_equal(f->option_group, "");
    assert_string_equal(f->tls_cafile, "/a");
    assert_int_equal(f->expansion_limit, 7);
    assert_true(f->tls_verify_cert);
    assert_false(f->require_result_set);
    assert_int_equal(f->idle_interval_ms, 5000);
    assert_int_equal(f->retry_interval_ms, 0);
    assert_int_equal(f->timeout_ms, 3000);
    query_file_unref(&f);
}

static void hosts(void **state)
{
    static const struct {
        const char *text, *host, *socket;
        unsigned port;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1", NULL, 0},
        {"inet:db.example.com", "db.example.com", NULL, 0},
        {"inet:127.0.0.1:3307", "127.0.0.1", NULL, 3307},
        {"db:3308", "db", NULL, 3308},
        {"[::1]", "::1", NULL, 0},
        {"inet:[::1]:3309", "::1", NULL, 3309},
        {"::1", "::1", NULL, 0},
        {"localhost", NULL, NULL, 0},
        {"inet:LOCALHOST:3306", NULL, NULL, 3306},
        {"unix:/run/mysqld.sock", NULL, "/run/mysqld.sock", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf text = {0};
        struct query_file *f;

        buf_printf(&text, MINIMAL "hosts = other, %s\n", rows[i].text);
        f = parse_clean(buf_cstr(&text));
        assert_int_equal(f->nhosts, 2);
        assert_string_equal(f->host[1].label, rows[i].text);
        assert_string_equal(f->host[1].host ? f->host[1].host : "-", rows[i].host ? rows[i].host : "-");
        assert_string_equal(f->host[1].socket ? f->host[1].socket : "-", rows[i].socket ? rows[i].socket : "-");
        assert_int_equal(f->host[1].port, rows[i].port);
        query_file_unref(&f);
        buf_release(&text);
    }
}

static void older_form(void **state)
{
    struct query_file *f = parse_clean("dbname=d\ntable = aliases\nselect_field = forw\nwhere_field = alias\n"
                                       "additional_conditions = AND status = 'paid'\n");

    (void)state;
    assert_string_equal(f->query, "SELECT forw FROM aliases WHERE alias='%s' AND status = 'paid'");
    query_file_unref(&f);
    f = parse_clean("dbname=d\ntable = a\nselect_field = b\nwhere_field = c\n");
    assert_string_equal(f->query, "SELECT b FROM a WHERE c='%s' ");
    query_file_unref(&f);
    f = parse_clean("dbname=d\nquery = Q\ntable = a\nselect_field = b\nwhere_field = c\n");
    assert_string_equal(f->query, "Q");
    query_file_unref(&f);
}

static void complaints(void **state)
{
    static const struct {
        const struct file_source_kind *kind;
        const char *text, *complaint;
        bool error;
    } rows[] = {
        {&query_file_mysql, "query = x\n", "q.cf: \"dbname\" is not set", true},
        {&query_file_mysql, "dbname =\nquery = x\n", "q.cf: \"dbname\" is not set", true},
        {&query_file_mysql, "dbname = x\n", "q.cf: there must be a \"query\"", true},
        {&query_file_mysql, "dbname = x\ntable = a\nwhere_field = b\n", "q.cf: there must be a \"query\"", true},
        {&query_file_mysql, MINIMAL "oops\n", "q.cf:3: not of the form: name = value", true},
        {&query_file_mysql, " x = y\n" MINIMAL, "q.cf:1: not of the form", true},
        {&query_file_mysql, MINIMAL "= y\n", "q.cf:3: not of the form", true},
        {&query_file_mysql, MINIMAL "expansion_limit = x\n", "q.cf:3: \"x\" is no value for expansion_limit", true},
        {&query_file_mysql, MINIMAL "expansion_limit = -1\n", "is no value for expansion_limit", true},
        {&query_file_mysql, MINIMAL "timeout = 0\n", "is no value for timeout", true},
        {&query_file_mysql, MINIMAL "timeout = 301\n", "is no value for timeout", true},
        {&query_file_mysql, MINIMAL "tls_verify_cert = maybe\n", "is no value for tls_verify_cert", true},
        {&query_file_mysql, MINIMAL "result_format =\n", "\"result_format\" is empty", true},
        {&query_file_mysql, MINIMAL "hosts = unix:relative\n", "hosts must be", true},
        {&query_file_mysql, MINIMAL "hosts = a:b\n", "hosts must be", true},
        {&query_file_mysql, MINIMAL "hosts = a:0\n", "hosts must be", true},
        {&query_file_mysql, MINIMAL "hosts = a:65536\n", "hosts must be", true},
        {&query_file_mysql, MINIMAL "hosts = [::1\n", "hosts must be", true},
        {&query_file_mysql, MINIMAL "hosts = inet:\n", "hosts must be", true},
        {&query_file_mysql, "dbname = x\nquery = '%q'\n", "q.cf: \"%q\" is not an expansion", true},
        {&query_file_mysql, MINIMAL "qeury = x\n", "warning: q.cf:3: unknown parameter \"qeury\"", false},
        {&query_file_mysql, MINIMAL "dbpath = x\n", "warning: q.cf:3: unknown parameter \"dbpath\"", false},
        {&query_file_mysql, "dbname = x\nquery = SELECT %s\n", "warning: q.cf: an expansion", false},
        {&query_file_sqlite, "query = x\n", "q.cf: \"dbpath\" is not set", true},
        {&query_file_sqlite, "dbpath = x\nquery = x\nhosts = x\n", "warning: q.cf:3: unknown", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf report = {0};
        struct query_file *f = parse(rows[i].kind, rows[i].text, &report);

        if ((f == NULL) != rows[i].error || strstr(buf_cstr(&report), rows[i].complaint) == NULL)
            fail_msg("%s: file %s, \"%s\" does not say \"%s\"", rows[i].text, f ? "accepted" : "refused",
                     buf_cstr(&report), rows[i].complaint);
        query_file_unref(&f);
        buf_release(&report);
    }
}

static void too_many_hosts(void **state)
{
    struct buf text = {0}, report = {0};

    (void)state;
    buf_add_str(&text, MINIMAL "hosts =");
    for (int i = 0; i <= QUERY_FILE_HOSTS_MAX; i++)
        buf_printf(&text, " h%d", i);
    assert_null(parse(&query_file_mysql, buf_cstr(&text), &report));
    assert_string_equal(buf_cstr(&report), "q.cf: too many hosts\n");
    buf_release(&text);
    buf_release(&report);
}

static void answers(void **state)
{
    struct query_file *f = parse_clean(MINIMAL "result_format = %u\nexpansion_limit = 3\n");
    struct query_answer a = {.file = f, .key = SLICE_LIT("k")};

    (void)state;
    assert_true(query_answer_add(&a, SLICE_EMPTY)); /* NULL */
    assert_int_equal(buf_len(&a.text), 0);
    assert_false(a.empty_value);
    assert_true(query_answer_add(&a, SLICE_LIT("x@a")));
    assert_true(query_answer_add(&a, slice_make("", 0)));
    assert_true(a.empty_value);
    assert_true(query_answer_add(&a, SLICE_LIT("@left.out")));
    assert_true(query_answer_add(&a, SLICE_LIT("y")));
    assert_string_equal(buf_cstr(&a.text), "x,y");
    assert_true(query_answer_add(&a, SLICE_LIT("z")));
    assert_null(a.error);
    assert_false(query_answer_add(&a, SLICE_LIT("one too many")));
    assert_non_null(strstr(a.error, "expansion_limit"));
    buf_release(&a.text);
    query_file_unref(&f);
}

static void answers_are_bounded(void **state)
{
    struct query_file *f = parse_clean(MINIMAL);
    struct query_answer a = {.file = f, .key = SLICE_LIT("k")};
    static char big[100000];
    int n = 0;

    (void)state;
    memset(big, 'x', sizeof big);
    while (query_answer_add(&a, slice_make(big, sizeof big)))
        n++;
    assert_int_equal(n, 10);
    assert_string_equal(a.error, "the answer is too long");
    buf_release(&a.text);
    query_file_unref(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),   cmocka_unit_test(everything),          cmocka_unit_test(hosts),
        cmocka_unit_test(older_form), cmocka_unit_test(complaints),          cmocka_unit_test(too_many_hosts),
        cmocka_unit_test(answers),    cmocka_unit_test(answers_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

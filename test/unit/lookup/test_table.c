/* The registry and the tables that need nothing outside: static, inline, unionmap, pipemap. */
#include "support/tables.h"

static void answers(void **state)
{
    static const struct {
        const char *spec, *key;
        enum op_status status;
        const char *value;
    } rows[] = {
        {"static:value", "anything", OP_OK, "value"},
        {"static:{ a value, with a comma }", "x", OP_OK, "a value, with a comma"},
        {"proxy:static:value", "x", OP_OK, "value"},
        {"proxy:proxy:static:v", "x", OP_OK, "v"},
        {" static:v ", "x", OP_OK, "v"},
        /* inline */
        {"inline:{a=1}", "a", OP_OK, "1"},
        {"inline:{a=1, b=2 c=3}", "c", OP_OK, "3"},
        {"inline:{ {key one = value, two}, b=2 }", "key one", OP_OK, "value, two"},
        {"inline:{ { a = {x} } }", "a", OP_OK, "{x}"},
        {"inline:{a=b=c}", "a", OP_OK, "b=c"},
        {"inline:{a=1}", "b", OP_NOTFOUND, NULL},
        {"inline:{Foo=Bar}", "fOO", OP_OK, "Bar"},
        {"inline:{J\xc3\x9cRGEN=1}", "j\xc3\xbcrgen", OP_OK, "1"},
        {"inline:{j\xc3\xbcrgen=1}", "J\xc3\x9cRGEN", OP_OK, "1"},
        {"inline:{\xd0\xb9=1}", "\xd0\x99", OP_OK, "1"},
        {"inline:{\xf0\x90\x90\xa8=1}", "\xf0\x90\x90\x80", OP_OK, "1"}, /* four bytes */
        {"inline:{\xe2\x82\xac=1}", "\xe2\x82\xac", OP_OK, "1"},         /* no case */
        /* unionmap */
        {"unionmap:{static:a, static:b}", "x", OP_OK, "a,b"},
        {"unionmap:{inline:{k=1}, static:2, inline:{j=3}}", "k", OP_OK, "1,2"},
        {"unionmap:{inline:{k=1}, inline:{j=3}}", "J", OP_OK, "3"},
        {"unionmap:{inline:{k=1} inline:{j=3}}", "z", OP_NOTFOUND, NULL},
        {"unionmap:{unionmap:{static:a,static:b},proxy:static:c}", "x", OP_OK, "a,b,c"},
        {"unionmap:{static:a, hash:/no/such/file}", "x", OP_TEMPFAIL, "hash:/no/such/file"},
        /* randmap, fail */
        {"randmap:{one}", "x", OP_OK, "one"},
        {"randmap:{one, one one}", "x", OP_OK, "one"},
        {"randmap:{{a b}}", "x", OP_OK, "{a b}"},
        {"fail:name", "x", OP_TEMPFAIL, "fail:name: "},
        {"unionmap:{static:a, fail:name}", "x", OP_TEMPFAIL, "fail:name: "},
        /* pipemap */
        {"pipemap:{inline:{k=J}, inline:{j=3}}", "K", OP_OK, "3"},
        {"pipemap:{inline:{k=j}, inline:{j=3}}", "j", OP_NOTFOUND, NULL},
        {"pipemap:{inline:{k=j}, inline:{i=3}}", "k", OP_NOTFOUND, NULL},
        {"pipemap:{inline:{k=j}}", "k", OP_OK, "j"},
        {"pipemap:{inline:{k=j}, inline:{j=i}, inline:{i=end}}", "k", OP_OK, "end"},
        {"pipemap:{hash:/no/such/file, static:a}", "x", OP_TEMPFAIL, "/no/such/file"},
        {"pipemap:{inline:{k=j}, unionmap:{inline:{j=1},inline:{j=2}}}", "k", OP_OK, "1,2"},
    };
    struct bench b;

    (void)state;
    bench_open(&b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        bench_expect(&b, bench_table_spec(&b, rows[i].spec), rows[i].key, rows[i].status, rows[i].value);
    bench_close(&b);
}

static void malformed(void **state)
{
    static const struct {
        const char *spec, *complaint;
    } rows[] = {
        {"", "type:name"},
        {"hash", "type:name"},
        {"hash:", "type:name"},
        {"/etc/passwd", "type:name"},
        {"nosuch:x", "nosuch:x: unsupported table type"},
        {"regex:x", "regex:x: unsupported table type; did you mean regexp?"},
        {"mysq:/x", "mysq:/x: unsupported table type; did you mean mysql?"},
        {"randmap:x", "in braces"},
        {"randmap:{}", "in braces"},
        {":x", "unsupported table type"},
        {"HASH:/x", "unsupported table type"},
        {"inline:a=b", "written inline:{"},
        {"inline:{}", "written inline:{"},
        {"inline:{a}", "\"a\" is not key=value"},
        {"inline:{=b}", "\"=b\" is not key=value"},
        {"inline:{a=}", "\"a=\" is not key=value"},
        {"inline:{a=1, A=2}", "key \"a\" stands twice"},
        {"unionmap:static:x", "in braces"},
        {"unionmap:{}", "in braces"},
        {"pipemap:{static:x, nosuch:y}", "nosuch:y: unsupported"},
    };
    struct bench b;

    (void)state;
    bench_open(&b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf err = {0};

        assert_null(tables_open(b.tables, rows[i].spec, &err));
        if (strstr(buf_cstr(&err), rows[i].complaint) == NULL)
            fail_msg("\"%s\": \"%s\" does not say \"%s\"", rows[i].spec, buf_cstr(&err), rows[i].complaint);
        /* a second time it is no better */
        assert_null(tables_open(b.tables, rows[i].spec, &err));
        buf_release(&err);
    }
    bench_close(&b);
}

static void too_deep(void **state)
{
    struct buf spec = {0}, err = {0};
    struct bench b;

    (void)state;
    bench_open(&b);
    for (int i = 0; i < 50; i++)
        buf_add_str(&spec, "unionmap:{");
    buf_add_str(&spec, "static:x");
    for (int i = 0; i < 50; i++)
        buf_add_char(&spec, '}');
    assert_null(tables_open(b.tables, buf_cstr(&spec), &err));
    assert_non_null(strstr(buf_cstr(&err), "too deep"));
    buf_release(&spec);
    buf_release(&err);
    bench_close(&b);
}

static void shared_by_name(void **state)
{
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = bench_table_spec(&b, "static:x");
    assert_ptr_equal(bench_table_spec(&b, "static:x"), t);
    assert_ptr_equal(bench_table_spec(&b, "proxy:static:x"), t);
    assert_ptr_not_equal(bench_table_spec(&b, "static:y"), t);
    assert_string_equal(table_name(t), "static:x");
    assert_true(table_is_fixed(t));
    assert_ptr_equal(tables_loop(b.tables), b.loop);
    bench_close(&b);
}

static void impossible_keys(void **state)
{
    static const struct {
        const char *key;
        size_t n;
    } rows[] = {
        {"", 0}, {"a\0b", 3}, {"\xff", 1}, {"a\xc3", 2}, {"\xc0\xaf", 2}, {"\xed\xa0\x80", 3},
    };
    static char long_key[5000];
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = bench_table_spec(&b, "static:x");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(bench_ask_n(&b, t, rows[i].key, rows[i].n)->status, OP_NOTFOUND);
    memset(long_key, 'a', sizeof long_key);
    assert_int_equal(bench_ask_n(&b, t, long_key, sizeof long_key)->status, OP_NOTFOUND);
    assert_int_equal(bench_ask_n(&b, t, long_key, 4096)->status, OP_OK);
    bench_close(&b);
}

static void no_answer_after_close_of_scope(void **state)
{
    struct bench_answer a = {0};
    struct bench b;

    (void)state;
    bench_open(&b);
    table_lookup(bench_table_spec(&b, "unionmap:{static:a,static:b}"), &b.scope, SLICE_LIT("x"), bench_on_answer, &a);
    op_scope_cancel(&b.scope);
    bench_sleep(&b, 10);
    assert_false(a.done);
    bench_close(&b);
}

/* Whoever still waits when the tables are closed is not left waiting. */
static void close_with_lookups_under_way(void **state)
{
    struct bench_answer a[3] = {{0}};
    struct bench b;

    (void)state;
    bench_open(&b);
    table_lookup(bench_table_spec(&b, "unionmap:{static:a,static:b}"), &b.scope, SLICE_LIT("x"), bench_on_answer,
                 &a[0]);
    table_lookup(bench_table_spec(&b, "pipemap:{static:a,static:b}"), &b.scope, SLICE_LIT("x"), bench_on_answer, &a[1]);
    table_lookup(bench_table_spec(&b, "static:a"), &b.scope, SLICE_LIT("x"), bench_on_answer, &a[2]);
    tables_free(&b.tables);
    assert_null(b.tables);
    loop_run(b.loop);
    assert_int_equal(a[0].status, OP_TEMPFAIL);
    assert_int_equal(a[1].status, OP_TEMPFAIL);
    assert_true(a[2].done);
    assert_int_equal(a[2].status, OP_OK); /* it had its answer */
    assert_string_equal(a[2].text, "a");
    assert_int_equal(op_live(b.loop), 0);
    bench_close(&b);
}

static void checks(void **state)
{
    struct buf report = {0};
    struct bench b;

    (void)state;
    bench_open(&b);
    assert_true(table_check(bench_table_spec(&b, "static:a"), &report));
    assert_false(table_check(bench_table_spec(&b, "unionmap:{static:a, hash:/no/such/file}"), &report));
    assert_string_equal(buf_cstr(&report), "/no/such/file: No such file or directory\n");
    buf_release(&report);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(malformed),
        cmocka_unit_test(too_deep),
        cmocka_unit_test(shared_by_name),
        cmocka_unit_test(impossible_keys),
        cmocka_unit_test(no_answer_after_close_of_scope),
        cmocka_unit_test(close_with_lookups_under_way),
        cmocka_unit_test(checks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

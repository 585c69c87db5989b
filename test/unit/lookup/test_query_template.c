/* Query templates: which keys qualify, what statements and results they give (mysql_table(5)). */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "core/base/alloc.h"
#include "lookup/query_template.h"

static int context;

static void double_quotes(void *ctx, struct buf *out, struct slice text)
{
    assert_ptr_equal(ctx, &context);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\'')
            buf_add_char(out, '\'');
        buf_add_char(out, text.p[i]);
    }
}

static void queries(void **state)
{
    static const struct {
        const char *query, *format, *key, *sql; /* sql NULL: the key does not qualify */
    } rows[] = {
        {"SELECT '%s'", "%s", "user@example.com", "SELECT 'user@example.com'"},
        {"no expansion", "%s", "x", "no expansion"},
        {"%s", "%s", "", NULL},
        {"'%s'", "%s", "o'neil@example.com", "'o''neil@example.com'"},
        {"100%% of '%s'", "%s", "a", "100% of 'a'"},
        {"%%s", "%s", "a", "%s"},
        {"%%", "%s", "a", "%"},
        {"", "%s", "a", ""},
        /* %u */
        {"%u", "%s", "user@example.com", "user"},
        {"%u", "%s", "user", "user"},
        {"%u", "%s", "a@b@example.com", "a@b"},
        {"%u", "%s", "@example.com", NULL},
        {"%u", "%s", "user@", "user"},
        {"%u", "%s", "o'n@example.com", "o''n"},
        /* %d */
        {"%d", "%s", "user@example.com", "example.com"},
        {"%d", "%s", "a@b@example.com", "example.com"},
        {"%d", "%s", "@example.com", "example.com"},
        {"%d", "%s", "user", NULL},
        {"%d", "%s", "user@", NULL},
        {"%u-%d", "%s", "@example.com", NULL},
        {"%u-%d", "%s", "user@example.com", "user-example.com"},
        /* labels, counted from the right */
        {"%1 %2 %3", "%s", "user@mail.example.com", "com example mail"},
        {"%2", "%s", "user@example.com", "example"},
        {"%3", "%s", "user@example.com", NULL},
        {"%1", "%s", "user", NULL},
        {"%1", "%s", "user@", NULL},
        {"%1", "%s", "user@com.", NULL},
        {"%2", "%s", "user@a..com", NULL},
        {"%1", "%s", "user@a..com", "com"},
        {"%9", "%s", "u@i.h.g.f.e.d.c.b.a", "i"},
        {"%9", "%s", "u@h.g.f.e.d.c.b.a", NULL},
        {"%1", "%s", "com", NULL},
        /* capitals mean the same in a query */
        {"%S|%U|%D", "%s", "user@example.com", "user@example.com|user|example.com"},
        {"%U", "%s", "@example.com", NULL},
        {"%D", "%s", "user", NULL},
        /* what the result format needs of the key counts, too */
        {"%s", "%D", "user", NULL},
        {"%s", "%U", "@example.com", NULL},
        {"%s", "%2", "user@com", NULL},
        {"%s", "%d", "user", "user"}, /* that is about the value */
        {"%s", "%S", "user", "user"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {0};
        struct buf err = {0}, out = {0};
        struct query_template *t = query_template_new(&arena, rows[i].query, rows[i].format, &err);
        struct slice key = slice_str(rows[i].key);

        assert_non_null(t);
        assert_int_equal(buf_len(&err), 0);
        assert_int_equal(query_template_qualifies(t, key), rows[i].sql != NULL);
        if (rows[i].sql != NULL) {
            query_template_expand(t, key, double_quotes, &context, &out);
            assert_string_equal(buf_cstr(&out), rows[i].sql);
        }
        buf_release(&out);
        buf_release(&err);
        arena_clear(&arena);
    }
}

static void results(void **state)
{
    static const struct {
        const char *format, *key, *value, *result; /* NULL: left out */
    } rows[] = {
        {"%s", "k", "v", "v"},
        {"<%s>", "k", "v@x", "<v@x>"},
        {"%s", "k", "it's", "it's"}, /* not SQL any more */
        {"smtp:[%s]", "k", "host", "smtp:[host]"},
        {"%u", "k", "user@example.com", "user"},
        {"%u", "k", "user", "user"},
        {"%u", "k", "@example.com", NULL},
        {"%d", "k", "user@example.com", "example.com"},
        {"%d", "k", "user", NULL},
        {"%d", "k", "user@", NULL},
        {"%u@new.%d", "k", "a@b@c", "a@b@new.c"},
        /* capitals and labels are the key's */
        {"%s %S", "user@example.com", "v@w", "v@w user@example.com"},
        {"%U", "user@example.com", "v@w", "user"},
        {"%D", "user@example.com", "v@w", "example.com"},
        {"%1.%2", "user@example.com", "v@w.x", "com.example"},
        {"%%%s%%", "k", "v", "%v%"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {0};
        struct buf err = {0}, out = {0};
        struct query_template *t = query_template_new(&arena, "%s", rows[i].format, &err);
        bool ok;

        assert_non_null(t);
        buf_add_str(&out, "x,");
        ok = query_template_format(t, slice_str(rows[i].key), slice_str(rows[i].value), &out);
        assert_int_equal(ok, rows[i].result != NULL);
        assert_string_equal(buf_cstr(&out) + 2, ok ? rows[i].result : "");
        buf_release(&out);
        arena_clear(&arena);
    }
}

/* Found by the fuzzer: the last of an odd number of percent signs took room that was not there. */
static void a_percent_sign_at_the_end(void **state)
{
    enum { N = 100001 };
    char *text = mem_new(N + 1);
    struct arena arena = {0};
    struct buf err = {0};

    (void)state;
    memset(text, '%', N);
    for (size_t n = N; n > 0; n /= 2) {
        text[n] = '\0';
        if (n % 2 == 1)
            assert_null(query_template_new(&arena, text, "%s", &err));
        else
            assert_non_null(query_template_new(&arena, text, "%s", &err));
    }
    mem_free(text);
    buf_release(&err);
    arena_clear(&arena);
}

static void errors(void **state)
{
    static const struct {
        const char *query, *format, *complaint;
    } rows[] = {
        {"SELECT '%x'", "%s", "\"%x\" is not an expansion"},
        {"SELECT %0", "%s", "\"%0\" is not"},
        {"LIKE '%'", "%s", "\"%'\" is not"},
        {"50%", "%s", "\"%\" is not"},
        {"%s", "%a", "\"%a\" is not"},
        {"%x %s %y", "%s", "\"%y\" is not"}, /* all are told */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {0};
        struct buf err = {0};

        assert_null(query_template_new(&arena, rows[i].query, rows[i].format, &err));
        if (strstr(buf_cstr(&err), rows[i].complaint) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", buf_cstr(&err), rows[i].complaint);
        buf_release(&err);
        arena_clear(&arena);
    }
}

static void quoting(void **state)
{
    static const struct {
        const char *query;
        bool quoted;
    } rows[] = {
        {"SELECT a FROM t WHERE k='%s'", true},
        {"SELECT a FROM t WHERE k='%u@%d' AND b='x'", true},
        {"SELECT a FROM t WHERE k LIKE '%%%s'", true},
        {"SELECT 'it''s' FROM t WHERE k='%s'", true},
        {"SELECT a FROM t", true},
        {"SELECT \"it's\" FROM t WHERE k='%s'", true},
        {"SELECT a FROM t WHERE k=%s", false},
        {"SELECT a FROM t WHERE k=\"%s\"", false},
        {"SELECT a FROM `%d` WHERE k='%u'", false},
        {"SELECT a FROM t WHERE k='%s' OR k=%u", false},
        /* a backslash means something to MySQL and nothing to SQLite */
        {"SELECT 'a\\'b' FROM t WHERE k='%s'", false},
        {"SELECT a FROM t WHERE k='\\%s'", false},
        {"SELECT a FROM t WHERE k LIKE 'x\\_%s'", true},
        {"SELECT 'a\\\\' FROM t WHERE k='%s'", true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {0};
        struct buf err = {0};

        assert_int_equal(query_template_is_quoted(query_template_new(&arena, rows[i].query, "%s", &err)),
                         rows[i].quoted);
        arena_clear(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries), cmocka_unit_test(results), cmocka_unit_test(a_percent_sign_at_the_end),
        cmocka_unit_test(errors),  cmocka_unit_test(quoting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

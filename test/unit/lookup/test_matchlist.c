/* Lists of patterns: lookup/matchlist. */
#include "core/base/assert.h"
#include "lookup/matchlist.h"
#include "support/fake_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
    struct look look;
    struct buf log, why;
    char dir[32];
};

static int setup(void **state)
{
    struct fixture *f = NEW(struct fixture);

    look_open(&f->look);
    snprintf(f->dir, sizeof f->dir, "/tmp/matchlist.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    look_close(&f->look);
    buf_release(&f->log);
    buf_release(&f->why);
    assert_int_equal(rmdir(f->dir), 0);
    mem_free(f);
    return 0;
}

static void on_answer(void *owner, enum op_status status, const void *result)
{
    struct fixture *f = owner;
    const struct table_answer *answer = result;

    f->look.calls++;
    f->look.status = status;
    buf_clear(&f->why);
    if (status == OP_TEMPFAIL)
        buf_add_str(&f->why, answer->why);
}

static enum op_status match(struct fixture *f, const struct matchlist *m, const char *key)
{
    buf_clear(&f->log);
    f->look.calls = 0;
    matchlist_match(m, &f->look.scope, slice_str(key), on_answer, f);
    assert_int_equal(f->look.calls, 0);
    loop_run(f->look.loop);
    assert_int_equal(f->look.calls, 1);
    return f->look.status;
}

static struct matchlist *compile(struct fixture *f, const char *list, enum matchlist_kind kind)
{
    struct matchlist *m = matchlist_new(f->look.tables, list, kind, &f->look.err);

    if (m == NULL)
        fail_msg("%s: %s", list, buf_cstr(&f->look.err));
    return m;
}

static struct fake_table *add(struct fixture *f, const char *name, const char *const *pairs)
{
    struct fake_table *t = fake_add(f->look.tables, name, pairs);

    t->log = &f->log;
    return t;
}

static void matches_patterns(void **state)
{
    static const struct {
        enum matchlist_kind kind;
        const char *list, *key;
        int want;
    } cases[] = {
        {MATCHLIST_STRING, "", "example.com", 0},
        {MATCHLIST_STRING, "example.com, example.net", "example.net", 1},
        {MATCHLIST_STRING, "Example.COM", "eXample.com", 1},
        {MATCHLIST_STRING, "example.com", "a.example.com", 0},
        {MATCHLIST_STRING, ".example.com", "a.example.com", 0},
        {MATCHLIST_STRING, "example.com", "", 0},
        {MATCHLIST_STRING, "[192.0.2.1]", "[192.0.2.1]", 1},
        /* negation: the first that fits decides */
        {MATCHLIST_STRING, "!a, a, b", "a", 0},
        {MATCHLIST_STRING, "a, !a", "a", 1},
        {MATCHLIST_STRING, "!!a", "a", 1},
        {MATCHLIST_STRING, "!a", "b", 0},
        /* parents */
        {MATCHLIST_DOMAIN, "example.com", "example.com", 1},
        {MATCHLIST_DOMAIN, "example.com", "a.b.EXAMPLE.com", 1},
        {MATCHLIST_DOMAIN, "example.com", "anexample.com", 0},
        {MATCHLIST_DOMAIN, "example.com", "com", 0},
        {MATCHLIST_DOMAIN, ".example.com", "a.example.com", 1},
        {MATCHLIST_DOMAIN, ".example.com", "example.com", 0},
        {MATCHLIST_DOMAIN, "!a.example.com example.com", "x.a.example.com", 0},
        {MATCHLIST_DOMAIN, "!a.example.com example.com", "x.b.example.com", 1},
        {MATCHLIST_DOTTED, "example.com", "a.example.com", 0},
        {MATCHLIST_DOTTED, "example.com", "example.com", 1},
        {MATCHLIST_DOTTED, ".example.com", "a.b.example.com", 1},
        {MATCHLIST_DOTTED, ".example.com", "example.com", 0},
        /* networks */
        {MATCHLIST_NETWORK, "127.0.0.0/8 [::1]/128", "127.1.2.3", 1},
        {MATCHLIST_NETWORK, "127.0.0.0/8 [::1]/128", "::1", 1},
        {MATCHLIST_NETWORK, "127.0.0.0/8 [::1]/128", "::2", 0},
        {MATCHLIST_NETWORK, "127.0.0.0/8", "::ffff:127.0.0.1", 1},
        {MATCHLIST_NETWORK, "[::ffff:127.0.0.0]/104", "127.0.0.1", 0},
        {MATCHLIST_NETWORK, "[2001:db8::/32]", "2001:db8:1::", 1},
        {MATCHLIST_NETWORK, "[192.0.2.1] 192.0.2.9", "192.0.2.1", 1},
        {MATCHLIST_NETWORK, "192.0.2.9", "192.0.2.9", 1},
        {MATCHLIST_NETWORK, "!192.0.2.7, 192.0.2.0/24", "192.0.2.7", 0},
        {MATCHLIST_NETWORK, "!192.0.2.7, 192.0.2.0/24", "192.0.2.8", 1},
        {MATCHLIST_NETWORK, "0.0.0.0/0", "unknown", 0},
        {MATCHLIST_NETWORK, "0.0.0.0/0", "", 0},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matchlist *m = compile(f, cases[i].list, cases[i].kind);

        if (matchlist_match_now(m, slice_str(cases[i].key)) != cases[i].want ||
            match(f, m, cases[i].key) != (cases[i].want ? OP_OK : OP_NOTFOUND))
            fail_msg("\"%s\" in \"%s\"", cases[i].key, cases[i].list);
        matchlist_free(&m);
        assert_null(m);
    }
}

static void complains_about_each_mistake(void **state)
{
    static const struct {
        enum matchlist_kind kind;
        const char *list, *complaint;
    } cases[] = {
        {MATCHLIST_NETWORK, "10.0.0.1/8", "10.0.0.0/8"},
        {MATCHLIST_NETWORK, "[2001:db8::1]/32", "2001:db8::/32"},
        {MATCHLIST_NETWORK, "[::1", "\"[::1\""},
        {MATCHLIST_NETWORK, "10.0.0.0/33", "10.0.0.0/33"},
        {MATCHLIST_NETWORK, "localhost", "localhost"},
        {MATCHLIST_NETWORK, "[]", "[]"},
        {MATCHLIST_NETWORK, "::1", "::1"}, /* a colon without bracket means a table */
        {MATCHLIST_STRING, "a, !, b", "\"!\""},
        {MATCHLIST_STRING, "nosuch:x", "nosuch:x"},
        {MATCHLIST_STRING, "/nonexistent/file", "/nonexistent/file: No such file"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&f->look.err);
        assert_null(matchlist_new(f->look.tables, cases[i].list, cases[i].kind, &f->look.err));
        if (strstr(buf_cstr(&f->look.err), cases[i].complaint) == NULL)
            fail_msg("%s: %s", cases[i].list, buf_cstr(&f->look.err));
    }
    buf_clear(&f->look.err);
    assert_null(matchlist_new(f->look.tables, "10.0.0.1/8 127.0.0.1 [x] 10.1.0.0/8", MATCHLIST_NETWORK, &f->look.err));
    assert_non_null(strstr(buf_cstr(&f->look.err), "\"10.0.0.1/8\""));
    assert_non_null(strstr(buf_cstr(&f->look.err), "\"[x]\""));
    assert_non_null(strstr(buf_cstr(&f->look.err), "\"10.1.0.0/8\""));
}

static void write_file(struct fixture *f, const char *name, const char *content, char path[64])
{
    FILE *file;

    snprintf(path, 64, "%s/%s", f->dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

static void includes_files(void **state)
{
    struct fixture *f = *state;
    char inner[64], outer[64], list[200];
    struct matchlist *m;

    write_file(f, "inner", "inner.example\n# c.example\n", inner);
    snprintf(list, sizeof list, "# a comment, d.example\na.example, !b.example\n%s\nlast.example", inner);
    write_file(f, "outer", list, outer);
    m = compile(f, outer, MATCHLIST_STRING);
    assert_int_equal(matchlist_match_now(m, slice_str("a.example")), 1);
    assert_int_equal(matchlist_match_now(m, slice_str("b.example")), 0);
    assert_int_equal(matchlist_match_now(m, slice_str("inner.example")), 1);
    assert_int_equal(matchlist_match_now(m, slice_str("last.example")), 1);
    assert_int_equal(matchlist_match_now(m, slice_str("d.example")), 0);
    assert_int_equal(matchlist_match_now(m, slice_str("c.example")), 0);
    matchlist_free(&m);
    /* "!" before a file turns all of it round */
    snprintf(list, sizeof list, "!%s, inner.example, b.example", outer);
    m = compile(f, list, MATCHLIST_STRING);
    assert_int_equal(matchlist_match_now(m, slice_str("inner.example")), 0);
    assert_int_equal(matchlist_match_now(m, slice_str("b.example")), 1);
    matchlist_free(&m);
    unlink(inner);
    unlink(outer);
}

static void a_file_that_includes_itself_is_an_error(void **state)
{
    struct fixture *f = *state;
    char path[64], text[80];

    snprintf(text, sizeof text, "%s/self\n", f->dir);
    write_file(f, "self", text, path);
    assert_null(matchlist_new(f->look.tables, path, MATCHLIST_STRING, &f->look.err));
    assert_non_null(strstr(buf_cstr(&f->look.err), path));
    unlink(path);
}

static void asks_tables(void **state)
{
    static const char *const pairs[] = {"example.com", "anything", ".dotted.example", "x", NULL};
    static const struct {
        enum matchlist_kind kind;
        const char *list, *key;
        enum op_status want;
        const char *asked;
    } cases[] = {
        {MATCHLIST_STRING, "fake:a", "Example.com", OP_OK, "example.com "},
        {MATCHLIST_STRING, "fake:a", "a.example.com", OP_NOTFOUND, "a.example.com "},
        {MATCHLIST_STRING, "plain, fake:a", "plain", OP_OK, ""},
        {MATCHLIST_STRING, "!example.com, fake:a", "example.com", OP_NOTFOUND, ""},
        {MATCHLIST_STRING, "!fake:a, example.com, other", "example.com", OP_NOTFOUND, "example.com "},
        {MATCHLIST_STRING, "!fake:a, example.com, other", "other", OP_OK, "other "},
        {MATCHLIST_STRING, "fake:b proxy:fake:a", "example.com", OP_OK, "example.com example.com "},
        {MATCHLIST_DOMAIN, "fake:a", "a.b.example.com", OP_OK, "a.b.example.com b.example.com example.com "},
        {MATCHLIST_DOMAIN, "fake:a last", "a.b", OP_NOTFOUND, "a.b b "},
        {MATCHLIST_DOTTED, "fake:a", "x.dotted.example", OP_OK, "x.dotted.example .dotted.example "},
        {MATCHLIST_DOTTED, "fake:a", "a.b.example.com", OP_NOTFOUND,
         "a.b.example.com .b.example.com .example.com .com "},
        {MATCHLIST_NETWORK, "127.0.0.0/8 fake:a", "192.0.2.1", OP_NOTFOUND, "192.0.2.1 "},
    };
    struct fixture *f = *state;

    add(f, "fake:a", pairs);
    add(f, "fake:b", NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matchlist *m = compile(f, cases[i].list, cases[i].kind);
        bool needs_table = cases[i].asked[0] != '\0';

        assert_int_equal(matchlist_match_now(m, slice_str(cases[i].key)) == -1, needs_table);
        assert_int_equal(match(f, m, cases[i].key), cases[i].want);
        assert_string_equal(buf_cstr(&f->log), cases[i].asked);
        matchlist_free(&m);
    }
}

static void a_table_of_patterns_is_not_asked_for_parents(void **state)
{
    struct fixture *f = *state;
    struct matchlist *m;

    add(f, "fake:p", NULL)->table.fixed = false;
    m = compile(f, "fake:p", MATCHLIST_DOMAIN);
    assert_int_equal(match(f, m, "a.example.com"), OP_NOTFOUND);
    assert_string_equal(buf_cstr(&f->log), "a.example.com ");
    matchlist_free(&m);
}

static void a_failure_is_no_match_and_no_miss(void **state)
{
    struct fixture *f = *state;
    struct matchlist *m;

    add(f, "fake:a", NULL)->fail = "example.com";
    m = compile(f, "first, fake:a, a.example.com", MATCHLIST_DOMAIN);
    assert_int_equal(match(f, m, "a.example.com"), OP_TEMPFAIL);
    assert_string_equal(buf_cstr(&f->why), "fake failure");
    assert_int_equal(match(f, m, "first"), OP_OK);
    matchlist_free(&m);
}

static void a_match_outlives_asker_and_list(void **state)
{
    struct fixture *f = *state;
    struct fake_table *t = add(f, "fake:a", NULL);
    struct matchlist *m = compile(f, "fake:a, fake:a", MATCHLIST_DOMAIN);

    t->hang = true;
    matchlist_match(m, &f->look.scope, slice_str("a.example"), on_answer, f);
    loop_run(f->look.loop);
    op_scope_close(&f->look.scope);
    matchlist_free(&m);
    fake_release(t);
    loop_run(f->look.loop);
    assert_int_equal(f->look.calls, 0);
    assert_string_equal(buf_cstr(&f->log), "a.example ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(matches_patterns, setup, teardown),
        cmocka_unit_test_setup_teardown(complains_about_each_mistake, setup, teardown),
        cmocka_unit_test_setup_teardown(includes_files, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_includes_itself_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(asks_tables, setup, teardown),
        cmocka_unit_test_setup_teardown(a_table_of_patterns_is_not_asked_for_parents, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_is_no_match_and_no_miss, setup, teardown),
        cmocka_unit_test_setup_teardown(a_match_outlives_asker_and_list, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * cidr:, regexp: and pcre: as tables: files that change, threads, closing in the middle, random files. What the rules
 * mean is compared with the real postmap in test/integration/test_l07_pattern_tables.py.
 */
#include "support/tables.h"

static const char *const kinds[] = {"cidr", "regexp", "pcre"};

static void inline_rules(void **state)
{
    static const struct {
        const char *spec, *key;
        enum op_status status;
        const char *value;
    } rows[] = {
        {"cidr:{{10.0.0.0/8 ten}, {::/0 six}}", "10.1.1.1", OP_OK, "ten"},
        {"cidr:{{10.0.0.0/8 ten}, {::/0 six}}", "::1", OP_OK, "six"},
        {"cidr:{{10.0.0.0/8 ten} {::/0 six}}", "11.1.1.1", OP_NOTFOUND, NULL},
        {"cidr:{{0.0.0.0/0 all}}", "host.example", OP_NOTFOUND, NULL},
        {"cidr:{{!10.0.0.0/8 not}}", "11.1.1.1", OP_OK, "not"},
        {"cidr:{{!10.0.0.0/8 not}}", "::1", OP_NOTFOUND, NULL},
        {"cidr:{}", "10.1.1.1", OP_NOTFOUND, NULL},
        {"cidr:{{10.0.0.0/8 $1}}", "10.1.1.1", OP_OK, "$1"},
        {"regexp:{{/^(.*)@/ <$1>}}", "U+x@d", OP_OK, "<U+x>"},
        {"regexp:{{/^u/i lower}, {/^u/ any}}", "U", OP_OK, "any"},
        {"regexp:{{if /a/} {!/b/ a without b} {endif} {/./ rest}}", "a", OP_OK, "a without b"},
        {"regexp:{{if /a/} {!/b/ a without b} {endif} {/./ rest}}", "ab", OP_OK, "rest"},
        {"regexp:{{/a/!/b/ a}}", "ab", OP_NOTFOUND, NULL},
        {"regexp:{{/(a)|(b)/ [$1$2]}}", "b", OP_OK, "[b]"},
        {"regexp:{{/[\\]1/ backslash}}", "\\1", OP_OK, "backslash"},
        {"regexp:{{/[[:alpha:]\\][]\\1]x/ brackets}}", "a1x", OP_OK, "brackets"},
        {"regexp:{{/\\\\1/ escaped}}", "\\1", OP_OK, "escaped"},
        {"pcre:{{/^(?!a)(.)/ <$1>}}", "bc", OP_OK, "<b>"},
        {"pcre:{{/(a)?(b)?(c)?$/ <$1$2$3>}}", "ac", OP_OK, "<ac>"},
        {"pcre:{{/^(.)/ $1}}", "\xc3\xbc", OP_TEMPFAIL, "not UTF-8"},
        {"pcre:{{/^(a|a)*$/ x}}", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", OP_TEMPFAIL, "line 1: match limit"},
        {"unionmap:{pcre:{{/a/ 1}}, regexp:{{/a/ 2}}}", "a", OP_OK, "1,2"},
        {"pipemap:{pcre:{{/^(.*)@/ $1}}, inline:{a=b}}", "a@x", OP_OK, "b"},
    };
    struct bench b;

    (void)state;
    bench_open(&b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct table *t = bench_table_spec(&b, rows[i].spec);
        struct buf report = {0};

        assert_false(table_is_fixed(t));
        assert_true(table_check(t, &report));
        bench_expect(&b, t, rows[i].key, rows[i].status, rows[i].value);
        buf_release(&report);
    }
    bench_close(&b);
}

static void malformed_inline(void **state)
{
    static const struct {
        const char *spec, *complaint;
    } rows[] = {
        {"cidr:{10.0.0.0/8 x}", "written cidr:{ {rule}, {rule} }"},
        {"cidr:{{10.0.0.0/8 x}", "written cidr:{ {rule}, {rule} }"},
        {"cidr:{{0.0.0.0/0 a}, {10.0.0.1/8 x}}",
         ":2: \"10.0.0.1/8\" has bits set behind its prefix, perhaps you should use \"10.0.0.0/8\""},
        {"cidr:{{[10.0.0.0]8 x}}", "not a numeric address"},
        {"regexp:{{/(/ x}}", ":1: the pattern is malformed"},
        {"regexp:{{/(a)\\1/ x}}", "back-references"},
        {"regexp:{{/[^]a](b)[[:alpha:]]\\2/ x}}", "back-references"},
        {"pcre:{{/a/ $1}}", "the pattern has 0 groups"},
        {"pcre:{{if /a/}}", "the endif of this if is missing"},
        {"pcre:{{endif}}", "endif without an if"},
    };
    struct bench b;

    (void)state;
    bench_open(&b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf err = {0};

        assert_null(tables_open(b.tables, rows[i].spec, &err));
        if (strstr(buf_cstr(&err), rows[i].complaint) == NULL)
            fail_msg("\"%s\": \"%s\" does not say \"%s\"", rows[i].spec, buf_cstr(&err), rows[i].complaint);
        buf_release(&err);
    }
    bench_close(&b);
}

/* Every bad line is told with its number, warnings as such; a file with an error is not used at all. */
static void complaints(void **state)
{
    static const char text[] = "/good/ x\n"
                               "/empty/\n"
                               "/a(/ x\n"
                               "# comment\n"
                               "if /b/\n"
                               " /indented/ x\n"
                               "/$/ $9\n"
                               "endif # not a comment\n";
    struct buf report = {0};
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    bench_write(&b, "t", text);
    t = bench_table(&b, "pcre", "t");
    assert_false(table_check(t, &report));
    assert_non_null(strstr(buf_cstr(&report), "/t:2: no result after the pattern: it is the empty string\n"));
    assert_int_equal(strncmp(buf_cstr(&report), "warning: ", 9), 0);
    assert_non_null(strstr(buf_cstr(&report), "/t:3: the pattern is malformed at offset 2"));
    assert_non_null(strstr(buf_cstr(&report), "/t:5: text after if, \"/indented/ x\""));
    assert_non_null(strstr(buf_cstr(&report), "/t:7: $9 is used"));
    assert_non_null(strstr(buf_cstr(&report), "/t:8: text after endif, \"# not a comment\""));
    assert_null(strstr(buf_cstr(&report), "/t:1:"));
    bench_expect(&b, t, "good", OP_TEMPFAIL, "/t:3: ");
    assert_int_equal(bench_logged("/t:3: "), 1);
    buf_release(&report);
    bench_close(&b);
}

static void file_errors(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct table *t = bench_table(&b, kinds[i], "absent");

        bench_expect(&b, t, "1.2.3.4", OP_TEMPFAIL, "No such file");
    }
    bench_close(&b);
}

/* What each kind is to be asked for "1.2.3.4" with. */
static const char *rule(const char *kind)
{
    return strcmp(kind, "cidr") == 0 ? "0.0.0.0/0" : "/./";
}

static void changes(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char *first = mem_printf("%s one\n", rule(kinds[i])), *second = mem_printf("%s two\n", rule(kinds[i]));
        struct table *t;

        bench_write(&b, kinds[i], first);
        t = bench_table(&b, kinds[i], kinds[i]);
        bench_expect(&b, t, "1.2.3.4", OP_OK, "one");
        bench_write(&b, kinds[i], "endif\n"); /* broken: what was read before stays */
        bench_sleep(&b, 1100);
        bench_expect(&b, t, "1.2.3.4", OP_OK, "one");
        bench_write(&b, kinds[i], second);
        bench_sleep(&b, 1100);
        bench_expect(&b, t, "1.2.3.4", OP_OK, "two");
        mem_free(first);
        mem_free(second);
    }
    assert_int_equal(bench_logged("endif without an if"), 3);
    bench_close(&b);
}

/* More lookups at once than there may be threads; all get their own answer. */
static void many_at_once(void **state)
{
    static struct bench_answer a[200];
    struct bench b;

    (void)state;
    for (size_t k = 1; k < ARRAY_LEN(kinds); k++) {
        char *spec = mem_printf("%s:{{/^k([0-9]*[02468])$/ <$1>}}", kinds[k]);
        struct table *t;

        bench_open(&b);
        t = bench_table_spec(&b, spec);
        memset(a, 0, sizeof a);
        for (int i = 0; i < 200; i++) {
            char key[20];

            snprintf(key, sizeof key, "k%d", i);
            table_lookup(t, &b.scope, slice_str(key), bench_on_answer, &a[i]);
        }
        while (!op_scope_idle(&b.scope))
            loop_turn(b.loop);
        for (int i = 0; i < 200; i++) {
            char value[20];

            snprintf(value, sizeof value, "<%d>", i);
            assert_int_equal(a[i].status, i % 2 == 0 ? OP_OK : OP_NOTFOUND);
            if (i % 2 == 0)
                assert_string_equal(a[i].text, value);
        }
        mem_free(spec);
        bench_close(&b);
    }
}

#define SLOW "((a{0,9}){0,9}){0,9}b"

/* Tables that are closed while threads match and lookups wait for their turn. */
static void closed_in_the_middle(void **state)
{
    static char key[400];
    static struct bench_answer a[20];

    (void)state;
    memset(key, 'a', sizeof key - 1);
    for (int wait = 0; wait < 3; wait++)
        for (size_t k = 1; k < ARRAY_LEN(kinds); k++) {
            char *spec = mem_printf("%s:{{/" SLOW "/ x}}", kinds[k]);
            struct bench b;

            bench_open(&b);
            memset(a, 0, sizeof a);
            for (size_t i = 0; i < ARRAY_LEN(a); i++)
                table_lookup(bench_table_spec(&b, spec), &b.scope, slice_str(key), bench_on_answer, &a[i]);
            if (wait > 0)
                bench_sleep(&b, (uint64_t)wait);
            tables_free(&b.tables);
            loop_run(b.loop);
            for (size_t i = 0; i < ARRAY_LEN(a); i++)
                assert_true(a[i].done);
            mem_free(spec);
            bench_close(&b);
        }
}

/* The same text again and again: the automaton is made anew now and then. */
static void renewed(void **state)
{
    struct bench b;
    struct table *t;
    char key[600];

    (void)state;
    bench_open(&b);
    t = bench_table_spec(&b, "regexp:{{/^x*(y)/ $1}}");
    memset(key, 'x', sizeof key);
    key[sizeof key - 2] = 'Y';
    key[sizeof key - 1] = '\0';
    for (int i = 0; i < 100; i++)
        bench_expect(&b, t, key, OP_OK, "Y");
    bench_close(&b);
}

/* ---- random files ---- */

static const char *const scraps[] = {
    "/",         "a",          "b",          "(",           ")",    "[",         "]",    "{",          "}",
    "*",         "+",          "?",          ".",           "^",    "$",         "\\",   "|",          "!",
    "$1",        "${1}",       "$(2)",       "$$",          " ",    "\n",        "if",   "endif",      "IF ",
    "\n/a/ x\n", "\nif /a/\n", "\nendif\n",  "i",           "m",    "x",         "s",    "U",          "#",
    "\t",        "1",          "10.0.0.0/8", "::1",         "::/0", "0.0.0.0/0", "/8",   "[10.0.0.0]", "\\1",
    "(?<n>",     "(?:",        "{1,3}",      "[[:alpha:]]", "[^",   "\xc3\xbc",  "\xff", "\r\n",
};

static uint32_t seed = 1;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static void random_text(struct buf *text, uint32_t most)
{
    buf_clear(text);
    for (uint32_t n = draw(most); n > 0; n--)
        buf_add_str(text, scraps[draw(ARRAY_LEN(scraps))]);
}

/* Rules made of well-formed parts, so that most of them can be used. */
static void random_rules(struct buf *text, bool addresses)
{
    static const char *const parts[2][8] = {
        {"/(a)(b)*/", "!/b/", "/a|b/i", "/^.*$/", "/x/", "/(.)1/", "/[ab1]+/", "!!/./"},
        {"10.0.0.0/8", "!10.0.0.0/9", "::/0", "[::1]", "0.0.0.0/0", "1.2.3.4", "! 8.0.0.0/5", "::ffff:0:0/96"}};
    static const char *const results[] = {"x", "a b", "$$", "<y>", "z"};
    uint32_t open = 0;

    buf_clear(text);
    for (uint32_t n = draw(30); n > 0; n--) {
        const char *part = parts[addresses][draw(8)];

        if (draw(4) == 0 && ++open)
            buf_printf(text, "if %s\n", part);
        else if (open > 0 && draw(3) == 0 && open--)
            buf_add_str(text, "endif\n");
        else
            buf_printf(text, "%s %s\n", part, results[draw(ARRAY_LEN(results))]);
    }
    while (open-- > 0)
        buf_add_str(text, "endif\n");
}

static void random_files(void **state)
{
    static const char *const keys[] = {"a", "ab", "10.1.2.3", "::1", "b1", "a@b", "\xc3\xbc", "x"};
    struct buf text = {0};
    struct bench b;
    int used = 0;

    (void)state;
    bench_open(&b);
    for (int round = 0; round < 1500; round++) {
        const char *kind = kinds[round % 3];
        char name[20];
        struct table *t;

        snprintf(name, sizeof name, "r%d", round);
        if (round % 2 == 0)
            random_text(&text, 40);
        else
            random_rules(&text, round % 3 == 0);
        bench_write(&b, name, buf_cstr(&text));
        t = bench_table(&b, kind, name);
        for (size_t i = 0; i < ARRAY_LEN(keys); i += 3) {
            const struct bench_answer *a = bench_ask(&b, t, keys[(i + (size_t)round) % ARRAY_LEN(keys)]);

            assert_true(a->status == OP_OK || a->status == OP_NOTFOUND || a->status == OP_TEMPFAIL);
            used += a->status != OP_TEMPFAIL;
            if (round % 2 == 1 && a->status == OP_TEMPFAIL)
                fail_msg("%s: %s\n%s", kind, a->text, buf_cstr(&text));
        }
    }
    assert_true(used > 1000);
    buf_release(&text);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inline_rules),         cmocka_unit_test(malformed_inline), cmocka_unit_test(complaints),
        cmocka_unit_test(file_errors),          cmocka_unit_test(changes),          cmocka_unit_test(many_at_once),
        cmocka_unit_test(closed_in_the_middle), cmocka_unit_test(renewed),          cmocka_unit_test(random_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

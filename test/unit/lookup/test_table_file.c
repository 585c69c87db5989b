/* hash: and the like on text files: the format, and that changes are noticed. */
#include "support/tables.h"

static void format(void **state)
{
    static const struct {
        const char *key;
        enum op_status status;
        const char *value;
    } rows[] = {
        {"simple", OP_OK, "value"},
        {"SIMPLE", OP_OK, "value"},
        {"upper@example.com", OP_OK, "Value Kept As It Is"},
        {"tabs", OP_OK, "a\tb"},
        {"more", OP_OK, "one, two,\tthree"},
        {"over", OP_OK, "comments  and blanks"},
        {"a key", OP_OK, "quoted"},
        {"a\"b\\c", OP_OK, "escaped"},
        {"colon", OP_OK, "alias-like"},
        {"hash", OP_OK, "not # a comment"},
        {"twice", OP_OK, "first"},
        {"crlf", OP_OK, "dos"},
        {"j\xc3\xbcrgen", OP_OK, "\xc3\x9c"},
        {"last", OP_OK, "no newline"},
        {"#", OP_NOTFOUND, NULL},
        {"novalue", OP_NOTFOUND, NULL},
        {"latin1", OP_NOTFOUND, NULL},
        {"open", OP_NOTFOUND, NULL},
        {"begins", OP_NOTFOUND, NULL},
        {"absent", OP_NOTFOUND, NULL},
    };
    static const char *const types[] = {"hash", "btree", "lmdb", "cdb", "texthash", "proxy:hash"};
    struct bench b;

    (void)state;
    bench_open(&b);
    bench_write(&b, "t",
                "   begins with white space\n"
                "# a comment\n"
                "simple value\n"
                "Upper@Example.COM   Value Kept As It Is  \n"
                "tabs\ta\tb\n"
                "more one,\n"
                " two,\n"
                "\tthree\n"
                "over comments\n"
                "# within\n"
                "\n"
                "  # and this\n"
                "  and blanks\n"
                "\"a key\" quoted\n"
                "\"a\\\"b\\\\c\"\tescaped\n"
                "colon: alias-like\n"
                "hash not # a comment\n"
                "twice first\n"
                "Twice second\n"
                "novalue\n"
                "latin1 \xe9\n"
                "\"open quoted\n"
                "crlf dos\r\n"
                "J\xc3\x9cRGEN \xc3\x9c\n"
                "last no newline");
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct table *t = bench_table(&b, types[i], "t");

        assert_true(table_is_fixed(t));
        for (size_t j = 0; j < ARRAY_LEN(rows); j++)
            bench_expect(&b, t, rows[j].key, rows[j].status, rows[j].value);
    }
    bench_close(&b);
}

/* aliases(5): the same types read such files, which alias_maps and local_recipient_maps name. */
static void alias_files(void **state)
{
    static const struct {
        const char *key, *value; /* NULL: not found */
    } rows[] = {
        {"postmaster", "root"}, {"root", "me@example.com"}, {"list", "a, b"}, {"odd name", "x"}, {"half", NULL},
        {"postmaster:", NULL},  {"cmd", "|/bin/x y:z"},     {"a:b", "c"},     {":", "d"},
    };
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    bench_write(&b, "t",
                "# see aliases(5)\npostmaster:    root\nroot:me@example.com\nlist: a,\n b\n\"odd name\": x\nhalf:\n"
                "cmd: |/bin/x y:z\na:b c\n: d\n");
    t = bench_table(&b, "hash", "t");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        bench_expect(&b, t, rows[i].key, rows[i].value ? OP_OK : OP_NOTFOUND, rows[i].value);
    bench_close(&b);
}

static void complaints(void **state)
{
    static const struct {
        int line;
        const char *text;
    } rows[] = {
        {1, "the first line must not begin with white space"},
        {3, "not of the form: key white-space value"},
        {4, "not UTF-8"},
        {5, "the quotes of the key do not match"},
        {6, "the quotes of the key do not match"},
        {8, "the key is there already; this line is not used"},
        {10, "not of the form: key white-space value"},
    };
    struct buf expected = {0}, report = {0};
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    bench_write(&b, "t", " x y\n# c\nnovalue\nlatin1 \xe9\n\"open\n\"a\"b c\nk 1\nK 2\nalias: x\n\"\" x\n");
    t = bench_table(&b, "hash", "t");
    assert_true(table_check(t, &report));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        buf_printf(&expected, "warning: %s/t:%d: %s\n", b.dir, rows[i].line, rows[i].text);
    assert_string_equal(buf_cstr(&report), buf_cstr(&expected));
    assert_int_equal(bench_logged("not UTF-8"), 1);
    buf_release(&expected);
    buf_release(&report);
    bench_close(&b);
}

/* Asks until the answer is as expected; false after five seconds. */
static bool becomes(struct bench *b, struct table *t, const char *key, enum op_status status, const char *text)
{
    for (int i = 0; i < 100; i++) {
        const struct bench_answer *a = bench_ask(b, t, key);

        if (a->status == status && (status != OP_OK || strcmp(a->text, text) == 0))
            return true;
        bench_sleep(b, 50);
    }
    return false;
}

static void changes_are_noticed(void **state)
{
    struct bench b;
    struct table *t;
    char *path, *aside;

    (void)state;
    bench_open(&b);
    path = bench_path(&b, "t");
    aside = bench_path(&b, "aside");
    bench_write(&b, "t", "k one\n");
    t = bench_table(&b, "hash", "t");
    bench_expect(&b, t, "k", OP_OK, "one");

    /* in place, with its old time stamp: the change of the inode tells */
    bench_write(&b, "t", "k two\n");
    bench_expect(&b, t, "k", OP_OK, "one"); /* within the second */
    assert_true(becomes(&b, t, "k", OP_OK, "two"));
    assert_int_equal(bench_logged("has changed and was read again"), 1);

    /* put in its place */
    bench_write(&b, "aside", "k three\n");
    assert_int_equal(rename(aside, path), 0);
    assert_true(becomes(&b, t, "k", OP_OK, "three"));

    /* gone: what was read stays, with a warning */
    assert_int_equal(unlink(path), 0);
    bench_sleep(&b, 1100);
    bench_expect(&b, t, "k", OP_OK, "three");
    bench_sleep(&b, 1100);
    bench_expect(&b, t, "k", OP_OK, "three");
    assert_int_equal(bench_logged("No such file"), 1);
    bench_write(&b, "t", "k four\n");
    assert_true(becomes(&b, t, "k", OP_OK, "four"));
    assert_int_equal(bench_logged("works again"), 1);
    mem_free(path);
    mem_free(aside);
    bench_close(&b);
}

/* A file that is being written is left alone until it has settled, as long as there is older content. */
static void half_written(void **state)
{
    struct bench b;
    struct table *t;
    char *path;
    FILE *f;

    (void)state;
    bench_open(&b);
    path = bench_path(&b, "t");
    bench_write(&b, "t", "k one\n");
    t = bench_table(&b, "hash", "t");
    bench_sleep(&b, 1100);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("k tw", f);
    fflush(f);
    bench_expect(&b, t, "k", OP_OK, "one");
    fputs("o\n", f);
    fclose(f);
    assert_true(becomes(&b, t, "k", OP_OK, "two"));
    mem_free(path);
    bench_close(&b);
}

static void missing_at_first(void **state)
{
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    t = bench_table(&b, "hash", "t");
    bench_expect(&b, t, "k", OP_TEMPFAIL, "/t: No such file or directory");
    bench_expect(&b, t, "k", OP_TEMPFAIL, "/t: No such file or directory");
    bench_sleep(&b, 1100);
    bench_expect(&b, t, "k", OP_TEMPFAIL, "/t: No such file or directory");
    assert_int_equal(bench_logged("No such file"), 1);
    bench_write(&b, "t", "k here\n");
    assert_true(becomes(&b, t, "k", OP_OK, "here"));
    bench_close(&b);
}

static void not_a_file(void **state)
{
    struct bench b;
    char *path;

    (void)state;
    bench_open(&b);
    path = bench_path(&b, "fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    bench_expect(&b, bench_table(&b, "hash", "fifo"), "k", OP_TEMPFAIL, "is not a regular file");
    bench_expect(&b, bench_table_spec(&b, "hash:/tmp"), "k", OP_TEMPFAIL, "is not a regular file");
    mem_free(path);
    bench_close(&b);
}

static void many_lookups_during_a_look(void **state)
{
    static struct bench_answer answers[500];
    struct bench b;
    struct table *t;
    size_t done = 0;

    (void)state;
    bench_open(&b);
    bench_write(&b, "t", "k one\n");
    t = bench_table(&b, "hash", "t");
    bench_sleep(&b, 1100); /* a look is due */
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        answers[i] = (struct bench_answer){.loop = b.loop};
        table_lookup(t, &b.scope, SLICE_LIT("k"), bench_on_answer, &answers[i]);
    }
    while (done < ARRAY_LEN(answers)) {
        loop_run(b.loop);
        for (done = 0; done < ARRAY_LEN(answers) && answers[done].done; done++)
            assert_int_equal(answers[done].status, OP_OK);
    }
    bench_close(&b);
}

static void close_during_a_look(void **state)
{
    struct bench_answer a = {0};
    struct bench b;
    struct table *t;

    (void)state;
    bench_open(&b);
    bench_write(&b, "t", "k one\n");
    t = bench_table(&b, "hash", "t");
    bench_sleep(&b, 1100);
    bench_write(&b, "t", "k two\n"); /* so that there is content to be thrown away */
    table_lookup(t, &b.scope, SLICE_LIT("k"), bench_on_answer, &a);
    tables_free(&b.tables);
    loop_run(b.loop);
    assert_true(a.done);
    assert_int_equal(a.status, OP_TEMPFAIL);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format),
        cmocka_unit_test(alias_files),
        cmocka_unit_test(complaints),
        cmocka_unit_test(changes_are_noticed),
        cmocka_unit_test(half_written),
        cmocka_unit_test(missing_at_first),
        cmocka_unit_test(not_a_file),
        cmocka_unit_test(many_lookups_during_a_look),
        cmocka_unit_test(close_during_a_look),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

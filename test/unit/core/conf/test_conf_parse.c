/* The lines of the file. */
#include "unit/core/conf/conf_fixture.h"

#include <stdlib.h>
#include <unistd.h>

/* All assignments and complaints as one text: "[listener x]@3 name=value@4 | 5: error: ...". */
static void dump(const struct conf_source *s, const struct conf_report *r, struct buf *out)
{
    for (size_t i = 0; i < s->nsections; i++) {
        const struct conf_section *section = &s->sections[i];

        if (section->kind != CONF_SECTION_MAIN)
            buf_printf(out, "[%s %s]@%d;", section->kind == CONF_SECTION_LISTENER ? "listener" : "transport",
                       section->name, section->line);
        for (size_t j = 0; j < section->n; j++)
            buf_printf(out, "%s=%s@%d;", section->items[j].name, section->items[j].value, section->items[j].line);
    }
    for (size_t i = 0; i < r->n; i++)
        buf_printf(out, "%d: %s: %s;", r->items[i].line,
                   r->items[i].severity == CONF_SEVERITY_ERROR ? "error" : "warning", r->items[i].text);
}

static const struct {
    const char *text, *expected;
} files[] = {
    {"", ""},
    {"\n\n  \n# x\n", ""},
    {"a = 1\nb=2\nc =3\nd= 4\n", "a=1@1;b=2@2;c=3@3;d=4@4;"},
    {"a = 1", "a=1@1;"},
    {"a =\n", "a=@1;"},
    {"a = x = y\n", "a=x = y@1;"},
    {"a = 1 # no comment\n", "a=1 # no comment@1;"},
    {"a = 1 \t\r\n", "a=1@1;"},
    {"a = [x]\n", "a=[x]@1;"},
    /* continuation; blank lines and comments do not end a logical line */
    {"a = 1\n 2\n\t3\nb = 4\n", "a=1 2\t3@1;b=4@4;"},
    {"a = 1\n\n  \n# c\n  # d\n  2   \n", "a=1  2@1;"},
    {"# c\na =\n 1,\n# c\n 2\n", "a=1, 2@2;"},
    {"a = 1\n   2", "a=1   2@1;"},
    /* the last definition counts */
    {"a = 1\nb = 2\na = 3\n", "b=2@2;a=3@3;1: warning: a is set again in line 3, which is the one that counts;"},
    /* sections */
    {"a = 1\n[listener x]\na = 2\n[transport y]\na = 3\n", "a=1@1;[listener x]@2;a=2@3;[transport y]@4;a=3@5;"},
    {"[ listener\tx-1.b_2 ]\n", "[listener x-1.b_2]@1;"},
    {"[listener x]\n[transport x]\n", "[listener x]@1;[transport x]@2;"},
    /* errors, all of them, and what is right stays */
    {" a = 1\nb = 2\n",
     "b=2@2;1: error: the first line must not begin with white space: it would continue the line before it;"},
    {"a\nb c = 1\n= 2\nd = 3\n", "d=3@4;1: error: the = after the name is missing: \"a\";"
                                 "2: error: the = after the name is missing: \"b c = 1\";"
                                 "3: error: the name before the = is missing: \"= 2\";"},
    {"[listener x\na = 1\nb = 2\n", "1: error: the ] of the section is missing: \"[listener x\";"},
    {"[listener x]\n  listen = :25\n",
     "[listener x]@1;1: error: text after the ] of a section: a line that begins with "
     "white space continues the line before it;"},
    {"[service x]\na = 1\n", "1: error: [service ...] is no section: there are [listener NAME] and [transport NAME];"},
    {"[listener]\n[transport a b]\n", "1: error: \"\" is no name for a section: letters, digits, '_', '-' and '.';"
                                      "2: error: \"a b\" is no name for a section: letters, digits, '_', '-' and '.';"},
    {"[listener x]\na = 1\n[listener x]\nb = 2\n",
     "[listener x]@1;a=1@2;3: error: [listener x] is there already in line 1;"},
};

static void parses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct conf_source source = {0};
        struct conf_report report = {0};
        struct buf out = {0};

        conf_parse_text(slice_str(files[i].text), "t.conf", &source, &report);
        dump(&source, &report, &out);
        assert_string_equal(buf_cstr(&out), files[i].expected);
        buf_release(&out);
        conf_report_clear(&report);
        conf_source_clear(&source);
    }
}

static void nul_is_an_error(void **state)
{
    struct fixture f = {0};

    (void)state;
    conf_parse_text(SLICE_LIT("a = 1\nb = \0 2\n"), "t.conf", &f.source, &f.report);
    fixture_expect(&f, "2: error: the line has a NUL byte");
    fixture_close(&f);
}

static void unreadable_files(void **state)
{
    struct fixture f = {0};

    (void)state;
    assert_false(conf_parse_file("/nonexistent/mta.conf", &f.source, &f.report));
    fixture_expect(&f, "0: error: the configuration cannot be read: No such file or directory");
    assert_false(conf_parse_file("/tmp", &f.source, &f.report));
    assert_int_equal(f.report.n, 3); /* main.cf and master.cf are not there */
    assert_string_equal(f.report.items[1].file, "/tmp/main.cf");
    assert_string_equal(f.report.items[2].file, "/tmp/master.cf");
    conf_source_clear(&f.source);
    assert_false(conf_parse_file("/dev/zero", &f.source, &f.report));
    fixture_expect(&f, "0: error: the configuration cannot be read: it is too large");
    fixture_close(&f);
}

static void reads_a_file(void **state)
{
    struct fixture f = {0};
    char path[] = "/tmp/mta-conf-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a = 1\n", 6), 6);
    close(fd);
    assert_true(conf_parse_file(path, &f.source, &f.report));
    assert_string_equal(conf_section_get(&f.source.sections[0], "a")->value, "1");
    assert_string_equal(conf_section_get(&f.source.sections[0], "a")->file, path);
    assert_null(conf_section_get(&f.source.sections[0], "b"));
    unlink(path);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(nul_is_an_error),
        cmocka_unit_test(unreadable_files),
        cmocka_unit_test(reads_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

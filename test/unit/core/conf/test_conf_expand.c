/* The $ language; what is expected was checked against postconf -x of Postfix 3.7. */
#include "unit/core/conf/conf_fixture.h"

static const char definitions[] = "compatibility_level = 3.9\n"
                                  "mydomain = example.org\n"
                                  "a = A\n"
                                  "empty =\n"
                                  "ab = $a-$b\n"
                                  "b = B\n"
                                  "points_to_empty = $empty\n"
                                  "braces = x{y}z\n"
                                  "loop1 = 1 $loop2\n"
                                  "loop2 = ${loop3}\n"
                                  "loop3 = ${empty:$loop1}\n"
                                  "self = $self\n"
                                  "deep = ${broken\n";

static const struct {
    const char *text, *expected;
} expansions[] = {
    {"", ""},
    {"plain text", "plain text"},
    {"$a", "A"},
    {"${a}", "A"},
    {"$(a)", "A"},
    {"${ a }", "A"},
    {"$a$a", "AA"},
    {"x$a.x", "xA.x"},
    {"$a-b", "A-b"},
    {"[$ab]", "[A-B]"},
    {"$nosuch.", "."},
    {"$$", "$"},
    {"$$a", "$a"},
    {"$$$a", "$A"},
    {"$${a}", "${a}"},
    {"$braces", "x{y}z"},
    /* tests */
    {"${a?yes}", "yes"},
    {"${a:no}", ""},
    {"${empty?yes}", ""},
    {"${empty:no}", "no"},
    {"${nosuch?yes}", ""},
    {"${nosuch:no}", "no"},
    {"${a?}", ""},
    {"${a?  two  }", "  two  "},
    {"${a ? {y} : {n}}", "y"},
    {"${a?{yes}:{no}}", "yes"},
    {"${empty?{yes}:{no}}", "no"},
    {"${empty?{yes}:no}", "no"},
    {"${a?{yes}}", "yes"},
    {"${a:{no}}", ""},
    {"${a? { y } }", " y "},
    {"${a?{x{y}z}:{n}}", "x{y}z"},
    {"${a?{}:{n}}", ""},
    {"${a?b:c}", "b:c"},
    {"$(a?(x))", "(x)"},
    {"${a?$b}", "B"},
    {"${a?${b?{$ab}:{n}}}", "A-B"},
    {"${nosuch:${mydomain}}", "example.org"},
    {"${a?$$}", "$"},
    {"${mydomain?{Y}:{N}}", "Y"},
    /* the text is what is tested, before it is expanded */
    {"${points_to_empty?{yes}:{no}}", "yes"},
    /* only the branch that is taken is looked at */
    {"${a?{yes}:{${}}}", "yes"},
    /* comparisons */
    {"${{a} == {a} ? {X} : {Y}}", "X"},
    {"${{a} == {b} ? {X} : {Y}}", "Y"},
    {"${{a}!={b}?X}", "X"},
    {"${{a} == {b}: {Y}}", "Y"},
    {"${{$a} == {A} ? {X}}", "X"},
    {"${{x} == {x}}|${{x} == {y}}", "true|"},
    {"${{10}>{9}? {g} : {l}}", "g"},
    {"${{10} < {9}?{lt}:{ge}}", "ge"},
    {"${{a10}<{a9}?{lt}:{ge}}", "lt"},
    {"${{9} <= {9}?le:}${{9} >= {10}?ge}", "le:"},
    {"${{$compatibility_level} <level {3.10} ? {lt}:{ge}}", "lt"},
    {"${{$compatibility_level} <level {3.6} ? {lt}:{ge}}", "ge"},
    {"${{3.6} ==level {3.6.0}?{eq}:{ne}}", "eq"},
    {"${{3.7} >level {3.6.9}?y:n}", "y:n"},
    {"${{4} >=level {3.99}?{y}}", "y"},
};

static const struct {
    const char *text, *failure;
} failures[] = {
    {"$", "a $ without a name; a dollar sign itself is written $$"},
    {"x $ y", "a $ without a name; a dollar sign itself is written $$"},
    {"${}", "a $ without a name; a dollar sign itself is written $$"},
    {"x ${a", "the ${ is not closed in \"${a\""},
    {"$(a", "the $( is not closed in \"$(a\""},
    {"${a+x}", "no $name goes on with \"+x\""},
    {"${a-b}", "no $name goes on with \"-b\""},
    {"${?x}", "a name is expected in \"?x\""},
    {"${a?{x}z}", "unexpected \"z\" in \"a?{x}z\""},
    {"${a:{x}:{y}}", "unexpected \":{y}\" in \"a:{x}:{y}\""},
    {"${{x} =~ {y}?a}", "one of == != < <= >= > is expected after {x} in \"{x} =~ {y}?a\""},
    {"${{x} == y?a}", "a {text} is expected after == in \"{x} == y?a\""},
    {"${{x} == {y} a}", "? or : is expected before \"a\""},
    {"${{x} <levl {y}?a}", "unknown comparison \"<levl\""},
    {"${{x} <level {3}?a:b}", "\"x\" is not a compatibility level such as 3.6"},
    {"${{3} <level {3.}?a:b}", NULL},
    {"${{3} <level {3.1.2.3}?a:b}", "\"3.1.2.3\" is not a compatibility level such as 3.6"},
    {"$loop1", "it refers to itself: $loop1 -> $loop2 -> $loop3 -> $loop1"},
    {"$loop3", "it refers to itself: $loop1 -> $loop2 -> $loop3 -> $loop1"},
    {"$self", "it refers to itself: $self -> $self"},
    {"$deep", "the ${ is not closed in \"${broken\""},
};

static void check(const char *text, const char *expected, const char *failure)
{
    struct conf_source source = {0};
    struct conf_machine machine = {.hostname = "h.example"};
    struct conf_report report = {0};
    struct arena arena = {0};
    struct conf_view v = {&source, NULL, &machine, &arena};
    struct conf_failure why = {0};
    const char *value;

    conf_parse_text(slice_str(definitions), "t.conf", &source, &report);
    value = conf_view_text(&v, text, &why);
    if (failure == NULL && value == NULL)
        fail_msg("%s: %s", text, why.text);
    else if (failure == NULL && expected != NULL)
        assert_string_equal(value, expected);
    else if (failure != NULL && value != NULL)
        fail_msg("%s: expanded to \"%s\"", text, value);
    else if (failure != NULL)
        assert_string_equal(why.text, failure);
    conf_report_clear(&report);
    conf_source_clear(&source);
    arena_clear(&arena);
}

static void expands(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(expansions); i++)
        check(expansions[i].text, expansions[i].expected, NULL);
}

static void fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(failures); i++)
        check(failures[i].text, NULL, failures[i].failure);
}

/* ${a?${a?${a?...}}}: deep nesting is refused, not a crash. */
static void nesting_is_bounded(void **state)
{
    struct buf text = {0};

    (void)state;
    for (int i = 0; i < 5000; i++)
        buf_add_str(&text, "${a?");
    buf_add_str(&text, "x");
    for (int i = 0; i < 5000; i++)
        buf_add_str(&text, "}");
    check(buf_cstr(&text), NULL, "$ is nested more than 100 deep");
    buf_release(&text);
}

/* Each line doubles the one before: 2^25 bytes if nobody minded. */
static void length_is_bounded(void **state)
{
    struct conf_source source = {0};
    struct conf_machine machine = {.hostname = "h.example"};
    struct conf_report report = {0};
    struct arena arena = {0};
    struct conf_view v = {&source, NULL, &machine, &arena};
    struct conf_failure why = {0};
    struct buf text = {0};

    (void)state;
    buf_add_str(&text, "v0 = x\n");
    for (int i = 1; i <= 25; i++)
        buf_printf(&text, "v%d = $v%d$v%d\n", i, i - 1, i - 1);
    conf_parse_text(buf_slice(&text), "t.conf", &source, &report);
    assert_null(conf_view_value(&v, "v25", &why));
    assert_string_equal(why.text, "the expanded value is longer than 1048576 bytes");
    assert_int_equal(strlen(conf_view_value(&v, "v10", &why)), 1024);
    buf_release(&text);
    conf_report_clear(&report);
    conf_source_clear(&source);
    arena_clear(&arena);
}

struct scanned {
    char text[200];
};

static void note(void *ctx, const char *name, bool tested)
{
    struct scanned *s = ctx;

    strcat(strcat(s->text, name), tested ? "? " : " ");
}

static void scan_finds_every_name(void **state)
{
    struct scanned s = {""};

    (void)state;
    conf_expand_scan("$a ${b} $(c) $$d ${e?{$f}:{${g:x}}} ${{$h} == {1} ? {$i}} $", note, &s);
    assert_string_equal(s.text, "a b c e? f g? h i ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expands),
        cmocka_unit_test(fails),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(length_is_bounded),
        cmocka_unit_test(scan_finds_every_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Changes of a file's text: one definition is another, all else is byte for byte what it was. */
#include "unit/core/conf/conf_fixture.h"

#define MAIN(name, value)                                                                                              \
    {                                                                                                                  \
        CONF_SECTION_MAIN, NULL, name, value                                                                           \
    }
#define LISTENER(s, name, value)                                                                                       \
    {                                                                                                                  \
        CONF_SECTION_LISTENER, s, name, value                                                                          \
    }
#define TRANSPORT(s, name, value)                                                                                      \
    {                                                                                                                  \
        CONF_SECTION_TRANSPORT, s, name, value                                                                         \
    }

static const struct {
    const char *text;
    struct conf_change change;
    const char *out; /* NULL: there is no such section */
} sets[] = {
    /* replaced */
    {"a = 1\nb = 2\n", MAIN("a", "9"), "a = 9\nb = 2\n"},
    {"a=1\nb = 2\n", MAIN("b", "9"), "a=1\nb = 9\n"},
    {"a\t=\t1", MAIN("a", "9"), "a = 9\n"},
    {"a = 1\n", MAIN("a", ""), "a =\n"},
    {"a = 1\na = 2\nb = 3\n", MAIN("a", "9"), "a = 1\na = 9\nb = 3\n"},
    /* what continued the old value goes, comments in it stay */
    {"a = 1,\n    2,\n\t3\nb = 2\n", MAIN("a", "9"), "a = 9\nb = 2\n"},
    {"a = 1,\n# why\n\n  # how\n    2\n# b\nb = 2\n", MAIN("a", "9"), "a = 9\n# why\n\n  # how\n# b\nb = 2\n"},
    {"a = 1\n    2\nb = 3\n    4\n", MAIN("a", "9"), "a = 9\nb = 3\n    4\n"},
    {"b = 3\n    4\na = 1\n    2", MAIN("a", "9"), "b = 3\n    4\na = 9\n"},
    {"a = 1\n    2\n[listener x]\n  \n    c = 4\n", MAIN("a", "9"), "a = 9\n[listener x]\n  \n    c = 4\n"},
    /* what is no definition of it */
    {"#a = 1\n # a = 2\n", MAIN("a", "9"), "#a = 1\n # a = 2\na = 9\n"},
    {"ab = 1\nb = a = 2\n", MAIN("a", "9"), "ab = 1\nb = a = 2\na = 9\n"},
    {"b = 1\n  a = 2\n", MAIN("a", "9"), "b = 1\n  a = 2\na = 9\n"},
    {"b = 1\n[listener x]\na = 2\n", MAIN("a", "9"), "b = 1\na = 9\n[listener x]\na = 2\n"},
    /* added */
    {"", MAIN("a", "9"), "a = 9\n"},
    {"b = 1", MAIN("a", "9"), "b = 1\na = 9\n"},
    {"# only\n\n# comments\n", MAIN("a", "9"), "# only\n\n# comments\na = 9\n"},
    {"# head\n\n# about x\n[listener x]\nlisten = 1\n", MAIN("a", "9"),
     "# head\n\na = 9\n# about x\n[listener x]\nlisten = 1\n"},
    {"[listener x]\nlisten = 1\n", MAIN("a", "9"), "a = 9\n[listener x]\nlisten = 1\n"},
    {"b = 1\n 2\n\n# about x\n[listener x]\n", MAIN("a", "9"), "b = 1\n 2\na = 9\n\n# about x\n[listener x]\n"},
    /* sections */
    {"a = 1\n[listener x]\na = 2\n[listener y]\na = 3\n", LISTENER("x", "a", "9"),
     "a = 1\n[listener x]\na = 9\n[listener y]\na = 3\n"},
    {"[listener x]\nb = 2\n\n[transport x]\na = 3\n", LISTENER("x", "a", "9"),
     "[listener x]\nb = 2\na = 9\n\n[transport x]\na = 3\n"},
    {"[listener x]\nb = 2\n\n[ transport  x ]\na = 3\n 4\n# c\n", TRANSPORT("x", "a", "9"),
     "[listener x]\nb = 2\n\n[ transport  x ]\na = 9\n# c\n"},
    {"[listener x]\n# nothing\n[listener y]", LISTENER("y", "a", "9"),
     "[listener x]\n# nothing\n[listener y]\na = 9\n"},
    {"[listener x]\n# nothing\n", LISTENER("x", "a", "9"), "[listener x]\na = 9\n# nothing\n"},
    {"[listener x]\nb = 2\n", LISTENER("y", "a", "9"), NULL},
    {"[listener x]\nb = 2\n", TRANSPORT("x", "a", "9"), NULL},
};

static void sets_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        struct buf out = {0};
        bool ok = conf_edit_set(slice_str(sets[i].text), &sets[i].change, &out);

        assert_int_equal(ok, sets[i].out != NULL);
        if (ok)
            assert_string_equal(buf_cstr(&out), sets[i].out);
        buf_release(&out);
    }
}

static const struct {
    const char *text;
    struct conf_change change;
    const char *out; /* NULL: it is not set */
} unsets[] = {
    {"a = 1\nb = 2\n", MAIN("a", ""), "#a = 1\nb = 2\n"},
    {"a = 1\n  2\n# c\n  3\nb = 2\n  3\n", MAIN("a", ""), "#a = 1\n#  2\n# c\n#  3\nb = 2\n  3\n"},
    {"a = 1\nb = 2\na = 3", MAIN("a", ""), "#a = 1\nb = 2\n#a = 3"},
    {"a = 1\n[listener x]\na = 2\n", LISTENER("x", "a", ""), "a = 1\n[listener x]\n#a = 2\n"},
    {"a = 1\n[listener x]\na = 2\n", MAIN("a", ""), "#a = 1\n[listener x]\na = 2\n"},
    {"#a = 1\n", MAIN("a", ""), NULL},
    {"[listener x]\na = 2\n", MAIN("a", ""), NULL},
};

static void unsets_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(unsets); i++) {
        struct buf out = {0};
        bool ok = conf_edit_unset(slice_str(unsets[i].text), &unsets[i].change, &out);

        assert_int_equal(ok, unsets[i].out != NULL);
        assert_string_equal(buf_cstr(&out), ok ? unsets[i].out : unsets[i].text);
        buf_release(&out);
    }
}

/* Whatever the text: what was set is what is read, and all other settings are what they were. */
static void what_is_set_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        struct conf_source before = {0}, after = {0};
        struct conf_report report = {0};
        struct buf out = {0};

        if (!conf_edit_set(slice_str(sets[i].text), &sets[i].change, &out))
            continue;
        conf_parse_text(slice_str(sets[i].text), "t", &before, &report);
        conf_parse_text(buf_slice(&out), "t", &after, &report);
        assert_int_equal(before.nsections, after.nsections);
        for (size_t s = 0; s < after.nsections; s++) {
            const struct conf_section *section = &after.sections[s];
            bool changed = section->kind == sets[i].change.kind &&
                           (section->name == NULL || strcmp(section->name, sets[i].change.section) == 0);

            for (size_t k = 0; k < section->n; k++) {
                const struct conf_assignment *a = &section->items[k];
                const struct conf_assignment *old = conf_section_get(&before.sections[s], a->name);

                if (changed && strcmp(a->name, sets[i].change.name) == 0)
                    assert_string_equal(a->value, sets[i].change.value);
                else
                    assert_string_equal(a->value, old->value);
            }
        }
        conf_source_clear(&before);
        conf_source_clear(&after);
        conf_report_clear(&report);
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_one),
        cmocka_unit_test(unsets_all),
        cmocka_unit_test(what_is_set_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

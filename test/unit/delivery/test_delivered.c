/* Loop detection: which Delivered-To: headers count, however the content is cut. */
#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "delivery/delivered.h"

static const struct {
    const char *address, *content;
    bool found;
} rows[] = {
    {"bob@v.test", "Subject: t\nDelivered-To: Bob@V.test\n\nx\n", true},
    {"bob@v.test", "delivered-TO:bob@v.test\n\n", true},
    {"bob@v.test", "Delivered-To \t:  \t bob@v.test \t\n\n", true},
    {"bob@v.test", "A: b\n c: d\nDelivered-To: bob@v.test\n more\n\n", true},
    {"a b@v.test", "Delivered-To: \"a b\"@v.test\n", true},
    /* what Postfix does not take for one either */
    {"bob@v.test", "Delivered-To: <bob@v.test>\n\n", false},
    {"bob@v.test", "Delivered-To: bob@v.test (c)\n\n", false},
    {"bob@v.test", "Delivered-To:\n bob@v.test\n\n", false},
    {"bob@v.test", "A: b\n Delivered-To: bob@v.test\n\n", false},
    {"bob@v.test", "Delivered-To: rob@v.test\n\n", false},
    {"bob@v.test", "X-Delivered-To: bob@v.test\n\n", false},
    /* not in the header section */
    {"bob@v.test", "Subject: t\n\nDelivered-To: bob@v.test\n", false},
    {"bob@v.test", "\nDelivered-To: bob@v.test\n", false},
    {"bob@v.test", "Subject: t\nno header\nDelivered-To: bob@v.test\n", false},
    {"bob@v.test", " x\nDelivered-To: bob@v.test\n", false},
    {"bob@v.test", "", false},
};

static bool scan(const char *address, struct slice content, size_t cut)
{
    struct delivered d;
    bool found;

    delivered_init(&d, address);
    delivered_feed(&d, slice_head(content, cut));
    delivered_feed(&d, slice_from(content, cut));
    found = d.found;
    assert_true(!found || d.over);
    delivered_release(&d);
    return found;
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t cut = 0; cut <= strlen(rows[i].content); cut++)
            if (scan(rows[i].address, slice_str(rows[i].content), cut) != rows[i].found)
                fail_msg("row %zu cut at %zu", i, cut);
}

static void test_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct delivered d;

        delivered_init(&d, rows[i].address);
        for (const char *p = rows[i].content; *p != '\0'; p++)
            delivered_feed(&d, slice_make(p, 1));
        assert_int_equal(d.found, rows[i].found);
        delivered_release(&d);
    }
}

/* Lines of any length cost no more memory than a match needs, and one with the address at its start is no match. */
static void test_long_lines(void **state)
{
    static char line[200000];
    struct delivered d;

    (void)state;
    delivered_init(&d, "bob@v.test");
    memset(line, ' ', sizeof line);
    delivered_feed(&d, slice_str("Delivered-To: bob@v.test"));
    delivered_feed(&d, slice_make(line, sizeof line));
    delivered_feed(&d, slice_str("x\n"));
    assert_false(d.over);
    assert_true(d.line.cap < 4096);
    delivered_feed(&d, slice_str("Delivered-To: bob@v.test\n"));
    assert_true(d.found);
    delivered_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_long_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

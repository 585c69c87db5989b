/* smtp_cmd.h: command lines. */
#include "core/base/assert.h"
#include "proto/grammar/smtp_cmd.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

static void check(struct slice line, enum smtp_cmd_result want, const char *verb, const char *args)
{
    struct smtp_cmd cmd = {SLICE_LIT("x"), SLICE_LIT("x")};

    assert_int_equal(smtp_cmd_parse(line, &cmd), want);
    if (!slice_eq(cmd.verb, slice_str(verb)) || !slice_eq(cmd.args, slice_str(args)))
        fail_msg("[%.*s]: [%.*s] [%.*s]", (int)line.n, line.p, (int)cmd.verb.n, cmd.verb.p, (int)cmd.args.n,
                 cmd.args.p);
}

static void test_parse(void **state)
{
    (void)state;
    check(SLICE_LIT("QUIT"), SMTP_CMD_OK, "QUIT", "");
    check(SLICE_LIT("  quit  "), SMTP_CMD_OK, "quit", "");
    check(SLICE_LIT("EHLO a.b"), SMTP_CMD_OK, "EHLO", "a.b");
    check(SLICE_LIT("EHLO\t a  b \t"), SMTP_CMD_OK, "EHLO", "a  b");
    check(SLICE_LIT("MAIL FROM:<\"a  b\"@c> SIZE=1"), SMTP_CMD_OK, "MAIL", "FROM:<\"a  b\"@c> SIZE=1");
    check(SLICE_LIT("x"), SMTP_CMD_OK, "x", "");
    check(SLICE_LIT("\xff\x01"), SMTP_CMD_OK, "\xff\x01", "");
}

static void test_parse_bad(void **state)
{
    (void)state;
    check(SLICE_LIT(""), SMTP_CMD_EMPTY, "", "");
    check(SLICE_LIT(" \t "), SMTP_CMD_EMPTY, "", "");
    check(SLICE_LIT("NOOP\0"), SMTP_CMD_BAD_BYTES, "", "");
    check(SLICE_LIT("\0"), SMTP_CMD_BAD_BYTES, "", "");
    check(SLICE_LIT("MAIL FROM:<a\0b@c>"), SMTP_CMD_BAD_BYTES, "", "");
    check(SLICE_LIT("NOOP\r"), SMTP_CMD_BAD_BYTES, "", "");
    check(SLICE_LIT("NOOP\rRSET"), SMTP_CMD_BAD_BYTES, "", "");
    check(SLICE_LIT("NOOP\nRSET"), SMTP_CMD_BAD_BYTES, "", "");
}

static void test_keyword(void **state)
{
    static const struct {
        const char *args, *keyword, *path; /* NULL: refused */
    } rows[] = {
        {"FROM:<a@b>", "FROM", "<a@b>"},
        {"from:<a@b> SIZE=1", "FROM", "<a@b> SIZE=1"},
        {"FROM: <a@b>", "FROM", "<a@b>"},
        {"FROM:\t <a@b>", "FROM", "<a@b>"},
        {"To:x", "TO", "x"},
        {"FROM:", "FROM", ""},
        {"FROM: ", "FROM", ""},
        {"FROM :<a@b>", "FROM", NULL},
        {"FROM", "FROM", NULL},
        {"<a@b>", "FROM", NULL},
        {"", "FROM", NULL},
        {"TO:<a>", "FROM", NULL},
        {"FROMM:<a>", "FROM", NULL},
        {"FRO:<a>", "FROM", NULL},
    };

    struct slice none;

    (void)state;
    assert_false(smtp_cmd_keyword(slice_make("FROM:<a@b>", 4), "FROM", &none));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice path = SLICE_EMPTY;
        bool ok = smtp_cmd_keyword(slice_str(rows[i].args), rows[i].keyword, &path);

        if (ok != (rows[i].path != NULL) || (ok && !slice_eq(path, slice_str(rows[i].path))))
            fail_msg("[%s] %s", rows[i].args, rows[i].keyword);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_bad),
        cmocka_unit_test(test_keyword),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

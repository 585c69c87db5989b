/* smtp_param.h: parameters of MAIL and RCPT. The replies are those of Postfix 3.7. */
#include "core/base/assert.h"
#include "proto/grammar/smtp_param.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

#define ALL (SMTP_EXT_SIZE | SMTP_EXT_8BITMIME | SMTP_EXT_DSN | SMTP_EXT_SMTPUTF8 | SMTP_EXT_AUTH)

static const char x100[] =
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

static void check_text(const char *got, const char *want)
{
    if (want == NULL)
        assert_null(got);
    else
        assert_string_equal(got, want);
}

static void test_mail_good(void **state)
{
    char envid[200];
    const struct {
        const char *in;
        struct smtp_mail_params want;
    } rows[] = {
        {"", {.size = 0}},
        {"   ", {.size = 0}},
        {"SIZE=1234", {.size = 1234}},
        {"size=0", {.size = 0}},
        {"SIZE=9223372036854775807", {.size = 9223372036854775807u}},
        {"BODY=7BIT", {.body = SMTP_BODY_TYPE_7BIT}},
        {"body=8bitmime", {.body = SMTP_BODY_TYPE_8BITMIME}},
        {"RET=full", {.ret = SMTP_RET_FULL}},
        {"RET=HDRS", {.ret = SMTP_RET_HDRS}},
        {"ENVID=QQ+2B+3D314159", {.envid = "QQ+=314159"}},
        {"ENVID=a+20b", {.envid = "a b"}},
        {envid, {.envid = envid + 6}},
        {"SMTPUTF8", {.smtputf8 = true}},
        {"smtputf8", {.smtputf8 = true}},
        {"AUTH=<>", {.auth = "<>"}},
        {"AUTH=e+3Dmc2@example.com", {.auth = "e=mc2@example.com"}},
        {"SIZE=5\tBODY=8BITMIME  RET=HDRS ENVID=x SMTPUTF8 AUTH=<>",
         {5, SMTP_BODY_TYPE_8BITMIME, SMTP_RET_HDRS, true, "x", "<>"}},
    };

    (void)state;
    snprintf(envid, sizeof envid, "ENVID=%s", x100);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {NULL, 0};
        struct smtp_mail_params got;
        struct status why;

        if (!smtp_params_mail(slice_str(rows[i].in), ALL, &arena, &got, &why))
            fail_msg("%s: %d %s %s", rows[i].in, why.code, why.dsn, why.text);
        assert_true(status_is_ok(&why));
        assert_int_equal(got.size, rows[i].want.size);
        assert_int_equal(got.body, rows[i].want.body);
        assert_int_equal(got.ret, rows[i].want.ret);
        assert_int_equal(got.smtputf8, rows[i].want.smtputf8);
        check_text(got.envid, rows[i].want.envid);
        check_text(got.auth, rows[i].want.auth);
        arena_clear(&arena);
    }
}

static void check_why(const char *in, const struct status *why, enum status_reason reason, const char *reply)
{
    char text[500];

    snprintf(text, sizeof text, "%d %s %s", why->code, why->dsn, why->text);
    if (strcmp(text, reply) != 0)
        fail_msg("%s: [%s], not [%s]", in, text, reply);
    assert_int_equal(why->reason, reason);
    assert_int_equal(why->cls, STATUS_PERMFAIL);
}

#define SIZE_BAD  "501 5.5.4 Bad message size syntax"
#define RET_BAD   "501 5.5.4 Bad RET parameter syntax"
#define ENVID_BAD "501 5.5.4 Bad ENVID parameter syntax"
#define AUTH_BAD  "501 5.5.4 Bad AUTH parameter syntax"
#define UNKNOWN   "555 5.5.4 Unsupported option: "

static void test_mail_bad(void **state)
{
    char envid[200], longest[700], longest_reply[700];
    const struct {
        const char *in, *reply;
    } rows[] = {
        {"SIZE=", SIZE_BAD},
        {"SIZE=x", SIZE_BAD},
        {"SIZE=-1", SIZE_BAD},
        {"SIZE=1,BODY=7BIT", SIZE_BAD},
        {"SIZE=1 SIZE=1", SIZE_BAD},
        {"SIZE=1 size=2", SIZE_BAD},
        {"SIZE=1 BODY=7BIT SIZE=1", SIZE_BAD},
        {"SIZE", UNKNOWN "SIZE"},
        {"BODY=", UNKNOWN "BODY="},
        {"BODY=BINARYMIME", UNKNOWN "BODY=BINARYMIME"},
        {"BODY=7BIT BODY=8BITMIME", "501 5.5.4 Bad BODY parameter syntax"},
        {"RET=", RET_BAD},
        {"RET=x", RET_BAD},
        {"RET=HDRS RET=HDRS", RET_BAD},
        {"RET", UNKNOWN "RET"},
        {"ENVID=", ENVID_BAD},
        {"ENVID=a ENVID=b", ENVID_BAD},
        {"ENVID=a+zz", ENVID_BAD},
        {"ENVID=a+0Ab", ENVID_BAD},
        {"ENVID=a+00b", ENVID_BAD},
        {"ENVID=+C3+A9", ENVID_BAD},
        {"ENVID=\xc3\xa9", ENVID_BAD},
        {envid, ENVID_BAD},
        {"SMTPUTF8=", UNKNOWN "SMTPUTF8="},
        {"SMTPUTF8=x", UNKNOWN "SMTPUTF8=x"},
        {"SMTPUTF8 SMTPUTF8", "501 5.5.4 Bad SMTPUTF8 parameter syntax"},
        {"AUTH=", AUTH_BAD},
        {"AUTH=a=b", AUTH_BAD},
        {"AUTH", UNKNOWN "AUTH"},
        {"NOTIFY=NEVER", UNKNOWN "NOTIFY=NEVER"},
        {"SIZE=1 FOO=bar", UNKNOWN "FOO=bar"},
        {"=", UNKNOWN "="},
        {longest, longest_reply},
    };

    (void)state;
    snprintf(envid, sizeof envid, "ENVID=%sx", x100);
    memset(longest, 'y', 600);
    longest[600] = '\0';
    snprintf(longest_reply, sizeof longest_reply, UNKNOWN "%.300s", longest);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {NULL, 0};
        struct smtp_mail_params got;
        struct status why;

        assert_false(smtp_params_mail(slice_str(rows[i].in), ALL, &arena, &got, &why));
        check_why(rows[i].in, &why, STATUS_SYNTAX, rows[i].reply);
        arena_clear(&arena);
    }
}

static void test_mail_too_big(void **state)
{
    struct arena arena = {NULL, 0};
    struct smtp_mail_params got;
    struct status why;

    (void)state;
    assert_false(smtp_params_mail(SLICE_LIT("SIZE=9223372036854775808"), ALL, &arena, &got, &why));
    check_why("SIZE", &why, STATUS_MESSAGE_TOO_BIG, "552 5.3.4 Message size exceeds file system imposed limit");
    assert_false(smtp_params_mail(SLICE_LIT("SIZE=99999999999999999999999999"), ALL, &arena, &got, &why));
    assert_int_equal(why.code, 552);
    arena_clear(&arena);
}

static void test_not_enabled(void **state)
{
    static const struct {
        const char *in, *reply;
        unsigned off;
        bool rcpt;
    } rows[] = {
        {"SIZE=1", UNKNOWN "SIZE=1", SMTP_EXT_SIZE, false},
        {"BODY=7BIT", UNKNOWN "BODY=7BIT", SMTP_EXT_8BITMIME, false},
        {"SMTPUTF8", UNKNOWN "SMTPUTF8", SMTP_EXT_SMTPUTF8, false},
        {"AUTH=<>", UNKNOWN "AUTH=<>", SMTP_EXT_AUTH, false},
        {"RET=FULL", "501 5.7.1 DSN support is disabled", SMTP_EXT_DSN, false},
        {"ENVID=x", "501 5.7.1 DSN support is disabled", SMTP_EXT_DSN, false},
        {"NOTIFY=NEVER", "501 5.7.1 DSN support is disabled", SMTP_EXT_DSN, true},
        {"ORCPT=rfc822;a", "501 5.7.1 DSN support is disabled", SMTP_EXT_DSN, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {NULL, 0};
        struct smtp_mail_params mail;
        struct smtp_rcpt_params rcpt;
        struct status why;
        struct slice in = slice_str(rows[i].in);
        unsigned some = ALL & ~rows[i].off;

        assert_false(rows[i].rcpt ? smtp_params_rcpt(in, some, &arena, &rcpt, &why)
                                  : smtp_params_mail(in, some, &arena, &mail, &why));
        check_why(rows[i].in, &why, STATUS_SYNTAX, rows[i].reply);
        assert_true(rows[i].rcpt ? smtp_params_rcpt(in, rows[i].off, &arena, &rcpt, &why)
                                 : smtp_params_mail(in, rows[i].off, &arena, &mail, &why));
        arena_clear(&arena);
    }
}

static void test_rcpt_good(void **state)
{
    char longest[600];
    const struct {
        const char *in;
        unsigned notify;
        const char *orcpt;
    } rows[] = {
        {"", 0, NULL},
        {"NOTIFY=NEVER", SMTP_NOTIFY_NEVER, NULL},
        {"notify=never", SMTP_NOTIFY_NEVER, NULL},
        {"NOTIFY=SUCCESS,FAILURE,DELAY", SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY, NULL},
        {"NOTIFY=delay", SMTP_NOTIFY_DELAY, NULL},
        {"NOTIFY=SUCCESS,SUCCESS", SMTP_NOTIFY_SUCCESS, NULL},
        {"NOTIFY=NEVER,NEVER", SMTP_NOTIFY_NEVER, NULL},
        {"ORCPT=rfc822;a+2Bb@c", 0, "rfc822;a+b@c"},
        {"ORCPT=RFC822;a@c NOTIFY=FAILURE", SMTP_NOTIFY_FAILURE, "RFC822;a@c"},
        {longest, 0, longest + 6},
        {"ORCPT=rfc822;a+20b;c@d", 0, "rfc822;a b;c@d"},
        {"ORCPT=rfc822;", 0, "rfc822;"},
        {"ORCPT=x400;abc", 0, "x400;abc"},
        {"ORCPT=utf-8;a\\x{E9}@b", 0, "utf-8;a\xc3\xa9@b"},
        {"ORCPT=UTF-8;a\\x{20AC}\\x{1F600}@b", 0, "UTF-8;a\xe2\x82\xac\xf0\x9f\x98\x80@b"},
        {"ORCPT=utf-8;\\x{2B}\\x{3D}\\x{5C}\\x{20}x", 0, "utf-8;+=\\ x"},
        {"ORCPT=utf-8;a\\x{e9}@b", 0, "utf-8;a\xc3\xa9@b"},
        {"ORCPT=utf-8;\xc3\xa9@b", 0, "utf-8;\xc3\xa9@b"},
    };

    (void)state;
    snprintf(longest, sizeof longest, "ORCPT=rfc822;%0493d", 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {NULL, 0};
        struct smtp_rcpt_params got;
        struct status why;

        if (!smtp_params_rcpt(slice_str(rows[i].in), ALL, &arena, &got, &why))
            fail_msg("%s: %d %s %s", rows[i].in, why.code, why.dsn, why.text);
        assert_int_equal(got.notify, rows[i].notify);
        check_text(got.orcpt, rows[i].orcpt);
        arena_clear(&arena);
    }
}

#define NOTIFY_BAD "501 5.5.4 Error: Bad NOTIFY parameter syntax"
#define ORCPT_BAD  "501 5.5.4 Error: Bad ORCPT parameter syntax"

static void test_rcpt_bad(void **state)
{
    char longest[600];
    const struct {
        const char *in, *reply;
    } rows[] = {
        {"NOTIFY=", NOTIFY_BAD},
        {"NOTIFY=x", NOTIFY_BAD},
        {"NOTIFY=NEVER,SUCCESS", NOTIFY_BAD},
        {"NOTIFY=SUCCESS,NEVER", NOTIFY_BAD},
        {"NOTIFY=SUCCESS,", NOTIFY_BAD},
        {"NOTIFY=,SUCCESS", NOTIFY_BAD},
        {"NOTIFY=SUCCESS NOTIFY=DELAY", NOTIFY_BAD},
        {"NOTIFY", UNKNOWN "NOTIFY"},
        {"ORCPT=", ORCPT_BAD},
        {"ORCPT=a@b", ORCPT_BAD},
        {"ORCPT=;a", ORCPT_BAD},
        {"ORCPT=a@b;c", ORCPT_BAD},
        {"ORCPT=rfc822;a+zz", ORCPT_BAD},
        {"ORCPT=rfc822;a+0D+0Ab", ORCPT_BAD},
        {"ORCPT=rfc822;a+00b", ORCPT_BAD},
        {"ORCPT=rfc822;a=b", ORCPT_BAD},
        {"ORCPT=rfc822;\xc3\xa9", ORCPT_BAD},
        {"ORCPT=rfc822;+C3+A9", ORCPT_BAD},
        {"ORCPT=rfc822;a ORCPT=rfc822;a", ORCPT_BAD},
        {"ORCPT=utf-8;a\\x{110000}", ORCPT_BAD},
        {"ORCPT=utf-8;a\\x{D800}", ORCPT_BAD},
        {"ORCPT=utf-8;a\\x{0A}", ORCPT_BAD},
        {"ORCPT=utf-8;a\\x{0}", ORCPT_BAD},
        {"ORCPT=utf-8;a\\x{7F}", ORCPT_BAD},
        {"ORCPT=utf-8;a\\x{}", ORCPT_BAD},
        {"ORCPT=utf-8;a\\x{E9", ORCPT_BAD},
        {"ORCPT=utf-8;a\\x{00000E9}", ORCPT_BAD},
        {"ORCPT=utf-8;a\\xE9", ORCPT_BAD},
        {"ORCPT=utf-8;a\\", ORCPT_BAD},
        {"ORCPT=utf-8;a+2B", ORCPT_BAD},
        {"ORCPT=utf-8;a=b", ORCPT_BAD},
        {"ORCPT=utf-8;\xff", ORCPT_BAD},
        {"ORCPT=utf-8;a\x01", ORCPT_BAD},
        {longest, ORCPT_BAD},
        {"SIZE=1", UNKNOWN "SIZE=1"},
    };

    (void)state;
    snprintf(longest, sizeof longest, "ORCPT=rfc822;%0494d", 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {NULL, 0};
        struct smtp_rcpt_params got;
        struct status why;

        assert_false(smtp_params_rcpt(slice_str(rows[i].in), ALL, &arena, &got, &why));
        check_why(rows[i].in, &why, STATUS_SYNTAX, rows[i].reply);
        arena_clear(&arena);
    }
}

static void test_orcpt_needs_utf8(void **state)
{
    struct arena arena = {NULL, 0};
    struct smtp_rcpt_params got;
    struct status why;

    (void)state;
    assert_false(smtp_params_rcpt(SLICE_LIT("ORCPT=utf-8;\xc3\xa9@b"), SMTP_EXT_DSN, &arena, &got, &why));
    assert_true(smtp_params_rcpt(SLICE_LIT("ORCPT=utf-8;\\x{E9}@b"), SMTP_EXT_DSN, &arena, &got, &why));
    assert_string_equal(got.orcpt, "utf-8;\xc3\xa9@b");
    arena_clear(&arena);
}

static void test_want_utf8(void **state)
{
    static const struct {
        const char *args;
        bool want;
    } rows[] = {
        {"<a@b> SMTPUTF8", true},
        {"<a@b> SIZE=1 smtputf8 BODY=7BIT", true},
        {"<a@b>\tSMTPUTF8", true},
        {"<a@b> ENVID=\"x SMTPUTF8", true}, /* a quote is nothing special behind the path */
        {"<\"a \\\" b\"@c> SMTPUTF8", true},
        {"< a@b > SMTPUTF8", true},
        {"<a@b>", false},
        {"", false},
        {"SMTPUTF8", false},
        {"<\" SMTPUTF8 \"@c>", false},
        {"<\"\\\" SMTPUTF8 \"@c>", false},
        {"<a@b> SMTPUTF8=", false},
        {"<a@b> XSMTPUTF8", false},
        {"<\"a SMTPUTF8", false},
        {"<\"a\\", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (smtp_params_want_utf8(slice_str(rows[i].args)) != rows[i].want)
            fail_msg("%s", rows[i].args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mail_good),        cmocka_unit_test(test_mail_bad),  cmocka_unit_test(test_mail_too_big),
        cmocka_unit_test(test_not_enabled),      cmocka_unit_test(test_rcpt_good), cmocka_unit_test(test_rcpt_bad),
        cmocka_unit_test(test_orcpt_needs_utf8), cmocka_unit_test(test_want_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

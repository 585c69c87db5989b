/* What is put before a message and done to its lines: whole, byte by byte, and cut at each point. */
#include "unit/cmocka_all.h"

#include "core/conf/conf.h"
#include "delivery/copy.h"

#include <stdlib.h>
#include <time.h>

#define F_FROM      CONF_PIPE_FLAG_FROM_LINE
#define F_RETURN    CONF_PIPE_FLAG_RETURN_PATH
#define F_ORIGINAL  CONF_PIPE_FLAG_ORIGINAL_TO
#define F_DELIVERED CONF_PIPE_FLAG_DELIVERED_TO
#define F_BLANK     CONF_PIPE_FLAG_BLANK_LINE
#define F_DOT       CONF_PIPE_FLAG_DOT
#define F_QUOTE     CONF_PIPE_FLAG_QUOTE_FROM
#define STAMP       "Sun Nov 22 17:51:46 2026"

struct row {
    const char *what;
    unsigned flags;
    const char *sender, *original_to, *delivered_to, *eol, *content, *expected;
};

/* The content that the real Postfix was given, and what its pipe(8) made of it. */
#define CONTENT "Subject: t\n\n.dot\n..dot\nFrom x\n>From y\n from z\nFro\nFrom\nend\n"

static const struct row rows[] = {
    {"nothing", 0, "s@x.test", "o@x.test", "r@x.test", "\n", CONTENT, CONTENT},
    {"order of headers", F_FROM | F_RETURN | F_ORIGINAL | F_DELIVERED, "s@x.test", "o@x.test", "r@x.test", "\n",
     "A: b\n",
     "From s@x.test  " STAMP "\nReturn-Path: <s@x.test>\nX-Original-To: o@x.test\nDelivered-To: r@x.test\nA: b\n"},
    {"quoted addresses", F_FROM | F_RETURN | F_ORIGINAL | F_DELIVERED, "q s@S.test", "a b@x.test", "c,d@x.test", "\n",
     "",
     "From \"q s\"@S.test  " STAMP
     "\nReturn-Path: <\"q s\"@S.test>\nX-Original-To: \"a b\"@x.test\nDelivered-To: \"c,d\"@x.test\n"},
    {"replaced null sender", F_FROM | F_RETURN, "MAILER-DAEMON", NULL, "r@x.test", "\n", "",
     "From MAILER-DAEMON  " STAMP "\nReturn-Path: <MAILER-DAEMON>\n"},
    {"empty null sender", F_FROM | F_RETURN, "", NULL, "r@x.test", "\n", "",
     "From MAILER-DAEMON  " STAMP "\nReturn-Path: <>\n"},
    {"no original recipient", F_ORIGINAL | F_DELIVERED, "", NULL, "r@x.test", "\n", "", "Delivered-To: r@x.test\n"},
    {"dots and From", F_DOT | F_QUOTE | F_BLANK, "", NULL, "r", "\n", CONTENT,
     "Subject: t\n\n..dot\n...dot\n>From x\n>From y\n from z\nFro\nFrom\nend\n\n"},
    {"dots only", F_DOT, "", NULL, "r", "\n", ".\n..\nx.\n", "..\n...\nx.\n"},
    {"From at the very start", F_QUOTE, "", NULL, "r", "\n", "From a\nFrom \nFroM \n", ">From a\n>From \nFroM \n"},
    {"eol", F_RETURN | F_BLANK, "s@x.test", NULL, "r", "\r\n", "A: b\n\nx\n",
     "Return-Path: <s@x.test>\r\nA: b\r\n\r\nx\r\n\r\n"},
    {"long eol", 0, "", NULL, "r", "<eol>", "a\n\nb\n", "a<eol><eol>b<eol>"},
    {"last line without an end", 0, "", NULL, "r", "\n", "a\nb", "a\nb\n"},
    {"the same with quoting", F_QUOTE | F_DOT, "", NULL, "r", "\r\n", "a\nFrom", "a\r\nFrom\r\n"},
    {"From and nothing more", F_QUOTE, "", NULL, "r", "\n", "From ", ">From \n"},
    {"nothing at all", F_BLANK, "", NULL, "r", "\n", "", "\n"},
};

static void begin(const struct row *r, struct copy *c, struct buf *out)
{
    const struct copy_opts o = {r->flags,       slice_str(r->eol), r->sender,
                                r->original_to, r->delivered_to,   1795369906ull * 1000000};

    copy_begin(c, &o, out);
}

static void check(const struct row *r, struct buf *out)
{
    if (strcmp(buf_cstr(out), r->expected) != 0)
        fail_msg("%s: got\n%s\nnot\n%s", r->what, buf_cstr(out), r->expected);
    buf_release(out);
}

static void test_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf out = {0};
        struct copy c;

        begin(&rows[i], &c, &out);
        copy_piece(&c, slice_str(rows[i].content), &out);
        copy_end(&c, &out);
        check(&rows[i], &out);
    }
}

static void test_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf out = {0};
        struct copy c;

        begin(&rows[i], &c, &out);
        for (const char *p = rows[i].content; *p != '\0'; p++)
            copy_piece(&c, slice_make(p, 1), &out);
        copy_end(&c, &out);
        check(&rows[i], &out);
    }
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t cut = 0; cut <= strlen(rows[i].content); cut++) {
            struct slice all = slice_str(rows[i].content);
            struct buf out = {0};
            struct copy c;

            begin(&rows[i], &c, &out);
            copy_piece(&c, slice_head(all, cut), &out);
            copy_piece(&c, slice_from(all, cut), &out);
            copy_end(&c, &out);
            check(&rows[i], &out);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_cut_anywhere),
    };

    setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

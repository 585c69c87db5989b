/* smtp_body.h: DATA and BDAT decoding, whole, byte by byte and split everywhere; every known way to smuggle. */
#include "core/base/assert.h"
#include "proto/grammar/smtp_body.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

struct outcome {
    struct buf content;
    bool end, bare_lf, bare_cr;
    size_t consumed;
};

/* Feeds [0,a), [a,b), [b,n) and so on: a cut of each piece of `step` bytes after the first `a`. */
static struct outcome decode(struct slice in, size_t a, size_t step, bool dots)
{
    struct outcome o = {.end = false};
    struct smtp_body body;
    size_t at = 0, next = a;

    smtp_body_init(&body);
    while (at < in.n && !o.end) {
        size_t n = next < in.n ? next - at : in.n - at, used = n;
        struct slice piece = slice_make(in.p + at, n);

        if (dots)
            o.end = smtp_body_feed(&body, piece, &o.content, &used) == SMTP_BODY_END;
        else
            smtp_body_chunk(&body, piece, &o.content);
        assert_true(o.end ? used <= n : used == n);
        at += used;
        next = at + (step ? step : in.n);
    }
    if (!dots)
        smtp_body_finish(&body, &o.content);
    o.bare_lf = body.seen_bare_lf;
    o.bare_cr = body.seen_bare_cr;
    o.consumed = at;
    return o;
}

static void check_same(struct slice in, struct outcome *got, const struct outcome *want)
{
    if (got->end != want->end || got->bare_lf != want->bare_lf || got->bare_cr != want->bare_cr ||
        got->consumed != want->consumed || !slice_eq(buf_slice(&got->content), buf_slice(&want->content)))
        fail_msg("[%.*s]: end %d lf %d cr %d consumed %zu content [%s]", (int)in.n, in.p, got->end, got->bare_lf,
                 got->bare_cr, got->consumed, buf_cstr(&got->content));
    buf_release(&got->content);
}

/* Every way of cutting the input gives what the whole gives; releases `whole`. */
static void check_splits(struct slice in, bool dots, struct outcome *whole)
{
    for (size_t step = 1; step <= 3; step++) {
        struct outcome o = decode(in, step, step, dots);

        check_same(in, &o, whole);
    }
    for (size_t a = 0; a <= in.n; a++) {
        struct outcome o = decode(in, a, 0, dots);

        check_same(in, &o, whole);
    }
    buf_release(&whole->content);
}

struct row {
    const char *in;
    const char *content; /* NULL: the end must not be found */
    bool bare_lf, bare_cr;
    const char *rest; /* what follows the end */
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct slice in = slice_str(rows[i].in);
        struct outcome whole = decode(in, in.n, 0, true);

        if (whole.end != (rows[i].content != NULL))
            fail_msg("row %zu: end %d", i, whole.end);
        if (whole.end) {
            assert_string_equal(buf_cstr(&whole.content), rows[i].content);
            assert_string_equal(in.p + whole.consumed, rows[i].rest ? rows[i].rest : "");
            assert_int_equal(whole.bare_lf, rows[i].bare_lf);
            assert_int_equal(whole.bare_cr, rows[i].bare_cr);
        }
        check_splits(in, true, &whole);
    }
}

static void test_plain(void **state)
{
    static const struct row rows[] = {
        {".\r\n", "", false, false, NULL},
        {"\r\n.\r\n", "\n", false, false, NULL},
        {"a\r\n.\r\n", "a\n", false, false, NULL},
        {"a: b\r\n\r\nc\r\n.\r\n", "a: b\n\nc\n", false, false, NULL},
        {"a\r\n.\r\nQUIT\r\n", "a\n", false, false, "QUIT\r\n"},
        {"a\r\n.\r\n.\r\n", "a\n", false, false, ".\r\n"},
        {".\r\nMAIL FROM:<>\r\n", "", false, false, "MAIL FROM:<>\r\n"},
        {"..\r\n.\r\n", ".\n", false, false, NULL},
        {"...\r\n.\r\n", "..\n", false, false, NULL},
        {"..a\r\n.b\r\n.\r\n", ".a\nb\n", false, false, NULL},
        {"a.\r\n.\r\n", "a.\n", false, false, NULL},
        {"a\r\n..\r\n.\r\n", "a\n.\n", false, false, NULL},
        {"\xff\xfe\x80\r\n.\r\n", "\xff\xfe\x80\n", false, false, NULL},
        {"a\r\n", NULL, false, false, NULL},
        {"a", NULL, false, false, NULL},
        {"", NULL, false, false, NULL},
        {".", NULL, false, false, NULL},
        {".\r", NULL, false, false, NULL},
        {"a.\r\n", NULL, false, false, NULL},
    };

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

/* What others have taken for an end of data, and what stray CR and LF become. Followed by a true end. */
static void test_smuggling(void **state)
{
#define E "\r\n.\r\n"
    static const struct row rows[] = {
        {"a\n.\nb" E, "a\nb\n", true, false, NULL},
        {"a\n.\r\nb" E, "a\nb\n", true, false, NULL},
        {"a\r\n.\nb" E, "a\nb\n", true, false, NULL},
        {"a\r.\rb" E, "a . b\n", false, true, NULL},
        {"a\r.\r\nb" E, "a .\nb\n", false, true, NULL},
        {"a\r\n.\rb" E, "a\n b\n", false, true, NULL},
        {"a\r\n.\r.\r\nb" E, "a\n .\nb\n", false, true, NULL},
        {"a\r\n.\r\r\nb" E, "a\n \nb\n", false, true, NULL},
        {"a\r\r\n.\r\nb", "a \n", false, true, "b"},
        {"a\r\n\r.\r\nb" E, "a\n .\nb\n", false, true, NULL},
        {"a\n\r.\r\nb" E, "a\n .\nb\n", true, true, NULL},
        {"a\n\n.\r\nb" E, "a\n\nb\n", true, false, NULL},
        {"a\r\n\n.\r\nb" E, "a\n\nb\n", true, false, NULL},
        {"a\n\r\n.\r\nb", "a\n\n", true, false, "b"},
        {".\nb" E, "b\n", true, false, NULL},
        {"\n.\r\nb" E, "\nb\n", true, false, NULL},
        {".\n.\r\nb" E, "b\n", true, false, NULL},
        {"a\n.\n.\r\nb" E, "a\nb\n", true, false, NULL},
        {"a\r\n.\n.\r\nb" E, "a\nb\n", true, false, NULL},
        {"a\n.\r\n.\r\nb", "a\n", true, false, "b"},
        {"a\r\n.\n\r\n.\r\nb", "a\n\n", true, false, "b"},
        {"a\n..\nb" E, "a\n.\nb\n", true, false, NULL},
        {"a\n..x\nb" E, "a\n.x\nb\n", true, false, NULL},
        {"a\n.x\nb" E, "a\nx\nb\n", true, false, NULL},
        {"a\r\n. \r\nb" E, "a\n \nb\n", false, false, NULL},
        {"a\r\n.\t\r\nb" E, "a\n\t\nb\n", false, false, NULL},
        {"a\rb" E, "a b\n", false, true, NULL},
        {"a\r\rb" E, "a  b\n", false, true, NULL},
        {"\r" E, " \n", false, true, NULL},
        {"\ra" E, " a\n", false, true, NULL},
        {"a\n\r" E, "a\n \n", true, true, NULL},
        {"a\nb" E, "a\nb\n", true, false, NULL},
        {"\n" E, "\n\n", true, false, NULL},
        {"a\n.\nMAIL FROM:<x@y>\nRCPT TO:<z@w>\nDATA\nb" E, "a\nMAIL FROM:<x@y>\nRCPT TO:<z@w>\nDATA\nb\n", true, false,
         NULL},
        {"a\n.\n", NULL, false, false, NULL},
        {"a\n.\r\n", NULL, false, false, NULL},
        {"a\r\n.\n", NULL, false, false, NULL},
        {"a\r\n.\r", NULL, false, false, NULL},
        {"a\r.\r", NULL, false, false, NULL},
    };
#undef E

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static void test_nul(void **state)
{
    struct slice in = SLICE_LIT("a\0b\r\n\0\r\n.\0\r\n.\r\n"), want = SLICE_LIT("a\0b\n\0\n\0\n");
    struct outcome whole = decode(in, in.n, 0, true);

    (void)state;
    assert_true(whole.end);
    assert_true(slice_eq(buf_slice(&whole.content), want));
    check_splits(in, true, &whole);
}

/* After the end nothing is taken any more. */
static void test_after_end(void **state)
{
    struct smtp_body body;
    struct buf out = {.max = 0};
    size_t used = 99;

    (void)state;
    smtp_body_init(&body);
    assert_int_equal(smtp_body_feed(&body, SLICE_LIT(".\r\nx"), &out, &used), SMTP_BODY_END);
    assert_int_equal(used, 3);
    assert_int_equal(smtp_body_feed(&body, SLICE_LIT("more"), &out, &used), SMTP_BODY_END);
    assert_int_equal(used, 0);
    assert_int_equal(buf_len(&out), 0);
    buf_release(&out);
}

/* The rules of smtp_body.h said another way: over the whole text, line by line. */
static struct outcome reference(struct slice in)
{
    struct outcome o = {.consumed = in.n};
    bool after_crlf = true;
    size_t at = 0;

    while (at < in.n) {
        size_t lf = slice_find(slice_from(in, at), '\n');
        struct slice line = slice_head(slice_from(in, at), lf);
        bool crlf = lf != SLICE_NOT_FOUND && line.n > 0 && line.p[line.n - 1] == '\r', lone;

        if (lf == SLICE_NOT_FOUND)
            break; /* what an unfinished line comes to is not compared */
        at += lf + 1;
        line.n -= crlf;
        lone = slice_eq(line, SLICE_LIT("."));
        if (lone && crlf && after_crlf) {
            o.end = true;
            o.consumed = at;
            return o;
        }
        o.bare_lf = o.bare_lf || !crlf;
        after_crlf = crlf;
        if (lone)
            continue;
        if (line.n > 0 && line.p[0] == '.')
            line = slice_from(line, 1);
        for (size_t i = 0; i < line.n; i++) {
            o.bare_cr = o.bare_cr || line.p[i] == '\r';
            buf_add_char(&o.content, line.p[i] == '\r' ? ' ' : line.p[i]);
        }
        buf_add_char(&o.content, '\n');
    }
    return o;
}

/* Does "\r\n" + in contain CRLF.CRLF, and where does that end? 0: no. */
static size_t find_end(struct slice in)
{
    char text[64] = "\r\n";
    const char *at;

    memcpy(text + 2, in.p, in.n);
    at = memmem(text, in.n + 2, "\r\n.\r\n", 5);
    return at ? (size_t)(at - text) + 3 : 0;
}

/* All texts of up to nine of these characters. */
static void test_exhaustive(void **state)
{
    static const char alphabet[] = {'a', '.', '\r', '\n'};
    char text[16];

    (void)state;
    for (size_t n = 1; n <= 9; n++)
        for (size_t code = 0; code < (size_t)1 << (2 * n); code++) {
            struct slice in = slice_make(text, n);
            struct outcome want, got;
            size_t end;

            for (size_t i = 0; i < n; i++)
                text[i] = alphabet[code >> (2 * i) & 3];
            got = decode(in, n, 0, true);
            end = find_end(in);
            assert_int_equal(got.end, end != 0);
            assert_null(memchr(buf_cstr(&got.content), '\r', buf_len(&got.content)));
            if (got.end || text[n - 1] == '\n') {
                want = reference(in);
                assert_int_equal(want.consumed, end ? end : n);
                check_same(in, &got, &want);
                buf_release(&want.content);
            }
            got = (buf_release(&got.content), decode(in, 1, 1, true));
            want = decode(in, n, 0, true);
            check_same(in, &got, &want);
            buf_release(&want.content);
        }
}

static void test_long_lines(void **state)
{
    enum { SIZE = 300000 };
    struct buf in = {.max = 0};
    struct outcome o;

    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        buf_add_char(&in, (char)('a' + i % 26));
    buf_add_str(&in, "\r\n.\r\n");
    for (size_t step = 1000; step < 70000; step = step * 3 + 1) {
        o = decode(buf_slice(&in), step, step, true);
        assert_true(o.end);
        assert_int_equal(buf_len(&o.content), SIZE + 1);
        assert_memory_equal(o.content.data + o.content.start, in.data + in.start, SIZE);
        buf_release(&o.content);
    }
    buf_release(&in);
}

static void test_chunks(void **state)
{
    static const struct {
        const char *in, *content;
        bool bare_lf, bare_cr;
    } rows[] = {
        {"", "", false, false},
        {"a", "a\n", false, false},
        {"a\r\n", "a\n", false, false},
        {"a\r\nb", "a\nb\n", false, false},
        {"a\r\n.\r\nb\r\n", "a\n.\nb\n", false, false},
        {"..a\r\n.b", "..a\n.b\n", false, false},
        {"a\nb", "a\nb\n", true, false},
        {"a\rb", "a b\n", false, true},
        {"a\r", "a \n", false, true},
        {"\r", " \n", false, true},
        {"\r\n", "\n", false, false},
        {"\n", "\n", true, false},
        {"a\r\r\n", "a \n", false, true},
        {"a\n\r\n.\n.\r\n", "a\n\n.\n.\n", true, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice in = slice_str(rows[i].in);
        struct outcome whole = decode(in, in.n, 0, false);

        assert_string_equal(buf_cstr(&whole.content), rows[i].content);
        assert_int_equal(whole.bare_lf, rows[i].bare_lf);
        assert_int_equal(whole.bare_cr, rows[i].bare_cr);
        check_splits(in, false, &whole);
    }
}

/* No more than two bytes beyond the input are ever written: what the header promises to capped buffers. */
static void test_room(void **state)
{
    struct smtp_body body;
    struct buf out = {.max = 3};
    size_t used;

    (void)state;
    smtp_body_init(&body);
    for (const char *c = "\ra\r\r.\r\n.\rx\r\n..\r\n"; *c != '\0'; c++) {
        smtp_body_feed(&body, slice_make(c, 1), &out, &used);
        assert_int_equal(used, 1);
        buf_clear(&out);
    }
    out.max = 2;
    smtp_body_init(&body);
    smtp_body_chunk(&body, SLICE_EMPTY, &out);
    smtp_body_finish(&body, &out);
    assert_int_equal(buf_len(&out), 0);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),     cmocka_unit_test(test_smuggling),  cmocka_unit_test(test_nul),
        cmocka_unit_test(test_after_end), cmocka_unit_test(test_exhaustive), cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_chunks),    cmocka_unit_test(test_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

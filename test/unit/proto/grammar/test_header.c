/* header.h: the scanner whole, byte by byte and split everywhere; the iterator; both must agree. */
#include "core/base/assert.h"
#include "proto/grammar/header.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

struct want {
    const char *in;
    unsigned received;
    const char *flags; /* m d f: has Message-Id, Date, From; M D F R: Resent-; x: mbox line; s: no separator */
    const char *message_id;
    uint64_t settled, longest;
};

static const struct want rows[] = {
    {"", 0, "", "", 0, 0},
    {"\n", 0, "", "", 0, 0},
    {"\nReceived: x\n", 0, "", "", 0, 0},
    {"Subject: x\n\nbody\n", 0, "", "", 11, 11},
    {"Subject: x\n", 0, "", "", 11, 11},
    {"From: a\nDate: d\nMessage-Id: <x@y>\n\nReceived: b\n", 0, "mdf", "<x@y>", 34, 18},
    {"FROM: a\ndate: d\nmessage-ID:<x@y>\n\n", 0, "mdf", "<x@y>", 33, 17},
    {"Received: a\n\tb\nReceived: c\nX-Received: d\nReceived : e\n\n", 3, "", "", 54, 15},
    {"Received:\n\n", 1, "", "", 10, 10},
    {"Message-Id:\n <x@y>\n\n", 0, "m", "<x@y>", 19, 19},
    {"Message-Id: \t <x@\n\ty>  \n\n", 0, "m", "<x@ y>", 24, 24},
    {"Message-Id: <1>\nMessage-Id: <2>\n\n", 0, "m", "<1>", 32, 16},
    {"Message-Id:\nMessage-Id: <2>\n\n", 0, "m", "", 28, 16},
    {"Message-Idx: <1>\nMessage-I: <2>\n\n", 0, "", "", 32, 17},
    {"Resent-From: a\nResent-Date: b\nResent-Message-Id: c\nResent-To: d\n\n", 0, "MDFR", "", 64, 21},
    {"Resent-To: d\n\n", 0, "R", "", 13, 13},
    {"Resent-Date: d\n\n", 0, "DR", "", 15, 15},
    {"A: b", 0, "", "", 4, 4},
    {"A: b\nC", 0, "s", "", 5, 5},
    {"A: b\nC ", 0, "s", "", 5, 5},
    {"no header\nFrom: x\n", 0, "s", "", 0, 0},
    {"noheader\nFrom: x\n", 0, "s", "", 0, 0},
    {" folded\nFrom: x\n", 0, "s", "", 0, 0},
    {": x\n", 0, "s", "", 0, 0},
    {"A: b\nbody\nFrom: x\n", 0, "s", "", 5, 5},
    {"A: b\n: c\nFrom: x\n", 0, "s", "", 5, 5},
    {"A: b\nC d: x\n", 0, "s", "", 5, 5},
    {"A: b\nC\n", 0, "s", "", 5, 5},
    {"A: b\nC \n", 0, "s", "", 5, 5},
    {"A: b\n\xc3\xa9: c\n", 0, "s", "", 5, 5},
    {"A: b\nX\x01: c\n", 0, "s", "", 5, 5},
    {"A: b\n \n\tc\nFrom: x\n\n", 0, "f", "", 18, 10},
    {"A: b\n\n c\n", 0, "", "", 5, 5},
    {"A:b:c\nB::\n\n", 0, "", "", 10, 6},
    {"From me Mon Nov 22\nFrom: x\n\n", 0, "fx", "", 27, 19},
    {">From me Mon Nov 22\nFrom: x\n\n", 0, "fx", "", 28, 20},
    {">>From me\n\n", 0, "x", "", 10, 10},
    {"From me\n Date: x\n\n", 0, "x", "", 17, 17},
    {"From\n\n", 0, "s", "", 0, 0},
    {"From \n\n", 0, "s", "", 0, 0},
    {"from me\n\n", 0, "s", "", 0, 0},
    {"Fromm me\n\n", 0, "s", "", 0, 0},
    {"A: b\nFrom me\n\n", 0, "s", "", 5, 5},
    {"From : me\n\n", 0, "f", "", 10, 10},
    {"A-header-name-that-is-longer-than-any-we-know: x\nReceived-and-some-more-text-after-it: y\n\n", 0, "", "", 89,
     49},
};

static bool flag(const struct want *want, char c)
{
    return strchr(want->flags, c) != NULL;
}

static void check_scan(const struct header_scan *s, const struct want *want)
{
    if (!s->ended || s->received != want->received || s->settled != want->settled || s->longest != want->longest ||
        strcmp(s->message_id, want->message_id) != 0)
        fail_msg("[%s]: received %u settled %llu longest %llu id [%s]", want->in, s->received,
                 (unsigned long long)s->settled, (unsigned long long)s->longest, s->message_id);
    if (s->has_message_id != flag(want, 'm') || s->has_date != flag(want, 'd') || s->has_from != flag(want, 'f') ||
        s->has_resent_message_id != flag(want, 'M') || s->has_resent_date != flag(want, 'D') ||
        s->has_resent_from != flag(want, 'F') || s->has_resent != flag(want, 'R') || s->mbox_line != flag(want, 'x') ||
        s->no_separator != flag(want, 's'))
        fail_msg("[%s]: flags", want->in);
}

/* Pieces of `step` bytes after the first `a`; what is settled never shrinks and never passes the true end. */
static void scan(const struct want *want, size_t a, size_t step)
{
    struct slice in = slice_str(want->in);
    struct header_scan s = {.received = 0};
    uint64_t settled = 0;
    size_t next = a;

    for (size_t at = 0; at < in.n;) {
        size_t n = next < in.n ? next - at : in.n - at;

        header_scan_feed(&s, slice_make(in.p + at, n));
        assert_true(s.settled >= settled && s.settled <= want->settled && s.settled <= at + n);
        settled = s.settled;
        at += n;
        next = at + (step ? step : in.n);
    }
    header_scan_finish(&s);
    check_scan(&s, want);
    header_scan_feed(&s, SLICE_LIT("Received: late\n"));
    check_scan(&s, want);
}

static void test_scan(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n = strlen(rows[i].in);

        scan(&rows[i], n, 0);
        for (size_t step = 1; step <= 4; step++)
            scan(&rows[i], step, step);
        for (size_t a = 0; a <= n; a++)
            scan(&rows[i], a, 0);
    }
}

static void test_message_id_bounds(void **state)
{
    struct header_scan s = {.received = 0};
    struct buf in = {.max = 0};

    (void)state;
    buf_add_str(&in, "Message-Id: ");
    for (int i = 0; i < 5000; i++)
        buf_add_char(&in, 'x');
    buf_add_str(&in, "\n\n");
    header_scan_feed(&s, buf_slice(&in));
    assert_true(s.ended);
    assert_int_equal(strlen(s.message_id), HEADER_ID_MAX);
    assert_int_equal(s.longest, 5013);
    buf_release(&in);

    s = (struct header_scan){.received = 0};
    header_scan_feed(&s, SLICE_LIT("Message-Id: <a\0b>\n\n"));
    assert_string_equal(s.message_id, "<a?b>");
}

/* The iterator and the scanner see the same section. */
static void test_next_agrees(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice in = slice_str(rows[i].in), rest = in, name, value, raw;
        uint64_t longest = 0;
        unsigned received = 0;

        if (flag(&rows[i], 'x'))
            continue; /* the caller has put a name before that line */
        while (header_next(&rest, &name, &value, &raw)) {
            longest = raw.n > longest ? raw.n : longest;
            received += slice_ieq(name, SLICE_LIT("received"));
        }
        assert_int_equal(in.n - rest.n, rows[i].settled);
        assert_int_equal(longest, rows[i].longest);
        assert_int_equal(received, rows[i].received);
    }
}

static void test_next(void **state)
{
    struct slice rest = SLICE_LIT("A: b\nC-d \t:  e \n\tf\n g\nEmpty:\nFolded:\n h\nLast:z\n\nbody: x\n");
    static const struct {
        const char *name, *value, *raw, *unfolded;
    } want[] = {
        {"A", "b", "A: b\n", "b"},      {"C-d", "e \n\tf\n g", "C-d \t:  e \n\tf\n g\n", "e  f g"},
        {"Empty", "", "Empty:\n", ""},  {"Folded", "\n h", "Folded:\n h\n", "h"},
        {"Last", "z", "Last:z\n", "z"},
    };
    struct slice name, value, raw;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct buf out = {.max = 0};

        assert_true(header_next(&rest, &name, &value, &raw));
        assert_true(slice_eq(name, slice_str(want[i].name)));
        assert_true(slice_eq(value, slice_str(want[i].value)));
        assert_true(slice_eq(raw, slice_str(want[i].raw)));
        header_unfold(&out, value);
        assert_string_equal(buf_cstr(&out), want[i].unfolded);
        buf_release(&out);
    }
    assert_false(header_next(&rest, &name, &value, &raw));
    assert_true(slice_eq(rest, SLICE_LIT("\nbody: x\n")));
}

/* A header that the end of the text cuts off. */
static void test_next_unterminated(void **state)
{
    struct slice rest = SLICE_LIT("A: b\n c"), name, value, raw;

    (void)state;
    assert_true(header_next(&rest, &name, &value, &raw));
    assert_true(slice_eq(value, SLICE_LIT("b\n c")));
    assert_int_equal(rest.n, 0);
    assert_false(header_next(&rest, &name, &value, &raw));
    rest = SLICE_LIT("A:");
    assert_true(header_next(&rest, &name, &value, &raw));
    assert_int_equal(value.n, 0);
    rest = SLICE_LIT("A");
    assert_false(header_next(&rest, &name, &value, &raw));
    assert_int_equal(rest.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan), cmocka_unit_test(test_message_id_bounds), cmocka_unit_test(test_next_agrees),
        cmocka_unit_test(test_next), cmocka_unit_test(test_next_unterminated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The structure of messages: proto/grammar/mime_scan. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "proto/grammar/mime_scan.h"

/* Each line of a message as a letter: h primary header, p part, n nested, e end of header, - boundary, b body. */
static void assert_structure(unsigned limit, const char *text, const char *want)
{
    static const char letters[] = {
        [MIME_PRIMARY_HEADER] = 'h', [MIME_PART_HEADER] = 'p', [MIME_NESTED_HEADER] = 'n',
        [MIME_END_OF_HEADER] = 'e',  [MIME_BOUNDARY] = '-',    [MIME_BODY] = 'b',
    };
    struct mime_scan m = {.nesting_limit = limit};
    struct slice rest = slice_str(text);
    char got[200];
    size_t n = 0;
    struct buf header = {0};

    while (rest.n > 0) {
        size_t lf = slice_find(rest, '\n');
        struct slice line = slice_head(rest, lf);
        enum mime_where where;

        assert_true(lf != SLICE_NOT_FOUND && n + 1 < sizeof got);
        if (buf_len(&header) > 0 && line.n > 0 && line.p[0] == ' ') {
            buf_add_char(&header, '\n');
            buf_add_slice(&header, line);
            got[n++] = letters[mime_scan_line(&m, line)];
        } else {
            if (buf_len(&header) > 0)
                mime_scan_header(&m, buf_slice(&header));
            buf_clear(&header);
            where = mime_scan_line(&m, line);
            got[n++] = letters[where];
            if (where <= MIME_NESTED_HEADER)
                buf_add_slice(&header, line);
        }
        rest = slice_from(rest, lf + 1);
    }
    got[n] = '\0';
    if (strcmp(got, want) != 0)
        fail_msg("%s\n%s, wanted %s", text, got, want);
    buf_release(&header);
    mime_scan_release(&m);
    assert_null(m.boundaries);
}

static void plain(void **state)
{
    (void)state;
    assert_structure(0, "A: b\n c\nD: e\n\nbody\n\n--x\nF: g\n", "hhhebbbb");
    assert_structure(0, "\nbody\n", "eb");
    assert_structure(0, "no header\nA: b\n", "bb");
    assert_structure(0, "A: b\nno header\nC: d\n", "hbb");
    assert_structure(0, " begins with a blank\n", "b");
    assert_structure(0, "Content-Type: multipart/mixed\n\n--x\nA: b\n", "hebb"); /* no boundary */
}

static void multipart(void **state)
{
    (void)state;
    assert_structure(
        0,
        "Content-Type: multipart/mixed;\n boundary=\"x y\"; z=1\n\npreamble\n--x y\nContent-Type: text/plain\n\nbody\n"
        "--x y\n\nbody\n--x y-- \nepilogue\n--x y\nA: b\n",
        "hheb-peb-eb-bbb");
    assert_structure(
        0, "content-type : Multipart/Mixed (a; boundary=no) ; Boundary = (c) x (d)\n\n--x\nA: b\n\nc\n--x--\n",
        "he-peb-");
    assert_structure(0,
                     "Content-Type: multipart/a; boundary=o\n\n--o\nContent-Type: multipart/b; boundary=i\n\n--i\nA: "
                     "b\n\nc\n--o\nD: e\n\n--i\n",
                     "he-pe-peb-peb"); /* the outer boundary ends the inner multipart */
    assert_structure(0, "Content-Type: multipart/a; boundary=o\n\n--o\nA: b\n--o\nC: d\n", "he-p-p"); /* in a header */
}

static void nested_messages(void **state)
{
    (void)state;
    assert_structure(0, "Content-Type: message/rfc822\n\nA: b\n c\n\nbody\n", "henneb");
    assert_structure(
        0,
        "Content-Type: multipart/a; boundary=o\n\n--o\nContent-Type: message/rfc822\n\nA: b\nContent-Type: "
        "multipart/b; boundary=i\n\n--i\nC: d\n\ne\n--o--\n",
        "he-penne-peb-");
    assert_structure(0,
                     "Content-Type: multipart/digest; boundary=o\n\n--o\n\nA: b\n\nc\n--o\nContent-Type: "
                     "text/plain\n\nD: e\n--o--\n",
                     "he-eneb-peb-");
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    assert_structure(
        1, "Content-Type: multipart/a; boundary=o\n\n--o\nContent-Type: multipart/b; boundary=i\n\n--i\nA: b\n--o--\n",
        "he-pebb-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(multipart),
        cmocka_unit_test(nested_messages),
        cmocka_unit_test(nesting_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* 8-bit parts become quoted-printable, nothing else changes, in whatever pieces the message comes. */
#include "unit/cmocka_all.h"

#include "core/base/codec.h"
#include "proto/grammar/mime_encode.h"

#include <string.h>

static const struct {
    const char *what, *in, *out;
} cases[] = {
    {"plain text passes", "Subject: x\n\nbody = 1 \n", "Subject: x\n\nbody = 1 \n"},
    {"unlabelled 8 bits pass", "Subject: x\n\ngr\xc3\xbc\xc3\x9f\n", "Subject: x\n\ngr\xc3\xbc\xc3\x9f\n"},
    {"8bit", "A: b\nContent-Transfer-Encoding: 8bit\nC: d\n\ngr\xc3\xbc = \t\nx\n",
     "A: b\nC: d\nContent-Transfer-Encoding: quoted-printable\n\ngr=C3=BC =3D =09\nx\n"},
    {"binary, folded, mixed case", "content-transfer-ENCODING:\n BINARY\n\n\xff",
     "Content-Transfer-Encoding: quoted-printable\n\n=FF"},
    {"7bit stays", "Content-Transfer-Encoding: 7bit\n\na=b\n", "Content-Transfer-Encoding: 7bit\n\na=b\n"},
    {"base64 stays", "Content-Transfer-Encoding: base64\n\nYQ==\n", "Content-Transfer-Encoding: base64\n\nYQ==\n"},
    {"blank at the very end", "Content-Transfer-Encoding: 8bit\n\nx ",
     "Content-Transfer-Encoding: quoted-printable\n\nx=20"},
    {"long lines",
     "Content-Transfer-Encoding: 8bit\n\n"
     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\n",
     "Content-Transfer-Encoding: quoted-printable\n\n"
     "012345678901234567890123456789012345678901234567890123456789012345678901234=\n5678901234567890123456789\n"},
    {"multipart",
     "Content-Type: multipart/mixed; boundary=\"b1\"\nContent-Transfer-Encoding: 8bit\n\npre\xe4mble\n--b1\n"
     "Content-Transfer-Encoding: 8bit\n\n\xe4\n--b1\nContent-Transfer-Encoding: "
     "base64\n\n=\n--b1\n\n=\n--b1--\n\xe4pilogue\n",
     "Content-Type: multipart/mixed; boundary=\"b1\"\nContent-Transfer-Encoding: 7bit\n\npre\xe4mble\n--b1\n"
     "Content-Transfer-Encoding: quoted-printable\n\n=E4\n--b1\nContent-Transfer-Encoding: "
     "base64\n\n=\n--b1\n\n=\n--b1--\n"
     "\xe4pilogue\n"},
    {"multipart in multipart",
     "Content-Type: multipart/mixed;\n boundary=out\n\n--out\nContent-Type: multipart/alternative; "
     "boundary=in\n\n--in\n"
     "Content-Transfer-Encoding: 8bit\n\n\xe4\n--in--\n\xe4\n--out\nContent-Transfer-Encoding: "
     "8bit\n\n\xe4\n--in\n\xe4\n--out--\n",
     "Content-Type: multipart/mixed;\n boundary=out\n\n--out\nContent-Type: multipart/alternative; "
     "boundary=in\n\n--in\n"
     "Content-Transfer-Encoding: quoted-printable\n\n=E4\n--in--\n\xe4\n--out\n"
     "Content-Transfer-Encoding: quoted-printable\n\n=E4\n--in\n=E4\n--out--\n"},
    {"an inner part without its end",
     "Content-Type: multipart/mixed; boundary=o\n\n--o\n"
     "Content-Type: multipart/mixed; boundary=i\n\n--i\nContent-Transfer-Encoding: 8bit\n\n\xe4\n--o\n\n\xe4\n",
     "Content-Type: multipart/mixed; boundary=o\n\n--o\n"
     "Content-Type: multipart/mixed; boundary=i\n\n--i\nContent-Transfer-Encoding: "
     "quoted-printable\n\n=E4\n--o\n\n\xe4\n"},
    {"message/rfc822",
     "Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\n"
     "Subject: in\nContent-Transfer-Encoding: 8bit\n\n\xe4\n",
     "Content-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\n"
     "Subject: in\nContent-Transfer-Encoding: quoted-printable\n\n=E4\n"},
    {"a header only", "Content-Transfer-Encoding: 8bit\nSubject: x\n",
     "Subject: x\nContent-Transfer-Encoding: quoted-printable\n"},
    {"a boundary as part of a line",
     "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: 8bit\n\n--bx\n--b \n\n=\n",
     "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: quoted-printable\n\n--bx\n--b "
     "\n\n=\n"},
    {"no boundary", "Content-Type: multipart/mixed\nContent-Transfer-Encoding: 8bit\n\n\xe4\n",
     "Content-Type: multipart/mixed\nContent-Transfer-Encoding: 7bit\n\n\xe4\n"},
};

static void run(const char *in, size_t piece, struct buf *out)
{
    struct mime_encode *m = mime_encode_new();
    struct slice rest = slice_str(in);

    while (rest.n > 0) {
        mime_encode_feed(m, slice_head(rest, piece), out);
        rest = slice_from(rest, piece);
    }
    mime_encode_end(m, out);
    mime_encode_free(&m);
}

static void messages(void **state)
{
    static const size_t pieces[] = {1, 2, 7, 100000};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
            struct buf out = {0};

            run(cases[i].in, pieces[p], &out);
            if (strcmp(buf_cstr(&out), cases[i].out) != 0)
                fail_msg("%s, in pieces of %zu: \"%s\"", cases[i].what, pieces[p], buf_cstr(&out));
            buf_release(&out);
        }
}

/* Lines and headers longer than anything that is held, and parts in parts without end. */
static void bounds(void **state)
{
    struct buf in = {0}, out = {0};

    (void)state;
    buf_add_str(&in, "Content-Type: text/plain;\n");
    for (int i = 0; i < 3000; i++)
        buf_add_str(&in, " x=y;\n");
    buf_add_str(&in, "Content-Transfer-Encoding: 8bit\nX: ");
    for (int i = 0; i < 20000; i++)
        buf_add_char(&in, 'h');
    buf_add_str(&in, "\n\n");
    for (int i = 0; i < 20000; i++)
        buf_add_str(&in, "\xc3\xa4");
    buf_add_char(&in, '\n');
    run(buf_cstr(&in), 1000, &out);
    assert_non_null(strstr(buf_cstr(&out), "quoted-printable\n\n=C3=A4"));
    assert_false(codec_has_8bit(buf_slice(&out)));
    buf_clear(&in);
    buf_clear(&out);
    for (int i = 0; i < 100; i++)
        buf_printf(&in, "Content-Type: multipart/mixed; boundary=b%d.\n\n--b%d.\n", i, i);
    run(buf_cstr(&in), 100, &out);
    assert_string_equal(buf_cstr(&in), buf_cstr(&out));
    buf_release(&in);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(messages), cmocka_unit_test(bounds)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

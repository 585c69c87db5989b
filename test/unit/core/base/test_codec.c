/* xtext, UTF-8, printable text, queue ids. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "core/base/codec.h"
#include "core/base/id.h"

static void xtext_round_trip_of_every_byte(void **unused)
{
    char all[256];
    struct buf x = {0}, back = {0};

    (void)unused;
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    assert_true(codec_xtext_encode(&x, slice_make(all, 256)));
    assert_true(codec_xtext_decode(&back, buf_slice(&x)));
    assert_true(slice_eq(buf_slice(&back), slice_make(all, 256)));
    buf_release(&x);
    buf_release(&back);
}

static void bad_xtext_leaves_the_output_alone(void **unused)
{
    static const char *const bad[] = {"+", "+4", "+4g", "+4a", "a b", "a=b", "\x7f", "a+", "\xc3\xa4"};
    struct buf out = {0};

    (void)unused;
    buf_add_str(&out, "x");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(codec_xtext_decode(&out, slice_str(bad[i])));
        assert_string_equal(buf_cstr(&out), "x");
    }
    assert_true(codec_xtext_decode(&out, SLICE_LIT("+2B+3D")));
    assert_string_equal(buf_cstr(&out), "x+=");
    buf_release(&out);
}

static void utf8_is_what_rfc_3629_says(void **unused)
{
    static const struct {
        const char *text;
        size_t len;
    } rows[] = {
        {"a", 1},
        {"\xc3\xa4", 2},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\x93\xa7", 4},
        {"\x80", 0},             /* continuation alone */
        {"\xc0\xaf", 0},         /* overlong */
        {"\xe0\x80\xaf", 0},     /* overlong */
        {"\xed\xa0\x80", 0},     /* surrogate */
        {"\xf4\x90\x80\x80", 0}, /* above U+10FFFF */
        {"\xf0\x9f\x93", 0},     /* cut */
        {"\xc3(", 0},
        {"\xff", 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(codec_utf8_length(slice_str(rows[i].text)), rows[i].len);
    assert_int_equal(codec_utf8_length(SLICE_EMPTY), 0);
    assert_true(codec_utf8_valid(SLICE_LIT("gr\xc3\xbc\xc3\x9f")));
    assert_false(codec_utf8_valid(SLICE_LIT("gr\xfc")));
    assert_true(codec_has_8bit(SLICE_LIT("gr\xfc")));
    assert_false(codec_has_8bit(SLICE_LIT("gr")));
}

static void printable_text_cannot_end_a_line(void **unused)
{
    char a[] = "x\r\ny\t\x1b[0m\xc3\xa4\xff\xc2\x9b\xc2\xa0", b[] = "\xc3\xa4z";

    (void)unused;
    codec_printable(a, sizeof a - 1, true);
    assert_string_equal(a, "x??y??[0m\xc3\xa4???\xc2\xa0");
    codec_printable(b, sizeof b - 1, false);
    assert_string_equal(b, "??z");
}

static void ids_increase_and_round_trip(void **unused)
{
    uint64_t last = 0, parsed;
    char text[ID_TEXT];

    (void)unused;
    for (int i = 0; i < 10000; i++) {
        uint64_t id = id_next();

        assert_true(id > last);
        last = id;
        assert_true(id_parse(slice_str(id_format(text, id)), &parsed));
        assert_true(parsed == id);
    }
    id_seen(last + 1000000000000u); /* the clock was ahead when the queue was written */
    assert_true(id_next() > last + 1000000000000u);
    assert_false(id_parse(SLICE_LIT("xyz"), &parsed));
    assert_false(id_parse(SLICE_LIT("0123456789abcdef"), &parsed));
    assert_false(id_parse(SLICE_LIT("0123456789ABCDEF01"), &parsed));
}

/* RFC 4648 section 10, and every byte at every place. */
static void base64_there_and_back(void **unused)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    char all[258];

    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct buf text = {0}, back = {0};

        codec_base64_encode(&text, slice_str(pairs[i][0]));
        assert_string_equal(buf_cstr(&text), pairs[i][1]);
        assert_true(codec_base64_decode(&back, slice_str(pairs[i][1])));
        assert_string_equal(buf_cstr(&back), pairs[i][0]);
        buf_release(&text);
        buf_release(&back);
    }
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    for (size_t from = 0; from < 3; from++) {
        struct slice in = slice_make(all + from, 256);
        struct buf text = {0}, back = {0};

        codec_base64_encode(&text, in);
        assert_true(codec_base64_decode(&back, buf_slice(&text)));
        assert_true(slice_eq(buf_slice(&back), in));
        buf_release(&text);
        buf_release(&back);
    }
}

static void base64_has_one_way_to_write_a_value(void **unused)
{
    static const char *const bad[] = {"A",    "AA",   "AAA",      "AAAAA",    "=",     "====", "A===", "AA=A",
                                      "AB==", "AAB=", "AA==AAAA", "AAA=AAAA", "AAA\n", "AA-_", "A A="};
    struct buf out = {0};

    (void)unused;
    buf_add_str(&out, "before");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(codec_base64_decode(&out, slice_str(bad[i])));
        assert_string_equal(buf_cstr(&out), "before");
    }
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_there_and_back),          cmocka_unit_test(base64_has_one_way_to_write_a_value),
        cmocka_unit_test(xtext_round_trip_of_every_byte), cmocka_unit_test(bad_xtext_leaves_the_output_alone),
        cmocka_unit_test(utf8_is_what_rfc_3629_says),     cmocka_unit_test(printable_text_cannot_end_a_line),
        cmocka_unit_test(ids_increase_and_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

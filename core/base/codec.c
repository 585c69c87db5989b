/* Small encodings: see codec.h. RFC 3461 section 4 (xtext), RFC 4648 (base64), RFC 3629 (UTF-8). */
#include "core/base/codec.h"

static int hex_value(char c)
{
    if (ascii_digit(c))
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; /* lower case is not xtext */
}

static bool is_xchar(char c)
{
    return c >= 33 && c <= 126 && c != '+' && c != '=';
}

bool codec_xtext_encode(struct buf *out, struct slice in)
{
    for (size_t i = 0; i < in.n; i++) {
        bool ok =
            is_xchar(in.p[i]) ? buf_add_char(out, in.p[i]) : buf_printf(out, "+%02X", (unsigned)(unsigned char)in.p[i]);

        if (!ok)
            return false;
    }
    return true;
}

bool codec_xtext_decode(struct buf *out, struct slice in)
{
    size_t before = buf_len(out);

    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];

        if (c == '+' && i + 2 < in.n && hex_value(in.p[i + 1]) >= 0 && hex_value(in.p[i + 2]) >= 0) {
            c = (char)(hex_value(in.p[i + 1]) * 16 + hex_value(in.p[i + 2]));
            i += 2;
        } else if (!is_xchar(c)) {
            out->end = out->start + before;
            return false;
        }
        if (!buf_add_char(out, c)) {
            out->end = out->start + before;
            return false;
        }
    }
    return true;
}

size_t codec_utf8_length(struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t len;
    unsigned low = 0x80, high = 0xBF; /* range of the second byte: RFC 3629 section 4 */

    if (s.n == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    len = p[0] >= 0xC2 && p[0] <= 0xDF ? 2 : (p[0] & 0xF0) == 0xE0 ? 3 : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4 : 0;
    if (len == 0 || s.n < len)
        return 0;
    if (p[0] == 0xE0)
        low = 0xA0;
    else if (p[0] == 0xED)
        high = 0x9F;
    else if (p[0] == 0xF0)
        low = 0x90;
    else if (p[0] == 0xF4)
        high = 0x8F;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

bool codec_utf8_valid(struct slice s)
{
    while (s.n > 0) {
        size_t len = codec_utf8_length(s);

        if (len == 0)
            return false;
        s = slice_from(s, len);
    }
    return true;
}

bool codec_has_8bit(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 127)
            return true;
    return false;
}

void codec_printable(char *text, size_t n, bool allow_utf8)
{
    size_t i = 0;

    while (i < n) {
        unsigned char c = (unsigned char)text[i];
        size_t len = 1;

        if (c < 32 || c == 127)
            text[i] = '?';
        else if (c > 127) {
            len = allow_utf8 ? codec_utf8_length(slice_make(text + i, n - i)) : 0;
            if (len == 0 || (len == 2 && c == 0xC2 && (unsigned char)text[i + 1] < 0xA0)) { /* U+0080 to U+009F */
                text[i] = '?';
                len = 1;
            }
        }
        i += len;
    }
}

/* ---- base64 ---- */

void codec_base64_encode(struct buf *out, struct slice in)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < in.n; i += 3) {
        const unsigned char *p = (const unsigned char *)in.p + i;
        size_t have = in.n - i;
        unsigned bits = (unsigned)p[0] << 16 | (have > 1 ? (unsigned)p[1] << 8 : 0) | (have > 2 ? (unsigned)p[2] : 0);

        buf_add_char(out, alphabet[bits >> 18]);
        buf_add_char(out, alphabet[bits >> 12 & 63]);
        buf_add_char(out, have > 1 ? alphabet[bits >> 6 & 63] : '=');
        buf_add_char(out, have > 2 ? alphabet[bits & 63] : '=');
    }
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (ascii_digit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool codec_base64_decode(struct buf *out, struct slice in)
{
    size_t before = buf_len(out), pad = in.n > 0 && in.p[in.n - 1] == '=';

    pad += pad == 1 && in.n > 1 && in.p[in.n - 2] == '=';
    if (in.n % 4 != 0)
        return false;
    for (size_t i = 0; i < in.n; i += 4) {
        size_t last = i + 4 == in.n ? pad : 0;
        unsigned bits = 0;
        char bytes[3];
        bool ok = true;

        for (size_t k = 0; k < 4; k++) {
            int value = k < 4 - last ? base64_value(in.p[i + k]) : 0;

            ok = ok && value >= 0;
            bits = bits << 6 | (unsigned)(value & 63);
        }
        for (size_t k = 0; k < 3; k++)
            bytes[k] = (char)(bits >> (16 - 8 * k) & 255);
        /* The bits that the padding leaves over are zero: one text for one value. */
        ok = ok && (last == 0 || (bits & (last == 1 ? 0xFFu : 0xFFFFu)) == 0);
        if (!ok || !buf_add(out, bytes, 3 - last)) {
            out->end = out->start + before;
            return false;
        }
    }
    return true;
}

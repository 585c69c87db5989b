/*
 * Replies: see smtp_reply.h. Called by the SMTP server for whatever it says to a client. RFC 5321 section 4.2, RFC
 * 2034. Texts echo what clients and tables said, so every line is made harmless here.
 */
#include "proto/grammar/smtp_reply.h"

#include "core/base/codec.h"

#include <stdarg.h>

/* The length of s cut to `most` bytes, but not within a sequence of UTF-8. */
static size_t cut(struct slice s, size_t most)
{
    size_t n = s.n < most ? s.n : most;

    while (n > 0 && n < s.n && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n--;
    return n;
}

/* Appends printable text; everything else becomes a space, so that it can neither end the line nor hide in it. */
static void add_clean(struct buf *out, struct slice text)
{
    while (text.n > 0) {
        size_t len = codec_utf8_length(text);
        unsigned char c = (unsigned char)text.p[0];

        if (len == 0 || c < 32 || c == 127) {
            buf_add_char(out, ' ');
            len = 1;
        } else {
            buf_add(out, text.p, len);
        }
        text = slice_from(text, len);
    }
}

void smtp_reply_line(struct buf *out, int code, bool last, const char *dsn, struct slice text)
{
    size_t start = buf_len(out), used;

    buf_printf(out, "%03d%c", code, last ? ' ' : '-');
    if (dsn != NULL && *dsn != '\0')
        buf_printf(out, "%s ", dsn);
    used = buf_len(out) - start;
    text.n = cut(text, used < SMTP_REPLY_LINE_MAX ? SMTP_REPLY_LINE_MAX - used : 0);
    add_clean(out, text);
    buf_add_str(out, "\r\n");
}

void smtp_reply(struct buf *out, int code, const char *dsn, const char *text)
{
    struct slice rest = slice_str(text);
    size_t end;

    while ((end = slice_find(rest, '\n')) != SLICE_NOT_FOUND) {
        smtp_reply_line(out, code, false, dsn, slice_head(rest, end));
        rest = slice_from(rest, end + 1);
    }
    smtp_reply_line(out, code, true, dsn, rest);
}

void smtp_reply_printf(struct buf *out, int code, const char *dsn, const char *fmt, ...)
{
    struct buf text = {.max = 0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    smtp_reply(out, code, dsn, buf_cstr(&text));
    buf_release(&text);
}

void smtp_reply_status(struct buf *out, const struct status *status)
{
    smtp_reply_line(out, status->code, true, status->dsn, slice_str(status->text));
}

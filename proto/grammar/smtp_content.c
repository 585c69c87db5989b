/* Content on its way to a server: see smtp_content.h. Called by the client for each piece; owns nothing. */
#include "proto/grammar/smtp_content.h"

#include "core/base/assert.h"

/* Where the line must be broken: not inside a UTF-8 sequence, unless it is all there is. */
static size_t break_at(const char *p, size_t room)
{
    size_t at = room;

    while (at > 0 && room - at < 3 && ((unsigned char)p[at] & 0xc0) == 0x80)
        at--;
    return at > 0 && ((unsigned char)p[at] & 0xc0) != 0x80 ? at : room;
}

/* A part of a line, without its end. */
static char *put_text(struct smtp_content *c, struct slice s, char *to)
{
    if (s.n > 0 && c->column == 0 && s.p[0] == '.' && !c->bare)
        *to++ = '.';
    while (c->line_limit > 0 && c->column + s.n > c->line_limit) {
        size_t room = c->line_limit > c->column ? c->line_limit - c->column : 0;
        size_t n = room < s.n ? break_at(s.p, room) : s.n;

        memcpy(to, s.p, n);
        to += n;
        *to++ = '\r';
        *to++ = '\n';
        *to++ = ' ';
        s = slice_from(s, n);
        c->column = 1;
    }
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    c->column += s.n;
    return to + s.n;
}

void smtp_content_feed(struct smtp_content *c, struct slice in, struct buf *out)
{
    /* a break comes after at least so many bytes of the line: a UTF-8 sequence and a space may be missing in it */
    size_t per = c->line_limit > 5 ? c->line_limit - 4 : 1;
    /* each byte may be the end of a line, or a dot to be doubled */
    size_t most = 2 * in.n + 4 + (c->line_limit > 0 ? 3 * (in.n / per + 2) : 0);
    char *start, *to;

    if (c->line_limit == 1)
        c->line_limit = 2; /* the space alone must not fill a line */
    to = start = buf_reserve(out, most);
    while (in.n > 0) {
        size_t nl = slice_find(in, '\n');

        to = put_text(c, slice_head(in, nl), to);
        if (nl == SLICE_NOT_FOUND)
            break;
        *to++ = '\r';
        *to++ = '\n';
        c->column = 0;
        in = slice_from(in, nl + 1);
    }
    MTA_ASSERT((size_t)(to - start) <= most);
    buf_commit(out, (size_t)(to - start));
}

void smtp_content_end(struct smtp_content *c, struct buf *out)
{
    if (c->column > 0)
        buf_add(out, "\r\n", 2);
    c->column = 0;
    if (!c->bare)
        buf_add(out, ".\r\n", 3);
}

/*
 * The decoder of DATA and BDAT: see smtp_body.h. Called by the SMTP server for each piece it read; owns nothing but
 * its few bytes of state. RFC 5321 section 4.1.1.4 and 4.5.2, RFC 3030.
 *
 * Whole lines are copied at once. Only what stands at the borders of lines goes through a small state machine, one
 * character at a time; there at most a dot and a CR are held back, which is why output is never more than two bytes
 * longer than the input of a call.
 */
#include "proto/grammar/smtp_body.h"

#include "core/base/assert.h"

enum state {
    STATE_START,  /* at the start of a line */
    STATE_INSIDE, /* within a line */
    STATE_CR,     /* after a CR that is held back */
    STATE_DOT,    /* after a dot that opens a line and is held back */
    STATE_DOT_CR, /* and after a CR behind it */
    STATE_END,
};

void smtp_body_init(struct smtp_body *b)
{
    *b = (struct smtp_body){.state = STATE_START, .after_crlf = true};
}

/* Where output goes: room was made for all of it before. */
struct sink {
    char *p;
    size_t n;
};

static void put(struct sink *to, char c)
{
    to->p[to->n++] = c;
}

static void end_line(struct smtp_body *b, struct sink *to, bool crlf)
{
    put(to, '\n');
    b->state = STATE_START;
    b->after_crlf = crlf;
    b->seen_bare_lf = b->seen_bare_lf || !crlf;
}

/* A CR that nothing follows which would make it part of a line end. */
static void put_bare_cr(struct smtp_body *b, struct sink *to)
{
    put(to, ' ');
    b->seen_bare_cr = true;
    b->state = STATE_INSIDE;
}

/* Copies text without line ends; a CR in it is a bare one. */
static void put_text(struct smtp_body *b, struct sink *to, const char *text, size_t n)
{
    char *copy = to->p + to->n, *cr;

    memcpy(copy, text, n);
    to->n += n;
    for (size_t at = 0; (cr = memchr(copy + at, '\r', n - at)) != NULL; at = (size_t)(cr - copy) + 1) {
        *cr = ' ';
        b->seen_bare_cr = true;
    }
}

/* Within a line: copies to its end or to the end of the piece; answers how many bytes it took. */
static size_t copy_line(struct smtp_body *b, struct sink *to, struct slice in)
{
    const char *lf = memchr(in.p, '\n', in.n);
    size_t n = lf ? (size_t)(lf - in.p) : in.n;
    bool cr = n > 0 && in.p[n - 1] == '\r';

    put_text(b, to, in.p, n - cr);
    if (lf == NULL) {
        b->state = cr ? STATE_CR : STATE_INSIDE;
        return n;
    }
    end_line(b, to, cr);
    return n + 1;
}

/*
 * A line of nothing but a dot, ended by CRLF or a bare LF: only between two true CRLFs it is the end. All others are
 * dropped: somebody who reads them as an end and somebody who reads them as text would not see the same messages.
 */
static void lone_dot(struct smtp_body *b, bool crlf)
{
    b->state = crlf && b->after_crlf ? STATE_END : STATE_START;
    b->after_crlf = crlf;
    b->seen_bare_lf = b->seen_bare_lf || !crlf;
}

/* One character at the border of a line; false: it was not taken, but belongs to the text of a line. */
static bool step(struct smtp_body *b, struct sink *to, char c, bool dots)
{
    switch ((enum state)b->state) {
    case STATE_START:
        if (c == '\n')
            end_line(b, to, false);
        else if (c == '\r')
            b->state = STATE_CR;
        else if (c == '.' && dots)
            b->state = STATE_DOT;
        else
            b->state = STATE_INSIDE;
        return b->state != STATE_INSIDE;
    case STATE_CR:
        if (c == '\n')
            end_line(b, to, true);
        else
            put_bare_cr(b, to);
        return c == '\n';
    case STATE_DOT: /* the dot itself is gone: RFC 5321 section 4.5.2 */
        if (c == '\n')
            lone_dot(b, false);
        else
            b->state = c == '\r' ? STATE_DOT_CR : STATE_INSIDE;
        return b->state != STATE_INSIDE;
    case STATE_DOT_CR:
        if (c == '\n')
            lone_dot(b, true);
        else
            put_bare_cr(b, to);
        return c == '\n';
    case STATE_INSIDE:
    case STATE_END: break;
    }
    return false;
}

static size_t decode(struct smtp_body *b, struct slice in, struct buf *out, bool dots)
{
    struct sink to = {.p = buf_reserve(out, in.n + 2)};
    size_t at = 0;

    MTA_ASSERT(to.p != NULL);
    while (at < in.n && b->state != STATE_END) {
        if (b->state == STATE_INSIDE)
            at += copy_line(b, &to, slice_from(in, at));
        else
            at += step(b, &to, in.p[at], dots);
    }
    buf_commit(out, to.n);
    return at;
}

enum smtp_body_result smtp_body_feed(struct smtp_body *b, struct slice in, struct buf *out, size_t *consumed)
{
    *consumed = decode(b, in, out, true);
    return b->state == STATE_END ? SMTP_BODY_END : SMTP_BODY_MORE;
}

void smtp_body_chunk(struct smtp_body *b, struct slice in, struct buf *out)
{
    decode(b, in, out, false);
}

void smtp_body_finish(struct smtp_body *b, struct buf *out)
{
    char *room = buf_reserve(out, 2);
    struct sink to = {.p = room};

    MTA_ASSERT(room != NULL);
    if (b->state == STATE_CR)
        put_bare_cr(b, &to);
    if (b->state == STATE_INSIDE)
        end_line(b, &to, true);
    buf_commit(out, to.n);
}

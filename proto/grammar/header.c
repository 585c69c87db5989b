/*
 * The header scanner and the iterator: see header.h. The scanner is fed by the SMTP server with decoded content on its
 * way to the queue; the iterator is for those who have the section in memory. Neither owns anything. RFC 5322 section
 * 2.2 and 4.5: blanks before the colon are obsolete but still met.
 */
#include "proto/grammar/header.h"

#include "core/base/assert.h"

enum state {
    STATE_LINE,  /* at the start of a line */
    STATE_NAME,  /* within what may be a header's name */
    STATE_BLANK, /* in white space behind it */
    STATE_VALUE, /* behind the colon, or in a continuation line */
};

enum kind {
    KIND_OTHER,
    KIND_RECEIVED,
    KIND_MESSAGE_ID,
    KIND_DATE,
    KIND_FROM,
    KIND_RESENT_MESSAGE_ID,
    KIND_RESENT_DATE,
    KIND_RESENT_FROM,
    KIND_RESENT,
};

static const char *const names[] = {
    [KIND_RECEIVED] = "Received",
    [KIND_MESSAGE_ID] = "Message-Id",
    [KIND_DATE] = "Date",
    [KIND_FROM] = "From",
    [KIND_RESENT_MESSAGE_ID] = "Resent-Message-Id",
    [KIND_RESENT_DATE] = "Resent-Date",
    [KIND_RESENT_FROM] = "Resent-From",
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_name_char(char c)
{
    return c > 32 && c < 127 && c != ':';
}

static enum kind kind_of(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i] != NULL && slice_ieq(name, slice_str(names[i])))
            return (enum kind)i;
    return slice_istarts(name, SLICE_LIT("Resent-")) ? KIND_RESENT : KIND_OTHER;
}

/* A header is complete up to its colon. */
static void begin_value(struct header_scan *s)
{
    /* A name that fills the buffer was cut; no known one is so long. */
    enum kind kind = kind_of(slice_make(s->name, s->name_len));

    s->state = STATE_VALUE;
    s->header = kind == KIND_MESSAGE_ID && s->has_message_id ? KIND_OTHER : kind;
    s->received += kind == KIND_RECEIVED;
    s->has_message_id = s->has_message_id || kind == KIND_MESSAGE_ID;
    s->has_date = s->has_date || kind == KIND_DATE;
    s->has_from = s->has_from || kind == KIND_FROM;
    s->has_resent = s->has_resent || kind >= KIND_RESENT_MESSAGE_ID;
    s->has_resent_message_id = s->has_resent_message_id || kind == KIND_RESENT_MESSAGE_ID;
    s->has_resent_date = s->has_resent_date || kind == KIND_RESENT_DATE;
    s->has_resent_from = s->has_resent_from || kind == KIND_RESENT_FROM;
}

static void end_section(struct header_scan *s, bool no_separator)
{
    s->ended = true;
    s->no_separator = no_separator;
    while (s->id_len > 0 && s->message_id[s->id_len - 1] == ' ')
        s->message_id[--s->id_len] = '\0';
}

/* "From user date", perhaps behind '>': what an mbox file has before a message, and some clients send along. */
static bool is_mbox_line(const struct header_scan *s)
{
    struct slice name = slice_make(s->name, s->name_len);

    while (name.n > 0 && name.p[0] == '>')
        name = slice_from(name, 1);
    return s->header_start == 0 && slice_eq(name, SLICE_LIT("From"));
}

static void keep_id(struct header_scan *s, struct slice text)
{
    for (size_t i = 0; i < text.n && s->id_len < HEADER_ID_MAX; i++) {
        char c = text.p[i] == '\t' ? ' ' : text.p[i];

        if (c == '\n' || (c == ' ' && s->id_len == 0))
            continue;
        s->message_id[s->id_len++] = c == '\0' ? '?' : c;
    }
}

static void begin_line(struct header_scan *s, char c)
{
    if (is_blank(c) && s->offset > 0) {
        s->state = STATE_VALUE;
        if (s->header == KIND_MESSAGE_ID)
            keep_id(s, slice_make(&c, 1));
    } else if (is_name_char(c)) {
        s->state = STATE_NAME;
        s->header_start = s->offset;
        s->name[0] = c;
        s->name_len = 1;
    } else {
        end_section(s, c != '\n');
    }
}

/* One character in front of the colon. */
static void step(struct header_scan *s, char c)
{
    if (s->state == STATE_LINE) {
        begin_line(s, c);
    } else if (c == ':') {
        begin_value(s);
    } else if (is_blank(c)) {
        s->state = STATE_BLANK;
    } else if (s->state == STATE_NAME && is_name_char(c)) {
        if (s->name_len < sizeof s->name)
            s->name[s->name_len++] = c;
    } else if (s->state == STATE_BLANK && c != '\n' && is_mbox_line(s)) {
        s->mbox_line = true;
        s->header = KIND_OTHER;
        s->state = STATE_VALUE;
    } else {
        end_section(s, true);
    }
}

/* The rest of the line, or of the piece; answers how many bytes it took. */
static size_t skip_value(struct header_scan *s, struct slice piece)
{
    size_t lf = slice_find(piece, '\n'), n = lf == SLICE_NOT_FOUND ? piece.n : lf + 1;

    if (s->header == KIND_MESSAGE_ID)
        keep_id(s, slice_head(piece, n));
    if (lf != SLICE_NOT_FOUND)
        s->state = STATE_LINE;
    s->settled = s->offset + n;
    if (s->settled - s->header_start > s->longest)
        s->longest = s->settled - s->header_start;
    return n;
}

void header_scan_feed(struct header_scan *s, struct slice piece)
{
    while (piece.n > 0 && !s->ended) {
        size_t n = 1;

        if (s->state == STATE_VALUE)
            n = skip_value(s, piece);
        else
            step(s, piece.p[0]);
        s->offset += n;
        piece = slice_from(piece, n);
    }
}

void header_scan_finish(struct header_scan *s)
{
    if (!s->ended)
        end_section(s, s->state == STATE_NAME || s->state == STATE_BLANK);
}

/* The length of "Name", or 0 when there is none with a colon behind it; *colon is where that is. */
static size_t name_length(struct slice s, size_t *colon)
{
    size_t n = 0, at;

    while (n < s.n && is_name_char(s.p[n]))
        n++;
    for (at = n; at < s.n && is_blank(s.p[at]);)
        at++;
    *colon = at;
    return at < s.n && s.p[at] == ':' ? n : 0;
}

bool header_next(struct slice *rest, struct slice *name, struct slice *value, struct slice *raw)
{
    size_t colon, n = name_length(*rest, &colon), end = 0;
    struct slice text;

    if (n == 0)
        return false;
    do {
        size_t lf = slice_find(slice_from(*rest, end), '\n');

        end = lf == SLICE_NOT_FOUND ? rest->n : end + lf + 1;
    } while (end < rest->n && is_blank(rest->p[end]));
    *name = slice_head(*rest, n);
    *raw = slice_head(*rest, end);
    text = slice_from(*raw, colon + 1);
    if (text.n > 0 && text.p[text.n - 1] == '\n')
        text.n--;
    while (text.n > 0 && is_blank(text.p[0]))
        text = slice_from(text, 1);
    *value = text;
    *rest = slice_from(*rest, end);
    return true;
}

void header_unfold(struct buf *out, struct slice value)
{
    size_t lf;

    value = slice_trim(value);
    while ((lf = slice_find(value, '\n')) != SLICE_NOT_FOUND) {
        buf_add_slice(out, slice_head(value, lf));
        buf_add_char(out, ' ');
        value = slice_trim(slice_from(value, lf));
    }
    buf_add_slice(out, value);
}

/*
 * Quoted-printable for parts that need it: see mime_encode.h. Called by the SMTP client for messages that came with
 * BODY=8BITMIME; owns its state only.
 *
 * A line is looked at once its end, or MIME_ENCODE_HELD bytes of it, are there; then the rest of it passes in the mode
 * that its start decided. In a header section, a header with its continuations is held back until the next one begins.
 * Content-Transfer-Encoding is written at the end of the section, when the type is known, too.
 */
#include "proto/grammar/mime_encode.h"

#include "core/base/alloc.h"

#define QP_COLUMNS 76

enum where {
    IN_HEADER,
    IN_BODY, /* of a part, or between the parts of a multipart */
};

struct mime_encode {
    enum where where;
    bool line_goes_on; /* what comes belongs to a line whose start has been looked at */
    struct buf line;   /* the start of a line */
    /* header section */
    struct buf header; /* the header that is held back */
    bool header_long;  /* more of it than is held passed already */
    bool multipart, message, eight_bit;
    struct buf encoding; /* Content-Transfer-Encoding: as it is written */
    char boundary[MIME_ENCODE_BOUNDARY + 1];
    /* body */
    bool encoding_part; /* quoted-printable */
    size_t column;
    char blank; /* a space or tab that may be the last of its line; '\0': none */
    char *boundaries[MIME_ENCODE_DEPTH];
    size_t depth;
};

struct mime_encode *mime_encode_new(void)
{
    return NEW(struct mime_encode);
}

void mime_encode_free(struct mime_encode **mp)
{
    struct mime_encode *m = *mp;

    *mp = NULL;
    if (m == NULL)
        return;
    buf_release(&m->line);
    buf_release(&m->header);
    buf_release(&m->encoding);
    while (m->depth > 0)
        mem_free(m->boundaries[--m->depth]);
    mem_free(m);
}

/* ---- headers ---- */

static bool is_header(struct slice header, const char *name, struct slice *value)
{
    struct slice n = slice_str(name);

    if (!slice_istarts(header, n) || header.n <= n.n)
        return false;
    *value = slice_from(header, n.n);
    while (value->n > 0 && (value->p[0] == ' ' || value->p[0] == '\t'))
        *value = slice_from(*value, 1);
    if (value->n == 0 || value->p[0] != ':')
        return false;
    *value = slice_from(*value, 1);
    return true;
}

/* The value of boundary=, quoted or not. */
static void take_boundary(struct mime_encode *m, struct slice value)
{
    static const struct slice key = {"boundary=", 9};
    size_t n = 0;
    bool quoted;

    m->boundary[0] = '\0';
    while (value.n > 0 && !slice_istarts(value, key))
        value = slice_from(value, 1);
    value = slice_from(value, key.n);
    quoted = value.n > 0 && value.p[0] == '"';
    if (quoted)
        value = slice_from(value, 1);
    for (size_t i = 0; i < value.n; i++) {
        if (quoted ? value.p[i] == '"' : value.p[i] == ';' || ascii_space(value.p[i]))
            break;
        if (quoted && value.p[i] == '\\' && i + 1 < value.n)
            i++;
        if (n == MIME_ENCODE_BOUNDARY) {
            n = 0;
            break;
        }
        m->boundary[n++] = value.p[i];
    }
    m->boundary[n] = '\0';
}

static void take_type(struct mime_encode *m, struct slice value)
{
    struct slice type = slice_trim(value);

    m->multipart = slice_istarts(type, SLICE_LIT("multipart/"));
    m->message = slice_istarts(type, SLICE_LIT("message/rfc822"));
    if (m->multipart)
        take_boundary(m, value);
}

/* The held header is whole, or as whole as it gets. */
static void end_header(struct mime_encode *m, struct buf *out)
{
    struct slice header = buf_slice(&m->header), value;

    if (!m->header_long && is_header(header, "content-transfer-encoding", &value)) {
        value = slice_trim(value);
        m->eight_bit = slice_ieq(value, SLICE_LIT("8bit")) || slice_ieq(value, SLICE_LIT("binary"));
        buf_clear(&m->encoding);
        buf_add_slice(&m->encoding, header);
    } else {
        if (!m->header_long && is_header(header, "content-type", &value))
            take_type(m, value);
        buf_add_slice(out, header);
    }
    buf_clear(&m->header);
    m->header_long = false;
}

static void begin_headers(struct mime_encode *m)
{
    m->where = IN_HEADER;
    m->multipart = m->message = m->eight_bit = m->encoding_part = false;
    buf_clear(&m->encoding);
    m->boundary[0] = '\0';
}

static void end_headers(struct mime_encode *m, struct buf *out)
{
    bool deep = m->depth == MIME_ENCODE_DEPTH;

    end_header(m, out);
    if (m->eight_bit && (m->multipart || m->message))
        buf_add_str(out, "Content-Transfer-Encoding: 7bit\n");
    else if (m->eight_bit)
        buf_add_str(out, "Content-Transfer-Encoding: quoted-printable\n");
    else
        buf_add_slice(out, buf_slice(&m->encoding));
    m->where = IN_BODY;
    m->column = 0;
    m->encoding_part = m->eight_bit && !m->multipart && !m->message;
    if (m->multipart && m->boundary[0] != '\0' && !deep)
        m->boundaries[m->depth++] = mem_strdup(m->boundary);
}

/* ---- bodies ---- */

static void put_code(struct mime_encode *m, char c, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    unsigned char u = (unsigned char)c;

    if (m->column + 3 > QP_COLUMNS - 1) {
        buf_add_str(out, "=\n");
        m->column = 0;
    }
    buf_add(out, (char[]){'=', hex[u >> 4], hex[u & 15]}, 3);
    m->column += 3;
}

static void put_plain(struct mime_encode *m, char c, struct buf *out)
{
    if (m->column + 1 > QP_COLUMNS - 1) {
        buf_add_str(out, "=\n");
        m->column = 0;
    }
    buf_add_char(out, c);
    m->column++;
}

static void put_quoted(struct mime_encode *m, struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (m->blank != '\0') {
            if (c == '\n')
                put_code(m, m->blank, out);
            else
                put_plain(m, m->blank, out);
            m->blank = '\0';
        }
        if (c == '\n') {
            buf_add_char(out, c);
            m->column = 0;
        } else if (c == ' ' || c == '\t') {
            m->blank = c;
        } else if (c > ' ' && c < 127 && c != '=') {
            put_plain(m, c, out);
        } else {
            put_code(m, c, out);
        }
    }
}

static void put_body(struct mime_encode *m, struct slice s, struct buf *out)
{
    if (m->encoding_part)
        put_quoted(m, s, out);
    else
        buf_add_slice(out, s);
}

/* Is the line a delimiter of one of the multiparts that it is in? Those within that one are over then. */
static bool delimiter(struct mime_encode *m, struct slice line, bool *last)
{
    struct slice rest = slice_from(line, 2);

    if (!slice_starts(line, SLICE_LIT("--")))
        return false;
    for (size_t i = m->depth; i > 0; i--) {
        struct slice boundary = slice_str(m->boundaries[i - 1]);
        struct slice after = slice_from(rest, boundary.n);

        if (!slice_starts(rest, boundary))
            continue;
        *last = slice_starts(after, SLICE_LIT("--"));
        if (slice_trim(slice_from(after, *last ? 2 : 0)).n > 0)
            continue;
        while (m->depth > i - (*last ? 1 : 0))
            mem_free(m->boundaries[--m->depth]);
        return true;
    }
    return false;
}

/* ---- lines ---- */

static void header_line(struct mime_encode *m, struct slice line, struct buf *out)
{
    bool continues = line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t');

    if (continues && buf_len(&m->header) + line.n > MIME_ENCODE_HELD) {
        buf_add_slice(out, buf_slice(&m->header));
        buf_clear(&m->header);
        m->header_long = true;
    }
    if (continues && m->header_long) {
        buf_add_slice(out, line);
        return;
    }
    if (continues) {
        buf_add_slice(&m->header, line);
        return;
    }
    if (line.p[0] == '\n') {
        bool message;

        end_headers(m, out);
        message = m->message;
        buf_add_slice(out, line);
        if (message)
            begin_headers(m);
        return;
    }
    end_header(m, out);
    buf_add_slice(&m->header, line);
}

/* The start of a line, with its end unless it is long. */
static void start_line(struct mime_encode *m, struct slice line, struct buf *out)
{
    bool last;

    if (m->depth > 0 && delimiter(m, line, &last)) {
        if (m->where == IN_HEADER)
            end_headers(m, out);
        m->encoding_part = false;
        m->blank = '\0';
        buf_add_slice(out, line);
        m->where = IN_BODY;
        if (!last)
            begin_headers(m);
    } else if (m->where == IN_HEADER) {
        header_line(m, line, out);
    } else {
        put_body(m, line, out);
    }
}

/* More of a line that was too long to be held. */
static void go_on(struct mime_encode *m, struct slice s, struct buf *out)
{
    if (m->where == IN_BODY) {
        put_body(m, s, out);
        return;
    }
    buf_add_slice(out, buf_slice(&m->header));
    buf_clear(&m->header);
    m->header_long = true;
    buf_add_slice(out, s);
}

void mime_encode_feed(struct mime_encode *m, struct slice in, struct buf *out)
{
    while (in.n > 0) {
        size_t nl = slice_find(in, '\n');
        struct slice part = slice_head(in, nl == SLICE_NOT_FOUND ? in.n : nl + 1);
        bool whole = nl != SLICE_NOT_FOUND;

        in = slice_from(in, part.n);
        if (m->line_goes_on) {
            go_on(m, part, out);
            m->line_goes_on = !whole;
            continue;
        }
        if (whole && buf_len(&m->line) == 0) {
            start_line(m, part, out);
            continue;
        }
        buf_add_slice(&m->line, part);
        if (whole || buf_len(&m->line) >= MIME_ENCODE_HELD) {
            start_line(m, buf_slice(&m->line), out);
            buf_clear(&m->line);
            m->line_goes_on = !whole;
        }
    }
}

void mime_encode_end(struct mime_encode *m, struct buf *out)
{
    if (buf_len(&m->line) > 0)
        start_line(m, buf_slice(&m->line), out);
    buf_clear(&m->line);
    if (m->where == IN_HEADER)
        end_headers(m, out);
    if (m->blank != '\0')
        put_code(m, m->blank, out);
    m->blank = '\0';
}

/* See mime_scan.h. Called by the editor of content, which puts headers together. */
#include "proto/grammar/mime_scan.h"

#include "core/base/alloc.h"

#define NESTING_LIMIT 100

/* ---- headers ---- */

static bool is_continuation(struct slice line)
{
    return line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t');
}

/* "Name:", with perhaps white space before the colon, as old software writes. */
static bool is_header(struct slice line)
{
    size_t i = 0, colon;

    while (i < line.n && line.p[i] > ' ' && line.p[i] < 127 && line.p[i] != ':')
        i++;
    colon = i;
    while (colon < line.n && (line.p[colon] == ' ' || line.p[colon] == '\t'))
        colon++;
    return i > 0 && colon < line.n && line.p[colon] == ':';
}

static bool name_is(struct slice header, const char *name, struct slice *value)
{
    size_t colon = slice_find(header, ':');

    if (colon == SLICE_NOT_FOUND || !slice_ieq(slice_trim(slice_head(header, colon)), slice_str(name)))
        return false;
    *value = slice_trim(slice_from(header, colon + 1));
    return true;
}

/* White space, line breaks and comments (RFC 5322 section 3.2.2). */
static struct slice skip_cfws(struct slice s)
{
    int depth = 0;

    while (s.n > 0) {
        if (s.p[0] == '(')
            depth++;
        else if (s.p[0] == ')' && depth > 0)
            depth--;
        else if (s.p[0] == '\\' && depth > 0 && s.n > 1)
            s = slice_from(s, 1);
        else if (depth == 0 && strchr(" \t\r\n", s.p[0]) == NULL)
            break;
        s = slice_from(s, 1);
    }
    return s;
}

/* A word up to one of the characters in `end`, or a quoted string, which is unquoted into `out`. */
static struct slice take_value(struct slice *s, const char *end, char *out, size_t max)
{
    size_t n = 0, i = 0;
    bool quoted = s->n > 0 && s->p[0] == '"';

    for (i = quoted; i < s->n; i++) {
        if (quoted ? s->p[i] == '"' : strchr(end, s->p[i]) != NULL)
            break;
        if (quoted && s->p[i] == '\\' && i + 1 < s->n)
            i++;
        if (n < max)
            out[n++] = s->p[i];
    }
    *s = slice_from(*s, i < s->n && quoted ? i + 1 : i);
    return slice_make(out, n);
}

/* The parameter "boundary" of a Content-Type, after "type/subtype". */
static void read_boundary(struct mime_scan *m, struct slice rest)
{
    char name[32], value[MIME_BOUNDARY_MAX];

    for (;;) {
        struct slice n, v;

        for (rest = skip_cfws(rest); rest.n > 0 && rest.p[0] != ';'; rest = skip_cfws(rest))
            rest = slice_from(rest, 1);
        if (rest.n == 0)
            return;
        rest = skip_cfws(slice_from(rest, 1));
        n = take_value(&rest, "=; \t\r\n(", name, sizeof name);
        rest = skip_cfws(rest);
        if (rest.n == 0 || rest.p[0] != '=')
            continue;
        rest = skip_cfws(slice_from(rest, 1));
        v = take_value(&rest, "; \t\r\n(", value, sizeof value);
        if (!slice_ieq(n, SLICE_LIT("boundary")))
            continue;
        while (v.n > 0 && v.p[v.n - 1] == ' ')
            v.n--;
        memcpy(m->boundary, v.p, v.n);
        m->boundary_n = v.n;
        return;
    }
}

void mime_scan_header(struct mime_scan *m, struct slice header)
{
    struct slice value, type, subtype;
    char type_text[32], subtype_text[32];

    if (m->body || !name_is(header, "Content-Type", &value))
        return;
    value = skip_cfws(value);
    type = take_value(&value, "/; \t\r\n(", type_text, sizeof type_text);
    value = skip_cfws(value);
    if (value.n == 0 || value.p[0] != '/')
        return;
    value = skip_cfws(slice_from(value, 1));
    subtype = take_value(&value, "; \t\r\n(", subtype_text, sizeof subtype_text);
    m->boundary_n = 0;
    m->is_digest = slice_ieq(subtype, SLICE_LIT("digest"));
    m->is_message = slice_ieq(type, SLICE_LIT("message")) &&
                    (slice_ieq(subtype, SLICE_LIT("rfc822")) || slice_ieq(subtype, SLICE_LIT("global")));
    if (slice_ieq(type, SLICE_LIT("multipart")))
        read_boundary(m, value);
}

/* ---- boundaries ---- */

static void pop(struct mime_scan *m)
{
    struct mime_boundary *b = m->boundaries;

    m->boundaries = b->outer;
    m->depth--;
    mem_free(b);
}

static void push(struct mime_scan *m)
{
    struct mime_boundary *b;

    if (m->depth >= (m->nesting_limit > 0 ? m->nesting_limit : NESTING_LIMIT)) {
        m->too_deep = true;
        return;
    }
    b = mem_new(sizeof *b + m->boundary_n);
    b->outer = m->boundaries;
    b->digest = m->is_digest;
    b->n = m->boundary_n;
    memcpy(b->text, m->boundary, b->n);
    m->boundaries = b;
    m->depth++;
}

static void begin_header(struct mime_scan *m, enum mime_where which)
{
    m->body = m->is_message = m->is_digest = false;
    m->boundary_n = 0;
    m->header = which;
}

/* Is the line a boundary of a multipart that is open? The inner ones are then over (RFC 2046 section 5.1.2). */
static bool at_boundary(struct mime_scan *m, struct slice line)
{
    struct slice rest = slice_from(line, 2);
    struct mime_boundary *b = m->boundaries;

    if (line.n < 2 || line.p[0] != '-' || line.p[1] != '-')
        return false;
    while (b != NULL && !slice_starts(rest, slice_make(b->text, b->n)))
        b = b->outer;
    if (b == NULL)
        return false;
    rest = slice_from(rest, b->n);
    while (m->boundaries != b)
        pop(m);
    if (slice_starts(rest, SLICE_LIT("--"))) {
        pop(m);
        m->body = true; /* the epilogue */
        return true;
    }
    begin_header(m, MIME_PART_HEADER);
    m->is_message = b->digest;
    return true;
}

/* ---- lines ---- */

/* What follows the empty line. */
static void end_header(struct mime_scan *m)
{
    if (m->boundary_n > 0) {
        push(m);
        m->body = true;
    } else if (m->is_message) {
        begin_header(m, MIME_NESTED_HEADER); /* takes no memory, however many are in each other */
    } else {
        m->body = true;
    }
}

enum mime_where mime_scan_line(struct mime_scan *m, struct slice line)
{
    if (at_boundary(m, line))
        return MIME_BOUNDARY;
    if (m->body)
        return MIME_BODY;
    if (line.n == 0) {
        end_header(m);
        return MIME_END_OF_HEADER;
    }
    if (is_header(line) || (m->begun && is_continuation(line))) {
        m->begun = true;
        return m->header;
    }
    m->body = true;
    return MIME_BODY;
}

void mime_scan_release(struct mime_scan *m)
{
    while (m->boundaries != NULL)
        pop(m);
}

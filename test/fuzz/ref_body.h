/*
 * What the content of a message is, worked out from the whole of it and line by line: the plain reading of
 * smtp_body.h that the incremental decoder is compared with.
 */
#ifndef TEST_FUZZ_REF_BODY_H
#define TEST_FUZZ_REF_BODY_H

#include "fuzz/fuzz.h"

struct ref_body {
    struct buf text;
    bool ended;      /* DATA: the end was there */
    size_t consumed; /* DATA: bytes up to and with the end */
    bool bare_lf, bare_cr;
};

/* Text of a line without its end; a CR in it is a bare one. */
static inline void ref_add_text(struct ref_body *b, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        b->bare_cr = b->bare_cr || text.p[i] == '\r';
        buf_add_char(&b->text, text.p[i] == '\r' ? ' ' : text.p[i]);
    }
}

/* What is known of a line that has not ended: a CR may become part of its end. */
static inline void ref_add_open_line(struct ref_body *b, struct slice line, bool dots)
{
    if (dots && line.n > 0 && line.p[0] == '.')
        line = slice_from(line, 1);
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    ref_add_text(b, line);
}

/* One line with its LF. */
static inline void ref_add_line(struct ref_body *b, struct slice line, bool dots, bool *after_crlf)
{
    bool crlf = line.n > 1 && line.p[line.n - 2] == '\r', was_crlf = *after_crlf;

    line.n -= crlf ? 2 : 1;
    *after_crlf = crlf;
    b->bare_lf = b->bare_lf || !crlf;
    if (dots && slice_eq(line, SLICE_LIT("."))) {
        b->ended = crlf && was_crlf;
        return;
    }
    if (dots && line.n > 0 && line.p[0] == '.')
        line = slice_from(line, 1);
    ref_add_text(b, line);
    buf_add_char(&b->text, '\n');
}

/* Decodes DATA (`dots`) or the chunks of BDAT put together. */
static inline struct ref_body ref_body_decode(struct slice in, bool dots)
{
    struct ref_body b = {.ended = false};
    bool after_crlf = true;

    while (b.consumed < in.n && !b.ended) {
        struct slice rest = slice_from(in, b.consumed);
        size_t lf = slice_find(rest, '\n');

        if (lf == SLICE_NOT_FOUND) {
            ref_add_open_line(&b, rest, dots);
            b.consumed = in.n;
        } else {
            ref_add_line(&b, slice_head(rest, lf + 1), dots, &after_crlf);
            b.consumed += lf + 1;
        }
    }
    return b;
}

/* After the last chunk of BDAT: a last line without an end gets one. */
static inline void ref_body_finish(struct ref_body *b, struct slice in)
{
    if (in.n == 0 || in.p[in.n - 1] == '\n')
        return;
    if (in.p[in.n - 1] == '\r') {
        buf_add_char(&b->text, ' ');
        b->bare_cr = true;
    }
    buf_add_char(&b->text, '\n');
}

#endif

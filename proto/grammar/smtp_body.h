/*
 * Content on its way in: the DATA stream (RFC 5321 section 4.5.2) and BDAT chunks (RFC 3030) become content whose lines
 * end in '\n' and that has no '\r' at all, so that nothing in it can be taken for a line end or an end of data by
 * whoever gets it next.
 *
 * - CRLF ends a line. A bare LF ends a line too (and is noted). A bare CR becomes a space (and is noted). NUL stays.
 * - Only CRLF "." CRLF ends DATA, in every mode; the CRLF of the DATA command counts as the first one.
 * - A dot that opens a line is dropped, after a bare LF too. A line of one dot with a bare LF before or after it is
 *   neither an end nor content: it vanishes, as in Postfix.
 *
 * Pure and incremental; pieces may be split anywhere.
 */
#ifndef MTA_GRAMMAR_SMTP_BODY_H
#define MTA_GRAMMAR_SMTP_BODY_H

#include "core/base/buf.h"

enum smtp_body_result {
    SMTP_BODY_MORE,
    SMTP_BODY_END, /* CRLF.CRLF was consumed */
};

/* To be made with smtp_body_init, one for each message. Callers read the `seen_...` fields only. */
struct smtp_body {
    int state;
    bool after_crlf;   /* the current line follows a true CRLF */
    bool seen_bare_lf; /* smtpd_forbid_bare_newline = reject: refuse the message at its end, 521 5.5.2 */
    bool seen_bare_cr;
};

void smtp_body_init(struct smtp_body *);
/*
 * Decodes a piece of the DATA stream. `out` must have room for in.n + 2 bytes. *consumed is in.n on MORE; on END it
 * is the offset of what follows: the next command of a pipelining client. After END nothing more is consumed.
 */
enum smtp_body_result smtp_body_feed(struct smtp_body *, struct slice in, struct buf *out, size_t *consumed);
/* Decodes a piece of a BDAT chunk; the state carries over from one chunk to the next. `out` as above. */
void smtp_body_chunk(struct smtp_body *, struct slice in, struct buf *out);
/* After BDAT ... LAST: ends a last line that has no line end. `out` must have room for 2 bytes. */
void smtp_body_finish(struct smtp_body *, struct buf *out);

#endif

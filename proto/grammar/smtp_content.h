/*
 * Content as SMTP wants it: lines end in CRLF, lines that begin with a dot get another (RFC 5321 section 4.5.2), lines
 * that are too long are broken with a space behind the break, as Postfix does. The opposite of smtp_body.h. Pure.
 */
#ifndef MTA_GRAMMAR_SMTP_CONTENT_H
#define MTA_GRAMMAR_SMTP_CONTENT_H

#include "core/base/buf.h"

struct smtp_content {
    bool bare;         /* no dots: for BDAT */
    size_t line_limit; /* bytes of a line without its end; 0: no limit */
    size_t column;     /* of the next byte; 0: at the start of a line */
};

/* Zero-initialised with the first two fields set is ready. Appends the next piece, cut anywhere, to `out`. */
void smtp_content_feed(struct smtp_content *, struct slice piece, struct buf *out);
/* The content is over: ends its last line, and without `bare` appends the line that is a dot. */
void smtp_content_end(struct smtp_content *, struct buf *out);

#endif

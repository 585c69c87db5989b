/*
 * Replies of the server: RFC 5321 section 4.2, enhanced codes of RFC 2034. No line exceeds 512 bytes with its CRLF,
 * and nothing in a text can end the line early: what is neither printable ASCII nor well-formed UTF-8 becomes a space.
 * The buffer should have no cap. Pure.
 */
#ifndef MTA_GRAMMAR_SMTP_REPLY_H
#define MTA_GRAMMAR_SMTP_REPLY_H

#include "core/base/buf.h"
#include "core/base/status.h"

#define SMTP_REPLY_LINE_MAX 510 /* bytes of a line without CRLF: RFC 5321 section 4.5.3.1.5 */

/*
 * Appends a whole reply, "250 2.1.0 Ok\r\n". `dsn` NULL or "": no enhanced code. Each '\n' in the text begins another
 * line: all but the last are "250-...".
 */
void smtp_reply(struct buf *, int code, const char *dsn, const char *text);
void smtp_reply_printf(struct buf *, int code, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Appends one line of a reply that is built line by line (EHLO, HELP); `last` chooses between "250 " and "250-". */
void smtp_reply_line(struct buf *, int code, bool last, const char *dsn, struct slice text);
/* The reply that a status asks for; its text is one line whatever is in it. */
void smtp_reply_status(struct buf *, const struct status *);

#endif
